"""The processes of one task, and what they report."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fer_bench.measuring.processes import END_LIMIT_S, Starter, ending, lines
from fer_bench.measuring.task import Task
from fer_bench.records import stats, units
from fer_bench.records.errors import DeviceError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Json, Measurement

# These count on meta tensors: nothing of one touches the other.
_COUNTED = ("static", "anatomy")
# Most metrics are one process a network; latency is several, and occupancy has two stages. Time and memory never share.
_GROUPS: Mapping[str, tuple[str, ...]] = {"occupancy": ("testing_occupancy", "training_occupancy")}
Progress = Callable[[str], None]


def _processes(metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Give the groups that each process measures: one, but for counts, which run nothing."""
    counted = tuple(metric for metric in metrics if metric in _COUNTED)
    if counted:
        yield counted
    for metric in metrics:
        if metric not in counted:
            for group in _GROUPS.get(metric, (metric,)):
                yield (group,)


@dataclass(slots=True)
class _Told:
    """What one worker said before it ended.

    Attributes:
        begun: the groups that it began with, of which the last may be unfinished.
    """

    environment: Environment | None = None
    shape: tuple[int, int, int] | None = None
    exempt: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    attainable: Mapping[str, Json] = field(default_factory=dict)
    passes_s: float = 0.0
    finished: bool = False
    failure: str = ""
    refused: bool = False

    def hear(self, message: Mapping[str, Any]) -> None:
        if "input_shape" in message:
            if message["environment"]:
                self.environment = Environment.of(message["environment"])
            channels, height, width = message["input_shape"]
            self.shape, self.exempt = (channels, height, width), message["exempt"]
        elif "measurement" in message:
            told = Measurement.of(message["measurement"])
            self.measurements.append(dataclasses.replace(told, failure=units.printable(told.failure)))
        elif "passes_s" in message:
            self.passes_s = message["passes_s"]
        elif "attainable" in message:
            self.attainable = message["attainable"]
        elif "no_device" in message:
            raise DeviceError(message["no_device"])
        elif "error" in message:
            self.failure, self.refused = units.printable(message["error"]), True
        elif "started" in message:
            self.begun.append(message["started"])
        elif "alive" not in message:
            self.finished = bool(message["finished"])


class _Session:
    """The processes of one task, one after the other, and what they told."""

    def __init__(self, task: Task, starter: Starter, progress: Progress, *, debug: bool) -> None:
        self.task, self._starter, self._progress, self._debug = task, starter, progress, debug
        self.environment: Environment | None = None
        self.shape = task.input_shape
        self.exempt = ""
        self.refused = ""
        self.passes_s = 0.0
        self.measurements: list[Measurement] = []

    def latency(self) -> None:
        """Measure the latency in as many processes as the plan has, or as its pilot processes show to be needed."""
        plan = self.task.plan
        medians: list[float] = []
        wanted = plan.pilot_processes or plan.processes
        spent_s = 0.0
        while len(medians) < wanted:
            number = len(medians)
            told = self.process("latency", number=number, stage=f"latency {number + 1}/{wanted}" if wanted > 1 else "")
            found = [m.values for m in told.measurements if m.metric == "latency_s" and m.values]
            if not found:
                return  # what failed once would fail again
            medians.append(stats.median(found[0]))
            spent_s += told.passes_s
            if len(medians) == plan.pilot_processes and plan.interval_share is not None:
                left = plan.processes - len(medians)
                if plan.budget_s is not None:
                    left = min(left, int(len(medians) * (plan.budget_s / spent_s - 1)))
                wanted += stats.further_processes(medians, plan.interval_share, plan.processes, left)

    def process(self, *groups: str, number: int = 0, stage: str = "") -> _Told:
        """Measure groups in a process; without any it only describes where it is."""
        self._progress(stage or " and ".join(groups))
        task = self.task
        shape = self.shape or task.protocol_shape()
        job = make_job(
            task,
            input_shape=shape,
            groups=groups,
            fall_back=self.shape is None and shape is not None,
            process=number,
            describe=self.environment is None,
        )
        told = _run(job, self._starter, task.plan.time_limit_s, debug=self._debug)
        self.environment = self.environment or told.environment
        if told.shape is not None:
            self.shape, self.exempt = told.shape, self.exempt or told.exempt
        self.passes_s += told.passes_s
        self.measurements += told.measurements
        if told.failure:
            self.measurements += [
                Measurement(group, "", process=number, failure=told.failure)
                for group in groups or ("",)
                if group not in told.begun[:-1]
            ]
            if told.refused:
                self.refused = told.failure
        return told


def make_job(task: Task, **given: Json) -> dict[str, Json]:
    """Give a worker's job about a task's network."""
    place = dataclasses.asdict(task.place) if task.place else None
    about = {"name": task.spec.name, "settings": task.settings, "checkpoint": task.checkpoint, "place": place}
    return _job(task.plan, **about, **given)


def _job(plan: Plan, **given: Json) -> dict[str, Json]:
    """Give a worker's job; without a name it is to look at the machine."""
    job: dict[str, Json] = {
        "name": "",
        "input_shape": None,
        "settings": (),
        "groups": (),
        "checkpoint": "",
        "fall_back": False,
        "process": 0,
        "describe": False,
        "place": None,
        "paced": False,
    }
    return job | given | {"plan": plan.to_dict(), "num_classes": plan.num_classes}


def _run(job: Mapping[str, Any], starter: Starter, time_limit_s: float, *, debug: bool) -> _Told:
    """Let a worker do a job; however it ends, it is gone when this returns."""
    told = _Told()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        worker = starter.start(json.dumps(job), errors)
        try:
            for line in lines(worker.answers, time_limit_s):
                if line is None:
                    told.failure = f"gave no answer for {time_limit_s:g} s"
                    break
                told.hear(json.loads(line))
                if told.finished:
                    break
            else:
                code = worker.wait(time_limit_s)  # it said no more: how it ends is the reason
                told.failure = told.failure or ending(code, errors)
        except subprocess.TimeoutExpired:
            told.failure = told.failure or f"gave no answer for {time_limit_s:g} s"
        except (ValueError, KeyError, TypeError, AttributeError):
            told.failure = "the process answered what is no measurement"
        finally:
            worker.kill()
            try:
                worker.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:  # it hangs in the kernel, on a GPU perhaps
                starter.close()
        if debug:
            errors.seek(0)
            sys.stderr.write(errors.read())
    return told
