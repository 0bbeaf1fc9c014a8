"""What a backend is, what it is asked for, and what it writes down of what it did.

A file of a hundred lines makes a backend; TensorRT, Core ML, ncnn and MNN have none yet. It needs ``convert``, from a
program of ``torch.export`` or from the ONNX file that ``onnx_runtime`` writes of one (TensorRT, MNN); ``load``, which
sets threads and precision, reads back what the runtime reports of them, and raises where that is something else (ncnn
stores float16 weights unless told otherwise); and ``lacks``, for a compiler or a device that is not here. It is named
in ``backends.__init__``, ``records.plan``, ``records.extras`` and pyproject.toml; for a bundle also in
``measuring.board``, and for files of others in ``networks.spec``.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from fer_bench.records import files
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import SHIPPED, Plan
from fer_bench.records.result import Json

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"
_VERSION = 1  # of the manifest


class DeployError(FerBenchError):
    """A network cannot be converted for a backend, or the runtime refuses what was converted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a runtime is asked for.

    Attributes:
        threads: of one pass.
        spinning: waiting threads spin before they sleep.
        precision: as a plan has it; "default" leaves it to the runtime.
        shipped: leave all of it as the runtime has it.
        device: of the plan.
    """

    threads: int
    spinning: bool
    precision: str
    shipped: bool = False
    device: str = "cpu"

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return what a plan asks for: without a number of threads one for each core that this process may use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = plan.threads or cores
        spinning = plan.wait == "active" and threads > 1
        return cls(threads, spinning, plan.precision, plan.runtime == SHIPPED, plan.device)


class Prepared(Protocol):
    """An artefact that is loaded.

    Attributes:
        reported: what the runtime itself says of its settings: threads, precision and more.
        inputs: sizes and number type of each input, as the runtime writes them, by name.
    """

    reported: Mapping[str, Json]
    inputs: Mapping[str, tuple[Sequence[Any], str]]

    def __call__(self, images: "np.ndarray[Any, Any]") -> "Sequence[np.ndarray[Any, Any]]":
        """Run a batch, (N, C, H, W) as the artefact has it, and return the outputs in the network's order."""
        ...


@dataclass(frozen=True, slots=True)
class Artefact:
    """What a conversion wrote: a folder with the model's files and the manifest.

    Attributes:
        folder: where it is.
        backend: by name.
        files: bytes of each file, by its name; the first is the one to load.
        input_shape: (N, C, H, W).
        precision: that it was converted for, as the plan had it.
        weights: bytes of the stored numbers, by their type.
        notes: what was done to the network on the way.
        details: whatever else is known: seconds of each step, versions, opset, digest of the state.
    """

    folder: Path
    backend: str
    files: Mapping[str, int]
    input_shape: tuple[int, ...]
    precision: str
    weights: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file to load."""
        return self.folder / next(iter(self.files))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    def save(self) -> None:
        """Write the manifest into the folder, with each file's SHA-256."""
        data = {**dataclasses.asdict(self), "folder": "", "version": _VERSION}
        data["sha256"] = {name: digest(self.folder / name) for name in self.files}
        files.write(self.folder / MANIFEST, json.dumps(data, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, *, verified: bool = False) -> Self:
        """Read the manifest of a folder; with ``verified`` compare each file with its digest, too.

        Raises:
            DeployError: it is none, or a file is not the one that was written.
        """
        try:
            data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            digests = data.pop("sha256")
            if data.pop("version") != _VERSION:
                raise DeployError(f"{folder.name}: written by another fer_bench; convert it again")
            for name, size in data["files"].items():
                path = folder / name
                if path.stat().st_size != size or (verified and digest(path) != digests[name]):
                    raise DeployError(f"{folder.name}/{name} is not the file that was converted; delete the folder")
            lists = {key: tuple(data[key]) for key in ("input_shape", "notes")}
            return cls(**{**data, **lists, "folder": folder})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeployError(f"{folder.name} holds no artefact: {error}; delete it") from error


class Backend(Protocol):
    """A runtime.

    Attributes:
        name: as users type it.
        devices: of a plan, that it runs on.
        precisions: of a plan, that it has.
        runs_by: modules that running imports.
    """

    name: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    runs_by: tuple[str, ...]

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact that a plan's precision is run from."""
        ...

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        ...

    def lacks(self, device: str) -> str:
        """Return what is needed beside libraries and is not here, such as a compiler, with a remedy; or ""."""
        ...

    def tools(self) -> Mapping[str, str]:
        """Return the versions of what converts outside of this interpreter: an artefact is of theirs, too."""
        ...

    def convert(
        self, program: Any, folder: Path, precision: str, images: "np.ndarray[Any, Any] | None" = None
    ) -> Artefact:
        """Convert a program of ``torch.export`` into files of a folder; ``images`` calibrate int8.

        Raises:
            DeployError: it cannot be converted: the kind, the operator and the module, as far as they are known.
        """
        ...

    def load(self, path: Path, settings: Settings) -> Prepared:
        """Load a file in the process that measures.

        Raises:
            DeployError: the runtime refuses it, or runs it otherwise than was asked for.
        """
        ...


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: BaseException, most: int = 300) -> str:
    """Return what a library said, with the reason behind it, in one short line."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 3:
        text = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        if text not in parts:
            parts.append(text)
        cause = cause.__cause__
    return "; ".join(parts)[:most]
