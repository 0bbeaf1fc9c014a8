"""Records go to JSON and come back the same; what is no record is refused."""

import json

import pytest

from fer_bench.errors import StoreError
from fer_bench.records import SCHEMA_VERSION, Measurement, Result


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


@pytest.mark.parametrize("line", ["", "{}", "[]", "3", "null", '{"schema_version": 1}', '{"schema_version": "1"}'])
def test_what_is_no_result_is_refused(line):
    with pytest.raises(StoreError, match="not a result of fer_bench"):
        Result.from_json(line)


def test_a_later_schema_is_refused_by_its_number(make_result):
    data = json.loads(make_result().to_json()) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}"):
        Result.from_json(json.dumps(data))
