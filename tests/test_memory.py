"""Peak memory of networks whose size is known."""

import dataclasses
import os
import sys
import types

import pytest
import torch
from torch import nn

from fer_bench.measuring.profilers import memory
from fer_bench.measuring.profilers.memory import measure_memory, measure_peaks
from fer_bench.records.plan import QUICK

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a process's peak")


class Buffers(nn.Module):
    """Fills a buffer of so many MiB on each pass, and lets it go."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.mib = mib

    def forward(self, x):
        torch.ones(self.mib * MIB // 4).sum()
        return x


@linux
def test_the_peak_covers_what_a_pass_holds_and_not_what_came_before():
    torch.ones(400 * MIB // 4).sum()  # an earlier peak, already gone
    (found,) = measure_memory(lambda: (Buffers(200), torch.zeros(1)), QUICK)
    assert (found.metric, found.unit, found.details["passes"]) == ("peak_rss_bytes", "bytes", 3)
    assert found.details["peak_reset"]
    assert 190 * MIB < found.values[0] < 300 * MIB


@linux
def test_what_is_free_in_the_heap_beforehand_hides_nothing():
    # Small blocks come from the heap and stay there when they are freed, but for the last one, which holds the top.
    blocks = [torch.ones(4 * 2**10) for _ in range(4 * 2**10)]  # 64 MiB
    last = blocks[-1]
    del blocks

    def work():
        return [torch.ones(4 * 2**10) for _ in range(4 * 2**10)]

    (found,) = measure_peaks(work, QUICK)
    assert last.sum() == 4 * 2**10
    assert found.values[0] > 60 * MIB


def test_where_the_peak_cannot_be_reset_the_earlier_peak_is_the_baseline(monkeypatch):
    peaks = iter([500 * MIB, 720 * MIB])
    monkeypatch.setattr(memory, "_reset_peak", lambda: False)
    monkeypatch.setattr(memory, "_peak", lambda: next(peaks))
    (found,) = measure_memory(lambda: (nn.Identity(), torch.zeros(1)), QUICK)
    assert found.values == (220 * MIB,)
    assert found.details["baseline_bytes"] == 500 * MIB
    assert not found.details["peak_reset"]


@pytest.mark.parametrize("told", [5 * MIB, None, "another process", "error"])
def test_nvml_reports_the_memory_of_this_process_or_there_is_no_measurement(monkeypatch, told):
    class NVMLError(Exception):
        pass

    def running(handle):
        assert handle == "handle"
        if told == "error":
            raise NVMLError("not supported")
        own = types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=told)
        other = types.SimpleNamespace(pid=os.getpid() + 1, usedGpuMemory=7 * MIB)
        return [other] if told == "another process" else [other, own]

    nvml = types.SimpleNamespace(NVMLError=NVMLError, nvmlDeviceGetComputeRunningProcesses=running)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(memory.environment, "nvml_handle", lambda: "handle")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: MIB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 2 * MIB)
    found = {m.metric: m.values for m in memory._gpu_peaks("cuda", "training_")}
    process = {"training_peak_cuda_process_bytes": (told,)} if told == 5 * MIB else {}
    assert found == {
        "training_peak_cuda_allocated_bytes": (MIB,),
        "training_peak_cuda_reserved_bytes": (2 * MIB,),
        **process,
    }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_reports_what_is_allocated_and_reserved():
    def make():
        return nn.Linear(1024, 1024, bias=False).cuda(), torch.zeros(1, 1024, device="cuda")

    plan = dataclasses.replace(QUICK, device="cuda")
    found = {m.metric: m.values[0] for m in measure_memory(make, plan)}
    assert found["peak_cuda_reserved_bytes"] >= found["peak_cuda_allocated_bytes"] >= 4 * MIB
    process = found.get("peak_cuda_process_bytes")  # not where NVML sees other process ids
    assert process is None or process > found["peak_cuda_reserved_bytes"]
