"""The variants of a sweep as a table, in the order of the sweep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fer_bench.accuracy.curves import Choice, Point, chance_maximum
from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency, sweeps
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table

_STEP = "training_step_s"
_STEP_SHARE = "training_step_share"
_OF_FRONT = "parameters, MACs, latency and training step, as far as all have them,"
_COLUMNS = (
    Column("place", "No.").with_origin("The variant's place in the sweep, from 1."),
    Column("variant", "Variant", align="left").with_origin("The variant's label in the sweep."),
    replace(standard.PARAMETERS, write=units.grouped),
    standard.KERAS_TOTAL,
    standard.MACS,
    replace(standard.ACTIVATIONS, better="lower"),
    standard.LATENCY,
    standard.INTERVAL,
    standard.NODE,
    Column(_STEP, "Step (ms)", units.milliseconds, better="lower", tolerance=_STEP_SHARE).with_origin(
        "Median of the training steps of one process.", _STEP
    ),
    Column("epoch_s", "Epoch (s)", units.number, tolerance=_STEP_SHARE).with_origin(
        "Training step by the steps of an epoch; data loading is not in it.", _STEP
    ),
    Column("recipe_s", "Training (s)", units.number, tolerance=_STEP_SHARE).with_origin(
        "Epoch by the epochs of the recipe; data loading, validation and early stopping are not in it.", _STEP
    ),
    Column("validation_share", "Validation (%)", units.hundredths).with_origin(
        "Accuracy on the validation split, of the given curves or of the variant's checkpoint."
    ),
    Column("test_share", "Test (%)", units.hundredths).with_origin("Likewise on the test split."),
    Column("front", "Front", align="left").with_origin(
        f"Whether no other variant is as good in {_OF_FRONT} and in accuracy where it is known, and better in one.",
        *("parameters.trainable", "macs", latency.LATENCY, _STEP),
    ),
    Column("chosen", "Choice", align="left").with_origin(
        "The best variant on validation, those that cannot be told apart from it, and the one that the paper chose."
    ),
)


def variants(
    title: str,
    labels: Sequence[str],
    results: Sequence[Result],
    accuracies: Mapping[str, Point],
    choice: Choice | None = None,
    *,
    images: int | None = None,
    epochs: int | None = None,
    published: str = "",
) -> Table:
    """Draw the variants of a sweep, those on the front marked, and the best one where accuracies are known.

    Args:
        title: of the sweep.
        labels: of its variants, in order.
        results: of the same.
        accuracies: by label.
        choice: the best variant.
        images: of a training epoch, for its time; None for no such column.
        epochs: of the whole training, likewise.
        published: the label of the variant that the paper chose.
    """
    gains = [accuracies[label].chosen_on.value if label in accuracies else None for label in labels]
    on_front = sweeps.front(results, gains if accuracies else ())
    entries, several = [], standard.NODE in common.varying(results)
    for place, (label, result, best) in enumerate(zip(labels, results, on_front, strict=True), 1):
        row = common.head(result) | standard.counted(result) | {"place": place, "variant": label}
        if (summary := latency.summary(result)) is not None:
            row |= common.latency_cells(summary)
        step = result.measurement(_STEP)
        row |= {_STEP: latency.median_of(result, _STEP), _STEP_SHARE: latency.share_of(result, _STEP)}
        if images is not None and step is not None and row[_STEP]:
            row["epoch_s"] = row[_STEP] * math.ceil(images / step.details["batch_size"])
            row["recipe_s"] = row["epoch_s"] * epochs if epochs is not None else None
        if (point := accuracies.get(label)) is not None:
            row |= {
                f"{split}_share": share.value if share is not None else None
                for split, share in (("validation", point.validation), ("test", point.test))
            }
        row["node"] = row["node"] if several else None
        row["front"] = "yes" if best else None
        row["chosen"] = ", ".join(_marks(label, choice, published)) or None
        entries.append(Entry.of(result, row, *common.failures(result)))
    timed, unlike = any(result.samples(_STEP) or latency.summary(result) for result in results), sweeps.apart(results)
    caption = common.joined(
        "Parameters: trainable. Keras total: with the statistics of batch norm.",
        f"{standard.MACS_ARE}.",
        f"Front: no other variant is as good in {_OF_FRONT}"
        f"{' and in accuracy,' if accuracies else ''} and better in one."
        if any(on_front)
        else "",
        common.conditions(results) if timed else "",
        f"Variants that differ in {', '.join(unlike)} have a front each." if unlike and timed and any(on_front) else "",
        "Epoch and training: the median step by their number. Their digits follow the spread of the steps of one "
        "process; that another process or another day differs by some percent is not in it."
        if images is not None
        else "",
    )
    return make_table(f"Sweep: {title}", _COLUMNS, entries, caption)


def of_series(one: sweeps.Series) -> Table:
    """Draw the variants of a network that a paper tried, and say what the paper's choice among them is worth."""
    published = one.published if one.published is not None and one.published.best in one.labels else None
    table = variants(one.title, one.labels, one.results, {}, published=published.best if published else "")
    if published is None:
        return table
    on_front = any(row["variant"] == published.best and row["front"] for row in table.rows)
    return replace(table, caption=common.joined(table.caption, choice_of_paper(published, one.of, on_front=on_front)))


def choice_of_paper(published: sweeps.Published, of: int, *, on_front: bool) -> str:
    """Say how much of the accuracy by which a paper chose a variant the best of so many would show by chance."""
    excess = chance_maximum(published.accuracy, published.images, of)
    return (
        f"Paper {published.paper} chose {published.best}, {'' if on_front else 'not '}on the front, as the best of "
        f"{of} by a test accuracy of {100 * published.accuracy:g} %: the best of {of} equal variants would show "
        f"{100 * excess:.2f} points above their true accuracy by chance, on {published.images:,} images."
    )


def _marks(label: str, choice: Choice | None, published: str) -> list[str]:
    best = ["best"] if choice is not None and label == choice.best.variant else []
    tied = ["tied"] if choice is not None and label in choice.tied else []
    return best + tied + (["the paper's"] if label == published else [])


_BEFORE, _AFTER = ("before_s", "before_share"), ("after_s", "after_share")
_CALIBRATION = (
    replace(standard.NODE, setting=False),
    Column("device_name", "Device", align="left").with_origin("The node's processor or GPU.", evidence="machine"),
    Column(_BEFORE[0], "Before (ms)", units.milliseconds, tolerance=_BEFORE[1]).with_origin(
        "Median latency of the reference network before the variants.", latency.LATENCY
    ),
    Column(_AFTER[0], "After (ms)", units.milliseconds, tolerance=_AFTER[1]).with_origin(
        "Likewise after them.", latency.LATENCY
    ),
    Column("drift", "Drift (%)", units.hundredths).with_origin("After, divided by before, less 1.", latency.LATENCY),
    Column("against_first", "Against the first (%)", units.hundredths).with_origin(
        "Before, divided by the first node's, less 1.", latency.LATENCY
    ),
)


def calibration(references: Sequence[Result]) -> Table:
    """Draw the latency of the reference network on each node, before the variants and after them.

    Args:
        references: its results; of a node the first and the last are drawn, and of one that was lost the first.
    """
    entries = []
    pairs = _by_node(references)
    first_s = latency.median_of(pairs[0][0], latency.LATENCY)
    for before, after in pairs:
        row: standard.Row = {}
        if before.environment is not None:
            row |= {"node": before.environment.node, "device_name": before.environment.device_name}
        for result, (key, share) in ((before, _BEFORE), (after, _AFTER)):
            if result is not None:
                row[key] = latency.median_of(result, latency.LATENCY)
                row[share] = latency.share_of(result, latency.LATENCY)
        before_s = row.get(_BEFORE[0])
        row["drift"] = _drift(before, after)
        row["against_first"] = before_s / first_s - 1 if before_s and first_s else None
        both = [result for result in (before, after) if result is not None]
        notes = [note for result in both for note in common.failures(result)]
        entries.append(Entry.of(before, row, *notes))
    name = references[0].subject.name
    caption = f"The reference network, {name}, before all variants and after them: what differs is the node."
    return replace(make_table("Calibration", _CALIBRATION, entries, caption, comparable=False), name="calibration")


def drifts(references: Sequence[Result]) -> str:
    """Say how far each node drifted from before the variants to after them; "" where that was not measured."""
    known = [
        (before.environment.node, drift)
        for before, after in _by_node(references)
        if before.environment is not None and (drift := _drift(before, after)) is not None
    ]
    if not known:
        return ""
    said = ", ".join(f"{100 * drift:+.1f} % on node {node}" for node, drift in known)
    return f"Latency of the reference network, {references[0].subject.name}, after the variants against before: {said}."


def _by_node(references: Sequence[Result]) -> list[tuple[Result, Result | None]]:
    """Return the first and the last result of each node, None for the last of one."""
    of: dict[str, list[Result]] = {}
    for result in sorted(references, key=lambda one: one.started_at):
        of.setdefault(result.environment.node if result.environment is not None else "", []).append(result)
    return [(results[0], results[-1] if len(results) > 1 else None) for results in of.values()]


def _drift(before: Result, after: Result | None) -> float | None:
    before_s, after_s = (one and latency.median_of(one, latency.LATENCY) for one in (before, after))
    return after_s / before_s - 1 if before_s and after_s else None
