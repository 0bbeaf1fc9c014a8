"""Carry out plans: a process for each network, metric group and repetition, and a Result for each network and plan.

A process that crashes, hangs or answers rubbish costs its own group: that becomes a failed measurement with its reason,
and the groups after it go on in processes of their own.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fer_bench.measuring.processes import END_LIMIT_S, Starter, ending, lines
from fer_bench.networks.place import Place
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec
from fer_bench.records import stats, units
from fer_bench.records.errors import DeviceError, FerBenchError, StoreError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Json, Measurement, Result, Subject
from fer_bench.records.store import Store

# These count on meta tensors: nothing of one touches the other.
_COUNTED = ("static", "anatomy")

# Most metrics are one process a network; latency is several, and occupancy has two stages. Time and memory never share.
_GROUPS: Mapping[str, tuple[str, ...]] = {"occupancy": ("testing_occupancy", "training_occupancy")}

# These start from a process that has done nothing, and describing one that uses a GPU loads CUDA.
_NOTHING_BEFORE = ("memory", "training_memory")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One network to be measured by one plan.

    Attributes:
        spec: the network.
        plan: how.
        input_shape: (C, H, W) that the user demands; None for the plan's size, and without one the network's own.
        settings: further arguments of its factory, each "key=value".
        checkpoint: weights to load, or "".
        place: the checkout that the network's code comes from; None for the current folder.
    """

    spec: ModelSpec
    plan: Plan
    input_shape: tuple[int, int, int] | None = None
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    place: Place | None = None

    @property
    def key(self) -> str:
        """Tell this task from every other: running it again is to resume it."""
        file = Path(self.spec.source.file) if self.spec.source.file else None
        code = [str(file.resolve()), file.read_text(errors="replace")] if file is not None and file.is_file() else []
        changed = Path(self.checkpoint).stat().st_mtime_ns if self.checkpoint else 0
        about = [self.spec.name, code, self.plan.to_dict(), self.input_shape, self.settings, self.checkpoint, changed]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    def protocol_shape(self) -> tuple[int, int, int] | None:
        """Give the size that the plan has for this network, or None where it leaves that to the network."""
        if self.plan.input_size is None and self.plan.channels is None:
            return None
        channels, height, width = self.spec.input_shape or DEFAULT_INPUT
        size = self.plan.input_size
        return self.plan.channels or channels, size or height, size or width


def fingerprint(tasks: Sequence[Task]) -> str:
    """Tell one list of tasks from another."""
    return hashlib.sha256("".join(task.key for task in tasks).encode()).hexdigest()[:16]


class Watcher(Protocol):
    """Who is told how it goes on."""

    def skip(self, count: int) -> None: ...
    def begin(self, task: Task) -> None: ...
    def stage(self, stage: str) -> None: ...
    def done(self, task: Task, result: Result) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of measuring: results in order, what stopped it early, if anything did, and the time that it took.

    Attributes:
        left: how many tasks have no result in the store.
        harness_share: the share of the wall time in which no network was at work; 0 where nothing was measured.
        difference: what is not as it was when the run began, so that times are not comparable; "" for nothing.
    """

    results: list[Result]
    stopped: BaseException | None
    left: int
    harness_share: float
    difference: str = ""


def measure_all(tasks: Sequence[Task], store: Store, run: str, watcher: Watcher, *, debug: bool = False) -> Outcome:
    """Carry out tasks one after the other; each result is in the store before the next task begins.

    What the run already has is not measured again. Ctrl-C, a device that is not there and a full disk end it early;
    what was measured is returned either way.

    Args:
        tasks: what to measure.
        store: where results go.
        run: which run of the store's they belong to.
        watcher: told how it goes on.
        debug: pass on to stderr what the processes print there, tracebacks among it.
    """
    start = time.perf_counter()
    known = dict(store.done(run))
    measured: list[Result] = []
    found: dict[str, Result] = {}
    stopped: BaseException | None = None
    left = sum(task.key not in known for task in tasks)
    watcher.skip(sum(task.key in known for task in tasks))
    fresh = any(task.plan.isolation == "fresh" for task in tasks)
    try:
        with Starter([task.spec.name for task in tasks], fresh=fresh) as starter:
            machine = Machine(starter, debug=debug)
            for task in tasks:
                if task.key in known:
                    found[task.key] = known[task.key]
                    continue
                watcher.begin(task)
                result = measure(task, starter, machine, progress=watcher.stage, debug=debug)
                found[task.key] = result
                measured.append(result)
                store.save(run, task.key, result)
                left -= 1
                watcher.done(task, result)
        store.finish(run)
    except (KeyboardInterrupt, FerBenchError, OSError) as stop:
        stopped = stop
        with contextlib.suppress(StoreError):  # which may be why we stop
            store.release(run)
    wall_s = time.perf_counter() - start
    share = 1 - sum(result.passes_s for result in measured) / wall_s if measured else 0.0
    return Outcome(
        [found[task.key] for task in tasks if task.key in found],
        stopped,
        left,
        share,
        _difference(tasks, known, found),
    )


def _difference(tasks: Iterable[Task], known: Mapping[str, Result], found: Mapping[str, Result]) -> str:
    """Compare where a run began with where it went on, by networks of one origin: users' have a commit of their own."""
    began: dict[bool, Environment] = {}
    went_on: dict[bool, Environment] = {}
    for task in tasks:
        result = found.get(task.key)
        if result is not None and result.environment is not None:
            where = began if task.key in known else went_on
            where.setdefault(task.spec.source.users, result.environment)
    both = began.keys() & went_on.keys()
    if not both:
        return ""
    before, now = began[min(both)], went_on[min(both)]
    committed = [f"{where.commit}{' and changes' if where.dirty else ''}" for where in (before, now)]
    return before.comparable_with(now) or (f"commit: {' and '.join(committed)}" if committed[0] != committed[1] else "")


def measure(
    task: Task,
    starter: Starter,
    machine: "Machine | None" = None,
    *,
    environment: Environment | None = None,
    stage: str = "",
    progress: Progress = lambda stage: None,
    debug: bool = False,
) -> Result:
    """Measure one network by a plan.

    Args:
        task: which and how.
        starter: of processes.
        machine: knows what the machine attains; without one that is not looked at.
        environment: of the starter's processes, where that is known already.
        stage: of a metric that has several, the one that is measured: "testing_occupancy"; "" for all.
        progress: told the group that is under way.
        debug: pass on what the processes print.

    Returns:
        A result with measurements for each metric; one that failed carries its reason.
    """
    began, started_at = time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    attainable = machine.attainable(task.plan, progress) if machine and "latency" in task.plan.metrics else {}
    session = _Session(task, starter, progress, debug=debug)
    session.environment = environment
    if task.plan.metrics[0] in _NOTHING_BEFORE:
        session.process()
    for groups in [(stage,)] if stage else _processes(task.plan.metrics):
        if session.refused:  # no process of this network even begins: another would do the same
            session.measurements += [Measurement(group, "", failure=session.refused) for group in groups]
        elif groups == ("latency",):
            session.latency()
        else:
            session.process(*groups)
    spec, environment = task.spec, session.environment
    subject = Subject(
        name=spec.name,
        title=spec.title,
        status=spec.status,
        input_shape=session.shape or task.input_shape or task.protocol_shape() or spec.input_shape,
        num_classes=task.plan.num_classes or spec.num_classes,
        settings=task.settings,
        checkpoint=task.checkpoint,
        note=spec.note,
        uncertain=spec.uncertain,
        exempt=session.exempt,
    )
    return Result(
        subject,
        task.plan.to_dict() | ({"isolation": "fresh"} if starter.fresh else {}),
        dataclasses.replace(environment, attainable=attainable) if environment else None,
        tuple(session.measurements),
        started_at,
        wall_s=time.perf_counter() - began,
        passes_s=session.passes_s,
    )


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


class Machine:
    """What the machine attains, looked at once for each setting that changes it."""

    def __init__(self, starter: Starter, *, debug: bool) -> None:
        self._starter, self._debug = starter, debug
        self._known: dict[tuple[Any, ...], Mapping[str, Json]] = {}

    def attainable(self, plan: Plan, progress: Progress) -> Mapping[str, Json]:
        """Give what ``profilers.roofline`` measures, or why it could not."""
        setting = (plan.device, plan.precision, plan.threads, plan.alloc, plan.pin)
        if setting not in self._known:
            progress("what the machine attains")
            job = _job(plan)
            told = _run(job, self._starter, plan.time_limit_s, debug=self._debug)
            self._known[setting] = told.attainable or {"failure": told.failure}
        return self._known[setting]


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
