"""The table of a history: a row for each point, failed ones too, with what changed there."""

from fer_bench.records import units
from fer_bench.reporting.analysis import changepoints
from fer_bench.reporting.analysis.history import History, Shift, sentence
from fer_bench.reporting.analysis.series import Point
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.common import Entry, conditions, joined, make_table
from fer_bench.reporting.tables.standard import Row


def timeline(history: History) -> Table:
    """Draw the points of a history; notes describe the changes, by which commits or environments."""
    metric = history.metric
    shifts = {shift.place: shift for shift in history.shifts}
    entries: list[tuple[Point, Entry]] = []
    for place, point in enumerate(history.points):
        shift = shifts.get(place)
        row: Row = _head(point) | {"letter": history.kinds[point.kind].letter}
        if point.estimate is not None:
            row |= {
                "value": point.estimate.value,
                "interval": point.estimate.interval,
                "processes": point.estimate.processes,
            }
        level = next(its for its in history.levels if its.kind == point.kind and its.first <= place <= its.last)
        row["level"] = level.value
        if shift is not None:
            row |= {"change": shift.size, "p": shift.p}
        entries.append((point, Entry.of(point.result, row, *_changes(history, place, shift), *point.notes)))
    entries += [(point, Entry.of(point.result, _head(point), f"Failed: {point.failure}")) for point in history.failed]
    entries.sort(key=lambda its: its[0].when)
    several = len(history.kinds) > 1
    columns = (
        Column("when", "Started (UTC)", _minute, "left"),
        Column("commit", "Commit", align="left"),
        Column("run", "Run", align="left"),
        Column("value", metric.heading, metric.quantity, interval="interval"),
        *([] if metric.exact else [Column("interval", "95 % interval", metric.quantity.between)]),
        *([Column("letter", "Environment", align="left")] if several else []),
        *([] if metric.exact else [Column("level", "Level", metric.of_level)]),
        Column("change", "Change", _signed),
        Column("p", "p", units.number.with_digits(1)),
    )
    title = f"History of {history.model}: {metric.title}"
    return make_table(title, columns, [entry for _, entry in entries], caption(history))


def caption(history: History) -> str:
    """Describe under which conditions all points were measured, and how changes are detected."""
    metric, last = history.metric, history.points[-1].result
    if metric.exact:
        under = [f"{name.replace('_', ' ')} {text}" for name, text in history.conditions.items() if text != "none"]
        return joined(f"{', '.join(under)}: exact: every difference is a change.".capitalize(), *_left(history))
    several, fewest = len(history.kinds) > 1, changepoints.FEWEST
    most = max(sum(point.kind == kind for point in history.points) for kind in range(len(history.kinds)))
    few = f"None can be detected from fewer than {fewest} points{' of one environment' if several else ''}."
    share = units.percent(changepoints.LEVEL, 1)
    return joined(
        f"Input {units.size(last.subject.input_shape or ())}.",
        conditions([last]),
        "These are the last point's; notes say what differed before." if several else "",
        "Changes of level: E-divisive (Matteson and James 2014)"
        f"{', within an environment' if several else ''}; without any change {share} of histories get a mark.",
        few if most < fewest else "",
        *_left(history),
    )


def _left(history: History) -> list[str]:
    count = history.earlier
    earlier = f"{count} earlier point{'s are' if count > 1 else ' is'} left out; --last shows more." if count else ""
    return [earlier, history.others]


def _changes(history: History, place: int, shift: Shift | None) -> list[str]:
    notes = [sentence(shift, history.metric)] if shift is not None else []
    if shift is None or not shift.by_environment:
        notes += [
            f"Environment {kind.letter}: {kind.difference}; {kind.compared}."
            for kind in history.kinds
            if kind.first == place and kind.difference
        ]
    return notes


def _head(point: Point) -> Row:
    return {"when": point.result.started_at, "commit": point.commit or None, "run": point.run or None}


def _signed(share: float) -> str:
    return f"{'+' if share > 0 else ''}{units.percent(share, 2)}"


def _minute(started_at: str) -> str:
    return started_at[:16].replace("T", " ")
