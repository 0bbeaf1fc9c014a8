"""Which check judges which claim: ``_CHECKS`` is the table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from fer_bench.auditing import facts, hypotheses
from fer_bench.auditing.checks import arithmetic, counts, facts_and_bounds, times
from fer_bench.auditing.evidence import Evidence, find
from fer_bench.auditing.hypotheses import Hypothesis
from fer_bench.auditing.printed import Printed, is_number, read
from fer_bench.auditing.verdicts import Claim, Kind, Verdict
from fer_bench.networks.spec import Figure, ModelSpec
from fer_bench.records.errors import SheetError
from fer_bench.reporting.analysis.sweeps import Series

_CONDITIONS = (
    *("recipe", "environment", "epochs", "protocol", "layer_detail", "variant_index", "latency_budget", "input_size"),
    *("frame_rate", "citation", "name", "definition", "claim", "class_labels", "accuracy_rank"),
)
# Numbers that describe how something is made, unless they are of a network or a data set that is known.
_DESCRIPTIONS = ("count", "class_count", "model_count", "conv_layers", "fc_layers", "output_size")


class Judge:
    """All claims at once: some are judged by what stands beside them."""

    def __init__(
        self,
        claims: Sequence[Claim],
        evidence: Sequence[Evidence],
        specs: Mapping[str, ModelSpec],
        tried: Sequence[Series] = (),
    ) -> None:
        self._evidence, self._specs, self._tried_by_papers = evidence, specs, tried
        self._papers: dict[str, list[Claim]] = {}
        self._rows: dict[tuple[str, str, str], dict[str, Claim]] = {}
        self._columns: dict[tuple[str, ...], list[Claim]] = {}
        self._matrices: dict[tuple[str, str, str], Claim] = {}
        self._image_counts: dict[str, list[Figure]] = {}
        for claim in claims:
            figure = claim.figure
            self._papers.setdefault(figure.paper, []).append(claim)
            if figure.quantity == "confusion_matrix":
                self._matrices.setdefault((figure.paper, figure.dataset, claim.network), claim)
            if figure.quantity == "image_count":
                self._image_counts.setdefault(figure.paper, []).append(figure)
            if figure.row:
                self._rows.setdefault((figure.paper, figure.where, figure.row), {})[figure.quantity] = claim
                for line in _lines(figure):
                    self._columns.setdefault(line, []).append(claim)
        self._hypotheses: dict[tuple[object, ...], list[Hypothesis]] = {}
        # What a line of a table says is worked out once, not for each of its claims: a table may have thousands.
        self._found: dict[object, Evidence | None] = {}
        self._counted: dict[tuple[str, ...], list[tuple[Claim, Printed, Evidence]]] = {}
        self._followed: dict[tuple[str, ...], tuple[counts.Column, dict[int, int]]] = {}
        self._times: dict[tuple[str, ...], str] = {}

    def verdict(self, claim: Claim) -> Verdict:
        """Judge one claim, and say whose build it was judged by where that is uncertain."""
        try:
            found = self._judge(claim)
        except SheetError as error:
            place = f"{claim.figure.quantity} {claim.figure.printed!r} of {claim.figure.where}"
            raise SheetError(f"{claim.subject}, {place}: {error}") from None
        circular = claim.spec is not None and claim.spec.status == "reconstruction"
        if circular and found.kind in (Kind.confirmed, Kind.convention) and "recount" in found.evidence:
            found = dataclasses.replace(found, kind=Kind.possible)
            return found.remarked("our build was made to fit the printed figures, so it confirms nothing")
        return found

    def _judge(self, claim: Claim) -> Verdict:
        figure = claim.figure
        if figure.quantity == "confusion_matrix":
            return arithmetic.matrix_rows(claim)
        if not isinstance(figure.printed, str):
            return _statement(claim)
        if figure.arithmetic:
            found = arithmetic.by_arithmetic(claim, read(figure.printed, ""), self._papers[figure.paper])
            beside = self._machine(claim)
            return found.remarked(beside.line) if beside is not None else found
        if figure.over:
            return counts.trend(claim, self._tried_by_papers)
        if figure.quantity == "output_size":
            shape = facts_and_bounds.by_shape(claim, self._of(claim.spec), self._siblings(claim.spec))
            return shape or _not_judged(claim)
        if figure.quantity in _CONDITIONS:
            return self._machine(claim) or _not_judged(claim)
        printed = read(figure.printed, figure.unit)
        if printed is None:
            return _statement(claim)
        check, why_not = _CHECKS.get(figure.quantity, (None, ""))
        return (check and check(self, claim, printed)) or _not_judged(claim, why_not)

    def _machine(self, claim: Claim) -> Verdict | None:
        figure = claim.figure
        printed = read(figure.printed, figure.unit) if figure.quantity == "environment" and figure.unit else None
        return None if printed is None else facts_and_bounds.by_card(claim, printed, self._environment(claim, "GPU"))

    def _count(self, claim: Claim, printed: Printed) -> Verdict | None:
        evidence = self._of(claim.spec)
        if evidence is not None:
            return counts.judge(claim, printed, evidence, self._tried(claim, evidence), self._convention(claim))
        if claim.spec is None:
            return None
        return Verdict(claim, Kind.out_of_scope, "the network could not be recounted")

    def _time(self, claim: Claim, printed: Printed) -> Verdict | None:
        evidence = self._of(claim.spec)
        if evidence is None:
            return None
        verdict = times.by_rate(claim, printed, evidence, self._environment(claim, "GPU"))
        for line in _lines(claim.figure):
            if line not in self._times:
                rows = [(float(number.value), network) for _, number, network in self._counted_in(line)]
                self._times[line] = times.what_times_follow(rows)
            if remark := self._times[line]:
                return verdict.remarked(remark)
        return verdict

    def _occupancy(self, claim: Claim, printed: Printed) -> Verdict:
        evidence = self._of(claim.spec)
        weights = evidence.own.parameters["parameter_bytes"] if evidence is not None else None
        memory = " ".join((claim.figure.convention, *self._environment(claim, "memory")))
        return facts_and_bounds.by_occupancy(claim, printed, self._row(claim), weights, memory)

    def _ratio(self, claim: Claim, printed: Printed) -> Verdict | None:
        return arithmetic.by_pairs(claim, printed, self._papers[claim.figure.paper])

    def _loss(self, claim: Claim, printed: Printed) -> Verdict | None:
        return facts_and_bounds.by_loss(claim, printed, self._row(claim).get("accuracy"))

    def _fact(self, claim: Claim, printed: Printed) -> Verdict | None:
        if claim.figure.quantity == "share" and claim.figure.of:
            return self._share(claim, printed)
        return facts_and_bounds.by_facts(claim, printed)

    def _share(self, claim: Claim, printed: Printed) -> Verdict | None:
        figure = claim.figure
        matrix = self._matrix(claim) if figure.quantity == "accuracy" else None
        if matrix is not None and (found := arithmetic.by_matrix(claim, printed, matrix)):
            return found
        wholes: dict[str, int] = {}
        if figure.of:
            number = read(figure.of, "")
            if number is None or number.value < 1:
                raise SheetError(f"of = {figure.of!r} is no number of things from 1")
            wholes["what the paper says it is of"] = int(number.value)
        if figure.quantity == "accuracy":
            wholes |= self._test_sets(claim)
        elif figure.quantity == "train_accuracy" and (number_of := facts.images(figure.dataset, "training")):
            wholes["training"] = number_of
        if wholes:
            return arithmetic.by_share(claim, printed, wholes)
        return arithmetic.by_any_share(claim, printed, facts.images(figure.dataset, "all")) if figure.dataset else None

    def _test_sets(self, claim: Claim) -> dict[str, int]:
        """Return test sets that an accuracy may be of: those whose size the paper prints, then the data set's own."""
        found: dict[str, int] = {}
        for figure in self._image_counts.get(claim.figure.paper, ()):
            tested = figure.stage == "testing" or "validation" in figure.subject
            images = figure.dataset == claim.figure.dataset and tested
            if images and isinstance(figure.printed, str) and (number := read(figure.printed, "")):
                found.setdefault(f"{figure.subject} as the paper prints it", int(number.value))
        known = facts.dataset(claim.figure.dataset).get("tests", {})
        return found | {name: size for name, size in known.items() if size not in found.values()}

    def _matrix(self, claim: Claim) -> Claim | None:
        where = claim.figure.paper, claim.figure.dataset, claim.network
        return self._matrices.get(where) if claim.network else None

    def _row(self, claim: Claim) -> Mapping[str, Claim]:
        figure = claim.figure
        return self._rows.get((figure.paper, figure.where, figure.row), {})

    def _counted_in(self, line: tuple[str, ...]) -> list[tuple[Claim, Printed, Evidence]]:
        """Return the claims of a column or row that have a number and recounts."""
        if line not in self._counted:
            numbers = ((other, read(other.figure.printed, other.figure.unit)) for other in self._columns[line])
            known = ((other, number, self._of(other.spec)) for other, number in numbers if number is not None)
            self._counted[line] = [(other, number, its) for other, number, its in known if its is not None]
        return self._counted[line]

    def _of(self, spec: ModelSpec | None) -> Evidence | None:
        key = spec and (spec.name, spec.num_classes, spec.input_shape)
        if key not in self._found:
            self._found[key] = find(spec, self._evidence)
        return self._found[key]

    def _siblings(self, spec: ModelSpec | None) -> list[Evidence]:
        """Return the recounts of other networks of the family, which may have been meant."""
        if spec is None:
            return []
        family = [s for s in self._specs.values() if s.source.related_to(spec.source) and s.name != spec.name]
        return [found for found in map(self._of, family) if found is not None]

    def _tried(self, claim: Claim, evidence: Evidence) -> list[Hypothesis]:
        batch = times.stated_batch(claim)
        own = evidence.own
        key = (evidence.name, own.input_shape, own.num_classes, claim.figure.quantity, claim.figure.networks, batch)
        if key not in self._hypotheses:
            named = [self._of(spec) for spec in claim.named]
            others = self._siblings(claim.spec) + [one for one in named if one and one.name != claim.network]
            self._hypotheses[key] = hypotheses.of(claim.figure.quantity, evidence, others, batch)
        return self._hypotheses[key]

    def _convention(self, claim: Claim) -> str:
        """Find the convention that the other figures of the claim's column follow, or of its row."""
        for line in _lines(claim.figure):
            if line not in self._followed:
                counted = self._counted_in(line)
                column = counts.Column([counts.Followed.of(n, self._tried(one, its)) for one, n, its in counted])
                self._followed[line] = column, {id(one): place for place, (one, _, _) in enumerate(counted)}
            column, places = self._followed[line]
            if found := column.convention(places.get(id(claim))):
                return found
        return ""

    def _environment(self, claim: Claim, what: str) -> list[str]:
        return [
            f"{other.figure.printed} {other.figure.unit}".strip()
            for other in self._papers[claim.figure.paper]
            if other.figure.quantity == "environment" and what in other.figure.subject
        ]


_NO_SHARE = "a share of a number of images or models that is not printed, and needs the trained network"
_NO_LOSS = "a loss needs the trained network and the authors' split, and no accuracy stands beside it"
# How numbers that are no conditions are judged, by their quantities; and why not, where that gives no verdict.
_CHECKS: dict[str, tuple[Callable[[Judge, Claim, Printed], Verdict | None] | None, str]] = {
    **dict.fromkeys(hypotheses.RECOUNTED, (Judge._count, "")),
    "parameters": (Judge._count, "a count of networks that are not in the sheets"),
    "flops": (Judge._count, "a count of a network that is not in the sheets"),
    "latency": (Judge._time, "the network cannot be recounted, so the rate that it needs is unknown"),
    **dict.fromkeys(("cpu_percent", "user_percent", "system_percent", "memory_percent"), (Judge._occupancy, "")),
    **dict.fromkeys(arithmetic.RATIOS, (Judge._ratio, "")),
    **dict.fromkeys(("accuracy", "train_accuracy", "true_positive_rate", "share_of_models"), (Judge._share, _NO_SHARE)),
    "validation_loss": (Judge._loss, _NO_LOSS),
    "share": (Judge._fact, "a share of what the sheets do not describe"),
    "image_count": (Judge._fact, "a number of images that the data set's publication does not know"),
    **dict.fromkeys(("count", "class_count"), (Judge._fact, "")),
    "train_time": (None, "a training time depends on the authors' machine; nothing printed beside it bounds it"),
}


def _lines(figure: Figure) -> list[tuple[str, ...]]:
    """Name the lines of its table that a figure stands in: its column, and its row, for a table on its side."""
    if not figure.row:
        return []
    place = (figure.paper, figure.where, figure.quantity)
    return [(*place, "column", figure.column), (*place, "row", figure.row)]


def _not_judged(claim: Claim, why_not: str = "") -> Verdict:
    if is_condition(claim):
        if not is_number(claim.figure.printed):  # a version, a name, a list
            return _statement(claim)
        why_not = "a condition or description that the authors chose, and no result"
    return Verdict(claim, Kind.out_of_scope, why_not or "nothing printed or counted bears on it")


def _statement(claim: Claim) -> Verdict:
    return Verdict(claim, Kind.statement, "words, not a number")


def is_condition(claim: Claim) -> bool:
    """Return whether a figure is a condition or a description, which the authors chose, and no result."""
    quantity = claim.figure.quantity
    return quantity in _CONDITIONS or (quantity in _DESCRIPTIONS and claim.spec is None)
