"""Accuracy, as papers print it, against cost, as we measure it: paper 004's Fig. 18 and the argument of paper 001."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fer_bench.networks.spec import Figure, ModelSpec, Paper
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import builds, latency
from fer_bench.reporting.figures import common
from fer_bench.reporting.figures.plots import APART, Axis, Line, Point, Scatter, Written
from fer_bench.reporting.tables.common import conditions, distinct, interval_ends, joined
from fer_bench.reporting.tables.environments import as_built

_ENOUGH = 2  # points; one has no front
_NO_INTERVAL = (
    "Latencies without a bar have no interval: networks with similar latencies may change places on a "
    "front in another process."
)


@dataclass(frozen=True, slots=True)
class _Cost:
    """A cost that accuracies are drawn against."""

    name: str
    title: str
    caption: str
    metric: str = ""  # "" for the latency
    quantity: Written = "count"
    per_pass: bool = False  # an accuracy of several passes per image costs as many times as much

    def of(self, result: Result) -> tuple[float, tuple[float, float] | None] | None:
        """Return a network's cost and its interval, if it has one; None where the cost was not measured."""
        if self.metric:
            value = result.value(self.metric)
            return (value, None) if value else None
        summary = latency.summary(result)
        return (summary.estimate_s, interval_ends(summary)) if summary is not None else None


_TIMED = "Latency of a batch: mean of the processes' medians."
COSTS: Mapping[str, _Cost] = {
    "macs": _Cost("MACs", "MACs", "MACs per image, by conv+matmul-v1.", "macs", per_pass=True),
    "parameters": _Cost("parameters", "Trainable parameters", "Trainable parameters.", "parameters.trainable"),
    "latency": _Cost("latency", "Latency (ms)", _TIMED, quantity="seconds"),
}


@dataclass(frozen=True, slots=True)
class _Claim:
    """An accuracy that a paper prints, where it stands against a cost, and whose cost that is.

    ``apart`` says how the accuracy is of another build than the cost; it is then marked and on no front.
    """

    figure: Figure
    point: Point
    result: Result
    apart: str


def accuracy(
    results: Sequence[Result], cost: str, zoo: Mapping[str, ModelSpec], papers: Mapping[str, Paper], dataset: str = ""
) -> Scatter | None:
    """Draw published accuracies on a data set against a cost, with a Pareto front for each paper.

    Each accuracy stands at the cost of the build that it is of; a count may have been made for the purpose. Where that
    build was not measured, the point is marked and on no front. Papers divide and clean a data set differently, so that
    their accuracies bound each other only within a paper.

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
    known = [result for result in results if measure.of(result) is not None]
    if measure.metric:
        known = distinct([*known, *builds.counted_builds(results)])
        notes: list[str] = []
    else:
        known, notes = common.of_one_setting(known)
    dataset = dataset or _most_printed(known, zoo)
    claims, bad = _claims(known, measure, zoo, papers, dataset)
    if len(claims) < _ENOUGH:
        return None
    points: list[Point] = []
    lines = []
    for paper in sorted({claim.figure.paper for claim in claims}):
        group = _cited(paper, papers)
        members = [claim.point for claim in claims if claim.figure.paper == paper and not claim.apart]
        best = pareto([(point.x, point.y) for point in members])
        front = sorted((point.x, point.y) for point, named in zip(members, best, strict=True) if named)
        points += [replace(point, named=named) for point, named in zip(members, best, strict=True)]
        points += [claim.point for claim in claims if claim.figure.paper == paper and claim.apart]
        if len(front) > 1:
            lines.append(Line(f"Pareto front of {group}", tuple(front), group, steps=True))
    drawn = distinct([claim.result for claim in claims])
    warnings = [] if measure.metric else common.warned(drawn)
    without = {result.subject.name for result in known} - {result.subject.name for result in drawn}
    notes += common.left_out(len(without), "network", f"without a published accuracy on {dataset}")
    return Scatter(
        title=f"Accuracy on {dataset} against {measure.name}",
        caption=_caption(drawn, measure, dataset, claims),
        x=common.axis(measure.title, measure.quantity, [point.x for point in points]),
        y=Axis(f"Accuracy on {dataset}, as published (%)", "percent"),
        groups=tuple(dict.fromkeys(point.group for point in points)),
        points=tuple(points),
        lines=tuple(lines),
        notes=(
            *notes,
            *bad,
            *_apart(claims),
            *_splits(claims),
            *_passes(claims, measure),
            *_remarks(claims),
            *common.doubted(drawn),
            *warnings,
        ),
    )


def pareto(places: Sequence[tuple[float, float]]) -> list[bool]:
    """Report which of (cost, gain) no other beats: none has a cost as low and a gain as high, one of them better."""
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
    """Return the accuracies on a data set, each once, and notes on those that are not numbers."""
    claims: list[_Claim] = []
    bad: dict[str, None] = {}
    of_network: dict[str, list[Result]] = {}
    for result in results:
        of_network.setdefault(result.subject.name, []).append(result)
    for name, measured in of_network.items():
        for figure in printed_of(zoo.get(name)):
            if not dataset or figure.dataset != dataset:
                continue
            build = figure.conditions.build
            result = next((one for one in measured if builds.is_build(builds.as_counted(one), build)), measured[0])
            apart = builds.apart(figure.conditions, builds.as_counted(result))
            if not cost.metric:  # a latency: several passes may run as one batch, whose time nobody measured
                apart = apart or builds.of_passes(figure.conditions)
            label = common.labels([result])[0] + (f" {APART}" if apart else "")
            if (amount := cost.of(result)) is None:
                continue
            passes = figure.conditions.passes or 1 if cost.per_pass else 1
            try:
                place = (amount[0] * passes, percent(figure), amount[1])
            except SheetError as error:
                bad[f"{label} is not drawn for paper {figure.paper}: {error}."] = None
                continue
            hollow = common.hollow(result)
            point = Point(label, _cited(figure.paper, papers), *place, hollow=hollow, named=bool(apart))
            claims.append(_Claim(figure, point, result, apart))
    return claims, bad


def _cited(paper: str, papers: Mapping[str, Paper]) -> str:
    """Name a paper briefly: "001 (Safavi et al., 2023)"."""
    known = papers.get(paper)
    if known is None or not known.authors:
        return paper
    first, *others = known.authors.split(",")
    when = f", {known.year}" if known.year else ""
    return f"{paper} ({first.split()[-1]}{' et al.' if others else ''}{when})"


def _of_each(claims: Iterable[_Claim], describe: Callable[[_Claim], str]) -> Iterator[tuple[str, str]]:
    """Return descriptions of claims, each text once with the labels of its claims."""
    about: dict[str, list[str]] = {}
    for claim in claims:
        if text := describe(claim):
            about.setdefault(text, []).append(claim.point.label)
    return ((", ".join(dict.fromkeys(who)), text) for text, who in about.items())


def _apart(claims: Sequence[_Claim]) -> list[str]:
    """Explain each mark."""
    return [f"{who}: {text}; on no front." for who, text in _of_each(claims, lambda claim: claim.apart)]


def _splits(claims: Sequence[_Claim]) -> list[str]:
    """Name what each accuracy of a paper was measured on, where they differ."""
    splits = []
    for paper in sorted({claim.figure.paper for claim in claims}):
        own = [claim for claim in claims if claim.figure.paper == paper]
        groups = list(_of_each(own, _evaluated))
        if len(groups) > 1:
            splits.append(f"Paper {paper} evaluated on {'; '.join(f'{text}: {who}' for who, text in groups)}.")
    return splits


def _evaluated(claim: _Claim) -> str:
    of = claim.figure.conditions
    return f"{of.split or 'an unknown'} split ({of.metric or 'unknown metric'})"


def _passes(claims: Sequence[_Claim], cost: _Cost) -> list[str]:
    """Describe the passes that a cost is for, where they are several or unknown."""
    if cost.metric and not cost.per_pass:
        return []
    notes: dict[int | None, str] = {None: "passes per image are unknown, one is assumed"}
    counts = {claim.figure.conditions.passes for claim in claims} - {None, 1}
    notes |= {number: f"cost of {number} passes per image" for number in counts if cost.per_pass}
    return [f"{who}: {text}." for who, text in _of_each(claims, lambda c: notes.get(c.figure.conditions.passes, ""))]


def _remarks(claims: Sequence[_Claim]) -> list[str]:
    """Return the sheets' notes on the accuracies."""
    noted = [claim for claim in claims if claim.figure.note]
    return [f"{who} {text}" for who, text in _of_each(noted, lambda c: f"in paper {c.figure.paper}: {c.figure.note}")]


def _caption(results: Sequence[Result], cost: _Cost, dataset: str, claims: Sequence[_Claim]) -> str:
    known = [claim.point.x_interval is not None for claim in claims]
    return joined(
        f"Accuracies on {dataset} are as published; none was measured here. "
        "Costs were measured on the build with the accuracy",
        f"except where {APART} marks another build." if any(claim.apart for claim in claims) else "in every case.",
        cost.caption,
        common.INTERVALS if any(known) else "",
        _NO_INTERVAL if not cost.metric and not all(known) else "",
        "Lines: the Pareto front of each paper; accuracies of different papers are not comparable, since they divide "
        "and train on the data differently.",
        f"Counted {as_built(results)}" if cost.metric else conditions(results),
    )
