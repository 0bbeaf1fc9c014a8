"""Commands on stored runs."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import complain, fail_if, named, print_json, print_tables, say, skip
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.exit_codes import FAILED, OK
from fer_bench.records.output import printable
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting import tables as reports

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The beginning of a run's id, or last.")]


def runs(store: options.Store = DEFAULT_STORE, fmt: options.Format = "table") -> None:
    """List the stored runs, the latest first."""
    with Store.open(store, create=False) as opened:
        found = opened.runs()
    if fmt == "json":
        print_json([dataclasses.asdict(one) for one in found])
    else:
        print_tables([reports.runs(found)], fmt)


def show_run(name: RunName = "last", store: options.Store = DEFAULT_STORE) -> None:
    """Show when, where and how a run was measured.

    Warnings and latencies follow. Records that cannot be read are left out, with a notice.
    """
    from fer_bench.reporting.render.text import definitions

    with Store.open(store, create=False) as opened:
        found = opened.find_run(name)
        results = opened.results(found.id, skip)
    say(definitions(reports.run_details(found, results)), end="")
    if results:
        say()
        print_tables([reports.latency(results)])
    elif found.results:  # of which none can be read
        raise typer.Exit(FAILED)


def export(
    names: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids; by default the last run.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="By default the standard output.")] = None,
    store: options.Store = DEFAULT_STORE,
) -> None:
    """Write runs as JSON: every raw value, plan and environment."""
    from fer_bench.records.exchange import export as write

    with Store.open(store, create=False) as opened:
        text = write(opened, [opened.find_run(name) for name in names or ["last"]])
    if out is None:
        say(text, end="")
    else:
        files.write(out, text)


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `fer-bench export`, --benchmark-json or --benchmark-save wrote."),
    ],
    store: options.Store = DEFAULT_STORE,
) -> None:
    """Add the runs of a JSON file to a store.

    A run that the store has already is left as it is. A run that cannot be read is refused, and the others are
    imported; the command then fails. What `fer-bench run` kept in a file because it could not be saved is added to its
    run. A file of pytest-benchmark becomes one run; what it lacks is reported.
    """
    from fer_bench.records.exchange import import_runs

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {file}: {error}") from error
    with Store.open(store, create=True) as opened:
        try:
            added, there, refused = import_runs(opened, text)
        except StoreError as error:
            raise StoreError(f"{file}: {error}") from error
        results = [result for run in added for result in opened.results(run)]
    for verb, ids in (("imported", added), ("there already", there)):
        if ids:
            say(f"{verb}: {' '.join(ids)}")
    for result in results:
        for failure in reports.failures(result):
            complain(named(result.subject.name, failure), OK)
    fail_if([f"{file}: not imported: {why}" for why in refused])


def delete(
    name: RunName,
    store: options.Store = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a run and its results.

    A run that is being measured is not deleted: stop it first.
    """
    with Store.open(store, create=False) as opened:
        found = opened.find_run(name)
        if not yes and not typer.confirm(
            printable(f"Delete run {found.id} ({found.title}) with {found.results} results?")
        ):
            raise FerBenchError("nothing was deleted")
        opened.delete(found.id)
    say(f"deleted {found.id}")
