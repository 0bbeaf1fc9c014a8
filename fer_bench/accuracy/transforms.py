"""From pictures to the tensor that a network takes, as its input contract says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as pixels

from fer_bench.networks.contract import InputContract
from fer_bench.records.errors import FerBenchError

Box = tuple[float, float, float, float]  # left, top, width, height in pixels
Picture = np.ndarray[Any, np.dtype[np.uint8]]  # (H, W) grey or (H, W, 3) RGB

_MODES = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


def prepare(images: Sequence[Picture], contract: InputContract) -> Tensor:
    """Make a batch of pictures: colour, size, values.

    The pictures are the faces: ``crop`` cuts them out before. Grey is rounded to whole levels, and so is what is
    resized, as OpenCV and Pillow do with 8-bit pictures. Bilinear without antialias is OpenCV's INTER_LINEAR, and with
    it Pillow's, to a level. A grey picture becomes three equal channels for a network of colours.

    Args:
        images: uint8 of shape (H, W) grey or (H, W, 3) RGB; sizes may differ.
        contract: what the network takes.

    Returns:
        float32 (N, C, H, W); (0, C, H, W) without pictures.

    Raises:
        FerBenchError: a picture is of another type or shape.
    """
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise FerBenchError(
                f"image {number} is {image.dtype} of shape {image.shape}: expected uint8 (H, W) grey or (H, W, 3) RGB"
            )
    if len({image.shape for image in images}) == 1:  # one pass for all
        levels = _resized(torch.from_numpy(np.stack(images)), contract)
    else:
        each = [_resized(torch.from_numpy(np.ascontiguousarray(image))[None], contract) for image in images]
        levels = torch.cat(each) if each else torch.empty((0, *contract.shape), dtype=torch.uint8)
    low, high = contract.value_range
    values = levels.to(torch.float32).mul_((high - low) / 255).add_(low)
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (contract.mean, contract.std))
    return values.sub_(mean).div_(std)


def _resized(levels: Tensor, contract: InputContract) -> Tensor:
    """Return uint8 (N, C, H, W) of uint8 (N, H, W) or (N, H, W, 3)."""
    coloured = _coloured(levels, contract)
    if tuple(coloured.shape[-2:]) == contract.size:
        return coloured
    if contract.resize == "area":
        return _levels(functional.interpolate(coloured.to(torch.float32), contract.size, mode="area"))
    # With 8-bit input PyTorch rounds between rows and columns, as Pillow does; OpenCV rounds at the end alone.
    exact = contract.resize == "bicubic" and not contract.antialias
    resized: Tensor = pixels.resize(
        coloured.to(torch.float32) if exact else coloured,
        list(contract.size),
        _MODES[contract.resize],
        antialias=contract.antialias,
    )
    return _levels(resized) if exact else resized


def _levels(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _coloured(levels: Tensor, contract: InputContract) -> Tensor:
    if levels.ndim == 3:
        return levels[:, None].expand(-1, contract.channels, -1, -1)
    channels = levels.permute(0, 3, 1, 2)
    if contract.colour == "grey":
        weights = torch.tensor(contract.grey_weights).view(3, 1, 1)
        return _levels((channels * weights).sum(1, keepdim=True))
    return channels if contract.colour == "RGB" else channels.flip(1)


def crop(image: Picture, box: Box, contract: InputContract) -> Picture:
    """Cut a face out: the box made square and given its margin, as the contract says.

    Where that goes beyond the picture, its border is repeated, so that a square stays one.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        box: left, top, width, height in pixels, as detectors give it.
        contract: its ``crop`` counts.

    Raises:
        FerBenchError: nothing is left of the box.
    """
    left, top, width, height = box
    if contract.crop.square:
        side = max(width, height)
        left, top, width, height = left + (width - side) / 2, top + (height - side) / 2, side, side
    margins = contract.crop.margin * width, contract.crop.margin * height
    x0, x1 = round(left - margins[0]), round(left + width + margins[0])
    y0, y1 = round(top - margins[1]), round(top + height + margins[1])
    if x1 <= x0 or y1 <= y0 or x1 <= 0 or y1 <= 0 or x0 >= image.shape[1] or y0 >= image.shape[0]:
        raise FerBenchError(f"the box {box} leaves nothing of a picture of {image.shape[1]}x{image.shape[0]} pixels")
    rows = np.clip(np.arange(y0, y1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x0, x1), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]
