"""The timing gate's rules: the statistic, the interval, the looks and the verdict."""

import math
import random
import statistics

import pytest
from scipy import stats as scipy_stats

from fer_bench.gating import decision
from fer_bench.gating.verdicts import Effect, Outcome


def test_a_pass_is_held_against_those_of_the_same_moment():
    """The machine is twice as slow from one turn to the next, and from the second on four times; 10 % stay 10 %."""
    base = [[1.0], [2.0], [4.0], [8.0]]
    candidate = [[1.1], [2.2], [4.4], [8.8]]
    # By turns: 1.1/1 1.1/2 | 2.2/1 2.2/2 2.2/4 | 4.4/2 4.4/4 4.4/8 | 8.8/4 8.8/8; the middle two of ten are 1.1.
    assert decision.log_ratio(base, candidate) == pytest.approx(math.log(1.1))
    assert decision.log_ratio(candidate, base) == pytest.approx(-math.log(1.1))


def test_turns_far_apart_are_not_compared():
    # In the same turn or the next: 2 2 | 2 2 1 | 1 0.5. The first against the last as well would make the median 1.
    assert decision.log_ratio([[1.0], [1.0], [2.0]], [[2.0], [2.0], [1.0]]) == pytest.approx(math.log(2))


def test_a_few_passes_that_something_struck_do_not_count():
    base = [[1.0, 1.0], [1.0, 50.0], [1.0, 1.0]]
    assert decision.log_ratio(base, [[1.2, 1.2], [1.2, 1.2], [70.0, 1.2]]) == pytest.approx(math.log(1.2))
    assert decision.log_ratio([[2.0]], [[3.0]]) == pytest.approx(math.log(1.5))


def test_the_interval_is_students():
    differences = [0.01, 0.03, 0.02, 0.05, 0.00, 0.04]
    found = decision.effect(differences, differences)
    centre, error = statistics.fmean(differences), statistics.stdev(differences) / 6**0.5
    low, high = scipy_stats.t.interval(1 - decision.PER_LOOK, 5, centre, error)
    assert (found.estimate, found.low, found.high) == pytest.approx(tuple(map(math.expm1, (centre, low, high))))
    assert found.pairs == 6
    assert found.check == pytest.approx(math.expm1(0.025))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.026, 0.09, Outcome.worse),
        (0.025, 0.09, None),  # half the minimum effect is not surely exceeded
        (-0.09, -0.026, Outcome.better),
        (-0.049, 0.049, Outcome.same),
        (-0.01, 0.051, None),
        (0.026, 0.049, Outcome.worse),  # both would be right: worse is asked first
        (-0.2, 0.2, None),
    ],
)
def test_the_verdict_follows_from_the_interval(low, high, expected):
    found = Effect((low + high) / 2, low, high, 0.9985, 6, 0.0)
    assert decision.decide(found, 0.05) is expected


def test_same_takes_a_wider_interval_and_a_plain_mean_that_is_not_worse():
    scattered = [-0.024, 0.024, -0.012, 0.012, -0.016, 0.016]
    error = statistics.stdev(scattered) / 6**0.5
    half, wider = (
        scipy_stats.t.ppf(1 - level / 2, 5) * error for level in (decision.PER_LOOK, decision.PER_LOOK_OF_SAME)
    )
    between = math.expm1((half + wider) / 2)  # a minimum effect that only the first of the two rules out
    assert decision.decide(decision.effect(scattered, scattered), between) is Outcome.same
    assert decision.decide_pairs(scattered, scattered, between) is None
    assert decision.decide_pairs(scattered, scattered, 1.01 * math.expm1(wider)) is Outcome.same
    assert decision.decide_pairs(scattered, [0.1, 0.11] * 3, 1.01 * math.expm1(wider)) is None
    assert decision.decide_pairs([0.05, 0.051] * 3, [0.05, 0.051] * 3, 0.05) is Outcome.worse


@pytest.mark.parametrize(
    ("per_look", "sides", "share", "error"),
    [
        # By two million and 400,000 gates; errors are 4 standard errors of such shares among 6,000.
        (decision.PER_LOOK, 2, 0.0099, 0.0051),  # an interval excludes the truth, above or below
        (
            decision.PER_LOOK_OF_SAME,
            1,
            0.0015,
            0.0020,
        ),  # an upper bound is below the truth: same, of the minimum effect
    ],
)
def test_all_looks_together_are_wrong_as_rarely_as_it_says(per_look, sides, share, error):
    draw = random.Random(7)
    gates, wrong = 6_000, 0
    critical = {n: scipy_stats.t.ppf(1 - per_look / 2, n - 1) for n in decision.LOOKS}
    for _ in range(gates):
        total = squares = 0.0
        for n in range(1, decision.LOOKS[-1] + 1):
            value = draw.gauss(0, 1)
            total += value
            squares += value * value
            if n in critical:
                off = total / n / math.sqrt((squares - total * total / n) / (n - 1) / n)
                if max(off, -off if sides == 2 else off) > critical[n]:
                    wrong += 1
                    break
    assert abs(wrong / gates - share) < error
