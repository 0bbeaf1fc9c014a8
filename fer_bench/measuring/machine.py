"""Acts on this process and observes what runs beside it: allocator, cores, load."""

import contextlib
import ctypes
import gc
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from fer_bench.measuring.environment import affinity, gpu_state
from fer_bench.records.plan import KEPT_ALLOCATOR, Load
from fer_bench.records.result import Json

# glibc's mallopt parameters (malloc.h), the setting that keeps freed memory in the process, and the one that maps each
# block of 128 KiB or more, glibc's initial threshold, by itself and gives it back when it is freed.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_BLOCK_BYTES = 128 * 2**10
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 256 * 2**20))
_ALONE = ((_M_MMAP_MAX, 2**16), (_M_MMAP_THRESHOLD, _BLOCK_BYTES), (_M_TRIM_THRESHOLD, _BLOCK_BYTES), (_M_TOP_PAD, 0))
_LEAST_S = 0.5  # of time, before a few ticks too many are less than a tenth of a core
_LOOK_AT_LOAD_S = 0.5  # a tenth of a core is then five of the kernel's ticks
_LOOK_S = 0.05  # for how long the cores are looked at before one is chosen
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # of /proc/stat; "user" includes guests
SYSTEM_ALLOCATOR = "system"


def keep_freed_memory() -> str:
    """Ask glibc to keep freed memory for this process's next pass; name the allocator setting that is in force.

    By default glibc gives large freed blocks back to the kernel and faults them in again on each pass, which costs a
    small network a fifth of its time and differs between processes. Elsewhere than on glibc nothing is changed.
    """
    return KEPT_ALLOCATOR if _mallopt(_KEEP) else SYSTEM_ALLOCATOR


def map_blocks_alone() -> str:
    """Ask glibc to map large blocks one by one; name the allocator setting that is in force."""
    return "glibc, blocks of 128 KiB mapped alone" if _mallopt(_ALONE) else SYSTEM_ALLOCATOR


def _mallopt(settings: Sequence[tuple[int, int]]) -> bool:
    """Set glibc's parameters; False where another allocator is at work."""
    if platform.libc_ver()[0] != "glibc" or os.environ.get("LD_PRELOAD"):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in settings)


def idlest(*threads: float) -> list[tuple[int, ...]]:
    """Choose for each number of threads as many of this process's cores, the idlest just now, the same ones first.

    Returns:
        The cores' numbers; () where all are wanted, or the system keeps no process on a core.
    """
    allowed = affinity()
    if min(threads) >= len(allowed):
        return [()] * len(threads)
    busy = dict(enumerate(psutil.cpu_percent(_LOOK_S, percpu=True)))
    order = sorted(allowed, key=lambda core: busy.get(core, 0.0))
    return [tuple(sorted(order[: int(number)])) if number < len(order) else () for number in threads]


def stay_on(cores: Sequence[int]) -> None:
    """Keep this process, with every thread that it has, on these cores."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def pin(threads: int) -> None:
    """Keep this process on as many cores as it has threads, those that are the idlest just now."""
    if cores := idlest(threads)[0]:
        stay_on(cores)


def load_now() -> Load:
    """Look for half a second at how busy the cores are that this process may use."""
    busy = dict(enumerate(psutil.cpu_percent(_LOOK_AT_LOAD_S, percpu=True)))
    cores = affinity() or tuple(busy)
    return Load(sum(busy.get(core, 0.0) for core in cores) / 100, len(cores))


# What makes waiting threads spin or sleep: GNU's OpenMP, and LLVM's and Intel's. They read it when they are loaded.
# "active" is what they do without, written down so that no variable of the user's changes it.
WAIT_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "active": {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"},
}


def wait_policy() -> str:
    """Return the policy of this process's threads, which its environment decided when OpenMP was loaded."""
    policy = os.environ.get("OMP_WAIT_POLICY", "").strip().lower()
    return "passive" if policy == "passive" else "active"


class LoadMonitor:
    """Observes what else the machine does, from its construction until ``report``."""

    def __init__(self) -> None:
        self._clock, self._throttled = time.perf_counter(), _throttle_events()
        self._busy, self._own = _busy_s(), sum(os.times()[:2])
        self._gpu = gpu_state()

    def report(self) -> dict[str, Json]:
        """Return the cores that others kept busy, and what throttled the CPU or the GPU.

        The kernel counts in ticks of 10 ms, too coarse for a moment: then the busy cores are None.
        """
        elapsed = time.perf_counter() - self._clock
        others = (_busy_s() - self._busy) - (sum(os.times()[:2]) - self._own)
        report: dict[str, Json] = {
            "others_cores": max(0.0, others / elapsed) if elapsed >= _LEAST_S else None,
            "throttle_events": _throttle_events() - self._throttled,
            "cores": list(affinity()),
        }
        return report | ({"gpu_before": self._gpu, "gpu_after": gpu_state()} if self._gpu else {})


def _busy_s() -> float:
    """Return the seconds that all cores together have worked or been taken away so far."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in _BUSY))


def _throttle_events() -> int:
    """Return how often the CPU lowered its clock for its temperature, where the system reports it (Intel on Linux)."""
    cores = Path("/sys/devices/system/cpu")
    return sum(int(path.read_text()) for path in cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the garbage collector off all objects that exist now: it would walk PyTorch's, and those of a session."""
    if gc.get_freeze_count():  # the caller has set objects aside, and only all can be taken back
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
