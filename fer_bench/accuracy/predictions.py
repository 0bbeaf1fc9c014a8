"""What a network returned for each image of a data set, and how that is kept in a record: no torch, no pixels.

A record has two measurements of an evaluation. ``accuracy.confusion`` holds the confusion matrix with the conditions,
from which most tables follow. ``accuracy.predictions`` holds the outputs themselves as float32, so that any statistic
can be computed again, and two networks compared image by image. They are stored, exported and deleted with the result.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy import calibration, statistics
from fer_bench.accuracy.statistics import CONFUSION, PREDICTIONS, Paired
from fer_bench.records.details import OUTPUTS_CHUNK
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json, Measurement, Result

PERSON = "person"  # the column of groups whose images are not independent


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Outputs of one network on labelled images.

    Attributes:
        outputs: (N, K) float32, as the network returned them; with test-time augmentation mean probabilities.
        labels: (N,) int64, places in ``classes``.
        classes: of the outputs, in their order.
        masked: classes that no image of the data has, whose outputs are ignored.
        images_sha256: of the pixels and labels in their order: equal ones are the same images.
        groups: columns such as person, sex, age: N values each.
    """

    outputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    masked: tuple[str, ...] = ()
    images_sha256: str = ""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def scored(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return outputs and labels without the masked classes; probabilities add up to 1 again."""
        if not self.masked:
            return self.outputs, self.labels
        kept = [place for place, name in enumerate(self.classes) if name not in self.masked]
        outputs = self.outputs[:, kept]
        if calibration.are_probabilities(self.outputs):
            outputs = outputs / outputs.sum(axis=1, keepdims=True)
        return outputs, np.searchsorted(np.array(kept), self.labels)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Return the (N,) places in ``classes`` of the largest outputs; of equal ones the first."""
        kept = np.array([place for place, name in enumerate(self.classes) if name not in self.masked])
        return np.asarray(kept[self.outputs[:, kept].argmax(axis=1)])

    @property
    def hits(self) -> list[bool]:
        """Return for each image whether it was classified rightly."""
        return list(map(bool, self.predicted == self.labels))

    @property
    def confusion(self) -> list[list[int]]:
        """Return the confusion matrix over ``classes``: rows are the true ones."""
        return statistics.confusion_of(self.labels.tolist(), self.predicted.tolist(), len(self.classes))

    def by_group(self, column: str) -> dict[str, tuple[int, int]]:
        """Return hits and images for each value of a column."""
        found: dict[str, tuple[int, int]] = {}
        for value, hit in zip(self.groups[column], self.hits, strict=True):
            hits, images = found.get(value, (0, 0))
            found[value] = (hits + hit, images + 1)
        return dict(sorted(found.items()))

    def paired(self, other: Self) -> Paired:
        """Compare with another network on the same images, this one as the first.

        Raises:
            FerBenchError: the images are others.
        """
        if not self.images_sha256 or self.images_sha256 != other.images_sha256:
            raise FerBenchError("the networks were evaluated on different images: choose the same data and split")
        return Paired.of(self.hits, other.hits)

    def measurements(self, conditions: Mapping[str, Json], warnings: Sequence[str] = ()) -> list[Measurement]:
        """Return what a record has of them."""
        cells = tuple(count for row in self.confusion for count in row)
        confusion = Measurement(
            CONFUSION,
            "count",
            cells,
            details={"classes": list(self.classes), "masked": list(self.masked), **json.loads(json.dumps(conditions))},
            warnings=tuple(warnings),
        )
        text = base64.b64encode(np.ascontiguousarray(self.outputs, dtype="<f4").tobytes()).decode()
        details: dict[str, Json] = {
            "classes": list(self.classes),
            "masked": list(self.masked),
            "labels": self.labels.tolist(),
            "outputs": [text[at : at + OUTPUTS_CHUNK] for at in range(0, len(text), OUTPUTS_CHUNK)],
            "images_sha256": self.images_sha256,
            "groups": {name: _coded(values) for name, values in self.groups.items()},
        }
        return [confusion, Measurement(PREDICTIONS, "count", tuple(self.predicted.tolist()), details=details)]

    @classmethod
    def of(cls, result: Result) -> Self | None:
        """Read what a result has; None where its network was not evaluated, or failed.

        Raises:
            FerBenchError: the outputs are damaged.
        """
        measured = result.measurement(PREDICTIONS)
        if measured is None or not measured.values:
            return None
        known: Any = measured.details
        classes = tuple(known["classes"])
        try:
            data = base64.b64decode("".join(known["outputs"]), validate=True)
            outputs = np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(len(measured.values), len(classes))
            groups = {
                name: tuple(coded["names"][code] for code in coded["codes"])
                for name, coded in known.get("groups", {}).items()
            }
        except (binascii.Error, ValueError, IndexError) as error:
            raise FerBenchError(f"the outputs of {result.subject.name} are damaged: evaluate it again") from error
        labels = np.array(known["labels"], dtype=np.int64)
        masked = tuple(known.get("masked", ()))
        return cls(outputs, labels, classes, masked, known.get("images_sha256", ""), groups)


def _coded(values: Sequence[str]) -> dict[str, Json]:
    names = sorted(set(values))
    place = {name: number for number, name in enumerate(names)}
    return {"names": names, "codes": [place[value] for value in values]}
