"""Show how a run goes on: a live line on a terminal, plain lines elsewhere; always on stderr."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from fer_bench import units
from fer_bench.records import Result
from fer_bench.stats import median


class Display:
    """Tells the network and stage under way, what is done, and the time that is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._name = ""
        self._began = 0.0
        console = Console(file=sys.stderr, soft_wrap=True)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._live.add_task("starting", total=total)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, name: str) -> None:
        """Say which network is next."""
        self._name, self._began = name, time.perf_counter()
        self._live.update(self._task, description=name)

    def stage(self, stage: str) -> None:
        """Say which metric group is under way."""
        self._live.update(self._task, description=f"{self._name}: {stage}")

    def done(self, result: Result) -> None:
        """Say what a network gave."""
        self._count += 1
        self._live.advance(self._task)
        took = time.perf_counter() - self._began
        line = units.printable(f"[{self._count}/{self._total}] {result.subject.name}: {_gist(result)} ({took:.1f} s)")
        # `out` writes as it is: a name with square brackets is no markup.
        self._live.console.out(line, highlight=False)


def _gist(result: Result) -> str:
    failures = [m.failure for m in result.measurements if m.failure]
    if failures:
        return f"failed: {failures[0]}"
    parts = []
    macs, latency = result.value("macs"), result.measurement("latency_s")
    if macs is not None:
        parts.append(f"{units.scaled(macs)} MACs")
    if latency is not None and latency.values:
        parts.append(f"{units.milliseconds(median(latency.values))} ms, {len(latency.values)} runs")
    return ", ".join(parts)
