"""Statistics of a classifier's outputs: how sure it is, and how rightly. Pure functions on arrays.

``outputs`` are (N, K): logits, or probabilities where every row is one. ``labels`` are (N,) class numbers from 0.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

BINS = 15  # of a reliability table, as Guo et al. (2017) have it
_SUM = 1e-3  # by which the sum of a row of probabilities may differ from 1
_SIMULATED = 1000  # sets of labels, of which a quantile is taken


@dataclass(frozen=True, slots=True)
class Bin:
    """Images of a similar confidence: how many, their mean confidence, and how many were classified rightly."""

    low: float
    high: float
    images: int
    confidence: float
    hits: int

    @property
    def accuracy(self) -> float:
        return self.hits / self.images


def are_probabilities(outputs: Floats) -> bool:
    """Return whether each row is non-negative and adds up to 1, so that a network ends in a softmax itself."""
    if not outputs.size:
        return False
    return bool(outputs.min() >= 0 and np.abs(outputs.sum(axis=1, dtype=np.float64) - 1).max() <= _SUM)


def probabilities(outputs: Floats) -> NDArray[np.float64]:
    """Return the softmax of logits as (N, K), in float64; probabilities are returned as they are, of sum 1."""
    wide = outputs.astype(np.float64)
    if are_probabilities(outputs):
        return np.asarray(wide / wide.sum(axis=1, keepdims=True))
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def nll(outputs: Floats, labels: Labels) -> float:
    """Return the mean negative log likelihood of the true classes, in nats; infinite where one has probability 0."""
    rows = np.arange(len(labels))
    if are_probabilities(outputs):
        with np.errstate(divide="ignore"):
            return float(-np.log(probabilities(outputs)[rows, labels]).mean())
    wide = outputs.astype(np.float64)
    most = wide.max(axis=1)
    return float((most + np.log(np.exp(wide - most[:, None]).sum(axis=1)) - wide[rows, labels]).mean())


def brier(outputs: Floats, labels: Labels) -> float:
    """Return Brier's score (1950), from 0 to 2: the mean over images of the squared errors of all probabilities."""
    errors = probabilities(outputs)
    errors[np.arange(len(labels)), labels] -= 1
    return float((errors**2).sum(axis=1).mean())


def top(outputs: Floats, labels: Labels, count: int) -> int:
    """Return on how many images the true class is among the ``count`` of largest output; of equal ones the first."""
    places = np.argsort(-outputs.astype(np.float64), axis=1, kind="stable")[:, :count]
    return int((places == labels[:, None]).any(axis=1).sum())


def element_accuracy(outputs: Floats, labels: Labels) -> float:
    """Return the share of all N x K probabilities on the right side of 0.5, as Keras' "binary accuracy" has it.

    It is no accuracy of a classifier: saying nothing is right for K - 1 of K elements, which is 85.7 % of seven. Paper
    003 seems to print it.
    """
    wanted = np.zeros(outputs.shape, dtype=bool)
    wanted[np.arange(len(labels)), labels] = True
    return float(((probabilities(outputs) > 0.5) == wanted).mean())


def reliability(outputs: Floats, labels: Labels, bins: int = BINS, of: Literal["width", "mass"] = "width") -> list[Bin]:
    """Return the reliability table: images by their confidence, the largest probability.

    Args:
        outputs: (N, K).
        labels: (N,).
        bins: how many; a bin without images is left out.
        of: equal "width", or equal "mass", which is as many images in each.
    """
    confidence, hit, place, edges = _binned(outputs, labels, bins, of)
    found = []
    for number in range(bins):
        inside = place == number
        if count := int(inside.sum()):
            low, high = float(edges[number]), float(edges[number + 1])
            found.append(Bin(low, high, count, float(confidence[inside].mean()), int(hit[inside].sum())))
    return found


def expected_error(table: list[Bin]) -> float:
    """Return the expected calibration error (Naeini et al. 2015): the mean of |accuracy - confidence| over images."""
    images = sum(one.images for one in table)
    return sum(one.images * abs(one.accuracy - one.confidence) for one in table) / images


def null_error(
    outputs: Floats, bins: int = BINS, of: Literal["width", "mass"] = "width", level: float = 0.95, seed: int = 0
) -> float:
    """Return the quantile of the expected calibration error that perfectly calibrated outputs would have.

    The error is biased upwards: of few images chance alone makes it large. Labels are drawn by the confidence itself,
    so that an error below this quantile shows no miscalibration.
    """
    confidence, _, place, _ = _binned(outputs, np.zeros(len(outputs), dtype=np.int64), bins, of)
    sums = np.bincount(place, confidence, bins)
    chance = np.random.default_rng(seed)
    errors = [
        np.abs(np.bincount(place, chance.random(len(place)) < confidence, bins) - sums).sum() / len(place)
        for _ in range(_SIMULATED)
    ]
    return float(np.quantile(errors, level))


def _binned(
    outputs: Floats, labels: Labels, bins: int, of: Literal["width", "mass"]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
    """Return each image's confidence, whether it was a hit, and its bin; and the edges of the bins."""
    sure = probabilities(outputs)
    confidence, hit = sure.max(axis=1), sure.argmax(axis=1) == labels
    if of == "width":
        edges = np.linspace(0, 1, bins + 1)
        place = np.searchsorted(edges[1:-1], confidence, side="left")  # a bin has its upper edge
        return confidence, hit, place, edges
    order = np.argsort(confidence, kind="stable")
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order)) * bins // len(order)
    inner = [float(confidence[place >= number].min(initial=1.0)) for number in range(1, bins)]
    return confidence, hit, place, np.array([confidence.min(), *inner, confidence.max()])
