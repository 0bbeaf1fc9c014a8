"""How far a latency can be trusted: what tables print of it, and a closed list of warnings, each with a remedy.

All of it follows from a result as stored; records of earlier versions say less, and nothing is concluded from silence.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from fer_bench.records import stats, units
from fer_bench.records.plan import DEVICES, KEPT_ALLOCATOR, OTHERS_CORES, TORCH
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.reporting.analysis import parity
from fer_bench.reporting.table import MEASURED_ONCE

LATENCY = "latency_s"
_NORMAL_95 = 1.96  # standard errors to either side of 95 % of a normal distribution

# Below this an image is processed in real time: a frame of 24 a second, cut to whole milliseconds (paper 001, III.D).
REAL_TIME_S = 0.041

# Involuntary context switches a run. Undisturbed processes had at most 0.8, disturbed ones 3.5 and their times doubled.
SWITCHES_PER_RUN = 1.0
# And a second: housekeeping takes a core some times a second, which adds up over a long pass; undisturbed processes had
# at most 60 a second, disturbed ones 270.
SWITCHES_PER_S = 100.0
# What a page fault takes, in seconds: the kernel's part, zeroing the page included, was 1.9 to 3.0 us.
FAULT_S = 2e-6
# Share of the latency that page faults may take: less is lost in what processes differ by.
FAULTS_SHARE = 0.01
# Share of their cores' time that passes may lose to others before their times say more of the others.
_TAKEN_SHARE = 0.25
# Environment variables by which a user makes glibc keep memory.
_KEEPING = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
# Passes of all processes together below which their times give no latency: a median of four may be two modes' gap, and
# a quantile is one of the passes.
FEWEST_RUNS = 5
# Relative change of a GPU's clock from before the passes to after them; one step of the clock is about 1 %.
CLOCK_CHANGE = 0.05
# By which a backend may use more cores than the plan has threads: clocks of both are read one after the other.
MORE_CORES_SHARE = 0.05
# Below it the call from Python is a large part of a backend's pass: 10 to 50 us, by the runtime.
SHORT_PASS_S = 2e-4


class Trouble(Enum):
    """What may mislead about a latency; the value is the remedy."""

    TOO_FEW_RUNS = f"--runs {FEWEST_RUNS} or more"
    OTHER_LOAD = "stopping other programs, or measuring when the machine is idle"
    WAITING_FOR_CORES = "stopping other programs, or no more --threads than there are idle cores"
    OVER_THE_QUOTA = "no more --threads than the container has cores, or a container with more cores"
    CPU_THROTTLED = "better cooling, a pause before measuring, or a lower fixed clock"
    GPU_THROTTLED = "better cooling or a higher power limit, or a lower fixed clock (nvidia-smi --lock-gpu-clocks)"
    FEW_PROCESSES = "--processes 5 or --protocol edge"
    FAULTS = "--alloc keep, or MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_MAX_=0 in the environment"
    FAULTS_OF_THE_SETTINGS = "other values of the allocator's variables, which the environment already sets"
    FAULTS_OF_JEMALLOC = "MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1 in the environment"
    FAULTS_THOUGH_KEPT = "an allocator that can keep its memory, such as glibc's own (without LD_PRELOAD)"
    FAULTS_OF_THE_NETWORK = "allocating once, before the passes, what the network maps in each; memory is already kept"
    TWO_MODES = "removing page faults and other load; else reporting both modes, since a median is one by chance"
    DRIFT = "measuring when the machine is warm and idle, or fixing its clock (governor, nvidia-smi --lock-gpu-clocks)"
    CLOCK_CHANGED = "fixing the GPU's clock (nvidia-smi --lock-gpu-clocks), or more warmup_runs in the protocol"
    NOT_CONVERGED = "more --processes and budget_s in the protocol, or a quieter machine"
    MORE_CORES = "--runtime controlled, or as many --threads as the runtime uses"
    SHORT_PASSES = "a larger --batch: passes so short measure the call as much as the network"
    TIME_CAP = "a longer --max-time, or fewer --runs"


@dataclass(frozen=True, slots=True)
class Latency:
    """What tables print of a time per pass; seconds."""

    estimate_s: float  # of the whole batch: the mean of the processes' medians
    interval: stats.Interval | None  # around it, over processes in this session; None for one process
    fastest_s: float  # of all runs of all processes
    p90_s: float  # below which 90 % of all runs of all processes lie
    p99_s: float  # likewise 99 %
    p90_half_s: float  # half of the 95 % interval of the true one, were runs independent
    p99_half_s: float  # likewise
    spread: float | None  # standard deviation between processes, as a share; None for one process
    processes: int  # that were measured and did not fail
    runs: int  # of all processes together
    per_image_s: float  # the estimate by images
    images_per_s: float  # images by the estimate
    mean_s: float  # mean of the first process's runs, as paper 001 has it
    # Whether an image takes less than ``REAL_TIME_S``: "unclear" where the interval, or of one process the middle 80 %
    # of the runs, holds that; None for other batches than 1, whose images wait for each other.
    real_time: Literal["yes", "no", "unclear"] | None
    converged: bool | None  # the interval is as narrow as the plan wants; None where it wants nothing


def summary(result: Result, metric: str = LATENCY) -> Latency | None:
    """Return what tables print of a metric in seconds, or None where it was not measured, too seldom, or failed.

    The times of a backend that computes something else than the network are none of the network's: there are none.
    """
    return None if parity.is_different(result) else unjudged(result, metric)


def unjudged(result: Result, metric: str = LATENCY) -> Latency | None:
    """Return what ``summary`` does, of whatever was measured."""
    samples = result.samples(metric)
    medians = [stats.median(sample) for sample in samples]
    pooled = [value for sample in samples for value in sample]
    if len(pooled) < FEWEST_RUNS or stats.estimate(medians) <= 0:  # 0: a clock that did not move has measured nothing
        return None
    estimate, batch = stats.estimate(medians), result.plan.batch_size
    interval = stats.interval(medians, result.plan.pilot_processes)
    share = result.plan.interval_share
    return Latency(
        estimate_s=estimate,
        interval=interval,
        fastest_s=min(pooled),
        p90_s=stats.quantile(pooled, 0.90),
        p99_s=stats.quantile(pooled, 0.99),
        p90_half_s=_quantile_half(pooled, 0.90),
        p99_half_s=_quantile_half(pooled, 0.99),
        spread=stats.spread(medians),
        processes=len(samples),
        runs=len(pooled),
        per_image_s=estimate / batch,
        images_per_s=batch / estimate,
        mean_s=statistics.fmean(samples[0]),
        real_time=_real_time(interval, pooled) if batch == 1 else None,
        converged=None if share is None else stats.converged(interval, share),
    )


def _quantile_half(values: Sequence[float], share: float) -> float:
    """Return half of the 95 % interval of a quantile: between the quantiles of the shares that chance may make of it.

    The number of values below the true quantile is binomial, whatever their distribution (Conover, "Practical
    Nonparametric Statistics", 3.2); here by its normal approximation.
    """
    off = _NORMAL_95 * math.sqrt(share * (1 - share) / len(values))
    return (stats.quantile(values, min(1.0, share + off)) - stats.quantile(values, max(0.0, share - off))) / 2


def _real_time(interval: stats.Interval | None, runs: Sequence[float]) -> Literal["yes", "no", "unclear"]:
    ends = (
        (interval.low, interval.high)
        if interval is not None
        else (stats.quantile(runs, 0.1), stats.quantile(runs, 0.9))
    )
    if ends[1] < REAL_TIME_S:
        return "yes"
    return "no" if ends[0] >= REAL_TIME_S else "unclear"


def is_usable(result: Result) -> bool:
    """Report whether other programs left the cores that the passes needed, but for a quarter of their time."""
    where = result.environment
    if any(trouble is Trouble.WAITING_FOR_CORES for trouble, _ in troubles(result)):
        return False
    if where is None or result.plan.device in DEVICES[1:] or not where.threads:
        return True
    busy = max((m.details.get("others_cores") or 0.0 for m in result.measurements if m.metric == LATENCY), default=0.0)
    return (busy - (len(where.affinity) or where.cores) + where.threads) / where.threads <= _TAKEN_SHARE


def too_few(result: Result) -> str:
    """Describe too few passes for a latency, "4 passes, fewer than the 5 needed"; "" where enough or none."""
    few = sum(map(len, result.samples(LATENCY)))
    return f"{few} pass{'es' * (few > 1)}, fewer than the {FEWEST_RUNS} needed" if 0 < few < FEWEST_RUNS else ""


def median_of(result: Result, metric: str) -> float | None:
    """Return the mean of the processes' medians of any metric, or None where it was not measured or failed."""
    samples = result.samples(metric)
    return stats.estimate([stats.median(sample) for sample in samples]) if samples else None


def share_of(result: Result, metric: str) -> float | None:
    """Return how precisely ``median_of`` is known, as a share of it, or None where it was not measured.

    That is the spread of all processes' values, from their median to their 90th percentile. The spread of a single
    value is unknown.
    """
    values, middle = [value for sample in result.samples(metric) for value in sample], median_of(result, metric)
    if not middle:
        return None
    return max(0.0, stats.quantile(values, 0.9) / middle - 1) if len(values) > 1 else MEASURED_ONCE


def warnings(result: Result) -> list[str]:
    """Return what may mislead about the latency, with numbers and a remedy; nothing where none was measured."""
    return [f"{seen}; try: {trouble.value}" for trouble, seen in troubles(result)]


def troubles(result: Result) -> list[tuple[Trouble, str]]:
    """Return what may mislead about the latency, each with what was seen, in the order of ``Trouble``."""
    latency = summary(result)
    if latency is None:
        few = too_few(result)
        capped = any(m.details.get("stopped_by") == "time cap" for m in result.measurements if m.metric == LATENCY)
        trouble = Trouble.TIME_CAP if capped else Trouble.TOO_FEW_RUNS
        return [(trouble, f"latency not measured: {few}")] if few else []
    seen = _Seen(result, latency, tuple(m for m in result.measurements if m.metric == LATENCY and m.values))
    checks = (
        _other_load,
        _over_the_quota,
        _throttling,
        _few_processes,
        _faults,
        _two_modes,
        _drift,
        _not_converged,
        _of_a_backend,
        _time_cap,
    )
    return [trouble for check in checks for trouble in check(seen)]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A result, what tables print of its latency, and the latency of each process."""

    result: Result
    latency: Latency
    processes: tuple[Measurement, ...]

    def numbers(self, detail: str) -> list[float]:
        """Return a detail of each process; one without it counts as 0."""
        return [measurement.details.get(detail) or 0 for measurement in self.processes]

    def gpu_states(self) -> list[tuple[Mapping[str, Json], Mapping[str, Json]]]:
        """Return what is known of the GPU before and after the passes of each process."""
        return [(m.details.get("gpu_before") or {}, m.details.get("gpu_after") or {}) for m in self.processes]

    def among(self, hits: int) -> str:
        """Format in how many of the processes; "" where there is only one."""
        return f" in {hits} of {len(self.processes)} processes" if len(self.processes) > 1 else ""


_Troubles = Iterator[tuple[Trouble, str]]


def _other_load(seen: _Seen) -> _Troubles:
    busy = seen.numbers("others_cores")
    if hits := _above(OTHERS_CORES, busy):
        text = f"other load: other programs kept up to {units.significant(max(busy), 2)} cores busy during the passes"
        yield Trouble.OTHER_LOAD, text + seen.among(hits)
    switches = [statistics.fmean(sample) for sample in seen.result.samples("involuntary_switches")]
    if hits := _above(max(SWITCHES_PER_RUN, SWITCHES_PER_S * seen.latency.estimate_s), switches):
        text = f"other load: a pass had to give up its core up to {units.significant(max(switches), 2)} times per run"
        yield Trouble.WAITING_FOR_CORES, text + seen.among(hits)


def _over_the_quota(seen: _Seen) -> _Troubles:
    where = seen.result.environment
    if where is not None and where.cpu_limit is not None and where.threads > where.cpu_limit:
        cores = f"{where.cpu_limit:g} core{'s' * (where.cpu_limit != 1)}"
        text = f"more threads than cores: {where.threads} threads, but the container gets the time of {cores}"
        yield Trouble.OVER_THE_QUOTA, f"{text}, so the system stops all of them for part of each period"


def _throttling(seen: _Seen) -> _Troubles:
    events = seen.numbers("throttle_events")
    if hits := _above(0, events):
        text = f"throttling: the CPU lowered its clock for its temperature {sum(events):.0f} times"
        yield Trouble.CPU_THROTTLED, text + seen.among(hits)
    reasons = [
        [str(reason) for state in states for reason in state.get("throttle_reasons") or ()]
        for states in seen.gpu_states()
    ]
    if hits := sum(map(bool, reasons)):
        named = ", ".join(dict.fromkeys(itertools.chain(*reasons)))
        yield Trouble.GPU_THROTTLED, f"throttling: the GPU's clock was limited ({named})" + seen.among(hits)


def _few_processes(seen: _Seen) -> _Troubles:
    if seen.latency.processes == 1:
        differs = "one process does not predict the next, which can differ by several percent"
        yield Trouble.FEW_PROCESSES, f"too few processes: {differs}"


def _faults(seen: _Seen) -> _Troubles:
    if seen.result.plan.device in DEVICES[1:]:
        return  # the host's page faults lie outside what events on the device measure
    per_run = [statistics.fmean(sample) for sample in seen.result.samples("minor_faults")]
    enough = FAULTS_SHARE * seen.latency.estimate_s / FAULT_S
    if not (hits := _above(enough, per_run)):
        return
    cost_s = max(per_run) * FAULT_S
    text = (
        f"page faults: up to {units.significant(max(per_run), 3)} per run, about {units.milliseconds(cost_s, 2)} ms of "
        f"{units.milliseconds(seen.latency.estimate_s)} ms{seen.among(hits)}; memory is returned to the "
        "kernel on every pass, by an amount that differs between processes"
    )
    yield _remedy_of_faults(seen.result), text


def _remedy_of_faults(result: Result) -> Trouble:
    """Choose the remedy by what holds the memory, and by what the user set already."""
    where = result.environment
    settings = where.malloc_settings if where is not None else {}
    if where is not None and where.allocator == KEPT_ALLOCATOR:
        return Trouble.FAULTS_OF_THE_NETWORK
    if "jemalloc" in str(settings.get("LD_PRELOAD", "")):
        return Trouble.FAULTS_OF_THE_SETTINGS if "MALLOC_CONF" in settings else Trouble.FAULTS_OF_JEMALLOC
    if result.plan.alloc == "keep":
        return Trouble.FAULTS_THOUGH_KEPT
    own = [name for name in settings if name in _KEEPING]
    return Trouble.FAULTS_OF_THE_SETTINGS if own else Trouble.FAULTS


def _two_modes(seen: _Seen) -> _Troubles:
    within = [modes for measurement in seen.processes if (modes := stats.modes(measurement.values)) is not None]
    if within:
        yield Trouble.TWO_MODES, f"two modes: runs take {_both(within[0])}{seen.among(len(within))}"
    if between := stats.modes([stats.median(measurement.values) for measurement in seen.processes]):
        yield Trouble.TWO_MODES, f"two modes: processes take {_both(between)}"


def _both(modes: tuple[float, float]) -> str:
    return " or ".join(f"{units.milliseconds(mode)} ms" for mode in modes)


def _drift(seen: _Seen) -> _Troubles:
    drifts = [stats.drift(measurement.values) for measurement in seen.processes]
    clocks = [[state.get("sm_clock_hz") for state in states] for states in seen.gpu_states()]
    clock_changes = [after / before - 1 for before, after in clocks if before and after]
    for trouble, threshold, changes, text in (
        (Trouble.DRIFT, stats.DRIFT, drifts, "from the first third of the runs to the last the time changed by {}"),
        (Trouble.CLOCK_CHANGED, CLOCK_CHANGE, clock_changes, "the GPU's clock changed by {} during the passes"),
    ):
        if hits := _above(threshold, map(abs, changes)):
            change = f"{max(changes, key=abs):+.0%}".replace("%", " %")
            yield trouble, f"drift: {text.format(change)}{seen.among(hits)}"


def _not_converged(seen: _Seen) -> _Troubles:
    latency, share = seen.latency, seen.result.plan.interval_share
    if share is None or latency.interval is None or latency.converged:
        return
    reached = (latency.interval.high - latency.interval.low) / 2 / latency.estimate_s
    yield (
        Trouble.NOT_CONVERGED,
        f"not converged: the 95 % interval is ±{units.percent(reached, 2)} after {latency.processes} processes, but "
        f"±{units.percent(share, 2)} was requested, which needs about {latency.processes * (reached / share) ** 2:.0f}",
    )


def _of_a_backend(seen: _Seen) -> _Troubles:
    where, plan = seen.result.environment, seen.result.plan
    if plan.backend == TORCH or where is None:
        return
    allowed = (plan.threads or where.threads) * (1 + MORE_CORES_SHARE)
    used = seen.numbers("cores_used")
    if hits := _above(allowed, used):
        text = f"more cores: passes kept {units.significant(max(used), 2)} cores busy, and the plan has {plan.threads}"
        yield Trouble.MORE_CORES, text + seen.among(hits)
    if seen.latency.estimate_s < SHORT_PASS_S:
        yield Trouble.SHORT_PASSES, f"short passes: {units.milliseconds(seen.latency.estimate_s)} ms"


def _time_cap(seen: _Seen) -> _Troubles:
    capped = [len(m.values) for m in seen.processes if m.details.get("stopped_by") == "time cap"]
    if capped:
        cap = seen.result.plan.max_time_s
        after = f" of {cap:g} s" if cap is not None else ""
        wanted = f"{min(capped)} of the {seen.result.plan.runs} requested runs"
        yield Trouble.TIME_CAP, f"few runs: the time cap{after} was reached after {wanted}{seen.among(len(capped))}"


def _above(threshold: float, values: Iterable[float]) -> int:
    return sum(value > threshold for value in values)
