"""What a recipe's words come to in PyTorch: optimisers, schedules of the learning rate, losses, rules of stopping.

What has a state gives it by ``state_dict`` and takes it by ``load_state_dict``, so that a training can go on.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from fer_bench.accuracy import recipe_tables as tables
from fer_bench.accuracy.recipe_tables import Stopping
from fer_bench.accuracy.recipes import Recipe
from fer_bench.records.errors import FerBenchError

Values = Mapping[str, float | None]  # of an epoch, by the names of ``recipe_tables.Monitor``
_ADAMS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
}


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Make a recipe's optimiser of all parameters that require a gradient.

    Raises:
        FerBenchError: there is none.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise FerBenchError("the network has no parameter that requires a gradient: there is nothing to train")
    return _constructor(recipe)(parameters, **hyperparameters(recipe))


def _constructor(recipe: Recipe) -> Callable[..., torch.optim.Optimizer]:
    match recipe.optimizer:
        case tables.SGD():
            return torch.optim.SGD
        case tables.RMSprop():
            return torch.optim.RMSprop
        case tables.Adam(name=name):
            return _ADAMS[name]


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe's optimiser is given, and a group of its parameters has."""
    optimizer = recipe.optimizer
    return {name: getattr(optimizer, name) for name in optimizer.__dataclass_fields__ if name != "name"}


class Schedule(Protocol):
    """Sets the learning rate of an optimiser, from its making on."""

    def after_step(self) -> None:
        """Set the rate of the next step."""
        ...

    def after_epoch(self, values: Values) -> None:
        """Set the rate of the next epoch."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Schedule:
    """Make a recipe's schedule, which sets the optimiser's rate at once.

    Args:
        recipe: without phases.
        optimizer: whose groups have one rate.
        steps_per_epoch: of the optimiser.
    """
    if isinstance(recipe.schedule, tables.Plateau):
        return _OnPlateau(recipe.schedule, recipe.optimizer.lr, optimizer)
    return _Planned(planned_rate(recipe, steps_per_epoch), optimizer)


def planned_rate(recipe: Recipe, steps_per_epoch: int) -> Callable[[int, int], float]:
    """Return the rate as a function of steps and of epochs that are over; of a plateau's schedule, the first."""
    first = float(recipe.optimizer.lr)
    match recipe.schedule:
        case tables.Step(every=every, factor=factor):
            return lambda _, epochs: float(first * factor ** (epochs // every))
        case tables.Exponential(factor=factor):
            return lambda _, epochs: float(first * factor**epochs)
        case tables.InverseTime(epochs=each, rate=rate):
            return lambda _, epochs: first / (1 + rate * epochs / each)
        case tables.OneCycle() as cycle:
            total = steps_per_epoch * recipe.epochs
            return lambda steps, _: _one_cycle(cycle, first, steps, total)
    return lambda *_: first


def _one_cycle(cycle: tables.OneCycle, largest: float, steps: int, total: int) -> float:
    """Return the rate after some steps, as OneCycleLR with two phases and cosines has it."""
    start = largest / cycle.start_divisor
    top = cycle.rising * total - 1  # the step, which may lie between two, whose rate is the largest
    last = total - 1
    if steps <= top:
        return _between(start, largest, steps / top)
    return _between(largest, start / cycle.end_divisor, min(1.0, (steps - top) / (last - top)) if last > top else 1.0)


def _between(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class _Planned:
    """A rate that follows from how many steps and epochs are over."""

    def __init__(self, rate: Callable[[int, int], float], optimizer: torch.optim.Optimizer) -> None:
        self._rate, self._optimizer = rate, optimizer
        self._steps = self._epochs = 0
        self._set()

    def _set(self) -> None:
        _set_rate(self._optimizer, self._rate(self._steps, self._epochs))

    def after_step(self) -> None:
        self._steps += 1
        self._set()

    def after_epoch(self, values: Values) -> None:
        self._epochs += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "epochs": self._epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._steps, self._epochs = state["steps"], state["epochs"]
        self._set()


class _Watch:
    """Counts epochs since a monitored value was best; a value that is no number is never the best."""

    def __init__(self, rule: Stopping | tables.Plateau) -> None:
        self._rule = rule
        self._best: float | None = None
        self._since = 0

    def is_over(self, values: Values) -> bool:
        """Count an epoch, and return whether the patience is at its end."""
        value, rule = values.get(rule_name := self._rule.monitor), self._rule
        if value is None:
            raise FerBenchError(
                f"the recipe watches the {rule_name.replace('_', ' ')}, and there is none; try: --validation with a "
                "split or a share"
            )
        better = value if rule_name.endswith("accuracy") else -value
        if (self._best is None and not math.isnan(better)) or (
            self._best is not None and better > self._best + rule.min_delta
        ):
            self._best, self._since = better, 0
            return False
        self._since += 1
        return self._since > rule.patience if rule.rule == "exceeds" else self._since >= rule.patience

    def begin_again(self) -> None:
        """Count from this epoch on; the best value stays."""
        self._since = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best, self._since = state["best"], state["since"]


class _OnPlateau:
    """A rate that is lowered where a value stops improving."""

    def __init__(self, rule: tables.Plateau, rate: float, optimizer: torch.optim.Optimizer) -> None:
        self._rule, self._rate, self._optimizer = rule, float(rate), optimizer
        self._watch = _Watch(rule)
        _set_rate(optimizer, self._rate)

    def after_step(self) -> None:
        """Leave the rate."""

    def after_epoch(self, values: Values) -> None:
        if self._watch.is_over(values):
            self._rate = max(self._rate * self._rule.factor, min(self._rule.min_lr, self._rate))
            self._watch.begin_again()
            _set_rate(self._optimizer, self._rate)

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self._rate, "watch": self._watch.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rate = state["rate"]
        self._watch.load_state_dict(state["watch"])
        _set_rate(self._optimizer, self._rate)


class Stopper:
    """Ends a training by a recipe's rule; never, where it has none."""

    def __init__(self, rule: Stopping | None) -> None:
        self._rule = rule
        self._watch = None if rule is None else _Watch(rule)

    def after_epoch(self, values: Values) -> str:
        """Count an epoch, and return why the training should end, or ""."""
        if self._rule is None or self._watch is None or not self._watch.is_over(values):
            return ""
        without = self._rule.patience + (self._rule.rule == "exceeds")
        return f"{without} epochs without a better {self._rule.monitor.replace('_', ' ')}"

    def state_dict(self) -> dict[str, Any]:
        return {} if self._watch is None else self._watch.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._watch is not None:
            self._watch.load_state_dict(state)


class Loss:
    """Cross-entropy of a batch, and the squares of weights.

    A weighted class counts as in Keras: the mean is over images, not over their weights.
    """

    def __init__(self, loss: tables.Loss, model: nn.Module, class_counts: Sequence[int] | None = None) -> None:
        """Prepare the loss.

        Args:
            loss: of the recipe.
            model: whose weights are squared.
            class_counts: training images of each output's class; for balanced weights.

        Raises:
            FerBenchError: a pattern of ``l2_on`` matches no weights.
        """
        self._loss = loss
        self._weights = None
        if loss.class_weights == "balanced":
            counts = torch.tensor(class_counts, dtype=torch.float32)
            # A class without images weighs nothing: no image asks for its weight.
            self._weights = counts.sum() / (int((counts > 0).sum()) * counts.clamp(min=1)) * (counts > 0)
        squared = [weight for pattern in loss.l2_on for weight in _weights(model, pattern)]
        self._squared = list({id(weight): weight for weight in squared}.values())

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (N, K) for places of classes (N,), or for distributions (N, K)."""
        each = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=self._loss.label_smoothing)
        if self._weights is not None:
            weights = self._weights.to(outputs.device)
            each = each * (weights[targets] if targets.ndim == 1 else targets @ weights)
        loss = each.mean()
        if self._squared:
            loss = loss + self._loss.l2 * torch.stack([weight.square().sum() for weight in self._squared]).sum()
        return loss


def make_loss(recipe: Recipe, model: nn.Module, class_counts: Sequence[int] | None = None) -> Loss:
    """Make a recipe's loss; see ``Loss``."""
    return Loss(recipe.loss, model, class_counts)


def modules_named(model: nn.Module, pattern: str) -> Iterator[nn.Module]:
    """Yield the modules whose name a pattern matches, such as "trunk" or "stages.*".

    Raises:
        FerBenchError: it matches none.
    """
    named = [(name, module) for name, module in model.named_modules() if name]
    matched = [module for name, module in named if fnmatchcase(name, pattern)]
    if not matched:
        tops = ", ".join(dict(model.named_children()))
        raise FerBenchError(
            f"the recipe names modules {pattern!r}, and {type(model).__name__} has none such; its own are: {tops}"
        )
    yield from matched


def _weights(model: nn.Module, pattern: str) -> Iterator[nn.Parameter]:
    """Yield the weights of convolutions and linear layers in modules of a name: no biases, and no batch norms."""
    found = [weight for module in modules_named(model, pattern) for weight in module.parameters() if weight.ndim > 1]
    if not found:
        raise FerBenchError(f"the modules {pattern!r} of {type(model).__name__} have no weights to square")
    yield from found


def batch_norms(model: nn.Module) -> Iterator[_BatchNorm]:
    """Yield the batch norms that keep running statistics."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield module


def freeze(model: nn.Module, recipe: Recipe, trainable: Iterable[nn.Parameter]) -> None:
    """Let those parameters require gradients that a recipe trains.

    Args:
        model: the network.
        recipe: without phases.
        trainable: parameters that are trained where nothing is frozen.
    """
    frozen = {
        id(weight)
        for pattern in recipe.frozen
        for module in modules_named(model, pattern)
        for weight in module.parameters()
    }
    for weight in trainable:
        weight.requires_grad_(id(weight) not in frozen)
        if id(weight) in frozen:
            weight.grad = None


def freeze_batch_norms(model: nn.Module, recipe: Recipe) -> None:
    """Put the batch norms that a recipe freezes into eval mode; ``model.train()`` undoes it."""
    for pattern in recipe.frozen_batch_norms:
        for module in modules_named(model, pattern):
            for norm in batch_norms(module):
                norm.eval()


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of all dropout layers.

    Raises:
        FerBenchError: there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise FerBenchError(f"the recipe sets dropout, and {type(model).__name__} has no such layer; try: no dropout")
    for layer in layers:
        layer.p = probability


@torch.no_grad()
def reestimate_batch_norms(model: nn.Module, batches: Iterable[Tensor], frozen: Iterable[_BatchNorm] = ()) -> int:
    """Replace batch norms' running statistics by plain averages over batches, all else in eval mode.

    With Keras's momentum of 0.99 running statistics lag hundreds of steps behind the weights.

    Args:
        model: the network, whose modes stay as they are.
        batches: images (N, C, H, W) on its device.
        frozen: batch norms that keep what they have.

    Returns:
        How many batches there were; without any, nothing changes.
    """
    kept = set(map(id, frozen))
    norms = [norm for norm in batch_norms(model) if id(norm) not in kept]
    modes = {module: module.training for module in model.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    count = 0
    try:
        model.eval()
        for norm in norms:
            norm.train()
        for images in batches:
            if not count:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a cumulative average
            model(images)
            count += 1
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            norm.momentum = momentum
    return count
