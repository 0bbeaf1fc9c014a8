"""The tables of papers, put together again from the figures of the sheets.

A figure says which table it stands in, in which row and which column. The order of rows and columns, and the title, are
given by a figure of the paper's own sheet whose subject is the table itself; a table without one has them as the sheets
have them, so that a user's sheets need nothing else.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import RESULTS, Figure, ModelSpec, Paper, Shape
from fer_bench.records.result import Json, Result
from fer_bench.reporting.table import Column, RowSource
from fer_bench.reporting.tables.catalogue import as_printed

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "X": 10}
_TABLE = re.compile(r"Table (\w+)")
# What is listed as name and value, and not compared: recipes, machines.
_LISTED = frozenset({"recipe", "environment", "epochs", "protocol"})

OUR_NETWORK = Column("name", "fer_bench: network", align="left").with_origin(
    "the network of the sheets that the row of the paper is about", evidence="paper"
)


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """A row of a paper's table.

    Attributes:
        label: as the paper has it.
        spec: the network whose sheet has it; None where the row is about none of ours.
        figures: by the heading of their column.
    """

    label: str
    spec: ModelSpec | None
    figures: Mapping[str, Figure]

    @property
    def results(self) -> list[Figure]:
        """Its figures that are results of a network, whatever the sheets know of their conditions."""
        return [figure for figure in self.figures.values() if figure.quantity in RESULTS]

    @property
    def build(self) -> tuple[Shape, int] | None:
        """Input and classes of the network that had its results, where they are known."""
        return next((figure.conditions.build for figure in self.results if figure.conditions.build), None)

    @property
    def notes(self) -> list[str]:
        """What the sheets say of its cells."""
        return [f"{heading}: {figure.note}" for heading, figure in self.figures.items() if figure.note]


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table as a paper prints it.

    Attributes:
        about: the figure of the table itself: its paper, its place, "Table II", its title, and what to know of it.
        corner: heading of the column of the rows' labels.
        headings: of the other columns.
        rows: in the paper's order.
        matrix: the figure, where one figure is the whole table.
        sheet: of the paper, where it has one.
    """

    about: Figure
    corner: str
    headings: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    matrix: Figure | None = None
    sheet: Paper | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Return the keys of the printed columns, each with its heading."""
        keys: dict[str, str] = {}
        for heading in self.matrix.columns if self.matrix is not None else self.headings:
            keys[_unused(f"printed_{slug(heading)}", keys)] = heading
        return keys

    @property
    def figures(self) -> list[Figure]:
        """All figures, row by row."""
        return [figure for row in self.rows for figure in row.figures.values()]

    @property
    def quantities(self) -> set[str]:
        """What the figures are of."""
        return {figure.quantity for figure in self.figures}

    @property
    def is_listing(self) -> bool:
        """Whether it lists names and values, one a row, under headings that say nothing."""
        return bool(self.quantities) and self.quantities <= _LISTED

    @property
    def heading(self) -> str:
        """The title of a drawing of it."""
        return ": ".join(filter(None, (f"Paper {self.about.paper}, {self.about.where}", self.about.printed)))

    @property
    def credit(self) -> str:
        """Whose digits these are, for a caption."""
        published = f"As published in {self.sheet.cited}" if self.sheet is not None else "As published"
        protocol = self.sheet.protocol if self.sheet is not None and not self.is_listing else ""
        digits = "Digits and units as in the paper, right or wrong"
        return sentences(published, digits, protocol and f"Its protocol: {protocol}", self.about.note)

    @property
    def machine(self) -> str:
        """On what the paper measured, as printed, for a caption; "" where it does not say."""
        figures = self.sheet.figures if self.sheet is not None else ()
        stated = [as_printed(figure) for figure in figures if figure.quantity == "environment"]
        return sentences(f"Its machine: {', '.join(stated)}") if stated else ""

    @property
    def label(self) -> Column:
        """The column of the rows' labels."""
        return self.column("row", self.corner, "left")

    def column(self, key: str, heading: str, align: Literal["left", "right"] = "right") -> Column:
        """Return a column of printed cells."""
        missing = f"paper {self.about.paper} prints nothing in this cell of its {self.about.where}"
        return Column(key, heading, align=align).with_origin(missing, evidence="paper")

    def cells(self, row: PrintedRow) -> dict[str, Json]:
        """Return the printed cells of a row, by the columns' keys, and its label; a cell lost in the text is None."""
        figures = {key: row.figures.get(heading) for key, heading in self.keys.items()}
        cells = {key: as_printed(figure) or None for key, figure in figures.items() if figure is not None}
        return {"row": row.label, **cells}

    def source(self, row: PrintedRow, *results: Result) -> RowSource:
        """Return what a row of a drawing is made from."""
        figures = list(row.figures.values())
        of_cells = {key: [row.figures[heading]] for key, heading in self.keys.items() if heading in row.figures}
        stage = next((figure.stage for figure in figures if figure.stage), "")
        return RowSource(results, {**of_cells, "row": figures, "printed": figures}, stage)


def printed_tables(registry: Registry) -> dict[str, PrintedTable]:
    """Put together all tables of all papers, by stems such as "paper001_table2"; papers in the order of their ids.

    A figure counts if its place is a table and no part of one: "Table 3", and not "Table 3, caption".
    """
    cells_of: dict[tuple[str, str], list[tuple[ModelSpec | None, Figure]]] = {}
    of_papers = ((None, figure) for paper in registry.papers.values() for figure in paper.figures)
    of_networks = ((spec, figure) for spec in registry.networks.values() for figure in spec.published)
    for spec, figure in (*of_papers, *of_networks):  # a cell that both have is the paper's
        if _TABLE.fullmatch(figure.where):
            cells_of.setdefault((figure.paper, figure.where), []).append((spec, figure))
    tables: dict[str, PrintedTable] = {}
    for paper, where in sorted(cells_of, key=_order):
        table = _put_together(paper, where, cells_of[paper, where], registry.papers.get(paper))
        if table.rows or table.matrix is not None:
            # Papers' ids come from users' sheets, too, so that what a file is named after may need a slug.
            tables[_unused(f"paper{slug(paper)}_table{slug(_number(where))}", tables)] = table
    return tables


def _number(where: str) -> str:
    number = where.removeprefix("Table ")
    return str(_ROMAN.get(number, number))


def _order(place: tuple[str, str]) -> tuple[str, int, str]:
    number = _number(place[1])
    return place[0], int(number) if number.isdecimal() else 0, number


def sentences(*texts: str) -> str:
    """End each text with a full stop, where it lacks one; empty ones are left out."""
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts if text)


def slug(text: str) -> str:
    """Leave of a text what a key or the name of a file may have: "ACCURACY(%)" is "accuracy"."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")


def _unused(stem: str, used: Iterable[str]) -> str:
    names = [stem, *(f"{stem}_{number}" for number in range(2, 2 + len(set(used))))]
    return next(name for name in names if name not in used)


def _put_together(
    paper: str, where: str, entries: Sequence[tuple[ModelSpec | None, Figure]], sheet: Paper | None
) -> PrintedTable:
    names = (figure for _, figure in entries if figure.quantity == "name" and figure.subject == where)
    about = next(names, Figure("name", "", "", paper, where))
    matrix = next((figure for _, figure in entries if isinstance(figure.printed, tuple)), None)
    cells = [(spec, figure) for spec, figure in entries if figure.quantity != "name" and figure is not matrix]
    in_cell = Counter((figure.row, figure.column) for _, figure in cells)
    rows: dict[str, dict[str, Figure]] = {}
    specs: dict[str, ModelSpec] = {}  # of a row's figures, the first one's
    for spec, figure in cells:
        label = figure.row or (spec.name if spec is not None else figure.subject)
        if figure.quantity in _LISTED and in_cell[figure.row, figure.column] > 1:
            label = figure.subject  # several in one cell, as "brightness=0.2, contrast=0.2": each has a row of its own
        row, heading = rows.setdefault(label, {}), figure.column or figure.quantity
        if heading not in row:  # a cell that several sheets repeat is the first one's
            row[heading] = figure
            if spec is not None:
                specs.setdefault(label, spec)
    own = list(dict.fromkeys(figure.column or figure.quantity for _, figure in cells))
    corner, *headings = about.columns or ("Row", *own)
    labels = [label for label in dict.fromkeys((*about.rows, *rows)) if label in rows]
    drawn = tuple(PrintedRow(label, specs.get(label), rows[label]) for label in labels)
    return PrintedTable(about, corner, tuple(dict.fromkeys((*headings, *own))), drawn, matrix, sheet)
