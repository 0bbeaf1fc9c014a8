"""Stored results are compared only where that is fair, and with an interval that allows for sessions."""

import dataclasses
import math

import pytest
from scipy import stats as scipy_stats

from fer_bench.gating import against_results
from fer_bench.gating.verdicts import Outcome
from fer_bench.records.result import Measurement


@pytest.fixture
def timed(make_result):
    """A result of processes with these median latencies, in seconds, and nothing else."""

    def make(*medians, name="net", attainable=None, plan=None, **environment):
        result = make_result(name, without=("macs", "parameters.trainable", "parameters.keras_total", "latency_s"))
        latencies = tuple(
            Measurement("latency_s", "s", (median, median), process=number) for number, median in enumerate(medians)
        )
        where = dataclasses.replace(result.environment, attainable=attainable or {}, **environment)
        return dataclasses.replace(
            result,
            measurements=(*(m for m in result.measurements if not m.metric.startswith("state")), *latencies),
            environment=where,
            plan=dataclasses.replace(result.plan, **(plan or {})),
        )

    return make


def test_the_interval_is_welchs_and_what_sessions_differ_by(timed):
    base, candidate = (0.0100, 0.0102, 0.0101, 0.0103), (0.0120, 0.0122, 0.0118)
    (verdict,) = against_results.judge(timed(*base), timed(*candidate), 0.05)
    logs = [[math.log(x) for x in side] for side in (candidate, base)]
    welch = scipy_stats.ttest_ind(*logs, equal_var=False)
    # Its degrees of freedom are rounded down, which is a little wider.
    error = (welch.confidence_interval(0.9).high - welch.confidence_interval(0.9).low) / 2
    error /= scipy_stats.t.ppf(0.95, welch.df)
    half = scipy_stats.t.ppf(0.995, math.floor(welch.df)) * error + math.log1p(against_results.SESSION_SHARE)
    centre = sum(logs[0]) / 3 - sum(logs[1]) / 4
    assert verdict.effect.low == pytest.approx(math.expm1(centre - half))
    assert verdict.effect.high == pytest.approx(math.expm1(centre + half))
    assert verdict.outcome is Outcome.worse


def test_a_small_change_between_sessions_is_inconclusive(timed):
    (verdict,) = against_results.judge(timed(0.0100, 0.0101, 0.0102), timed(0.0105, 0.0106, 0.0107), 0.05)
    assert verdict.outcome is Outcome.inconclusive
    assert "--against REV measures both sides now" in verdict.details[0]


@pytest.mark.parametrize(
    ("seconds", "word"), [(0.011, Outcome.inconclusive), (0.020, Outcome.worse), (0.005, Outcome.better)]
)
def test_one_process_a_side_tells_only_what_is_large(timed, seconds, word):
    (verdict,) = against_results.judge(timed(0.010), timed(seconds), 0.05)
    assert verdict.outcome is word
    assert "one process a side" in verdict.details[1]
    assert (verdict.effect.level, verdict.effect.pairs, verdict.effect.unit) == (None, 1, "process a side")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cpu": "Another CPU"}, "cpu: "),
        ({"threads": 1}, "threads: 2 and 1"),
        ({"plan": {"alloc": "system"}}, "alloc: 'keep' and 'system'"),
        ({"plan": {"batch_size": 8}}, "batch_size: 2 and 8"),
        ({"packages": {"torch": "2.10.0"}}, "packages: "),
        ({"attainable": {"macs_per_s": 30e9}}, "the machine itself was 1.7x slower in arithmetic"),
    ],
)
def test_other_conditions_are_incomparable_however_equal_the_times(timed, changes, told):
    base = timed(0.010, 0.010, attainable={"macs_per_s": 50e9})
    changes = {"attainable": {"macs_per_s": 50e9}, **changes}
    (verdict,) = against_results.judge(base, timed(0.010, 0.010, **changes), 0.05)
    assert verdict.outcome is Outcome.incomparable
    assert told in verdict.reason


def test_what_is_declared_may_differ(timed):
    candidate = timed(0.010, 0.010, packages={"torch": "2.10.0"})
    (verdict,) = against_results.judge(timed(0.010, 0.010), candidate, 0.05, ["torch"])
    assert verdict.outcome is Outcome.same


def test_a_side_that_failed_is_an_error_and_never_a_pass(timed):
    failed = dataclasses.replace(timed(), measurements=(Measurement("latency", "", failure="out of memory"),))
    (verdict,) = against_results.judge(timed(0.010, 0.010), failed, 0.05)
    assert verdict.outcome is Outcome.error
    assert "the candidate has no latency: out of memory" in verdict.reason


def test_counts_that_only_one_side_has_are_incomparable(make_result, timed):
    counted = make_result("net", Measurement("parameters.frozen", "count", (0,)))
    verdicts = against_results.judge(counted, timed(0.010), 0.05)
    assert [verdict.outcome for verdict in verdicts if verdict.metric == "counts"] == [Outcome.incomparable]


def test_the_twin_is_the_one_under_the_same_conditions(timed):
    one, eight = timed(0.01, plan={"batch_size": 1}), timed(0.02, plan={"batch_size": 8})
    other = timed(0.03, name="other", plan={"batch_size": 1})
    assert against_results.find_twin(one, [eight, one, other]) is one
    assert against_results.find_twin(one, [eight]) is eight
    assert against_results.find_twin(one, [other]) is None
