"""What a training is going to cost: some of its own steps, timed before it begins, on copies of network and method."""

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from fer_bench.accuracy.evaluate import BATCH, predict
from fer_bench.accuracy.train import _Loop
from fer_bench.accuracy.training_types import DEFAULTS, Method, Settings
from fer_bench.networks.contract import InputContract

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset

_WARM = 3  # steps that are not counted: PyTorch imports and chooses in them
_STEPS, _LEAST, _SECONDS = 40, 5, 4.0  # steps that are timed at most and at least, and for how long
_EVALUATED = 4 * BATCH  # images of the validation split, at most


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training costs, by its parts: raw seconds, which ``reporting.analysis.trainings`` makes a total of.

    Attributes:
        step_s: of steps, with the wait for their images.
        warmup_s: of those before.
        evaluation_s: of one image of the validation split, by batch; empty without one.
        steps, epochs: of the training, at most.
        validation_images: that are evaluated after each epoch.
    """

    step_s: tuple[float, ...]
    warmup_s: tuple[float, ...]
    evaluation_s: tuple[float, ...]
    steps: int
    epochs: int
    validation_images: int


def measure_cost(
    network: nn.Module,
    training: "Dataset",
    validation: "Dataset | None",
    contract: InputContract,
    method: Callable[[nn.Module], Method],
    settings: Settings = DEFAULTS,
    clock: Callable[[], float] = time.perf_counter,
    alive: Callable[[], None] = lambda: None,
) -> Cost:
    """Time steps of a training that is about to begin; the network itself stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        loop = _Loop.begun(
            copy.deepcopy(network), training, validation, contract, method, Path(folder), settings, "", ""
        )
        with loop.at_work():
            loop.model.train()
            warm, steps = _timed_steps(loop, clock, alive)
            evaluated = _timed_evaluation(loop, clock) if validation is not None else ()
        images = 0 if validation is None else len(validation)
        return Cost(tuple(steps), tuple(warm), evaluated, loop.data.steps, loop.epochs, images)


def _timed_steps(loop: _Loop, clock: Callable[[], float], alive: Callable[[], None]) -> tuple[list[float], list[float]]:
    """Return the seconds of warm-up and of the steps after it, each with the wait for its images."""
    seconds: list[float] = []
    for epoch in range(1, 1 + loop.epochs):
        asked = clock()
        for number, (images, targets) in enumerate(loop.data.loader(epoch, 0)):
            loop._step(epoch, number, images, targets)
            now = clock()
            seconds.append(now - asked)
            asked = now
            alive()
            timed = seconds[_WARM:]
            if len(timed) >= _STEPS or (len(timed) >= _LEAST and sum(timed) >= _SECONDS):
                return seconds[:_WARM], timed
    # The whole training is as short as this.
    return seconds[: len(seconds) // 2], seconds[len(seconds) // 2 :]


def _timed_evaluation(loop: _Loop, clock: Callable[[], float]) -> tuple[float, ...]:
    """Return the seconds of one image in two evaluations of some; one before them is warm-up."""
    data = loop.validation
    assert data is not None  # noqa: S101  # asked before
    some = data.subset(np.arange(min(len(data), _EVALUATED)))
    seconds = []
    for _ in range(3):
        began = clock()
        predict(loop.network, some, loop.contract, device=str(loop.accelerator.device))
        seconds.append((clock() - began) / len(some))
    return tuple(seconds[1:])
