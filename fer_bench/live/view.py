"""Show a run as it goes on: on a terminal the stages as bars, rates and drops; elsewhere nothing."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fer_bench.live.realtime import Progress
from fer_bench.records.output import printable
from fer_bench.records.stats import median

_EVERY_S = 0.25  # four times a second: drawing takes a millisecond or two
_FRAMES = 120  # of which medians are shown
_BAR = 30


class View:
    """A live table on stderr, where that is a terminal.

    Args:
        budget_s: from capture to result.
        show: False for nothing.
    """

    def __init__(self, budget_s: float, *, show: bool = True) -> None:
        self._budget_s = budget_s
        console = Console(file=sys.stderr)
        self._live = Live(console=console, auto_refresh=False, transient=True) if show and console.is_terminal else None
        self._last: deque[Progress] = deque(maxlen=_FRAMES)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def __call__(self, progress: Progress) -> None:
        """Note where a run is, and show it if that was not shown for a while."""
        if self._live is None:
            return
        self._last.append(progress)
        now = time.perf_counter()
        if now - self._drawn >= _EVERY_S:
            self._drawn = now
            self._live.update(table(list(self._last), self._budget_s), refresh=True)


def table(last: list[Progress], budget_s: float) -> Table:
    """Return a table of the last frames of a run: rates, drops, labels, and each stage as a bar."""
    newest, oldest = last[-1], last[0]
    counts, elapsed = newest.counts, newest.seconds - oldest.seconds
    fps = (len(last) - 1) / elapsed if elapsed > 0 else 0.0
    latency = median([each.last.latency_s for each in last])
    drawn = Table.grid(padding=(0, 1))
    drawn.add_row(Text(f"{newest.seconds:.0f} s"), Text(f"{fps:.1f} results/s"), Text(_counted(counts)))
    late = "" if latency <= budget_s else "  beyond the budget"
    drawn.add_row("latency", Text(f"{1e3 * latency:.1f} ms"), Text(f"budget {1e3 * budget_s:.1f} ms{late}"))
    names = dict.fromkeys(name for each in last for name in each.last.stages)  # not each frame has each stage
    stages = {name: median([each.last.stages[name] for each in last if name in each.last.stages]) for name in names}
    most = max([budget_s, *stages.values()])
    for name, seconds in stages.items():
        bar = "\N{FULL BLOCK}" * round(_BAR * seconds / most)
        drawn.add_row(Text(name), Text(f"{1e3 * seconds:.1f} ms", justify="right"), Text(bar))
    faces = ", ".join(f"{face.label} {face.probability:.2f}" for face in newest.last.faces[:4])
    drawn.add_row("labels", Text(str(len(newest.last.faces))), Text(printable(faces or newest.last.status)))
    return drawn


def _counted(counts: dict[str, int]) -> str:
    names = {"offered": "offered", "dropped": "dropped", "dropped_by_driver": "by driver", "errors": "errors"}
    return ", ".join(f"{counts[key]} {name}" for key, name in names.items() if counts[key] or key != "errors")
