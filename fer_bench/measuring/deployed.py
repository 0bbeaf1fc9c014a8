"""A backend's artefact in the process that measures it, which need not have PyTorch."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_bench.measuring import machine
from fer_bench.measuring.messages import Job
from fer_bench.networks import backends
from fer_bench.networks.backends.interface import Artefact, Backend, DeployError, Prepared, Settings


class Deployed:
    """The artefact of a job, with what profilers ask of a ``Network``; it is loaded when one first asks for it.

    The runtime is imported at once: its memory is not the network's.
    """

    def __init__(self, job: Job, alive: Callable[[], None] = lambda: None) -> None:
        import numpy

        self.job, self.alive = job, alive
        self._numpy = numpy
        plan = job.plan
        self.exempt = ""
        self.settings = Settings.of(plan)
        self._backend = backends.find(plan.backend)
        for library in self._backend.runs_by:
            __import__(library)
        self.allocator = machine.keep_freed_memory() if plan.alloc == "keep" else machine.SYSTEM_ALLOCATOR
        path = Path(job.artefact)
        self.artefact = _of_file(path, self._backend, job) if path.is_file() else Artefact.load(path)
        self.input_shape = self.artefact.input_shape[1:]
        self._cores = machine.idlest(self.settings.threads)[0] if plan.pin and not job.stepped else ()
        self.made_at = 0.0
        self.load_s = 0.0
        self.first_pass_s = 0.0
        self.new_threads = 0
        self._made: tuple[Prepared, Any] | None = None

    def make(self) -> tuple[Any, Any]:
        """Load the artefact, make the first pass, and return what makes passes with a batch of images, (N, C, H, W)."""
        if self._made is None:
            if self._cores:
                machine.stay_on(self._cores)
            random = self._numpy.random.default_rng(self.job.plan.seed)
            images = random.standard_normal(self.artefact.input_shape, dtype=self._numpy.float32)
            threads, began = _threads(), time.perf_counter()
            prepared = self._backend.load(self.artefact.path, self.settings)
            loaded = time.perf_counter()
            prepared(images)
            self.made_at = time.perf_counter()
            self.load_s, self.first_pass_s = loaded - began, self.made_at - loaded
            self.new_threads = _threads() - threads
            if self._cores:  # threads that the runtime has made have the mask of that moment, or one of their own
                machine.stay_on(self._cores)
            self._made = prepared, images
        return self._made


def _of_file(path: Path, backend: Backend, job: Job) -> Artefact:
    """Describe a model file that somebody else made.

    Raises:
        DeployError: the runtime refuses it, it has several inputs, or its sizes are not known.
    """
    files = {path.name: path.stat().st_size}
    if (weights := path.with_suffix(".bin")).is_file() and path.suffix == ".xml":
        files[weights.name] = weights.stat().st_size
    if "graph" not in job.groups and job.input_shape:  # which the first process has looked at: what follows is measured
        return Artefact(path.parent, backend.name, files, (job.plan.batch_size, *job.input_shape), job.plan.precision)
    inputs = backend.load(path, Settings.of(job.plan)).inputs
    if len(inputs) != 1:
        raise DeployError(
            f"{path.name} has {len(inputs)} inputs ({', '.join(inputs)}), and passes are made with one; try: an export "
            "with the others as constants"
        )
    ((name, (sizes, kind)),) = inputs.items()
    if kind not in ("tensor(float)", "f32"):
        raise DeployError(
            f"{path.name} takes {kind}, and passes are made with float32; try: an export with a cast before it"
        )
    own = [int(size) if str(size).isdecimal() else None for size in sizes]
    asked = [job.plan.batch_size, *(job.input_shape or own[1:])]
    if len(asked) != len(own) or None in asked:
        given = "x".join(str(size or "?") for size in own[1:])
        raise DeployError(f"{path.name}: the sizes of its input {name!r} are {given}; give them by --input CxHxW")
    shape = tuple(map(int, filter(None, asked)))
    if any(ours not in (None, theirs) for ours, theirs in zip(own, shape, strict=True)):
        wanted = [mine or theirs for mine, theirs in zip(own, shape, strict=True)]
        batch = f"--batch {wanted[0]}" if wanted[0] != shape[0] else ""
        size = f"--input {'x'.join(map(str, wanted[1:]))}" if tuple(wanted[1:]) != shape[1:] else ""
        raise DeployError(
            f"{path.name} takes {'x'.join(map(str, sizes))}, and the plan has {'x'.join(map(str, shape))}; try: "
            f"{' '.join(filter(None, (batch, size)))}"
        )
    return Artefact(path.parent, backend.name, files, shape, job.plan.precision)


def _threads() -> int:
    """Return how many threads this process has; 0 where the system does not say."""
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
