"""The command line: arguments to a plan, one call, print, exit code. Reads like a table of contents.

Commands that measure, and those on what was measured, stand in ``cli_run``.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli import audit, gate, history, report, run
from fer_bench.cli.common import (
    FAILED,
    Breakdown,
    Classes,
    Debug,
    Format,
    FormatOption,
    Input,
    Names,
    Settings,
    SheetsOption,
    app,
    complain,
    fail_if,
    find_specs,
    guarded,
    named,
    parse_counters,
    parse_settings,
    parse_shape,
    print_json,
    print_tables,
    reason,
)
from fer_bench.networks import registry
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import catalogue

if TYPE_CHECKING:
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.result import Json


@app.command("list")
def list_(sheets: SheetsOption = None, fmt: FormatOption = Format.table, debug: Debug = False) -> None:
    """List the networks of the sheets."""
    registry.use_sheets(sheets or [])
    specs = list(registry.sheets().values())
    if fmt is Format.json:
        print_json([_summary(spec) for spec in specs])
    else:
        print_tables([catalogue.catalogue(specs)], fmt)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `fer-bench list`.")],
    sheets: SheetsOption = None,
    debug: Debug = False,
) -> None:
    """Tell all that the sheet of a network says, its published figures included."""
    registry.use_sheets(sheets or [])
    from fer_bench.reporting.render.text import definitions

    spec = registry.find(name)
    typer.echo(definitions(catalogue.portrait(spec)), nl=False)
    if spec.published:
        typer.echo()
        print_tables([catalogue.figures(spec)], Format.table)


@app.command()
def count(
    names: Names = None,
    classes: Classes = None,
    input_: Input = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images in the pass.")] = 1,
    settings: Settings = None,
    by: Annotated[Breakdown | None, typer.Option("--by", help="Break MACs down.")] = None,
    counters: Annotated[
        str, typer.Option("--counter", metavar="NAMES", help="Ask other tools too: torch,fvcore,thop.")
    ] = "",
    train: Annotated[bool, typer.Option("--train", help="Count a training step too (at least two images).")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if an operator has no formula.")] = False,
    sheets: SheetsOption = None,
    fmt: FormatOption = Format.table,
    debug: Debug = False,
) -> None:
    """Count parameters, MACs, activations and layers, without running any arithmetic."""
    registry.use_sheets(sheets or [])
    specs = find_specs(names)
    shape = parse_shape(input_)
    tools = parse_counters(counters)
    arguments = parse_settings(settings)
    from fer_bench.measuring.counting.count import count as count_one
    from fer_bench.networks.build import Build

    build = Build(classes, shape, arguments)
    rows: list[dict[str, Json]] = []
    for spec in specs:
        try:
            counted = count_one(spec, build, batch=batch, train=train, counters=tools)
        except Exception as error:  # one network's failure, foreseen or not, costs no other its row
            if debug:
                traceback.print_exc()
            rows.append({"name": spec.name, "error": reason(error)})
            continue
        row = counted.row()
        if by is Breakdown.module:
            row["modules"] = counted.by_module()
        elif by is Breakdown.op:
            row["operators"] = counted.by_operator()
        rows.append(row)
    _print_counts(rows, by, fmt)
    failures = [named(row["name"], row["error"]) for row in rows if "error" in row]
    failures += [named(row["name"], row["training"]["error"]) for row in rows if "error" in row.get("training", {})]
    if strict:
        for row in rows:
            uncounted = row.get("uncounted", {}) | row.get("training", {}).get("uncounted", {})
            if uncounted:
                failures.append(f"{row['name']}: operators without a formula: {', '.join(uncounted)}")
    fail_if(failures)


@app.command("check-weights")
def check_weights(
    name: Annotated[str, typer.Argument(help="The network that the weights are for.")],
    checkpoint: Annotated[Path, typer.Argument(help="A file of weights (.pt, .pth, .safetensors).")],
    classes: Classes = None,
    input_: Input = None,
    settings: Settings = None,
    sheets: SheetsOption = None,
    debug: Debug = False,
) -> None:
    """Load weights into a network and tell exactly which keys were missing, unexpected or of another shape."""
    registry.use_sheets(sheets or [])
    spec = registry.find(name)
    shape, arguments = parse_shape(input_), parse_settings(settings)
    from fer_bench.networks.build import Build, create
    from fer_bench.networks.checkpoints import describe, load_checkpoint

    model = create(spec, Build(classes, shape, arguments))
    found = load_checkpoint(model, checkpoint, spec, strict=False)
    inside = f" (inside {found.container!r})" if found.container else ""
    typer.echo(f"{checkpoint}{inside} for {name}: {describe(found, most=None)}")
    fail_if([] if found.complete else [f"{checkpoint} does not fit {name}"])


def _summary(spec: "ModelSpec") -> "dict[str, Json]":
    return {
        "name": spec.name,
        "title": spec.title,
        "status": spec.status,
        "input_shape": spec.input_shape,
        "num_classes": spec.num_classes,
        "papers": spec.papers,
        "expected": spec.expected,
        "note": spec.note,
    }


def _print_counts(rows: "Sequence[dict[str, Json]]", by: Breakdown | None, fmt: Format) -> None:
    if fmt is Format.json:
        print_json(rows)
        return
    if fmt is Format.csv:
        from fer_bench.reporting.render.csv import rows_to_csv

        typer.echo(rows_to_csv(rows), nl=False)
        return
    if not all("error" in row for row in rows):
        print_tables(_count_tables(rows, by), fmt)


def _count_tables(rows: "Sequence[dict[str, Json]]", by: Breakdown | None) -> Iterator[Table]:
    yield catalogue.counts(rows)
    for row in rows:
        if by is Breakdown.module and "modules" in row:
            yield catalogue.modules(row["name"], row["modules"])
        elif by is Breakdown.op and "operators" in row:
            yield catalogue.operators(row["name"], row["operators"])


run.register(app)
report.register(app)
audit.register(app)
gate.register(app)
history.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend print one message and no traceback, unless ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(AttributeError):  # a terminal of another encoding must not stop a table
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if given == ["list"]:  # nothing to parse, and to parse nothing Typer would import pydantic: half of the time
        return guarded(list_, debug=False)

    def call() -> int:
        return guarded(lambda: app(args=given, prog_name="fer-bench", standalone_mode=True), debug="--debug" in given)

    if arguments is None and _runs_users_code(given):
        from fer_bench.cli.apart import EndedError, apart

        try:
            return apart(call)
        except EndedError as error:
            return complain(str(error), FAILED)
    return call()


def _runs_users_code(given: Sequence[str]) -> bool:
    """Tell whether this process would import a user's file; those that measure leave that to their workers."""
    factories = [argument for argument in given[1:] if ":" in argument]
    measures = given[:1] in (["run"], ["gate"], ["compare"])
    return not measures and any(not name.startswith(("timm:", "torchvision:")) for name in factories)
