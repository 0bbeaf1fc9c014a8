"""One network to be measured by one plan."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer_bench.measuring.machine import load_now
from fer_bench.measuring.messages import Job
from fer_bench.networks import backends
from fer_bench.networks.contract import InputContract
from fer_bench.networks.place import Place
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec
from fer_bench.networks.weights import input_contract
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import AUTO, INT8, NOISE, SHIPPED, TORCH, Load, Plan
from fer_bench.records.result import Result, Subject


@dataclass(frozen=True, slots=True)
class Task:
    """One network to be measured by one plan.

    Attributes:
        spec: the network.
        plan: how.
        input_shape: (C, H, W) that the user demands; None for the plan's size, and without one the network's own.
        settings: further arguments of its factory, each "key=value".
        checkpoint: weights to load, or "".
        own_size: run at the network's own size where it cannot run at the plan's; without, that is a failure.
        place: the checkout that the network's code comes from; None for the current folder.
        data: images of the task, a file or folder, or "": labelled for the accuracy, and to judge a backend's reduced
            precision on.
        contract: what is done to an image, and the classes of the outputs; None where no image is looked at.
        artefact: the folder of a backend's artefact; "" to convert the network, or to find it converted.
        calibration: images for int8: a path, "noise", or "" for none.
        folder: in which a training keeps its state and weights.
    """

    spec: ModelSpec
    plan: Plan
    input_shape: tuple[int, ...] | None = None
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    place: Place | None = None
    own_size: bool = True
    data: str = ""
    contract: InputContract | None = None
    artefact: str = ""
    calibration: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        self.plan.check_asked()
        if self.plan.backend != TORCH or self.plan.precision in INT8 or self.plan.runtime == SHIPPED:
            backends.check(self.plan, converts=self.spec.source.kind != "artefact")
        if self.spec.source.kind == "artefact":
            backends.check_file(self.spec, self.plan)

    @property
    def key(self) -> str:
        """Return what identifies this task: a run with the same key resumes it."""
        file = Path(self.spec.source.file) if self.spec.source.file else None
        code = [str(file.resolve()), file.read_text(errors="replace")] if file is not None and file.is_file() else []
        changed = Path(self.checkpoint).stat().st_mtime_ns if self.checkpoint else 0
        built: list[Any] = [self.input_shape, self.settings, self.checkpoint, changed]
        about = [self.spec.name, code, self.plan.to_dict(), *built]
        about += [] if self.own_size else ["at no other size"]
        if self.data:  # without, the key is that of runs before there were data
            about += [self.data, Path(self.data).stat().st_mtime_ns, self.contract and self.contract.to_dict()]
        about += [[name, path] for name in ("artefact", "calibration", "folder") if (path := getattr(self, name))]
        about += [self.contract.to_dict()] if self.calibration and not self.data and self.contract else []
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    def job(self, **given: Any) -> Job:
        """Return a worker's job on this network; without an ``input_shape`` of the user's, one falls back."""
        own, protocol = self.input_shape, self.protocol_shape()
        shape = {"input_shape": own or protocol, "fall_back": own is None and protocol is not None and self.own_size}
        return Job(
            self.plan,
            self.spec,
            builds=self.spec.published_builds,
            settings=self.settings,
            checkpoint=self.checkpoint,
            place=self.place,
            data=self.data,
            contract=self.contract,
            calibration=self.calibration,
            folder=self.folder,
            **(shape | {"artefact": self.artefact} | given),
        )

    def subject(self, input_shape: tuple[int, ...] | None, exempt: str = "") -> Subject:
        """Return what a record says of this network, which ran at (C, H, W) and was exempt from the plan's size.

        Where it failed before its size was known, ``input_shape`` is None and the record has the one it would have had.
        """
        spec = self.spec
        return Subject(
            name=spec.name,
            title=spec.title,
            status=spec.status,
            input_shape=input_shape or self.input_shape or self.protocol_shape() or spec.input_shape,
            num_classes=self._classes(),
            settings=self.settings,
            checkpoint=_named(self.checkpoint),
            note=spec.note,
            uncertain=spec.uncertain,
            exempt=exempt,
        )

    @property
    def fits(self) -> bool:
        """False where the size that is asked for is below what the network's sheet says that it needs."""
        asked = self.input_shape or self.protocol_shape()
        return asked is None or min(asked[1:]) >= self.spec.min_size

    def _classes(self) -> int | None:
        """Return how many outputs a record says; None of a model file, which does not say what they are."""
        own = None if self.spec.source.kind == "artefact" else self.spec.num_classes
        return own if self.plan.num_classes is None else self.plan.num_classes

    def protocol_shape(self) -> tuple[int, ...] | None:
        """Return the size that the plan has for this network, or None where it leaves that to the network."""
        if self.plan.input_size is None and self.plan.channels is None:
            return None
        channels, *sides = self.spec.input_shape or DEFAULT_INPUT
        size = self.plan.input_size
        return self.plan.channels or channels, *(size or side for side in sides)


NEEDS_IMAGES = (
    "--precision int8 needs images to calibrate by: --calibrate FOLDER; noise costs 10 dB and more, and is only used "
    "with --calibrate noise; --precision int8-dynamic needs none"
)


def with_images(
    task: Task, data: str | Path = "", calibrate: str | Path = "", contract: str | Path | InputContract | None = None
) -> Task:
    """Return a task with images for its backend, and the input contract that they are prepared by.

    Args:
        task: of any backend; PyTorch's is returned as it is.
        data: images to judge decisions on, a path as ``load_data`` reads it, or "".
        calibrate: images to calibrate int8 by, likewise, or "noise".
        contract: a file, a contract, or "sheet"; None for what is known of the checkpoint.

    Raises:
        FerBenchError: the images are not there, int8 has none, or no contract is known.
    """
    if task.plan.backend == TORCH:
        return task
    if task.plan.precision == "int8" and not calibrate:
        raise FerBenchError(NEEDS_IMAGES)
    if not (data or calibrate):
        return task
    if task.spec.source.kind == "artefact":
        raise FerBenchError(f"{task.spec.name} is a model file, with no network to compare it with: leave --data out")
    for given, option in ((data, "--data"), (calibrate, "--calibrate")):
        if given and given != NOISE and not Path(given).exists():
            raise FerBenchError(f"{option} {given}: there is no such file or folder; try: fer-bench data make-faces")
    task = replace(task, data=_absolute(data), calibration=_absolute(calibrate))
    if not data and calibrate == NOISE:
        return task
    found = input_contract(task.spec, task.checkpoint or None, contract)
    plan, classes = task.plan, len(found.classes)
    if plan.num_classes is None and classes != task.spec.num_classes:
        plan = replace(plan, num_classes=classes)
    return replace(task, plan=plan, contract=found)


def _absolute(given: str | Path) -> str:
    return str(Path(given).resolve()) if given and given != NOISE else str(given)


def _named(checkpoint: str) -> str:
    """Name a file of weights for a record, which may be published: file and hash, and no folder of the user's."""
    if not checkpoint:
        return ""
    status = os.stat(checkpoint)
    return f"{Path(checkpoint).name} (sha256 {_hash(checkpoint, status.st_mtime_ns, status.st_size)})"


@functools.lru_cache(maxsize=8)
def _hash(path: str, _changed_ns: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settle(tasks: Sequence[Task], done: Mapping[str, Result], load: Load | None = None) -> list[Task]:
    """Return tasks whose plans have a wait policy: that of earlier results of the same run, or else by the load now.

    Args:
        tasks: as asked for, by whose keys results are stored.
        done: what the run has already, by key.
        load: of the machine when the run began; None looks, where it matters.
    """
    if all(task.plan.wait != AUTO for task in tasks):
        return list(tasks)
    known = {task.plan: done[task.key].plan for task in tasks if task.plan.wait == AUTO and task.key in done}
    load = load or load_now()
    settled = []
    for task in tasks:
        plan = task.plan
        if plan.wait == AUTO:
            like = known.get(plan) or next(iter(known.values()), None) or plan.settled(load)
            plan = replace(plan, wait=like.wait, threads=plan.threads or like.threads)
        settled.append(replace(task, plan=plan))
    return settled


def fingerprint(tasks: Sequence[Task]) -> str:
    """Return what identifies a list of tasks."""
    return hashlib.sha256("".join(task.key for task in tasks).encode()).hexdigest()[:16]
