"""When a gate may say what: the interval over pairs of processes, the looks at it, and the verdict. Pure functions.

A pair of processes, of the base and of the candidate, gives one number, the logarithm of the ratio of their times. What
such numbers scatter by, and how often which verdict is wrong, is measured in ``benchmarks/gate_power``.
"""

import math
import statistics
from collections.abc import Sequence

from fer_bench.gating.verdicts import Effect, Outcome
from fer_bench.records import stats

# Numbers of pairs after which the interval is looked at. Each look can be wrong. So that all looks together are
# wrong in 1 % at most where nothing changed (Pocock 1977, Biometrika 64), each interval's level is 1 - PER_LOOK.
# From 2,000,000 simulated gates of normal differences with t intervals: 0.00115 gives 0.99 %, with a standard error of
# 0.01; ``tests/test_gate_rules.py`` repeats it with fewer. That "worse" wants more than a bound above 0 only lowers it.
LOOKS = (6, 9, 12, 16, 20, 24, 30, 36, 44, 52, 60, 72, 86, 104, 124)
PER_LOOK = 0.00115
# *Same* rules the minimum effect out, which takes a wider interval: a slowdown that is missed
# costs more than some pairs. All looks together call a change of just the minimum effect the same in 0.15 % of gates.
PER_LOOK_OF_SAME = 0.0003
LEVEL = 0.99  # of an interval whenever it is read: all looks together miss in 1 %

# Fewer pairs than that have no interval worth the name: t of one degree of freedom is 424.
FEWEST = 3

# Share of the minimum effect that a change must surely exceed to be called worse or better. With half of it, a true
# change of just the minimum effect is detected, and one of less than half is not.
SURE_SHARE = 0.5


def log_ratio(base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]) -> float:
    """Return a pair's estimate: the median of log(candidate / base) over passes that were made close by.

    Each pass is compared with those of the other side in the same turn and in the turns next to it, so that both
    met the same moment of the machine. The median leaves out what struck a few. It scatters less than ratios of means,
    medians or minima: ``reports/gate-power`` has by how much. What makes fewer than half of the passes slower it does
    not see: the ratio of the plain means is reported with it.

    Args:
        base: seconds of each pass, by turn.
        candidate: likewise, as many turns.
    """
    before, after = ([[math.log(s) for s in turn] for turn in side] for side in (base, candidate))
    near = [[s for turn in before[max(0, place - 1) : place + 2] for s in turn] for place in range(len(after))]
    ratios = [later - earlier for turn, close in zip(after, near, strict=True) for later in turn for earlier in close]
    return statistics.median(ratios)


def effect(differences: Sequence[float], checks: Sequence[float], per_look: float = PER_LOOK) -> Effect:
    """Return the change over pairs, with its interval by Student's t, as wide as a look must have it.

    Differences are log(candidate / base), one a pair, ``FEWEST`` at least; checks are the same by plain means.
    """
    centre = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = stats.student_t(1 - per_look, len(differences) - 1) * error
    return Effect(
        math.expm1(centre),
        math.expm1(centre - half),
        math.expm1(centre + half),
        LEVEL,
        len(differences),
        math.expm1(statistics.fmean(checks)),
    )


def decide(interval: Effect, least: float) -> Outcome | None:
    """Return the verdict that an interval allows, or None where more pairs are needed.

    Between half the minimum effect (``least``, a share) and the whole, either *worse* or *same* is right; worse is
    asked first.
    """
    if interval.low > SURE_SHARE * least:
        return Outcome.worse
    if interval.high < -SURE_SHARE * least:
        return Outcome.better
    if -least < interval.low and interval.high < least:
        return Outcome.same
    return None


def decide_pairs(differences: Sequence[float], checks: Sequence[float], least: float) -> Outcome | None:
    """Return the verdict that pairs allow, or None; the arguments are those of ``effect`` and ``decide``.

    The wider interval must say *same*, too, and nothing is *same* or *better* whose plain mean is worse.
    """
    outcome = decide(effect(differences, checks), least)
    if outcome is Outcome.same:
        outcome = decide(effect(differences, checks, PER_LOOK_OF_SAME), least)
    return None if outcome in (Outcome.same, Outcome.better) and mean_is_worse(checks, least) else outcome


def mean_is_worse(checks: Sequence[float], least: float) -> bool:
    """Return whether pairs are worse by their plain means."""
    return decide(effect(checks, checks), least) is Outcome.worse
