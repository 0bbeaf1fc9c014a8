"""Accuracy, as papers print it, against cost, as we measure it: paper 004's Fig. 18 and the argument of paper 001."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fer_bench.networks.spec import Figure, ModelSpec, Paper
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.figures.common import (
    INTERVALS,
    axis,
    counted,
    doubted,
    hollow,
    labels,
    of_one_setting,
    sentences,
    warned,
)
from fer_bench.reporting.figures.plots import Axis, Line, Point, Scatter, Written
from fer_bench.reporting.tables.common import conditions, interval_ends

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
    quantity: Written
    of: Callable[[Result], tuple[float, tuple[float, float] | None] | None]
    told: str
    timed: bool = False


def _count(metric: str) -> Callable[[Result], tuple[float, None] | None]:
    def of(result: Result) -> tuple[float, None] | None:
        value = result.value(metric)
        return (value, None) if value else None

    return of


def _latency(result: Result) -> tuple[float, tuple[float, float] | None] | None:
    taken = latency.summary(result)
    return (taken.estimate_s, interval_ends(taken)) if taken is not None else None


COSTS: Mapping[str, _Cost] = {
    "macs": _Cost("MACs", "MACs", "count", _count("macs"), "MACs an image, by conv+matmul-v1."),
    "parameters": _Cost(
        "parameters", "Trainable parameters", "count", _count("parameters.trainable"), "Trainable parameters."
    ),
    "latency": _Cost(
        "latency",
        "Latency (ms)",
        "seconds",
        _latency,
        "Latency of a batch: mean of the processes' medians.",
        timed=True,
    ),
}


@dataclass(frozen=True, slots=True)
class _Claim:
    """An accuracy that a paper prints, and our result of the network that it is of."""

    label: str
    result: Result
    paper: str
    percent: float
    note: str


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
    kept, notes = of_one_setting([result for result in results if COSTS[cost].of(result) is not None])
    dataset = dataset or _most_printed(kept, zoo)
    claims, bad = _claims(kept, zoo, dataset)
    if len(claims) < _ENOUGH:
        return None
    names = {paper: _cited(paper, papers) for paper in sorted({claim.paper for claim in claims})}
    points = _points(claims, COSTS[cost], names)
    shown = {claim.label for claim in claims}
    drawn = [result for result, label in zip(kept, labels(kept), strict=True) if label in shown]
    without = len(kept) - len(drawn)
    if without:
        notes.append(f"{counted(without, 'network')} without a published accuracy on {dataset}: not drawn.")
    return Scatter(
        title=units.printable(f"Accuracy on {dataset} against {COSTS[cost].name}"),
        caption=units.printable(_caption(drawn, cost, dataset, _intervals(points, COSTS[cost]))),
        x=axis(COSTS[cost].title, COSTS[cost].quantity, [point.x for point in points]),
        y=Axis(units.printable(f"Accuracy on {dataset}, as published (%)"), "percent"),
        groups=tuple(names.values()),
        points=points,
        lines=tuple(front for group in names.values() if len((front := _front(points, group)).points) > 1),
        notes=(*notes, *bad, *_remarks(claims), *doubted(drawn), *(warned(drawn) if COSTS[cost].timed else ())),
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
    names = dict.fromkeys(result.subject.name for result in results)
    printed = Counter(
        dataset
        for name in names
        for dataset in dict.fromkeys(figure.dataset for figure in printed_of(zoo.get(name)) if figure.dataset)
    )
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
    results: Sequence[Result], zoo: Mapping[str, ModelSpec], dataset: str
) -> tuple[list[_Claim], dict[str, None]]:
    """Give the accuracies on a data set, and complain of those that are no numbers."""
    claims: list[_Claim] = []
    bad: dict[str, None] = {}
    for result, label in zip(results, labels(results), strict=True):
        for figure in printed_of(zoo.get(result.subject.name)):
            if not dataset or figure.dataset != dataset:
                continue
            try:
                claims.append(_Claim(label, result, figure.paper, percent(figure), figure.note))
            except SheetError as error:
                bad[units.printable(f"{label} is not drawn for paper {figure.paper}: {error}.")] = None
    return claims, bad


def _points(claims: Sequence[_Claim], cost: _Cost, names: Mapping[str, str]) -> tuple[Point, ...]:
    points = []
    for paper, group in names.items():
        measured = [(claim, cost.of(claim.result)) for claim in claims if claim.paper == paper]
        found = [(claim, taken) for claim, taken in measured if taken is not None]
        best = pareto([(taken[0], claim.percent) for claim, taken in found])
        points += [
            Point(claim.label, group, value, claim.percent, interval, hollow=hollow(claim.result), named=named)
            for (claim, (value, interval)), named in zip(found, best, strict=True)
        ]
    return tuple(points)


def _front(points: Sequence[Point], group: str) -> Line:
    members = sorted((point.x, point.y) for point in points if point.group == group and point.named)
    return Line(f"Pareto front of {group}", tuple(members), group, steps=True)


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
    for claim in claims:
        if claim.note:
            about.setdefault(f"in paper {claim.paper}: {claim.note}", []).append(claim.label)
    return [units.printable(f"{', '.join(dict.fromkeys(who))} {remark}") for remark, who in about.items()]


def _intervals(points: Sequence[Point], cost: _Cost) -> str:
    """Say what bars are, and what it means that there are none."""
    known = [point.x_interval is not None for point in points]
    return sentences(INTERVALS if any(known) else "", _NO_INTERVAL if cost.timed and not all(known) else "")


def _caption(results: Sequence[Result], cost: str, dataset: str, intervals: str) -> str:
    plan = results[0].plan
    other = plan.input_size or plan.channels
    return sentences(
        f"Accuracies on {dataset} are the papers'; we measured none. Costs are ours.",
        COSTS[cost].told,
        intervals,
        "Lines: the Pareto front of each paper; accuracies of different papers are not comparable, since they divide "
        "and train on the data differently.",
        "The costs are at another input size than the accuracies." if other else "",
        conditions(results),
    )
