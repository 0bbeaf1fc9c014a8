"""Memory, training time, CPU and energy use of a network."""

from collections.abc import Sequence
from dataclasses import replace

from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, resources
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table

_INTERVAL, _USER, _SYSTEM = standard.SAMPLED
_ENERGY = "energy_j"


def _peaks(stage: str, prefix: str) -> list[Column]:
    def peak(what: str, heading: str, how: str) -> Column:
        key = f"{stage}peak_{what}_bytes"
        return Column(key, f"{heading} (MiB)", units.mebibytes).with_origin(how, key)

    process = peak("rss", f"{prefix}process".capitalize(), "Peak of a process of its own, above the idle process.")
    libraries = Column(f"{stage}library_bytes", "of it libraries (MiB)", units.mebibytes).with_origin(
        "Of the process's peak, pages of files: the detail file_bytes.", process.key
    )
    of_gpu = "Peak of the GPU's memory, of a process of its own."
    kinds = ("allocated", "reserved", "process")
    return [process, libraries, *(peak(f"cuda_{kind}", f"{prefix}GPU {kind}", of_gpu) for kind in kinds)]


def memory(results: Sequence[Result]) -> Table:
    """Draw peaks of memory, in inference and in training."""
    columns = [*_peaks("", ""), standard.ACTIVATIONS, *_peaks("training_", "Training: ")]
    measured = common.asked(results, "memory", "training_memory")
    entries = []
    for result in measured:
        row = common.head(result) | standard.recorded(result, columns)
        for stage in ("", "training_"):
            row[f"{stage}library_bytes"] = common.detail(result, f"{stage}peak_rss_bytes", "file_bytes")
        without = common.detail(result, "peak_rss_bytes", "with_pytorch") is False
        notes = ["Of a process that has no PyTorch, above it with the runtime imported."] if without else []
        entries.append(Entry.of(result, row, *common.failures(result), *notes))
    caption = (
        f"{common.conditions(measured)} Process: peak resident set above the idle process, with large blocks "
        "mapped one by one, whatever the allocator's setting. Of it libraries: library code that the network is the "
        "first to run. How much of a file the system maps at once differs between installations of the same libraries: "
        "compare the rest between machines. Activations: computed, not measured; peak bytes besides the weights, in "
        "inference."
    )
    return make_table("Memory", (*common.head_columns(measured), standard.PARAMETERS, *columns), entries, caption)


def _part(part: str, heading: str) -> Column:
    column = Column(f"training_{part}_s", heading, units.milliseconds, tolerance=f"training_{part}_share")
    return column.with_origin("Median of the steps of one process, after the warm-up.", column.key)


_STEP = _part("step", "Step (ms)")
_FORWARD, _BACKWARD = _part("forward", "Forward (ms)"), _part("backward", "Backward (ms)")
_PARTS = (_STEP, _FORWARD, _BACKWARD, _part("optimizer", "Optimiser (ms)"))


def training(results: Sequence[Result]) -> Table:
    """Draw the parts of a training step: medians over the steps."""
    entries = []
    measured = common.asked(results, "training")
    for result in measured:
        row, step = common.head(result), result.measurement(_STEP.key)
        if step is not None:
            row |= {part.key: latency.median_of(result, part.key) for part in _PARTS}
            row |= {part.tolerance: latency.share_of(result, part.key) for part in _PARTS}
            row |= {"training_batch": step.details["batch_size"], "optimizer": step.details["optimizer"]}
            row |= {"images_per_s": row["training_batch"] / row[_STEP.key], "steps": len(step.values)}
            of_gpu, of_process = (result.value(f"training_peak_{of}_bytes") for of in ("cuda_allocated", "rss"))
            row["peak_memory_bytes"] = of_gpu or of_process
        entries.append(Entry.of(result, row, *common.failures(result), *common.warnings_of(result, "training")))
    columns = (
        standard.NETWORK,
        standard.INPUT,
        *(column for column in common.varying(measured) if column.key != "batch_size"),
        standard.PARAMETERS,
        Column("training_batch", "Batch").with_origin("Images of a step: the detail batch_size.", _STEP.key),
        *_PARTS,
        Column("images_per_s", "Images/s", units.number, tolerance=_STEP.tolerance).with_origin(
            "Images of a step, divided by its median.", _STEP.key
        ),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes).with_origin(
            standard.MOST_MEMORY, "training_peak_cuda_allocated_bytes", "training_peak_rss_bytes"
        ),
        Column("optimizer", "Optimiser", align="left").with_origin("The detail optimizer of the step.", _STEP.key),
        Column("steps", "Steps").with_origin("Timed steps.", _STEP.key),
    )
    caption = (
        f"{common.conditions(measured)} Medians of one process's steps, after a warm-up, with as many digits as the "
        "spread of the steps supports. A step also includes zero_grad, and medians of parts do not add up to the "
        "median of the step. Memory: peak of another process."
    )
    return make_table("Training step", columns, entries, caption)


_OCCUPATION = (
    replace(standard.PARAMETERS, write=units.grouped, better=None),
    standard.CPU_SHARE,
    standard.MACHINE_USER_SHARE,
    standard.MACHINE_SYSTEM_SHARE,
    standard.MEMORY_SHARE,
    Column("process_user_share", "own us (%)", units.hundredths).with_origin(
        "User time of the process, divided by the time and all cores.", _INTERVAL, _USER
    ),
    Column("process_system_share", "own sy (%)", units.hundredths).with_origin(
        "System time of the process, divided by the time and all cores.", _INTERVAL, _SYSTEM
    ),
    Column("cores_used", "Cores used", units.number).with_origin(
        "User and system time of the process, divided by the time.", *standard.SAMPLED
    ),
    Column("others_cores", "Others' cores", units.number).with_origin(
        "User, system and stolen time of the machine without the process's, divided by the time.",
        *standard.SAMPLED,
        *(f"{{stage}}.machine_{what}_s" for what in ("user", "system", "steal")),
    ),
    standard.RSS,
    Column("images_per_s", "Images/s", units.number).with_origin(
        "Images, divided by the sampled time: the detail images.", _INTERVAL
    ),
    Column("cpu_s_at_rate", "CPU ms per image", units.milliseconds).with_origin(
        "User and system time of the process, divided by its images; of passes on a clock.", *standard.SAMPLED
    ),
    Column("deadline_misses", "Late passes").with_origin(
        "Passes that ended when the next was due: the detail deadline_misses.", _INTERVAL
    ),
    Column("clock_hz", "Clock (GHz)", lambda hertz: units.significant(hertz * 1e-9)).with_origin(
        "Of the processor behind the passes: the detail cpu_clock_hz.", _INTERVAL
    ),
    Column("sampled_s", "Sampled (s)", units.number).with_origin("Sum of the sampled intervals.", _INTERVAL),
)


def occupation(results: Sequence[Result], stage: str) -> Table:
    """Draw CPU and memory use of a stage, in the form of paper 004's tables 4 (training) and 5 (testing)."""
    measured = common.asked(results, "occupancy")
    entries = [
        Entry(
            common.head(result) | (resources.occupancy(result, stage) or {}) | _at_rate(result, stage),
            common.failures(result) + common.exempt(result) + _others(result, stage),
            RowSource((result,), stage=stage),
        )
        for result in measured
    ]
    caption = (
        f"{common.conditions(measured)} {_cores(measured, stage)}CPU: the process's user and system time as a share of "
        "all cores' together, so that one busy core of six is 16.67 %. us, sy: the whole machine's user and system "
        "time, as in top's header; own us and sy the process's. MEM: resident set as a share of physical memory. "
        "Others' cores: kept busy by other processes."
    )
    columns = (replace(standard.NETWORK, heading="Model"), standard.INPUT, *common.varying(measured), *_OCCUPATION)
    return make_table(f"Occupancy in the {stage} stage", columns, entries, caption)


def _at_rate(result: Result, stage: str) -> standard.Row:
    """Return the cells of passes on a clock; none where they were back to back, which no deadline holds for."""
    if common.detail(result, f"{stage}.interval_s", "rate_hz") is None:
        return {}
    used = resources.occupancy(result, stage)
    return {
        "cpu_s_at_rate": used["cores_used"] / used["images_per_s"] if used and used["images_per_s"] else None,
        "deadline_misses": common.detail(result, f"{stage}.interval_s", "deadline_misses"),
        "clock_hz": common.detail(result, f"{stage}.interval_s", "cpu_clock_hz"),
    }


def joules(results: Sequence[Result]) -> Table:
    """Draw energy per image, where a hardware counter was available."""
    entries = []
    for result in results:
        measured = result.measurement(_ENERGY)
        if measured is None or (energy := resources.joules_per_image(measured)) is None:
            continue
        details = {key: measured.details[key] for key in ("idle_w", "window_s", "source")}
        row = common.head(result) | {"energy_j": energy[0], "idle_j": energy[1]} | details
        if measured.details.get("rate_hz") is not None:  # a camera's machine is idle between frames and pays for it
            row["total_j"] = energy[0] + energy[1]
        entries.append(Entry.of(result, row))
    columns = (
        *common.head_columns(results),
        Column("total_j", "Total per image (mJ)", units.millijoules).with_origin(
            "Energy by the counter, idle included, divided by the images; of passes on a clock.", _ENERGY
        ),
        Column("energy_j", "Energy per image (mJ)", units.millijoules).with_origin(
            "Energy by the counter minus the idle share, divided by the images.", _ENERGY
        ),
        Column("idle_j", "Idle share subtracted (mJ)", units.millijoules).with_origin(
            "Idle power times the window, divided by the images.", _ENERGY
        ),
        Column("idle_w", "Idle (W)", units.number).with_origin("Power before the passes: the detail idle_w.", _ENERGY),
        Column("window_s", "Window (s)", units.number).with_origin("Time of the passes: the detail window_s.", _ENERGY),
        Column("source", "Counter", align="left").with_origin("The hardware counter: the detail source.", _ENERGY),
    )
    caption = f"{common.conditions(results)} Hardware counters only; nothing is modelled."
    return make_table("Energy", columns, entries, caption)


def _cores(results: Sequence[Result], stage: str) -> str:
    sampled = (result.measurement(f"{stage}.interval_s") for result in results)
    cores = sorted({m.details["cores"] for m in sampled if m is not None and m.values})
    return f"Cores: {', '.join(map(str, cores))}. " if cores else ""


def _others(result: Result, stage: str) -> list[str]:
    busy = common.detail(result, f"{stage}.interval_s", "busiest_others") or []
    others = ", ".join(f"{name} ({units.significant(cores, 2)} cores)" for name, cores in busy)
    return [f"Running beside it: {others}."] if others else []
