"""Judge a printed count by the recounts of its network, and what is said of the counts of its variants."""

import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from fer_bench.auditing.chance import ALPHA, covered, fits, up_to
from fer_bench.auditing.evidence import Evidence
from fer_bench.auditing.hypotheses import UNUSUAL, Hypothesis
from fer_bench.auditing.printed import Printed
from fer_bench.auditing.verdicts import Claim, Fit, Kind, Verdict
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.units import grouped
from fer_bench.reporting.analysis.sweeps import Series

# Builds that are known to be the network that the paper names: what differs from them is wrong, not another network.
_CERTAIN = ("exact", "library", "unregistered")
_NEAR = 1e-3  # relative: nearer than this, and by no chance, a number is reported as almost the printed one
_MOST_FITS = 6  # listed; the number of further ones is reported
_NAMED = 8  # steps that a line names
_WAYS = {"upward": "up", "downward": "down"}  # a printed trend, and how a step of it goes


def judge(
    claim: Claim, printed: Printed, evidence: Evidence, hypotheses: Sequence[Hypothesis], favoured: str = ""
) -> Verdict:
    """Judge a count by what it may be, simplest first.

    The convention that the other figures of its column follow is favoured; "" for none known.
    """
    stated = hypotheses[0]
    readings = [reading for reading in (printed, printed.coarse) if reading is not None]
    found = sorted((fit for reading in readings for fit in fits(reading, hypotheses)), key=lambda fit: fit.tier)
    found = list({fit.text: fit for fit in reversed(found)}.values())[::-1]
    by_column, accepted = _accepted(readings, found, hypotheses, favoured)

    def verdict(kind: Kind, line: str, chance: float | None) -> Verdict:
        source = f"recount of {evidence.name} ({evidence.own.build}; {stated.text})"
        kept, left = tuple(found[:_MOST_FITS]), len(found) - _MOST_FITS
        more = (f"{left} further hypotheses fit too",) if left > 0 else ()
        return Verdict(claim, kind, line, grouped(int(stated.value)), source, chance, kept, more)

    if accepted is not None:
        beside = "; the column's other figures follow the same convention" if by_column else ""
        return verdict(accepted.kind, accepted.line + beside, accepted.chance)
    if found:
        line = f"{found[0].line}, but {found[0].chance:.0%} of random figures would fit as well"
        return verdict(Kind.undecidable, line, found[0].chance)
    if claim.figure.quantity == "file_size":
        kind, line = _file(printed, hypotheses)
    else:
        certain = claim.spec is not None and claim.spec.status in _CERTAIN
        kind = Kind.refuted if certain else Kind.irreproducible
        line = "; ".join(filter(None, (f"{stated.arithmetic} ({stated.text})", _nearest(printed, hypotheses))))
    return verdict(Kind.unexplained if claim.of_table and kind is Kind.refuted else kind, line, None)


def _accepted(
    readings: Sequence[Printed], found: Sequence[Fit], hypotheses: Sequence[Hypothesis], favoured: str
) -> tuple[bool, Fit | None]:
    """Return the simplest fit that chance does not explain, and whether only its column makes it so.

    The convention of the column is tried first, and its part of ``ALPHA`` is not available to the others. Together
    they explain no more random figures. What equals a whole number that is the stated count needs no chance.
    """
    stated = hypotheses[0]
    for fit in found:
        if fit.text == stated.text and fit.how == "exact" and readings[0].whole:
            return False, fit
    left, chosen = ALPHA, None
    if favoured:
        mine = [one for one in hypotheses if one.convention == favoured and one.tier <= UNUSUAL]
        for reading in readings:
            spent = [covered(reading, up_to(mine, one.tier)) for one in mine]
            left = min(left, ALPHA - max((chance for chance in spent if chance <= ALPHA), default=0.0))
            chosen = chosen or next((fit for fit in fits(reading, mine) if fit.chance <= ALPHA), None)
    alone = next((fit for fit in found if fit.chance <= left), None)
    if alone is not None and (chosen is None or alone.tier <= chosen.tier):
        return False, alone
    return chosen is not None, chosen


def _file(printed: Printed, hypotheses: Sequence[Hypothesis]) -> tuple[Kind, str]:
    """Judge the size of a file that no content explains exactly: a container adds what nobody can know."""
    contents = sorted((one for one in hypotheses if one.kind is not Kind.build), key=lambda one: one.value)
    inside = [one for one in contents if one.value <= printed.value]
    if not inside:
        return Kind.refuted, f"less than {contents[0].text}: {contents[0].arithmetic} bytes"
    most = inside[-1]
    more = float(printed.value / most.value - 1)
    share = f"{more:.0%}" if more >= 0.01 else f"{more:.1%}"
    line = f"{share} more than {most.text}, {most.arithmetic} bytes; what the container adds is not printed"
    return Kind.irreproducible, line


def _nearest(printed: Printed, hypotheses: Sequence[Hypothesis]) -> str:
    """Name the hypothesis that almost fits, where that is hardly chance."""
    if not printed.value:
        return ""
    nearest = min(hypotheses, key=lambda one: abs(one.value / printed.value - 1))
    off = float(abs(nearest.value / printed.value - 1))
    tried = [one for one in hypotheses if one.tier <= nearest.tier]
    if off > _NEAR or off * 2 * len(tried) > ALPHA or off == 0:
        return ""
    return f"almost {nearest.text}, {nearest.arithmetic}, {off:.2g} off"


def trend(claim: Claim, tried: Sequence[Series]) -> Verdict:
    """Judge whether the parameters of a paper's variants go one way at every step from one to the next.

    They are Keras totals, which papers that use Keras print. The claim is about the first network that it names; what
    holds of the others is a remark.

    Raises:
        SheetError: the words say no way.
    """
    said = [way for word, way in _WAYS.items() if word in claim.figure.printed.lower()]
    if len(said) != 1:
        raise SheetError(f"over = {claim.figure.over!r}, and it does not say one of {', '.join(_WAYS)}")
    of = {one.network: steps for one in tried if (steps := Steps.of(one, said[0])) is not None}
    if claim.network not in of:
        return Verdict(claim, Kind.out_of_scope, "the variants of its network are not counted")
    own = of[claim.network]
    kind = Kind.confirmed if own.holds else Kind.refuted
    verdict = Verdict(claim, kind, own.line, f"{said[0]} at {own.right} of {own.steps} steps", own.evidence)
    others = [(spec.name, of[spec.name]) for spec in claim.named[1:] if spec.name in of]
    return verdict.remarked(*(f"of {name}, for which nothing is claimed: {steps.line}" for name, steps in others))


@dataclass(frozen=True, slots=True)
class Steps:
    """How the parameters change from one of a paper's variants to the next.

    Attributes:
        way: "up" or "down", which is what should be true of all.
        steps: how many there are.
        right: how many go that way.
        others: the variants to which the others lead, by how these go.
        evidence: what was counted.
    """

    way: str
    steps: int
    right: int
    others: Mapping[str, Sequence[str]]
    evidence: str

    @classmethod
    def of(cls, tried: Series, way: str) -> Self | None:
        """Return the steps of a series; None unless all of its variants are counted."""
        totals = [total for one in tried.results if (total := one.value("parameters.keras_total")) is not None]
        if len(totals) < tried.of:
            return None
        others: dict[str, list[str]] = defaultdict(list)
        for label, (before, after) in zip(tried.labels[1:], itertools.pairwise(totals), strict=True):
            its = "up" if after > before else "down" if after < before else "level"
            if its != way:
                others[its].append(label)
        build = tried.results[0].subject
        about = (units.size(build.input_shape or ()), f"{build.num_classes} classes", *tried.settings)
        evidence = f"Keras totals of the {tried.of} variants of {tried.network} ({', '.join(about)})"
        steps = tried.of - 1
        return cls(way, steps, steps - sum(map(len, others.values())), others, evidence)

    @property
    def holds(self) -> bool:
        return self.right == self.steps

    @property
    def line(self) -> str:
        if self.holds:
            return f"all {self.steps} steps go {self.way}"
        return f"{self.right} of {self.steps} steps go {self.way}, {' and '.join(map(self._other, self.others))}"

    def _other(self, its: str) -> str:
        labels = self.others[its]
        verb = ("is", "are") if its == "level" else ("goes", "go")
        named = ", ".join(labels[:_NAMED]) + (f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")
        return f"{len(labels)} {verb[len(labels) > 1]} {its} (to {named})"


@dataclass(frozen=True, slots=True)
class Followed:
    """Which conventions a printed count may follow.

    Attributes:
        tiers: of each convention that was tried.
        chances: that a random figure fits, as a logarithm; of each convention that fits.
    """

    tiers: Mapping[str, int]
    chances: Mapping[str, float]

    @classmethod
    def of(cls, printed: Printed, hypotheses: Sequence[Hypothesis]) -> Self:
        """Try the conventions of a network's hypotheses."""
        chances = {}
        tiers = {one.convention: one.tier for one in reversed(hypotheses) if one.convention}
        for name in tiers:
            mine = [one for one in hypotheses if one.convention == name]
            if fits(printed, mine):
                chances[name] = math.log(covered(printed, [one.value for one in mine]) or sys.float_info.min)
        return cls(tiers, chances)


class Column:
    """The printed counts of a line of a table, each of which is judged by the convention of the others."""

    def __init__(self, members: Sequence[Followed]) -> None:
        self._members = members
        # Of the members before a place, and of those from a place on: together, of all but one.
        self._before: list[dict[str, int]] = [{}]
        self._after: list[dict[str, int]] = [{}]
        for member in members:
            self._before.append({**self._before[-1], **member.tiers})
        for member in reversed(members):
            self._after.append({**member.tiers, **self._after[-1]})
        self._after.reverse()
        self._hits: Counter[str] = Counter()
        self._chances: dict[str, float] = defaultdict(float)
        for member in members:
            self._hits.update(member.chances.keys())
            for name, chance in member.chances.items():
                self._chances[name] += chance

    def convention(self, apart_from: int | None = None) -> str:
        """Find the one convention that the counts follow, one of them apart; "" if none does beyond chance.

        At least three figures and half of the column must fit it, and that must be a hundred times less likely than
        ``ALPHA`` for random figures, all conventions tried.
        """
        count, tiers = len(self._members), self._after[0]
        own: Mapping[str, float] = {}
        if apart_from is not None:
            count -= 1
            tiers = self._before[apart_from] | self._after[apart_from + 1]
            own = self._members[apart_from].chances
        best, most = "", 0
        for name in sorted(tiers, key=lambda name: tiers[name]):
            hits, chance = self._hits[name] - (name in own), self._chances[name] - own.get(name, 0.0)
            chance += math.log(math.comb(count, hits) * len(tiers))
            enough = hits >= max(3, (count + 1) // 2) and chance < math.log(ALPHA / 100)
            if enough and hits > most:  # of as many hits the simplest, which comes first
                best, most = name, hits
        return best
