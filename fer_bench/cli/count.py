"""Count networks."""

import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import (
    fail_if,
    find_specs,
    named,
    one_notice,
    parse_list,
    print_json,
    print_tables,
    reason,
    registry_of,
    say,
    settings_with,
    shapes_for,
)
from fer_bench.cli.options import Names, choice, several
from fer_bench.records.errors import FerBenchError
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import counts

if TYPE_CHECKING:
    from fer_bench.records.result import Json


_COUNTERS = ("torch", "fvcore", "thop")


def count(
    networks: options.Networks = None,
    models: options.Models = None,
    classes: options.Classes = None,
    input_: options.Input = None,
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Images in the pass.")] = 1,
    inputs: options.Inputs = "",
    settings: options.Settings = None,
    by: Annotated[str | None, choice(("module", "op"), "Break MACs down by module or by operator.")] = None,
    counters: Annotated[Names, several(f"Other tools to ask: {', '.join(_COUNTERS)}.", "--counter")] = None,
    train: Annotated[bool, typer.Option("--train", help="Count a training step too (at least two images).")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where a count is partial or depends on values.")
    ] = False,
    sheets: options.Sheets = None,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Count parameters, MACs, activations and layers.

    The network runs once on meta tensors, which have shapes and no data.
    """
    subjects = [
        (spec, shape)
        for spec in find_specs(registry_of(sheets), networks, models)
        for shape in shapes_for(spec, input_)
    ]
    tools = parse_list(counters)
    if unknown := [tool for tool in tools if tool not in _COUNTERS]:
        raise FerBenchError(f"--counter {', '.join(unknown)} is unknown; known: {', '.join(_COUNTERS)}")
    built_with = settings_with(settings, inputs, input_)
    from fer_bench.measuring.counting.count import count as count_one
    from fer_bench.networks.build import Build

    rows: list[dict[str, Json]] = []
    with one_notice(debug=debug):
        for spec, shape in subjects:
            try:
                counted = count_one(
                    spec, Build.of(classes, shape, built_with), batch=batch, train=train, counters=tools
                )
            except Exception as error:  # one network's failure, foreseen or not, costs no other its row
                if debug:
                    say(traceback.format_exc(), err=True)
                rows.append({"name": spec.name, "error": reason(error)})
                continue
            row = counted.row()
            if by == "module":
                row["modules"] = counted.by_module()
            elif by == "op":
                row["operators"] = counted.by_operator()
            rows.append(row)
    _print_counts(rows, fmt)
    failures = [named(row["name"], row["error"]) for row in rows if "error" in row]
    failures += [named(row["name"], row["training"]["error"]) for row in rows if "error" in row.get("training", {})]
    if strict:
        for row in rows:
            said = [*row.get("reservations", ()), *row.get("training", {}).get("reservations", ())]
            failures += [named(row["name"], text) for text in dict.fromkeys(said)]
    fail_if(failures)


def _print_counts(rows: "Sequence[dict[str, Json]]", fmt: str) -> None:
    if fmt == "json":
        print_json(rows)
    elif fmt == "csv":
        from fer_bench.reporting.render.csv import rows_to_csv

        say(rows_to_csv(rows), end="")
    elif not all("error" in row for row in rows):
        print_tables(_count_tables(rows), fmt)


def _count_tables(rows: "Sequence[dict[str, Json]]") -> Iterator[Table]:
    yield counts.of_rows(rows)
    for row in rows:
        if "modules" in row:
            yield counts.modules(row["name"], row["modules"])
        elif "operators" in row:
            yield counts.operators(row["name"], row["operators"])
