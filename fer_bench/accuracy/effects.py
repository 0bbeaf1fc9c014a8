"""What changes of the input did to a network's decisions, as records keep it: counts by change; no torch, no pixels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from fer_bench.records import schema
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    import pandas

SENSITIVITY = "accuracy.sensitivity"
ROBUSTNESS = "accuracy.robustness"


@dataclass(frozen=True, slots=True)
class Effect:
    """What one change does.

    Attributes:
        kind: "values", "size", "resize", "colour", "crop" or "picture".
        change: in words.
        same: images whose class is that under the contract.
        total_variation: mean over the images, half the sum of the absolute differences of probabilities: 0 to 1.
        hits: of the labelled images.
        failed: why the network cannot run so, or "".
    """

    kind: str
    change: str
    same: int = 0
    total_variation: float = 0.0
    hits: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Changes of the input and what they do.

    Attributes:
        images: how many were tried.
        labelled: those of them with a label.
        hits: of these under the contract.
        top: mean of the largest probability under the contract.
        effects: in the order of ``kind``.
    """

    images: int
    labelled: int
    hits: int
    top: float
    effects: tuple[Effect, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for the contract and one for each change; accuracy is None without labels.

        A change that failed has its reason alone.
        """

        def accuracy(hits: int) -> float | None:
            return hits / self.labelled if self.labelled else None

        rows: list[dict[str, Any]] = [
            {"kind": "", "change": "as the contract says", "same": 1.0, "total_variation": 0.0}
            | {"accuracy": accuracy(self.hits), "failed": ""}
        ]
        for one in self.effects:
            row: dict[str, Any] = {"kind": one.kind, "change": one.change, "failed": one.failed}
            if not one.failed:
                row |= {"same": one.same / self.images, "total_variation": one.total_variation}
                row |= {"accuracy": accuracy(one.hits)}
            rows.append(row)
        return rows

    def to_frame(self) -> "pandas.DataFrame":
        """Return ``rows`` as a frame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def measurement(self) -> Measurement:
        """Return what a record has of it: as values the images of the same class, by change."""
        values = tuple(one.same for one in self.effects)
        return Measurement(SENSITIVITY, "count", values, details=asdict(self))

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """Read it from a record.

        Raises:
            ValueError: the record is damaged.
        """
        return schema.read(cls, measurement.details)


@dataclass(frozen=True, slots=True)
class Disturbed:
    """Hits under one disturbance.

    Attributes:
        disturbance: its name.
        strength: 1 to 5.
        setting: what that is.
        hits: by class.
    """

    disturbance: str
    strength: int
    setting: str
    hits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Robustness:
    """Hits by class, undisturbed and disturbed.

    Attributes:
        images: tried, by class.
        hits: undisturbed, by class.
        disturbed: five for each disturbance.
    """

    images: Mapping[str, int]
    hits: Mapping[str, int]
    disturbed: tuple[Disturbed, ...]

    @property
    def accuracy(self) -> float:
        """Return the undisturbed share of hits."""
        return sum(self.hits.values()) / sum(self.images.values())

    def drop(self, one: Disturbed, name: str = "") -> float:
        """Return by how much accuracy falls, as a share of the images: of all, or of one class, whose recall falls."""
        names = [name] if name else list(self.images)
        lost = sum(self.hits[each] - one.hits[each] for each in names)
        return lost / sum(self.images[each] for each in names)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each disturbance and strength: accuracy, its drop, and the drop of each class's recall."""
        return [
            {
                "disturbance": one.disturbance,
                "strength": one.strength,
                "setting": one.setting,
                "accuracy": sum(one.hits.values()) / sum(self.images.values()),
                "drop": self.drop(one),
                **{f"drop_{name}": self.drop(one, name) for name in self.images},
            }
            for one in self.disturbed
        ]

    def to_frame(self) -> "pandas.DataFrame":
        """Return ``rows`` as a frame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def measurement(self) -> Measurement:
        """Return what a record has of it: as values the hits, by disturbance and strength."""
        values = tuple(sum(one.hits.values()) for one in self.disturbed)
        return Measurement(ROBUSTNESS, "count", values, details=asdict(self))

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """Read it from a record.

        Raises:
            ValueError: the record is damaged.
        """
        return schema.read(cls, measurement.details)
