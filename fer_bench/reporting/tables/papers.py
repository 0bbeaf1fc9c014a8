"""The tables of papers as published, with our numbers beside them where there are any."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import UNKNOWN, Figure
from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import builds, latency
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables import common, environments, live, standard, structure
from fer_bench.reporting.tables.common import Entry, make_table
from fer_bench.reporting.tables.ours import OURS, stage_of, values_beside
from fer_bench.reporting.tables.printed import OUR_NETWORK, PrintedRow, PrintedTable, printed_tables, sentences


def papers(results: Sequence[Result], registry: Registry) -> dict[str, Table]:
    """Draw every table of the papers, by stems such as "paper001_table2": as published, and ours beside.

    Of a network's results, each table takes the first that has what it prints; where there is none, the table has the
    printed columns only.
    """
    printed = printed_tables(registry)
    return {stem: replace(_draw(table, results, registry.networks), name=stem) for stem, table in printed.items()}


def _draw(printed: PrintedTable, results: Sequence[Result], networks: common.Networks) -> Table:
    if printed.matrix is not None:
        return _matrix(printed, printed.matrix)
    if "output_size" in printed.quantities:
        return structure.parts(printed, results, networks)
    if printed.is_listing:
        return environments.listing(printed, results)
    return _comparison(printed, results, networks)


def _comparison(printed: PrintedTable, results: Sequence[Result], networks: common.Networks) -> Table:
    pairs = [(row, result) for row in printed.rows for result in (*_choose(row, results),) or (None,)]
    differ = len(_obtained(printed.rows)) > 1
    entries = [_entry(printed, row, result, networks, differ) for row, result in pairs]
    used = [result for _, result in pairs if result is not None]
    given = _given(pairs)
    loads = [cells for result in used if (cells := live.load(result))]
    timed = used if any(OURS[quantity].timed for quantity in given) else []
    loaded = any(figure.stage and figure.quantity in OURS for figure in printed.figures)
    caption = [printed.credit, printed.machine if loaded else "", *_conventions(printed)]
    if used:
        caption += ["fer_bench:", common.conditions(timed) or environments.as_built(used)]
        caption += [live.loads(loads), *dict.fromkeys(OURS[quantity].said for quantity in given)]
        caption += [common.latency_means(entries)]
    labels = [printed.label, *([OUR_NETWORK] if any(row.spec is not None for row in printed.rows) else [])]
    columns = [*labels, standard.INPUT, standard.CLASSES, *common.varying(timed), *live.load_columns(loads)]
    columns += [*_cells(printed), *live.PER_FRAME]
    return make_table(printed.heading, columns, entries, common.joined(*caption), comparable=common.comparable(used))


def _choose(row: PrintedRow, results: Sequence[Result]) -> Sequence[Result]:
    """Return the first result of the row's network that has something to put beside a printed figure, if there is one.

    One of the build that had the row's results comes first, then for counts, where a protocol may have had its own
    size, one of the sheet's build. Runs of the whole system come before all of these, and each of them has a row.
    """
    spec = row.spec
    if spec is None:
        return []
    timed = any(OURS[figure.quantity].timed for figure in row.figures.values() if figure.quantity in OURS)
    given = results if timed else [*results, *builds.counted_builds(results)]
    candidates = [result for result in given if result.subject.name == spec.name and _values(row, result)]
    if not timed:
        own = (spec.input_shape, spec.num_classes)
        candidates.sort(key=lambda result: (result.subject.input_shape, result.subject.num_classes) != own)
    candidates.sort(key=lambda result: not builds.is_build(builds.as_counted(result), row.build))
    return [result for result in candidates if live.load(result)] or candidates[:1]


def _values(row: PrintedRow, result: Result) -> standard.Row:
    """Return what stands beside the printed figures of a row; nothing beside one that is printed of several stages."""
    values: standard.Row = {}
    for figure in row.figures.values():
        stages = {other.stage for other in row.figures.values() if other.quantity == figure.quantity}
        if len(stages) == 1:
            values |= values_beside(figure, result)
    return values


def _entry(
    printed: PrintedTable, row: PrintedRow, result: Result | None, networks: common.Networks, differ: bool
) -> Entry:
    cells = printed.cells(row) | {"name": row.spec.name if row.spec is not None else None}
    own = [*row.notes, *(f"Obtained with: {text}." for text in _obtained([row]) if differ)]
    if result is None:
        return Entry(cells, own, printed.source(row))
    notes = [*own, *common.about(result, networks), *common.failures(result)]
    if any(figure.quantity == "latency" for figure in row.figures.values()):
        notes += latency.warnings(result)
    said = dict.fromkeys(builds.apart(figure.conditions, builds.as_counted(result)) for figure in row.results)
    notes += [sentences(f"Different builds: {text}") for text in said if text]
    values = _values(row, result)
    if (share := values.get(standard.MEMORY_SHARE.key)) is not None:
        memory = units.mebibytes(values[standard.RSS.key] / share)
        notes += [f"RSS: {units.hundredths(share)} % of this machine's {memory} MiB.", *live.of_machine(result)]
    stage = next((stage_of(figure, result) for figure in row.figures.values() if figure.stage), "")
    source = replace(printed.source(row, result), stage=stage)
    return Entry(common.head(result) | live.load(result) | values | cells, notes, source)


def _cells(printed: PrintedTable) -> list[Column]:
    """Head the cells: each printed column, and ours of its quantities after it, once."""
    columns: list[Column] = []
    for key, heading in printed.keys.items():
        quantities = dict.fromkeys(row.figures[heading].quantity for row in printed.rows if heading in row.figures)
        ours = (column for quantity in quantities if quantity in OURS for column in OURS[quantity].columns)
        columns += [printed.column(key, heading), *(column for column in ours if column not in columns)]
    return columns


def _given(pairs: Iterable[tuple[PrintedRow, Result | None]]) -> list[str]:
    measured = [(row, result) for row, result in pairs if result is not None]
    figures = ((figure, result) for row, result in measured for figure in row.figures.values())
    return list(dict.fromkeys(figure.quantity for figure, result in figures if values_beside(figure, result)))


def _conventions(printed: PrintedTable) -> list[str]:
    said = [
        sentences(f"{heading}: {row.figures[heading].convention}")
        for heading in printed.headings
        for row in printed.rows
        if heading in row.figures and row.figures[heading].convention
    ]
    if data := dict.fromkeys(figure.dataset for figure in printed.figures if figure.dataset):
        said.append(f"Data: {', '.join(data)}.")
    if any(figure.quantity == "accuracy" for figure in printed.figures):
        said.append("No accuracy was measured here.")
    if len(shared := _obtained(printed.rows)) == 1:
        said.append(f"Results were obtained with: {shared[0]}.")
    return list(dict.fromkeys(said))


def _obtained(rows: Iterable[PrintedRow]) -> list[str]:
    """Describe how the results of rows were obtained, each way once."""
    known = (figure for row in rows for figure in row.results if figure.conditions != UNKNOWN)
    return list(dict.fromkeys(str(figure.conditions) for figure in known))


def _matrix(printed: PrintedTable, matrix: Figure) -> Table:
    source = RowSource(figures={key: [matrix] for key in ("row", *printed.keys)})
    entries = [
        Entry({"row": label, **dict(zip(printed.keys, cells, strict=True))}, (), source)
        for label, cells in zip(matrix.rows, matrix.printed, strict=True)
    ]
    about = ", ".join(filter(None, (matrix.subject, matrix.dataset)))
    caption = f"{printed.credit} {sentences(about, matrix.convention, matrix.note)}"
    columns = [printed.label, *(printed.column(key, heading) for key, heading in printed.keys.items())]
    return make_table(printed.heading, columns, entries, caption)
