"""Draw a metric of one network over stored runs and commits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.records.result import Result
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE, Skipped, Store
from fer_bench.reporting.analysis import history as analysis
from fer_bench.reporting.analysis import series
from fer_bench.reporting.analysis.series import Stored
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables.history import timeline

if TYPE_CHECKING:
    import pandas

LAST = 200  # points: what is legible, and takes seconds to search for changes


@dataclass(frozen=True)
class Timeline:
    """A metric of one network over time, with what changed where; it prints itself.

    Attributes:
        history: the points, levels and changes.
    """

    history: analysis.History

    def table(self) -> Table:
        """Return a table with a row for each point, and what changed there in its notes."""
        return timeline(self.history)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame, one row for each point."""
        return self.table().to_frame()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def history(
    model: str,
    metric: str = "latency",
    *,
    store: str | None = None,
    sources: str | Path | Iterable[str | Path] | Mapping[str, Iterable[Result]] = (),
    where: Mapping[str, object] = {},
    last: int | None = LAST,
    skipped: Skipped | None = None,
) -> Timeline:
    """Return a metric over stored runs and commits, with its change points.

    Change points are those of E-divisive (Matteson and James 2014); any difference in counts is a change. Changes of
    the environment are marked, too.

    Args:
        model: the network, as it was named when it was measured.
        metric: "latency", "macs", "parameters", "memory" or what else was measured.
        store: all runs in it; by default those of the default store, without ``sources``.
        sources: files of results and ids of runs; or results in hand, by the names of their runs.
        where: conditions, such as ``{"device": "cpu"}``; by default those stored most often.
        last: only so many of the latest points; None for all.
        skipped: is given a line on records that cannot be read; without it, the first of them is a StoreError.

    Raises:
        FerBenchError: nothing is stored of this network or metric, or under these conditions.
        StoreError: a file or store cannot be read.

    Examples:
        >>> runs = {run: fb.measure("mtcnn_pnet", "quick", metrics="static", progress=False) for run in ("one", "two")}
        >>> fb.history("mtcnn_pnet", "macs", sources=runs).to_frame()[["run", "value"]].to_dict("records")
        [{'run': 'one', 'value': 44760}, {'run': 'two', 'value': 44760}]
    """
    if isinstance(sources, Mapping):
        found = [(run, result) for run, results in sources.items() for result in results]
    else:
        names = [sources] if isinstance(sources, str | Path) else sources
        found = list(_stored(model, metric, store, [str(name) for name in names], skipped))
    return Timeline(analysis.history(found, model, metric, {key: str(value) for key, value in where.items()}, last))


def _stored(
    model: str, metric: str, store: str | None, sources: Sequence[str], skip: Skipped | None
) -> Iterator[Stored]:
    """Read what files and runs hold, and the store, if it is named or nothing else is."""
    where = store or DEFAULT_STORE
    for source in sources:
        kind, _, name = name_source(source, where).partition(" ")
        shown = Path(name).name if kind == "file" else name.split()[0]
        for result in read_results(source, where, skip):
            yield shown, result
    if store is None and sources:
        return
    measurements, details = series.measurements_for(metric)
    with Store.open(where, create=False) as opened:
        measured = False
        for run, result in opened.results_of(model, measurements, details=details, skipped=skip):
            measured = measured or bool(result.measurements)
            yield run, result
        if measured or sources:
            return
        if model not in (names := opened.networks()):
            raise series.nothing_of(model, names)
        series.find_metric(metric, model, opened.metrics(model))  # raises, and names those that there are
