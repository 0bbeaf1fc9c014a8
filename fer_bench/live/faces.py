"""What a detector returns, and what every detector is: one list entry per image, and no face is no error."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_bench.records.errors import FerBenchError

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB, 0 to 255
Floats = NDArray[np.float32]
Clock = Callable[[], int]  # nanoseconds, monotonic

_COLOURS = 3


class DetectorError(FerBenchError):
    """A detector cannot be made, or cannot read what it is given."""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one image, none perhaps.

    Attributes:
        boxes: (n, 4), left, top, right, bottom in pixels of the image; a detector may place them beyond its borders.
        scores: (n,), as the detector rates them; 1 where it does not.
        landmarks: (n, 5, 2), x and y of the eyes, the nose and the corners of the mouth; (0, 5, 2) where the detector
            has none.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, boxes: Any = (), scores: Any = None, landmarks: Any = ()) -> "Faces":
        """Return faces from sequences or arrays; without scores each has 1."""
        corners = np.asarray(boxes, np.float32).reshape(-1, 4)
        rated = np.ones(len(corners), np.float32) if scores is None else np.asarray(scores, np.float32).reshape(-1)
        return cls(corners, rated, np.asarray(landmarks, np.float32).reshape(-1, 5, 2))


@dataclass(slots=True)
class Stages:
    """Seconds by stage and counts by name, summed until they are read: of one frame, mostly."""

    clock: Clock = time.perf_counter_ns
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = self.clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + (self.clock() - start) * 1e-9

    def count(self, name: str, number: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


class Detector(Protocol):
    """Finds faces.

    Attributes:
        name: as a record has it, with what its results depend on.
        licence: of its weights, in a sentence; "" where it has none.
        stages: names of the stages that it times, in order.
    """

    name: str
    licence: str
    stages: tuple[str, ...]

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return the faces of each image, the largest first.

        Args:
            images: they may differ in size.
            stages: takes the seconds of the detector's stages, and its counts.
            frames: a name or number of each image, for a detector that looks results up.

        Raises:
            DetectorError: an image is no (H, W, 3) array of uint8.
        """


def check_images(images: Sequence[Pixels]) -> None:
    """Raise DetectorError unless each image is an (H, W, 3) array of uint8."""
    for image in images:
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[2] != _COLOURS
        ):
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DetectorError(
                f"an image is {what}, expected uint8 (H, W, 3) in RGB; try: numpy.asarray(picture.convert('RGB'))"
            )


def largest_first(faces: Faces) -> Faces:
    """Return the faces by the area of their boxes, the largest first."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    order = np.argsort(-(sides[:, 0] * sides[:, 1]), kind="stable")
    return Faces(
        faces.boxes[order], faces.scores[order], faces.landmarks[order] if len(faces.landmarks) else faces.landmarks
    )
