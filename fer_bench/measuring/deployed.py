"""A backend's artefact in the process that measures it, which need not have PyTorch."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_bench.measuring import machine
from fer_bench.measuring.messages import Job
from fer_bench.networks import backends
from fer_bench.networks.backends.interface import Artefact, Prepared, Settings


class Deployed:
    """The artefact of a job, with what profilers ask of a ``Network``; it is loaded when one first asks for it.

    The runtime is imported at once: its memory is not the network's.
    """

    def __init__(self, job: Job, alive: Callable[[], None] = lambda: None) -> None:
        import numpy

        self.job, self.alive = job, alive
        self._numpy = numpy
        plan = job.plan
        self.artefact = Artefact.load(Path(job.artefact))
        self.input_shape = self.artefact.input_shape[1:]
        self.exempt = ""
        self.settings = Settings.of(plan)
        self._backend = backends.find(self.artefact.backend)
        for library in self._backend.runs_by:
            __import__(library)
        if plan.alloc == "keep":
            machine.keep_freed_memory()
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


def _threads() -> int:
    """Return how many threads this process has; 0 where the system does not say."""
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
