"""Images of the task for a backend, prepared as the input contract says: to calibrate int8, and to judge decisions on.

A wrong range or size raises no error and moves every activation: int8 that was calibrated on such images is another
network. So both kinds are read by ``load_data`` and prepared as for `fer-bench evaluate`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.accuracy.data.folders import SPLITS
from fer_bench.accuracy.data.loading import load_data
from fer_bench.accuracy.transforms import prepare
from fer_bench.measuring.profilers.accuracy import UNJUDGED, load
from fer_bench.measuring.task import NEEDS_IMAGES
from fer_bench.networks.backends.interface import DeployError
from fer_bench.networks.contract import InputContract
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import NOISE, Evaluation

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset

Array = np.ndarray[Any, Any]
_CALIBRATING = 64  # more change the ranges little, and static calibration keeps all of their activations


@dataclass(frozen=True, slots=True, eq=False)
class TaskImages:
    """Images of the task, each of other pixels.

    Attributes:
        data: the images, uint8.
        contract: of the network's input size.
        labels: of each, a place in the contract's classes; None where it has no label that the network knows.
        sources: of each, what it is independent by: its person, the folder of a video or person, or the file itself.
        note: what they are, without a path of the user's.
        digest: of their pixels and the contract.
    """

    data: "Dataset"
    contract: InputContract
    labels: tuple[int | None, ...]
    sources: tuple[str, ...]
    note: str
    digest: str

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, size: int) -> Iterator[Array]:
        """Yield the images as the network takes them, float32 (N, C, H, W), so many at a time."""
        for at in range(0, len(self), size):
            yield prepare(list(self.data.images[at : at + size]), self.contract).numpy()


def judging(path: str, contract: InputContract, shape: Sequence[int]) -> TaskImages:
    """Read the images that decisions are compared on: the test split, where the data have one, as `evaluate` does.

    Raises:
        FerBenchError: the data cannot be read, or have other channels than the network.
    """
    return _read(load(path, Evaluation(probe=UNJUDGED))[0], contract, shape)


def calibrating(given: str, contract: InputContract | None, shape: Sequence[int], seed: int = 0) -> tuple[Array, str]:
    """Return the images that calibrate int8, float32 (N, C, H, W), and a note of what they are.

    Args:
        given: a path, whose training split is used where it has one, "noise", or "" for none.
        contract: of the network's input.
        shape: (C, H, W) of the network's.
        seed: of the noise.

    Raises:
        FerBenchError: there are none; noise is only used where it is asked for.
    """
    if given == NOISE:
        noise = np.random.default_rng(seed).standard_normal((_CALIBRATING, *shape), dtype=np.float32)
        return noise, f"int8 was calibrated on {_CALIBRATING} images of noise, which costs accuracy"
    if not given or contract is None:
        raise FerBenchError(NEEDS_IMAGES)
    data = load_data(given)
    if "training" in data.manifest.counts:
        data = load_data(given, split="training")
    found = _read(data, contract, shape, _CALIBRATING)
    (images,) = found.batches(len(found))
    return images, f"int8 was calibrated on {len(found)} images of {found.note}"


def _read(data: "Dataset", contract: InputContract, shape: Sequence[int], most: int | None = None) -> TaskImages:
    """Choose images of other pixels, evenly spread where there are more than wanted, and name what they depend on."""
    if contract.channels != shape[0] or len(shape) != len(contract.shape):
        raise DeployError(
            f"the input contract is of {contract.colour} images, and the network takes {units.size(tuple(shape))}: "
            "give another by --contract FILE"
        )
    if contract.size != tuple(shape[1:]):
        contract = contract.replace("the plan's input", size=tuple(shape[1:]))
    if most is not None and len(data) > most:
        data = data.subset([at * len(data) // most for at in range(most)])
    whole, first = hashlib.sha256(contract.to_json().encode()), {}
    for place, picture in enumerate(data.images):
        mark = hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest()
        if mark not in first:
            first[mark] = place
            whole.update(mark)
    data = data.subset(list(first.values()))
    at = [contract.classes.index(name) if name in contract.classes else None for name in data.classes]
    labels = tuple(at[label] if label >= 0 else None for label in data.labels.tolist())
    lost = len(data.manifest.dropped)
    note = f"{data.name}, {data.split}" + (f" ({lost} of its images could not be used)" if lost else "")
    return TaskImages(data, contract, labels, _sources(data), note, whole.hexdigest())


def _sources(data: "Dataset") -> tuple[str, ...]:
    """Name what each image is independent by.

    Without persons it is the innermost folder of images that lie two folders deep, as VIDEO/PERSON/file, unless that
    folder is a class or a split; else the image itself.
    """
    if data.persons is not None:
        return data.persons

    def source(name: str) -> str:
        folders = [folder for folder in Path(name).parts[:-1] if folder.casefold() not in SPLITS]
        return str(Path(name).parent) if len(folders) > 1 and folders[-1] not in data.manifest.mapping else name

    return tuple(map(source, data.ids))
