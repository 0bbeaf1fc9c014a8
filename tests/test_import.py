"""Files of pytest-benchmark's, read and imported."""

import copy
import json

import pytest
from typer.testing import CliRunner

from fer_bench.cli.main import app
from fer_bench.records import pytest_benchmark
from fer_bench.records.errors import StoreError
from fer_bench.records.exchange import read_file
from fer_bench.records.result import Environment
from fer_bench.records.store import Store

# The shape of what pytest-benchmark 5.3.1 writes, with numbers of our own.
STATS = {"min": 0.25, "max": 0.5, "mean": 0.375, "stddev": 0.125, "median": 0.375, "rounds": 2, "iterations": 1}
THEIRS = {
    "group": None,
    "name": "test_sum[3]",
    "fullname": "tests/test_them.py::test_sum[3]",
    "params": {"n": 3},
    "param": "3",
    "extra_info": {},
    "options": {"timer": "perf_counter", "disable_gc": False},
    "stats": {**STATS, "data": [0.25, 0.5]},
}
DOCUMENT = {
    "machine_info": {
        "node": "host",
        "machine": "x86_64",
        "python_version": "3.12.1",
        "release": "6.1",
        "system": "Linux",
        "cpu": {"brand_raw": "Their CPU", "count": 4},
    },
    "commit_info": {"id": "ab" * 20, "dirty": True, "branch": "main"},
    "benchmarks": [THEIRS],
    "datetime": "2026-11-20T14:00:00.123456+02:00",
    "version": "5.3.1",
}


@pytest.fixture
def write(tmp_path):
    """Write a document with these benchmarks and other keys."""

    def written(*benchmarks, **other):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({**DOCUMENT, "benchmarks": list(benchmarks) or [THEIRS], **other}, indent=4))
        return path

    return written


def without_data(bench):
    short = copy.deepcopy(bench)
    del short["stats"]["data"]
    return short


def ours(result):
    record = json.loads(result.to_json())
    return {**THEIRS, "fullname": "b.py::test_latency[x]", "extra_info": {"fer_bench": record}}


def test_a_benchmark_of_anybody_s_is_a_latency_with_what_is_known_of_where(write):
    (result,) = read_file(write())
    assert (result.subject.name, result.subject.title) == ("tests/test_them.py::test_sum[3]", "test_sum[3]")
    assert (result.subject.input_shape, result.subject.num_classes) == (None, None)
    latency = result.measurement("latency_s")
    assert (latency.values, latency.unit, latency.failure) == ((0.25, 0.5), "s", "")
    assert latency.details == {
        "clock": "pytest-benchmark: perf_counter",
        "told": "a call",
        "params": {"n": 3},
        "written_by": "pytest-benchmark 5.3.1",
    }
    assert result.started_at == "2026-11-20T12:00:00+00:00"
    assert result.environment == Environment(
        cpu="Their CPU",
        cores=4,
        memory_bytes=0,
        os="Linux 6.1 x86_64",
        python="3.12.1",
        packages={},
        device="",
        device_name="",
        threads=0,
        allocator="",
        load_1min=0.0,
        commit="ab" * 20,
        dirty=True,
    )


def test_times_that_the_file_does_not_hold_are_not_made_up(write):
    (result,) = read_file(write(without_data(THEIRS)))
    latency = result.measurement("latency_s")
    assert latency.values == ()
    assert latency.failure.startswith("the file has no times, only statistics of them (median 0.375 s of 2 rounds)")
    assert "--benchmark-save-data" in latency.failure
    assert latency.details["statistics"] == {key: value for key, value in STATS.items() if key != "iterations"}


def test_a_record_of_ours_is_read_whole_whether_the_file_has_times_or_not(write, make_result):
    result = make_result()
    assert read_file(write(ours(result), without_data(ours(result)), THEIRS))[:2] == [result, result]


def test_means_over_several_calls_are_reported_as_such(write):
    bench = {**THEIRS, "stats": {**THEIRS["stats"], "iterations": 10}}
    assert read_file(write(bench))[0].measurement("latency_s").details["told"] == "mean over 10 calls"


@pytest.mark.parametrize(
    ("info", "commit"),
    [
        ({"id": "unversioned", "dirty": False}, ("", False)),
        ({"id": "unknown", "dirty": True, "error": "git"}, ("", False)),
        ({}, ("", False)),
        ({"id": "0123abc", "dirty": False}, ("0123abc", False)),
    ],
)
def test_only_a_commit_is_taken_for_one(info, commit):
    assert pytest_benchmark.commit_of(info) == commit


def test_a_time_without_a_zone_is_in_utc(write):
    assert read_file(write(datetime="2016-01-02T03:04:05.678"))[0].started_at == "2016-01-02T03:04:05+00:00"


def test_the_order_of_keys_is_no_matter(write):
    path = write()
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert len(read_file(path)) == 1


def damaged(key, value):
    bench = copy.deepcopy(THEIRS)
    bench[key] = value
    return {"benchmarks": [bench]}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"benchmarks": []}, "holds no benchmark: all were skipped or failed"),
        (
            {"benchmarks": [{"stats": {}}]},
            "of pytest-benchmark 5.3.1 is not in the format of version 5: KeyError: 'fullname'",
        ),
        ({"benchmarks": None}, "is not in the format of version 5: TypeError"),
        ({"machine_info": []}, "is not in the format of version 5: AttributeError"),
        ({"datetime": "yesterday"}, "is not in the format of version 5: ValueError: Invalid isoformat"),
        ({"datetime": None, "version": "9.0"}, "of pytest-benchmark 9.0 is not in the format of version 5: TypeError"),
        (damaged("stats", {"data": ["0.25"]}), "tests/test_them.py::test_sum[3]: not a result of fer_bench: latency_s"),
        (damaged("stats", {"data": [float("nan")]}), "latency_s of process 0: values[0] is nan: a number"),
        (damaged("stats", {}), "is not in the format of version 5: KeyError: 'median'"),
        (damaged("extra_info", {"fer_bench": {}}), "tests/test_them.py::test_sum[3]: not a result of fer_bench"),
        (damaged("extra_info", {"fer_bench": {"schema_version": 99}}), "written by a later fer_bench (schema 99"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_message(write, other, told):
    path = write(**other)
    with pytest.raises(StoreError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("kept", [60, 400, -20])
def test_a_file_that_was_cut_short_is_reported_as_such(write, kept):
    path = write()
    path.write_text(path.read_text()[:kept])
    with pytest.raises(StoreError, match="of pytest-benchmark is cut short or damaged"):
        read_file(path)


def test_another_program_s_json_is_not_taken_for_one(tmp_path):
    path = tmp_path / "google.json"
    path.write_text(json.dumps({"context": {}, "benchmarks": [{"name": "BM_x", "real_time": 1.0}]}))
    with pytest.raises(StoreError, match="expected a file that `fer-bench export` or --benchmark-json wrote"):
        read_file(path)


def test_a_file_becomes_one_run_of_the_store_and_does_so_once(write, make_result, tmp_path):
    result = make_result()
    path, store = write(ours(result), without_data(THEIRS)), f"sqlite:///{tmp_path}/results.sqlite"
    first, again = (CliRunner().invoke(app, ["import", str(path), "--store", store]) for _ in range(2))
    assert first.exit_code == again.exit_code == 0
    with Store.open(store) as opened:
        (run,) = opened.runs()
        kept = opened.results(run.id)
    assert first.output.startswith(f"imported: {run.id}\n")
    assert "tests/test_them.py::test_sum[3]: Failed (latency_s): the file has no times" in first.output
    assert again.output == f"there already: {run.id}\n"
    assert (run.title, run.state) == ("pytest-benchmark", "finished")
    assert (run.started_at, run.finished_at) == (result.started_at, "2026-11-20T12:00:00+00:00")
    assert kept == [result, *read_file(path)[1:]]


def test_a_bad_file_imports_nothing(write, tmp_path):
    path, store = write(benchmarks=[THEIRS, {"stats": {}}]), f"sqlite:///{tmp_path}/results.sqlite"
    done = CliRunner().invoke(app, ["import", str(path), "--store", store])
    assert done.exit_code == 1
    assert done.output.startswith(f"fer-bench: {path}: this file of pytest-benchmark")
    with Store.open(store) as opened:
        assert opened.runs() == []


def test_a_report_is_drawn_of_a_file(write, make_result):
    done = CliRunner().invoke(app, ["report", str(write(ours(make_result()), THEIRS))])
    assert done.exit_code == 0, done.output
    assert "mini_xception" in done.output
    assert "tests/test_them.py::test_sum[3]" in done.output
