"""Latency under a clock of our own: no test depends on how fast a machine is."""

import dataclasses
import types

import pytest
import torch
from torch import nn

from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.records.plan import QUICK

PLAN = dataclasses.replace(QUICK, warmup_runs=0, max_time_s=None)


class Clock:
    """Stands still but for what a network's passes take."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Slow(nn.Module):
    """Takes as many milliseconds as told, pass by pass, by the clock; then the last of them again and again."""

    def __init__(self, clock: Clock, *milliseconds: float) -> None:
        super().__init__()
        self.clock, self.left, self.passes, self.inference = clock, list(milliseconds), 0, set()

    def forward(self, x):
        took = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        self.clock.ns += int(took * 1e6)
        self.passes += 1
        self.inference.add(torch.is_inference_mode_enabled())
        return x


def measure(plan, *milliseconds, **options):
    clock = Clock()
    network = Slow(clock, *milliseconds)
    found = measure_latency(network, torch.zeros(2, 1), plan, clock, **options)
    return {m.metric: m for m in found}, network


def test_the_warm_up_is_kept_apart_and_each_timed_pass_is_a_value():
    found, network = measure(dataclasses.replace(PLAN, warmup_runs=2, runs=3), 90, 50, 1, 2, 3)
    assert found["latency_s"].values == pytest.approx((0.001, 0.002, 0.003))
    assert found["latency_s"].details["warmup_s"] == pytest.approx([0.090, 0.050])
    assert found["latency_s"].details["stopped_by"] == "runs"
    assert network.passes == 5
    assert network.inference == {True}


def test_a_longer_warm_up_than_planned_is_cut_and_made_up_for():
    found, _ = measure(dataclasses.replace(PLAN, runs=20), 90, 60, 40, 20, *[10] * 100)
    assert found["latency_s"].details["warmup_s"] == pytest.approx([0.090, 0.060, 0.040, 0.020])
    assert found["latency_s"].values == pytest.approx((0.010,) * 20)


def test_the_time_cap_stops_the_passes_and_says_so():
    found, _ = measure(dataclasses.replace(PLAN, runs=10, max_time_s=1.0), 400)
    assert found["latency_s"].values == pytest.approx((0.4,) * 3)
    assert found["latency_s"].details["stopped_by"] == "time cap"


def test_passes_go_on_for_the_least_time_beyond_the_runs():
    found, _ = measure(dataclasses.replace(PLAN, runs=3, min_time_s=0.5, max_time_s=2.0), 100)
    assert len(found["latency_s"].values) == 5
    assert found["latency_s"].details["stopped_by"] == "runs"


def test_the_slowest_network_is_timed_once_however_short_the_cap():
    found, _ = measure(dataclasses.replace(PLAN, runs=5, max_time_s=0.0), 9000)
    assert found["latency_s"].values == pytest.approx((9.0,))


def test_page_faults_and_context_switches_are_reported_pass_by_pass():
    # Before and after each pass, the first of them warm-up: what lies between them is ours, not the passes'.
    totals = iter(
        [
            *((90, 5, 0.0), (95, 9, 0.5)),
            *((100, 9, 1.0), (107, 9, 1.5)),
            *((107, 9, 1.5), (107, 12, 1.5)),
            *((107, 12, 1.5), (110, 12, 2.5)),
        ]
    )

    def usage(_who):
        faults, switches, system_s = next(totals)
        return types.SimpleNamespace(ru_minflt=faults, ru_nivcsw=switches, ru_stime=system_s)

    found, _ = measure(dataclasses.replace(PLAN, warmup_runs=1, runs=3), 1, usage=usage)
    assert found["minor_faults"].values == (7, 0, 3)
    assert found["involuntary_switches"].values == (0, 3, 0)
    assert found["latency_s"].details["kernel_s_per_run"] == pytest.approx(0.5)  # (0.5 + 0 + 1.0) / 3


def test_long_measurements_say_that_they_are_alive():
    beats = []
    measure(dataclasses.replace(PLAN, warmup_runs=2, runs=2), 3000, alive=lambda: beats.append(1))
    assert len(beats) == 3  # after each pass of the warm-up, and after 6 s of the timed ones


def test_what_else_went_on_is_reported():
    found, _ = measure(dataclasses.replace(PLAN, runs=2), 1)
    assert found["latency_s"].details.keys() >= {"others_cores", "throttle_events", "cores", "clock"}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_passes_are_timed_four_ways():
    network = nn.Linear(4, 4).cuda()
    plan = dataclasses.replace(QUICK, runs=3)
    found = {m.metric: m for m in measure_latency(network, torch.zeros(2, 4, device="cuda"), plan)}
    for metric in ("latency_s", "latency_cold_s", "graph_latency_s", "graph_latency_cold_s"):
        assert found[metric].details["clock"] == "CUDA events"
        assert all(value > 0 for value in found[metric].values)
    assert found["latency_s"].details["gpu_after"]["sm_clock_hz"] > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_that_no_graph_can_hold_says_why():
    class Looks(nn.Module):
        def forward(self, x):
            return x * x.sum().item()

    images = torch.zeros(2, 4, device="cuda")
    found = {m.metric: m for m in measure_latency(Looks().cuda(), images, dataclasses.replace(QUICK, runs=3))}
    assert found["latency_s"].values
    assert found["graph_latency_s"].values == ()
    assert found["graph_latency_s"].details["not_captured"]
    assert not found["graph_latency_s"].failure
