"""Training steps under a clock of our own: no test depends on how fast a machine is."""

import dataclasses
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer_bench.measuring.profilers import training
from fer_bench.measuring.profilers.training import Trainer, measure_training, measure_training_memory
from fer_bench.networks.build import Autocast
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import TRAINING

PLAN = dataclasses.replace(TRAINING, warmup_runs=0, runs=1, max_time_s=None)
MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a process's peak")


class Clock:
    """Stands still but for what is told to take time."""

    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns

    def pass_ms(self, milliseconds):
        self.ns += int(milliseconds * 1e6)


class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock):
        ctx.clock = clock
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.pass_ms(20)
        return gradient, None


class Slow(nn.Module):
    """Takes as many milliseconds as told for each forward pass, and 20 for each backward pass."""

    def __init__(self, clock, *milliseconds):
        super().__init__()
        self.clock, self.left, self.fc = clock, list(milliseconds), nn.Linear(4, 3)

    def forward(self, x):
        self.clock.pass_ms(self.left.pop(0))
        return SlowBackward.apply(self.fc(x), self.clock)


@pytest.fixture
def clock(monkeypatch):
    """A clock, and an optimiser that takes 3 ms for an update and 0.5 ms to forget the gradients."""
    clock = Clock()

    class SlowOptimizer(torch.optim.SGD):
        def step(self, closure=None):
            clock.pass_ms(3)
            return super().step(closure)

        def zero_grad(self, set_to_none=True):
            assert set_to_none
            clock.pass_ms(0.5)
            super().zero_grad(set_to_none)

    monkeypatch.setitem(training._OPTIMIZERS, "adam", SlowOptimizer)
    return clock


def measure(plan, clock, *milliseconds, alive=lambda: None):
    network = Slow(clock, *milliseconds)
    found = measure_training(lambda: (network.eval(), torch.ones(2, 4)), plan, clock, alive)
    return {m.metric: m for m in found}, network


def test_the_parts_of_a_step_are_timed_apart_and_the_step_has_zero_grad_beside(clock):
    plan = dataclasses.replace(PLAN, warmup_runs=1, runs=2)
    found, network = measure(plan, clock, 90, 10, 11)
    assert found["training_forward_s"].values == pytest.approx((0.010, 0.011))
    assert found["training_backward_s"].values == pytest.approx((0.020, 0.020))
    assert found["training_optimizer_s"].values == pytest.approx((0.003, 0.003))
    assert found["training_step_s"].values == pytest.approx((0.0335, 0.0345))
    assert {m.unit for m in found.values()} == {"s"}
    assert network.training
    assert network.left == []


def test_the_warm_up_is_kept_apart(clock):
    found, _ = measure(dataclasses.replace(PLAN, warmup_runs=2), clock, 90, 50, 1)
    assert found["training_forward_s"].details["warmup_s"] == pytest.approx([0.090, 0.050])
    assert found["training_step_s"].details["warmup_s"] == pytest.approx([0.1135, 0.0735])


def test_what_was_trained_and_by_what_is_reported(clock):
    found, _ = measure(PLAN, clock, 1)
    told = found["training_step_s"].details
    assert (told["batch_size"], told["optimizer"], told["loss"]) == (2, "SlowOptimizer", "cross entropy")
    assert (told["stopped_by"], told["clock"], told["loss_scaled"]) == ("runs", "perf_counter_ns", False)


def test_the_time_cap_stops_the_steps_and_says_so(clock):
    found, network = measure(dataclasses.replace(PLAN, runs=9, max_time_s=1.0), clock, *[400] * 9)
    step = found["training_step_s"]
    assert step.values == pytest.approx((0.4235,) * 3)
    assert step.details["stopped_by"] == "time cap"
    assert len(network.left) == 6


def test_the_slowest_network_makes_one_step_however_short_the_cap(clock):
    found, _ = measure(dataclasses.replace(PLAN, runs=9, max_time_s=0.0), clock, 9000)
    assert len(found["training_step_s"].values) == 1


def test_the_steps_go_on_for_the_least_time(clock):
    found, _ = measure(dataclasses.replace(PLAN, runs=1, min_time_s=1.0), clock, 400, 400, 400)
    assert len(found["training_step_s"].values) == 3
    assert found["training_step_s"].details["stopped_by"] == "runs"


def test_a_sign_of_life_is_given_every_few_seconds(clock):
    signs = []
    measure(dataclasses.replace(PLAN, runs=5), clock, *[3000] * 5, alive=lambda: signs.append(clock.ns // 10**9))
    assert signs == [6, 12]


def test_a_single_image_is_taken_twice_since_batch_norm_cannot_train_on_one():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    found = measure_training(lambda: (network, torch.ones(1, 1, 3, 3)), PLAN)
    assert all(m.details["batch_size"] == 2 for m in found)


def test_class_scores_are_trained_by_cross_entropy_with_random_labels_of_the_plan_s_seed():
    network = nn.Linear(4, 7).eval()
    images = torch.arange(12.0).view(3, 4) / 12
    labels = torch.randint(7, (3,), generator=torch.Generator().manual_seed(5))
    expected = F.cross_entropy(network(images), labels)
    trainer = Trainer(network, images, dataclasses.replace(PLAN, seed=5))
    trainer.step()
    assert trainer.loss == pytest.approx(expected.item())
    for _ in range(50):
        trainer.step()
    assert trainer.loss < expected


class Heads(nn.Module):
    """Returns scores of 2, boxes of -1 and a count, nested as told."""

    def __init__(self, nest):
        super().__init__()
        self.weight, self.nest = nn.Parameter(torch.ones(1)), nest

    def forward(self, x):
        return self.nest(2 * self.weight.expand(3, 2), -self.weight.expand(3, 4, 2, 2), torch.tensor(9))


@pytest.mark.parametrize(
    "nest",
    [
        lambda scores, boxes, count: (scores, boxes, count),
        lambda scores, boxes, count: [scores, (boxes,), count],
        lambda scores, boxes, count: OrderedDict(scores=scores, rest={"boxes": boxes, "count": count, "none": None}),
    ],
)
def test_several_outputs_are_trained_by_the_sum_of_their_mean_squares(nest):
    trainer = Trainer(Heads(nest), torch.ones(3, 1), PLAN)
    trainer.step()
    assert trainer.loss.item() == pytest.approx(2**2 + (-1) ** 2)
    assert trainer.details()["loss"] == "mean square of the outputs"


def test_what_is_frozen_stays_and_the_rest_is_trained():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    network[0].requires_grad_(requires_grad=False)
    before = [parameter.clone() for parameter in network.parameters()]
    for optimizer in ("adam", "sgd"):
        Trainer(network, torch.ones(2, 4), dataclasses.replace(PLAN, optimizer=optimizer)).step()
    changed = [not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True)]
    assert changed == [False, False, True, True]


def test_a_network_without_parameters_is_refused_in_words():
    with pytest.raises(FerBenchError, match="nothing to train"):
        measure_training(lambda: (nn.Identity(), torch.ones(2, 3)), PLAN)


def test_a_network_without_floating_point_outputs_is_refused_in_words():
    network = Heads(lambda scores, boxes, count: count)
    with pytest.raises(FerBenchError, match="nothing to train by"):
        measure_training(lambda: (network, torch.ones(2, 3)), PLAN)


def test_a_loss_that_is_not_finite_is_a_warning():
    step, *parts = measure_training(lambda: (nn.Linear(2, 3), torch.full((2, 2), torch.inf)), PLAN)
    assert step.warnings[0].startswith("the loss was not finite after 1 steps")
    assert not any(part.warnings for part in parts)


def test_a_step_under_autocast_sees_the_weights_of_the_step_before():
    network = Autocast(nn.Linear(4, 3), torch.bfloat16)
    trainer = Trainer(network, torch.ones(2, 4), dataclasses.replace(PLAN, precision="bf16", optimizer="sgd"))
    losses = []
    for _ in range(3):
        trainer.step()
        losses.append(trainer.loss.item())
    assert losses[0] > losses[1] > losses[2]


@linux
def test_the_peak_of_training_covers_weights_gradients_and_adam_s_state():
    def make():
        return nn.Linear(2048, 2048, bias=False), torch.ones(1, 2048)  # 16 MiB of weights

    (found,) = measure_training_memory(make, TRAINING)
    assert (found.metric, found.unit) == ("training_peak_rss_bytes", "bytes")
    assert (found.details["steps"], found.details["batch_size"], found.details["optimizer"]) == (3, 2, "Adam")
    assert 4 * 16 * MIB < found.values[0] < 300 * MIB


@linux
def test_the_compiler_that_an_optimiser_imports_is_none_of_the_network_s_memory():
    code = """
import sys, torch
from fer_bench.records.plan import TRAINING
from fer_bench.measuring.profilers.training import measure_training_memory
assert "torch._dynamo" not in sys.modules
(found,) = measure_training_memory(lambda: (torch.nn.Linear(4, 3), torch.ones(2, 4)), TRAINING)
print(round(found.values[0] / 2**20), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak_mib, imported = done.stdout.split()
    assert imported == "True"
    assert int(peak_mib) < 80


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_steps_are_timed_by_events(precision):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3)).cuda()
    plan = dataclasses.replace(PLAN, device="cuda", precision=precision, warmup_runs=2, runs=3)
    if precision == "fp16":
        network = Autocast(network, torch.float16)
    found = measure_training(lambda: (network, torch.randn(4, 1, 8, 8, device="cuda")), plan)
    assert [m.details["clock"] for m in found] == ["CUDA events"] * 4
    assert found[0].details["loss_scaled"] == (precision == "fp16")
    assert all(value > 0 for m in found for value in m.values)
    assert all(len(m.values) == 3 for m in found)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_reports_what_training_allocates():
    def make():
        return nn.Linear(1024, 1024, bias=False).cuda(), torch.zeros(2, 1024, device="cuda")

    found = {m.metric: m.values[0] for m in measure_training_memory(make, dataclasses.replace(PLAN, device="cuda"))}
    assert found["training_peak_cuda_reserved_bytes"] >= found["training_peak_cuda_allocated_bytes"] >= 16 * MIB
