"""A recipe at work on one network: what ``train`` asks of a method."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_bench.accuracy import schedules
from fer_bench.accuracy.augment import augment
from fer_bench.accuracy.recipes import Recipe
from fer_bench.networks.contract import InputContract
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset


class RecipeMethod:
    """How a recipe trains a network.

    A phase begins as a new training does, with an optimiser that knows nothing of the phase before. Its first weights
    are those of the last epoch, or the selected ones, as the phase says.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, training: "Dataset", contract: InputContract) -> None:
        """Make the optimiser and what goes with it.

        Args:
            recipe: how it is trained.
            network: on its device.
            training: its images give the steps of an epoch, and the weights of classes.
            contract: of the network; gives the order of classes, and what black and white are.

        Raises:
            FerBenchError: the recipe does not fit the network.
        """
        self.description: Mapping[str, Json] = recipe.settings()
        self.epochs, self.batch, self.selects = recipe.epochs, recipe.batch_size, recipe.selection.by
        self._parts, self._network, self._contract = recipe.parts(), network, contract
        self._begins = [phase.begins for phase in recipe.phases]
        if any(part.optimizer.name != recipe.optimizer.name for part in self._parts):
            raise FerBenchError(f"recipe {recipe.name} has phases of different optimizers; try: one for all")
        self._trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = schedules.make_optimizer(recipe, network)
        self._class_counts = _class_counts(training, contract.classes)
        count = int(training.labelled.sum())
        self._steps_per_epoch = max(1, count // self.batch + (count % self.batch > 1))
        self._part, self._epochs_of_part = 0, 0
        self._begin_part()
        self._apply()  # which shows before the first step whether all named modules are there

    @property
    def recipe(self) -> Recipe:
        """Return the recipe of the phase under way."""
        return self._parts[self._part]

    def _begin_part(self) -> None:
        """Give the optimiser the phase's rate, and make its schedule, its loss and its rule of stopping."""
        for group in self.optimizer.param_groups:
            group.update(schedules.hyperparameters(self.recipe))
        self._schedule = schedules.make_schedule(self.recipe, self.optimizer, self._steps_per_epoch)
        self._loss = schedules.make_loss(self.recipe, self._network, self._class_counts)
        self._stopper = schedules.Stopper(self.recipe.stopping)

    def _apply(self) -> None:
        schedules.freeze(self._network, self.recipe, self._trainable)
        schedules.freeze_batch_norms(self._network, self.recipe)
        if self.recipe.dropout is not None:
            schedules.set_dropout(self._network, self.recipe.dropout)

    def begin_epoch(self) -> None:
        """Freeze what the phase freezes; called when the network was put into training mode."""
        self._apply()

    def augment(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        """Return prepared images (N, C, H, W) as the network is to see them."""
        return augment(images, self.recipe.augmentation, self._contract, seed, epoch, indices)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (N, K) for places of classes (N,), or for distributions (N, K)."""
        return self._loss(outputs, targets)

    def before_update(self, clip: Callable[[float], object]) -> None:
        """Clip the gradients, where the recipe does."""
        if self.recipe.clip_norm is not None:
            clip(self.recipe.clip_norm)

    def after_step(self) -> None:
        """Take the step of a schedule that goes by steps."""
        self._schedule.after_step()

    def before_evaluation(self, batches: Callable[[], Iterator[Tensor]]) -> None:
        """Re-estimate batch norms, where the recipe does."""
        if self.recipe.bn_reestimate:
            frozen = [
                norm
                for pattern in self.recipe.frozen_batch_norms
                for module in schedules.modules_named(self._network, pattern)
                for norm in schedules.batch_norms(module)
            ]
            asked = itertools.islice(batches(), self.recipe.bn_reestimate)
            schedules.reestimate_batch_norms(self._network, asked, frozen)

    def after_epoch(self, epoch: Any, restore: Callable[[], None]) -> str:
        """Take the step of a schedule that goes by epochs, and return why the training should end, or ""."""
        values = {
            name: getattr(epoch, name)
            for name in ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy")
        }
        self._schedule.after_epoch(values)
        stopped = self._stopper.after_epoch(values)
        self._epochs_of_part += 1
        if not stopped and self._epochs_of_part < self.recipe.epochs:
            return ""
        if self._part + 1 == len(self._parts):
            return stopped or ("" if epoch.epoch >= self.epochs else "the last phase is over")
        self._part, self._epochs_of_part = self._part + 1, 0
        self.optimizer.state.clear()
        if self._begins[self._part] == "best":
            restore()
        self._begin_part()
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of phases, schedule and stopping rule."""
        return {
            "part": self._part,
            "epochs_of_part": self._epochs_of_part,
            "schedule": self._schedule.state_dict(),
            "stopper": self._stopper.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._part, self._epochs_of_part = state["part"], state["epochs_of_part"]
        self._begin_part()
        self._schedule.load_state_dict(state["schedule"])
        self._stopper.load_state_dict(state["stopper"])


def _class_counts(training: "Dataset", classes: Sequence[str]) -> list[int]:
    """Return how many training images each output's class has; of distributions, the sums of shares rounded."""
    if training.targets is not None:
        shares = torch.from_numpy(np.asarray(training.targets)[training.labelled]).sum(0).tolist()
    else:
        shares = np.bincount(training.labels[training.labelled], minlength=len(training.classes)).tolist()
    of_class = dict(zip(training.classes, shares, strict=True))
    return [round(of_class.get(name, 0)) for name in classes]
