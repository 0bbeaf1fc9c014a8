"""Numbers as they are written and as papers print them."""

from decimal import Decimal

import pytest

from fer_bench.records import units
from fer_bench.records.errors import SheetError


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


@pytest.mark.parametrize(
    ("value", "half", "digits"),
    [(10.2345, 0.3, 3), (10.2345, 0.03, 4), (12, 4.97, 2), (11, 40, 2), (0.5, 0, 3), (0, 1, 3), (77.2, 1e-9, 5)],
)
def test_the_last_digit_is_the_one_in_which_the_uncertainty_has_its_first(value, half, digits):
    assert units.digits_within(value, half) == digits


@pytest.mark.parametrize(
    ("values", "prefix"),
    [
        ([23_520_000, 56_951, 4_211_000], "M"),
        ([4.09e9, 8.17e9], "G"),
        ([5_520_000, 215_000_000, 4_090_000_000], "M"),
        ([999, 1], ""),
        ([800e6, 1.6e9], "G"),  # as near to either: the larger prefix
        ([], ""),
        ([0], ""),
    ],
)
def test_a_column_has_the_prefix_under_which_its_numbers_are_nearest_to_1_to_999(values, prefix):
    assert units.scaled.of_column([(value, None) for value in values]).suffix == prefix


def test_no_value_of_a_column_is_filled_up_with_zeros_that_nobody_counted():
    exact = units.scaled.of_column([(5_520_000, None), (4_093_539_446, None)])
    assert [exact(5_520_000), exact(4_093_539_446)] == ["5.52 M", "4094 M"]
    printed = units.scaled.of_column([(5_520_000, None), (4_140_000_000, 3)])
    assert [printed(5_520_000), printed(4_140_000_000, 3)] == ["0.00552 G", "4.14 G"]
    assert units.scaled.of_column([(999_600, 3), (1_000, 3)]).suffix == "M"  # three digits of it are 1.00 M


def test_a_quantity_without_prefixes_stays_as_it_is_in_a_column():
    assert units.milliseconds.of_column([(1, None), (2, None)]) == units.milliseconds


def test_an_interval_is_written_to_the_digit_in_which_it_is_wide():
    assert units.milliseconds.between((0.01021, 0.01042)) == "10.2–10.4"
    assert units.milliseconds.between((0.0075, 0.0242)) == "8–24"  # half of a unit goes to the even one
    assert units.number.between((950, 1050)) == "950–1050"
