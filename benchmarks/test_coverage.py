"""Do the intervals hold what they say? Simulated sessions, 200,000 and more a condition, for every number of processes.

A session is what a preset does: processes of 300 runs (in one condition 100) whose noise is the sum of slow and fast
AR(1) noise, with the measured standard deviation of 3 %, lag-1 autocorrelation of 0.77 and integrated time of 16 to 31
runs; the median of each; what the processes differ by for good; and the rule that decides how many there are. The table
at the end tells how often the 95 % interval covers the truth, given that number of processes, for

* the rule of the preset "edge", a pilot of 4 and 3 to 12 more, and beside it what Student's t over all processes would
  have covered: 80 to 85 % where only 7 were measured, since that is where the pilot happened to agree;
* fixed numbers of processes, 2 to 16, "safavi2023" with its 5 among them.

Between 93 and 97 % is asserted for noise of the measured size; it is 94.6 to 95.9, and the rest is chance. The
other conditions are told, not asserted:

* Skewed processes: 93 to 95 % at skewness 1, 92 to 95 % at 1.9.
* Two states that a process falls into for good, as with default malloc: nine in ten sessions measure all 16 and cover
  96 %; the others 84 to 94 %. Where one process in five is slow, those that saw no slow one stop at 7 (4 % of sessions)
  and cover 53 %; at 16 it is 92 %. No interval over a few processes knows of a state that none of them was in.
* Drift that processes share breaks the coverage of what the network takes "for good": to 85 % where neighbours in time
  correlate by 0.30 and to 32 % at the measured 0.68, if it lasts for the whole session. The mean of this session is
  covered nonetheless, by 95 % and more: the interval is "in this session".
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from fer_bench.records.plan import EDGE, PRESETS
from fer_bench.records.stats import LEVEL, MIN_SECOND, further_processes, interval, student_t

SESSIONS = 100_000  # at a time
TIMES = (2, 16)  # at least, and at most, until there are enough of every number of processes
NOMINAL = (0.93, 0.97)
ENOUGH = 1_000  # sessions for a coverage to be told: its standard error is 0.7 % or less

RUN_SD, LAG_1 = 0.03, 0.77
# A slow part keeps the integrated time, sum of all autocorrelations, at 23 runs: one AR(1) of 0.77 has 8 only.
SLOW_SHARE, SLOW_LAG_1 = 0.3, 0.97
POOL = 20_000  # processes whose medians are drawn from

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Condition:
    """How processes differ: ``own`` each for itself, ``shared`` by neighbours in time, both as shares of the truth."""

    own: Draw
    runs: int = 300
    shared: Draw | None = None
    measured: bool = False
    true_s: float | None = None  # where the budget depends on it


def normal(sd):
    return lambda rng, shape: sd * rng.standard_normal(shape)


def gamma(sd, skewness):
    form = 4 / skewness**2
    return lambda rng, shape: sd * (rng.standard_gamma(form, shape) - form) / form**0.5


def lognormal(sd, sigma):
    mean, deviation = np.exp(sigma**2 / 2), np.sqrt(np.expm1(sigma**2) * np.exp(sigma**2))
    return lambda rng, shape: sd * (np.exp(sigma * rng.standard_normal(shape)) - mean) / deviation


def two_states(sd, slow):
    """Fall into one of two states, the slow one with this probability."""
    return lambda rng, shape: sd * ((rng.random(shape) < slow) - slow) / (slow * (1 - slow)) ** 0.5


def drifting(sd, lag_1):
    def draw(rng, shape):
        return sd * autoregressive(rng, lag_1, shape)

    return draw


CONDITIONS = {
    "between processes 0.63 % (resnet50)": Condition(normal(0.0063), measured=True),
    "1.5 % (mobilenet, memory kept)": Condition(normal(0.015), measured=True),
    "1.5 %, 100 runs": Condition(normal(0.015), runs=100, measured=True),
    "4.4 % (default malloc)": Condition(normal(0.044), measured=True),
    "1.5 %, budget for 11 or 12 in all": Condition(normal(0.015), measured=True, true_s=EDGE.budget_s / 300 / 12),
    "1.5 %, gamma, skewness 1": Condition(gamma(0.015, 1)),
    "1.5 %, lognormal, skewness 1.9": Condition(lognormal(0.015, 0.55)),
    "4.4 %, two states, even": Condition(two_states(0.044, 0.5)),
    "4.4 %, two states, 20 % slow": Condition(two_states(0.044, 0.2)),
    "1.5 % + 2.2 % drift, neighbours 0.30": Condition(normal(0.015), shared=drifting(0.022, 0.44)),
    "1.5 % + 2.2 % drift, neighbours 0.68": Condition(normal(0.015), shared=drifting(0.022, 0.996)),
}


def autoregressive(rng, lag_1, shape):
    """Give AR(1) noise of unit variance along the last axis."""
    noise = rng.standard_normal(shape[::-1])  # by column, so that a step is one contiguous row
    noise[1:] *= (1 - lag_1**2) ** 0.5
    for step in range(1, len(noise)):
        noise[step] += lag_1 * noise[step - 1]
    return noise.T


def run_noise(rng, shape):
    """Give the noise of runs, a process a row, as a share of the truth."""
    fast = (LAG_1 - SLOW_SHARE * SLOW_LAG_1) / (1 - SLOW_SHARE)
    slow_part = SLOW_SHARE**0.5 * autoregressive(rng, SLOW_LAG_1, shape)
    return RUN_SD * (slow_part + (1 - SLOW_SHARE) ** 0.5 * autoregressive(rng, fast, shape))


@functools.cache
def within_processes(runs):
    """Give medians of processes that do not differ but by the noise of their runs."""
    return np.median(run_noise(np.random.default_rng(runs), (POOL, runs)), axis=1)


def draw(condition, rng):
    """Give the process medians of sessions (SESSIONS, processes), and what each session drifted by so far."""
    shape = (SESSIONS, EDGE.processes)
    shared = condition.shared(rng, shape) if condition.shared else np.zeros(shape)
    medians = 1 + condition.own(rng, shape) + shared + rng.choice(within_processes(condition.runs), shape)
    return medians, np.cumsum(shared, axis=1) / np.arange(1, EDGE.processes + 1)


@functools.cache
def thresholds():
    """Give up to which standard deviation of the pilot, as a share of its mean, the rule wants 3, 4, ... more."""

    def wanted(deviation):
        step = deviation * (3 / 4) ** 0.5  # two above, two below: their standard deviation is 1.15 steps
        return further_processes([1 - step, 1 + step] * 2, EDGE.interval_share, EDGE.processes, EDGE.processes)

    found = []
    for further in range(MIN_SECOND, EDGE.processes - EDGE.pilot_processes):
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if wanted(middle) <= further else (low, middle)
        found.append(low)
    return np.array(found)


def chosen(medians, true_s):
    """Give how many processes each session of the preset edge has in all."""
    pilot = medians[:, : EDGE.pilot_processes]
    further = MIN_SECOND + np.searchsorted(thresholds(), pilot.std(axis=1, ddof=1) / pilot.mean(axis=1))
    if true_s is not None:  # what the pilot's passes took tells how many more fit into the budget
        affordable = (EDGE.budget_s / (EDGE.runs * true_s * pilot.mean(axis=1))).astype(int) - EDGE.pilot_processes
        further = np.where(affordable < MIN_SECOND, 0, np.minimum(further, affordable))
    return EDGE.pilot_processes + further


def half_widths(medians, pilot):
    """Do ``interval`` for many sessions at once, the pilot's variance not used."""
    second = medians[:, pilot:]
    t = student_t(LEVEL, second.shape[1] - 1)
    return t * second.std(axis=1, ddof=1) / medians.shape[1] ** 0.5


def covers(medians, truth, pilot=0):
    return abs(medians.mean(axis=1) - truth) <= half_widths(medians, pilot)


@pytest.fixture(scope="module")
def table(request):
    """Take lines, and print them when all conditions are done."""
    lines = []
    yield lines
    counts = "".join(f"{count:>6}" for count in range(2, EDGE.processes + 1))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n\ncoverage of the 95 % interval, in %, by number of processes")
        print(f"{'':58}{counts}", *lines, sep="\n")


def line(name, of, coverages):
    cells = (coverages.get(count) for count in range(2, EDGE.processes + 1))
    return f"{name:40}{of:18}" + "".join(f"{'' if cell is None else f'{100 * cell:.1f}':>6}" for cell in cells)


class Tally:
    """How many sessions of each number of processes there were, and how many intervals of each kind covered."""

    def __init__(self):
        self.sessions, self.covered = Counter(), Counter()

    def add(self, kind, count, hits):
        self.sessions[kind, count] += len(hits)
        self.covered[kind, count] += hits.sum()

    def coverage(self, kind):
        of_kind = {count: total for (one, count), total in self.sessions.items() if one == kind and total >= ENOUGH}
        return {count: self.covered[kind, count] / total for count, total in of_kind.items()}

    def often(self):
        of_edge = {count: total for (one, count), total in self.sessions.items() if one == "edge"}
        return {count: total / sum(of_edge.values()) for count, total in of_edge.items()}

    @property
    def enough(self):
        return min(self.sessions.values()) >= ENOUGH


def study(condition, seed):
    """Simulate sessions of a condition until there are enough of every number of processes."""
    rng, tally = np.random.default_rng(seed), Tally()
    for time in range(TIMES[1]):
        if time >= TIMES[0] and (tally.enough or not condition.measured):
            break
        medians, drifted = draw(condition, rng)
        counts = chosen(medians, condition.true_s)
        for count in np.unique(counts).tolist():
            of_count = medians[counts == count, :count]
            pilot = EDGE.pilot_processes if count > EDGE.pilot_processes else 0
            tally.add("edge", count, covers(of_count, 1, pilot))
            tally.add("all", count, covers(of_count, 1))
            if condition.shared:
                tally.add("session", count, covers(of_count, 1 + drifted[counts == count, count - 1], pilot))
        if time < TIMES[0]:
            for count in range(2, EDGE.processes + 1):
                tally.add("fixed", count, covers(medians[:, :count], 1))
    return tally


@pytest.mark.parametrize("name", CONDITIONS)
def test_coverage(benchmark, table, name):
    condition, seed = CONDITIONS[name], list(CONDITIONS).index(name)
    tally = benchmark.pedantic(study, (condition, seed), rounds=1, iterations=1)
    table.append(line(name, "edge", tally.coverage("edge")))
    table.append(line("", "  t over all", tally.coverage("all")))
    if condition.shared:
        table.append(line("", "  this session's", tally.coverage("session")))
    table.append(line("", "  % of sessions", tally.often()))
    table.append(line("", "fixed", tally.coverage("fixed")))
    if condition.measured:
        assert tally.enough
        coverages = tally.coverage("edge") | {("fixed", n): share for n, share in tally.coverage("fixed").items()}
        outside = {n: share for n, share in coverages.items() if not NOMINAL[0] <= share <= NOMINAL[1]}
        assert not outside
        asked = {plan.processes for plan in PRESETS.values() if plan.processes > 1 and not plan.pilot_processes}
        assert asked <= tally.coverage("fixed").keys()


def test_the_study_is_of_the_function(benchmark):
    """Hold what is done for many sessions at once to ``interval`` and ``further_processes``."""
    medians, _ = draw(CONDITIONS["1.5 % (mobilenet, memory kept)"], np.random.default_rng(0))
    counts = chosen(medians[:1000], None)

    def compare():
        for session, count in zip(medians, counts.tolist(), strict=False):
            pilot = session[: EDGE.pilot_processes].tolist()
            assert len(pilot) + further_processes(pilot, EDGE.interval_share, EDGE.processes, 99) == count
            found = interval(session[:count].tolist(), EDGE.pilot_processes)
            half = half_widths(session[None, :count], EDGE.pilot_processes)[0]
            assert found.high - found.low == pytest.approx(2 * half)
            assert (found.high + found.low) / 2 == pytest.approx(session[:count].mean())

    benchmark.pedantic(compare, rounds=1, iterations=1)
