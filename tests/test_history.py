"""Histories from round numbers: which points are in one, what changed where, and what a user sees of it."""

import csv
import dataclasses
import io
import json
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa

import fer_bench as fb
from fer_bench.cli.main import main
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.result import Measurement, speeds_apart
from fer_bench.records.store import Store
from fer_bench.reporting.analysis.history import differences, history
from fer_bench.reporting.figures.history import timeline as plot
from fer_bench.reporting.render.plots.figure import draw
from fer_bench.reporting.render.plots.history import to_letters
from fer_bench.reporting.tables.history import timeline as table

HOSTILE = "$x^2$ --><script>|`_ \x1b[31m"


@pytest.fixture
def at(make_result):
    """Make a result of one day: latency in ms, commit by a digit, environment and plan as changed."""

    def make(day, ms=10.0, commit="a", plan=(), measured=None, failure="", name="net", dirty=False, **where):
        result = make_result(name, without=("latency_s",))
        values = () if failure else tuple(each / 1000 for each in (measured or [ms] * 5))
        latency = Measurement("latency_s", "s", values, failure=failure)
        environment = dataclasses.replace(result.environment, commit=commit * 40, dirty=dirty, **where)
        return dataclasses.replace(
            result,
            environment=environment,
            plan=dataclasses.replace(result.plan, **dict(plan)),
            measurements=(*result.measurements, latency),
            started_at=(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)).isoformat(),
        )

    return make


def wobble(day):
    """Give a share that is never the same twice in a row and has no trend: 0, 1, -1, 0, 1, -1 %."""
    return 1 + (0, 0.01, -0.01)[day % 3]


def stored(results):
    return [(f"run{number}", result) for number, result in enumerate(results)]


def drawn(results, metric="latency", last=None, **wanted):
    return history(stored(results), "net", metric, wanted, last)


def shifts(its):
    return [(shift.place, shift.by_environment, shift.cause) for shift in its.shifts]


def test_points_are_in_the_order_of_time_whatever_the_order_stored(at):
    its = drawn([at(3, 13), at(1, 11), at(2, 12, commit="b", dirty=True)])
    assert [point.estimate.value for point in its.points] == [0.011, 0.012, 0.013]
    assert [point.commit for point in its.points] == ["aaaaaaa", "bbbbbbb-dirty", "aaaaaaa"]
    assert [point.run for point in its.points] == ["run1", "run2", "run0"]


def test_times_of_other_zones_are_put_in_order(at):
    early, late = at(1, 11), at(1, 12)
    late = dataclasses.replace(late, started_at="2026-01-01T23:30:00-05:00")  # 4:30 of the next day in UTC
    assert [point.estimate.value for point in drawn([late, early]).points] == [0.011, 0.012]


def test_a_time_that_is_none_is_reported(at):
    with pytest.raises(StoreError, match="start time 'soon'"):
        drawn([dataclasses.replace(at(1), started_at="soon")])


def test_a_point_is_the_mean_of_the_processes_medians_with_their_interval(at):
    result = at(1, measured=[9, 10, 90])
    other = dataclasses.replace(result.measurement("latency_s"), values=(0.012, 0.012), process=1)
    (point,) = drawn([dataclasses.replace(result, measurements=(*result.measurements, other))]).points
    # Of medians 10 and 12: mean 11, standard error 1, and Student's t of one degree of freedom is 12.706.
    assert point.estimate.value == pytest.approx(0.011)
    assert point.estimate.interval == pytest.approx((0.011 - 0.012706, 0.011 + 0.012706), rel=1e-3)
    assert point.estimate.processes == 2


def test_a_result_that_is_read_from_two_places_is_one_point(at):
    result = at(1)
    assert len(drawn([result, result, at(2)]).points) == 2


def test_a_step_is_reported_between_the_commits_that_it_lies_between(at):
    results = [at(day, 10 * wobble(day), commit="b") for day in range(12)]
    results += [at(day, 12 * wobble(day), commit="c") for day in range(12, 24)]
    its = drawn(results)
    assert shifts(its) == [(12, False, "between bbbbbbb and ccccccc")]
    assert its.shifts[0].size == pytest.approx(0.2)
    assert its.shifts[0].levels == pytest.approx((0.010, 0.012), rel=1e-3)
    assert its.shifts[0].p <= 0.02
    assert [(level.first, level.last) for level in its.levels] == [(0, 11), (12, 23)]
    notes = table(its).notes
    assert notes[12][0].startswith("+20 % (")
    assert notes[12][0].endswith(") between bbbbbbb and ccccccc.")
    assert not any(note for place, note in enumerate(notes) if place != 12)


@pytest.mark.parametrize(
    ("commit", "dirty", "told"),
    [
        ("b", False, "at the same commit bbbbbbb, so not by a commit"),
        ("b", True, "at the same commit bbbbbbb-dirty, whose changes are not recorded"),
        ("", False, "between 2026-01-12 00:00 and 2026-01-13 00:00, with no commit recorded"),
    ],
)
def test_a_step_that_no_commit_explains_is_reported_so(at, commit, dirty, told):
    results = [at(day, (10 if day < 12 else 12) * wobble(day), commit=commit, dirty=dirty) for day in range(24)]
    assert shifts(drawn(results)) == [(12, False, told)]


def test_a_change_with_the_environment_is_the_environment_s(at):
    def one(day, commit):
        version = "2.14.0" if day < 12 else "2.15.0"
        ms = (10 if day < 12 else 11) * wobble(day)
        return at(day, ms, commit=commit, packages={"torch": version, "numpy": str(day)})

    its = drawn([one(day, "b") for day in range(24)])
    assert shifts(its) == [(12, True, "by the environment: torch 2.14.0 to 2.15.0")]
    its = drawn([one(day, "b" if day < 12 else "c") for day in range(24)])
    (shift,) = its.shifts
    assert shift.cause.endswith("to 2.15.0; but the commit changed too, between bbbbbbb and ccccccc")
    assert [kind.letter for kind in its.kinds] == ["A", "B"]


def test_an_environment_that_changes_nothing_is_marked_and_no_change(at):
    its = drawn([at(day, 10 * wobble(day), threads=1 if day < 12 else 2) for day in range(24)])
    assert its.shifts == ()
    assert its.kinds[1].difference == "threads 1 to 2"
    assert its.kinds[1].compared.startswith("no change of level seen (p = ")
    (note,) = table(its).notes[12]
    assert note.startswith("Environment B: threads 1 to 2; no change")
    few = drawn([at(day, 10, threads=1 if day < 2 else 2) for day in range(4)])
    assert few.kinds[1].compared == "too few points to compare"


def test_machines_that_take_turns_are_not_compared_with_each_other(at):
    def one(day):
        ms = (10, 20)[day % 2] * wobble(day) * (1.2 if day >= 26 else 1)
        return at(day, ms, commit="b" if day < 26 else "c", cores=(2, 4)[day % 2])

    its = drawn([one(day) for day in range(50)])
    assert [(place, by) for place, by, _ in shifts(its)] == [(1, True), (26, False), (27, False)]
    assert len(its.kinds) == 2


def test_an_environment_is_held_against_the_one_that_is_most_like_it(at):
    results = [at(day, 10, cores=(2, 4)[day % 2]) for day in range(4)]
    results += [at(day, 10, cores=(2, 4)[day % 2], python="3.14.0") for day in range(4, 6)]
    assert [kind.difference for kind in drawn(results).kinds] == [
        "",
        "cores 2 to 4",
        "Python 3.13.0 to 3.14.0; otherwise like A",
        "cores 2 to 4",
    ]


def test_differences_name_what_matters_and_nothing_else(at):
    before = at(1, packages={"torch": "1", "numpy": "1"}, gpu={"name": "X", "temperature_c": 40}).environment
    after = dataclasses.replace(
        before, packages={"torch": "2", "numpy": "2"}, gpu={"name": "Y", "temperature_c": 50}, load_1min=9.0, cores=8
    )
    assert differences(before, after) == ["cores 2 to 8", "torch 1 to 2", "GPU's name X to Y"]
    assert differences(before, before) == []
    assert differences(before, dataclasses.replace(before, memory_bytes=before.memory_bytes + 4096)) == []
    assert differences(before, dataclasses.replace(before, memory_bytes=2**30))[0].startswith(
        "bytes of memory 8589934592"
    )
    assert differences(None, before) == ["an environment that is not recorded"]


def test_a_machine_that_was_slower_itself_is_reported(at):
    fast, slow = ({"macs_per_s": rate, "copy_bytes_per_s": [[1, 9e9], [9, 2e9]]} for rate in (8e9, 5e9))
    results = [at(day, 10 * wobble(day), commit="b", attainable=fast) for day in range(12)]
    results += [at(day, 16 * wobble(day), commit="b", attainable=slow) for day in range(12, 24)]
    its = drawn(results)
    assert its.shifts[0].cause.endswith("; the machine itself was 1.6x slower in arithmetic")
    its = drawn([at(day, 10, attainable=slow if day == 2 else fast) for day in range(5)])
    assert [point.notes for point in its.points] == [
        ("The machine itself was 1.6x slower in arithmetic than usual.",) if day == 2 else () for day in range(5)
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 100.0}, {"a": 109.0}, ""),
        ({"a": 109.0}, {"a": 100.0}, ""),
        ({"a": 100.0}, {"a": 112.0}, "1.1x faster in a"),
        ({"a": 1.0, "b": 10.0}, {"a": 0.5, "b": 30.0}, "2.0x slower in a and 3.0x faster in b"),
        ({"a": 1.0}, {"b": 30.0}, ""),
        ({"b": 0.0}, {"b": 30.0}, ""),
    ],
)
def test_a_machine_is_another_when_its_speed_is_apart_by_more_than_a_tenth(before, after, told):
    assert speeds_apart(before, after) == told


def counted(result, macs, batch=1):
    others = [measurement for measurement in result.measurements if measurement.metric != "macs"]
    measured = Measurement("macs", "count", (macs,))
    return dataclasses.replace(
        result, measurements=(*others, measured), plan=dataclasses.replace(result.plan, batch_size=batch)
    )


def test_each_difference_of_counts_is_a_change(at):
    results = [counted(at(day, commit=commit), macs) for day, (commit, macs) in enumerate([("b", 100), ("c", 101)])]
    results.append(counted(at(2, commit="c", packages={"torch": "9"}), 100))
    its = drawn(results, "macs")
    assert shifts(its) == [
        (1, False, "between bbbbbbb and ccccccc"),
        (2, False, "at the same commit ccccccc, so not by a commit; besides the code, torch 2.9.0 to 9"),
    ]
    assert [shift.p for shift in its.shifts] == [None, None]
    assert its.shifts[0].size == pytest.approx(0.01)
    assert "every difference is a change" in table(its).caption


def test_counts_of_one_run_under_several_plans_are_one_point(at):
    sweep = [("run1", counted(at(1), 100, batch)) for batch in (1, 2, 4)]
    later = [("run2", counted(at(2, commit="b"), 100))]
    assert len(history([*sweep, *later], "net", "macs").points) == 2
    assert [point.estimate.value for point in history(later, "net", "flops").points] == [200]


def test_of_several_conditions_the_most_frequent_is_drawn_and_the_others_reported(at):
    results = [at(day) for day in range(3)] + [at(day, plan={"batch_size": 8}) for day in range(2)]
    its = drawn(results)
    assert (len(its.points), its.conditions["batch_size"]) == (3, "2")
    assert its.others == "Results under other conditions: --where batch_size=8 (2)."
    assert len(drawn(results, batch_size="8").points) == 2
    with pytest.raises(
        FerBenchError, match=r"--where batch_size=16: no such result is stored; there are 2 \(3\), 8 \(2\)"
    ):
        drawn(results, batch_size="16")
    with pytest.raises(FerBenchError, match="macs does not depend on it"):
        drawn(results, "macs", device="cpu")


def test_failures_are_reported_and_not_drawn(at):
    its = drawn([at(1), at(2, failure="no memory"), at(3)])
    assert (len(its.points), len(its.failed)) == (2, 1)
    rows = table(its)
    assert [row.get("value") for row in rows.rows] == [0.01, None, 0.01]
    assert rows.notes[1] == ("Failed: no memory",)
    with pytest.raises(FerBenchError, match="failed each time; the last: no memory"):
        drawn([at(1, failure="no memory")])


@pytest.mark.parametrize("metric", ["latency", "images_per_s"])
def test_a_few_passes_make_no_point(at, metric):
    few, enough = at(1, measured=[10.0] * 4), at(2, measured=[10.0] * 5)
    its = drawn([few, enough], metric)
    assert [(point.result, point.failure) for point in its.failed] == [(few, "4 passes, fewer than the 5 needed")]
    assert [point.result for point in its.points] == [enough]


def test_one_point_is_a_history_in_which_nothing_changed(at):
    its = drawn([at(1)])
    assert (its.shifts, len(its.levels)) == ((), 1)
    assert "None can be detected from fewer than 10 points." in table(its).caption
    assert "o" in to_letters(plot(its), 80)


def test_only_the_latest_points_are_drawn_on_request(at):
    its = drawn([at(day, 10 + day) for day in range(5)], last=2)
    assert [point.estimate.value for point in its.points] == [0.013, 0.014]
    assert "3 earlier points are left out" in table(its).caption


def test_values_that_are_not_above_zero_are_compared_by_difference(at):
    def faulting(day):
        faults = Measurement("minor_faults", "count", (0.0 if day < 12 else 1500.0 + day % 3,))
        return dataclasses.replace(at(day), measurements=(faults,))

    (shift,) = drawn([faulting(day) for day in range(24)], "minor_faults").shifts
    assert (shift.place, shift.size) == (12, None)


def test_a_wrong_name_lists_what_there_is(at):
    with pytest.raises(
        FerBenchError, match=r"'latenzy' is not a metric of net \(did you mean latency\?\); there are lat"
    ):
        drawn([at(1)], "latenzy")
    with pytest.raises(FerBenchError, match="'energy' was never measured of net"):
        drawn([at(1)], "energy")
    with pytest.raises(FerBenchError, match=r"no results of nett \(did you mean net\?\); there are of net"):
        history(stored([at(1)]), "nett", "latency")
    assert drawn([at(1)], "peak_rss_bytes").points[0].estimate.value == 3 * 2**20
    assert drawn([at(1)], "latency_s").metric.name == "latency"


def test_the_figure_has_points_levels_and_marks_where_they_are(at):
    results = [at(day, (10 if day < 12 else 12) * wobble(day), commit="b" if day < 12 else "c") for day in range(24)]
    figure = draw(plot(drawn(results)))
    (axes,) = figure.axes
    (line,) = (line for line in axes.lines if line.get_marker() == "o")
    assert list(line.get_xdata()) == list(range(24))
    assert list(line.get_ydata()) == [point.estimate.value for point in drawn(results).points]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "-"] == [[11.5, 11.5]]
    assert [text.get_text() for text in axes.texts] == ["+20 %"]


def test_marks_side_by_side_do_not_lie_on_each_other(at):
    results = [at(day, 10 * wobble(day), threads=day // 2 + 1) for day in range(24)]
    figure = draw(plot(drawn(results)))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 11
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])


@pytest.fixture
def records(tmp_path, at):
    file = tmp_path / "records.jsonl"
    levels = [(10 if day < 12 else 12, "b" if day < 12 else "c") for day in range(24)]
    results = [at(day, ms * wobble(day), commit=commit) for day, (ms, commit) in enumerate(levels)]
    results += [at(1, name=HOSTILE), at(2, name=HOSTILE, threads=3)]
    file.write_text("".join(result.to_json() + "\n" for result in results))
    return file


@pytest.fixture
def call(records, capsys):
    def run(*arguments):
        code = main(["history", *map(str, arguments), "--from", str(records)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_terminal_gets_a_chart_and_a_table(call):
    code, out, err = call("net", "latency")
    assert (code, err) == (0, "")
    chart, rest = out.split("History of net: Latency")
    assert chart.startswith("Latency (ms)\n")
    assert chart.count("o") >= 24
    assert "| change of level" in chart
    assert "[1] +20 % (" in rest
    assert call("net", "latency")[1] == out


def test_other_formats_have_raw_values(call):
    rows = list(csv.DictReader(io.StringIO(call("net", "latency", "--format", "csv")[1])))
    expected = [(0.01 if day < 12 else 0.012) * wobble(day) for day in range(24)]
    assert [float(row["value"]) for row in rows] == pytest.approx(expected)
    assert [row["change"] != "" for row in rows] == [day == 12 for day in range(24)]
    document = json.loads(call("net", "latency", "--format", "json")[1])
    assert document["rows"][12]["change"] == pytest.approx(0.2)
    assert [row["commit"][0] for row in document["rows"]] == ["b"] * 12 + ["c"] * 12
    for fmt in ("markdown", "latex", "html"):
        assert call("net", "latency", "--format", fmt)[0] == 0


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_a_figure_has_the_same_bytes_each_time(call, tmp_path, suffix):
    files = [tmp_path / name / f"its.{suffix}" for name in "ab"]
    for file in files:
        assert call("net", "latency", "--out", file) == (0, "", f"wrote {file}\n")
    assert files[0].read_bytes() == files[1].read_bytes() != b""


def test_a_hostile_name_is_drawn_as_it_is(call, tmp_path):
    file = tmp_path / "its.svg"
    assert call(HOSTILE, "latency", "--out", file)[0] == 0
    assert "History of $x^2$ --><script>|`_ \N{REPLACEMENT CHARACTER}[31m: Latency" in "".join(
        ElementTree.parse(file).getroot().itertext()
    )
    code, out, _ = call(HOSTILE, "latency")
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nett"], "there are no results of nett (did you mean net?)"),
        (["net", "--out", "its.gif"], "--out its.gif: draws .svg, .png, .pdf"),
        (["net", "--out", "its.png", "--format", "csv"], "without --format"),
        (["net", "--where", "batch_size=3"], "--where batch_size=3: no such result is stored"),
        (["net", "--where", "batch_sise=3"], "there is no batch_sise (did you mean batch_size?); choose by protocol,"),
        (["net", "macs", "--where", "device=cpu"], "macs does not depend on it; choose by input, classes, set"),
        (["net", "--where", "batch_size"], "--where batch_size is not KEY=VALUE"),
        (["net", "--where", "device=cpu", "--where", "device=cuda"], "device=cpu was asked for, too"),
        (["net", "--from", "none.json"], "none.json: No such file or directory"),
    ],
)
def test_a_mistake_is_reported_in_a_line_with_its_cure(call, arguments, message):
    code, out, err = call(*arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


OLD = {
    "protocol": "quick",
    "device": "cpu",
    "batch": "2",
    "threads": "all",
    "pin": "no",
    "precision": "fp32",
    "layout": "nchw",
    "mode": "eager",
    "alloc": "keep",
    "isolation": "forked",
    "optimizer": "adam",
    "input": "1x48x48",
    "classes": "7",
    "set": "none",
}


@pytest.mark.parametrize(("name", "value"), OLD.items())
def test_each_old_option_is_an_alias_with_a_notice(call, name, value):
    metric = "training" if name == "optimizer" else "latency"
    key = "batch_size" if name == "batch" else name
    expected = call("net", metric, "--where", f"{key}={value}")
    notice = f"--{name} is deprecated: use --where {key}={value}\n"
    for old in ([f"--{name}", value], [f"--{name}={value}"]):
        code, out, err = call("net", metric, *old)
        assert (code, out, err) == (expected[0], expected[1], notice + expected[2])
    assert (expected[0], f" --{name} " in call("--help")[1]) == (1 if name == "optimizer" else 0, False)


def test_all_runs_of_a_store_are_read(at, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'results.sqlite'}"
    assert main(["history", "net", "--store", url]) == 1
    assert "there is no store at" in capsys.readouterr().err
    with Store.open(url) as store:
        ids = [store.begin("f", "t") for _ in range(2)]
        for day, run in enumerate(ids):
            store.save(run, "k", at(day))
    assert main(["history", "net", "--store", url, "--format", "json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)["rows"]] == ids
    assert main(["history", "nett", "--store", url]) == 1
    assert "there are of net" in capsys.readouterr().err


def by_backend(result, times):
    """Return a result of ONNX Runtime whose error is so many times PyTorch's own."""
    unit = {key: [[value]] for key, value in (("eager", 1e-6), ("spread", 1.0), ("size", 1.0))}
    details = {"outputs": 1, "arithmetic": "float32", "images": 1, **unit}
    error = Measurement("parity_error", "", (times * 1e-6,), details=details)
    plan = dataclasses.replace(result.plan, backend="onnxruntime")
    return dataclasses.replace(result, plan=plan, measurements=(*result.measurements, error))


@pytest.mark.parametrize("last", [2, None])
def test_the_latency_of_what_computes_something_else_is_no_point(at, tmp_path, last):
    url = f"sqlite:///{tmp_path / 'results.sqlite'}"
    results = [by_backend(at(day, 10 + day), times) for day, times in enumerate((2, 1e5, 3))]
    with Store.open(url) as store:
        for result in [*results, at(4)]:
            store.save(store.begin("f", "t"), "k", result)
    wanted = {"backend": "onnxruntime"}
    for source in ({"store": url}, {"sources": {"runs": results}}):
        its = fb.history("net", where=wanted, last=last, **source).history
        assert [point.estimate.value for point in its.points] == pytest.approx([0.010, 0.012])
        (failed,) = its.failed
        assert failed.failure.startswith("it computes something else than the network: 100000 times PyTorch's own")
        parities = fb.history("net", "parity", where=wanted, last=last, **source).to_frame()
        assert parities["value"].tolist() == pytest.approx([2, 1e5, 3][-last if last else 0 :])


MEASURED = {"images": 2, "idle_joules": 1.0, "idle_w": 1.0, "window_s": 1.0, "source": "RAPL"}
ASKED = {"latency": 0.01, "macs": 2_000_000, "energy": (3 - 1) / 2, "latency_s": 0.01, "occupancy": 1 / 2}


@pytest.mark.parametrize(("metric", "value"), ASKED.items())
def test_a_history_asks_the_store_twice_however_many_runs_it_has(at, tmp_path, metric, value, capsys):
    url = f"sqlite:///{tmp_path / 'results.sqlite'}"
    statements, rows = [], []

    def asked(_connection, _cursor, statement, *_):
        statements.append(statement)

    with Store.open(url) as store:
        runs = [store.begin("f", "t") for _ in range(40)]
        numbers = []
        for day, run in enumerate(runs):
            energy = Measurement("energy_j", "J", (2.0, 1.0), details=MEASURED)
            spent = [
                Measurement(f"testing.{name}", "s", (value,), details={"cores": 2, "memory_bytes": 100, "images": 2})
                for name, value in (
                    *(("interval_s", 2.0), ("process_user_s", 1.0), ("process_system_s", 0.0), ("rss_bytes", 50)),
                    *((f"machine_{name}_s", 0.0) for name in ("user", "system", "steal")),
                )
            ]
            result = at(day)
            store.save(run, "k", dataclasses.replace(result, measurements=(*result.measurements, energy, *spent)))
            if day in (0, 39):
                sa.event.listen(sa.Engine, "before_cursor_execute", asked)
                assert main(["history", "net", metric, "--store", url, "--format", "json"]) == 0
                sa.event.remove(sa.Engine, "before_cursor_execute", asked)
                rows.append(json.loads(capsys.readouterr().out)["rows"])
                selects = [statement for statement in statements if "results" in statement]
                numbers.append(len(selects))
                assert any("measurements.details" in one for one in selects) == (metric in ("energy", "occupancy"))
                statements.clear()
    assert numbers == [2, 2]
    assert [len(table) for table in rows] == [1, 40]
    assert {row["value"] for row in rows[1]} == {value}


def test_of_a_record_that_cannot_be_read_the_others_are_shown(at, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'results.sqlite'}"
    with Store.open(url) as store:
        runs = [store.begin("f", "t") for _ in range(4)]
        for day, run in enumerate(runs):
            store.save(run, "k", at(day))
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        for run, column, value in ((1, "plan", '{"protocol": 3}'), (2, "started_at", "noon")):
            connection.execute(f"UPDATE results SET {column} = ? WHERE run_id = ?", (value, runs[run]))
        connection.execute("UPDATE measurements SET samples = '[0.1, -1]' WHERE result_id = 4 AND metric = 'latency_s'")
    assert main(["history", "net", "--store", url, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert [row["run"] for row in json.loads(out)["rows"]] == [runs[0]]
    heads, values = err.splitlines()  # what the choice of runs shows, and then what reading those shows
    assert re.fullmatch(rf"fer-bench: net in .*: left out 2 of 4 records: run {runs[1]}: not a result .*", heads)
    assert re.fullmatch(rf"fer-bench: net in .*: left out 1 of 2 records: run {runs[3]}: not a result .*", values)


def test_the_last_points_are_read_from_a_store_as_if_all_were(at, tmp_path):
    url = f"sqlite:///{tmp_path / 'results.sqlite'}"
    results = [at(day, 10 + day) for day in range(5)]
    results += [at(5, measured=[1.0] * 4), at(6, failure="no memory"), at(7, 17), at(8, 18, plan={"batch_size": 4})]
    with Store.open(url) as store:
        for result in reversed(results):  # numbered against time
            store.save(store.begin("f", "t"), "k", result)
    its = fb.history("net", store=url, last=3).history
    assert [round(point.estimate.value, 6) for point in its.points] == [0.013, 0.014, 0.017]
    assert [point.environment for point in its.points] == [result.environment for result in results[:3]]
    assert [point.failure for point in its.failed] == ["4 passes, fewer than the 5 needed", "no memory"]
    assert (its.earlier, its.others) == (3, "Results under other conditions: --where batch_size=4 (1).")


def test_counts_need_neither_numpy_nor_matplotlib(records):
    code = (
        "import sys; from fer_bench.cli.main import main; code = main(sys.argv[1:])\n"
        "print([n for n in ('torch', 'pandas', 'numpy', 'matplotlib', 'rich') if n in sys.modules], code)"
    )
    arguments = ["history", "net", "macs", "--from", str(records)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
