"""The content of a record, in words: raw values, interval, plan, environment and commit."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.tables.common import conditions

Lines = Iterator[tuple[str, str]]

_SHOWN = 3  # raw values at either end of a series
_FEW = 2 * _SHOWN  # series no longer than this are shown whole
_LATENCIES = ("latency_s", "latency_cold_s")


def record(result: Result, metrics: Sequence[str], *, attainable: bool = False) -> Lines:
    """Return a record's content for the metrics that it has, and how it was measured: headings and texts.

    With ``attainable``, also the rates that the machine attains.
    """
    there = [metric for metric in metrics if result.measurement(metric) is not None]
    for metric in there or metrics:
        yield from _raw([measurement for measurement in result.measurements if measurement.metric == metric], metric)
        yield from _interval(result, metric)
    if attainable and result.environment is not None:
        rates = result.environment.attainable
        yield "attainable", scalars({**rates, "copy_bytes_per_s": str(rates.get("copy_bytes_per_s", ""))})
    yield "plan", scalars(result.plan.to_dict())
    yield from site(result)
    yield "started", result.started_at
    yield "every value", "fer-bench export RUN writes every raw value, plan and environment as JSON"


def _raw(measurements: Sequence[Measurement], metric: str) -> Lines:
    if not measurements:
        yield "metric", f"{metric}: not in the record"
        return
    count = sum(len(measurement.values) for measurement in measurements)
    processes = f"{len(measurements)} process{'es' if len(measurements) > 1 else ''}"
    unit = measurements[0].unit or "no unit"
    yield "metric", f"{metric}: {count} value{'s' if count != 1 else ''} of {processes}, in {unit}"
    for measurement in measurements:
        yield f"process {measurement.process}", _series(measurement)
        if details := scalars(measurement.details):
            yield "details", details
        yield from (("warning", text) for text in measurement.warnings)
        if measurement.failure:
            yield "failed", measurement.failure


def _interval(result: Result, metric: str) -> Lines:
    """Return what tables print of a latency, and its interval, in the unit of the record."""
    summary = latency.summary(result, metric) if metric.endswith(_LATENCIES) else None
    if summary is None:
        return
    yield "estimate", f"{_number(summary.estimate_s)} s, the mean of the processes' medians"
    interval = summary.interval
    if interval is None:
        yield "interval", "none: an interval needs several processes"
    else:
        ends = f"{_number(interval.low)} to {_number(interval.high)} s at {units.percent(interval.level, 2)}"
        yield "interval", f"{ends}, over {interval.processes} processes"


def _series(measurement: Measurement) -> str:
    values = measurement.values
    if not values:
        return "no value"
    if len(values) <= _FEW:
        return ", ".join(map(_number, values))
    ends = (", ".join(map(_number, part)) for part in (values[:_SHOWN], values[-_SHOWN:]))
    middle = _number(statistics.median(values))
    return f"{', ... '.join(ends)}; lowest {_number(min(values))}, median {middle}, highest {_number(max(values))}"


def _number(value: float) -> str:
    """Write a raw value; clocks count nanoseconds, and further digits come from the binary fraction."""
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def scalars(details: Mapping[str, Json]) -> str:
    """Format details by name, without lists and empty values."""
    kept = {key: value for key, value in details.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(f"{key}={value}" for key, value in sorted(kept.items()))


def machines(results: Sequence[Result]) -> list[Result]:
    """Return a result of each environment and commit."""
    return list({(conditions([result]), _commit(result)): result for result in reversed(results)}.values())[::-1]


def site(result: Result) -> Lines:
    """Return where a record was measured, and at which commit."""
    where = result.environment
    if where is None:
        yield "environment", "unknown: the process failed before reporting it"
        return
    yield "environment", conditions([result])
    about = {"cpu": where.cpu, "cores": where.cores, "memory_bytes": where.memory_bytes, "blas": where.blas}
    yield "machine", scalars({**about, "load_1min": where.load_1min, **{f"gpu {k}": v for k, v in where.gpu.items()}})
    yield "commit", _commit(result)


def _commit(result: Result) -> str:
    where = result.environment
    if where is None or not where.commit:
        return "unknown"
    return f"{where.commit}{', with uncommitted changes' if where.dirty else ''}"
