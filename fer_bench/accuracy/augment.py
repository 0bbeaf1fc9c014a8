"""Augmentation of a batch at once, with the meaning that ranges have in Keras or in torchvision.

What is drawn for an image follows from the seed, the epoch and the image's place alone. So it depends neither on the
batch nor on the number of workers, and a training that goes on draws nothing twice.

Keras's ImageDataGenerator repeats the picture's edge and zooms width and height apart, which RandomAffine cannot do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as pixels

from fer_bench.accuracy.recipe_tables import Augmentation
from fer_bench.networks.contract import InputContract

Floats = NDArray[np.float64]
_GREY = (0.2989, 0.587, 0.114)  # of red, green, blue, as torchvision computes it
_GEOMETRY = ("rotation", "shift_x", "shift_y", "zoom", "shear")
_COLOURS = ("brightness", "contrast", "saturation", "hue", "grayscale")
_WORDS = (
    *("flip", "flip_vertical", "rotation", "shift_x", "shift_y", "zoom_x", "zoom_y", "shear"),
    *("crop_side", "crop_x", "crop_y", "brightness", "contrast", "saturation", "hue", "grayscale"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What is done to each of N images; each field is an array (N,).

    Attributes:
        flip: left becomes right.
        rotation: degrees, clockwise.
        shift_x: by how many widths the picture moves to the right.
        shift_y: by how many heights it moves down.
        zoom_x: how often as much of the width is seen; above 1 the face becomes smaller.
        zoom_y: likewise.
        shear: degrees.
        crop_side: of the square that is cut out, as a share.
        crop_x: where it lies, from 0 at the left to 1.
        crop_y: likewise from the top.
        brightness: a factor; likewise the next two.
        hue: of the colour circle.
        grayscale: becomes grey.
    """

    flip: NDArray[np.bool_]
    flip_vertical: NDArray[np.bool_]
    rotation: Floats
    shift_x: Floats
    shift_y: Floats
    zoom_x: Floats
    zoom_y: Floats
    shear: Floats
    crop_side: Floats
    crop_x: Floats
    crop_y: Floats
    brightness: Floats
    contrast: Floats
    saturation: Floats
    hue: Floats
    grayscale: NDArray[np.bool_]


def augment(
    images: Tensor, how: Augmentation, contract: InputContract, seed: int, epoch: int, indices: Sequence[int]
) -> Tensor:
    """Return prepared images (N, C, H, W) augmented, each as its place in the data asks for.

    Args:
        images: float, as ``prepare`` makes them by the contract.
        how: the ranges.
        contract: says what black and white are, and the order of colours.
        seed: of the training.
        epoch: from 1.
        indices: places of the images in the data.
    """
    return apply(images, draw(how, seed, epoch, indices), how, contract)


def draw(how: Augmentation, seed: int, epoch: int, indices: Sequence[int]) -> Drawn:
    """Draw what is done to the images at some places in an epoch."""
    drawn: dict[str, Floats] = dict(zip(_WORDS, uniforms(seed, epoch, indices, len(_WORDS)).T, strict=True))

    def either_side(name: str, most: float) -> Floats:
        values: Floats = (2 * drawn[name] - 1) * most
        return values

    zoom_x, zoom_y = 1 + either_side("zoom_x", how.zoom), 1 + either_side("zoom_y", how.zoom)
    if how.style == "torchvision":  # whose factor is of the picture, and one for both
        zoom_x = zoom_y = 1 / zoom_x
    return Drawn(
        flip=drawn["flip"] < how.flip,
        flip_vertical=drawn["flip_vertical"] < how.flip_vertical,
        rotation=either_side("rotation", how.rotation),
        shift_x=either_side("shift_x", how.shift_x),
        shift_y=either_side("shift_y", how.shift_y),
        zoom_x=zoom_x,
        zoom_y=zoom_y,
        shear=either_side("shear", how.shear),
        crop_side=how.crop + (1 - how.crop) * drawn["crop_side"],
        crop_x=drawn["crop_x"],
        crop_y=drawn["crop_y"],
        brightness=1 + either_side("brightness", how.brightness),
        contrast=1 + either_side("contrast", how.contrast),
        saturation=1 + either_side("saturation", how.saturation),
        hue=either_side("hue", how.hue),
        grayscale=drawn["grayscale"] < how.grayscale,
    )


def apply(images: Tensor, drawn: Drawn, how: Augmentation, contract: InputContract) -> Tensor:
    """Do to prepared images (N, C, H, W) what was drawn: first where pixels lie, then flips, then colours."""
    if any(getattr(how, name) for name in _GEOMETRY) or how.crop < 1:
        images = _moved(images, drawn, how, contract)
    for flips, axis in ((drawn.flip, -1), (drawn.flip_vertical, -2)):
        if flips.any():
            images = torch.where(_column(flips, images), images.flip(axis), images)
    if any(getattr(how, name) for name in _COLOURS):
        scale, offset = _levels(contract, images)
        images = (_coloured((images - offset) / scale, drawn, how, contract) * scale) + offset
    return images


def _levels(contract: InputContract, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale, offset), each (C, 1, 1) or (1, 1, 1), that make prepared values of pixels from 0 to 1."""
    low, high = contract.value_range
    mean, std = (torch.tensor(each, dtype=images.dtype).view(-1, 1, 1) for each in (contract.mean, contract.std))
    return (high - low) / std, (low - mean) / std


def _column(values: NDArray[Any], images: Tensor) -> Tensor:
    """Return a value for each image as (N, 1, 1, 1)."""
    made = torch.from_numpy(np.ascontiguousarray(values)).view(-1, 1, 1, 1)
    return made if made.dtype == torch.bool else made.to(images.dtype)


# ------------------------------------------------------------------ where pixels lie


def _moved(images: Tensor, drawn: Drawn, how: Augmentation, contract: InputContract) -> Tensor:
    height, width = images.shape[-2:]
    matrices = _keras(drawn, height, width) if how.style == "keras" else _torchvision(drawn, height, width)
    grid = _grid(_cropped(matrices, drawn, height, width), height, width)
    if how.fill == "edge":
        return functional.grid_sample(images, grid, how.interpolation, "border", align_corners=False)
    scale, offset = _levels(contract, images)
    filled = how.fill_value * scale + offset
    return functional.grid_sample(images - filled, grid, how.interpolation, "zeros", align_corners=False) + filled


def _keras(drawn: Drawn, height: int, width: int) -> Floats:
    """Return (N, 2, 3): from a pixel (row, column) of the result, about the centre, to one of the picture.

    The product of rotation, shift, shear and zoom, in this order, as Keras has it. Its shifts are of the place that is
    looked at, so that the picture moves the other way.
    """
    angle, shear = np.deg2rad(drawn.rotation), np.deg2rad(drawn.shear)
    cos, sin = np.cos(angle), np.sin(angle)
    down, right = -drawn.shift_y * height, -drawn.shift_x * width
    return _rows(
        (cos * drawn.zoom_y, (-cos * np.sin(shear) - sin * np.cos(shear)) * drawn.zoom_x, cos * down - sin * right),
        (sin * drawn.zoom_y, (-sin * np.sin(shear) + cos * np.cos(shear)) * drawn.zoom_x, sin * down + cos * right),
    )


def _torchvision(drawn: Drawn, height: int, width: int) -> Floats:
    """Return the same as RandomAffine has it: shear, zoom and rotate, then shift by whole pixels; here the inverse."""
    angle, shear = np.deg2rad(drawn.rotation), np.deg2rad(drawn.shear)
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(shear)
    down, right = np.round(drawn.shift_y * height), np.round(drawn.shift_x * width)
    # Of (x, y): the rotation back, then x + tan(shear) y; zoom is how much is seen, which is 1 / RandomAffine's scale.
    x_of_x, x_of_y = (cos - tan * sin) * drawn.zoom_x, (sin + tan * cos) * drawn.zoom_x
    y_of_x, y_of_y = -sin * drawn.zoom_y, cos * drawn.zoom_y
    return _rows(
        (y_of_y, y_of_x, -(y_of_y * down + y_of_x * right)),
        (x_of_y, x_of_x, -(x_of_y * down + x_of_x * right)),
    )


def _rows(*rows: tuple[Floats, Floats, Floats]) -> Floats:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)


def _cropped(matrices: Floats, drawn: Drawn, height: int, width: int) -> Floats:
    """Return matrices that look at a part of what they looked at: the crop of the moved picture, enlarged."""
    side = drawn.crop_side
    down, right = (drawn.crop_y - 0.5) * (1 - side) * height, (drawn.crop_x - 0.5) * (1 - side) * width
    moved = matrices[:, :, 2] + matrices[:, :, 0] * down[:, None] + matrices[:, :, 1] * right[:, None]
    return np.concatenate([matrices[:, :, :2] * side[:, None, None], moved[:, :, None]], axis=2)


def _grid(matrices: Floats, height: int, width: int) -> Tensor:
    """Return float32 (N, H, W, 2), the places (x, y) that grid_sample looks at; -1 and 1 are the outer edges."""
    row = torch.arange(height).sub((height - 1) / 2).view(1, height, 1)
    column = torch.arange(width).sub((width - 1) / 2).view(1, 1, width)
    grid = torch.empty((len(matrices), height, width, 2))
    for place, axis, side in ((0, 1, width), (1, 0, height)):  # x is of columns, y of rows
        of_row, of_column, shift = torch.from_numpy(matrices[:, axis] * (2 / side)).float().T[..., None, None]
        torch.add(of_row * row + shift, of_column * column, out=grid[..., place])
    return grid


# ------------------------------------------------------------------ colours


def _coloured(levels: Tensor, drawn: Drawn, how: Augmentation, contract: InputContract) -> Tensor:
    """Return pixels from 0 to 1 with other brightness, contrast, saturation and hue, in this order."""
    if contract.colour == "BGR":
        levels = levels.flip(1)
    if how.brightness:
        levels = (levels * _column(drawn.brightness, levels)).clamp(0, 1)
    if how.contrast:
        seen = levels if how.style == "keras" else _grey(levels)
        mean = seen.mean((-2, -1) if how.style == "keras" else (-3, -2, -1), keepdim=True)
        levels = (mean + (levels - mean) * _column(drawn.contrast, levels)).clamp(0, 1)
    if levels.shape[1] == 3 and not _is_grey(levels):  # or the rest would change nothing
        levels = _hued(levels, drawn, how)
    return levels.flip(1) if contract.colour == "BGR" else levels


def _hued(levels: Tensor, drawn: Drawn, how: Augmentation) -> Tensor:
    if how.saturation:
        grey = _grey(levels)
        levels = (grey + (levels - grey) * _column(drawn.saturation, levels)).clamp(0, 1)
    if how.hue:
        turned = [pixels.adjust_hue(image, float(hue)) for image, hue in zip(levels, drawn.hue, strict=True)]
        levels = torch.stack(turned)
    if drawn.grayscale.any():
        levels = torch.where(_column(drawn.grayscale, levels), _grey(levels), levels)
    return levels


def _grey(levels: Tensor) -> Tensor:
    """Return (N, 1, H, W)."""
    if levels.shape[1] == 1:
        return levels
    return (levels * torch.tensor(_GREY, dtype=levels.dtype).view(3, 1, 1)).sum(1, keepdim=True)


def _is_grey(levels: Tensor) -> bool:
    return torch.equal(levels[:, 0], levels[:, 1]) and torch.equal(levels[:, 0], levels[:, 2])


# ------------------------------------------------------------------ chance


def uniforms(seed: int, epoch: int, indices: Sequence[int], count: int) -> Floats:
    """Return (N, count) numbers from 0 to below 1 that follow from seed, epoch and index, by SplitMix64.

    Steele, Lea, Flood: Fast splittable pseudorandom number generators. OOPSLA 2014, https://doi.org/10.1145/2660193.2660195
    """
    key = np.array([seed % 2**64], np.uint64)
    for part in (np.array([epoch % 2**64], np.uint64), np.array(indices, np.int64).astype(np.uint64)):
        key = _mixed(_mixed(key) + part)
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(_mixed(key[:, None] + counters) >> np.uint64(11), np.float64) * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
