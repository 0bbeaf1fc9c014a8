"""Carry out plans: a process for each network, metric group and repetition, and a Result for each network and plan.

A process that crashes, hangs or answers rubbish costs its own group: that becomes a failed measurement with its reason,
and the groups after it go on in processes of their own.
"""

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fer_bench.measuring.processes import Starter
from fer_bench.measuring.session import Progress, _job, _processes, _run, _Session
from fer_bench.measuring.task import Task
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Json, Measurement, Result, Subject
from fer_bench.records.store import Store

# These start from a process that has done nothing, and describing one that uses a GPU loads CUDA.
_NOTHING_BEFORE = ("memory", "training_memory")


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
