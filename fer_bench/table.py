"""A table that knows no format: rows of raw values in base units, and how each column writes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fer_bench import units
from fer_bench.records import Json

MISSING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the key of its raw value in a row, its heading with the unit, and how a value is written."""

    key: str
    heading: str
    write: Callable[[Any], str] = str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that knows no format. A missing or None value is written as an en dash.

    ``notes`` says what a reader must know of a row before trusting it: for each row its texts, or nothing at all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Json], ...]
    caption: str = ""
    notes: tuple[tuple[str, ...], ...] = ()

    @property
    def footnotes(self) -> list[str]:
        """The texts of all rows, equal ones once, numbered in the order in which they are needed."""
        return [f"[{number}] {text}" for number, text in enumerate(self._texts(), start=1)]

    def cells(self) -> list[list[str]]:
        """Give the written cells, row by row; the first has the numbers of the row's footnotes."""
        texts = list(self._texts())
        cells = []
        for row, notes in zip(self.rows, self.notes or ((),) * len(self.rows), strict=True):
            written = [
                units.printable(MISSING if row.get(c.key) is None else c.write(row[c.key])) for c in self.columns
            ]
            if notes:
                numbers = sorted({texts.index(units.printable(text)) + 1 for text in notes})
                written[0] += f" [{','.join(map(str, numbers))}]"
            cells.append(written)
        return cells

    def _texts(self) -> dict[str, None]:
        return dict.fromkeys(units.printable(text) for notes in self.notes for text in notes)
