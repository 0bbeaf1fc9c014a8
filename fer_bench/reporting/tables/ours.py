"""What we put beside the quantities that papers print, from results."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fer_bench.networks.spec import Figure
from fer_bench.records import units
from fer_bench.records.plan import REALTIME
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, live, resources
from fer_bench.reporting.table import Column
from fer_bench.reporting.tables import standard
from fer_bench.reporting.tables.common import latency_cells


@dataclass(frozen=True, slots=True)
class Ours:
    """What we put beside a quantity that a paper prints.

    Attributes:
        columns: of ours, in the order in which they follow the printed one.
        said: what a caption must say of them; of a latency it depends on the rows.
        timed: they depend on the machine and on the plan; counts do not.
    """

    columns: tuple[Column, ...]
    said: str = ""
    timed: bool = False


def stage_of(figure: Figure, result: Result) -> str:
    """Return the stage of a result that a figure is about: testing is what a run of the whole system did."""
    return live.STAGE if figure.stage == "testing" and REALTIME in result.plan.metrics else figure.stage


def values_beside(figure: Figure, result: Result) -> standard.Row:
    """Return what a result has for the columns beside a printed figure, by the columns' keys."""
    ours = OURS.get(figure.quantity)
    if ours is None:
        return {}
    if figure.quantity == "latency":
        summary = latency.summary(result)
        values = latency_cells(summary) if summary is not None else {}
    elif ours.timed:
        values = dict(resources.occupancy(result, stage_of(figure, result)) or {})
    else:
        counts = standard.counted(result)
        values = {column.key: counts[column.key] for column in ours.columns}
    return {key: value for key, value in values.items() if value is not None}


def _ours(column: Column, heading: str = "", **changes: Any) -> Column:
    return replace(column, heading=f"fer_bench: {heading or column.heading}", better=None, **changes)


def _occupied(column: Column) -> Ours:
    said = "CPU: the process's share of all cores' time; us, sy: the whole machine's; RSS: the largest resident set."
    return Ours((_ours(column),), said, timed=True)


_LAYERS_SAID = (
    "Layers: those that run, each convolution once. The next column counts a depthwise and its pointwise convolution "
    "as one; the third leaves out projections on shortcuts. Pooling is counted by call."
)
_OF_PARAMETERS = Ours(
    (_ours(standard.PARAMETERS, "trainable", write=units.grouped), _ours(standard.KERAS_TOTAL, "by Keras")),
    standard.KERAS_TOTAL_IS,
)
OURS: Mapping[str, Ours] = {
    "flops": Ours((_ours(standard.MACS), _ours(standard.FLOPS)), f"{standard.MACS_ARE}; {standard.FLOPS_ARE}"),
    "parameters": _OF_PARAMETERS,
    "trainable_parameters": _OF_PARAMETERS,
    "latency": Ours((replace(standard.LATENCY, heading="fer_bench: ms a batch"), standard.INTERVAL), timed=True),
    "file_size": Ours((_ours(standard.CHECKPOINT),), "kB: with Adam's state."),
    "conv_layers": Ours(
        (
            _ours(standard.CONV, "conv"),
            _ours(standard.CONV_SEPARABLE_ONCE, "separable once"),
            _ours(standard.CONV_WITHOUT_SHORTCUTS),
        ),
        _LAYERS_SAID,
    ),
    "pooling_layers": Ours((_ours(standard.POOL, "pooling"),), _LAYERS_SAID),
    "fc_layers": Ours((_ours(standard.FC),), _LAYERS_SAID),
    "cpu_percent": _occupied(standard.CPU_SHARE),
    "user_percent": _occupied(standard.MACHINE_USER_SHARE),
    "system_percent": _occupied(standard.MACHINE_SYSTEM_SHARE),
    "memory_percent": _occupied(standard.RSS),
}
