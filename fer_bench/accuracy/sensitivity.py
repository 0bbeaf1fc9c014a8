"""How much a network's decisions depend on its input contract: the same images under other sizes, values and crops.

No such slip raises an error. Where the images are crops already, a wider margin repeats their border, since what lies
beyond them is not known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fer_bench.accuracy import changes
from fer_bench.accuracy.changes import MOST, Data, Draw, Floats, Predict, Sample, probabilities
from fer_bench.accuracy.effects import Effect, Sensitivity
from fer_bench.accuracy.transforms import Picture
from fer_bench.networks.contract import InputContract
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, brief

_TRY = "a change"  # where a changed contract has its fields from
_VALUES = {
    "[0, 1]": ((0.0, 1.0), (0.0,), (1.0,)),
    "[-1, 1]": ((-1.0, 1.0), (0.0,), (1.0,)),
    "[-0.5, 0.5]": ((-0.5, 0.5), (0.0,), (1.0,)),
    "[0, 255]": ((0.0, 255.0), (0.0,), (1.0,)),
    "FER2013's mean 0.507, std 0.255": ((0.0, 1.0), (0.507,), (0.255,)),
}
_IMAGENET = {1: ((0.485,), (0.229,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


def sensitivity(network: Predict, data: Data, contract: InputContract, *, most: int | None = MOST) -> Sensitivity:
    """Compare a network's decisions under its contract with those under other ones.

    Args:
        network: a module, or a callable in eval mode: float32 (N, C, H, W) -> logits or probabilities (N, K).
        data: the images; labels where there are some.
        contract: what the network was trained with.
        most: images at most, spread evenly over the data; None for all.

    Raises:
        FerBenchError: there are no images, or their classes are not the network's.

    Examples:
        >>> faces = fb.load_data(fb.make_faces("few", images=40), split="private", cache=False)
        >>> network = fb.create_model("mini_xception", num_classes=7, in_channels=1)
        >>> found = fb.sensitivity(network, faces, fb.find("mini_xception").input)
        >>> found.images, [row["change"] for row in found.rows()][:2]
        (4, ['as the contract says', '[0, 1]'])
    """
    with changes.evaluating(network) as predict:
        return _sensitivity(predict, data, contract, most)


def _sensitivity(predict: Predict, data: Data, contract: InputContract, most: int | None) -> Sensitivity:
    sample = Sample.of(data, contract, most)
    has_colour = any(image.ndim == 3 for image in sample.images)
    reference = probabilities(predict, sample.images, contract)
    effects = []
    for change in _changes(contract, has_colour):
        if change.contract.same_input(contract) and change.picture is _as_it_is and change.tensor is _as_is:
            continue
        try:
            found = probabilities(predict, sample.images, change.contract, change.picture, change.tensor)
        except (RuntimeError, ValueError, FerBenchError) as error:  # a size that the network cannot take
            effects.append(Effect(change.kind, change.name, failed=brief(error)))
            continue
        effects.append(_effect(change, reference, found, sample))
    labelled = sample.labels >= 0
    return Sensitivity(
        images=len(sample.images),
        labelled=int(labelled.sum()),
        hits=_hits(reference, sample),
        top=float(reference.max(1).mean()),
        effects=tuple(effects),
    )


def _as_it_is(image: Picture, _: int) -> Picture:
    return image


def _as_is(batch: Tensor) -> Tensor:
    return batch


@dataclass(frozen=True, slots=True)
class _Change:
    kind: str
    name: str
    contract: InputContract
    picture: Draw = _as_it_is
    tensor: Callable[[Tensor], Tensor] = _as_is


def _effect(change: _Change, reference: Floats, found: Floats, sample: Sample) -> Effect:
    return Effect(
        change.kind,
        change.name,
        same=int((found.argmax(1) == reference.argmax(1)).sum()),
        total_variation=float(np.abs(found - reference).sum(1).mean() / 2),
        hits=_hits(found, sample),
    )


def _hits(found: Floats, sample: Sample) -> int:
    return int((found.argmax(1) == sample.labels).sum())  # no class is -1


def _standardised(batch: Tensor) -> Tensor:
    mean, std = batch.mean((1, 2, 3), keepdim=True), batch.std((1, 2, 3), keepdim=True)
    return (batch - mean) / std.clamp_min(1e-6)


def _changes(contract: InputContract, has_colour: bool) -> Iterator[_Change]:
    def other(kind: str, name: str, **fields: Any) -> _Change:
        return _Change(kind, name, contract.replace(_TRY, **fields))

    for name, (value_range, mean, std) in _VALUES.items():
        yield other("values", name, value_range=value_range, mean=mean, std=std)
    statistics = dict(zip(("mean", "std"), _IMAGENET[contract.channels], strict=True))
    yield other("values", "ImageNet's mean and std", value_range=(0.0, 1.0), **statistics)
    yield _Change("values", "each image standardised", contract, tensor=_standardised)
    height, width = contract.size
    smaller = max(1, height * 3 // 4), max(1, width * 3 // 4)
    for size in (smaller, (2 * height, 2 * width)):
        yield other("size", f"{units.size(size)} in place of {units.size(contract.size)}", size=size)
    yield _Change("size", f"through {units.size(smaller)}", contract, changes.through(*smaller))
    for resize in ("nearest", "area"):
        yield other("resize", resize, resize=resize, antialias=False)
    for resize in ("bilinear", "bicubic"):
        for antialias in (False, True):
            name = f"{resize}, {'antialiased as Pillow' if antialias else 'as OpenCV'}"
            yield other("resize", name, resize=resize, antialias=antialias)
    if has_colour:
        yield _Change("colour", "red and blue swapped", contract, changes.swapped)
    if has_colour and contract.colour == "grey":
        yield other("colour", "grey is the mean of red, green, blue", grey_weights=(1 / 3, 1 / 3, 1 / 3))
        yield other("colour", "grey is green", grey_weights=(0.0, 1.0, 0.0))
    for share in (-0.2, -0.1, 0.1, 0.2, 0.5):
        name = f"{abs(share):.0%} {'more at' if share > 0 else 'less of'} each side"
        yield _Change("crop", name, contract, changes.margin(share))
    yield _Change("crop", "10% more at left and right alone", contract, changes.widened(0.1))
    for share in (0.05, 0.1):
        yield _Change("crop", f"moved to the right by {share:.0%}", contract, changes.shifted(share, 0))
    yield _Change("crop", "moved down by 10%", contract, changes.shifted(0, 0.1))
    for degrees in (10, 20):
        yield _Change("picture", f"tilted by {degrees} degrees", contract, changes.tilted(degrees))
    yield _Change("picture", "mirrored", contract, changes.mirrored)
    yield _Change("picture", "upside down", contract, changes.upside_down)
    yield _Change("picture", "histogram equalised", contract, changes.equalised)
    yield _Change("picture", "JPEG of quality 30", contract, changes.jpeg(30))
