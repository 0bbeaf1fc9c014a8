"""Learning curves: loss and accuracy by epoch, as paper 002's Fig. 7 and paper 004's Fig. 12 to 17 and 19."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fer_bench.records.result import Result
from fer_bench.reporting.analysis import trainings
from fer_bench.reporting.figures.common import labels
from fer_bench.reporting.figures.plots import Axis
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common

_PANELS = (("loss", "Loss"), ("accuracy", "Accuracy (%)"))


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity by epoch, the mean over seeds with its lowest and highest, of training images or of others."""

    label: str
    training: bool
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


@dataclass(frozen=True, slots=True)
class LearningCurves:
    """Loss and accuracy by epoch, a panel each; ``panels`` have an axis and its curves."""

    title: str
    caption: str
    x: Axis
    panels: tuple[tuple[Axis, tuple[Curve, ...]], ...]
    notes: tuple[str, ...] = ()
    kind: Literal["learning_curves"] = "learning_curves"


def learning_curves(results: Sequence[Result]) -> LearningCurves | None:
    """Draw loss and accuracy of training and validation by epoch, trainings beside each other.

    Returns:
        The plot, or None where no training has finished an epoch.
    """
    measured = [r for r in results if trainings.is_training(r) and trainings.series(r, "loss")]
    if not measured:
        return None
    groups = trainings.alike(measured)
    names = _names(groups)
    panels = tuple(
        (Axis(title, "share" if quantity == "accuracy" else "number"), tuple(_curves(groups, names, quantity)))
        for quantity, title in _PANELS
    )
    seeds = max(len(group) for group in groups)
    over = " Band: lowest and highest of the seeds; line: their mean." if seeds > 1 else ""
    return LearningCurves(
        "Learning curves",
        f"Lines: images that select the weights; dashed: training images, augmented and with dropout.{over} "
        + common.conditions(measured),
        Axis("Epoch", "count"),
        panels,
    )


def _names(groups: Sequence[Sequence[Result]]) -> list[str]:
    firsts = [group[0] for group in groups]
    return [f"{label}, {trainings.recipe(result)}" for label, result in zip(labels(firsts), firsts, strict=True)]


def _curves(groups: Sequence[Sequence[Result]], names: Sequence[str], quantity: str) -> Iterator[Curve]:
    for (group, name), prefix in itertools.product(zip(groups, names, strict=True), ("", "validation_")):
        runs = [series for result in group if (series := trainings.series(result, f"{prefix}{quantity}"))]
        by_epoch = [[run[at] for run in runs if at < len(run)] for at in range(max(map(len, runs), default=0))]
        if by_epoch:
            yield Curve(
                name,
                not prefix,
                tuple(sum(values) / len(values) for values in by_epoch),
                tuple(map(min, by_epoch)),
                tuple(map(max, by_epoch)),
                len(runs),
            )


def curve_table(results: Sequence[Result]) -> Table:
    """List the values of every epoch of every training, as a CSV has them."""
    fields = ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate", *_SECONDS)
    rows = []
    for result in results:
        if not trainings.is_training(result):
            continue
        series = {name: trainings.series(result, name) for name in fields}
        for at in range(len(series["loss"])):
            values = {name: of[at] if at < len(of) else None for name, of in series.items()}
            of = {"name": result.subject.name, "recipe": trainings.recipe(result), "seed": result.plan.seed}
            rows.append({**of, "epoch": at + 1, **values})
    headings = ("name", "recipe", "seed", "epoch", *fields)
    columns = tuple(Column(name, name.replace("_", " ").capitalize(), str) for name in headings)
    return Table("Epochs of trainings", columns, tuple(rows), "Losses in nats, accuracies as shares, times in seconds.")


_SECONDS = ("data_s", "step_s", "evaluation_s")
