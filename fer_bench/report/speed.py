"""How fast a network is, and what holds it up."""

from collections.abc import Sequence

from fer_bench import roofline, stability, units
from fer_bench.records import Result
from fer_bench.report.common import (
    IMAGES_PER_S,
    INPUT,
    INTERVAL,
    LATENCY,
    MEAN,
    NETWORK,
    PER_IMAGE,
    TOLERANCE,
    accuracy,
    asked,
    comparable,
    conditions,
    failures,
    head,
    make_table,
    mean,
    varying,
)
from fer_bench.table import Column, Table


def latency(results: Sequence[Result]) -> Table:
    """Draw all that is known of the latency."""
    rows, notes = [], []
    for result in asked(results, "latency"):
        row, taken = head(result), stability.summary(result)
        if taken is not None:
            row |= accuracy(taken) | {
                "latency_s": taken.estimate_s,
                "mean_s": taken.mean_s if result.plan["protocol"] == "safavi2023" else None,
                "p90_s": taken.p90_s,
                "p99_s": taken.p99_s,
                "spread": taken.spread,
                "latency_per_image_s": taken.per_image_s,
                "images_per_s": taken.images_per_s,
                "processes": taken.processes,
                "runs": taken.runs,
                "minor_faults": mean(result, "minor_faults"),
                "involuntary_switches": mean(result, "involuntary_switches"),
            }
        for metric in ("latency_cold_s", "graph_latency_s", "graph_latency_cold_s"):
            series = stability.summary(result, metric)
            row[metric] = series.estimate_s if series is not None else None
        rows.append(row)
        notes.append((*failures(result), *stability.warnings(result), *_not_captured(result), *_no_roof(result)))
    columns = (
        NETWORK,
        INPUT,
        *varying(results),
        LATENCY,
        INTERVAL,
        MEAN,
        Column("latency_cold_s", "Cold L2 (ms)", units.milliseconds),
        Column("graph_latency_s", "CUDA graph (ms)", units.milliseconds),
        Column("graph_latency_cold_s", "CUDA graph, cold L2 (ms)", units.milliseconds),
        Column("p90_s", "p90 (ms)", units.milliseconds, tolerance=TOLERANCE),
        Column("p99_s", "p99 (ms)", units.milliseconds, tolerance=TOLERANCE),
        Column("spread", "Between processes", units.percent),
        PER_IMAGE,
        IMAGES_PER_S,
        Column("processes", "Processes"),
        Column("runs", "Runs"),
        Column("minor_faults", "Faults a run", units.number),
        Column("involuntary_switches", "Switches a run", units.number),
    )
    caption = (
        f"{conditions(results)} Latency of a batch: mean of the processes' medians; the interval is Student's over "
        "processes, in this session: another session may differ by some percent more. p90 and p99 of all runs. Between "
        "processes: standard deviation of their medians. Faults and involuntary context switches: means a run."
    )
    return make_table("Latency", columns, rows, caption, notes, comparable=comparable(results))


def bounds(results: Sequence[Result]) -> Table:
    """Draw which share of the machine each network reaches, and what holds it up."""
    rows = []
    for result in results:
        taken, where = stability.summary(result), result.environment
        macs, moved = result.measurement("operator_macs"), result.measurement("operator_bytes")
        if taken is None or where is None or "macs_per_s" not in where.attainable or macs is None or moved is None:
            continue
        found = roofline.classify(taken.estimate_s, macs.values, moved.values, where.attainable)
        rows.append(
            head(result)
            | accuracy(taken)
            | {
                "latency_s": taken.estimate_s,
                "macs_per_s": sum(macs.values) / taken.estimate_s,
                "share_of_peak": found.share_of_peak,
                "bytes_per_s": found.bytes_per_s,
                "share_of_copy": found.share_of_copy,
                "bound": found.bound,
                "arithmetic": found.arithmetic_s / taken.estimate_s,
                "memory": found.memory_s / taken.estimate_s,
                "overhead": found.overhead_s / taken.estimate_s,
                "rest": found.rest_s / taken.estimate_s,
            }
        )
    columns = (
        NETWORK,
        INPUT,
        *varying(results),
        LATENCY,
        Column("macs_per_s", "MAC/s", units.scaled, tolerance=TOLERANCE),
        Column("share_of_peak", "of attainable", units.percent),
        Column("bytes_per_s", "B/s", units.scaled, tolerance=TOLERANCE),
        Column("share_of_copy", "of a copy's", units.percent),
        Column("bound", "Bound by", align="left"),
        Column("arithmetic", "Arithmetic", units.percent),
        Column("memory", "Memory", units.percent),
        Column("overhead", "Overhead", units.percent),
        Column("rest", "Rest", units.percent),
    )
    attained = dict.fromkeys(
        f"{units.scaled(where.attainable['macs_per_s'])} MAC/s, "
        f"{units.scaled(where.attainable['copy_bytes_per_s'][-1][1])} B/s copied from memory, "
        f"{units.microseconds(where.attainable['operator_s'])} µs an operator"
        for where in (result.environment for result in results)
        if where is not None and "macs_per_s" in where.attainable
    )
    caption = (
        f"Attainable on this machine, as measured: {'; '.join(attained)}. Each operator is given the time of its "
        "arithmetic or of its traffic, whichever is longer, at the attainable rates, and that of starting it as "
        "overhead; the largest of the three binds. Rest: work that reaches neither rate, as that of depthwise "
        "convolutions and small maps. A sum above 100 % means that the network does better than the plain model, by "
        "fusion or cheaper convolutions."
    )
    return make_table("Roofline", columns, rows, caption, comparable=comparable(results))


def _not_captured(result: Result) -> list[str]:
    captured = result.measurement("graph_latency_s")
    reason = captured.details.get("not_captured") if captured is not None else None
    return [f"Cannot be captured as a CUDA graph: {reason}."] if reason else []


def _no_roof(result: Result) -> list[str]:
    reason = result.environment.attainable.get("failure") if result.environment is not None else None
    return [f"What the machine attains could not be measured: {reason}."] if reason else []
