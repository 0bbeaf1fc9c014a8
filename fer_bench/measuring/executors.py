"""Carry out many tasks: one after the other in processes of their own, or counts in a pool of forked processes."""

import contextlib
import datetime
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from fer_bench.measuring.runner import COUNTED, Carried, Executor, Report, Watcher
from fer_bench.measuring.task import Task
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import Load
from fer_bench.records.result import Environment, Measurement, Result

EXECUTORS = "local, ray[:HOST:PORT], slurm[:PARTITION]"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An executor, and what is known of where it measures.

    Attributes:
        executor: None for processes of this command's, one task after the other.
        load: of the nodes, by which plans choose what they leave open; None for this machine's.
    """

    executor: Executor | None = None
    load: Load | None = None


@contextlib.contextmanager
def opened_executor(name: str, tasks: Sequence[Task], *, debug: bool = False) -> Iterator[Chosen]:
    """Open an executor by its name, and close it afterwards.

    Args:
        name: "local", "ray", "ray:HOST:PORT", "slurm" or "slurm:PARTITION".
        tasks: all that it is to carry out.
        debug: pass on what processes print.

    Raises:
        FerBenchError: there is no such executor, its library is missing, or its cluster is not there.
    """
    kind, _, where = name.partition(":")
    if name == "local":
        yield Chosen(Pool(debug=debug) if can_be_pooled(tasks) else None)
    elif kind == "ray":
        from fer_bench.measuring.on_ray import RayExecutor

        with RayExecutor(tasks, where, debug=debug) as ray:
            yield Chosen(ray, ray.load)
    elif kind == "slurm":
        from fer_bench.measuring.on_slurm import SlurmExecutor

        slurm = SlurmExecutor(where, debug=debug)
        yield Chosen(slurm, slurm.load)
    else:
        raise FerBenchError(f"no executor is called {name!r}; known: {EXECUTORS}")


def can_be_pooled(tasks: Sequence[Task]) -> bool:
    """Report whether tasks only count, and run no code of the user's, which may hang or kill its process."""
    return all(set(task.plan.metrics) <= set(COUNTED) and not task.spec.source.users for task in tasks)


@dataclass(frozen=True, slots=True)
class Pool:
    """Counts in processes forked from this one after it has imported PyTorch: a network takes some tens of ms."""

    debug: bool = False

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried:
        """Yield the place of each task and its result, in order.

        Raises:
            FerBenchError: a process of the pool was killed.
        """
        from fer_bench.measuring import worker  # imports PyTorch, once for all  # noqa: F401

        if not tasks:
            return
        pool = ProcessPoolExecutor(
            min(len(os.sched_getaffinity(0)), len(tasks)),
            multiprocessing.get_context("fork"),
            _begin_child,
            (os.getpid(), self.debug),
        )
        try:
            for place, counted in enumerate([pool.submit(_count, task) for task in tasks]):
                watcher.begin(tasks[place])
                yield place, counted.result()
        except BrokenProcessPool as error:
            raise FerBenchError(
                "a process that counts was killed, perhaps for want of memory; try: the same command, which goes on"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_child(parent: int, debug: bool) -> None:
    """Let a process of the pool end with its parent, leave Ctrl-C to it, and print nothing."""
    import signal

    import torch

    from fer_bench.measuring.worker import die_with_parent

    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    if not debug:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)


_known: list[Environment] = []  # of this process of the pool, which is described once


def _count(task: Task) -> Result:
    from fer_bench.measuring.worker import work

    began, started_at = time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    groups, report, failure = task.plan.metrics, Report(), ""
    try:
        work(task.job(groups=groups, describe=not _known), report.add)
    except FerBenchError as error:
        failure = str(error)
    if report.environment is not None:
        _known.append(report.environment)
    failed = [Measurement(group, "", failure=failure) for group in groups if failure and group not in report.begun[:-1]]
    return Result(
        task.subject(report.shape, report.exempt),
        task.plan,
        _known[0] if _known else None,
        (*report.measurements, *failed),
        started_at,
        wall_s=time.perf_counter() - began,
    )
