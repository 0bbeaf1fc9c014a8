"""Read a figure as a paper prints it: its value, and what else would have been printed the same."""

import re
from dataclasses import dataclass
from decimal import Decimal

from fer_bench import units
from fer_bench.errors import SheetError

_WORDS = {
    word: number
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}
# Words around a number that make it no number to be held to, but a statement.
_COARSE_ZEROS = 3  # of a whole number: so many at its end may have been rounded to


@dataclass(frozen=True, slots=True)
class Printed:
    """A printed number.

    Attributes:
        value: in base units.
        step: what the last printed digit counts, in base units.
        whole: it was printed without a unit or decimals: a count of things, exact.
    """

    value: Decimal
    step: Decimal
    whole: bool = False

    @property
    def digits(self) -> int:
        """Count the significant digits."""
        return max(1, (self.value / self.step).adjusted() + 1) if self.value else 1

    @property
    def coarse(self) -> "Printed | None":
        """Read the zeros at the end of a whole number as rounded: 25500000 with three digits. None without such."""
        digits = str(abs(int(self.value)))
        zeros = len(digits) - len(digits.rstrip("0"))
        if not self.whole or zeros < _COARSE_ZEROS or not self.value:
            return None
        return Printed(self.value, Decimal(10) ** zeros)

    def match(self, number: Decimal) -> str:
        """Tell how a number would have been printed so: "exact", "rounded", "cut"; "" if not at all."""
        if number == self.value:
            return "exact"
        if abs(number - self.value) * 2 <= self.step:
            return "rounded"
        return "cut" if 0 <= number - self.value < self.step else ""

    def span(self, number: Decimal) -> tuple[Decimal, Decimal]:
        """Give the values that, printed with this step, would match a number: those between the two."""
        if self.whole and number == number.to_integral_value():
            return number - self.step / 2, number + self.step / 2
        return number - self.step, number + self.step / 2


def read(printed: str, unit: str) -> Printed | None:
    """Read a printed figure; None where it is words, a list or a range.

    Raises:
        SheetError: the unit is unknown.
    """
    text = printed.strip()
    if text.lower() in _WORDS:
        text = str(_WORDS[text.lower()])
    text = re.sub(r"^(\d+)(st|nd|rd|th)$", r"\1", text)
    try:
        value = units.printed_value(text, "")
    except SheetError:
        return None
    factor = units.printed_value("1", unit)
    mantissa = re.match(r"-?[\d,]*\.?(\d*)", text)
    decimals = len(mantissa.group(1)) if mantissa else 0
    power = re.search(r"10\^(\d+)$", text)
    step = factor * Decimal(10) ** (-decimals + (int(power.group(1)) if power else 0))
    return Printed(value * factor, step, whole=not decimals and factor == 1 and power is None)
