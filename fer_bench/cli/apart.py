"""Run a user's code in a process of its own, which it may end."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from fer_bench.records.errors import FerBenchError


class EndedError(FerBenchError):
    """The process ended before its work was done."""


def apart(call: Callable[[], int]) -> int:
    """Call in a forked process, so that an ``os._exit`` or a segfault in it does not end this one.

    Ctrl-C goes to that process. Where the system cannot fork, the call is made here.

    Returns:
        What the call returns, an exit code.

    Raises:
        EndedError: the process ended before the call did.
    """
    if not hasattr(os, "fork"):
        return call()
    finished, finish = os.pipe()
    child = os.fork()
    if child == 0:
        code = call()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.write(finish, b".")
        os._exit(code)
    os.close(finish)
    signal.signal(signal.SIGINT, lambda number, _: os.kill(child, number))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if os.read(finished, 1):
        return ended
    how = f"was killed by {signal.Signals(-ended).name}" if ended < 0 else f"ended with exit code {ended}"
    raise EndedError(f"the process {how} before it was done: code of the network did that")
