"""A Table as a fragment of HTML, for a page to hold: no style, no script, and every text escaped."""

import json
import re

from fer_bench.records import units
from fer_bench.records.result import Json
from fer_bench.reporting.table import Table, is_missing

# Cells are Markup already or escaped here; `data-value` has what is to be sorted by.
_FRAGMENT = """\
<table id="{{ anchor }}" class="fer-table">
<caption><strong>{{ table.title }}.</strong> {{ table.caption }} {{ legend }}</caption>
<thead>
<tr>
{%- for column in table.columns %}
<th scope="col" data-key="{{ column.key }}" data-unit="{{ column.unit }}" class="{{ column.align }}">\
{{ column.heading }}</th>
{%- endfor %}
</tr>
</thead>
<tbody>
{%- for row in rows %}
<tr>
{%- for cell in row.cells %}
{%- set tag = "th" if cell.label else "td" %}
<{{ tag }}{% if cell.label %} scope="row"{% endif %} class="{{ cell.column.align }}"\
{% if cell.raw %} data-value="{{ cell.raw }}"{% endif %}>
{%- if cell.mark %}<{{ tags[cell.mark] }}>{{ cell.text }}</{{ tags[cell.mark] }}>{% else %}{{ cell.text }}{% endif %}
{%- if cell.label and row.numbers %}<sup>
{%- for number in row.numbers %}{{ "," if not loop.first }}<a href="#{{ anchor }}-note-{{ number }}">{{ number }}</a>
{%- endfor %}</sup>
{%- endif %}</{{ tag }}>
{%- endfor %}
</tr>
{%- endfor %}
</tbody>
</table>
{%- if table.note_texts %}
<ol class="fer-notes">
{%- for text in table.note_texts %}
<li id="{{ anchor }}-note-{{ loop.index }}">{{ text }}</li>
{%- endfor %}
</ol>
{%- endif %}
"""
_TAGS = {"best": "strong", "second": "em"}


def to_html(table: Table) -> str:
    """Write a table with caption, headings of columns and rows, raw values in ``data-value``, and its notes as a list.

    Ids begin with ``table-NAME``, so that fragments with different names can stand on one page.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_FRAGMENT).render(
        table=table,
        anchor=anchor(table),
        legend=table.legend("bold", "italic"),
        rows=_rows(table),
        tags=_TAGS,
    )


def anchor(table: Table) -> str:
    """Give the id that a table has on a page."""
    return "table-" + re.sub(r"[^a-z0-9_]+", "-", (table.name or table.title).lower()).strip("-")


def _rows(table: Table) -> list[dict[str, Json]]:
    rows = []
    for place, (row, cells, numbers) in enumerate(zip(table.rows, table.written(), table.note_numbers(), strict=True)):
        drawn = [
            {
                "column": column,
                "text": text,
                "raw": _raw(row.get(column.key)),
                "mark": table.mark(place, column),
                "label": number == table.label_place,
            }
            for number, (column, text) in enumerate(zip(table.columns, cells, strict=True))
        ]
        rows.append({"cells": drawn, "numbers": numbers})
    return rows


def _raw(value: Json) -> str:
    """Write a raw value for a script: a text as it is, all else as JSON; nothing where nothing is known."""
    if is_missing(value):
        return ""
    return units.printable(value) if isinstance(value, str) else json.dumps(value)
