"""A Table as JSON: raw values in base units, with caption, notes and marks."""

import json
from collections.abc import Mapping

from fer_bench.records import output
from fer_bench.records.result import Json
from fer_bench.reporting.table import Table, is_missing


def to_json(table: Table) -> str:
    """Write a table as one JSON object."""
    return output.printable_json(json.dumps(as_json(table), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def as_json(table: Table) -> dict[str, Json]:
    """Return a table as JSON can hold it.

    ``columns`` have key, heading and the unit of their raw values, "" for counts and shares; ``rows`` have the raw
    values by key, None for what is missing; ``notes`` has the texts of each row, ``marks`` what is marked, if
    anything, and ``marking`` what was left out of that comparison.
    """
    content: dict[str, Json] = {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "columns": [{"key": c.key, "heading": c.heading, "unit": c.unit} for c in table.columns],
        "rows": [{column.key: _finite(row.get(column.key)) for column in table.columns} for row in table.rows],
        "notes": [list(notes) for notes in table.notes or ((),) * len(table.rows)],
    }
    if any(table.marks):
        kept = {column.key for column in table.columns}
        content["marks"] = [{key: mark for key, mark in marks.items() if key in kept} for marks in table.marks]
        content["marking"] = list(table.marking)
    return content


def _finite(value: Json) -> Json:
    """Return None for what is not a number: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if is_missing(value) else value
