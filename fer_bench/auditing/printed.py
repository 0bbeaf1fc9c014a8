"""Read a figure as a paper prints it: its value, and what else would have been printed the same."""

import functools
import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

from fer_bench.records import units
from fer_bench.records.errors import SheetError

_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_LONGEST = 40  # characters: no paper prints more digits
_COARSE_ZEROS = 3  # of a whole number without a unit: so many at its end may have been rounded to; with a unit, one


@dataclass(frozen=True, slots=True)
class Printed:
    """A printed number.

    Attributes:
        value: in base units.
        step: what the last printed digit counts, in base units.
        whole: it was printed without a unit or decimals: a count of things, exact.
        zeros: at the end of its digits, where there are no decimals.
    """

    value: Decimal
    step: Decimal
    whole: bool = False
    zeros: int = 0

    @property
    def coarse(self) -> "Printed | None":
        """Read zeros at the end as rounded: 25500000 with three digits, "4090 M" too. None without such zeros."""
        if self.zeros < (_COARSE_ZEROS if self.whole else 1) or not self.value:
            return None
        return Printed(self.value, self.step * Decimal(10) ** self.zeros)

    def match(self, number: Decimal) -> str:
        """Return how a number would have been printed so: "exact", "rounded", "cut"; "" if not at all."""
        if number == self.value:
            return "exact"
        if abs(number - self.value) * 2 <= self.step:
            return "rounded"
        return "cut" if 0 <= number - self.value < self.step else ""

    def span(self, number: Decimal) -> tuple[Decimal, Decimal]:
        """Return which values would be printed, with this step, as something that matches a number.

        It matches what it is cut and what it is rounded to, and each of the two is printed for all that rounds to it.
        """
        steps = number / self.step
        cut = steps.to_integral_value(rounding=ROUND_FLOOR)
        rounded = steps.to_integral_value(rounding=ROUND_HALF_UP)
        return (cut - Decimal("0.5")) * self.step, (rounded + Decimal("0.5")) * self.step


@functools.lru_cache(maxsize=2**16)
def read(printed: str, unit: str) -> Printed | None:
    """Read a printed figure; None where it is words, a list or a range.

    Raises:
        SheetError: the unit is unknown, or the digits look like a number and are none.
    """
    text = printed.strip()
    if len(text) > _LONGEST:
        return None
    if text.lower() in _NUMERALS:
        text = str(_NUMERALS.index(text.lower()))
    text = re.sub(r"^(\d+)(st|nd|rd|th)$", r"\1", text)
    try:
        value = units.printed_value(text, "")
    except SheetError:
        if re.fullmatch(r"[\d.,]*\d[\d.,]*([eE][+-]?\d+| × 10\^\d+)?", text):
            raise
        return None
    if not value.is_finite() or value < 0:
        return None
    factor = units.printed_value("1", unit)
    mantissa = re.match(r"-?[\d,]*\.?(\d*)", text)
    decimals = len(mantissa.group(1)) if mantissa else 0
    power = re.search(r"10\^(\d+)$", text)
    step = factor * Decimal(10) ** (-decimals + (int(power.group(1)) if power else 0))
    digits = re.sub(r"\D", "", mantissa.group(0)) if mantissa and not decimals else ""
    zeros = len(digits) - len(digits.rstrip("0")) if value else 0
    return Printed(value * factor, step, not decimals and factor == 1 and power is None, zeros)


def is_number(printed: object) -> bool:
    """Return whether a printed figure reads as a number, its unit aside."""
    try:
        return isinstance(printed, str) and read(printed, "") is not None
    except SheetError:
        return False
