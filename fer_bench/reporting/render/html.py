"""A Table as a fragment of HTML, for a page to hold: no style, no script, and every text escaped."""

import json
import re

from fer_bench.records import output
from fer_bench.records.result import Json
from fer_bench.reporting.table import Table, is_missing

# `data-value` has what is to be sorted by.
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
{%- for row, numbers in rows %}
{%- set place = loop.index0 %}
<tr>
{%- for column in table.columns %}
{%- set label = loop.index0 == table.label_place %}
{%- set tag = "th" if label else "td" %}
{%- set value = raw(row.get(column.key)) %}
{%- set mark = {"best": "strong", "second": "em"}.get(table.mark(place, column)) %}
<{{ tag }}{% if label %} scope="row"{% endif %} class="{{ column.align }}"\
{% if value %} data-value="{{ value }}"{% endif %}>
{%- if mark %}<{{ mark }}>{{ column.text(row) }}</{{ mark }}>{% else %}{{ column.text(row) }}{% endif %}
{%- if label and numbers %}<sup>
{%- for number in numbers %}{{ "," if not loop.first }}<a href="#{{ anchor }}-note-{{ number }}">{{ number }}</a>
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


def to_html(table: Table) -> str:
    """Write a table with caption, headings of columns and rows, raw values in ``data-value``, and its notes as a list.

    Ids begin with ``table-NAME``, so that fragments with different names can stand on one page.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    fragment = environment.from_string(_FRAGMENT).render(
        table=table,
        anchor=anchor(table),
        legend=table.legend("bold", "italic"),
        rows=list(zip(table.rows, table.note_numbers(), strict=True)),
        raw=_raw,
    )
    return output.printable(fragment, lines=True)


def anchor(table: Table) -> str:
    """Return the id that a table has on a page."""
    return "table-" + re.sub(r"[^a-z0-9_]+", "-", (table.name or table.title).lower()).strip("-")


def _raw(value: Json) -> str:
    """Write a raw value for a script: a text as it is, all else as JSON; nothing where nothing is known."""
    if is_missing(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value)
