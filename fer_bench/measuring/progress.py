"""Show the progress of a run: on stderr a live table on a terminal, plain lines elsewhere; one line in a notebook."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fer_bench.measuring.forecast import TimeLeft, duration
from fer_bench.measuring.runner import Watcher
from fer_bench.measuring.task import Task
from fer_bench.records import units
from fer_bench.records.output import printable
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import latency

Item = TypeVar("Item")

_OTHER_LINES = 6  # of a terminal, for the table's frame and the progress bar
_HEADINGS = ("Network", "MACs", "Latency (ms)", "95 % interval", "Runs", "Took (s)")


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield items; on a terminal show how many are done and the time that is left."""
    console = Console(file=sys.stderr, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(items, description=what)


def watch(total: int, *, show: bool = True) -> AbstractContextManager[Watcher]:
    """Return what shows the progress of so many measurements where this program runs, or shows nothing.

    Args:
        total: how many there are.
        show: False for nothing.
    """
    if not show:
        return contextlib.nullcontext(Quiet())
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return contextlib.nullcontext(Line(total)) if hasattr(shell, "kernel") else Display(total)


class Quiet:
    """Shows nothing."""

    def skip(self, count: int) -> None: ...
    def begin(self, task: Task) -> None: ...
    def stage(self, stage: str) -> None: ...
    def done(self, task: Task, result: Result) -> None: ...


class Line:
    """Shows one line in the output of a notebook's cell, and changes it as it goes on."""

    def __init__(self, total: int) -> None:
        self._total, self._measured, self._name, self._began = total, 0, "", time.perf_counter()
        self._handle: Any = None

    def skip(self, count: int) -> None:
        """Count tasks that are measured already."""
        self._measured = count

    def begin(self, task: Task) -> None:
        """Show which network is next."""
        self._name = task.spec.name
        self._show(self._name)

    def stage(self, stage: str) -> None:
        """Show which metric group is under way."""
        self._show(f"{self._name}: {stage}")

    def done(self, task: Task, result: Result) -> None:
        """Show the result of a network."""
        self._measured += 1
        latency_ms = _row(result, 0.0)[2]
        self._show(f"{self._name}: {latency_ms} ms" if latency_ms else self._name)

    def _show(self, text: str) -> None:
        from IPython.display import display

        took_s = time.perf_counter() - self._began
        line = {"text/plain": printable(f"[{self._measured}/{self._total}] {text} ({took_s:.0f} s)")}
        if self._handle is None:
            self._handle = display(line, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(line, raw=True)


class Display:
    """Shows the network and stage under way, what is done, and the time that is left.

    Args:
        total: networks, those measured already among them.
        left: the time that the others take.
    """

    def __init__(self, total: int, left: TimeLeft | None = None) -> None:
        self._total = total
        self._left = left or TimeLeft([None] * total)
        self._rows: list[tuple[str, ...]] = []
        self._skipped = 0
        self._name = ""
        self._began = 0.0
        self._console = Console(file=sys.stderr, soft_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("starting", total=total, left="")
        self._live = Live(console=self._console, transient=True, get_renderable=self._drawn)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def skip(self, count: int) -> None:
        """Count tasks that are measured already."""
        self._skipped = count
        self._bar.update(self._task, completed=count)

    def begin(self, task: Task) -> None:
        """Show which network is next."""
        self._name, self._began = printable(task.spec.name), time.perf_counter()
        self._left.begin()
        self._bar.update(self._task, description=_escaped(self._name))

    def stage(self, stage: str) -> None:
        """Show which metric group is under way."""
        self._bar.update(self._task, description=_escaped(f"{self._name}: {stage}"))

    def done(self, task: Task, result: Result) -> None:
        """Show the result of a network."""
        self._bar.advance(self._task)
        self._left.done()
        row = _row(result, result.wall_s or time.perf_counter() - self._began)  # several may be under way
        self._rows.append(row)
        if not self._console.is_terminal:
            named = zip(_HEADINGS[1:], row[1:], strict=True)
            line = ", ".join([f"{heading}: {cell}" for heading, cell in named if cell])
            left = f", {self._time_left()}" if self._skipped + len(self._rows) < self._total else ""
            # `out` prints no markup: a name may have square brackets.
            self._console.out(
                f"[{self._skipped + len(self._rows)}/{self._total}] {row[0]}: {line}{left}", highlight=False
            )

    def _time_left(self) -> str:
        left_s = self._left.left_s()
        return f"{duration(left_s)} left" if left_s is not None else ""

    def _drawn(self) -> Group:
        self._bar.update(self._task, left=self._time_left())
        table = Table(*_HEADINGS, title="Measured so far", title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self._rows[-max(1, self._console.height - _OTHER_LINES) :]:
            table.add_row(*map(Text, row))
        return Group(table, self._bar) if self._rows else Group(self._bar)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _row(result: Result, took_s: float) -> tuple[str, ...]:
    macs, taken = result.value("macs"), latency.summary(result)
    failures = [m.failure for m in result.measurements if m.failure]
    ends = taken.interval if taken is not None else None
    cells = (
        " ".join((result.subject.name, *result.subject.settings)),
        units.scaled(macs) if macs is not None else "",
        units.milliseconds(taken.estimate_s) if taken is not None else "",
        f"{units.milliseconds(ends.low)}-{units.milliseconds(ends.high)}" if ends is not None else "",
        f"{taken.processes} x {taken.runs // taken.processes}" if taken is not None else "",
        f"{took_s:.1f}" + (f" failed: {failures[0]}" if failures else ""),
    )
    return tuple(map(printable, cells))
