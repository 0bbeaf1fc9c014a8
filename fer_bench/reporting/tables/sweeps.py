"""The variants of a sweep as a table, in the order of the sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fer_bench.accuracy.curves import Choice, Point
from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, sweeps
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table

_STEP = "training_step_s"
_STEP_SHARE = "training_step_share"
_COLUMNS = (
    Column("place", "No."),
    Column("variant", "Variant", align="left"),
    replace(standard.PARAMETERS, write=units.grouped),
    standard.KERAS_TOTAL,
    standard.MACS,
    replace(standard.ACTIVATIONS, better="lower"),
    standard.LATENCY,
    standard.INTERVAL,
    Column(_STEP, "Step (ms)", units.milliseconds, better="lower", tolerance=_STEP_SHARE).with_origin(
        "Median of the training steps of one process.", _STEP
    ),
    Column("epoch_s", "Epoch (s)", units.number, tolerance=_STEP_SHARE).with_origin(
        "Training step by the steps of an epoch; data loading is not in it.", _STEP
    ),
    Column("validation_share", "Validation (%)", units.hundredths),
    Column("test_share", "Test (%)", units.hundredths),
    Column("front", "Front", align="left"),
    Column("chosen", "Choice", align="left"),
)


def variants(
    title: str,
    labels: Sequence[str],
    results: Sequence[Result],
    accuracies: Mapping[str, Point],
    choice: Choice | None = None,
    images: int | None = None,
) -> Table:
    """Draw the variants of a sweep, those on the front marked, and the best one where accuracies are known.

    Args:
        title: of the sweep.
        labels: of its variants, in order.
        results: of the same.
        accuracies: by label.
        choice: the best variant.
        images: of a training epoch, for its time; None for no such column.
    """
    gains = [accuracies[label].chosen_on.value if label in accuracies else None for label in labels]
    on_front = sweeps.front(results, gains if accuracies else ())
    entries = []
    for place, (label, result, best) in enumerate(zip(labels, results, on_front, strict=True), 1):
        row = common.head(result) | standard.counted(result) | {"place": place, "variant": label}
        if (summary := latency.summary(result)) is not None:
            row |= common.latency_cells(summary)
        step = result.measurement(_STEP)
        row |= {_STEP: latency.median_of(result, _STEP), _STEP_SHARE: latency.share_of(result, _STEP)}
        if images is not None and step is not None and row[_STEP]:
            row["epoch_s"] = row[_STEP] * images / step.details["batch_size"]
        if (point := accuracies.get(label)) is not None:
            row |= {
                f"{split}_share": share.value if share is not None else None
                for split, share in (("validation", point.validation), ("test", point.test))
            }
        row["front"] = "yes" if best else None
        if choice is not None and label == choice.best.variant:
            row["chosen"] = "best"
        elif choice is not None and label in choice.tied:
            row["chosen"] = "tied"
        entries.append(Entry.of(result, row, *common.failures(result)))
    caption = common.joined(
        "Parameters: trainable. Keras total: with the statistics of batch norm.",
        f"{standard.MACS_ARE}.",
        "Front: no other variant is as good in every cost that is shown"
        + (" and in accuracy," if accuracies else "")
        + " and better in one."
        if any(on_front)
        else "",
        common.conditions(results) if any(latency.summary(result) for result in results) else "",
    )
    return make_table(f"Sweep: {title}", _COLUMNS, entries, caption)
