"""Judge a printed count by the recounts of its network."""

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
from fer_bench.records.units import grouped

# Builds that are known to be the network that the paper names: what differs from them is wrong, not another network.
_CERTAIN = ("exact", "library", "unregistered")
_NEAR = 1e-3  # relative: nearer than this, and by no chance, a number is reported as almost the printed one
_MOST_FITS = 6  # listed; the number of further ones is reported


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
