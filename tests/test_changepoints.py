"""Change points: known steps are found, flat series are left alone, and the statistic is the paper's."""

import itertools
import math
import random
import statistics

import pytest

from fer_bench.reporting.analysis import changepoints
from fer_bench.reporting.analysis.changepoints import Change, change_points, differ, middle, steps


def noisy(length, seed, *levels):
    """Logarithms with a standard deviation of 2 %; levels are (from which place on, factor)."""
    rng = random.Random(seed)
    factors = [[factor for place, factor in levels if place <= number] for number in range(length)]
    return [rng.gauss(0, 0.02) + math.log(its[-1] if its else 1) for its in factors]


def places(*series):
    return [[change.place for change in found] for found in change_points(series)]


def test_a_step_is_found_at_its_place():
    assert places(noisy(30, 1, (12, 1.15))) == [[12]]


def test_several_steps_are_found():
    assert places(noisy(45, 2, (15, 1.2), (30, 1.5))) == [[15, 30]]


def test_a_level_that_comes_back_is_seen():
    assert places(noisy(40, 3, (15, 1.2), (23, 1.0))) == [[15, 23]]


def test_a_change_in_the_last_three_values_is_seen():
    assert places(noisy(30, 4, (27, 1.2))) == [[27]]


def test_a_spike_is_no_change_and_hides_none():
    flat, stepped = noisy(30, 5), noisy(30, 5, (15, 1.15))
    flat[9] += math.log(3)
    stepped[9] += math.log(3)
    assert places(flat, stepped) == [[], [15]]


def test_neither_order_of_two_series_is_compared_with_the_other():
    slow = [value + math.log(2) for value in noisy(12, 6)]
    assert places(noisy(12, 7), slow) == [[], []]
    assert places(noisy(12, 7), [*slow[:6], *(value + 0.5 for value in slow[6:])]) == [[], [6]]


@pytest.mark.parametrize("length", [changepoints.LONGEST + 1, 1000, 10_001])
def test_many_values_are_searched_in_blocks_and_changes_placed_among_them(length, monkeypatch):
    searched = []
    energy = changepoints._energy

    def counted(distances, orders):
        searched.append(len(distances))
        return energy(distances, orders)

    monkeypatch.setattr(changepoints, "_energy", counted)
    first, second = length // 3 + 1, 2 * length // 3
    ((one, two),) = places(noisy(length, 10, (first, 1.2), (second, 1.5)))
    assert abs(one - first) <= 1
    assert abs(two - second) <= 1
    assert max(searched) <= changepoints.BLOCKS
    assert places(noisy(length, 11), noisy(length, 12)) == [[], []]
    searched.clear()
    assert differ(noisy(length, 13), noisy(length, 14, (0, 1.2))) <= 0.01
    assert max(searched) <= changepoints.LONGEST


def test_blocks_of_a_perfect_step_are_placed_by_the_values():
    for place in range(495, 506):
        assert places([0.0] * place + [1.0] * (1000 - place)) == [[place]]


def test_the_middle_of_many_values_is_that_of_their_blocks_medians():
    values = [float(number) for number in range(2 * changepoints.LONGEST)]
    assert middle(values) == statistics.mean(values)


def test_the_same_series_gives_the_same_marks():
    series = noisy(40, 8, (20, 1.05))
    assert change_points([series]) == change_points([series])


def test_fewer_values_than_the_fewest_are_never_enough():
    perfect = [[0.0] * left + [1.0] * (changepoints.FEWEST - 1 - left) for left in range(changepoints.FEWEST)]
    assert all(places(series) == [[]] for series in perfect)
    assert places([0.0] * 6 + [1.0] * 6) == [[6]]  # 2 of 924 orders are as far apart


@pytest.mark.parametrize("series", [[], [1.0], [2.0] * 30])
def test_nothing_or_a_constant_has_no_change(series):
    assert change_points([series]) == [[]]


def test_values_that_hardly_differ_but_for_a_step_are_not_clipped_away():
    assert places([5.0] * 20 + [5.1] * 5) == [[20]]


def test_flat_series_get_a_mark_no_more_often_than_allowed():
    rng = random.Random(9)
    alarms = 0
    for _ in range(200):
        series = [rng.gauss(0, 0.02) + (0.5 if rng.random() < 0.05 else 0) for _ in range(20)]
        alarms += bool(change_points([series])[0])
    # Binomial with 200 and 0.02: more than 10 happen in 0.2 % of the cases.
    assert alarms <= 10


def test_the_probability_is_that_of_the_permutations():
    # The sides of (0, 0, 0, 1, 1, 1) are as far apart in 2 of the 20 ways to choose three of six.
    p = differ([0.0] * 3, [1.0] * 3)
    assert p == pytest.approx(0.1, abs=0.04)
    assert differ([0.0] * 2, [1.0] * 9) is None
    assert differ([0.0] * 6, [1.0] * 6) == pytest.approx(2 / 924, abs=0.004)


def test_the_distance_is_the_paper_s():
    # Matteson and James (2014), equations 5 and 7, written out for every split of these values.
    values = [0.3, 0.1, 0.4, 0.1, 0.5, 0.9, 0.2, 0.6]

    def within(side):
        return statistics.fmean(abs(a - b) for a, b in itertools.combinations(side, 2))

    gaps = changepoints._distances(values)
    (energy,) = changepoints._energy(gaps, [list(range(8))])
    for left, both in itertools.product(range(1, 9), repeat=2):
        sides = values[:left], values[left:both]
        got = energy[left - 1, both - 1]
        if min(map(len, sides)) < changepoints.SMALLEST:
            assert got == -math.inf
            continue
        between = statistics.fmean(abs(a - b) for a, b in itertools.product(*sides))
        sizes = [len(side) for side in sides]
        expected = (2 * between - within(sides[0]) - within(sides[1])) * sizes[0] * sizes[1] / sum(sizes)
        assert got == pytest.approx(expected)


def test_of_counts_each_difference_is_a_change():
    assert steps([3, 3, 4, 4, 3]) == [2, 4]
    assert steps([3]) == []


def test_the_middle_is_the_median_of_the_means_of_pairs():
    # Pairs of 1, 2, 9 have the means 1, 1.5, 5, 2, 5.5, 9: between 2 and 5 lies 3.5.
    assert middle([1, 2, 9]) == 3.5
    assert middle([7]) == 7


def test_a_change_reports_its_chance():
    (found,) = change_points([noisy(30, 1, (12, 1.3))])
    assert found == [Change(12, found[0].p)]
    assert 0 < found[0].p <= changepoints.LEVEL
