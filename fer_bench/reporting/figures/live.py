"""The real-time system over time: latency of each second, and what became of its frames."""

from collections import defaultdict
from collections.abc import Sequence

from fer_bench.records.plan import REALTIME
from fer_bench.records.result import Result
from fer_bench.records.stats import quantile
from fer_bench.reporting.analysis import live
from fer_bench.reporting.figures.common import axis, hollow, labels, numbered
from fer_bench.reporting.figures.plots import Axis, Pace, Second, Seconds
from fer_bench.reporting.tables import common
from fer_bench.reporting.tables.live import load

_MOST_POINTS = 120  # of a run; longer ones are drawn over more seconds a point


def seconds(results: Sequence[Result]) -> Seconds | None:
    """Draw median and 95th percentile of the latency, and frames done and dropped, over the time of each run."""
    measured = [r for r in common.asked(results, REALTIME) if live.series(r, "captured_s") and len(_of(r)) > 1]
    if not measured:
        return None
    paces = tuple(
        Pace(label, live.settings(result)["budget_s"], _of(result), hollow(result))
        for label, result in zip(_named(measured), measured, strict=True)
    )
    most = [second.p95_s for pace in paces for second in pace.seconds]
    return Seconds(
        title="Real-time system over time",
        caption="Latency from capture to result: median (line) and 95th percentile (dashed) of each stretch of time; "
        "dotted: the budget. Below: results (line) and frames that the policy dropped (dashed), a second. "
        + common.conditions(measured),
        x=Axis("Time since the start (s)", "number"),
        latency=axis("Latency (ms)", "seconds", most),
        rate=Axis("Frames/s", "number"),
        runs=paces,
    )


def _named(results: Sequence[Result]) -> list[str]:
    """Name each run by its network, and by source, detector and load where runs differ in them."""
    loads = [load(result) for result in results]
    differ = [key for key in ("source", "detector", "load") if len({cells.get(key) for cells in loads}) > 1]
    parts = (
        (name, *(cells[key] for key in differ if key in cells))
        for name, cells in zip(labels(results), loads, strict=True)
    )
    return numbered([", ".join(each) for each in parts])


def _of(result: Result) -> tuple[Second, ...]:
    captured, latency = live.series(result, "captured_s"), live.series(result, "latency_s")
    lost = live.series(result, "dropped_at_s")
    first, last = min([*captured, *lost]), max([*captured, *lost])
    width = max(1.0, (last - first) / _MOST_POINTS)
    done: dict[int, list[float]] = defaultdict(list)
    dropped: dict[int, int] = defaultdict(int)
    for at, value in zip(captured, latency, strict=True):
        done[int((at - first) / width)].append(value)
    for at in lost:
        dropped[int((at - first) / width)] += 1
    # The last stretch is cut short by the end, where there is another.
    end = int((last - first) / width)
    places = [place for place in sorted(done) if place < end or end == 0]
    return tuple(
        Second(
            place * width,
            quantile(done[place], 0.5),
            quantile(done[place], 0.95),
            len(done[place]) / width,
            dropped[place] / width,
        )
        for place in places
    )
