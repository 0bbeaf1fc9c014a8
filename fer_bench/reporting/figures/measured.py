"""Measured accuracies as figures: against cost, by class, their calibration, and what is taken for what.

Rendered faces have figures of their own. What papers print is in ``accuracy``: its conditions are others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fer_bench.accuracy import statistics
from fer_bench.accuracy.statistics import PREDICTIONS, data_name, is_rendered
from fer_bench.records.result import Json, Result
from fer_bench.reporting.figures import common
from fer_bench.reporting.figures.accuracy import COSTS, pareto
from fer_bench.reporting.figures.plots import (
    Axis,
    ByClass,
    ClassShare,
    Confusion,
    Confusions,
    Line,
    OfClasses,
    Plot,
    Point,
    Scatter,
)
from fer_bench.reporting.tables.accuracy import RENDERED, measured_cells
from fer_bench.reporting.tables.common import conditions, joined
from fer_bench.reporting.tables.environments import as_built

_ENOUGH = 2  # networks; one has no front
_MOST = 6  # networks in a figure that has much of each
_WILSON = "Vertical bars: Wilson's interval at 95 %, of independent images."


def figures(results: Sequence[Result]) -> Iterator[tuple[str, Plot | None]]:
    """Yield figures of measured accuracies by the stem of their files, those of rendered faces apart."""
    for suffix, of, known in divided(results):
        if known:
            yield from ((f"measured_accuracy_{cost}{suffix}", against(known, cost)) for cost in COSTS)
            yield f"reliability{suffix}", reliability(known, of)
            yield f"confusion{suffix}", confusions(known, of)
            yield f"class_scores{suffix}", by_class(known, of)


def divided(results: Sequence[Result]) -> Iterator[tuple[str, str, list[Result]]]:
    """Yield the evaluated results of faces, then of rendered faces, with what ends the names and titles of figures."""
    for suffix, of in (("", ""), (RENDERED, " of rendered faces")):
        known = [r for r in results if statistics.scores_in(r) is not None and is_rendered(r) == bool(suffix)]
        yield suffix, of, known


def against(results: Sequence[Result], cost: str) -> Scatter | None:
    """Draw measured accuracies against a cost, with a Pareto front for each data set and split.

    Args:
        results: that have an accuracy, all of faces or all of rendered ones.
        cost: one of ``figures.accuracy.COSTS``.

    Returns:
        The plot, or None where fewer than two networks have both.
    """
    measure = COSTS[cost]
    known = [result for result in results if measure.of(result) is not None]
    notes: list[str] = []
    if not measure.metric:
        known, notes = common.of_one_setting(known)
    if len(known) < _ENOUGH:
        return None
    points = []
    for result, label, data in zip(known, common.labels(known), data_names(known), strict=True):
        cells, amount = measured_cells(result), measure.of(result)
        if amount is None:
            continue
        passes = cells["passes"] or 1
        weights = f" ({cells['weights']})" if cells["weights"] else ""
        share, ends = cells["top1_share"], cells["interval_share"]
        points.append(
            Point(
                f"{label}{weights}",
                data,
                amount[0] * (passes if measure.per_pass else 1),
                100 * share,
                amount[1],
                (100 * ends[0], 100 * ends[1]),
                hollow=common.hollow(result),
            )
        )
    lines, drawn = [], []
    for group in dict.fromkeys(point.group for point in points):
        members = [point for point in points if point.group == group]
        best = pareto([(point.x, point.y) for point in members])
        drawn += [replace(point, named=named) for point, named in zip(members, best, strict=True)]
        front = sorted((point.x, point.y) for point, named in zip(members, best, strict=True) if named)
        if len(front) > 1:
            lines.append(Line(f"Pareto front on {group}", tuple(front), group, steps=True))
    rendered = " on rendered faces" if is_rendered(known[0]) else ""
    return Scatter(
        title=f"Measured accuracy{rendered} against {measure.name}",
        caption=joined(
            "Accuracies as measured here, on the data that the legend names.",
            _WILSON,
            "Cost of augmented passes is that of all." if measure.per_pass else "",
            measure.caption,
            common.INTERVALS if any(point.x_interval for point in points) else "",
            f"Counted {as_built(known)}" if measure.metric else conditions(known),
        ),
        x=common.axis(measure.title, measure.quantity, [point.x for point in points]),
        y=Axis(f"Accuracy{rendered}, measured (%)", "percent"),
        groups=tuple(dict.fromkeys(point.group for point in drawn)),
        points=tuple(drawn),
        lines=tuple(lines),
        notes=(*notes, *common.doubted(known)),
    )


def data_names(results: Sequence[Result]) -> list[str]:
    """Name the data of each result; those of other images under the same name have a number."""
    images: dict[str, dict[Json, None]] = {}
    names = []
    for result in results:
        predictions = result.measurement(PREDICTIONS)
        seen = images.setdefault(data_name(result), {})
        of = predictions.details.get("images_sha256") if predictions is not None else ""
        seen[of] = None
        place = list(seen).index(of)
        names.append(f"{data_name(result)} ({place + 1})" if place else data_name(result))
    return names


def reliability(results: Sequence[Result], of: str = "") -> Scatter | None:
    """Draw how often networks are right where they are so sure: a point for each bin of equal width.

    Returns:
        The plot, or None where no result has its outputs.
    """
    from fer_bench.accuracy import calibration  # with numpy, which other figures do without
    from fer_bench.accuracy.predictions import Predictions

    points = []
    names = common.numbered(common.labels(results))
    for result, name in zip(results, names, strict=True):
        if (found := Predictions.of(result)) is None:
            continue
        for one in calibration.reliability(*found.scored):
            ends = statistics.wilson(one.hits, one.images)
            points.append(Point("", name, one.confidence, one.accuracy, y_interval=ends))
    if not points:
        return None
    return Scatter(
        title=f"Reliability{of}",
        caption=joined(
            "Share of right answers against mean confidence, in 15 bins of equal width; on the line a network is "
            "right as often as it is sure.",
            _WILSON,
        ),
        x=Axis("Confidence (%)", "share"),
        y=Axis("Accuracy (%)", "share"),
        groups=tuple(dict.fromkeys(point.group for point in points)),
        points=tuple(points),
        lines=(Line("calibrated", ((0.0, 0.0), (1.0, 1.0))),),
    )


def confusions(results: Sequence[Result], of: str = "") -> Confusions | None:
    """Draw confusion matrices as shares of the true class, as paper 004's Table 1."""
    drawn = []
    names = common.numbered(common.labels(results))
    for result, name in zip(results[:_MOST], names, strict=False):
        found = statistics.confusion_in(result)
        if found is not None:
            counts, classes = found
            drawn.append(Confusion(f"{name}: {data_name(result)}", classes, tuple(map(tuple, counts))))
    if not drawn:
        return None
    return Confusions(
        title=f"Confusion{of}",
        caption="Rows: true classes; columns: what the network says; in per cent of the row.",
        networks=tuple(drawn),
        notes=tuple(common.left_out(len(results) - len(drawn), "network", f"beyond the first {_MOST}")),
    )


def by_class(results: Sequence[Result], of: str = "") -> ByClass | None:
    """Draw recall, precision and F1 of each class; a class without images has none.

    Returns:
        The plot, or None where no result was evaluated.
    """
    drawn = []
    names = common.numbered(common.labels(results))
    for result, name in zip(results[:_MOST], names, strict=False):
        found = statistics.scores_in(result)
        if found is None:
            continue
        classes = tuple(
            ClassShare(one.name, one.support, one.recall, one.recall_interval, one.precision, one.f1)
            for one in found.classes
            if one.recall is not None and one.recall_interval is not None and one.f1 is not None
        )
        drawn.append(OfClasses(f"{name}: {data_name(result)}", classes, common.hollow(result)))
    if not drawn:
        return None
    return ByClass(
        title=f"Accuracy by class{of}",
        caption=joined(
            "Recall: share of the class that is recognised; precision: share of what is said to be of the class that "
            "is; F1: their harmonic mean. Bars: Wilson's interval of the recall at 95 %, of independent images.",
        ),
        x=Axis("Share (%)", "share"),
        classes=tuple(dict.fromkeys(one.name for network in drawn for one in network.classes)),
        networks=tuple(drawn),
        notes=(
            *common.left_out(len(results) - len(drawn), "network", f"beyond the first {_MOST}"),
            *common.doubted(results[:_MOST]),
        ),
    )
