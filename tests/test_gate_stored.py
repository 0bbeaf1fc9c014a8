"""Stored results are compared only where that is fair, and with an interval that allows for sessions."""

import dataclasses
import math

import pytest
from scipy import stats as scipy_stats

from fer_bench.gating import against_results
from fer_bench.gating.verdicts import Outcome
from fer_bench.records import exit_codes
from fer_bench.records.result import Measurement

COUNTED = (
    "macs",
    "parameters.trainable",
    "parameters.keras_total",
    "state_dict_bytes",
    "checkpoint_bytes",
    "latency_s",
)


@pytest.fixture
def timed(make_result):
    """A result of processes with these median latencies, in seconds, and nothing else."""

    def make(*medians, name="net", attainable=None, plan=None, **environment):
        result = make_result(name, without=(*COUNTED, "latency_s"))
        latencies = tuple(
            Measurement("latency_s", "s", (median, median), process=number) for number, median in enumerate(medians)
        )
        where = dataclasses.replace(result.environment, attainable=attainable or {}, **environment)
        return dataclasses.replace(
            result,
            measurements=(*result.measurements, *latencies),
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
def test_one_process_a_side_shows_only_what_is_large(timed, seconds, word):
    (verdict,) = against_results.judge(timed(0.010), timed(seconds), 0.05)
    assert verdict.outcome is word
    assert "one process a side" in verdict.details[1]
    assert (verdict.effect.level, verdict.effect.pairs, verdict.effect.unit) == (None, 1, "process a side")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cpu": "Another CPU"}, "cpu: "),
        ({"threads": 1}, "threads: 2 and 1"),
        ({"plan": {"wait": "passive"}}, "wait: 'active' and 'passive'"),
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


def test_the_latency_of_what_computes_something_else_is_an_error(timed):
    base = timed(0.010, 0.010, plan={"backend": "onnxruntime"})
    wrong = Measurement("parity_error", "", details={"different": "its outputs are (1, 2), and PyTorch's (1, 7)"})
    candidate = dataclasses.replace(base, measurements=(*base.measurements, wrong))
    for sides, side in (((base, candidate), "candidate"), ((candidate, base), "base")):
        (verdict,) = against_results.judge(*sides, 0.05)
        assert verdict.outcome is Outcome.error
        assert verdict.reason == f"the {side}, by onnxruntime, computes something else than the network"


def test_counts_that_only_one_side_has_are_incomparable(make_result, timed):
    counted = make_result("net", Measurement("parameters.frozen", "count", (0,)))
    verdicts = against_results.judge(counted, timed(0.010), 0.05)
    assert [verdict.outcome for verdict in verdicts if verdict.metric == "counts"] == [Outcome.incomparable]


MODULES = {"batch": 1, "modules": [{"path": path, "type": "Conv2d", "parameters": 9} for path in ("a", "b")]}
RECORDED = (
    Measurement("macs", "count", (100,), details={"batch": 1, "convention": "conv+matmul-v1"}),
    *(
        Measurement(name, "count", (10,))
        for name in (
            "parameters.trainable",
            "parameters.frozen",
            "parameters.buffers",
            "parameters.tied",
            "parameters.total",
            "parameters.unused",
            "layers.conv",
        )
    ),
    Measurement("state_dict_bytes", "bytes", (40,)),
    Measurement("checkpoint_bytes", "bytes", (50,)),
    Measurement("peak_activation_bytes", "bytes", (60,)),
    Measurement("module_macs", "count", (60, 40), details=MODULES),
    Measurement("operator_macs", "count", (60, 0, 40), details={"batch": 1}),
    Measurement("operator_bytes", "bytes", (8, 9, 7), details={"batch": 1}),
    Measurement(
        "module_own_macs",
        "count",
        (0, 60, 40),
        details={"paths": ["", "a", "b"], "types": ["N", "C", "C"], "parameters": [0, 10, 10], "calls": [1, 1, 1]},
    ),
    Measurement("operator_calls", "count", (2, 1), details={"operators": ["aten::convolution", "aten::relu"]}),
)
NAMES = [measured.metric for measured in RECORDED]
# Without these no sum of a network's is known: the record is not to be read.
NEEDED = ("macs", "parameters.trainable", "parameters.frozen", "state_dict_bytes")


@pytest.fixture
def recorded(make_result):
    """A result of all counts, asked for by its plan; one of them, or a group, replaced."""

    def make(name="", changed=None, metrics=("static", "anatomy")):
        result = make_result("net", without=(*COUNTED, "latency_s"))
        counts = [changed if one.metric == name else one for one in RECORDED]
        if name in metrics:
            counts.append(changed)
        return dataclasses.replace(
            result,
            measurements=tuple(one for one in counts if one is not None),
            plan=dataclasses.replace(result.plan, metrics=metrics),
        )

    return make


def counted(base, candidate):
    (verdict,) = against_results.judge(base, candidate, 0.05)
    return verdict


def test_all_counts_that_are_the_same_are_the_same(recorded):
    verdict = counted(recorded(), recorded())
    assert (verdict.outcome, verdict.reason, verdict.details) == (Outcome.same, "all counts same", ())


@pytest.mark.parametrize("name", [*NAMES, "static", "anatomy"])
def test_a_count_that_failed_on_a_side_is_an_error_which_names_it(recorded, name):
    failed = recorded(name, Measurement(name, "", failure="killed by signal 9"))
    for sides, side in (
        ((recorded(), failed), "candidate"),
        ((failed, recorded()), "base"),
        ((failed, failed), "base"),
    ):
        verdict = counted(*sides)
        assert (verdict.outcome, verdict.exit_code) == (Outcome.error, exit_codes.CANNOT_JUDGE)
        what = name if name in NAMES else "net cannot be counted"
        assert verdict.reason.startswith(f"{side}: net cannot be counted: ")
        assert verdict.reason.endswith(f"{what}: killed by signal 9")


@pytest.mark.parametrize("name", NAMES)
def test_a_count_that_one_side_lacks_is_no_pass(recorded, name):
    for base, candidate in ((recorded(), recorded(name)), (recorded(name), recorded())):
        verdict = counted(base, candidate)
        assert verdict.outcome is (Outcome.error if name in NEEDED else Outcome.incomparable)
        assert name in verdict.reason
        assert verdict.exit_code in (exit_codes.CANNOT_JUDGE, exit_codes.INCOMPARABLE)


def test_what_one_side_lacks_hides_no_finding_and_turns_no_better_into_a_pass(recorded):
    fewer, more = (recorded("macs", dataclasses.replace(RECORDED[0], values=(macs,))) for macs in (90, 110))
    assert counted(recorded("layers.conv"), more).outcome is Outcome.worse
    assert counted(recorded(), fewer).outcome is Outcome.better
    assert counted(recorded("layers.conv"), fewer).outcome is Outcome.incomparable


def test_a_group_that_a_plan_did_not_ask_for_is_not_missing(recorded):
    static = recorded(metrics=("static",))
    kept = tuple(one for one in static.measurements if one.metric not in ("module_own_macs", "operator_calls"))
    static = dataclasses.replace(static, measurements=kept)
    assert counted(static, recorded()).outcome is Outcome.same
    assert counted(recorded(), static).outcome is Outcome.same
    asked = dataclasses.replace(static, plan=recorded().plan)
    assert counted(recorded(), asked).outcome is Outcome.incomparable


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDED])
def test_each_count_that_differs_is_a_finding(recorded, name):
    before = next(one for one in RECORDED if one.metric == name)
    after = dataclasses.replace(before, values=(*before.values[:-1], before.values[-1] + 1))
    for base, candidate in ((recorded(), recorded(name, after)), (recorded(name, after), recorded())):
        verdict = counted(base, candidate)
        cost = name in ("state_dict_bytes", "peak_activation_bytes")  # which is better when less
        assert verdict.outcome is Outcome.changed or cost
        assert verdict.outcome is not Outcome.same


def test_the_line_of_a_count_that_no_other_follows_has_both_values_and_the_module(recorded):
    total = recorded("parameters.total", Measurement("parameters.total", "count", (11,)))
    assert counted(recorded(), total).details == ("parameters.total 10 -> 11",)
    inside = recorded("module_macs", Measurement("module_macs", "count", (60, 41), details=MODULES))
    assert counted(recorded(), inside).details == ("module_macs: 2 values of 100 in all -> 2 values of 101 in all (b)",)


def test_operators_in_another_order_are_the_same(recorded):
    turned = Measurement("operator_macs", "count", (40, 0, 60), details={"batch": 1})
    assert counted(recorded(), recorded("operator_macs", turned)).outcome is Outcome.same


def test_what_another_pytorch_counts_otherwise_is_neither_missing_nor_a_change(recorded):
    other = recorded("operator_bytes")
    packages = other.environment.packages | {"torch": "1.0"}
    other = dataclasses.replace(other, environment=dataclasses.replace(other.environment, packages=packages))
    assert counted(recorded(), other).outcome is Outcome.same


def test_the_twin_is_the_one_under_the_same_conditions(timed):
    one, eight = timed(0.01, plan={"batch_size": 1}), timed(0.02, plan={"batch_size": 8})
    other = timed(0.03, name="other", plan={"batch_size": 1})
    assert against_results.find_twin(one, [eight, one, other]) is one
    assert against_results.find_twin(one, [eight]) is eight
    assert against_results.find_twin(one, [other]) is None
