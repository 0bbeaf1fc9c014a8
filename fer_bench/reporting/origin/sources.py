"""Where the cells of each column come from: ``SOURCES`` is the one list, and a column that it lacks fails a test."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """Where the cells of a column come from.

    Attributes:
        how: how a cell follows from what is stored, as a sentence.
        metrics: the measurements of the record that it follows from; ``{stage}`` is "training" or "testing".
        quantities: the printed figures of the network's sheet that it is; the first that there is.
        attainable: it follows from what the machine attains, too.
    """

    how: str
    metrics: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    attainable: bool = False


_SUBJECT = "Which network was measured, and how it was built: the record's subject."
_PLAN = "A setting of the plan that it was measured by."
_MEDIANS = "Mean of the processes' medians."
_AS_BUILT = "Counted on the network as built."
_PEAK = "Peak of a process of its own, above the idle process."
_GPU_PEAK = "Peak of the GPU's memory, of a process of its own."
_STEP = "Median of the steps of one process, after the warm-up."
_ROOF = ("latency_s", "operator_macs", "operator_bytes")
_SAMPLED = ("{stage}.interval_s", "{stage}.process_user_s", "{stage}.process_system_s")
_MODULE = "Of the module with all inside it, as it first ran: "


def _roof(how: str) -> Source:
    return Source(how, _ROOF, attainable=True)


_EVERYWHERE: Mapping[str, Source] = {
    "name": Source(_SUBJECT),
    "input_shape": Source(_SUBJECT),
    "num_classes": Source(_SUBJECT),
    **dict.fromkeys(("protocol", "device", "batch_size", "precision", "layout", "mode", "alloc"), Source(_PLAN)),
    "threads": Source("Threads of PyTorch's operators, as the measuring process told."),
    "parameters": Source(f"Trainable elements, tied ones once. {_AS_BUILT}", ("parameters.trainable",)),
    "keras_total": Source(
        f"Parameters with the statistics of batch norm, as Keras prints a total. {_AS_BUILT}",
        ("parameters.keras_total",),
    ),
    "macs": Source("Multiply-accumulates of convolutions and matrix products, an image.", ("macs",)),
    "flops": Source("FLOPs = 2 x MACs.", ("macs",)),
    "printed_flops": Source("As published; by which convention is not said.", quantities=("flops",)),
    "state_dict_bytes": Source(f"Bytes of all parameters and buffers. {_AS_BUILT}", ("state_dict_bytes",)),
    "checkpoint_bytes": Source(f"Bytes of a checkpoint with Adam's state. {_AS_BUILT}", ("checkpoint_bytes",)),
    "latency_s": Source(_MEDIANS, ("latency_s",)),
    "interval_s": Source(
        "At 95 % around the mean of the processes' medians: Student's, or Stein's two-stage one where a pilot decided "
        "their number.",
        ("latency_s",),
    ),
    "mean_s": Source("Mean of the passes of the first process, as paper 001 has it.", ("latency_s",)),
    "latency_per_image_s": Source(f"{_MEDIANS} Divided by the images of a batch.", ("latency_s",)),
    "images_per_s": Source("Images of a batch, divided by the mean of the processes' medians.", ("latency_s",)),
    "real_time": Source(
        "Whether the interval, or of one process the middle 80 % of the passes, lies below 41 ms at batch 1; unclear "
        "where it holds that.",
        ("latency_s",),
    ),
    "peak_memory_bytes": Source(
        "Most that was allocated on the GPU where that was measured, else the process's peak above the idle one.",
        ("peak_cuda_allocated_bytes", "peak_rss_bytes"),
    ),
    "accuracy": Source("As published; we measured none.", quantities=("accuracy",)),
    **{key: Source(_MEDIANS, (key,)) for key in ("latency_cold_s", "graph_latency_s", "graph_latency_cold_s")},
    "p90_s": Source("90 % of the passes of all processes together lie below.", ("latency_s",)),
    "p99_s": Source("99 % of the passes of all processes together lie below.", ("latency_s",)),
    "spread": Source("Standard deviation of the processes' medians, as a share of their mean.", ("latency_s",)),
    "processes": Source("Processes that measured and did not fail.", ("latency_s",)),
    "runs": Source("Timed passes of all processes together.", ("latency_s",)),
    "minor_faults": Source("Mean over all passes of all processes.", ("minor_faults",)),
    "involuntary_switches": Source("Mean over all passes of all processes.", ("involuntary_switches",)),
    "macs_per_s": Source("MACs of a batch, divided by the latency.", ("latency_s", "operator_macs")),
    "share_of_peak": _roof("MAC/s reached, divided by those attainable."),
    "bytes_per_s": Source("Bytes that the operators move, divided by the latency.", ("latency_s", "operator_bytes")),
    "share_of_copy": _roof("Bytes a second, divided by those of a copy."),
    "bound": _roof(
        "The largest of the times of arithmetic, of memory and of starting operators; none of these where the rest is "
        "larger."
    ),
    "arithmetic": _roof("Time of the operators that arithmetic bounds, as a share of the latency."),
    "memory": _roof("Time of the operators that memory bounds, as a share of the latency."),
    "overhead": _roof("Operators by the time of starting one, as a share of the latency."),
    "rest": _roof("What the three leave of the latency, as a share of it."),
    **{
        f"{stage}{key}": Source(_PEAK if "rss" in key else _GPU_PEAK, (f"{stage}{key}",))
        for stage in ("", "training_")
        for key in (
            "peak_rss_bytes",
            "peak_cuda_allocated_bytes",
            "peak_cuda_reserved_bytes",
            "peak_cuda_process_bytes",
        )
    },
    "peak_activation_bytes": Source("Worked out from the tensors that live at once.", ("peak_activation_bytes",)),
    "library_bytes": Source("Of the process's peak, pages of files: the detail file_bytes.", ("peak_rss_bytes",)),
    "training_library_bytes": Source(
        "Of the process's peak, pages of files: the detail file_bytes.", ("training_peak_rss_bytes",)
    ),
    "training_batch": Source("Images of a step: the detail batch_size.", ("training_step_s",)),
    **{
        f"training_{part}_s": Source(_STEP, (f"training_{part}_s",))
        for part in ("step", "forward", "backward", "optimizer")
    },
    "optimizer": Source("The detail optimizer of the step.", ("training_step_s",)),
    "steps": Source("Timed steps.", ("training_step_s",)),
    "cpu_share": Source("User and system time of the process, divided by the time and all cores.", _SAMPLED),
    "process_user_share": Source("User time of the process, divided by the time and all cores.", _SAMPLED[:2]),
    "process_system_share": Source(
        "System time of the process, divided by the time and all cores.", (_SAMPLED[0], _SAMPLED[2])
    ),
    "machine_user_share": Source(
        "User time of the whole machine, divided by the time and all cores.", (_SAMPLED[0], "{stage}.machine_user_s")
    ),
    "machine_system_share": Source(
        "System time of the whole machine, divided by the time and all cores.",
        (_SAMPLED[0], "{stage}.machine_system_s"),
    ),
    "memory_share": Source(
        "Largest resident set, divided by the detail memory_bytes of the interval.",
        ("{stage}.rss_bytes", "{stage}.interval_s"),
    ),
    "cores_used": Source("User and system time of the process, divided by the time.", _SAMPLED),
    "others_cores": Source(
        "User, system and stolen time of the machine without the process's, divided by the time.",
        (*_SAMPLED, "{stage}.machine_user_s", "{stage}.machine_system_s", "{stage}.machine_steal_s"),
    ),
    "rss_bytes": Source("Largest resident set when a sample was taken.", ("{stage}.rss_bytes",)),
    "sampled_s": Source("Sum of the sampled intervals.", ("{stage}.interval_s",)),
    "energy_j": Source("Energy of the counter less the idle share, divided by the images.", ("energy_j",)),
    "idle_j": Source("Idle power by the window, divided by the images.", ("energy_j",)),
    "idle_w": Source("Power before the passes: the detail idle_w.", ("energy_j",)),
    "window_s": Source("Time of the passes: the detail window_s.", ("energy_j",)),
    "source": Source("The hardware counter: the detail source.", ("energy_j",)),
    "conv": Source(f"Convolutions that run, each once. {_AS_BUILT}", ("layers.conv",)),
    "conv_separable_once": Source(
        f"Convolutions, a depthwise and the pointwise one after it once. {_AS_BUILT}", ("layers.conv_separable_once",)
    ),
    "conv_without_shortcuts": Source(
        f"Convolutions less those on shortcuts. {_AS_BUILT}", ("layers.conv", "layers.conv_shortcut")
    ),
    "pool": Source(f"Calls that pool over space. {_AS_BUILT}", ("layers.pool",)),
    "fc": Source(f"Linear layers that run, each once. {_AS_BUILT}", ("layers.fc",)),
    "module": Source(f"{_MODULE}its name in the network.", ("module_macs",)),
    "type": Source(f"{_MODULE}its class.", ("module_macs",)),
    "output_shape": Source(f"{_MODULE}the shape that it gave, of one image.", ("module_macs",)),
    "module_parameters": Source(f"{_MODULE}its distinct parameters.", ("module_macs",)),
    "module_macs": Source(f"{_MODULE}multiply-accumulates an image.", ("module_macs",)),
    "macs_share": Source(f"{_MODULE}multiply-accumulates by those of the network.", ("module_macs", "macs")),
    "ours": Source("Told by the processes that measured: the records' environments."),
}

# Where a key means another thing in one table.
_OF_TABLE: Mapping[str, Mapping[str, Source]] = {
    "training": {
        "images_per_s": Source("Images of a step, divided by its median.", ("training_step_s",)),
        "peak_memory_bytes": Source(
            "Most that was allocated on the GPU where that was measured, else the process's peak above the idle one.",
            ("training_peak_cuda_allocated_bytes", "training_peak_rss_bytes"),
        ),
    },
    "published": {
        "name": Source("The network of the sheets."),
        "paper": Source("The paper that the printed figures of the row are from."),
        "where": Source("Where the paper has the printed figures of the row."),
        "printed_parameters": Source("As published.", quantities=("parameters", "trainable_parameters")),
        **{quantity: Source("As published.", quantities=(quantity,)) for quantity in ("flops", "file_size", "latency")},
        **{
            f"our_{key}": _EVERYWHERE[key]
            for key in ("parameters", "keras_total", "macs", "checkpoint_bytes", "latency_s")
        },
    },
    **{
        f"occupancy_{stage}": {
            "images_per_s": Source("Images, by the sampled time: the detail images.", ("{stage}.interval_s",))
        }
        for stage in ("training", "testing")
    },
}


def source_of(stem: str, key: str) -> Source | None:
    """Give where the cells of a column come from; None where nobody wrote it down.

    Args:
        stem: of the table.
        key: of the column.
    """
    return _OF_TABLE.get(stem, {}).get(key) or _EVERYWHERE.get(key)
