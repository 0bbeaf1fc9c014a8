"""How often a race stops its fastest variant, by simulation with ties planted, and how many processes it saves."""

import math
import random
from collections.abc import Callable

import pytest

from fer_bench.measuring import race as racing

RACES = 400
VARIANTS = 10


def skewed(draw: random.Random) -> float:
    """Draw noise as times have it: a floor, and a tail above it."""
    return 0.02 * draw.expovariate(1.0)


def normal(draw: random.Random) -> float:
    return draw.gauss(0, 0.02)


def heavy(draw: random.Random) -> float:
    """Draw noise of which one process in ten is disturbed."""
    return draw.gauss(0, 0.01) + (0.3 if draw.random() < 0.1 else 0.0)


def hold(noise: Callable[[random.Random], float], tied: int, seed: int) -> tuple[bool, int]:
    """Hold a race; return whether the first variant was stopped, and how many processes were measured."""
    draw, measured = random.Random(seed), list[int]()
    means = [0.0] * tied + [0.1 * (place + 1) for place in range(VARIANTS - tied)]
    drifts = [draw.gauss(0, 0.2) for _ in range(racing.ROUNDS)]

    def took(place: int, number: int) -> float:
        measured.append(place)
        return math.exp(means[place] + drifts[number] + noise(draw))

    *_, (standing, _) = racing.race(took, VARIANTS, VARIANTS, seed=seed)
    return 0 not in standing.logs, len(measured)


@pytest.mark.parametrize("noise", [normal, skewed, heavy])
@pytest.mark.parametrize("tied", [2, 5, VARIANTS])
def test_the_fastest_is_stopped_in_one_race_of_twenty_at_most(noise, tied, capsys):
    """All that tie are as fast; that a given one of them is stopped is the error."""
    binom = pytest.importorskip("scipy.stats").binom
    stopped = processes = 0
    for seed in range(RACES):
        lost, count = hold(noise, tied, seed)
        stopped += lost
        processes += count
    with capsys.disabled():
        share = processes / RACES / VARIANTS / racing.ROUNDS
        print(f"\n{noise.__name__}, {tied} tied: stopped {stopped} of {RACES}, {share:.0%} of the processes")
    assert stopped <= binom.ppf(0.999, RACES, racing.ALPHA)
