"""What is known of a network before a figure of it is judged: its recounts, read from results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.errors import StoreError
from fer_bench.records.result import Json, Result

METRIC = "recount"


@dataclass(frozen=True, slots=True)
class Recount:
    """A network counted in one build; see ``profilers.recount``.

    Attributes:
        change: what is not as the sheet says, or "" for the sheet's own build.
        macs: multiply-accumulates of one image.
        parameters: elements and bytes, as ``profilers.params`` names them.
        extras: what other conventions count beside, as ``profilers.anatomy`` names it.
        thop: thop's MACs and parameters.
        fvcore: fvcore's count, or None.
        layers: by the rules of ``profilers.layers``; of the sheet's own build only, as all that follows.
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
        """Read what ``profilers.recount`` measured.

        Raises:
            StoreError: it is none, or of another version.
        """
        try:
            return cls(
                **{
                    **details,
                    "macs": int(macs),
                    "input_shape": tuple(details["input_shape"]),
                    "shapes": tuple(map(tuple, details.get("shapes", ()))),
                }
            )
        except (TypeError, KeyError, ValueError) as error:
            raise StoreError("a recount is damaged, or of another fer_bench: count anew, without --records") from error

    @property
    def told(self) -> str:
        """Say which build this is."""
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
        recounts = [Recount.of(m.values[0], m.details) for m in result.measurements if m.metric == METRIC and m.values]
        own = next((recount for recount in recounts if not recount.change), None)
        if own is not None:
            others = tuple(recount for recount in recounts if recount.change)
            found.append(Evidence(result.subject.name, own, others))
    return found


def find(spec: ModelSpec | None, evidence: Iterable[Evidence]) -> Evidence | None:
    """Find the recounts of a network in the build that its sheet says."""
    if spec is None:
        return None
    for one in evidence:
        same_input = spec.input_shape in (None, one.own.input_shape)
        if one.name == spec.name and same_input and one.own.num_classes == spec.num_classes:
            return one
    return None
