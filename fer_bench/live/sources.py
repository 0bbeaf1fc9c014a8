"""Where frames come from: images, folders, videos, a V4L2 camera, and a synthetic picture.

A source gives frames in order, each with the time at which it is due when the source stands for a camera: a video's own
PTS, never its number divided by a rate. A frame that cannot be read is a frame with its reason, and the next follows.
"""

import errno
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from fer_bench.live.faces import Pixels
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError, brief

_SIZED = re.compile(r"(?P<width>[1-9]\d{0,4})x(?P<height>[1-9]\d{0,4})@(?P<fps>\d+(\.\d+)?)(?P<frames>:[1-9]\d{0,9})?")
_PURPOSE = "reading videos and cameras"
# A camera's PTS is the kernel's time of capture, on the monotonic clock, where it is so near to the present.
_KERNEL_CLOCK_S = 10.0
_PARTS = re.compile(r"(\D*)(\d*)")  # of a name: text and number, in turns
_HIDDEN = re.compile(r"(^|/)\.")
_NAMED = 5  # other files of a folder, at most
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values by which height and width change places
_TAIL = 0.1  # of a video's promised time that may be missing
_GAP = 1.5  # periods between two frames of a camera, from which the driver has dropped some


class SourceError(FerBenchError):
    """A source of frames is not there, is in use, or holds no frames."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        number: from 0; numbers that are missing are frames that a camera's driver dropped.
        name: of the image's file, or the number.
        pixels: (H, W, 3) uint8, RGB.
        due_s: seconds after the first frame at which it is captured; None where the source has no clock.
        captured_s: seconds of the monotonic clock at which a camera captured it; None for what is replayed.
        error: why there are no pixels.
    """

    number: int
    name: str
    pixels: Pixels
    due_s: float | None = None
    captured_s: float | None = None
    error: str = ""


NO_PIXELS: Pixels = np.zeros((0, 0, 3), np.uint8)


class Source(Protocol):
    """Frames in order.

    Attributes:
        name: as a record has it, without folders.
        kind: "images", "video", "camera" or "synthetic".
        fps: frames a second that it gives when it stands for a camera; None where it has no clock.
        size: (height, width) of the first frame, for warming up; None where no frame can be read.
        warnings: what a reader must know, complete when the frames have ended.
    """

    name: str
    kind: str
    fps: float | None
    size: tuple[int, int] | None
    warnings: list[str]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; closing the iterator closes the source."""


def open_source(text: str) -> Source:
    """Return the source that a text names.

    Args:
        text: an image, a video, a folder of images, "camera:N", perhaps with ":640x360@30", or "test:640x360@30",
            perhaps with ":240" frames.

    Raises:
        SourceError: there is no such source.
    """
    kind, _, rest = text.partition(":")
    if kind == "test":
        size = _SIZED.fullmatch(rest)
        if size is None or not float(size["fps"]):
            raise SourceError(f"source {text!r} is no synthetic one; try: test:640x360@30, or test:640x360@30:240")
        return Synthetic(int(size["width"]), int(size["height"]), float(size["fps"]), int((size["frames"] or ":0")[1:]))
    if kind == "camera":
        return Camera(rest)
    path = Path(text)
    if path.is_dir():
        return Images(path)
    if not path.is_file():
        raise SourceError(
            f"there is no source {text}; try: an image, a video, a folder of images, camera:0 or test:640x360@30"
        )
    return Images(path) if path.suffix.lower() in _image_suffixes() else Video(path)


def _image_suffixes() -> set[str]:
    from PIL import Image

    moving = {".mpg", ".mpeg"}  # which Pillow knows and cannot read
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} - moving


class Synthetic:
    """A pattern that moves, without a face; endless unless it has a number of frames."""

    kind = "synthetic"

    def __init__(self, width: int, height: int, fps: float, number: int = 0) -> None:
        self.width, self.height, self.number = width, height, number
        self.size: tuple[int, int] | None = (height, width)
        self.name, self.fps = f"test:{width}x{height}@{fps:g}", _rate(fps)
        self.warnings: list[str] = []

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        across, down = np.arange(self.width), np.arange(self.height)
        pattern = np.empty((self.height, self.width, 3), np.uint8)
        pattern[:] = ((across + down[:, None]) % 256)[..., None]
        number = 0
        while not self.number or number < self.number:
            yield Frame(number, str(number), np.roll(pattern, number, axis=1), number / (self.fps or 1.0))
            number += 1


def _rate(fps: object) -> float | None:
    """Return a rate as a source has it; None where none is known."""
    return float(fps) if fps else None  # type: ignore[arg-type]  # a float or a Fraction


class Images:
    """An image, or all images of a folder and of those in it, turned upright as EXIF says.

    They come in natural order, so that face2 is before face10; hidden files and folders are left out.

    Raises:
        SourceError: a folder without images.
    """

    kind = "images"
    fps: float | None = None

    def __init__(self, path: Path) -> None:
        self.name = path.resolve().name
        self.warnings: list[str] = []
        self._files = {path.name: path}
        if path.is_dir():
            there = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
            seen = sorted((name for name in there if not _HIDDEN.search(name)), key=_natural)
            suffixes = _image_suffixes()
            self._files = {name: there[name] for name in seen if there[name].suffix.lower() in suffixes}
            if others := [name for name in seen if name not in self._files]:
                named = ", ".join(others[:_NAMED]) + (" and others" if len(others) > _NAMED else "")
                self.warnings.append(f"{len(others)} files of the folder are no images: {named}")
        if not self._files:
            raise SourceError(f"{path} has no images; try: a folder with files such as face.jpg or face.png")
        self.size = next(filter(None, map(_size, self._files.values())), None)

    def frames(self) -> Iterator[Frame]:
        """Yield the images, named by their place in the folder; one that cannot be read has its reason."""
        for number, (name, file) in enumerate(self._files.items()):
            try:
                yield Frame(number, name, read_image(file))
            except SourceError as error:
                yield Frame(number, name, NO_PIXELS, error=str(error))


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts numbers in names by their value."""
    return [(text.casefold(), int(digits or 0)) for text, digits in _PARTS.findall(name)] + [(name, 0)]


def _size(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image, upright; None where it cannot be opened."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def read_image(path: str | Path) -> Pixels:
    """Read an image, turned upright as EXIF says: (H, W, 3) uint8, RGB.

    Raises:
        SourceError: it cannot be read, or has more pixels than Pillow takes for honest.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{Path(path).name} is no image that can be read ({brief(error)})") from error


class Video:
    """A file of video, by PyAV, turned upright as its display matrix says; each frame is due at its own PTS.

    Raises:
        SourceError: PyAV is missing, or the file has no video that it reads.
    """

    kind = "video"

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name
        self.warnings: list[str] = []
        with closing(self._open()) as container:
            self.fps = _rate(container.streams.video[0].average_rate)
        with closing(self.frames()) as frames:  # which have the display matrix
            first = next(frames, None)
        self.warnings.clear()  # they are of reading it all
        self.size: tuple[int, int] | None = None if first is None else first.pixels.shape[:2]

    def _open(self) -> Any:
        av = extras.load("av", _PURPOSE)
        try:
            container = av.open(str(self._path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", "") or brief(error)
            raise SourceError(
                f"{self._path} is no image, and no video that FFmpeg reads ({reason}): it may be truncated; "
                "try: a video that plays, or a folder of images"
            ) from error
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self._path} has no video stream; try: a video, an image or a folder of images")
        return container

    def frames(self) -> Generator[Frame]:
        """Yield the frames in the order of their display."""
        av = extras.load("av", _PURPOSE)
        with closing(self._open()) as container:
            stream = container.streams.video[0]
            promised, first, number, last = stream.frames, None, 0, 0.0
            promised_s = _duration_s(container, stream)
            steps: list[float] = []
            try:
                for decoded in container.decode(stream):
                    time_s = decoded.time
                    if time_s is None:  # a raw stream without times
                        time_s = number / (self.fps or 1.0) + (first or 0.0)
                    first = time_s if first is None else first
                    steps.append(time_s - first - last)
                    last = max(last, time_s - first)
                    yield Frame(number, str(number), _upright(decoded), last)
                    number += 1
            except av.error.FFmpegError as error:
                self.warnings.append(f"the video cannot be read behind frame {number} ({error.strerror}): truncated?")
            if promised > number:
                self.warnings.append(f"the video promises {promised} frames and has {number}: truncated?")
            elif promised_s - last > max(1.0, _TAIL * promised_s):
                self.warnings.append(f"the video promises {promised_s:.1f} s and has {last:.1f} s: truncated?")
            self._note_rate([step for step in steps[1:] if step > 0])

    def _note_rate(self, steps: list[float]) -> None:
        if steps and max(steps) > _GAP * median(steps):
            self.warnings.append(
                f"the frame rate varies: between frames lie {1e3 * min(steps):.1f} to {1e3 * max(steps):.1f} ms"
            )


def _upright(decoded: Any) -> Pixels:
    """Return a frame's pixels, turned and mirrored as its display matrix says: phones film upright faces lying."""
    pixels: Pixels = decoded.to_ndarray(format="rgb24")
    matrix = decoded.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # A pixel at (x, y) is shown at (a x + c y, b x + d y), and moved into the picture.
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _duration_s(container: Any, stream: Any) -> float:
    """Return how long a video promises to be, as its stream says, or the file where it has no other; 0 if neither."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    alone = container.duration is not None and len(container.streams) == 1
    return container.duration * 1e-6 if alone else 0.0  # FFmpeg's own unit


class Camera:
    """A V4L2 camera, by PyAV.

    Args:
        text: its number or device, perhaps with a mode: "0", "/dev/video2", "0:640x360@30".

    Raises:
        SourceError: there is no such camera, it is in use, or it may not be opened.
    """

    kind = "camera"

    def __init__(self, text: str, clock: Callable[[], float] = time.perf_counter) -> None:
        device, _, mode = text.partition(":")
        size = _SIZED.fullmatch(mode) if mode else None
        if not device or (mode and size is None):
            raise SourceError(f"source camera:{text} is no camera; try: camera:0, or camera:0:640x360@30")
        self._device = f"/dev/video{device}" if device.isdecimal() else device
        self._options = {}
        if size is not None:
            self._options = {"video_size": f"{size['width']}x{size['height']}", "framerate": size["fps"]}
        self._clock = clock
        self.name = f"camera:{text}"
        self.warnings: list[str] = []
        self._container: Any = self._open()
        stream = self._container.streams.video[0]
        self.fps = _rate(stream.average_rate)
        self.size: tuple[int, int] | None = (stream.height, stream.width)

    def _open(self) -> Any:
        av = extras.load("av", _PURPOSE)
        try:
            return av.open(self._device, format="v4l2", options=self._options)
        except (OSError, ValueError) as error:
            reasons = {
                errno.ENOENT: "there is no camera {}; try: ls /dev/video*, and another number or source",
                errno.EBUSY: "the camera {} is in use by another program; try: fuser {} names it",
                errno.EACCES: "the camera {} may not be opened by you; try: sudo usermod -aG video $USER, and log in",
            }
            why = getattr(error, "strerror", "") or brief(error)
            other = f"the camera {{}} cannot be opened ({why}); try: another mode or source"
            reason = reasons.get(getattr(error, "errno", 0), other)
            raise SourceError(reason.replace("{}", self._device)) from error

    def frames(self) -> Iterator[Frame]:
        """Yield the frames as they come; numbers that are missing are frames that the driver dropped."""
        av = extras.load("av", _PURPOSE)
        with closing(self._container) as container:
            number, before, of_kernel = -1, None, None
            try:
                for decoded in container.decode(video=0):
                    now, time_s = self._clock(), decoded.time
                    if of_kernel is None:
                        of_kernel = time_s is not None and -1e-3 <= now - time_s < _KERNEL_CLOCK_S
                        self.warnings += (
                            [] if of_kernel else ["captured: when reading returned, for lack of a kernel's time"]
                        )
                    number += 1 + lost_between(before, time_s, self.fps)
                    before = time_s
                    captured = time_s if of_kernel and time_s is not None else now
                    yield Frame(number, str(number), decoded.to_ndarray(format="rgb24"), captured_s=captured)
            except (av.error.FFmpegError, OSError) as error:
                self.warnings.append(f"the camera gave no more frames behind {number} ({error.strerror})")


def lost_between(before: float | None, now: float | None, fps: float | None) -> int:
    """Return how many frames are missing between two times of capture, in seconds, at a rate."""
    if before is None or now is None or not fps:
        return 0
    periods = (now - before) * fps
    return round(periods) - 1 if periods > _GAP else 0
