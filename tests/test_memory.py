"""Peak memory of networks whose size is known."""

import sys

import pytest
import torch
from torch import nn

from fer_bench.plan import QUICK
from fer_bench.profilers.memory import measure_memory

MIB = 2**20


class Buffers(nn.Module):
    """Fills a buffer of so many MiB on each pass, and lets it go."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.mib = mib

    def forward(self, x):
        torch.ones(self.mib * MIB // 4).sum()
        return x


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a process's peak")
def test_the_peak_covers_what_a_pass_holds_and_not_what_came_before():
    torch.ones(400 * MIB // 4).sum()  # an earlier peak, already gone
    (found,) = measure_memory(lambda: (Buffers(200), torch.zeros(1)), QUICK)
    assert found.details["peak_reset"]
    assert 190 * MIB < found.values[0] < 300 * MIB


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_what_is_allocated_and_reserved():
    def make():
        return nn.Linear(1024, 1024, bias=False).cuda(), torch.zeros(1, 1024, device="cuda")

    found = {m.metric: m.values[0] for m in measure_memory(make, QUICK)}
    assert found["peak_cuda_reserved_bytes"] >= found["peak_cuda_allocated_bytes"] >= 4 * MIB
