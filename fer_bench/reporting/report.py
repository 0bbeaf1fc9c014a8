"""Draw tables, figures and the page of results."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fer_bench.networks.registry import Registry, built_in
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import CALIBRATION, RECOUNT
from fer_bench.records.result import Result
from fer_bench.records.schema import listed
from fer_bench.reporting import arrange, tables
from fer_bench.reporting.render import FILED, write_all
from fer_bench.reporting.results import Results
from fer_bench.reporting.table import Table

if TYPE_CHECKING:
    import pandas


class Audited(Protocol):
    """What a page shows of an audit."""

    @property
    def tables(self) -> Mapping[str, Table]: ...
    @property
    def tones(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, eq=False)
class Report(Mapping[str, Table]):
    """The tables of results, by the stem of their files; it prints itself.

    Attributes:
        results: what was measured, of the networks that were chosen.
        recounts: what an audit reads, and no table of a run.
        registry: networks and papers that tables refer to.

    Examples:
        >>> drawn = fb.report(fb.measure("mtcnn_pnet", "quick", metrics="static", progress=False))
        >>> drawn.write("drawn", ["csv"])
        >>> from pathlib import Path
        >>> sorted(path.name for path in Path("drawn").iterdir())
        ['efficiency.csv']
    """

    drawn: Mapping[str, Table]
    results: Results
    recounts: Results
    registry: Registry

    def __getitem__(self, name: str) -> Table:
        return self.drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.drawn)

    def __len__(self) -> int:
        return len(self.drawn)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame, one row for each result; each table has a frame of its own."""
        return self.results.to_frame()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.drawn.values()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self.drawn.values())

    def write(self, folder: str | Path, formats: str | Sequence[str] = FILED) -> None:
        """Write each table into a folder, in several formats.

        Raises:
            StoreError: the folder or a file cannot be written.
        """
        write_all(Path(folder), self.drawn, listed(formats))

    def write_figures(
        self, folder: str | Path, names: str | Sequence[str] = (), types: str | Sequence[str] = ("svg", "png")
    ) -> None:
        """Draw figures into a folder, with a list of them in Markdown.

        Args:
            folder: where they go.
            names: of figures; by default all that the results give.
            types: of files: svg, png, pdf.

        Raises:
            FerBenchError: the results give no figure, or none of a name.
        """
        from fer_bench.reporting.figures import figures, listing
        from fer_bench.reporting.render.plots.figure import write_figures

        names, types = listed(names), listed(types)
        if not types:
            raise FerBenchError("--figure-types names none of svg, png, pdf")
        drawn = figures(self.results, self.registry)
        if not drawn:
            raise FerBenchError("--figures: these results give none; latencies, counts with modules or a sweep do")
        if unknown := [name for name in names if name not in drawn]:
            raise FerBenchError(f"--figure {', '.join(unknown)}: there are {', '.join(drawn)}")
        drawn = {name: drawn[name] for name in names or drawn}
        write_figures(Path(folder), drawn, types)
        write_all(Path(folder), {"figures": listing(drawn)}, ("markdown",))

    def write_page(self, path: str | Path, audit: Audited | None = None) -> None:
        """Write one page that needs no network: tables, interactive figures, and an audit, if there is one."""
        from fer_bench.reporting.page import page

        audited, tones = (audit.tables, audit.tones) if audit is not None else ({}, {})
        text = page("fer_bench report", self.results, self.drawn, self.registry, audited, tones)
        files.write(Path(path), text)


def report(
    results: Iterable[Result],
    *,
    names: str | Sequence[str] = (),
    paper: str = "",
    columns: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
    sort: str = "",
    best: bool = False,
    registry: Registry | None = None,
) -> Report:
    """Draw the tables of results. The same results give the same tables.

    Args:
        results: what ``measure`` or ``load`` returned.
        names: only these tables, such as "efficiency" or "counts"; by default all but the longest.
        paper: draw the tables of this paper, or of "all", with our figures beside.
        columns: only these, in this order: keys or headings.
        models: only these networks, in this order.
        sort: by this column; with "-" before it from the largest down.
        best: mark the best whose interval overlaps no other.
        registry: networks and papers that tables refer to; by default that of the results.

    Raises:
        FerBenchError: there are no results, or no such table, paper, column or network.

    Examples:
        >>> results = fb.measure(["mtcnn_pnet", "mini_xception"], "quick", metrics="static", progress=False)
        >>> drawn = fb.report(results, names=["counts"], columns=["name", "macs"], sort="macs")
        >>> drawn["counts"].to_frame()["macs"].to_list()
        [44760, 5520448]
        >>> print(drawn)
        Counts
        <BLANKLINE>
        Network          MACs
        -------------  ------
        mtcnn_pnet     44.8 k
        mini_xception  5.52 M
        ...
    """
    found = list(results)
    if not found:
        raise FerBenchError("there are no results to report: fb.measure(...) and fb.load(...) return some")
    if registry is None:
        registry = results.registry if isinstance(results, Results) else built_in()
    counted = [result for result in found if result.plan.metrics != RECOUNT.metrics]
    drawn, more = _drawn(counted, registry, paper)
    measured = [result for result in counted if result.plan.protocol != CALIBRATION]
    drawn = _named(drawn, more, listed(names))
    chosen, text = listed(models), ",".join(listed(columns))
    return Report(
        _arranged(drawn, text, chosen, sort, best=best),
        Results([result for result in measured if not chosen or result.subject.name in chosen], registry),
        Results([result for result in found if result.plan.metrics == RECOUNT.metrics], registry),
        registry,
    )


def _drawn(found: Sequence[Result], registry: Registry, paper: str) -> tuple[dict[str, Table], dict[str, Table]]:
    """Draw the tables of results, or of a paper; and those that are only drawn when named."""
    baselines = [spec for spec in registry.networks.values() if not spec.can_be_built]
    if not paper:
        return tables.report(found, registry, baselines), tables.details(found, registry)
    drawn = tables.papers(found, registry)
    kept = {stem: table for stem, table in drawn.items() if paper == "all" or stem.startswith(f"paper{paper}_")}
    if not kept:
        papers = sorted({stem.partition("_")[0].removeprefix("paper") for stem in drawn})
        raise FerBenchError(f"--paper {paper}: there are tables of {', '.join(papers)}, and all")
    return kept, {}


def _named(drawn: Mapping[str, Table], more: Mapping[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """Return the tables asked for; without any, those shown by default."""
    known = {**drawn, **more}
    if unknown := [name for name in names if name not in known]:
        raise FerBenchError(f"--table {', '.join(unknown)}: there are {', '.join(known)}")
    return {name: known[name] for name in names or drawn}


def _arranged(
    drawn: dict[str, Table], columns: str, models: Sequence[str], sort: str, *, best: bool
) -> dict[str, Table]:
    """Choose, sort and mark; columns last, so that a table may be sorted by one that is left out."""
    if models:
        drawn = arrange.choose_models(drawn, models)
    if sort:
        drawn = arrange.sort_rows(drawn, sort)
    if best:
        drawn = {name: arrange.mark_best(table) for name, table in drawn.items()}
    return arrange.choose_columns(drawn, columns) if columns else drawn
