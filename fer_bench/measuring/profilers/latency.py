"""Latency: seconds a forward pass of the whole batch, one value a timed pass.

On the CPU the clock is read just around each pass. On CUDA an event before and one after each pass tell the time on the
device, and the host waits outside the interval; four series are taken, since they differ: passes launched operator by
operator or replayed as one CUDA graph, each on an L2 cache that the pass before left warm, and on one that was
overwritten in between.
"""

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor, nn

from fer_bench.measuring import machine
from fer_bench.measuring.profilers.kinds import Alive, Clock
from fer_bench.records.errors import brief
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement
from fer_bench.records.stats import warmup_cut

Usage = Callable[[int], resource.struct_rusage]
Pass = Callable[[], float]  # makes a pass and gives its seconds

# Larger than any L2 cache so far (H100: 50 MB, B200: 126 MB): writing it leaves nothing of a network there.
_FLUSH_BYTES = 256 * 2**20
_ALIVE_EVERY_S = 5.0  # of passes; a time limit is at least a few times that
_BEFORE_CAPTURE = 3  # passes on a side stream before a graph is captured, so that libraries have chosen their kernels


@dataclass(slots=True)
class _Series:
    """Passes in order: seconds, and what the kernel did to the process in each. The first ``warmup`` are not timed."""

    warmup: int
    stopped_by: str = ""
    seconds: list[float] = field(default_factory=list)
    minor_faults: list[int] = field(default_factory=list)
    involuntary_switches: list[int] = field(default_factory=list)
    system_s: list[float] = field(default_factory=list)
    silent_s: float = 0.0  # since the runner last heard of us


def measure_latency(
    model: nn.Module,
    images: Tensor,
    plan: Plan,
    clock: Clock = time.perf_counter_ns,
    usage: Usage = resource.getrusage,
    alive: Alive = lambda: None,
) -> list[Measurement]:
    """Time forward passes, the first ones apart as warm-up.

    ``plan.warmup_runs`` passes are warm-up at least, and more where the series itself shows it
    (``stats.warmup_cut``). Then come ``plan.runs`` passes and ``plan.min_time_s`` seconds, or ``plan.max_time_s`` if
    that is over first.

    Args:
        model: the network, in eval mode, on the plan's device.
        images: the batch, (N, C, H, W), on the same device.
        plan: how often and how long.
        clock: nanoseconds; tests pass their own.
        usage: ``resource.getrusage``, likewise.
        alive: called every few seconds, between passes.

    Returns:
        ``latency_s`` with ``minor_faults`` and ``involuntary_switches`` of the same passes; on CUDA also
        ``latency_cold_s``, ``graph_latency_s`` and ``graph_latency_cold_s``.
    """
    with torch.inference_mode():
        if images.is_cuda:
            return list(_on_cuda(model, images, _Taking(plan, usage, alive)))

        def on_cpu() -> float:
            start = clock()
            model(images)
            return (clock() - start) * 1e-9

        return _Taking(plan, usage, alive).timed("latency_s", on_cpu, {"clock": "perf_counter_ns"})


def _on_cuda(model: nn.Module, images: Tensor, taking: "_Taking") -> Iterator[Measurement]:
    def eager() -> None:
        model(images)

    flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=images.device)
    told: dict[str, Json] = {"clock": "CUDA events"}
    yield from taking.timed("latency_s", lambda: cuda_pass(eager), told)
    yield from taking.timed("latency_cold_s", lambda: cuda_pass(eager, flush), told)[:1]
    try:
        graph = _capture(eager)
    except RuntimeError as error:  # it synchronises, branches on values or allocates as no graph may
        torch.cuda.synchronize()
        for metric in ("graph_latency_s", "graph_latency_cold_s"):
            yield Measurement(metric, "s", details={"not_captured": brief(error)})
        return
    yield from taking.timed("graph_latency_s", lambda: cuda_pass(graph.replay), told)[:1]
    yield from taking.timed("graph_latency_cold_s", lambda: cuda_pass(graph.replay, flush), told)[:1]


def cuda_pass(launch: Callable[[], None], flush: Tensor | None = None) -> float:
    """Make one pass and give its seconds on the device; a flush fills the L2 cache with zeros before."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    if flush is not None:
        flush.zero_()
    torch.cuda.synchronize()
    start.record()
    launch()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3  # PyTorch gives milliseconds


def _capture(launch: Callable[[], None]) -> torch.cuda.CUDAGraph:
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
class _Taking:
    """Takes series of passes by a plan."""

    plan: Plan
    usage: Usage
    alive: Alive

    def timed(self, metric: str, one: Pass, told: Mapping[str, Json]) -> list[Measurement]:
        """Take a series and write it down: the times, then the page faults and context switches of the same passes."""
        series = _Series(self.plan.warmup_runs)
        for _ in range(self.plan.warmup_runs):
            self._one(series, one)
        beside = machine.Beside()  # from here: a GPU that has idled raises its clock in the warm-up
        self._until_enough(series, one)
        longer = warmup_cut(series.seconds, self.plan.warmup_runs)
        if longer > series.warmup:  # than planned: so many passes more
            series.warmup = longer
            self._until_enough(series, one)
        cut = series.warmup
        details = {
            **told,
            "warmup_s": series.seconds[:cut],
            "stopped_by": series.stopped_by,
            "kernel_s_per_run": fmean(series.system_s[cut:]),
            **beside.told(),
        }
        return [
            Measurement(metric, "s", tuple(series.seconds[cut:]), details=details),
            Measurement("minor_faults", "count", tuple(series.minor_faults[cut:])),
            Measurement("involuntary_switches", "count", tuple(series.involuntary_switches[cut:])),
        ]

    def _until_enough(self, series: _Series, one: Pass) -> None:
        plan = self.plan
        elapsed = sum(series.seconds[series.warmup :])
        while True:
            count = len(series.seconds) - series.warmup
            if count >= plan.runs and elapsed >= plan.min_time_s:
                series.stopped_by = "runs"
                return
            if count > 0 and plan.max_time_s is not None and elapsed >= plan.max_time_s:
                series.stopped_by = "time cap" if count < plan.runs else "runs"
                return
            elapsed += self._one(series, one)

    def _one(self, series: _Series, one: Pass) -> float:
        before = self.usage(resource.RUSAGE_SELF)
        seconds = one()
        after = self.usage(resource.RUSAGE_SELF)
        series.seconds.append(seconds)
        series.minor_faults.append(after.ru_minflt - before.ru_minflt)
        series.involuntary_switches.append(after.ru_nivcsw - before.ru_nivcsw)
        series.system_s.append(after.ru_stime - before.ru_stime)
        series.silent_s += seconds
        if series.silent_s > _ALIVE_EVERY_S:
            self.alive()
            series.silent_s = 0.0
        return seconds
