"""How fast a network is, and what holds it up."""

import math
from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.result import Environment, Result
from fer_bench.reporting.analysis import latency as stability
from fer_bench.reporting.analysis import roofline
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.common import (
    IMAGES_PER_S,
    INPUT,
    INTERVAL,
    LATENCY,
    MEAN,
    NETWORK,
    PER_IMAGE,
    TOLERANCE,
    asked,
    comparable,
    conditions,
    failures,
    head,
    joined,
    latency_digits,
    latency_means,
    make_table,
    mean,
    mean_share,
    varying,
)

_BETWEEN = "Between processes: standard deviation of their medians."
# Up to which share the roofs are known: the best of a few tries, which come out some percent apart.
_ROOF_SHARE = 0.03


def latency(results: Sequence[Result]) -> Table:
    """Draw all that is known of the latency."""
    rows, notes = [], []
    for result in asked(results, "latency"):
        row, taken = head(result), stability.summary(result)
        if taken is not None:
            known: float = latency_digits(taken)[TOLERANCE]
            row |= latency_digits(taken) | {
                "latency_s": taken.estimate_s,
                "mean_s": taken.mean_s if result.plan.protocol == "safavi2023" else None,
                "p90_s": taken.p90_s,
                "p90_share": max(known, taken.p90_half_s / taken.p90_s),
                "p99_s": taken.p99_s,
                "p99_share": max(known, taken.p99_half_s / taken.p99_s),
                "spread": taken.spread,
                "spread_share": _deviation_share(taken.processes),
                "latency_per_image_s": None if taken.per_image_s == taken.estimate_s else taken.per_image_s,
                "images_per_s": taken.images_per_s,
                "processes": taken.processes,
                "runs": taken.runs,
            }
            for metric in ("minor_faults", "involuntary_switches"):
                row |= {metric: mean(result, metric), f"{metric}_share": mean_share(result, metric)}
        for metric in ("latency_cold_s", "graph_latency_s", "graph_latency_cold_s"):
            series = stability.summary(result, metric)
            if series is not None:
                row |= {metric: series.estimate_s, f"{metric}_share": latency_digits(series)[TOLERANCE]}
        rows.append(row)
        notes.append((*failures(result), *stability.warnings(result), *_not_captured(result), *_no_roof(result)))
    columns = (
        NETWORK,
        INPUT,
        *varying(results),
        LATENCY,
        INTERVAL,
        MEAN,
        Column("latency_cold_s", "Cold L2 (ms)", units.milliseconds, tolerance="latency_cold_s_share"),
        Column("graph_latency_s", "CUDA graph (ms)", units.milliseconds, tolerance="graph_latency_s_share"),
        Column(
            "graph_latency_cold_s",
            "CUDA graph, cold L2 (ms)",
            units.milliseconds,
            tolerance="graph_latency_cold_s_share",
        ),
        Column("p90_s", "p90 (ms)", units.milliseconds, tolerance="p90_share"),
        Column("p99_s", "p99 (ms)", units.milliseconds, tolerance="p99_share"),
        Column("spread", "Between processes", units.percent, tolerance="spread_share"),
        PER_IMAGE,
        IMAGES_PER_S,
        Column("processes", "Processes"),
        Column("runs", "Runs"),
        Column("minor_faults", "Faults a run", units.number, tolerance="minor_faults_share"),
        Column("involuntary_switches", "Switches a run", units.number, tolerance="involuntary_switches_share"),
    )
    caption = joined(
        conditions(results),
        latency_means(rows),
        "p90 and p99 of all runs.",
        _BETWEEN if any(row.get("spread") is not None for row in rows) else "",
        "Faults and involuntary context switches: means a run.",
    )
    return make_table("Latency", columns, rows, caption, notes, comparable=comparable(results))


def bounds(results: Sequence[Result]) -> Table:
    """Draw which share of the machine each network reaches, and what holds it up."""
    rows, roofs, measured = [], [], []
    for result in results:
        reached = roofline.attained(result)
        if reached is None:
            continue
        taken, found = reached.latency, reached.model
        rest = found.rest_s / taken.estimate_s
        known = max(latency_digits(taken)[TOLERANCE], _ROOF_SHARE)
        rows.append(
            head(result)
            | latency_digits(taken)
            | {
                "latency_s": taken.estimate_s,
                "macs_per_s": reached.macs / taken.estimate_s,
                "share_of_peak": found.share_of_peak,
                "bytes_per_s": found.bytes_per_s,
                "share_of_copy": found.share_of_copy,
                "bound": found.bound_by,
                "arithmetic": found.arithmetic_s / taken.estimate_s,
                "memory": found.memory_s / taken.estimate_s,
                "overhead": found.overhead_s / taken.estimate_s,
                "rest": rest,
                "roof_share": known,
                "rest_share": known * (1 - rest) / rest if rest else None,  # it is 1 less the modelled parts
            }
        )
        roofs.append(_roof(reached.where))
        measured.append(result)
    columns = (
        NETWORK,
        INPUT,
        *varying(measured),
        LATENCY,
        Column("macs_per_s", "MAC/s", units.scaled, tolerance=TOLERANCE),
        Column("share_of_peak", "of attainable", units.percent, tolerance="roof_share"),
        Column("bytes_per_s", "B/s", units.scaled, tolerance=TOLERANCE),
        Column("share_of_copy", "of a copy's", units.percent, tolerance="roof_share"),
        Column("bound", "Bound by", align="left"),
        Column("arithmetic", "Arithmetic", units.percent, tolerance="roof_share"),
        Column("memory", "Memory", units.percent, tolerance="roof_share"),
        Column("overhead", "Overhead", units.percent, tolerance="roof_share"),
        Column("rest", "Rest", units.percent, tolerance="rest_share"),
    )
    one_roof = len(set(roofs)) == 1
    attained = f"Attainable on this machine, as measured: {roofs[0]}." if one_roof else "Each row's note has its roof."
    caption = joined(
        conditions(measured),
        latency_means(rows),
        attained,
        "Each operator is given the time of its "
        "arithmetic or of its traffic, whichever is longer, at the attainable rates, and that of starting it as "
        "overhead; the largest of the three binds, and none of these where the rest is larger. Rest: work that reaches "
        "neither rate, as that of depthwise convolutions and small maps. A sum above 100 % means that the network does "
        "better than the plain model, by fusion or cheaper convolutions.",
    )
    notes = () if one_roof else [(f"Attainable where it was measured: {roof}.",) for roof in roofs]
    return make_table("Roofline", columns, rows, caption, notes, comparable=comparable(measured))


def _roof(where: Environment) -> str:
    """Say what a machine attains."""
    told = where.attainable
    return (
        f"{units.scaled(told['macs_per_s'])} MAC/s, {units.scaled(told['copy_bytes_per_s'][-1][1])} B/s copied from "
        f"memory, {units.microseconds(told['operator_s'])} µs an operator ({where.device_name}, {where.threads} "
        f"thread{'s' if where.threads > 1 else ''})"
    )


def _deviation_share(processes: int) -> float | None:
    """Give how far a standard deviation of so many is known, as a share of it: its standard error, for normal noise."""
    return 1 / math.sqrt(2 * (processes - 1)) if processes > 1 else None


def _not_captured(result: Result) -> list[str]:
    captured = result.measurement("graph_latency_s")
    reason = captured.details.get("not_captured") if captured is not None else None
    return [f"Cannot be captured as a CUDA graph: {reason}."] if reason else []


def _no_roof(result: Result) -> list[str]:
    reason = result.environment.attainable.get("failure") if result.environment is not None else None
    return [f"What the machine attains could not be measured: {reason}."] if reason else []
