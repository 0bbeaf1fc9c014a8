"""A pair of processes: who starts first, who has which turn, on which cores, and what comes of it."""

import dataclasses
import math

import pytest

from fer_bench.gating import pairs
from fer_bench.gating.pairs import NAMES, TURNS, Side, SideError, group_pair, latency_pair
from fer_bench.measuring import machine
from fer_bench.measuring.messages import MakePasses, WarmUp
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.records.plan import GATE
from fer_bench.records.result import Measurement, Result, Subject

PASS_S = {"base": 0.010, "candidate": 0.020}


@pytest.fixture
def sides():
    task = Task(registry.find("mini_xception"), GATE)
    return Side(task, Starter([])), Side(task, Starter([]), slower=0.05)


@pytest.fixture
def happened(monkeypatch):
    """Let processes be made up that answer at once; what they are told, in order."""
    told = []

    class Process:
        def __init__(self, name, side):
            self.name = name
            told.append((name, "starts"))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def expect(self, answer):
            pass

        def ask(self, command, answer):
            told.append((self.name, command))
            if isinstance(command, WarmUp):
                return answer({"of": self.name}, PASS_S[self.name])
            # The second half of the passes is disturbed: twice as long.
            seconds = (PASS_S[self.name], 2 * PASS_S[self.name])[: command.runs]
            return answer(seconds, sum(seconds), 1, 0)

    monkeypatch.setattr(pairs, "_Stepped", Process)
    monkeypatch.setattr(machine, "idlest", lambda *threads: [(number,) for number in threads])
    return told


@pytest.mark.parametrize(
    ("number", "starts", "begins"),
    [(0, "base", "base"), (1, "candidate", "base"), (2, "base", "candidate"), (3, "candidate", "candidate")],
)
def test_who_starts_and_who_begins_alternates_so_that_neither_is_favoured(sides, happened, number, starts, begins):
    pair = latency_pair(number, *sides)
    other = {"base": "candidate", "candidate": "base"}
    assert happened[:2] == [(starts, "starts"), (other[starts], "starts")]
    assert [name for name, command in happened[2:] if isinstance(command, WarmUp)] == [starts, other[starts]]
    order = [name for name, command in happened[2:] if isinstance(command, MakePasses)]
    rounds, runs = TURNS[-1][1]
    assert order == [begins, other[begins], other[begins], begins] * (rounds // 2)
    assert [turn.side for turn in pair.turns] == order
    assert {len(turn.passes.seconds) for turn in pair.turns} == {runs}


def test_a_pair_gives_the_ratio_the_median_of_each_side_and_its_plain_mean(sides, happened):
    pair = latency_pair(0, *sides)
    assert pair.log_ratio == pytest.approx(math.log(2))
    assert pair.values == pytest.approx((0.015, 0.030))
    assert pair.checks == pytest.approx((0.015, 0.030))
    assert pair.outputs == ({"of": "base"}, {"of": "candidate"})
    assert pair.per_run("minor_faults") == (0.5, 0.5)
    assert {command.slower for name, command in happened[2:] if isinstance(command, MakePasses) and name == "base"} == {
        0.0
    }
    assert {command.slower for name, command in happened[2:] if isinstance(command, MakePasses) and name != "base"} == {
        0.05
    }


def test_each_side_stays_on_as_many_cores_as_it_has_threads(sides, happened):
    base, candidate = sides
    several = dataclasses.replace(candidate.task.plan, threads=2)
    free = dataclasses.replace(candidate.task.plan, pin=False)
    for plan, cores in ((several, (2,)), (free, (math.inf,))):
        happened.clear()
        pair = latency_pair(0, base, dataclasses.replace(candidate, task=dataclasses.replace(base.task, plan=plan)))
        told = {name: command.cores for name, command in happened[2:] if isinstance(command, WarmUp)}
        assert told == {"base": (1,), "candidate": cores}
        assert pair.cores == ((1,), cores)


@pytest.mark.parametrize(("pass_s", "turns"), [(0.01, (12, 2)), (0.06, (12, 1)), (0.3, (6, 1))])
def test_slow_networks_have_fewer_passes(sides, happened, monkeypatch, pass_s, turns):
    monkeypatch.setitem(PASS_S, "candidate", pass_s)
    pair = latency_pair(0, *sides)
    rounds, runs = turns
    assert len(pair.turns) == 2 * rounds
    assert {len(turn.passes.seconds) for turn in pair.turns} == {runs}


def test_another_metric_is_measured_side_by_side_and_the_side_that_begins_alternates(sides, monkeypatch):
    order = []

    def measured(task, starter, *, stage):
        name = NAMES[0] if starter is sides[0].starter else NAMES[1]
        order.append(name)
        values = {"base": 100.0, "candidate": 200.0}
        return Result(
            Subject("net", "Net", "unregistered", (1, 2, 2), 7),
            task.plan,
            None,
            (Measurement("peak_rss_bytes", "bytes", (values[name],)),),
            "2026-01-01T00:00:00+00:00",
        )

    monkeypatch.setattr(pairs, "measure", measured)
    for number in range(2):
        pair = group_pair(lambda result: result.value("peak_rss_bytes"), "memory", number, *sides)
        assert pair.values == pytest.approx((100.0, 210.0))  # the candidate was asked to be 5 % slower
        assert pair.log_ratio == pytest.approx(math.log(2.1))
    assert order == ["base", "candidate", "candidate", "base"]


def test_a_side_that_measures_nothing_is_an_error(sides, monkeypatch):
    failed = Measurement("memory", "", failure="killed by SIGKILL")
    for measurements, told in (((failed,), "killed by SIGKILL"), ((), "measured nothing above")):
        result = Result(Subject("net", "Net", "unregistered", None, None), GATE, None, measurements, "")
        monkeypatch.setattr(pairs, "measure", lambda *_, stage, result=result: result)
        with pytest.raises(SideError, match=told):
            group_pair(lambda result: result.value("peak_rss_bytes") or 0.0, "memory", 0, *sides)
