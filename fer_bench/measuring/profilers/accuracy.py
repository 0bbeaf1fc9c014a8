"""Accuracy: what a network says of labelled images, under its input contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.measuring.messages import Job
from fer_bench.measuring.profilers.kinds import Alive, Make
from fer_bench.networks.weights import selected_on
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import Evaluation, Plan
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset
    from fer_bench.accuracy.evaluate import Settings

# Splits by the names that data sets have for them, the first that is there.
_TEST = ("private", "test")
_VALIDATION = ("public", "validation", "valid", "val")
UNJUDGED = "none"  # probe: the order of the outputs is taken as it is named

# Relative, of an output beside others than alone: what rounding alone does in a precision.
_TOLERANCES = {"fp32": 1e-4, "default": 5e-3, "tf32": 5e-3, "bf16": 5e-2, "fp16": 1e-2}


def measure_accuracy(make: Make, plan: Plan, job: Job, alive: Alive = lambda: None) -> Iterator[Measurement]:
    """Evaluate a network on the job's data.

    Returns:
        ``accuracy.confusion`` with the conditions, ``accuracy.predictions``, and ``accuracy.evaluation_s``.

    Raises:
        FerBenchError: the data cannot be read, do not fit the contract, or show that the outputs are permuted.
    """
    from fer_bench.accuracy.evaluate import evaluate

    if not job.data or job.contract is None:
        raise FerBenchError("accuracy needs data and an input contract; try: fer-bench evaluate --data PATH")
    data, validation = load(job.data, plan.evaluation or Evaluation())
    alive()
    model, _ = make()
    yield from evaluate(
        model,
        data,
        job.contract,
        settings_of(plan, job.checkpoint),
        validation=validation,
        device=plan.device,
        alive=alive,
    ).measurements()


def settings_of(plan: Plan, checkpoint: str = "") -> "Settings":
    """Return the settings of a plan's evaluation of a checkpoint's weights."""
    from fer_bench.accuracy.evaluate import Settings

    how = plan.evaluation or Evaluation()
    return Settings(
        extra=how.extra,
        tta=how.tta,
        batch=how.batch,
        seed=plan.seed,
        group_by=how.group_by,
        tolerance=_TOLERANCES[plan.precision],
        sensitivity=how.sensitivity,
        robustness=how.robustness,
        selected_on=_selected(how.selected_on) or (selected_on(checkpoint) if checkpoint else {}),
    )


def _selected(given: str) -> dict[str, Json]:
    """Return what a user says of what selected the weights."""
    from fer_bench.accuracy.data.folders import split_of

    if given in ("", "last", "unknown"):
        return {"on": given} if given else {}
    split = split_of(given)
    return {"on": "test" if split in _TEST else "validation", "split": split}


def splits_of(path: str | Path) -> tuple[str | None, str]:
    """Return the names of a data set's validation split, None where it has none, and of its test split.

    Raises:
        FerBenchError: the data cannot be read.
    """
    from fer_bench.accuracy.data.loading import ALL, load_data

    there = load_data(path, split=ALL).manifest.counts
    validation, test = (next((name for name in names if name in there), None) for names in (_VALIDATION, _TEST))
    return validation, test or ALL


def load(path: str | Path, how: Evaluation) -> "tuple[Dataset, Dataset | None]":
    """Return the images to evaluate on, and those by which the order of the outputs is judged, if there are any.

    Raises:
        FerBenchError: the data cannot be read, or have no such split, rule, class or column.
    """
    from fer_bench.accuracy.data.loading import ALL, load_data

    if how.probe in _TEST:
        raise FerBenchError(f"--probe {how.probe}: a test set decides nothing; try: a validation split, or none")

    def loaded(split: str) -> "Dataset":
        return load_data(path, split=split, rule=how.rule or None, classes=how.data_classes or None)

    every = None if how.split and how.probe in (UNJUDGED, how.split) else loaded(ALL)
    there = every.manifest.counts if every is not None else {}
    split = how.split or next((name for name in _TEST if name in there), ALL)
    data = every if every is not None and split == ALL else loaded(split)
    if how.group_by:
        data.group(how.group_by)
    probe = how.probe or next((name for name in _VALIDATION if name in there), UNJUDGED)
    if probe == UNJUDGED:
        return data, None
    return data, data if probe == split else loaded(probe)
