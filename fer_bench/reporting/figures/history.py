"""A history as a figure: points over runs, levels, changes, environments."""

from dataclasses import dataclass, replace
from typing import Literal

from fer_bench.records import units
from fer_bench.reporting.analysis.history import History, Level, size_of
from fer_bench.reporting.analysis.series import Point
from fer_bench.reporting.figures.common import axis
from fer_bench.reporting.figures.plots import Axis, Written
from fer_bench.reporting.tables.common import joined
from fer_bench.reporting.tables.history import caption

_FEW = 16  # points of which each has its commit below it
_SUFFIXED: dict[units.Quantity, Written] = {
    units.milliseconds: "seconds",
    units.grouped: "count",
    units.scaled: "count",
    units.percent: "share",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A point: the number of its group, its value, the ends of its interval, and what stands below it."""

    label: str
    group: int
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands at a place: a change of level by the code, or an environment that is new there."""

    place: int
    label: str
    environment: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """Values over runs in their order; places count them from 0. ``groups`` are environments, none for a single one."""

    title: str
    caption: str
    x: str
    y: Axis
    points: tuple[Moment, ...]
    levels: tuple[Level, ...]
    marks: tuple[Mark, ...]
    groups: tuple[str, ...] = ()
    kind: Literal["timeline"] = "timeline"


def timeline(history: History) -> Timeline:
    """Draw a history as a plot."""
    metric, points = history.metric, history.points
    # What an axis cannot write itself is given as written.
    per = 1.0 if metric.quantity in _SUFFIXED else float(metric.quantity.per)
    estimates = [(point, point.estimate) for point in points if point.estimate is not None]
    labels, x = _labels(points)
    moments = tuple(
        Moment(label, point.kind, its.value / per, its.interval and (its.interval[0] / per, its.interval[1] / per))
        for (point, its), label in zip(estimates, labels, strict=True)
    )
    quantity = _SUFFIXED.get(metric.quantity, "number")
    groups = (f"{kind.letter}: {kind.difference or 'environment at first'}" for kind in history.kinds)
    title = f"History of {history.model}: {metric.title}"
    return Timeline(
        title=title,
        caption=joined(title + ".", caption(history)),
        x=x,
        y=axis(metric.heading, quantity, [moment.value for moment in moments]),
        points=moments,
        levels=tuple(replace(level, value=level.value / per) for level in history.levels),
        marks=_marks(history),
        groups=tuple(groups) if len(history.kinds) > 1 else (),
    )


def _marks(history: History) -> tuple[Mark, ...]:
    """Return a mark for each place at which something changed: one where an environment brought another level."""
    marks = {kind.first: Mark(kind.first, kind.letter, environment=True) for kind in history.kinds if kind.first}
    for shift in history.shifts:
        size = size_of(shift, history.metric).replace("-", "\N{MINUS SIGN}")
        new = marks.get(shift.place, Mark(shift.place, "", environment=False))
        marks[shift.place] = replace(new, label=f"{new.label} {size}".strip())
    return tuple(marks[place] for place in sorted(marks))


def _labels(points: tuple[Point, ...]) -> tuple[list[str], str]:
    """Return the labels below the points: commits where there are few points and several commits, else dates."""
    commits = [point.commit for point in points]
    if len(points) <= _FEW and len(set(commits)) > 1 and all(commits):
        return commits, "Commit, in the order measured"
    days = {point.when.date() for point in points}
    if len(days) == 1:
        return [f"{point.when:%H:%M}" for point in points], f"Run, on {points[0].when:%Y-%m-%d}"
    return [f"{point.when:%Y-%m-%d}" for point in points], "Run"
