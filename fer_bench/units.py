"""The only place that scales a number or gives it a suffix. Records hold base units: seconds, bytes, counts, joules."""

import re
from decimal import Context, Decimal, InvalidOperation

from fer_bench.errors import SheetError

_STEPS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))

# Units as papers print them, to base units. "B" is the billion of "4.14B". Percentages stay percentages.
_PRINTED: dict[str, Decimal] = {
    "": Decimal(1),
    "K": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "B": Decimal(10) ** 9,
    "G": Decimal(10) ** 9,
    "KB": Decimal(10) ** 3,
    "kilobytes": Decimal(10) ** 3,
    "MB": Decimal(10) ** 6,
    "GB": Decimal(10) ** 9,
    "million": Decimal(10) ** 6,
    "ns": Decimal(10) ** -9,
    "nanoseconds": Decimal(10) ** -9,
    "ms": Decimal(10) ** -3,
    "s": Decimal(1),
    "%": Decimal(1),
    "times": Decimal(1),
    "fold": Decimal(1),
}


def printed_value(printed: str, unit: str) -> Decimal:
    """Give a figure of a paper in base units, exactly: ``("142.9", "M")`` is 142900000, ``("7.74", "ns")`` 7.74E-9.

    Digits may be grouped by commas, or end with a power of ten: ``("3.8 × 10^9", "")``.

    Raises:
        SheetError: the digits are no number, or the unit is unknown.
    """
    if unit not in _PRINTED:
        raise SheetError(f"unknown unit {unit!r} of the figure {printed!r}; known: {', '.join(filter(None, _PRINTED))}")
    digits = re.sub(r" × 10\^(\d+)$", r"E\1", printed.replace(",", ""))
    try:
        return Decimal(digits) * _PRINTED[unit]
    except InvalidOperation:
        raise SheetError(f"{printed!r} is not a number") from None


def scaled(value: float, digits: int = 3) -> str:
    """Write a count with a decimal prefix and a number of significant digits: 4093539446 is "4.09 G"."""
    for step, prefix in _STEPS:
        if round(value, digits - len(str(int(value)))) >= step:
            return f"{significant(value / step, digits)} {prefix}"
    return str(value) if isinstance(value, int) else significant(value, digits)


def significant(value: float, digits: int = 3) -> str:
    """Write a number with that many significant digits and no exponent: 0.01234 is "0.0123", 56950 is "57000"."""
    if value == 0:
        return "0"
    rounded = Context(prec=digits).create_decimal(repr(float(value)))
    exponent = rounded.adjusted() - digits + 1
    return f"{rounded.quantize(Decimal(1).scaleb(exponent)) if exponent < 0 else rounded:f}"  # 0.5 is "0.500"


def grouped(value: int) -> str:
    """Write a count with thousands separated: 23522375 is "23,522,375"."""
    return f"{value:,}"


def kilobytes(count: float, digits: int = 4) -> str:
    """Write bytes as kB (1000), as the papers print file sizes, without the suffix."""
    return significant(count / 1000, digits)


def milliseconds(seconds: float, digits: int = 3) -> str:
    """Write seconds as milliseconds, without the suffix."""
    return significant(seconds * 1e3, digits)


def microseconds(seconds: float, digits: int = 3) -> str:
    """Write seconds as microseconds, without the suffix."""
    return significant(seconds * 1e6, digits)


def milli(value: float, digits: int = 3) -> str:
    """Write a value in thousandths of its unit, without the suffix: joules as mJ."""
    return significant(value * 1e3, digits)


def percent(share: float, digits: int = 3) -> str:
    """Write a share as a percentage, with the sign: 0.0123 is "1.23 %"."""
    return f"{significant(100 * share, digits)} %"


def hundredths(share: float) -> str:
    """Write a share in per cent with two decimals and no sign, as paper 004 does: 1/6 is "16.67"."""
    return f"{100 * share:.2f}"


def mebibytes(count: float, digits: int = 3) -> str:
    """Write bytes as MiB (2**20), without the suffix."""
    return significant(count / 2**20, digits)


def printable(text: str) -> str:
    """Leave out what a terminal would obey: names and reasons come from users' files."""
    return "".join(character if character.isprintable() else " " for character in text)


def size(shape: tuple[int, ...]) -> str:
    """Write a shape: (3, 224, 224) is "3x224x224"."""
    return "x".join(map(str, shape))
