"""Costs and accuracies over the variants of a sweep, in the form of paper 000's Fig. 3 and 4."""

from collections.abc import Mapping, Sequence

from fer_bench.accuracy.curves import Choice
from fer_bench.accuracy.curves import Point as Accuracy
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.analysis.sweeps import Series
from fer_bench.reporting.figures import common
from fer_bench.reporting.figures.plots import Axis, Line, Point, Scatter, Written

_QUANTITIES: Mapping[str, tuple[str, str, Written]] = {
    "parameters": ("parameters.keras_total", "Parameters, Keras total", "count"),
    "macs": ("macs", "MACs per image", "count"),
    "latency": ("latency_s", "Latency (ms)", "seconds"),
    "training": ("training_step_s", "Training step (ms)", "seconds"),
}


def curves(
    title: str,
    labels: Sequence[str],
    results: Sequence[Result],
    accuracies: Mapping[str, Accuracy],
    choice: Choice | None = None,
    named: Sequence[str] = (),
) -> dict[str, Scatter]:
    """Draw each quantity that was measured over the variants in their order, by the stem of its file.

    A count that is lower than the one before it has a colour of its own.

    Args:
        title: of the sweep.
        labels: of its variants, in order.
        results: of the same.
        accuracies: by label.
        choice: the best variant, which is named.
        named: others that are.
    """
    drawn = {}
    marked = (*named, choice.best.variant) if choice is not None else tuple(named)
    for name, (metric, heading, quantity) in _QUANTITIES.items():
        values = {label: latency.median_of(r, metric) for label, r in zip(labels, results, strict=True)}
        if sum(value is not None for value in values.values()) > 1:
            drawn[f"sweep_{name}"] = _curve(title, heading, quantity, labels, values, marked)
    for split in ("validation", "test"):
        shares = {label: getattr(point, split) for label, point in accuracies.items()}
        values = {label: share.value if share is not None else None for label, share in shares.items()}
        if sum(value is not None for value in values.values()) > 1:
            heading = f"{split.capitalize()} accuracy (%)"
            drawn[f"sweep_{split}"] = _curve(title, heading, "share", labels, values, marked)
    return drawn


def of_series(one: Series) -> dict[str, Scatter]:
    """Draw what was measured of the variants of a network that a paper tried; the paper's choice is named."""
    named = (one.published.best,) if one.published is not None else ()
    drawn = curves(one.title, one.labels, one.results, {}, named=named)
    return {f"{one.stem}{stem.removeprefix('sweep')}": plot for stem, plot in drawn.items()}


def _curve(
    title: str,
    heading: str,
    quantity: Written,
    labels: Sequence[str],
    values: Mapping[str, float | None],
    marked: Sequence[str],
) -> Scatter:
    known = [(place, label, value) for place, label in enumerate(labels, 1) if (value := values.get(label)) is not None]
    points, before = [], None
    for place, label, value in known:
        falls = quantity == "count" and before is not None and value < before
        group = "lower than the variant before" if falls else "variant"
        named = label in marked
        points.append(Point(label if named else "", group, float(place), value, named=named))
        before = value
    lower = sum(point.group != "variant" for point in points)
    axis = common.axis(heading, quantity, [value for _, _, value in known])
    return Scatter(
        title=f"{heading} over {title}",
        caption=f"{heading} of the {len(known)} variants of {title}, in their order."
        + (f" {lower} are lower than the one before." if lower else ""),
        x=Axis("Variant, by its number", "number"),
        y=axis,
        groups=tuple(dict.fromkeys(point.group for point in points)),
        points=tuple(points),
        lines=(Line("", tuple((float(place), value) for place, _, value in known), points[0].group),),
    )
