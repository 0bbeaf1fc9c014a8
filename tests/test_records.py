"""Records go to JSON and come back the same; what is no record is refused."""

import dataclasses
import json
import math

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
    with pytest.raises(StoreError, match=r"latency_s of process 0: values\[2\] is .*: a number.* was expected"):
        Result.from_json(json.dumps(data))


def changed(data, path, value):
    """Set the member at a path, such as ("subject", "name")."""
    *outer, last = path
    for step in outer:
        data = data[step]
    data[last] = value


def nested(levels):
    return '{"a":' * levels + "1" + "}" * levels


ATTAINABLE = {"macs_per_s": 1.0, "copy_bytes_per_s": [[1, "fast"]], "operator_s": 0.1}
BEYOND = "an integer beyond 64 bits"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("subject name", 3, "subject: name is 3: a text was expected"),
        ("subject name", "", "subject: name is '': a text of length from 1 was expected"),
        ("subject settings", [1], r"subject: settings[0] is 1: a text was expected"),
        ("subject input_shape", [3, 0, 8], r"subject: input_shape[1] is 0: a whole number from 1 was expected"),
        ("subject num_classes", 2**63, f"subject: num_classes is {BEYOND}: a whole number"),
        ("subject note", "x" * (2**22 + 1), "...: a text of at most 4194304 characters was expected"),
        ("environment cores", "two", "environment: cores is 'two': a whole number was expected"),
        ("environment load_1min", math.inf, "environment: load_1min is inf: a number was expected"),
        ("environment packages", {"torch": 2}, r"environment: packages[...]: a text was expected"),
        ("environment gpu", {"name": 3}, "environment: gpu: name is 3: a text or none was expected"),
        ("environment attainable", ATTAINABLE, "attainable: copy_bytes_per_s[0][1] is 'fast': a number was expected"),
        ("environment attainable", {"macs_per_s": 1.0}, "attainable: copy_bytes_per_s or operator_s is missing"),
        ("environment another", 3, "environment: has unknown 'another'"),
        ("measurements 0 process", 1.5, "latency_s of process 1.5: process is 1.5: a whole number was expected"),
        ("measurements 0 process", 10**30, f"latency_s of process {BEYOND}: process is {BEYOND}"),
        ("measurements 0 values 2", 10**100, f"values[2] is {BEYOND}"),
        ("measurements 0 values 2", 1e101, r"values[2] is 1e+101: a number from 0 to 1e+100 was expected"),
        ("measurements 0 warnings", "slow", "latency_s of process 0: warnings is 'slow': a list was expected"),
        ("measurements 0 details", [], "latency_s of process 0: details is a list of 0: an object was expected"),
        ("measurements 0 details", {"a": [math.nan]}, r"details.a[0] is nan: a number was expected"),
        ("measurements 0 details", {"a": [1, 2**64]}, f"details.a[1] is {BEYOND}"),
        ("measurements 0 details", json.loads(nested(40)), "details is nested deeper than 32 levels"),
        ("measurements 0 details", {"others_cores": "many"}, "details.others_cores is 'many': a number or none"),
        ("measurements", {}, "measurements is an object of 0: a list was expected"),
        ("measurements 0", None, "it is None: an object was expected"),
        ("wall_s", math.nan, "wall_s is nan: a number from 0 was expected"),
        ("started_at", "yesterday", "started_at is 'yesterday': a time such as 2026-11-21T12:00:00"),
        ("started_at", "0001-01-01T00:00:00+14:00", "started_at is '0001-01-01T00:00:00+14:00': a time such as"),
        ("schema_version", 2**64, f"schema_version is {BEYOND}"),
        ("schema_version", "2", "schema_version is '2': a whole number was expected"),
    ],
)
def test_a_field_of_another_type_or_out_of_range_is_one_message_with_its_place(make_result, path, value, told):
    data = json.loads(make_result().to_json())
    changed(data, [int(step) if step.isdecimal() else step for step in path.split()], value)
    with pytest.raises(StoreError) as caught:
        Result.of(data)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("metric", "details", "told"),
    [
        ("energy_j", {}, "details lack images"),
        ("module_macs", {"modules": []}, "details.modules has 0 members, and there are 1 values"),
        ("module_macs", {"modules": [3]}, "details.modules[0] is 3: an object was expected"),
        ("operator_calls", {"operators": [None]}, "details.operators[0] is None: a text was expected"),
        (
            "training.interval_s",
            {"cores": 0, "memory_bytes": 1, "images": 1},
            "details.cores is 0: a whole number from",
        ),
        ("macs", {"uncounted": {"aten::odd": "x"}}, "details.uncounted[...]: a whole number was expected"),
        ("published_builds", {"builds": [{"counts": {}}]}, "details.builds[0]"),
    ],
)
def test_details_that_tables_read_have_their_types(make_result, metric, details, told):
    result = make_result("x", Measurement(metric, "", (1.0,), details=details))
    with pytest.raises(StoreError) as caught:
        Result.from_json(result.to_json())
    assert f"{metric} of process 0: {told}" in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "details"),
    [
        ("latency_s", {"others_cores": -0.01}),
        ("peak_rss_bytes", {"file_bytes": -4096}),
        ("energy_j", {"images": 1, "idle_joules": -0.1, "idle_w": -0.1, "window_s": 1.0, "source": "RAPL"}),
    ],
)
def test_a_detail_that_is_a_difference_of_counters_may_be_below_0(make_result, metric, details):
    result = make_result("x", Measurement(metric, "", (1.0,), details=details))
    assert Result.from_json(result.to_json()) == result


def test_operators_have_their_bytes_beside_their_macs(make_result):
    pair = Measurement("operator_macs", "count", (1, 2)), Measurement("operator_bytes", "bytes", (1,))
    with pytest.raises(StoreError, match="operator_macs has 2 values, and operator_bytes 1"):
        Result.from_json(make_result("x", *pair).to_json())


@pytest.mark.parametrize("line", ["[" * 100_000, nested(100_000), '{"schema_version": ' + "[" * 100_000])
def test_a_line_that_is_nested_without_end_is_refused(line):
    with pytest.raises(StoreError, match="not a result of fer_bench: nested deeper than 32 levels"):
        Result.from_json(line)


def test_half_a_surrogate_pair_becomes_a_question_mark(make_result):
    line = make_result("x", note="half").to_json().replace("half", "\\ud800")
    assert Result.from_json(line).subject.note == "?"


def test_counts_stay_whole_and_times_as_precise_as_they_were(make_result):
    result = make_result("x", Measurement("odd", "", (2**53 + 1, 1, 0.1, 5e-324)))
    again = Result.from_json(result.to_json())
    assert list(map(repr, again.measurement("odd").values)) == ["9007199254740993", "1", "0.1", "5e-324"]


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
