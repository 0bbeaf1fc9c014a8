"""A Table as LaTeX for a paper: figures aligned at the decimal point, wide tables in panels, long ones over pages."""

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fer_bench.reporting.render.latex_text import breakable, escape, spelt
from fer_bench.reporting.render.layout import blocks
from fer_bench.reporting.table import MISSING, Mark, Table, with_units_in_headings

PACKAGES = ("array", "booktabs", "longtable", "makecell", "siunitx", "adjustbox")

_NEEDS = (
    f"% needs \\usepackage{{{','.join(PACKAGES)}}} and \\usepackage[T1]{{fontenc}}\n"
    "% for a text 16 cm wide; a floating table is scaled down to a narrower one\n"
)
_NEEDS_ONE_COLUMN = "% over several pages, for which a two-column document needs \\onecolumn before it\n"

# Sizes in points, of the type \footnotesize, in which a table is set.
_TEXT_WIDTH = 455.0  # 16 cm
_CHARACTER = 4.5  # mean width; a digit has 4.25
_GAP = 8.0  # between columns
_TEXTS = range(60, 20, -2)  # characters at which a longer text is folded: the first that fits the page
_PANEL_TEXT = 30  # likewise where none fits, and panels are needed anyway
_NAME_WIDTH = 34  # likewise of the first column
_PAGE_HEIGHT = 620.0  # what is higher is not floated
_RAISED = 0.7  # width of a raised character
_LINE, _NOTE_LINE = 10.0, 8.0  # heights
_CAPTION_CHARACTERS, _NOTE_CHARACTERS = 105, 130  # of a line
_LONG_WORD = 40  # characters that no line needs to hold together
_RULES = 60.0  # height of a panel's heading, rules and distance

_NUMBER = re.compile(r"-?(0|[1-9]\d*|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?")
_SHAPE = re.compile(r"\d+(x\d+)+")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as it is set: its specification, heading and cells in LaTeX, its width in points, lines of each cell."""

    specification: str
    heading: str
    cells: tuple[str, ...]
    width: float
    lines: tuple[int, ...]


def to_latex(table: Table) -> str:
    """Write a table with booktabs rules and siunitx columns, to be referred to as ``tab:NAME``.

    A column of counts has one decimal prefix, in its heading, that adds no digit to what is known. A table wider than
    the text goes on in a second panel, with the columns repeated that name its rows. What does not fit a page is no
    float, but a ``longtable`` followed by its notes.
    """
    columns = _fitting(with_units_in_headings(table))
    shares = blocks([column.width for column in columns], _GAP, _TEXT_WIDTH, table.named)
    panels = [[columns[place] for place in block] for block in shares]
    notes = "".join(
        f"\\par\\noindent\\hangindent=1.2em\\textsuperscript{{{number}}}~{breakable(text, _LONG_WORD)}\n"
        for number, text in enumerate(table.note_texts, start=1)
    )
    notes = f"{{\\scriptsize\\raggedright\n{notes}\\par}}\n" if notes else ""
    write = _long if _height(table, panels) > _PAGE_HEIGHT else _floating
    return write(table, panels, notes)


def _floating(table: Table, panels: Sequence[Sequence[_Column]], notes: str) -> str:
    boxes = [f"{{max width=\\textwidth}}\n{_body(panel, 'tabular')}" for panel in panels]
    bodies = "\n\\par\\medskip\n".join(f"\\begin{{adjustbox}}{box}\\end{{adjustbox}}" for box in boxes)
    return (
        f"{_NEEDS}\\begin{{table*}}[tbp]\n\\centering\\footnotesize\n{_SETUP}"
        "\\setlength{\\belowcaptionskip}{4pt}\n"  # most classes leave none, for captions below
        f"\\caption[{escape(table.title)}]{{{_caption(table)}}}\n\\label{{tab:{_label(table)}}}\n{bodies}\n"
        + (f"\\par\\smallskip\n{notes}" if notes else "")
        + "\\end{table*}\n"
    )


def _long(table: Table, panels: Sequence[Sequence[_Column]], notes: str) -> str:
    """Write tables that break over pages; each counts itself, so that a further panel counts back."""
    caption = f"\\caption[{escape(table.title)}]{{{_caption(table)}}}\\label{{tab:{_label(table)}}}\\\\\n"
    again = f"\\caption[]{{{escape(table.title)} (continued)}}\\\\\n"
    bodies = [_body(panels[0], "longtable", caption, again)]
    bodies += ["\\addtocounter{table}{-1}\n" + _body(panel, "longtable", again, again) for panel in panels[1:]]
    return (
        f"{_NEEDS}{_NEEDS_ONE_COLUMN}\\begingroup\n\\footnotesize\n{_SETUP}"
        f"\\setlength{{\\LTcapwidth}}{{\\textwidth}}\n{''.join(bodies)}{notes}\\endgroup\n"
    )


_SETUP = (
    f"\\setlength{{\\tabcolsep}}{{{_GAP / 2:g}pt}}\n"
    "\\sisetup{detect-weight=true,mode=text,group-digits=integer,group-separator={,},group-minimum-digits=4}\n"
)


def _body(panel: Sequence[_Column], environment: str, caption: str = "", again: str = "") -> str:
    """Write the rows of a panel between their rules; a long one with captions of its first and of further pages."""
    specification = "".join(f"\n  {column.specification}" for column in panel)
    heading = " &\n  ".join(column.heading for column in panel)
    head = f"\\toprule\n{heading} \\\\\n\\midrule\n"
    if caption:
        head = f"{caption}{head}\\endfirsthead\n{again}{head}\\endhead\n\\bottomrule\n\\endlastfoot\n"
    rows = "".join(f"{' & '.join(cells)} \\\\\n" for cells in zip(*(column.cells for column in panel), strict=True))
    end = "" if caption else "\\bottomrule\n"
    return f"\\begin{{{environment}}}{{@{{}}{specification}@{{}}}}\n{head}{rows}{end}\\end{{{environment}}}\n"


def _caption(table: Table) -> str:
    texts = (f"{table.title}.", table.caption, table.legend("bold", "underlined"))
    return breakable(" ".join(filter(None, texts)), _LONG_WORD)


def _label(table: Table) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", (table.name or table.title).lower()).strip("-")


def _height(table: Table, panels: Sequence[Sequence[_Column]]) -> float:
    """Estimate the points that a table takes with its caption and notes."""
    rows: int = sum(max(lines) for panel in panels for lines in zip(*(column.lines for column in panel), strict=True))
    caption = len(spelt(table.title + table.caption)) // _CAPTION_CHARACTERS + 1
    notes = sum(len(spelt(text)) // _NOTE_CHARACTERS + 1 for text in table.note_texts)
    return _LINE * (rows + caption) + _RULES * len(panels) + _NOTE_LINE * notes


def _fitting(table: Table) -> list[_Column]:
    """Set the columns with texts as wide as the page allows, or for panels."""
    for widest in _TEXTS:
        columns = _columns(table, widest)
        if sum(column.width + _GAP for column in columns) - _GAP <= _TEXT_WIDTH:
            return columns
    return _columns(table, _PANEL_TEXT)


def _columns(table: Table, widest: int) -> list[_Column]:
    rows = table.written()
    columns = []
    for place, column in enumerate(table.columns):
        cells = [spelt(row[place]) for row in rows]  # as wide as they are to be seen
        marks = [table.mark(row, column) for row in range(len(cells))]
        heading, present = spelt(column.heading), [cell for cell in cells if cell != MISSING]
        if place == table.label_place:
            columns.append(_text(heading, cells, _NAME_WIDTH, marks, table.note_numbers()))
        elif column.align == "left":
            columns.append(_text(heading, cells, widest, marks))
        elif present and all(map(_NUMBER.fullmatch, present)):
            columns.append(_numbers(heading, cells, marks))
        elif max(map(len, cells), default=0) > widest:  # of a user's sheet
            columns.append(_text(heading, cells, widest, marks, side="left"))
        else:
            columns.append(_right(heading, cells, marks))
    return columns


def _text(
    heading: str,
    cells: Sequence[str],
    most: int,
    marks: Sequence[Mark | None],
    notes: Sequence[Sequence[int]] = (),
    side: Literal["left", "right"] = "right",
) -> _Column:
    """Set texts; where one is long, in a paragraph as wide as is allowed, ragged at a side.

    Numbers of notes are raised.
    """
    raised = [_ranges(numbers) for numbers in notes] or [""] * len(cells)
    lengths = [len(cell) + _RAISED * len(numbers) for cell, numbers in zip(cells, raised, strict=True)]
    longest = max([len(heading) if not cells else 0, *lengths])
    width = _CHARACTER * max(min(longest, most), _heading_width(heading, 0))
    if folded := longest > most:
        specification = f">{{\\ragged{side}\\arraybackslash}}p{{{width:.0f}pt}}"
        texts = [breakable(cell, most // 2) for cell in cells]
    else:
        specification, texts = "l", [escape(cell) for cell in cells]
    set_cells = [
        _marked(text, mark) + (f"\\textsuperscript{{{numbers}}}" if numbers else "")
        for text, mark, numbers in zip(texts, marks, raised, strict=True)
    ]
    lines = tuple(int(length // most) + 1 if folded else 1 for length in lengths)
    return _Column(specification, _heading(heading, int(width / _CHARACTER), "l"), tuple(set_cells), width, lines)


def _ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers, three and more in a row as a range: "1,7--9"."""
    # What numbers in a row have in common is their distance from their places.
    grouped = itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in run] for _, run in grouped]
    texts = (f"{run[0]}--{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
    return ",".join(texts)


def _right(heading: str, cells: Sequence[str], marks: Sequence[Mark | None]) -> _Column:
    """Set what is no plain number: intervals, shapes, figures with the unit of a paper."""
    texts = [cell.replace("x", "\\texttimes{}") if _SHAPE.fullmatch(cell) else escape(cell) for cell in cells]
    set_cells = tuple(_marked(text, mark) for text, mark in zip(texts, marks, strict=True))
    wide = max(map(len, cells), default=0)
    width = _CHARACTER * max(wide, _heading_width(heading, wide))
    return _Column("r", _heading(heading, wide, "r"), set_cells, width, (1,) * len(cells))


def _numbers(heading: str, cells: Sequence[str], marks: Sequence[Mark | None]) -> _Column:
    """Set numbers aligned at the decimal point."""
    parts = [cell.replace(",", "").partition(".") for cell in cells if cell != MISSING]
    whole, decimals = max(len(part[0]) for part in parts), max(len(part[2]) for part in parts)
    set_cells = tuple(_number(cell, mark, whole, decimals) for cell, mark in zip(cells, marks, strict=True))
    wide = whole + (whole - 1) // 3 + (decimals + 1 if decimals else 0)
    width = _CHARACTER * max(wide, _heading_width(heading, wide))
    specification = f"S[table-format={whole}{f'.{decimals}' if decimals else ''}]"
    return _Column(specification, f"{{{_heading(heading, wide, 'c')}}}", set_cells, width, (1,) * len(cells))


def _number(cell: str, mark: Mark | None, most_whole: int, most_decimals: int) -> str:
    """Set one number. An underlined one is none for siunitx: phantoms beside it keep its decimal point in line."""
    if cell == MISSING:
        return "{--}"
    if mark != "second":
        return ("\\bfseries " if mark else "") + cell.replace(",", "")
    whole, point, decimals = cell.replace(",", "").partition(".")
    before = f"{10**most_whole - 1:,}"[: -len(f"{int(whole):,}")]
    after = ("" if point or not most_decimals else ".") + "0" * (most_decimals - len(decimals))
    text = f"{int(whole):,}{point}{decimals}"
    before, text = before.replace(",", "{,}"), text.replace(",", "{,}")  # as siunitx: no space follows the comma
    return f"{{\\phantom{{{before}}}\\underline{{{text}}}\\phantom{{{after}}}}}"


def _marked(text: str, mark: Mark | None) -> str:
    return {"best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}"}[mark] if mark else text


def _heading_lines(heading: str, wide: int) -> list[str]:
    """Break a heading into lines that are not wider than the cells or a word, by more than two characters."""
    longest = max(map(len, heading.split()), default=1)
    return textwrap.wrap(heading, max(wide, longest) + 2, break_long_words=False, break_on_hyphens=False) or [""]


def _heading_width(heading: str, wide: int) -> int:
    return max(map(len, _heading_lines(heading, wide)))


def _heading(heading: str, wide: int, align: str) -> str:
    lines = "\\\\".join(map(escape, _heading_lines(heading, wide)))
    return f"\\makecell[b{align}]{{{lines}}}" if "\\\\" in lines else lines
