"""Evaluate a network on a data set: its output on every labelled image, and the conditions under which it gave them.

Classes are matched by name. What would make the accuracy another one without an error is checked first: the order of
the outputs, and whether an image's output depends on the other images of its batch.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.accuracy import calibration, statistics
from fer_bench.accuracy.predictions import PERSON, Predictions
from fer_bench.accuracy.robustness import robustness
from fer_bench.accuracy.sensitivity import sensitivity
from fer_bench.accuracy.statistics import Probe
from fer_bench.accuracy.transforms import Picture, prepare
from fer_bench.networks.build import in_eval_mode
from fer_bench.networks.contract import InputContract
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset

Network = Callable[[Tensor], Tensor]  # (N, C, H, W) -> (N, K)

BATCH = 64
CHECKED = 64  # images, whose outputs must not depend on the batch
TOLERANCE = 1e-4  # of these outputs, as a share of the largest
PROBED = 1000  # images at most, of which the order of classes is judged
TTA_DEGREES = 30.0  # test-time augmentation as ResidualMaskingNetwork's: mirrored or not, rotated by up to this much
_AHEAD = 2  # batches that are read while the network works


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is evaluated.

    Attributes:
        extra: what becomes of outputs for classes that the data do not have: their images count as "errors", or they
            are "masked", which makes the task easier.
        tta: augmented passes for each image, whose probabilities are averaged; 1 for one plain pass.
        batch: images in a pass.
        seed: of the augmentation and of the order in the batch check.
        group_by: a column of the data that accuracies are kept for.
        tolerance: relative, of outputs in another batch.
        sensitivity, robustness: measure these, too.
        selected_on: what selected the weights, as ``networks.weights.selected_on`` returns it; empty where unknown.
    """

    extra: str = "errors"
    tta: int = 1
    batch: int = BATCH
    seed: int = 0
    group_by: str = ""
    tolerance: float = TOLERANCE
    sensitivity: bool = False
    robustness: bool = False
    selected_on: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions with the conditions that they were made under, as a record has them, and what may mislead."""

    predictions: Predictions
    conditions: dict[str, Json]
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    effects: tuple[Measurement, ...] = ()  # of changed inputs

    def measurements(self) -> list[Measurement]:
        """Return what a record has of an evaluation."""
        images = len(self.predictions)
        took = Measurement("accuracy.evaluation_s", "s", (self.seconds,), details={"images": images})
        return [*self.predictions.measurements(self.conditions, self.warnings), took, *self.effects]


def evaluate(
    network: Network,
    data: "Dataset",
    contract: InputContract,
    settings: Settings = Settings(),
    *,
    validation: "Dataset | None" = None,
    device: str = "cpu",
    alive: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a network on the labelled images of a data set.

    Args:
        network: a module, which is put into eval mode meanwhile, or a callable: (N, C, H, W) -> (N, K).
        data: the images. Those without a label are left out and counted.
        contract: what is done to an image, and the classes of the outputs.
        settings: how.
        validation: images that are not the test set, by which the order of the outputs is judged; None does not judge.
        device: of the network.
        alive: called after each batch.

    Raises:
        FerBenchError: classes or outputs do not fit, the outputs are in another order than their names, or no image has
            a label.
    """
    if settings.group_by:
        data.group(settings.group_by)
    masked = _match(contract.classes, data.classes, settings.extra)
    if isinstance(network, nn.Module):
        with in_eval_mode(network), torch.inference_mode():
            return _evaluate(network, data, contract, settings, masked, validation, device, alive)
    with torch.inference_mode():
        return _evaluate(network, data, contract, settings, masked, validation, device, alive)


def predict(
    network: nn.Module,
    data: "Dataset",
    contract: InputContract,
    *,
    batch: int = BATCH,
    device: str = "cpu",
    alive: Callable[[], None] = lambda: None,
) -> Predictions:
    """Return a network's outputs on the labelled images of a data set, in eval mode and without any check.

    Raises:
        FerBenchError: an output is no number, or classes do not fit.
    """
    masked = _match(contract.classes, data.classes, "errors")
    places = np.flatnonzero(data.labelled)
    with in_eval_mode(network), torch.inference_mode():
        outputs, digest = _Run(network, contract, Settings(batch=batch), device, alive).outputs(data, places)
    return Predictions(outputs, _labels(data, places, contract.classes), contract.classes, masked, digest)


def _match(ours: Sequence[str], theirs: Sequence[str], extra: str) -> tuple[str, ...]:
    """Return the outputs that are masked; refuse classes of the data that no output stands for."""
    if lacking := [name for name in theirs if name not in ours]:
        kept = ",".join(name for name in theirs if name in ours)
        raise FerBenchError(
            f"the data have the class {' and '.join(lacking)}, for which the network has no output; it has "
            f"{', '.join(ours)}; try: --data-classes {kept or ','.join(ours)}"
        )
    return tuple(name for name in ours if name not in theirs) if extra == "masked" else ()


def _evaluate(
    network: Network,
    data: "Dataset",
    contract: InputContract,
    settings: Settings,
    masked: tuple[str, ...],
    validation: "Dataset | None",
    device: str,
    alive: Callable[[], None],
) -> Evaluation:
    places = np.flatnonzero(data.labelled)
    if not len(places):
        raise FerBenchError(f"none of the {len(data)} images of split {data.split} has a label: nothing to evaluate on")
    run = _Run(network, contract, settings, device, alive)
    probed = _probe(run, data if validation is None else validation, masked) if validation is not None else None
    check = run.check(data, places)
    warnings = list(check.warnings)
    if not check.independent:
        run.settings = replace(settings, batch=1)
    began = time.perf_counter()
    outputs, digest = run.outputs(data, places)
    seconds = time.perf_counter() - began
    columns = [name for name in dict.fromkeys((PERSON, settings.group_by)) if name in data.groups]
    groups = {name: tuple(data.groups[name][place] for place in places) for name in columns}
    labels = _labels(data, places, contract.classes)
    predictions = Predictions(outputs, labels, contract.classes, masked, digest, groups)
    conditions: dict[str, Json] = {
        "data": data.describe(),
        "contract": contract.to_dict(),
        "extra": settings.extra,
        "tta": settings.tta,
        "batch_size": run.settings.batch,
        "batch_difference": check.difference,
        "seed": settings.seed,
        "group_by": settings.group_by,
        "selected_on": dict(settings.selected_on) or {"on": "unknown"},
        "probe": None if probed is None else asdict(probed) | {"split": validation.split if validation else ""},
    }
    manifest = data.manifest
    warnings += [f"data: {finding}" for finding in manifest.findings]
    if unlabelled := len(data) - len(places):
        warnings.append(f"{unlabelled} images without a label are left out")
    if _selected_here(settings.selected_on, data.split, digest):
        warnings.append(
            f"selected on the test set: these images of split {data.split} selected the weights, so that the accuracy "
            "is too high; try: a split that selected nothing"
        )
    effects = tuple(_effects(run, data, contract, settings))
    return Evaluation(predictions, conditions, tuple(warnings), seconds, effects)


def _selected_here(selected: Mapping[str, Json], split: str, images_sha256: str) -> bool:
    """Report whether the evaluated images selected the weights: by their hash, where it is known, else by the split."""
    known = selected.get("images_sha256")
    return known == images_sha256 if known else bool(split) and selected.get("split") == split


def _effects(run: "_Run", data: "Dataset", contract: InputContract, settings: Settings) -> Iterator[Measurement]:
    """Yield what changes of the input do, as far as it is asked for."""

    def predict(images: Tensor) -> Tensor:
        found = [run.plain(part).cpu() for part in torch.split(images.to(run.device), run.settings.batch)]
        run.alive()
        return torch.cat(found)

    if settings.sensitivity:
        yield sensitivity(predict, data, contract).measurement()
    if settings.robustness:
        yield robustness(predict, data, contract).measurement()


def _labels(data: "Dataset", places: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels of images as places in the network's classes, by name."""
    return np.array([classes.index(name) for name in data.classes], dtype=np.int64)[data.labels[places]]


def _probe(run: "_Run", data: "Dataset", masked: tuple[str, ...]) -> Probe:
    """Judge the order of the outputs; raise FerBenchError where it is another one than their names have."""
    places = np.flatnonzero(data.labelled)
    if len(places) > PROBED:
        places = places[np.linspace(0, len(places) - 1, PROBED).astype(np.int64)]  # data may be stored class by class
    outputs, _ = run.outputs(data, places)
    classes = run.contract.classes
    predictions = Predictions(outputs, _labels(data, places, classes), classes, masked)
    found = statistics.probe(predictions.confusion, classes)
    if found.verdict == "permuted":
        moved = [f"{ours} is {theirs}" for ours, theirs in zip(classes, found.names, strict=True) if ours != theirs]
        raise FerBenchError(
            f"the outputs are in another order than their names: on {len(places)} images of split {data.split} "
            f"accuracy is {100 * found.accuracy:.1f} %, and {100 * found.best:.1f} % where {', '.join(moved)} "
            f"(McNemar's exact p {found.p:.1g}); try: --classes-order {','.join(found.names)}, or --probe none"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether outputs depend on the batch: the largest relative difference, and what to say of it."""

    difference: float
    independent: bool
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    """One network under one contract."""

    network: Network
    contract: InputContract
    settings: Settings
    device: str
    alive: Callable[[], None] = field(default=lambda: None)

    def outputs(self, data: "Dataset", places: NDArray[np.int64]) -> tuple[NDArray[np.float32], str]:
        """Return the outputs on images, (N, K) float32, and the hash of these images with their labels."""
        digest = hashlib.sha256()
        found = []
        for start, batch in self._batches(data, places, digest):
            found.append(self._forward(batch, start).cpu().numpy())
            self.alive()
        outputs = np.concatenate(found)
        if bad := int((~np.isfinite(outputs)).any(axis=1).sum()):
            raise FerBenchError(f"the outputs of {bad} of {len(outputs)} images are no numbers (NaN or infinite)")
        return outputs, digest.hexdigest()

    def check(self, data: "Dataset", places: NDArray[np.int64]) -> _Check:
        """Compare the first images' outputs in their order, shuffled, and one by one."""
        images = prepare([data.images[int(place)] for place in places[:CHECKED]], self.contract).to(self.device)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.settings.seed))
        together = self.plain(images)
        again, shuffled = self.plain(images), self.plain(images[order])[torch.argsort(order)]
        alone = torch.cat([self.plain(image[None]) for image in images])
        scale = float(together.abs().max()) or 1.0
        random, *others = (float((other - together).abs().max()) / scale for other in (again, shuffled, alone))
        difference = max(random, *others)
        if difference <= self.settings.tolerance:
            return _Check(difference, independent=True)
        if random > self.settings.tolerance:
            text = f"random: the same images give other outputs, by up to {100 * random:.2g} %; is dropout left on?"
        else:
            text = (
                f"batch-dependent: an image's outputs change by up to {100 * difference:.2g} % with the others in its "
                "batch; the accuracy is that of one image at a time"
            )
        return _Check(difference, independent=False, warnings=(text,))

    def _batches(
        self, data: "Dataset", places: NDArray[np.int64], digest: "hashlib._Hash"
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield batches with the place of their first image; the next ones are read meanwhile.

        They are prepared meanwhile, too, if the network has a device of its own. On the CPU, preparing beside the
        network has each wait for the other's threads: an evaluation took 1.12 of a loop that does both in turn.
        """
        ahead = self.device != "cpu"

        def read(start: int) -> Tensor | list[Picture]:
            at = places[start : start + self.settings.batch]
            images = [data.images[int(place)] for place in at]
            for image, label in zip(images, data.labels[at].tolist(), strict=True):
                digest.update(f"{image.shape} {data.classes[label]} ".encode())
                digest.update(np.ascontiguousarray(image).data)
            return prepare(images, self.contract) if ahead else images

        starts = range(0, len(places), self.settings.batch)
        with ThreadPoolExecutor(1) as pool:  # one, so that the hash is of the images in their order
            pending = [pool.submit(read, start) for start in starts[:_AHEAD]]
            for number, start in enumerate(starts):
                images = pending.pop(0).result()
                if number + _AHEAD < len(starts):
                    pending.append(pool.submit(read, starts[number + _AHEAD]))
                yield start, (images if isinstance(images, Tensor) else prepare(images, self.contract)).to(self.device)

    def _forward(self, images: Tensor, start: int) -> Tensor:
        """Return the outputs of a batch: of one plain pass, or the mean probabilities of augmented ones."""
        if self.settings.tta == 1:
            return self.plain(images)
        total = torch.zeros((), device=self.device)
        for copy in range(self.settings.tta):
            outputs = self.plain(_augmented(images, start, copy, self.contract, self.settings.seed))
            shares = calibration.are_probabilities(outputs.cpu().numpy())
            total = total + (outputs if shares else outputs.softmax(dim=1))
        return total / self.settings.tta

    def plain(self, images: Tensor) -> Tensor:
        """Return the outputs of one pass, (N, K) float32; raise FerBenchError where they are something else."""
        remedy = "--classes-order with a name for each output, or --contract FILE"
        outputs = logits(self.network(images), images, self.contract.classes, "its contract names", remedy)
        return outputs.to(torch.float32)


def logits(outputs: object, images: Tensor, classes: Sequence[str], named_by: str, remedy: str) -> Tensor:
    """Return what a network gave for images, if it is (N, K) with an output for each class.

    Raises:
        FerBenchError: it is something else. ``named_by`` and ``remedy`` are the words for another number of outputs.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise FerBenchError(f"the network returns {shape} for {len(images)} images, expected (N, K) logits")
    if outputs.shape[1] != len(classes):
        raise FerBenchError(
            f"the network has {outputs.shape[1]} outputs, and {named_by} {len(classes)} classes "
            f"({', '.join(classes)}); try: {remedy}"
        )
    return outputs


def _augmented(images: Tensor, start: int, copy: int, contract: InputContract, seed: int) -> Tensor:
    """Return images mirrored or not and rotated, as the seed, the copy and each image's place alone decide."""
    draws = np.random.Generator(np.random.PCG64((seed, copy)).advance(2 * start)).random((len(images), 2))
    mirrored, angles = torch.from_numpy(draws[:, 0] < 0.5), torch.from_numpy(2 * draws[:, 1] - 1)
    mean, std = (
        torch.tensor(numbers, device=images.device).view(-1, 1, 1) for numbers in (contract.mean, contract.std)
    )
    return turned(images, mirrored, angles * math.radians(TTA_DEGREES), (contract.value_range[0] - mean) / std)


def turned(images: Tensor, mirrored: Tensor, angles: Tensor, black: Tensor) -> Tensor:
    """Rotate each image of (N, C, H, W) by an angle in radians, counter-clockwise, after mirroring it or not.

    Bilinear; what comes into the picture has the value ``black``, of each channel.
    """
    height, width = images.shape[-2:]
    side = torch.where(mirrored, -1.0, 1.0)
    cosine, sine = angles.to(torch.float32).cos(), angles.to(torch.float32).sin()
    matrices = torch.zeros(len(images), 2, 3)  # from places in the result to places in the image, both from -1 to 1
    matrices[:, 0, 0], matrices[:, 0, 1] = side * cosine, -side * sine * height / width
    matrices[:, 1, 0], matrices[:, 1, 1] = sine * width / height, cosine
    grid = functional.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images - black, grid, align_corners=False) + black
