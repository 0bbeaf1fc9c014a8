"""Describe the machine, the versions and the settings: what a number depends on beside its plan."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from fer_bench.records import git
from fer_bench.records.errors import NvmlError
from fer_bench.records.result import Environment, Json

_PACKAGES = ("fer-bench", "torch", "torchvision", "timm", "numpy")


_MALLOC = re.compile(r"(MALLOC_|GLIBC_TUNABLES$|LD_PRELOAD$|THP_MEM_ALLOC_ENABLE$|PYTORCH_.*ALLOC_CONF$)")  # variables

_OPENMP = re.compile(r"(OMP|GOMP|KMP)_")

_LIBRARIES = ("Math Kernel Library", "MKL-DNN", "OpenBLAS", "Accelerate")

# What NVML says of a lowered clock; an idle GPU's, and one that the user asked for, are none.
_THROTTLE_REASONS = {
    "power cap": "nvmlClocksThrottleReasonSwPowerCap",
    "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "temperature (software)": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "temperature (hardware)": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}


def describe(device: str, allocator: str, code: Path | None = None) -> Environment:
    """Describe where this process runs.

    Args:
        device: what the network ran on: "cpu", or what PyTorch calls the accelerator.
        allocator: the setting that ``keep_freed_memory`` named.
        code: the folder that a user's network comes from, whose commit is recorded; None for ours.
    """
    torch = sys.modules.get("torch")  # which a process that loads a backend's artefact does without
    gpu = _gpu(device) if device != "cpu" else {}
    commit, dirty = commit_of(code)
    cpu = _cpu()
    cpu_limit, memory_limit = container_limits()
    return Environment(
        cpu=cpu,
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        cpu_limit=cpu_limit,
        memory_limit_bytes=memory_limit,
        os=platform.platform(),
        python=platform.python_version(),
        packages=_versions(),
        device=device,
        device_name=str(gpu.get("name", "")) if device != "cpu" else cpu,
        threads=torch.get_num_threads() if torch is not None else 0,
        allocator=allocator,
        load_1min=os.getloadavg()[0],
        commit=commit,
        dirty=dirty,
        gpu=gpu,
        cpu_clock_hz=getattr(psutil.cpu_freq(), "current", 0.0) * 1e6,
        blas=_blas() if torch is not None else "",
        affinity=affinity(),
        frequency_policy=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        malloc_settings={name: value for name, value in sorted(os.environ.items()) if _MALLOC.match(name)},
        openmp_settings={name: value for name, value in sorted(os.environ.items()) if _OPENMP.match(name)},
        nice=os.nice(0),
        huge_pages="".join(re.findall(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled"))),
    )


def affinity() -> tuple[int, ...]:
    """Return the cores that this process may run on; () where the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


_UNLIMITED = 2**60  # what version 1 of cgroups has for no limit is above it


def container_limits(root: Path = Path("/")) -> tuple[float | None, int | None]:
    """Return what a container may use: processors' worth of time, and bytes of memory; None where nothing limits it.

    psutil and PyTorch see the host. Control groups, of either version, say what this process gets: the least of its
    own group and of those around it.

    Args:
        root: where ``proc`` and the groups' files are; another one in tests.
    """
    quotas: list[float] = []
    sizes: list[int] = []
    for group in _groups(root):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        quota, period = quota or _read(group / "cpu.cfs_quota_us"), period or _read(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1 are none
            quotas.append(int(quota) / int(period))
        size = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
        if size.isdecimal() and int(size) < _UNLIMITED:
            sizes.append(int(size))
    return min(quotas, default=None), min(sizes, default=None)


def _groups(root: Path) -> list[Path]:
    """Return the folders of this process's control groups and of those around them."""
    found: list[Path] = []
    own = [line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines()]
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, about = line.partition(" - ")
        kind, _, controllers = about.split(" ", 2) if about.count(" ") >= 2 else ("", "", "")
        if kind not in ("cgroup", "cgroup2"):
            continue
        inside, place = mount.split(" ")[3:5]
        top = root / place.lstrip("/")
        for _, names, path in own:
            if (kind == "cgroup2") == (names == "") and set(names.split(",")) <= {"", *controllers.split(",")}:
                group = top / os.path.relpath(path, inside) if path.startswith(inside.rstrip("/") + "/") else top
                found += [group, *(each for each in group.parents if each.is_relative_to(top))]
    return list(dict.fromkeys(found))


def _read(path: str | Path) -> str:
    """Return a line of the system's, or "" where it has none."""
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
            continue  # an optional part that is not installed has no version to record
    return found


def _cpu() -> str:
    named = re.search(r"^model name\s*:(.*)", _read("/proc/cpuinfo"), re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def has_gpu() -> bool:
    """Return whether a driver shows a GPU that PyTorch calls cuda, NVIDIA's or AMD's, without loading PyTorch."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except ImportError:
        return Path("/proc/driver/nvidia/version").exists()
    except pynvml.NVMLError:
        return Path("/dev/kfd").exists()  # AMD's driver for computing


def _gpu(device: str) -> dict[str, Json]:
    """Describe PyTorch's current GPU, by NVML too where that answers."""
    torch = sys.modules["torch"]
    if device == "mps":  # which has no properties: the GPU is part of the processor
        return {"name": f"GPU of {_cpu()}"}
    its = torch.get_device_module(device)
    properties = its.get_device_properties(its.current_device())
    known: dict[str, Json] = {"name": properties.name, "memory_bytes": properties.total_memory}
    if device != "cuda":
        return known
    known |= {
        "cuda": torch.version.cuda,
        # PyTorch's default rounds the inputs of float32 convolutions to TF32, and not those of matrix products.
        "tf32_convolutions": allows_tf32(torch.backends.cudnn),
        "tf32_matrix_products": allows_tf32(torch.backends.cuda.matmul),
        "capability": list(torch.cuda.get_device_capability()),
    }
    if torch.version.hip:
        return known | {"hip": torch.version.hip, "nvml": "not available: an AMD GPU"}
    try:
        nvml = Nvml()
        known["driver"] = nvml.system("nvmlSystemGetDriverVersion")
        known["memory_bytes"] = nvml.ask("nvmlDeviceGetMemoryInfo").total
        known["max_sm_clock_hz"] = nvml.ask("nvmlDeviceGetMaxClockInfo", nvml.library.NVML_CLOCK_SM) * 10**6
    except NvmlError as error:
        known["nvml"] = f"not available: {error}"
    return known | gpu_state()


def allows_tf32(switch: Any) -> bool | None:
    """Return a switch of TF32; None where code has set it by PyTorch's newer names, after which it cannot be read."""
    try:
        return bool(switch.allow_tf32)
    except RuntimeError:
        return None


class Nvml:
    """What NVIDIA's driver reports of PyTorch's current GPU.

    Raises:
        NvmlError: it reports nothing of this GPU, or its Python package is not installed.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlError(f"{error}; try: pip install nvidia-ml-py") from error
        self.library = pynvml
        self._handle = self._answer(nvml_handle)

    def ask(self, function: str, *arguments: object) -> Any:
        """Call a function of NVML's on the GPU; raise NvmlError where it refuses."""
        return self.system(function, self._handle, *arguments)

    def system(self, function: str, *arguments: object) -> Any:
        """Call a function of NVML's; raise NvmlError where it refuses."""
        return self._answer(lambda: getattr(self.library, function)(*arguments))

    def _answer(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (self.library.NVMLError, AttributeError) as error:  # the second: an older driver or package lacks it
            raise NvmlError(str(error)) from error


def nvml_handle() -> Any:
    """Return NVML's handle of PyTorch's current GPU, by its identifier: CUDA_VISIBLE_DEVICES renumbers only PyTorch's.

    Raises:
        pynvml.NVMLError: NVML does not answer, or not for this GPU.
    """
    import pynvml

    torch = sys.modules["torch"]
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")


# What is read of a GPU's state, each by itself: a card may refuse one, as many refuse their power, and give the others.
_STATE: Mapping[str, Callable[[Nvml], Json]] = {
    "sm_clock_hz": lambda nvml: nvml.ask("nvmlDeviceGetClockInfo", nvml.library.NVML_CLOCK_SM) * 10**6,
    "memory_clock_hz": lambda nvml: nvml.ask("nvmlDeviceGetClockInfo", nvml.library.NVML_CLOCK_MEM) * 10**6,
    "temperature_c": lambda nvml: nvml.ask("nvmlDeviceGetTemperature", nvml.library.NVML_TEMPERATURE_GPU),
    "power_w": lambda nvml: nvml.ask("nvmlDeviceGetPowerUsage") / 1000,
    "throttle_reasons": lambda nvml: _throttle_reasons(nvml),
}


def gpu_state() -> dict[str, Json]:
    """Return the GPU's clock, temperature, power and what lowers its clock; nothing where no NVIDIA GPU is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized() or torch.version.hip:
        return {}
    try:
        nvml = Nvml()
    except NvmlError as error:
        return {"nvml": f"not available: {error}"}
    state: dict[str, Json] = {}
    refused = []
    for name, read in _STATE.items():
        try:
            state[name] = read(nvml)
        except NvmlError as error:
            refused.append(f"{name}: {error}")
    return state | ({"nvml": f"not available: {'; '.join(refused)}"} if refused else {})


def _throttle_reasons(nvml: Nvml) -> list[str]:
    reasons = nvml.ask("nvmlDeviceGetCurrentClocksEventReasons")
    return [name for name, bit in _THROTTLE_REASONS.items() if reasons & getattr(nvml.library, bit)]


def commit_of(code: Path | None) -> tuple[str, bool]:
    """Name the git commit of a network's code, and whether it was changed since; "" outside a checkout."""
    ours = Path(__file__).parent.parent

    def asked(*arguments: str) -> str:
        command = [*git.ONLY_READ, "-C", str(code or ours), *arguments]  # the user's own git
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, env=git.environment(), timeout=10, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if code is None and Path(asked("rev-parse", "--show-toplevel")).joinpath("fer_bench") != ours:
            return "", False  # installed as a package inside somebody else's checkout
        return asked("rev-parse", "HEAD"), bool(asked("status", "--porcelain"))
    except (OSError, subprocess.TimeoutExpired):
        return "", False
