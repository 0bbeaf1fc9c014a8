"""Occupancy under a clock and a system of our own, and its sums worked out by hand."""

import dataclasses
import json

import psutil
import pytest
import torch
from torch import nn

from fer_bench.measuring.profilers.occupancy import Sample, System, measure_occupancy
from fer_bench.records.plan import OCCUPANCY
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis import resources as sums

PLAN = dataclasses.replace(OCCUPANCY, warmup_runs=2, sample_s=2.0, sample_every_s=0.5)
MIB = 2**20


class Fake:
    """Four cores. A pass takes 200 ms: 0.3 s of this process in user mode and 0.05 s in kernel mode.

    Beside it another process takes a tenth of a core, and the machine loses another tenth to a neighbour.
    """

    def __init__(self):
        self.now = self.user = self.system = 0.0
        self.passes = self.alive = 0

    def clock(self):
        return round(self.now * 1e9)

    def sleep(self, seconds):
        self.now += seconds

    def sign(self):
        self.alive += 1

    def work(self):
        self.passes += 1
        self.now += 0.2
        self.user += 0.3
        self.system += 0.05

    def sample(self):
        user, steal = self.user + 0.1 * self.now, 0.1 * self.now
        seconds = {
            "process_user_s": self.user,
            "process_system_s": self.system,
            "machine_user_s": user,
            "machine_system_s": self.system,
            "machine_idle_s": 4 * self.now - user - self.system - steal,
            "machine_steal_s": steal,
        }
        return Sample(seconds, (100 + self.passes) * MIB)

    def others(self):
        found = {
            (1, 0.0): ("busy", 50 + 0.1 * self.now),
            (2, 0.0): ("idle", 70 + 0.001 * self.now),
            (3, 0.0): ("second", 0.05 * self.now),
            (4, 0.0): ("fourth", 0.02 * self.now),
        }
        if self.passes > 2:
            found[5, 1.0] = ("new", 0.025 * self.now)
            found[1, 2.0] = ("of the same id", 0.0)
        return found

    def network(self):
        fake = self

        class Works(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 3)
                self.modes = []

            def forward(self, x):
                fake.work()
                self.modes.append((self.training, torch.is_inference_mode_enabled()))
                return self.fc(x)

        return Works().eval()


def measure(stage, plan=PLAN, batch=2):
    fake = Fake()
    network = fake.network()
    found = measure_occupancy(
        lambda: (network, torch.zeros(batch, 4)), plan, stage, fake.clock, fake, fake.sleep, fake.sign
    )
    return {m.metric: m for m in found}, fake, network


@pytest.mark.parametrize("stage", ["testing", "training"])
def test_a_stage_is_sampled_between_passes_and_each_interval_is_a_value(stage):
    found, fake, _ = measure(stage)
    assert fake.passes == 2 + 10
    assert found.keys() == {
        f"{stage}.{name}"
        for name in (
            "interval_s process_user_s process_system_s machine_user_s machine_system_s machine_idle_s machine_steal_s "
            "rss_bytes"
        ).split()
    }
    # Half a second is over after the third pass; two seconds, in the fourth interval, after one more.
    intervals = (0.6, 0.6, 0.6, 0.2)
    assert found[f"{stage}.interval_s"].values == pytest.approx(intervals)
    assert found[f"{stage}.process_user_s"].values == pytest.approx((0.9, 0.9, 0.9, 0.3))
    assert found[f"{stage}.process_system_s"].values == pytest.approx((0.15, 0.15, 0.15, 0.05))
    assert found[f"{stage}.machine_user_s"].values == pytest.approx((0.96, 0.96, 0.96, 0.32))
    assert found[f"{stage}.machine_steal_s"].values == pytest.approx([0.1 * s for s in intervals])
    assert found[f"{stage}.machine_idle_s"].values == pytest.approx((1.23, 1.23, 1.23, 0.41))
    assert found[f"{stage}.rss_bytes"].values == tuple(n * MIB for n in (105, 108, 111, 112))
    assert {m.unit for name, m in found.items() if not name.endswith("bytes")} == {"s"}
    assert fake.alive == 2 + 4  # in the warm-up, and at each sample


def test_testing_runs_inference_passes_and_training_runs_training_steps():
    _, _, network = measure("testing")
    assert set(network.modes) == {(False, True)}
    _, _, network = measure("training")
    assert set(network.modes) == {(True, False)}


def test_what_else_is_known_stands_with_the_intervals():
    found, _, _ = measure("training", batch=1)
    told = found["training.interval_s"].details
    assert (told["batch_size"], told["passes"], told["images"], told["device"]) == (2, 10, 20, "cpu")
    assert told["cores"] == psutil.cpu_count()
    assert told["memory_bytes"] == psutil.virtual_memory().total
    assert json.loads(json.dumps(told)) == told
    found, _, _ = measure("testing", batch=1)
    assert found["testing.interval_s"].details["images"] == 10


def test_the_idle_machine_is_looked_at_before_the_stage():
    fake = Fake()
    order = []

    def make():
        order.append(("make", fake.now))
        return fake.network(), torch.zeros(2, 4)

    found = measure_occupancy(make, PLAN, "testing", fake.clock, fake, fake.sleep)
    assert order == [("make", 1.0)]
    assert found[0].details["beside"] == pytest.approx(
        {"user_share": 0.1 / 4, "system_share": 0.0, "seconds": 1.0}, abs=1e-9
    )


def test_the_three_busiest_others_are_named_with_the_cores_that_they_kept_busy():
    found, fake, _ = measure("testing")
    busiest = found["testing.interval_s"].details["busiest_others"]
    assert [name for name, _ in busiest] == ["busy", "second", "new"]
    # "new" was not there before the stage, so that all that it has used counts: 0.025 of 3.4 s, over 2 s.
    assert [cores for _, cores in busiest] == pytest.approx([0.1, 0.05, 0.025 * fake.now / 2])


def test_the_slowest_network_makes_one_pass():
    found, _, _ = measure("testing", dataclasses.replace(PLAN, sample_s=0.01, sample_every_s=9.0))
    assert found["testing.interval_s"].values == pytest.approx((0.2,))


def test_the_system_reports_what_this_process_and_the_machine_did():
    system = System()
    before, others = system.sample(), system.others()
    sum(range(10**6))
    after = system.sample()
    assert set(before.seconds) == set(after.seconds) >= {"process_user_s", "machine_idle_s", "machine_steal_s"}
    assert all(after.seconds[name] >= before.seconds[name] for name in ("process_user_s", "process_system_s"))
    assert 0 < after.rss_bytes < psutil.virtual_memory().total
    own = psutil.Process()
    assert (own.pid, own.create_time()) not in others
    assert all(seconds >= 0 for _, seconds in others.values())


@pytest.mark.parametrize("stage", ["testing", "training"])
def test_a_tiny_network_on_this_machine(stage, make_result):
    plan = dataclasses.replace(PLAN, sample_s=0.05, sample_every_s=0.02)
    found = measure_occupancy(lambda: (nn.Linear(4, 3), torch.zeros(2, 4)), plan, stage, sleep=float)
    assert len({len(m.values) for m in found}) == 1
    result = make_result("mini_xception", *found)
    assert sums.occupancy(result, stage)["rss_bytes"] > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", ["testing", "training"])
def test_a_network_on_a_gpu(stage):
    def make():
        return nn.Linear(4, 3).cuda(), torch.zeros(2, 4, device="cuda")

    plan = dataclasses.replace(PLAN, device="cuda", sample_s=0.1, sample_every_s=0.05)
    found = measure_occupancy(make, plan, stage)
    assert found[0].details["device"] == "cuda"
    assert all(value > 0 for value in found[0].values)


def test_cpu_use_is_of_the_whole_machine_as_in_paper_004():
    # 16.67 % in table 4: one of the six cores of its i5-8400, busy all the time.
    assert f"{100 * sums.machine_share(10.0, 10.0, 6):.2f}" == "16.67"
    assert sums.cores_used(10.0, 10.0) == 1.0


def sampled(stage, **values):
    details = {"cores": 4, "memory_bytes": 1000 * MIB, "images": 300}
    return [
        Measurement(f"{stage}.{metric}", "s", of, details=details if metric == "interval_s" else {})
        for metric, of in values.items()
    ]


def test_a_stage_is_summed_up_over_all_of_its_sampled_time(make_result):
    found = sampled(
        "training",
        interval_s=(1.0, 2.0),
        process_user_s=(1.5, 3.0),
        process_system_s=(0.3, 0.3),
        machine_user_s=(1.8, 3.3),
        machine_system_s=(0.4, 0.5),
        machine_idle_s=(1.7, 4.0),
        machine_steal_s=(0.1, 0.2),
        rss_bytes=(200 * MIB, 250 * MIB),
    )
    result = make_result("mini_xception", *found)
    assert sums.occupancy(result, "training") == pytest.approx(
        {
            "cpu_share": 5.1 / 12,
            "process_user_share": 4.5 / 12,
            "process_system_share": 0.6 / 12,
            "machine_user_share": 5.1 / 12,
            "machine_system_share": 0.9 / 12,
            "cores_used": 1.7,
            "others_cores": (5.1 + 0.9 + 0.3 - 5.1) / 3,
            "rss_bytes": 250 * MIB,
            "memory_share": 0.25,
            "images_per_s": 100.0,
            "sampled_s": 3.0,
        }
    )
    assert sums.occupancy(result, "testing") is None


def test_ticks_never_make_others_do_less_than_nothing(make_result):
    found = sampled(
        "testing",
        interval_s=(1.0,),
        process_user_s=(1.003,),
        process_system_s=(0.0,),
        machine_user_s=(1.0,),
        machine_system_s=(0.0,),
        machine_steal_s=(0.0,),
        rss_bytes=(MIB,),
    )
    assert sums.occupancy(make_result("mini_xception", *found), "testing")["others_cores"] == 0.0


def test_a_stage_that_failed_has_no_sum(make_result):
    failed = Measurement("testing.interval_s", "s", failure="it broke")
    assert sums.occupancy(make_result("mini_xception", failed), "testing") is None
