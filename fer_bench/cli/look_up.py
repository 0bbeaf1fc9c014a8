"""Commands that look a network up."""

from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import fail_if, print_json, print_tables, registry_of, say, shapes_for
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import parse_settings
from fer_bench.reporting.tables import catalogue

# What the JSON of `list` has of each network.
_SUMMARY = ("name", "title", "status", "input_shape", "num_classes", "papers", "expected", "note")


def list_(sheets: options.Sheets = None, fmt: options.Format = "table") -> None:
    """List the networks of the zoo and of your own sheets."""
    specs = list(registry_of(sheets).networks.values())
    if fmt == "json":
        print_json([{name: getattr(spec, name) for name in _SUMMARY} for spec in specs])
    else:
        print_tables([catalogue.catalogue(specs)], fmt)


def show(
    name: Annotated[str, typer.Argument(metavar="NETWORK", help="A name of `fer-bench list`.")],
    contract: Annotated[bool, typer.Option("--contract", help="Print the input contract as TOML, to edit.")] = False,
    sheets: options.Sheets = None,
) -> None:
    """Show a network's details and published figures."""
    from fer_bench.reporting.render.text import definitions

    registry = registry_of(sheets)
    spec = registry.find(name)
    if contract:
        if spec.input is None:
            raise FerBenchError(
                f"no sheet has an input contract of {name}; try: `fer-bench show mini_xception --contract`"
            )
        say(spec.input.to_toml(), end="")
        return
    say(definitions(catalogue.network_details(spec, registry)), end="")
    if spec.published:
        say()
        print_tables([catalogue.figures(spec)])


def check_weights(
    name: Annotated[str, typer.Argument(metavar="NETWORK", help="The network that the weights are for.")],
    checkpoint: Annotated[Path, typer.Argument(help="A file of weights (.pt, .pth, .safetensors).")],
    classes: options.Classes = None,
    input_: options.Input = None,
    settings: options.Settings = None,
    sheets: options.Sheets = None,
) -> None:
    """Check which keys of a checkpoint fit a network."""
    spec = registry_of(sheets).find(name)
    arguments = parse_settings(settings or [])
    from fer_bench.networks.build import Build, create
    from fer_bench.networks.checkpoints import describe, load_checkpoint

    misfits = []
    for shape in shapes_for(spec, input_):
        model = create(spec, Build(classes, shape, arguments))
        found = load_checkpoint(model, checkpoint, spec, strict=False)
        inside = f" (inside {found.container!r})" if found.container else ""
        say(f"{checkpoint}{inside} for {name}: {describe(found, most=None)}")
        misfits += [] if found.complete else [f"{checkpoint} does not fit {name}"]
    fail_if(misfits)
