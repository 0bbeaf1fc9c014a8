"""Rows as CSV: raw values in base units, so that a spreadsheet or a script can go on with them.

A text is the text, as pandas writes it, with U+FFFD for what a terminal would obey. One that begins with ``= + - @``
stays as it is, too: an apostrophe before it would be part of the name for everything that reads data.
Only a spreadsheet takes it for a formula; with records of others import its column as text.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from fer_bench.records import output
from fer_bench.records.result import Json
from fer_bench.reporting.table import Table


def to_csv(table: Table) -> str:
    """Write a table's raw values under their keys, and what a reader must know of a row under "notes"."""
    rows = [{column.key: row.get(column.key) for column in table.columns} for row in table.rows]
    if any(table.notes):
        rows = [row | {"notes": "; ".join(notes) or None} for row, notes in zip(rows, table.notes, strict=True)]
    return rows_to_csv(rows, [column.key for column in table.columns])


def rows_to_csv(rows: Iterable[Mapping[str, Json]], first: Sequence[str] = ()) -> str:
    """Write JSON objects as rows: fields of objects get dotted names, lists and free mappings stay JSON.

    Columns are the keys of all rows as they come, after those that are named to be the first.
    """
    flat = [_flat(row) for row in rows]
    fields = list(dict.fromkeys([*first, *(key for row in flat for key in row)]))
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return output.printable(out.getvalue(), lines=True)


# Objects whose fields are the same in every row; others, as calls by operator, would make a column of each operator.
_RECORDS = ("parameters", "layers", "training")


def _flat(row: Mapping[str, Json]) -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, value in row.items():
        if key in _RECORDS and isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": _plain(part) for inner, part in value.items()}
        else:
            flat[key] = _plain(value)
    return flat


def _plain(value: Json) -> Json:
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value)
    return value
