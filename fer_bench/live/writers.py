"""What a run writes on request: annotated frames, and a row for each frame. Nothing else ever has a pixel."""

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from fer_bench.live.faces import Pixels
from fer_bench.live.pipeline import Done, Labelled
from fer_bench.records import extras, files
from fer_bench.records.errors import FerBenchError

# MPEG-4 Part 2 by FFmpeg's own encoder, LGPL-2.1; x264 is GPL, and its licence would reach who ships such a program.
CODEC, CODEC_LICENCE = "mpeg4", "video by FFmpeg's own encoder mpeg4 (LGPL-2.1)"
_BIT_RATE = 4_000_000
_TIMES = Fraction(1, 1000)  # frames are due at milliseconds of their own
VIDEOS = (".mp4", ".avi", ".mkv", ".mov")
_COLUMNS = """frame name status captured_s latency_s service_s box_age_s face left top right bottom score label
probability error""".split()


class _Images:
    """Annotated frames as PNG files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        files.make_folder(folder)

    def write(self, pixels: Pixels, faces: Sequence[Labelled], at_s: float) -> None:
        with _writing(self._folder):
            annotated(pixels, faces).save(self._folder / f"{self._number:06d}.png")
        self._number += 1


class _Video:
    """Annotated frames as a video; it has the size of the first frame, into which later ones are fitted."""

    def __init__(self, container: Any, fps: float | None, path: str) -> None:
        self._path = path
        self._container, self._stream = container, container.add_stream(CODEC, rate=round(fps or 25) or 1)
        self._stream.pix_fmt, self._stream.bit_rate = "yuv420p", _BIT_RATE
        self._stream.codec_context.time_base = self._stream.time_base = _TIMES
        self._last, self._size = -1, (0, 0)

    def write(self, pixels: Pixels, faces: Sequence[Labelled], at_s: float) -> None:
        av = extras.load("av", "writing a video")
        drawn = annotated(pixels, faces)
        if self._last < 0:  # whole blocks of colour are two pixels wide
            self._size = (max(2, drawn.width // 2 * 2), max(2, drawn.height // 2 * 2))
            self._stream.width, self._stream.height = self._size
        if drawn.size != self._size:
            drawn = drawn.resize(self._size)
        frame = av.VideoFrame.from_image(drawn)
        self._last = max(self._last + 1, round(at_s / _TIMES))
        frame.pts, frame.time_base = self._last, _TIMES
        with _writing(self._path):  # the file is opened with the first frame
            self._container.mux(self._stream.encode(frame))

    def end(self) -> None:
        if self._last >= 0:
            self._container.mux(self._stream.encode())


@contextlib.contextmanager
def open_writer(path: str, fps: float | None) -> "Iterator[_Images | _Video]":
    """Open what annotated frames are written to: a video by its suffix, else a folder.

    Raises:
        FerBenchError: PyAV is missing, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in VIDEOS:
        if target.suffix:
            raise FerBenchError(f"--save {path} is no video; try: {', '.join(VIDEOS)}, or a folder for images")
        yield _Images(target)
        return
    av = extras.load("av", "writing a video")
    with _writing(path), av.open(path, "w") as container:
        video = _Video(container, fps, path)
        try:
            yield video
        finally:
            video.end()


@contextlib.contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    """Name the file in errors of what writes it: the system's, and FFmpeg's, which are OSErrors, too."""
    try:
        yield
    except OSError as error:
        raise FerBenchError(
            f"cannot write {path}: {error.strerror or error}; try: another one, or free space"
        ) from error


def annotated(pixels: Pixels, faces: Sequence[Labelled]) -> Any:
    """Return a picture (Pillow) with boxes and expression labels."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for face in faces:
        left, top, right, bottom = face.box
        pen.rectangle((min(left, right), min(top, bottom), max(left, right), max(top, bottom)), outline="lime", width=2)
        text = f"{face.label} {face.probability:.2f}"
        pen.text((left, max(0.0, top - 12)), text, fill="lime", stroke_width=1, stroke_fill="black")
    return picture


@contextlib.contextmanager
def open_rows(path: str) -> Iterator[Callable[[Done], None]]:
    """Open a CSV file that gets a row for each face, and one for each frame without any.

    Raises:
        FerBenchError: it cannot be written.
    """
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, _COLUMNS)
            table.writeheader()

            def write(done: Done) -> None:
                about = {"frame": done.number, "name": done.name, "status": done.status, "error": done.error}
                about |= {
                    name: f"{value:.6f}"
                    for name, value in (
                        ("captured_s", done.captured_s),
                        ("latency_s", done.latency_s),
                        ("service_s", done.service_s),
                        ("box_age_s", done.box_age_s),
                    )
                }
                for number, face in enumerate(done.faces):
                    corners = dict(zip(("left", "top", "right", "bottom"), face.box, strict=True))
                    rated = {"score": face.score, "label": face.label, "probability": face.probability}
                    table.writerow({**about, "face": number, **corners, **rated})
                if not done.faces:
                    table.writerow(about)

            yield write
    except OSError as error:
        raise FerBenchError(f"cannot write {path}: {error.strerror or error}; try: another file") from error
