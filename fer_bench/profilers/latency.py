"""Latency: seconds a forward pass of the whole batch, one value a timed pass."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fer_bench.plan import Plan
from fer_bench.records import Measurement

Clock = Callable[[], int]  # nanoseconds, monotonic

# Above this many page faults a pass the allocator, not the network, takes a visible share: 2 to 3 us each.
_MANY_FAULTS = 100


def measure_latency(model: nn.Module, images: Tensor, plan: Plan, clock: Clock = time.perf_counter_ns) -> Measurement:
    """Time forward passes after a warm-up.

    On CUDA an event before and one after each pass tell the time on the device; the host waits outside the interval.
    On the CPU the clock is read around each pass. Passes stop at ``plan.runs``, or at ``plan.max_time_s``.

    Args:
        model: the network, in eval mode, on the plan's device.
        images: the batch, (N, C, H, W), on the same device.
        plan: how often and how long.
        clock: nanoseconds; tests pass their own.
    """
    timed = _cuda_pass if images.is_cuda else _cpu_pass
    with torch.inference_mode():
        warmup = [timed(model, images, clock) for _ in range(plan.warmup_runs)]
        before = _usage()
        values: list[float] = []
        start = clock()
        while len(values) < plan.runs:
            if values and plan.max_time_s is not None and (clock() - start) * 1e-9 >= plan.max_time_s:
                break
            values.append(timed(model, images, clock))
        after = _usage()
    faults, switches = ((b - a) / len(values) for a, b in zip(before, after, strict=True))
    warnings = []
    if len(values) < plan.runs:
        warnings.append(f"stopped by the time cap of {plan.max_time_s:g} s before the {plan.runs} runs wanted")
    if faults > _MANY_FAULTS:
        warnings.append(
            f"{faults:.0f} page faults a run: the allocator gives memory back to the kernel on every pass, "
            "which takes time and differs between processes"
        )
    return Measurement(
        metric="latency_s",
        unit="s",
        values=tuple(values),
        details={
            "warmup_s": warmup,
            "stopped_by": "runs" if len(values) == plan.runs else "time cap",
            "minor_faults_per_run": faults,
            "involuntary_switches_per_run": switches,
            "clock": "CUDA events" if images.is_cuda else "perf_counter_ns",
        },
        warnings=tuple(warnings),
    )


def _cpu_pass(model: nn.Module, images: Tensor, clock: Clock) -> float:
    start = clock()
    model(images)
    return (clock() - start) * 1e-9


def _cuda_pass(model: nn.Module, images: Tensor, clock: Clock) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    model(images)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3  # PyTorch gives milliseconds


def _usage() -> tuple[int, int]:
    """Minor page faults and involuntary context switches of this process so far."""
    try:
        import resource
    except ImportError:  # Windows has no such counters
        return 0, 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt, usage.ru_nivcsw
