"""Draw a metric of one network over stored runs and commits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.records.plan import TORCH
from fer_bench.records.result import Result
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE, Skipped, Store
from fer_bench.reporting.analysis import history as analysis
from fer_bench.reporting.analysis import latency, series
from fer_bench.reporting.analysis.parity import ERROR
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
    wanted = {key: str(value) for key, value in where.items()}
    if isinstance(sources, Mapping):
        found = [(run, result) for run, results in sources.items() for result in results]
        return Timeline(analysis.history(found, model, metric, wanted, last))
    names = [sources] if isinstance(sources, str | Path) else sources
    found = list(_named([str(name) for name in names], store or DEFAULT_STORE, skipped))
    if names and store is None:
        return Timeline(analysis.history(found, model, metric, wanted, last))
    with Store.open(store or DEFAULT_STORE, create=False) as opened:
        stored, read = _of_store(opened, model, metric, skipped)
        if not found:
            _check_measured(opened, model, metric, stored)
        return Timeline(analysis.history([*found, *stored], model, metric, wanted, last, read))


def _named(sources: Sequence[str], store: str, skip: Skipped | None) -> Iterator[Stored]:
    """Read what files and runs hold."""
    for source in sources:
        kind, _, name = name_source(source, store).partition(" ")
        shown = Path(name).name if kind == "file" else name.split()[0]
        for result in read_results(source, store, skip):
            yield shown, result


def _of_store(store: Store, model: str, metric: str, skip: Skipped | None) -> tuple[list[Stored], analysis.Read | None]:
    """Return a store's results; where only some of them matter, their heads, and what reads these whole."""
    measurements, details = series.measurements_for(metric)
    timed = latency.LATENCY in measurements  # which of a backend needs its parity beside it

    def whole(numbers: Sequence[int] | None = None, *, judged: bool = False) -> Iterator[tuple[int, str, Result]]:
        names = (*measurements, ERROR) if judged else measurements
        return store.results_of(model, names, details=details or judged, skipped=skip, numbers=numbers)

    left_out: list[str] = []
    numbered = list(store.heads_of(model, measurements, skipped=left_out.append if skip is not None else None))
    units = {measured.metric: measured.unit for _, _, head in numbered for measured in head.measurements}
    # Equal counts in a row of one run are one point, which only the values show.
    if not units or series.find_metric(metric, model, units).exact:
        return [(run, result) for _, run, result in whole()], None
    if skip is not None and left_out:
        skip("; ".join(left_out))
    numbers = {id(head): number for number, _, head in numbered}

    def read(heads: Sequence[Result]) -> list[Result | None]:
        judged = [timed and head.plan.backend != TORCH for head in heads]
        found = {
            number: result
            for apart in (False, True)
            for number, _, result in whole(
                [numbers[id(head)] for head, each in zip(heads, judged, strict=True) if each == apart], judged=apart
            )
        }
        return [found.get(numbers[id(head)]) for head in heads]

    return [(run, head) for _, run, head in numbered], read


def _check_measured(store: Store, model: str, metric: str, stored: Sequence[Stored]) -> None:
    """Raise FerBenchError, which names what there is, where nothing of a network or metric is stored."""
    if any(result.measurements for _, result in stored):
        return
    if model not in (names := store.networks()):
        raise series.nothing_of(model, names)
    series.find_metric(metric, model, store.metrics(model))
