"""What a run writes down: a series for each stage, a piece each second, so that a run that is killed keeps them."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from fer_bench.live.pipeline import Done
from fer_bench.measuring.profilers.occupancy import Sample, System
from fer_bench.records.errors import StoreError
from fer_bench.records.result import Json, Measurement
from fer_bench.reporting.analysis.live import PREFIX

PIECE_S = 1.0  # between two writings: what a run that is killed loses at most, with the frame under way
_LAST_S = 30.0  # for the last piece to reach the disk

Save = Callable[[Sequence[Measurement]], None]


@dataclass(slots=True)
class Ledger:
    """Series of one run.

    Args:
        settings: what the run was asked for; the details of ``live.offered``.
        save: writes a piece; called once a second, from a thread, so that the disk holds up no frame.
        system: samples this process and the machine.
        clock: seconds, monotonic.
    """

    settings: Mapping[str, Json]
    save: Save
    system: System
    clock: Callable[[], float] = time.perf_counter
    _series: dict[str, list[float]] = field(default_factory=dict)  # of the piece under way
    _pieces: list[list[Measurement]] = field(default_factory=list)
    _sample: tuple[float, Sample] = (0.0, Sample({}, 0))
    _counted: dict[str, int] = field(default_factory=dict)
    _last_s: float = 0.0
    _frames: int = 0
    _queue: "queue.SimpleQueue[list[Measurement] | None]" = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _failure: StoreError | None = None

    def start(self) -> None:
        """Begin: take the first sample, and let pieces be written from now on."""
        self._last_s = self.clock()
        self._sample = (self._last_s, self.system.sample())
        self._thread = threading.Thread(target=self._write_on, name="writer of records", daemon=True)
        self._thread.start()

    def add(self, done: Done) -> None:
        """Note what became of a frame."""
        self._frames += 1
        values: dict[str, float] = {
            "frame": done.number,
            "captured_s": done.captured_s,
            "read_s": done.read_s,
            "wait_s": done.wait_s,
            "service_s": done.service_s,
            "latency_s": done.latency_s,
            "box_age_s": done.box_age_s,
            "faces": 0,
            "detect_s": 0.0,
            "crop_s": 0.0,
            "classify_s": 0.0,
        }
        values |= dict.fromkeys((f"{stage}_s" for stage in self.settings["detector_stages"]), 0.0)
        values |= {f"{stage}_s": seconds for stage, seconds in done.stages.items()} | done.counts
        for name, value in values.items():
            self._series.setdefault(name, []).append(value)

    def tick(self, counts: Mapping[str, int], dropped_at_s: Sequence[float], *, last: bool = False) -> bool:
        """Write a piece where a second is over, and return whether one was.

        Args:
            counts: of frames since the start: "offered", "dropped", "dropped_by_driver", "skipped", "errors".
            dropped_at_s: when the frames were captured that we have dropped since the start.
            last: write what there is.

        Raises:
            StoreError: an earlier piece could not be written.
        """
        if self._failure is not None:
            raise self._failure
        now = self.clock()
        if now - self._last_s < PIECE_S and not last:
            return False
        self._last_s = now
        new = {name: number - self._counted.get(name, 0) for name, number in counts.items()}
        start = self._counted.get("dropped", 0)
        self._series["dropped_at_s"] = list(dropped_at_s[start : start + new["dropped"]])
        self._counted = dict(counts)
        before, sample = self._sample, self.system.sample()
        self._sample = (now, sample)
        piece = [Measurement(f"{PREFIX}{name}", "count", (number,)) for name, number in new.items()]
        if not self._pieces:  # once is enough
            piece[0] = replace(piece[0], details=dict(self.settings))
        piece += [_series(name, values) for name, values in self._series.items() if values]
        piece += _used(before, (now, sample), self._frames)
        self._series, self._frames = {}, 0
        self._pieces.append(piece)
        self._queue.put(piece)
        return True

    def close(self, settings: Mapping[str, Json]) -> list[Measurement]:
        """Wait for what is being written, and return all series, a measurement each.

        Args:
            settings: as at first, with what is known at the end.

        Raises:
            StoreError: a piece could not be written.
        """
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(_LAST_S)
        if self._failure is not None:
            raise self._failure
        offered, *others = joined(measurement for piece in self._pieces for measurement in piece)
        return [replace(offered, details=settings), *others]

    def _write_on(self) -> None:
        while (piece := self._queue.get()) is not None:
            try:
                self.save(piece)
            except StoreError as error:  # the next tick raises it
                self._failure = error
                return


def joined(pieces: Iterable[Measurement]) -> list[Measurement]:
    """Join pieces of the same metrics: counts add up, series go on."""
    joint: dict[str, Measurement] = {}
    for piece in pieces:
        before = joint.get(piece.metric)
        if before is None:
            joint[piece.metric] = piece
            continue
        values = (*before.values, *piece.values)
        if piece.metric.removeprefix(PREFIX) in COUNTS:
            values = (sum(values),)
        details = {**before.details}
        if "images" in details:
            details["images"] += piece.details["images"]
        joint[piece.metric] = replace(before, values=values, details=details)
    return list(joint.values())


COUNTS = ("offered", "dropped", "dropped_by_driver", "skipped", "errors")


def _series(name: str, values: Sequence[float]) -> Measurement:
    return Measurement(PREFIX + name, "s" if name.endswith("_s") else "count", tuple(values))


def _used(before: tuple[float, Sample], after: tuple[float, Sample], frames: int) -> list[Measurement]:
    """Return what the process and the machine used between two samples, as occupancy has it."""
    details: dict[str, Json] = {
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "images": frames,
    }
    (start, old), (end, new) = before, after
    used = [
        Measurement(f"{PREFIX}{name}", "s", (seconds - old.seconds[name],)) for name, seconds in new.seconds.items()
    ]
    state = [Measurement(f"{PREFIX}rss_bytes", "bytes", (new.rss_bytes,))]
    if clock := getattr(psutil.cpu_freq(), "current", 0.0):
        state.append(Measurement(f"{PREFIX}cpu_clock_hz", "Hz", (clock * 1e6,)))
    if (degrees := _temperature()) is not None:
        state.append(Measurement(f"{PREFIX}temperature_c", "degC", (degrees,)))
    return [Measurement(f"{PREFIX}interval_s", "s", (end - start,), details=details), *used, *state]


def _temperature() -> float | None:
    """Return the highest temperature of the CPU's sensors; None where the system shows none."""
    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    found = [each.current for name in ("coretemp", "k10temp", "cpu_thermal") for each in sensors.get(name, ())]
    return max(found, default=None)
