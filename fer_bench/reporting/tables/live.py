"""The real-time system: what runs came to, with verdicts apart, and where the time of a frame goes."""

import statistics
from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.plan import OTHERS_CORES, REALTIME
from fer_bench.records.result import Result
from fer_bench.records.stats import median, quantile
from fer_bench.reporting.analysis import live, resources
from fer_bench.reporting.analysis.live import Live
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table

_CAPTURED, _LATENCY, _SERVICE = (f"{live.PREFIX}{name}" for name in ("captured_s", "latency_s", "service_s"))
_DROPPED = f"{live.PREFIX}dropped_at_s"
_OFFERED = f"{live.PREFIX}offered"
_STAGE = standard.SAMPLED
_CANDIDATES = ("after_pnet", "after_rnet", "faces")
_ENERGY = "energy_j"
_STEADY_CLOCK = 0.95  # of the highest clock, from which it is no news
_TITLES = {
    "read": "read and decode",
    "wait": "wait for the worker",
    "detect": "detect",
    "pyramid": "- pyramid",
    "pnet": "- P-Net",
    "rnet": "- R-Net",
    "onet": "- O-Net",
    "nms": "- NMS",
    "crop": "crop and prepare",
    "classify": "classify",
    "draw": "draw and write",
}


def _counted(name: str, heading: str, how: str) -> Column:
    return Column(name, heading, units.grouped).with_origin(how, f"{live.PREFIX}{name}")


def _setting(name: str, heading: str) -> Column:
    return Column(name, heading, align="left", setting=True).with_origin(f"The detail {name}.", _OFFERED)


_JOULES = Column("energy_per_frame_j", "J/frame", units.number).with_origin(
    "All joules of the counter, idle included, divided by the results.", _ENERGY
)
_COLUMNS = (
    _setting("source", "Source"),
    _setting("detector", "Detector"),
    _setting("policy", "Policy"),
    Column("fps", "Offered/s", units.number, setting=True).with_origin("The detail fps.", _OFFERED),
    _counted("offered", "Offered", "Frames that the source gave."),
    Column("done", "Done", units.grouped).with_origin("Frames that came to a result.", _CAPTURED),
    _counted("dropped", "Dropped", "Frames that the policy dropped."),
    _counted("dropped_by_driver", "by driver", "Frames that are missing in the source's numbers."),
    _counted("skipped", "Skipped", "Frames with the boxes of an earlier one, on purpose."),
    Column("box_age_s", "Oldest box (ms)", units.milliseconds).with_origin(
        "Largest time from the frame of a box to the one that used it.", f"{live.PREFIX}box_age_s"
    ),
    _counted("errors", "Errors", "Frames that could not be read."),
    Column("done_fps", "Done/s", units.number).with_origin(
        "Results less one, divided by the time behind the first second.", _CAPTURED
    ),
    Column("service_s", "Service (ms)", units.milliseconds, interval="service_interval").with_origin(
        "Mean time from taken to result; the interval is over blocks of time.", _SERVICE, _CAPTURED
    ),
    Column("latency_p50_s", "Latency p50 (ms)", units.milliseconds).with_origin(
        "Median from capture to result.", _LATENCY
    ),
    Column("latency_p95_s", "p95 (ms)", units.milliseconds, interval="latency_p95_interval").with_origin(
        "95th percentile from capture to result; the interval is over blocks of time.", _LATENCY, _CAPTURED
    ),
    Column("in_time", "In time (%)", units.hundredths).with_origin(
        "Results within the budget, divided by the offered frames.", _LATENCY, _CAPTURED, _DROPPED
    ),
    Column("faces", "Faces/frame", units.number).with_origin("Mean number.", f"{live.PREFIX}faces"),
    Column("stable", "Keeps up").with_origin(
        "Whether the upper 95 % limit of the mean service time is below the time between frames.", _SERVICE, _OFFERED
    ),
    Column("few_drops", "Few drops").with_origin(
        "Whether the upper 95 % limit of the dropped share is below the one accepted.", _CAPTURED, _DROPPED
    ),
    Column("low_latency", "p95 in budget").with_origin(
        "Whether the upper 95 % limit of the share of results beyond the budget is below 5 %.", _LATENCY, _OFFERED
    ),
    *(
        column.with_origin(column.origin.how, *(name.replace("{stage}", live.STAGE) for name in column.origin.metrics))
        for column in (standard.CPU_SHARE, standard.MACHINE_USER_SHARE, standard.MACHINE_SYSTEM_SHARE, standard.RSS)
        if column.origin is not None
    ),
    Column("growth_bytes_per_s", "Growth (KiB/s)", lambda value: units.significant(value / 1024, 2)).with_origin(
        "Slope of a line through the resident set; the interval stands in a note.", "live.rss_bytes", "live.interval_s"
    ),
    _JOULES,
)
# What a run is of, and what it takes beside the load of the machine, where papers' tables have that.
_SYSTEM = (_setting("source", "Source"), _setting("detector", "Detector"))
_LOAD = Column("load", "Load", align="left", setting=True).with_origin(
    "The details fps, or that frames came when the system was free, and policy.", _OFFERED
)
PER_FRAME = (
    Column("frames_per_s", "Frames/s", units.number).with_origin(
        "Results, divided by the sampled time: the detail images.", _STAGE[0].replace("{stage}", live.STAGE)
    ),
    Column("cpu_s_per_frame", "CPU ms per frame", units.milliseconds).with_origin(
        "User and system time of the process, divided by the results.",
        *(name.replace("{stage}", live.STAGE) for name in _STAGE),
    ),
    _JOULES,
)


def realtime(results: Sequence[Result]) -> Table:
    """Draw what each run came to."""
    entries = []
    measured = common.asked(results, REALTIME)
    for result in measured:
        came_to, about = live.analyse(result), live.settings(result)
        row = common.head(result) | {key: about.get(key) for key in ("source", "detector", "policy", "fps")}
        notes = [*about.get("warnings", ())]
        if came_to is not None:
            row |= _cells(result, came_to)
            notes += [*_notes(about, came_to), *of_machine(result)]
        entries.append(Entry.of(result, row, *common.failures(result), *notes))
    caption = (
        f"{common.conditions(measured)} Latency: from capture to result, which is not glass-to-glass. Service: without "
        "waiting. Verdicts: yes or no where the 95 % interval leaves no doubt, else inconclusive. Intervals are over "
        "blocks of time, since frames follow each other. A run says something of its source; of a system say five "
        "sources or more. The result is an expression label, not an emotion."
    )
    return make_table("Real-time system", (standard.NETWORK, standard.INPUT, *_COLUMNS), entries, caption)


def _cells(result: Result, came_to: Live) -> standard.Row:
    used = resources.occupancy(result, live.STAGE) or {}
    slope = came_to.memory_slope
    return {
        "offered": came_to.offered,
        "done": came_to.done,
        "dropped": came_to.dropped,
        "dropped_by_driver": came_to.by_driver or None,
        "skipped": came_to.skipped or None,
        "box_age_s": max(live.series(result, "box_age_s"), default=0.0) or None,
        "errors": came_to.errors or None,
        "done_fps": came_to.done_fps,
        "service_s": came_to.service.value,
        "service_interval": came_to.service.ends,
        "latency_p50_s": came_to.latency_p50,
        "latency_p95_s": came_to.latency_p95.value,
        "latency_p95_interval": came_to.latency_p95.ends,
        "in_time": came_to.in_time.value,
        "faces": came_to.faces,
        "stable": came_to.stable,
        "few_drops": came_to.few_drops,
        "low_latency": came_to.low_latency,
        "growth_bytes_per_s": None if slope is None else slope.value,
        "energy_per_frame_j": _joules(result),
        **{key: used.get(key) for key in ("cpu_share", "machine_user_share", "machine_system_share", "rss_bytes")},
    }


def _joules(result: Result) -> float | None:
    energy = result.measurement(_ENERGY)
    return sum(energy.values) / energy.details["images"] if energy and energy.values else None


def load(result: Result) -> standard.Row:
    """Return how a run of the system was loaded, and what a frame took; nothing of other results."""
    about, used = live.settings(result), resources.occupancy(result, live.STAGE)
    if used is None:
        return {}
    frames = used["images_per_s"]
    return {
        "load": f"{about['fps']:g} frames/s, {about['policy']}" if about["fps"] else "saturated",
        "frames_per_s": frames,
        "cpu_s_per_frame": used["cores_used"] / frames if frames else None,
        "energy_per_frame_j": _joules(result),
        **{column.key: about[column.key] for column in _SYSTEM},
    }


def load_columns(rows: Sequence[standard.Row]) -> list[Column]:
    """Return the columns that say how runs of the system were loaded: of its parts, those in which rows differ."""
    return [*(column for column in _SYSTEM if len({row[column.key] for row in rows}) > 1), _LOAD]


def loads(rows: Sequence[standard.Row]) -> str:
    """Describe runs of the system for a caption; "" where there are none."""
    if not rows:
        return ""
    same = ", ".join(rows[0][column.key] for column in _SYSTEM if column not in load_columns(rows))
    return common.joined(
        f"System: {same}." if same else "",
        "Load: the rate of the frames, and the policy for those that come too early; saturated: as it is free.",
    )


def _notes(about: dict[str, object], came_to: Live) -> list[str]:
    budget, most = about.get("budget_s"), about.get("most_dropped")
    notes = []
    if isinstance(budget, int | float) and isinstance(most, int | float):
        notes.append(f"Budget {units.milliseconds(budget)} ms; accepted drops {units.percent(most)}.")
    if not came_to.blocks:
        notes.append("Too short for intervals: at least five seconds behind the first one are needed.")
    if (slope := came_to.memory_slope) is not None and slope.ends is not None:
        low, high = (f"{end / 1024:.1f}" for end in slope.ends)
        notes.append(f"Memory grew by {slope.value / 1024:.1f} KiB/s, at 95 % {low} to {high}.")
    if abs(came_to.drift) > 0.1:
        notes.append(f"The service time drifted by {came_to.drift:+.0%} over the run.")
    labels = about.get("labels")
    if isinstance(labels, dict) and labels:
        counted = ", ".join(f"{name} {number}" for name, number in sorted(labels.items(), key=lambda each: -each[1]))
        notes.append(f"Expression labels: {counted}.")
    return notes


def of_machine(result: Result) -> list[str]:
    """Say what else the machine did during a run of the system, and whether it grew hot, as over a long one."""
    about, notes = live.settings(result), []
    if (busy := about.get("others_cores") or 0.0) > OTHERS_CORES:
        notes.append(f"Other programs kept {units.significant(busy, 2)} cores busy.")
    if degrees := live.series(result, "temperature_c"):
        notes.append(f"The CPU had {degrees[0]:.0f} °C at first, and {max(degrees):.0f} at most.")
    clocks = live.series(result, "cpu_clock_hz")
    if clocks and min(clocks) < _STEADY_CLOCK * max(clocks):
        notes.append(f"Its clock was {min(clocks) * 1e-9:.2f} to {max(clocks) * 1e-9:.2f} GHz.")
    if events := about.get("throttle_events"):
        notes.append(f"It lowered its clock for its temperature {events} times.")
    if reasons := (about.get("gpu_after") or {}).get("throttle_reasons"):
        notes.append(f"The GPU's clock was limited ({', '.join(reasons)}).")
    return notes


def stages(results: Sequence[Result]) -> Table:
    """Draw where the time of a frame goes, a row for each stage of each run."""
    entries = []
    measured = common.asked(results, REALTIME)
    differ = len({load(result).get("load") for result in measured}) > 1
    for result in measured:
        services = live.series(result, "service_s")
        whole = sum(services)
        for stage in (*live.stages(result), "service"):
            seconds = live.series(result, f"{stage}_s")
            if not seconds or not whole:
                continue
            had = [value for value in seconds if value] or seconds
            row = common.head(result) | {
                "stage": _TITLES.get(stage, "all but read and wait" if stage == "service" else f"- {stage}"),
                "source": live.settings(result).get("source"),
                "load": load(result).get("load") if differ else None,
                "median_s": median(had),
                "mean_s": statistics.fmean(had),
                "p95_s": quantile(had, 0.95),
                "share": sum(seconds) / whole if stage not in ("read", "wait") else None,
                "candidates": _candidates(result, stage),
            }
            entries.append(Entry(row, (), RowSource((result,), stage=stage)))
    metrics = (f"{live.PREFIX}{{stage}}_s",)
    columns = (
        standard.NETWORK,
        Column("stage", "Stage", align="left").with_origin("A stage of a frame.", *metrics),
        _setting("source", "Source"),
        _LOAD,
        Column("median_s", "Median (ms)", units.milliseconds).with_origin(
            "Median over the frames that had the stage.", *metrics
        ),
        Column("mean_s", "Mean (ms)", units.milliseconds).with_origin(
            "Mean over the frames that had the stage.", *metrics
        ),
        Column("p95_s", "p95 (ms)", units.milliseconds).with_origin(
            "95th percentile over the frames that had the stage.", *metrics
        ),
        Column("share", "of service (%)", units.hundredths).with_origin(
            "Sum over frames, divided by that of the service times.", *metrics, _SERVICE
        ),
        Column("candidates", "Candidates/frame", units.number).with_origin(
            "Mean number of windows that a stage leaves.", *(f"{live.PREFIX}{name}" for name in _CANDIDATES)
        ),
    )
    caption = (
        f"{common.conditions(measured)} Stages with a dash are parts of detect. Times are of the frames that "
        f"had the stage: a frame without a face has none to classify. {_warmed(measured)}"
        "Reading is in a thread of its own where the source has a rate."
    )
    return make_table("Stages of a frame", columns, entries, caption)


def _warmed(results: Sequence[Result]) -> str:
    """Say how the first frames, which are included, were made like the others."""
    passes = {(live.settings(result).get("warm_up") or {}).get("passes", 0) for result in results}
    if passes == {0}:
        return "The first frames are included. "
    numbers = " or ".join(str(number) for number in sorted(passes))
    return f"The first frames are included, after {numbers} warm-up passes on a grey picture, which are not. "


def _candidates(result: Result, stage: str) -> float | None:
    name = {"pnet": "after_pnet", "rnet": "after_rnet", "detect": "faces"}.get(stage)
    counted = live.series(result, name) if name is not None else []
    return statistics.fmean(counted) if counted else None
