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
