"""The only place that scales a number or gives it a suffix. Records hold base units: seconds, bytes, counts, joules."""

from decimal import Decimal, InvalidOperation

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

    Raises:
        SheetError: the digits are no number, or the unit is unknown.
    """
    if unit not in _PRINTED:
        raise SheetError(f"unknown unit {unit!r} of the figure {printed!r}; known: {', '.join(filter(None, _PRINTED))}")
    try:
        return Decimal(printed.replace(",", "")) * _PRINTED[unit]
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
    number = Decimal(repr(float(value)))
    exponent = number.adjusted() - digits + 1
    rounded = number.quantize(Decimal(1).scaleb(exponent)) if exponent < 0 else round(number, -exponent)
    return f"{rounded:f}"


def grouped(value: int) -> str:
    """Write a count with thousands separated: 23522375 is "23,522,375"."""
    return f"{value:,}"


def milliseconds(seconds: float, digits: int = 3) -> str:
    """Write seconds as milliseconds, without the suffix."""
    return significant(seconds * 1e3, digits)


def mebibytes(count: float, digits: int = 3) -> str:
    """Write bytes as MiB (2**20), without the suffix."""
    return significant(count / 2**20, digits)


def size(shape: tuple[int, ...]) -> str:
    """Write a shape: (3, 224, 224) is "3x224x224"."""
    return "x".join(map(str, shape))
