"""Commands that look a network up."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli.common import (
    Classes,
    Debug,
    Format,
    FormatOption,
    Input,
    Settings,
    SheetsOption,
    fail_if,
    parse_settings,
    parse_shape,
    print_json,
    print_tables,
)
from fer_bench.networks import registry
from fer_bench.reporting.tables import catalogue

if TYPE_CHECKING:
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.result import Json


def list_(sheets: SheetsOption = None, fmt: FormatOption = Format.table, debug: Debug = False) -> None:
    """List the networks of the sheets."""
    registry.use_sheets(sheets or [])
    specs = list(registry.sheets().values())
    if fmt is Format.json:
        print_json([_summary(spec) for spec in specs])
    else:
        print_tables([catalogue.catalogue(specs)], fmt)


def show(
    name: Annotated[str, typer.Argument(help="A name of `fer-bench list`.")],
    sheets: SheetsOption = None,
    debug: Debug = False,
) -> None:
    """Tell all that the sheet of a network says, its published figures included."""
    registry.use_sheets(sheets or [])
    from fer_bench.reporting.render.text import definitions

    spec = registry.find(name)
    typer.echo(definitions(catalogue.network_details(spec, registry.current())), nl=False)
    if spec.published:
        typer.echo()
        print_tables([catalogue.figures(spec)], Format.table)


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


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("list")(list_)
    app.command("show")(show)
    app.command("check-weights")(check_weights)
