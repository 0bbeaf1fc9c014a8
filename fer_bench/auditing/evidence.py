"""What is known of a network before a figure of it is judged: its recounts, read from results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.errors import StoreError
from fer_bench.records.plan import RECOUNT
from fer_bench.records.result import Json, Result


@dataclass(frozen=True, slots=True)
class Recount:
    """A network counted in one build; see ``counting.recount``.

    Attributes:
        change: what is not as the sheet says, or "" for the sheet's own build.
        macs: multiply-accumulates of one image.
        parameters: elements and bytes, as ``counting.params`` names them.
        extras: what other conventions count beside, as ``counting.module_breakdown`` names it.
        thop: thop's MACs and parameters.
        fvcore: fvcore's count, or None.
        layers: by the rules of ``counting.totals``; of the sheet's own build only, as all that follows.
        shapes: (C, H, W) and the like of all that a module gives.
        head_parameters: of the last linear layer.
        roles: modules that have one name in common, their parameters and thop's MACs of them.
    """

    change: str
    num_classes: int
    input_shape: tuple[int, ...]
    macs: int
    parameters: Mapping[str, int]
    extras: Mapping[str, int]
    operators: int
    thop: Mapping[str, int]
    fvcore: int | None = None
    layers: Mapping[str, int] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ()
    head_parameters: int = 0
    roles: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, macs: float, details: Mapping[str, Json]) -> Self:
        """Read what ``counting.recount`` measured.

        Raises:
            StoreError: it is none, or of another version.
        """
        try:
            input_shape, shapes = tuple(details["input_shape"]), tuple(map(tuple, details.get("shapes", ())))
            return cls(**{**details, "macs": int(macs), "input_shape": input_shape, "shapes": shapes})
        except (TypeError, KeyError, ValueError) as error:
            raise StoreError("a recount is damaged, or of another fer_bench: count again, without --records") from error

    @property
    def build(self) -> str:
        """Return input and classes, which identify the build."""
        return f"{units.size(self.input_shape)}, {self.num_classes} classes"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The recounts of one network: its own build, and others."""

    name: str
    own: Recount
    others: tuple[Recount, ...]


def gather(results: Iterable[Result]) -> list[Evidence]:
    """Read the recounts of results, an ``Evidence`` for each that has any."""
    found = []
    for result in results:
        kept = (m for m in result.measurements if m.metric in RECOUNT.metrics and m.values)
        recounts = [Recount.of(measurement.values[0], measurement.details) for measurement in kept]
        others = tuple(recount for recount in recounts if recount.change)
        found += [Evidence(result.subject.name, own, others) for own in recounts if not own.change][:1]
    return found


def find(spec: ModelSpec | None, evidence: Iterable[Evidence]) -> Evidence | None:
    """Find the recounts of a network in the build that its sheet says."""
    if spec is None:
        return None
    of_network = (one for one in evidence if (one.name, one.own.num_classes) == (spec.name, spec.num_classes))
    return next((one for one in of_network if spec.input_shape in (None, one.own.input_shape)), None)
