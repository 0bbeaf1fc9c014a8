"""What a reader of one form returns: all rows of the source, before a split or classes are chosen."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data.dataset import Dropped, Images, SourceFile
from fer_bench.records.errors import DataError

RENDERED = "rendered by fer-bench"  # what our own drawings carry: in a column, a file's comment, or a file beside
MARKER = "rendered.json"
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(slots=True, kw_only=True)
class Source:
    """All rows of a source.

    Attributes:
        name, classes, images, labels, ids, groups, targets: as ``Dataset`` has them.
        form: of the files.
        splits: of each image, "" where the source has none.
        digests: of each image's bytes: equal ones are duplicates.
        files, dropped, rows, mapping, label_rule, notes, rendered: as ``Manifest`` has them.
        published: the key of ``published.COUNTS`` with which class counts are compared, "" for none.
    """

    name: str
    form: str
    classes: tuple[str, ...]
    images: Images
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    digests: NDArray[np.uint64]
    files: tuple[SourceFile, ...]
    dropped: tuple[Dropped, ...]
    rows: int
    mapping: Mapping[str, str]
    label_rule: str
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    targets: NDArray[np.float32] | None = None
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rendered: bool = False
    published: str = ""


def digest(data: bytes | memoryview) -> int:
    """Return eight bytes of a hash, by which equal images are recognised."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return a file's hash in hexadecimal digits.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            new = functools.partial(hashlib.new, algorithm, usedforsecurity=False)  # MD5 is no guard here
            return hashlib.file_digest(file, new).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error that a file cannot be read."""
    return DataError(f"cannot read {path}: {error.strerror or error}; try: check the path and its permissions")


def select(source: Source, keep: NDArray[np.int64]) -> None:
    """Keep the rows at these places alone, in their order."""
    source.images = source.images.subset(keep)
    source.labels, source.digests = source.labels[keep], source.digests[keep]
    source.targets = None if source.targets is None else source.targets[keep]
    source.ids, source.splits = pick(source.ids, keep), pick(source.splits, keep)
    source.groups = {name: pick(values, keep) for name, values in source.groups.items()}


def pick(values: Sequence[str], places: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the values at these places."""
    return tuple(values[place] for place in places)
