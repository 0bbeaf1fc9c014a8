"""Measured accuracies: of networks, classes, groups and pairs of networks.

Rendered faces have tables of their own. What papers print stands nowhere here: its conditions are others.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench.accuracy import statistics
from fer_bench.accuracy.effects import ROBUSTNESS, SENSITIVITY, Robustness, Sensitivity
from fer_bench.accuracy.statistics import CONFUSION, PREDICTIONS, data_name, is_rendered
from fer_bench.records import units
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.reporting.analysis import trainings
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, effects, standard
from fer_bench.reporting.tables.common import Entry, make_table

if TYPE_CHECKING:
    from fer_bench.accuracy.predictions import Predictions

RENDERED = "_rendered"  # ends the names of tables and columns of rendered faces
_METRIC = "accuracy"
_SHARE = units.hundredths


def _between(ends: Sequence[float]) -> str:
    """Write the ends of an interval in per cent: "64.1–67.2"."""
    return units.EN_DASH.join(f"{100 * end:.1f}" for end in ends)


def _share(key: str, heading: str, how: str, *metrics: str, interval: str = "") -> Column:
    column = Column(key, heading, _SHARE, interval=interval, better="higher" if interval else None)
    return column.with_origin(how, *(metrics or (CONFUSION,)))


DATA = Column("data", "Data", align="left").with_origin("The data set, and which split of it.", CONFUSION)
IMAGES = Column("images", "Images", units.grouped).with_origin("Labelled images.", CONFUSION)
_WILSON = "Wilson's interval at 95 %, of independent images."
TOP1 = _share("top1_share", "Accuracy (%)", "Share of images with the largest output right.", interval="interval_share")
INTERVAL = Column("interval_share", "95 % interval (%)", _between).with_origin(_WILSON, CONFUSION)
_OVER_PERSONS = Column("interval_person_share", "over persons (%)", _between).with_origin(
    "Percentile interval at 95 % of a bootstrap over persons, who have several images.", PREDICTIONS
)
_COLUMNS = (
    DATA,
    Column("weights", "Weights", align="left").with_origin("The file of weights: the record's subject.", CONFUSION),
    IMAGES,
    TOP1,
    INTERVAL,
    _OVER_PERSONS,
    _share("balanced_share", "Balanced (%)", "Mean recall of the classes that have images."),
    _share("macro_f1", "Macro F1 (%)", "Mean F1 of the classes that have images."),
    _share("top2_share", "Top-2 (%)", "Share with the true class among the two largest outputs.", PREDICTIONS),
    Column("kappa", "Kappa", units.number).with_origin("Cohen's kappa.", CONFUSION),
    Column("nll", "NLL", units.number).with_origin("Mean negative log likelihood in nats.", PREDICTIONS),
    _share("ece", "ECE (%)", "Expected calibration error, 15 bins of equal width.", PREDICTIONS),
    _share("ece_null", "of calibrated (%)", "What calibrated outputs stay below in 95 % of cases.", PREDICTIONS),
    Column("passes", "Passes").with_origin(
        "Augmented passes of each image; the cost is as many times as high.", CONFUSION
    ),
)
_MEANS = (
    "Interval: Wilson's, of independent images. ECE: expected calibration error of 15 bins; below the value of "
    "calibrated outputs it shows nothing."
)
_CLASS_COLUMNS = (
    Column("class", "Class", align="left").with_origin("The true class.", CONFUSION),
    DATA,
    Column("support", "Images", units.grouped).with_origin("Images of the class.", CONFUSION),
    Column("predicted", "Predicted", units.grouped).with_origin("Images that are said to be of the class.", CONFUSION),
    _share("precision", "Precision (%)", "Right ones among those said to be of the class; 0 where there is none."),
    _share("recall", "Recall (%)", "Right ones among those of the class."),
    Column("recall_interval", "95 % interval (%)", _between).with_origin(_WILSON, CONFUSION),
    _share("f1", "F1 (%)", "Harmonic mean of precision and recall."),
)


def _conditions(result: Result) -> Mapping[str, Json]:
    measured = result.measurement(CONFUSION)
    return measured.details if measured is not None else {}


def told(result: Result) -> list[str]:
    """Describe the conditions of a measured accuracy, as notes."""
    known = _conditions(result)
    if not known:
        return []
    manifest, contract, probe = known["data"].get("manifest", {}), known.get("contract", {}), known.get("probe")
    assumed = [name for name, source in contract.get("sources", {}).items() if source == "assumed"]
    texts = [
        f"Labels: {manifest.get('label_rule', 'unknown')}; split: {manifest.get('split_rule', 'unknown')}.",
        f"Of the input contract is assumed: {', '.join(assumed)}." if assumed else "",
        f"Order of the outputs: {probe['verdict']} ({probe['reason']}; split {probe['split']})." if probe else "",
        f"{', '.join(known['masked'])}: masked, since the data lack it." if known.get("masked") else "",
        f"{known['tta']} augmented passes for each image." if known.get("tta", 1) > 1 else "",
    ]
    return [text for text in texts if text] + common.warnings_of(result, "accuracy.")


def measured_cells(result: Result) -> dict[str, Json]:
    """Return the cells of a measured accuracy that follow from the counts; none where there is none."""
    found = statistics.scores_in(result)
    if found is None:
        return {}
    return {
        "data": data_name(result),
        "weights": _weights(result),
        "images": found.images,
        "top1_share": found.accuracy,
        "interval_share": found.interval,
        "balanced_share": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
        "kappa": found.kappa,
        "passes": passes if (passes := _conditions(result).get("tta", 1)) > 1 else None,
    }


def binary_accuracies(results: Sequence[Result]) -> list[str]:
    """Say what Keras reports as "binary accuracy", of all elements of the outputs: no share of images."""
    from fer_bench.accuracy import calibration

    said = []
    for result in results:
        if (found := _outputs(result)) is not None:
            outputs, labels = found.scored
            share, chance = calibration.element_accuracy(outputs, labels), 1 - 1 / outputs.shape[1]
            said.append(
                f"{result.subject.name}: binary accuracy {units.percent(share)} of {outputs.size:,} elements; outputs "
                f"that are all below 0.5 have {units.percent(chance)}."
            )
    return said


def tables(results: Sequence[Result]) -> dict[str, Table]:
    """Draw the tables of measured accuracies; those of rendered faces apart."""
    asked = common.asked(results, _METRIC)
    drawn: dict[str, Table] = {}
    for suffix in ("", RENDERED):
        chosen = [result for result in asked if is_rendered(result) == bool(suffix)]
        if chosen:
            drawn |= {f"{stem}{suffix}": _apart(table, suffix) for stem, table in _tables(chosen).items()}
    return drawn


def _apart(table: Table, suffix: str) -> Table:
    """Say of a table that its faces are rendered, unless the name of the data in its title does."""
    named = not suffix or "rendered" in table.title
    return table if named else replace(table, title=f"{table.title} on rendered faces")


def _tables(results: Sequence[Result]) -> dict[str, Table]:
    evaluated = [result for result in results if result.measurement(CONFUSION) is not None]
    outputs = [(result, _outputs(result)) for result in evaluated]
    return {
        "accuracy": _accuracy(results, {id(result): found for result, found in outputs}),
        "accuracy_pairs": _pairs(outputs),
        "accuracy_groups": _groups(outputs),
        "accuracy_classes": _classes(evaluated),
        "confusion": _confusion(evaluated),
        **_effects(evaluated),
    }


def _outputs(result: Result) -> "Predictions | None":
    from fer_bench.accuracy.predictions import Predictions  # with numpy, which other tables do without

    return Predictions.of(result)


def _accuracy(results: Sequence[Result], outputs: Mapping[int, "Predictions | None"]) -> Table:
    entries = []
    for result in results:
        found = outputs.get(id(result))
        row = common.head(result) | measured_cells(result) | (_of_outputs(found) if found is not None else {})
        entries.append(Entry.of(result, row, *told(result), *common.failures(result)))
    same = len({found.images_sha256 for found in outputs.values() if found is not None}) < 2
    caption = common.joined(common.conditions(results), _MEANS, "" if same else _APART)
    return make_table("Accuracy", (*common.head_columns(results), *_COLUMNS), entries, caption, comparable=same)


_APART = "Rows of different images are not comparable."


def _of_outputs(found: "Predictions") -> dict[str, Json]:
    from fer_bench.accuracy import calibration
    from fer_bench.accuracy.predictions import PERSON

    outputs, labels = found.scored
    persons = found.groups.get(PERSON, ())
    repeat = len(set(persons)) < len(persons)
    hits = [float(hit) for hit in found.hits]
    return {
        "top2_share": calibration.top(outputs, labels, 2) / len(labels),
        "nll": calibration.nll(outputs, labels),
        "ece": calibration.expected_error(calibration.reliability(outputs, labels)),
        "ece_null": calibration.null_error(outputs),
        "interval_person_share": statistics.over_persons(hits, persons) if repeat else None,
    }


def _pairs(outputs: Sequence[tuple[Result, "Predictions | None"]]) -> Table:
    """Compare networks on the same images, two at a time."""
    found = [
        (first, second, ours.paired(theirs))
        for (first, ours), (second, theirs) in itertools.combinations(outputs, 2)
        if ours is not None and theirs is not None and ours.images_sha256 == theirs.images_sha256
    ]
    adjusted = statistics.holm([pair.p for *_, pair in found])
    columns = (
        standard.NETWORK,
        Column("second", "against", align="left").with_origin("The other network.", PREDICTIONS),
        DATA,
        IMAGES,
        Column("first_alone", "first alone", units.grouped).with_origin("Right where the second is not.", PREDICTIONS),
        Column("second_alone", "second alone", units.grouped).with_origin("Right where the first is not.", PREDICTIONS),
        Column("difference", "Difference (points)", _SHARE).with_origin(
            "Of accuracies, second less first.", PREDICTIONS
        ),
        Column("interval_difference", "95 % interval", _signed).with_origin("Tango's paired interval.", PREDICTIONS),
        Column("p", "McNemar p", _p).with_origin("McNemar's exact test, two-sided.", PREDICTIONS),
        Column("p_holm", "by Holm", _p).with_origin("Adjusted by Holm for all pairs of the table.", PREDICTIONS),
    )
    entries = [
        Entry.of(
            first,
            common.head(first)
            | {
                "second": _label(second),
                "name": _label(first),
                "data": data_name(first),
                "images": pair.images,
                "first_alone": pair.first,
                "second_alone": pair.second,
                "difference": pair.difference,
                "interval_difference": pair.interval,
                "p": pair.p,
                "p_holm": holm if len(found) > 1 else None,
            },
        )
        for (first, second, pair), holm in zip(found, adjusted, strict=True)
    ]
    caption = "The same images: the interval is Tango's for paired shares. The p beside it decides nothing by itself."
    return make_table("Networks on the same images", columns, entries, caption)


def _weights(result: Result) -> str | None:
    """Name the file of weights, or the training that they came of; None of a module, whose weights are its own."""
    if recipe := trainings.recipe(result):
        return f"trained by {recipe}, seed {result.plan.seed}"
    named = result.subject.checkpoint.partition(" (sha256")[0]
    return named or (None if result.subject.status == "unregistered" else "none given")


def _label(result: Result) -> str:
    """Name a network with what distinguishes it from itself: weights and precision."""
    weights = result.subject.checkpoint.partition(" (sha256")[0]
    return " ".join(filter(None, (result.subject.name, weights, result.plan.precision.replace("fp32", ""))))


def _signed(ends: Sequence[float]) -> str:
    return " to ".join(f"{100 * end:+.2f}" for end in ends)


def _p(value: float) -> str:
    return f"{value:.2g}"


def _groups(outputs: Sequence[tuple[Result, "Predictions | None"]]) -> Table:
    """Draw the accuracy for each value of the column that was asked for, and how far apart they are."""
    columns = (
        standard.NETWORK,
        Column("value", "Group", align="left").with_origin("A value of the column asked for.", PREDICTIONS),
        DATA,
        IMAGES,
        TOP1,
        INTERVAL,
        _share("gap_share", "below the best (points)", "The largest accuracy of a group less this one.", PREDICTIONS),
    )
    entries = []
    for result, found in outputs:
        column = _conditions(result).get("group_by")
        if found is None or not column or column not in found.groups:
            continue
        groups = found.by_group(column)
        best = max(hits / images for hits, images in groups.values())
        for value, (hits, images) in groups.items():
            row: dict[str, Json] = {
                "name": result.subject.name,
                "value": f"{column}: {value}",
                "data": data_name(result),
            }
            row |= {"images": images, "top1_share": hits / images, "interval_share": statistics.wilson(hits, images)}
            entries.append(Entry.of(result, row | {"gap_share": best - hits / images}))
    table = make_table("Accuracy by group", columns, entries, "Interval: Wilson's, of independent images.")
    return replace(table, named=2)


def _classes(results: Sequence[Result]) -> Table:
    entries = []
    for result in results:
        found = statistics.scores_in(result)
        for one in found.classes if found is not None else ():
            row: dict[str, Json] = {"name": _label(result), "class": one.name, "data": data_name(result)}
            row |= {"support": one.support, "predicted": one.predicted, "precision": one.precision}
            row |= {"recall": one.recall, "recall_interval": one.recall_interval, "f1": one.f1}
            absent = ["No image of this class: it is in no mean over classes."] if not one.support else []
            entries.append(Entry.of(result, row, *absent))
    columns = (standard.NETWORK, *_CLASS_COLUMNS)
    return _named(make_table("Accuracy by class", columns, entries, "A class that is never predicted has precision 0."))


def _named(table: Table) -> Table:
    """Let network and class name the rows, with the data where a network has several."""
    once = {(row["name"], row["class"]) for row in table.rows}
    return replace(table, named=2 if len(once) == len(table.rows) else 3)


def _confusion(results: Sequence[Result]) -> Table:
    """Draw confusion matrices as shares of each true class, with its number of images, as paper 004's Table 1 is."""
    names: dict[str, None] = {}
    entries = []
    for result in results:
        found = statistics.confusion_in(result)
        if found is None:
            continue
        counts, classes = found
        names |= dict.fromkeys(classes)
        for true, row in zip(classes, counts, strict=True):
            cells = {_column(name): count / sum(row) for name, count in zip(classes, row, strict=True) if sum(row)}
            known = {"name": _label(result), "class": true, "data": data_name(result), "support": sum(row)}
            entries.append(Entry.of(result, known | cells))
    how = "Share of the true class that is said to be this one."
    said = [Column(_column(name), name, _SHARE).with_origin(how, CONFUSION) for name in names]
    columns = (standard.NETWORK, *_CLASS_COLUMNS[:3], *said)
    caption = "Rows: true classes; columns: what the network says, in per cent of the row."
    return _named(make_table("Confusion matrix", columns, entries, caption))


def _effects(results: Sequence[Result]) -> dict[str, Table]:
    """Draw what changes of the input do, a table for each network that was tried so."""
    drawn: dict[str, Table] = {}
    for stem, result, measured in _tried(results, SENSITIVITY):
        table = effects.sensitivity(Sensitivity.of(measured).rows())
        drawn[stem] = replace(table, title=f"{table.title}: {_label(result)} on {data_name(result)}")
    for stem, result, measured in _tried(results, ROBUSTNESS):
        found = Robustness.of(measured)
        ordered = {name: found.images[name] for name in _conditions(result)["classes"] if name in found.images}
        found = replace(found, images=ordered)  # a file of records sorts them
        table = effects.robustness(found.rows(), found.accuracy)
        drawn[stem] = replace(table, title=f"{table.title}: {_label(result)} on {data_name(result)}")
    return drawn


def _tried(results: Sequence[Result], metric: str) -> Iterator[tuple[str, Result, Measurement]]:
    """Yield the stem of a table, the result, and the measurement, for each network that has the metric."""
    tried = [(r, one) for r in results if (one := r.measurement(metric)) is not None and not one.failure]
    for number, (result, measured) in enumerate(tried, 1):
        stem = metric.partition(".")[2] + (f"_{number}" if number > 1 else "")
        yield stem, result, measured


def _column(name: str) -> str:
    return f"said_{name}"


def efficiency_columns(results: Sequence[Result]) -> Iterator[Column]:
    """Yield what the efficiency table has of measured accuracies: of faces, and of rendered ones apart."""
    for suffix, heading in (("", "Accuracy, measured (%)"), (RENDERED, "Accuracy on rendered faces (%)")):
        if any(result.measurement(CONFUSION) and is_rendered(result) == bool(suffix) for result in results):
            yield replace(
                TOP1, key=f"top1_share{suffix}", heading=heading, better=None, interval=f"interval_share{suffix}"
            )


def efficiency_cells(result: Result) -> tuple[dict[str, Json], list[str]]:
    """Return the cells for these columns, and notes on the conditions."""
    found = measured_cells(result)
    if not found:
        return {}, []
    suffix = RENDERED if is_rendered(result) else ""
    weights = f", weights: {found['weights']}" if found["weights"] else ""
    passes = f", {found['passes']} augmented passes, of which the cost is one" if found["passes"] else ""
    note = (
        f"Measured on {found['images']:,} images of {found['data']}{weights}{passes}: "
        f"{_SHARE(found['top1_share'])} % ({_between(found['interval_share'])})."
    )
    return {f"{key}{suffix}": found[key] for key in ("top1_share", "interval_share")}, [note]
