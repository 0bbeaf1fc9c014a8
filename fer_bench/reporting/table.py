"""A table that knows no format: rows of raw values in base units, and how each column writes them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fer_bench.networks.spec import Figure
from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.records.units import Quantity

if TYPE_CHECKING:
    import pandas

MISSING = units.EN_DASH
APPROXIMATELY = "\N{ALMOST EQUAL TO}"
# The share up to which a single value is known: all of it, and no share that was worked out.
MEASURED_ONCE = math.nextafter(1.0, 2.0)

Mark = Literal["best", "second"]
Evidence = Literal["record", "attainable", "machine", "paper"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the cells of a column come from, unless a row has a printed figure for them.

    Attributes:
        how: how a cell follows from what its row was made from, as a sentence.
        metrics: the measurements that it follows from; ``{stage}`` is the row's.
        evidence: what else shows it: the result's record, what its machine attains, too, the machines alone, or nothing
            of ours.
    """

    how: str
    metrics: tuple[str, ...] = ()
    evidence: Evidence = "record"


@dataclass(frozen=True, slots=True)
class RowSource:
    """What a row was made from.

    Attributes:
        results: mostly one.
        figures: that papers print, by the key of the column that shows them.
        stage: of the results, "training" or "testing", where that makes a difference.
    """

    results: tuple[Result, ...] = ()
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        key: of its raw value in a row.
        heading: with the unit, where the numbers do not have one each.
        write: a quantity of ``records.units`` for numbers; any other function gives the text as it is to stand.
        align: numbers stand at the right.
        better: which end is best, where one is.
        interval: key of the ends of the value's interval, in the value's unit. It says how many digits are written, and
            values whose intervals overlap count as equal. Without one a ``better`` value is exact.
        tolerance: key of the share of the value up to which it is known, where it has no interval of its own; it can
            take digits away.
        setting: rows with different values were measured under different conditions and are not compared.
        origin: where its cells come from; None where nobody asks.
    """

    key: str
    heading: str
    write: Callable[[Any], str] = str
    align: Literal["left", "right"] = "right"
    better: Literal["lower", "higher"] | None = None
    interval: str = ""
    tolerance: str = ""
    setting: bool = False
    origin: Origin | None = None

    def with_origin(self, how: str, *metrics: str, evidence: Evidence = "record") -> "Column":
        """Return the column with its origin."""
        return replace(self, origin=Origin(how, metrics, evidence))

    @property
    def quantity(self) -> Quantity | None:
        """How its numbers are scaled; None for a column of texts or of bare numbers."""
        return self.write if isinstance(self.write, Quantity) else None

    @property
    def unit(self) -> str:
        """Unit of its raw values; empty for counts, shares and texts."""
        owner = getattr(self.write, "__self__", self.write)  # an interval is written by a quantity's method
        return owner.base if isinstance(owner, Quantity) else ""

    def cells(self, row: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
        """Give a row's raw value by a name with its unit, then the ends of its interval, if it may have one."""
        value = row.get(self.key)
        if self.key.startswith("interval_"):  # on its own, in a table that leaves out what it is the interval of
            yield from zip(_ends_of(self.key), value or (None, None), strict=True)
            return
        suffix = {"": "", "B": "_bytes"}.get(self.unit, f"_{self.unit.lower()}")
        name = self.key if self.key.endswith(suffix) else f"{self.key}{suffix}"
        yield name, tuple(value) if isinstance(value, list) else value
        if self.interval and suffix:
            yield from zip(_ends_of(name), row.get(self.interval) or (None, None), strict=True)

    def text(self, row: Mapping[str, Json]) -> str:
        """Write a row's cell, with as many digits as the data supports."""
        value: Json = row.get(self.key)
        if is_missing(value):
            return MISSING
        quantity = self.quantity
        if quantity is None:
            return self.write(value)
        about = APPROXIMATELY if self.is_single(row) else ""
        return about + quantity(value, self.digits(row))

    def is_single(self, row: Mapping[str, Json]) -> bool:
        """Report whether a row's value was measured once, so that nothing says how far it is known."""
        return row.get(self.interval) is None and row.get(self.tolerance) == MEASURED_ONCE

    def digits(self, row: Mapping[str, Json]) -> int | None:
        """Return the significant digits that a row's value has; None for its quantity's own."""
        quantity = self.quantity
        if quantity is None:
            return None
        value, ends, share = row[self.key], row.get(self.interval), row.get(self.tolerance)
        if ends is not None:
            return units.digits_within(value, (ends[1] - ends[0]) / 2)
        if self.is_single(row):
            return 1
        if share is not None and quantity.digits is not None:
            return units.digits_within(value, abs(value) * share, most=quantity.digits)
        return None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a missing or None value is written as an en dash.

    Attributes:
        rows: raw values by the columns' keys; other keys are for the columns' intervals and tolerances.
        caption: what a reader must know of all rows.
        notes: what a reader must know of a row before trusting it: for each row its texts, or nothing at all.
        name: stem of its files, and label to refer to.
        label: key of the column that names the rows, and that the numbers of notes stand in; "" for the first.
        named: so many first columns together name the rows; a table in panels repeats them.
        marks: for each row what is marked in it, by key, or nothing at all; see ``reporting.arrange.mark_best``.
        marking: what a reader must know of the marks: rows and values that were left out of the comparison.
        comparable: False where rows were measured on different machines or with different versions.
        sources: what each row was made from, or nothing at all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Json], ...]
    caption: str = ""
    notes: tuple[tuple[str, ...], ...] = ()
    name: str = ""
    label: str = ""
    named: int = 1
    marks: tuple[Mapping[str, Mark], ...] = ()
    marking: tuple[str, ...] = ()
    comparable: bool = True
    sources: tuple[RowSource, ...] = ()

    @property
    def label_place(self) -> int:
        """The place of the column that names the rows."""
        return [column.key for column in self.columns].index(self.label) if self.label else 0

    @property
    def footnotes(self) -> list[str]:
        """The texts of all rows with their numbers."""
        return [f"[{number}] {text}" for number, text in enumerate(self.note_texts, start=1)]

    @property
    def note_texts(self) -> list[str]:
        """The texts of all rows, equal ones once, in the order in which they are needed: the first is number 1."""
        return list(dict.fromkeys(text for notes in self.notes for text in notes))

    def note_numbers(self) -> list[list[int]]:
        """Return for each row the numbers of its notes."""
        numbers = {text: number for number, text in enumerate(self.note_texts, start=1)}
        of_rows = self.notes or ((),) * len(self.rows)
        return [sorted({numbers[text] for text in notes}) for notes in of_rows]

    def written(self) -> list[list[str]]:
        """Return the cells row by row, without the numbers of notes."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def cells(self) -> list[list[str]]:
        """Return the cells row by row; the one that names the row has the numbers of its notes in brackets."""
        cells = self.written()
        for row, numbers in zip(cells, self.note_numbers(), strict=True):
            if numbers:
                row[self.label_place] += f" [{','.join(map(str, numbers))}]"
        return cells

    def mark(self, row: int, column: Column) -> Mark | None:
        """Report whether a cell is marked."""
        return self.marks[row].get(column.key) if self.marks else None

    def legend(self, best: str, second: str) -> str:
        """Describe the marks, if there are any, given how a format makes them: "bold", "underlined"."""
        shown = {column.key for column in self.columns}
        used = {mark for marks in self.marks for key, mark in marks.items() if key in shown}
        named = [f"{mark}: {how}" for mark, how in (("best", best), ("second", second)) if mark in used]
        if not named:
            return ""
        rules = ("times only where their intervals do not overlap, counts exactly", *self.marking)
        return f"Marks: {', '.join(named)}; {'; '.join(rules)}."

    def records(self) -> list[dict[str, Json]]:
        """Return the rows with raw values in base units, by names that end in the unit where there is one.

        An interval is two columns, such as ``latency_low_s`` and ``latency_high_s``. The notes of a row are one text.
        """
        ends = {column.interval for column in self.columns if column.interval}
        shown = [column for column in self.columns if column.key not in ends]
        records = [dict(cell for column in shown for cell in column.cells(row)) for row in self.rows]
        if any(self.notes):
            for record, notes in zip(records, self.notes, strict=True):
                record["notes"] = " ".join(notes)
        return records

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame of ``records``, a line for each row."""
        import pandas

        return pandas.DataFrame(self.records())

    def __str__(self) -> str:
        from fer_bench.reporting.render.text import to_text

        return to_text(self).rstrip("\n")

    def _repr_html_(self) -> str:
        from fer_bench.reporting.render.html import to_html

        return to_html(self)


def _ends_of(name: str) -> tuple[str, str]:
    """Return the names of the ends of an interval: of latency_s they are latency_low_s and latency_high_s."""
    stem, _, unit = name.rpartition("_")
    return f"{stem}_low_{unit}", f"{stem}_high_{unit}"


def is_missing(value: Json) -> bool:
    """Report whether there is nothing to write: no value, or a number that is none."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def text_columns(**headings: str) -> list[Column]:
    """Return columns of texts, at the left, by their keys."""
    return [Column(key, heading, align="left") for key, heading in headings.items()]


def with_units_in_headings(table: Table) -> Table:
    """Put prefix or sign into the heading of a column, "MACs (G)": columns of one quantity share a prefix."""
    values: dict[Quantity, list[tuple[float, int | None]]] = {}
    for column in table.columns:
        if column.quantity is not None:
            there = (row for row in table.rows if not is_missing(row.get(column.key)))
            present = ((row[column.key], column.digits(row)) for row in there)
            values.setdefault(column.quantity, []).extend(present)
    shared = {quantity: quantity.of_column(numbers) for quantity, numbers in values.items()}
    return replace(table, columns=tuple(_unit_in_heading(column, shared) for column in table.columns))


def _unit_in_heading(column: Column, shared: Mapping[Quantity, Quantity]) -> Column:
    if column.quantity is None:
        return column
    quantity = shared[column.quantity]
    heading = f"{column.heading} ({quantity.suffix})" if quantity.suffix else column.heading
    return replace(column, heading=heading, write=replace(quantity, suffix=""))
