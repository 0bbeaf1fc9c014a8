"""Numbers as they are written and as papers print them."""

from decimal import Decimal

import pytest

from fer_bench import units
from fer_bench.errors import SheetError


@pytest.mark.parametrize(
    ("printed", "unit", "value"),
    [
        ("142.9", "M", 142_900_000),
        ("4.14", "B", 4_140_000_000),
        ("0.425", "B", 425_000_000),
        ("75.08", "K", 75_080),
        ("3.45", "million", 3_450_000),
        ("36,131,847", "", 36_131_847),
        ("3.8 × 10^9", "", 3_800_000_000),
        ("872.9", "kilobytes", 872_900),
        ("7.74", "ns", Decimal("7.74e-9")),
        ("73.47", "%", Decimal("73.47")),
    ],
)
def test_a_printed_figure_is_exactly_its_digits_in_base_units(printed, unit, value):
    assert units.printed_value(printed, unit) == Decimal(value)


@pytest.mark.parametrize(("printed", "unit"), [("nearly twice", ""), ("3", "bushels"), ("", "M")])
def test_a_figure_that_is_no_number_is_refused_by_name(printed, unit):
    with pytest.raises(SheetError, match=r"unknown unit|is not a number"):
        units.printed_value(printed, unit)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1.00 k"), (999_499, "999 k"), (999_600, "1.00 M"), (4.5e12, "4.50 T")],
)
def test_a_count_is_scaled_to_three_digits_and_never_to_a_thousand_of_a_step(value, text):
    assert units.scaled(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (56950, "57000"), (9.996, "10.0"), (0, "0"), (1e-9, "0.00000000100")]
)
def test_significant_digits_have_no_exponent(value, text):
    assert units.significant(value) == text


def test_times_and_sizes_lose_no_factor():
    assert units.milliseconds(0.0105) == "10.5"
    assert units.mebibytes(3 * 2**20) == "3.00"
    assert units.kilobytes(872_856) == "872.9"
    assert units.grouped(23_522_375) == "23,522,375"
    assert units.size((3, 224, 224)) == "3x224x224"


def test_control_characters_do_not_reach_a_terminal():
    assert units.printable("a\x1b[31m\nb\u202e") == "a [31m b "
