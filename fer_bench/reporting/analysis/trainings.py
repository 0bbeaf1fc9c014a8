"""What trainings came to: their curves, what they cost against what was predicted, and seeds of one together."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_bench.accuracy.statistics import scores_in
from fer_bench.records.plan import TRAINED
from fer_bench.records.result import Json, Result
from fer_bench.records.stats import LEVEL, student_t

PREFIX = "train."
_LEAST_SEEDS = 2  # one has no spread


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval by Student's t; without one where there is a single value."""

    value: float
    ends: tuple[float, float] | None
    count: int


def mean(values: Sequence[float]) -> Mean | None:
    """Return the mean of values, such as one of each seed; None of none."""
    if not values:
        return None
    middle = statistics.fmean(values)
    if len(values) < _LEAST_SEEDS:
        return Mean(middle, None, len(values))
    half = student_t(LEVEL, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Mean(middle, (middle - half, middle + half), len(values))


def is_training(result: Result) -> bool:
    """Report whether a network was trained, or that was tried."""
    return bool(set(TRAINED) & set(result.plan.metrics))


def details(result: Result) -> Mapping[str, Json]:
    """Return what a record says of a training; nothing where no epoch was finished."""
    measured = result.measurement(f"{PREFIX}loss")
    return measured.details if measured is not None else {}


def series(result: Result, name: str) -> tuple[float, ...]:
    """Return a value of each epoch, such as "validation_accuracy"; none where it was not measured."""
    measured = result.measurement(f"{PREFIX}{name}")
    return tuple(map(float, measured.values)) if measured is not None else ()


def recipe(result: Result) -> str:
    """Return the name of the recipe."""
    return result.plan.training.recipe if result.plan.training is not None else ""


def took_s(result: Result) -> float:
    """Return the seconds of all epochs, with the evaluations after them."""
    return sum(sum(series(result, name)) for name in ("data_s", "step_s", "evaluation_s"))


def predicted_s(result: Result) -> Mean | None:
    """Return the seconds that a training was to take, by steps timed before it began: of all of its epochs.

    The interval is that of the mean step, by Student's t over the steps that were timed.
    """
    measured = result.measurement(f"{PREFIX}predicted_step_s")
    if measured is None or (step := mean(list(map(float, measured.values)))) is None:
        return None
    known: Any = measured.details
    image = result.measurement(f"{PREFIX}predicted_image_s")
    evaluated = statistics.fmean(image.values) * known["validation_images"] if image and image.values else 0.0

    def total(step_s: float) -> float:
        return float(known["epochs"]) * (max(step_s, 0.0) * float(known["steps"]) + evaluated)

    ends = None if step.ends is None else (total(step.ends[0]), total(step.ends[1]))
    return Mean(total(step.value), ends, step.count)


def best_epoch(result: Result) -> int | None:
    """Return the epoch, from 1, whose weights were kept; None where none was finished."""
    selected = details(result).get("selected")
    return int(selected["epoch"]) if isinstance(selected, Mapping) and selected.get("epoch") else None


def test_share(result: Result) -> float | None:
    """Return the accuracy on the test split."""
    scores = scores_in(result)
    return scores.accuracy if scores is not None else None


def alike(results: Sequence[Result]) -> list[list[Result]]:
    """Return trainings that differ in their seed alone together, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        its, plan = result.subject, result.plan.to_dict() | {"seed": 0, "threads": 0, "wait": ""}
        key = (its.name, its.input_shape, its.settings, its.checkpoint, repr(plan), str(details(result).get("data")))
        groups.setdefault(key, []).append(result)
    return list(groups.values())
