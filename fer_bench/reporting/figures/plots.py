"""Plots that know no way of drawing: what is drawn, in base units, and the words around it.

All are plain dataclasses of numbers and texts: ``dataclasses.asdict`` gives what JSON takes. Texts are as users gave
them: whoever draws them cleans and escapes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fer_bench.records import units

Written = Literal["count", "seconds", "share", "percent", "number"]

_WRITTEN: Mapping[Written, Callable[[float, int], str]] = {
    "count": units.scaled,
    "seconds": units.milliseconds,
    "share": units.percent,
    "percent": units.significant,
    "number": units.significant,
}
_TICK_DIGITS = 6  # more than a tick has; zeros at the end are cut

APART = "\N{DAGGER}"  # behind the label of a point whose two quantities are of two builds
APART_MEANS = "of two builds, on no front"
HOLLOW = "reconstruction or stand-in"  # what hollow marks mean, for the legend


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title with the unit as written, what its values are, and how it is divided.

    ``quantity`` decides how to write a value that is in base units: "seconds" are written in milliseconds, a "share" in
    per cent; a "percent" is per cent already.
    """

    title: str
    quantity: Written
    log: bool = False

    def write(self, value: float, digits: int = 3) -> str:
        """Write a value of the axis with that many significant digits, as its title wants it."""
        return _WRITTEN[self.quantity](value, digits)

    def tick(self, value: float) -> str:
        """Write a value exactly and briefly: 2000000 is "2 M"."""
        number, space, suffix = self.write(float(value), _TICK_DIGITS).partition(" ")
        short = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{short}{space}{suffix}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter.

    Attributes:
        label: the network, as ``x`` and ``y`` are of it.
        group: one of the scatter's groups.
        x_interval, y_interval: the 95 % interval; None where there is none.
        hollow: the network is a reconstruction or a stand-in.
        named: a reader must see the label, whatever room there is.
        share: of what the machine attains; None where no roof is drawn.
    """

    label: str
    group: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    hollow: bool = False
    named: bool = False
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Roof:
    """What a machine attains: multiply-accumulates and bytes per second, of the fastest and the largest copy."""

    machine: str
    macs_per_s: float
    fastest_copy: float
    largest_copy: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a scatter: a front, which goes in steps and has the look of its group; or a roof, which has none."""

    label: str
    points: tuple[tuple[float, float], ...]
    group: str = ""
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points of two quantities, in groups that differ in look, and lines among them.

    ``neutral`` is the group, if any, that nothing is said of by its name: it has no colour.
    """

    title: str
    caption: str
    x: Axis
    y: Axis
    groups: tuple[str, ...]
    points: tuple[Point, ...]
    lines: tuple[Line, ...] = ()
    roofs: tuple[Roof, ...] = ()
    neutral: str = ""
    notes: tuple[str, ...] = ()
    kind: Literal["scatter"] = "scatter"


@dataclass(frozen=True, slots=True)
class Strip:
    """The runs of one process, in seconds: quantiles 0.05, 0.25, 0.5, 0.75 and 0.95."""

    process: int
    runs: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The latency of one network, in seconds: the estimate, its interval, and each process.

    ``written`` is the estimate in milliseconds as tables write it, with the digits that are known.
    """

    label: str
    estimate_s: float
    written: str
    interval_s: tuple[float, float] | None
    strips: tuple[Strip, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Spreads:
    """Latencies of networks, drawn as what they differ from the network's estimate."""

    title: str
    caption: str
    x: Axis
    networks: tuple[Spread, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["spreads"] = "spreads"


@dataclass(frozen=True, slots=True)
class Part:
    """A module of a network with all inside it, or small neighbours together; ``share`` is of the network's MACs.

    ``merged`` are the paths of such neighbours, empty for a module; they have no path and no type in common.
    """

    path: str
    type: str
    macs: float
    parameters: int
    share: float
    merged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Division:
    """Where the MACs of one network go, in the order of its modules; ``macs`` is of the whole network, per image.

    ``parts`` are as drawn among other networks', ``modules`` each by itself.
    """

    label: str
    macs: float
    parts: tuple[Part, ...]
    modules: tuple[Part, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Divisions:
    """Where the MACs of networks go; ``left_out`` says how many results are not drawn, "" for none."""

    title: str
    caption: str
    x: Axis
    networks: tuple[Division, ...]
    left_out: str = ""
    notes: tuple[str, ...] = ()
    kind: Literal["divisions"] = "divisions"


@dataclass(frozen=True, slots=True)
class Step:
    """One batch size of a sweep; latency and its interval are of the whole batch, in seconds."""

    batch: int
    latency_s: float
    interval_s: tuple[float, float] | None
    per_image_s: float
    images_per_s: float
    rate_interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Series:
    """A network over batch sizes, ascending."""

    label: str
    steps: tuple[Step, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Sweep:
    """Latency and rate over the batch size, a panel each."""

    title: str
    caption: str
    x: Axis
    latency: Axis
    rate: Axis
    networks: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["sweep"] = "sweep"


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion matrix of one network as counts: rows are the true classes."""

    label: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Confusions:
    """Confusion matrices, drawn as shares of each row."""

    title: str
    caption: str
    networks: tuple[Confusion, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["confusions"] = "confusions"


@dataclass(frozen=True, slots=True)
class ClassShare:
    """One class of a network: ``images`` have it; ``interval`` is of the recall; shares are from 0 to 1."""

    name: str
    images: int
    recall: float
    interval: tuple[float, float]
    precision: float
    f1: float


@dataclass(frozen=True, slots=True)
class OfClasses:
    """What a network has of each class that has images."""

    label: str
    classes: tuple[ClassShare, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class ByClass:
    """Recall, precision and F1 of each class, a panel each; ``classes`` are those of all networks."""

    title: str
    caption: str
    x: Axis
    classes: tuple[str, ...]
    networks: tuple[OfClasses, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["by_class"] = "by_class"


@dataclass(frozen=True, slots=True)
class Second:
    """A stretch of time of a run: latencies in seconds, frames done and dropped a second."""

    at_s: float
    p50_s: float
    p95_s: float
    done_per_s: float
    dropped_per_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """A run of the real-time system over time, with its budget in seconds."""

    label: str
    budget_s: float
    seconds: tuple[Second, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Seconds:
    """Latency and rates of runs over their time, a panel each."""

    title: str
    caption: str
    x: Axis
    latency: Axis
    rate: Axis
    runs: tuple[Pace, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["seconds"] = "seconds"


# Of parity: the same arithmetic, another order, reduced precision, not decidable; or something else is computed.
Look = Literal["same", "order", "reduced", "open", "struck"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A network by one backend and its settings; ``parity`` is the verdict in words, "" of PyTorch.

    ``written`` is the latency in milliseconds as tables write it, with the digits that are known.
    """

    label: str
    group: str
    latency_s: float
    written: str
    interval_s: tuple[float, float] | None
    look: Look
    parity: str = ""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A network by its backends."""

    label: str
    runtimes: tuple[Runtime, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Backends:
    """Latencies of networks, a row each, by backend."""

    title: str
    caption: str
    x: Axis
    groups: tuple[str, ...]
    networks: tuple[Deployed, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["backends"] = "backends"


Plot = Scatter | Spreads | Divisions | Sweep | Confusions | ByClass | Seconds | Backends
