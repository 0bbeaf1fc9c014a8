"""Describe the machine, the versions and the settings: what a number depends on beside its plan."""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from fer_bench.records.result import Environment, Json

_PACKAGES = ("fer-bench", "torch", "torchvision", "timm", "numpy")

# glibc's mallopt parameters (malloc.h), the setting that keeps freed memory in the process, and the one that maps each
# block of 128 KiB or more, glibc's initial threshold, by itself and gives it back when it is freed.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_BLOCK_BYTES = 128 * 2**10
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 256 * 2**20))
_ALONE = ((_M_MMAP_MAX, 2**16), (_M_MMAP_THRESHOLD, _BLOCK_BYTES), (_M_TRIM_THRESHOLD, _BLOCK_BYTES), (_M_TOP_PAD, 0))

_MALLOC = re.compile(r"(MALLOC_|GLIBC_TUNABLES$|LD_PRELOAD$|THP_MEM_ALLOC_ENABLE$|PYTORCH_.*ALLOC_CONF$)")  # variables

_LEAST_S = 0.5  # of time, before a few ticks too many are less than a tenth of a core
_LOOK_S = 0.05  # for how long the cores are looked at before one is chosen
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # of /proc/stat; "user" includes guests
_LIBRARIES = ("Math Kernel Library", "MKL-DNN", "OpenBLAS", "Accelerate")

# What NVML says of a lowered clock; an idle GPU's, and one that the user asked for, are none.
_THROTTLE_REASONS = {
    "power cap": "nvmlClocksEventReasonSwPowerCap",
    "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "temperature (software)": "nvmlClocksEventReasonSwThermalSlowdown",
    "temperature (hardware)": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}

SYSTEM_ALLOCATOR = "system"
KEPT_ALLOCATOR = "glibc, memory kept"


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


def describe(device: str, allocator: str, code: Path | None = None) -> Environment:
    """Describe where this process runs.

    Args:
        device: "cpu" or "cuda": what the network ran on.
        allocator: the setting that ``keep_freed_memory`` named.
        code: the folder that a user's network comes from, whose commit is told; None for ours.
    """
    torch = sys.modules["torch"]
    gpu = _gpu() if device == "cuda" else {}
    commit, dirty = _commit(code)
    cpu = _cpu()
    return Environment(
        cpu=cpu,
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        os=platform.platform(),
        python=platform.python_version(),
        packages=_versions(),
        device=device,
        device_name=str(gpu.get("name", "")) if device == "cuda" else cpu,
        threads=torch.get_num_threads(),
        allocator=allocator,
        load_1min=os.getloadavg()[0],
        commit=commit,
        dirty=dirty,
        gpu=gpu,
        cpu_clock_hz=getattr(psutil.cpu_freq(), "current", 0.0) * 1e6,
        blas=_blas(),
        affinity=_affinity(),
        frequency_policy=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        malloc_settings={name: value for name, value in sorted(os.environ.items()) if _MALLOC.match(name)},
        huge_pages="".join(re.findall(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled"))),
    )


def idlest(*threads: float) -> list[tuple[int, ...]]:
    """Choose for each number of threads as many of this process's cores, the idlest just now, the same ones first.

    Returns:
        The cores' numbers; () where all are wanted, or the system keeps no process on a core.
    """
    allowed = _affinity()
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


class Beside:
    """What went on beside this process, from making this to asking it."""

    def __init__(self) -> None:
        self._clock, self._throttled = time.perf_counter(), _throttle_events()
        self._busy, self._own = _busy_s(), sum(os.times()[:2])
        self._gpu = gpu_state()

    def told(self) -> dict[str, Json]:
        """Give the cores that others kept busy, and what throttled the CPU or the GPU.

        The kernel counts in ticks of 10 ms, so that a moment tells nothing of others: then there is None.
        """
        elapsed = time.perf_counter() - self._clock
        others = (_busy_s() - self._busy) - (sum(os.times()[:2]) - self._own)
        told: dict[str, Json] = {
            "others_cores": max(0.0, others / elapsed) if elapsed >= _LEAST_S else None,
            "throttle_events": _throttle_events() - self._throttled,
            "cores": list(_affinity()),
        }
        return told | ({"gpu_before": self._gpu, "gpu_after": gpu_state()} if self._gpu else {})


def _busy_s() -> float:
    """Give the seconds that all cores together have worked or been taken away so far."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in _BUSY))


def _throttle_events() -> int:
    """Count how often the CPU has lowered its clock for its temperature, where the system tells (Intel on Linux)."""
    cores = Path("/sys/devices/system/cpu")
    return sum(int(path.read_text()) for path in cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))


def _affinity() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _read(path: str) -> str:
    """Give a line of the system's, or "" where it has none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _blas() -> str:
    """Name what multiplies and convolves on the CPU, from PyTorch's own account of its build."""
    torch = sys.modules["torch"]
    lines = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    named = [re.split(r"-Product| Build| \(Git", line)[0] for line in lines if any(name in line for name in _LIBRARIES)]
    return ", ".join([*named, str(torch.backends.cpu.get_cpu_capability())])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional part that is not installed has no version to tell
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def has_gpu() -> bool:
    """Tell whether the NVIDIA driver shows a GPU, without loading PyTorch."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def _gpu() -> dict[str, Json]:
    """Describe PyTorch's current GPU, by NVML too where that answers."""
    torch = sys.modules["torch"]
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    known: dict[str, Json] = {
        "name": properties.name,
        "cuda": torch.version.cuda,
        # PyTorch's default rounds the inputs of float32 convolutions to TF32, and not those of matrix products.
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_matrix_products": torch.backends.cuda.matmul.allow_tf32,
    }
    import pynvml

    try:
        handle = nvml_handle()
        known["driver"] = pynvml.nvmlSystemGetDriverVersion()
        known["memory_bytes"] = pynvml.nvmlDeviceGetMemoryInfo(handle).total
        known["max_sm_clock_hz"] = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM) * 10**6
    except pynvml.NVMLError as error:
        known["nvml"] = f"not available: {error}"
    return known | gpu_state()


def nvml_handle() -> Any:
    """Give NVML's handle of PyTorch's current GPU, by its identifier: CUDA_VISIBLE_DEVICES renumbers only PyTorch's.

    Raises:
        pynvml.NVMLError: NVML does not answer, or not for this GPU.
    """
    import pynvml

    torch = sys.modules["torch"]
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")


def gpu_state() -> dict[str, Json]:
    """Tell the GPU's clock, temperature, power and what lowers its clock; nothing where no GPU is in use."""
    torch = sys.modules["torch"]
    if not torch.cuda.is_initialized():
        return {}
    import pynvml

    try:
        handle = nvml_handle()
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        return {
            "sm_clock_hz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 10**6,
            "memory_clock_hz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 10**6,
            "temperature_c": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            "power_w": pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "throttle_reasons": [name for name, bit in _THROTTLE_REASONS.items() if reasons & getattr(pynvml, bit)],
        }
    except pynvml.NVMLError as error:
        return {"nvml": f"not available: {error}"}


def _commit(code: Path | None) -> tuple[str, bool]:
    """Name the git commit of a network's code, and whether it was changed since; "" outside a checkout."""
    ours = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(code or ours), *arguments]  # the user's own git
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if code is None and Path(git("rev-parse", "--show-toplevel")).joinpath("fer_bench") != ours:
            return "", False  # installed as a package inside somebody else's checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.TimeoutExpired):
        return "", False
