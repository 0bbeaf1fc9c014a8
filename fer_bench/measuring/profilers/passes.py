"""Make passes and note of each how long it took and what the kernel did to the process meanwhile.

On the CPU the clock is read just around each pass. On a GPU an event before and one after each pass give the time on
the device, and the host waits outside of the interval.
"""

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from fer_bench.measuring.profilers.kinds import Alive, Clock, Sleep, on_gpu
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    import torch
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


@dataclass(slots=True)
class Pacer:
    """Starts passes on a clock, ``rate_hz`` a second, or at once where that is None.

    Pass n is due at n / rate_hz, and its deadline is when the next is due. One that ends later makes passes be left
    out, as frames of a camera are dropped; the next one starts when it is due.

    Attributes:
        jitter_s: how late each pass started, in order: the timer and the scheduler's doing.
        missed: passes that ended behind their deadline.
        left_out: passes that were never begun.
    """

    rate_hz: float | None
    clock: Clock = time.perf_counter_ns
    sleep: Sleep = time.sleep
    jitter_s: list[float] = field(default_factory=list)
    missed: int = 0
    left_out: int = 0
    _start_ns: int | None = None
    _number: int = 0

    def make(self, one: Pass) -> float:
        """Make a pass when it is due, and return its seconds."""
        if self.rate_hz is None:
            return one()
        if self._start_ns is None:
            self._start_ns = self.clock()
        early_s = self._number / self.rate_hz - self._now_s()
        if early_s > 0:
            self.sleep(early_s)
        self.jitter_s.append(max(0.0, self._now_s() - self._number / self.rate_hz))
        seconds = one()
        end = self._now_s() * self.rate_hz
        self.missed += end > self._number + 1
        following = max(self._number + 1, math.ceil(end - 1e-9))
        self.left_out += following - self._number - 1
        self._number = following
        return seconds

    def _now_s(self) -> float:
        return (self.clock() - (self._start_ns or 0)) * 1e-9

    def details(self) -> dict[str, Json]:
        """Return the rate, what it cost in deadlines, and the processor's clock, which falls in pauses; or nothing."""
        if self.rate_hz is None:
            return {}
        return {
            "rate_hz": self.rate_hz,
            "deadline_misses": self.missed,
            "passes_left_out": self.left_out,
            "cpu_clock_hz": getattr(psutil.cpu_freq(), "current", 0.0) * 1e6 or None,
        }

    def measurements(self) -> list[Measurement]:
        """Return the lateness of starts and the missed deadlines; nothing where passes were back to back."""
        if self.rate_hz is None:
            return []
        return [
            Measurement("start_jitter_s", "s", tuple(self.jitter_s)),
            Measurement("deadline_misses", "count", (self.missed,), details={"passes": len(self.jitter_s)}),
            Measurement("passes_left_out", "count", (self.left_out,)),
        ]


def timed_pass(model: "nn.Module", images: "Tensor", clock: Clock = time.perf_counter_ns) -> Pass:
    """Return what makes a pass over a batch of images, (N, C, H, W), and returns its seconds."""

    def on_cpu() -> float:
        start = clock()
        model(images)
        return (clock() - start) * 1e-9

    return (lambda: device_pass(lambda: model(images), images.device)) if on_gpu(images) else on_cpu


def device_pass(launch: Callable[[], object], device: "torch.device | str", flush: "Tensor | None" = None) -> float:
    """Make one pass and return its seconds on the device; a flush fills the L2 cache with zeros before."""
    from fer_bench.measuring.profilers import devices

    start, end = devices.event(device), devices.event(device)
    if flush is not None:
        flush.zero_()
    devices.synchronize(device)
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
