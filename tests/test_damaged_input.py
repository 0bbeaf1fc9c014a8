"""Damaged records, sheets and baselines end in a message: one is never the end of the others, nor a traceback."""

import json

import pytest

from fer_bench.cli.main import main
from fer_bench.records.exchange import export
from fer_bench.records.store import Store


@pytest.fixture
def command(capsys):
    """Run a command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        code = main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def runs(tmp_path, make_result):
    """A store of two runs, a day apart, and their ids; the second has two records."""
    url = f"sqlite:///{tmp_path}/results.sqlite"
    with Store.open(url) as store:
        ids = []
        for names in (("mini_xception",), ("mini_xception", "resnet50")):
            ids.append(store.begin("print", " ".join(names)))
            for name in names:
                store.save(ids[-1], name, make_result(name))
            store.finish(ids[-1])
    return url, ids


def break_record(text, run_id, number=0):
    """Return an export in which a record has an operator's time of text."""
    document = json.loads(text)
    (run,) = (run for run in document["runs"] if run["id"] == run_id)
    run["results"][number]["result"]["measurements"][0]["values"] = ["fast"]
    return json.dumps(document)


@pytest.fixture
def damage(runs):
    """Damage the first record of a run in the store."""

    def done(run_id):
        import sqlite3

        with sqlite3.connect(runs[0].removeprefix("sqlite:///")) as connection:
            connection.execute(
                "UPDATE measurements SET samples = '[\"fast\"]' WHERE result_id = "
                "(SELECT min(id) FROM results WHERE run_id = ?)",
                (run_id,),
            )

    return done


def test_an_import_adds_the_runs_that_can_be_read_and_fails_with_a_line_on_the_other(runs, command, tmp_path):
    url, (bad, good) = runs
    file, other = tmp_path / "export.json", f"sqlite:///{tmp_path}/other.sqlite"
    with Store.open(url) as store:
        file.write_text(break_record(export(store, store.runs()), bad))
    code, out, err = command("import", file, "--store", other)
    assert (code, out) == (1, f"imported: {good}\n")
    assert err.startswith(
        f"fer-bench: {file}: not imported: record mini_xception of run {bad}: not a result of fer_bench"
    )
    assert err.count("\n") == 1
    assert "values[0] is 'fast'" in err


def test_a_record_that_cannot_be_read_is_left_out_with_a_line(runs, command, damage):
    url, (first, second) = runs
    damage(second)
    line = f"fer-bench: run {second} of {url}: left out 1 of 2 records: mini_xception: not a result of fer_bench: "
    code, out, err = command("report", "--store", url, "--format", "csv")
    assert (code, err[: len(line)], err.count("\n")) == (0, line, 1)
    assert "resnet50" in out
    assert "mini_xception," not in out
    code, out, err = command("show-run", second, "--store", url)
    assert (code, err[: len(line)], err.count("\n")) == (0, line, 1)
    assert "resnet50" in out
    code, out, err = command("history", "mini_xception", "latency_s", "--store", url, "--format", "csv")
    line = f"fer-bench: mini_xception in {url}: left out 1 of 2 records: run {second}: not a result of fer_bench: "
    assert (code, err[: len(line)], err.count("\n")) == (0, line, 1)
    assert first in out
    assert command("runs", "--store", url)[::2] == (0, "")


def test_a_run_of_which_nothing_can_be_read_fails_where_it_is_asked_for(runs, command, damage):
    url, (first, second) = runs
    damage(first)
    code, out, err = command("report", first, "--store", url)
    assert (code, out) == (1, "")
    assert err.endswith(f"fer-bench: {first}: none of its results can be read\n")
    code, out, err = command("show-run", first, "--store", url)
    assert code == 1
    assert out.split()[:2] == ["run", first]
    assert "left out 1 of 1 records" in err
    code, out, err = command("report", first, second, "--store", url)
    assert (code, err.count("\n")) == (0, 1)
    assert "resnet50" in out


def test_what_is_judged_is_never_left_out(runs, command, damage):
    url, (first, second) = runs
    damage(second)
    code, _, err = command("compare", first, second, "--store", url)
    assert code == 3
    assert f"mini_xception in run {second} of {url}: not a result" in err


def test_records_of_a_file_are_left_out_of_a_report_in_the_same_way(runs, command, tmp_path):
    url, (_, run) = runs
    file = tmp_path / "export.json"
    with Store.open(url) as store:
        file.write_text(break_record(export(store, [store.find_run(run)]), run, 1))
    code, out, err = command("report", file)
    assert code == 0
    assert err.startswith(f"fer-bench: {file}: left out 1 of 2 records: record resnet50 of run {run}: ")
    assert "mini_xception" in out


SHEET = """
[of_a_user]
title = "Mine"
input_shape = [3, 48, 48]
num_classes = 7
published = [{ quantity = "parameters", printed = "1.5", unit = "M", paper = "x", where = "Table 1" }]
"""
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("title = 3", "title is 3: a text was expected"),
        ("num_classes = true", "num_classes is True, expected a number from 1"),
        ("num_classes = 2147483648", "num_classes is 2147483648, expected a number from 1"),
        ("input_shape = [true, 48, 48]", "input_shape is [True, 48, 48], expected [channels, height, width]"),
        ("status = []", "status [] is none of exact"),
        ("network = ['resnet50']", "network is ['resnet50'], expected a name in quotes"),
        ("min_size = 'small'", "min_size is 'small': a whole number was expected"),
        ("papers = '004'", "papers is '004': a list was expected"),
        ("choices = [1]", "choices[0] is 1: a text was expected"),
        ("expected = { parameters = 'many' }", "expected[...]: a whole number was expected"),
        ("published = 'none'", "expected a published figure as a table, [[...]], got 'none'"),
        ("published = [3]", "expected a published figure as a table, [[...]], got [3]"),
        (
            'published = [{ quantity = "parameters", printed = [["1"]], unit = "", paper = "x", where = "" }]',
            "printed is [['1']], expected text in quotes",
        ),
        (
            'published = [{ quantity = "parameters", printed = "1", unit = "", paper = "x", where = "", rows = [1] }]',
            "rows[0] is 1: a text was expected",
        ),
        ("gate = { max_params = '1e999999999 M' }", "max_params = '1e999999999 M' is no limit"),
        ("gate = { max_params = [5] }", "max_params = a list of 1 is no limit"),
        ("note = 1979-05-27", "note is datetime.date(1979, 5, 27): a text was expected"),
        (f"note = {DEEP}", "nested deeper than 32 levels"),
        (f"num_classes = {'9' * 5000}", "Exceeds the limit"),
    ],
)
def test_a_value_of_another_type_in_a_sheet_is_one_line(command, tmp_path, line, told):
    kept = [known for known in SHEET.splitlines() if not known.startswith(line.partition(" = ")[0])]
    (tmp_path / "mine.toml").write_text("\n".join([*kept, line]))
    code, out, err = command("show", "of_a_user", "--sheets", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "mine.toml" in err
    assert told in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("paper = 3", "paper is 3, expected a table"),
        ('[paper]\nid = "x"\ntitle = "X"\nyear = "old"', "year is 'old': a whole number or none was expected"),
        ('results = []\n[paper]\nid = "x"\ntitle = "X"', "results is [], expected tables"),
        ('results = { FER2013 = 3 }\n[paper]\nid = "x"\ntitle = "X"', "results is an object of 1, expected tables"),
        (
            'figures = {}\n[paper]\nid = "x"\ntitle = "X"',
            "expected a published figure as a table, [[...]], got an object",
        ),
    ],
)
def test_a_value_of_another_type_in_the_sheet_of_a_paper_is_one_line(command, tmp_path, text, told):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "x.toml").write_text(text)
    code, out, err = command("list", "--sheets", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["count", "mini_xception", "--input", "0x0x0"], "--input '0x0x0' is not CxHxW"),
        (["count", "mini_xception", "--input", "1e99"], "--input '1e99' is no size"),
        (["count", "mini_xception", "--input", "9" * 5000], "is no size: a side from 1"),
        (["count", "mini_xception", "--input", f"1x{'9' * 5000}x1"], "is not CxHxW"),
        (["count", "mini_xception", "--inputs", f"1x{'9' * 5000}x1"], "a size is a number from 1 to 2147483647"),
        (["run", "mini_xception", "--batch", "9" * 5000], "is no number from 1"),
        (["count", "--models", ",,,"], "',,,' has no value"),
        (["gate", "--models", ""], "'' has no value"),
        (["gate", "--max-params", "1e999999999"], "max_params = '1e999999999' is no limit"),
        (["gate", "--max-latency", f"{'9' * 5000} ms"], "is no limit: expected a number of seconds above 0"),
    ],
)
def test_numbers_and_lists_of_the_command_line_are_one_line(command, monkeypatch, tmp_path, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (3 if arguments[0] == "gate" else 1, "", 1)
    assert told in err
    assert len(err) < 400


@pytest.mark.parametrize("cell", ["1e999999999", "1e-999999999", "9e99", "1 × 10^999999999"])
def test_a_number_out_of_every_range_in_a_table_is_one_line(command, tmp_path, cell):
    (tmp_path / "table.csv").write_text(f"Model,Params,Classes\nresnet50,{cell},7\n")
    code, out, err = command("audit", "--table", tmp_path / "table.csv")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert f"line 2, Params, cell '{cell}': '{cell}' is out of range: a number from 10^-40 to 10^40" in err


@pytest.mark.parametrize(("column", "cell"), [("Classes", "9" * 5000), ("Input", "9" * 5000), ("Classes", "1e9")])
def test_a_size_out_of_every_range_in_a_table_is_one_line(command, tmp_path, column, cell):
    (tmp_path / "table.csv").write_text(f"Model,Params,{column}\nresnet50,25.6M,{cell}\n")
    code, out, err = command("audit", "--table", tmp_path / "table.csv", "--classes", 7)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "line 2: " in err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"datetime": "0001-01-01T00:00:00+14:00"}, "is not in the format of version 5: OverflowError"),
        ({"benchmarks": json.loads('{"a":' * 900 + "1" + "}" * 900)}, "is not in the format of version 5"),
        ({"machine_info": {"cpu": {"count": "two"}}}, "environment: cores is 'two': a whole number was expected"),
        ({"benchmarks": [{"fullname": "x", "name": 3, "stats": {"data": [1e300]}}]}, "values[0] is 1e+300: a number"),
    ],
)
def test_a_damaged_file_of_pytest_benchmark_is_one_line(command, tmp_path, change, told):
    bench = {"fullname": "a.py::test", "name": "test", "stats": {"data": [0.25], "iterations": 1}}
    document = {"machine_info": {}, "commit_info": {}, "datetime": "2026-11-20T14:00:00", "version": "5.0"}
    (tmp_path / "bench.json").write_text(json.dumps(document | {"benchmarks": [bench]} | change))
    code, out, err = command("import", tmp_path / "bench.json", "--store", tmp_path / "results.sqlite")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert told in err
