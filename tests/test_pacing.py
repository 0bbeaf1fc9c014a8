"""Passes on a clock: when they start, what they miss, and what the records say of it."""

import pytest
import torch
from torch import nn

from fer_bench.cli.main import main
from fer_bench.measuring.profilers.energy import Counter, measure_energy
from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.measuring.profilers.occupancy import Sample, System, measure_occupancy
from fer_bench.measuring.profilers.passes import Pacer
from fer_bench.records.plan import QUICK, Plan


class Machine:
    """A clock in nanoseconds that sleep and work move on."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s, self.late_s, self.slept_s = 100.0, late_s, 0.0

    def clock(self) -> int:
        return round(self.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept_s += seconds
        self.now_s += seconds + self.late_s

    def work(self, seconds: float) -> float:
        self.now_s += seconds
        return seconds


class Net(nn.Module):
    """Works for some time of the machine's."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        super().__init__()
        self.machine, self.seconds = machine, seconds

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.machine.work(self.seconds)
        return images


def paced(machine: Machine, rate_hz: float | None) -> Pacer:
    return Pacer(rate_hz, machine.clock, machine.sleep)


def test_passes_start_when_they_are_due() -> None:
    machine = Machine()
    pacer, starts = paced(machine, 10), []

    def one() -> float:
        starts.append(machine.now_s - 100)
        return machine.work(0.03)

    assert [pacer.make(one) for _ in range(4)] == [0.03] * 4
    assert starts == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (pacer.missed, pacer.left_out) == (0, 0)
    assert pacer.jitter_s == pytest.approx([0] * 4, abs=1e-8)


def test_a_timer_that_is_late_is_jitter() -> None:
    machine = Machine(late_s=0.002)
    pacer = paced(machine, 10)
    for _ in range(3):
        pacer.make(lambda: machine.work(0.03))
    assert pacer.jitter_s == pytest.approx([0, 0.002, 0.002], abs=1e-8)  # the first is not waited for


def test_late_passes_leave_others_out() -> None:
    machine = Machine()
    pacer, starts = paced(machine, 10), []

    def one() -> float:
        starts.append(machine.now_s - 100)
        return machine.work(0.25)

    for _ in range(3):
        pacer.make(one)
    assert starts == pytest.approx([0, 0.3, 0.6])  # due at 0.1 and 0.2: nobody could begin them
    assert (pacer.missed, pacer.left_out) == (3, 6)


def test_back_to_back_there_is_no_clock() -> None:
    machine = Machine()
    pacer = paced(machine, None)
    for _ in range(3):
        pacer.make(lambda: machine.work(0.03))
    assert machine.slept_s == 0
    assert pacer.measurements() == []


PLAN = Plan("mine", metrics=("latency",), warmup_runs=0, runs=20, rate_hz=10.0)


def test_latency_at_a_rate() -> None:
    machine = Machine(late_s=0.001)
    found = measure_latency(Net(machine, 0.03), torch.zeros(1, 1, 2, 2), PLAN, machine.clock, sleep=machine.sleep)
    by_name = {each.metric: each for each in found}
    assert by_name["latency_s"].values == pytest.approx([0.03] * 20)
    assert by_name["start_jitter_s"].values == pytest.approx([0.0] + [0.001] * 19, abs=1e-8)
    assert by_name["deadline_misses"].values == (0,)
    assert machine.now_s - 100 == pytest.approx(19 * 0.1 + 0.03 + 0.001, abs=1e-6)


class Processor(System):
    """Has used as much processor time as the machine worked."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def sample(self) -> Sample:
        busy = self.machine.now_s - 100 - self.machine.slept_s
        names = ("process_user_s", "machine_user_s")
        idle = dict.fromkeys(("process_system_s", "machine_system_s", "machine_steal_s"), 0.0)
        return Sample({**dict.fromkeys(names, busy), **idle, "machine_idle_s": self.machine.slept_s}, 1000)

    def others(self) -> dict[tuple[int, float], tuple[str, float]]:
        return {}


def test_occupancy_at_a_rate() -> None:
    machine = Machine()
    found = measure_occupancy(
        lambda: (Net(machine, 0.03), torch.zeros(1, 1, 2, 2)),
        Plan("mine", metrics=("occupancy",), warmup_runs=0, sample_s=5.0, rate_hz=10.0),
        "testing",
        machine.clock,
        Processor(machine),
        machine.sleep,
    )
    by_name = {each.metric: each for each in found}
    seconds, used = (sum(by_name[f"testing.{name}"].values) for name in ("interval_s", "process_user_s"))
    assert used / seconds == pytest.approx(0.3, abs=0.01)  # 30 ms in each 100
    details = by_name["testing.interval_s"].details
    assert (details["rate_hz"], details["deadline_misses"]) == (10.0, 0)
    assert details["images"] == pytest.approx(51, abs=1)


def test_energy_at_a_rate() -> None:
    machine = Machine()
    counter = Counter("fake", lambda: 10 * machine.now_s)  # ten watts, whatever it does
    (found,) = measure_energy(
        lambda: (Net(machine, 0.03), torch.zeros(1, 1, 2, 2)),
        Plan("mine", metrics=("energy",), warmup_runs=0, rate_hz=10.0),
        counter,
        machine.clock,
        machine.sleep,
    )
    assert found.details["images"] == pytest.approx(21, abs=1)  # two seconds of ten a second
    assert found.values[0] / found.details["images"] == pytest.approx(1.0, abs=0.05)  # 10 W / 10 a second


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "nan", "inf"])
def test_rates_that_are_none(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "mini_xception", "--rate", rate, "--dry-run"]) == 1
    assert "passes a second; try: --rate 24" in capsys.readouterr().err


def test_a_plan_without_a_rate_is_as_before() -> None:
    assert QUICK.rate_hz is None
    assert Plan.of({key: value for key, value in QUICK.to_dict().items() if key != "rate_hz"}) == QUICK
