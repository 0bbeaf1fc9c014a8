"""Latency: seconds a forward pass of the whole batch, one value a timed pass.

On CUDA four series are measured, since they differ. Passes are launched operator by operator or replayed as one CUDA
graph; each on an L2 cache that the pass before left warm, and on one that was overwritten in between.
"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from fer_bench.measuring.machine import LoadMonitor
from fer_bench.measuring.profilers.kinds import Alive, Clock, inference_mode, on_gpu
from fer_bench.measuring.profilers.passes import Pass, Passes, Usage, cuda_pass, timed_pass, until_enough
from fer_bench.records.errors import brief
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement
from fer_bench.records.stats import warmup_cut

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# Larger than any L2 cache so far (H100: 50 MB, B200: 126 MB): writing it leaves nothing of a network there.
_FLUSH_BYTES = 256 * 2**20
_BEFORE_CAPTURE = 3  # passes on a side stream before a graph is captured, so that libraries have chosen their kernels


def measure_latency(
    model: "nn.Module",
    images: "Tensor",
    plan: Plan,
    clock: Clock = time.perf_counter_ns,
    usage: Usage = resource.getrusage,
    alive: Alive = lambda: None,
) -> list[Measurement]:
    """Time forward passes, the first ones apart as warm-up.

    ``plan.warmup_runs`` passes are warm-up at least, and more where the series itself shows it
    (``stats.warmup_cut``). Then come ``plan.runs`` passes and ``plan.min_time_s`` seconds, or ``plan.max_time_s`` if
    that is over first.

    Returns:
        ``latency_s`` with ``minor_faults`` and ``involuntary_switches`` of the same passes; on CUDA also
        ``latency_cold_s``, ``graph_latency_s`` and ``graph_latency_cold_s``.
    """
    series = _Series(plan, usage, alive)
    with inference_mode():
        if on_gpu(images):
            return list(_on_cuda(model, images, series))
        return series.measured("latency_s", timed_pass(model, images, clock), "perf_counter_ns")


def _on_cuda(model: "nn.Module", images: "Tensor", series: "_Series") -> Iterator[Measurement]:
    import torch

    def eager() -> None:
        model(images)

    flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=images.device)
    clock = "CUDA events"
    yield from series.measured("latency_s", lambda: cuda_pass(eager), clock)
    yield from series.measured("latency_cold_s", lambda: cuda_pass(eager, flush), clock)[:1]
    try:
        graph = _capture(eager)
    except RuntimeError as error:  # it synchronises, branches on values or allocates as no graph may
        torch.cuda.synchronize()
        for metric in ("graph_latency_s", "graph_latency_cold_s"):
            yield Measurement(metric, "s", details={"not_captured": brief(error)})
        return
    yield from series.measured("graph_latency_s", lambda: cuda_pass(graph.replay), clock)[:1]
    yield from series.measured("graph_latency_cold_s", lambda: cuda_pass(graph.replay, flush), clock)[:1]


def _capture(launch: Callable[[], None]) -> "torch.cuda.CUDAGraph":
    import torch

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_BEFORE_CAPTURE):
            launch()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    return graph


@dataclass(frozen=True, slots=True)
class _Series:
    """Measures series of passes by a plan."""

    plan: Plan
    usage: Usage
    alive: Alive

    def measured(self, metric: str, one: Pass, clock: str) -> list[Measurement]:
        """Measure a series: the times, then the page faults and context switches of the same passes."""
        passes, cut = Passes(self.usage), self.plan.warmup_runs
        for _ in range(cut):
            passes.make(one)
            self.alive()
        cpu_s, started_s = time.process_time(), time.perf_counter()
        load = LoadMonitor()  # from here: a GPU that has idled raises its clock in the warm-up
        stopped_by = until_enough(self.plan, lambda: passes.make(one), self.alive)
        longer = warmup_cut(passes.seconds, cut)
        if longer > cut:  # than planned: so many passes more
            cut = longer
            stopped_by = until_enough(self.plan, lambda: passes.make(one), self.alive, passes.seconds[cut:])
        details: dict[str, Json] = {
            "clock": clock,
            "warmup_s": passes.seconds[:cut],
            "stopped_by": stopped_by,
            "cores_used": (time.process_time() - cpu_s) / max(time.perf_counter() - started_s, 1e-9),
            "kernel_s_per_run": fmean(passes.system_s[cut:]),
            **load.report(),
        }
        return passes.measurements(metric, details, slice(cut, None))
