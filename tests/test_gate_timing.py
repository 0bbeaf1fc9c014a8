"""The timing gate with pairs that are made up: when it stops, what it measures anew, what it says."""

import dataclasses
import math
import random

import pytest

from fer_bench.gating import decision, timing
from fer_bench.gating.pairs import Pair, Side, SideError, Turn
from fer_bench.gating.timing import Rule
from fer_bench.gating.verdicts import Outcome
from fer_bench.measuring.messages import Passes
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.records.plan import GATE

BASE_S = 0.010


def judge(*arguments):
    """Compare two sides; return the verdict, and the comparison as JSON has it."""
    comparison = timing.judge(*arguments)
    return comparison.verdict, comparison.to_dict()


@pytest.fixture
def side():
    return Side(Task(registry.find("mini_xception"), GATE), Starter([]))


@pytest.fixture
def pairs(monkeypatch):
    """Let pairs come from a function of their number."""

    def use(make):
        metric = dataclasses.replace(timing.METRICS["latency"], pair=lambda number, base, candidate: make(number))
        monkeypatch.setattr(timing, "METRICS", {"latency": metric})

    return use


def pair(number, change, *, checks=None, switches=(0, 0), faults=(0, 0), outputs=()):
    values = BASE_S, BASE_S * (1 + change)
    turns = tuple(
        Turn(name, Passes((value,) * 2, 2 * value, fault * 2, switch * 2))
        for name, value, switch, fault in zip(("base", "candidate"), values, switches, faults, strict=True)
    )
    return Pair(number, math.log1p(change), values, checks or values, turns, ((1,), (1,)), outputs)


def noisy(change, deviation, seed=1):
    draw = random.Random(seed)
    return lambda number: pair(number, (1 + change) * math.exp(draw.gauss(0, deviation)) - 1)


@pytest.mark.parametrize(("change", "outcome"), [(0.0, Outcome.same), (0.10, Outcome.worse), (-0.10, Outcome.better)])
def test_what_is_plain_is_said_at_the_first_look(side, pairs, change, outcome):
    pairs(noisy(change, 0.003))
    verdict, record = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is outcome
    assert verdict.effect.pairs == decision.LOOKS[0] == len(record["pairs"])
    assert verdict.effect.estimate == pytest.approx(change, abs=0.01)
    assert record["verdict"] == outcome.value


def test_what_is_not_sure_takes_more_pairs(side, pairs):
    pairs(noisy(0.05, 0.03))
    verdict, _ = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.worse
    assert verdict.effect.pairs > decision.LOOKS[0]


def test_noise_ends_inconclusive_at_the_last_look_and_never_as_same(side, pairs):
    pairs(noisy(0.0, 0.5))
    verdict, record = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.inconclusive
    assert len(record["pairs"]) == decision.LOOKS[-1]
    assert f"neither shown nor ruled out in {decision.LOOKS[-1]} pairs" in verdict.reason


def test_time_that_is_up_ends_it_after_three_pairs_at_least(side, pairs, monkeypatch):
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    pairs(noisy(0.0, 0.1))
    verdict, record = judge("net", "latency", side, side, Rule(budget_s=60))
    assert verdict.outcome is Outcome.inconclusive
    assert len(record["pairs"]) == decision.FEWEST
    assert "in 60 s" in verdict.reason


def test_a_study_measures_as_many_pairs_as_it_asks_for(side, pairs):
    pairs(noisy(0.10, 0.001))
    _, record = judge("net", "latency", side, side, Rule(pairs=25))
    assert len(record["pairs"]) == 25


def test_a_pair_that_another_program_met_on_one_side_is_measured_anew_whatever_its_times(side, pairs):
    def make(number):
        return pair(number, 0.0 if number != 2 else 5.0, switches=(0, 3) if number == 2 else (0, 0))

    pairs(make)
    verdict, record = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.same
    assert [each["number"] for each in record["measured_anew"]] == [2]
    assert any("1 pairs measured again" in line for line in verdict.details)


def test_a_core_that_is_always_contested_on_one_side_cannot_go_on_for_ever(side, pairs):
    pairs(lambda number: pair(number, 0.0, switches=(0, 3)))
    verdict, record = judge("net", "latency", side, side, Rule())
    assert len(record["measured_anew"]) == 4  # of the first six, two and one in four
    assert verdict.outcome is Outcome.same


def test_one_failure_is_measured_anew(side, pairs):
    failed = []

    def make(number):
        if not failed:
            failed.append(number)
            raise SideError("base", "killed")
        return pair(number, 0.0)

    pairs(make)
    verdict, record = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.same
    assert record["failures"] == ["base: killed"]
    assert "measured again after a failure: base: killed" in verdict.details


def test_a_side_that_fails_twice_in_a_row_is_an_error(side, pairs):
    def make(number):
        raise SideError("candidate", "the process was killed by SIGSEGV")

    pairs(make)
    verdict, record = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.error
    assert verdict.reason == "the candidate failed again and again: the process was killed by SIGSEGV"
    assert verdict.effect is None
    assert record["effect"] is None


def test_sides_that_fail_by_turns_are_an_error_in_the_end(side, pairs):
    calls = []

    def make(number):
        calls.append(number)
        raise SideError("base" if len(calls) % 2 else "candidate", "no luck")

    pairs(make)
    verdict, _ = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.error


def test_what_makes_only_some_passes_slower_is_reported(side, pairs):
    pairs(lambda number: pair(number, 0.0, checks=(BASE_S, BASE_S * 1.2)))
    verdict, _ = judge("net", "latency", side, side, Rule())
    assert verdict.outcome is Outcome.inconclusive  # and never the same
    assert verdict.details[0].startswith("the plain mean is worse")


def test_a_shared_core_page_faults_and_other_outputs_are_reported(side, pairs):
    outputs = ({"shapes": [[1, 7]], "digest": "a"}, {"shapes": [[1, 7]], "digest": "b"})
    pairs(lambda number: pair(number, 0.0, switches=(2, 2), faults=(30, 30), outputs=outputs))
    told = " ".join(judge("net", "latency", side, side, Rule())[0].details)
    assert "another program shares the core" in told
    assert "2.0 and 2.0 involuntary switches a pass" in told
    assert "30.0 and 30.0 minor faults a pass" in told
    assert "outputs differ for the same seed" in told


def test_outputs_of_another_shape_are_reported(side, pairs):
    outputs = ({"shapes": [[1, 7]], "digest": "a"}, {"shapes": [[1, 8]], "digest": "b"})
    pairs(lambda number: pair(number, 0.0, outputs=outputs))
    assert "outputs differ in shape: [[1, 7]] and [[1, 8]]" in judge("net", "latency", side, side, Rule())[0].details
