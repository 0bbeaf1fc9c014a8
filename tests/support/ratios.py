"""Ratios of times that were measured in turns, with how far they are known: for benchmarks, whose verdict they are."""

import math
import statistics
from collections.abc import Sequence

import pytest
from scipy import stats

WITHIN = 0.03
Pairs = Sequence[tuple[float, float]]  # seconds of neighbouring blocks


def interval(pairs: Pairs) -> tuple[float, float, float]:
    """Return the mean ratio of pairs, the second over the first, and the ends of its 95 % interval."""
    logs = [math.log(second / first) for first, second in pairs]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * error
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def judge(name: str, pairs: Pairs) -> None:
    """Print a ratio: inside ±3 % passes, wholly outside fails, and else the test is skipped as inconclusive."""
    ratio, low, high = interval(pairs)
    text = f"{name}: {ratio:.4f} [{low:.4f}, {high:.4f}] of {len(pairs)} pairs"
    print(f"\n{text}", flush=True)  # noqa: T201  # as benchmarks do
    if low >= 1 - WITHIN and high <= 1 + WITHIN:
        return
    assert low <= 1 + WITHIN, text
    assert high >= 1 - WITHIN, text
    pytest.skip(f"inconclusive: {text}")
