"""Where a cell of a table comes from: the run and its raw values, or the paper and its place."""

from collections.abc import Mapping, Sequence

from fer_bench.networks.registry import papers, sheets
from fer_bench.networks.spec import Figure
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, SheetError, nearest
from fer_bench.records.result import Json, Result
from fer_bench.reporting.origin.evidence import Lines, machines, record, site
from fer_bench.reporting.origin.sources import Source, source_of
from fer_bench.reporting.table import MISSING, Column, Table
from fer_bench.reporting.tables.baselines import cells_of
from fer_bench.reporting.tables.catalogue import as_printed, built_with
from fer_bench.reporting.tables.common import head
from fer_bench.reporting.tables.printed import PrintedTable, printed_tables


def why(
    results: Sequence[Result], tables: Mapping[str, Table], stem: str, row: str, column: str
) -> list[tuple[str, str]]:
    """Say where a cell comes from: headings and texts.

    Args:
        results: that the tables were drawn from.
        tables: by their stems, as ``report`` and ``papers`` give them.
        stem: of the table.
        row: a network's name, another label of the row, or its number from 1.
        column: its key or heading; case does not matter.

    Raises:
        FerBenchError: there is no such table, row or column, several rows go by that name, or nobody wrote down where
            the column comes from.
    """
    table = _table(tables, stem)
    number, place = _row(table, row), _column(table, column)
    found = table.rows[number]
    cell = place.text(found)
    lines = [
        ("table", f"{stem}: {table.title}"),
        ("row", " / ".join([str(number + 1), *_names(found)])),
        ("column", f"{place.heading} ({place.key})"),
        ("cell", cell if cell != MISSING else f"{cell}: nothing was measured or printed"),
    ]
    if cell != MISSING and str(found[place.key]) != cell:
        lines.append(("raw value", str(found[place.key])))
    lines += _origin(results, table, stem, number, place)
    lines += [("note", text) for text in (table.notes[number] if table.notes else ())]
    return lines


def _origin(results: Sequence[Result], table: Table, stem: str, number: int, column: Column) -> Lines:
    """Say where a cell comes from: a paper where it is printed, else what was measured."""
    row, printed = table.rows[number], printed_tables().get(stem)
    if printed is not None and (column.key in printed.keys or column.key in ("printed", "row")):
        yield from _in_paper(printed, row, column)
        return
    if printed is not None and column.key == "name":
        yield "source", "the network of the sheets that the row of the paper is about"
        return
    source = source_of(stem, column.key)
    if source is None:
        raise FerBenchError(
            f"nobody wrote down where column {column.key} of {stem} comes from: fer_bench.reporting.origin.sources"
        )
    figures = _figures(row, column, source)
    if figures:
        for figure in figures:
            yield from _told(figure)
    elif source.quantities:
        yield "source", f"no sheet has a figure of {' or '.join(source.quantities)} of it"
    elif column.key == "ours":
        yield "source", source.how
        for one in machines(results):
            yield from site(one)
    else:
        yield "source", source.how
        yield from _measured(results, table, number, source, _stage(stem, printed, row))


def _table(tables: Mapping[str, Table], stem: str) -> Table:
    if stem not in tables:
        raise FerBenchError(f"there is no table {stem!r}{nearest(stem, tables)}; there are {', '.join(tables)}")
    return tables[stem]


def _column(table: Table, name: str) -> Column:
    for told in ("key", "heading"):
        found = [column for column in table.columns if getattr(column, told).casefold() == name.casefold()]
        if len(found) > 1:
            keys = ", ".join(column.key for column in found)
            raise FerBenchError(f"several columns are headed {name!r}: name one by its key, {keys}")
        if found:
            return found[0]
    known = [text for column in table.columns for text in (column.key, column.heading)]
    there = ", ".join(f"{column.key} ({column.heading})" for column in table.columns)
    raise FerBenchError(f"there is no column {name!r}{nearest(name, known)}; there are {there}")


def _names(row: Mapping[str, Json]) -> list[str]:
    """Give what a row goes by."""
    return [str(row[key]) for key in ("name", "row", "module") if row.get(key) is not None]


def _row(table: Table, name: str) -> int:
    """Find a row by a name or label, else by its number; give its place from 0."""
    wanted = name.casefold()
    found = [place for place, row in enumerate(table.rows) if wanted in map(str.casefold, _names(row))]
    if len(found) > 1:
        numbers = ", ".join(str(place + 1) for place in found)
        raise FerBenchError(f"{len(found)} rows are called {name!r}: name one by its number, {numbers}")
    if not found and name.isdecimal() and 1 <= int(name) <= len(table.rows):
        found = [int(name) - 1]
    if not found:
        known = list(dict.fromkeys(text for row in table.rows for text in _names(row)))
        raise FerBenchError(
            f"there is no row {name!r}{nearest(name, known)}; there are {', '.join(known)}, "
            f"or a number from 1 to {len(table.rows)}"
        )
    return found[0]


def _in_paper(printed: PrintedTable, row: Mapping[str, Json], column: Column) -> Lines:
    """Say what a paper prints in a cell of its own table."""
    found = printed.row(row["row"])
    if printed.matrix is not None:
        figures = [printed.matrix]
    elif found is None:
        figures = []
    elif column.key in printed.keys:
        figures = [figure for heading, figure in found.figures.items() if heading == printed.keys[column.key]]
    else:
        figures = list(found.figures.values())
    if not figures:
        yield "source", f"paper {printed.paper} prints nothing in this cell of its {printed.where}"
    for figure in figures:
        yield from _told(figure)


def _figures(row: Mapping[str, Json], column: Column, source: Source) -> list[Figure]:
    """Give the printed figures that a cell outside of a paper's table has."""
    spec, paper = sheets().get(row.get("name", "")), row.get("paper")
    if spec is None:
        return []
    if column.key != "accuracy" and paper is not None and not source.quantities:
        figure = cells_of(spec, paper).get(column.key)
        return [figure] if figure is not None and column.key in row else []
    found = (spec.figures(quantity, paper) for quantity in source.quantities)
    return next(filter(None, found), [])


def _told(figure: Figure) -> Lines:
    """Say all that a sheet says of a figure."""
    paper = papers().get(figure.paper)
    printed = as_printed(figure) if isinstance(figure.printed, str) else "a table of its own"
    place = (
        figure.where,
        figure.row and f"row {figure.row}",
        figure.column and f"column {figure.column}",
    )
    lines = [
        ("source", f"as published, paper {figure.paper}{f': {paper.cited}' if paper is not None else ''}"),
        ("where", ", ".join(filter(None, place))),
        ("printed", printed or "lost in the text"),
        ("base units", _base(figure)),
        ("of", figure.subject),
        ("quantity", figure.quantity.replace("_", " ")),
        ("convention", figure.convention),
        ("data", figure.dataset),
        ("stage", figure.stage),
        ("worked out", figure.arithmetic),
        ("its note", figure.note),
        ("link", paper.link if paper is not None else ""),
    ]
    yield from ((heading, text) for heading, text in lines if text)


def _base(figure: Figure) -> str:
    if not isinstance(figure.printed, str) or not figure.printed:
        return ""
    try:
        return f"{units.printed_value(figure.printed, figure.unit).normalize():f}"
    except SheetError:  # in words
        return ""


def _stage(stem: str, printed: PrintedTable | None, row: Mapping[str, Json]) -> str:
    """Tell which stage a row's occupancy is of."""
    found = printed.row(row["row"]) if printed is not None else None
    stages = [figure.stage for figure in found.figures.values() if figure.stage] if found is not None else []
    return stages[0] if stages else stem.rpartition("_")[2]


def _measured(results: Sequence[Result], table: Table, number: int, source: Source, stage: str) -> Lines:
    """Say which record a cell follows from, and what it holds."""
    metrics = [metric.format(stage=stage) for metric in source.metrics]
    result = _result(results, table, number, metrics)
    if result is None:
        yield "measured", "nothing of this row is among the results"
        return
    if result.subject.settings:
        yield "built", built_with(result.subject.settings)
    yield from record(result, metrics, attainable=source.attainable)


def _result(results: Sequence[Result], table: Table, number: int, metrics: Sequence[str]) -> Result | None:
    """Find the record of a row: of its network, measured by its settings, with something of what is asked for.

    Records that a row cannot tell apart have a row each, one after the other; a row without settings, or of a paper's
    table, is of the first.
    """
    row = table.rows[number]
    found = [result for result in results if row.get("name") is not None and _is_of(row, result)]
    found = [result for result in found if any(result.measurement(metric) for metric in metrics)] or found
    if not found:
        return None
    has_its_own = "protocol" in row and "row" not in row
    before = sum(_is_of(other, found[0]) for other in table.rows[:number]) if has_its_own else 0
    return found[min(before, len(found) - 1)]


def _is_of(row: Mapping[str, Json], result: Result) -> bool:
    return all(row[key] == value for key, value in head(result).items() if row.get(key) is not None)
