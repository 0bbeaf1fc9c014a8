"""How fast a network is, and its bottleneck."""

import dataclasses
import math
from collections.abc import Sequence

from fer_bench.records import stats, units
from fer_bench.records.result import Environment, Result
from fer_bench.records.stats import quantile
from fer_bench.records.units import Quantity
from fer_bench.reporting.analysis import latency as stability
from fer_bench.reporting.analysis import roofline
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, deployment, standard
from fer_bench.reporting.tables.common import Entry, make_table

_BETWEEN = "Between processes: standard deviation of their medians."
# Up to which share the roofs are known: the best of a few tries, which come out some percent apart.
_ROOF_SHARE = 0.03
_ROOF = ("latency_s", "operator_macs", "operator_bytes")


def _known(key: str, heading: str, write: Quantity, how: str, metric: str = "") -> Column:
    """Make a column of one metric, whose tolerance has a key of its own."""
    return Column(key, heading, write, tolerance=f"{key}_share").with_origin(how, metric or key)


_OTHER_LATENCIES = (
    _known("latency_cold_s", "Cold L2 (ms)", units.milliseconds, standard.MEDIANS),
    _known("graph_latency_s", "CUDA graph (ms)", units.milliseconds, standard.MEDIANS),
    _known("graph_latency_cold_s", "CUDA graph, cold L2 (ms)", units.milliseconds, standard.MEDIANS),
)
_OF_PASSES = (
    _known("minor_faults", "Faults per run", units.number, "Mean over all passes of all processes."),
    _known("involuntary_switches", "Switches per run", units.number, "Mean over all passes of all processes."),
)
_BELOW = "of the passes of all processes together lie below."
_LATENCY_COLUMNS = (
    standard.LATENCY,
    standard.INTERVAL,
    standard.MEAN,
    *_OTHER_LATENCIES,
    _known("p90_s", "p90 (ms)", units.milliseconds, f"90 % {_BELOW}", "latency_s"),
    _known("p99_s", "p99 (ms)", units.milliseconds, f"99 % {_BELOW}", "latency_s"),
    _known(
        "spread",
        "Between processes",
        units.percent,
        "Standard deviation of the processes' medians, as a share of their mean.",
        "latency_s",
    ),
    standard.PER_IMAGE,
    standard.IMAGES_PER_S,
    Column("processes", "Processes").with_origin("Processes that measured and did not fail.", "latency_s"),
    Column("runs", "Runs").with_origin("Timed passes of all processes together.", "latency_s"),
    *_OF_PASSES,
)


def latency(results: Sequence[Result]) -> Table:
    """Draw the latency with its interval, quantiles and warnings."""
    entries = [
        Entry.of(
            result,
            common.head(result) | _latencies(result) | _at_rate(result),
            *common.failures(result),
            *common.shared(result),
            *deployment.notes(result),
            *stability.warnings(result),
            *_not_captured(result),
            *_no_roof(result),
        )
        for result in common.asked(results, "latency")
    ]
    caption = common.joined(
        common.conditions(results),
        common.latency_means(entries),
        "p90 and p99 of all runs.",
        _BETWEEN if any(entry.cells.get("spread") is not None for entry in entries) else "",
        "Faults and involuntary context switches: means per run.",
    )
    columns = (*common.head_columns(results), *_LATENCY_COLUMNS, *_AT_RATE_COLUMNS)
    return make_table("Latency", columns, entries, caption, comparable=common.comparable(results))


_COLD = "coldstart_s"
_COLD_STAGES = {
    "interpreter": "Interpreter",
    "imports": "Imports",
    "build": "Build",
    "weights": "Weights",
    "first_pass": "First pass",
}


def coldstart(results: Sequence[Result]) -> Table:
    """Draw how long a process takes to its first result, and in which stages."""
    measured = common.asked(results, "coldstart")
    entries = []
    for result in measured:
        whole = [value for sample in result.samples(_COLD) for value in sample]
        row = common.head(result) | {"starts": len(whole) or None}
        if whole:
            interval = stats.interval(whole)
            row |= {_COLD: stats.estimate(whole), "interval_s": interval and (max(0.0, interval.low), interval.high)}
        for stage in _COLD_STAGES:
            seconds = [value for sample in result.samples(f"coldstart.{stage}_s") for value in sample]
            row[f"{stage}_s"] = stats.estimate(seconds) if seconds else None
        entries.append(Entry.of(result, row, *common.failures(result)))
    columns = (
        *common.head_columns(measured),
        Column(_COLD, "To first result (ms)", units.milliseconds, better="lower", interval="interval_s").with_origin(
            "Mean over fresh processes.", _COLD
        ),
        Column("interval_s", "95 % interval (ms)", units.milliseconds.between).with_origin("Student's.", _COLD),
        *(
            Column(f"{stage}_s", f"{heading} (ms)", units.milliseconds).with_origin(
                "Mean over fresh processes.", f"coldstart.{stage}_s"
            )
            for stage, heading in _COLD_STAGES.items()
        ),
        Column("starts", "Starts").with_origin("Fresh processes.", _COLD),
    )
    caption = (
        f"{common.conditions(measured)} From the start of a process to the first result; files come from the system's "
        "cache, as after an earlier start."
    )
    return make_table("Cold start", columns, entries, caption)


_JITTER = "start_jitter_s"
_AT_RATE_COLUMNS = (
    *(
        Column(f"jitter_{name}_s", f"Jitter {name} (ms)", units.milliseconds).with_origin(
            "Quantile of how late passes on a clock started.", _JITTER
        )
        for name in ("p50", "p99", "p99.9")
    ),
    Column("deadline_misses", "Late passes").with_origin("Passes that ended when the next was due.", "deadline_misses"),
    Column("passes_left_out", "Left out").with_origin("Passes that another took the time of.", "passes_left_out"),
)


def _at_rate(result: Result) -> standard.Row:
    """Return the cells of passes on a clock; none where they were back to back."""
    jitter = [value for sample in result.samples(_JITTER) for value in sample]
    if not jitter:
        return {}
    row: standard.Row = {f"jitter_p{share:g}_s": quantile(jitter, share / 100) for share in (50, 99, 99.9)}
    for key in ("deadline_misses", "passes_left_out"):
        row[key] = sum(value for sample in result.samples(key) for value in sample)
    return row


def _latencies(result: Result) -> standard.Row:
    row, summary = standard.Row(), stability.summary(result)
    if summary is not None:
        row = dataclasses.asdict(summary) | common.timed(result, summary)
        row |= {
            "p90_s_share": max(row[standard.TOLERANCE], summary.p90_half_s / summary.p90_s),
            "p99_s_share": max(row[standard.TOLERANCE], summary.p99_half_s / summary.p99_s),
            # Of so many normal values, the standard error of a standard deviation, as a share of it.
            "spread_share": 1 / math.sqrt(2 * (summary.processes - 1)) if summary.processes > 1 else None,
        }
        for column in _OF_PASSES:
            row[column.key] = common.mean(result, column.key)
            row[column.tolerance] = common.mean_share(result, column.key)
    for column in _OTHER_LATENCIES:
        other = stability.summary(result, column.key)
        if other is not None:
            row |= {column.key: other.estimate_s, column.tolerance: common.latency_cells(other)[standard.TOLERANCE]}
    return row


def _of_roof(key: str, heading: str, how: str, tolerance: str = "roof_share") -> Column:
    column = Column(key, heading, units.percent, tolerance=tolerance)
    return column.with_origin(how, *_ROOF, evidence="attainable")


_ROOF_COLUMNS = (
    standard.LATENCY,
    Column("macs_per_s", "MAC/s", units.scaled, tolerance=standard.TOLERANCE).with_origin(
        "MACs of a batch, divided by the latency.", "latency_s", "operator_macs"
    ),
    _of_roof("share_of_peak", "of attainable", "MAC/s reached, divided by those attainable."),
    Column("bytes_per_s", "B/s", units.scaled, tolerance=standard.TOLERANCE).with_origin(
        "Bytes that the operators move, divided by the latency.", "latency_s", "operator_bytes"
    ),
    _of_roof("share_of_copy", "of a copy's", "Bytes per second, divided by those of a copy."),
    Column("bound", "Bound by", align="left").with_origin(
        "The largest of the times of arithmetic, of memory and of starting operators; none of these where the rest is "
        "larger.",
        *_ROOF,
        evidence="attainable",
    ),
    _of_roof("arithmetic", "Arithmetic", "Time of the operators that arithmetic bounds, as a share of the latency."),
    _of_roof("memory", "Memory", "Time of the operators that memory bounds, as a share of the latency."),
    _of_roof("overhead", "Overhead", "Operators times the time of starting one, as a share of the latency."),
    _of_roof("rest", "Rest", "What the three leave of the latency, as a share of it.", "rest_share"),
)


def bounds(results: Sequence[Result]) -> Table:
    """Draw which share of the machine each network reaches, and its bottleneck."""
    entries, roofs, measured = [], [], []
    for result in results:
        reached = roofline.attained(result)
        if reached is None:
            continue
        summary, model = reached.latency, reached.model
        rest = model.rest_s / summary.estimate_s
        row = common.head(result) | common.latency_cells(summary) | dataclasses.asdict(model)
        known = max(row[standard.TOLERANCE], _ROOF_SHARE)
        row |= {
            "macs_per_s": reached.macs / summary.estimate_s,
            "bound": model.bound_by,
            **{part: row[f"{part}_s"] / summary.estimate_s for part in ("arithmetic", "memory", "overhead")},
            "rest": rest,
            "roof_share": known,
            "rest_share": known * (1 - rest) / rest if rest else None,  # it is 1 less the modelled parts
        }
        roofs.append(_roof(reached.where))
        measured.append(result)
        entries.append(Entry.of(result, row, f"Attainable where it was measured: {roofs[-1]}."))
    one_roof = len(set(roofs)) == 1
    attained = f"Attainable on this machine, as measured: {roofs[0]}." if one_roof else "Each row's note has its rates."
    caption = common.joined(
        common.conditions(measured),
        common.latency_means(entries),
        attained,
        "Each operator takes the longer of the times of its arithmetic and its traffic at the attainable rates, "
        "plus the time of starting it as overhead. The largest of the three is the bottleneck, or none of these "
        "where the rest is larger. Rest: work that reaches neither rate, such as depthwise convolutions and small "
        "maps. A sum above 100 % means that the network is faster than the model, by fusion or cheaper "
        "convolutions.",
    )
    if one_roof:
        entries = [dataclasses.replace(entry, notes=()) for entry in entries]
    columns = (*common.head_columns(measured), *_ROOF_COLUMNS)
    return make_table("Roofline", columns, entries, caption, comparable=common.comparable(measured))


def _roof(where: Environment) -> str:
    rates = where.attainable
    return (
        f"{units.scaled(rates['macs_per_s'])} MAC/s, {units.scaled(rates['copy_bytes_per_s'][-1][1])} B/s copied from "
        f"memory, {units.microseconds(rates['operator_s'])} µs per operator ({where.device_name}, {where.threads} "
        f"thread{'s' if where.threads > 1 else ''})"
    )


def _not_captured(result: Result) -> list[str]:
    reason = common.detail(result, "graph_latency_s", "not_captured")
    return [f"Cannot be captured as a CUDA graph: {reason}."] if reason else []


def _no_roof(result: Result) -> list[str]:
    reason = result.environment.attainable.get("failure") if result.environment is not None else None
    return [f"The machine's attainable rates could not be measured: {reason}."] if reason else []
