"""What several commands share: how they end, how they read arguments, how they print."""

import contextlib
import functools
import inspect
import json
import logging
import os
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fer_bench.cli import options
from fer_bench.cli.options import SHEETS_VARIABLE, Names
from fer_bench.networks.inputs import SETTING, read_inputs
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import DEFAULT_INPUT, Shape
from fer_bench.records import files, output, units
from fer_bench.records.errors import FerBenchError, brief
from fer_bench.records.exit_codes import FAILED, OK
from fer_bench.records.plan import parse_settings
from fer_bench.reporting.render import FORMATS
from fer_bench.reporting.table import Table

if TYPE_CHECKING:
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.result import Json


def guarded(function: Callable[..., None], failed: int = FAILED) -> Callable[..., None]:
    """Return a command that ends an error with one line on stderr and this exit code.

    It has the option --debug, which ``function`` need not have.
    """
    parameters = inspect.signature(function).parameters
    debug_option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=options.Debug)

    @functools.wraps(function)
    def call(*, debug: bool = False, **given: Any) -> None:
        try:
            with output.own_stdout(), _files_named():
                function(**given, **({"debug": debug} if "debug" in parameters else {}))
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError as error:  # whoever read our output has seen enough; nothing is left to flush at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.stdout().fileno())
            raise typer.Exit(failed) from error
        except Exception as error:
            if debug:
                say(traceback.format_exc(), err=True)
            raise typer.Exit(complain(reason(error), failed)) from error

    shown = [parameter for name, parameter in parameters.items() if name != "debug"]
    call.__signature__ = inspect.Signature([*shown, debug_option])  # type: ignore[attr-defined]
    return call


@contextlib.contextmanager
def _files_named() -> Iterator[None]:
    """Print at the end which files were written; of many in one folder, the folder."""
    with files.noted() as paths:
        try:
            yield
        finally:
            for folder in dict.fromkeys(path.parent for path in paths):
                names = [path.name for path in paths if path.parent == folder]
                if len(names) > _MOST_NAMED:
                    say(f"wrote {len(names)} files into {folder}", err=True)
                else:
                    say(f"wrote {', '.join(str(folder / name) for name in names)}", err=True)


_MOST_NAMED = 4  # files of one folder


def stop_on_sigterm() -> None:
    """Let SIGTERM, by which a CI job is cancelled, end the command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def registry_of(sheets: list[Path] | None) -> Registry:
    """Return the networks of our sheets, and of the folders of --sheets or else of the environment variable."""
    return Registry(sheets or [folder for folder in os.environ.get(SHEETS_VARIABLE, "").split(os.pathsep) if folder])


def reason(error: Exception) -> str:
    """Return an error in one line; an unforeseen one with its type."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}"
    text = str(error) if isinstance(error, FerBenchError) else f"{brief(error)} (--debug shows where)"
    return output.capped(" ".join(text.split()))


@contextlib.contextmanager
def one_notice(*, debug: bool) -> Iterator[None]:
    """Print the warnings and logs of libraries as one line at the end; each as it comes with ``debug``."""
    sources: list[str] = []

    def of_log(record: logging.LogRecord) -> None:
        if debug:
            say(handler.format(record), err=True)
        else:
            sources.append(record.name.partition(".")[0])

    def of_warning(message: Warning | str, category: type[Warning], file: str, line: int, *_: object) -> None:
        if debug:
            say(warnings.formatwarning(message, category, file, line), err=True, end="")
        else:
            sources.append(_library(file))

    handler = logging.Handler(logging.WARNING)
    handler.emit = of_log  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = of_warning  # type: ignore[assignment]
            yield
    finally:
        logging.getLogger().removeHandler(handler)
        if sources:
            counted = Counter(sources).most_common()
            of = ", ".join(name for name, _ in counted)
            say(f"fer-bench: {len(sources)} warning{'s' * (len(sources) > 1)} of {of}: --debug shows them", err=True)


def _library(file: str) -> str:
    """Return the library that a file is of, or the file's own name."""
    parts = Path(file).parts
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts else parts[-1]


def named(name: str, message: str) -> str:
    """Return a message that begins with the network's name."""
    return message if message.startswith(name) else f"{name}: {message}"


def say(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Print text on stdout or stderr, cleaned of what a terminal would obey: the one way out of every command."""
    stream = None if err else output.stdout()
    typer.echo(output.printable(text, lines=True) + end, stream, nl=False, err=err)


def complain(message: str, code: int) -> int:
    """Print what went wrong, and return the exit code."""
    say(f"fer-bench: {output.printable(message)}", err=True)
    return code


def skip(message: str) -> None:
    """Print what is left out of what is shown."""
    complain(message, OK)


def fail_if(failures: Sequence[str]) -> None:
    """Print each failure in a line and end the command as failed; do nothing if there is none."""
    for failure in failures:
        complain(failure, FAILED)
    if failures:
        raise typer.Exit(FAILED)


def parse_list(*given: Names) -> list[str]:
    """Return the values of options and arguments, which may be repeated or have commas between.

    Raises:
        FerBenchError: one is given and has no value, such as ",,": it would else be as if it were not given, for all.
    """
    values = []
    for text in (text for texts in given for text in texts or ()):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise FerBenchError(
                f"{text[:60]!r} has no value: values have commas between, as a,b; or leave the option out"
            )
        values += parts
    return values


def find_specs(registry: Registry, *given: Names) -> "list[ModelSpec]":
    """Return the networks of these names, by default all that can be built."""
    return [registry.find(name) for name in parse_list(*given) or registry.names()]


def parse_shape(text: str) -> Shape:
    """Read CxHxW, or CxTxHxW of a clip."""
    shape = tuple(size for part in text.lower().split("x") if (size := units.whole_number(part)) is not None)
    if len(shape) not in (3, 4) or len(shape) <= text.lower().count("x"):
        raise FerBenchError(
            f"--input {text[:60]!r} is not CxHxW: channels, height and width from 1, such as 3x224x224 (of a clip "
            "CxTxHxW; --inputs takes other and several inputs)"
        )
    if len(shape) > _OF_AN_IMAGE:
        return shape
    channels, height, width = shape
    if width in _CHANNELS and channels > max(_CHANNELS) and height > max(_CHANNELS):
        raise FerBenchError(
            f"--input {text} says {channels} channels of {height}x{width} pixels: give channels first, "
            f"{width}x{channels}x{height}; images that are really so narrow need a width above {max(_CHANNELS)}"
        )
    return shape


_OF_AN_IMAGE = 3  # dimensions
_CHANNELS = (1, 2, 3, 4)  # grey, RGB, with one more; a last number so small is mostly these


def parse_inputs(given: Names) -> list[int | Shape]:
    """Read image sizes, of which a number is the side of a square."""
    sizes: list[int | Shape] = []
    for text in parse_list(given):
        if "x" in text.lower():
            sizes.append(parse_shape(text))
        elif (size := units.whole_number(text)) is not None:
            sizes.append(size)
        else:
            raise FerBenchError(
                f"--input {text[:60]!r} is no size: a side from 1, such as 96, or CxHxW, such as 3x224x224"
            )
    return sizes


def shapes_for(spec: "ModelSpec", given: Names) -> list[Shape | None]:
    """Read image sizes for a network, of whose own channels a square is; [None] if none is given."""
    channels = (spec.input_shape or DEFAULT_INPUT)[0]
    sizes = parse_inputs(given)
    return [(channels, size, size) if isinstance(size, int) else size for size in sizes] or [None]


def settings_with(settings: Names, inputs: str, sizes: Names) -> tuple[str, ...]:
    """Return the settings of a network as a record has them, with its inputs among them.

    Raises:
        FerBenchError: a setting or an input is none, or both --inputs and --input are given.
    """
    if inputs and sizes:
        raise FerBenchError("--inputs describes all that a network takes: leave --input out")
    if inputs:
        read_inputs(inputs)
    parse_settings(settings or [])
    return (*(settings or ()), *([f"{SETTING}={inputs}"] if inputs else []))


def print_json(rows: "Json") -> None:
    """Print what JSON can hold."""
    say(output.printable_json(json.dumps(rows, indent=2, ensure_ascii=False)))


def print_tables(drawn: Iterable[Table], fmt: str = "table") -> None:
    """Print tables in one of the formats; as JSON they are one list."""
    if fmt == "json":
        from fer_bench.reporting.render.json import as_json

        print_json([as_json(table) for table in drawn])
    else:
        say("\n".join(FORMATS[fmt](table) for table in drawn), end="")
