"""Accelerators by PyTorch's own names: CUDA, and ROCm under the same name, XPU and MPS.

PyTorch has a module for each, ``torch.cuda``, ``torch.xpu`` and ``torch.mps``, with the same names where it can do the
same. What one of them lacks is an error that says so, and is worked out by no other means.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from fer_bench.records.errors import FerBenchError

_BEFORE_CAPTURE = 3  # passes on a side stream before a graph is captured, so that libraries have chosen their kernels


def module(device: "torch.device | str") -> ModuleType:
    """Return what PyTorch has for an accelerator, such as ``torch.cuda``."""
    return torch.get_device_module(device)


def synchronize(device: "torch.device | str") -> None:
    """Wait for all that was launched; on the CPU nothing is left to wait for."""
    if torch.device(device).type != "cpu":
        module(device).synchronize()


def event(device: "torch.device | str") -> Any:
    """Return an event that reads the device's clock when the stream reaches it."""
    return module(device).Event(enable_timing=True)


def clock(device: "torch.device | str") -> str:
    """Name what times passes on an accelerator, for records."""
    return f"{torch.device(device).type.upper()} events"


def capture(launch: Callable[[], object], device: "torch.device | str") -> Callable[[], None]:
    """Capture what a function launches as a graph, and return what replays it.

    A capture that fails leaves PyTorch's current stream, and the state of its random numbers, as they are within one:
    only a process that does nothing afterwards may try.

    Raises:
        FerBenchError: PyTorch has no graphs on this device, or the network does what no graph may hold: it
            synchronises, branches on values, or allocates.
    """
    its, kind = module(device), torch.device(device).type
    graph_of = getattr(its, f"{kind.upper()}Graph", None)
    if graph_of is None:
        raise FerBenchError(f"PyTorch {torch.__version__} has no graphs on {kind}")
    side = its.Stream()
    side.wait_stream(its.current_stream())
    with its.stream(side):
        for _ in range(_BEFORE_CAPTURE):
            launch()
    its.current_stream().wait_stream(side)
    graph = graph_of()
    try:
        with its.graph(graph):
            launch()
    except RuntimeError as error:
        # Leaving the capture fails, too, and hides the error of the network, which says more.
        raise FerBenchError(str(error.__context__ or error)) from error
    return graph.replay  # type: ignore[no-any-return]
