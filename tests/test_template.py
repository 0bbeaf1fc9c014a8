"""A user's own template: what it sees, how its texts are escaped, and what is said of its mistakes."""

import re

import pytest

from fer_bench.records import units
from fer_bench.records.errors import FerBenchError
from fer_bench.reporting import arrange
from fer_bench.reporting.render import template
from fer_bench.reporting.table import Column, Table

TABLES = {
    "t": arrange.mark_best(
        Table(
            "A title",
            (Column("name", "Network", align="left"), Column("macs", "MACs", units.scaled, better="lower")),
            ({"name": "a_<b>&*c*", "macs": 4_093_539_446}, {"name": "d", "macs": 5_000_000_000}),
            notes=(("Odd & new.",), ()),
            name="t",
        )
    )
}


@pytest.fixture
def fill(tmp_path):
    def filled(text, name="mine.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return template.fill(tmp_path / name, TABLES)

    return filled


def test_a_template_sees_texts_raw_values_marks_and_notes(fill):
    text = (
        "{% for row in tables.t.rows %}{{ row.cells.name.text }}={{ row.cells.macs.value // 10**9 }}"
        "/{{ row.cells.macs.text }}/{{ row.cells.macs.mark }}/{{ row.notes }}\n{% endfor %}{{ tables.t.notes[0] }}\n"
    )
    assert fill(text) == "a_<b>&*c*=4/4.09 G/best/(1,)\nd=5/5.00 G/None/()\nOdd & new.\n"


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("x.txt", "{{ tables.t.rows[0].cells.name.text }}", "a_<b>&*c*"),
        ("x.html", "{{ tables.t.rows[0].cells.name.text }}", "a_&lt;b&gt;&amp;*c*"),
        ("x.HTML.j2", "{{ tables.t.rows[0].cells.name.text }}", "a_&lt;b&gt;&amp;*c*"),
        ("x.md", "{{ tables.t.rows[0].cells.name.text }}", r"a\_&lt;b>&amp;\*c\*"),
        ("x.tex", "<< tables.t.rows[0].cells.name.text >>", r"a\_\textless{}b\textgreater{}\&{*}c{*}"),
        ("x.tex.jinja", "<<- tables.t.rows[0].cells.macs.text >> {%\n} {# #}", "4.09 {%\n} {# #}"),
        ("x.tex", "<< '$x$'|safe >><# a comment #>", "$x$"),
    ],
)
def test_the_suffix_says_how_texts_are_escaped(fill, name, text, written):
    assert fill(text, name) == written


def test_the_example_of_the_documentation_works(fill):
    example = re.search(r"``mine.tex``::\n\n(.*?)\n\n``fer-bench", template.__doc__, re.DOTALL)[1]
    written = fill(example.replace("tables.efficiency", "tables.t").replace("latency_s", "macs"), "mine.tex")
    assert "d & 5.0 G & 5.00 \\\\" in written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\n{{ tables.nothing.rows }}", r"mine.txt, line 2: UndefinedError: .*no attribute 'nothing'"),
        ("one\ntwo\n{% for %}", r"mine.txt, line 3: "),
        ("{{ 1 / 0 }}", r"line 1: ZeroDivisionError"),
        ("\n{{ tables.__class__.__mro__ }}", r"line 2: SecurityError"),
        ("{{ tables.clear() }}", r"line 1: SecurityError"),
        ("{% include '/etc/passwd' %}", r"line 1: TypeError: no loader"),
        ("{{ range(10**9)|list }}", r"line 1: OverflowError"),
    ],
)
def test_a_mistake_is_reported_with_its_line(fill, text, message):
    with pytest.raises(FerBenchError, match=message):
        fill(text)


def test_a_template_that_cannot_be_read_is_reported(tmp_path):
    with pytest.raises(FerBenchError, match=r"none.tex: No such file or directory; name a Jinja2 template"):
        template.fill(tmp_path / "none.tex", TABLES)
    (tmp_path / "x.tex").write_bytes(b"\xff")
    with pytest.raises(FerBenchError, match="not a text in UTF-8"):
        template.fill(tmp_path / "x.tex", TABLES)
