"""The command line: the commands, the old names of options, and how each command ends."""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from fer_bench.cli.common import complain, guarded, say
from fer_bench.records import exit_codes
from fer_bench.records.output import program_stdout

# What `fer-bench --help` lists, by group: each command's name, and the module and function that it is.
COMMANDS = {
    "Look up": {"list": "look_up:list_", "show": "look_up:show", "check-weights": "look_up:check_weights"},
    "Measure": {"count": "count:count", "run": "run:run", "deploy": "deploy:deploy"},
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


class Commands(TyperGroup):
    """The commands in groups, each of which is imported when it is needed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: dict[str, Any] = {name: None for group in COMMANDS.values() for name in group}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            one.command(cmd_name, epilog=_CODES if cmd_name in JUDGES else None)(_function(cmd_name))
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


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(cls=Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def fer_bench() -> None:
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
    module, _, function = place.partition(":")
    found = getattr(importlib.import_module(f"fer_bench.cli.{module}"), function)
    return guarded(found, exit_codes.CANNOT_JUDGE if name in JUDGES else exit_codes.FAILED)


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
