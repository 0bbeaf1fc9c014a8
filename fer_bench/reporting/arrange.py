"""What a user asks of a table: some of its columns and rows, another order, the best of each column marked."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.result import Json
from fer_bench.reporting.table import Column, Mark, Table, is_missing

# Keys of rows, whether or not a table has the column: the network in every table that has a row for each; what was
# measured of it; and the paper, in rows that we did not measure.
_NAME, _INPUT, _CLASSES, _PAPER = "name", "input_shape", "num_classes", "paper"
_SHOWN = 8  # columns that an error names, of all tables' together


def choose_columns(tables: Mapping[str, Table], text: str) -> dict[str, Table]:
    """Keep the columns named by key or heading, in that order, in the tables that have all of them.

    The column that names a table's rows stays before them, unless it is named itself. Commas stand between the names;
    headings may have commas themselves, and their case does not matter.

    Raises:
        FerBenchError: no table has all of them.
    """
    everywhere = [column for table in tables.values() for column in table.columns]
    if unknown := [name for name, column in _named_columns(everywhere, text) if column is None]:
        raise FerBenchError(f"--columns {text}: no table has {', '.join(unknown)}{_there(tables, unknown[0])}")
    kept = {}
    for name, table in tables.items():
        named = [column for _, column in _named_columns(table.columns, text)]
        columns = list(dict.fromkeys(column for column in named if column is not None))
        if columns and None not in named:
            label = table.columns[table.label_place]
            columns = columns if label in columns else [label, *columns]
            kept[name] = replace(table, columns=tuple(columns), label=label.key, named=1)
    if not kept:
        asked = dict.fromkeys(column.key for _, column in _named_columns(everywhere, text) if column is not None)
        owners = {key: [name for name, of in tables.items() if key in [c.key for c in of.columns]] for key in asked}
        places = "; ".join(f"{key} is in {', '.join(names)}" for key, names in owners.items())
        raise FerBenchError(f"--columns {text}: no table has all of them; {places}")
    return kept


def choose_models(tables: Mapping[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """Keep the rows of the networks named, in that order; a table that is not about networks stays as it is.

    Raises:
        FerBenchError: no table has a row of one of them.
    """
    names = list(dict.fromkeys(names))
    known = list(dict.fromkeys(str(row[_NAME]) for table in tables.values() for row in table.rows if _NAME in row))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise FerBenchError(f"--models {name}: no table has it; {hint}")
    kept = {}
    for stem, table in tables.items():
        if any(_NAME in row for row in table.rows):
            order = [place for name in names for place, row in enumerate(table.rows) if row.get(_NAME) == name]
            table = _with_rows(table, order)
        if table.rows:
            kept[stem] = table
    return kept


def sort_rows(tables: Mapping[str, Table], key: str) -> dict[str, Table]:
    """Sort by the raw values of a column named by key or heading, from the largest down after a minus.

    Rows without a value come last, equal ones stay as they were, and so does a table without that column.

    Raises:
        FerBenchError: no table has the column.
    """
    wanted, descending = key.removeprefix("-"), key.startswith("-")
    by_name = {name: _column(table.columns, wanted) for name, table in tables.items()}
    if not any(by_name.values()):
        raise FerBenchError(f"--sort {key}: no table has that column{_there(tables, wanted)}")
    return {
        name: _sorted(table, column, descending) if (column := by_name[name]) is not None else table
        for name, table in tables.items()
    }


def mark_best(table: Table) -> Table:
    """Mark the best and second-best value of each column that has a better end.

    Exact values compare exactly, and equal ones share a mark. Others are marked only where their interval, or what
    their tolerance allows, is apart from that of every value after it, so that no time without an interval beside it is
    ever compared. A mark needs something worse than it. Nothing is marked where rows were measured under different
    conditions, nor in a column that lacks the value of a row that we measured: what failed might have been the best.
    Networks with another number of classes than most are left out: a detector of faces solves another task.
    """
    settings = [column.key for column in table.columns if column.setting]
    if not table.comparable or len({tuple(row.get(key) for key in settings) for row in table.rows}) > 1:
        return table
    compared = _of_one_task(table.rows)
    marks: list[dict[str, Mark]] = [{} for _ in table.rows]
    incomplete = False
    for column in table.columns:
        there = {place: row for place, row in compared.items() if not is_missing(row.get(column.key))}
        if column.better is None or any(_PAPER not in row for place, row in compared.items() if place not in there):
            continue
        new = list(_marks_of(there, column))
        incomplete = incomplete or bool(new and len(there) < len(compared))
        for place, mark in new:
            marks[place][column.key] = mark
    reasons = {
        "best of those measured, where a paper has no value for a network": incomplete,
        "networks with another number of classes than most are not compared": len(compared) < len(table.rows),
        "inputs differ": len({tuple(row[_INPUT]) for row in compared.values() if row.get(_INPUT) is not None}) > 1,
    }
    return replace(table, marks=tuple(marks), marking=tuple(text for text, holds in reasons.items() if holds))


def _of_one_task(rows: Sequence[Mapping[str, Json]]) -> dict[int, Mapping[str, Json]]:
    """Return the rows, by their places, with the most frequent number of classes or none given; {} if there is no such.

    Papers do not always give it, and theirs are networks for facial expressions.
    """
    counts = Counter(row[_CLASSES] for row in rows if row.get(_CLASSES) is not None)
    (most, count), *others = counts.most_common() or [(None, 1)]
    if others and others[0][1] == count:
        return {}
    return {place: row for place, row in enumerate(rows) if row.get(_CLASSES) in (None, most)}


def _marks_of(rows: Mapping[int, Mapping[str, Json]], column: Column) -> Iterable[tuple[int, Mark]]:
    spans = {place: _span(row, column) for place, row in rows.items()}
    if None in spans.values():
        return
    left = {place: span for place, span in spans.items() if span is not None}
    marks: tuple[Mark, ...] = ("best", "second")
    for mark in marks if left else ():
        first = min(left.values(), key=lambda span: span[1])
        group = [place for place, span in left.items() if span == first]
        behind = {place: span for place, span in left.items() if span != first}
        tied = len(group) > 1 and first[0] != first[1]  # overlapping, and not equal
        if tied or not behind or any(span[0] <= first[1] for span in behind.values()):
            return
        yield from ((place, mark) for place in group)
        left = behind


def _span(row: Mapping[str, Json], column: Column) -> tuple[float, float] | None:
    """Return between which numbers a value lies, smaller is better; None where it is measured and nobody knows."""
    value: Json = row[column.key]
    if column.interval:
        ends = row.get(column.interval)
    else:
        around = abs(value) * (row.get(column.tolerance) or 0)
        ends = (value - around, value + around)
    if ends is None:
        return None
    low, high = ends
    return (low, high) if column.better == "lower" else (-high, -low)


def _sorted(table: Table, column: Column, descending: bool) -> Table:
    missing = [place for place, row in enumerate(table.rows) if is_missing(row.get(column.key))]
    present = [place for place in range(len(table.rows)) if place not in missing]
    present.sort(key=lambda place: _sort_key(table.rows[place][column.key]), reverse=descending)
    return _with_rows(table, present + missing)


def _sort_key(value: Json) -> tuple[int, Json]:
    """Make values of any kind comparable: numbers, then lists of numbers such as shapes, then texts."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, list | tuple) and all(isinstance(part, int | float) for part in value):
        return 1, tuple(value)
    return 2, str(value).casefold()


def _with_rows(table: Table, places: Sequence[int]) -> Table:
    def at_places(of_rows: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(of_rows[place] for place in places) if of_rows else ()

    parts = (table.rows, table.notes, table.marks, table.sources)
    rows, notes, marks, sources = map(at_places, parts)
    return replace(table, rows=rows, notes=notes, marks=marks, sources=sources)


def _named_columns(columns: Sequence[Column], text: str) -> list[tuple[str, Column | None]]:
    """Split a text at commas into names of columns, the longest first; None for a name that none of them has."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    named: list[tuple[str, Column | None]] = []
    while parts:
        lengths = [n for n in range(len(parts), 0, -1) if _column(columns, ", ".join(parts[:n])) is not None]
        length = lengths[0] if lengths else 1
        name = ", ".join(parts[:length])
        named.append((name, _column(columns, name)))
        parts = parts[length:]
    return named


def _column(columns: Iterable[Column], name: str) -> Column | None:
    wanted = name.casefold()
    return next((c for c in columns if wanted in (c.key.casefold(), c.heading.casefold())), None)


def _there(tables: Mapping[str, Table], unknown: str) -> str:
    """Suggest what may have been meant, and name the columns of the one table, or the first of all tables'."""
    known = list(dict.fromkeys(column.key for table in tables.values() for column in table.columns))
    headings = [column.heading for table in tables.values() for column in table.columns]
    meant = nearest(unknown, [*known, *headings])
    if len(tables) == 1:
        return f"{meant}; {next(iter(tables))} has {', '.join(known)}"
    rest = len(known) - _SHOWN
    more = f" and {rest} more: --table NAME names those of one table" if rest > 0 else ""
    return f"{meant}; there are {', '.join(known[:_SHOWN])}{more}"
