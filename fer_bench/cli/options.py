"""The vocabulary of options: the same thing has the same option in every command."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from fer_bench.records.plan import DEVICES, PRESETS
from fer_bench.reporting.render import FORMATS

SHEETS_VARIABLE = "FER_BENCH_SHEETS"  # folders of sheets, for which --sheets stands
_NETWORKS = "Names of `fer-bench list`, timm:NAME, torchvision:NAME, FILE.py:FACTORY or MODULE:FACTORY"

# What several words are given as: an argument or option that is repeated, or has commas. `parse_list` reads it.
Names = list[str] | None


def several(text: str, option: str | None = None) -> Any:
    """Return an option that takes several words, by default called as its parameter."""
    return typer.Option(*([option] if option else []), metavar="LIST", help=text)


def choice(values: Iterable[str], text: str, option: str | None = None) -> Any:
    """Return an option that takes one of a few words."""
    known = tuple(values)

    def checked(value: str) -> str:
        if value not in known:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
        return value

    return typer.Option(*([option] if option else []), metavar="|".join(known), parser=checked, help=text)


def protocol(default: str) -> Any:
    """Return --protocol, which is this by default."""
    return typer.Option(metavar="NAME|FILE", help=f"{', '.join(PRESETS)}, or a TOML file; by default {default}.")


def results(default: str) -> Any:
    """Return --from, which is this by default."""
    return typer.Option("--from", metavar="RUN|FILE", help=f"Results to use, {default}; repeatable.")


Networks = Annotated[Names, typer.Argument(metavar="NETWORK", help=f"{_NETWORKS}; by default all.")]
Models = Annotated[Names, several("Networks, the same as the arguments.")]
Classes = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Outputs, 0 for features; by default each sheet's.")
]
Device = Annotated[str, typer.Option(metavar="|".join(DEVICES), help="By default the protocol's.")]
Backend = Annotated[
    str, typer.Option(metavar="NAME", help="onnxruntime, openvino, ...; by default PyTorch, or the protocol's.")
]
Input = Annotated[Names, several("Image size, as 3x96x96 or 96; by default each sheet's.", "--input")]
Inputs = Annotated[
    str,
    typer.Option(metavar="LIST", help="If not one image: [NAME:]SIZExSIZE[:TYPE], as image:3x96x96,tokens:77:int64."),
]
Settings = Annotated[Names, typer.Option("--set", metavar="KEY=VALUE", help="An argument for the factory; repeatable.")]
Calibrate = Annotated[str, typer.Option(metavar="PATH|noise", help="Images to calibrate int8 by.")]
Judged = Annotated[str, typer.Option("--data", metavar="PATH", help="Images to compare a backend's decisions on.")]
Contract = Annotated[
    str, typer.Option(metavar="FILE|sheet", help="Input contract; by default what is known of the weights.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Format = Annotated[str, choice(FORMATS, "How to print tables.", "--format")]
Sheets = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help=f"Your own sheets; repeatable; by default ${SHEETS_VARIABLE}."),
]
Store = Annotated[str, typer.Option(metavar="URL", help="Stored results: sqlite:///PATH or postgresql://...")]
