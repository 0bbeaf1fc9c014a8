"""Latency: seconds a forward pass of the whole batch, one value a timed pass.

On a GPU four series are measured, since they differ. Passes are launched operator by operator or replayed as one CUDA
graph; each on an L2 cache that the pass before left warm, and on one that was overwritten in between.
"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from fer_bench.measuring.machine import LoadMonitor
from fer_bench.measuring.profilers.kinds import Alive, Clock, Sleep, inference_mode, on_gpu
from fer_bench.measuring.profilers.passes import Pacer, Pass, Passes, Usage, device_pass, timed_pass, until_enough
from fer_bench.records.errors import FerBenchError, brief
from fer_bench.records.output import capped
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement
from fer_bench.records.stats import warmup_cut

if TYPE_CHECKING:
    from torch import Tensor, nn

Launch = Callable[[], object]  # starts a pass and does not wait for it

# Larger than any L2 cache so far (H100: 50 MB, B200: 126 MB): writing it leaves nothing of a network there.
_FLUSH_BYTES = 256 * 2**20
# Of dummy passes on a GPU, beside the plan's: until then it may still be raising its clock from that of an idle one.
_RAISING_CLOCK_S = 0.25
_MOST_WARMUP = 1000  # passes, however short


def measure_latency(
    model: "nn.Module",
    images: "Tensor",
    plan: Plan,
    clock: Clock = time.perf_counter_ns,
    usage: Usage = resource.getrusage,
    alive: Alive = lambda: None,
    sleep: Sleep = time.sleep,
    *,
    capture: bool = True,
) -> list[Measurement]:
    """Time forward passes, the first ones apart as warm-up.

    ``plan.warmup_runs`` passes are warm-up at least, and more where the series itself shows it
    (``stats.warmup_cut``). Then come ``plan.runs`` passes and ``plan.min_time_s`` seconds, or ``plan.max_time_s`` if
    that is over first. With ``plan.rate_hz`` they start on a clock, so that caches and the processor's clock are as
    they are between frames. Without ``capture`` no CUDA graph is tried: one that fails spoils the process for what
    follows.

    Returns:
        ``latency_s`` with ``minor_faults`` and ``involuntary_switches`` of the same passes; on a GPU
        also ``latency_cold_s``, ``graph_latency_s`` and ``graph_latency_cold_s``. At a rate also ``start_jitter_s``,
        ``deadline_misses`` and ``passes_left_out``, of ``latency_s``.
    """
    series = _Series(plan, usage, alive, clock, sleep)
    with inference_mode():
        if on_gpu(images):
            return list(_on_gpu(model, images, series, capture=capture))
        return series.measured("latency_s", timed_pass(model, images, clock), "perf_counter_ns")


def _on_gpu(model: "nn.Module", images: "Tensor", series: "_Series", *, capture: bool) -> Iterator[Measurement]:
    import torch

    from fer_bench.measuring.profilers import devices

    device = images.device
    clock = devices.clock(device)

    def eager() -> None:
        model(images)

    def beside(metric: str, launch: Launch, *, cold: bool) -> Measurement:
        try:
            flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=device) if cold else None
            return series.measured(metric, lambda: device_pass(launch, device, flush), clock)[0]
        except Exception as error:  # memory is out, or the device has failed: what was measured before holds
            return Measurement(metric, "s", failure=brief(error))

    yield from series.measured("latency_s", lambda: device_pass(eager, device), clock, least_s=_RAISING_CLOCK_S)
    yield beside("latency_cold_s", eager, cold=True)
    try:
        if not capture:
            raise FerBenchError("not tried in a process that does other work, which a capture that fails would spoil")
        replay = devices.capture(eager, device)
    except Exception as error:  # the network's own, too: whatever a capture raises, there is no graph
        reason = str(error) if isinstance(error, FerBenchError) else brief(error)
        for metric in ("graph_latency_s", "graph_latency_cold_s"):
            yield Measurement(metric, "s", details={"not_captured": capped(reason)})
        return
    yield beside("graph_latency_s", replay, cold=False)
    yield beside("graph_latency_cold_s", replay, cold=True)


@dataclass(frozen=True, slots=True)
class _Series:
    """Measures series of passes by a plan."""

    plan: Plan
    usage: Usage
    alive: Alive
    clock: Clock
    sleep: Sleep

    def measured(self, metric: str, one: Pass, clock: str, least_s: float = 0.0) -> list[Measurement]:
        """Measure a series: the times, then the page faults and context switches of the same passes.

        Args:
            metric: of the times.
            one: makes a pass.
            clock: what times it, for the record.
            least_s: seconds of warm-up, beside the plan's passes.
        """
        passes, warmed_s = Passes(self.usage), 0.0
        while (cut := len(passes.seconds)) < self.plan.warmup_runs or (warmed_s < least_s and cut < _MOST_WARMUP):
            warmed_s += passes.make(one)
            self.alive()
        pacer = Pacer(self.plan.rate_hz, self.clock, self.sleep)

        def paced() -> float:
            return passes.make(lambda: pacer.make(one))

        cpu_s, started_s = time.process_time(), time.perf_counter()
        load = LoadMonitor()  # from here: a GPU that has idled raises its clock in the warm-up
        stopped_by = until_enough(self.plan, paced, self.alive)
        longer = warmup_cut(passes.seconds, cut)
        if longer > cut:  # than planned: so many passes more
            cut = longer
            stopped_by = until_enough(self.plan, paced, self.alive, passes.seconds[cut:])
        details: dict[str, Json] = {
            "clock": clock,
            "warmup_s": passes.seconds[:cut],
            "stopped_by": stopped_by,
            "cores_used": (time.process_time() - cpu_s) / max(time.perf_counter() - started_s, 1e-9),
            "kernel_s_per_run": fmean(passes.system_s[cut:]),
            **load.report(),
        }
        return [*passes.measurements(metric, details, slice(cut, None)), *pacer.measurements()]
