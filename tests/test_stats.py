"""Statistics against values worked out by hand, against scipy, and in simulations with the noise of real passes."""

import functools

import numpy as np
import pytest

from fer_bench.records.plan import EDGE, SAFAVI2023
from fer_bench.records.stats import (
    ASSURANCE,
    DRIFT,
    MIN_SECOND,
    Interval,
    converged,
    drift,
    estimate,
    further_processes,
    interval,
    median,
    modes,
    quantile,
    spread,
    student_t,
    warmup_cut,
)

RUN_SD = 0.03  # from run to run, as measured


def ar1(rng, lag_1, shape):
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= (1 - lag_1**2) ** 0.5
    for step in range(1, shape[1]):
        noise[:, step] += lag_1 * noise[:, step - 1]
    return noise


def passes(rng, series, runs):
    """Give series of runs around 1: lag-1 autocorrelation 0.77, integrated time 23 runs (a slow share of 30 %)."""
    return 1 + RUN_SD * (0.3**0.5 * ar1(rng, 0.97, (series, runs)) + 0.7**0.5 * ar1(rng, 0.684, (series, runs)))


@functools.cache
def noise_of_medians(runs):
    return np.median(passes(np.random.default_rng(runs), 4000, runs), axis=1) - 1


def process_medians(rng, between, shape, runs=300):
    return 1 + between * rng.standard_normal(shape) + rng.choice(noise_of_medians(runs), shape)


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert median([4, 1, 3, 2]) == 2.5


@pytest.mark.parametrize(("share", "value"), [(0, 10), (0.25, 15), (0.5, 20), (0.95, 29), (1, 30)])
def test_a_quantile_lies_linearly_between_its_neighbours(share, value):
    assert quantile([30, 10, 20], share) == pytest.approx(value)


def test_one_value_is_every_quantile():
    assert {quantile([7.0], share) for share in (0, 0.05, 0.95, 1)} == {7.0}


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.975, 0.99, 0.999])
def test_students_t_is_scipys(level):
    scipy_stats = pytest.importorskip("scipy.stats")
    for freedom in [*range(1, 61), 120, 1000]:
        assert student_t(level, freedom) == pytest.approx(scipy_stats.t.ppf((1 + level) / 2, freedom), rel=1e-8)


def test_students_t_of_the_printed_tables():
    assert [round(student_t(0.95, freedom), 3) for freedom in (1, 2, 3, 4, 15)] == [12.706, 4.303, 3.182, 2.776, 2.131]


def test_the_estimate_is_the_mean_of_the_medians_and_the_spread_their_deviation_by_it():
    assert estimate([9.0, 10.0, 11.0]) == 10.0
    assert spread([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert spread([9.0]) is None


def test_a_fixed_number_of_processes_has_students_interval():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.level, found.processes) == (0.95, 5)
    assert (found.low, found.high) == pytest.approx((3 - 1.96324, 3 + 1.96324), rel=1e-5)  # 2.77645 x sqrt(2.5 / 5)


def test_after_a_pilot_the_mean_is_over_all_and_the_variance_from_those_that_followed():
    found = interval([11.0, 11.0, 11.0, 11.0, 8.0, 10.0, 12.0], pilot=4)
    centre, half = 74 / 7, 4.302653 * 2 / 7**0.5  # t with 2 degrees of freedom, s = 2, 7 processes
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))
    assert found.processes == 7


@pytest.mark.parametrize("followed", [[], [10.0], [10.0, 10.0]])
def test_where_fewer_than_three_followed_the_variance_is_the_pilots(followed):
    found = interval([9.0, 11.0, 9.0, 11.0, *followed], pilot=4)
    half = 3.182446 * (4 / 3) ** 0.5 / (4 + len(followed)) ** 0.5
    assert (found.low, found.high) == pytest.approx((10 - half, 10 + half))


def test_a_pilot_of_which_some_failed_is_students():
    assert interval([9.0, 11.0], pilot=4) == interval([9.0, 11.0])


def test_a_pilot_of_one_decides_nothing():
    assert interval([9.0, 11.0, 10.0, 10.5], pilot=1) == interval([9.0, 11.0, 10.0, 10.5])


@pytest.mark.parametrize("medians", [[], [10.0]])
def test_one_process_has_no_interval(medians):
    assert interval(medians) is None
    assert interval(medians, pilot=4) is None


def test_an_interval_converges_at_the_wanted_share_of_its_centre():
    assert converged(Interval(9.9, 10.1, 0.95, 5), 0.0101)
    assert not converged(Interval(9.9, 10.1, 0.95, 5), 0.0099)
    assert not converged(None, 0.5)


def spread_pilot(deviation):
    """Give four medians around 1 with this standard deviation."""
    step = deviation * 0.75**0.5
    return [1 - step, 1 + step, 1 - step, 1 + step]


def test_processes_that_agree_are_followed_by_the_fewest():
    assert further_processes([1.0] * 4, 0.01, 16, 99) == MIN_SECOND == 3


def test_processes_that_differ_are_followed_by_as_many_as_may():
    assert further_processes(spread_pilot(0.05), 0.01, 16, 99) == 12
    assert further_processes(spread_pilot(0.05), 0.01, 16, 7) == 7


@pytest.mark.parametrize(("affordable", "further"), [(-1, 0), (0, 0), (2, 0), (3, 3)])
def test_fewer_than_three_give_no_variance_and_are_not_begun(affordable, further):
    assert further_processes(spread_pilot(0.05), 0.01, 16, affordable) == further


@pytest.mark.parametrize(("most", "further"), [(2, 0), (4, 0), (5, 1), (6, 2), (7, 3)])
def test_the_plan_may_leave_room_for_few(most, further):
    assert further_processes(spread_pilot(0.0001), 0.01, most, 99) == further


@pytest.mark.parametrize("pilot", [[], [1.0]])
def test_a_pilot_without_a_variance_is_followed_by_all(pilot):
    assert further_processes(pilot, 0.01, 16, 10) == 10


@pytest.mark.parametrize("deviation", [0.002, 0.004, 0.006, 0.008, 0.010, 0.015])
def test_the_number_that_follows_is_the_fewest_with_the_assurance(deviation):
    """The half-width is t s / sqrt(n), and s^2 by the pilot's s^2 follows F; scipy's quantile of it."""
    scipy_stats = pytest.importorskip("scipy.stats")

    def promised(further):
        ratio = scipy_stats.f.ppf(ASSURANCE, further - 1, 3) ** 0.5
        t = scipy_stats.t.ppf(0.975, further - 1)
        return t * ratio * deviation / (4 + further) ** 0.5 <= 0.01

    fewest = next((further for further in range(3, 12) if promised(further)), 12)
    assert further_processes(spread_pilot(deviation), 0.01, 16, 99) == fewest


@functools.cache
def limits():
    """Give up to which deviation of the pilot the rule of the preset edge wants 3, 4, ... 11 further processes."""
    found = []
    for further in range(MIN_SECOND, EDGE.processes - EDGE.pilot_processes):
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            wanted = further_processes(spread_pilot(middle), EDGE.interval_share, EDGE.processes, 99)
            low, high = (middle, high) if wanted <= further else (low, middle)
        found.append(low)
    return found


@pytest.mark.parametrize("between", [0.0063, 0.015, 0.044], ids=["resnet50", "mobilenet", "default malloc"])
def test_the_interval_holds_its_level_for_every_number_of_processes_that_edge_chooses(between):
    rng = np.random.default_rng(4)
    pilot = EDGE.pilot_processes
    pilots = process_medians(rng, between, (1_500_000 if between > 0.02 else 150_000, pilot))
    further = MIN_SECOND + np.searchsorted(limits(), pilots.std(axis=1, ddof=1) / pilots.mean(axis=1))
    assert set(further) == set(range(MIN_SECOND, EDGE.processes - pilot + 1))
    for number in range(MIN_SECOND, EDGE.processes - pilot + 1):
        first = pilots[further == number][:1500]
        sessions = np.hstack([first, process_medians(rng, between, (len(first), number))]).tolist()
        intervals = [interval(medians, pilot) for medians in sessions]
        assert len(sessions) > 1000
        assert 0.93 <= np.mean([found.low <= 1 <= found.high for found in intervals]) <= 0.97, number


@pytest.mark.parametrize("runs", [100, 300])
@pytest.mark.parametrize("processes", range(2, 17))
def test_the_interval_holds_its_level_for_fixed_numbers_of_processes(processes, runs):
    assert SAFAVI2023.processes in range(2, 17)
    sessions = process_medians(np.random.default_rng(processes), 0.015, (1500, processes), runs).tolist()
    intervals = [interval(medians) for medians in sessions]
    assert 0.93 <= np.mean([found.low <= 1 <= found.high for found in intervals]) <= 0.97


def test_three_in_four_sessions_of_edge_converge_where_processes_differ_by_1_percent():
    rng = np.random.default_rng(5)
    done = []
    for medians in process_medians(rng, 0.006, (300, EDGE.processes)).tolist():  # 0.6 and 0.8 % of 300 runs: 1.0 %
        further = further_processes(medians[:4], EDGE.interval_share, EDGE.processes, 99)
        done.append((further, converged(interval(medians[: 4 + further], 4), EDGE.interval_share)))
    share, further = np.mean([good for _, good in done]), np.mean([number for number, _ in done])
    assert 0.75 <= share <= 0.95
    assert 7 <= further <= 10


STEADY = [1.00, 1.02, 0.99, 1.01, 0.98, 1.00, 1.03, 0.97] * 4


def test_without_a_warm_up_nothing_is_cut():
    assert warmup_cut(STEADY) == 0


def test_two_slow_passes_are_cut():
    assert warmup_cut([1.92, 1.07, *STEADY]) == 2


def test_fast_passes_before_the_clock_falls_are_cut():
    assert warmup_cut([0.80, 0.85, 0.90, *STEADY]) == 3


def test_a_short_series_is_cut_too():
    assert warmup_cut([2.0, 1.2, 1.00, 1.01, 0.99, 1.00, 1.02, 0.99]) == 2


def test_a_spike_later_on_is_no_warm_up():
    assert warmup_cut([*STEADY[:20], 9.0, *STEADY]) == 0


def test_never_more_than_half_is_cut_but_for_what_is_cut_in_any_case():
    falling = [2.0 - 0.01 * step for step in range(100)]
    assert warmup_cut(falling) == 50
    assert warmup_cut(falling, least=60) == 60
    assert warmup_cut(STEADY, least=5) == 5


@pytest.mark.parametrize(("series", "cut"), [([], 0), ([2.0], 1), ([2.0, 1.0, 1.0, 1.0, 1.0], 3), ([1.0] * 8, 3)])
def test_from_few_or_equal_passes_nothing_is_concluded(series, cut):
    assert warmup_cut(series, least=3) == cut


def mser_5(series):
    """White's rule: cut where the standard error of the mean of what is left is smallest, in means of five."""
    means = series[: len(series) // 5 * 5].reshape(-1, 5).mean(axis=1)
    errors = [means[cut:].var() / (len(means) - cut) for cut in range(len(means) // 2 + 1)]
    return 5 * int(np.argmin(errors))


SHAPES = {
    "none": lambda i: 1 + 0 * i,
    "two slow runs": lambda i: 1 + 0.92 * (i == 0) + 0.07 * (i == 1),
    "decay over 30 runs": lambda i: 1 + 0.5 * np.exp(-i / 10),
}


@pytest.mark.parametrize("spikes", [0, 0.01], ids=["no spikes", "1 % spikes"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("runs", [8, 100, 300])
def test_the_cut_serves_a_mean_over_processes_as_well_as_mser_5_and_spares_runs(runs, shape, spikes):
    rng = np.random.default_rng(runs)
    series = passes(rng, 400, runs)
    series = series * np.where(rng.random(series.shape) < spikes, 1 + rng.exponential(1, series.shape), 1)
    series = series * SHAPES[shape](np.arange(runs))

    def judged(cuts):
        medians = np.array([np.median(one[cut:]) for one, cut in zip(series, cuts, strict=True)]) - 1
        return (medians.mean() ** 2 + medians.var() / 10) ** 0.5, np.mean(cuts)  # the error of ten processes' mean

    error, cut = judged([warmup_cut(one.tolist()) for one in series])
    mser_error, mser_cut = judged([mser_5(one) for one in series])
    assert error < 1.2 * mser_error
    if runs > 8:  # of which MSER-5 cuts none
        assert cut < mser_cut


def mixture(rng, series, runs, slow):
    return np.where(rng.random((series, runs)) < slow, 18.6, 12.9) * passes(rng, series, runs)


@pytest.mark.parametrize("runs", [20, 50, 100, 300])
def test_one_mode_with_the_noise_of_passes_is_not_taken_for_two(runs):
    rng = np.random.default_rng(runs)
    ar_1 = 1 + RUN_SD * ar1(rng, 0.77, (600, runs))
    skewed = np.exp(10 * (passes(rng, 600, runs) - 1))  # lognormal, 0.3
    for series in (ar_1, passes(rng, 600, runs), skewed):
        assert np.mean([modes(one) is not None for one in series.tolist()]) <= 0.01


@pytest.mark.parametrize("processes", range(6, 17))
def test_processes_that_differ_by_chance_are_not_taken_for_two_modes(processes):
    series = np.random.default_rng(processes).normal(1, 0.044, (1500, processes))
    assert np.mean([modes(one) is not None for one in series.tolist()]) <= 0.01


@pytest.mark.parametrize(("runs", "slow"), [(100, 0.3), (100, 0.5), (100, 0.7), (300, 0.25), (20, 0.5)])
def test_two_modes_are_seen(runs, slow):
    series = mixture(np.random.default_rng(runs), 300, runs, slow)
    assert np.mean([modes(one) is not None for one in series.tolist()]) >= 0.95


def test_two_modes_are_reported_and_a_few_spikes_do_not_hide_them():
    low, high = modes([12.8, 12.9, 13.0, 12.9] * 6 + [18.5, 18.6, 18.7, 18.6] * 6 + [90.0, 200.0])
    assert (low, high) == pytest.approx((12.9, 18.6), rel=0.01)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0, 1.0, 1.0, 2.0, 2.0],  # five: of so few nothing is said
        [1.0] * 50,
        [1.000, 1.001] * 50,  # the steps of a clock
        [1 + 0.01 * step for step in range(100)],  # a steady drift
        [1.0, 1.01, 0.99] * 30 + [3.0] * 3,  # spikes
    ],
    ids=["nothing", "five", "equal", "two ticks", "drift", "spikes"],
)
def test_what_is_not_two_modes(values):
    assert modes(values) is None


def test_drift_is_the_change_from_the_first_third_to_the_last():
    assert drift([10.0, 10.0, 99.0, 10.0, 5.0, 10.0, 11.0, 12.0, 13.0, 11.0, 12.0]) == pytest.approx(0.2)
    assert drift([1.0, 2.0] * 4) == 0.0  # eight are too few


@pytest.mark.parametrize("runs", [9, 20, 60, 300])
def test_the_noise_of_passes_is_not_taken_for_drift(runs):
    rng = np.random.default_rng(runs)
    for series in (passes(rng, 2000, runs), 1 + RUN_SD * ar1(rng, 0.77, (2000, runs))):
        assert np.mean([abs(drift(one)) > DRIFT for one in series.tolist()]) <= 0.01
