"""What a training is given, and what comes of it: a method, settings, epochs, what selected the weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fer_bench.records.result import Json

LAST = "last"  # selected by nothing: the last epoch's weights


class Method(Protocol):
    """How one network is trained. Its state goes with the training's.

    Attributes:
        description: everything that it consists of, as JSON has it: what another one differs in.
        epochs: at most.
        batch: images of a step.
        selects: what chooses the weights: "validation_accuracy", "validation_loss", or "last".
        optimizer: of the network's parameters; a method of phases changes it in ``after_epoch``.
    """

    description: Mapping[str, Json]
    epochs: int
    batch: int
    optimizer: torch.optim.Optimizer

    @property
    def selects(self) -> str: ...

    def augment(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        """Return prepared images (N, C, H, W) as the network is to see them; runs in a loader's workers."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of (N, K) logits for places of classes (N,), or for distributions (N, K)."""
        ...

    def before_update(self, clip: Callable[[float], object]) -> None:
        """Clip gradients, where the method does: ``clip`` takes the largest norm."""
        ...

    def after_step(self) -> None:
        """Take the step of a schedule that goes by steps."""
        ...

    def begin_epoch(self) -> None:
        """Bring the network, which is in training mode, into the epoch's: freeze batch norms, set dropout."""
        ...

    def before_evaluation(self, batches: Callable[[], Iterator[Tensor]]) -> None:
        """Prepare the network, such as re-estimate batch norm over batches of training images."""
        ...

    def after_epoch(self, epoch: "Epoch", restore: Callable[[], None]) -> str:
        """Take the step of a schedule that goes by epochs, and return why the training should end, or "".

        ``restore`` puts the weights that are selected so far back into the network.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state of schedule and stopping rule; the optimiser's is kept apart."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What is not the method's.

    Attributes:
        seed: of order, augmentation and dropout; the initial weights are the caller's.
        precision: "fp32", "bf16", "fp16" (on a GPU), or another of a plan's that is float32.
        device: "cpu" or the accelerator's kind.
        workers: processes that prepare images beside this one.
        keep_s: seconds after which the state is kept within an epoch.
        keep_steps: steps after which it is; None goes by the seconds alone.
        epochs: instead of the method's; None takes these.
        test: the split that the accuracy is measured on afterwards; weights that it selects are selected on the test
            set, whatever it is called.
    """

    seed: int = 0
    precision: str = "fp32"
    device: str = "cpu"
    workers: int = 0
    keep_s: float = 30.0
    keep_steps: int | None = None
    epochs: int | None = None
    test: str = ""


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is known of an epoch; seconds are those of training, ``evaluation_s`` apart.

    Attributes:
        epoch: from 1.
        learning_rate: at its end.
        data_s: waiting for images.
        step_s: the steps themselves.
        used: what else was counted meanwhile, such as processor seconds and joules.
    """

    epoch: int
    steps: int
    images: int
    learning_rate: float
    training_loss: float
    training_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    data_s: float
    step_s: float
    evaluation_s: float
    used: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What selected the weights of a checkpoint: a split of some images, by a number, or the end of the training."""

    on: str  # "validation", "test", or "last"
    split: str = ""
    images_sha256: str = ""  # as ``Predictions`` has it
    by: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Attributes:
        history: an entry for each epoch.
        checkpoint: the selected weights, with input contract and selection in their metadata.
        stopped: why it ended before its last epoch, or "".
        resumed: where it went on: epoch, step, and why not to the same bits, or "".
        inexact: operators whose sums depend on the order of threads.
    """

    history: tuple[Epoch, ...]
    selection: Selection
    checkpoint: Path
    stopped: str
    resumed: tuple[tuple[int, int, str], ...]
    inexact: tuple[str, ...]
    warnings: tuple[str, ...]
