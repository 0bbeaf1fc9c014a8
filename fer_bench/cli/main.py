"""The command line: the commands, and how each ends."""

import contextlib
import sys
from collections.abc import Sequence

from fer_bench.cli import audit, count, gate, history, look_up, report, run, store
from fer_bench.cli.common import (
    FAILED,
    app,
    complain,
    guarded,
)

for part in (look_up, count, run, store, report, audit, gate, history):
    part.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend print one message and no traceback, unless ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(AttributeError):  # a terminal of another encoding must not stop a table
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if given == ["list"]:  # nothing to parse, and to parse nothing Typer would import pydantic: half of the time
        return guarded(look_up.list_, debug=False)

    def call() -> int:
        return guarded(lambda: app(args=given, prog_name="fer-bench", standalone_mode=True), debug="--debug" in given)

    if arguments is None and _runs_users_code(given):
        from fer_bench.cli.apart import EndedError, apart

        try:
            return apart(call)
        except EndedError as error:
            return complain(str(error), FAILED)
    return call()


def _runs_users_code(given: Sequence[str]) -> bool:
    """Tell whether this process would import a user's file; those that measure leave that to their workers."""
    factories = [argument for argument in given[1:] if ":" in argument]
    measures = given[:1] in (["run"], ["gate"], ["compare"])
    return not measures and any(not name.startswith(("timm:", "torchvision:")) for name in factories)
