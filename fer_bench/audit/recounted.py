"""Judge a printed count by the recounts of its network."""

import math
from collections.abc import Iterable, Sequence

from fer_bench.audit.chance import ALPHA, covered
from fer_bench.audit.evidence import Evidence
from fer_bench.audit.hypotheses import STATED, Hypothesis
from fer_bench.audit.printed import Printed
from fer_bench.audit.verdicts import Claim, Fit, Kind, Verdict
from fer_bench.units import grouped

# Builds that are known to be the network that the paper names: what differs from them is wrong, not another network.
_CERTAIN = ("exact", "library", "unregistered")
_NEAR = 1e-3  # relative: nearer than this, and by no chance, a number is told as almost the printed one
_MOST_FITS = 6  # told; that there are more is told too


def fits(printed: Printed, hypotheses: Sequence[Hypothesis]) -> list[Fit]:
    """Give every hypothesis that fits, simplest first, with the chance of it and all simpler ones together."""
    found = []
    for hypothesis in hypotheses:
        how = printed.match(hypothesis.value)
        if how:
            tried = [one.value for one in hypotheses if one.tier <= hypothesis.tier]
            chance = covered(printed, tried)
            found.append(Fit(hypothesis.text, hypothesis.arithmetic, how, chance, hypothesis.kind))
    return found


def judge(
    claim: Claim,
    printed: Printed,
    evidence: Evidence,
    hypotheses: Sequence[Hypothesis],
    favoured: str = "",
) -> Verdict:
    """Judge a count.

    Args:
        claim: the figure.
        printed: its number.
        evidence: the network's recounts.
        hypotheses: what the figure may be, simplest first.
        favoured: the convention that the other figures of its column follow, "" for none known.
    """
    found = fits(printed, hypotheses)
    if not found and printed.coarse is not None:
        coarse = printed.coarse
        found, printed = fits(coarse, hypotheses), coarse if fits(coarse, hypotheses) else printed
    by_column = fits(printed, [one for one in hypotheses if one.convention == favoured]) if favoured else []
    stated = hypotheses[0]
    ours = grouped(int(stated.value))
    source = f"recount of {evidence.name} ({evidence.own.told}; {stated.text})"

    def verdict(kind: Kind, line: str, chance: float | None) -> Verdict:
        return Verdict(claim, kind, line, ours, source, chance, tuple(found[:_MOST_FITS]), _more(found))

    accepted = _accepted(printed, found, stated)
    if accepted is None and by_column and by_column[0].chance <= ALPHA:
        best = by_column[0]
        line = f"{_said(best)}; the column's other figures follow the same convention"
        return verdict(best.kind, line, best.chance)
    if accepted is not None:
        return verdict(accepted.kind, _said(accepted), accepted.chance)
    if found:
        first = found[0]
        line = f"{_said(first)}, but {first.chance:.0%} of random figures would fit as well"
        return verdict(Kind.undecidable, line, first.chance)
    if claim.figure.quantity == "file_size":
        return verdict(*_file(printed, hypotheses), None)
    certain = claim.spec is not None and claim.spec.status in _CERTAIN
    line = f"{stated.arithmetic} ({stated.text})"
    near = _nearest(printed, hypotheses)
    return verdict(Kind.refuted if certain else Kind.irreproducible, "; ".join(filter(None, (line, near))), None)


def _file(printed: Printed, hypotheses: Sequence[Hypothesis]) -> tuple[Kind, str]:
    """Judge the size of a file that no content explains exactly: a container adds what nobody can know."""
    contents = sorted((one for one in hypotheses if one.kind is not Kind.build), key=lambda one: one.value)
    inside = [one for one in contents if one.value <= printed.value]
    if not inside:
        return Kind.refuted, f"less than {contents[0].text}: {contents[0].arithmetic} bytes"
    most = inside[-1]
    more = float(printed.value / most.value - 1)
    line = f"{more:.0%} more than {most.text}, {most.arithmetic} bytes; what the container adds is not printed"
    return Kind.irreproducible, line


def _accepted(printed: Printed, found: Iterable[Fit], stated: Hypothesis) -> Fit | None:
    """Choose the simplest fit that chance does not explain; a whole number that is the stated count needs no chance."""
    for fit in found:
        if fit.chance <= ALPHA or (printed.whole and stated.tier == STATED and fit.text == stated.text):
            return fit
    return None


def _said(fit: Fit) -> str:
    how = {"exact": "", "rounded": ", rounded", "cut": ", cut"}[fit.how]
    return f"{fit.text}: {fit.arithmetic}{how}"


def _more(found: Sequence[Fit]) -> tuple[str, ...]:
    left = len(found) - _MOST_FITS
    return (f"{left} further hypotheses fit too",) if left > 0 else ()


def _nearest(printed: Printed, hypotheses: Sequence[Hypothesis]) -> str:
    """Name the hypothesis that almost fits, where that is hardly chance."""
    nearest = min(hypotheses, key=lambda one: abs(one.value / printed.value - 1) if printed.value else one.value)
    off = float(abs(nearest.value / printed.value - 1)) if printed.value else 1.0
    tried = [one for one in hypotheses if one.tier <= nearest.tier]
    if off > _NEAR or off * 2 * len(tried) > ALPHA or off == 0:
        return ""
    return f"almost {nearest.text}, {nearest.arithmetic}, {off:.2g} off"


def column_convention(judged: Sequence[tuple[Printed, Sequence[Hypothesis]]]) -> str:
    """Find the one convention that a column of printed counts follows; "" if none does beyond chance.

    At least three figures and half of the column must fit it, and that must be a hundred times less likely than
    ``ALPHA`` for random figures, all conventions tried.
    """
    names = dict.fromkeys(one.convention for _, hypotheses in judged for one in hypotheses if one.convention)
    best, best_chance = "", 1.0
    for name in names:
        hits, chance = 0, 1.0
        for printed, hypotheses in judged:
            mine = [one for one in hypotheses if one.convention == name]
            if fits(printed, mine):
                hits += 1
                chance *= min(1.0, covered(printed, [one.value for one in mine]))
        combinations = math.comb(len(judged), hits) * len(names)
        if hits >= max(3, (len(judged) + 1) // 2) and chance * combinations < min(best_chance, ALPHA / 100):
            best, best_chance = name, chance * combinations
    return best
