"""A Table for a terminal.

Written by hand, unlike the other formats: `fer-bench list` must answer at once, and importing a library for a page of
padding takes as long as the rest of it.
"""

import itertools
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from fer_bench.records import output
from fer_bench.reporting.render.layout import blocks
from fer_bench.reporting.table import Mark, Table

_GAP = "  "
_NARROWEST = 16  # columns that a text is folded to, to make a table fit
_NOTE_WIDTH = 100  # where there is no terminal to ask
_WIDEST_NOTE = 120  # longer lines are hard to read

# What stands behind a marked number.
_MARKS: Mapping[Mark | None, str] = {"best": "*", "second": "+", None: ""}


def to_text(table: Table, width: int | None = None) -> str:
    """Write title, table, caption and footnotes as plain text.

    No number is ever cut. A table that is too wide has its texts folded; one that is still too wide goes on below, with
    its first column repeated. Without a terminal each row is one line.

    Args:
        table: the table.
        width: columns of the terminal; 0 for no limit, None to ask the terminal.
    """
    width = terminal_width() if width is None else width
    rows = [[column.heading for column in table.columns]]
    for place, row in enumerate(table.cells()):
        rows.append([cell + _MARKS[table.mark(place, its)] for cell, its in zip(row, table.columns, strict=True)])
    cells = output.each_text(rows)
    folds = [column.align == "left" for column in table.columns]
    natural = [max(map(len, column)) for column in zip(*cells, strict=True)]
    drawn = []
    parts = list(blocks(_fold(natural, folds, width), len(_GAP), width, table.named))
    below = ", ".join(table.columns[place].heading for part in parts[1:] for place in part[table.named :])
    title = f"{table.title} ({below}: below)" if below else table.title
    for block in parts:
        left = [folds[place] for place in block]
        widths = _fold([natural[place] for place in block], left, width)
        drawn.append("\n".join(_draw([[row[place] for place in block] for row in cells], widths, left)))
    notes = [fill(text, width) for text in (table.caption, table.legend("*", "+"), *table.footnotes) if text]
    return "\n\n".join(filter(None, [fill(title, width) if title else "", *drawn, "\n".join(notes)])) + "\n"


def definitions(pairs: Iterable[tuple[str, str]], width: int | None = None) -> str:
    """Write headings and texts, a text folded beside its heading."""
    width = terminal_width() if width is None else width
    return "".join(fill(f"{heading:<12}{text}", width, indent=12) + "\n" for heading, text in pairs)


def terminal_width() -> int:
    """Return the width of the terminal in columns, or 0 where the output is not one."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(output.stdout().fileno()).columns
    except (OSError, ValueError):  # no terminal, or no file at all
        return 0


def fill(text: str, width: int, indent: int = 0) -> str:
    """Break a note into lines; words, which may be paths, stay whole."""
    return textwrap.fill(
        output.printable(text),
        min(width or _NOTE_WIDTH, _WIDEST_NOTE),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fold(widths: list[int], folds: Sequence[bool], limit: int) -> list[int]:
    """Narrow the widest texts, the first column aside, until the table fits or they are as narrow as may be."""
    widths = list(widths)
    texts = [place for place in range(1, len(widths)) if folds[place]]
    while limit and texts and sum(widths) + len(_GAP) * (len(widths) - 1) > limit:
        widest = max(texts, key=lambda place: widths[place])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _draw(cells: Sequence[Sequence[str]], widths: Sequence[int], folds: Sequence[bool]) -> list[str]:
    lines = []
    for number, row in enumerate(cells):
        folded = [textwrap.wrap(cell, widths[p]) if folds[p] else [cell] for p, cell in enumerate(row)]
        for parts in itertools.zip_longest(*folded, fillvalue=""):
            padded = [part.ljust(widths[p]) if folds[p] else part.rjust(widths[p]) for p, part in enumerate(parts)]
            lines.append(_GAP.join(padded).rstrip())
        if number == 0:
            lines.append(_GAP.join("-" * width for width in widths))
    return lines
