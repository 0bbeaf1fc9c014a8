"""Judge what a change does to a time or a memory: pairs of processes until the verdict is sure, or the time is up."""

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fer_bench.gating import decision
from fer_bench.gating.pairs import FAULTS, NAMES, SHARED, Pair, Side, SideError, group_pair, latency_pair
from fer_bench.gating.verdicts import Effect, Outcome, Verdict
from fer_bench.records import units
from fer_bench.records.plan import GATE, Plan
from fer_bench.records.result import Json, Result

# So many pairs, and this share of those kept, may be measured again. The reason is a process that failed, or another
# program on the core of one side.
REDONE, REDONE_SHARE = 2, 0.25

Progress = Callable[[str], None]


def _peak(result: Result) -> float:
    return result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes") or 0.0


def _cores_busy(result: Result) -> float:
    spent = [result.measurement(f"testing.process_{kind}_s") for kind in ("user", "system")]
    passed = result.measurement("testing.interval_s")
    if passed is None or not passed.values:
        return 0.0
    return sum(sum(each.values) for each in spent if each is not None) / sum(passed.values)


# Fields of a plan that say what is judged, and not how.
WHAT = ("input_size", "channels", "num_classes")


def is_own(plan: Plan) -> bool:
    """Return whether a plan is the gate's own, on whatever device and backend, and none of a user's choosing."""
    same = {name: getattr(plan, name) for name in ("device", "backend", *WHAT)}
    return plan == dataclasses.replace(GATE, **same)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a pair of processes can be compared by.

    Attributes:
        group: of ``plan.METRICS``, as which it is measured.
        quantity: writes a value, in ``unit``.
        plan: what of the gate's own plan is changed for it; a plan that the user gives stands.
    """

    group: str
    pair: Callable[[int, Side, Side], Pair]
    quantity: units.Quantity
    unit: str
    plan: Mapping[str, Json] = dataclasses.field(default_factory=dict)

    def of(self, plan: Plan) -> Plan:
        """Return the plan by which it is measured."""
        return dataclasses.replace(plan, metrics=(self.group,), **(self.plan if is_own(plan) else {}))


METRICS: Mapping[str, Metric] = {
    "latency": Metric("latency", latency_pair, units.milliseconds, "ms"),
    "memory": Metric("memory", functools.partial(group_pair, _peak, "memory"), units.mebibytes, "MiB"),
    # How many cores a network keeps busy is of interest where it may have more than one.
    "occupancy": Metric(
        "occupancy",
        functools.partial(group_pair, _cores_busy, "testing_occupancy"),
        units.number,
        "cores busy",
        {"threads": None, "pin": False, "sample_s": 2.0},
    ),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides a verdict.

    Attributes:
        least: the minimum effect, as a share of the base.
        budget_s: wall time for one network and metric, which only the fewest pairs that there must be can exceed.
        pairs: measure so many and decide then, for a study; None to decide as soon as it is sure.
    """

    least: float = 0.05
    budget_s: float = 180.0
    pairs: int | None = None


DEFAULT_RULE = Rule()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verdict and all that was measured for it.

    Attributes:
        pairs: that count.
        measured_anew: that do not, since another program was in the way of one side.
        failures: of processes, a line each.
    """

    verdict: Verdict
    pairs: Sequence[Pair] = ()
    measured_anew: Sequence[Pair] = ()
    failures: Sequence[str] = ()
    wall_s: float = 0.0

    def to_dict(self) -> dict[str, Json]:
        """Return it as JSON has it."""
        return {
            "network": self.verdict.network,
            "metric": self.verdict.metric,
            "verdict": self.verdict.outcome.value,
            "effect": dataclasses.asdict(self.verdict.effect) if self.verdict.effect else None,
            "wall_s": self.wall_s,
            "pairs": list(map(_written, self.pairs)),
            "measured_anew": list(map(_written, self.measured_anew)),
            "failures": list(self.failures),
        }


def judge(
    network: str,
    metric: str,
    base: Side,
    candidate: Side,
    rule: Rule,
    progress: Progress = lambda message: None,
) -> Comparison:
    """Compare two sides, whose plans ``Metric.of`` made, by pairs of processes.

    A pair that fails is measured once more; where the same side fails twice in a row the verdict is an error.

    Raises:
        DeviceError: the plan's device is not there.
    """
    began = time.perf_counter()
    kept: list[Pair] = []
    redone: list[Pair] = []
    failures: list[str] = []
    last_failed = ""
    outcome: Outcome | None = None
    most = rule.pairs or decision.LOOKS[-1]

    def concluded(outcome: Outcome, reason: str, details: Sequence[str], effect: Effect | None = None) -> Comparison:
        verdict = Verdict(network, metric, outcome, reason, tuple(details), effect=effect)
        return Comparison(verdict, kept, redone, failures, time.perf_counter() - began)

    while outcome is None and len(kept) < most:
        elapsed = time.perf_counter() - began
        number = len(kept) + len(redone)
        if len(kept) >= decision.FEWEST and elapsed + elapsed / number > rule.budget_s:
            break
        again = REDONE + REDONE_SHARE * len(kept)
        try:
            pair = METRICS[metric].pair(number, base, candidate)
        except SideError as error:
            failures.append(f"{error.side}: {error}")
            if last_failed == error.side or len(failures) > again:
                reason = f"the {error.side} failed again and again: {error}"
                return concluded(Outcome.error, reason, failures[:-1])
            last_failed = error.side
            continue
        last_failed = ""
        if pair.contested and len(redone) < again:
            redone.append(pair)
            continue
        kept.append(pair)
        if len(kept) >= decision.FEWEST:
            progress(f"{metric} {len(kept)} pairs, {100 * decision.effect(*_logs(kept)).estimate:+.1f} %")
        if rule.pairs is None and len(kept) in decision.LOOKS:
            outcome = decision.decide_pairs(*_logs(kept), rule.least)
    outcome = outcome or decision.decide_pairs(*_logs(kept), rule.least) or Outcome.inconclusive
    effect = decision.effect(*_logs(kept))
    reason = _values(METRICS[metric], kept)
    if outcome is Outcome.same:
        reason += f"; a change of {100 * rule.least:g} % or more is ruled out"
    elif outcome is Outcome.inconclusive:
        limit = f"{len(kept)} pairs" if len(kept) >= most else f"{rule.budget_s:g} s"
        reason += f"; a change of {100 * rule.least:g} % was neither shown nor ruled out in {limit}"
    return concluded(outcome, reason, _warnings(kept, redone, failures, outcome, rule.least), effect)


def _logs(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """Return each pair's estimate, and the same by plain means."""
    return [p.log_ratio for p in pairs], [math.log(p.checks[1] / p.checks[0]) for p in pairs]


def _values(metric: Metric, pairs: Sequence[Pair]) -> str:
    base, candidate = (statistics.geometric_mean([pair.values[side] for pair in pairs]) for side in (0, 1))
    return f"{metric.quantity.number(base)} -> {metric.quantity.number(candidate)} {metric.unit}"


def _warnings(
    pairs: Sequence[Pair], redone: Sequence[Pair], failures: Sequence[str], outcome: Outcome, least: float
) -> list[str]:
    """Write what may mislead."""
    lines = []
    if outcome is not Outcome.worse and decision.mean_is_worse(_logs(pairs)[1], least):
        lines.append("the plain mean is worse: something makes some passes slower, but not most")
    if contested := sum(pair.contested for pair in pairs):
        lines.append(
            f"in {contested} pairs that were kept another program was on the core of one side more than of the other"
        )
    lines += [f"measured again after a failure: {failure}" for failure in failures]
    if redone:
        lines.append(f"{len(redone)} pairs measured again: another program was on the core of one side only")
    timed = [pair for pair in pairs if pair.turns]
    if not timed:
        return lines
    for count, most, message in (
        (
            "involuntary_switches",
            SHARED,
            "another program shares the core: only changes of about 10 % can be detected",
        ),
        ("minor_faults", FAULTS, "the allocator gives memory back in each pass, which blurs the times"),
    ):
        means = [sum(pair.per_run(count)[side] for pair in timed) / len(timed) for side in (0, 1)]
        if min(means) > most:
            lines.append(f"{message} ({means[0]:.1f} and {means[1]:.1f} {count.replace('_', ' ')} a pass)")
        elif max(means) > most and count == "minor_faults":
            lines.append(f"page faults a pass differ: {means[0]:.1f} and {means[1]:.1f}")
    outputs = timed[0].outputs
    if outputs and outputs[0]["shapes"] != outputs[1]["shapes"]:
        lines.append(f"outputs differ in shape: {outputs[0]['shapes']} and {outputs[1]['shapes']}")
    elif outputs and outputs[0].get("by") == outputs[1].get("by") and outputs[0]["digest"] != outputs[1]["digest"]:
        lines.append("outputs differ for the same seed and images: the network or its arithmetic is different")
    return lines


def _written(pair: Pair) -> dict[str, Json]:
    record: dict[str, Json] = {name: getattr(pair, name) for name in ("number", "log_ratio", "values", "checks")}
    if pair.turns:
        record["cores"] = pair.cores
        record["turns"] = [[NAMES.index(turn.side), *dataclasses.asdict(turn.passes).values()] for turn in pair.turns]
    return record
