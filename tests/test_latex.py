"""Tables as LaTeX: what compiles, and what a reader of the page would see."""

import dataclasses
import re
from pathlib import Path

import pytest

from fer_bench.accuracy.effects import Disturbed, Effect, Robustness, Sensitivity
from fer_bench.networks.registry import Registry, built_in
from fer_bench.records import exchange, units
from fer_bench.reporting import arrange
from fer_bench.reporting import tables as report
from fer_bench.reporting.render import FORMATS
from fer_bench.reporting.render.latex import to_latex
from fer_bench.reporting.render.latex_text import breakable, escape
from fer_bench.reporting.render.text import to_text
from fer_bench.reporting.table import Column, Table
from support import tex
from support.samples import GOOD, LABELS, POOR, TABLE

REPORTS = Path(__file__).parent.parent / "reports"
NAME = Column("name", "Network", align="left")


def body(table):
    """The rows between the rules of a table's only panel, each as its cells."""
    rows = to_latex(table).split("\\midrule\n")[1].split("\\bottomrule")[0]
    return [row.split(" & ") for row in rows.replace("\n", "").split(" \\\\") if row]


def numbers(*values, write=units.scaled, **more):
    rows = tuple({"name": str(n), "value": value} for n, value in enumerate(values))
    return Table("t", (NAME, Column("value", "MACs", write, **more)), rows)


@pytest.mark.parametrize("character", list('\\{}&%$#_~^<>"[]`|*'))
def test_no_special_character_reaches_latex_as_it_is(character):
    assert escape(character) != character


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("é", r"\'{e}"),
        ("e\u0301", r"\'{e}"),  # the same letter, as two characters
        ("ǖ", r"\={\"{u}}"),
        ("µ", r"\textmu{}"),
        ("中", "{[}U+4E2D{]}"),
        ("a\x1b[2Jb", "a{[}U+FFFD{]}{[}2Jb"),
        ("--''", "-{}-'{}'"),
    ],
)
def test_letters_that_fonts_lack_are_named_and_none_are_joined(text, written):
    assert escape(text) == written


def test_a_long_word_can_be_broken_and_a_short_one_is_not():
    assert breakable("four abcdefgh_ij", 4) == r"four abcd\allowbreak{}efgh\allowbreak{}\_\allowbreak{}ij"
    assert breakable("a b", 4) == "a b"


def test_a_column_of_counts_has_one_prefix_in_its_heading():
    counts = numbers(215_000_000, 4_093_539_446, 5_520_000, None)
    assert "{MACs (M)}" in to_latex(counts)
    assert "S[table-format=4.2]" in to_latex(counts)
    assert [row[1] for row in body(counts)] == ["215", "4094", "5.52", "{--}"]


def test_a_printed_count_gets_no_digits_that_were_not_printed():
    rows = ({"name": "printed", "macs": 4_140_000_000, "share": 0.003}, {"name": "ours", "macs": 5_520_000})
    table = Table("t", (NAME, Column("macs", "MACs", units.scaled, tolerance="share")), rows)
    assert [row[1] for row in body(table)] == ["4.14", "0.00552"]


def test_notes_stand_with_the_name_wherever_that_is():
    rows = ({"name": "a", "macs": 4_000_000},)
    table = Table("t", (NAME, Column("macs", "MACs", units.scaled)), rows, notes=(("odd",),))
    (turned,) = arrange.choose_columns({"t": table}, "macs,name").values()
    assert body(turned) == [["4.00", r"a\textsuperscript{1}"]]
    assert turned.cells() == [["4.00 M", "a [1]"]]


def test_letters_that_fonts_lack_are_as_wide_as_their_names():
    rows = ({"name": "人脸表情识别网络", "text": "表" * 40, "printed": "情" * 40},)
    columns = (NAME, Column("text", "Text", align="left"), Column("printed", "Printed"))
    written = to_latex(Table("t", columns, rows))
    assert written.count(r"\raggedright\arraybackslash}p{") == 2
    assert written.count(r"\raggedleft\arraybackslash}p{") == 1
    assert r"{[}U+8868{]}\allowbreak{}{[}U+8868{]}" in written


def test_columns_of_one_quantity_share_their_prefix():
    columns = (NAME, Column("macs", "MACs", units.scaled), Column("flops", "FLOPs", units.scaled))
    written = to_latex(Table("t", columns, ({"name": "a", "macs": 800_000_000, "flops": 1_600_000_000},)))
    assert re.findall(r"(MACs|FLOPs)\\\\\((.)\)", written) == [("MACs", "G"), ("FLOPs", "G")]


def test_a_sign_goes_into_the_heading():
    table = numbers(0.5, write=units.percent)
    assert r"MACs\\(\%)" in to_latex(table)
    assert body(table)[0][1] == "50.0"


def test_digits_that_are_a_name_are_no_number():
    assert "S[" not in to_latex(numbers("001", "004", write=str))


def test_the_best_is_bold_and_an_underlined_second_stays_in_line():
    marked = arrange.mark_best(numbers(1234, 5, 12345.5, write=units.grouped, better="lower"))
    assert [row[1] for row in body(marked)] == [
        r"{\phantom{0}\underline{1{,}234}\phantom{.0}}".replace("phantom{0}", "phantom{9}"),
        r"\bfseries 5",
        "12345.5",
    ]


def test_notes_are_raised_and_a_run_of_them_is_a_range():
    rows = tuple({"name": name} for name in "ab")
    table = Table("t", (NAME,), rows, notes=(("one", "two", "three", "four"), ("one", "three", "four")))
    assert [row[0] for row in body(table)] == [r"a\textsuperscript{1--4}", r"b\textsuperscript{1,3,4}"]
    assert to_latex(table).count("hangindent") == 4


def test_a_table_that_is_too_wide_goes_on_with_its_first_column():
    columns = (NAME, *(Column(f"k{n}", f"Heading {n}", units.grouped) for n in range(20)))
    written = to_latex(Table("t", columns, ({"name": "only"} | {f"k{n}": 10**9 for n in range(20)},)))
    panels = written.count("\\begin{tabular}")
    assert panels > 1
    assert written.count("only") == panels
    assert written.count("1000000000") == 20


def test_columns_that_name_the_rows_together_stand_in_each_panel():
    columns = (NAME, Column("class", "Class", align="left"), *(Column(f"k{n}", f"Heading {n}") for n in range(20)))
    row = {"name": "net"} | {f"k{n}": 10**9 for n in range(20)}
    table = Table("t", columns, ({**row, "class": "happy"}, {**row, "class": "sad"}), named=2)
    for written in (to_latex(table), to_text(table, 60)):
        panels = written.count("Network")
        assert panels > 1
        assert [written.count(text) for text in ("net", "happy", "sad")] == [2 * panels, panels, panels]
        assert written.count("1000000000") == 40


@pytest.mark.latex
def test_tables_of_measured_accuracies_compile_to_what_fits(tmp_path, evaluated):
    tex.need_latex()
    effects = tuple(Effect("values", f"FER2013's mean 0.507, std {n}", same=90, hits=70) for n in range(28))
    tried = Sensitivity(100, 100, 80, 0.8, (*effects, Effect("size", "48x48", failed="images of 48x48 " * 5)))
    settings = ("10% of the width at each side", "sigma 8 levels")
    disturbed = tuple(
        Disturbed(f"{name} covered", strength, settings[strength % 2], {"happy": 40, "sad": 30, "fear": strength})
        for name in ("left", "right", "chin")
        for strength in range(1, 6)
    )
    robust = Robustness({"happy": 50, "sad": 40, "fear": 10}, {"happy": 45, "sad": 30, "fear": 5}, disturbed)
    persons = {"person": tuple(f"p_{n // 10}" for n in range(100))}
    results = [
        evaluated(name, LABELS, said, weights="emotion_model.hdf5 (sha256 00)", groups=persons, group_by="person", **of)
        for name, said, of in (("good", GOOD, {}), ("poor", POOR, {}), ("drawn_1", GOOD, {"rendered": True}))
    ]
    more = (tried.measurement(), robust.measurement())
    results = [dataclasses.replace(one, measurements=(*one.measurements, *more)) for one in results]
    drawn = report.report(results, Registry())
    wanted = (
        "accuracy",
        "accuracy_pairs",
        "accuracy_groups",
        "accuracy_classes",
        "confusion",
        "sensitivity",
        "robustness",
    )
    assert {*wanted, "accuracy_rendered", "robustness_rendered"} <= drawn.keys()
    assert tex.complaints(tex.document("\n\\clearpage\n".join(map(to_latex, drawn.values()))), tmp_path) == []


def test_a_table_that_is_too_long_is_no_float():
    long = Table("Long", (NAME,), tuple({"name": str(n)} for n in range(200)), name="long")
    assert "\\begin{longtable}" in to_latex(long)
    assert "\\begin{table*}" not in to_latex(long)
    assert "\\begin{table*}" in to_latex(dataclasses.replace(long, rows=long.rows[:5]))
    assert to_latex(long).count("\\label{tab:long}") == 1


def hostile():
    """Tables of what is awkward: characters, long words, many columns, many rows, many notes, marks, nothing."""
    word = "a" * 90 + "_" + "b" * 90
    text = "中é\u2028\\end{table}%" * 9
    rows = tuple({"name": f"{n} {word}", "text": f"{n} {text}", "value": 10**n} for n in range(16))
    wide = tuple(Column("value", f"A heading of words {n} {{", units.scaled, better="lower") for n in range(30))
    names = tuple({"name": "人脸表情识别网络" * n, "text": "表情" * 20 * n, "value": n} for n in range(1, 5))
    texts = (NAME, Column("text", "Text", align="left"), Column("value", "Value", units.grouped, better="higher"))
    notes = tuple((f"Note {n} {word}", "\\input{/etc/passwd} " * 20) for n in range(16))
    yield TABLE
    yield arrange.mark_best(Table("wide & {long", (NAME, *wide), rows, "50 % " * 300, notes, name="w"))
    yield arrange.mark_best(Table("#1 texts", texts, rows * 8, "$x$", notes * 8, name="x"))
    yield Table("empty", texts, (), name="e")
    yield Table("網絡", (*texts, Column("text", "表情")), names, "表情" * 200, notes[:4], name="cjk")


@pytest.mark.latex
def test_hostile_tables_compile_and_nothing_sticks_out(tmp_path):
    tex.need_latex()
    tables = "\n\\clearpage\n".join(map(to_latex, hostile()))
    assert tex.complaints(tex.document(tables), tmp_path) == []


@pytest.mark.latex
@pytest.mark.parametrize("records", sorted(REPORTS.glob("*/results.json")), ids=lambda path: path.parent.name)
def test_committed_tables_compile_and_nothing_sticks_out(records, tmp_path):
    tex.need_latex()
    drawn = [arrange.mark_best(table) for table in report.report(exchange.read_file(records), built_in()).values()]
    assert tex.complaints(tex.document("\n\\clearpage\n".join(map(FORMATS["latex"], drawn))), tmp_path) == []


@pytest.mark.latex
def test_a_float_fits_a_narrower_text_in_two_columns(tmp_path):
    tex.need_latex()
    tables = [table for table in map(to_latex, hostile()) if "longtable}" not in table.split("\\begin", 1)[1]]
    source = tex.document("text\n\\clearpage\n".join(tables), margin="40mm", options="a4paper,10pt,twocolumn")
    assert tables
    assert tex.complaints(source, tmp_path) == []


@pytest.mark.latex
def test_the_log_is_read(tmp_path):
    tex.need_latex()
    found = tex.complaints(tex.document(r"\hbox to 3pt{\rule{9cm}{1pt}}\undefined"), tmp_path)
    assert any("Undefined control sequence" in line for line in found)
    wide = tex.complaints(tex.document(r"\noindent\mbox{\rule{30cm}{1pt}}"), tmp_path)
    assert any(line.startswith("Overfull") for line in wide)
