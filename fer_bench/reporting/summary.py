"""What a run came to, on one screen: the fastest rows, the best networks, and whether the times can be used at all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import Figure
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import builds, latency
from fer_bench.reporting.figures.accuracy import pareto, percent
from fer_bench.reporting.render.text import fill, to_text
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.baselines import accuracy_of

LINES = 20  # of a terminal's 24, with room for the prompt and what went before
_HEAD = 2  # lines of a table before its rows
_KINDS = 4  # of troubles that are named, those of the most rows first
_TIMED = {"latency_s": "Latency (ms)", "training_step_s": "Step (ms)", "coldstart_s": "To first result (ms)"}
_ACCURACY = Column("accuracy", "As published", align="left")
_ALWAYS = "too few processes"  # of each row of a protocol with one process: no row is worse than another
_OPTIONAL = (_ACCURACY, standard.INPUT, standard.PARAMETERS, standard.MACS)  # left out in this order, to fit


@dataclass(frozen=True, slots=True)
class _Row:
    """A result with its time and the first accuracy that a paper prints of it."""

    result: Result
    taken: latency.Latency | None
    accuracy: Figure | None

    @property
    def name(self) -> str:
        return self.result.subject.name

    def count(self, metric: str) -> float | None:
        return self.result.value(metric)


def summary(results: Sequence[Result], registry: Registry, closing: Sequence[str] = (), width: int = 80) -> str:
    """Write the results of a run in at most ``LINES`` lines, the fastest first.

    Args:
        results: of one run.
        registry: whose sheets have the accuracies.
        closing: lines to end with, which count.
        width: columns of the terminal.
    """
    metric = next((each for each in _TIMED if any(latency.summary(r, each) for r in results)), "latency_s")
    rows = [_Row(r, latency.summary(r, metric), _accuracy(r, registry)) for r in results]
    rows.sort(key=lambda row: row.taken.estimate_s if row.taken is not None else float("inf"))
    said = [*_best(rows), *_usable(rows), *_troubles(rows)]
    tail = [line for text in (*said, *closing) for line in fill(text, width).splitlines()]
    most = max(1, LINES - len(tail) - _HEAD - 1)  # an empty line between
    if len(rows) > most:
        tail.insert(0, f"... and {len(rows) - most + 1} more, slower or without a time.")
        most -= 1
    return _drawn(rows[: max(1, most)], metric, results, width) + "\n" + "\n".join(tail) + "\n"


def _drawn(rows: Sequence[_Row], metric: str, results: Sequence[Result], width: int) -> str:
    """Draw the rows as wide as the terminal, without the columns that do not fit."""
    timed = Column(metric, _TIMED[metric], units.milliseconds, interval="interval_s", tolerance=standard.TOLERANCE)
    columns = [standard.NETWORK, standard.INPUT, *common.varying(results), standard.PARAMETERS, standard.MACS, timed]
    cells = [_cells(row, metric) for row in rows]
    table = common.make_table("", [*columns, _ACCURACY], [common.Entry(each) for each in cells], "")
    for dropped in (None, *_OPTIONAL):
        kept = tuple(column for column in table.columns if column is not dropped)
        table = Table("", kept, table.rows)
        text = to_text(table, 0)
        if max(map(len, text.splitlines())) <= width:
            break
    return text


def _cells(row: _Row, metric: str) -> standard.Row:
    cells = common.head(row.result) | {"macs": row.count("macs")}
    if row.taken is not None:
        cells |= common.latency_cells(row.taken)
        cells[metric] = row.taken.estimate_s
    cells["accuracy"] = accuracy_of(row.accuracy) if row.accuracy is not None else None
    return cells


def _accuracy(result: Result, registry: Registry) -> Figure | None:
    spec = registry.networks.get(result.subject.name)
    figures = spec.figures("accuracy") if spec is not None else []
    return next((f for f in figures if _is_of(f, result)), None)


def _is_of(figure: Figure, result: Result) -> bool:
    """Report whether an accuracy may be of the build that was measured: it is not known to be of another."""
    return figure.conditions.build is None or builds.is_build(builds.as_counted(result), figure.conditions.build)


def _best(rows: Sequence[_Row]) -> list[str]:
    """Name the fastest and the smallest network, and those that none is cheaper and more accurate than."""
    said = []
    timed = [row for row in rows if row.taken is not None]
    if timed and timed[0].taken is not None:
        said.append(f"Fastest: {timed[0].name}, {common.write_latency(timed[0].taken)} ms.")
    counted = [(count, row) for row in rows if (count := row.count("parameters.trainable")) is not None]
    if counted:
        count, row = min(counted, key=lambda each: each[0])
        said.append(f"Smallest: {row.name}, {units.scaled(count)} parameters.")
    return [" ".join(said), *_best_per_cost(rows)] if said else []


def _best_per_cost(rows: Iterable[_Row]) -> list[str]:
    """Compare accuracies of one paper on one data set, of which most rows have one: others are not comparable."""
    known = {
        row.name: (macs, row.accuracy, share)
        for row in rows
        if row.accuracy is not None
        and (macs := row.count("macs")) is not None
        and (share := _percent(row.accuracy)) is not None
    }
    groups = Counter((figure.paper, figure.dataset) for _, figure, _ in known.values())
    if not groups or max(groups.values()) < 2:  # one has nothing to be compared with
        return []
    paper, dataset = min(groups, key=lambda group: (-groups[group], group))
    members = {
        name: (macs, share)
        for name, (macs, figure, share) in known.items()
        if (figure.paper, figure.dataset) == (paper, dataset)
    }
    names = [name for name, best in zip(members, pareto(list(members.values())), strict=True) if best]
    return [f"Best accuracy for their MACs ({dataset}, paper {paper}): {', '.join(names)}."]


def _percent(figure: Figure) -> float | None:
    try:
        return percent(figure)
    except SheetError:  # "nearly 5"
        return None


def _usable(rows: Sequence[_Row]) -> list[str]:
    timed = [row for row in rows if row.taken is not None]
    busy = [row for row in timed if not latency.is_usable(row.result)]
    if not busy:
        return []
    if len(busy) == len(timed):
        return ["The machine was busy: these times are not usable."]
    which = "time of 1 row is" if len(busy) == 1 else f"times of {len(busy)} of {len(timed)} rows are"
    return [f"The machine was busy: the {which} not usable ({_named([row.name for row in busy])})."]


def _named(names: Sequence[str], most: int = 3) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join([*distinct[:most], *(["..."] if len(distinct) > most else [])])


def _troubles(rows: Sequence[_Row]) -> list[str]:
    """Merge the warnings of all rows by kind: how many rows, and the one whose passes spread the most."""
    kinds: dict[str, list[_Row]] = {}
    for row in rows:
        for kind in dict.fromkeys(seen.partition(":")[0] for _, seen in latency.troubles(row.result)):
            kinds.setdefault(kind, []).append(row)
    said = []
    for kind, of in sorted(kinds.items(), key=lambda each: -len(each[1]))[:_KINDS]:
        spreads = [(row.taken.p90_s / row.taken.fastest_s, row.taken.p90_s, row.name) for row in of if row.taken]
        worst = ""
        if spreads and kind != _ALWAYS:
            _, p90_s, name = max(spreads)
            worst = f", worst {units.milliseconds(p90_s)} ms (p90) for {name}"
        said.append(f"{kind}: {len(of)} row{'s' * (len(of) != 1)}{worst}")
    return [f"{'; '.join(said)}."] if said else []
