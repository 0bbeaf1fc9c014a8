"""What networks are made of, from the modules of the networks as built."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import standard
from fer_bench.reporting.tables.common import Entry, Networks, about, make_table
from fer_bench.reporting.tables.counts import once
from fer_bench.reporting.tables.printed import OUR_NETWORK, PrintedRow, PrintedTable
from fer_bench.reporting.tables.standard import Row

# Of a printed table's rows; with fewer of its output sizes a network is another one.
_ENOUGH_EQUAL = 0.5


def _of_module(column: Column, how: str, *metrics: str) -> Column:
    return column.with_origin(f"Of the module with its submodules, in its first call: {how}", "module_macs", *metrics)


_OURS = (
    _of_module(Column("module", "Module", align="left"), "its name in the network."),
    _of_module(Column("type", "Type", align="left"), "its class."),
    _of_module(Column("output_shape", "Output", standard.write_shape), "its output shape, for one image."),
    _of_module(Column("module_parameters", "Parameters", units.grouped), "its distinct parameters."),
    _of_module(Column("module_macs", "MACs", units.grouped), "multiply-accumulates per image."),
    _of_module(
        Column("macs_share", "of all MACs", units.percent), "multiply-accumulates, divided by the network's.", "macs"
    ),
)
_SAID = (
    "From the network as built: a module with its submodules, its distinct parameters, the output of its first call "
    f"(for one image), {standard.MACS_ARE}."
)
_FOUND = (
    "fer_bench: networks of the paper whose modules have more than half of the printed output sizes, matched by these "
    "and by their order."
)


def modules(result: Result) -> list[Row]:
    """Return a network's modules, two levels deep, as rows of a table; none where they were not counted."""
    measured = result.measurement("module_macs")
    if measured is None:
        return []
    total = result.value("macs")
    return [
        {
            "module": module["path"],
            "type": module["type"],
            "output_shape": module["output_shape"],
            "module_parameters": module["parameters"],
            "module_macs": macs,
            "macs_share": macs / total if total else None,
        }
        for macs, module in zip(measured.values, measured.details.get("modules", ()), strict=True)
    ]


def architecture(results: Sequence[Result], networks: Networks) -> Table:
    """Draw the modules of each network, two levels deep; a network that was measured in several ways has them once."""
    entries = []
    for result in once(results, "module_macs"):
        network = {"name": result.subject.name, "input_shape": result.subject.input_shape}
        notes = about(result, networks)
        entries += [Entry.of(result, network | module, *notes) for module in modules(result)]
    caption = f"{_SAID} Modules as they are registered."
    return make_table("Architecture", (standard.NETWORK, standard.INPUT, *_OURS), entries, caption)


def parts(printed: PrintedTable, results: Sequence[Result], networks: Networks) -> Table:
    """Draw the parts of a network as a table with output sizes prints them, and beside each the module that it is.

    That is drawn for each network of the paper whose modules give more than half of the printed output sizes.
    """
    entries = [
        Entry(
            printed.cells(row) | {"name": result.subject.name} | module,
            [*row.notes, *about(result, networks)],
            printed.source(row, result),
        )
        for result, matched in _candidates(printed, results, networks)
        for row, module in zip(printed.rows, matched, strict=True)
    ]
    caption = printed.credit
    if entries:
        caption += f" {_FOUND} {_SAID}"
    else:
        entries = [Entry(printed.cells(row), row.notes, printed.source(row)) for row in printed.rows]
    theirs = [printed.column(key, heading, "left") for key, heading in printed.keys.items()]
    return make_table(printed.heading, (printed.label, *theirs, OUR_NETWORK, *_OURS), entries, caption)


def _candidates(printed: PrintedTable, results: Sequence[Result], networks: Networks) -> list[tuple[Result, list[Row]]]:
    wanted = [_printed_size(row) for row in printed.rows]
    candidates = []
    of_paper = [name for name, spec in networks.items() if printed.about.paper in spec.papers]
    for result in once((r for r in results if r.subject.name in of_paper), "module_macs"):
        rows = modules(result)
        shapes = [tuple(row["output_shape"] or ()) for row in rows]
        pairs = match(wanted, shapes)
        equal = sum(wanted[row] == shapes[module] for row, module in pairs.items())
        if equal > _ENOUGH_EQUAL * len(wanted):
            candidates.append((result, [rows[pairs[row]] if row in pairs else {} for row in range(len(wanted))]))
    return candidates


def _printed_size(row: PrintedRow) -> tuple[int, ...]:
    printed = (str(figure.printed) for figure in row.figures.values() if figure.quantity == "output_size")
    return tuple(map(int, re.findall(r"\d+", next(printed, ""))))


def match(printed: Sequence[tuple[int, ...]], ours: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Return which module each printed row is, by output size and order, as places; a row that is none is left out.

    Where as many rows as modules lie between two that match, they are each other's though their sizes differ: that is
    how a misprint is seen.
    """
    pairs: dict[int, int] = {}
    for kind, low, high, our_low, our_high in SequenceMatcher(None, printed, ours, autojunk=False).get_opcodes():
        if kind == "equal" or (kind == "replace" and high - low == our_high - our_low):
            pairs.update(zip(range(low, high), range(our_low, our_high), strict=True))
    return pairs
