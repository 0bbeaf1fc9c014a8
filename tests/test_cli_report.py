"""What `fer-bench report` does with its options, and what it says of mistakes."""

import csv
import io
import json

import pytest

from fer_bench.cli import main


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
    assert report("--table", "latency", "--out", tmp_path / "a") == (0, "", "")
    assert report("--table", "latency", "--out", tmp_path / "b", "--format", "html") == (0, "", "")
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
def test_a_mistake_is_told_in_a_line_with_its_cure(report, options, message):
    code, out, err = report(*options)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_best_is_one_of_two_words(report):
    code, _, err = report("--best", "underlined")
    assert code == 2
    assert "none" in err
    assert "bold" in err
