"""Count networks."""

import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli.common import (
    Breakdown,
    Classes,
    Debug,
    Format,
    FormatOption,
    Input,
    Names,
    Settings,
    SheetsOption,
    fail_if,
    find_specs,
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
from fer_bench.reporting.tables import counts

if TYPE_CHECKING:
    from fer_bench.records.result import Json


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
    yield counts.of_rows(rows)
    for row in rows:
        if by is Breakdown.module and "modules" in row:
            yield counts.modules(row["name"], row["modules"])
        elif by is Breakdown.op and "operators" in row:
            yield counts.operators(row["name"], row["operators"])


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("count")(count)
