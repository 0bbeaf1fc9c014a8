"""Statistics of a sequence of numbers: pure functions, without numpy, so that reading commands start at once.

What the constants rest on was simulated: ``tests/test_stats.py`` holds the claims, ``benchmarks/test_coverage.py`` the
study of the intervals. The noise is that of passes on a shared two-core machine: a standard deviation of 3 % from run
to run, lag-1 autocorrelation 0.77 and an integrated time of 16 to 31 runs, so that 300 runs of one process are worth 10
to 20, and processes that differ by 0.6 to 4.4 % for good.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of intervals, where nothing else is said

# Processes after the pilot from which a variance is taken: with two, t is 12.7 and the interval says nothing.
MIN_SECOND = 3
# The chance of reaching the wanted width that the number of further processes gives. Simulated with 4 + at most 12
# processes and +-1 %: for processes that differ by 0.63 / 1.0 / 1.5 %, 0.8 takes 5.6 / 8.6 / 10.6 further ones and
# converges in 89 / 86 / 75 % (all 12: 100 / 100 / 87 %); 0.9 takes 7.6 / 10.2 / 11.4 for 95 / 93 / 81 %, 0.5 takes
# 3.5 / 5.3 / 8.2 for 72 / 62 / 55 %.
ASSURANCE = 0.8

# Passes in a row that look like the second half of the series, where the warm-up is over.
WARMUP_WINDOW = 3
# The range of the second half that they must lie in: its outer tenth is left to spikes.
WARMUP_RANGE = (0.05, 0.95)

# Values below which nothing is said of modes: of five, two always look apart.
MIN_FOR_MODES = 6
# Highest share of the values that are set aside as spikes: other programs only ever make a pass slower.
SPIKES_SHARE = 0.05
# A mode has at least this share of the values; fewer are outliers.
MODE_SHARE = 0.15
# Distance of two modes in standard deviations within them, for many values, and what is added over their number. Halves
# of a normal distribution lie 2.7 apart, of an even one 3.5, and few values scatter more.
MODE_DISTANCE, MODE_DISTANCE_OF_FEW = 4.0, 50.0
# Modes nearer than this share of the lower are nobody's concern: runs scatter by as much.
MODES_APART = 0.03

# Passes in a third of the series that drift is taken from: fewer, and one spike is the median.
MIN_THIRD = 3
# Relative change from the first third to the last above which a process drifted. Noise alone reaches 0.09 in 1 % of the
# processes of 9 to 30 runs, 0.05 of 300; a tenth leaves room for looking at sixteen processes.
DRIFT = 0.10


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of its values."""

    low: float
    high: float
    level: float  # its nominal coverage, 0.95 for 95 %
    processes: int  # how many it rests on


def wilson(hits: float, trials: int, level: float = LEVEL) -> Interval:
    """Return Wilson's interval of a share, given so many hits in so many trials (Wilson 1927); of none 0 to 1."""
    if trials == 0:
        return Interval(0.0, 1.0, level, trials)
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share, added = hits / trials, z * z / trials
    middle = (share + added / 2) / (1 + added)
    half = z * math.sqrt(share * (1 - share) / trials + added / (4 * trials)) / (1 + added)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), level, trials)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies, interpolated linearly between neighbours.

    Hyndman and Fan's definition 7, numpy's default.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def estimate(medians: Sequence[float]) -> float:
    """Return the estimate of a latency: the mean of the processes' medians.

    The median sets aside the spikes within a process; over processes, whose differences are the network's own luck with
    memory and just as real, the mean is what an interval by t belongs to.
    """
    return statistics.fmean(medians)


def spread(medians: Sequence[float]) -> float | None:
    """Return the standard deviation between processes as a share of their mean, or None for fewer than two."""
    return statistics.stdev(medians) / statistics.fmean(medians) if len(medians) > 1 else None


def interval(medians: Sequence[float], pilot: int = 0, level: float = LEVEL) -> Interval | None:
    """Return the confidence interval around ``estimate``, or None where fewer than two processes were measured.

    Where the number of processes was fixed beforehand (``pilot`` 0) it is Student's. Where the first ``pilot`` of them
    decided how many follow (``further_processes``), stopping early means that they happened to agree, and counting on
    that twice covers 80 to 85 %. So the mean is over all and the variance from those that followed, with their
    degrees of freedom: for normal noise the mean depends on neither variance, and those that followed owe nothing to
    the pilot, so that the coverage is the nominal one for every number that may have been chosen. This is Stein's
    two-stage interval (1945, Ann. Math. Statist. 16) with the variance of the other stage: his, of the pilot, is exact
    on average over the numbers chosen, and too narrow where few were. That the rule looks at the variance as a share of
    the mean, and the budget at the mean, does not show in simulation: both know the mean to a percent beforehand.

    Where fewer than ``MIN_SECOND`` followed (no time was left, or they failed) it is Stein's own, which for none is
    Student's over the pilot.

    A process that failed is left out: ``medians`` are those of the others, in the order of measuring. If it was one of
    the pilot, one that followed counts as pilot: that costs a degree of freedom and no coverage. A process that fails
    because it is slow biases the mean itself, which no interval shows.

    It is about this machine in this session: what all processes share, such as a neighbour who stays, it cannot know.
    """
    if len(medians) < 2:
        return None
    if pilot < 2:
        varied = medians  # one process decides nothing: it has no variance
    elif len(medians) - pilot >= MIN_SECOND:
        varied = medians[pilot:]
    else:
        varied = medians[:pilot]
    error = statistics.stdev(varied) / math.sqrt(len(medians))
    centre, half = estimate(medians), student_t(level, len(varied) - 1) * error
    return Interval(centre - half, centre + half, level, len(medians))


def converged(interval: Interval | None, share: float) -> bool:
    """Return whether an interval's half-width is at most this share of its centre; no interval is not."""
    return interval is not None and interval.high - interval.low <= share * (interval.high + interval.low)


def further_processes(pilot_medians: Sequence[float], share: float, most: int, affordable: int) -> int:
    """Return how many processes to measure after a pilot.

    They are the fewest whose ``interval`` has a half-width of at most ``share`` of the mean with probability
    ``ASSURANCE``, given the pilot's estimate of the variance. The ratio of two variances follows the F distribution
    (the assurance of Kupper and Hafner 1989, Am. Statist. 43, with an estimated variance). Where no allowed number
    promises that, all that are allowed: a narrower interval is worth having.

    Args:
        pilot_medians: one for each process of the pilot that did not fail.
        share: the wanted half-width.
        most: processes in all, the pilot's among them.
        affordable: how many the budget still allows.

    Returns:
        0 where fewer than ``MIN_SECOND`` are affordable, else at least that many, or the few that ``most`` leaves.
    """
    room = max(most - len(pilot_medians), 0)
    allowed = min(room, affordable)
    if allowed < min(MIN_SECOND, room):
        return 0
    if len(pilot_medians) > 1:
        wanted, deviation = share * estimate(pilot_medians), statistics.stdev(pilot_medians)
        for further in range(MIN_SECOND, allowed):
            if _chance_of_width(wanted, deviation, len(pilot_medians), further) >= ASSURANCE:
                return further
    return allowed


def _chance_of_width(wanted: float, deviation: float, pilot: int, further: int) -> float:
    """Return the probability that the half-width after ``further`` processes is at most the wanted one."""
    if deviation == 0:
        return 1.0
    largest = wanted * math.sqrt(pilot + further) / student_t(LEVEL, further - 1)
    scaled = (further - 1) * (largest / deviation) ** 2
    return _beta(scaled / (scaled + pilot - 1), (further - 1) / 2, (pilot - 1) / 2)


@functools.cache
def student_t(level: float, freedom: int) -> float:
    """Return the t that a Student variable of so many degrees of freedom stays within, on both sides, at this level.

    By bisection of its distribution, to the last digits of a float.
    """

    def within(t: float) -> float:
        return _beta(t * t / (freedom + t * t), 0.5, freedom / 2)

    high = 1.0
    while within(high) < level:
        high *= 2
    low = 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if within(middle) < level else (low, middle)
    return high


def _beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    From the last term to the first, on the side where the terms vanish fast: of the order of sqrt(a + b) matter.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    fraction = 1.0
    for m in range(20 + round(3 * math.sqrt(a + b)), 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        fraction = 1 + odd / (1 + even / fraction)
    scale = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(scale) / (a * fraction)


def warmup_cut(series: Sequence[float], least: int = 0) -> int:
    """Return how many of the first passes are warm-up.

    It is over where ``WARMUP_WINDOW`` passes in a row lie within the 5 to 95 % range of the second half of the series,
    at half of it at the latest. From fewer than twice the window nothing is concluded.

    The yardstick is MSER-5 (White 1997, Simulation 69), which cuts where the standard error of the mean of what is left
    is smallest. In simulation both leave the same error in the mean of ten processes' medians, but MSER-5 pays more: of
    300 runs without a warm-up it cuts 17 on average (10 % of series: 65 or more) and this rule 1.4 (5), with 1 % of
    spikes 37 (125) and 1.5 (5), since one spike outweighs all noise in a mean; of 8 runs it cuts none, whatever the
    first is. After two slow runs (1.92x, 1.07x) it cuts 21 of 300, this 3. MSER-5 is the better one only for a slow
    decay that takes a third of the series: 50 % over 30 of 100 runs leaves +0.26 % in the median, here +0.40 %.

    Args:
        series: seconds, from the very first pass.
        least: passes that are cut in any case, more than half if need be.
    """
    half = len(series) // 2
    if half < WARMUP_WINDOW:
        return min(least, len(series))
    low, high = (quantile(series[half:], share) for share in WARMUP_RANGE)
    starts = (i for i in range(half) if all(low <= value <= high for value in series[i : i + WARMUP_WINDOW]))
    return min(max(next(starts, half), least), len(series))


def modes(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the two values that a sequence scatters around, or None where it scatters around one.

    The split with the smallest variance within (Fisher 1958, JASA 53; Otsu 1979), judged by the distance of the parts'
    means in standard deviations within (Ashman, Bird and Zepf 1994, Astron. J. 108). Order does not enter, so that
    autocorrelation only makes few values of many; the threshold allows for that. Simulated with the noise of passes:
    two modes are seen in at most 0.1 % of unimodal series of 20 to 300 runs and 0.6 % of 6 to 16 values; a mixture of
    12.9 and 18.6 ms in all series of 100 runs, where a fifth are slow in 87 %. A steady drift is not two modes.
    """
    ordered = sorted(values)
    ordered = ordered[: len(ordered) - int(SPIKES_SHARE * len(ordered))]
    count = len(ordered)
    if count < MIN_FOR_MODES:
        return None
    fewest = max(2, math.ceil(MODE_SHARE * count))
    sums = list(itertools.accumulate(ordered))

    def between(lower: int) -> float:
        return lower * (count - lower) * ((sums[-1] - sums[lower - 1]) / (count - lower) - sums[lower - 1] / lower) ** 2

    split = max(range(fewest, count - fewest + 1), key=between)
    parts = ordered[:split], ordered[split:]
    low, high = map(statistics.fmean, parts)
    if high - low <= MODES_APART * low:
        return None
    squares = sum((value - low) ** 2 for value in parts[0]) + sum((value - high) ** 2 for value in parts[1])
    least = (MODE_DISTANCE + MODE_DISTANCE_OF_FEW / count) * math.sqrt(squares / (count - 2))
    return (low, high) if high - low > least else None


def drift(values: Sequence[float]) -> float:
    """Return the relative change from the first third's median to the last third's; 0 for fewer than nine values."""
    third = len(values) // 3
    if third < MIN_THIRD:
        return 0.0
    return median(values[-third:]) / median(values[:third]) - 1


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two series (ties share their mean rank); 0 where one is constant."""
    try:
        return statistics.correlation(_ranks(first), _ranks(second))
    except statistics.StatisticsError:
        return 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]
