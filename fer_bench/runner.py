"""Carry out a plan: a fresh process for each network and metric group, and a Result for each network.

A process that crashes, hangs or answers rubbish costs the group that it was at: that group becomes a failed measurement
with its reason, and the groups after it go to a new process.
"""

import datetime
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from fer_bench import store
from fer_bench.errors import DeviceError, StoreError
from fer_bench.plan import Plan
from fer_bench.records import Environment, Measurement, Result, Subject
from fer_bench.registry import DEFAULT_INPUT, ModelSpec

# Time and memory never share a process; counting disturbs neither once they are done.
PROCESSES = (("latency",), ("memory", "static"))

Progress = Callable[[str], None]


def measure(
    spec: ModelSpec,
    plan: Plan,
    *,
    input_shape: tuple[int, int, int] | None = None,
    settings: Sequence[str] = (),
    checkpoint: str = "",
    progress: Progress = lambda stage: None,
    debug: bool = False,
) -> Result:
    """Measure one network by a plan, each metric group in a fresh process.

    Args:
        spec: the network.
        plan: how.
        input_shape: (C, H, W); None for the plan's size, and without one the network's own.
        settings: further arguments of its factory, each "key=value".
        checkpoint: weights to load, or "".
        progress: told the group that is under way.
        debug: pass on to stderr what the processes print there, tracebacks among it.

    Returns:
        A result with a measurement for each metric; one that failed carries its reason.
    """
    started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if input_shape is None and plan.input_size is not None:
        channels = (spec.input_shape or DEFAULT_INPUT)[0]
        input_shape = (channels, plan.input_size, plan.input_size)
    measurements: list[Measurement] = []
    environment: Environment | None = None
    shape = input_shape or spec.input_shape
    for groups in PROCESSES:
        left: tuple[str, ...] = groups
        while left:
            job = {
                "name": spec.name,
                "num_classes": plan.num_classes,
                "input_shape": input_shape,
                "settings": list(settings),
                "plan": plan.to_dict(),
                "groups": left,
                "checkpoint": checkpoint,
            }
            told = _run(json.dumps(job), left, plan.time_limit_s, progress, debug=debug)
            environment = environment or told.environment
            shape = told.input_shape or shape
            measurements += told.measurements
            left = told.left
    subject = Subject(
        name=spec.name,
        title=spec.title,
        status=spec.status,
        input_shape=shape,
        num_classes=plan.num_classes or spec.num_classes,
        settings=tuple(settings),
        checkpoint=checkpoint,
        note=spec.note,
        uncertain=spec.uncertain,
    )
    return Result(subject, plan.to_dict(), environment, tuple(measurements), started_at)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of measuring many networks: results in order, and what stopped it early, if anything did."""

    results: list[Result]
    stopped: BaseException | None = None


class Watcher(Protocol):
    """Who is told how it goes on."""

    def begin(self, name: str) -> None: ...
    def stage(self, stage: str) -> None: ...
    def done(self, result: Result) -> None: ...


def measure_all(
    specs: Sequence[ModelSpec],
    plan: Plan,
    file: Path,
    watcher: Watcher,
    *,
    input_shape: tuple[int, int, int] | None = None,
    settings: Sequence[str] = (),
    checkpoint: str = "",
    debug: bool = False,
) -> Outcome:
    """Measure networks one after the other; each result is in the file before the next network begins.

    Ctrl-C and a full disk end it early; what was measured is returned either way.

    Raises:
        FerBenchError: the device is not there.
    """
    results: list[Result] = []
    try:
        for spec in specs:
            watcher.begin(spec.name)
            result = measure(
                spec,
                plan,
                input_shape=input_shape,
                settings=settings,
                checkpoint=checkpoint,
                progress=watcher.stage,
                debug=debug,
            )
            results.append(result)
            store.append(file, result)
            watcher.done(result)
    except (KeyboardInterrupt, StoreError) as stop:
        return Outcome(results, stop)
    return Outcome(results)


class _Told:
    """What one worker said before it ended, and the groups that a new one must do."""

    def __init__(self, groups: tuple[str, ...]) -> None:
        self.environment: Environment | None = None
        self.input_shape: tuple[int, int, int] | None = None
        self.measurements: list[Measurement] = []
        self.under_way = groups[0]
        self.left = groups
        self.finished = False
        self.refused = ""

    def hear(self, message: Mapping[str, Any], progress: Progress) -> None:
        if "environment" in message:
            self.environment = Environment(**message["environment"])
            channels, height, width = message["input_shape"]
            self.input_shape = channels, height, width
        elif "started" in message:
            self.under_way = message["started"]
            self.left = self.left[self.left.index(self.under_way) + 1 :]
            progress(self.under_way)
        elif "measurement" in message:
            self.measurements.append(Measurement.of(message["measurement"]))
        elif "no_device" in message:
            raise DeviceError(message["no_device"])
        elif "error" in message:
            self.refused = message["error"]
        else:
            self.finished = bool(message["finished"])


def _run(job: str, groups: tuple[str, ...], time_limit_s: float, progress: Progress, *, debug: bool) -> _Told:
    told = _Told(groups)
    # -P: the current folder, which may hold a `models/` of the user's, is not a place to import from.
    command = [sys.executable, "-P", "-m", "fer_bench.worker"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=_child_environment()
        )
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        hung = False
        try:
            process.stdin.write(job)
            process.stdin.close()
            for line in _lines(process.stdout, time_limit_s):
                if line is None:
                    hung = True
                    break
                told.hear(json.loads(line), progress)
                if told.finished:
                    break
            else:
                process.wait(time_limit_s)  # it said no more: how it ends is the reason
        except subprocess.TimeoutExpired:
            hung = True
        except BrokenPipeError:
            process.wait()  # it ended before it had read its job
        except (ValueError, KeyError, TypeError):
            told.refused = "the process answered what is no measurement"
        finally:
            process.kill()
            process.wait()
        if debug:
            errors.seek(0)
            sys.stderr.write(errors.read())
        if not told.finished:
            reason = f"gave no answer for {time_limit_s:g} s" if hung else _ending(process.returncode, errors)
            reason = told.refused or reason
            told.measurements.append(Measurement(told.under_way, "", failure=reason))
            if told.left == groups:  # it ended before it began: a new process would do the same
                told.measurements += [Measurement(group, "", failure=reason) for group in groups[1:]]
                told.left = ()
    return told


def _child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _lines(stream: IO[str], time_limit_s: float) -> Iterator[str | None]:
    """Yield a stream's lines; None when no line came within the limit."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=time_limit_s)
        except queue.Empty:
            yield None
            return
        if not line:
            return
        yield line


def _ending(returncode: int, errors: IO[str]) -> str:
    """Say how a process ended that did not finish its job."""
    errors.seek(0)
    last = [line.strip() for line in errors.read().splitlines() if line.strip()][-1:]
    said = f": {last[0]}" if last else ""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{hint}{said}"
    return f"the process ended with exit code {returncode} before it was done{said}"
