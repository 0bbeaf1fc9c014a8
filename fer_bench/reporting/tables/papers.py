"""The tables of papers as published, with our numbers beside them where there are any."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fer_bench.networks.spec import Figure
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import environments, structure
from fer_bench.reporting.tables.common import (
    INPUT,
    Row,
    about,
    comparable,
    conditions,
    failures,
    head,
    joined,
    latency_means,
    make_table,
    varying,
)
from fer_bench.reporting.tables.ours import OURS
from fer_bench.reporting.tables.printed import OUR_NETWORK, PrintedRow, PrintedTable, printed_tables, sentence


def papers(results: Sequence[Result] = ()) -> dict[str, Table]:
    """Draw every table of the papers, by stems such as "paper001_table2": as published, and ours beside.

    Args:
        results: ours. Of a network's results, each table takes the first that has what it prints; where there is none,
            the table has the printed columns only.
    """
    return {stem: replace(_draw(printed, results), name=stem) for stem, printed in printed_tables().items()}


def _draw(printed: PrintedTable, results: Sequence[Result]) -> Table:
    if printed.matrix is not None:
        return _matrix(printed, printed.matrix)
    if "output_size" in printed.quantities:
        return structure.beside(printed, results)
    return environments.beside(printed, results) if printed.is_listing else _comparison(printed, results)


def _comparison(printed: PrintedTable, results: Sequence[Result]) -> Table:
    """Draw networks in rows, what is printed of them in columns, and ours beside each."""
    chosen = [_choose(row, results) for row in printed.rows]
    used = [result for result in chosen if result is not None]
    rows = [_row(printed, row, result) for row, result in zip(printed.rows, chosen, strict=True)]
    caption = [printed.credit, *_conventions(printed)]
    given = _given(printed, chosen)
    timed = used if any(OURS[quantity].timed for quantity in given) else []
    if used:
        built = f"as built with {environments.told('packages', used) or 'packages that no record tells'}."
        caption += ["fer_bench:", conditions(timed) or built, *dict.fromkeys(OURS[quantity].said for quantity in given)]
        caption.append(latency_means(rows))
    columns = [*_labels(printed), INPUT, Column("num_classes", "Classes"), *varying(timed), *_cells(printed)]
    notes = [_notes(row, result) for row, result in zip(printed.rows, chosen, strict=True)]
    return make_table(printed.heading, columns, rows, joined(*caption), notes, comparable=comparable(used))


def _choose(row: PrintedRow, results: Iterable[Result]) -> Result | None:
    """Take the first result of the row's network that has something to put beside a printed figure.

    Counts are taken from one at the network's own input and classes first: a protocol may have had its own.
    """
    spec = row.spec
    if spec is None:
        return None
    found = [result for result in results if result.subject.name == spec.name and _values(row, result)]
    if not any(OURS[figure.quantity].timed for figure in row.figures.values() if figure.quantity in OURS):
        own = (spec.input_shape, spec.num_classes)
        found.sort(key=lambda result: (result.subject.input_shape, result.subject.num_classes) != own)
    return found[0] if found else None


def _values(row: PrintedRow, result: Result) -> Row:
    """Give what stands beside the printed figures of a row; nothing beside one that is printed of several stages."""
    found: Row = {}
    for figure in row.figures.values():
        stages = {other.stage for other in row.figures.values() if other.quantity == figure.quantity}
        if figure.quantity in OURS and len(stages) == 1:
            found |= _beside(figure, result)
    return found


def _beside(figure: Figure, result: Result) -> Row:
    values = OURS[figure.quantity].values(result, figure.stage)
    return {key: value for key, value in values.items() if value is not None}


def _row(printed: PrintedTable, row: PrintedRow, result: Result | None) -> Row:
    drawn = printed.cells(row) | {"name": row.spec.name if row.spec is not None else None}
    if result is None:
        return drawn
    ours = head(result) | _values(row, result)
    return drawn | {key: value for key, value in ours.items() if key != "name"}


def _labels(printed: PrintedTable) -> list[Column]:
    """Head the rows: as printed, and by our name where one is ours."""
    label = Column("row", printed.corner, align="left")
    return [label, OUR_NETWORK] if any(row.spec is not None for row in printed.rows) else [label]


def _cells(printed: PrintedTable) -> list[Column]:
    """Head the cells: each printed column, and ours of its quantities after it, once."""
    columns: list[Column] = []
    for key, heading in printed.keys.items():
        quantities = dict.fromkeys(row.figures[heading].quantity for row in printed.rows if heading in row.figures)
        ours = (column for quantity in quantities if quantity in OURS for column in OURS[quantity].columns)
        columns += [Column(key, heading), *(column for column in ours if column not in columns)]
    return columns


def _given(printed: PrintedTable, chosen: Sequence[Result | None]) -> list[str]:
    """Name the printed quantities that some result of ours has something beside."""
    given: dict[str, None] = {}
    for row, result in zip(printed.rows, chosen, strict=True):
        for figure in row.figures.values():
            if result is not None and figure.quantity in OURS and _beside(figure, result):
                given[figure.quantity] = None
    return list(given)


def _notes(row: PrintedRow, result: Result | None) -> tuple[str, ...]:
    """Say what a reader must know of a row: what is odd about the printed cells, and how far ours can be trusted."""
    texts = row.notes
    if result is None:
        return tuple(texts)
    texts += [*about(result), *failures(result)]
    if any(figure.quantity == "latency" for figure in row.figures.values()):
        texts += latency.warnings(result)
    return tuple(texts)


def _conventions(printed: PrintedTable) -> list[str]:
    """Say what the printed columns mean, as the paper has it."""
    said: dict[str, None] = {}
    for heading in printed.headings:
        figures: list[Figure] = [row.figures[heading] for row in printed.rows if heading in row.figures]
        for text in dict.fromkeys(figure.convention for figure in figures if figure.convention):
            said[sentence(f"{heading}: {text}")] = None
    data = dict.fromkeys(figure.dataset for figure in printed.figures if figure.dataset)
    if data:
        said[f"Data: {', '.join(data)}."] = None
    if any(figure.quantity == "accuracy" for figure in printed.figures):
        said["We measured no accuracy."] = None
    return list(said)


def _matrix(printed: PrintedTable, matrix: Figure) -> Table:
    """Draw a figure that is a table of its own, such as a confusion matrix."""
    columns = [Column("row", printed.corner, align="left"), *(Column(key, text) for key, text in printed.keys.items())]
    rows: list[Row] = [
        {"row": label, **dict(zip(printed.keys, cells, strict=True))}
        for label, cells in zip(matrix.rows, matrix.printed, strict=True)
    ]
    about = ", ".join(filter(None, (matrix.subject, matrix.dataset)))
    caption = " ".join([printed.credit, *map(sentence, filter(None, (about, matrix.convention, matrix.note)))])
    return Table(printed.heading, tuple(columns), tuple(rows), caption)
