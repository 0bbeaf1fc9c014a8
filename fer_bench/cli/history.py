"""The command that draws a metric over stored runs and commits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import print_json, print_tables, say, skip
from fer_bench.cli.options import Names
from fer_bench.records.errors import FerBenchError
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting.history import LAST

_FIGURES = (".svg", ".png", ".pdf")


def history(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The network, as it was named when it was measured.")],
    metric: Annotated[
        str,
        typer.Argument(
            metavar="METRIC",
            help="latency, images_per_s, macs, flops, parameters, activations, memory, energy, occupancy, cpu, "
            "training, or what else a run measured; a wrong name lists what there is.",
        ),
    ] = "latency",
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help=f"All runs in it; by default {DEFAULT_STORE}, without --from."),
    ] = None,
    sources: Annotated[Names, options.results("by default all of the store")] = None,
    where: Annotated[
        Names,
        typer.Option(
            metavar="KEY=VALUE",
            help="A condition, as device=cpu or batch_size=8; repeatable. By default those stored most often; a wrong "
            "key lists what there is.",
        ),
    ] = None,
    last: Annotated[int, typer.Option(min=1, metavar="N", help="Only the latest points.")] = LAST,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a figure (svg, png, pdf) here, and print nothing.")
    ] = None,
    fmt: options.Format = "table",
) -> None:
    """Show a metric over stored runs and commits.

    Change points are those of E-divisive (Matteson and James 2014); any difference in counts is a change. Changes of
    the environment are marked, too.
    """
    if out is not None and (out.suffix not in _FIGURES or fmt != "table"):
        raise FerBenchError(
            f"--out {out}: draws {', '.join(_FIGURES)}, without --format; tables are printed: --format csv > FILE"
        )
    from fer_bench.reporting.figures.history import timeline as plot
    from fer_bench.reporting.history import history as draw

    found = draw(model, metric, store=store, sources=sources or [], where=_wanted(where or []), last=last, skipped=skip)
    drawn = found.history
    if out is not None:
        from fer_bench.reporting.render.plots.figure import write_figures

        write_figures(out.parent, {out.stem: plot(drawn)}, (out.suffix[1:],))
    elif fmt == "json":
        from fer_bench.reporting.render.json import as_json

        print_json(as_json(found.table()))
    else:
        if fmt == "table":
            from fer_bench.reporting.render.plots.history import to_letters
            from fer_bench.reporting.render.text import terminal_width

            say(to_letters(plot(drawn), terminal_width()))
        print_tables([found.table()], fmt)


def _wanted(where: Sequence[str]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for condition in where:
        key, equals, value = condition.partition("=")
        if not equals:
            raise FerBenchError(f"--where {condition} is not KEY=VALUE, such as batch_size=8")
        if wanted.setdefault(key, value) != value:
            raise FerBenchError(f"--where {condition}: {key}={wanted[key]} was asked for, too; a history is of one")
    return wanted
