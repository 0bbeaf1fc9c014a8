"""Accuracy, as papers print it, against cost, as we measure it: paper 004's Fig. 18 and the argument of paper 001."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fer_bench.networks.spec import Figure, ModelSpec, Paper
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.figures import common
from fer_bench.reporting.figures.plots import Axis, Line, Point, Scatter, Written
from fer_bench.reporting.tables.common import conditions, interval_ends, joined

_ENOUGH = 2  # points; one has no front
_NO_INTERVAL = (
    "Latencies without a bar have no interval: networks that are close to each other in time may change places on a "
    "front in another process."
)


@dataclass(frozen=True, slots=True)
class _Cost:
    """A cost that accuracies are drawn against."""

    name: str
    title: str
    told: str
    metric: str = ""  # "" for the latency
    quantity: Written = "count"

    def of(self, result: Result) -> tuple[float, tuple[float, float] | None] | None:
        """Return a network's cost and its interval, if it has one; None where the cost was not measured."""
        if self.metric:
            value = result.value(self.metric)
            return (value, None) if value else None
        taken = latency.summary(result)
        return (taken.estimate_s, interval_ends(taken)) if taken is not None else None


_TIMED = "Latency of a batch: mean of the processes' medians."
COSTS: Mapping[str, _Cost] = {
    "macs": _Cost("MACs", "MACs", "MACs an image, by conv+matmul-v1.", "macs"),
    "parameters": _Cost("parameters", "Trainable parameters", "Trainable parameters.", "parameters.trainable"),
    "latency": _Cost("latency", "Latency (ms)", _TIMED, quantity="seconds"),
}

_Claim = tuple[Figure, Point]  # an accuracy that a paper prints, and where it stands against our cost


def accuracy(
    results: Sequence[Result], cost: str, zoo: Mapping[str, ModelSpec], papers: Mapping[str, Paper], dataset: str = ""
) -> Scatter | None:
    """Draw published accuracies on a data set against a cost, with a Pareto front for each paper.

    Papers divide and clean a data set differently, so that their accuracies bound each other only within a paper.

    Args:
        results: ours.
        cost: one of ``COSTS``.
        zoo: the sheets, which have the accuracies.
        papers: to name them.
        dataset: as the sheets name it; by default the one that most of the networks have accuracies on.

    Returns:
        The plot, or None where fewer than two networks have both.
    """
    measure = COSTS[cost]
    kept, notes = common.of_one_setting([result for result in results if measure.of(result) is not None])
    dataset = dataset or _most_printed(kept, zoo)
    claims, bad = _claims(kept, measure, zoo, papers, dataset)
    if len(claims) < _ENOUGH:
        return None
    points: list[Point] = []
    lines = []
    for paper in sorted({figure.paper for figure, _ in claims}):
        group = _cited(paper, papers)
        members = [point for figure, point in claims if figure.paper == paper]
        best = pareto([(point.x, point.y) for point in members])
        front = sorted((point.x, point.y) for point, named in zip(members, best, strict=True) if named)
        points += [replace(point, named=named) for point, named in zip(members, best, strict=True)]
        if len(front) > 1:
            lines.append(Line(f"Pareto front of {group}", tuple(front), group, steps=True))
    shown = {point.label for point in points}
    drawn = [result for result, label in zip(kept, common.labels(kept), strict=True) if label in shown]
    warnings = [] if measure.metric else common.warned(drawn)
    notes += common.left_out(len(kept) - len(drawn), "network", f"without a published accuracy on {dataset}")
    return Scatter(
        title=units.printable(f"Accuracy on {dataset} against {measure.name}"),
        caption=units.printable(_caption(drawn, measure, dataset, points)),
        x=common.axis(measure.title, measure.quantity, [point.x for point in points]),
        y=Axis(units.printable(f"Accuracy on {dataset}, as published (%)"), "percent"),
        groups=tuple(dict.fromkeys(point.group for point in points)),
        points=tuple(points),
        lines=tuple(lines),
        notes=(*notes, *bad, *_remarks(claims), *common.doubted(drawn), *warnings),
    )


def pareto(places: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which of (cost, gain) no other beats: none has a cost as low and a gain as high, and one of them better."""
    return [
        not any(
            other_cost <= cost and other_gain >= gain and (other_cost, other_gain) != (cost, gain)
            for other_cost, other_gain in places
        )
        for cost, gain in places
    ]


def _most_printed(results: Sequence[Result], zoo: Mapping[str, ModelSpec]) -> str:
    specs = [zoo.get(name) for name in {result.subject.name for result in results}]
    printed = Counter(on for spec in specs for on in {figure.dataset for figure in printed_of(spec)} if on)
    return min(printed, key=lambda dataset: (-printed[dataset], dataset), default="")


def printed_of(spec: ModelSpec | None, paper: str = "") -> Iterator[Figure]:
    """Return the accuracies that papers, or one of them, print of a network, one for each paper and data set."""
    if spec is not None:
        for each in [paper] if paper else sorted({figure.paper for figure in spec.published}):
            yield from spec.figures("accuracy", each)


def percent(figure: Figure) -> float:
    """Return a printed accuracy in per cent.

    Raises:
        SheetError: it is no number.
    """
    return float(units.printed_value(figure.printed, figure.unit)) * (1 if figure.unit else 100)


def _claims(
    results: Sequence[Result], cost: _Cost, zoo: Mapping[str, ModelSpec], papers: Mapping[str, Paper], dataset: str
) -> tuple[list[_Claim], dict[str, None]]:
    """Give the accuracies on a data set, and complain of those that are no numbers."""
    claims: list[_Claim] = []
    bad: dict[str, None] = {}
    for result, label in zip(results, common.labels(results), strict=True):
        taken = cost.of(result)
        for figure in printed_of(zoo.get(result.subject.name)):
            if taken is None or not dataset or figure.dataset != dataset:
                continue
            try:
                place = (taken[0], percent(figure), taken[1])
            except SheetError as error:
                bad[units.printable(f"{label} is not drawn for paper {figure.paper}: {error}.")] = None
            else:
                claims.append(
                    (figure, Point(label, _cited(figure.paper, papers), *place, hollow=common.hollow(result)))
                )
    return claims, bad


def _cited(paper: str, papers: Mapping[str, Paper]) -> str:
    """Name a paper briefly: "001 (Safavi et al., 2023)"."""
    known = papers.get(paper)
    if known is None or not known.authors:
        return units.printable(paper)
    first, *others = known.authors.split(",")
    when = f", {known.year}" if known.year else ""
    return units.printable(f"{paper} ({first.split()[-1]}{' et al.' if others else ''}{when})")


def _remarks(claims: Sequence[_Claim]) -> list[str]:
    """Give what sheets remark on the accuracies, a remark once with all that it is about."""
    about: dict[str, list[str]] = {}
    for figure, point in claims:
        if figure.note:
            about.setdefault(f"in paper {figure.paper}: {figure.note}", []).append(point.label)
    return [units.printable(f"{', '.join(dict.fromkeys(who))} {remark}") for remark, who in about.items()]


def _caption(results: Sequence[Result], cost: _Cost, dataset: str, points: Sequence[Point]) -> str:
    plan = results[0].plan
    other = plan.input_size or plan.channels
    known = [point.x_interval is not None for point in points]
    return joined(
        f"Accuracies on {dataset} are the papers'; we measured none. Costs are ours.",
        cost.told,
        common.INTERVALS if any(known) else "",
        _NO_INTERVAL if not cost.metric and not all(known) else "",
        "Lines: the Pareto front of each paper; accuracies of different papers are not comparable, since they divide "
        "and train on the data differently.",
        "The costs are at another input size than the accuracies." if other else "",
        conditions(results),
    )
