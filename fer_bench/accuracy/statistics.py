"""Statistics of classified images: pure functions of counts, without numpy, so that reading commands start at once.

A confusion matrix is K rows of K counts: rows are the true classes, columns the predicted ones. Conventions: a class
that no image has (``support`` 0) is left out of means over classes, and ``Scores.absent`` names it; a class that was
never predicted has precision and F1 0, and counts. scikit-learn, scipy and statsmodels give the same numbers in the
tests. What follows from the outputs themselves is in ``calibration``.
"""

import functools
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from fer_bench.records import stats
from fer_bench.records.result import Json, Result
from fer_bench.records.stats import LEVEL

CONFUSION = "accuracy.confusion"  # the measurement that has it, row by row
PREDICTIONS = "accuracy.predictions"  # the measurement that has the outputs

Confusion = Sequence[Sequence[int]]
Ends = tuple[float, float]

# Labelled images below which the order of classes is not judged: in simulation a folder-alphabetical order is
# recognised in 2 % of cases with 50 images, 59 % with 100 and 99 % with 200.
PROBE_LEAST = 200
_PROBE_ERROR = 0.01  # of all wrong orders together; each of the K! - 1 gets its share
_PROBE_FEW = 20  # images of a class, below which it cannot show that it moved
_MOST_CLASSES = 16  # of an assignment: its time and memory double with each
_DRAWS = 2000  # of a bootstrap


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: ``hits`` of ``support`` images were recognised, ``predicted`` images were said to be of it."""

    name: str
    support: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float | None:
        """Return the share of its images that were recognised; None where there is no image."""
        return self.hits / self.support if self.support else None

    @property
    def recall_interval(self) -> Ends | None:
        return wilson(self.hits, self.support) if self.support else None

    @property
    def f1(self) -> float | None:
        return 2 * self.hits / (self.support + self.predicted) if self.support else None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a confusion matrix says.

    Attributes:
        classes: in the order of the matrix.
        macro_f1, balanced_accuracy: means over the classes that have images.
        weighted_f1: the mean weighted by their numbers of images.
        kappa: Cohen's; None where chance alone would agree always.
        mcc: Matthews' correlation for several classes (Gorodkin 2004); 0 where one side is constant.
        absent: classes without images.
    """

    images: int
    hits: int
    classes: tuple[ClassScores, ...]
    macro_f1: float
    weighted_f1: float
    balanced_accuracy: float
    kappa: float | None
    mcc: float
    absent: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        return self.hits / self.images

    @property
    def interval(self) -> Ends:
        return wilson(self.hits, self.images)


def scores(confusion: Confusion, classes: Sequence[str]) -> Scores:
    """Compute the scores of a confusion matrix.

    Raises:
        ValueError: it is not square, does not fit the classes, or counts no image.
    """
    size = len(classes)
    if len(confusion) != size or any(len(row) != size for row in confusion):
        raise ValueError(f"a confusion matrix of {size} classes has {size} rows of {size} counts")
    supports, predicted = [sum(row) for row in confusion], [sum(column) for column in zip(*confusion, strict=True)]
    images, hits = sum(supports), sum(confusion[k][k] for k in range(size))
    if not images:
        raise ValueError("a confusion matrix without images has no scores")
    each = tuple(ClassScores(name, supports[k], predicted[k], confusion[k][k]) for k, name in enumerate(classes))
    there = [one for one in each if one.support]
    chance = sum(ours * theirs for ours, theirs in zip(supports, predicted, strict=True))
    spread = math.sqrt(_square(images, supports)) * math.sqrt(_square(images, predicted))
    return Scores(
        images,
        hits,
        each,
        macro_f1=math.fsum(one.f1 or 0.0 for one in there) / len(there),
        weighted_f1=math.fsum((one.f1 or 0.0) * one.support for one in there) / images,
        balanced_accuracy=math.fsum(one.recall or 0.0 for one in there) / len(there),
        kappa=(hits * images - chance) / (images**2 - chance) if images**2 != chance else None,
        mcc=(hits * images - chance) / spread if spread else 0.0,
        absent=tuple(one.name for one in each if not one.support),
    )


def _square(images: int, counts: Sequence[int]) -> int:
    return images**2 - sum(count**2 for count in counts)


def confusion_of(labels: Sequence[int], predicted: Sequence[int], size: int) -> list[list[int]]:
    """Count a confusion matrix from true and predicted class numbers, each from 0 to ``size`` - 1."""
    counts = [[0] * size for _ in range(size)]
    for label, prediction in zip(labels, predicted, strict=True):
        counts[label][prediction] += 1
    return counts


def scores_in(result: Result) -> Scores | None:
    """Return the scores of a result; None where its network was not evaluated, or failed."""
    found = confusion_in(result)
    return None if found is None else scores(*found)


def confusion_in(result: Result) -> tuple[list[list[int]], tuple[str, ...]] | None:
    """Return the confusion matrix of a result and its classes, without those whose outputs were masked; or None."""
    measured = result.measurement(CONFUSION)
    if measured is None or not measured.values:
        return None
    classes = list(measured.details["classes"])
    kept = [place for place, name in enumerate(classes) if name not in measured.details.get("masked", ())]
    cells = [[int(measured.values[row * len(classes) + column]) for column in kept] for row in kept]
    return cells, tuple(classes[place] for place in kept)


def is_rendered(result: Result) -> bool:
    """Return whether a network was evaluated on rendered faces."""
    return bool(_conditions(result).get("data", {}).get("manifest", {}).get("rendered"))


def data_name(result: Result) -> str:
    """Name the data and the split that a network was evaluated on, and several passes: "FER2013, private"; or ""."""
    known = _conditions(result)
    if not known:
        return ""
    data, passes = known.get("data", {}), known.get("tta", 1)
    name = "rendered faces" if is_rendered(result) else data.get("name", "images")
    return f"{name}, {data.get('split', 'all')}{f', {passes} passes' if passes > 1 else ''}"


def _conditions(result: Result) -> Mapping[str, Json]:
    measured = result.measurement(CONFUSION)
    return measured.details if measured is not None and measured.values else {}


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(hits: float, images: float, level: float = LEVEL) -> Ends:
    """Return Wilson's score interval (1927) of a share of independent images."""
    z = _z(level)
    centre, width = hits + z * z / 2, z * math.sqrt(hits * (images - hits) / images + z * z / 4)
    # Rounding must not put an end beyond a share of 0 or 1.
    low, high = ((centre + sign * width) / (images + z * z) for sign in (-1, 1))
    return (max(0.0, low) if hits else 0.0), (min(1.0, high) if hits < images else 1.0)


def over_persons(
    values: Sequence[float], persons: Sequence[str | int], seed: int = 0, draws: int = _DRAWS, level: float = LEVEL
) -> Ends:
    """Return the percentile interval of a mean over images, by a bootstrap over persons.

    Images of one person are alike, so that persons are drawn with all their images (a cluster bootstrap). ``values``
    are 1 for a hit and 0 for a miss, or differences of two networks' hits.
    """
    of_person: dict[str | int, list[float]] = defaultdict(list)
    for person, value in zip(persons, values, strict=True):
        of_person[person].append(value)
    sums = [(math.fsum(own), len(own)) for own in of_person.values()]
    chance = random.Random(seed)  # noqa: S311  # a statistic, and no secret
    means = []
    for _ in range(draws):
        drawn = chance.choices(sums, k=len(sums))
        means.append(math.fsum(total for total, _ in drawn) / sum(count for _, count in drawn))
    return stats.quantile(means, (1 - level) / 2), stats.quantile(means, (1 + level) / 2)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two networks on the same images, as counts: who was right where.

    Attributes:
        both: images on which both were right.
        first: on which the first alone was right; ``second``: the second alone.
        neither: on which both were wrong.
    """

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> "Paired":
        """Count from each network's hits, image by image."""
        pairs = list(zip(first, second, strict=True))
        return cls(*(pairs.count(each) for each in ((True, True), (True, False), (False, True), (False, False))))

    @property
    def images(self) -> int:
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """Return the accuracy of the second less that of the first."""
        return (self.second - self.first) / self.images

    @property
    def interval(self) -> Ends:
        """Return the 95 % interval of the difference (``tango``)."""
        return tango(self.second, self.first, self.images)

    @property
    def p(self) -> float:
        """Return the p of McNemar's exact test."""
        return mcnemar(self.first, self.second)

    def images_for(self, margin: float) -> int | None:
        """Return how many such images would place the interval within ±margin; None where no number would.

        The shares of images on which one alone is right are assumed to stay as they are here.
        """
        if abs(self.difference) >= margin:
            return None

        def decides(images: int) -> bool:
            ends = tango(self.second * images / self.images, self.first * images / self.images, images)
            return -margin < ends[0] and ends[1] < margin

        high = 1
        while not decides(high):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if decides(middle) else (middle, high)
        return high


def mcnemar(first: int, second: int) -> float:
    """Return the two-sided p of McNemar's exact test, from the numbers of images on which one alone is right."""
    images, term, total = first + second, 1, 0
    for few in range(min(first, second) + 1):
        total += term
        term = term * (images - few) // (few + 1)
    return min(1.0, 2 * total / (1 << images))


def tango(plus: float, minus: float, images: float, level: float = LEVEL) -> Ends:
    """Return Tango's score interval (1998, Statistics in Medicine 17) of a difference of paired shares.

    Args:
        plus: images on which one alone is right, whose share is the first of the difference.
        minus: images on which the other alone is right.
        images: all of them.
        level: of confidence.
    """
    z = _z(level)

    def score(difference: float) -> float:
        """Return how many standard errors the counts lie above a difference."""
        b = (2 * images - plus + minus) * difference - plus - minus
        c = -minus * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 8 * images * c)) - b) / (4 * images)  # likeliest, of minus
        variance = images * (2 * share + difference * (1 - difference))
        above = plus - minus - images * difference
        return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0

    def end(low: float, high: float, wanted: float) -> float:
        while (middle := (low + high) / 2) not in (low, high):
            low, high = (middle, high) if score(middle) > wanted else (low, middle)
        return middle

    point = (plus - minus) / images
    return end(-1.0, point, z), end(point, 1.0, -z)


def holm(values: Sequence[float]) -> list[float]:
    """Return the p values of several comparisons adjusted by Holm (1979), in their order."""
    adjusted, most = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = most
    return adjusted


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a network's classes are in the order that was assumed.

    Attributes:
        verdict: "as named"; "permuted", where another order explains the predictions; or "undecided".
        names: for each output, the class that it fits best.
        accuracy: under the order assumed.
        best: under ``names``.
        p: of McNemar's exact test between the two orders, on the same images.
        reason: of the verdict.
    """

    verdict: Literal["as named", "permuted", "undecided"]
    names: tuple[str, ...]
    accuracy: float
    best: float
    p: float
    reason: str


def probe(confusion: Confusion, classes: Sequence[str]) -> Probe:
    """Judge the order of a network's classes by its confusion matrix on labelled images.

    The best one-to-one assignment of outputs to classes is compared with the assumed one by McNemar's exact test, at
    a p below 0.01/(K! - 1). It says something only where the best order predicts better than the most frequent class
    does, and where each output that moves is mostly of its new class, or that class mostly goes there. The assumed
    order is confirmed by the same evidence: all outputs but one, whose name then remains, must show their class. A
    network that collapsed, was not trained, or meets another kind of images is undecided.

    Use images that selected nothing and are not the test set: a validation split.
    """
    whole = scores(confusion, classes)
    best = assignment(confusion)
    names = tuple(classes[row] for row in best)
    moved = [k for k in range(len(classes)) if best[k] != k]
    p = mcnemar(sum(confusion[k][k] for k in moved), sum(confusion[best[k]][k] for k in moved))
    hits = sum(confusion[best[k]][k] for k in range(len(classes)))

    def judged(verdict: Literal["as named", "permuted", "undecided"], reason: str) -> Probe:
        return Probe(verdict, names, whole.accuracy, hits / whole.images, p, reason)

    if whole.images < PROBE_LEAST:
        return judged("undecided", f"{whole.images} labelled images, and {PROBE_LEAST} are needed")
    frequent = max(sum(row) for row in confusion) / whole.images
    if wilson(hits, whole.images)[0] <= frequent:
        return judged("undecided", "no order predicts better than the most frequent class does")
    if p >= _PROBE_ERROR / max(1, math.factorial(len(classes)) - 1):
        if wilson(whole.hits, whole.images)[0] <= frequent:
            return judged("undecided", "as named it predicts no better than the most frequent class does")
        unclear = [name for k, name in enumerate(classes) if not _is_clear(confusion, k, k)]
        if len(unclear) > 1:
            return judged(
                "undecided", f"no other order is significantly better, and {', '.join(unclear)} are not recognised"
            )
        return judged("as named", "no other order is significantly better")
    if unclear := [names[k] for k in moved if not _is_clear(confusion, best[k], k)]:
        return judged("undecided", f"another order is better, and unclear for {', '.join(unclear)}")
    return judged("permuted", "another order of the classes is significantly better")


def _is_clear(confusion: Confusion, row: int, column: int) -> bool:
    """Return whether an output is mostly of one class, or the class mostly goes to it, or has too few images to say."""
    here = confusion[row][column]
    few = sum(confusion[row]) < _PROBE_FEW
    most = here == max(confusion[row]) or here == max(line[column] for line in confusion)
    return few or (here > 0 and most)


def assignment(confusion: Confusion) -> list[int]:
    """Return for each column the row that it fits best, one to one, so that the sum of the cells is largest.

    Exact, by dynamic programming over sets of rows: for the 7 or 8 expressions that is 1,000 to 2,000 steps, so that
    scipy is not needed. Of equal assignments the one nearest to the identity is returned.

    Raises:
        ValueError: there are more classes than can be assigned in a second.
    """
    size = len(confusion)
    if size > _MOST_CLASSES:
        raise ValueError(f"{size} classes: at most {_MOST_CLASSES} can be assigned")

    @functools.cache
    def best(column: int, used: int) -> tuple[tuple[int, int], tuple[int, ...]]:
        """Return the largest sum from a column on, then the most rows at their place, with the rows."""
        if column == size:
            return (0, 0), ()
        found = []
        for row in range(size):
            if not used >> row & 1:
                (total, kept), rest = best(column + 1, used | 1 << row)
                found.append(((total + confusion[row][column], kept + (row == column)), (row, *rest)))
        return max(found)

    return list(best(0, 0)[1])
