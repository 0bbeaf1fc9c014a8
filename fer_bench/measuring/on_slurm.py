"""Carry out tasks as jobs of Slurm, by submitit: a job for each network, with a node of its own.

Slurm gives a job its node alone, so that no slot has to be agreed on. A job measures all settings of a network, and the
reference network before and after them. Jobs and their logs are in a folder, which all nodes must share.
"""

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from fer_bench.measuring.node import Node, by_network, check_priority, node_name, openmp_threads
from fer_bench.measuring.node import reference as reference_of
from fer_bench.measuring.runner import BESIDE, Carried, Watcher
from fer_bench.measuring.task import Task
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError, brief
from fer_bench.records.plan import Load
from fer_bench.records.result import Result

FOLDER = "fer-bench-jobs"
_LIMIT_MIN = 120  # of a job; the variable SBATCH_TIMELIMIT replaces it
_POLL_S = 2.0


class SlurmExecutor:
    """Carries out tasks as jobs, and cancels those that are left when it is stopped.

    Args:
        partition: of Slurm; "" for its default. Other options are sbatch's variables, such as SBATCH_ACCOUNT.
        cluster: "slurm"; "local" starts the jobs as processes here, for tests.
        debug: jobs print what their processes print into their logs.

    Raises:
        FerBenchError: submitit is not installed, or this machine submits no jobs.
    """

    load = Load(0.0, 1)  # a node that is the job's alone is quiet

    def __init__(self, partition: str = "", *, cluster: str = "slurm", debug: bool = False) -> None:
        self._submitit = extras.load("submitit", "--executor slurm")
        self._debug = debug
        try:
            self._executor = self._submitit.AutoExecutor(FOLDER, cluster=cluster)
        except RuntimeError as error:
            raise FerBenchError(
                f"this machine submits no jobs to Slurm ({brief(error)}); try: a login node, or --executor local"
            ) from error
        self._executor.update_parameters(name="fer-bench", timeout_min=_LIMIT_MIN)
        if cluster == "slurm":
            # Without srun the process has all cores of the node, and not those of one task.
            self._executor.update_parameters(
                slurm_use_srun=False,
                slurm_exclusive=True,
                **({"slurm_partition": partition} if partition else {}),
            )

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried:
        """Yield the place of each task and its result, as jobs end, and the reference network's of each job.

        Raises:
            FerBenchError: Slurm takes no job, or some have failed; the others' results are yielded before.
        """
        groups = list(by_network(enumerate(tasks)))
        if not groups:
            return
        calibrating = reference_of(tasks, self.load)
        if any(task.plan.device != "cpu" for task in tasks):
            self._executor.update_parameters(gpus_per_node=1)
        left: dict[Any, list[tuple[int, Task]]] = {}
        failed: list[str] = []
        try:
            with self._executor.batch():
                jobs = [
                    self._executor.submit(
                        measure_job, [task for _, task in group], calibrating, openmp_threads(), self._debug
                    )
                    for group in groups
                ]
            left = dict(zip(jobs, groups, strict=True))
            watcher.begin(tasks[0])
            while left:
                done = [job for job in left if job.done()]
                if not done:
                    time.sleep(_POLL_S)
                for job in done:
                    group = left.pop(job)
                    try:
                        results, calibrations = job.result()
                    except Exception as error:  # of the job, of submitit, or that its answer cannot be read
                        failed.append(f"job {job.job_id}: {brief(error)}")
                        continue
                    yield from ((BESIDE, result) for result in calibrations)
                    yield from ((place, result) for (place, _), result in zip(group, results, strict=True))
                    if left:
                        watcher.begin(tasks[min(group[0][0] for group in left.values())])
        except self._submitit.core.utils.FailedJobError as error:
            raise FerBenchError(f"Slurm takes no job: {brief(error)}") from error
        finally:
            for job in left:
                job.cancel()
        if failed:
            raise FerBenchError(
                f"{len(failed)} of {len(groups)} jobs failed, the first: {failed[0]}; their logs are in {FOLDER}; "
                "try: the same command, which goes on with them"
            )


def measure_job(
    tasks: Sequence[Task], reference: Task | None, openmp_threads: str, debug: bool
) -> tuple[list[Result], list[Result]]:
    """Measure the tasks of one network where the job runs, and return them and the reference's before and after.

    Raises:
        FerBenchError: the job's processes have no full priority, or a task cannot be measured.
    """
    name = node_name()
    check_priority(socket.gethostname(), os.nice(0), "sbatch without --nice, and PropagatePrioProcess=0")
    node = Node(name, [*tasks, *([reference] if reference else [])], openmp_threads, debug=debug)
    try:
        before = [node.measure(reference)] if reference is not None else []
        results = [node.measure(task) for task in tasks]
        return results, [*before, *([node.measure(reference)] if reference is not None else [])]
    finally:
        node.close()
