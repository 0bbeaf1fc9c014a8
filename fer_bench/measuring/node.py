"""Measure on a node of a cluster: what Ray's actors and Slurm's jobs have in common."""

import dataclasses
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.measuring.environment import commit_of
from fer_bench.measuring.executors import can_be_pooled
from fer_bench.measuring.machine import load_now
from fer_bench.measuring.runner import Machine, measure, starter_of
from fer_bench.measuring.task import Task, settle
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import CALIBRATION, QUICK, Load
from fer_bench.records.result import Result

PACKAGES = ("fer-bench", "torch", "torchvision", "timm")  # whose versions must be one on all nodes
_REFERENCE = "mini_xception"
_OPENMP_THREADS = "OMP_NUM_THREADS"
_FILES = ("checkpoint", "data", "calibration", "artefact")


class Node:
    """Measures tasks in processes of its own, one after the other. All calls come from one thread.

    Args:
        name: of the node, as records have it.
        tasks: what will be measured there or on other nodes.
        openmp_threads: OMP_NUM_THREADS of the command; "" for none. Ray sets it to the CPUs that an actor asks for.
        debug: pass on what processes print.
    """

    def __init__(self, name: str, tasks: Sequence[Task], openmp_threads: str, *, debug: bool = False) -> None:
        os.environ.pop(_OPENMP_THREADS, None)
        if openmp_threads:
            os.environ[_OPENMP_THREADS] = openmp_threads
        self._name, self._debug = name, debug
        self._starter = starter_of(tasks)
        self._machine = Machine(self._starter, debug=debug)

    def load(self) -> Load:
        """Look at what other programs take of the node's cores."""
        return load_now()

    def measure(self, task: Task) -> Result:
        """Measure one task; its record has the node's name.

        Raises:
            FerBenchError: it cannot be measured here, because the device is not there perhaps.
        """
        result = measure(task, self._starter, self._machine, debug=self._debug)
        if result.environment is None:
            return result
        return dataclasses.replace(result, environment=dataclasses.replace(result.environment, node=self._name))

    def close(self) -> None:
        """End its processes."""
        self._starter.close()


def openmp_threads() -> str:
    """Return OMP_NUM_THREADS of this command; "" for none."""
    return os.environ.get(_OPENMP_THREADS, "")


def node_name(label: str = "") -> str:
    """Return a name of this machine that is the same tomorrow, and is not its host name.

    Args:
        label: what the cluster calls it.
    """
    machine = Path("/etc/machine-id")
    about = (machine.read_text().strip() if machine.exists() else "", socket.gethostname(), label)
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]


def by_network(tasks: Iterable[tuple[int, Task]]) -> Iterator[list[tuple[int, Task]]]:
    """Yield tasks with their places in groups that stay on one node: all plans of a network as it is built."""
    groups: dict[tuple[object, ...], list[tuple[int, Task]]] = {}
    for place, task in tasks:
        built = (task.spec.name, task.spec.source, task.settings, task.checkpoint, task.input_shape)
        groups.setdefault(built, []).append((place, task))
    yield from groups.values()


def reference(tasks: Sequence[Task], load: Load) -> Task | None:
    """Return the task that shows how nodes differ and drift: a small network; None where nothing is timed.

    Args:
        tasks: that are measured, of which the first has device and threads.
        load: by which its plan chooses what it leaves open.
    """
    if not tasks or can_be_pooled(tasks):
        return None
    own = tasks[0].plan
    plan = dataclasses.replace(
        QUICK, protocol=CALIBRATION, metrics=("latency",), device=own.device, threads=own.threads
    )
    (task,) = settle([Task(built_in().find(_REFERENCE), plan)], {}, load)
    return task


def portable(task: Task, folder: Path) -> Task:
    """Return a task whose paths inside a folder are relative to it, as they are in the folder's copy on a node."""

    def moved(path: str) -> str:
        within = path and os.path.isabs(path) and Path(path).resolve().is_relative_to(folder)
        return str(Path(path).resolve().relative_to(folder)) if within else path

    source = dataclasses.replace(task.spec.source, file=moved(task.spec.source.file))
    changed: dict[str, Any] = {name: moved(getattr(task, name)) for name in _FILES}
    return dataclasses.replace(task, spec=dataclasses.replace(task.spec, source=source), **changed)


def files_of(tasks: Iterable[Task]) -> list[str]:
    """Return the files and folders of a user's that tasks read, each once."""
    paths = (path for task in tasks for path in (task.spec.source.file, *(getattr(task, name) for name in _FILES)))
    return [path for path in dict.fromkeys(paths) if path and path != "noise"]


def needs_folder(tasks: Iterable[Task], folder: Path) -> bool:
    """Report whether tasks read what lies in a folder: a user's code, weights or images."""
    own = [task for task in tasks if task.spec.source.users]
    return bool(own) or any(Path(path).resolve().is_relative_to(folder) for path in files_of(tasks))


def committed(task: Task, result: Result, folder: Path) -> Result:
    """Return a result of a user's network with the commit of the folder that the nodes had a copy of."""
    if result.environment is None or not task.spec.source.users:
        return result
    commit, dirty = commit_of(folder)
    return dataclasses.replace(result, environment=dataclasses.replace(result.environment, commit=commit, dirty=dirty))


@dataclass(frozen=True, slots=True)
class Looked:
    """What a node reports of itself before anything is measured there.

    Attributes:
        called: what the cluster calls it, for messages.
        has_code: whether it has fer_bench.
        versions: of ``PACKAGES``, "" of one that is not installed.
        nice: of its processes.
        missing: files that tasks need and it has not.
    """

    called: str
    has_code: bool
    versions: Mapping[str, str]
    nice: int
    missing: Sequence[str] = ()


def check_priority(called: str, nice: int, remedy: str) -> None:
    """Refuse to measure in processes that all others may interrupt; raise FerBenchError."""
    if nice > 0:
        raise FerBenchError(f"node {called} runs at nice {nice}, so that others may interrupt it; try: {remedy}")


def check_nodes(nodes: Sequence[Looked], own: Mapping[str, str]) -> None:
    """Refuse to measure on nodes that cannot, or whose times would say nothing.

    Args:
        nodes: one at least.
        own: versions of ``PACKAGES`` where the command runs.

    Raises:
        FerBenchError: a node lacks the code or a file, has other versions, or its processes have no full priority.
    """
    first = nodes[0]
    for node in nodes:
        ours, theirs = own["fer-bench"], node.versions["fer-bench"]
        if not node.has_code:
            raise FerBenchError(f"node {node.called} has no fer_bench; try: pip install fer-bench=={ours} there")
        if theirs != ours:
            raise FerBenchError(
                f"node {node.called} has fer_bench {theirs or 'of unknown version'}, and this machine {ours}; "
                "try: one version everywhere"
            )
        for name in PACKAGES[1:]:
            if node.versions[name] != first.versions[name]:
                there, here = (each.versions[name] or "no version" for each in (node, first))
                raise FerBenchError(
                    f"node {node.called} has {there} of {name}, and node {first.called} has {here}; try: one version "
                    "on all nodes, or a cluster for each"
                )
        check_priority(node.called, node.nice, "RAY_worker_niceness=0 before `ray start` there")
        if node.missing:
            raise FerBenchError(
                f"node {node.called} has no {', '.join(node.missing)}; try: a path that all nodes share, or one in "
                "the current folder"
            )
