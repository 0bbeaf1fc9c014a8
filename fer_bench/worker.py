"""The child process: a job comes in on stdin, measurements go out on stdout, a JSON line each as soon as known.

Whatever else the network prints goes to stderr, so that it cannot pass for a measurement.
"""

import ctypes
import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TextIO

import torch
from torch import Tensor, nn

from fer_bench import building, environment, registry
from fer_bench.building import Build
from fer_bench.checkpoints import load_checkpoint
from fer_bench.errors import DeviceError, FerBenchError, brief
from fer_bench.plan import Plan, parse_settings
from fer_bench.profilers import PROFILERS
from fer_bench.records import Json, Measurement


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does: metric groups (keys of ``PROFILERS``), in order, of one network."""

    name: str
    build: Build
    plan: Plan
    groups: tuple[str, ...]
    checkpoint: str

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the runner sends."""
        data = json.loads(text)
        shape = tuple(data["input_shape"]) if data["input_shape"] else None
        build = Build(data["num_classes"], shape, parse_settings(data["settings"]))
        return cls(data["name"], build, Plan.of(data["plan"]), tuple(data["groups"]), data["checkpoint"])


class Network:
    """The network of a job, built when a profiler first asks for it, so that memory is measured from before.

    Its libraries are imported at once: their memory is not the network's.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.spec = registry.find(job.name)
        self.input_shape = building.input_shape(self.spec, job.build)
        building.find_factory(self.spec)
        self._made: tuple[nn.Module, Tensor] | None = None

    def make(self) -> tuple[nn.Module, Tensor]:
        """Give the network in eval mode and a batch of images, both on the plan's device."""
        if self._made is None:
            plan = self.job.plan
            torch.manual_seed(plan.seed)
            model = building.create(self.spec, self.job.build, plan.device)
            if self.job.checkpoint:
                load_checkpoint(model, self.job.checkpoint, self.spec)
            dtype = building.number_type(model)
            self._made = model, building.example_inputs(self.input_shape, plan.batch_size, plan.device, dtype)
        return self._made


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        DeviceError: CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: PyTorch sees no CUDA device; check the driver (nvidia-smi), or use --device cpu"
        )


def work(job: Job, tell: Callable[[Mapping[str, Json]], None]) -> None:
    """Carry out a job and tell the environment, then each measurement."""
    check_device(job.plan.device)
    allocator = environment.keep_freed_memory()
    if job.plan.threads is not None:
        torch.set_num_threads(job.plan.threads)
    network = Network(job)
    described = dataclasses.asdict(environment.describe(job.plan.device, allocator))
    tell({"environment": described, "input_shape": network.input_shape})
    for group in job.groups:
        tell({"started": group})
        for measurement in _measure(group, network):
            tell({"measurement": dataclasses.asdict(measurement)})
    tell({"finished": True})


def _measure(group: str, network: Network) -> Iterator[Measurement]:
    try:
        yield from PROFILERS[group](network, network.job.plan)
    except Exception as error:  # whatever a user's network does is that row's reason, and the next group goes on
        traceback.print_exc()  # shown by `fer-bench run --debug`
        told = str(error) if isinstance(error, FerBenchError) else brief(error)
        yield Measurement(group, "", failure=told)


def die_with_parent() -> None:
    """Ask Linux to kill this process when the runner is gone, killed itself perhaps, so that nothing runs on unseen."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # sys/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main() -> int:
    """Read a job from stdin; answer on the original stdout."""
    die_with_parent()
    answers: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # C code that prints, too

    def tell(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        work(Job.from_json(sys.stdin.read()), tell)
    except DeviceError as error:
        tell({"no_device": str(error)})
        return 1
    except FerBenchError as error:
        tell({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
