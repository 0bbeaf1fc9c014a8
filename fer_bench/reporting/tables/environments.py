"""Recipes and machines that papers list, and our machine beside theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fer_bench.records import units
from fer_bench.records.result import Environment, Result
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables.catalogue import as_printed
from fer_bench.reporting.tables.common import Entry, make_table, packages
from fer_bench.reporting.tables.printed import PrintedTable


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of a machine: its heading, and how it is read from an environment; "" where that lacks it."""

    heading: str
    read: Callable[[Environment], str]


def _mebibytes(size: int | None) -> str:
    return f"{units.mebibytes(size)} MiB" if size is not None else ""


def _limited(cores: float | None) -> str:
    return "" if cores is None else f", limited to {cores:g}"


def _memory(where: Environment) -> str:
    limit = where.memory_limit_bytes
    return _mebibytes(where.memory_bytes) + ("" if limit is None else f", limited to {_mebibytes(limit)}")


# By the subject of a figure of a sheet.
FACTS: Mapping[str, Fact] = {
    "system": Fact("System", lambda where: where.os),
    "operating system": Fact("System", lambda where: where.os),
    "cpu": Fact("CPU", lambda where: f"{where.cpu}, {where.cores} cores{_limited(where.cpu_limit)}"),
    "memory": Fact("Memory", lambda where: _memory(where)),
    "gpu": Fact("GPU", lambda where: where.gpu.get("name") or ""),
    "gpu memory": Fact("GPU memory", lambda where: _mebibytes(where.gpu.get("memory_bytes"))),
    "cuda": Fact("CUDA", lambda where: where.gpu.get("cuda") or ""),
    "python": Fact("Python", lambda where: where.python),
    "packages": Fact("Packages", packages),
    "threads": Fact("Threads", lambda where: str(where.threads)),
    "blas": Fact("BLAS", lambda where: where.blas),
    "allocator": Fact("Allocator", lambda where: where.allocator),
}
# What is listed of our machine where a table is of nothing else than a machine, and leaves it out.
_TOO = ("memory", "gpu", "gpu memory", "cuda", "python", "packages", "threads", "blas", "allocator")


def fact_of(fact: str, results: Sequence[Result]) -> str | None:
    """Return a fact of where results were measured, each answer once; None where no record has it."""
    if fact not in FACTS:
        return None
    answers = (FACTS[fact].read(result.environment) for result in results if result.environment is not None)
    return " or ".join(dict.fromkeys(filter(None, answers))) or None


def as_built(results: Sequence[Result]) -> str:
    """Describe by which packages networks were built, for a caption."""
    return f"as built with {fact_of('packages', results) or 'packages that no record names'}."


def listing(printed: PrintedTable, results: Sequence[Result]) -> Table:
    """List the names and values of a table whose rows have one figure each, and of a machine ours beside it."""
    entries = []
    for row in printed.rows:
        (figure,) = row.figures.values()
        fact = figure.subject.lower() if figure.quantity == "environment" else ""
        cells = {"row": row.label, "printed": as_printed(figure) or None, "ours": fact_of(fact, results)}
        entries.append(Entry(cells, row.notes, printed.source(row, *results)))
    if printed.quantities == {"environment"}:
        named = {figure.subject.lower() for figure in printed.figures}
        more = {FACTS[fact].heading: fact_of(fact, results) for fact in _TOO if fact not in named}
        source = RowSource(tuple(results))
        entries += [Entry({"row": row, "ours": ours}, (), source) for row, ours in more.items() if ours is not None]
    columns = [printed.label, printed.column("printed", "As published", "left")]
    caption = printed.credit
    if any(entry.cells["ours"] is not None for entry in entries):
        columns.append(
            Column("ours", "fer_bench: where measured", align="left").with_origin(
                "Reported by the measuring processes: the records' environments.", evidence="machine"
            )
        )
        caption += " fer_bench: where the results were measured; "
        caption += "a value that is not printed is missing in the paper, or lost in its text."
    return make_table(printed.heading, columns, entries, caption)
