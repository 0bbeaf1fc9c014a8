"""Comparable points of one network and metric, from results of any: what a history is made of.

Points are comparable where the plan's conditions are the same (``CONDITIONS``); of several the most frequent make the
series unless some are named. What no plan decides, the environment, is shown with each point.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fer_bench.accuracy.statistics import CONFUSION, data_name, scores_in
from fer_bench.records import stats, store, units
from fer_bench.records.errors import FerBenchError, StoreError, nearest
from fer_bench.records.plan import DEVICES, RECOUNT
from fer_bench.records.result import PLAN_CONDITIONS, Environment, Result
from fer_bench.records.units import Quantity
from fer_bench.reporting.analysis import latency, parity, resources

Stored = tuple[str, Result]  # where a result is stored, as a reader knows it, and the result

_SHORT = 7  # characters of a commit
_OTHERS = 4  # other conditions that are named; of more the number

_STATIC = ("macs", "flops", "state_dict_bytes", "checkpoint_bytes", "peak_activation_bytes")
_TOTALS = ("module_macs", "operator_macs", "operator_bytes")  # a value for each part of the network, not for each pass
_OF_BATCH = ("peak_activation_bytes", "operator_macs", "operator_bytes")
_QUANTITIES: Mapping[str, Quantity] = {
    "s": units.milliseconds,
    "bytes": units.mebibytes,
    "count": units.scaled,
    "J": units.millijoules,
}
_SUFFIXES = {units.milliseconds: "ms", units.mebibytes: "MiB", units.millijoules: "mJ", units.percent: "%"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of a metric in one result, in a base unit; ``interval`` are the ends, None for one process."""

    value: float
    interval: tuple[float, float] | None = None
    processes: int = 1


UNREAD = Estimate(math.nan)  # of a result whose values the store has yet


@dataclass(frozen=True, slots=True)
class Metric:
    """What a history is of."""

    name: str  # as users ask for it
    title: str  # as a heading
    quantity: Quantity  # that its values are written by
    records: tuple[str, ...]  # the measurements that it rests on, of which one may have failed
    exact: bool = False  # no statistics are needed
    derive: Callable[[Result], Estimate | None] | None = None  # where it is not what the only record holds
    beside: tuple[str, ...] = ()  # further measurements that ``derive`` reads
    details: bool = False  # it reads the measurements' details, too

    def of(self, result: Result) -> Estimate | None:
        """Return its value in a result, or None; ``UNREAD`` where the store has it yet."""
        if any(measured.values is store.UNREAD for measured in result.measurements):
            return UNREAD
        if self.derive is not None:
            return self.derive(result)
        return _total(self.records[0], result) if self.exact else _samples(self.records[0], result)

    @property
    def heading(self) -> str:
        """The title with the unit as written."""
        suffix = _SUFFIXES.get(self.quantity)
        return f"{self.title} ({suffix})" if suffix else self.title

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions under which values are comparable."""
        if self.exact:
            return ("input", "classes", "set", *(["batch_size"] if set(self.records) & set(_OF_BATCH) else []))
        if CONFUSION in self.records:
            return ("input", "classes", "set", "device", "precision", "data")
        training = any("training" in record for record in self.records)
        return tuple(name for name in CONDITIONS if name != "data" and (name != "optimizer" or training))

    @property
    def of_level(self) -> Quantity:
        """What levels are written by: with a digit more, since they rest on several values."""
        return self.quantity if self.exact else self.quantity.with_digits(4)

    def write(self, value: float) -> str:
        """Write a level with its unit."""
        suffix = _SUFFIXES.get(self.quantity, "")
        text = self.of_level(value)
        return text if not suffix or text.endswith(suffix) else f"{text} {suffix}"


@dataclass(frozen=True, slots=True)
class Point:
    """A result in a history."""

    when: datetime
    run: str
    result: Result
    estimate: Estimate | None  # None where the measurement failed
    kind: int = 0  # number of its environment among those of the history
    failure: str = ""  # the reason why there is no value
    notes: tuple[str, ...] = ()  # what a reader must know of it

    @property
    def environment(self) -> Environment | None:
        """Where it was measured."""
        return self.result.environment

    @property
    def commit(self) -> str:
        """The commit in short, with "-dirty" where the source had been changed since; "" where none is recorded."""
        where = self.result.environment
        return f"{where.commit[:_SHORT]}{'-dirty' if where.dirty else ''}" if where is not None and where.commit else ""


def _of_plan(name: str, result: Result) -> str:
    value = getattr(result.plan, name)
    if name == "threads":  # as asked for: a machine that has other cores is another environment
        return str(value or "all")
    return ("yes" if value else "no") if name == "pin" else str(value)


# What makes two points comparable, as users choose by it: how a result has it.
CONDITIONS: Mapping[str, Callable[[Result], str]] = {
    **{name: partial(_of_plan, name) for name in ("protocol", *PLAN_CONDITIONS, "isolation", "optimizer")},
    "input": lambda result: units.size(result.subject.input_shape or ()),
    "classes": lambda result: str(result.subject.num_classes),
    "set": lambda result: ",".join(result.subject.settings) or "none",
    "data": data_name,
}


def points_of(
    stored: Iterable[Stored], model: str, name: str, wanted: Mapping[str, str]
) -> "tuple[Metric, list[Point], str, dict[str, str]]":
    """Return a metric of a network, its points, what there is under other conditions, and the points' conditions.

    The points are those under one set of conditions, failed ones too, by time; see ``history.history`` for the rest.
    """
    everything = [(run, r) for run, r in stored if r.plan.metrics != RECOUNT.metrics]
    ours = [(run, result) for run, result in everything if result.subject.name == model]
    if not ours:
        raise nothing_of(model, (result.subject.name for _, result in everything))
    metric = find_metric(name, model, {m.metric: m.unit for _, result in ours for m in result.measurements})
    chosen, others, conditions = _choose(_points(ours, metric), metric, wanted)
    chosen = _once(chosen) if metric.exact else chosen
    if all(point.estimate is None for point in chosen):
        raise FerBenchError(
            f"{metric.name} of {model}: measured {len(chosen)} times and failed each time; the last: "
            f"{chosen[-1].failure}"
        )
    return metric, chosen, others, conditions


def nothing_of(model: str, names: Iterable[str]) -> FerBenchError:
    """Return the error for a network without results; it names the networks with results."""
    known = sorted(set(names))
    if not known:
        return FerBenchError(f"there are no results of {model} or of any other network; `fer-bench run` adds some")
    return FerBenchError(f"there are no results of {model}{nearest(model, known)}; there are of {', '.join(known)}")


def _samples(record: str, result: Result) -> Estimate | None:
    medians = [stats.median(sample) for sample in result.samples(record)]
    if not medians or (record == latency.LATENCY and latency.too_few(result)):
        return None
    interval = stats.interval(medians, result.plan.pilot_processes)
    ends = (interval.low, interval.high) if interval is not None else None
    return Estimate(stats.estimate(medians), ends, len(medians))


def _total(record: str, result: Result, factor: int = 1) -> Estimate | None:
    measured = result.measurement(record)
    return Estimate(factor * sum(measured.values)) if measured is not None and measured.values else None


def _latency(result: Result) -> Estimate | None:
    return None if parity.is_different(result) else _samples(latency.LATENCY, result)


def _images_per_s(result: Result) -> Estimate | None:
    estimate = _latency(result)
    if estimate is None or estimate.value <= 0:
        return None
    batch, ends = result.plan.batch_size, estimate.interval
    around = (batch / ends[1], batch / ends[0]) if ends is not None and ends[0] > 0 else None
    return Estimate(batch / estimate.value, around, estimate.processes)


def _memory(stage: str, result: Result) -> Estimate | None:
    device = "cuda_allocated" if result.plan.device in DEVICES[1:] else "rss"
    return _samples(f"{stage}peak_{device}_bytes", result)


def _joules(result: Result) -> Estimate | None:
    measured = result.measurement("energy_j")
    joules = resources.joules_per_image(measured) if measured is not None else None
    return Estimate(joules[0]) if joules is not None else None


def _occupation(stage: str, key: str, result: Result) -> Estimate | None:
    occupancy = resources.occupancy(result, stage)
    return Estimate(occupancy[key]) if occupancy is not None else None


def _parity(result: Result) -> Estimate | None:
    verdict = parity.judge(result)
    return Estimate(verdict.ratio) if verdict is not None and verdict.ratio is not None else None


def _accuracy(result: Result) -> Estimate | None:
    found = scores_in(result)
    return Estimate(found.accuracy, found.interval) if found is not None else None


_NAMED = (
    Metric("accuracy", "Accuracy", units.percent, (CONFUSION,), derive=_accuracy, details=True),
    Metric("latency", "Latency", units.milliseconds, ("latency_s",), derive=_latency),
    Metric("images_per_s", "Images/s", units.number, ("latency_s",), derive=_images_per_s),
    Metric("parity", "Error / PyTorch's", units.number, (parity.ERROR, "parity"), derive=_parity, details=True),
    Metric("macs", "MACs", units.grouped, ("macs",), exact=True),
    Metric("flops", "FLOPs", units.grouped, ("macs",), exact=True, derive=partial(_total, "macs", factor=2)),
    Metric("parameters", "Trainable parameters", units.grouped, ("parameters.trainable",), exact=True),
    Metric("activations", "Peak of activations", units.mebibytes, ("peak_activation_bytes",), exact=True),
    *(
        Metric(
            f"{stage}memory",
            title,
            units.mebibytes,
            (f"{stage}peak_rss_bytes", f"{stage}peak_cuda_allocated_bytes"),
            derive=partial(_memory, stage),
        )
        for stage, title in (("", "Peak memory"), ("training_", "Peak memory in training"))
    ),
    Metric("training", "Training step", units.milliseconds, ("training_step_s",)),
    Metric("energy", "Energy per image", units.millijoules, ("energy_j",), derive=_joules, details=True),
    *(
        Metric(
            f"{short}{name}",
            f"{title} in the {stage} stage",
            quantity,
            (f"{stage}.interval_s",),
            derive=partial(_occupation, stage, key),
            beside=tuple(f"{stage}.{name}" for name in resources.OCCUPANCY),
            details=True,
        )
        for short, stage in (("", "testing"), ("training_", "training"))
        for name, title, quantity, key in (
            ("occupancy", "Cores used", units.number, "cores_used"),
            ("cpu", "CPU", units.percent, "cpu_share"),
        )
    ),
)
_RAW_NAMES = {"latency_s": "latency", "energy_j": "energy", "training_step_s": "training"}


def measurements_for(name: str) -> tuple[tuple[str, ...], bool]:
    """Return the measurements that a metric of this name is worked out from, and whether from their details, too."""
    asked = _RAW_NAMES.get(name, name)
    for metric in _NAMED:
        if metric.name == asked:
            return (*metric.records, *metric.beside), metric.details
    return (asked,), False


def find_metric(name: str, model: str, raw: Mapping[str, str]) -> Metric:
    """Return a metric that results of a network measured, or tried to: ``raw`` are their measurements' units.

    Raises:
        FerBenchError: none of them did; the message names what there is.
    """
    here = {metric.name: metric for metric in _NAMED if set(metric.records) & set(raw)}
    asked = _RAW_NAMES.get(name, name)
    if asked in here:
        return here[asked]
    if asked not in raw:
        known = [*here, *sorted(set(raw) - set(here) - set(_RAW_NAMES))]
        what = "was never measured" if asked in {metric.name for metric in _NAMED} else "is not a metric"
        raise FerBenchError(f"{name!r} {what} of {model}{nearest(name, known)}; there are {', '.join(known)}")
    exact = asked.startswith(("parameters.", "layers.")) or asked in (*_STATIC, *_TOTALS)
    quantity = _QUANTITIES.get(raw[asked], units.number)
    if exact and raw[asked] == "count":
        quantity = units.grouped
    return Metric(asked, asked, quantity, (asked,), exact)


def _points(ours: Iterable[Stored], metric: Metric) -> list[Point]:
    """Return the results that measured a metric, each once, by time."""
    made = (point_of(run, result, metric) for run, result in ours)
    return sorted(each_once(point for point in made if point is not None), key=lambda point: point.when)


def each_once(points: Iterable[Point]) -> list[Point]:
    """Return points without those that were read from a second place; of what is unread nobody knows yet."""
    kept: list[Point] = []
    seen: dict[str, list[Result]] = {}
    for point in points:
        same = seen.setdefault(point.result.started_at, [])
        if point.estimate is UNREAD or point.result not in same:
            same.append(point.result)
            kept.append(point)
    return kept


def point_of(run: str, result: Result, metric: Metric) -> Point | None:
    """Return a result as a point of a history; None where the metric was not asked for."""
    failures = [m.failure for m in result.measurements if m.metric in metric.records and m.failure]
    estimate = metric.of(result)
    if estimate is None and {latency.LATENCY, parity.ERROR} & {*metric.records}:
        verdict = parity.judge(result)
        if verdict is not None and verdict.kind is parity.Kind.DIFFERENT:
            failures.append(f"it computes something else than the network: {verdict.reason}")
        elif latency.LATENCY in metric.records and (few := latency.too_few(result)):
            failures.append(few)
    if estimate is None and not failures:
        return None
    return Point(_time(result.started_at), run, result, estimate, failure="" if estimate is not None else failures[0])


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise StoreError(
            f"a result has the start time {text!r}, and one such as 2026-11-21T12:00:00+00:00 was expected; "
            "remove that record, or export its run again"
        ) from error
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _once(points: Iterable[Point]) -> list[Point]:
    """Keep one of equal counts in a row of one run and commit: a sweep counts a network anew for each plan."""
    kept: list[Point] = []
    for point in points:
        before = kept[-1] if kept else None
        what = (point.run, point.commit, point.estimate)
        if before is None or point.estimate is None or (before.run, before.commit, before.estimate) != what:
            kept.append(point)
    return kept


def _choose(
    points: Sequence[Point], metric: Metric, wanted: Mapping[str, str]
) -> tuple[list[Point], str, dict[str, str]]:
    """Choose the points under the conditions wanted, and of several the most frequent, of these the latest."""
    groups: dict[tuple[str, ...], list[Point]] = {}
    keys: dict[tuple[int, int], tuple[str, ...]] = {}  # by the identity of plan and subject, which many results share
    for point in points:
        same = id(point.result.plan), id(point.result.subject)
        if same not in keys:
            keys[same] = tuple(CONDITIONS[name](point.result) for name in metric.conditions)
        groups.setdefault(keys[same], []).append(point)
    for name, text in wanted.items():
        if name not in metric.conditions:
            unknown = f"there is no {name}{nearest(name, CONDITIONS)}"
            wrong = f"{metric.name} does not depend on it" if name in CONDITIONS else unknown
            raise FerBenchError(f"--where {name}={text}: {wrong}; choose by {', '.join(metric.conditions)}")
        column = metric.conditions.index(name)
        there = Counter(key[column] for key, points in groups.items() for _ in points)
        if text not in there:
            known = ", ".join(f"{each} ({count})" for each, count in sorted(there.items()))
            raise FerBenchError(f"--where {name}={text}: no such result is stored; there are {known}")
        groups = {key: points for key, points in groups.items() if key[column] == text}
    chosen = max(groups, key=lambda key: (sum(p.estimate is not None for p in groups[key]), groups[key][-1].when))
    chosen_points = groups.pop(chosen)
    conditions = dict(zip(metric.conditions, chosen, strict=True))
    others = []
    for key, points in sorted(groups.items(), key=lambda its: (-len(its[1]), its[0])):
        differing = {name: text for name, text in zip(conditions, key, strict=True) if text != conditions[name]}
        if list(differing) == ["input"] and all(point.result.subject.input_shape is None for point in points):
            chosen_points += points  # what failed before its input was known is of any
        else:
            others.append(f"{' '.join(f'--where {name}={text}' for name, text in differing.items())} ({len(points)})")
    if len(others) > _OTHERS:
        others[_OTHERS:] = [f"{len(others) - _OTHERS} more"]
    other_conditions = f"Results under other conditions: {', '.join(others)}." if others else ""
    return sorted(chosen_points, key=lambda point: point.when), other_conditions, conditions
