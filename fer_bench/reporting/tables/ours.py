"""What we put beside the quantities that papers print, from results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, resources
from fer_bench.reporting.table import Column
from fer_bench.reporting.tables.common import INTERVAL, LATENCY, Row, latency_digits


@dataclass(frozen=True, slots=True)
class Ours:
    """What we put beside a quantity that a paper prints.

    Attributes:
        columns: of ours, in the order in which they follow the printed one.
        values: of a result, by the columns' keys; the stage is the printed figure's.
        said: what a caption must say of them; of a latency it depends on the rows.
        timed: they depend on the machine and on the plan; counts do not.
    """

    columns: tuple[Column, ...]
    values: Callable[[Result, str], Row]
    said: str
    timed: bool = False


def _macs(result: Result, _stage: str) -> Row:
    macs = result.value("macs")
    return {"macs": macs, "flops": None if macs is None else 2 * macs}


def _parameters(result: Result, _stage: str) -> Row:
    return {key: result.value(f"parameters.{metric}") for key, metric in _PARAMETERS.items()}


def _latency(result: Result, _stage: str) -> Row:
    taken = latency.summary(result)
    return {} if taken is None else {"latency_s": taken.estimate_s} | latency_digits(taken)


def _file_size(result: Result, _stage: str) -> Row:
    return {"checkpoint_bytes": result.value("checkpoint_bytes")}


def _layers(result: Result, _stage: str) -> Row:
    counted = {kind: result.value(f"layers.{kind}") for kind in ("conv", "conv_separable_once", "conv_shortcut")}
    conv, shortcuts = counted["conv"], counted.pop("conv_shortcut")
    counted["conv_without_shortcuts"] = None if conv is None or shortcuts is None else conv - shortcuts
    return counted | {kind: result.value(f"layers.{kind}") for kind in ("pool", "fc")}


def _occupancy(result: Result, stage: str) -> Row:
    return dict(resources.occupancy(result, stage) or {})


_OCCUPANCY_SAID = (
    "CPU: the process's share of all cores' time; us, sy: the whole machine's; MEM: resident set of the memory."
)


def _occupied(key: str, heading: str) -> Ours:
    return Ours((Column(key, heading, units.hundredths),), _occupancy, _OCCUPANCY_SAID, timed=True)


_PARAMETERS = {"parameters": "trainable", "keras_total": "keras_total"}
_LAYERS_SAID = (
    "Layers: of what runs, each convolution once; in the next column a depthwise and a pointwise one after it count as "
    "one, in the third projections on shortcuts are left out; poolings by call."
)
_OF_PARAMETERS = Ours(
    (
        Column("parameters", "fer_bench: trainable", units.grouped),
        Column("keras_total", "fer_bench: by Keras", units.grouped),
    ),
    _parameters,
    "By Keras: with the statistics of batch norm, as Keras prints a total.",
)
OURS: Mapping[str, Ours] = {
    "flops": Ours(
        (Column("macs", "fer_bench: MACs", units.scaled), Column("flops", "fer_bench: FLOPs", units.scaled)),
        _macs,
        "MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs.",
    ),
    "parameters": _OF_PARAMETERS,
    "trainable_parameters": _OF_PARAMETERS,
    "latency": Ours(
        (replace(LATENCY, heading="fer_bench: ms a batch"), INTERVAL),
        _latency,
        "",
        timed=True,
    ),
    "file_size": Ours(
        (Column("checkpoint_bytes", "fer_bench: kB", units.kilobytes),), _file_size, "kB: with Adam's state."
    ),
    "conv_layers": Ours(
        (
            Column("conv", "fer_bench: conv"),
            Column("conv_separable_once", "fer_bench: separable once"),
            Column("conv_without_shortcuts", "fer_bench: no shortcuts"),
        ),
        _layers,
        _LAYERS_SAID,
    ),
    "pooling_layers": Ours((Column("pool", "fer_bench: pooling"),), _layers, _LAYERS_SAID),
    "fc_layers": Ours((Column("fc", "fer_bench: FC"),), _layers, _LAYERS_SAID),
    "cpu_percent": _occupied("cpu_share", "fer_bench: CPU (%)"),
    "user_percent": _occupied("machine_user_share", "fer_bench: us (%)"),
    "system_percent": _occupied("machine_system_share", "fer_bench: sy (%)"),
    "memory_percent": _occupied("memory_share", "fer_bench: MEM (%)"),
}
