"""How likely a figure that means nothing at all would agree with one of several numbers.

Who tries enough explanations finds one that fits. So each explanation has the probability that a random figure
would have fitted it or a simpler one. Random figures have the same number of digits and about the same size; the
probability is the share of them that these explanations cover. Those that cover more than ``ALPHA`` explain nothing.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from fer_bench.auditing.hypotheses import Hypothesis
from fer_bench.auditing.printed import Printed
from fer_bench.auditing.verdicts import Fit

ALPHA = 0.05
# "About the same size": random figures are spread evenly in the logarithm, within these factors up and down. Hypotheses
# crowd around the true count, so the nearer range counts where it gives more.
_FACTORS = (2.0, math.sqrt(10))


def covered(printed: Printed, numbers: Iterable[Decimal]) -> float:
    """Return the share of random figures that agree with at least one of the numbers."""
    if printed.value <= 0:
        return 1.0
    centre = math.log(printed.value)
    spans = sorted((float(low), float(high)) for low, high in map(printed.span, numbers) if high > 0)
    shares = []
    for factor in _FACTORS:
        reach = math.log(factor)
        lowest, highest = centre - reach, centre + reach
        total, end = 0.0, lowest
        for low, high in spans:
            start = max(end, math.log(low) if low > 0 else lowest)
            stop = min(highest, math.log(high))
            if stop > start:
                total += stop - start
                end = stop
        shares.append(total / (2 * reach))
    return min(1.0, max(shares))


def fits(printed: Printed, hypotheses: Sequence[Hypothesis]) -> list[Fit]:
    """Return every hypothesis that fits, simplest first, with the chance of it and all simpler ones together."""
    return [
        Fit(one.text, one.arithmetic, how, covered(printed, up_to(hypotheses, one.tier)), one.kind, one.tier)
        for one in hypotheses
        if (how := printed.match(one.value))
    ]


def up_to(hypotheses: Iterable[Hypothesis], tier: int) -> list[Decimal]:
    """Return the numbers of the hypotheses of a tier and of all simpler ones."""
    return [one.value for one in hypotheses if one.tier <= tier]
