"""The conversation with a worker: one line of JSON per message, written by ``dump`` and read by ``load``.

A worker gets a ``Job``, and of a stepped one ``WarmUp`` and ``MakePasses`` as it goes on. It answers with the others.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fer_bench.networks.contract import InputContract
from fer_bench.networks.place import Place
from fer_bench.networks.spec import ModelSpec, Shape, Source
from fer_bench.records.limits import NO_LIMITS
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Json, Measurement


@dataclass(frozen=True)
class Message:
    """A message; each kind of them is a class below."""


@dataclass(frozen=True)
class Job(Message):
    """What one worker does.

    Attributes:
        plan: how.
        spec: the network; None to measure what the machine attains.
        groups: metric groups, keys of ``PROFILERS``, in order.
        input_shape: (C, H, W); None for the network's own.
        settings: further arguments of the factory, each "key=value".
        checkpoint: weights to load, or "".
        fall_back: where the network cannot run at the input shape, run it at its own.
        process: which of the network's processes this is.
        describe: report the environment, which takes a moment, so that one process of a network does.
        place: where the network's code is, if not in the current folder; the files read there are then reported.
        stepped: make passes only on command.
        builds: (C, H, W) and classes of further builds to count, those that published results are of.
        data: images of the task, a file or folder, or "": labelled for the accuracy, and to judge a backend's reduced
            precision on.
        contract: what is done to an image, and the classes of the outputs; None where no image is looked at.
        artefacts: the folder in which a backend's artefacts are kept.
        artefact: the folder of the one to measure; "" for the network itself.
        calibration: images for int8: a path, "noise", or "" for none.
        folder: in which a training keeps its state and weights.
    """

    plan: Plan
    spec: ModelSpec | None = None
    groups: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    fall_back: bool = False
    process: int = 0
    describe: bool = False
    place: Place | None = None
    stepped: bool = False
    builds: tuple[tuple[Shape, int], ...] = ()
    data: str = ""
    contract: InputContract | None = None
    artefacts: str = ""
    artefact: str = ""
    calibration: str = ""
    folder: str = ""

    @property
    def without_pytorch(self) -> bool:
        """Whether a process that has not imported PyTorch does the job."""
        return bool(self.artefact) and "parity" not in self.groups


@dataclass(frozen=True)
class WarmUp(Message):
    """Move to these cores, if there are any, and warm up; the answer is ``Warm``."""

    cores: tuple[int, ...]


@dataclass(frozen=True)
class MakePasses(Message):
    """Make passes, each longer by a share of itself; the answer is ``Passes``."""

    runs: int
    slower: float = 0.0


@dataclass(frozen=True)
class Attainable(Message):
    """What the machine attains (see ``profilers.roofline``)."""

    values: Mapping[str, Json]


@dataclass(frozen=True)
class Ready(Message):
    """The network is known: its input shape (C, H, W), and why that is not the protocol's, or ""."""

    environment: Environment | None
    input_shape: tuple[int, ...] | None
    exempt: str


@dataclass(frozen=True)
class Started(Message):
    """A metric group has begun."""

    group: str


@dataclass(frozen=True)
class Alive(Message):
    """Sent now and then by what takes long, so that it does not pass for hung, with how far it has come, if known."""

    text: str = ""


@dataclass(frozen=True)
class Measured(Message):
    """A measurement of the group that has begun."""

    measurement: Measurement


@dataclass(frozen=True)
class AtWork(Message):
    """Seconds that the network has been at work so far."""

    passes_s: float


@dataclass(frozen=True)
class Warm(Message):
    """The warm-up is over.

    Attributes:
        outputs: shapes of what a pass returned, and a digest that is the same for the same values.
        pass_s: seconds of the shortest pass.
    """

    outputs: Mapping[str, Json]
    pass_s: float


@dataclass(frozen=True)
class Passes(Message):
    """Passes that were commanded: seconds of each; processor time, page faults and switches of all."""

    seconds: tuple[float, ...]
    cpu_s: float
    minor_faults: int
    involuntary_switches: int


@dataclass(frozen=True)
class Refused(Message):
    """The job cannot be done: ``no_device`` where the plan's device is not there, which ends a run."""

    reason: str
    no_device: bool = False


@dataclass(frozen=True)
class Finished(Message):
    """The job is done."""


def dump(message: Message) -> str:
    """Return a message as one line of JSON, without the line's end."""
    if isinstance(message, Job) and message.spec is not None:  # a build depends neither on figures nor on limits
        message = dataclasses.replace(
            message, spec=dataclasses.replace(message.spec, published=(), expected={}, variants={}, gate=NO_LIMITS)
        )
    return json.dumps({"kind": type(message).__name__, **dataclasses.asdict(message)})


def load(line: str) -> Message:
    """Read what ``dump`` returned.

    Raises:
        ValueError: the line is no message.
    """
    try:
        data = json.loads(line)
        kind = _KINDS[data.pop("kind")]
        if kind is not Measured:  # of which NaN makes a failed measurement
            json.dumps(data, allow_nan=False)
        return kind(**_fields(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no message: {line[:80]!r}") from error


def _fields(data: Mapping[str, Json]) -> dict[str, Any]:
    """Return fields as dataclasses have them: JSON knows lists and objects only."""
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return lists | {key: read(data[key]) for key, read in _OBJECTS.items() if data.get(key)}


def _measurement(data: Json) -> Measurement:
    """Read a measurement; one that no record can hold, such as of NaN, is a failure that says so."""
    try:
        return Measurement.of(data)
    except ValueError as error:
        if not isinstance(data, Mapping) or not isinstance(name := data.get("metric"), str):
            raise
        unit = data.get("unit")
        return Measurement(
            name, unit if isinstance(unit, str) else "", failure=f"its values cannot be recorded: {error}"
        )


_KINDS = {kind.__name__: kind for kind in Message.__subclasses__()}
_OBJECTS: Mapping[str, Callable[[Any], object]] = {
    "plan": Plan.of,
    "spec": lambda data: ModelSpec(**{**_fields(data), "gate": NO_LIMITS}),
    "source": lambda data: Source(**data),
    "place": Place.of,
    "environment": Environment.of,
    "passes_s": float,
    "measurement": _measurement,
    "contract": InputContract.of,
    "builds": lambda data: tuple((tuple(shape), classes) for shape, classes in data),
}
