"""A Table as Markdown."""

import re
from collections.abc import Mapping

from fer_bench.records import output
from fer_bench.reporting.table import Mark, Table

_SPECIAL = str.maketrans({"<": "&lt;", "&": "&amp;"})
# A backslash before what means something: a dollar is GitHub's for formulas; an underscore beside a letter on one side
# only, a bracket before a link's address. Those of names and of notes mean nothing, and stay readable.
_MEANT = re.compile(r"[\\|*`~$]|(?<![^\W_])_|_(?![^\W_])|(?<=])\(")
_MARKS: Mapping[Mark | None, str] = {"best": "**", "second": "_", None: ""}


def escape(text: str) -> str:
    """Make plain text safe in Markdown, in one line and without control characters."""
    return _MEANT.sub(r"\\\g<0>", output.printable(text)).translate(_SPECIAL)


def to_markdown(table: Table) -> str:
    """Write title, table, caption and footnotes as GitHub-flavoured Markdown; the best bold, the second best italic."""
    from tabulate import tabulate

    cells = [
        [_marked(escape(cell), table.mark(place, column)) for cell, column in zip(row, table.columns, strict=True)]
        for place, row in enumerate(table.cells())
    ]
    body = tabulate(
        cells,
        headers=[escape(column.heading) for column in table.columns],
        tablefmt="pipe",
        colalign=[column.align for column in table.columns] if cells else None,
        disable_numparse=True,
    )
    notes = "\n".join(f"- {escape(note)}" for note in table.footnotes)
    parts = (f"## {escape(table.title)}", body, escape(table.caption), escape(table.legend("bold", "italic")), notes)
    return "\n\n".join(filter(None, parts)) + "\n"


def _marked(text: str, mark: Mark | None) -> str:
    return f"{_MARKS[mark]}{text}{_MARKS[mark]}"
