"""A Table as Markdown."""

from fer_bench.table import Table

_SPECIAL = str.maketrans({"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;", "&": "&amp;", "\n": " "})


def _escape(text: str) -> str:
    return text.translate(_SPECIAL)


def to_markdown(table: Table) -> str:
    """Write title, table, caption and footnotes as GitHub-flavoured Markdown."""
    from tabulate import tabulate

    cells = [[_escape(cell) for cell in row] for row in table.cells()]
    body = tabulate(
        cells,
        headers=[_escape(column.heading) for column in table.columns],
        tablefmt="pipe",
        colalign=[column.align for column in table.columns] if cells else None,
        disable_numparse=True,
    )
    parts = [f"## {_escape(table.title)}", body, _escape(table.caption), *(f"- {_escape(n)}" for n in table.footnotes)]
    text = "\n\n".join(filter(None, parts[:3]))
    notes = "\n".join(parts[3:])
    return f"{text}\n\n{notes}\n" if notes else f"{text}\n"
