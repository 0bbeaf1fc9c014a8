"""Choose the best of several variants by their accuracies, and judge how much of the best is chance.

A file of curves is a CSV with a row for each variant, or for each epoch of each variant: ``variant``, ``epoch`` if
there are several, ``validation_accuracy`` and ``test_accuracy`` as shares, and ``validation_images`` and
``test_images``, of which they are shares. One of the two splits may be left out.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_bench.accuracy.statistics import Ends, holm, wilson
from fer_bench.records.errors import FerBenchError, nearest

SPLITS = ("validation", "test")
_COLUMNS = ("variant", "epoch", *(f"{split}_{what}" for split in SPLITS for what in ("accuracy", "images")))
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy: the share of so many images."""

    value: float
    images: int

    @property
    def interval(self) -> Ends:
        """Return Wilson's 95 % interval."""
        return wilson(self.value * self.images, self.images)


@dataclass(frozen=True, slots=True)
class Point:
    """One variant after one epoch."""

    variant: str
    epoch: int | None
    validation: Share | None
    test: Share | None

    @property
    def chosen_on(self) -> Share:
        """The accuracy that decides: on the validation split, or without one on the test split."""
        share = self.validation or self.test
        assert share is not None  # noqa: S101  # `read_curves` refuses a row without both
        return share


@dataclass(frozen=True, slots=True)
class Choice:
    """The best of several variants.

    Attributes:
        best: the variant with the highest accuracy on the split that decides, at its best epoch.
        split: that decides, "validation" or "test".
        tied: other variants whose accuracy cannot be told apart from the best one's (Holm, 5 %).
        of: how many variants there are.
        by_chance: what the best of as many equal variants would show above their true accuracy, on average.
    """

    best: Point
    split: str
    tied: tuple[str, ...]
    of: int
    by_chance: float


def read_curves(path: str | Path, variants: Iterable[str]) -> dict[str, Point]:
    """Read the accuracies of variants, each at its best epoch on the split that decides.

    Raises:
        FerBenchError: the file cannot be read, lacks a column, or has a variant, a number or a split that is none.
    """
    known, best = list(variants), dict[str, Point]()
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames or ())
            points = [_point(path, reader.line_num, row, known) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FerBenchError(
            f"cannot read the accuracies {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not points:
        raise FerBenchError(f"{path} has no rows; try: a row for each variant")
    if len({point.validation is None for point in points}) > 1:
        raise FerBenchError(f"{path}: some rows have a validation accuracy and some none; try: one split for all rows")
    for point in points:
        if point.variant not in best or point.chosen_on.value > best[point.variant].chosen_on.value:
            best[point.variant] = point
    return best


def _check_header(path: str | Path, given: Sequence[str]) -> None:
    for name in given:
        if name not in _COLUMNS:
            raise FerBenchError(
                f"{path}: column {name!r} is unknown{nearest(name, _COLUMNS)}; known: {', '.join(_COLUMNS)}"
            )
    splits = [split for split in SPLITS if f"{split}_accuracy" in given]
    lacking = [name for name in ("variant", *(f"{split}_images" for split in splits)) if name not in given]
    if lacking or not splits:
        raise FerBenchError(
            f"{path} lacks {', '.join(lacking) or 'an accuracy'}; try: the columns variant, validation_accuracy, "
            "validation_images, test_accuracy and test_images"
        )


def _point(path: str | Path, line: int, row: dict[str, str], known: Sequence[str]) -> Point:
    variant, where = row["variant"] or "", f"{path}, line {line}"
    if variant not in known:
        raise FerBenchError(f"{where}: the sweep has no variant {variant!r}{nearest(variant, known)}")
    shares = {split: _share(where, split, row) for split in SPLITS}
    if not any(shares.values()):
        raise FerBenchError(f"{where}: {variant} has no accuracy")
    try:
        epoch = int(row["epoch"]) if row.get("epoch") else None
    except ValueError as error:
        raise FerBenchError(f"{where}: epoch {row['epoch']!r} is no whole number") from error
    return Point(variant, epoch, shares["validation"], shares["test"])


def _share(where: str, split: str, row: dict[str, str]) -> Share | None:
    accuracy, images = row.get(f"{split}_accuracy"), row.get(f"{split}_images")
    if not accuracy:
        return None
    try:
        share = Share(float(accuracy), int(images or ""))
    except ValueError as error:
        raise FerBenchError(f"{where}: {split} is {accuracy!r} of {images!r} images; try: 0.91 of 3573") from error
    if not (0 <= share.value <= 1 and share.images > 0):
        raise FerBenchError(f"{where}: {split} accuracy {accuracy} is no share from 0 to 1; try: 0.91 for 91 %")
    return share


def choose(points: Sequence[Point]) -> Choice:
    """Choose the variant with the highest accuracy; the first of equal ones.

    The others are compared with it by the z test of two shares, adjusted by Holm. The test takes the images as drawn
    for each variant. Where all saw the same images, differences are smaller by chance, so that more are called tied
    than a paired test would.
    """
    best = max(points, key=lambda point: point.chosen_on.value)
    others = [point for point in points if point is not best]
    adjusted = holm([_p(best.chosen_on, other.chosen_on) for other in others])
    return Choice(
        best,
        "validation" if best.validation is not None else "test",
        tuple(other.variant for other, p in zip(others, adjusted, strict=True) if p >= _ALPHA),
        len(points),
        chance_maximum(best.chosen_on.value, best.chosen_on.images, len(points)),
    )


def _p(one: Share, other: Share) -> float:
    """Return the two-sided p of the z test with a pooled share."""
    pooled = (one.value * one.images + other.value * other.images) / (one.images + other.images)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one.images + 1 / other.images))
    return math.erfc(abs(one.value - other.value) / error / math.sqrt(2)) if error else 1.0


def chance_maximum(share: float, images: int, variants: int) -> float:
    """Return by how much the best of several equal variants exceeds their true accuracy, on average.

    The hits of each are binomial and independent. On the same images they are correlated, and the excess is smaller.

    Args:
        share: the accuracy that all have.
        images: that each is evaluated on.
        variants: how many there are.
    """
    if not 0 < share < 1:
        return 0.0
    below, mean = 0.0, 0.0
    for hits in range(images):
        log = math.lgamma(images + 1) - math.lgamma(hits + 1) - math.lgamma(images - hits + 1)
        below += math.exp(log + hits * math.log(share) + (images - hits) * math.log1p(-share))
        mean += 1 - min(1.0, below) ** variants
    return mean / images - share
