"""Training: seconds of a step and of its parts, and the peak of memory of some steps.

A step is zero_grad, forward pass with loss, backward pass and the optimiser's update. On the CPU the clock is read
between the parts. On a GPU events are recorded there, so that the parts are times of the device. The host waits once
after each step.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_bench.measuring.counting.recorder import flat_tensors
from fer_bench.measuring.profilers import devices
from fer_bench.measuring.profilers.kinds import Alive, Clock, Make
from fer_bench.measuring.profilers.memory import measure_peaks
from fer_bench.measuring.profilers.passes import until_enough
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement

_LEAST_BATCH = 2  # batch norm on a map of 1x1 has no variance over one image
_MEMORY_STEPS = 3  # the first makes the optimiser's state, the second has gradients beside it, the third shows no more

_PARTS = ("forward", "backward", "optimizer")

# The settings that most tutorials train these networks with; they do not change the time of a step.
_OPTIMIZERS: Mapping[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
}


class Trainer:
    """A network in training, step by step, always on the same batch.

    Args:
        model: the network; it is put into training mode.
        images: the batch, (N, C, H, W); a single image is taken twice.
        plan: the optimiser, the precision and the seed of the labels.

    Raises:
        FerBenchError: the network has no parameter to train.
    """

    def __init__(self, model: nn.Module, images: Tensor, plan: Plan) -> None:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not parameters:
            raise FerBenchError("the network has no parameter that requires a gradient: there is nothing to train")
        self.model = model.train()
        self.images = images if len(images) >= _LEAST_BATCH else torch.cat([images] * _LEAST_BATCH)
        self.optimizer = _OPTIMIZERS[plan.optimizer](parameters)
        self.loss_kind = ""
        self.loss = torch.tensor(0.0)
        self._seed = plan.seed
        self._labels: Tensor | None = None
        # Gradients in float16 vanish unless the loss is scaled up; the CPU's autocast has no such step.
        scaled = plan.precision == "fp16" and images.device.type != "cpu"
        self._scaler = torch.amp.GradScaler(images.device.type if scaled else "cpu", enabled=scaled)

    def step(self, mark: Callable[[], None] = lambda: None) -> None:
        """Make a step; ``mark`` is called before it and after zero_grad, forward, backward and update."""
        mark()
        self.optimizer.zero_grad(set_to_none=True)
        mark()
        loss = self._loss_of(self.model(self.images))
        mark()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        mark()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        mark()
        self.loss = loss.detach()

    def details(self) -> dict[str, Json]:
        """Return what was trained, and by what."""
        return {
            "batch_size": len(self.images),
            "optimizer": type(self.optimizer).__name__,
            "loss": self.loss_kind,
            "loss_scaled": self._scaler.is_enabled(),
        }

    def _loss_of(self, outputs: object) -> Tensor:
        """Return cross entropy with random labels for class scores, or the sum of the outputs' mean squares."""
        if isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.dim() == 2 and outputs.shape[1] > 1:
            self.loss_kind = "cross entropy"
            return F.cross_entropy(outputs.float(), self._labels_for(outputs))
        squares = [output.float().square().mean() for output in flat_tensors(outputs) if output.is_floating_point()]
        if not squares:
            raise FerBenchError("the network gives no output of floating-point numbers: there is nothing to train by")
        self.loss_kind = "mean square of the outputs"
        return torch.stack(squares).sum()

    def _labels_for(self, scores: Tensor) -> Tensor:
        if self._labels is None:
            drawn = torch.Generator().manual_seed(self._seed)
            self._labels = torch.randint(scores.shape[1], (len(scores),), generator=drawn).to(scores.device)
        return self._labels


def measure_training(
    make: Make, plan: Plan, clock: Clock = time.perf_counter_ns, alive: Alive = lambda: None
) -> list[Measurement]:
    """Time training steps, ``plan.warmup_runs`` of them apart as warm-up.

    Then come ``plan.runs`` steps and ``plan.min_time_s`` seconds, or ``plan.max_time_s`` if that is over first.

    Returns:
        ``training_step_s`` and, of the same steps, ``training_forward_s``, ``training_backward_s`` and
        ``training_optimizer_s``. The step's time has zero_grad in it, which is in none of the parts.
    """
    model, images = make()
    trainer = Trainer(model, images, plan)
    steps: list[dict[str, float]] = []

    def step() -> float:
        steps.append(_timed_step(trainer, clock))
        return steps[-1]["step"]

    for _ in range(plan.warmup_runs):
        step()
        alive()
    warmup, steps = steps, []
    stopped_by = until_enough(plan, step, alive)
    timer = "perf_counter_ns" if images.device.type == "cpu" else devices.clock(images.device)
    details = trainer.details() | {"clock": timer, "stopped_by": stopped_by}
    doubt = (
        f"the loss was not finite after {plan.warmup_runs + len(steps)} steps: arithmetic on NaN and infinity may take "
        "a different time; try another seed or precision"
    )
    return [
        Measurement(
            f"training_{part}_s",
            "s",
            tuple(step[part] for step in steps),
            details={**details, "warmup_s": [step[part] for step in warmup]},
            warnings=(doubt,) if part == "step" and not trainer.loss.isfinite() else (),
        )
        for part in ("step", *_PARTS)
    ]


def measure_training_memory(make: Make, plan: Plan) -> list[Measurement]:
    """Measure the peak above the idle process of building a network and training it for three steps.

    Weights, gradients, the optimiser's state, what forward keeps for backward, and what the libraries load to run them.

    Returns:
        What ``measure_memory`` gives, with ``training_`` before the names.
    """
    # PyTorch imports its compiler for the first optimiser, 150 MiB that are none of the network's and that a library
    # of networks may have imported already.
    _OPTIMIZERS[plan.optimizer]([nn.Parameter(torch.zeros(1))]).zero_grad()
    details: dict[str, Json] = {"steps": _MEMORY_STEPS}

    def steps() -> object:
        trainer = Trainer(*make(), plan)
        for _ in range(_MEMORY_STEPS):
            trainer.step()
        details.update(trainer.details())
        return trainer

    return measure_peaks(steps, plan, "training_", details)


def _timed_step(trainer: Trainer, clock: Clock) -> dict[str, float]:
    """Make a step and return the seconds of it and of its parts, by a clock or on a GPU by events."""
    device = trainer.images.device
    marks: list[Any] = []
    if device.type == "cpu":
        trainer.step(lambda: marks.append(clock()))
        seconds = [(after - before) * 1e-9 for before, after in itertools.pairwise(marks)]
    else:
        trainer.step(lambda: marks.append(_recorded(device)))
        marks[-1].synchronize()
        # PyTorch gives milliseconds.
        seconds = [before.elapsed_time(after) * 1e-3 for before, after in itertools.pairwise(marks)]
    _, *parts = seconds
    return {"step": sum(seconds), **dict(zip(_PARTS, parts, strict=True))}


def _recorded(device: torch.device) -> Any:
    event = devices.event(device)
    event.record()
    return event
