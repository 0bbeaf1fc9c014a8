"""Occupancy: what testing or training takes of the machine, sampled while it goes on.

As in paper 004's tables 4 and 5: processor time of the process and of the whole machine in user and kernel mode, and
resident memory. Between two samples lie whole passes, so that intervals are a little longer than asked for; each is
written down as it was.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from fer_bench.measuring.profilers.kinds import Alive, Clock, Make, Sleep, inference_mode, synchronize
from fer_bench.measuring.profilers.passes import Pacer
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement

_BESIDE_S = 1.0  # for how long the machine is looked at before the stage
_BUSIEST = 3
_LEAST_CORES = 0.01  # below it another process is not worth a name

# The machine's seconds as the kernel counts them, in the groups that are reported; guests are in user and nice already.
_MACHINE: Mapping[str, tuple[str, ...]] = {
    "machine_user_s": ("user", "nice"),
    "machine_system_s": ("system", "irq", "softirq"),
    "machine_idle_s": ("idle", "iowait"),
    "machine_steal_s": ("steal",),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of processor time so far, by metric, and the resident set now."""

    seconds: Mapping[str, float]
    rss_bytes: int


Others = Mapping[tuple[int, float], tuple[str, float]]  # by process id and start, since ids are used again


@dataclass(slots=True)
class System:
    """Reads what this process and the machine that we run on have done so far.

    Attributes:
        process: that is looked at.
        children: count its descendants, too, such as the workers of a loader; those that have ended still count.
    """

    process: psutil.Process = field(default_factory=psutil.Process)
    children: bool = False

    def sample(self) -> Sample:
        with self.process.oneshot():
            own, rss_bytes = self.process.cpu_times(), self.process.memory_info().rss
        machine = psutil.cpu_times()
        seconds = {"process_user_s": own.user, "process_system_s": own.system}
        if self.children:
            seconds["process_user_s"] += own.children_user
            seconds["process_system_s"] += own.children_system
            for child in self.process.children(recursive=True):
                with contextlib.suppress(psutil.Error), child.oneshot():  # it may end just now
                    times = child.cpu_times()
                    seconds["process_user_s"] += times.user + times.children_user
                    seconds["process_system_s"] += times.system + times.children_system
                    rss_bytes += child.memory_info().rss
        for metric, names in _MACHINE.items():
            seconds[metric] = sum(getattr(machine, name, 0.0) for name in names)
        return Sample(seconds, rss_bytes)

    def others(self) -> Others:
        """Return the name and the processor seconds of every other process."""
        found = {}
        for process in psutil.process_iter(["pid", "create_time", "name", "cpu_times"]):
            about, used = process.info, process.info["cpu_times"]
            if about["pid"] != os.getpid() and used is not None:  # None: not ours to look at
                found[about["pid"], about["create_time"]] = about["name"], used.user + used.system
        return found


def measure_occupancy(
    make: Make,
    plan: Plan,
    stage: str,
    clock: Clock = time.perf_counter_ns,
    sampler: System | None = None,
    sleep: Sleep = time.sleep,
    alive: Alive = lambda: None,
) -> list[Measurement]:
    """Sample a stage for ``plan.sample_s`` seconds, about every ``plan.sample_every_s``, after its warm-up.

    The stage is "testing", inference passes, or "training", training steps. ``alive`` is called at each sample.

    Returns:
        One value an interval: ``<stage>.interval_s``, with what else is known in its details; the process's
        ``process_user_s`` and ``process_system_s``; the machine's ``machine_user_s`` (nice included),
        ``machine_system_s`` (interrupts included), ``machine_idle_s`` (waiting for disks included) and
        ``machine_steal_s``; ``rss_bytes`` at the interval's end.
    """
    sampler = sampler or System()
    beside = _beside(clock, sampler, sleep)
    model, images = make()
    one, batch = _pass_of(stage, model, images, plan)
    for _ in range(plan.warmup_runs):
        one()
        alive()
    # A training step follows the last as fast as it can; inference may wait for a frame.
    pacer = Pacer(plan.rate_hz if stage == "testing" else None, clock, sleep)

    def timed() -> float:
        one()
        return 0.0

    others = sampler.others()
    passes = 0
    intervals: list[float] = []
    last = start = clock()
    samples = [sampler.sample()]
    while (last - start) * 1e-9 < plan.sample_s:
        pacer.make(timed)
        passes += 1
        now = clock()
        if (now - last) * 1e-9 >= plan.sample_every_s or (now - start) * 1e-9 >= plan.sample_s:
            samples.append(sampler.sample())
            intervals.append((now - last) * 1e-9)
            last = now
            alive()
    details: dict[str, Json] = {
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "device": plan.device,
        "batch_size": batch,
        "passes": passes,
        "images": passes * batch,
        **pacer.details(),
        "beside": beside,
        "busiest_others": _busiest(others, sampler.others(), sum(intervals)),
    }
    used = [_difference(before.seconds, after.seconds) for before, after in itertools.pairwise(samples)]
    return [
        Measurement(f"{stage}.interval_s", "s", tuple(intervals), details=details),
        *(
            Measurement(f"{stage}.{metric}", "s", tuple(seconds[metric] for seconds in used))
            for metric in ("process_user_s", "process_system_s", *_MACHINE)
        ),
        Measurement(f"{stage}.rss_bytes", "bytes", tuple(sample.rss_bytes for sample in samples[1:])),
    ]


def _pass_of(stage: str, model: Any, images: Any, plan: Plan) -> tuple[Callable[[], None], int]:
    """Return what a pass of a stage does, and how many images it takes."""
    trainer = None
    if stage == "training":
        from fer_bench.measuring.profilers.training import Trainer

        trainer = Trainer(model, images, plan)

    def one() -> None:
        if trainer is not None:
            trainer.step()
        else:
            with inference_mode():
                model(images)
        synchronize(images)  # as a program waits that reads its result or its loss

    return one, len(images if trainer is None else trainer.images)


def _difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def _beside(clock: Clock, sampler: System, sleep: Sleep) -> dict[str, float]:
    """Return which share of the machine others keep busy while this process sleeps."""
    before, start = sampler.sample(), clock()
    sleep(_BESIDE_S)
    used = _difference(before.seconds, sampler.sample().seconds)
    all_s = sum(used[metric] for metric in _MACHINE)
    return {
        "user_share": used["machine_user_s"] / all_s if all_s else 0.0,
        "system_share": used["machine_system_s"] / all_s if all_s else 0.0,
        "seconds": (clock() - start) * 1e-9,
    }


def _busiest(before: Others, after: Others, elapsed: float) -> list[Json]:
    """Name the other processes that took most, with the cores that each kept busy; one that ended is not known."""
    cores = [(name, (used - before.get(key, ("", 0.0))[1]) / elapsed) for key, (name, used) in after.items()]
    busy = sorted((process for process in cores if process[1] > _LEAST_CORES), key=lambda process: -process[1])
    return [list(process) for process in busy[:_BUSIEST]]
