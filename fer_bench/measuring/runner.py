"""Carry out plans: a process for each network, metric group and repetition, and a Result for each network and plan.

A process that crashes, hangs or answers rubbish costs its own group: that becomes a failed measurement with its reason,
and the groups after it go on in processes of their own.
"""

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fer_bench.measuring.messages import Alive, Attainable, AtWork, Finished, Job, Measured, Message, Ready, Started
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.profilers.deploy import ARTEFACT, cache_folder
from fer_bench.measuring.session import Session, WorkerError
from fer_bench.measuring.task import Task, settle
from fer_bench.records import exchange, stats
from fer_bench.records.errors import FerBenchError, StoreBusyError, StoreError, UnstorableError
from fer_bench.records.plan import DEPLOYED, METRICS, TORCH, Load, Plan
from fer_bench.records.result import LEFT_BEHIND, Environment, Json, Measurement, Result
from fer_bench.records.store import Contents, Store
from fer_bench.reporting.analysis import builds

# These count on meta tensors: nothing of one touches the other.
COUNTED = ("static", "anatomy")
# Most metrics are one process a network; latency is several, and occupancy has two stages. Time and memory never share.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "occupancy": ("testing_occupancy", "training_occupancy"),
    "deploy": ("deploy", "start"),
}
# These are of the network itself, whatever runs it.
_OF_THE_NETWORK = ("static", "recount", "anatomy", "deploy", "")
# These start from a process that has done nothing, and describing one that uses a GPU loads CUDA.
_NOTHING_BEFORE = ("memory", "training_memory")

_STEP_LIMIT_S = 60.0  # for a training that was interrupted, which makes its step and keeps its state

# Before a store that is locked or cannot be reached is tried again: a server may restart meanwhile.
PAUSES_S: Sequence[float] = (1, 2, 4, 8, 15, 30, 60)

Progress = Callable[[str], None]


class Watcher(Protocol):
    """Who is told how it goes on."""

    def skip(self, count: int) -> None: ...
    def begin(self, task: Task) -> None: ...
    def stage(self, stage: str) -> None: ...
    def done(self, task: Task, result: Result) -> None: ...


Carried = Generator[tuple[int, Result], None, None]
BESIDE = -1  # in the place of a task: the result is of none, such as a reference network's
_BESIDE = "beside "  # how the keys begin that such results have in a run


class Executor(Protocol):
    """Carries out tasks, and yields the place of each with its result as they come; and what it measured beside."""

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of measuring: results in order, what stopped it early, if anything did, and the time that it took.

    Attributes:
        left: how many tasks have no result in the store.
        harness_share: the share of the wall time in which no network was at work; 0 where nothing was measured.
        difference: what is not as it was when the run began, so that times are not comparable; "" for nothing.
        beside: what is stored with the run and is of no task, in the order saved.
    """

    results: list[Result]
    stopped: BaseException | None
    left: int
    harness_share: float
    difference: str = ""
    beside: Sequence[Result] = ()


def measure_all(
    tasks: Sequence[Task],
    store: Store,
    run: str,
    watcher: Watcher,
    *,
    load: Load | None = None,
    machine: "Machine | None" = None,
    executor: Executor | None = None,
    debug: bool = False,
) -> Outcome:
    """Carry out tasks, by default one after the other; each result is stored before the next is waited for.

    What the run already has is not measured again. Ctrl-C, a device that is not there and a full disk end it early;
    what was measured is returned either way. While it goes on, the run's lease is renewed. A result that cannot be
    saved is kept in a file, which the reason for stopping names.

    Args:
        tasks: what to measure.
        store: where results go.
        run: which run of the store's they belong to.
        watcher: shows how it goes on.
        load: what other programs take, by which plans choose that leave it open; None looks, unless all only count.
        machine: knows what the machine attains, and its starter is used; None for others, which end with the run.
        executor: carries them out; None for processes of their own, one task after the other.
        debug: pass on to stderr what the processes print there, tracebacks among it.
    """
    start = time.perf_counter()
    keys = [task.key for task in tasks]
    contents = store.contents(run)
    before = {key: result for key, result in contents.results if key in keys}
    beside = {key: result for key, result in contents.results if key.startswith(_BESIDE)}
    measured: dict[str, Result] = {}
    stopped: BaseException | None = None
    watcher.skip(sum(key in before for key in keys))
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(store.held(run))
            if executor is None:
                machine = machine or Machine(stack.enter_context(starter_of(tasks)), debug=debug)
                executor = _InTurn(machine, debug=debug)
            if load is None and all(set(task.plan.metrics) <= set(COUNTED) for task in tasks):
                load = Load(0.0, 1)  # nothing to look for, half a second long: counts are the same on a busy machine
            settled = zip(keys, settle(tasks, before, load), strict=True)
            waiting = [(key, task) for key, task in settled if key not in before]
            carried = stack.enter_context(contextlib.closing(executor.results([t for _, t in waiting], watcher)))
            for place, result in carried:
                if place == BESIDE:
                    key = f"{_BESIDE}{len(beside)}"
                    beside[key] = _save(store, contents, key, result, watcher.stage)
                    continue
                key, task = waiting[place]
                measured[key] = result
                measured[key] = result = _save(store, contents, key, result, watcher.stage)
                watcher.done(task, result)
            _patiently(lambda: store.finish(run), watcher.stage)
    except (KeyboardInterrupt, FerBenchError, OSError) as stop:
        stopped = stop
        with contextlib.suppress(StoreError):  # which may be why we stop
            store.release(run)
    wall_s = time.perf_counter() - start
    results = before | measured
    return Outcome(
        [results[key] for key in keys if key in results],
        stopped,
        left=sum(key not in results for key in keys),
        harness_share=1 - sum(result.passes_s for result in measured.values()) / wall_s if measured else 0.0,
        difference=_difference(tasks, before, measured),
        beside=list(beside.values()),
    )


@dataclass(frozen=True)
class _InTurn:
    """Carries out one task after the other, in processes of the machine's starter."""

    machine: "Machine"
    debug: bool = field(kw_only=True)

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried:
        for place, task in enumerate(tasks):
            watcher.begin(task)
            yield place, measure(task, self.machine.starter, self.machine, progress=watcher.stage, debug=self.debug)


def _save(store: Store, run: Contents, key: str, result: Result, progress: Progress) -> Result:
    """Save a result into its run, and return what was saved: one with a value that no store holds becomes a failure.

    Raises:
        StoreError: it cannot be saved; the message names the file in which it is kept.
    """
    try:
        try:
            _patiently(lambda: store.save(run.id, key, result), progress)
        except UnstorableError as error:
            failed = [
                Measurement(metric, "", failure=f"what was measured cannot be recorded: {error}")
                for metric in dict.fromkeys(measured.metric for measured in result.measurements)
            ]
            result = dataclasses.replace(result, measurements=tuple(failed))
            _patiently(lambda: store.save(run.id, key, result), progress)
    except StoreError as error:
        kept = exchange.keep(store, dataclasses.replace(run, results=((key, result),)))
        raise StoreError(f"{error}; {kept}") from error
    return result


def _patiently(write: Callable[[], None], progress: Progress) -> None:
    """Write to a store, again after a pause where it is locked or cannot be reached; Ctrl-C ends the waiting."""
    for pause_s in PAUSES_S:
        try:
            return write()
        except StoreBusyError as error:
            progress("waiting for the store")
            try:
                time.sleep(pause_s)
            except KeyboardInterrupt:
                raise error from None
    return write()


def starter_of(tasks: Sequence[Task]) -> Starter:
    """Return a starter of processes for the networks of these tasks."""
    return Starter([task.spec for task in tasks], fresh=any(task.plan.isolation == "fresh" for task in tasks))


def _difference(tasks: Iterable[Task], before: dict[str, Result], measured: dict[str, Result]) -> str:
    """Compare where a run began with where it went on, by networks of one origin: users' have a commit of their own."""
    users = {task.spec.name for task in tasks if task.spec.source.users}
    began, went_on = (
        {r.subject.name in users: r.environment for r in reversed(results.values()) if r.environment}  # the first one's
        for results in (before, measured)
    )
    both = began.keys() & went_on.keys()
    if not both:
        return ""
    then, now = began[min(both)], went_on[min(both)]
    commits = [f"{where.commit}{' and changes' if where.dirty else ''}" for where in (then, now)]
    return then.comparable_with(now) or (f"commit: {' and '.join(commits)}" if commits[0] != commits[1] else "")


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
        task: which and how; a plan that leaves the wait policy open gets one by the load now.
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
    (task,) = settle([task], {})
    of_roof = "latency" in task.plan.metrics and (task.plan.backend == TORCH or task.plan.precision == "fp32")
    attainable = machine.attainable(task.plan, progress) if machine and of_roof else {}
    run = _Run(task, starter, progress, environment, debug=debug)
    if task.plan.metrics[0] in _NOTHING_BEFORE:
        run.process()
    of_file = task.spec.source.kind == "artefact"
    for groups in _of_file(task.plan) if of_file else _processes(task.plan, task.artefact, stage):
        if run.refused:  # no process of this network even begins: another would do the same
            run.measurements += [Measurement(group, "", failure=run.refused) for group in groups]
        elif groups == ("latency",):
            run.latency()
        else:
            run.process(*groups)
    if run.left_behind and run.measurements:
        last = run.measurements[-1]
        run.measurements[-1] = dataclasses.replace(last, details={**last.details, LEFT_BEHIND: run.left_behind})
    environment = run.environment
    result = Result(
        task.subject(run.shape, run.exempt),
        dataclasses.replace(task.plan, isolation="fresh") if starter.fresh else task.plan,
        dataclasses.replace(environment, attainable=attainable) if environment else None,
        tuple(run.measurements),
        started_at,
        wall_s=time.perf_counter() - began,
        passes_s=run.passes_s,
    )
    if task.spec.source.users and task.plan.num_classes is None:  # a factory's own default, which no sheet has
        return dataclasses.replace(result, subject=builds.as_counted(result))
    return result


def prepared(task: Task, starter: Starter) -> tuple[Task, Result]:
    """Convert a network for its plan's backend, unless that was done, and look whether it is the same network.

    Returns:
        The task with its artefact, and the result of ``deploy`` and ``parity``.

    Raises:
        FerBenchError: it cannot be converted, or the runtime refuses it.
    """
    result = measure(dataclasses.replace(task, plan=dataclasses.replace(task.plan, metrics=DEPLOYED)), starter)
    if failed := next((m.failure for m in result.measurements if m.failure), ""):
        raise FerBenchError(f"{task.spec.name}: {failed}")
    name = next(m.details["artefact"] for m in result.measurements if m.metric == ARTEFACT)
    return dataclasses.replace(task, artefact=str(cache_folder() / name)), result


def _of_file(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Return the groups of a model file that somebody else made: there is no network to count or to compare with."""
    yield from (("graph",), ("start",))
    for metric in plan.metrics:
        if metric in ("latency", "memory", "occupancy", "energy"):
            yield (_GROUPS.get(metric, (metric,))[0],)


def _processes(plan: Plan, artefact: str, stage: str) -> Iterator[tuple[str, ...]]:
    """Return the groups that each process measures: one, but for counts, which run nothing.

    Of a backend conversion, start and parity come before all that runs, whether the plan names them or not.
    """
    metrics: Sequence[str] = [stage] if stage else [m for m in plan.metrics if m not in DEPLOYED]
    if plan.backend != TORCH and (stage or set(plan.metrics) - set(_OF_THE_NETWORK) or "deploy" in plan.metrics):
        metrics = [m for m in METRICS if m in metrics or (m in DEPLOYED and not artefact)] if not stage else metrics
    counted = tuple(metric for metric in metrics if metric in COUNTED)
    if counted:
        yield counted
    for metric in metrics:
        if metric not in counted:
            for group in _GROUPS.get(metric, (metric,)):
                if plan.backend == TORCH or group != "training_occupancy":
                    yield (group,)


@dataclass(slots=True)
class Report:
    """What one worker reported before it ended.

    Attributes:
        begun: the groups that it began with, of which the last may be unfinished.
    """

    environment: Environment | None = None
    shape: tuple[int, ...] | None = None
    exempt: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    attainable: Mapping[str, Json] = field(default_factory=dict)
    passes_s: float = 0.0
    failure: str = ""
    refused: bool = False
    left_behind: int = 0

    def add(self, message: Message) -> None:
        match message:
            case Ready():
                self.environment, self.shape, self.exempt = message.environment, message.input_shape, message.exempt
            case Measured(measurement):
                self.measurements.append(measurement)
            case AtWork(passes_s):
                self.passes_s = passes_s
            case Attainable(values):
                self.attainable = values
            case Started(group):
                self.begun.append(group)


def _report(job: Job, starter: Starter, progress: Progress, *, debug: bool) -> Report:
    """Let a worker do a job; ``progress`` is called with how far it has come.

    Raises:
        DeviceError: the plan's device is not there.
    """
    report = Report()
    with Session(job, starter, debug=debug) as session:
        try:
            while not isinstance(message := session.receive(), Finished):
                if isinstance(message, Alive) and message.text:
                    progress(message.text)
                report.add(message)
        except WorkerError as error:
            report.failure, report.refused = str(error), error.refused
        except KeyboardInterrupt:
            if job.folder:
                progress("keeping the state after this step; Ctrl-C again ends at once")
                session.end_gently(_STEP_LIMIT_S)
            raise
    report.left_behind = session.left_behind
    return report


@dataclass(slots=True)
class _Run:
    """The processes of one task, one after the other, and what they reported."""

    task: Task
    starter: Starter
    progress: Progress
    environment: Environment | None = None
    debug: bool = field(kw_only=True)
    shape: tuple[int, ...] | None = None
    exempt: str = ""
    refused: str = ""
    left_behind: int = 0
    passes_s: float = 0.0
    measurements: list[Measurement] = field(default_factory=list)
    artefact: str = ""

    def latency(self) -> None:
        """Measure the latency in as many processes as the plan has, or as its pilot processes show to be needed."""
        plan = self.task.plan
        medians: list[float] = []
        wanted = plan.pilot_processes or plan.processes
        spent_s = 0.0
        while len(medians) < wanted:
            number = len(medians)
            stage = f"latency {number + 1}/{wanted}" if wanted > 1 else ""
            report = self.process("latency", number=number, stage=stage)
            measured = [m.values for m in report.measurements if m.metric == "latency_s" and m.values]
            if not measured:
                return  # what failed once would fail again
            medians.append(stats.median(measured[0]))
            spent_s += report.passes_s
            if len(medians) == plan.pilot_processes and plan.interval_share is not None:
                left = plan.processes - len(medians)
                if plan.budget_s is not None:
                    left = min(left, int(len(medians) * (plan.budget_s / spent_s - 1)))
                wanted += stats.further_processes(medians, plan.interval_share, plan.processes, left)

    def process(self, *groups: str, number: int = 0, stage: str = "") -> Report:
        """Measure groups in a process; without any it only describes where it is."""
        self.progress(stage or " and ".join(groups))
        known = {"input_shape": self.shape, "fall_back": False} if self.shape else {}
        if self.task.spec.source.kind == "artefact":
            known = {**known, "artefact": self.task.spec.source.file}
        elif self.task.plan.backend != TORCH and not set(groups) <= set(_OF_THE_NETWORK):
            known = {**known, "artefact": self.artefact or self.task.artefact}
        job = self.task.job(groups=groups, process=number, describe=self.environment is None, **known)
        report = _report(job, self.starter, self.progress, debug=self.debug)
        self.environment = self.environment or report.environment
        if report.shape is not None:
            self.shape, self.exempt = report.shape, self.exempt or report.exempt
        self.passes_s += report.passes_s
        self.left_behind += report.left_behind
        self.measurements += report.measurements
        self._deployed(groups, report)
        if report.failure:
            self.measurements += [
                Measurement(group, "", process=number, failure=report.failure)
                for group in groups or ("",)
                if group not in report.begun[:-1]
            ]
            if report.refused:
                self.refused = report.failure
        return report

    def _deployed(self, groups: Sequence[str], report: Report) -> None:
        """Note where an artefact is, or that there is none, and what the runtime reports of itself."""
        for measured in report.measurements:
            if measured.metric == ARTEFACT and measured.details["artefact"]:
                self.artefact = str(cache_folder() / measured.details["artefact"])
            if measured.metric == "load_s" and measured.values and self.environment is not None:
                runtime = measured.details["runtime"]
                threads = runtime.get("threads") or 1 + measured.details["new_threads"]
                self.environment = dataclasses.replace(self.environment, threads=threads, runtime=runtime)
        if groups == ("deploy",) and not self.artefact:
            reasons = [m.failure for m in report.measurements if m.failure] + [report.failure]
            self.refused = next(filter(None, reasons), "") or "it was not converted"


class Machine:
    """What the machine attains, looked at once for each setting that changes it."""

    def __init__(self, starter: Starter, *, debug: bool) -> None:
        self.starter, self._debug = starter, debug
        self._known: dict[tuple[Any, ...], Mapping[str, Json]] = {}

    def attainable(self, plan: Plan, progress: Progress) -> Mapping[str, Json]:
        """Give what ``profilers.roofline`` measures, or why it could not."""
        setting = (plan.device, plan.precision, plan.cudnn, plan.threads, plan.wait, plan.alloc, plan.pin)
        if setting not in self._known:
            progress("what the machine attains")
            report = _report(Job(plan), self.starter, progress, debug=self._debug)
            self._known[setting] = report.attainable or {"failure": report.failure}
        return self._known[setting]
