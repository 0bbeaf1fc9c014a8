"""Peak memory of building a network and running it, in a process that does nothing else."""

import ctypes
import gc
import os
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from fer_bench.measuring import environment, machine
from fer_bench.measuring.profilers.kinds import Make, inference_mode
from fer_bench.records.errors import NvmlError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement

_PASSES = 3  # the second reuses what the first left; the third shows that it stays so


def measure_memory(make: Make, plan: Plan) -> list[Measurement]:
    """Measure the peak above the idle process: weights, activations and what the libraries load to run them.

    Returns:
        The peak resident set above the baseline and, on a GPU, the peaks allocated and reserved there and what the
        driver gave the process.
    """

    def passes() -> object:
        model, images = make()
        with inference_mode():
            for _ in range(_PASSES):
                model(images)
        return model

    return measure_peaks(passes, plan, details={"passes": _PASSES})


def measure_peaks(
    work: Callable[[], object], plan: Plan, prefix: str = "", details: dict[str, Json] | None = None
) -> list[Measurement]:
    """Measure the peaks of memory while something is done.

    Blocks are mapped one by one meanwhile, whatever the plan says of the allocator, so that the peak is of what lives
    at a time and not of how a heap is cut up. Library code that first runs here counts, and is listed apart as
    ``file_bytes``: a forked process maps it anew.

    Args:
        work: does it all, from building on; what it returns is kept until the peaks are read.
        plan: the device, and whether a compiler is at work, too.
        prefix: of the metrics' names.
        details: of the first measurement, beside those of the measuring.
    """
    # By default glibc's threshold for that moves with what is freed, and a block below it is cut from a heap with
    # holes: where they lie is chance, and moved the peak of MobileNetV3 between 88 and 142 MiB.
    allocator = machine.map_blocks_alone()
    gc.collect()
    # A forked process begins with its parent's heap. What is free there is resident already: the network would be put
    # into it, and so much of it would not show as growth.
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    # A fresh process has no earlier peak to forget, and must not load CUDA before the baseline.
    torch = sys.modules.get("torch")  # None where a backend's runtime does without
    if torch is not None:
        its = torch.get_device_module(plan.device)
        if hasattr(its, "reset_peak_memory_stats") and its.is_initialized():
            its.reset_peak_memory_stats()
    resettable = _reset_peak()
    baseline = _status("VmRSS") if resettable else _peak()
    file_backed = _status("RssFile")
    kept = work()
    on_gpu = torch is not None and plan.device != "cpu"
    if on_gpu:
        from fer_bench.measuring.profilers import devices

        devices.synchronize(plan.device)
    details = {
        **(details or {}),
        "baseline_bytes": baseline,
        "file_bytes": _status("RssFile") - file_backed,
        "peak_reset": resettable,
        "allocator": allocator,
        "with_pytorch": torch is not None,
    }
    value = max(0, _peak() - baseline)
    warnings = ("the peak is that of torch.compile's own work",) if plan.mode == "compile" else ()
    measured = [Measurement(f"{prefix}peak_rss_bytes", "bytes", (value,), details=details, warnings=warnings)]
    if on_gpu:
        measured += _gpu_peaks(plan.device, prefix)
    del kept
    return measured


def _gpu_peaks(device: str, prefix: str) -> list[Measurement]:
    """Return the peaks on the accelerator; "cuda" in their names stands for any. One that is not known has a reason."""
    from fer_bench.measuring.profilers import devices

    its = devices.module(device)
    if not hasattr(its, "max_memory_allocated"):
        reason = f"PyTorch counts no peak of memory on {device}"
        return [Measurement(f"{prefix}peak_cuda_allocated_bytes", "bytes", details={"reason": reason})]
    peaks = {
        "allocated": its.max_memory_allocated(),
        "reserved": its.max_memory_reserved(),
        "process": _process_bytes() if device == "cuda" else None,
    }  # PyTorch keeps what it has reserved, so that what the process has now is the peak
    return [
        Measurement(f"{prefix}peak_cuda_{kind}_bytes", "bytes", (peak,))
        for kind, peak in peaks.items()
        if peak is not None
    ]


def _process_bytes() -> int | None:
    """Return what the driver has given this process: PyTorch's memory, the context, kernels and libraries' own memory.

    None where NVML does not report it: in a container it may see other process ids, and on Windows no memory.
    """
    try:
        running = environment.Nvml().ask("nvmlDeviceGetComputeRunningProcesses")
    except NvmlError:
        return None
    return next((process.usedGpuMemory for process in running if process.pid == os.getpid()), None)


def _reset_peak() -> bool:
    """Forget the process's peak so far, that of its imports included; return whether the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # another system, or a container that forbids it
        return False
    return True


def _peak() -> int:
    if peak := _status("VmHWM"):
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def _status(name: str) -> int:
    """Return a size in bytes from Linux's status of the process; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
