"""Records go to JSON and come back the same; what is no record is refused."""

import dataclasses
import json

import pytest

from fer_bench.records.errors import StoreError
from fer_bench.records.result import SCHEMA_VERSION, Measurement, Result


def test_a_result_survives_its_own_line(make_result):
    result = make_result("x", Measurement("macs", "", failure="no | newline\n é"), settings=("a=1",), note="n")
    line = result.to_json()
    assert "\n" not in line
    assert Result.from_json(line) == result


def test_a_result_without_shape_or_environment_survives_too(make_result):
    data = json.loads(make_result(input_shape=None).to_json()) | {"environment": None}
    again = Result.from_json(json.dumps(data))
    assert (again.environment, again.subject.input_shape) == (None, None)


def test_a_failed_or_missing_count_has_no_value(make_result):
    result = make_result("x", Measurement("training", "", failure="broken"))
    assert (result.value("macs"), result.value("training"), result.value("nothing")) == (2_000_000, None, None)


@pytest.mark.parametrize("line", ["", "{}", "[]", "3", "null", '{"schema_version": 2}', '{"schema_version": "1"}'])
def test_what_is_no_result_is_refused(line):
    with pytest.raises(StoreError, match="not a result of fer_bench"):
        Result.from_json(line)


@pytest.mark.parametrize("value", [None, "0.01", True, float("nan"), float("inf"), -1, [1]])
def test_a_value_that_no_profiler_writes_is_refused_with_its_place(make_result, value):
    data = json.loads(make_result().to_json())
    data["measurements"][0]["values"][2] = value
    with pytest.raises(StoreError, match=r"latency_s of process 0: value 3 is .*, and a number from 0 was expected"):
        Result.from_json(json.dumps(data))


def test_a_difference_of_the_system_s_counters_may_fall(make_result):
    result = make_result("x", Measurement("testing.machine_idle_s", "s", (-0.01, 0.5)))
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize("batch", [None, 0, "1", 1.5])
def test_a_plan_without_a_whole_batch_is_refused(make_result, batch):
    data = json.loads(make_result().to_json())
    data["plan"]["batch_size"] = batch
    with pytest.raises(StoreError, match=f"plan: batch_size is {batch!r}: "):
        Result.from_json(json.dumps(data))


@pytest.mark.parametrize(("name", "value"), [("protocol", 3), ("device", "tpu"), ("metrics", "latency"), ("runs", 0)])
def test_a_plan_with_a_value_that_no_plan_has_is_refused_by_its_name(make_result, name, value):
    data = json.loads(make_result().to_json())
    data["plan"][name] = value
    with pytest.raises(StoreError, match=f"not a result of fer_bench: plan: {name} is {value!r}"):
        Result.from_json(json.dumps(data))


def test_a_later_schema_is_refused_by_its_number(make_result):
    data = json.loads(make_result().to_json()) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}"):
        Result.from_json(json.dumps(data))


def test_the_first_schema_which_was_never_released_is_refused_by_its_number(make_result):
    data = json.loads(make_result().to_json()) | {"schema_version": 1}
    with pytest.raises(StoreError, match=r"before the first release \(schema 1, this one reads 2\): measure it again"):
        Result.from_json(json.dumps(data))


def test_environments_that_differ_in_what_times_depend_on_are_not_comparable(make_result):
    here = make_result().environment
    same = dataclasses.replace(here, load_1min=3.0, commit="1" * 40, dirty=True, attainable={"macs_per_s": 1.0})
    assert here.comparable_with(same) == ""
    assert here.comparable_with(dataclasses.replace(here, cpu="Another CPU", threads=1)) == (
        "cpu: 'Some CPU' and 'Another CPU'"
    )
    assert here.comparable_with(dataclasses.replace(here, allocator="glibc, memory kept")).startswith("allocator: ")
    newer = dataclasses.replace(here, packages={"torch": "2.10.0"})
    assert "2.10.0" in here.comparable_with(newer)
    other_tool = dataclasses.replace(here, packages={**here.packages, "fer-bench": "9"})
    assert here.comparable_with(other_tool) == ""
    hotter = dataclasses.replace(here, gpu={"name": "A", "temperature_c": 80})
    assert hotter.comparable_with(dataclasses.replace(here, gpu={"name": "A", "temperature_c": 30})) == ""
    assert hotter.comparable_with(dataclasses.replace(here, gpu={"name": "B"})).startswith("gpu: ")
