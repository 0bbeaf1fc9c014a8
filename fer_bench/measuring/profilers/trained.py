"""A whole training: what it is going to cost, its epochs with what they took of the machine, and its accuracy."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fer_bench.measuring.network import Network
from fer_bench.measuring.profilers.accuracy import _TEST, _VALIDATION, settings_of
from fer_bench.measuring.profilers.energy import Counter, find_counter
from fer_bench.measuring.profilers.occupancy import System
from fer_bench.records.errors import DataError, FerBenchError
from fer_bench.records.plan import Evaluation, Plan, Training
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    from torch import nn

    from fer_bench.accuracy.data.dataset import Dataset
    from fer_bench.accuracy.training_types import Epoch, Method, Settings, Trained
    from fer_bench.networks.contract import InputContract

_TOLD_EVERY_S = 1.0
_SHARE = 0.1  # of the training images, where nothing else selects
JOULES = "joules"  # of an epoch's ``used``

# Of each epoch, by metric: the field and its unit.
CURVES: Mapping[str, tuple[str, str]] = {
    "train.loss": ("training_loss", "nat"),
    "train.accuracy": ("training_accuracy", "share"),
    "train.validation_loss": ("validation_loss", "nat"),
    "train.validation_accuracy": ("validation_accuracy", "share"),
    "train.learning_rate": ("learning_rate", "1"),
    "train.data_s": ("data_s", "s"),
    "train.step_s": ("step_s", "s"),
    "train.evaluation_s": ("evaluation_s", "s"),
}


def measure_cost_of_training(network: Network, plan: Plan) -> Iterator[Measurement]:
    """Time some steps of a training before it begins, and the evaluation after an epoch.

    Returns:
        ``train.predicted_step_s``, of steps with the wait for their images, and ``train.predicted_image_s``, of an
        image that is evaluated.
    """
    from fer_bench.accuracy.training_cost import measure_cost

    task = _Training(network, plan)
    cost = measure_cost(*task.arguments(), task.settings(), alive=network.alive)
    details: dict[str, Json] = {
        "steps": cost.steps,
        "epochs": cost.epochs,
        "validation_images": cost.validation_images,
        "warmup_s": list(cost.warmup_s),
        "recipe": task.description,
    }
    yield Measurement("train.predicted_step_s", "s", cost.step_s, details=details)
    if cost.evaluation_s:
        yield Measurement("train.predicted_image_s", "s", cost.evaluation_s)


def measure_train(network: Network, plan: Plan) -> Iterator[Measurement]:
    """Train a network, or go on where a killed training stopped, and evaluate the selected weights on the test split.

    Returns:
        Of each epoch the metrics of ``CURVES``, and ``training.interval_s`` with what the steps took of the machine,
        a loader's workers among it; ``train.peak_rss_bytes``, ``train.joules`` where a counter is; and what an
        evaluation gives.

    Raises:
        FerBenchError: the training cannot go on; what is known of its epochs is returned before.
    """
    from fer_bench.accuracy.train import kept, train
    from fer_bench.networks.checkpoints import load_checkpoint

    if not network.job.folder:
        raise FerBenchError("a training needs a folder for its state; try: fer-bench train --out FOLDER")
    task = _Training(network, plan)
    beside = _Beside(network.alive, plan.device)
    network.made_at = time.perf_counter()
    folder = Path(network.job.folder)
    try:
        done = train(
            *task.arguments(),
            folder,
            task.settings(),
            name=network.spec.name,
            begins=task.begins,
            meter=beside.counters,
            say=beside.say,
            alive=beside.look,
        )
    except FerBenchError:
        history, _ = kept(folder)
        yield from _curves(history, {"recipe": task.description}, ())
        raise
    details = _details(task, done)
    yield from _curves(done.history, details, done.warnings)
    yield from _occupancy(done.history, beside, plan, task.recipe.batch_size)
    beside.say("evaluating on the test split")
    load_checkpoint(task.model, str(done.checkpoint), network.spec)
    yield from task.accuracy(str(done.checkpoint), beside.look)


class _Training:
    """The training of a job: its data, its network and its method, made as the plan says."""

    def __init__(self, network: Network, plan: Plan) -> None:
        import torch

        from fer_bench.accuracy.initial import begin
        from fer_bench.accuracy.recipes import read_recipe
        from fer_bench.networks import build as building

        how, job = plan.training, network.job
        if how is None or not job.data or job.contract is None:
            raise FerBenchError("a training needs a recipe, data and an input contract; try: fer-bench train --help")
        self.plan, self.how, self.job, self.network = plan, how, job, network
        recipe = read_recipe(how.recipe)
        self.recipe = recipe.with_("asked for", epochs=how.epochs) if how.epochs else recipe
        network.alive("reading the data")
        self.training, self.validation = load(job.data, how)
        torch.manual_seed(plan.seed)
        self.model = building.create(network.spec, network.build, "cpu")
        self.begins = begin(self.model, network.spec, self.recipe, job.checkpoint)
        self.contract = job.contract
        self.description: Mapping[str, Json] = self.recipe.to_dict()

    def make(self, model: "nn.Module") -> "Method":
        """Make the method for a network."""
        from fer_bench.accuracy.methods import RecipeMethod

        return RecipeMethod(self.recipe, model, self.training, self.contract)

    def arguments(self) -> "tuple[nn.Module, Dataset, Dataset | None, InputContract, Callable[[nn.Module], Method]]":
        """Return what ``train`` and ``measure_cost`` are given alike."""
        return self.model, self.training, self.validation, self.contract, self.make

    def settings(self) -> "Settings":
        """Return the settings of the loop."""
        from fer_bench.accuracy.training_types import Settings

        return Settings(
            self.plan.seed,
            self.plan.precision,
            self.plan.device,
            self.how.workers,
            self.how.keep_s,
            test=self.test_split,
        )

    @property
    def test_split(self) -> str:
        """Return the split that the accuracy is measured on, or "" where the data have none."""
        how = self.plan.evaluation or Evaluation()
        return how.split or next((name for name in _TEST if name in self.training.manifest.counts), "")

    def accuracy(self, checkpoint: str, alive: Callable[[], None]) -> Iterator[Measurement]:
        """Evaluate the selected weights on the test split, if the data have one."""
        from fer_bench.accuracy.evaluate import evaluate

        if not self.test_split:
            return
        data = _loaded(self.job.data, self.test_split, self.how)
        settings = settings_of(self.plan, checkpoint)
        found = evaluate(self.model, data, self.contract, settings, device=self.plan.device, alive=alive)
        yield from found.measurements()


def load(path: str, how: Training) -> "tuple[Dataset, Dataset | None]":
    """Return the images that are trained on, and those that select the weights.

    Raises:
        FerBenchError: the data cannot be read, or have no such split.
    """
    from fer_bench.accuracy.batches import hold_out

    training = _loaded(path, how.split or "training", how)
    there = training.manifest.counts
    asked = how.validation or next((name for name in _VALIDATION if name in there), str(_SHARE))
    if (share := _share(asked)) is not None:
        return hold_out(training, share)
    return training, _loaded(path, asked, how)


def _share(text: str) -> float | None:
    """Return a share of images; None of what is the name of a split."""
    try:
        share = float(text)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise FerBenchError(f"--validation {text} is no share of images; try: 0.1, or the name of a split")
    return share


def _loaded(path: str, split: str, how: Training) -> "Dataset":
    from fer_bench.accuracy.data.loading import load_data

    try:
        return load_data(path, split=split, rule=how.rule or None, classes=how.data_classes or None)
    except DataError as error:
        raise DataError(f"{error} (split {split})" if split not in str(error) else str(error)) from error


class _Beside:
    """What is looked at beside a training: counters, resident memory, and when the runner heard of it last."""

    def __init__(self, alive: Callable[..., None], device: str) -> None:
        self._alive, self._at = alive, 0.0
        self.system = System(children=True)
        counter = find_counter(device)
        self.counter: Counter | None = counter if isinstance(counter, Counter) else None
        self.no_counter = counter if isinstance(counter, str) else ""
        self.peak_rss_bytes = self.system.sample().rss_bytes

    def counters(self) -> dict[str, float]:
        """Return counters that go up."""
        sample = self.system.sample()
        joules = {JOULES: self.counter.joules()} if self.counter is not None else {}
        return {**sample.seconds, **joules}

    def look(self) -> None:
        """Look at the memory, and say that we live, once a second."""
        now = time.monotonic()
        if now - self._at >= _TOLD_EVERY_S:
            self._at = now
            self.peak_rss_bytes = max(self.peak_rss_bytes, self.system.sample().rss_bytes)
            self._alive()

    def say(self, text: str) -> None:
        """Say how far it has come."""
        self._alive(text)


def _details(task: _Training, done: "Trained") -> dict[str, Json]:
    """Return what is needed to understand a training's curves."""
    data = {"name": task.training.name, "split": task.training.split, "images": len(task.training)}
    return {
        "recipe": dict(task.description),
        "batch_size": task.recipe.batch_size,
        "data": data,
        "rendered": task.training.manifest.rendered,
        "initial": task.begins,
        "selected": asdict(done.selection),
        "stopped": done.stopped,
        "resumed": [list(each) for each in done.resumed],
        "exact": not any(why for _, _, why in done.resumed),
        "inexact": list(done.inexact),
        "checkpoint": f"{done.checkpoint.parent.name}/{done.checkpoint.name}",
    }


def _curves(
    history: "Sequence[Epoch]", details: Mapping[str, Json], warnings: tuple[str, ...]
) -> Iterator[Measurement]:
    for metric, (field, unit) in CURVES.items():
        values = tuple(value for epoch in history if (value := getattr(epoch, field)) is not None)
        if metric == "train.loss":
            yield Measurement(metric, unit, values, details=details, warnings=warnings)
        elif values:
            yield Measurement(metric, unit, values)


def _occupancy(history: "Sequence[Epoch]", beside: _Beside, plan: Plan, batch: int) -> Iterator[Measurement]:
    """Yield what each epoch's steps took of the machine, under the names of the training stage's occupancy."""
    details: dict[str, Json] = {
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "device": plan.device,
        "batch_size": batch,
        "passes": sum(epoch.steps for epoch in history),
        "images": sum(epoch.images for epoch in history),
        "children": True,
        "of": "epochs",
    }
    yield Measurement("training.interval_s", "s", tuple(e.data_s + e.step_s for e in history), details=details)
    for name in history[0].used if history else ():
        values = tuple(epoch.used.get(name, 0.0) for epoch in history)
        yield (
            Measurement(f"train.{name}", "J", values)
            if name == JOULES
            else Measurement(f"training.{name}", "s", values)
        )
    yield Measurement("training.rss_bytes", "bytes", (beside.peak_rss_bytes,))
    if beside.no_counter:
        yield Measurement(f"train.{JOULES}", "J", details={"source": "none", "reason": beside.no_counter})
    if plan.device == "cuda":
        import torch

        yield Measurement("train.peak_cuda_allocated_bytes", "bytes", (torch.cuda.max_memory_allocated(),))
