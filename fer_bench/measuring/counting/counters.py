"""Other tools' counts, each under its own name with its own unit, and what each of them missed.

Published tables were made with these. Their counts are never mixed with ours. thop and fvcore return MACs with some
element-wise work added; PyTorch's FlopCounterMode returns FLOPs (two a MAC). Each omits something without a warning.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from fer_bench.measuring.counting.recorder import Trace
from fer_bench.networks import build as building
from fer_bench.networks.inputs import Input
from fer_bench.records.errors import CountingError, brief


@dataclass(frozen=True, slots=True)
class OtherCount:
    """What another tool says of one network.

    Attributes:
        tool: its name and version.
        value: its figure for the whole batch, in its unit.
        unit: "MACs" or "FLOPs", by what its formulas really do.
        parameters: its count of parameters, where it has one.
        missed: MACs by our convention that it did not see, by operator or module type; for fvcore, calls of operators
            that it says it does not support.
    """

    tool: str
    value: int
    unit: str
    parameters: int | None = None
    missed: Mapping[str, int] = field(default_factory=dict)


def _torch(model: nn.Module, inputs: tuple[Any, ...], ours: Trace) -> OtherCount:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    theirs: dict[str, int] = {}
    for operator, flops in counter.get_flop_counts()["Global"].items():
        name = f"aten::{str(operator).split('.')[-1]}"
        theirs[name] = theirs.get(name, 0) + flops // 2
    total = counter.get_total_flops()
    short = {name: op.macs - theirs.get(name, 0) for name, op in ours.operators.items()}
    missed = {name: macs for name, macs in short.items() if macs > 0 and total // 2 != ours.forward_macs}
    return OtherCount(f"torch {torch.__version__}", total, "FLOPs", missed=missed)


def _fvcore(model: nn.Module, inputs: tuple[Any, ...], ours: Trace) -> OtherCount:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(model, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    total, parameters = int(analysis.total()), int(parameter_count(model)[""])
    unsupported = {str(name): int(calls) for name, calls in analysis.unsupported_ops().items()}
    return OtherCount(f"fvcore {version('fvcore')}", total, "MACs", parameters, unsupported)


def _thop(model: nn.Module, inputs: tuple[Any, ...], ours: Trace) -> OtherCount:
    import thop
    from thop.profile import register_hooks

    # thop hooks modules of exactly the types that it knows; products in any other module are invisible to it.
    missed: dict[str, int] = {}
    for path, macs in ours.modules.items():
        kind = type(model.get_submodule(path))
        if macs and kind not in register_hooks:
            missed[kind.__name__] = missed.get(kind.__name__, 0) + macs
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        macs, parameters = thop.profile(model, inputs=inputs, verbose=False)
    return OtherCount(f"thop {version('thop')}", int(macs), "MACs", int(parameters), missed)


def thop_by_module(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, int]]:
    """Ask thop for the MACs and parameters of each module, by its path; "" is the network.

    Args:
        model: the network, on the meta device if you like; thop leaves buffers in it.
        inputs: images on the same device, (N, C, H, W).

    Raises:
        CountingError: thop cannot take this network.
    """
    import thop

    found: dict[str, tuple[int, int]] = {}

    def take(path: str, macs: float, parameters: float, inside: Mapping[str, Any]) -> None:
        found[path] = int(macs), int(parameters)
        for name, (child_macs, child_parameters, deeper) in inside.items():
            take(f"{path}.{name}" if path else name, child_macs, child_parameters, deeper)

    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            take("", *thop.profile(model, inputs=(inputs,), verbose=False, ret_layer_info=True))
    except Exception as error:  # thop runs hooks over whatever a user's network does
        raise CountingError(f"thop cannot count this network: {brief(error)}") from error
    return found


COUNTERS: dict[str, Callable[[nn.Module, tuple[Any, ...], Trace], OtherCount]] = {
    "torch": _torch,
    "fvcore": _fvcore,
    "thop": _thop,
}


def count_with(
    tool: str, model: nn.Module, input_shape: tuple[int, ...], ours: Trace, inputs: Sequence[Input] = ()
) -> OtherCount:
    """Count a network with another tool.

    Args:
        tool: a key of ``COUNTERS``.
        model: the network, on the CPU in eval mode; a network of its own, since thop leaves buffers in it.
        input_shape: (C, H, W) of an image.
        ours: our own trace of it, to say what the tool missed, with the batch.
        inputs: what the network takes, where that is not one image.

    Raises:
        CountingError: there is no such tool, or the network takes its inputs by name, which the tools do not know.
    """
    if tool not in COUNTERS:
        raise CountingError(f"there is no counter {tool!r}; known: {', '.join(COUNTERS)}")
    fed = building.feed(model, input_shape, inputs, ours.batch, "cpu")
    if fed.kwargs:
        raise CountingError(f"{tool} gives inputs by their place only: leave the names out of --inputs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools run on deprecated parts of PyTorch, which is theirs to mend
        return COUNTERS[tool](model, fed.args, ours)
