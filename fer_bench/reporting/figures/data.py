"""A data set as figures: images of each class, and how often each grey level occurs, as paper 002's Fig. 5 and 6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fer_bench.records import units
from fer_bench.reporting.figures.plots import Axis
from fer_bench.reporting.tables.common import joined

_BINS = 64  # of 256 levels: a line of each level is a comb


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Images of each class: ``groups`` are splits, each with a count for each class."""

    title: str
    caption: str
    x: Axis
    classes: tuple[str, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    kind: Literal["class_counts"] = "class_counts"


@dataclass(frozen=True, slots=True)
class PixelLevels:
    """Shares of pixels by their level from 0 to 1: ``lines`` have a share for each of equally wide bins."""

    title: str
    caption: str
    x: Axis
    y: Axis
    lines: tuple[tuple[str, tuple[float, ...]], ...]
    kind: Literal["pixel_levels"] = "pixel_levels"


def class_counts(name: str, counts: Mapping[str, Mapping[str, int]], said: str = "") -> ClassCounts:
    """Draw the images of each class by split; ``said`` is what a reader must know of all of them."""
    classes = tuple(dict.fromkeys(known for of in counts.values() for known in of))
    groups = tuple((split, tuple(of.get(known, 0) for known in classes)) for split, of in counts.items())
    total = sum(sum(numbers) for _, numbers in groups)
    return ClassCounts(
        f"Images of each class: {name}",
        joined(f"{total:,} images of {len(classes)} classes.", said),
        Axis("Images", "count"),
        classes,
        groups,
    )


def pixel_levels(name: str, levels: Mapping[str, Sequence[int]], said: str = "") -> PixelLevels:
    """Draw how often each of 256 levels occurs.

    Args:
        name: of the data set.
        levels: by class or split, pixels of each level from 0 to 255.
        said: what a reader must know of all of them.
    """
    step = 256 // _BINS
    lines = []
    every = [0] * 256
    for label, of in levels.items():
        total = sum(of)
        every = [a + b for a, b in zip(every, of, strict=True)]
        lines.append((label, tuple(sum(of[at : at + step]) / total for at in range(0, 256, step))))
    mean, deviation = moments(every)
    return PixelLevels(
        f"Levels of pixels: {name}",
        joined(
            f"All pixels: mean {units.significant(mean)}, standard deviation {units.significant(deviation)}, on a "
            "scale from 0 to 1.",
            said,
        ),
        Axis("Level, from 0 to 1", "number"),
        Axis(f"Share of pixels in each of {_BINS} bins", "share"),
        tuple(lines),
    )


def moments(levels: Sequence[int]) -> tuple[float, float]:
    """Return mean and standard deviation of pixels, on a scale from 0 to 1, by how often each level occurs."""
    total = sum(levels)
    mean = sum(level * count for level, count in enumerate(levels)) / total
    variance = sum((level - mean) ** 2 * count for level, count in enumerate(levels)) / total
    return mean / 255, variance**0.5 / 255
