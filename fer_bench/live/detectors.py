"""The detectors by their names: our MTCNN, OpenCV's Haar cascades and YuNet, the whole image, boxes of a file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.live.faces import Detector, DetectorError, Faces, Pixels, Stages, check_images, largest_first
from fer_bench.records import extras
from fer_bench.records.errors import nearest

DETECTORS = ("mtcnn", "pnet", "haar", "yunet", "whole", "boxes")
_HAAR_XML = "haarcascade_frontalface_default.xml"
_COLUMNS = ("frame", "left", "top", "right", "bottom")


def make_detector(text: str, *, min_face: int = 20, device: str = "cpu") -> Detector:
    """Make a detector by its name, behind a colon its file.

    Args:
        text: "mtcnn" or "pnet" (P-Net alone), both perhaps with ":FOLDER" of weights; "haar", perhaps with ":FILE.xml";
            "yunet:FILE.onnx"; "whole", the image is the face; "boxes:FILE.csv".
        min_face: side in pixels of the smallest face to find, where the detector has such a setting.
        device: of MTCNN's networks.

    Raises:
        DetectorError: no detector is called so, or it cannot be made.
    """
    name, _, file = text.partition(":")
    if name in ("mtcnn", "pnet"):
        from fer_bench.live.mtcnn import Mtcnn

        return Mtcnn(file or None, min_face=min_face, only_proposals=name == "pnet", device=device)
    if name == "haar":
        return Haar(file, min_face=min_face)
    if name == "yunet":
        return YuNet(file)
    if name == "whole":
        return Whole()
    if name == "boxes":
        return BoxesOfFile(file)
    raise DetectorError(
        f"no detector is called {name!r}{nearest(name, DETECTORS)}; try: mtcnn, pnet, haar, yunet:FILE.onnx, whole or "
        "boxes:FILE.csv"
    )


class Whole:
    """The image is the face: for pictures that are cropped already, and to time all the rest."""

    name, licence = "whole", ""
    stages: tuple[str, ...] = ()

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return one box each, the image; none of an image without pixels."""
        check_images(images)
        return [Faces.of([(0, 0, image.shape[1], image.shape[0])] if image.size else ()) for image in images]


class BoxesOfFile:
    """Boxes that are known: of another detector, or drawn by hand.

    Args:
        path: CSV with the columns frame (its number from 0, or the image's file name), left, top, right, bottom and
            perhaps score. A frame without a row has no face.

    Raises:
        DetectorError: the file cannot be read, lacks a column, or a value is no number.
    """

    licence = ""
    stages: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        self.name = f"boxes of {Path(path).name}"
        self._boxes: dict[str, list[tuple[float, ...]]] = {}
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, skipinitialspace=True)
                if missing := [column for column in _COLUMNS if column not in (rows.fieldnames or ())]:
                    raise DetectorError(
                        f"{path} has no column {', '.join(missing)}; try: a first line frame,left,top,right,bottom"
                    )
                for row in rows:
                    box = tuple(float(row[column]) for column in _COLUMNS[1:])
                    score = float(row.get("score") or 1.0)
                    if not all(map(math.isfinite, (*box, score))):
                        raise ValueError("a number is not finite")
                    self._boxes.setdefault(row["frame"], []).append((*box, score))
        except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DetectorError(
                f"boxes of {path}: {reason}; try: a CSV file with frame,left,top,right,bottom"
            ) from error

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return the file's boxes of these frames."""
        check_images(images)
        if len(frames) != len(images):
            raise DetectorError(
                f"{self.name}: there are {len(images)} images and {len(frames)} names; try: frames=[...]"
            )
        found = [self._boxes.get(frame, []) for frame in frames]
        return [largest_first(Faces.of([box[:4] for box in boxes], [box[4] for box in boxes])) for boxes in found]


class Haar:
    """OpenCV's cascade of Haar features (Viola and Jones 2001), scale step 1.1, five neighbours.

    Its score is the weight of the last stage, which is no probability.

    Args:
        xml: a cascade; "" for the frontal face of the installed OpenCV, which versions from 5 lack.
        min_face: side in pixels of the smallest face to find.

    Raises:
        DetectorError: OpenCV has no cascades, or the file is none.
    """

    stages: tuple[str, ...] = ()

    def __init__(self, xml: str | Path = "", *, min_face: int = 20) -> None:
        self._cv2: Any = extras.load("cv2", "the detector haar")
        if not hasattr(self._cv2, "CascadeClassifier"):
            raise DetectorError(
                f"OpenCV {self._cv2.__version__} has no Haar cascades, which versions from 5 dropped; "
                "try: pip install 'opencv-python-headless<5', or the detector mtcnn"
            )
        path = Path(xml) if xml else Path(self._cv2.data.haarcascades) / _HAAR_XML
        if not path.is_file():
            raise DetectorError(
                f"there is no cascade {path}; try: haar:FILE.xml, with {_HAAR_XML} of OpenCV 4, or the detector mtcnn"
            )
        try:
            self._cascade = self._cv2.CascadeClassifier(str(path))
        except SystemError as error:  # what its parser makes of a file that is no XML
            raise DetectorError(f"{path} is no cascade that OpenCV reads; try: {_HAAR_XML} of OpenCV 4") from error
        if self._cascade.empty():
            raise DetectorError(f"{path} is no cascade that OpenCV reads; try: {_HAAR_XML} of OpenCV 4")
        self._least = (min_face, min_face)
        self.name = f"haar {path.name} of OpenCV {self._cv2.__version__}, min face {min_face}"
        self.licence = "Haar cascade: Intel License Agreement for Open Source Computer Vision Library (BSD-like)."

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return the faces of each image, the largest first, without landmarks."""
        check_images(images)
        return [self._faces(image) if image.size else Faces.of() for image in images]

    def _faces(self, image: Pixels) -> Faces:
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        corners, _, weights = self._cascade.detectMultiScale3(
            grey, 1.1, 5, minSize=self._least, outputRejectLevels=True
        )
        boxes = np.asarray(corners, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return largest_first(Faces.of(boxes, weights))


class YuNet:
    """OpenCV's YuNet (Wu, Peng and Yu 2023), of a file of weights that you bring.

    Faces larger than about 300 pixels are missed in large frames: shrink those first.

    Args:
        onnx: the file, such as face_detection_yunet_2023mar.onnx of OpenCV's model zoo.
        threshold: score from which a face counts.

    Raises:
        DetectorError: the file is missing, or none that OpenCV reads.
    """

    stages: tuple[str, ...] = ()

    def __init__(self, onnx: str | Path, *, threshold: float = 0.6) -> None:
        self._cv2: Any = extras.load("cv2", "the detector yunet")
        path = Path(onnx)
        if not path.is_file():
            raise DetectorError(
                f"the detector yunet needs its weights, and there is no file {str(onnx)!r}; "
                "try: yunet:face_detection_yunet_2023mar.onnx, from OpenCV's model zoo"
            )
        try:
            self._network = self._cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold)
        except self._cv2.error as error:
            raise DetectorError(
                f"{path} is no YuNet that OpenCV {self._cv2.__version__} reads; try: another file"
            ) from error
        self.name = f"yunet {path.name} of OpenCV {self._cv2.__version__}, threshold {threshold:g}"
        self.licence = "YuNet weights: MIT as OpenCV's model zoo offers them; trained on WIDER FACE (CC BY-NC-ND)."

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return the faces of each image, the largest first."""
        check_images(images)
        return [self._faces(image) if image.size else Faces.of() for image in images]

    def _faces(self, image: Pixels) -> Faces:
        self._network.setInputSize(image.shape[1::-1])
        _, rows = self._network.detect(self._cv2.cvtColor(image, self._cv2.COLOR_RGB2BGR))
        if rows is None:
            return Faces.of()
        boxes = rows[:, :4].copy()
        boxes[:, 2:] += boxes[:, :2]
        return largest_first(Faces.of(boxes, rows[:, 14], rows[:, 4:14]))
