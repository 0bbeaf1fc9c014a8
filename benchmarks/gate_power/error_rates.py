"""Draw the error rates of the timing gate from the recorded pairs and gates: 10,000 resampled gates a row.

    python benchmarks/gate_power/error_rates.py reports/gate-power

A resampled gate draws recorded pairs at random, each as dear as it was, and goes by the gate's own rules
(``gating.decision``). Of pairs of the same code, which side is the base is drawn, too. Beside the gate stands what
pytest-benchmark's ``--benchmark-compare-fail`` does on the same pairs: with the two runs of one pair, which were
measured at the same time, and with two runs of different pairs, as with a stored number.
"""

import functools
import json
import math
import random
import statistics
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from fer_bench.gating import decision
from fer_bench.gating.timing import Rule
from fer_bench.gating.verdicts import Effect, Outcome
from fer_bench.records import stats
from fer_bench.records.units import Quantity
from fer_bench.reporting.render import FORMATS, write_all
from fer_bench.reporting.table import Column, Table

RECORDS = Path(__file__).parent / "records"
GATES = 10_000
SEED = 20261121
EFFECTS = (0, 3, 5)  # states of the network's code, named by about how many percent slower they are
CONDITIONS = {  # each with its words, and the states that were recorded under it
    "quiet": ("quiet", EFFECTS),
    "other-core": ("a neighbour on the other core", (0, 5)),
    "same-core": ("a neighbour on each core", (0, 5)),
}
REAL = ((0, 5), (5, 5), (3, 3))  # real gates: the state of the code, and the minimum effect in percent

share = Quantity(per=Decimal("0.01"), decimals=2)
seconds = Quantity(decimals=0)


def by_turn(pair: dict) -> tuple[list[list[float]], list[list[float]]]:
    """Give the passes of a recorded pair, by side and turn."""
    return tuple([taken for side, taken, *_ in pair["turns"] if side == which] for which in (0, 1))


@dataclass(frozen=True)
class Recorded:
    """Pairs under one condition, and what a pair takes."""

    pairs: list[dict]
    a_pair_s: float
    same_code: bool

    @functools.cached_property
    def differences(self) -> list[tuple[float, float]]:
        """Give what each pair says, worked out from its passes, and what it would say by plain means."""
        return [(decision.log_ratio(*by_turn(p)), math.log(p["checks"][1] / p["checks"][0])) for p in self.pairs]

    def sides(self) -> list[tuple[list[float], list[float]]]:
        """Give each pair's passes by side."""
        return [tuple([s for taken in side for s in taken] for side in by_turn(pair)) for pair in self.pairs]


def read(condition: str, effect: int) -> Recorded:  # condition "size": pairs that only the size is taken from
    record = json.loads((RECORDS / f"pairs-{condition}-{effect}.json").read_text())
    return Recorded(record["pairs"], record["wall_s"] / len(record["pairs"]), effect == 0)


class Drawn:
    """Pairs drawn so far, as sums: the word of ``rules.decide_pairs``, without going through all pairs at each look."""

    def __init__(self) -> None:
        self.count = 0
        self.sums = [[0.0, 0.0], [0.0, 0.0]]  # of values and of their squares, by the gate's statistic and plain means

    def add(self, pair: tuple[float, float], sign: int) -> None:
        self.count += 1
        for sums, value in zip(self.sums, pair, strict=True):
            sums[0] += sign * value
            sums[1] += value * value

    def word(self, least: float) -> Outcome | None:
        word = decision.decide(self._effect(0), least)
        if word is Outcome.same:
            word = decision.decide(self._effect(0, decision.PER_LOOK_OF_SAME), least)
        worse = word in (Outcome.same, Outcome.better) and decision.decide(self._effect(1), least) is Outcome.worse
        return None if worse else word

    def _effect(self, which: int, per_look: float = decision.PER_LOOK) -> Effect:
        total, squares = self.sums[which]
        centre = total / self.count
        variance = max(0.0, squares - total * centre) / (self.count - 1)
        half = stats.student_t(1 - per_look, self.count - 1) * math.sqrt(variance / self.count)
        ends = (math.expm1(centre + end) for end in (0, -half, half))
        return Effect(*ends, decision.LEVEL, self.count, math.expm1(self.sums[1][0] / self.count))


def resampled(recorded: Recorded, least: float, started_s: float) -> dict[str, float]:
    """Resample gates; give shares of verdicts and the seconds that a gate takes, its start included."""
    rng = random.Random(f"{SEED}{least}{len(recorded.pairs)}{recorded.a_pair_s}")
    differences = recorded.differences
    most = min(decision.LOOKS[-1], int(Rule().budget_s / recorded.a_pair_s))
    looks = {*(n for n in decision.LOOKS if n < most), most}
    words: list[Outcome] = []
    taken: list[float] = []
    for _ in range(GATES):
        drawn = Drawn()
        word = None
        while word is None and drawn.count < most:
            one = rng.choice(differences)
            drawn.add(one, -1 if recorded.same_code and rng.random() < 0.5 else 1)
            if drawn.count in looks:
                word = drawn.word(least)
        words.append(word or Outcome.inconclusive)
        taken.append(started_s + drawn.count * recorded.a_pair_s)
    found = {
        word.value: words.count(word) / GATES
        for word in (Outcome.worse, Outcome.better, Outcome.same, Outcome.inconclusive)
    }
    return {**found, "median_s": statistics.median(taken), "p95_s": sorted(taken)[int(0.95 * GATES)]}


def by_threshold(recorded: Recorded, statistic, limit: float, *, apart: bool) -> float:
    """Give how often the candidate's run is above the base's by more than the limit, as pytest-benchmark fails."""
    rng = random.Random(SEED)
    sides = recorded.sides()
    failed = 0
    for _ in range(GATES):
        first = rng.randrange(len(sides))
        second = rng.randrange(len(sides)) if apart else first
        base, candidate = sides[first][0], sides[second][1]
        if recorded.same_code and rng.random() < 0.5:
            base, candidate = sides[second][1], sides[first][0]
        failed += statistic(candidate) > (1 + limit) * statistic(base)
    return failed / GATES


def gates(effect: int, least: int) -> list[dict]:
    return json.loads((RECORDS / f"gates-{effect}-min-effect-{least}.json").read_text())


def names_module(gate: dict) -> bool:
    """Tell whether a gate's verdict on counts names the convolutions that nothing needs."""
    return "needless" in "\n".join((gate["counted"]["said"], *gate["counted"]["details"]))


def start_s() -> float:
    """Give what a gate takes beside its pairs: checkouts, imports, counts. The median of all recorded gates."""
    every = [gate for effect, least in REAL for gate in gates(effect, least)]
    return statistics.median(gate["wall_s"] - gate["records"][0]["wall_s"] for gate in every)


def size(effect: int) -> float:
    """Give what a change truly is, as a share, by pairs of their own."""
    return math.expm1(statistics.fmean(d for d, _ in read("size", effect).differences))


def true_size(effect: int, condition: str = "size") -> str:
    """Tell what the change truly is: of slower code by pairs of their own, of the same code by the row's."""
    logs = [d for d, _ in read(condition, effect).differences]
    error = statistics.stdev(logs) / len(logs) ** 0.5
    return f"{100 * math.expm1(statistics.fmean(logs)):+.2f} % (standard error {100 * error:.2f})"


@functools.cache
def power() -> Table:
    started_s = start_s()
    rows = []
    for condition, (told, states) in CONDITIONS.items():
        for effect, least in ((0, 0.05), (5, 0.05), (0, 0.03), (3, 0.03)):
            if effect not in states:
                continue
            recorded = read(condition, effect)
            deviation = statistics.stdev(d for d, _ in recorded.differences)
            rows.append(
                {
                    "condition": told,
                    "change": true_size(effect) if effect else f"none; measured {true_size(0, condition)}",
                    "effect": effect,
                    "least": f"{100 * least:g} %",
                    "pairs": len(recorded.pairs),
                    "deviation": deviation,
                    **resampled(recorded, least, started_s),
                }
            )
    columns = (
        Column("condition", "Machine", align="left"),
        Column("change", "True change", align="left"),
        Column("least", "Minimum effect"),
        Column("pairs", "Pairs recorded"),
        Column("deviation", "SD of a pair (%)", share),
        Column("worse", "Worse (%)", share),
        Column("better", "Better (%)", share),
        Column("same", "Same (%)", share),
        Column("inconclusive", "Inconclusive (%)", share),
        Column("median_s", "Median (s)", seconds),
        Column("p95_s", "95th percentile (s)", seconds),
    )
    caption = (
        f"Verdicts of {GATES:,} gates resampled from recorded pairs of processes, a row. MobileNetV3-Large, batch 1, "
        "one thread on one core of a shared virtual machine with two (AMD EPYC); what is slower is so by convolutions "
        f"that nothing needs. A time is of the whole command: {started_s:.0f} s of it are checkouts, imports, counts."
    )
    return Table("Error rates of the timing gate", columns, tuple(rows), caption, name="error_rates")


def beside() -> Table:
    rows = []
    for name, statistic in (("mean", statistics.fmean), ("min", min)):
        for apart, how in ((False, "at the same time"), (True, "one stored, one later")):
            rows.append({"rule": f"--benchmark-compare-fail={name}:5%", "how": how})
            for effect in EFFECTS:
                rows[-1][f"plus{effect}"] = by_threshold(read("quiet", effect), statistic, 0.05, apart=apart)
    ours = {"rule": "fer-bench gate --min-effect 5", "how": "pairs, until it is sure"}
    for effect in EFFECTS:
        ours[f"plus{effect}"] = resampled(read("quiet", effect), 0.05, 0.0)["worse"]
    columns = (
        Column("rule", "Rule", align="left"),
        Column("how", "The two runs", align="left"),
        Column("plus0", "Fails where nothing changed (%)", share),
        *(Column(f"plus{effect}", f"Fails at {100 * size(effect):+.1f} % (%)", share) for effect in EFFECTS[1:]),
    )
    caption = (
        "What the rules say on the same recorded passes, 10,000 draws a cell: the quiet machine, memory kept by the "
        "allocator as fer_bench has it, which pytest-benchmark leaves to its user. A run is 24 passes of a process; "
        "pytest-benchmark's second of this network would have 75, which steadies the minimum."
    )
    return Table("Beside pytest-benchmark's rule", columns, (*rows, ours), caption, name="beside_pytest_benchmark")


def real() -> Table:
    rows = []
    for effect, least in REAL:
        every = gates(effect, least)
        words = [gate["verdict"]["word"] for gate in every]
        taken = sorted(gate["wall_s"] for gate in every)
        estimates = [100 * gate["verdict"]["effect"]["estimate"] for gate in every if gate["verdict"]["effect"]]
        rows.append(
            {
                "change": true_size(effect) if effect else "none",
                "least": f"{least} %",
                "gates": len(every),
                **{word.value: words.count(word.value) for word in Outcome},
                "estimates": f"{min(estimates):+.1f} to {max(estimates):+.1f}, SD {statistics.stdev(estimates):.1f}",
                "named": sum(map(names_module, every)),
                "median_s": statistics.median(taken),
                "most_s": taken[-1],
            }
        )
    columns = (
        Column("change", "True change", align="left"),
        Column("least", "Minimum effect"),
        Column("gates", "Gates run"),
        *(Column(word, word.capitalize()) for word in ("worse", "better", "same", "inconclusive", "error")),
        Column("estimates", "Estimates (%)"),
        Column("named", "Module named"),
        Column("median_s", "Median (s)", seconds),
        Column("most_s", "Longest (s)", seconds),
    )
    caption = (
        "fer-bench gate --against HEAD~1 as a user runs it, on a repository with two commits, one after the other, "
        "while tests ran on the other core now and then. The true change is what the recorded pairs, which are others, "
        "say. Module named: gates whose verdict on counts names the convolutions that nothing needs."
    )
    return Table("Real gates", columns, tuple(rows), caption, name="real_gates")


def _faster_half(passes: list[float]) -> float:
    return statistics.fmean(sorted(passes)[: (len(passes) + 1) // 2])


def _clipped(passes: list[float]) -> float:
    most = stats.quantile(passes, 0.90)
    return statistics.fmean(min(s, most) for s in passes)


STATISTICS = {  # of one side's passes, whose ratio would be a pair's word
    "faster": ("Faster half", _faster_half),
    "clipped": ("Mean, top tenth clipped", _clipped),
    "mean": ("Mean", statistics.fmean),
    "median": ("Median", statistics.median),
    "least": ("Minimum", min),
}


def scatter() -> Table:
    rows = []
    for condition, (told, states) in {**CONDITIONS, "size": ("quiet, for the size", EFFECTS[1:])}.items():
        for effect in states:
            recorded = read(condition, effect)
            row = {
                "condition": told,
                "change": f"{100 * size(effect):+.1f} %" if effect else "none",
                "pairs": len(recorded.pairs),
                "ours": statistics.stdev(d for d, _ in recorded.differences),
            }
            for name, (_, statistic) in STATISTICS.items():
                row[name] = statistics.stdev(math.log(statistic(b) / statistic(a)) for a, b in recorded.sides())
            rows.append(row)
    columns = (
        Column("condition", "Machine", align="left"),
        Column("change", "True change", align="left"),
        Column("pairs", "Pairs"),
        Column("ours", "Passes of the same moment", share),
        *(Column(name, heading, share) for name, (heading, _) in STATISTICS.items()),
    )
    caption = (
        "Standard deviation, over pairs, of what a pair says of the change, in percent. Passes of the same moment: the "
        "gate's statistic, the median of the ratios of passes made in the same turn or the next. The others: the ratio "
        "of the two sides' statistic. The number of pairs that it takes goes with the square."
    )
    return Table("What pairs scatter by", columns, tuple(rows), caption, name="statistics")


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    tables = [power(), real(), scatter(), beside()]
    write_all(folder, {table.name: table for table in tables}, ("latex", "csv"))
    text = "\n".join(FORMATS["markdown"](table) for table in tables)
    (folder / "gate_power.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
