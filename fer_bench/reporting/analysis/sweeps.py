"""The variants of a sweep: what they cost, which are on the cost front, and which stay under limits."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.limits import Budget
from fer_bench.records.result import PLAN_CONDITIONS, Environment, Result
from fer_bench.reporting.analysis import latency


@dataclass(frozen=True, slots=True)
class Published:
    """What a paper prints of its own sweep.

    Attributes:
        paper: its number.
        best: the label of the variant that it chose.
        accuracy: of that variant, by which it was chosen, as a share.
        images: that the accuracy is of; papers that print none have those of the data set.
        epochs: of its recipe at most.
        training_s: the shortest and the longest training of a variant; empty where none is printed.
        hardware: that it trained on.
    """

    paper: str
    best: str
    accuracy: float
    images: int
    epochs: int
    training_s: tuple[float, ...] = ()
    hardware: str = ""


# By the network. Section 4 and table 1. The paper prints no number of test images: FER+ has 3,573 private ones with a
# face.
PUBLISHED = {
    "resnet50_patch_attn": Published(
        "000", "conv4_block2_2_relu", 0.95, 3573, 200, (3963.81, 11279.43), "NVIDIA RTX A6000"
    ),
    "resnet101_patch_attn": Published("000", "conv4_block5_2_relu", 0.94, 3573, 200),
}
_FEWEST = 3  # variants of a series


@dataclass(frozen=True, slots=True)
class Series:
    """The variants of a network that a paper tried (``ModelSpec.variants``), as far as results have them.

    Attributes:
        stem: of the files that are drawn of it.
        network: its name.
        settings: further ones, which all have.
        labels: the values by which they differ, in the paper's order.
        results: of the same.
        of: how many the paper tried.
    """

    stem: str
    network: str
    settings: tuple[str, ...]
    labels: tuple[str, ...]
    results: tuple[Result, ...]
    of: int

    @property
    def title(self) -> str:
        return ", ".join((self.network, *self.settings))

    @property
    def published(self) -> Published | None:
        return PUBLISHED.get(self.network)


def labels_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the variants of a network that a paper tried, in its order; none where it tried only one."""
    return tuple(map(", ".join, itertools.product(*spec.variants.values()))) if spec.variants else ()


def series(results: Iterable[Result], networks: Mapping[str, ModelSpec]) -> list[Series]:
    """Return the variants of each network among results, in one series where all else is the same."""
    found: dict[tuple[Any, ...], dict[str, Result]] = {}
    for result in results:
        if (label := _label(result, networks)) is not None:
            subject = result.subject
            others = tuple(s for s in subject.settings if s.partition("=")[0] not in networks[subject.name].variants)
            plan = tuple(getattr(result.plan, name) for name in PLAN_CONDITIONS)
            key = (subject.name, others, subject.input_shape, subject.num_classes, plan)
            found.setdefault(key, {}).setdefault(label, result)
    drawn: list[Series] = []
    for (name, others, *_), by_label in found.items():
        every = labels_of(networks[name])
        labels = tuple(label for label in every if label in by_label)
        if len(labels) >= _FEWEST:
            before = sum(one.network == name for one in drawn)
            stem = f"sweep_{name}" + (f"_{before + 1}" if before else "")
            kept = tuple(by_label[label] for label in labels)
            drawn.append(Series(stem, name, others, labels, kept, len(every)))
    return drawn


def _label(result: Result, networks: Mapping[str, ModelSpec]) -> str | None:
    """Return the label of a variant of a paper's; None of any other network."""
    spec = networks.get(result.subject.name)
    if spec is None or not spec.variants:
        return None
    given = dict(setting.partition("=")[::2] for setting in result.subject.settings)
    values = [given.get(name, "") for name in spec.variants]
    known = all(value in tried for value, tried in zip(values, spec.variants.values(), strict=True))
    return ", ".join(values) if known else None


def beside(results: Sequence[Result], of: Collection[Series]) -> list[Result]:
    """Return the results that are not of these series, which have tables of their own; all if there are no others."""
    tried = {id(one) for each in of for one in each.results}
    return [result for result in results if id(result) not in tried] or list(results)


def _count(metric: str) -> Callable[[Result], float | None]:
    return lambda result: result.value(metric)


def _time(metric: str) -> Callable[[Result], float | None]:
    return lambda result: latency.median_of(result, metric)


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost of a variant, less of which is better."""

    of: Callable[[Result], float | None]
    metrics: str  # that `fer-bench sweep --metrics` must have


# By the names that --under has; those of the front are the first four.
COSTS: Mapping[str, Cost] = {
    "params": Cost(_count("parameters.trainable"), "static"),
    "macs": Cost(_count("macs"), "static"),
    "latency": Cost(_time("latency_s"), "latency"),
    "training": Cost(_time("training_step_s"), "training"),
    "activation": Cost(_count("peak_activation_bytes"), "static"),
    "size": Cost(_count("state_dict_bytes"), "static"),
}
_OF_FRONT = ("params", "macs", "latency", "training")
_TIMES = ("latency", "training")


def front(results: Sequence[Result], gains: Sequence[float | None] = ()) -> list[bool]:
    """Report which variants no other beats: none is as good in every respect and better in one.

    Args:
        results: of the variants. Of ``COSTS`` those of a front count that all of them have. Where times are among
            these, only variants of one environment are compared.
        gains: accuracies beside them; a variant without one is on no front.
    """
    costs = [[COSTS[name].of(result) for name in _OF_FRONT] for result in results]
    known = [place for place in range(len(_OF_FRONT)) if all(row[place] is not None for row in costs)]
    where = environments(results) if any(_OF_FRONT[place] in _TIMES for place in known) else [0] * len(results)
    points: list[tuple[float, ...] | None] = [tuple(row[place] or 0.0 for place in known) for row in costs]
    if gains:
        joined = zip(points, gains, strict=True)
        points = [None if gain is None else (*(point or ()), -gain) for point, gain in joined]
    if not known:
        return [False] * len(results)
    placed = list(zip(where, points, strict=True))
    return [
        point is not None and not any(there == here and _beats(other, point) for there, other in placed)
        for here, point in placed
    ]


def apart(results: Sequence[Result]) -> list[str]:
    """Name what differs between the environments of results, alike nodes of a cluster being one."""
    known = [result.environment for result in results if result.environment is not None]
    return list(dict.fromkeys(name for one in known for name, *_ in known[0].differences(one, ["node"])))


def environments(results: Sequence[Result]) -> list[int]:
    """Number the environments that results are of; alike nodes of a cluster are one."""
    known: list[Environment | None] = []
    numbers = []
    for result in results:
        where = result.environment
        place = next((n for n, other in enumerate(known) if _alike(where, other)), len(known))
        known += [where] if place == len(known) else []
        numbers.append(place)
    return numbers


def _alike(where: Environment | None, other: Environment | None) -> bool:
    if where is None or other is None:
        return where is other
    return not where.comparable_with(other, apart_from=["node"])


def _beats(other: tuple[float, ...] | None, point: tuple[float, ...]) -> bool:
    return other is not None and other != point and all(a <= b for a, b in zip(other, point, strict=True))


def read_limits(text: str) -> Budget:
    """Read limits as ``params=5M,latency=10ms``.

    Raises:
        FerBenchError: a limit is unknown, given twice, or no number with a unit of its kind.
    """
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        known = [name for name in COSTS if name != "training"]
        if name not in known:
            raise FerBenchError(f"--under has no {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        if not equals or name in given:
            raise FerBenchError(f"--under {part!r} is {'given twice' if equals else 'no limit'}; try: params=5M")
        given[name] = value
    if not given:
        raise FerBenchError("--under has no limit; try: --under params=5M,latency=10ms")
    return Budget.of({f"max_{name}": value for name, value in given.items()})


def stays_under(result: Result, budget: Budget) -> bool:
    """Report whether a variant stays under all limits.

    Raises:
        FerBenchError: what a limit is of was not measured.
    """
    within = True
    for name, limit in budget.set().items():
        cost = COSTS[name.removeprefix("max_")]
        value = cost.of(result)
        if value is None:
            if cost.metrics in result.plan.metrics:  # it failed
                within = False
                continue
            raise FerBenchError(f"--under {name.removeprefix('max_')} was not measured; try: --metrics {cost.metrics}")
        within = within and value <= limit.value
    return within
