"""How well detectors find faces: average precision, and the true positive rate at a number of false positives.

Annotations are a text as WIDER FACE has it: an image's path, the number of its faces, and a line of left, top, width,
height and six flags for each; of these the fourth says that a face is to be ignored.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_bench.live.faces import Detector, DetectorError, Faces, Floats, Stages
from fer_bench.live.sources import read_image
from fer_bench.measuring.profilers.memory import measure_peaks
from fer_bench.records import units
from fer_bench.records.plan import Plan
from fer_bench.reporting.figures.plots import Axis, Line, Point, Scatter
from fer_bench.reporting.table import Column, Table

IOU = 0.5  # from which a box counts as found; of PASCAL VOC and WIDER FACE
FALSE_POSITIVES = (10, 100, 1000)
_INVALID = 7  # column of the flag


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image with its faces: (n, 4) left, top, right, bottom, and which of them are to be ignored."""

    path: str
    boxes: Floats
    ignored: np.ndarray  # (n,), bool


def read_annotations(path: str | Path) -> list[Annotated]:
    """Read annotations in WIDER FACE's form.

    Raises:
        DetectorError: the file cannot be read, or a line is not what it should be.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DetectorError(f"cannot read {path}: {error}; try: wider_face_val_bbx_gt.txt") from error
    found, place = [], 0
    while place < len(lines):
        name = lines[place].strip()
        if not name:
            place += 1
            continue
        try:
            number = int(lines[place + 1])
            rows = [[float(value) for value in line.split()] for line in lines[place + 2 : place + 2 + max(1, number)]]
            rows = rows[:number]  # an image without faces has one line of zeros
            if number < 0 or len(rows) < number or any(len(row) < 4 for row in rows):
                raise ValueError("lines are missing")
        except (IndexError, ValueError) as error:
            raise DetectorError(
                f"{path}, line {place + 1}: {name[:60]!r} is not followed by a number of faces and a line for each; "
                "try: wider_face_val_bbx_gt.txt"
            ) from error
        boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        flags = [len(row) > _INVALID and row[_INVALID] > 0 for row in rows]
        # A box without an area cannot be found either.
        flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)
        found.append(Annotated(name, boxes, np.array(flags, bool) | flat))
        place += 2 + max(1, number)
    if not found:
        raise DetectorError(f"{path} has no annotations; try: wider_face_val_bbx_gt.txt")
    return found


@dataclass(frozen=True, slots=True)
class Quality:
    """What a detector found.

    Attributes:
        hits: for each box that counts, the highest score first, whether it is a face.
        faces: that there were.
    """

    hits: tuple[bool, ...]
    faces: int

    @property
    def average_precision(self) -> float:
        """Return the area below precision over recall, precision being the highest at that recall or beyond."""
        if not self.faces or not self.hits:
            return 0.0
        true = np.cumsum(self.hits)
        precision = true / np.arange(1, len(true) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float((best * np.array(self.hits)).sum() / self.faces)

    def rate_at(self, false_positives: int) -> float | None:
        """Return the highest true positive rate with so many false positives; None where there are never so many."""
        wrong = np.cumsum(~np.array(self.hits, bool))
        if not len(wrong) or wrong[-1] < false_positives or not self.faces:
            return None
        return float(np.array(self.hits)[wrong <= false_positives].sum() / self.faces)

    def curve(self) -> list[tuple[int, float]]:
        """Return the ROC: false positives and true positive rate, for each box."""
        right, wrong = np.cumsum(self.hits), np.cumsum(~np.array(self.hits, bool))
        return [(int(fp), float(tp) / max(1, self.faces)) for fp, tp in zip(wrong, right, strict=True)]


def overlaps(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9), np.float32)


def judge(found: Sequence[Faces], truth: Sequence[Annotated], iou: float = IOU) -> Quality:
    """Compare boxes with annotations: each face is found once, by the box with the highest score.

    A box on a face that is to be ignored counts neither way.
    """
    scored: list[tuple[float, bool]] = []
    for faces, image in zip(found, truth, strict=True):
        shared = overlaps(faces.boxes, image.boxes)
        taken = np.zeros(len(image.boxes), bool)
        for place in np.argsort(-faces.scores, kind="stable"):
            open_faces = np.where(taken | image.ignored, -1.0, shared[place])
            best = int(open_faces.argmax()) if len(open_faces) else -1
            if best >= 0 and open_faces[best] >= iou:
                taken[best] = True
                scored.append((float(faces.scores[place]), True))
            elif not (shared[place][image.ignored] >= iou).any():
                scored.append((float(faces.scores[place]), False))
    scored.sort(key=lambda each: -each[0])
    faces_there = sum(int((~image.ignored).sum()) for image in truth)
    return Quality(tuple(hit for _, hit in scored), faces_there)


def detect_all(
    detectors: Sequence[Detector],
    truth: Sequence[Annotated],
    folder: str | Path,
    *,
    iou: float = IOU,
    false_positives: Sequence[int] = FALSE_POSITIVES,
    peaks: Sequence[int | None] = (),
    show: Callable[[Sequence[Annotated]], Iterable[Annotated]] = iter,
) -> tuple[Table, Scatter | None]:
    """Run detectors on the images of annotations, one after the other on each image, and draw what they found.

    Detectors are compared at equal numbers of false positives. The figure is None where no box was returned. ``peaks``
    are the bytes of memory of each detector, as ``peak_bytes`` returns them.

    Raises:
        FerBenchError: an image cannot be read.
    """
    found: list[list[Faces]] = [[] for _ in detectors]
    seconds: list[list[float]] = [[] for _ in detectors]
    windows: list[int] = [0] * len(detectors)
    for image in show(truth):
        pixels = read_image(Path(folder) / image.path)
        for place, detector in enumerate(detectors):
            stages, start = Stages(), time.perf_counter()
            (faces,) = detector.detect([pixels], stages, [image.path])
            seconds[place].append(time.perf_counter() - start)
            windows[place] += stages.counts.get("after_pnet", len(faces))
            found[place].append(faces)
    rows = []
    qualities = [judge(theirs, truth, iou) for theirs in found]
    measured = zip(detectors, qualities, seconds, windows, peaks or [None] * len(detectors), strict=True)
    for detector, quality, times, proposed, peak in measured:
        rates = {f"tpr_{number}": quality.rate_at(number) for number in false_positives}
        rows.append(
            {
                "detector": detector.name,
                "faces": quality.faces,
                "true": sum(quality.hits),
                "false": len(quality.hits) - sum(quality.hits),
                "ap": quality.average_precision,
                "mean_s": float(np.mean(times)),
                "windows": proposed / len(truth),
                "peak_bytes": peak,
                **rates,
            }
        )
    columns = (
        Column("detector", "Detector", align="left"),
        Column("faces", "Faces", units.grouped),
        Column("true", "Found", units.grouped),
        Column("false", "False", units.grouped),
        Column("ap", "AP (%)", units.hundredths),
        *(Column(f"tpr_{number}", f"TPR at {number} false (%)", units.hundredths) for number in false_positives),
        Column("mean_s", "Mean per image (ms)", units.milliseconds),
        Column("windows", "Windows per image", units.number),
        Column("peak_bytes", "Peak memory (MiB)", units.mebibytes),
    )
    kept = tuple(column for column in columns if any(row.get(column.key) is not None for row in rows))
    caption = (
        f"{len(truth)} images. A face is found by a box with an intersection over union of {iou:g} or more, once. AP: "
        "area below precision over recall, precision made monotonic. TPR: share of the faces found at the threshold "
        "at which so many boxes are false. Windows: after P-Net, or the boxes."
    )
    if peaks:
        caption += (
            " Peak memory: growth of a fresh process with its libraries loaded, by the detector and the first images."
        )
    table = Table("Detection quality", kept, tuple(rows), caption)
    return table, roc(
        [detector.name.partition(" of OpenCV")[0] for detector in detectors], qualities, iou, false_positives
    )


def roc(names: Sequence[str], found: Sequence[Quality], iou: float, false_positives: Sequence[int]) -> Scatter | None:
    """Draw the true positive rate over the number of false positives, which detectors are compared at.

    Points mark the numbers of false positives of the table. None where no detector returned a box.
    """
    curves = {name: [(0, 0.0), *each.curve()] for name, each in zip(names, found, strict=True) if each.hits}
    if not curves:
        return None
    points = tuple(
        Point(f"{rate:.1%} at {number}", name, number, rate)
        for name, each in zip(names, found, strict=True)
        for number in false_positives
        if (rate := each.rate_at(number)) is not None
    )
    return Scatter(
        title="Detectors: true positive rate",
        caption=f"Share of {found[0].faces} annotated faces that are found, a box having an intersection over union of "
        f"{iou:g} or more, over the number of boxes that are none. Compare detectors at the same number.",
        x=Axis("False positives", "number"),
        y=Axis("True positive rate (%)", "share"),
        groups=tuple(curves),
        points=points,
        lines=tuple(Line("", tuple(curve), name) for name, curve in curves.items()),
    )


_FOR_MEMORY = 20  # images


def peak_bytes(make: Callable[[], Detector], truth: Sequence[Annotated], folder: str | Path) -> int | None:
    """Return by how much a fresh process grows that makes a detector and runs it on the first images.

    The maker goes to that process, so that it is a function of a module, or a ``partial`` of one.
    """
    paths = [(image.path, Path(folder) / image.path) for image in truth[:_FOR_MEMORY]]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_peak_here, make, paths).result()


def _peak_here(make: Callable[[], Detector], paths: Sequence[tuple[str, Path]]) -> int | None:
    def work() -> Detector:
        detector = make()
        for name, path in paths:
            detector.detect([read_image(path)], frames=[name])
        return detector

    make()  # loads the libraries, which are not the detector's
    values = measure_peaks(work, Plan("detect"))[0].values
    return int(values[0]) if values else None
