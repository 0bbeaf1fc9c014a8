"""The command that audits published figures."""

from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import complain, parse_list, parse_shape, print_tables, registry_of
from fer_bench.cli.options import Names, several
from fer_bench.records.exit_codes import FINDING, OK
from fer_bench.records.sources import read_results
from fer_bench.records.store import DEFAULT_STORE


def audit(
    networks: options.Networks = None,
    models: options.Models = None,
    paper: Annotated[Names, several("Only the figures of these papers, as 001.")] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="A published table instead of sheets.")] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", min=1, help="Outputs of the networks in --table.")] = None,
    input_: Annotated[str, typer.Option("--input", metavar="CxHxW", help="Image size of those in --table.")] = "",
    sheets: options.Sheets = None,
    sources: Annotated[Names, options.results("by default none")] = None,
    store: options.Store = DEFAULT_STORE,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the recounts made now, for --from.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Show only what does not stand as printed.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write all tables here, print nothing.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if figures are wrong.")] = False,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Recompute published figures and judge each of them.

    A figure is right, right by another convention, or wrong: an impossible unit, another network's count, a
    contradiction, or a number that nothing explains. The same command goes on with an audit that was killed.
    """
    from fer_bench.auditing.audit import audit as judge
    from fer_bench.reporting.render import write_all

    audited = judge(
        table,
        papers=parse_list(paper),
        networks=parse_list(networks, models),
        num_classes=classes,
        input_shape=parse_shape(input_) if input_ else None,
        known=[result for source in sources or [] for result in read_results(source, store)],
        save=save,
        registry=registry_of(sheets),
        debug=debug,
    )
    for failure in audited.failures:
        complain(failure, OK)
    shown = audited.wrong if wrong else audited
    full = shown.tables["audit"]
    short = {"audit_summary": audited.tables["audit_summary"], **shown.by_paper()}
    if out is not None:  # all of it for programs, and what fits a page for readers
        write_all(out, {"audit": full}, ("csv", "json"))
        write_all(out, short, ("markdown", "latex"))
    else:
        print_tables([full] if fmt in ("csv", "json") else short.values(), fmt)
    count = len(audited.wrong)
    if count and not exit_zero:
        message = f"{count} of {len(audited)} figures do not stand as they are printed (--wrong shows them)"
        raise typer.Exit(complain(message, FINDING))
