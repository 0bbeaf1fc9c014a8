"""Peak memory of building a network and running it, in a process that does nothing else."""

from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from fer_bench.plan import Plan
from fer_bench.records import Measurement

_PASSES = 3  # the second reuses what the first left; the third shows that it stays so


def measure_memory(make: Callable[[], tuple[nn.Module, Tensor]], plan: Plan) -> list[Measurement]:
    """Measure the peak above the idle process: weights, activations and what the libraries load to run them.

    Args:
        make: builds the network and its batch, (N, C, H, W), on the plan's device.
        plan: the device.

    Returns:
        The peak resident set above the baseline and, on a GPU, the peaks allocated and reserved there.
    """
    resettable = _reset_peak()
    baseline = psutil.Process().memory_info().rss if resettable else _peak()
    model, images = make()
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        for _ in range(_PASSES):
            model(images)
    details = {"baseline_bytes": baseline, "passes": _PASSES, "peak_reset": resettable}
    found = [Measurement("peak_rss_bytes", "bytes", (max(0, _peak() - baseline),), details)]
    if images.is_cuda:
        torch.cuda.synchronize()
        found.append(Measurement("peak_cuda_allocated_bytes", "bytes", (torch.cuda.max_memory_allocated(),)))
        found.append(Measurement("peak_cuda_reserved_bytes", "bytes", (torch.cuda.max_memory_reserved(),)))
    return found


def _reset_peak() -> bool:
    """Forget the process's peak so far, that of its imports among it; tell whether the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
