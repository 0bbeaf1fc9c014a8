"""The tables of a run, drawn from results alone. ``report`` is the one list."""

from collections.abc import Sequence

from fer_bench.records import Result
from fer_bench.registry import sheets
from fer_bench.report.common import failures
from fer_bench.report.costs import efficiency, published
from fer_bench.report.resources import joules, memory, occupation, training
from fer_bench.report.runs import portrait, runs
from fer_bench.report.speed import bounds, latency
from fer_bench.table import Table

__all__ = [
    "bounds",
    "efficiency",
    "failures",
    "joules",
    "latency",
    "memory",
    "occupation",
    "portrait",
    "published",
    "report",
    "runs",
    "training",
]


def report(results: Sequence[Result]) -> dict[str, Table]:
    """Draw the tables of results, by the stem of their files; one that nothing was measured for is left out."""
    zoo = sheets()
    by_name = {result.subject.name: result for result in reversed(results)}  # the first of several settings
    specs = [zoo[name] for name in dict.fromkeys(r.subject.name for r in results) if name in zoo]
    drawn = {
        "efficiency": efficiency(results),
        "latency": latency(results),
        "roofline": bounds(results),
        "memory": memory(results),
        "training": training(results),
        "occupancy_training": occupation(results, "training"),
        "occupancy_testing": occupation(results, "testing"),
        "energy": joules(results),
        "published": published(specs, by_name),
    }
    return {stem: table for stem, table in drawn.items() if table.rows}
