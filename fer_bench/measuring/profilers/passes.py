"""Make passes and note of each how long it took and what the kernel did to the process meanwhile.

On the CPU the clock is read just around each pass. On CUDA an event before and one after each pass give the time on the
device, and the host waits outside of the interval.
"""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fer_bench.measuring.profilers.kinds import Alive, Clock, on_gpu
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

Usage = Callable[[int], resource.struct_rusage]
Pass = Callable[[], float]  # makes a pass and returns its seconds

_ALIVE_EVERY_S = 5.0  # of passes; a time limit is at least a few times that


@dataclass(slots=True)
class Passes:
    """Passes in order: seconds of each, page faults, switches by force, and seconds in the kernel."""

    usage: Usage = resource.getrusage
    seconds: list[float] = field(default_factory=list)
    minor_faults: list[int] = field(default_factory=list)
    involuntary_switches: list[int] = field(default_factory=list)
    system_s: list[float] = field(default_factory=list)
    _before: Any = None

    def make(self, one: Pass) -> float:
        """Make a pass and return its seconds."""
        self.begin()
        seconds = one()
        self.end(seconds)
        return seconds

    def begin(self) -> None:
        """Note the kernel's counts before a pass that somebody else makes."""
        self._before = self.usage(resource.RUSAGE_SELF)

    def end(self, seconds: float) -> None:
        """Note a pass that began with ``begin``."""
        after = self.usage(resource.RUSAGE_SELF)
        self.seconds.append(seconds)
        self.minor_faults.append(after.ru_minflt - self._before.ru_minflt)
        self.involuntary_switches.append(after.ru_nivcsw - self._before.ru_nivcsw)
        self.system_s.append(after.ru_stime - self._before.ru_stime)

    def measurements(self, metric: str, details: dict[str, Json], passes: slice) -> list[Measurement]:
        """Return the seconds of some passes, then the page faults and context switches of the same ones."""
        return [
            Measurement(metric, "s", tuple(self.seconds[passes]), details=details),
            Measurement("minor_faults", "count", tuple(self.minor_faults[passes])),
            Measurement("involuntary_switches", "count", tuple(self.involuntary_switches[passes])),
        ]


def timed_pass(model: "nn.Module", images: "Tensor", clock: Clock = time.perf_counter_ns) -> Pass:
    """Return what makes a pass over a batch of images, (N, C, H, W), and returns its seconds."""

    def on_cpu() -> float:
        start = clock()
        model(images)
        return (clock() - start) * 1e-9

    return (lambda: cuda_pass(lambda: model(images))) if on_gpu(images) else on_cpu


def cuda_pass(launch: Callable[[], object], flush: "Tensor | None" = None) -> float:
    """Make one pass and return its seconds on the device; a flush fills the L2 cache with zeros before."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    if flush is not None:
        flush.zero_()
    torch.cuda.synchronize()
    start.record()
    launch()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3  # PyTorch gives milliseconds


def until_enough(plan: Plan, one: Pass, alive: Alive, before: Sequence[float] = ()) -> str:
    """Make passes, or steps, until a plan's ``runs`` and ``min_time_s`` are reached, or ``max_time_s`` is over.

    Args:
        plan: how many, and how long.
        one: makes one and returns its seconds.
        alive: called every few seconds, between passes.
        before: seconds of those that were made already.

    Returns:
        What ended them: "runs" or "time cap".
    """
    count, elapsed, silent_s = len(before), sum(before), 0.0
    while count < plan.runs or elapsed < plan.min_time_s:
        if count and plan.max_time_s is not None and elapsed >= plan.max_time_s:
            return "time cap" if count < plan.runs else "runs"
        seconds = one()
        count += 1
        elapsed += seconds
        silent_s += seconds
        if silent_s > _ALIVE_EVERY_S:
            alive()
            silent_s = 0.0
    return "runs"
