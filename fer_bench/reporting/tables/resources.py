"""What a network takes of the machine: memory, training time, processors, energy."""

from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, resources
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.common import (
    INPUT,
    NETWORK,
    PARAMETERS,
    asked,
    conditions,
    exempt,
    failures,
    head,
    make_table,
    varying,
    warnings_of,
)


def memory(results: Sequence[Result]) -> Table:
    """Draw peaks of memory, in inference and in training."""
    metrics = {
        "peak_rss_bytes": "Process (MiB)",
        "library_bytes": "of it libraries (MiB)",
        "peak_cuda_allocated_bytes": "GPU allocated (MiB)",
        "peak_cuda_reserved_bytes": "GPU reserved (MiB)",
        "peak_cuda_process_bytes": "GPU process (MiB)",
        "peak_activation_bytes": "Activations (MiB)",
        "training_peak_rss_bytes": "Training: process (MiB)",
        "training_library_bytes": "of it libraries (MiB)",
        "training_peak_cuda_allocated_bytes": "Training: GPU allocated (MiB)",
        "training_peak_cuda_reserved_bytes": "Training: GPU reserved (MiB)",
        "training_peak_cuda_process_bytes": "Training: GPU process (MiB)",
    }
    measured = asked(results, "memory", "training_memory")
    rows = [
        head(result)
        | {metric: result.value(metric) for metric in metrics}
        | {f"{stage}library_bytes": _library_bytes(result, f"{stage}peak_rss_bytes") for stage in ("", "training_")}
        for result in measured
    ]
    columns = [Column(metric, heading, units.mebibytes) for metric, heading in metrics.items()]
    caption = (
        f"{conditions(measured)} Process: peak resident set above the idle process, large blocks mapped "
        "one by one whatever the allocator's setting. Of it libraries: code that the "
        "network is the first to run; how much of a file the system maps at once differs between installations of the "
        "same libraries, so that the rest is what compares between machines. Activations: worked out and not measured, "
        "peak bytes beside the weights in inference."
    )
    notes = [tuple(failures(result)) for result in measured]
    return make_table("Memory", (NETWORK, INPUT, *varying(measured), PARAMETERS, *columns), rows, caption, notes)


def _library_bytes(result: Result, metric: str) -> float | None:
    measured = result.measurement(metric)
    return measured.details.get("file_bytes") if measured is not None else None


def training(results: Sequence[Result]) -> Table:
    """Draw the parts of a training step: medians over the steps."""
    parts = {
        "training_step_s": "Step (ms)",
        "training_forward_s": "Forward (ms)",
        "training_backward_s": "Backward (ms)",
        "training_optimizer_s": "Optimiser (ms)",
    }
    rows = []
    measured = asked(results, "training")
    for result in measured:
        row, step = head(result), result.measurement("training_step_s")
        if step is not None:
            row |= {part: latency.median_of(result, part) for part in parts}
            row |= {_share_of(part): latency.share_of(result, part) for part in parts}
            row |= {
                "training_batch": step.details["batch_size"],
                "images_per_s": step.details["batch_size"] / row["training_step_s"],
                "optimizer": step.details["optimizer"],
                "steps": len(step.values),
                "peak_memory_bytes": result.value("training_peak_cuda_allocated_bytes")
                or result.value("training_peak_rss_bytes"),
            }
        rows.append(row)
    columns = (
        NETWORK,
        INPUT,
        *(column for column in varying(measured) if column.key != "batch_size"),
        PARAMETERS,
        Column("training_batch", "Batch"),
        *(Column(part, heading, units.milliseconds, tolerance=_share_of(part)) for part, heading in parts.items()),
        Column("images_per_s", "Images/s", units.number, tolerance=_share_of("training_step_s")),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes),
        Column("optimizer", "Optimiser", align="left"),
        Column("steps", "Steps"),
    )
    caption = (
        f"{conditions(measured)} Medians of one process's steps, after a warm-up, with as many digits as the steps' "
        "own spread leaves; a step has zero_grad beside its parts, and medians of parts do not add up to the median of "
        "the step. Memory: peak of another process."
    )
    notes = [(*failures(result), *warnings_of(result, "training")) for result in measured]
    return make_table("Training step", columns, rows, caption, notes)


def _share_of(part: str) -> str:
    """Name the key of the share of a part's time up to which it is known."""
    return part.removesuffix("_s") + "_share"


def occupation(results: Sequence[Result], stage: str) -> Table:
    """Draw what a stage takes of the machine, in the form of paper 004's tables 4 (training) and 5 (testing)."""
    measured = asked(results, "occupancy")
    rows = [head(result) | (resources.occupancy(result, stage) or {}) for result in measured]
    columns = (
        Column("name", "Model", align="left"),
        INPUT,
        *varying(measured),
        Column("parameters", "Parameters", units.grouped),
        Column("cpu_share", "CPU (%)", units.hundredths),
        Column("machine_user_share", "us (%)", units.hundredths),
        Column("machine_system_share", "sy (%)", units.hundredths),
        Column("memory_share", "MEM (%)", units.hundredths),
        Column("process_user_share", "own us (%)", units.hundredths),
        Column("process_system_share", "own sy (%)", units.hundredths),
        Column("cores_used", "Cores used", units.number),
        Column("others_cores", "Others' cores", units.number),
        Column("rss_bytes", "RSS (MiB)", units.mebibytes),
        Column("images_per_s", "Images/s", units.number),
        Column("sampled_s", "Sampled (s)", units.number),
    )
    caption = (
        f"{conditions(measured)} {_cores(measured, stage)}CPU: the process's user and system time as a share of all "
        "cores' together, so that one busy core of six is 16.67 %. us, sy: the whole machine's user and system time, "
        "as in top's header; own us and sy the process's. MEM: resident set as a share of physical memory. Others' "
        "cores: kept busy by other processes."
    )
    notes = [(*failures(result), *exempt(result), *_beside(result, stage)) for result in measured]
    return make_table(f"Occupancy in the {stage} stage", columns, rows, caption, notes)


def joules(results: Sequence[Result]) -> Table:
    """Draw energy an image, where a hardware counter told any."""
    rows = []
    for result in results:
        measured = result.measurement("energy_j")
        found = resources.joules_per_image(measured) if measured is not None else None
        if measured is None or found is None:
            continue
        net, idle = found
        told = measured.details
        rows.append(
            head(result)
            | {
                "energy_j": net,
                "idle_j": idle,
                "idle_w": told["idle_w"],
                "window_s": told["window_s"],
                "source": told["source"],
            }
        )
    columns = (
        NETWORK,
        INPUT,
        *varying(results),
        Column("energy_j", "Energy an image (mJ)", units.millijoules),
        Column("idle_j", "Idle share subtracted (mJ)", units.millijoules),
        Column("idle_w", "Idle (W)", units.number),
        Column("window_s", "Window (s)", units.number),
        Column("source", "Counter", align="left"),
    )
    return make_table("Energy", columns, rows, f"{conditions(results)} Hardware counters only; nothing is modelled.")


def _cores(results: Sequence[Result], stage: str) -> str:
    """Say of how many cores a share is one."""
    sampled = (result.measurement(f"{stage}.interval_s") for result in results)
    cores = sorted({m.details["cores"] for m in sampled if m is not None and m.values})
    return f"Cores: {', '.join(map(str, cores))}. " if cores else ""


def _beside(result: Result, stage: str) -> list[str]:
    """Name what else ran while a stage was sampled."""
    sampled = result.measurement(f"{stage}.interval_s")
    busy = sampled.details.get("busiest_others", []) if sampled is not None else []
    others = ", ".join(f"{name} ({units.significant(cores, 2)} cores)" for name, cores in busy)
    return [f"Beside it ran {others}."] if others else []
