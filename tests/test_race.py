"""Races: the anytime-valid interval, how often the fastest is stopped, and what is recorded."""

import contextlib
import dataclasses
import math
import random

import pytest

from fer_bench.measuring import race as racing
from fer_bench.measuring.progress import Quiet
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement


def martingale(values, precision):
    """Integrate the ratio of the marginal likelihoods, the deviation's prior 1 / s, with scipy."""
    integrate = pytest.importorskip("scipy.integrate")

    def density(deviation, effect):
        return deviation ** (-len(values) - 1) * math.exp(
            -sum((value - effect * deviation) ** 2 for value in values) / (2 * deviation**2)
        )

    def prior(effect):
        return math.sqrt(precision / (2 * math.pi)) * math.exp(-precision * effect**2 / 2)

    top, _ = integrate.dblquad(lambda s, d: density(s, d) * prior(d), -40, 40, 0.02, 20)
    bottom, _ = integrate.quad(lambda s: density(s, 0.0), 0.02, 20)
    return top / bottom


def test_at_the_end_of_the_interval_the_martingale_is_one_over_alpha():
    values, alpha = [0.9, 1.4, 0.7, 1.2, 1.1, 1.3, 0.6, 0.8], 0.01
    mean, half = sum(values) / len(values), racing.half_width(values, alpha)
    assert 0 < half < mean
    at_the_end = [value - (mean - half) for value in values]
    assert martingale(at_the_end, racing._EFFECT**-2) == pytest.approx(1 / alpha, rel=1e-3)


def test_too_few_values_say_nothing():
    assert racing.half_width([1.0], 0.05) == math.inf
    assert racing.half_width([1.0, 1.0001], 0.001) == math.inf


def held(means, seed, noise=0.05):
    """Hold a race of variants by the means of their logarithms, each round with a drift that all share."""
    draw = random.Random(seed)
    drifts = [draw.gauss(0, 0.3) for _ in range(racing.ROUNDS)]

    def took(place, number):
        return math.exp(means[place] + drifts[number] + draw.gauss(0, noise))

    *_, (standing, _) = racing.race(took, len(means), len(means), seed=seed)
    return standing


def test_the_fastest_is_stopped_less_often_than_alpha_where_all_tie():
    """Of ties the first is the fastest by agreement: any may be stopped, and it is the worst case."""
    binom = pytest.importorskip("scipy.stats").binom
    races = 100
    stopped = sum(0 not in held([0.0] * 5, seed).logs for seed in range(races))
    assert stopped <= binom.ppf(0.999, races, racing.ALPHA)


def test_what_is_slower_is_stopped_and_what_ties_with_the_best_stays():
    standing = held([0.0, 0.5, 0.0, 1.0], seed=1)
    assert sorted(standing.logs) == [0, 2]
    assert all(len(logs) == racing.ROUNDS for logs in standing.logs.values())
    assert list(held([0.0, 3.0], seed=1).logs) == [0]


def test_a_variant_that_fails_is_out_and_the_others_go_on():
    steps = list(racing.race(lambda place, number: None if place == 1 else 1.0 + place, 3, 3))
    assert steps[0][1] == [1]
    assert list(steps[-1][0].logs) == [0]


def test_a_result_has_all_processes_of_its_variant_and_counts_once(make_result, monkeypatch):
    seen, draw = [], random.Random(0)

    def measured(task, starter, machine, *, debug):
        seen.append((task.spec.name, task.plan.metrics, task.plan.processes))
        seconds = {"mtcnn_pnet": 1.0, "mtcnn_rnet": 8.0, "mtcnn_onet": 1.0}[task.spec.name] * math.exp(
            draw.gauss(0, 0.01)
        )
        timed = Measurement("latency_s", "s", (seconds,) * 3)
        counts = [Measurement("macs", "count", (1,))] if "static" in task.plan.metrics else []
        return dataclasses.replace(make_result(), plan=task.plan, measurements=(*counts, timed), wall_s=2.0)

    monkeypatch.setattr(racing, "measure", measured)
    monkeypatch.setattr(racing, "starter_of", lambda tasks: contextlib.nullcontext())
    plan = dataclasses.replace(QUICK, metrics=("static", "latency"))
    tasks = [Task(built_in().find(name), plan) for name in ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")]
    held = racing.Race(len(tasks))
    results = dict(held.results(tasks, Quiet()))
    assert next(iter(results)) == 1  # the slow one is out first
    slow, others = results[1], [results[0], results[2]]
    assert held.rounds == racing.ROUNDS > slow.plan.processes
    assert sorted(map(id, held.left)) == sorted(map(id, others))
    for result in results.values():
        timed = [m.process for m in result.measurements if m.metric == "latency_s"]
        assert timed == list(range(result.plan.processes))
        assert sum(m.metric == "macs" for m in result.measurements) == 1
        assert result.plan.metrics == ("static", "latency")
        assert result.wall_s == 2.0 * result.plan.processes
    assert {metrics for _, metrics, _ in seen[3:]} == {("latency",)}
    assert {processes for *_, processes in seen} == {1}


def test_a_race_needs_a_time():
    with pytest.raises(FerBenchError, match=r"try: --metrics latency, or training"):
        racing.metric_of(Task(built_in().find("rarn"), dataclasses.replace(QUICK, metrics=("static",))))
