"""FER+: ten votes for each image of FER2013, and the public rules that make labels of them.

Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label distribution" (2016).
There are two label files, which disagree in 1,601 rows: ``fer2013new.csv``, and ``label.csv`` of each folder. The
first has a line for each row of ``fer2013.csv``, by whose order they are joined: the number in an image's name is no
row. The second has names alone, which the first leads to rows; of four names that occur twice it has the last.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data import fer2013, folders, pictures
from fer_bench.accuracy.data.cache import Cache
from fer_bench.accuracy.data.dataset import Dropped, SourceFile
from fer_bench.accuracy.data.source import Source, hash_file, select, unreadable
from fer_bench.networks.labels import expressions
from fer_bench.records.errors import DataError, nearest

COLUMNS = tuple("neutral happiness surprise sadness anger disgust fear contempt unknown NF".split())
CLASSES = expressions(COLUMNS[:8])
NEW, OLD = "fer2013new.csv", "label.csv"
KNOWN = {"9206e20d": "fer2013new.csv as published"}  # by the beginning of its SHA-256
_FOLDERS = {"FER2013Train": "training", "FER2013Valid": "public", "FER2013Test": "private"}
_USAGES = fer2013.USAGES
_FEW, _ENOUGH, _HALF, _TARGET = 3, 0.75, 0.5, 0.3  # classes, and shares of the votes, of the public rules

Votes = NDArray[np.int64]  # (N, 10), in the order of COLUMNS
Shares = NDArray[np.float64]  # (N, 8) of each emotion; a row of zeros has no label


@dataclass(frozen=True, slots=True)
class Voted:
    """A label file: an image's name (which may be "") and its split for each row, and its votes."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    votes: Votes


def read_new(path: Path) -> Voted:
    """Read ``fer2013new.csv``.

    Raises:
        DataError: it cannot be read, or has another header.
    """
    rows = _rows(path)
    if not rows or [name.strip() for name in rows[0][2:12]] != list(COLUMNS):
        raise DataError(f"{path} is no {NEW}: its header is not Usage,Image name,{','.join(COLUMNS)}")
    names, splits, votes = [], [], []
    for number, row in enumerate(rows[1:]):
        usage = row[0].strip().casefold() if row else ""
        if usage not in _USAGES:
            raise DataError(
                f"{path}, row {number}: Usage {usage[:30]!r} is not one of Training, PublicTest, PrivateTest"
            )
        names.append(row[1].strip())
        splits.append(_USAGES[usage])
        votes.append(_votes(path, number, row[2:12]))
    return Voted(tuple(names), tuple(splits), np.array(votes, np.int64).reshape(-1, len(COLUMNS)))


def read_old(folder: Path) -> Voted:
    """Read the ``label.csv`` of the folders ``FER2013Train``, ``FER2013Valid`` and ``FER2013Test`` in a folder.

    Raises:
        DataError: none is there, or one cannot be read.
    """
    names, splits, votes = [], [], []
    for inside, split in _FOLDERS.items():
        path = folder / inside / OLD
        if path.is_file():
            for number, row in enumerate(_rows(path)):
                names.append(row[0].strip())
                splits.append(split)
                votes.append(_votes(path, number, row[2:12]))
    if not names:
        raise DataError(f"{folder} has no {OLD} in {', '.join(_FOLDERS)}")
    return Voted(tuple(names), tuple(splits), np.array(votes, np.int64).reshape(-1, len(COLUMNS)))


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV: {error}") from error


def _votes(path: Path, number: int, cells: Sequence[str]) -> list[int]:
    try:
        votes = [int(cell) for cell in cells]
    except ValueError:
        votes = []
    if len(votes) != len(COLUMNS) or min(votes) < 0:
        raise DataError(f"{path}, row {number}: {','.join(cells)[:60]!r} are no {len(COLUMNS)} votes")
    return votes


def majority(votes: Votes) -> Shares:
    """Give an image the one class with more than half of its votes, those of single voters left out."""
    votes = _without_single(votes)
    most = votes.max(1)
    winner = np.where(2 * most > votes.sum(1), votes.argmax(1), len(COLUMNS))
    return np.asarray(winner[:, None] == np.arange(len(CLASSES)), np.float64)


def argmax(votes: Votes) -> Shares:
    """Give an image the class with most votes; of a tie the first in the order of ``COLUMNS``."""
    winner = np.where(votes.any(1), votes.argmax(1), len(COLUMNS))
    return np.asarray(winner[:, None] == np.arange(len(CLASSES)), np.float64)


def distribution(votes: Votes) -> Shares:
    """Give an image its most frequent classes by their votes: the rules *probability* and *crossentropy*.

    Classes are taken in falling order of votes, all of a level at once, until they have three quarters of the votes or
    are three. Unknown and no face end it. Without more than half of the votes, or with more than three, there is none.
    """
    return np.array([_distribution(row) for row in _without_single(votes).tolist()]).reshape(-1, len(CLASSES))


def _distribution(votes: list[int]) -> list[float]:
    total, emotions = sum(votes), len(CLASSES)
    taken: dict[int, int] = {}
    for level in sorted(set(votes) - {0}, reverse=True):
        if sum(taken.values()) >= _ENOUGH * total or len(taken) >= _FEW:
            break
        at_level = [place for place, count in enumerate(votes) if count == level]
        taken.update((place, level) for place in at_level if place < emotions)
        if at_level[-1] >= emotions:
            break
    covered = sum(taken.values())
    if 2 * covered <= total or len(taken) > _FEW:
        return [0.0] * emotions
    return [taken.get(place, 0) / covered for place in range(emotions)]


def multi_target(votes: Votes) -> Shares:
    """Give an image all classes with at least three tenths of its votes, by their votes.

    Together, unknown and no face among them, they must have more than half, and one that is an emotion the most.
    """
    votes = _without_single(votes)
    total = votes.sum(1)
    taken = np.where(votes >= _TARGET * total[:, None], votes, 0)
    labelled = (taken.sum(1) > _HALF * total) & (taken.argmax(1) < len(CLASSES))
    emotions = taken[:, : len(CLASSES)] * labelled[:, None]
    return np.asarray(emotions / np.maximum(emotions.sum(1, keepdims=True), 1), np.float64)


def _without_single(votes: Votes) -> Votes:
    return np.where(votes > 1, votes, 0)


RULES: dict[str, Callable[[Votes], Shares]] = {
    "majority": majority,
    "probability": distribution,
    "crossentropy": distribution,
    "multi_target": multi_target,
    "argmax": argmax,
}
_SINGLE = ("majority", "argmax")  # rules that give one class


def is_folder(path: Path) -> bool:
    """Return whether a folder has a label file of FER+."""
    return (path / NEW).is_file() or _old_folder(path) is not None


def _old_folder(path: Path) -> Path | None:
    return next((each for each in (path, path / "data") if (each / "FER2013Train" / OLD).is_file()), None)


def read(path: Path, cache: Cache, rule: str | None, *, old: bool = False) -> Source:
    """Read a folder with a label file of FER+ and the images: FER2013's CSV, or FER+'s own PNGs.

    Args:
        path: the folder, or ``fer2013new.csv`` in it.
        cache: of parsed files.
        rule: one of ``RULES``; by default majority.
        old: use ``label.csv`` even if ``fer2013new.csv`` is there.

    Raises:
        DataError: a file is missing or damaged, or the rule is unknown.
    """
    rule = rule or "majority"
    if rule not in RULES:
        raise DataError(f"the rule {rule!r} is unknown{nearest(rule, RULES)}; known: {', '.join(RULES)}")
    folder = path if path.is_dir() else path.parent
    old_folder = _old_folder(folder)
    if old and old_folder is None:
        raise DataError(f"{folder} has no {OLD} of FER+; try: --form ferplus, for {NEW}")
    old = old or not (folder / NEW).is_file()
    voted = read_old(old_folder) if old and old_folder is not None else read_new(folder / NEW)
    if fer2013.csv_files(folder):
        source, rows = _of_csv(folder, cache, voted, old=old)
    else:
        source, rows = _of_pngs(old_folder or folder, cache, voted)
    _label(source, voted.votes[rows], rule, f"{rule} of {OLD if old else NEW}")
    files = [old_folder / name / OLD for name in _FOLDERS] if old and old_folder else [folder / NEW]
    source.files += tuple(_file(folder, each) for each in files if each.is_file())
    return source


def _file(folder: Path, path: Path) -> SourceFile:
    sha256 = hash_file(path)
    return SourceFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256, known=KNOWN.get(sha256[:8], ""))


def _of_csv(folder: Path, cache: Cache, voted: Voted, *, old: bool) -> tuple[Source, NDArray[np.int64]]:
    """Return FER2013's rows that have votes, and each one's place among the votes."""
    source = fer2013.read(folder, cache)
    numbers = [int(re.sub(r"\D", "", name)) for name in source.ids]  # "row 17"
    if old:
        listed = read_new(folder / NEW).names if (folder / NEW).is_file() else ()
        if not listed:
            raise DataError(f"{OLD} names images, and {NEW}, which leads names to rows, is not in {folder}")
        row_of = {name: row for row, name in enumerate(listed) if name}  # of names that occur twice the last
        place_of = {row_of[name]: place for place, name in enumerate(voted.names) if name in row_of}
    else:
        if len(voted.names) != source.rows:
            raise DataError(
                f"{NEW} has {len(voted.names):,} rows, {source.files[0].path} {source.rows:,}: they are joined by row "
                "order; try: the files as they were published"
            )
        place_of = {row: row for row in range(source.rows)}
    without = [source.ids[at] for at, number in enumerate(numbers) if number not in place_of]
    select(source, np.array([at for at, number in enumerate(numbers) if number in place_of], np.int64))
    rows = np.array([place_of[number] for number in numbers if number in place_of], np.int64)
    source.dropped += tuple(Dropped(each, f"{OLD} has no votes for it", fault=False) for each in without)
    if any(source.splits) and (wrong := sum(a != voted.splits[b] for a, b in zip(source.splits, rows, strict=True))):
        raise DataError(f"{wrong:,} rows have another Usage in the votes: the two files are not of the same rows")
    return source, rows


def _of_pngs(folder: Path, cache: Cache, voted: Voted) -> tuple[Source, NDArray[np.int64]]:
    """Return the images that FER+'s own program wrote, and each one's place among the votes."""
    inside = {split: name for name, split in _FOLDERS.items()}
    place_of = {f"{inside[s]}/{n}": at for at, (s, n) in enumerate(zip(voted.splits, voted.names, strict=True)) if n}
    found = [name for name in pictures.find(folder) if name in place_of]
    if not found:
        raise DataError(f"{folder} has votes and no images; try: put fer2013.csv beside them, or FER+'s own PNGs")
    checked = pictures.check(folder, found, cache)
    rows = np.array([place_of[name] for name in checked.names], np.int64)
    labels = np.zeros(len(rows), np.int64)
    return folders.of_pictures(checked, "ferplus", CLASSES, labels, tuple(voted.splits[row] for row in rows)), rows


def _label(source: Source, votes: Votes, rule: str, how: str) -> None:
    """Give a source the labels of a rule; images without one are dropped."""
    shares = RULES[rule](votes)
    kept = shares.any(1)
    source.dropped += tuple(Dropped(source.ids[at], f"no label by {how}", fault=False) for at in np.flatnonzero(~kept))
    select(source, np.flatnonzero(kept))
    source.name, source.form, source.classes = "FER+", "ferplus", CLASSES
    source.labels = shares[kept].argmax(1).astype(np.int64)
    source.targets = None if rule in _SINGLE else shares[kept].astype(np.float32)
    source.mapping, source.label_rule = dict(zip(COLUMNS, CLASSES, strict=False)), how
    source.published = ""
    if rule not in _SINGLE and (ties := int(((shares == shares.max(1, keepdims=True)).sum(1) > 1)[kept].sum())):
        source.notes.append(f"{ties:,} images have several classes with most votes: the label is the first, as in FER+")
