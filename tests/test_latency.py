"""Latency under a clock of our own: no test depends on how fast a machine is."""

import dataclasses

import pytest
import torch
from torch import nn

from fer_bench.plan import QUICK
from fer_bench.profilers import latency
from fer_bench.profilers.latency import measure_latency


class Clock:
    """Stands still but for what a network's passes take."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Slow(nn.Module):
    """Takes as many milliseconds as told, pass by pass, by the clock."""

    def __init__(self, clock: Clock, *milliseconds: float) -> None:
        super().__init__()
        self.clock, self.left, self.inference = clock, list(milliseconds), []

    def forward(self, x):
        self.clock.ns += int(self.left.pop(0) * 1e6)
        self.inference.append(torch.is_inference_mode_enabled())
        return x


def measure(plan, *milliseconds):
    clock = Clock()
    network = Slow(clock, *milliseconds)
    return measure_latency(network, torch.zeros(2, 1), plan, clock), network


def test_the_warm_up_is_kept_apart_and_each_timed_pass_is_a_value():
    plan = dataclasses.replace(QUICK, warmup_runs=2, runs=3, max_time_s=None)
    found, network = measure(plan, 90, 50, 1, 2, 3)
    assert found.values == pytest.approx((0.001, 0.002, 0.003))
    assert found.details["warmup_s"] == pytest.approx([0.090, 0.050])
    assert (found.metric, found.unit, found.details["stopped_by"]) == ("latency_s", "s", "runs")
    assert network.left == []
    assert all(network.inference)


def test_the_time_cap_stops_the_passes_and_says_so():
    plan = dataclasses.replace(QUICK, warmup_runs=0, runs=10, max_time_s=1.0)
    found, _ = measure(plan, *[400] * 10)
    assert found.values == pytest.approx((0.4,) * 3)
    assert found.details["stopped_by"] == "time cap"
    assert found.warnings[0] == "stopped by the time cap of 1 s before the 10 runs wanted"


def test_the_slowest_network_is_timed_once_however_short_the_cap():
    found, _ = measure(dataclasses.replace(QUICK, warmup_runs=0, runs=5, max_time_s=0.0), 9000)
    assert found.values == pytest.approx((9.0,))


def test_a_pass_on_cuda_is_the_time_between_two_events_on_the_device(monkeypatch):
    done = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            done.append("record")

        def synchronize(self):
            done.append("wait")

        def elapsed_time(self, other):
            return 2.5  # milliseconds, as PyTorch has it

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("synchronize"))
    seconds = latency._cuda_pass(lambda images: done.append("pass"), torch.zeros(1), Clock())
    assert seconds == pytest.approx(0.0025)
    assert done == ["synchronize", "record", "pass", "record", "wait"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_passes_are_timed_by_events():
    network = nn.Linear(4, 4).cuda()
    found = measure_latency(network, torch.zeros(2, 4, device="cuda"), dataclasses.replace(QUICK, runs=3))
    assert found.details["clock"] == "CUDA events"
    assert all(value > 0 for value in found.values)
