"""Statistics against values worked out by hand."""

import pytest

from fer_bench.stats import median, quantile


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert median([4, 1, 3, 2]) == 2.5


@pytest.mark.parametrize(("share", "value"), [(0, 10), (0.25, 15), (0.5, 20), (0.95, 29), (1, 30)])
def test_a_quantile_lies_linearly_between_its_neighbours(share, value):
    assert quantile([30, 10, 20], share) == pytest.approx(value)


def test_one_value_is_every_quantile():
    assert {quantile([7.0], share) for share in (0, 0.05, 0.95, 1)} == {7.0}
