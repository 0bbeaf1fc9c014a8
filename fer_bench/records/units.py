"""The only place that scales a number or gives it a suffix. Records hold base units: seconds, bytes, counts, joules."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, InvalidOperation

from fer_bench.records.errors import SheetError

EN_DASH = "\N{EN DASH}"
_RANGE = 40  # powers of ten
_MOST_WHOLE = 2**31 - 1
MOST_DIGITS = 5  # of a latency, however narrow its interval: a clock and a machine have no more

_STEPS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))

# Units as papers print them, to base units. "B" is the billion of "4.14B". Percentages stay percentages.
PRINTED_UNITS: dict[str, Decimal] = {
    **dict.fromkeys(("", "s", "fps", "%", "times", "fold"), Decimal(1)),
    **dict.fromkeys(("K", "KB", "kilobytes"), Decimal(10) ** 3),
    **dict.fromkeys(("M", "MB", "million"), Decimal(10) ** 6),
    **dict.fromkeys(("B", "G", "GB", "× 10^9"), Decimal(10) ** 9),
    **dict.fromkeys(("ns", "nanoseconds"), Decimal(10) ** -9),
    **dict.fromkeys(("us", "µs"), Decimal(10) ** -6),
    "ms": Decimal(10) ** -3,
    "min": Decimal(60),
    "h": Decimal(3600),
    "days": Decimal(86400),
}


def printed_value(printed: str, unit: str) -> Decimal:
    """Return a figure of a paper in base units, exactly: ``("142.9", "M")`` is 142900000, ``("7.74", "ns")`` 7.74E-9.

    Digits may be grouped by commas, or end with a power of ten: ``("3.8 × 10^9", "")``.

    Raises:
        SheetError: the digits are no number, or the unit is unknown.
    """
    if unit not in PRINTED_UNITS:
        known = ", ".join(filter(None, PRINTED_UNITS))
        raise SheetError(f"unknown unit {unit!r} of the figure {printed!r}; known: {known}")
    if "," in printed and not re.match(r"\d{1,3}(,\d{3})+(?!\d)", printed):
        raise SheetError(f"{printed!r} is not a number: a comma groups thousands; write decimals with a point")
    digits = re.sub(r" × 10\^(\d+)$", r"E\1", printed.replace(",", ""))
    try:
        number = Decimal(digits)
    except InvalidOperation:
        raise SheetError(f"{printed!r} is not a number") from None
    if not in_range(number):
        raise SheetError(f"{printed!r} is out of range: a number from 10^-{_RANGE} to 10^{_RANGE} was expected")
    return number * PRINTED_UNITS[unit]


def in_range(number: Decimal) -> bool:
    """Return whether a number can be worked with: what people print lies far within; infinity and NaN do as well."""
    return not number.is_finite() or abs(number.adjusted()) <= _RANGE


def whole_number(text: str) -> int | None:
    """Read a size as a user writes it, from 1 to 2**31 - 1; None where it is none."""
    digits = text.lstrip("0")
    value = int(digits) if digits.isdecimal() and len(digits) <= len(str(_MOST_WHOLE)) else 0
    return value if 1 <= value <= _MOST_WHOLE else None


@dataclass(frozen=True, slots=True)
class Quantity:
    """How the numbers of one kind are written. Called with a raw value, it gives its text with prefix or sign."""

    base: str = ""  # unit of a raw value: "s", "B", "J"; empty for counts and shares
    per: Decimal = Decimal(1)  # raw units in one written unit: a thousandth of a second where milliseconds are written
    digits: int | None = 3  # significant digits of a value whose accuracy is unknown; None for all
    decimals: int | None = None  # decimals instead of significant digits, for tables that have them so in a paper
    prefixed: bool = False  # a decimal prefix goes with each number: 4093539446 is "4.09 G"
    suffix: str = ""  # what goes with each number otherwise: "%"
    whole: bool = False  # no digit before the point is rounded away of a value whose accuracy is unknown

    def __call__(self, value: float, digits: int | None = None) -> str:
        """Write a value with its prefix or sign; ``digits`` are significant and stand for the quantity's own."""
        if not self.prefixed:
            return f"{self.number(value, digits)} {self.suffix}".rstrip()
        kept = digits or self.digits or 3
        for step, prefix in _STEPS:
            if round(value, kept - len(str(int(value)))) >= step:
                return f"{significant(decimal(value) / step, kept)} {prefix}"
        return str(value) if isinstance(value, int) else self.number(value, digits)

    def number(self, value: float, digits: int | None = None) -> str:
        """Write a value in the written unit, without prefix or sign."""
        if self.digits is None:
            return f"{value:,}"
        scaled_value = decimal(value) / self.per
        if self.decimals is not None:
            return f"{scaled_value:.{self.decimals}f}"
        most = max(self.digits, scaled_value.adjusted() + 1) if self.whole else self.digits
        return significant(scaled_value, digits or most)

    def with_digits(self, digits: int) -> "Quantity":
        """Return the same quantity with another number of significant digits."""
        return replace(self, digits=digits)

    def of_column(self, values: Iterable[tuple[float, int | None]]) -> "Quantity":
        """Return the quantity that writes all values with one prefix, under which they are nearest to 1 to 999.

        No zero is written that nobody counted: exact values are written to the unit at least, 4093539446 as "4094" with
        M, and the prefix is one under which values that are known to some digits need no zeros after these.

        Args:
            values: each with the significant digits to which it is known, None for an exact one.
        """
        there = [(decimal(value), digits) for value, digits in values if value]
        if not self.prefixed or not there:
            return replace(self, prefixed=False)
        sizes = [value.adjusted() for value, _ in there]
        known = [_rounded(value, digits).adjusted() - digits + 1 for value, digits in there if digits is not None]

        def beyond(choice: tuple[int, str]) -> tuple[int, int]:
            shift = len(str(choice[0])) - 1
            zeros = max([0, *(place - shift for place in known)])
            return zeros, sum(max(0, shift - size, size - shift - 2) for size in sizes)

        step, prefix = min((*_STEPS, (1, "")), key=beyond)
        return replace(self, per=Decimal(step), prefixed=False, suffix=prefix, whole=True)

    def between(self, ends: Sequence[float]) -> str:
        """Write the ends of an interval, to the digit in which they differ: ``(0.01021, 0.01042)`` is "10.2–10.4"."""
        low, high = (decimal(end) / self.per for end in ends)
        middle, half = (low + high) / 2, (high - low) / 2
        place = middle.adjusted() - digits_within(middle, half) + 1
        return EN_DASH.join(_to_place(end, place) for end in (low, high))


EXACT = Context(prec=500)  # in which any number of a record can be written to any place


def digits_within(value: float | Decimal, half_width: float | Decimal, most: int = MOST_DIGITS) -> int:
    """Return how many significant digits an uncertainty supports: 10.2345 +- 0.3 has 3, which writes 10.2.

    The last digit is the one in which the uncertainty has its first. Two at least, so that the order of magnitude
    stays. Where nothing is uncertain, three.
    """
    exact, half = decimal(value), decimal(half_width)
    if not exact or half <= 0:
        return min(3, most)
    return max(2, min(most, exact.adjusted() - half.adjusted() + 1))


def significant(value: float | Decimal, digits: int = 3) -> str:
    """Write a number with that many significant digits and no exponent: 0.01234 is "0.0123", 56950 is "57000"."""
    exact = decimal(value)
    if not exact:
        return "0"
    rounded = _rounded(exact, digits)
    return _to_place(rounded, rounded.adjusted() - digits + 1)  # 0.5 is "0.500"


def _rounded(value: float | Decimal, digits: int) -> Decimal:
    return Context(prec=digits).create_decimal(decimal(value))


def _to_place(value: Decimal, place: int) -> str:
    """Write a number to a decimal place, -1 for tenths, 1 for tens."""
    return f"{value.quantize(Decimal(1).scaleb(place), context=EXACT):f}"


def decimal(value: float | Decimal) -> Decimal:
    """Return a number exactly as it is printed."""
    return Decimal(value) if isinstance(value, Decimal | int) else Decimal(repr(float(value)))


# What tables write. A bare number; a count with a prefix; a count with thousands separated.
number = Quantity()
scaled = Quantity(prefixed=True)
grouped = Quantity(digits=None)
# Bytes, as kB (1000) where papers print file sizes, and as MiB (2**20).
kilobytes = Quantity("B", Decimal(1000), digits=4)
mebibytes = Quantity("B", Decimal(2**20))
# Seconds, and joules in thousandths.
milliseconds = Quantity("s", Decimal("0.001"))
microseconds = Quantity("s", Decimal("0.000001"))
millijoules = Quantity("J", Decimal("0.001"))
# A share as a percentage: 0.0123 is "1.23 %"; with two decimals and no sign, as paper 004 does: 1/6 is "16.67".
percent = Quantity(per=Decimal("0.01"), suffix="%")
hundredths = Quantity(per=Decimal("0.01"), decimals=2)


def size(shape: tuple[int, ...]) -> str:
    """Write a shape: (3, 224, 224) is "3x224x224"."""
    return "x".join(map(str, shape))
