"""What the tables of a run share: rows' heads, latencies, conditions, notes."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.plan import ACCURACY, SHARED, SHIPPED, TORCH, Plan
from fer_bench.records.result import LEFT_BEHIND, Environment, Json, Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.table import MEASURED_ONCE, Column, RowSource, Table
from fer_bench.reporting.tables import standard
from fer_bench.reporting.tables.catalogue import built_with, doubts
from fer_bench.reporting.tables.standard import Row

Networks = Mapping[str, ModelSpec]  # all of the sheets, by name


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a table to be: its cells and more by the columns' keys, its notes, and what it was made from."""

    cells: Row
    notes: Sequence[str] = ()
    source: RowSource = field(default_factory=RowSource)

    @classmethod
    def of(cls, result: Result, cells: Row, *notes: str) -> "Entry":
        """Make an entry from one result."""
        return cls(cells, notes, RowSource((result,)))


def failures(result: Result) -> list[str]:
    """Describe what could not be measured, each reason once."""
    reasons: dict[str, list[str]] = {}
    for measurement in result.measurements:
        if measurement.failure:
            reasons.setdefault(measurement.failure, []).append(measurement.metric)
    return [f"Failed ({', '.join(dict.fromkeys(metrics))}): {reason}" for reason, metrics in reasons.items()]


def build_of(result: Result) -> tuple[Json, ...]:
    """Return a key of a build of a network: what it is, for which input, classes and settings."""
    subject = result.subject
    return subject.name, subject.input_shape, subject.num_classes, subject.settings


def distinct(results: Iterable[Result], settings: Iterable[Column] = ()) -> list[Result]:
    """Return the first result of each build, and of each combination of some settings."""
    keys = [setting.key for setting in settings]
    first: dict[tuple[Json, ...], Result] = {}
    for result in results:
        row = head(result)
        first.setdefault((*build_of(result), *(row[key] for key in keys)), result)
    return list(first.values())


def make_table(
    title: str, columns: Iterable[Column], entries: Sequence[Entry], caption: str, *, comparable: bool = True
) -> Table:
    """Make a table without the columns that no row has a value for, the first two aside."""
    rows = tuple(entry.cells for entry in entries)
    return Table(
        title,
        tuple(c for place, c in enumerate(columns) if place < 2 or any(row.get(c.key) is not None for row in rows)),
        rows,
        caption,
        tuple(tuple(entry.notes) for entry in entries),
        comparable=comparable,
        sources=tuple(entry.source for entry in entries),
    )


def head(result: Result) -> Row:
    """Return what every row begins with: which network, and the plan's settings."""
    row: Row = {setting.key: getattr(result.plan, setting.key) or None for setting in standard.SETTINGS}  # "": unknown
    if result.environment is not None:
        row["threads"] = result.environment.threads or None
        if row["threads"] == 1:
            row["wait"] = None  # a single thread waits for none
    if result.plan.backend == TORCH:
        row["runtime"] = None  # of a backend
    return row | {
        "node": (result.environment.node if result.environment is not None else "") or None,
        "name": result.subject.name,
        "input_shape": result.subject.input_shape,
        "num_classes": result.subject.num_classes,
        "parameters": result.value("parameters.trainable"),
    }


def head_columns(results: Sequence[Result]) -> list[Column]:
    """Return the columns that every table of measurements begins with."""
    return [standard.NETWORK, standard.INPUT, *varying(results)]


def varying(results: Sequence[Result]) -> list[Column]:
    """Return the columns of the settings in which the rows differ."""
    rows = [head(result) for result in results]
    columns = (*standard.SETTINGS, standard.NODE)
    return [s for s in columns if len({row[s.key] for row in rows if row[s.key] is not None}) > 1]


def interval_ends(summary: latency.Latency) -> tuple[float, float] | None:
    """Return the ends of the interval, or None where there is none. No time is below 0, whatever Student says."""
    return (max(0.0, summary.interval.low), summary.interval.high) if summary.interval is not None else None


def latency_cells(summary: latency.Latency) -> Row:
    """Return a latency and how far it is known: the ends of its interval, or None where there is none; and as a share.

    A single process has no interval: there it is the passes' own spread that takes digits away, from their median to
    their 90th percentile.
    """
    ends = interval_ends(summary)
    share = summary.p90_s / summary.estimate_s - 1 if ends is None else (ends[1] - ends[0]) / 2 / summary.estimate_s
    return {"latency_s": summary.estimate_s, "interval_s": ends, standard.TOLERANCE: share}


def timed(result: Result, summary: latency.Latency) -> Row:
    """Return a latency with what tables of networks print beside it."""
    return latency_cells(summary) | {
        "mean_s": summary.mean_s if result.plan.protocol == "safavi2023" else None,
        "latency_per_image_s": None if summary.per_image_s == summary.estimate_s else summary.per_image_s,
        "images_per_s": summary.images_per_s,
    }


def write_latency(summary: latency.Latency) -> str:
    """Write a latency in milliseconds, without the suffix, with the digits that the tables give it."""
    return standard.LATENCY.text(latency_cells(summary))


def joined(*texts: str) -> str:
    """Make a caption of sentences, of which some have nothing to say."""
    return " ".join(filter(None, texts))


def latency_means(entries: Iterable[Entry]) -> str:
    """Describe the latency of rows, for a caption: "" where none has one, and nothing of intervals without one."""
    rows = [entry.cells for entry in entries]
    intervals = [row.get("interval_s") for row in rows if row.get("latency_s") is not None]
    if not intervals:
        return ""
    if not any(intervals):
        return "Latency of a batch: median of one process's passes; another process can differ by several percent."
    alone = "" if all(intervals) else " A single process has no interval."
    return (
        "Latency of a batch: mean of the processes' medians; the interval is Student's over processes, in this "
        f"session: another session can differ by some percent more.{alone}"
    )


def detail(result: Result, metric: str, key: str) -> Json:
    """Return a detail of the first measurement of a metric, or None."""
    measured = result.measurement(metric)
    return measured.details.get(key) if measured is not None else None


def mean(result: Result, metric: str) -> float | None:
    """Return the mean of a metric over all passes of all processes."""
    values = [value for sample in result.samples(metric) for value in sample]
    return statistics.fmean(values) if values else None


def mean_share(result: Result, metric: str) -> float | None:
    """Return how far ``mean`` is known, as a share of it; None where it is 0 or was not measured.

    That is the standard error over processes; of one process, as with a latency, the deviation of its passes. That of
    a single value is unknown.
    """
    samples, average = result.samples(metric), mean(result, metric)
    if not average:
        return None
    if sum(map(len, samples)) == 1:
        return MEASURED_ONCE
    if len(samples) > 1:
        return statistics.stdev(map(statistics.fmean, samples)) / math.sqrt(len(samples)) / average
    return statistics.pstdev(samples[0]) / average


def about(result: Result, networks: Networks) -> list[str]:
    """Describe what the reader must know of a network: doubts, settings, a size unlike the protocol or the sheet."""
    subject = result.subject
    texts = doubts(subject.status, subject.note, subject.uncertain)
    if subject.settings:
        texts.append(built_with(subject.settings))
    texts += exempt(result) + left_behind(result)
    spec = networks.get(subject.name)
    if spec is not None and subject.input_shape is not None and spec.input_shape is not None:
        ours, own = (f"{units.size(of.input_shape or ())} and {of.num_classes} classes" for of in (subject, spec))
        if ours != own:
            texts.append(f"Counted and measured with {ours}; its sheet and the notes on its counts are for {own}.")
    return texts


def shared(result: Result) -> list[str]:
    """Say that the times were measured in a process that does other work, too."""
    if result.plan.isolation != SHARED or not result.samples(latency.LATENCY):
        return []
    return ["Measured in a process that is shared with other work (isolation: shared), not in processes of its own."]


def exempt(result: Result) -> list[str]:
    """Explain why a network was measured at another size than the protocol's."""
    why = result.subject.exempt
    return [f"Exempt from the protocol's input size, measured at its own: {why}."] if why else []


def left_behind(result: Result) -> list[str]:
    """Report how many processes of a network outlived the processes that measured it."""
    number = sum(m.details.get(LEFT_BEHIND, 0) for m in result.measurements)
    return [f"Ended {number} process{'es' * (number > 1)} that the network left behind."] if number else []


def warnings_of(result: Result, *prefixes: str) -> list[str]:
    """Return the profilers' warnings on metrics whose name begins with one of these, by default of all."""
    kept = (m for m in result.measurements if m.metric.startswith(prefixes or ""))
    texts = (f"{m.metric}: {text}." for m in kept for text in m.warnings)
    return list(dict.fromkeys(texts))


def asked(results: Sequence[Result], *metrics: str) -> list[Result]:
    """Return the results whose plan asks for one of the metrics."""
    return [result for result in results if set(metrics) & set(result.plan.metrics)]


def conditions(results: Sequence[Result]) -> str:
    """Describe the conditions of rows. A setting in which they differ has a column; else each value is listed."""
    rows = [_conditions_of(result.plan, result.environment) for result in results if result.environment is not None]
    if not rows:
        return ""
    columns = {column.key for column in varying(results)}
    shared = {
        key: " or ".join(dict.fromkeys(one[key] for one in rows if one[key])) for key in rows[0] if key not in columns
    }
    protocol, platform = shared.pop("protocol", ""), shared.pop("platform")
    opening = f"Protocol {protocol}: " if protocol else ""
    return joined(
        f"{opening}{', '.join(filter(None, shared.values()))}; {platform}.", _difference(results), nodes(results)
    )


def nodes(results: Sequence[Result]) -> str:
    """Say that rows are of several nodes, and whether these are alike; "" of one."""
    where: dict[str, Environment] = {}
    for result in results:
        if result.environment is not None:
            where.setdefault(result.environment.node, result.environment)
    if len(where) < 2:
        return ""
    first, *others = where.values()
    unlike = next(filter(None, (first.comparable_with(other, apart_from=["node"]) for other in others)), "")
    alike = f"unlike nodes ({unlike})" if unlike else "alike nodes"
    return f"Measured on {len(where)} {alike}: best marks compare times of one node only."


def packages(where: Environment) -> str:
    """Write the packages that were installed with their versions."""
    return ", ".join(f"{name} {version}" for name, version in sorted(where.packages.items()))


def _conditions_of(plan: Plan, where: Environment) -> dict[str, str]:
    """Describe under which conditions a row was measured, by the keys of the settings."""
    pinned = " pinned" if len(where.affinity) == where.threads < where.cores else ""
    return {
        "protocol": plan.protocol,
        "backend": plan.backend if plan.backend != TORCH else "",
        "runtime": "settings as shipped" if plan.runtime == SHIPPED else "",
        # A file of pytest-benchmark's may be silent on any of these.
        "batch_size": f"batch {_batch(plan)}" if where.device else "",
        "precision": _precision(plan, where) if where.device else "",
        "layout": plan.layout if plan.layout != "nchw" else "",
        "mode": plan.mode if plan.mode != "eager" else "",
        "cudnn": "cuDNN in benchmark mode" if plan.cudnn == "benchmark" else "",
        "device": f"{where.device} ({where.device_name})" if where.device else "",
        "threads": f"{where.threads} thread{'s' if where.threads > 1 else ''}{pinned}" if where.threads else "",
        "wait": "waiting threads sleep" if plan.wait == "passive" and where.threads > 1 else "",
        "alloc": f"allocator: {where.allocator}" if where.allocator else "",
        "rate_hz": f"{plan.rate_hz:g} passes a second" if plan.rate_hz is not None else "",
        "platform": ", ".join(filter(None, (where.os, f"Python {where.python}", packages(where)))),
    }


def _batch(plan: Plan) -> int:
    """Return the images of a pass; where nothing but the accuracy is measured, that is the evaluation's own."""
    how = plan.evaluation if set(plan.metrics) <= set(ACCURACY.metrics) else None
    return plan.batch_size if how is None else how.batch


def comparable(results: Sequence[Result]) -> bool:
    """Report whether times of rows with the same settings may be compared."""
    return not _difference(results)


def _difference(results: Sequence[Result]) -> str:
    """Describe what else than the plan's own settings differs between rows, the first such difference."""
    first: dict[tuple[str, ...], Environment] = {}
    for result in results:
        asked = tuple(str(getattr(result.plan, setting.key)) for setting in standard.SETTINGS)
        where = result.environment
        if where is None:
            continue
        if difference := first.setdefault((where.node, *asked), where).comparable_with(where):
            return f"Times of different rows are not comparable: {difference}."
    return ""


def _precision(plan: Plan, where: Environment) -> str:
    name = plan.precision
    if plan.backend != TORCH:
        return str(where.runtime.get("precision", f"{name}, of which the runtime reports nothing"))
    if name in ("bf16", "fp16"):
        return f"autocast to {name}"
    rounded = [what for what in ("convolutions", "matrix products") if where.gpu.get(f"tf32_{what.replace(' ', '_')}")]
    return f"float32 (TF32 in {' and '.join(rounded)})" if rounded else "float32"
