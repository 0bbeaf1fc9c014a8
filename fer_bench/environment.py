"""Describe the machine, the versions and the settings: what a number depends on beside its plan."""

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil

from fer_bench.records import Environment, Json

_PACKAGES = ("fer-bench", "torch", "torchvision", "timm", "numpy")

# glibc's mallopt parameters (malloc.h) and the setting that keeps freed memory in the process.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 256 * 2**20))

SYSTEM_ALLOCATOR = "system"
KEPT_ALLOCATOR = "glibc, memory kept"


def keep_freed_memory() -> str:
    """Ask glibc to keep freed memory for this process's next pass; name the allocator setting that is in force.

    By default glibc gives large freed blocks back to the kernel and faults them in again on each pass, which costs a
    small network a fifth of its time and differs between processes. Elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.get("LD_PRELOAD"):
        return SYSTEM_ALLOCATOR
    mallopt = ctypes.CDLL(None).mallopt
    return KEPT_ALLOCATOR if all(mallopt(name, value) == 1 for name, value in _KEEP) else SYSTEM_ALLOCATOR


def describe(device: str, allocator: str) -> Environment:
    """Describe where this process runs.

    Args:
        device: "cpu" or "cuda": what the network ran on.
        allocator: the setting that ``keep_freed_memory`` named.
    """
    torch = sys.modules.get("torch")
    gpu = _gpu() if device == "cuda" else {}
    commit, dirty = _commit()
    cpu = _cpu()
    return Environment(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        os=platform.platform(),
        python=platform.python_version(),
        packages=_versions(),
        device=device,
        device_name=str(gpu.get("name", "")) if device == "cuda" else cpu,
        threads=torch.get_num_threads() if torch is not None else 0,
        allocator=allocator,
        load_1min=os.getloadavg()[0],
        commit=commit,
        dirty=dirty,
        gpu=gpu,
    )


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
        pynvml.nvmlInit()
        # By its identifier: CUDA_VISIBLE_DEVICES renumbers PyTorch's devices and not NVML's.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        known["driver"] = pynvml.nvmlSystemGetDriverVersion()
        known["memory_bytes"] = pynvml.nvmlDeviceGetMemoryInfo(handle).total
        known["sm_clock_hz"] = pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 10**6
        known["temperature_c"] = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    except pynvml.NVMLError as error:
        known["nvml"] = f"not available: {error}"
    return known


def _commit() -> tuple[str, bool]:
    """Name the git commit of the source that is imported, and whether it was changed since; "" outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]  # the user's own git
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if Path(git("rev-parse", "--show-toplevel")).joinpath("fer_bench") != Path(__file__).parent:
            return "", False  # installed as a package inside somebody else's checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.TimeoutExpired):
        return "", False
