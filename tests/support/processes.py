"""Processes that tests start."""

import os
import signal
import time
from collections.abc import Callable


def plain_environment(**more: str) -> dict[str, str]:
    """Give the environment for a pytest of its own: pytest-benchmark measures nothing in what xdist has started."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")} | more


def wait_until(condition: Callable[[], object], patience_s: float = 120.0) -> None:
    """Return as soon as a condition holds, on however slow a machine."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def heed_ctrl_c() -> None:
    """Let a process end by Ctrl-C: what runs in the background of a shell inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
