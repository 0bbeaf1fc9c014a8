"""Plans: what they refuse, what a file of one's own may say, and that JSON gives them back."""

import dataclasses
import math

import pytest

from fer_bench.measuring.task import Task
from fer_bench.networks.spec import ModelSpec, Source
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import (
    EDGE,
    GATE,
    OCCUPANCY,
    PRESETS,
    QUICK,
    SAFAVI2023,
    Load,
    Plan,
    parse_settings,
    protocol,
)


def test_a_setting_is_a_python_literal_or_a_string():
    settings = ["width=0.5", "depth=3", "name=wide", "flag=True", "sizes=[1, 2]", "note=a=b"]
    expected = {"width": 0.5, "depth": 3, "name": "wide", "flag": True, "sizes": [1, 2], "note": "a=b"}
    assert parse_settings(settings) == expected


@pytest.mark.parametrize("setting", ["width", "=3", "not a name=3"])
def test_what_is_no_setting_is_refused(setting):
    with pytest.raises(FerBenchError, match="is not KEY=VALUE"):
        parse_settings([setting])


@pytest.mark.parametrize("plan", PRESETS.values(), ids=PRESETS)
def test_a_plan_is_the_same_after_json(plan):
    assert Plan.of(plan.to_dict()) == plan


def test_the_protocol_of_paper_001_is_as_printed():
    assert (SAFAVI2023.input_size, SAFAVI2023.batch_size, SAFAVI2023.runs) == (224, 48, 300)
    assert SAFAVI2023.max_time_s is None
    assert SAFAVI2023.min_time_s == 0
    # The paper sets no switch of PyTorch's: TF32 in convolutions only, and cuDNN's heuristics.
    assert (SAFAVI2023.precision, SAFAVI2023.cudnn, SAFAVI2023.layout, SAFAVI2023.mode) == (
        *("default", "heuristics", "nchw", "eager"),
    )


def test_the_protocols_are_what_their_users_are_reported():
    assert (EDGE.device, EDGE.batch_size, EDGE.threads, EDGE.interval_share) == ("cpu", 1, 1, 0.01)
    assert (QUICK.processes, QUICK.interval_share, QUICK.runs) == (1, None, 300)
    assert (OCCUPANCY.input_size, OCCUPANCY.channels) == (48, 1)
    assert {plan.runs for plan in PRESETS.values() if "latency" in plan.metrics} == {300}


def test_what_a_record_does_not_say_is_filled_in_or_not_known():
    plan = Plan.of({"protocol": "quick", "gone": 1})
    assert plan == Plan("quick", device="", alloc="", precision="default")
    assert (plan.batch_size, plan.layout, plan.threads) == (1, "nchw", None)


def test_of_somebody_else_s_benchmark_only_what_is_known_is_written():
    known = {"protocol": "x", "metrics": ["latency"], "batch_size": 1, "processes": 1, "isolation": "shared"}
    assert list(Plan.of(known).to_dict().items()) == list(known.items())


def test_a_record_from_before_there_was_a_wait_policy_had_that_of_the_libraries():
    """GNU's OpenMP spins without OMP_WAIT_POLICY, as with ACTIVE (libgomp's manual, GOMP_SPINCOUNT)."""
    old = {name: value for name, value in EDGE.to_dict().items() if name != "wait"}
    assert Plan.of(old).wait == "active"


@pytest.mark.parametrize(
    ("busy_cores", "cores", "threads", "expected"),
    [
        (0.05, 2, None, ("active", None)),
        (1.0, 2, None, ("active", 1)),
        (0.3, 4, None, ("passive", 4)),
        (1.2, 16, None, ("passive", 15)),
        (8.0, 4, None, ("active", 1)),  # more work than cores
        (1.0, 2, 2, ("passive", 2)),  # what is asked for stays
        (1.0, 2, 1, ("active", 1)),  # one thread waits for none
    ],
)
def test_threads_and_wait_policy_suit_the_load(busy_cores, cores, threads, expected):
    plan = dataclasses.replace(QUICK, threads=threads).settled(Load(busy_cores, cores))
    assert (plan.wait, plan.threads) == expected


def test_a_protocol_of_one_thread_is_the_same_whatever_the_load():
    assert {plan.settled(Load(2.0, 2)) for plan in (EDGE, GATE)} == {EDGE, GATE}


@pytest.mark.parametrize(("name", "value"), [("isolation", "shared"), ("device", ""), ("alloc", "")])
def test_what_only_a_record_can_say_cannot_be_asked_for(tmp_path, name, value):
    plan, spec = Plan.of({**QUICK.to_dict(), name: value}), ModelSpec("x", Source("published"), "X")
    path = tmp_path / "my_lab.toml"
    path.write_text(f'{name} = "{value}"\n')
    for asked in (plan.check_asked, lambda: protocol(str(path)), lambda: Task(spec, plan)):
        with pytest.raises(FerBenchError, match=f"{name} is '{value}'; known: "):
            asked()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: a whole number from 1 was expected"),
        ({"threads": -1}, "threads is -1: a whole number from 1 was expected"),
        ({"warmup_runs": -1}, "warmup_runs is -1: a whole number from 0 was expected"),
        ({"interval_share": 0.0}, "interval_share is 0.0: a number above 0 was expected"),
        ({"precision": "fp8"}, "precision is 'fp8'; known: fp32, tf32"),
        ({"layout": "chwn"}, "layout is 'chwn'; known: nchw, nhwc"),
        ({"metrics": ("latency", "beauty")}, "metrics beauty: unknown; known: static, recount"),
        ({"pilot_processes": 3, "processes": 2}, "pilot_processes is 3: there are 2 in all"),
        ({"metrics": ()}, "metrics are none; known: static"),
        ({"batch_size": None}, "batch_size is None: a whole number was expected"),
        ({"pin": 1}, "pin is 1: true or false was expected"),
        ({"runs": True}, "runs is True: a whole number was expected"),
        ({"interval_share": "1 %"}, "interval_share is '1 %': a number or none was expected"),
        ({"metrics": (3,)}, "metrics[0] is 3: a text was expected"),
        ({"max_time_s": math.nan}, "max_time_s is nan: a number from 0 was expected"),
        ({"min_time_s": math.inf}, "min_time_s is inf: a number up to 1000000000 was expected"),
        ({"sample_s": math.nan}, "sample_s is nan: a number above 0 was expected"),
        ({"seed": 2**63}, "seed is an integer beyond 64 bits: a whole number up to 9223372036854775807 was expected"),
        ({"runs": 10**5000}, "runs is an integer beyond 64 bits"),
        ({"pilot_processes": 1}, "nothing to decide without an interval_share"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, message):
    with pytest.raises(FerBenchError) as told:
        dataclasses.replace(QUICK, **change)
    assert message in str(told.value)


def test_a_file_of_one_s_own_changes_a_preset(tmp_path):
    path = tmp_path / "my_lab.toml"
    path.write_text('base = "edge"\nprocesses = 20\nmetrics = ["latency"]\n')
    plan = protocol(str(path))
    assert plan == dataclasses.replace(EDGE, protocol="my_lab", processes=20, metrics=("latency",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("procesess = 3", "a plan has no procesess; it has base, protocol"),
        ('base = "slow"', "base 'slow' is unknown"),
        ("batch_size = 0", "batch_size is 0"),
        ('batch_size = "many"', "batch_size is 'many': a whole number was expected"),
        ("metrics = 3", "metrics is 3: a list was expected"),
        ('metrics = "latency"', "metrics is 'latency': a list was expected"),
        ("= 3", "is no TOML"),
        ("max_time_s = nan", "max_time_s is nan: a number from 0 was expected"),
        ("runs = inf", "runs is inf: a whole number was expected"),
        ("base = []", "base [] is unknown"),
        ("runs = " + "[" * 100_000, "is no TOML: nested deeper than 32 levels"),
        ("runs = " + "9" * 5000, "is no TOML: Exceeds the limit"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong_with_it(tmp_path, text, message):
    path = tmp_path / "my_lab.toml"
    path.write_text(text)
    with pytest.raises(FerBenchError) as told:
        protocol(str(path))
    assert str(path) in str(told.value)
    assert message in str(told.value)


def test_a_protocol_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(FerBenchError, match="known: quick, edge, safavi2023, occupancy, training, or a file"):
        protocol("slow")
    with pytest.raises(FerBenchError, match="cannot read the protocol"):
        protocol(str(tmp_path / "missing.toml"))
