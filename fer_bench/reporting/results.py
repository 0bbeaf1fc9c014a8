"""Results as a user has them in hand: a sequence that prints itself, and becomes a frame."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from fer_bench.networks.registry import Registry, built_in
from fer_bench.records.result import Json, Result
from fer_bench.records.sources import read_results
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import tables
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import common, counts

if TYPE_CHECKING:
    import pandas


class Results(Sequence[Result]):
    """Results of networks, in the order in which they were measured: what ``measure`` and ``load`` return.

    It prints itself as a table, in a notebook too.

    Attributes:
        registry: the networks and papers that tables refer to.

    Examples:
        >>> results = fb.measure("mtcnn_pnet", "quick", metrics="static", progress=False)
        >>> len(results), results[0].value("macs")
        (1, 44760)
    """

    def __init__(self, results: Iterable[Result], registry: Registry | None = None) -> None:
        self._results = tuple(results)
        self.registry = registry or built_in()

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Result | Self:
        if isinstance(place, slice):
            return type(self)(self._results[place], self.registry)
        return self._results[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Results) and self._results == other._results

    __hash__ = None  # type: ignore[assignment]  # results hold mappings

    def summary(self) -> Table:
        """Return the efficiency table, a row for each result."""
        return tables.report(self._results, self.registry)["efficiency"]

    def records(self) -> list[dict[str, Json]]:
        """Return a mapping for each result: what was measured, in base units, by names that end in the unit.

        An interval is two entries, such as ``latency_low_s`` and ``latency_high_s``; ``notes`` is what a reader must
        know of the row, and ``failures`` what could not be measured.
        """
        return [_record(result, self.registry) for result in self._results]

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame of ``records``, one row for each result.

        Examples:
            >>> results = fb.measure(["mtcnn_pnet", "mini_xception"], "quick", metrics="static", progress=False)
            >>> results.to_frame()[["name", "macs"]].set_index("name")["macs"].to_dict()
            {'mtcnn_pnet': 44760, 'mini_xception': 5520448}
        """
        import pandas

        return pandas.DataFrame(self.records())

    def __str__(self) -> str:
        return str(self.summary()) if self._results else "no results"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_() if self._results else "no results"


def load(source: str | Path = "last", *, store: str = DEFAULT_STORE, registry: Registry | None = None) -> Results:
    """Load results from a file, or a run from a store.

    Args:
        source: a file that ``fer-bench export`` or pytest-benchmark wrote, a folder with such a ``results.json``, the
            id of a run or its beginning, or "last".
        store: URL of the store, or path of its SQLite file, that has the run.
        registry: networks and papers that tables refer to; by default the built-in ones.

    Raises:
        StoreError: there is no such file or run, or it holds a record that cannot be read.

    Examples:
        >>> fb.measure("mtcnn_pnet", "quick", metrics="static", store="mine.sqlite", progress=False)[0].subject.name
        'mtcnn_pnet'
        >>> fb.load("last", store="mine.sqlite")[0].value("macs")
        44760
    """
    return Results(read_results(str(source), store), registry)


# Tables of one network's measurements, with what their names lack where another table has the same ones.
_TABLES = {
    "efficiency": "",
    "latency": "",
    "memory": "",
    "training": "training_",
    "occupancy_training": "training_",
    "occupancy_testing": "testing_",
    "energy": "",
}


def _record(result: Result, registry: Registry) -> dict[str, Json]:
    """Join the cells that the tables have of one result."""
    row = common.head(result)
    record: dict[str, Json] = {
        **{key: row[key] for key in ("name", "input_shape", "num_classes")},
        **{key: getattr(result.plan, key) for key in ("protocol", "isolation")},
        **{key: row[key] for key in ("device", "batch_size", "threads", "precision", "layout", "mode", "cudnn")},
    }
    drawn = tables.report([result], registry)
    notes = " ".join(drawn["efficiency"].notes[0])
    for cells in counts.of_results([result], registry.networks).records():
        record |= cells
    for name, prefix in _TABLES.items():
        for cells in drawn[name].records() if name in drawn else ():
            for key, value in cells.items():
                known = key in row or key.startswith(prefix)
                record.setdefault(key if known else f"{prefix}{key}", value)
    record.pop("notes", None)
    return record | {"notes": notes, "failures": " ".join(common.failures(result))}
