"""What a run of the real-time system came to, from the times of its frames; verdicts apart from each other.

"Real time" is several claims, and one can hold without the others: the system keeps up with its source (stability), it
drops few frames, and each result comes within a budget (latency). Frames follow each other, and one that is slow has
slow neighbours, so that every interval here is over blocks of time and never over frames.
"""

import math
import statistics
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from fer_bench.records import stats
from fer_bench.records.result import Result

STAGE = "live"  # of what occupancy samples
PREFIX = f"{STAGE}."
FRAME_STAGES = ("read", "wait", "detect", "crop", "classify", "draw")  # in order; a detector's own lie within detect
REALTIME_FPS = 24  # paper 001 calls what keeps up with it real-time
SETTLE_S = 1.0  # at the start, left out: caches fill, clocks rise
# A block is a second at least: with a lag-1 autocorrelation of 0.77 the mean of 24 frames knows little of the next 24.
BLOCK_S, LEAST_FRAMES, MOST_BLOCKS, LEAST_BLOCKS = 1.0, 5, 30, 5
_UPPER = 0.90  # two-sided level whose upper end is a one-sided limit of 95 %

Verdict = Literal["yes", "no", "inconclusive", "not asked"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over blocks, None where the run was too short for one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Live:
    """What a run came to. Times in seconds; shares from 0 to 1.

    Attributes:
        offered: frames that the source gave; ``dropped`` by us, ``by_driver`` before they came, ``skipped`` by the
            detector on purpose, whose boxes were older.
        done_fps: results a second in the steady part.
        service: mean time of a frame from taken to done, without waiting.
        latency_p50, latency_p95: from capture to result, which is not glass to glass.
        dropped_share: of the offered frames, in the steady part.
        in_time: share of the offered frames with a result within the budget.
        faces: mean number a frame.
        stable: whether the source's rate is kept up: "yes" where the upper limit of the mean service time is below
            1/fps.
        few_drops: whether the upper limit of the dropped share is below the user's.
        low_latency: whether the 95th percentile of the latency is below the budget.
        memory_slope: bytes a second by which the resident set grew.
        drift: relative change of the service time from the first third to the last.
    """

    offered: int
    done: int
    dropped: int
    by_driver: int
    skipped: int
    errors: int
    seconds: float
    done_fps: float
    service: Estimate
    latency_p50: float
    latency_p95: Estimate
    dropped_share: Estimate
    in_time: Estimate
    faces: float
    stable: Verdict
    few_drops: Verdict
    low_latency: Verdict
    memory_slope: Estimate | None
    drift: float
    blocks: int


def settings(result: Result) -> dict[str, Any]:
    """Return what a run was asked for: source, detector, policy and the like; empty where it was none."""
    found = result.measurement(f"{PREFIX}offered")
    return dict(found.details) if found is not None else {}


def series(result: Result, name: str) -> list[float]:
    """Return the values of a series, in order, of whatever pieces it was stored in."""
    return [value for piece in result.samples(PREFIX + name) for value in piece]


def stages(result: Result) -> list[str]:
    """Return the stages that a run timed, in order; those of a detector follow "detect"."""
    own = [name for name in settings(result).get("detector_stages", ()) if series(result, f"{name}_s")]
    known = [name for name in FRAME_STAGES if series(result, f"{name}_s")]
    place = known.index("detect") + 1 if "detect" in known else len(known)
    return [*known[:place], *own, *known[place:]]


def analyse(result: Result) -> Live | None:
    """Work out what a run came to; None where no frame was done."""
    about, captured = settings(result), series(result, "captured_s")
    if not about or not captured:
        return None
    latency, service = series(result, "latency_s"), series(result, "service_s")
    dropped_at, faces = series(result, "dropped_at_s"), series(result, "faces")
    start, end = _steady([*captured, *dropped_at])
    steady = [place for place, at in enumerate(captured) if start <= at <= end]
    lost = [at for at in dropped_at if start <= at <= end]
    blocks = _Blocks.over(start, end, len(steady))
    budget, fps = about["budget_s"], about.get("fps")
    times = [captured[place] for place in steady]
    served = blocks.mean(times, [service[place] for place in steady])
    late = [float(latency[place] > budget) for place in steady]
    dropped = blocks.mean([*times, *lost], [*[0.0] * len(times), *[1.0] * len(lost)])
    if dropped.value == 0 and times:  # none in so many: Poisson's upper limit, if drops come singly
        dropped = Estimate(0.0, 0.0, -math.log(0.05) / len(times))
    in_time = blocks.mean([*times, *lost], [*[1.0 - each for each in late], *[0.0] * len(lost)])
    limit = blocks.mean(times, late, _UPPER)
    seconds = max(end - start, 1e-9)
    return Live(
        offered=int(sum(series(result, "offered"))),
        done=len(captured),
        dropped=int(sum(series(result, "dropped"))),
        by_driver=int(sum(series(result, "dropped_by_driver"))),
        skipped=int(sum(series(result, "skipped"))),
        errors=int(sum(series(result, "errors"))),
        seconds=max([*captured, *dropped_at]) + latency[-1],
        done_fps=(len(steady) - 1) / seconds if len(steady) > 1 else len(captured) / max(latency[-1], 1e-9),
        service=served,
        latency_p50=stats.median([latency[place] for place in steady]),
        latency_p95=blocks.quantile(times, [latency[place] for place in steady], 0.95),
        dropped_share=dropped,
        in_time=in_time,
        faces=statistics.fmean(faces) if faces else 0.0,
        stable=_below(blocks.mean(times, [service[place] for place in steady], _UPPER), 1 / fps)
        if fps
        else "not asked",
        few_drops=_below(dropped, about["most_dropped"]),
        low_latency=_below(limit, 0.05),
        memory_slope=_slope(result),
        drift=stats.drift([service[place] for place in steady]),
        blocks=blocks.number,
    )


def _steady(times: Sequence[float]) -> tuple[float, float]:
    """Return the part without the first second, or all where there is hardly more."""
    first, last = min(times), max(times)
    return (first + SETTLE_S if last - first > 2 * SETTLE_S else first), last


def _below(estimate: Estimate, limit: float) -> Verdict:
    if estimate.ends is None:
        return "inconclusive"
    low, high = estimate.ends
    return "yes" if high <= limit else "no" if low > limit else "inconclusive"


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Stretches of time, equally long; 0 where the run is too short for intervals."""

    start: float
    end: float
    number: int

    @classmethod
    def over(cls, start: float, end: float, frames: int) -> "_Blocks":
        number = min(MOST_BLOCKS, int((end - start) / BLOCK_S), frames // LEAST_FRAMES)
        return cls(start, end, number if number >= LEAST_BLOCKS else 0)

    def _of(self, times: Sequence[float], values: Sequence[float]) -> list[list[float]]:
        parts: list[list[float]] = [[] for _ in range(self.number)]
        for at, value in zip(times, values, strict=True):
            place = int((at - self.start) / (self.end - self.start) * self.number)
            parts[min(place, self.number - 1)].append(value)
        return [part for part in parts if part]

    def mean(self, times: Sequence[float], values: Sequence[float], level: float = stats.LEVEL) -> Estimate:
        """Return a mean over frames with its interval: a ratio of blocks' sums, whose residuals Student's t bounds."""
        value = statistics.fmean(values)
        parts = self._of(times, values) if self.number else []
        if len(parts) < LEAST_BLOCKS:
            return Estimate(value)
        size = len(values) / len(parts)
        residuals = [(sum(part) - value * len(part)) / size for part in parts]
        spread = math.sqrt(sum(each * each for each in residuals) / (len(parts) - 1))
        half = stats.student_t(level, len(parts) - 1) * spread / math.sqrt(len(parts))
        return Estimate(value, max(0.0, value - half), value + half)

    def quantile(self, times: Sequence[float], values: Sequence[float], share: float) -> Estimate:
        """Return a quantile with its interval: where the interval of the share of smaller values covers ``share``."""
        value, ordered = stats.quantile(values, share), sorted(values)
        if not self.number:
            return Estimate(value)

        def within(limit: float) -> Estimate:
            return self.mean(times, [float(each <= limit) for each in values])

        low = _first(ordered, lambda limit: (within(limit).high or 0.0) >= share)
        high = _first(ordered, lambda limit: (within(limit).low or 0.0) >= share)
        return Estimate(value, min(low, value), max(high, value)) if within(value).ends else Estimate(value)


def _first(ordered: Sequence[float], enough: Callable[[float], bool]) -> float:
    """Return the first of ascending values that is enough, by bisection; the last where none is."""
    low, high = 0, len(ordered) - 1
    while low < high:
        middle = (low + high) // 2
        if enough(ordered[middle]):
            high = middle
        else:
            low = middle + 1
    return ordered[low]


def _slope(result: Result) -> Estimate | None:
    """Fit a line through blocks of the resident set, after the first second; None of fewer than five blocks."""
    rss, lengths = series(result, "rss_bytes"), series(result, "interval_s")
    ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
    start = bisect_right(ends, SETTLE_S)
    rss, ends = rss[start:], ends[start:]
    number = min(MOST_BLOCKS, len(rss))
    if number < LEAST_BLOCKS:
        return None
    cuts = [round(place * len(rss) / number) for place in range(number + 1)]
    y = [statistics.fmean(rss[a:b]) for a, b in pairwise(cuts)]
    x = [statistics.fmean(ends[a:b]) for a, b in pairwise(cuts)]
    slope, intercept = statistics.linear_regression(x, y)
    middle = statistics.fmean(x)
    residual = sum((b - slope * a - intercept) ** 2 for a, b in zip(x, y, strict=True)) / (number - 2)
    half = stats.student_t(stats.LEVEL, number - 2) * math.sqrt(residual / sum((a - middle) ** 2 for a in x))
    return Estimate(slope, slope - half, slope + half)
