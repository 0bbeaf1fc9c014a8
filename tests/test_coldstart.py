"""Cold starts: stages add up, a process that fails is a reason, and a real start has all stages in order."""

import pytest

from fer_bench.measuring.messages import Job
from fer_bench.measuring.profilers.coldstart import STAGES, fresh_process, measure_coldstart
from fer_bench.networks.registry import find
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import Plan
from fer_bench.reporting.tables.speed import coldstart

PLAN = Plan("mine", metrics=("coldstart",), threads=1)
JOB = Job(PLAN, find("mtcnn_pnet"), input_shape=(3, 12, 12))


def test_stages_are_differences_of_moments() -> None:
    moments = {"begun": 10.0, "interpreter": 10.5, "imports": 13.5, "build": 14.0, "weights": 14.25, "first_pass": 15.0}
    found = measure_coldstart(JOB, start=lambda job: moments)
    whole = [each for each in found if each.metric == "coldstart_s"]
    assert [(each.process, each.values) for each in whole] == [(n, (5.0,)) for n in range(5)]
    first = {each.metric: each.values[0] for each in found if each.process == 0}
    assert [first[f"coldstart.{stage}_s"] for stage in STAGES] == [0.5, 3.0, 0.5, 0.25, 0.75]


@pytest.mark.slow
def test_a_process_of_its_own() -> None:
    moments = fresh_process(JOB)
    ends = [moments[stage] for stage in ("begun", *STAGES)]
    assert ends == sorted(ends)


@pytest.mark.slow
def test_a_process_without_a_result() -> None:
    with pytest.raises(FerBenchError, match=r"before its first result: .*nowhere\.pt"):
        fresh_process(Job(PLAN, find("mtcnn_pnet"), input_shape=(3, 12, 12), checkpoint="nowhere.pt"))


def test_nothing_is_drawn_of_nothing() -> None:
    assert coldstart([]).rows == ()
