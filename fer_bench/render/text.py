"""A Table for a terminal.

Written by hand, unlike the other formats: `fer-bench list` must answer at once, and importing a library for six lines
of padding takes as long as the rest of it.
"""

import shutil
import textwrap

from fer_bench.tables import Table

_WIDEST_NOTE = 120


def to_text(table: Table) -> str:
    """Write title, table, caption and footnotes as plain text.

    A table is as wide as it must be: a terminal may wrap a line, but a cell that is cut off would be a wrong number.
    """
    lines = [[column.heading for column in table.columns], *table.cells()]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [
        "  ".join(
            cell.ljust(width) if column.align == "left" else cell.rjust(width)
            for cell, width, column in zip(cells, widths, table.columns, strict=True)
        ).rstrip()
        for cells in lines
    ]
    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST_NOTE)
    notes = [textwrap.fill(text, width) for text in (table.caption, *table.footnotes) if text]
    return "\n".join([table.title, "", *padded, "", *notes]).rstrip() + "\n"
