"""Tables as HTML: what a parser of HTML reads back, and what no text can become."""

from html.parser import HTMLParser

import pytest

from fer_bench.records import units
from fer_bench.reporting import arrange
from fer_bench.reporting.render.html import anchor, to_html
from fer_bench.reporting.table import Column, Table

HOSTILE = """</td><script>alert(1)</script><img src=x onerror="alert(2)">'"&"""
COLUMNS = (
    Column("name", "Network", align="left"),
    Column("macs", "MACs", units.scaled, better="lower"),
    Column("input_shape", "Input"),
)


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text inside cells."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def table(**more):
    rows = (
        {"name": "a", "macs": 4_093_539_446, "input_shape": [3, 8, 8]},
        {"name": "b", "macs": 5_000_000_000},
        {"name": HOSTILE, "macs": 6_000_000_000},
    )
    return Table("A title", COLUMNS, rows, "A caption.", (("One.",), (), ("One.", "Two.")), name="efficiency", **more)


def test_cells_have_their_texts_and_raw_values():
    read = Reader(to_html(table()))
    assert read.cells[:9] == ["Network", "MACs", "Input", "a1", "4.09 G", "[3, 8, 8]", "b", "5.00 G", "–"]
    assert [cell.get("data-value") for cell in read.named("td")][:4] == ["4093539446", "[3, 8, 8]", "5000000000", None]
    assert [cell["data-value"] for cell in read.named("th") if cell["scope"] == "row"] == ["a", "b", HOSTILE]


def test_headings_are_headings_with_their_keys():
    read = Reader(to_html(table()))
    columns = [cell for cell in read.named("th") if cell["scope"] == "col"]
    assert [cell["data-key"] for cell in columns] == ["name", "macs", "input_shape"]
    assert len(read.named("caption")) == 1


def test_a_number_leads_to_its_note():
    read = Reader(to_html(table()))
    notes = [item["id"] for item in read.named("li")]
    assert notes == ["table-efficiency-note-1", "table-efficiency-note-2"]
    assert [link["href"] for link in read.named("a")] == ["#" + notes[0], "#" + notes[0], "#" + notes[1]]


@pytest.mark.parametrize("place", ["title", "caption", "name", "note", "heading", "key", "cell"])
def test_no_text_becomes_markup(place):
    key = HOSTILE if place == "key" else "k"
    heading = HOSTILE if place == "heading" else "h"
    told = {what: HOSTILE if place == what else "x" for what in ("title", "caption", "name")}
    note, cell = (HOSTILE if place == what else "x" for what in ("note", "cell"))
    html = to_html(Table(columns=(Column(key, heading),), rows=({key: cell},), notes=((note,),), **told))
    known = {"table", "caption", "strong", "thead", "tbody", "tr", "th", "td", "sup", "a", "ol", "li"}
    read = Reader(html)
    assert {tag for tag, _ in read.tags} <= known
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)


def test_the_best_is_strong_and_the_second_best_emphasised():
    html = to_html(arrange.mark_best(table()))
    assert "<strong>4.09 G</strong>" in html
    assert "<em>5.00 G</em>" in html
    assert "best: bold, second: italic" in html


def test_an_anchor_has_nothing_that_an_address_would_encode():
    assert anchor(Table('x "y" <z>', (), ())) == "table-x-y-z"
