"""Images from a folder of the user's, or noise: to calibrate int8 by, and to judge reduced precision on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.networks.backends.interface import DeployError
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
_CALIBRATING = 64  # more change the ranges little, and static calibration keeps all of their activations
NOISE = "noise"


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images as a network takes them.

    Attributes:
        images: (N, C, H, W), float32, each standardised to mean 0 and deviation 1.
        sources: of each, what it is independent by: the file, or the folder of a video's or a person's.
        note: what they are, without a path of the user's.
        digest: of all pixels.
    """

    images: "np.ndarray[Any, Any]"
    sources: tuple[str, ...]
    note: str
    digest: str


def images_for(given: str, shape: Sequence[int], seed: int = 0) -> Images:
    """Return the images that calibrate int8.

    Args:
        given: a folder, "noise", or "" for none.
        shape: (C, H, W) of the network's.
        seed: of the noise.

    Raises:
        FerBenchError: there are none; noise is only used where it is asked for.
    """
    if given == NOISE:
        noise = np.random.default_rng(seed).standard_normal((_CALIBRATING, *shape), dtype=np.float32)
        digest = hashlib.sha256(noise.tobytes()).hexdigest()
        return Images(noise, (), f"int8 was calibrated on {_CALIBRATING} images of noise, which costs accuracy", digest)
    if not given:
        raise FerBenchError(
            "--precision int8 needs images to calibrate by: --calibrate FOLDER; noise costs 10 dB and more, and is "
            "only used with --calibrate noise"
        )
    found = read_folder(Path(given), shape, _CALIBRATING)
    note = f"int8 was calibrated on {len(found.images)} images of {found.note}"
    return Images(found.images, found.sources, note, found.digest)


def read_folder(folder: Path, shape: Sequence[int], most: int | None = None) -> Images:
    """Read the images of a folder and of those in it, evenly spread where there are more than wanted.

    An image is a source of its own. Those that lie two folders deep and more, as FOLDER/class/person/file, share one:
    their innermost folder. Of files with the same pixels the first counts.

    Raises:
        FerBenchError: there is no such folder, no image in it, or a file is no image.
    """
    from PIL import Image, UnidentifiedImageError

    if not folder.is_dir():
        raise FerBenchError(f"there is no folder {folder}; images are expected in it, or in folders of it")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise FerBenchError(f"no image in {folder}; known: {', '.join(_SUFFIXES)}")
    if most is not None and len(files) > most:
        files = [files[at * len(files) // most] for at in range(most)]
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise DeployError(f"images of a folder are grey or RGB, and the network takes {units.size(tuple(shape))}")
    channels, height, width = shape
    seen: set[bytes] = set()
    images, sources, whole = [], [], hashlib.sha256()
    for path in files:
        try:
            with Image.open(path) as opened:
                picture = opened.convert("L" if channels == 1 else "RGB")
                pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        except (OSError, UnidentifiedImageError) as error:
            raise FerBenchError(f"{path} cannot be read as an image: {error}") from error
        mark = hashlib.sha256(pixels.tobytes()).digest()
        if mark in seen:
            continue
        seen.add(mark)
        whole.update(mark)
        inside = path.relative_to(folder)
        sources.append(str(inside.parent if len(inside.parts) > 2 else inside))
        image = pixels.reshape(height, width, channels).transpose(2, 0, 1)
        images.append((image - image.mean()) / max(float(image.std()), 1e-6))
    note = f"the folder {folder.resolve().name!r}"
    return Images(np.stack(images).astype(np.float32), tuple(sources), note, whole.hexdigest())
