"""What others published of networks, as rows beside measured ones: never mixed silently."""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from fer_bench.networks.spec import Figure, ModelSpec, Paper
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Subject
from fer_bench.reporting.analysis import builds
from fer_bench.reporting.table import RowSource
from fer_bench.reporting.tables.catalogue import as_printed
from fer_bench.reporting.tables.common import Entry
from fer_bench.reporting.tables.standard import Row

# Cells of the efficiency table by the quantity of a figure; FLOPs depend on their convention.
_CELLS = {"parameters": "parameters", "trainable_parameters": "parameters", "latency": "latency_s"}
# A convention that opens so says which of the two it is; "floating-point operations per second" does not.
_CONVENTION = re.compile(r"(flops|macs)\s*(?:$|[,;:=(.])", re.IGNORECASE)


def published_rows(specs: Iterable[ModelSpec], papers: Mapping[str, Paper]) -> Iterator[Entry]:
    """Yield a row of the efficiency table, in base units, for each network and paper.

    Input and classes are those of its accuracies, where the sheets know one build of all; settings stay empty.
    """
    for spec in specs:
        for paper in dict.fromkeys(figure.paper for figure in spec.published):
            cells, accuracies = _cells_of(spec, paper), spec.figures("accuracy", paper)
            if not cells and not accuracies:
                continue
            row: Row = {"name": spec.name, "paper": paper, "accuracy": write_accuracies(accuracies)}
            of_results = {figure.conditions.build for figure in accuracies}
            if len(of_results) == 1 and (build := of_results.pop()) is not None:
                row |= {"input_shape": build[0], "num_classes": build[1]}
            for key, figure in cells.items():
                row |= _value(key, figure)
            unread = [f"No number: {as_printed(figure)}." for key, figure in cells.items() if key not in row]
            figures = {key: [figure] for key, figure in cells.items() if key in row} | {"accuracy": accuracies}
            yield Entry(row, [_credit(paper, papers.get(paper), cells.values()), *unread], RowSource(figures=figures))


def _cells_of(spec: ModelSpec, paper: str) -> dict[str, Figure]:
    cells: dict[str, Figure] = {}
    for quantity, key in _CELLS.items():
        for figure in spec.figures(quantity, paper):
            cells.setdefault(key, figure)
    for figure in spec.figures("flops", paper):
        said = _CONVENTION.match(figure.convention)
        cells[said[1].lower() if said else "printed_flops"] = figure
    return cells


def write_accuracies(figures: Iterable[Figure], subject: Subject | None = None) -> str | None:
    """Name accuracies that papers print, each with its data set and place, and its build where that is another."""
    texts = []
    for figure in figures:
        build = builds.other_than(figure.conditions, subject) if subject is not None else ""
        place = ", ".join(filter(None, (figure.paper, figure.where)))
        texts.append(f"{accuracy_of(figure)} ({'; '.join(filter(None, (place, build)))})")
    return "; ".join(texts) or None


def accuracy_of(figure: Figure) -> str:
    """Write an accuracy with its data set."""
    return " ".join(filter(None, (as_printed(figure), figure.dataset)))


def digits_of(key: str) -> str:
    """Name the key of the share up to which a printed value is known: one in its last digit."""
    return f"{key.removesuffix('_s')}_share"


def _value(key: str, figure: Figure) -> Row:
    try:
        value = units.printed_value(figure.printed, figure.unit)
    except SheetError:  # "nearly 5": the note has it as printed
        return {}
    if not value.is_finite():
        return {}
    mantissa = Decimal(figure.printed.partition(" ")[0].replace(",", ""))
    last = Decimal(1).scaleb(int(mantissa.as_tuple().exponent))
    return {
        key: int(value) if value == value.to_integral_value() else float(value),
        digits_of(key): float(last / mantissa) if mantissa else None,
    }


def _credit(paper: str, known: Paper | None, figures: Iterable[Figure]) -> str:
    said = ", ".join(f"{figure.quantity.replace('_', ' ')} {as_printed(figure)} ({figure.where})" for figure in figures)
    cited = f"{paper}, {known.cited}" if known is not None else f"{paper}."
    return " ".join(filter(None, (f"As published: {cited}", f"{said};" if said else "", "not measured by us.")))
