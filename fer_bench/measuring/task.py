"""One network to be measured by one plan."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_bench.networks.place import Place
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec
from fer_bench.records.plan import Plan


@dataclass(frozen=True, slots=True)
class Task:
    """One network to be measured by one plan.

    Attributes:
        spec: the network.
        plan: how.
        input_shape: (C, H, W) that the user demands; None for the plan's size, and without one the network's own.
        settings: further arguments of its factory, each "key=value".
        checkpoint: weights to load, or "".
        place: the checkout that the network's code comes from; None for the current folder.
    """

    spec: ModelSpec
    plan: Plan
    input_shape: tuple[int, int, int] | None = None
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    place: Place | None = None

    @property
    def key(self) -> str:
        """Tell this task from every other: running it again is to resume it."""
        file = Path(self.spec.source.file) if self.spec.source.file else None
        code = [str(file.resolve()), file.read_text(errors="replace")] if file is not None and file.is_file() else []
        changed = Path(self.checkpoint).stat().st_mtime_ns if self.checkpoint else 0
        about = [self.spec.name, code, self.plan.to_dict(), self.input_shape, self.settings, self.checkpoint, changed]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    def protocol_shape(self) -> tuple[int, int, int] | None:
        """Give the size that the plan has for this network, or None where it leaves that to the network."""
        if self.plan.input_size is None and self.plan.channels is None:
            return None
        channels, height, width = self.spec.input_shape or DEFAULT_INPUT
        size = self.plan.input_size
        return self.plan.channels or channels, size or height, size or width


def fingerprint(tasks: Sequence[Task]) -> str:
    """Tell one list of tasks from another."""
    return hashlib.sha256("".join(task.key for task in tasks).encode()).hexdigest()[:16]
