"""Each format against a golden file: one small table with what is awkward in every format.

After a change that is meant, write them anew, ``FER_BENCH_GOLDEN=write pytest tests/test_render.py``.
Read the diff.
"""

import csv
import dataclasses
import io
import json
import os
from pathlib import Path

import pytest

from fer_bench.records import units
from fer_bench.records.errors import StoreError
from fer_bench.reporting.arrange import mark_best
from fer_bench.reporting.render import FORMATS, markdown, write_all
from fer_bench.reporting.render.csv import rows_to_csv
from fer_bench.reporting.render.text import definitions, to_text
from fer_bench.reporting.table import Column, Table
from support.samples import HOSTILE, TABLE

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"table": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_looks_as_it_did(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    written = FORMATS[name](TABLE)
    golden = GOLDEN / f"table.{SUFFIXES[name]}"
    if os.environ.get("FER_BENCH_GOLDEN") == "write":
        golden.write_text(written, encoding="utf-8")
    assert written == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_without_rows_has_its_headings(name):
    empty = Table("t", TABLE.columns, ())
    assert ("name" if name == "csv" else "Network") in FORMATS[name](empty)
    assert "Marks" not in FORMATS[name](empty)


def test_without_a_terminal_each_row_is_one_line():
    lines = to_text(TABLE, width=0).splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["Network", lines[3].split()[0], "plain", r"a_b\c{d}[e]"]
    assert lines[5].endswith("long name;")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_the_terminal_without_a_cut_number(width):
    columns = tuple(Column(f"n{i}", f"Heading {i}", units.grouped) for i in range(12))
    table = Table(
        "t", (Column("name", "Name", align="left"), *columns), ({"name": "x"} | {c.key: 10**9 for c in columns},)
    )
    text = to_text(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("1,000,000,000") == 12


def test_a_definition_is_folded_beside_its_heading():
    assert definitions([("note", "one two three")], width=20) == "note        one two\n            three\n"


def test_csv_has_raw_values_and_a_reader_gets_them_back():
    first, second = csv.DictReader(io.StringIO(FORMATS["csv"](TABLE)))
    assert (first["name"], first["macs"], first["latency_s"], first["notes"]) == (
        "plain",
        "4093539446",
        "0.0105",
        "First note.",
    )
    assert second["name"] == HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert second["macs"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@home", "a,b", 'a"b'])
def test_a_text_in_csv_is_that_text(text):
    (row,) = csv.DictReader(io.StringIO(rows_to_csv([{"name": text}])))
    assert row["name"] == text


def test_a_text_in_csv_has_no_control_characters():
    assert (
        rows_to_csv([{"name": "a\x1b[2J\r\nb\u202e"}])
        == 'name\n"a\N{REPLACEMENT CHARACTER}[2J \nb\N{REPLACEMENT CHARACTER}"\n'
    )


def test_objects_become_dotted_names_and_lists_stay_json():
    rows = [{"name": "n", "parameters": {"trainable": 3}, "input_shape": [1, 2], "uncounted": {"a": 1}}, {"name": "m"}]
    assert rows_to_csv(rows) == 'name,parameters.trainable,input_shape,uncounted\nn,3,"[1, 2]","{""a"": 1}"\nm,,,\n'


def test_json_has_raw_values_with_their_units_and_notes():
    told = json.loads(FORMATS["json"](TABLE))
    assert [column["unit"] for column in told["columns"]] == ["", "", "s", ""]
    assert told["rows"][0] == {"name": "plain", "macs": 4_093_539_446, "latency_s": 0.0105, "where": "Table 2"}
    assert told["rows"][1]["macs"] is None
    assert told["notes"] == [["First note."], ["First note.", "Second | note_2."]]
    assert "marks" not in told


@pytest.mark.parametrize("name", FORMATS)
def test_a_number_that_is_none_is_missing_in_every_format(name):
    of = [Table("t", TABLE.columns, ({"name": "n", "latency_s": value},)) for value in (float("nan"), None)]
    assert name == "csv" or FORMATS[name](of[0]) == FORMATS[name](of[1])


@pytest.mark.parametrize(
    ("name", "best", "second"),
    [
        ("table", "1.00 k*", "2.00 k+"),
        ("markdown", "**1.00 k**", "_2.00 k_"),
        ("html", "<strong>1.00 k</strong>", "<em>2.00 k</em>"),
        ("latex", r"\bfseries 1.00", r"\underline{2.00}"),
    ],
)
def test_marks_are_seen_and_explained(name, best, second):
    rows = tuple({"name": str(n), "macs": 1000 * n} for n in (1, 2, 3))
    columns = (TABLE.columns[0], dataclasses.replace(TABLE.columns[1], better="lower"))
    written = FORMATS[name](mark_best(Table("t", columns, rows)))
    assert best in written
    assert second in written
    assert "Marks: best: " in written


def test_a_link_or_emphasis_in_a_text_stays_text_in_markdown():
    written = markdown.escape("__init__ a_b [x](javascript:y) ![z](w) ~~s~~ <b>")
    assert markdown.escape("$x^2$") == r"\$x^2\$"  # GitHub's formulas
    assert written == r"\_\_init\_\_ a_b [x]\(javascript:y) ![z]\(w) \~\~s\~\~ &lt;b>"


def test_a_latency_has_the_digits_that_its_interval_supports():
    column = Column("t", "ms", units.milliseconds, interval="ends", tolerance="share")
    interval = Column("ends", "95 %", units.milliseconds.between)

    def written(half, share=None):
        row = {"t": 0.0102345, "ends": half and (0.0102345 - half, 0.0102345 + half), "share": share}
        return column.text(row), interval.text(row)

    assert written(0.0003) == ("10.2", "9.9–10.5")
    assert written(0.00003) == ("10.23", "10.20–10.26")
    assert written(0.004) == ("10", "6–14")
    assert written(0.02) == ("10", "-10–30")  # the order of magnitude stays
    assert written(None) == ("10.2", "–")
    assert written(None, share=0.1) == ("10", "–")
    assert written(None, share=0.0001) == ("10.2", "–")  # three digits at most without an interval


def test_every_format_of_a_file_is_written(tmp_path):
    write_all(tmp_path / "deep", {"stem": TABLE})
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        f"stem.{suffix}" for suffix in ("csv", "json", "md", "tex")
    ]
    write_all(tmp_path, {"stem": TABLE}, ["html"])
    assert (tmp_path / "stem.html").read_text() == FORMATS["html"](TABLE)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        write_all(tmp_path / "file", {"stem": TABLE})
