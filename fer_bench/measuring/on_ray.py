"""Carry out tasks on the nodes of a Ray cluster, by an actor a node, which starts our own processes.

Ray carries scheduling, the loss of nodes, the user's folder and logs. An actor holds its node's ``bench_slot`` and CPUs
(or one GPU). Its name marks the node as in use by a sweep. All settings of one network run on one node, unless that is
lost. Only the command writes to the store. It decides whether a task is tried again: Ray's own retries would hide that
a network ends its process.
"""

import contextlib
import datetime
import importlib.metadata
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fer_bench.measuring.node import (
    PACKAGES,
    Looked,
    Node,
    by_network,
    check_nodes,
    committed,
    files_of,
    needs_folder,
    node_name,
    openmp_threads,
    portable,
    reference,
)
from fer_bench.measuring.runner import BESIDE, Carried, Watcher
from fer_bench.measuring.task import Task
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError, brief
from fer_bench.records.plan import Load
from fer_bench.records.result import Measurement, Result

SLOT = "bench_slot"
_NAMESPACE = "fer-bench"
_START = "`ray start --head` on one machine, and on each that measures `RAY_worker_niceness=0 ray start --address=..."
_CONNECT_S = 5.0  # for a machine to accept a connection
_START_LIMIT_S = 120.0  # for a node's first process: a cold disk may take a minute to import PyTorch from
_LOOK_S = 1.0  # between looks at nodes that do not answer
_FREED_S = 15.0  # for an actor that was killed to leave its name and its slot
_TRIES = 2  # of a task whose node is lost


@dataclass(slots=True)
class _Slot:
    """A node with its actor, and the tasks of the network that it is at."""

    id: str
    called: str
    cpus: float
    actor: Any = None
    group: deque[tuple[int, Task]] = field(default_factory=deque)
    since: float = 0.0  # when its actor was made
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class _Step:
    """What an actor is at: its start, the reference network before all else, or a task by its place."""

    slot: _Slot
    kind: Literal["start", "before", "task"]
    place: int = -1


class RayExecutor:
    """Carries out tasks on a Ray cluster; a context, which ends its actors and never the cluster.

    Args:
        tasks: all that may be asked for.
        address: HOST:PORT of the cluster; "" for the one that this machine belongs to.
        debug: pass on what processes print.

    Raises:
        FerBenchError: there is no cluster, or it has no node that can measure these tasks now.
    """

    def __init__(self, tasks: Sequence[Task], address: str = "", *, debug: bool = False) -> None:
        self._debug = debug
        self._ray = extras.load("ray", "--executor ray")
        self._folder = Path.cwd().resolve()
        self._tasks = [portable(task, self._folder) for task in tasks]
        self._gpu = any(task.plan.device != "cpu" for task in tasks)
        self._connect(address)
        try:
            self._slots = self._nodes()
            self._look()
            self.load = self._start_all()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the actors with their processes, wait until their nodes are free, and leave the cluster."""
        ray = self._ray
        slots = [slot for slot in getattr(self, "_slots", []) if slot.actor is not None]
        for slot in slots:
            ray.kill(slot.actor)
        until = time.monotonic() + _FREED_S
        while slots and time.monotonic() < until and self._held() & {_actor_name(slot) for slot in slots}:
            time.sleep(_LOOK_S / 10)
        ray.shutdown()

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried:
        """Yield the place of each task and its result, as they come, and the reference network's of each node.

        Raises:
            FerBenchError: all nodes are lost, or a node cannot measure a task.
        """
        moved = [portable(task, self._folder) for task in tasks]
        queue = deque(deque(group) for group in by_network(enumerate(moved)))
        calibrating = reference(moved, self.load)
        losses: Counter[int] = Counter()
        idle = list(self._slots)
        pending: dict[Any, _Step] = {}
        if calibrating is not None:
            pending = {slot.actor.measure.remote(calibrating): _Step(slot, "before") for slot in idle}
            idle = []
        while True:
            ready, idle = idle, []
            for slot in ready:
                slot.group = slot.group or (queue.popleft() if queue else slot.group)  # first what it is at
                if not slot.group:
                    idle.append(slot)
                    continue
                place, task = slot.group.popleft()
                watcher.begin(tasks[place])
                pending[slot.actor.measure.remote(task)] = _Step(slot, "task", place)
            if not pending:
                break
            ref = self._done(pending)
            step = pending.pop(ref)
            slot = step.slot
            try:
                answer = self._answer(ref, slot)
            except _LostError as lost:
                watcher.stage(f"node {slot.called} is lost")
                if step.kind == "task":
                    losses[step.place] += 1
                    if losses[step.place] < _TRIES:
                        slot.group.appendleft((step.place, moved[step.place]))
                    else:
                        yield (
                            step.place,
                            _failed(tasks[step.place], f"it was lost with its node {_TRIES} times: {lost}"),
                        )
                queue.extendleft(filter(None, [slot.group]))
                slot.group = deque()
                if step.kind != "start" and self._start(slot):
                    pending[slot.actor.load.remote()] = _Step(slot, "start")
                elif not pending and not idle and queue:
                    raise FerBenchError(f"all nodes are lost: {lost}; try: the same command, which goes on") from lost
                continue
            idle.append(slot)
            if step.kind == "before":
                slot.calibrated = True
                yield BESIDE, answer
            elif step.kind == "task":
                result = committed(tasks[step.place], answer, self._folder)
                yield step.place, _noted(result) if losses[step.place] else result
                self._show(pending, tasks, watcher)
        if calibrating is not None:
            yield from ((BESIDE, result) for result in self._calibrated(calibrating))

    @staticmethod
    def _show(pending: Mapping[Any, _Step], tasks: Sequence[Task], watcher: Watcher) -> None:
        """Show a task that is under way still."""
        if under_way := [step.place for step in pending.values() if step.kind == "task"]:
            watcher.begin(tasks[min(under_way)])

    def _calibrated(self, task: Task) -> Iterator[Result]:
        """Measure the reference network at the end, on all nodes at once; one that is lost has no result."""
        pending = {slot.actor.measure.remote(task): slot for slot in self._slots if slot.calibrated}
        for ref, slot in pending.items():
            with contextlib.suppress(_LostError):  # of which the table says that there is none
                yield self._answer(ref, slot)

    def _done(self, pending: Mapping[Any, _Step]) -> Any:
        """Wait until an actor has answered, or one that was to start has not for too long."""
        while True:
            done, _ = self._ray.wait(list(pending), num_returns=1, timeout=_LOOK_S)
            if done:
                return done[0]
            now = time.monotonic()
            for ref, step in pending.items():
                if step.kind == "start" and now - step.slot.since > _START_LIMIT_S:
                    self._ray.kill(step.slot.actor)  # so that its answer is an error
                    return ref

    def _answer(self, ref: Any, slot: _Slot) -> Any:
        """Return what an actor answered.

        Raises:
            _LostError: the actor is gone, its node perhaps with it.
            FerBenchError: it refused.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
            raise _LostError(_why(error)) from error
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, FerBenchError):
                raise cause from None
            raise FerBenchError(f"node {slot.called}: {brief(cause or error)}") from error

    def _connect(self, address: str) -> None:
        """Join the cluster; Ctrl-C and SIGTERM stay as they were."""
        if address.startswith("//"):
            raise FerBenchError("--executor ray takes HOST:PORT, and no ray:// of Ray's client; try: ray:HOST:6379")
        if address:
            _check_reachable(address)
        runtime: dict[str, Any] = {}
        if needs_folder(self._tasks, self._folder):
            runtime = {"working_dir": str(self._folder), "excludes": ["/.git/", "/.venv/"]}
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._ray.init(
                address=address or "auto",
                namespace=_NAMESPACE,
                runtime_env=runtime,
                logging_level="ERROR",
                log_to_driver=self._debug,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            self._ray.shutdown()
            where = f"at {address}" if address else "that this machine belongs to"
            raise FerBenchError(f"no Ray cluster {where} ({brief(error)}); try: {_START}`") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def _nodes(self) -> list[_Slot]:
        """Return the nodes that have a slot, and a GPU where one is needed."""
        needed = (SLOT, "GPU") if self._gpu else (SLOT,)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        able = [node for node in nodes if all(node["Resources"].get(name, 0) >= 1 for name in needed)]
        if not able:
            lacking = " and ".join(needed)
            raise FerBenchError(
                f"none of the {len(nodes)} nodes of the cluster has a {lacking}; "
                f"""try: ray start --address=... --resources '{{"{SLOT}": 1}}'"""
            )
        slots = [
            _Slot(node["NodeID"], node["NodeName"], node["Resources"].get("CPU", 0.0))
            for node in sorted(able, key=lambda node: str(node["NodeName"]))
        ]
        if held := [slot.called for slot in slots if _actor_name(slot) in self._held()]:
            time.sleep(_FREED_S)  # a command that has just ended leaves its slots in a moment
            held = [slot.called for slot in slots if _actor_name(slot) in self._held()]
        if held:
            raise FerBenchError(
                f"another sweep measures on node{'s' * (len(held) > 1)} {', '.join(held)}; try: again when it has ended"
            )
        return slots

    def _held(self) -> set[str]:
        """Return the names of the actors of all sweeps on the cluster."""
        return {actor["name"] for actor in self._ray.util.list_named_actors(all_namespaces=True)}

    def _look(self) -> None:
        """Ask each node for its versions, priority and files, and refuse those that cannot measure."""
        ray = self._ray
        ask = ray.remote(num_cpus=0, max_retries=0)(_looker())
        files = files_of(self._tasks)
        refs = [ask.options(scheduling_strategy=self._on(slot)).remote(PACKAGES, files) for slot in self._slots]
        try:
            answers = ray.get(refs, timeout=_START_LIMIT_S)
        except ray.exceptions.GetTimeoutError:
            raise FerBenchError(
                f"a node started no process in {_START_LIMIT_S:.0f} s; try: `ray status`, and the logs of Ray"
            ) from None
        except ray.exceptions.RayError as error:
            raise FerBenchError(f"a node cannot run a process: {brief(error)}") from error
        looked = [Looked(slot.called, **answer) for slot, answer in zip(self._slots, answers, strict=True)]
        check_nodes(looked, {name: _version(name) for name in PACKAGES})

    def _start_all(self) -> Load:
        """Start an actor on each node, and return the load of the busiest, and the fewest cores."""
        ray = self._ray
        for slot in self._slots:
            if not self._start(slot):
                raise FerBenchError(f"another sweep has just begun on node {slot.called}; try: again when it has ended")
        refs = {slot.actor.load.remote(): slot for slot in self._slots}
        _, late = ray.wait(list(refs), num_returns=len(refs), timeout=_START_LIMIT_S)
        if late:
            names = ", ".join(refs[ref].called for ref in late)
            raise FerBenchError(
                f"the CPUs or GPUs of {names} are not free, or PyTorch is not imported within {_START_LIMIT_S:.0f} s; "
                "try: `ray status`, and again when other jobs have ended"
            )
        try:
            loads = [self._answer(ref, slot) for ref, slot in refs.items()]
        except _LostError as lost:
            raise FerBenchError(f"a node does not measure: {lost}") from lost
        return Load(max(load.busy_cores for load in loads), min(load.cores for load in loads))

    def _start(self, slot: _Slot) -> bool:
        """Make a node's actor, in place of one that is gone; False where the node is not there or is taken."""
        ray = self._ray
        if slot.actor is not None:
            ray.kill(slot.actor)
        if slot.id not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
            return False
        held = {"num_gpus": 1, "num_cpus": 1} if self._gpu else {"num_cpus": slot.cpus}
        actor = ray.remote(**held, resources={SLOT: 1}, max_restarts=0, max_task_retries=0)(_Actor).options(
            name=_actor_name(slot), scheduling_strategy=self._on(slot)
        )
        until = time.monotonic() + _FREED_S
        while True:
            try:
                slot.actor = actor.remote(slot.called, self._tasks, openmp_threads(), debug=self._debug)
            except ValueError:  # the name is not free yet
                if time.monotonic() > until:
                    return False
                time.sleep(_LOOK_S)
            else:
                slot.since = time.monotonic()
                return True

    def _on(self, slot: _Slot) -> Any:
        strategies = extras.load("ray.util.scheduling_strategies", "--executor ray")
        return strategies.NodeAffinitySchedulingStrategy(slot.id, soft=False)


class _Actor(Node):
    """A node's actor: its name in records follows from the machine that it runs on."""

    def __init__(self, called: str, tasks: Sequence[Task], openmp_threads: str, *, debug: bool) -> None:
        super().__init__(node_name(called), tasks, openmp_threads, debug=debug)


class _LostError(Exception):
    """An actor is gone."""


def _looker() -> Callable[[Sequence[str], Sequence[str]], dict[str, Any]]:
    def look(packages: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
        """Run on a node that may have no fer_bench: Ray sends a function within a function by its code."""
        import importlib.metadata
        import importlib.util
        import os

        versions = {}
        for name in packages:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = ""
        return {
            "has_code": importlib.util.find_spec("fer_bench") is not None,
            "versions": versions,
            "nice": os.nice(0),
            "missing": [file for file in files if not os.path.exists(file)],
        }

    return look


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself would wait long, and end this process."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise FerBenchError(f"--executor ray:{address} has no host and port; try: ray:HOST:6379")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise FerBenchError(f"no Ray cluster at {address} ({error}); try: {_START}`") from error


def _actor_name(slot: _Slot) -> str:
    return f"{_NAMESPACE}-{slot.id}"


def _why(error: Exception) -> str:
    """Return why an actor is gone; Ray's memory monitor is named, which would else pass for the network's memory."""
    text = " ".join(str(error).split())
    if "memory" in text.lower() and ("OOM" in text or "memory monitor" in text.lower()):
        return (
            "Ray's memory monitor ended it, because the whole node used more than 95 % of its memory (off with "
            "RAY_memory_monitor_refresh_ms=0)"
        )
    return text.partition(" class_name:")[0].rstrip(".")


def _failed(task: Task, reason: str) -> Result:
    """Return a result without values."""
    measurements = tuple(Measurement(metric, "", failure=reason) for metric in task.plan.metrics)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Result(task.subject(None), task.plan, None, measurements, now)


def _noted(result: Result) -> Result:
    """Return a result that says that it is of a second try."""
    *others, last = result.measurements
    last = replace(last, warnings=(*last.warnings, "measured again, because the first node was lost"))
    return replace(result, measurements=(*others, last))
