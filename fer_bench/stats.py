"""Statistics of a sequence of numbers: pure functions."""

import math
import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value below which a share of the values lies, interpolated linearly between neighbours.

    Hyndman and Fan's definition 7, numpy's default.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
