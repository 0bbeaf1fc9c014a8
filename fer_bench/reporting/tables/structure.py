"""What networks are made of, from the modules of the networks as built."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from fer_bench.networks.registry import sheets
from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.catalogue import write_shape
from fer_bench.reporting.tables.common import INPUT, NETWORK, Row, about, head, make_table
from fer_bench.reporting.tables.printed import OUR_NETWORK, PrintedTable

# Of a printed table's rows; with fewer of its output sizes a network is another one.
_ENOUGH_EQUAL = 0.5

_OURS = (
    Column("module", "Module", align="left"),
    Column("type", "Type", align="left"),
    Column("output_shape", "Output", write_shape),
    Column("module_parameters", "Parameters", units.grouped),
    Column("module_macs", "MACs", units.grouped),
    Column("macs_share", "of all MACs", units.percent),
)
_SAID = (
    "From the network as built: a module with all inside it, its distinct parameters, what it gave when it first ran "
    "(of one image), MACs an image by conv+matmul-v1 (convolutions and matrix products)."
)


def modules(result: Result) -> list[Row]:
    """Give a network's modules, two levels deep, as rows of a table; none where they were not counted."""
    measured = result.measurement("module_macs")
    if measured is None:
        return []
    total = result.value("macs")
    return [
        {
            "module": told["path"],
            "type": told["type"],
            "output_shape": told["output_shape"],
            "module_parameters": told["parameters"],
            "module_macs": macs,
            "macs_share": macs / total if total else None,
        }
        for macs, told in zip(measured.values, measured.details.get("modules", ()), strict=True)
    ]


def architecture(results: Sequence[Result]) -> Table:
    """Draw the modules of each network, two levels deep; a network that was measured in several ways has them once."""
    rows, notes = [], []
    for result in _once(results, "module_macs"):
        for module in modules(result):
            rows.append({"name": result.subject.name, "input_shape": result.subject.input_shape} | module)
            notes.append(tuple(about(result)))
    columns = (NETWORK, INPUT, *_OURS)
    return make_table("Architecture", columns, rows, f"{_SAID} Modules as they are registered.", notes)


def counts(results: Sequence[Result]) -> Table:
    """Draw what was counted of each network, once for each input and number of classes."""
    rows, notes = [], []
    for result in _once(results, "macs"):
        macs = result.value("macs")
        rows.append(
            head(result)
            | {
                "macs": macs,
                "flops": None if macs is None else 2 * macs,
                **{metric: result.value(metric) for metric in ("state_dict_bytes", "peak_activation_bytes")},
                **{kind: result.value(f"layers.{kind}") for kind in ("conv", "conv_separable_once", "pool", "fc")},
                "keras_total": result.value("parameters.keras_total"),
            }
        )
        notes.append(tuple(about(result)))
    columns = (
        NETWORK,
        INPUT,
        Column("num_classes", "Classes"),
        Column("parameters", "Parameters", units.grouped, better="lower"),
        Column("keras_total", "Keras total", units.grouped, better="lower"),
        Column("macs", "MACs", units.scaled, better="lower"),
        Column("flops", "FLOPs", units.scaled, better="lower"),
        Column("state_dict_bytes", "Size (MiB)", units.mebibytes, better="lower"),
        Column("peak_activation_bytes", "Activations (MiB)", units.mebibytes, better="lower"),
        Column("conv", "Conv"),
        Column("conv_separable_once", "Conv, separable once"),
        Column("pool", "Pool"),
        Column("fc", "FC"),
    )
    caption = (
        "Parameters: trainable. MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs. "
        "Size: parameters and buffers. Activations: peak bytes beside the weights, in inference. Layers that run."
    )
    return make_table("Counts", columns, rows, caption, notes)


def _once(results: Sequence[Result], metric: str) -> list[Result]:
    """Give of each network, as built for an input and classes, the first result with a count: no plan changes it."""
    found: dict[tuple[Json, ...], Result] = {}
    for result in results:
        subject = result.subject
        measured = result.measurement(metric)
        if measured is not None and measured.values:
            found.setdefault((subject.name, subject.input_shape, subject.num_classes, subject.settings), result)
    return list(found.values())


def beside(printed: PrintedTable, results: Sequence[Result]) -> Table:
    """Draw a network's parts as printed, and beside each the module that it is, for each network that it may be.

    Args:
        printed: a table with output sizes.
        results: ours; networks of the paper whose modules give more than half of the printed output sizes are drawn.
    """
    rows, notes = [], []
    for result, found in _candidates(printed, results):
        for row, module in zip(printed.rows, found, strict=True):
            rows.append(printed.cells(row) | {"name": result.subject.name} | module)
            notes.append((*row.notes, *about(result)))
    caption = printed.credit
    if rows:
        caption += (
            f" fer_bench: networks of the paper whose modules give more than half of the printed output sizes, the "
            f"modules found by these and by their order. {_SAID}"
        )
    else:
        rows, notes = [printed.cells(row) for row in printed.rows], [tuple(row.notes) for row in printed.rows]
    labels = Column("row", printed.corner, align="left")
    theirs = [Column(key, heading, align="left") for key, heading in printed.keys.items()]
    return make_table(printed.heading, (labels, *theirs, OUR_NETWORK, *_OURS), rows, caption, notes)


def _candidates(printed: PrintedTable, results: Sequence[Result]) -> list[tuple[Result, list[Row]]]:
    wanted = [_shape(printed.cells(row).get(_size_key(printed))) for row in printed.rows]
    found = []
    for result in _once(results, "module_macs"):
        rows = modules(result)
        pairs = match(wanted, [tuple(row["output_shape"] or ()) for row in rows])
        equal = sum(wanted[row] == tuple(rows[module]["output_shape"] or ()) for row, module in pairs.items())
        if _is_of(result, printed.paper) and equal > _ENOUGH_EQUAL * len(wanted):
            found.append((result, [rows[pairs[row]] if row in pairs else {} for row in range(len(wanted))]))
    return found


def _is_of(result: Result, paper: str) -> bool:
    spec = sheets().get(result.subject.name)
    return spec is not None and paper in spec.papers


def _size_key(printed: PrintedTable) -> str:
    headings: Mapping[str, str] = {heading: key for key, heading in printed.keys.items()}
    return next(
        headings[heading]
        for row in printed.rows
        for heading, figure in row.figures.items()
        if figure.quantity == "output_size"
    )


def _shape(text: Json) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text or "")))


def match(printed: Sequence[tuple[int, ...]], ours: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Find which module each printed row is, by output size and order.

    Where as many rows as modules lie between two that match, they are each other's though their sizes differ: that is
    how a misprint is seen.

    Returns:
        the module's place by the row's place; a row that no module is, is left out.
    """
    pairs: dict[int, int] = {}
    for kind, low, high, our_low, our_high in SequenceMatcher(None, printed, ours, autojunk=False).get_opcodes():
        if kind == "equal" or (kind == "replace" and high - low == our_high - our_low):
            pairs.update(zip(range(low, high), range(our_low, our_high), strict=True))
    return pairs
