"""The commands that draw tables and figures of results, and show where a cell comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import parse_list, print_tables, registry_of, say, skip
from fer_bench.cli.options import Names, choice, several
from fer_bench.records.errors import FerBenchError
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import tables as reports
from fer_bench.reporting.render import FILED
from fer_bench.reporting.report import report as draw

if TYPE_CHECKING:
    from fer_bench.auditing.audit import Audit
    from fer_bench.records.result import Result
    from fer_bench.reporting.report import Report


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
        typer.Option(
            metavar="FILE", help="Print this Jinja2 template, filled in; see pydoc fer_bench.reporting.render.template."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=f"Write {', '.join(FILED)} (html with --format html), and print nothing."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one page: tables, figures, the audit.")
    ] = None,
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
    drawn = draw(
        _found(sources, store),
        names=parse_list(table),
        paper=paper,
        columns=columns or (),
        models=parse_list(models),
        sort=sort,
        best=best == "bold",
        registry=registry,
    )
    if strangers := reports.of_other_sheets(drawn.results, registry):
        skip(
            f"{', '.join(strangers)}: from sheets that are not given; --sheets FOLDER adds their titles and accuracies"
        )
    if html is not None:
        drawn.write_page(html, _audited(drawn))
    if figures is not None:
        drawn.write_figures(figures, parse_list(figure), parse_list(figure_types or ["svg,png"]))
    elif figure:
        raise FerBenchError("--figure says which of the figures; --figures FOLDER says where they go")
    if (html is not None or figures is not None) and out is None:
        return
    if template is not None:
        from fer_bench.reporting.render.template import fill

        say(fill(template, drawn), end="")
    elif out is not None:
        drawn.write(out, (*FILED, "html") if fmt == "html" else FILED)
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
    drawn = draw(_found(sources, store), registry=registry)
    found = drawn.results
    told = [("results", name_source(source, store)) for source in sources or ["last"]]
    every = {**drawn, **reports.papers(found, registry), **reports.details(found, registry)}
    say(definitions([*told, *explain(every, table, row, column, registry.papers)]), end="")


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


def _audited(drawn: "Report") -> "Audit | None":
    """Judge the printed figures by the recounts and the counted variants among the results, if there are any."""
    from fer_bench.auditing.audit import audit

    known = [*drawn.recounts, *drawn.results]
    return audit(known=known, recount=False, registry=drawn.registry) if drawn.recounts else None


def _found(sources: Sequence[str] | None, store: str) -> "list[Result]":
    """Read results."""
    results: list[Result] = []
    left_out: list[str] = []
    for source in dict.fromkeys(sources or ["last"]):
        results += [result for result in read_results(source, store, left_out.append) if result not in results]
    for message in left_out:
        skip(message)
    if not results:
        there = "none of its results can be read" if left_out else "there are no results yet"
        raise FerBenchError(f"{' and '.join(sources or ['last'])}: {there}")
    return results
