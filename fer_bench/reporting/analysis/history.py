"""A metric of one network over runs and commits: where its level changed, and what changed there.

Environments, which no plan decides, stay in one history but are never compared as if the code had changed: changes are
looked for among the points of one environment, and where an environment first appears its level is held against that of
the one before. Counts are the same on every machine: each difference is a change.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fer_bench.records import stats, units
from fer_bench.records.result import Environment, Result, speeds_apart
from fer_bench.reporting.analysis import changepoints
from fer_bench.reporting.analysis.series import UNREAD, Metric, Point, Stored, each_once, point_of, points_of

# Reads the values and environments of results of which only heads were given; None for what cannot be read.
Read = Callable[[Sequence[Result]], Sequence[Result | None]]

# An environment that is new is one question more, and asked once.
ENVIRONMENT_LEVEL = changepoints.LEVEL / 2


@dataclass(frozen=True, slots=True)
class Kind:
    """An environment of a history."""

    letter: str  # stands for it
    first: int  # place of its first point
    difference: str  # from the earlier one that is most like it; "" for the first
    compared: str  # how its level compares with that one's; "" where it changed, and for the first


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of level."""

    place: int  # of the first point of the new level
    levels: tuple[float, float]  # the old and the new
    p: float | None  # the probability of such a change by chance; None where values are exact
    cause: str  # between which commits, or what else changed
    by_environment: bool = False  # the environment changed there

    @property
    def size(self) -> float | None:
        """The change as a share of the old level; None where that is not above 0."""
        return self.levels[1] / self.levels[0] - 1 if self.levels[0] > 0 else None


@dataclass(frozen=True, slots=True)
class Level:
    """The level from a place to another, among the points of one environment."""

    kind: int
    first: int
    last: int
    value: float


@dataclass(frozen=True, slots=True)
class History:
    """A metric of one network over time; places are those in ``points``, which all have values."""

    model: str
    metric: Metric
    conditions: Mapping[str, str]  # under which all points were measured, as texts by name
    points: tuple[Point, ...]
    failed: tuple[Point, ...]  # the results without a value, by time
    kinds: tuple[Kind, ...]
    levels: tuple[Level, ...]
    shifts: tuple[Shift, ...]
    others: str = ""  # what is stored under other conditions, in words
    earlier: int = 0  # points that were left out as too old


def history(
    stored: Iterable[Stored],
    model: str,
    name: str,
    wanted: Mapping[str, str] | None = None,
    last: int | None = None,
    read: Read | None = None,
) -> History:
    """Compute the history of a metric.

    Args:
        stored: results of any networks, each with the name of its run.
        model: the network.
        name: of the metric, as ``series.find_metric`` knows it, or of a measurement.
        wanted: conditions, by the names of ``series.CONDITIONS``.
        last: so many of the latest points only; None for all.
        read: reads results of which ``stored`` has only the heads.

    Raises:
        FerBenchError: nothing is stored of this network or metric, or under these conditions, or all of it failed.
        StoreError: a result's time is none.
    """
    metric, chosen, others, conditions = points_of(stored, model, name, wanted or {})
    if read is not None:
        chosen = _with_values(chosen, metric, last, read)
    measured = [point for point in chosen if point.estimate is not None]
    points = measured[-last:] if last is not None else measured
    early = len(points) < len(measured)
    failed = [p for p in chosen if p.estimate is None and not (early and p.when < points[0].when)]
    if metric.exact:
        kinds, levels, shifts = _exact_shifts(points)
    else:
        firsts, points = _in_kinds(points)
        kinds, levels, shifts = _shifts(points, firsts)
        points = _with_speed(points)
    return History(
        model=model,
        metric=metric,
        conditions=conditions,
        points=tuple(points),
        failed=tuple(failed),
        kinds=tuple(kinds),
        levels=tuple(levels),
        shifts=tuple(shifts),
        others=others,
        earlier=len(measured) - len(points),
    )


def _with_values(points: Sequence[Point], metric: Metric, last: int | None, read: Read) -> list[Point]:
    """Read the values of the latest points, until so many have one; the points before keep theirs unread."""
    rest, latest = list(points), list[Point]()
    while rest and (last is None or sum(point.estimate is not None for point in latest) < last):
        some = rest[-last:] if last is not None else rest
        rest = rest[: len(rest) - len(some)]
        unread = [point for point in some if point.estimate is UNREAD]
        results = dict(zip(map(id, unread), read([point.result for point in unread]), strict=True))
        whole = [(point.run, results.get(id(point), point.result)) for point in some]
        made = [point_of(run, result, metric) for run, result in whole if result is not None]  # None cannot be read
        latest = each_once([*(point for point in made if point is not None), *latest])
    return [*rest, *latest]


def _in_kinds(points: Sequence[Point]) -> tuple[list[int], list[Point]]:
    """Number the environments; return the place of the first point of each, and the points with their numbers."""
    firsts: list[int] = []
    kinds: list[int] = []
    for place, point in enumerate(points):
        same = (number for number, first in enumerate(firsts) if _same(points[first].environment, point.environment))
        kinds.append(next(same, len(firsts)))
        if kinds[-1] == len(firsts):
            firsts.append(place)
    return firsts, [dataclasses.replace(point, kind=kind) for point, kind in zip(points, kinds, strict=True)]


def _same(first: Environment | None, second: Environment | None) -> bool:
    if first is None or second is None:
        return first is second
    return not first.comparable_with(second)


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _base(points: Sequence[Point], firsts: Sequence[int], kind: int) -> int:
    """Return the earlier environment that one differs least from: the one just before where several do."""
    where, just = points[firsts[kind]].environment, points[firsts[kind] - 1].kind

    def distance(other: int) -> tuple[int, bool, int]:
        return len(differences(points[firsts[other]].environment, where)), other != just, -other

    return min(range(kind), key=distance)


def differences(before: Environment | None, after: Environment | None) -> list[str]:
    """Return what makes times of two environments not comparable: "torch 2.14.0 to 2.15.0", "cores 2 to 4"."""
    if before is None or after is None:
        return [] if before is after else ["an environment that is not recorded"]
    changed: list[str] = []
    for name, ours, theirs in before.differences(after):
        if isinstance(ours, Mapping):
            pairs = [(key, ours.get(key), theirs.get(key)) for key in dict.fromkeys((*ours, *theirs))]
            about = "GPU's " if name == "gpu" else ""
            changed += [f"{about}{key} {_written(old)} to {_written(new)}" for key, old, new in pairs if old != new]
        elif not (name == "device_name" and before.device == after.device == "cpu"):  # there it is the CPU
            changed.append(f"{_WORDS.get(name, name)} {_written(ours)} to {_written(theirs)}")
    return changed


_WORDS = {
    "device_name": "device",
    "cpu": "CPU",
    "memory_bytes": "bytes of memory",
    "huge_pages": "huge pages",
    "frequency_policy": "governor",
    "nice": "niceness",
    "os": "system",
    "python": "Python",
    "blas": "libraries",
}


def _written(value: object) -> str:
    return "none" if value in ("", None) else str(value)


_Changes = tuple[list[Kind], list[Level], list[Shift]]


def _exact_shifts(points: Sequence[Point]) -> _Changes:
    """Return each difference of counts; versions that changed with it are named beside the commits."""
    values = [_value(point) for point in points]
    edges = [0, *changepoints.steps(values), len(points)]
    levels = [Level(0, start, end - 1, values[start]) for start, end in itertools.pairwise(edges)]
    shifts = []
    for old, new in itertools.pairwise(levels):
        before, after = points[old.last], points[new.first]
        other = ", ".join(differences(before.environment, after.environment))
        cause = _between(before, after) + (f"; besides the code, {other}" if other else "")
        shifts.append(Shift(new.first, (old.value, new.value), None, cause))
    return [Kind("A", 0, "", "")], levels, shifts


def _shifts(points: Sequence[Point], firsts: Sequence[int]) -> _Changes:
    """Return the changes among the points of each environment, and those of each from the one most like it."""
    # Logarithms, so that ratios are compared; values as they are where one is not above 0.
    to, back = (math.log, math.exp) if min(map(_value, points)) > 0 else (float, float)
    members = [[place for place, point in enumerate(points) if point.kind == kind] for kind in range(len(firsts))]
    series = [[to(_value(points[place])) for place in places] for places in members]
    levels: list[Level] = []
    shifts: list[Shift] = []
    for kind, (places, values, changes) in enumerate(
        zip(members, series, changepoints.change_points(series), strict=True)
    ):
        edges = [0, *(change.place for change in changes), len(values)]
        own = [
            Level(kind, places[start], places[end - 1], back(changepoints.middle(values[start:end])))
            for start, end in itertools.pairwise(edges)
        ]
        for change, (old, new) in zip(changes, itertools.pairwise(own), strict=True):
            cause = _between(points[old.last], points[new.first]) + _machine(_span(points, old), _span(points, new))
            shifts.append(Shift(new.first, (old.value, new.value), change.p, cause))
        levels += own
    kinds = [Kind("A", 0, "", "")]
    for kind, first in enumerate(firsts[1:], start=1):
        base, after = _base(points, firsts, kind), points[first]
        before = next(point for point in reversed(points[:first]) if point.kind == base)
        difference = ", ".join(differences(points[firsts[base]].environment, after.environment))
        if base != points[first - 1].kind:
            difference += f"; otherwise like {_letter(base)}"
        old = next(its for its in reversed(levels) if its.kind == base and its.first < first)
        new = next(its for its in levels if its.kind == kind)
        spans = _span(points, old), _span(points, new)
        p = changepoints.differ(*([to(_value(point)) for point in span] for span in spans))
        compared = "too few points to compare" if p is None else f"no change of level seen (p = {_p(p)})"
        if p is not None and p <= ENVIRONMENT_LEVEL:
            compared, cause = "", f"by the environment: {difference}"
            if before.commit != after.commit:
                cause += f"; but the commit changed too, {_between(before, after)}"
            shifts.append(Shift(first, (old.value, new.value), p, cause + _machine(*spans), by_environment=True))
        kinds.append(Kind(_letter(kind), first, difference, compared))
    return kinds, sorted(levels, key=lambda its: its.first), sorted(shifts, key=lambda shift: shift.place)


def _span(points: Sequence[Point], level: Level) -> list[Point]:
    return [point for point in points[level.first : level.last + 1] if point.kind == level.kind]


def _value(point: Point) -> float:
    assert point.estimate is not None  # noqa: S101 - failed points are set aside before
    return point.estimate.value


def _between(before: Point, after: Point) -> str:
    if not before.commit or not after.commit:
        return f"between {before.when:%Y-%m-%d %H:%M} and {after.when:%Y-%m-%d %H:%M}, with no commit recorded"
    if before.commit == after.commit:
        sure = ", whose changes are not recorded" if before.commit.endswith("-dirty") else ", so not by a commit"
        return f"at the same commit {before.commit}{sure}"
    return f"between {before.commit} and {after.commit}"


def _p(p: float) -> str:
    return units.significant(p, 1)


def size_of(shift: Shift, metric: Metric) -> str:
    """Write how much changed, with its sign: "+5.1 %"; in the metric's unit where a share means nothing."""
    change = shift.levels[1] - shift.levels[0]
    text = units.percent(shift.size, 2) if shift.size is not None else metric.write(change)
    return f"+{text}" if change > 0 else text


def sentence(shift: Shift, metric: Metric) -> str:
    """Format a change in one line."""
    old, new = (metric.write(level) for level in shift.levels)
    chance = f", p = {_p(shift.p)}" if shift.p is not None else ""
    return f"{size_of(shift, metric)} ({old} to {new}{chance}) {shift.cause}."


def _speeds(point: Point) -> dict[str, float]:
    return point.environment.speeds if point.environment is not None else {}


def _usual(points: Iterable[Point]) -> dict[str, float]:
    speeds_of = defaultdict(list)
    for point in points:
        for name, speed in _speeds(point).items():
            speeds_of[name].append(speed)
    return {name: stats.median(speeds) for name, speeds in speeds_of.items()}


def _machine(before: Sequence[Point], after: Sequence[Point]) -> str:
    """Describe how the machine's own speed changed with a level."""
    change = speeds_apart(_usual(before), _usual(after))
    return f"; the machine itself was {change}" if change else ""


def _with_speed(points: Sequence[Point]) -> list[Point]:
    """Note at which points the machine was not as fast as usual in that environment."""
    usual = {kind: _usual(p for p in points if p.kind == kind) for kind in {point.kind for point in points}}
    changes = [speeds_apart(usual[point.kind], _speeds(point)) for point in points]
    return [
        dataclasses.replace(point, notes=(f"The machine itself was {text} than usual.",)) if text else point
        for point, text in zip(points, changes, strict=True)
    ]
