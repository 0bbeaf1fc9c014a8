"""Image files of a folder: found in a stable order, each checked once, read again when it is asked for."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_bench.accuracy.data.cache import Arrays, Cache, Facts
from fer_bench.accuracy.data.dataset import Dropped, Images, InFiles, SourceFile, pixels_of
from fer_bench.accuracy.data.source import MARKER, RENDERED
from fer_bench.records.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".webp", ".gif")


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Image files that were read once.

    Attributes:
        names: of those that can be read, relative to the folder.
        images: of these.
        digests: of their bytes.
        sizes: (N, 2), height and width, upright.
        black: where all pixels are equal to 0.
        dropped: files that cannot be read.
        folder: all of them, as a manifest has it.
        rendered: one has our mark, or the folder has our file.
        failure: why the result is not kept in the cache, or "".
    """

    names: tuple[str, ...]
    images: Images
    digests: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    black: NDArray[np.bool_]
    dropped: tuple[Dropped, ...]
    folder: SourceFile
    rendered: bool
    failure: str


def find(root: Path) -> list[str]:
    """Return the image files below a folder, relative to it, in the order of their names; hidden ones are left out."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        inside = os.path.relpath(folder, root)
        found += [
            os.path.normpath(os.path.join(inside, name))
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(Path(name).as_posix() for name in found)


def check(root: Path, names: Sequence[str], cache: Cache) -> Checked:
    """Read each file once: hash, size, and whether its image can be read. The cache keeps the result.

    Raises:
        DataError: none can be read.
    """
    states = [_state(root / name) for name in names]
    kind = f"images|{_of_all(names, states)}"
    kept = cache.load(root, kind)
    if kept is None:
        # Pillow decodes without Python's lock. In chunks, or handing a small image over costs more than reading it.
        chunks = [names[at : at + 64] for at in range(0, len(names), 64)]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            done = pool.map(lambda chunk: [_check(root / name) for name in chunk], chunks)
            read = [each for chunk in done for each in chunk]
        facts: Facts = {
            "faults": [[place, each.fault] for place, each in enumerate(read) if each.fault],
            "rendered": any(each.rendered for each in read),
            "bytes": sum(each.bytes for each in read),
            "sha256": _of_all(names, [each.sha256 for each in read]),
        }
        arrays: Arrays = {
            "digest": np.array([int(each.sha256[:16], 16) for each in read], np.uint64),
            "size": np.array([each.size for each in read], np.int64).reshape(-1, 2),
            "black": np.array([each.black for each in read], np.bool_),
        }
        cache.store(root, kind, facts, arrays)
        kept = facts, arrays
    facts, arrays = kept
    faults = dict(facts["faults"])
    good = np.array([place for place in range(len(names)) if place not in faults], np.int64)
    if not len(good):
        first = f"; {names[0]}: {faults[0]}" if faults else ""
        raise DataError(f"{root} has no image that can be read{first}; images end in {' '.join(SUFFIXES)}")
    return Checked(
        names=tuple(names[place] for place in good),
        images=Images(len(good), InFiles(tuple(root / names[place] for place in good))),
        digests=arrays["digest"][good],
        sizes=arrays["size"][good],
        black=arrays["black"][good],
        dropped=tuple(Dropped(names[place], fault) for place, fault in faults.items()),
        folder=SourceFile(root.name or str(root), facts["bytes"], facts["sha256"], len(names)),
        rendered=facts["rendered"] or (root / MARKER).is_file(),
        failure=cache.failure,
    )


@dataclass(frozen=True, slots=True)
class _File:
    sha256: str
    bytes: int
    size: tuple[int, int] = (0, 0)
    black: bool = False
    rendered: bool = False
    fault: str = ""


def _check(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _File("0" * 64, 0, fault=f"cannot be read: {error.strerror or error}")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with Image.open(path) as opened:
            marks = (opened.info.get("Software"), opened.info.get("comment"))
            pixels = pixels_of(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _File(sha256, len(data), fault=f"no image that can be read: {_brief(error, path)}")
    rendered = RENDERED in marks or RENDERED.encode() in marks
    return _File(sha256, len(data), (pixels.shape[0], pixels.shape[1]), not pixels.any(), rendered)


def _brief(error: Exception, path: Path) -> str:
    return " ".join(str(error).replace(str(path), path.name).split())[:120]


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:  # a link that leads nowhere: reading it says why
        return ""
    return f"{state.st_size}|{state.st_mtime_ns}"


def _of_all(names: Iterable[str], hashes: Iterable[str]) -> str:
    listed = "".join(f"{each}  {name}\n" for name, each in zip(names, hashes, strict=True))
    return hashlib.sha256(listed.encode("utf-8", "replace")).hexdigest()
