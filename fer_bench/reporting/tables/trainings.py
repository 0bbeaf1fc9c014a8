"""Trainings: what their recipes came to, a row for all seeds of one, and what was predicted against what happened."""

from collections.abc import Sequence

from fer_bench.accuracy.statistics import wilson
from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import resources, trainings
from fer_bench.reporting.analysis.trainings import Mean, mean
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table

_LOSS, _ACCURACY = "train.loss", "train.validation_accuracy"
_SECONDS = ("train.data_s", "train.step_s", "train.evaluation_s")
_COLUMNS = (
    Column("recipe", "Recipe", align="left", setting=True).with_origin("The plan's recipe.", _LOSS),
    Column("seeds", "Seeds", units.grouped).with_origin("Trainings that differ in their seed alone.", _LOSS),
    Column("epochs", "Epochs", units.grouped).with_origin("Epochs made, the mean over seeds.", _LOSS),
    Column("best", "Best", units.grouped).with_origin("Epoch whose weights were kept, the mean over seeds.", _LOSS),
    Column("selected", "Selected on", align="left").with_origin("The split that selected the weights.", _LOSS),
    Column("validation", "Validation (%)", units.hundredths).with_origin(
        "Accuracy of the kept weights on the split that selected them, the mean over seeds.", _ACCURACY
    ),
    Column("test", "Test (%)", units.hundredths, interval="test_interval").with_origin(
        "Accuracy on the test split, the mean over seeds; the interval is Student's over seeds, of one seed Wilson's.",
        "accuracy.confusion",
    ),
    Column("epoch_s", "Epoch (s)", units.number).with_origin(
        "Seconds of an epoch's steps with the wait for images, the mean over epochs and seeds.", *_SECONDS[:2]
    ),
    Column("data_share", "Data (%)", units.hundredths).with_origin(
        "Share of these seconds that was waited for images.", *_SECONDS[:2]
    ),
    Column("predicted_s", "Predicted (s)", units.number, interval="predicted_interval").with_origin(
        "All epochs, by steps timed before: epochs x (steps x mean step + evaluation). The interval is of the step.",
        "train.predicted_step_s",
        "train.predicted_image_s",
    ),
    Column("took_s", "Took (s)", units.number).with_origin(
        "Seconds of the epochs made, evaluation included.", *_SECONDS
    ),
    Column("cores_used", "Cores used", units.number).with_origin(
        "Processor seconds of the process and its children over those of the steps, the mean over seeds.",
        "training.interval_s",
        "training.process_user_s",
        "training.process_system_s",
    ),
    Column("rss_bytes", "RSS (MiB)", units.mebibytes).with_origin(
        "Largest resident set of process and children, sampled once a second.", "training.rss_bytes"
    ),
    Column("joules", "J/epoch", units.number).with_origin("Joules of the counter, idle included.", "train.joules"),
)


def trained(results: Sequence[Result]) -> Table:
    """Draw what each recipe came to."""
    measured = [result for result in results if trainings.is_training(result)]
    entries = []
    for group in trainings.alike(measured):
        notes = [text for result in group for text in (*common.failures(result), *_notes(result))]
        row = common.head(group[0]) | _cells(group)
        entries.append(Entry(row, tuple(dict.fromkeys(notes)), RowSource(tuple(group))))
    caption = (
        f"{common.conditions(measured)} Best: epoch whose weights were kept. Test: on the test split; its interval is "
        "Student's at 95 % over seeds, of a single seed Wilson's. Predicted: before the training began, for all of the "
        "recipe's epochs; a training that stopped early took less. Cores and memory count the loader's workers."
    )
    columns = (standard.NETWORK, standard.INPUT, *common.varying(measured), *_COLUMNS)
    return make_table("Trainings", columns, entries, caption)


def _cells(group: Sequence[Result]) -> standard.Row:
    """Return the cells of trainings that differ in their seed."""
    begun = [result for result in group if trainings.series(result, "loss")]
    steps_s = [s for result in begun for s in _added(result)]
    waited = sum(sum(trainings.series(result, "data_s")) for result in begun)
    used = [occupied for result in begun if (occupied := resources.occupancy(result, "training"))]
    test = mean([share for result in begun if (share := trainings.test_share(result)) is not None])
    predicted = [its for result in group if (its := trainings.predicted_s(result)) is not None]
    took = mean([trainings.took_s(result) for result in begun])
    joules = [value for result in begun for value in trainings.series(result, "joules")]
    return {
        "recipe": trainings.recipe(group[0]),
        "seeds": len({result.plan.seed for result in group}),
        "epochs": _epochs([len(trainings.series(result, "loss")) for result in begun]),
        "best": _epochs([epoch for result in begun if (epoch := trainings.best_epoch(result))]),
        "selected": _selected(begun),
        "validation": _value(mean([share for result in begun if (share := _validation(result)) is not None])),
        "test": _value(test),
        "test_interval": _interval(begun, test),
        "epoch_s": _value(mean(steps_s)),
        "data_share": waited / sum(steps_s) if steps_s and sum(steps_s) else None,
        "predicted_s": _value(mean([its.value for its in predicted])),
        "predicted_interval": predicted[0].ends if len(predicted) == 1 else None,
        "took_s": _value(took),
        "cores_used": _value(mean([occupied["cores_used"] for occupied in used])),
        "rss_bytes": max((occupied["rss_bytes"] for occupied in used), default=None),
        "joules": _value(mean(joules)),
    }


def _value(of: Mean | None) -> float | None:
    return of.value if of is not None else None


def _epochs(numbers: Sequence[int]) -> float | None:
    """Return the mean to a tenth, and a whole one as an integer."""
    value = round(sum(numbers) / len(numbers), 1) if numbers else None
    return int(value) if value is not None and value.is_integer() else value


def _added(result: Result) -> list[float]:
    """Return the seconds of each epoch's steps."""
    waits, steps = trainings.series(result, "data_s"), trainings.series(result, "step_s")
    return [wait + step for wait, step in zip(waits, steps, strict=True)]


def _validation(result: Result) -> float | None:
    """Return the validation accuracy of the kept epoch."""
    shares, best = trainings.series(result, "validation_accuracy"), trainings.best_epoch(result)
    return shares[best - 1] if best is not None and best <= len(shares) else None


def _selected(begun: Sequence[Result]) -> str | None:
    names = []
    for result in begun:
        about = trainings.details(result).get("selected")
        if isinstance(about, dict):
            names.append(
                str(about.get("split") or about.get("on")) + (", the test set" if about["on"] == "test" else "")
            )
    return " or ".join(dict.fromkeys(names)) or None


def _interval(begun: Sequence[Result], test: Mean | None) -> tuple[float, float] | None:
    """Return Student's interval over seeds, or Wilson's of the images where there is one seed."""
    if test is None or test.ends is not None:
        return test.ends if test is not None else None
    one = next(result for result in begun if trainings.test_share(result) is not None)
    measured = one.measurement("accuracy.confusion")
    images = sum(measured.values) if measured is not None else 0
    return wilson(round(test.value * images), images) if images else None


def _notes(result: Result) -> list[str]:
    """Say what a reader must know of one training."""
    about = trainings.details(result)
    notes = []
    measured = result.measurement(_LOSS)
    notes += [f"Seed {result.plan.seed}: {text}." for text in (measured.warnings if measured is not None else ())]
    if about.get("stopped"):
        notes.append(f"Seed {result.plan.seed} ended early: {about['stopped']}.")
    if about.get("rendered"):
        notes.append("Rendered faces, no person's.")
    if resumed := about.get("resumed"):
        exact = "to the same bits" if about.get("exact") else "to the step"
        notes.append(f"Seed {result.plan.seed} went on {len(resumed)} times after it was ended, {exact}.")
    return notes
