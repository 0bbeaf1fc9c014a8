"""Where a cell of a table comes from: the run and its raw values, or the paper and its place."""

from collections.abc import Mapping

from fer_bench.networks.spec import UNKNOWN, Figure, Paper
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, SheetError, nearest
from fer_bench.records.result import Json
from fer_bench.reporting.origin.evidence import Lines, machines, record, site
from fer_bench.reporting.table import MISSING, Column, Origin, RowSource, Table
from fer_bench.reporting.tables.catalogue import as_printed, built_with


def why(
    tables: Mapping[str, Table], stem: str, row: str, column: str, papers: Mapping[str, Paper]
) -> list[tuple[str, str]]:
    """Return where a cell comes from: headings and texts.

    Args:
        tables: by their stems, as ``report`` and ``papers`` give them.
        stem: of the table.
        row: a network's name, another label of the row, or its number from 1.
        column: its key or heading; case does not matter.
        papers: the sheets of papers, by their ids.

    Raises:
        FerBenchError: there is no such table, row or column, several rows go by that name, or the column has no origin.
    """
    table = _table(tables, stem)
    number, place = _row(table, row), _column(table, column)
    if place.origin is None:
        raise FerBenchError(f"the origin of column {place.key} of {stem} is not recorded")
    cells = table.rows[number]
    cell = place.text(cells)
    lines = [
        ("table", f"{stem}: {table.title}"),
        ("row", " / ".join([str(number + 1), *_names(cells)])),
        ("column", f"{place.heading} ({place.key})"),
        ("cell", cell if cell != MISSING else f"{cell}: nothing was measured or printed"),
    ]
    if cell != MISSING and str(cells[place.key]) != cell:
        lines.append(("raw value", str(cells[place.key])))
    source = table.sources[number] if table.sources else RowSource()
    if figures := source.figures.get(place.key):
        lines += [line for figure in figures for line in _printed(figure, papers.get(figure.paper))]
    else:
        lines += _measured(place.origin, source)
    lines += [("note", text) for text in (table.notes[number] if table.notes else ())]
    return lines


def _measured(origin: Origin, source: RowSource) -> Lines:
    yield "source", origin.how
    if origin.evidence == "machine":
        for result in machines(source.results):
            yield from site(result)
    elif origin.evidence != "paper":
        if not source.results:
            yield "measured", "no result for this row"
        for result in source.results:
            if result.subject.settings:
                yield "built", built_with(result.subject.settings)
            metrics = [metric.format(stage=source.stage) for metric in origin.metrics]
            yield from record(result, metrics, attainable=origin.evidence == "attainable")


def _table(tables: Mapping[str, Table], stem: str) -> Table:
    if stem not in tables:
        raise FerBenchError(f"there is no table {stem!r}{nearest(stem, tables)}; there are {', '.join(tables)}")
    return tables[stem]


def _column(table: Table, name: str) -> Column:
    for name_of in ("key", "heading"):
        columns = [column for column in table.columns if getattr(column, name_of).casefold() == name.casefold()]
        if len(columns) > 1:
            keys = ", ".join(column.key for column in columns)
            raise FerBenchError(f"several columns are headed {name!r}: name one by its key, {keys}")
        if columns:
            return columns[0]
    known = [text for column in table.columns for text in (column.key, column.heading)]
    there = ", ".join(f"{column.key} ({column.heading})" for column in table.columns)
    raise FerBenchError(f"there is no column {name!r}{nearest(name, known)}; there are {there}")


def _names(row: Mapping[str, Json]) -> list[str]:
    return [str(row[key]) for key in ("name", "row", "module") if row.get(key) is not None]


def _row(table: Table, name: str) -> int:
    """Return the place, from 0, of a row with this name or label, else of this number."""
    wanted = name.casefold()
    places = [place for place, row in enumerate(table.rows) if wanted in map(str.casefold, _names(row))]
    if len(places) > 1:
        numbers = ", ".join(str(place + 1) for place in places)
        raise FerBenchError(f"{len(places)} rows are called {name!r}: name one by its number, {numbers}")
    if not places and name.isdecimal() and 1 <= int(name) <= len(table.rows):
        places = [int(name) - 1]
    if not places:
        known = list(dict.fromkeys(text for row in table.rows for text in _names(row)))
        raise FerBenchError(
            f"there is no row {name!r}{nearest(name, known)}; there are {', '.join(known)}, "
            f"or a number from 1 to {len(table.rows)}"
        )
    return places[0]


def _printed(figure: Figure, paper: Paper | None) -> Lines:
    printed = as_printed(figure) if isinstance(figure.printed, str) else "a table of its own"
    place = (figure.where, figure.row and f"row {figure.row}", figure.column and f"column {figure.column}")
    lines = [
        ("source", f"as published, paper {figure.paper}{f': {paper.cited}' if paper is not None else ''}"),
        ("where", ", ".join(filter(None, place))),
        ("printed", printed or "lost in the text"),
        ("base units", _base(figure)),
        ("subject", figure.subject),
        ("quantity", figure.quantity.replace("_", " ")),
        ("convention", figure.convention),
        ("data", figure.dataset),
        ("stage", figure.stage),
        ("derived", figure.arithmetic),
        ("its note", figure.note),
        ("obtained", str(figure.conditions) if figure.conditions != UNKNOWN else ""),
        ("link", paper.link if paper is not None else ""),
        ("its text", paper.file_note if paper is not None else ""),
    ]
    yield from ((heading, text) for heading, text in lines if text)


def _base(figure: Figure) -> str:
    if not isinstance(figure.printed, str) or not figure.printed:
        return ""
    try:
        return f"{units.printed_value(figure.printed, figure.unit).normalize():f}"
    except SheetError:  # in words
        return ""
