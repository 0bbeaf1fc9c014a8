"""One frame through the system: detect, crop, classify, perhaps draw, each timed on one clock."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from fer_bench.accuracy.transforms import crop, prepare
from fer_bench.live.faces import Clock, Detector, Faces, Pixels, Stages
from fer_bench.live.intake import Taken
from fer_bench.networks.contract import Crop, InputContract
from fer_bench.records.errors import FerBenchError

_CROPS = 16  # in one pass of the network at most: memory grows with them, and with each number of them that is new
WARM_UP_PASSES = 3  # MTCNN compiles in the first and second, which the third runs on
UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A face with its expression label; a label is not what somebody feels.

    Attributes:
        box: left, top, right, bottom in pixels.
        score: of the detector.
        label: a class, or "uncertain" where its probability is below the threshold.
        probability: of the most probable class.
    """

    box: tuple[float, float, float, float]
    score: float
    label: str
    probability: float


@dataclass(slots=True)
class Done:
    """What became of one frame; times in seconds from the start of the run.

    Attributes:
        status: "done", "no face" or "error".
        stages: seconds of detect, its own stages, crop, classify and draw.
        counts: "faces", and the candidates of the detector.
        box_age_s: how old the boxes are: 0 where they are this frame's.
    """

    number: int
    name: str
    status: str
    captured_s: float
    read_s: float
    wait_s: float
    service_s: float
    latency_s: float
    stages: dict[str, float]
    counts: dict[str, int]
    box_age_s: float = 0.0
    faces: tuple[Labelled, ...] = ()
    error: str = ""


class Writer(Protocol):
    """Takes annotated frames."""

    def write(self, pixels: Pixels, faces: Sequence[Labelled], at_s: float) -> None:
        """Draw the faces on a copy of the frame and write it, due at so many seconds."""


@dataclass(slots=True)
class Pipeline:
    """A detector and a network that classifies its faces.

    Args:
        detector: finds faces.
        model: in eval mode, on ``device``; gives logits (N, classes) of images (N, C, H, W).
        contract: what the network takes, the margin of its crops, and its classes.
        detect_every: the detector runs on each so many frames; between them its last boxes are used.
        least_probability: below it a label is "uncertain".
        writer: of annotated frames, or None.
        clock: nanoseconds, monotonic.
    """

    detector: Detector
    model: nn.Module
    contract: InputContract
    device: str = "cpu"
    detect_every: int = 1
    least_probability: float = 0.0
    writer: Writer | None = None
    clock: Clock = time.perf_counter_ns
    _faces: Faces = field(default_factory=Faces.of)
    _detected_at_s: float = 0.0
    _since: int = 0

    def __post_init__(self) -> None:
        if self.detector.name == "whole":  # the picture is the crop
            self.contract = self.contract.replace("detector whole", crop=Crop("none", 0.0, square=False))

    def warm_up(self, size: tuple[int, int]) -> float:
        """Bring a grey picture through all stages but drawing, so that the first frame's times are those of any frame.

        Libraries choose and compile kernels for sizes that they meet first: the picture has the size of the frames, and
        is classified whole, also where no face is detected.

        Args:
            size: height and width of the frames.

        Returns:
            The seconds that it took.
        """
        start, picture = self.clock(), np.full((*size, 3), 128, np.uint8)
        for _ in range(WARM_UP_PASSES):
            self.detector.detect([picture], frames=["warm-up"])
            self._faces = Faces.of([(0, 0, size[1], size[0])])
            self._label(picture, Stages(self.clock))
        self._faces = Faces.of()
        return (self.clock() - start) * 1e-9

    def process(self, taken: Taken, now_s: Callable[[], float]) -> Done:
        """Bring a frame through all stages.

        Args:
            taken: the frame, with the time at which it was captured.
            now_s: seconds since the start of the run, on the clock of ``taken``.
        """
        picked_s, frame = now_s(), taken.frame
        stages = Stages(self.clock)
        status, error = "error", frame.error
        faces: tuple[Labelled, ...] = ()
        age_s = 0.0
        if not error:
            try:
                age_s = self._find(taken, stages)
                faces = self._label(frame.pixels, stages)
                status = "done" if faces else "no face"
            except FerBenchError as failure:
                error = str(failure)
        if not error and self.writer is not None:  # one that cannot write ends the run
            with stages.stage("draw"):
                self.writer.write(frame.pixels, faces, taken.captured_s)
        done_s = now_s()
        return Done(
            number=frame.number,
            name=frame.name,
            status=status,
            captured_s=taken.captured_s,
            read_s=taken.read_s,
            wait_s=max(0.0, picked_s - taken.read_at_s),
            service_s=done_s - picked_s,
            latency_s=done_s - taken.captured_s,
            stages=stages.seconds,
            counts=stages.counts | {"faces": len(faces)},
            box_age_s=age_s,
            faces=faces,
            error=error,
        )

    def _find(self, taken: Taken, stages: Stages) -> float:
        """Have the faces of a frame found, or take the last ones; return how old they are."""
        if self._since % self.detect_every == 0:
            with stages.stage("detect"):
                (self._faces,) = self.detector.detect([taken.frame.pixels], stages, [taken.frame.name])
            self._detected_at_s = taken.captured_s
        self._since += 1
        return taken.captured_s - self._detected_at_s

    def _label(self, pixels: Pixels, stages: Stages) -> tuple[Labelled, ...]:
        found = []
        corners, scores = self._faces.boxes.tolist(), self._faces.scores.tolist()
        for start in range(0, len(corners), _CROPS):
            with stages.stage("crop"):
                part = corners[start : start + _CROPS]
                crops = [(place, _crop(pixels, box, self.contract)) for place, box in enumerate(part, start)]
                usable = {place: pixels for place, pixels in crops if pixels is not None}
                images = prepare(list(usable.values()), self.contract)
            if not usable:
                continue
            with stages.stage("classify"), torch.inference_mode():
                best = self.model(images.to(self.device)).softmax(1).cpu().max(1)
            for place, label, probability in zip(usable, best.indices.tolist(), best.values.tolist(), strict=True):
                name = self.contract.classes[label] if probability >= self.least_probability else UNCERTAIN
                found.append(Labelled(tuple(corners[place]), scores[place], name, probability))
        return tuple(found)


def _crop(pixels: Pixels, box: Sequence[float], contract: InputContract) -> Pixels | None:
    """Return the crop of a box, or None where nothing of it lies in the picture."""
    height, width = pixels.shape[:2]
    # A box from outside may be as large as it likes; one picture beyond each border is enough for any face.
    left, right = (min(max(edge, -width), 2 * width) for edge in (box[0], box[2]))
    top, bottom = (min(max(edge, -height), 2 * height) for edge in (box[1], box[3]))
    try:
        return crop(pixels, (left, top, right - left, bottom - top), contract)
    except FerBenchError:
        return None
