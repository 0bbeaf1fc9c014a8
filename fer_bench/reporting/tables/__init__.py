"""The tables of a run, drawn from results alone.

``report`` lists what was measured, ``papers`` the papers' own tables with ours beside, ``details`` what is too long to
print by default.
"""

from collections.abc import Sequence
from dataclasses import replace

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.result import Result
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import costs, counts, deployment, resources, structure
from fer_bench.reporting.tables.common import build_of, failures
from fer_bench.reporting.tables.deployment import different
from fer_bench.reporting.tables.papers import papers
from fer_bench.reporting.tables.runs import run_details, runs
from fer_bench.reporting.tables.speed import bounds, latency

__all__ = ["details", "different", "failures", "latency", "papers", "report", "run_details", "runs"]


def report(results: Sequence[Result], registry: Registry, baselines: Sequence[ModelSpec] = ()) -> dict[str, Table]:
    """Draw the tables of results, by the stem of their files; one that nothing was measured for is left out.

    The baselines are networks of which there is only what others published: a user's sheets without code.
    """
    networks = registry.networks
    results = _without_bare_counts(results)
    specs = [networks[name] for name in dict.fromkeys(r.subject.name for r in results) if name in networks]
    drawn = {
        "efficiency": costs.efficiency(results, registry, baselines),
        "latency": latency(results),
        "deployment": deployment.deployment(results),
        "roofline": bounds(results),
        "memory": resources.memory(results),
        "training": resources.training(results),
        "occupancy_training": resources.occupation(results, "training"),
        "occupancy_testing": resources.occupation(results, "testing"),
        "energy": resources.joules(results),
        "published": costs.published([*specs, *baselines], results, networks),
    }
    return {stem: replace(table, name=stem) for stem, table in drawn.items() if table.rows}


def _without_bare_counts(results: Sequence[Result]) -> list[Result]:
    """Leave out results that only count a network which others measured: they would add a row and nothing to it."""
    measured = {build_of(result) for result in results if result.plan.metrics != ("static",)}
    return [r for r in results if r.plan.metrics != ("static",) or build_of(r) not in measured]


def details(results: Sequence[Result], registry: Registry) -> dict[str, Table]:
    """Draw the tables that are too long to print by default, by the stem of their files, as ``report`` does."""
    drawn = {
        "counts": counts.of_results(results, registry.networks),
        "architecture": structure.architecture(results, registry.networks),
    }
    return {stem: replace(table, name=stem) for stem, table in drawn.items() if table.rows}
