"""Energy from counters of our own: a fake tree of Linux's power capping, a fake NVML, and a clock beside them."""

import dataclasses
import sys
import types

import pytest
import torch
from torch import nn

from fer_bench.measuring.profilers import energy
from fer_bench.measuring.profilers.energy import find_counter, measure_energy
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis.resources import joules_per_image

PLAN = dataclasses.replace(QUICK, warmup_runs=2)


class Machine:
    """A clock and a counter: 10 W when idle, and 5 J more for each pass, which takes 250 ms."""

    source = "a counter of our own"

    def __init__(self):
        self.ns, self.counted = 0, 1000.0
        self.passes = []

    def clock(self):
        return self.ns

    def joules(self):
        return self.counted

    def sleep(self, seconds):
        self.ns += int(seconds * 1e9)
        self.counted += 10 * seconds

    def network(self):
        machine = self

        class Burns(nn.Module):
            def forward(self, x):
                machine.passes.append(torch.is_inference_mode_enabled())
                machine.sleep(0.25)
                machine.counted += 5
                return x

        return Burns()


def test_the_joules_of_two_seconds_of_passes_are_written_down_with_the_idle_power():
    machine = Machine()
    (found,) = measure_energy(
        lambda: (machine.network(), torch.zeros(4, 1)), PLAN, machine, machine.clock, machine.sleep
    )
    assert (found.metric, found.unit) == ("energy_j", "J")
    assert found.values == pytest.approx((8 * (5 + 2.5),))
    assert found.details == pytest.approx(
        {
            "source": "a counter of our own",
            "window_s": 2.0,
            "passes": 8,
            "images": 32,
            "idle_w": 10.0,
            "idle_s": 2.0,
            "idle_joules": 20.0,
        }
    )
    assert machine.passes == [True] * (2 + 8)
    assert joules_per_image(found) == pytest.approx((40 / 32, 20 / 32))


def test_a_pass_longer_than_the_window_is_made_once():
    machine = Machine()

    def make():
        network = machine.network()
        return nn.Sequential(*[network] * 20), torch.zeros(1, 1)

    (found,) = measure_energy(make, dataclasses.replace(PLAN, warmup_runs=0), machine, machine.clock, machine.sleep)
    assert (found.details["passes"], found.details["window_s"]) == (1, pytest.approx(5.0))


def test_without_a_counter_the_reason_is_reported_at_once_and_no_network_is_built():
    (found,) = measure_energy(lambda: pytest.fail("built"), PLAN, "it has none", sleep=lambda s: pytest.fail("slept"))
    assert (found.metric, found.values, found.failure) == ("energy_j", (), "")
    assert found.details == {"source": "none", "reason": "it has none"}
    assert joules_per_image(found) is None


def test_a_network_that_takes_less_than_the_noise_may_come_out_below_nothing():
    found = Measurement("energy_j", "J", (19.0,), details={"images": 10, "idle_joules": 20.0})
    assert joules_per_image(found) == pytest.approx((-0.1, 2.0))


@pytest.fixture
def powercap(tmp_path):
    """Two packages, with a part each that counts again what they count, the platform, and a second view of one."""
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    (tmp_path / "intel-rapl").mkdir()
    for zone, name in zones.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000000\n")
        count(tmp_path, zone, 900_000)
    return tmp_path


def count(powercap, zone, microjoules):
    (powercap / zone / "energy_uj").write_text(f"{microjoules}\n")


def test_the_packages_of_the_cpu_are_added_and_nothing_is_counted_twice(powercap):
    counter = find_counter("cpu", powercap)
    assert counter.source == "RAPL package-0, package-1"
    before = counter.joules()
    for zone in powercap.glob("intel-rapl*:*"):
        count(powercap, zone.name, 900_500)
    assert counter.joules() - before == pytest.approx(2 * 500e-6)


def test_a_counter_that_begins_again_goes_on(powercap):
    counter = find_counter("cpu", powercap)
    before = counter.joules()
    for microjoules in (950_000, 20_000, 990_000, 10_000):  # 50,000, then 70,000 around its range of 1,000,000, ...
        count(powercap, "intel-rapl:1", microjoules)
        now = counter.joules()
    assert now - before == pytest.approx(0.05 + 0.07 + 0.97 + 0.02)


def test_a_machine_without_counters_says_so(tmp_path):
    assert "has no counter of a CPU package" in find_counter("cpu", tmp_path)
    assert "has no counter of a CPU package" in find_counter("cpu", tmp_path / "nowhere")


def test_a_counter_that_only_root_may_read_is_none_and_says_how_to_open_it(powercap, monkeypatch):
    read = energy._line

    def refuse(path):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(energy, "_line", refuse)
    reason = find_counter("cpu", powercap)
    assert f"{powercap}/intel-rapl:0/energy_uj cannot be read (Permission denied)" in reason
    assert "sudo chmod a+r" in reason


class NVMLError(Exception):
    pass


def fake_nvml(monkeypatch, consumption):
    nvml = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetTotalEnergyConsumption=consumption,
        nvmlDeviceGetName=lambda handle: "Some GPU",
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(energy.environment, "nvml_handle", lambda: "handle")


def test_nvml_counts_millijoules_of_the_gpu_in_use(monkeypatch):
    fake_nvml(monkeypatch, {"handle": 5_000_250}.__getitem__)
    counter = find_counter("cuda")
    assert counter.source == "NVML total energy counter of Some GPU"
    assert counter.joules() == pytest.approx(5000.25)


def test_a_gpu_that_does_not_count_says_so(monkeypatch):
    def refuse(handle):
        raise NVMLError("Not Supported")

    fake_nvml(monkeypatch, refuse)
    assert find_counter("cuda") == "NVML gives no total energy of this GPU: Not Supported"


def test_this_machine_s_counter_is_found_or_the_reason_is():
    machine = Machine()
    (found,) = measure_energy(
        lambda: (machine.network(), torch.zeros(2, 4)), PLAN, clock=machine.clock, sleep=machine.sleep
    )
    assert bool(found.values) == (found.details["source"] != "none")
    assert found.values or found.details["reason"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_joules():
    network, images = nn.Linear(1024, 1024).cuda(), torch.zeros(64, 1024, device="cuda")
    (found,) = measure_energy(lambda: (network, images), dataclasses.replace(PLAN, device="cuda"))
    assert found.details["source"].startswith("NVML") or "NVML" in found.details["reason"]
    assert all(value > 0 for value in found.values)
