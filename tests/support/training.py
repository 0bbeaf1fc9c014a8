"""Train a small network on a few images: as a function, and as a program that a test kills."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.accuracy.batches import derived
from fer_bench.accuracy.data.dataset import Dataset, Duplicates, Images, InArray, Manifest
from fer_bench.accuracy.train import train
from fer_bench.accuracy.training_types import Epoch, Settings, Trained
from fer_bench.networks.contract import Crop, InputContract

CLASSES = ("angry", "happy", "sad")
CONTRACT = InputContract("grey", (8, 8), (-1, 1), (0,), (1,), "bilinear", False, Crop("none", 0, False), CLASSES)


def dataset(images: int = 40, split: str = "training", seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Dataset:
    """Return images of noise, brighter by their class, so that there is something to learn."""
    drawn = np.random.default_rng(seed)
    labels = np.arange(images) % len(classes)
    pixels = (drawn.integers(0, 120, (images, 8, 8)) + 60 * labels[:, None, None]).astype(np.uint8)
    manifest = Manifest("array", (), images, (), "given", "given", {}, {}, Duplicates({}, {}, 0, ()))
    ids = tuple(f"row {row}" for row in range(images))
    of = Images(images, InArray(pixels))
    return Dataset("noise", classes, of, labels.astype(np.int64), None, ids, {}, split, manifest)


def network(classes: int = 3) -> nn.Module:
    """Return a network with batch norm and dropout, whose weights are always the same."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


class Method:
    """Adam whose rate halves each epoch, and noise on the images that follows from their places."""

    epochs, batch, selects = 3, 8, "validation_accuracy"

    def __init__(self, trained: nn.Module, **changes: Any) -> None:
        self.description: Mapping[str, Any] = {"rate": 0.01, "noise": 0.1, **changes}
        self.rate = self.description["rate"]
        for name in ("epochs", "batch", "selects"):
            setattr(self, name, changes.get(name, getattr(self, name)))
        self.optimizer = torch.optim.Adam(trained.parameters(), self.rate)
        self._halving = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)

    def augment(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        noise = [
            torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(derived(seed, epoch, place)))
            for place in indices
        ]
        return images + 0.1 * torch.stack(noise)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)

    def before_update(self, clip: Callable[[float], object]) -> None:
        clip(1.0)

    def after_step(self) -> None: ...

    def begin_epoch(self) -> None: ...

    def before_evaluation(self, batches: Callable[[], Iterator[Tensor]]) -> None: ...

    def after_epoch(self, epoch: Epoch, restore: Callable[[], None]) -> str:
        self._halving.step()
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"halving": self._halving.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._halving.load_state_dict(state["halving"])


def trained(folder: Path, *, workers: int = 0, seed: int = 0, alive: Callable[[], None] = lambda: None) -> Trained:
    """Train, or go on in the folder; the state is kept after every second step."""
    settings = Settings(seed=seed, workers=workers, keep_steps=2)
    validation = dataset(30, "validation", seed=1)
    return train(network(), dataset(), validation, CONTRACT, Method, folder, settings, name="small", alive=alive)


def main(folder: str, end_after: str, number: str) -> None:
    """Train in a folder, and end this process by a signal after so many steps; by none after 0."""
    torch.set_num_threads(1)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == int(end_after):
            os.kill(os.getpid(), int(number))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    trained(Path(folder), alive=step)


if __name__ == "__main__":
    main(*sys.argv[1:])
