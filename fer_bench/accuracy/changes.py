"""Changes of pictures and of what is done to them, and a network's answers under each.

Pictures are uint8, (H, W) grey or (H, W, 3) RGB, and a change keeps their type and, unless it says so, their size.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor, nn

from fer_bench.accuracy.transforms import Picture, prepare, window
from fer_bench.networks.build import in_eval_mode
from fer_bench.networks.contract import InputContract
from fer_bench.records.errors import FerBenchError

BATCH = 64
MOST = 1000  # images of a data set that are tried, spread evenly over it
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Predict = Callable[[Tensor], Tensor]  # float32 (N, C, H, W) -> logits or probabilities (N, K)
Draw = Callable[[Picture, int], Picture]  # a picture and its number, by which what is random differs


class Images(Protocol):
    """Pictures by their number."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Picture: ...


class Data(Protocol):
    """A data set: pictures, a label each (a place in ``classes``, -1 for none), and names of classes."""

    @property
    def images(self) -> Images: ...
    @property
    def labels(self) -> Sequence[int] | np.ndarray[Any, Any]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures of a data set, with labels as places in the network's classes; -1 where there is none."""

    images: tuple[Picture, ...]
    labels: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, data: Data, contract: InputContract, most: int | None = MOST, *, labelled: bool = False) -> "Sample":
        """Take pictures of a data set.

        Args:
            data: the data set.
            contract: its classes are the network's.
            most: so many at most, spread evenly, since data may be stored class by class; None for all.
            labelled: only those that have a label.

        Raises:
            FerBenchError: there is no picture, or a class that the network has not.
        """
        labels = np.asarray(data.labels, dtype=np.int64)
        places = np.flatnonzero(labels >= 0) if labelled else np.arange(len(labels))
        if not len(places):
            raise FerBenchError(f"the data set has no image{' with a label' if labelled else ''}")
        if most is not None and len(places) > most:
            places = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
        used = sorted({data.classes[label] for label in labels[places] if label >= 0})
        if unknown := [name for name in used if name not in contract.classes]:
            raise FerBenchError(
                f"the data have the class {', '.join(unknown)}, which the network has not; it has "
                f"{', '.join(contract.classes)}; try: leave those images out"
            )
        place_of = [contract.classes.index(name) if name in used else -1 for name in data.classes]
        ours = np.array([place_of[label] if label >= 0 else -1 for label in labels[places]], dtype=np.int64)
        return cls(tuple(data.images[int(place)] for place in places), ours)


@contextlib.contextmanager
def evaluating(network: Predict) -> Iterator[Predict]:
    """Give a module in eval mode, which takes batches on its own device; a callable as it is."""
    if not isinstance(network, nn.Module):
        yield network
        return
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with in_eval_mode(network):
        yield lambda batch: network(batch.to(device))


def probabilities(
    predict: Predict,
    images: Sequence[Picture],
    contract: InputContract,
    picture: Draw = lambda image, _: image,
    tensor: Callable[[Tensor], Tensor] = lambda batch: batch,
) -> Floats:
    """Return a network's probabilities (N, K) on pictures.

    Args:
        predict: the network, as ``evaluating`` gives it.
        images: the pictures.
        contract: what is done to them.
        picture: changes a picture before.
        tensor: changes a batch after.

    Raises:
        FerBenchError: outputs are no (N, K) for the contract's K classes.
    """
    found = []
    for start in range(0, len(images), BATCH):
        part = [picture(image, start + place) for place, image in enumerate(images[start : start + BATCH])]
        with torch.inference_mode():
            outputs = predict(tensor(prepare(part, contract))).to("cpu", torch.float64)
        if tuple(outputs.shape) != (len(part), len(contract.classes)):
            raise FerBenchError(f"outputs are {tuple(outputs.shape)}, expected {(len(part), len(contract.classes))}")
        is_probability = bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-4).all())
        found.append((outputs if is_probability else outputs.softmax(1)).numpy())
    return np.concatenate(found)


def _by_pillow(change: Callable[[Image.Image], Image.Image]) -> Draw:
    return lambda image, _: np.asarray(change(Image.fromarray(image)))


def margin(share: float) -> Draw:
    """Add a share of each side around a picture, of repeated border; below 0 cut it off. The size changes."""

    def change(image: Picture, _: int) -> Picture:
        height, width = image.shape[:2]
        x, y = round(share * width), round(share * height)
        return window(image, -x, -y, width + x, height + y)

    return change


def widened(share: float) -> Draw:
    """Add a share of the width at the left and at the right only: a box that was not made square."""

    def change(image: Picture, _: int) -> Picture:
        height, width = image.shape[:2]
        x = round(share * width)
        return window(image, -x, 0, width + x, height)

    return change


def shifted(right: float, down: float) -> Draw:
    """Move the box by a share of width and height, so that the face moves the other way."""

    def change(image: Picture, _: int) -> Picture:
        height, width = image.shape[:2]
        x, y = round(right * width), round(down * height)
        return window(image, x, y, width + x, height + y)

    return change


def tilted(degrees: float) -> Draw:
    """Turn a picture about its centre, bilinearly, with repeated border."""

    def change(image: Picture, _: int) -> Picture:
        height, width = image.shape[:2]
        x, y = width // 2 + 1, height // 2 + 1
        wide = Image.fromarray(window(image, -x, -y, width + x, height + y))
        turned = np.asarray(wide.rotate(degrees, Image.Resampling.BILINEAR))
        return turned[y : y + height, x : x + width]

    return change


def through(height: int, width: int) -> Draw:
    """Resize a picture on the way, bilinearly with antialias. The size changes."""
    return _by_pillow(lambda image: image.resize((width, height), Image.Resampling.BILINEAR))


def blurred(share: float) -> Draw:
    """Blur by a Gaussian whose standard deviation is a share of the width."""
    return _by_pillow(lambda image: image.filter(ImageFilter.GaussianBlur(share * image.width)))


def jpeg(quality: int) -> Draw:
    """Write a picture as JPEG and read it again."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(change)


def _levels(values: Floats) -> Picture:
    levels: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def light(factor: float) -> Draw:
    """Multiply the levels."""
    return lambda image, _: _levels(image.astype(np.float64) * factor)


def noise(deviation: float, seed: int = 0) -> Draw:
    """Add Gaussian noise, of a standard deviation in levels, another one for each picture."""

    def change(image: Picture, number: int) -> Picture:
        return _levels(image + np.random.default_rng((seed, number)).normal(0, deviation, image.shape))

    return change


def covered(*parts: tuple[float, float, float, float]) -> Draw:
    """Cover parts of a picture with its mean level: (left, top, right, bottom) as shares of width and height."""

    def change(image: Picture, _: int) -> Picture:
        height, width = image.shape[:2]
        result, mean = image.copy(), _levels(image.mean(axis=(0, 1)))
        for left, top, right, bottom in parts:
            rows = slice(round(top * height), round(bottom * height))
            result[rows, round(left * width) : round(right * width)] = mean
        return result

    return change


def equalised(image: Picture, _: int) -> Picture:
    """Equalise the histogram."""
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def mirrored(image: Picture, _: int) -> Picture:
    """Mirror left and right."""
    return np.ascontiguousarray(image[:, ::-1])


def upside_down(image: Picture, _: int) -> Picture:
    """Turn by 180 degrees."""
    return np.ascontiguousarray(image[::-1, ::-1])


def swapped(image: Picture, _: int) -> Picture:
    """Swap red and blue; a grey picture stays as it is."""
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
