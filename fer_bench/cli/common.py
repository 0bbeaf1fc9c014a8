"""What several commands share: options, the reading of arguments, printing."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.networks import registry
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting.table import Table

if TYPE_CHECKING:
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.result import Json, Result

# Exit codes. 2 is the command line's own for wrong usage, 130 the shell's for Ctrl-C.
OK, FAILED, INTERRUPTED = 0, 1, 130

app = typer.Typer(
    name="fer-bench",
    help="Benchmarks and efficiency profiles of facial-expression-recognition networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    html = "html"


class Breakdown(StrEnum):
    """What MACs are broken down by."""

    module = "module"
    op = "op"


Names = Annotated[
    list[str] | None,
    typer.Argument(help="Names of `fer-bench list`, timm:NAME, torchvision:NAME, FILE.py:FACTORY or MODULE:FACTORY."),
]
Classes = Annotated[int | None, typer.Option("--classes", min=1, help="Outputs; by default each sheet's.")]
Input = Annotated[str | None, typer.Option("--input", metavar="CxHxW", help="Image size; by default each sheet's.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An argument for the factory; may be repeated.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to write the table.")]
SheetsOption = Annotated[
    list[Path] | None,
    typer.Option("--sheets", metavar="FOLDER", help="A folder of sheets of your own, beside ours; may be repeated."),
]
StoreOption = Annotated[
    str, typer.Option("--store", metavar="URL", help="Where results are kept: sqlite:///PATH or postgresql://...")
]


def guarded(call: Callable[[], object], *, debug: bool) -> int:
    """Call, and turn however it ends into an exit code and at most one line on stderr."""
    try:
        call()
    except SystemExit as end:  # Typer's, which takes Ctrl-C and a closed pipe (`| head`) for its own
        code = end.code if isinstance(end.code, int) else FAILED
        return complain("interrupted", INTERRUPTED) if code == INTERRUPTED else code
    except BrokenPipeError:  # whoever read our output has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return complain(reason(error), FAILED)
    return OK


def reason(error: Exception) -> str:
    """Say an error in one line; one that was not foreseen with its type."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}"
    text = str(error) if isinstance(error, FerBenchError) else f"{type(error).__name__}: {error} (--debug shows where)"
    return " ".join(text.split())


def named(name: str, message: str) -> str:
    """Put a network's name before a message that does not begin with it."""
    return message if message.startswith(name) else f"{name}: {message}"


def complain(message: str, code: int) -> int:
    """Say what went wrong, and give the exit code."""
    typer.echo(f"fer-bench: {units.printable(message)}", err=True)
    return code


def fail_if(failures: Sequence[str]) -> None:
    """End the command as failed, each failure told in a line; do nothing if there is none."""
    for failure in failures:
        complain(failure, FAILED)
    if failures:
        raise typer.Exit(FAILED)


def find_specs(names: Sequence[str] | None) -> "list[ModelSpec]":
    """Find networks by name; all of the zoo without any."""
    return [registry.find(name) for name in names or registry.list_models()]


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    """Read CxHxW."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise FerBenchError(f"--input {text!r} is not CxHxW: channels, height and width from 1, such as 3x224x224")
    channels, height, width = map(int, parts)
    return channels, height, width


def parse_list(text: str) -> list[str]:
    """Read names with commas between."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_counters(text: str) -> list[str]:
    """Read the names of other counters."""
    tools = parse_list(text)
    known = ("torch", "fvcore", "thop")
    if unknown := [tool for tool in tools if tool not in known]:
        raise FerBenchError(f"--counter {', '.join(unknown)} is unknown; known: {', '.join(known)}")
    return tools


def parse_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """Read KEY=VALUE settings."""
    from fer_bench.records import plan

    return plan.parse_settings(settings or [])


def read_results(source: str, store: str = DEFAULT_STORE) -> "list[Result]":
    """Read a run of the store, or a file of results."""
    from fer_bench.records.exchange import read_file

    if _is_file(source):
        return read_file(Path(source))
    with Store.open(store, create=False) as opened:
        return opened.results(opened.find_run(source).id)


def name_source(source: str, store: str) -> str:
    """Name a file of results, or a run by its whole id."""
    if _is_file(source):
        return f"file {source}"
    with Store.open(store, create=False) as opened:
        return f"run {opened.find_run(source).id} of {opened.shown}"


def _is_file(source: str) -> bool:
    return Path(source).exists() or source.endswith((".json", ".jsonl"))


def write_text(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def print_json(rows: "Json") -> None:
    """Print what JSON can hold."""
    typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def print_tables(drawn: Iterable[Table], fmt: Format) -> None:
    """Print tables in one of the formats, JSON aside."""
    from fer_bench.reporting.render import FORMATS

    typer.echo("\n".join(FORMATS[fmt.value](table) for table in drawn), nl=False)
