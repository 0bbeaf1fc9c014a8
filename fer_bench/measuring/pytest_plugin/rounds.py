"""Measure the latency of a network in this process, a round of pytest-benchmark's a pass."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import in_process, machine
from fer_bench.measuring.in_process import Ready
from fer_bench.measuring.profilers.kinds import on_gpu
from fer_bench.networks.spec import ModelSpec, Shape
from fer_bench.records import stats
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement, Result

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fer_bench.measuring.profilers.passes import Passes

Commit = Callable[[], tuple[str, bool]]
Accuracy = Callable[[Ready, Plan], list[Measurement]]

_WALL_CLOCKS = ("perf_counter", "monotonic", "time")  # of the module time, in seconds


class _TimeIsUp(BaseException):
    """Leaves pytest-benchmark's loop. It is no Exception, which pytest-benchmark takes for a failure."""


def measure_here(
    benchmark: Any,
    network: "ModelSpec | nn.Module",
    plan: Plan,
    *,
    input_shape: Shape | None = None,
    name: str = "",
    checkpoint: str = "",
    accuracy: "Accuracy | None" = None,
    commit: Commit = lambda: ("", False),
) -> Result:
    """Count a network, warm it up and time it with pytest-benchmark; leave the process as it was.

    What stays is glibc's setting to keep freed memory, which cannot be read and put back.

    Args:
        benchmark: pytest-benchmark's fixture.
        network: a module, or what is known of one that can be built.
        plan: how; it is carried out in this one process.
        input_shape: (C, H, W); a module needs it.
        name: of a module in the record; by default the benchmark's full name.
        checkpoint: weights of a network that is built, or "".
        accuracy: evaluates the network after it was timed; None does not.
        commit: tells the commit of code that is not ours, and whether it was changed since.

    Returns:
        Static counts, and ``latency_s`` with ``minor_faults`` and ``involuntary_switches`` of the same passes; where
        pytest-benchmark is disabled, ``latency_s`` fails with that reason.

    Raises:
        FerBenchError: the network, its input or the device is not as it must be.
    """

    def measured(ready: Ready, alone: Plan, before: int) -> list[Measurement]:
        return _timed(benchmark, ready, alone, before) + (accuracy(ready, alone) if accuracy is not None else [])

    metrics = ("static", "latency", *(("accuracy",) if accuracy is not None else ()))
    return in_process.measure_here(
        network,
        dataclasses.replace(plan, metrics=metrics),
        measured,
        input_shape=input_shape,
        name=name or benchmark.fullname,
        checkpoint=checkpoint,
        commit=commit,
    )


def difference(saved: Result, now: Result) -> str:
    """Name the first reason for which times of two records of one benchmark are not comparable, or give ""."""
    if apart := saved.condition_apart(now):
        return apart
    if saved.environment is None or now.environment is None:
        return "environment: not known"
    return saved.environment.comparable_with(now.environment)


def planned_rounds(plan: Plan, pass_s: float) -> int:
    """Give how many passes of so many seconds a plan wants or, if that is less, has time for; at least one."""
    pass_s = max(pass_s, 1e-9)  # a clock that did not move
    wanted = max(plan.runs, math.ceil(plan.min_time_s / pass_s))
    return wanted if plan.max_time_s is None else max(1, min(wanted, math.ceil(plan.max_time_s / pass_s)))


def _timed(benchmark: Any, ready: Ready, plan: Plan, before_it: int) -> list[Measurement]:
    """Warm up, let pytest-benchmark time the passes, and write them down as ``profilers.latency`` does."""
    from fer_bench.measuring.profilers import devices
    from fer_bench.measuring.profilers.passes import Passes

    passes, limit_s = Passes(), math.inf
    if plan.max_time_s is not None and not benchmark.cprofile:  # --benchmark-cprofile profiles when the loop is over
        limit_s = plan.max_time_s
    one, before, after = _pass(ready.model, ready.images, passes, limit_s)
    if benchmark.disabled:
        benchmark.pedantic(one)
        why = "not timed: pytest-benchmark is disabled (--benchmark-disable, or pytest-xdist)"
        return [Measurement("latency_s", "s", failure=why)]
    warmup_s = [_seconds(one) for _ in range(max(1, plan.warmup_runs))]
    rounds = planned_rounds(plan, stats.median(warmup_s[len(warmup_s) // 2 :]))
    gc.collect()
    with machine.collector_at_rest():
        load = machine.LoadMonitor()
        try:
            benchmark.pedantic(one, setup=before, teardown=after, rounds=rounds)
        except _TimeIsUp:
            pass
        except BaseException:  # Ctrl-C: pytest-benchmark would save the passes so far as if they were all
            benchmark.has_error = True
            raise
        during = load.report()
    on_device = on_gpu(ready.images)
    seconds = (passes.seconds if on_device else benchmark.stats.stats.data)[:rounds]  # --benchmark-cprofile adds some
    clock = benchmark.stats.options["timer"]
    timer = f"pytest-benchmark: {clock.__module__}.{clock.__name__}"
    longer = stats.warmup_cut([*warmup_s, *seconds], len(warmup_s)) - len(warmup_s)
    details: dict[str, Json] = {
        "clock": devices.clock(ready.images.device) if on_device else timer,
        "warmup_s": [*warmup_s, *seconds[:longer]],
        "stopped_by": "runs" if len(seconds) >= plan.runs else "time cap",
        "kernel_s_per_run": statistics.fmean(passes.system_s[:rounds]),
        "networks_before": before_it,
        **during,
    }
    wall = on_device or (clock.__module__ == "time" and clock.__name__ in _WALL_CLOCKS)
    warnings = () if wall else (f"timed by {clock.__name__} (--benchmark-timer), which may tell other than wall time",)
    passes.seconds[:rounds] = seconds
    latency, *rest = passes.measurements("latency_s", details, slice(longer, rounds))
    return [dataclasses.replace(latency, warnings=warnings), *rest]


def _pass(
    model: "nn.Module", images: "Tensor", passes: "Passes", limit_s: float
) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """Give one pass, and what is to be done before and after it, outside of the time that is taken."""
    from fer_bench.measuring.profilers import devices

    started = spent_s = 0.0
    events: list[Any] = []
    if on_gpu(images):
        events += [devices.event(images.device) for _ in range(2)]

    def one() -> None:
        if not events:
            model(images)
            return
        events[0].record()
        model(images)
        events[1].record()
        events[1].synchronize()

    def before() -> None:
        nonlocal started
        if passes.seconds and spent_s >= limit_s:
            raise _TimeIsUp
        if events:
            devices.synchronize(images.device)
        passes.begin()
        started = time.perf_counter()

    def after() -> None:
        nonlocal spent_s
        seconds = time.perf_counter() - started
        spent_s += seconds
        passes.end(events[0].elapsed_time(events[1]) * 1e-3 if events else seconds)  # PyTorch gives milliseconds

    return one, before, after


def _seconds(one: Callable[[], None]) -> float:
    start = time.perf_counter()
    one()
    return time.perf_counter() - start
