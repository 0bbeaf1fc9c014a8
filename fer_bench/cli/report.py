"""The commands that draw tables and figures of results, and show where a cell comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import parse_list, print_tables, registry_of, say, skip
from fer_bench.cli.options import Names, choice, several
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import RECOUNT
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import arrange
from fer_bench.reporting import tables as reports
from fer_bench.reporting.render import FILED, write_all
from fer_bench.reporting.table import Table

if TYPE_CHECKING:
    from fer_bench.networks.registry import Registry
    from fer_bench.records.result import Result


def report(
    sources: Annotated[Names, typer.Argument(metavar="RUN|FILE", help="Results; by default the last run.")] = None,
    table: Annotated[Names, several("Only these tables, such as efficiency.")] = None,
    paper: Annotated[str, typer.Option(metavar="ID", help="The tables of paper ID, or of all, with our figures.")] = "",
    columns: Annotated[Names, several("Only these, in this order: keys or headings.")] = None,
    models: Annotated[Names, several("Only these networks, in this order.")] = None,
    sort: Annotated[str, typer.Option(metavar="[-]COLUMN", help="Sort by this column; - from the largest down.")] = "",
    best: Annotated[str, choice(("none", "bold"), "Mark a best whose interval overlaps no other.")] = "none",
    template: Annotated[
        Path | None,
        typer.Option(help="Print this Jinja2 template, filled in; see pydoc fer_bench.reporting.render.template."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=f"Write {', '.join(FILED)} (html with --format html), and print nothing."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page: tables, interactive figures, the audit.")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw figures here, with figures.md.")] = None,
    figure: Annotated[Names, several("Only these figures.")] = None,
    figure_types: Annotated[Names, several("svg, png, pdf; by default svg, png.")] = None,
    sheets: options.Sheets = None,
    store: options.Store = DEFAULT_STORE,
    fmt: options.Format = "table",
) -> None:
    """Write tables, figures or a page from stored results.

    The same results give the same bytes. Recounts of an audit among the results give the page its audit.
    """
    _check(template, out, fmt, html=html, figures=figures)
    registry = registry_of(sheets)
    found, recounts = _found(sources, store)
    names = parse_list(models)
    drawn, more = _drawn(found, registry, paper)
    drawn = _arranged(_named(drawn, more, parse_list(table)), ",".join(columns or []), names, sort, best)
    chosen = [result for result in found if not names or result.subject.name in names]
    if html is not None:
        _write_page(html, chosen, drawn, registry, recounts)
    if figures is not None:
        _write_figures(figures, chosen, registry, parse_list(figure), parse_list(figure_types or ["svg,png"]))
    elif figure:
        raise FerBenchError("--figure says which of the figures; --figures FOLDER says where they go")
    if (html is not None or figures is not None) and out is None:
        return
    if template is not None:
        from fer_bench.reporting.render.template import fill

        say(fill(template, drawn), end="")
    elif out is not None:
        write_all(out, drawn, (*FILED, "html") if fmt == "html" else FILED)
    else:
        print_tables(drawn.values(), fmt)


def why(
    table: Annotated[str, typer.Argument(help="A table of `fer-bench report`, such as efficiency.")],
    row: Annotated[str, typer.Argument(help="The network, another label of the row, or its number from 1.")],
    column: Annotated[str, typer.Argument(help="The column's heading or key.")],
    sources: Annotated[Names, options.results("by default the last run")] = None,
    sheets: options.Sheets = None,
    store: options.Store = DEFAULT_STORE,
) -> None:
    """Show where a cell of a table comes from.

    That is the run with its raw values and environment, or the paper with its table.
    """
    from fer_bench.reporting.origin.why import why as explain
    from fer_bench.reporting.render.text import definitions

    registry = registry_of(sheets)
    found, _ = _found(sources, store)
    told = [("results", name_source(source, store)) for source in sources or ["last"]]
    drawn = {**_drawn(found, registry, "")[0], **reports.papers(found, registry), **reports.details(found, registry)}
    say(definitions([*told, *explain(drawn, table, row, column, registry.papers)]), end="")


def _check(template: Path | None, out: Path | None, fmt: str, *, html: Path | None, figures: Path | None) -> None:
    """Refuse options of which one would be ignored."""
    drawn = html is not None or figures is not None
    if template is not None and (out is not None or fmt != "table" or drawn):
        raise FerBenchError(
            "--template has its own format and is printed: leave --out and --format, --html and --figures; use > FILE"
        )
    if fmt != "table" and drawn and out is None:
        raise FerBenchError("--format is of tables: give --out for them, beside --html or --figures")
    if out is not None and fmt not in ("table", "html"):
        raise FerBenchError(
            f"--out writes {', '.join(FILED)} in any case: leave --format {fmt}, or give html to add it"
        )


def _found(sources: Sequence[str] | None, store: str) -> "tuple[list[Result], list[Result]]":
    """Read results: those that were measured, and recounts, which only the audit reads."""
    results: list[Result] = []
    left_out: list[str] = []
    for source in dict.fromkeys(sources or ["last"]):
        results += [result for result in read_results(source, store, left_out.append) if result not in results]
    for message in left_out:
        skip(message)
    if not results:
        there = "none of its results can be read" if left_out else "there are no results yet"
        raise FerBenchError(f"{' and '.join(sources or ['last'])}: {there}")
    measured = [result for result in results if result.plan.metrics != RECOUNT.metrics]
    return measured, [result for result in results if result not in measured]


def _drawn(found: "Sequence[Result]", registry: "Registry", paper: str) -> tuple[dict[str, Table], dict[str, Table]]:
    """Draw the tables of results, or of a paper; and those that are only drawn when named."""
    baselines = [spec for spec in registry.networks.values() if not spec.can_be_built]
    if not paper:
        return reports.report(found, registry, baselines), reports.details(found, registry)
    drawn = reports.papers(found, registry)
    kept = {stem: table for stem, table in drawn.items() if paper == "all" or stem.startswith(f"paper{paper}_")}
    if not kept:
        papers = sorted({stem.partition("_")[0].removeprefix("paper") for stem in drawn})
        raise FerBenchError(f"--paper {paper}: there are tables of {', '.join(papers)}, and all")
    return kept, {}


def _named(drawn: Mapping[str, Table], more: Mapping[str, Table], names: Sequence[str] | None) -> dict[str, Table]:
    """Return the tables asked for; without any, those shown by default."""
    known = {**drawn, **more}
    if unknown := [name for name in names or () if name not in known]:
        raise FerBenchError(f"--table {', '.join(unknown)}: there are {', '.join(known)}")
    return {name: known[name] for name in names or drawn}


def _write_page(
    path: Path,
    found: "Sequence[Result]",
    drawn: Mapping[str, Table],
    registry: "Registry",
    recounts: "Sequence[Result]",
) -> None:
    from fer_bench.auditing import audit as judge
    from fer_bench.auditing import claims_of, tables
    from fer_bench.auditing.evidence import gather
    from fer_bench.auditing.verdicts import TONES
    from fer_bench.reporting.page import page

    audited: dict[str, Table] = {}
    if recounts:
        verdicts = judge(claims_of(registry), gather(recounts), registry.networks)
        audited = {"audit_summary": tables.summary(verdicts), "audit": tables.verdicts(verdicts)}
    files.write(path, page("fer_bench report", found, drawn, registry, audited, TONES))


def _write_figures(
    folder: Path, found: "Sequence[Result]", registry: "Registry", names: Sequence[str], types: Sequence[str]
) -> None:
    from fer_bench.reporting.figures import figures, listing
    from fer_bench.reporting.render.plots.figure import write_figures

    drawn = figures(found, registry)
    if not drawn:
        raise FerBenchError("--figures: these results give none; latencies, counts with modules or a sweep do")
    if unknown := [name for name in names if name not in drawn]:
        raise FerBenchError(f"--figure {', '.join(unknown)}: there are {', '.join(drawn)}")
    drawn = {name: drawn[name] for name in names or drawn}
    write_figures(folder, drawn, types)
    write_all(folder, {"figures": listing(drawn)}, ("markdown",))


def _arranged(drawn: dict[str, Table], columns: str, models: Sequence[str], sort: str, best: str) -> dict[str, Table]:
    """Choose, sort and mark; columns last, so that a table may be sorted by one that is left out."""
    if models:
        drawn = arrange.choose_models(drawn, models)
    if sort:
        drawn = arrange.sort_rows(drawn, sort)
    if best == "bold":
        drawn = {name: arrange.mark_best(table) for name, table in drawn.items()}
    return arrange.choose_columns(drawn, columns) if columns else drawn
