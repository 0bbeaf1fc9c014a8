"""Commands on stored runs."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli.common import (
    OK,
    Debug,
    Format,
    FormatOption,
    StoreOption,
    complain,
    named,
    print_json,
    print_tables,
    write_text,
)
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting import tables as reports

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The beginning of a run's id, or last.")]


def runs(store: StoreOption = DEFAULT_STORE, fmt: FormatOption = Format.table, debug: Debug = False) -> None:
    """List the runs of a store, the latest first."""
    with Store.open(store, create=False) as opened:
        found = opened.runs()
    if fmt is Format.json:
        print_json([dataclasses.asdict(one) for one in found])
    else:
        print_tables([reports.runs(found)], fmt)


def show_run(name: RunName = "last", store: StoreOption = DEFAULT_STORE, debug: Debug = False) -> None:
    """Tell all about a run: when, where and how it was measured, and what may mislead about it."""
    from fer_bench.reporting.render.text import definitions

    with Store.open(store, create=False) as opened:
        found = opened.find_run(name)
        results = opened.results(found.id)
    typer.echo(definitions(reports.run_details(found, results)), nl=False)
    if results:
        typer.echo()
        print_tables([reports.latency(results)], Format.table)


def export(
    names: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="By default the last run.")] = None,
    to: Annotated[Path | None, typer.Option(help="The file to write; by default the standard output.")] = None,
    store: StoreOption = DEFAULT_STORE,
    debug: Debug = False,
) -> None:
    """Write runs as JSON: every raw value, with plan and environment."""
    from fer_bench.records.exchange import export as write

    with Store.open(store, create=False) as opened:
        text = write(opened, [opened.find_run(name) for name in names or ["last"]])
    if to is None:
        typer.echo(text, nl=False)
    else:
        write_text(to, text)


def import_(
    file: Annotated[Path, typer.Argument(help="What `fer-bench export`, --benchmark-json or --benchmark-save wrote.")],
    store: StoreOption = DEFAULT_STORE,
    debug: Debug = False,
) -> None:
    """Add the runs of a JSON file to a store; one that is there already stays as it is.

    A file of pytest-benchmark's becomes one run. What a file does not hold is said.
    """
    from fer_bench.records.exchange import import_runs

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {file}: {error}") from error
    with Store.open(store, create=True) as opened:
        try:
            added, there = import_runs(opened, text)
        except StoreError as error:
            raise StoreError(f"{file}: {error}") from error
        results = [result for run in added for result in opened.results(run)]
    for verb, ids in (("imported", added), ("there already", there)):
        if ids:
            typer.echo(f"{verb}: {' '.join(ids)}")
    for result in results:
        for failure in reports.failures(result):
            complain(named(result.subject.name, failure), OK)


def delete(
    name: RunName,
    store: StoreOption = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    debug: Debug = False,
) -> None:
    """Delete a run and its results."""
    with Store.open(store, create=False) as opened:
        found = opened.find_run(name)
        if not yes and not typer.confirm(f"Delete run {found.id} ({found.title}) with {found.results} results?"):
            raise FerBenchError("nothing was deleted")
        opened.delete(found.id)
    typer.echo(f"deleted {found.id}")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for name, command in (
        ("runs", runs),
        ("show-run", show_run),
        ("export", export),
        ("import", import_),
        ("delete", delete),
    ):
        app.command(name)(command)
