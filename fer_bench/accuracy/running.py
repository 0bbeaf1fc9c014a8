"""What holds while a training runs: deterministic algorithms, and an end by Ctrl-C or SIGTERM between two steps."""

import contextlib
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch

_NOT_DETERMINISTIC = "does not have a deterministic implementation"


@contextlib.contextmanager
def deterministic(inexact: list[str]) -> Iterator[None]:
    """Use deterministic algorithms where there are, and collect the operators that have none."""
    cudnn = torch.backends.cudnn
    filling: Any = torch.utils.deterministic  # which PyTorch has no types of
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = True, False, False
    try:
        with warnings.catch_warnings():
            show = warnings.showwarning

            def note(message: Warning | str, *about: Any, **more: Any) -> None:
                if _NOT_DETERMINISTIC not in str(message):
                    show(message, *about, **more)
                elif (operator := str(message).split()[0]) not in inexact:
                    inexact.append(operator)

            warnings.showwarning = note
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = flags


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that no state is kept in the middle of a step; the second of a kind ends at once.

    A terminal sends Ctrl-C to all of its processes, and the one that waits for this one asks it by SIGTERM, too.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def catch(number: int, _frame: object) -> None:
        if number in caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_interrupts(_worker: int) -> None:
    """Have a loader's worker ignore Ctrl-C, which is for the process that it works for, and end by SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
