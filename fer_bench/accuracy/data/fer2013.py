"""FER2013 as CSV: ``fer2013.csv``, ``icml_face_data.csv``, or ``train.csv`` and ``test.csv``.

Goodfellow et al., "Challenges in representation learning" (2013). The three forms hold the same 35,887 images of 48x48,
with the columns in another order, spaces in their names, or without labels. Rows are counted from 0, as FER+ and lists
of known faults count them.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data.cache import Arrays, Cache, Facts
from fer_bench.accuracy.data.dataset import UNLABELLED, Dropped, Images, InArray, SourceFile
from fer_bench.accuracy.data.source import FER2013_CLASSES, RENDERED, Source, digest, hash_file, unreadable
from fer_bench.networks.labels import expression
from fer_bench.records.errors import DataError, FerBenchError

USAGES = {"training": "training", "publictest": "public", "privatetest": "private"}
# MD5 of the published files, from torchvision 0.29.1. Another file is read as well, and said to be another.
KNOWN = {
    "f8428a1edbd21e88f42c73edd2a14f95": "fer2013.csv as published",
    "b114b9e04e6949e5fe8b6a98b3892b1d": "icml_face_data.csv as published",
    "3f0dfb3d3fd99c811a1299cb947e3131": "train.csv as published",
    "b02c2298636a634e8c2faabbf3ea9a23": "test.csv as published",
}
# Rows that are black, all of them in Training: listed in public code, and with ten votes of ten for "no face" in FER+.
BLACK = (6458, 7629, 10423, 11286, 13148, 13402, 13988, 15894, 22198, 22927, 28601)
_LONGEST_HEADER = 4096  # bytes: of a file that is no CSV the first line may be all of it


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each column of a CSV is; -1 for one that it lacks."""

    pixels: int
    label: int
    usage: int
    source: int
    count: int


def is_csv(path: Path) -> bool:
    """Return whether a file begins as a CSV of pixels does."""
    try:
        with path.open("rb") as file:
            return b"pixels" in file.readline(_LONGEST_HEADER).lower()
    except OSError:
        return False


def csv_files(folder: Path) -> list[Path]:
    """Return the CSV of a folder that has one under a published name, ``train.csv`` and ``test.csv`` together."""
    for names in (("fer2013.csv",), ("icml_face_data.csv",), ("train.csv", "test.csv")):
        if found := [folder / name for name in names if (folder / name).is_file() and is_csv(folder / name)]:
            return found
    return []


def read(path: Path, cache: Cache) -> Source:
    """Read one CSV, or a folder with one; of ``train.csv`` and ``test.csv`` both are read.

    Raises:
        DataError: a file is missing, is no CSV of pixels, or has no row that can be read.
    """
    if path.is_dir():
        return _joined([read(file, cache) for file in csv_files(path)])
    try:
        kept = cache.load(path, "fer2013")
        if kept is None:
            kept = _parse(path)
            cache.store(path, "fer2013", *kept)
    except OSError as error:
        raise unreadable(path, error) from error
    return _source(path, *kept, cache.failure)


def _source(path: Path, facts: Facts, arrays: Arrays, failure: str) -> Source:
    rows, usages = arrays["rows"], facts["usages"]
    # test.csv says no usage; train.csv has the rows of Training alone.
    otherwise = {"train.csv": "training", "test.csv": "test"}.get(path.name.casefold(), "")
    splits = np.array([usage or otherwise for usage in usages])[arrays["usage"]].tolist()
    named = {str(number): name for number, name in enumerate(FER2013_CLASSES)}
    return Source(
        name="FER2013",
        form="fer2013-csv",
        classes=FER2013_CLASSES,
        images=Images(len(rows), InArray(arrays["pixels"])),
        labels=arrays["label"].astype(np.int64),
        ids=tuple([f"row {row}" for row in rows.tolist()]),
        splits=tuple(splits),
        digests=arrays["digest"],
        files=(SourceFile(path.name, facts["bytes"], facts["sha256"], known=KNOWN.get(facts["md5"], "")),),
        dropped=tuple(Dropped(*each) for each in facts["dropped"]),
        rows=facts["rows"],
        mapping=named,
        label_rule="the column emotion" if facts["labelled"] else "none: the file has no labels",
        notes=[*_black(arrays), *([failure] if failure else [])],
        rendered=facts["rendered"],
        published="FER2013",
    )


def _black(arrays: Arrays) -> list[str]:
    """Return a note on images without any light, if there are some; they are kept, as in published results."""
    size = arrays["pixels"][0].size
    rows = arrays["rows"][arrays["digest"] == np.uint64(digest(bytes(size)))].tolist()
    as_published = ", as published" if rows == list(BLACK) else ""
    return [f"{len(rows)} black images{as_published}: {', '.join(f'row {row}' for row in rows[:20])}"] if rows else []


def _joined(parts: list[Source]) -> Source:
    """Put the sources of ``train.csv`` and ``test.csv`` behind each other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    pictures = [part.images.stacked() for part in parts]
    if pictures[0].shape[1:] != pictures[1].shape[1:]:
        raise DataError(f"train.csv has images of {pictures[0].shape[1:]}, test.csv of {pictures[1].shape[1:]}")
    pixels = np.concatenate(pictures)
    first.images = Images(len(pixels), InArray(pixels))
    first.ids = tuple(f"{part.files[0].path} {name}" for part in parts for name in part.ids)
    first.dropped = tuple(
        Dropped(f"{part.files[0].path} {each.id}", each.reason) for part in parts for each in part.dropped
    )
    first.labels = np.concatenate([part.labels for part in parts])
    first.digests = np.concatenate([part.digests for part in parts])
    first.splits = tuple(name for part in parts for name in part.splits)
    first.files = tuple(file for part in parts for file in part.files)
    first.rows = sum(part.rows for part in parts)
    first.notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    first.rendered = any(part.rendered for part in parts)
    return first


def _parse(path: Path) -> tuple[Facts, Arrays]:
    """Read the text of a CSV: its facts and its arrays."""
    pixels, digests = bytearray(), []
    labels, usages, rows, dropped = [], [], [], []
    side, count, rendered = 0, 0, False
    known_usages = ["", *USAGES.values()]
    columns, lines = _open(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy before 2.3 warns where a later one raises
        for line in lines:
            if not line.strip():
                continue
            count += 1
            fields = [each.strip(b' "') for each in line.rstrip(b"\r\n").split(b",")]
            try:
                image = _pixels(fields, columns, side)
                label, usage = _label(fields, columns), _usage(fields, columns)
            except ValueError as error:
                dropped.append((f"row {count - 1}", str(error)))
                continue
            side = side or math.isqrt(len(image))
            rendered = rendered or (columns.source >= 0 and fields[columns.source].decode("latin1") == RENDERED)
            data = image.astype(np.uint8).tobytes()
            pixels += data
            digests.append(digest(data))
            labels.append(label)
            usages.append(known_usages.index(usage))
            rows.append(count - 1)
    if not rows:
        why = f"; {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise DataError(f"{path} has no row that can be read ({count} rows){why}; try: fetch the file again")
    facts: Facts = {
        "bytes": path.stat().st_size,
        "sha256": hash_file(path),
        "md5": hash_file(path, "md5"),
        "rows": count,
        "labelled": columns.label >= 0,
        "usages": known_usages,
        "dropped": dropped,
        "rendered": rendered,
    }
    arrays: Arrays = {
        "pixels": np.frombuffer(pixels, np.uint8).reshape(len(rows), side, side),
        "digest": np.array(digests, np.uint64),
        "label": np.array(labels, np.int8),
        "usage": np.array(usages, np.int8),
        "rows": np.array(rows, np.int64),
    }
    return facts, arrays


def _open(path: Path) -> tuple[_Columns, Iterator[bytes]]:
    """Read the header, and return the lines after it. No field has commas, so that a line is split at each."""
    file = path.open("rb")
    header = file.readline(_LONGEST_HEADER).removeprefix(b"\xef\xbb\xbf")
    names = [name.strip(b' "\r\n').lower().decode("latin1") for name in header.split(b",")]

    def at(name: str) -> int:
        return names.index(name) if name in names else -1

    if at("pixels") < 0:
        file.close()
        raise DataError(
            f"{path} is no CSV of FER2013: its first line has no column pixels "
            f"(it begins {header[:40].decode('latin1')!r}); try: fer2013.csv, icml_face_data.csv, or a folder of images"
        )

    def lines() -> Iterator[bytes]:
        with file:
            yield from file

    return _Columns(at("pixels"), at("emotion"), at("usage"), at("source"), len(names)), lines()


def _pixels(fields: list[bytes], columns: _Columns, side: int) -> NDArray[np.int32]:
    """Return the pixels of a row.

    Raises:
        ValueError: the row is damaged; the message says how.
    """
    if len(fields) != columns.count:
        raise ValueError(f"{len(fields)} fields where the header has {columns.count}")
    try:
        image = np.fromstring(fields[columns.pixels], np.int32, sep=" ")
    except (ValueError, DeprecationWarning):
        raise ValueError("a pixel is no whole number") from None
    expected = side * side
    if expected and len(image) != expected:
        raise ValueError(f"{len(image)} pixels where {expected} are expected")
    if not len(image) or math.isqrt(len(image)) ** 2 != len(image):
        raise ValueError(f"{len(image)} pixels are no square image")
    if image.min() < 0 or image.max() > 255:
        raise ValueError("a pixel is not from 0 to 255")
    return image


def _label(fields: list[bytes], columns: _Columns) -> int:
    text = fields[columns.label].decode("utf-8", "replace") if columns.label >= 0 else ""
    if not text:
        return UNLABELLED
    if text.isdecimal() and int(text) < len(FER2013_CLASSES):
        return int(text)
    try:
        return FER2013_CLASSES.index(expression(text))
    except (FerBenchError, ValueError):
        raise ValueError(f"label {text[:30]!r} is not one of 0 to {len(FER2013_CLASSES) - 1}") from None


def _usage(fields: list[bytes], columns: _Columns) -> str:
    if columns.usage < 0:
        return ""
    text = fields[columns.usage].decode("utf-8", "replace")
    if text.casefold() not in USAGES:
        raise ValueError(f"Usage {text[:30]!r} is not one of Training, PublicTest, PrivateTest")
    return USAGES[text.casefold()]
