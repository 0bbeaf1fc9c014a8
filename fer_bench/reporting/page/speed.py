"""Latencies by process and the machine's roofs, as numbers to draw and texts to tell."""

from collections.abc import Sequence

from fer_bench.records import stats, units
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.page.labels import kind, labels
from fer_bench.reporting.tables.common import interval_ends, write_latency

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def latencies(results: Sequence[Result]) -> Json:
    """Give the latency of each network process by process, fastest first, or None where none was measured.

    A strip has the quantiles 5, 25, 50, 75 and 95 % of a process's runs, in seconds.
    """
    networks = []
    for result, label in zip(results, labels(results), strict=True):
        taken = latency.summary(result)
        if taken is None:
            continue
        ends = interval_ends(taken)
        networks.append(
            {
                "label": label,
                "kind": kind(result),
                "estimate": taken.estimate_s,
                "text": f"{write_latency(taken)} ms",
                "interval": ends,
                "interval_text": f"{units.milliseconds.between(ends)} ms" if ends is not None else None,
                "strips": [_strip(m) for m in result.measurements if m.metric == latency.LATENCY and m.values],
            }
        )
    return {"networks": sorted(networks, key=lambda network: network["estimate"])} if networks else None


def _strip(measurement: Measurement) -> Json:
    quantiles = [stats.quantile(measurement.values, share) for share in _SHARES]
    return {
        "process": measurement.process + 1,
        "runs": len(measurement.values),
        "quantiles": quantiles,
        "texts": [_milliseconds(value) for value in quantiles],
    }


def _milliseconds(seconds: float) -> str:
    return f"{units.milliseconds(seconds, 4)} ms"


def roofs(results: Sequence[Result]) -> Json:
    """Give rate over intensity of each network, and the roofs of each machine; None where no roof was measured."""
    points, machines = [], {}
    for result, label in zip(results, labels(results), strict=True):
        taken, where = latency.summary(result), result.environment
        macs, moved = result.measurement("operator_macs"), result.measurement("operator_bytes")
        if taken is None or where is None or "macs_per_s" not in where.attainable or macs is None or moved is None:
            continue
        total_macs, total_bytes = sum(macs.values), sum(moved.values)
        if not total_macs or not total_bytes:
            continue
        roof = _machine(where.attainable, f"{where.device}, {where.threads} thread{'s' if where.threads > 1 else ''}")
        machines[roof["label"]] = roof
        points.append(
            {
                "label": label,
                "kind": kind(result),
                "intensity": total_macs / total_bytes,
                "intensity_text": f"{units.number(total_macs / total_bytes)} MAC/B",
                "rate": total_macs / taken.estimate_s,
                "rate_text": f"{units.scaled(total_macs / taken.estimate_s)}MAC/s",
                "share_text": units.percent(total_macs / taken.estimate_s / where.attainable["macs_per_s"]),
            }
        )
    return {"points": points, "machines": list(machines.values())} if points else None


def _machine(attainable: Json, where: str) -> Json:
    """Give a machine's roofs: multiply-accumulates a second, and bytes a second of the largest and the fastest copy."""
    rates = [rate for _, rate in attainable["copy_bytes_per_s"]]
    peak, memory, cache = attainable["macs_per_s"], rates[-1], max(rates)
    return {
        "label": f"{units.printable(where)}: {units.scaled(peak)}MAC/s, {units.scaled(memory)}B/s from memory",
        "peak": peak,
        "peak_text": f"{units.scaled(peak)}MAC/s",
        "slopes": [
            {"label": "memory", "rate": memory, "text": f"{units.scaled(memory)}B/s"},
            {"label": "cache", "rate": cache, "text": f"{units.scaled(cache)}B/s"},
        ],
    }
