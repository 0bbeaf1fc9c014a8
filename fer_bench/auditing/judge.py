"""Which check judges which claim."""

import dataclasses
from collections.abc import Mapping, Sequence

from fer_bench.auditing import facts, hypotheses
from fer_bench.auditing.checks import arithmetic, counts, facts_and_bounds, times
from fer_bench.auditing.evidence import Evidence, find
from fer_bench.auditing.hypotheses import Hypothesis
from fer_bench.auditing.printed import Printed, is_number, read
from fer_bench.auditing.verdicts import Claim, Kind, Verdict
from fer_bench.networks import registry
from fer_bench.networks.spec import Figure, ModelSpec
from fer_bench.records.errors import SheetError

_OCCUPANCY = ("cpu_percent", "user_percent", "system_percent", "memory_percent")
_SHARES = ("accuracy", "train_accuracy", "true_positive_rate", "share_of_models")
_CONDITIONS = (
    *("recipe", "environment", "epochs", "protocol", "layer_detail", "variant_index", "latency_budget", "input_size"),
    *("frame_rate", "citation", "name", "definition", "claim", "class_labels", "accuracy_rank"),
)
# Numbers that describe how something is made, unless they are of a network or a data set that is known.
_DESCRIPTIONS = ("count", "class_count", "model_count", "conv_layers", "fc_layers", "output_size")
_WHY_NOT: Mapping[str, str] = {
    "validation_loss": "a loss needs the trained network and the authors' split, and no accuracy stands beside it",
    "train_time": "a training time is the authors' machine's; nothing printed beside it bounds it",
    "parameters": "a count of networks that are not in the sheets",
    "flops": "a count of a network that is not in the sheets",
    "latency": "the network cannot be recounted, so the rate that it needs is unknown",
    "share": "a share of what the sheets do not describe",
    "image_count": "a number of images that the data set's publication does not know",
}


class Judge:
    """All claims at once: some are judged by what stands beside them."""

    def __init__(self, claims: Sequence[Claim], evidence: Sequence[Evidence], specs: Mapping[str, ModelSpec]) -> None:
        self._evidence, self._specs = evidence, specs
        self._papers: dict[str, list[Claim]] = {}
        self._rows: dict[tuple[str, str, str], dict[str, Claim]] = {}
        columns: dict[tuple[str, ...], list[Claim]] = {}
        for claim in claims:
            figure = claim.figure
            self._papers.setdefault(figure.paper, []).append(claim)
            if figure.row:
                self._rows.setdefault((figure.paper, figure.where, figure.row), {})[figure.quantity] = claim
                for line in _lines(figure):
                    columns.setdefault(line, []).append(claim)
        self._columns = columns
        self._hypotheses: dict[tuple[object, ...], list[Hypothesis]] = {}

    def verdict(self, claim: Claim) -> Verdict:
        """Judge one claim, and say whose build it was judged by where that is uncertain."""
        try:
            found = self._judge(claim)
        except SheetError as error:
            figure = claim.figure
            raise SheetError(
                f"{claim.subject}, {figure.quantity} {figure.printed!r} of {figure.where}: {error}"
            ) from None
        circular = claim.spec is not None and claim.spec.status == "reconstruction"
        if circular and found.kind in (Kind.confirmed, Kind.convention) and "recount" in found.evidence:
            found = dataclasses.replace(found, kind=Kind.possible)
            return found.remarked("our build was made to fit the printed figures, so that it confirms nothing")
        return found

    def _judge(self, claim: Claim) -> Verdict:
        figure = claim.figure
        if figure.quantity == "confusion_matrix":
            return arithmetic.matrix_rows(claim)
        if not isinstance(figure.printed, str):
            return _statement(claim)
        if figure.arithmetic:
            found = arithmetic.by_arithmetic(claim, read(figure.printed, ""), self._papers[figure.paper])
            return found.remarked(*(beside.line for beside in [self._machine(claim)] if beside is not None))
        if figure.quantity == "output_size":
            return facts_and_bounds.by_shape(claim, self._built(claim)) or self._not_judged(claim)
        if machine := self._machine(claim):
            return machine
        if figure.quantity in _CONDITIONS:
            return self._not_judged(claim)
        printed = read(figure.printed, figure.unit)
        if printed is None:
            return _statement(claim)
        return self._number(claim, printed) or self._not_judged(claim)

    def _machine(self, claim: Claim) -> Verdict | None:
        """Hold a figure of the authors' machine against what is known of such a machine."""
        if claim.figure.quantity != "environment" or not claim.figure.unit:
            return None
        printed = read(claim.figure.printed, claim.figure.unit)
        return (
            facts_and_bounds.by_card(claim, printed, self._environment(claim, "GPU")) if printed is not None else None
        )

    def _number(self, claim: Claim, printed: Printed) -> Verdict | None:
        figure, evidence = claim.figure, self._of(claim.spec)
        if figure.quantity in hypotheses.RECOUNTED and evidence is not None:
            return counts.judge(claim, printed, evidence, self._tried(claim, evidence), self._convention(claim))
        if figure.quantity == "latency" and evidence is not None:
            verdict = times.by_rate(claim, printed, evidence, self._environment(claim, "GPU"))
            return verdict.remarked(*filter(None, [self._times(claim)]))
        if figure.quantity in _OCCUPANCY:
            row = self._rows.get((figure.paper, figure.where, figure.row), {}) if figure.row else {}
            weights = evidence.own.parameters["parameter_bytes"] if evidence is not None else None
            memory = " ".join((figure.convention, *self._environment(claim, "memory")))
            return facts_and_bounds.by_occupancy(claim, printed, row, weights, memory)
        if figure.quantity in arithmetic.RATIOS:
            return arithmetic.by_pairs(claim, printed, self._papers[figure.paper])
        if figure.quantity in _SHARES:
            return self._share(claim, printed)
        if figure.quantity == "validation_loss":
            row = self._rows.get((figure.paper, figure.where, figure.row), {})
            return facts_and_bounds.by_loss(claim, printed, row.get("accuracy"))
        if figure.quantity == "share" and figure.of:
            return self._share(claim, printed)
        return facts_and_bounds.by_facts(claim, printed)

    def _share(self, claim: Claim, printed: Printed) -> Verdict | None:
        figure = claim.figure
        matrix = self._matrix(claim)
        if figure.quantity == "accuracy" and matrix is not None:
            found = arithmetic.by_matrix(claim, printed, matrix)
            if found is not None:
                return found
        wholes: dict[str, int] = {}
        if figure.of:
            number = read(figure.of, "")
            if number is None or number.value < 1:
                raise SheetError(f"of = {figure.of!r} is no number of things from 1")
            wholes["what the paper says it is of"] = int(number.value)
        if figure.quantity == "accuracy":
            wholes |= self._test_sets(claim)
        elif figure.quantity == "train_accuracy":
            wholes |= facts.training_size(figure.dataset)
        if wholes:
            return arithmetic.by_share(claim, printed, wholes)
        return arithmetic.by_any_share(claim, printed, facts.images(figure.dataset)) if figure.dataset else None

    def _test_sets(self, claim: Claim) -> dict[str, int]:
        """Give the test sets that an accuracy may be of: those whose size the paper prints, then the data set's own."""
        found: dict[str, int] = {}
        for other in self._papers[claim.figure.paper]:
            figure = other.figure
            tested = figure.stage == "testing" or "validation" in figure.subject
            if figure.quantity == "image_count" and figure.dataset == claim.figure.dataset and tested:
                number = read(figure.printed, "") if isinstance(figure.printed, str) else None
                if number is not None:
                    found.setdefault(f"{figure.subject} as the paper prints it", int(number.value))
        known = facts.test_sizes(claim.figure.dataset)
        return found | {name: size for name, size in known.items() if size not in found.values()}

    def _matrix(self, claim: Claim) -> Claim | None:
        """Find the confusion matrix of the same network: the paper's, of this data set, if the claim is of its own."""
        for other in self._papers[claim.figure.paper]:
            figure = other.figure
            same = claim.spec is not None and other.network == claim.network
            if same and figure.quantity == "confusion_matrix" and figure.dataset == claim.figure.dataset:
                return other
        return None

    def _built(self, claim: Claim) -> list[Evidence]:
        """Give the recounts of the claim's network, then those of its family."""
        own = self._of(claim.spec)
        return [own, *self._siblings(claim.spec)] if own is not None and claim.spec is not None else []

    def _of(self, spec: ModelSpec | None) -> Evidence | None:
        return find(spec, self._evidence)

    def _siblings(self, spec: ModelSpec) -> list[Evidence]:
        """Give the recounts of other networks of the family, which may have been meant."""
        family = [s for s in self._specs.values() if s.source.module == spec.source.module and s.name != spec.name]
        return [found for found in map(self._of, family) if found is not None]

    def _named(self, claim: Claim) -> list[Evidence]:
        """Give the recounts of the networks that the figure itself names beside its own."""
        found = (self._of(registry.find(name)) for name in claim.figure.networks)
        return [one for one in found if one is not None and one.name != claim.network]

    def _tried(self, claim: Claim, evidence: Evidence) -> list[Hypothesis]:
        batch = times.stated_batch(claim)
        own = evidence.own
        key = (evidence.name, own.input_shape, own.num_classes, claim.figure.quantity, claim.figure.networks, batch)
        if key not in self._hypotheses:
            siblings = [*self._siblings(claim.spec), *self._named(claim)] if claim.spec is not None else []
            self._hypotheses[key] = hypotheses.of(claim.figure.quantity, evidence, siblings, batch)
        return self._hypotheses[key]

    def _convention(self, claim: Claim) -> str:
        """Find the convention that the other figures of the claim's column follow."""
        for line in _lines(claim.figure):
            judged = []
            for other in self._columns[line]:
                evidence = self._of(other.spec)
                printed = read(other.figure.printed, other.figure.unit)
                if other is not claim and evidence is not None and printed is not None:
                    judged.append((printed, self._tried(other, evidence)))
            if convention := counts.column_convention(judged):
                return convention
        return ""

    def _times(self, claim: Claim) -> str:
        for line in _lines(claim.figure):
            rows = []
            for other in self._columns[line]:
                evidence, printed = self._of(other.spec), read(other.figure.printed, other.figure.unit)
                if evidence is not None and printed is not None:
                    rows.append((float(printed.value), evidence))
            if remark := times.what_times_follow(rows):
                return remark
        return ""

    def _environment(self, claim: Claim, what: str) -> list[str]:
        """Give what the paper prints of its machine."""
        return [
            f"{other.figure.printed} {other.figure.unit}".strip()
            for other in self._papers[claim.figure.paper]
            if other.figure.quantity == "environment" and what in other.figure.subject
        ]

    def _not_judged(self, claim: Claim) -> Verdict:
        """Say why nothing was computed."""
        figure = claim.figure
        if is_condition(claim):
            if not is_number(figure.printed):  # a version, a name, a list
                return _statement(claim)
            return Verdict(claim, Kind.out_of_scope, "a condition or description that the authors chose, and no result")
        if claim.spec is not None and self._of(claim.spec) is None and figure.quantity in hypotheses.RECOUNTED:
            return Verdict(claim, Kind.out_of_scope, "the network could not be recounted")
        if figure.quantity in _SHARES:
            line = "a share of a number of images or models that is not printed, and needs the trained network"
            return Verdict(claim, Kind.out_of_scope, line)
        why = _WHY_NOT.get(figure.quantity, "nothing printed or counted bears on it")
        return Verdict(claim, Kind.out_of_scope, why)


def _lines(figure: Figure) -> list[tuple[str, ...]]:
    """Name the lines of its table that a figure stands in: its column, and its row, for a table on its side."""
    if not figure.row:
        return []
    place = (figure.paper, figure.where, figure.quantity)
    return [(*place, "column", figure.column), (*place, "row", figure.row)]


def _statement(claim: Claim) -> Verdict:
    return Verdict(claim, Kind.statement, "words, not a number")


def is_condition(claim: Claim) -> bool:
    """Tell whether a figure is a condition or a description, which the authors chose, and no result."""
    quantity = claim.figure.quantity
    return quantity in _CONDITIONS or (quantity in _DESCRIPTIONS and claim.spec is None)
