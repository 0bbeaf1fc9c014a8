"""The command line: arguments to a plan, one call, print, exit code. Reads like a table of contents."""

import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench import registry, tables, units
from fer_bench.errors import FerBenchError, StoreError

if TYPE_CHECKING:
    from fer_bench.plan import Plan
    from fer_bench.records import Json
    from fer_bench.registry import ModelSpec

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


@app.command("list")
def list_(fmt: FormatOption = Format.table, debug: Debug = False) -> None:
    """List the built-in networks, from their sheets."""
    specs = list(registry.sheets().values())
    if fmt is Format.json:
        _print_json([_summary(spec) for spec in specs])
    else:
        _print_tables([tables.catalogue(specs)], fmt)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `fer-bench list`.")],
    debug: Debug = False,
) -> None:
    """Tell all that the sheet of a network says, its published figures included."""
    from fer_bench.render.text import definitions

    spec = registry.find(name)
    typer.echo(definitions(tables.portrait(spec)), nl=False)
    if spec.published:
        typer.echo()
        _print_tables([tables.figures(spec)], Format.table)


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
    fmt: FormatOption = Format.table,
    debug: Debug = False,
) -> None:
    """Count parameters, MACs, activations and layers, without running any arithmetic."""
    specs = _specs(names)
    shape = _parse_shape(input_)
    tools = _parse_counters(counters)
    arguments = _parse_settings(settings)
    from fer_bench.building import Build
    from fer_bench.profilers.static import count as count_one

    build = Build(classes, shape, arguments)
    rows: list[dict[str, Json]] = []
    for spec in specs:
        try:
            counted = count_one(spec, build, batch=batch, train=train, counters=tools)
        except Exception as error:  # one network's failure, foreseen or not, costs no other its row
            if debug:
                traceback.print_exc()
            rows.append({"name": spec.name, "error": _reason(error)})
            continue
        row = counted.row()
        if by is Breakdown.module:
            row["modules"] = counted.by_module()
        elif by is Breakdown.op:
            row["operators"] = counted.by_operator()
        rows.append(row)
    _print_counts(rows, by, fmt)
    failures = [_named(row["name"], row["error"]) for row in rows if "error" in row]
    failures += [_named(row["name"], row["training"]["error"]) for row in rows if "error" in row.get("training", {})]
    if strict:
        for row in rows:
            uncounted = row.get("uncounted", {}) | row.get("training", {}).get("uncounted", {})
            if uncounted:
                failures.append(f"{row['name']}: operators without a formula: {', '.join(uncounted)}")
    _fail_if(failures)


@app.command()
def run(
    models: Annotated[
        str, typer.Option("--models", metavar="NAMES", help="Comma-separated names; by default all built-ins.")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="quick or safavi2023; by default quick on a CPU, the other on a GPU.")
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda; by default the best at hand.")] = "",
    batch: Annotated[int | None, typer.Option(min=1, help="Images a pass; by default the protocol's.")] = None,
    classes: Classes = None,
    input_: Input = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Timed passes; by default the protocol's 300.")] = None,
    max_time: Annotated[
        float | None,
        typer.Option("--max-time", min=0.0, metavar="SECONDS", help="Time cap of a network's timed passes."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default one a core.")] = None,
    settings: Settings = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to load; with --models naming one network.")] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=1.0, metavar="SECONDS", help="Give a process up that says nothing for so long; by default 600."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results; by default fer-bench-results/TIME.")] = None,
    debug: Debug = False,
) -> None:
    """Measure networks, each in fresh processes, and print the table that a paper would."""
    import datetime

    from fer_bench import runner, store
    from fer_bench.progress import Display
    from fer_bench.render import write_all

    specs = _specs([name.strip() for name in models.split(",") if name.strip()])
    if checkpoint is not None and len(specs) != 1:
        raise FerBenchError("--checkpoint is one network's: name it with --models")
    if checkpoint is not None and not checkpoint.is_file():
        raise FerBenchError(f"there is no checkpoint {checkpoint}; a path starts at the current folder")
    shape = _parse_shape(input_)
    _parse_settings(settings)
    plan = _plan(
        protocol,
        device,
        batch_size=batch,
        num_classes=classes,
        runs=runs,
        max_time_s=max_time,
        threads=threads,
        time_limit_s=time_limit,
    )
    folder = out or Path("fer-bench-results") / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}"
    file = folder / "results.jsonl"
    store.check_writable(file)
    with Display(len(specs)) as display:
        done = runner.measure_all(
            specs,
            plan,
            file,
            display,
            input_shape=shape,
            settings=settings or [],
            checkpoint=str(checkpoint.resolve()) if checkpoint else "",
            debug=debug,
        )
    stopped = done.stopped
    try:  # first the files: whoever reads our output may leave early
        if done.results:
            write_all(folder, tables.report(store.load(file)))  # with what the file held before
    except StoreError as error:
        stopped = stopped or error
    _print_tables(tables.report(done.results).values(), Format.table)
    if stopped is not None:
        raise stopped
    typer.echo(f"\nResults: {file}, and the tables beside it; `fer-bench report {folder}` draws them again.")
    _fail_if([_named(r.subject.name, failure) for r in done.results for failure in tables.failures(r)])


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder or file that `fer-bench run` wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the tables here in every format, instead of printing.")
    ] = None,
    fmt: FormatOption = Format.table,
    debug: Debug = False,
) -> None:
    """Draw the tables of stored results again; the same results give the same bytes."""
    from fer_bench import store
    from fer_bench.render import write_all

    found = store.load(results)
    if not found:
        raise FerBenchError(f"{results} holds no results yet")
    if out is not None:
        write_all(out, tables.report(found))
    elif fmt is Format.json:
        _print_json([json.loads(result.to_json()) for result in found])
    else:
        _print_tables(tables.report(found).values(), fmt)


@app.command("check-weights")
def check_weights(
    name: Annotated[str, typer.Argument(help="The network that the weights are for.")],
    checkpoint: Annotated[Path, typer.Argument(help="A file of weights (.pt, .pth, .safetensors).")],
    classes: Classes = None,
    input_: Input = None,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Load weights into a network and tell exactly which keys were missing, unexpected or of another shape."""
    spec = registry.find(name)
    shape, arguments = _parse_shape(input_), _parse_settings(settings)
    from fer_bench.building import Build, create
    from fer_bench.checkpoints import describe, load_checkpoint

    model = create(spec, Build(classes, shape, arguments))
    found = load_checkpoint(model, checkpoint, spec, strict=False)
    inside = f" (inside {found.container!r})" if found.container else ""
    typer.echo(f"{checkpoint}{inside} for {name}: {describe(found, most=None)}")
    _fail_if([] if found.complete else [f"{checkpoint} does not fit {name}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend print one message and no traceback, unless ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(AttributeError):  # a terminal of another encoding must not stop a table
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if given == ["list"]:  # nothing to parse, and to parse nothing Typer would import pydantic: half of the time
        return _guarded(list_, debug=False)

    def call() -> int:
        return _guarded(lambda: app(args=given, prog_name="fer-bench", standalone_mode=True), debug="--debug" in given)

    if arguments is None and _runs_users_code(given):
        from fer_bench.apart import EndedError, apart

        try:
            return apart(call)
        except EndedError as error:
            return _complain(str(error), FAILED)
    return call()


def _runs_users_code(given: Sequence[str]) -> bool:
    """Tell whether this process would import a user's file; `run` leaves that to its workers."""
    factories = [argument for argument in given[1:] if ":" in argument]
    return given[:1] != ["run"] and any(not name.startswith(("timm:", "torchvision:")) for name in factories)


def _guarded(call: Callable[[], object], *, debug: bool) -> int:
    try:
        call()
    except SystemExit as end:  # Typer's, which takes Ctrl-C and a closed pipe (`| head`) for its own
        code = end.code if isinstance(end.code, int) else FAILED
        return _complain("interrupted", INTERRUPTED) if code == INTERRUPTED else code
    except BrokenPipeError:  # whoever read our output has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _complain(_reason(error), FAILED)
    return OK


def _reason(error: Exception) -> str:
    """Say an error in one line; one that was not foreseen with its type."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}"
    text = str(error) if isinstance(error, FerBenchError) else f"{type(error).__name__}: {error} (--debug shows where)"
    return " ".join(text.split())


def _named(name: str, message: str) -> str:
    """Put a network's name before a message that does not begin with it."""
    return message if message.startswith(name) else f"{name}: {message}"


def _complain(message: str, code: int) -> int:
    typer.echo(f"fer-bench: {units.printable(message)}", err=True)
    return code


def _fail_if(failures: Sequence[str]) -> None:
    for failure in failures:
        _complain(failure, FAILED)
    if failures:
        raise typer.Exit(FAILED)


def _specs(names: Sequence[str] | None) -> "list[ModelSpec]":
    return [registry.find(name) for name in names] if names else list(registry.sheets().values())


def _parse_shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise FerBenchError(f"--input {text!r} is not CxHxW: channels, height and width from 1, such as 3x224x224")
    channels, height, width = map(int, parts)
    return channels, height, width


def _parse_counters(text: str) -> list[str]:
    tools = [tool.strip() for tool in text.split(",") if tool.strip()]
    known = ("torch", "fvcore", "thop")
    if unknown := [tool for tool in tools if tool not in known]:
        raise FerBenchError(f"--counter {', '.join(unknown)} is unknown; known: {', '.join(known)}")
    return tools


def _parse_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    from fer_bench.plan import parse_settings

    return parse_settings(settings or [])


def _plan(protocol: str, device: str, **given: float | None) -> "Plan":
    """Choose the preset and put in what the command line says; None leaves the preset's."""
    from fer_bench.environment import has_gpu
    from fer_bench.plan import PRESETS

    if device not in ("", "cpu", "cuda"):
        raise FerBenchError(f"--device {device!r} is neither cpu nor cuda")
    device = device or ("cuda" if has_gpu() else "cpu")
    if device == "cuda" and not has_gpu():
        raise FerBenchError("--device cuda: there is no NVIDIA GPU that the driver shows; check nvidia-smi, or use cpu")
    protocol = protocol or ("safavi2023" if device == "cuda" else "quick")
    if protocol not in PRESETS:
        raise FerBenchError(f"--protocol {protocol!r} is unknown; known: {', '.join(PRESETS)}")
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return dataclasses.replace(PRESETS[protocol], device=device, **changes)


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


def _print_json(rows: "Sequence[Json]") -> None:
    typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _print_tables(drawn: Iterable[tables.Table], fmt: Format) -> None:
    from fer_bench.render import FORMATS

    typer.echo("\n".join(FORMATS[fmt.value](table) for table in drawn), nl=False)


def _print_counts(rows: "Sequence[dict[str, Json]]", by: Breakdown | None, fmt: Format) -> None:
    if fmt is Format.json:
        _print_json(rows)
        return
    if fmt is Format.csv:
        from fer_bench.render.csv import rows_to_csv

        typer.echo(rows_to_csv(rows), nl=False)
        return
    if not all("error" in row for row in rows):
        _print_tables(_count_tables(rows, by), fmt)


def _count_tables(rows: "Sequence[dict[str, Json]]", by: Breakdown | None) -> Iterator[tables.Table]:
    yield tables.counts(rows)
    for row in rows:
        if by is Breakdown.module and "modules" in row:
            yield tables.modules(row["name"], row["modules"])
        elif by is Breakdown.op and "operators" in row:
            yield tables.operators(row["name"], row["operators"])


if __name__ == "__main__":
    sys.exit(main())
