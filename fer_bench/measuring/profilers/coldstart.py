"""Cold start: from the start of a process to the first result, as whoever scales to zero or opens an app waits for it.

Each start is a process of its own: the interpreter, the imports, the network, its weights, one pass. Files mostly come
from the system's cache: after a reboot the imports take longer.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from fer_bench.measuring import messages
from fer_bench.measuring.messages import Job
from fer_bench.measuring.profilers.kinds import Alive
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Measurement

STARTS = 5  # processes at least: two more would narrow Student's interval by a quarter
STAGES = ("interpreter", "imports", "build", "weights", "first_pass")  # in order; together they are the whole
_MARK = "fer_bench cold start: "
# Importing this module imports PyTorch: the interpreter's own time ends before.
_PROGRAM = f"import time; begun = time.monotonic(); from {__name__} import main; main(begun)"

Start = Callable[[Job], Mapping[str, float]]  # makes a start and returns the moments at which its stages ended


def measure_coldstart(job: Job, start: Start | None = None, alive: Alive = lambda: None) -> list[Measurement]:
    """Start as many processes as the plan has, ``STARTS`` at least, one after the other.

    Args:
        job: of the network, as its own process got it.
        start: makes one; by default a process of this interpreter.
        alive: called between starts.

    Returns:
        ``coldstart_s`` and ``coldstart.<stage>_s`` of each process.
    """
    start = start or fresh_process
    found = []
    for process in range(max(STARTS, job.plan.processes)):
        moments = start(job)
        alive()
        ends = [moments[stage] for stage in ("begun", *STAGES)]
        seconds = dict(zip(STAGES, (b - a for a, b in pairwise(ends)), strict=True))
        about = {"weights": bool(job.checkpoint)}
        found.append(Measurement("coldstart_s", "s", (ends[-1] - ends[0],), process=process, details=about))
        found += [Measurement(f"coldstart.{name}_s", "s", (value,), process) for name, value in seconds.items()]
    return found


def fresh_process(job: Job) -> Mapping[str, float]:
    """Start a process that makes the network's first pass, and return when its stages ended.

    All moments are of the system's monotonic clock, which processes share.

    Raises:
        FerBenchError: it ended without a result.
    """
    command = [sys.executable, "-P", "-c", _PROGRAM]
    begun = time.monotonic()
    limit = job.plan.time_limit_s
    try:
        done = subprocess.run(  # noqa: S603  # our own program
            command, input=messages.dump(job), capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise FerBenchError(f"a process gave no first result in {limit:g} s") from None
    line = next((line for line in done.stdout.splitlines() if line.startswith(_MARK)), "")
    if not line:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise FerBenchError(f"a process ended with exit code {done.returncode} before its first result: {last}")
    return {"begun": begun, **json.loads(line.removeprefix(_MARK))}


def main(begun: float) -> None:
    """Read a job from stdin, make its network's first pass, and print when each stage ended.

    Args:
        begun: when the interpreter was ready, before this module and PyTorch were imported.
    """
    moments: dict[str, Any] = {"interpreter": begun}
    job = messages.load(sys.stdin.read())
    if not isinstance(job, Job) or job.spec is None:
        raise FerBenchError("a cold start needs the job of a network")
    if job.place:
        job.place.enter()
    import torch

    from fer_bench.measuring.network import Network, apply_plan_settings

    apply_plan_settings(job.plan)
    network = Network(job.spec, dataclasses.replace(job, fall_back=False))
    moments["imports"] = time.monotonic()
    model, images = network.make(built=lambda: moments.update(build=time.monotonic()))
    moments["weights"] = time.monotonic()
    with torch.inference_mode():
        model(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    moments["first_pass"] = time.monotonic()
    sys.stdout.write(f"\n{_MARK}{json.dumps(moments)}\n")
