"""Columns that several tables have, each with its origin, and their cells."""

from collections.abc import Iterable, Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.table import Column

Row = dict[str, Json]

MACS_ARE = "MACs per image by conv+matmul-v1 (convolutions and matrix products)"
FLOPS_ARE = "FLOPs = 2 x MACs."
KERAS_TOTAL_IS = "By Keras: with the statistics of batch norm, as Keras prints a total."
MEDIANS = "Mean of the processes' medians."
MOST_MEMORY = "Peak that was allocated on the GPU where measured, else the process's peak above the idle one."
_SUBJECT = "Which network was measured, and how it was built: the record's subject."
_PLAN = "A setting of the plan that it was measured by."
_AS_BUILT = "Counted on the network as built."


def write_shape(value: Sequence[int]) -> str:
    """Write (C, H, W), which JSON has as a list."""
    return units.size(tuple(value))


# Settings of a plan that stand in the caption where all rows share them, and in a column of their own where not.
SETTINGS = (
    Column("protocol", "Protocol", setting=True).with_origin(_PLAN),
    Column("device", "Device", setting=True).with_origin(_PLAN),
    Column("backend", "Backend", setting=True).with_origin(_PLAN),
    Column("runtime", "Runtime", setting=True).with_origin(_PLAN),
    Column("batch_size", "Batch", setting=True).with_origin(_PLAN),
    Column("threads", "Threads", setting=True).with_origin(
        "Threads of PyTorch's operators or of the backend's runtime, as the measuring process reported."
    ),
    Column("wait", "Waiting", setting=True).with_origin(_PLAN),
    Column("precision", "Precision", setting=True).with_origin(_PLAN),
    Column("layout", "Layout", setting=True).with_origin(_PLAN),
    Column("mode", "Mode", setting=True).with_origin(_PLAN),
    Column("cudnn", "cuDNN", setting=True).with_origin(_PLAN),
    Column("alloc", "Allocator", setting=True).with_origin(_PLAN),
    Column("rate_hz", "Rate (1/s)", units.number, setting=True).with_origin(_PLAN),
)
# Of a cluster, where there are several.
NODE = Column("node", "Node", align="left", setting=True).with_origin(
    "Hash of the node's machine and name.", evidence="machine"
)

NETWORK = Column("name", "Network", align="left").with_origin(_SUBJECT)
INPUT = Column("input_shape", "Input", write_shape).with_origin(_SUBJECT)
CLASSES = Column("num_classes", "Classes").with_origin(_SUBJECT)

PARAMETERS = Column("parameters", "Parameters", units.scaled.with_digits(4), better="lower").with_origin(
    f"Trainable elements, tied ones once. {_AS_BUILT}", "parameters.trainable"
)
KERAS_TOTAL = Column("keras_total", "Keras total", units.grouped, better="lower").with_origin(
    f"Parameters with the statistics of batch norm, as Keras prints a total. {_AS_BUILT}", "parameters.keras_total"
)
MACS = Column("macs", "MACs", units.scaled, better="lower").with_origin(
    "Multiply-accumulates of convolutions and matrix products, per image.", "macs"
)
FLOPS = Column("flops", "FLOPs", units.scaled, better="lower").with_origin(FLOPS_ARE, "macs")
STATE_DICT = Column("state_dict_bytes", "Size (MiB)", units.mebibytes, better="lower").with_origin(
    f"Bytes of all parameters and buffers. {_AS_BUILT}", "state_dict_bytes"
)
CHECKPOINT = Column("checkpoint_bytes", "kB", units.kilobytes).with_origin(
    f"Bytes of a checkpoint with Adam's state. {_AS_BUILT}", "checkpoint_bytes"
)
ACTIVATIONS = Column("peak_activation_bytes", "Activations (MiB)", units.mebibytes).with_origin(
    "Computed from the tensors that are alive at once.", "peak_activation_bytes"
)
CONV = Column("conv", "Conv").with_origin(f"Convolutions that run, each once. {_AS_BUILT}", "layers.conv")
CONV_SEPARABLE_ONCE = Column("conv_separable_once", "Conv, separable once").with_origin(
    f"Convolutions, a depthwise and the pointwise one after it once. {_AS_BUILT}", "layers.conv_separable_once"
)
CONV_WITHOUT_SHORTCUTS = Column("conv_without_shortcuts", "no shortcuts").with_origin(
    f"Convolutions less those on shortcuts. {_AS_BUILT}", "layers.conv", "layers.conv_shortcut"
)
POOL = Column("pool", "Pool").with_origin(f"Calls that pool over space. {_AS_BUILT}", "layers.pool")
FC = Column("fc", "FC").with_origin(f"Linear layers that run, each once. {_AS_BUILT}", "layers.fc")
_COUNTED = (PARAMETERS, KERAS_TOTAL, MACS, STATE_DICT, CHECKPOINT, ACTIVATIONS, CONV, CONV_SEPARABLE_ONCE, POOL, FC)

# What follows from a latency is known as far as the latency is.
TOLERANCE = "latency_share"
LATENCY = Column(
    "latency_s", "Latency (ms)", units.milliseconds, better="lower", interval="interval_s", tolerance=TOLERANCE
).with_origin(MEDIANS, "latency_s")
INTERVAL = Column("interval_s", "95 % interval (ms)", units.milliseconds.between).with_origin(
    "At 95 % around the mean of the processes' medians: Student's, or Stein's two-stage one where a pilot decided "
    "their number.",
    "latency_s",
)
MEAN = Column("mean_s", "Mean of one process (ms)", units.milliseconds, tolerance=TOLERANCE).with_origin(
    "Mean of the passes of the first process, as in paper 001.", "latency_s"
)
PER_IMAGE = Column("latency_per_image_s", "ms per image", units.milliseconds, tolerance=TOLERANCE).with_origin(
    f"{MEDIANS} Divided by the images of a batch.", "latency_s"
)
IMAGES_PER_S = Column("images_per_s", "Images/s", units.number, tolerance=TOLERANCE).with_origin(
    "Images of a batch, divided by the mean of the processes' medians.", "latency_s"
)

SAMPLED = ("{stage}.interval_s", "{stage}.process_user_s", "{stage}.process_system_s")
CPU_SHARE = Column("cpu_share", "CPU (%)", units.hundredths).with_origin(
    "User and system time of the process, divided by the time and all cores.", *SAMPLED
)
MACHINE_USER_SHARE = Column("machine_user_share", "us (%)", units.hundredths).with_origin(
    "User time of the whole machine, divided by the time and all cores.", SAMPLED[0], "{stage}.machine_user_s"
)
MACHINE_SYSTEM_SHARE = Column("machine_system_share", "sy (%)", units.hundredths).with_origin(
    "System time of the whole machine, divided by the time and all cores.", SAMPLED[0], "{stage}.machine_system_s"
)
MEMORY_SHARE = Column("memory_share", "MEM (%)", units.hundredths).with_origin(
    "Largest resident set, divided by the detail memory_bytes of the interval.", "{stage}.rss_bytes", SAMPLED[0]
)
RSS = Column("rss_bytes", "RSS (MiB)", units.mebibytes).with_origin(
    "Largest resident set of all samples.", "{stage}.rss_bytes"
)


def recorded(result: Result, columns: Iterable[Column]) -> Row:
    """Return the cells of columns that show the one value of their metric."""
    return {column.key: result.value(column.origin.metrics[0]) for column in columns if column.origin is not None}


def counted(result: Result) -> Row:
    """Return the cells of all that was counted of a network."""
    row = recorded(result, _COUNTED)
    shortcuts = result.value("layers.conv_shortcut")
    row["flops"] = None if row["macs"] is None else 2 * row["macs"]
    row["conv_without_shortcuts"] = None if row["conv"] is None or shortcuts is None else row["conv"] - shortcuts
    return row
