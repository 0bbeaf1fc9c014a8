"""What `fer-bench report` does with its options, and what it says of mistakes."""

import csv
import io
import json

import pytest

from fer_bench.cli.main import main


@pytest.fixture
def records(tmp_path, make_result):
    file = tmp_path / "results.jsonl"
    file.write_text("".join(make_result(name).to_json() + "\n" for name in ("mini_xception", "resnet50")))
    return str(file)


@pytest.fixture
def report(records, capsys):
    def call(*arguments):
        code = main(["report", records, *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_columns_rows_and_order_are_the_user_s(report):
    options = ["--table", "efficiency", "--columns", "macs,NETWORK", "--models", "resnet50,mini_xception"]
    code, out, err = report(*options, "--format", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [list(row)[:2] for row in rows] == [["macs", "name"]] * 2
    assert [row["name"] for row in rows] == ["resnet50", "mini_xception"]
    out = report("--table", "efficiency", "--columns", "name", "--sort", "-name", "--format", "csv")[1]
    assert [row["name"] for row in csv.DictReader(io.StringIO(out))] == ["resnet50", "mini_xception"]


def test_json_is_one_list_of_tables(report):
    tables = json.loads(report("--format", "json")[1])
    assert [table["name"] for table in tables][:2] == ["efficiency", "latency"]
    assert tables[0]["rows"][0]["macs"] == 2_000_000


def test_html_is_a_file_on_request_only(report, tmp_path):
    assert report("--table", "latency", "--out", tmp_path / "a")[:2] == (0, "")
    assert report("--table", "latency", "--out", tmp_path / "b", "--format", "html")[:2] == (0, "")
    suffixes = [sorted(path.suffix for path in (tmp_path / folder).iterdir()) for folder in "ab"]
    assert suffixes == [[".csv", ".json", ".md", ".tex"], [".csv", ".html", ".json", ".md", ".tex"]]


def test_a_template_is_filled_in(report, tmp_path):
    (tmp_path / "mine.tex").write_text("<% for row in tables.latency.rows %><< row.cells.name.text >>;<% endfor %>")
    assert report("--template", tmp_path / "mine.tex", "--models", "mini_xception") == (0, r"mini\_xception;", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "beauty"], "no table has beauty; there are name, input_shape, "),
        (["--models", "resnet5"], "did you mean resnet50?"),
        (["--sort", "beauty"], "--sort beauty: no table has that column"),
        (["--table", "beauty"], "--table beauty: there are efficiency, latency"),
        (["--template", "none.tex"], "--template none.tex: No such file or directory"),
        (["--template", "none.tex", "--format", "csv"], "leave --out and --format"),
        (["--template", "none.tex", "--out", "x"], "leave --out and --format"),
    ],
)
def test_a_mistake_is_reported_in_a_line_with_its_cure(report, options, message):
    code, out, err = report(*options)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_best_is_one_of_two_words(report):
    code, _, err = report("--best", "underlined")
    assert code == 2
    assert "none" in err
    assert "bold" in err


def test_a_paper_s_tables_are_drawn_and_all_papers_together(report):
    tables = json.loads(report("--paper", "001", "--format", "json")[1])
    assert [table["title"].split(":")[0] for table in tables] == ["Paper 001, Table I", "Paper 001, Table II"]
    assert len(json.loads(report("--paper", "all", "--format", "json")[1])) > len(tables)


def test_a_table_that_is_not_drawn_unasked_is_drawn_when_named(report):
    assert "Counts" not in report()[1]
    assert report("--table", "counts")[1].startswith("Counts")


def test_a_page_and_figures_are_files_and_nothing_is_printed(report, tmp_path):
    code, out, _ = report(
        "--html", tmp_path / "page.html", "--figures", tmp_path / "drawn", "--figure-types", "svg,pdf"
    )
    assert (code, out) == (0, "")
    assert "<!doctype html>" in (tmp_path / "page.html").read_text(encoding="utf-8").lower()
    suffixes = {path.suffix for path in (tmp_path / "drawn").iterdir()}
    assert suffixes == {".svg", ".pdf", ".md"}
    assert report("--figures", tmp_path / "one", "--figure", "latency")[0] == 0
    assert {path.stem for path in (tmp_path / "one").iterdir()} == {"latency", "figures"}


def test_figures_follow_the_networks_chosen(report, tmp_path):
    report("--models", "resnet50", "--figures", tmp_path, "--figure", "latency", "--figure-types", "svg")
    drawn = (tmp_path / "figures.md").read_text(encoding="utf-8")
    assert "mini_xception" not in drawn


def test_the_same_results_given_twice_are_drawn_once(records, report):
    once = report("--table", "efficiency", "--format", "csv")[1]
    assert report(records, "--table", "efficiency", "--format", "csv")[1] == once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--paper", "999"], "--paper 999: there are tables of 000, 001"),
        (["--figures", "drawn", "--figure", "portrait"], "--figure portrait: there are"),
        (["--figure", "latency"], "--figures FOLDER says where"),
        (["--figures", "drawn", "--figure-types", "gif"], "no figure can be written as gif"),
        (["--figures", "drawn", "--figure-types", ","], "',' has no value"),
        (["--format", "json", "--html", "page.html"], "--format is of tables"),
        (["--out", "drawn", "--format", "csv"], "--out writes markdown, latex, csv, json"),
        (["--html", "missing/page.html"], "cannot write missing/page.html"),
    ],
)
def test_options_that_cannot_go_together_are_reported(report, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = report(*options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_why_reports_where_a_cell_comes_from(records, capsys):
    assert main(["why", "efficiency", "resnet50", "MACs", "--from", records]) == 0
    told = capsys.readouterr().out
    assert " ".join(told.split()).startswith(f"results file {records}")  # long paths are wrapped
    assert "macs" in told
    assert main(["why", "efficiency", "resnet51", "MACs", "--from", records]) == 1
    assert "resnet50" in capsys.readouterr().err
