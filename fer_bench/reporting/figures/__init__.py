"""The figures of a run as plot data, drawn from results and sheets alone. ``figures`` is the one list.

A figure here is a plot: what is drawn, in base units, and its words. ``render.plots`` draws it.
"""

from collections.abc import Mapping, Sequence

from fer_bench.networks.registry import Registry
from fer_bench.records.result import Result
from fer_bench.reporting.analysis.sweeps import beside, series
from fer_bench.reporting.figures import measured, sweeps
from fer_bench.reporting.figures.accuracy import COSTS, accuracy
from fer_bench.reporting.figures.backends import backends
from fer_bench.reporting.figures.live import seconds
from fer_bench.reporting.figures.modules import divisions
from fer_bench.reporting.figures.plots import Plot
from fer_bench.reporting.figures.speed import roofs, spreads, sweep
from fer_bench.reporting.figures.trainings import LearningCurves, learning_curves
from fer_bench.reporting.table import Column, Table

__all__ = ["Plot", "figures", "listing"]


def figures(results: Sequence[Result], registry: Registry, dataset: str = "") -> dict[str, Plot | LearningCurves]:
    """Draw the figures of results, by the stem of their files; one that nothing was measured for is left out.

    Args:
        results: as stored.
        registry: the sheets, which have the accuracies.
        dataset: that accuracies are of, as the sheets name it; by default the one that most networks have them on.

    Raises:
        SheetError: a sheet is wrong.
    """
    tried = series(results, registry.networks)
    results = beside(results, tried)
    drawn: dict[str, Plot | LearningCurves | None] = {
        f"accuracy_{cost}": accuracy(results, cost, registry.networks, registry.papers, dataset) for cost in COSTS
    }
    drawn |= {
        "latency": spreads(results),
        "backends": backends(results),
        "modules": divisions(results),
        "roofline": roofs(results),
        "batch_sweep": sweep(results),
        **dict(measured.figures(results)),
        "realtime": seconds(results),
        "learning_curves": learning_curves(results),
        **{stem: plot for one in tried for stem, plot in sweeps.of_series(one).items()},
    }
    return {stem: plot for stem, plot in drawn.items() if plot is not None}


def listing(drawn: Mapping[str, Plot | LearningCurves]) -> Table:
    """List figures with their captions and notes, which the pictures themselves do not carry."""
    headings = {"stem": "File", "title": "Figure", "caption": "Caption"}
    columns = tuple(Column(key, heading, align="left") for key, heading in headings.items())
    rows = tuple({"stem": stem, "title": plot.title, "caption": plot.caption} for stem, plot in drawn.items())
    caption = r"A character that the pictures' font, DejaVu Sans, lacks is drawn as its number: \u8868."
    return Table("Figures", columns, rows, caption, notes=tuple(plot.notes for plot in drawn.values()))
