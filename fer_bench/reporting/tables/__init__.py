"""The tables of a run, drawn from results alone.

``report`` lists what was measured, ``papers`` the papers' own tables with ours beside, ``details`` what is too long to
print by default.
"""

from collections.abc import Sequence
from dataclasses import replace

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.plan import CALIBRATION, REALTIME, SHARED
from fer_bench.records.result import Result
from fer_bench.reporting.analysis.sweeps import beside, series
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import (
    accuracy,
    common,
    costs,
    counts,
    deployment,
    live,
    resources,
    structure,
    sweeps,
    trainings,
)
from fer_bench.reporting.tables.common import build_of, failures
from fer_bench.reporting.tables.deployment import different
from fer_bench.reporting.tables.papers import papers
from fer_bench.reporting.tables.runs import run_details, runs
from fer_bench.reporting.tables.speed import bounds, coldstart, latency

__all__ = [
    "details",
    "different",
    "failures",
    "latency",
    "of_other_sheets",
    "papers",
    "report",
    "run_details",
    "runs",
]


def report(results: Sequence[Result], registry: Registry, baselines: Sequence[ModelSpec] = ()) -> dict[str, Table]:
    """Draw the tables of results, by the stem of their files; one that nothing was measured for is left out.

    The baselines are networks of which there is only what others published: a user's sheets without code.
    """
    networks = registry.networks
    references = [result for result in results if result.plan.protocol == CALIBRATION]
    results = [result for result in results if result.plan.protocol != CALIBRATION]
    tried = series(results, networks)
    results = _without_bare_counts(beside(results, tried))
    alone = [result for result in results if result.plan.metrics != (REALTIME,)]
    specs = [networks[name] for name in dict.fromkeys(r.subject.name for r in alone) if name in networks]
    drawn = {
        "efficiency": costs.efficiency(alone, registry, baselines),
        "latency": latency(alone),
        "deployment": deployment.deployment(alone),
        "roofline": bounds(results),
        "memory": resources.memory(results),
        "coldstart": coldstart(results),
        "training": resources.training(results),
        "trainings": trainings.trained(results),
        "occupancy_training": resources.occupation(results, "training"),
        "occupancy_testing": resources.occupation(results, "testing"),
        "energy": resources.joules(alone),
        "realtime": live.realtime(results),
        "realtime_stages": live.stages(results),
        **accuracy.tables(results),
        **{one.stem: sweeps.of_series(one) for one in tried},
        "published": costs.published([*specs, *baselines], alone, networks),
    }
    if references:
        drawn["calibration"] = sweeps.calibration(references)
    return {stem: replace(_of_nodes(table, references), name=stem) for stem, table in drawn.items() if table.rows}


def _of_nodes(table: Table, references: Sequence[Result]) -> Table:
    """Say in the caption of a table of several nodes whether they are alike, and how far each drifted."""
    of = [result for source in table.sources for result in source.results]
    if not any(result.environment is not None and result.environment.node for result in of):
        return table
    said = [text for text in (common.nodes(of), sweeps.drifts(references)) if text not in table.caption]
    return replace(table, caption=common.joined(table.caption, *said))


def of_other_sheets(results: Sequence[Result], registry: Registry) -> list[str]:
    """Name the networks of sheets that the registry does not have; those without a sheet name their own source."""
    return list(
        dict.fromkeys(
            result.subject.name
            for result in results
            if result.subject.name not in registry.networks
            and ":" not in result.subject.name
            and result.plan.isolation != SHARED  # a test's own module
        )
    )


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
