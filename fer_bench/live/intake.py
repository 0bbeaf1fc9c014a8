"""Hand the frames of a source to one worker, by a policy, on a clock.

Policies: "latest" keeps one frame, which a newer one replaces; "queue:N" keeps N, and a frame that comes when it is
full is dropped; "block" drops none, so that results grow older as long as the worker is slower than the source.

With period T and a constant service time S > T: latest and queue:N finish 1/S frames a second and drop 1 - T/S of them;
the latency is S and the rest of a service under way, or about (N + 1) S; block's grows by S - T a frame.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from fer_bench.live.sources import Frame
from fer_bench.records.errors import FerBenchError
from fer_bench.records.units import whole_number

_JOIN_S = 1.0  # for a reader to end; one that hangs in a driver ends with the program


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to frames that come while the worker is busy.

    Attributes:
        name: as the user gave it.
        room: frames that wait; None where the source waits.
        newest: a newer frame replaces one that waits.
    """

    name: str
    room: int | None
    newest: bool = False

    @classmethod
    def of(cls, text: str) -> "Policy":
        """Read a policy.

        Raises:
            FerBenchError: it is none.
        """
        if text == "latest":
            return cls(text, 1, newest=True)
        if text == "block":
            return cls(text, None)
        kind, _, number = text.partition(":")
        room = whole_number(number)
        if kind != "queue" or room is None:
            raise FerBenchError(f"policy {text!r} is unknown; try: latest, block, or queue:4")
        return cls(text, room)


@dataclass(slots=True)
class Taken:
    """A frame that the worker takes.

    Attributes:
        captured_s: when it was captured: on the clock from the start, as all times here.
        read_s: seconds of reading and decoding it.
        read_at_s: when it could be taken.
    """

    frame: Frame
    captured_s: float
    read_s: float
    read_at_s: float


@dataclass(slots=True)
class Intake:
    """The frames of a source for one worker.

    Args:
        frames: of the source.
        policy: for frames that come while the worker is busy.
        fps: a frame is due at its number divided by it, instead of at its own time.
        paced: wait until a frame is due; else it is due when the worker is free, and the policy must be "block".
        seconds: frames that are due later are not offered; None for all.
        threaded: read in a thread, as a camera must be; else between two calls of ``take``, by the same rules.
        clock: seconds, monotonic.
        sleep: for so many seconds.
    """

    frames: Iterator[Frame]
    policy: Policy
    fps: float | None = None
    paced: bool = True
    seconds: float | None = None
    threaded: bool = True
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    offered: int = 0
    by_driver: int = 0  # dropped before they came
    dropped_at_s: list[float] = field(default_factory=list)  # when frames were captured that we dropped
    start_s: float = 0.0
    _waiting: deque[Taken] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _next: Taken | None = None
    _number: int = -1
    _ended: bool = False
    _failure: BaseException | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin: frames are due from now on."""
        self.start_s = self.clock()
        if self.threaded:
            self._thread = threading.Thread(target=self._read_on, name="reader of frames", daemon=True)
            self._thread.start()

    def take(self) -> Taken | None:
        """Return the next frame by the policy, waiting for one; None at the end.

        Raises:
            FerBenchError: the source failed.
        """
        with self._changed:
            if not self.threaded:
                self._admit()
            while not self._waiting and not self._ended:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            taken = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """End the reading, and close the source."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        else:
            self._close_source()

    def _now(self) -> float:
        return self.clock() - self.start_s

    def _admit(self) -> None:
        """Offer all frames that have come by now; where none waits then, sleep until the next."""
        while not self._ended:
            if self._next is None:
                if self.policy.room is None and self._waiting:
                    return  # the source waits
                self._next = self._read()
            if self._next is None:
                self._ended = True
                return
            ahead_s = self._next.captured_s - self._now()
            if ahead_s > 0 and self._waiting:
                return
            if ahead_s > 0:
                self.sleep(ahead_s)
            coming, self._next = self._next, None
            self._offer(replace(coming, read_at_s=max(coming.captured_s, coming.read_at_s)))

    def _read_on(self) -> None:
        try:
            while not self._ended and (coming := self._read()) is not None:
                ahead_s = coming.captured_s - self._now()
                with self._changed:
                    if ahead_s > 0:
                        self._changed.wait_for(lambda: self._ended, ahead_s)
                    if self.policy.room is None:
                        self._changed.wait_for(lambda: self._ended or not self._waiting)
                    if self._ended:
                        return
                    self._offer(replace(coming, read_at_s=self._now()))
        except BaseException as error:  # the worker's thread raises it
            self._failure = error
        finally:
            self._close_source()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read(self) -> Taken | None:
        """Return the next frame with when it is captured; None at the end."""
        began = self.clock()
        frame = next(self.frames, None)
        now = self.clock()
        if frame is None:
            return None
        if frame.captured_s is not None:
            captured = frame.captured_s - self.start_s
        elif not self.paced:
            captured = now - self.start_s
        elif self.fps is not None:
            captured = frame.number / self.fps
        else:
            captured = frame.due_s or 0.0
        if self.seconds is not None and captured >= self.seconds:
            return None
        return Taken(frame, captured, now - began, now - self.start_s)

    def _offer(self, coming: Taken) -> None:
        self.by_driver += coming.frame.number - self._number - 1
        self._number = coming.frame.number
        self.offered += 1
        if self.policy.room is not None and len(self._waiting) >= self.policy.room:
            dropped = self._waiting.popleft() if self.policy.newest else coming
            self.dropped_at_s.append(dropped.captured_s)
            if dropped is coming:
                return
        self._waiting.append(coming)
        self._changed.notify_all()

    def _close_source(self) -> None:
        close = getattr(self.frames, "close", None)
        if close is not None:
            close()
