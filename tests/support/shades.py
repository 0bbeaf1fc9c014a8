"""A data set without faces: class k is an even grey of its own, and a network that recognises it by its mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fer_bench.accuracy.data.dataset import Dataset, Duplicates, Images, InArray, Manifest
from fer_bench.networks.contract import Crop, InputContract

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIDE = 8


def shade(number: int) -> int:
    """Return the grey of a class, from 0 to 255."""
    return 20 + 30 * number


def contract(classes: Sequence[str] = CLASSES) -> InputContract:
    """Return what ``Shades`` takes: grey from 0 to 1."""
    crop = Crop("none", 0.0, square=False)
    return InputContract("grey", (SIDE, SIDE), (0, 1), (0,), (1,), "bilinear", False, crop, tuple(classes))


def dataset(
    labels: Sequence[int],
    classes: Sequence[str] = CLASSES,
    *,
    shown: Sequence[int] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    split: str = "private",
    rendered: bool = False,
) -> Dataset:
    """Return images whose grey says ``shown`` (by default the label): places in ``CLASSES``, not in ``classes``."""
    if shown is None:
        shown = [CLASSES.index(classes[label]) if label >= 0 else 0 for label in labels]
    pixels = np.array([np.full((SIDE, SIDE), shade(number)) for number in shown], np.uint8)
    ids = tuple(f"row {number}" for number in range(len(labels)))
    nothing = Duplicates({}, {}, 0, ())
    manifest = Manifest(
        "folder", (), len(labels), (), "all images", "folders", {}, {split: {}}, nothing, rendered=rendered
    )
    columns = {name: tuple(values) for name, values in (groups or {}).items()}
    images = Images(len(labels), InArray(pixels))
    return Dataset("shades", tuple(classes), images, np.array(labels), None, ids, columns, split, manifest)


def write_folder(root: Path, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """Write ``split/class/number.png``, so many images of each class."""
    for split, of_class in counts.items():
        for name, count in of_class.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                grey = shade(CLASSES.index(name)) + number % 3 - 1  # alike, and not all the same file
                Image.new("L", (SIDE, SIDE), grey).save(folder / f"{number:03}.png")
    return root


class Shades(nn.Module):
    """Logits by the distance of the mean to each class's grey: (N, 1, H, W) in [0, 1] -> (N, K)."""

    def __init__(self, num_classes: int = 7, in_channels: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([shade(k) / 255 for k in range(num_classes)]))

    def forward(self, images: Tensor) -> Tensor:
        return -50 * (images.mean(dim=(1, 2, 3))[:, None] - self.weight).abs()


class Mixing(Shades):
    """Each output depends on the mean of its batch, as attention over the batch axis makes it."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.2 * images.mean(dim=0, keepdim=True))
