"""Recipes and machines that papers list, and our machine beside theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fer_bench.records import units
from fer_bench.records.result import Environment, Json, Result
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.common import Row
from fer_bench.reporting.tables.printed import PrintedTable


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of a machine: its heading, and how an environment tells it; "" where it does not."""

    heading: str
    tell: Callable[[Environment], str]


def _gpu(key: str) -> Callable[[Environment], str]:
    return lambda where: str(where.gpu.get(key) or "")


def _gpu_memory(where: Environment) -> str:
    memory: Json = where.gpu.get("memory_bytes")
    return f"{units.mebibytes(memory)} MiB" if memory else ""


def _packages(where: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(where.packages.items()))


# By the subject of a figure of a sheet.
FACTS: Mapping[str, Fact] = {
    "system": Fact("System", lambda where: where.os),
    "operating system": Fact("System", lambda where: where.os),
    "cpu": Fact("CPU", lambda where: f"{where.cpu}, {where.cores} cores"),
    "memory": Fact("Memory", lambda where: f"{units.mebibytes(where.memory_bytes)} MiB"),
    "gpu": Fact("GPU", _gpu("name")),
    "gpu memory": Fact("GPU memory", _gpu_memory),
    "cuda": Fact("CUDA", _gpu("cuda")),
    "python": Fact("Python", lambda where: where.python),
    "packages": Fact("Packages", _packages),
    "threads": Fact("Threads", lambda where: str(where.threads)),
    "blas": Fact("BLAS", lambda where: where.blas),
    "allocator": Fact("Allocator", lambda where: where.allocator),
}
# What is told of our machine where a table is of nothing else than a machine, and leaves it out.
_TOO = ("memory", "gpu", "gpu memory", "cuda", "python", "packages", "threads", "blas", "allocator")


def told(fact: str, results: Sequence[Result]) -> str | None:
    """Tell a fact of where results were measured, each answer once; None where nothing tells it."""
    if fact not in FACTS:
        return None
    answers = (FACTS[fact].tell(result.environment) for result in results if result.environment is not None)
    return " or ".join(dict.fromkeys(filter(None, answers))) or None


def beside(printed: PrintedTable, results: Sequence[Result]) -> Table:
    """List names and values as printed, and of a machine ours beside it.

    Args:
        printed: a table whose rows have one figure each.
        results: ours; their environments are put beside.
    """
    rows, notes = _printed_rows(printed, results), [tuple(row.notes) for row in printed.rows]
    if printed.quantities == {"environment"}:
        more = _more(printed, results)
        rows, notes = [*rows, *more], [*notes, *((),) * len(more)]
    columns = [Column("row", printed.corner, align="left"), Column("printed", "As published", align="left")]
    caption = printed.credit
    if any(row["ours"] is not None for row in rows):
        columns.append(Column("ours", "fer_bench: where measured", align="left"))
        caption += (
            " fer_bench: where the results were measured; what only we tell, the paper does not, or its text lost it."
        )
    return Table(printed.heading, tuple(columns), tuple(rows), caption, tuple(notes))


def _printed_rows(printed: PrintedTable, results: Sequence[Result]) -> list[Row]:
    rows: list[Row] = []
    for row in printed.rows:
        (figure,) = row.figures.values()
        cells = {key: value for key, value in printed.cells(row).items() if key != "row"}
        fact = figure.subject.lower() if figure.quantity == "environment" else ""
        rows.append({"row": row.label, "printed": next(iter(cells.values())), "ours": told(fact, results)})
    return rows


def _more(printed: PrintedTable, results: Sequence[Result]) -> list[Row]:
    named = {figure.subject.lower() for figure in printed.figures}
    rows = [{"row": FACTS[fact].heading, "ours": told(fact, results)} for fact in _TOO if fact not in named]
    return [row for row in rows if row["ours"] is not None]
