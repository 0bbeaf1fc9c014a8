"""Plain folders of images: ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``, or a CSV that says each file's label.

FER2013's folders (``train/angry/*.jpg``), the 48x48 set of CK+ and most re-packagings look so.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data import pictures
from fer_bench.accuracy.data.cache import Cache
from fer_bench.accuracy.data.dataset import UNLABELLED, Dropped, SourceFile
from fer_bench.accuracy.data.source import FER2013_CLASSES, Source, hash_file, unreadable
from fer_bench.networks.labels import EXPRESSIONS, expression
from fer_bench.records.errors import DataError, FerBenchError

# What folders are called, and the split that is meant.
SPLITS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "publictest": "public",
    "public": "public",
    "privatetest": "private",
    "private": "private",
}
LABELS = "labels.csv"
_FILE, _LABEL = ("image", "file", "filename", "path"), ("label", "emotion", "expression", "class")
_RENDERED = re.compile(r".*_person_(\d+)")  # a file of ours
_CK = re.compile(r"S\d{3}_\d{3}_\d{8}")  # a file of CK+, which begins with its person


def read(root: Path, cache: Cache) -> Source:
    """Read a folder whose folders are classes; without such it is a set of unlabelled images.

    Raises:
        DataError: there is no image, or a folder's name is no class.
    """
    found = pictures.find(root)
    if not found:
        raise DataError(f"{root} has no image; images end in {' '.join(pictures.SUFFIXES)}")
    checked = pictures.check(root, found, cache)
    places = [_place(name) for name in checked.names]
    empty = _empty(root, checked.names)
    mapping = _mapping(root, sorted({folder for _, folder in places if folder} | {Path(name).name for name in empty}))
    classes = _ordered(mapping.values())
    labels = np.array([classes.index(mapping[at]) if at in mapping else UNLABELLED for _, at in places], np.int64)
    groups = {}
    if all(_CK.match(Path(name).name) for name in checked.names):
        groups["person"] = tuple(Path(name).name[:4] for name in checked.names)
    if all(_RENDERED.match(Path(name).stem) for name in checked.names):
        groups["person"] = tuple(Path(name).stem.rpartition("_")[2] for name in checked.names)
    source = of_pictures(checked, "folder", classes, labels, tuple(split for split, _ in places))
    source.mapping, source.groups = mapping, groups
    source.label_rule = "the name of the folder" if mapping else "none: no folder is named as a class"
    source.findings += [f"the folder {name} has no image of class {mapping[Path(name).name]}" for name in empty]
    if groups and not checked.rendered:
        source.name, source.published = "CK+", "CK+ 48x48"
    elif set(classes) == set(FER2013_CLASSES) and (checked.sizes == 48).all():
        source.name, source.published = "FER2013", "FER2013"
    return source


def of_pictures(
    checked: pictures.Checked,
    form: str,
    classes: Sequence[str],
    labels: NDArray[np.int64],
    splits: tuple[str, ...],
) -> Source:
    """Return a source of image files that were checked; that they differ in size is a note."""
    sizes = sorted(set(map(tuple, checked.sizes.tolist())))
    notes = [f"{len(sizes):,} sizes, from {_written(sizes[0])} to {_written(sizes[-1])}"] if len(sizes) > 1 else []
    return Source(
        name="images",
        form=form,
        classes=tuple(classes),
        images=checked.images,
        labels=labels,
        ids=checked.names,
        splits=splits,
        digests=checked.digests,
        files=(checked.folder,),
        dropped=checked.dropped,
        rows=checked.folder.files,
        mapping={},
        label_rule="",
        notes=[*notes, *([checked.failure] if checked.failure else [])],
        rendered=checked.rendered,
    )


def _written(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"


def _place(name: str) -> tuple[str, str]:
    """Return the split and the folder of a class that a path lies in, each "" where there is none."""
    folders = name.split("/")[:-1]
    split = next((SPLITS[folder.casefold()] for folder in folders if folder.casefold() in SPLITS), "")
    last = folders[-1] if folders else ""
    return split, "" if last.casefold() in SPLITS else last


def _mapping(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Return the class that each folder means; all folders or none must be classes."""
    mapping = {folder: name for folder in folders if (name := class_of(folder))}
    unknown = [folder for folder in folders if folder not in mapping]
    if mapping and unknown:
        raise DataError(
            f"{root}: the folder{'s' * (len(unknown) > 1)} {', '.join(unknown[:5])} name no class beside "
            f"{', '.join(mapping)}; try: rename or remove them; classes are {', '.join(EXPRESSIONS)}"
        )
    return mapping


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return classes in the order of ``EXPRESSIONS``; folders have none of their own."""
    there = set(names)
    return tuple(name for name in EXPRESSIONS if name in there)


def _empty(root: Path, names: Iterable[str]) -> list[str]:
    """Return the folders that are named as a class and have no image below them, relative to the root."""
    full = {around for name in names for around in Path(name).parents}
    inside = (Path(folder, name).relative_to(root) for folder, folders, _ in os.walk(root) for name in folders)
    return sorted(path.as_posix() for path in inside if class_of(path.name) and path not in full)


def read_listed(path: Path, cache: Cache) -> Source:
    """Read a CSV of image files with their labels: a folder's ``labels.csv``, or the path of the CSV.

    It has a column image, file, filename or path, and one label, emotion, expression or class. A column split
    divides the images; each further column, such as person, sex or age, groups them.

    Raises:
        DataError: the CSV lacks one of the two columns, or lists no image that can be read.
    """
    path = path / LABELS if path.is_dir() else path
    root = path.parent
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 (byte {error.start}); try: save it as UTF-8") from error
    except OSError as error:
        raise unreadable(path, error) from error
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    columns = {name.strip().casefold(): name for name in (rows[0] if rows else ()) if name is not None}
    file, label = (next((columns[name] for name in names if name in columns), "") for names in (_FILE, _LABEL))
    if not file or not label:
        raise DataError(
            f"{path} lists no labels: it needs a column {' or '.join(_FILE)} and one {' or '.join(_LABEL)}"
            f"{'; it has ' + ', '.join(columns) if columns else ' and is empty'}"
        )
    kept, dropped, mapping = {}, [], {}
    for number, row in enumerate(rows):
        name, written = (str(row[column] or "").strip() for column in (file, label))
        if not (known := class_of(written)):
            dropped.append(Dropped(f"row {number}", f"label {written[:30]!r} is no expression"))
        elif not (root / name).is_file():
            dropped.append(Dropped(f"row {number}", f"the image {name} is not there"))
        elif name in kept:
            dropped.append(Dropped(f"row {number}", f"the image {name} is listed twice"))
        else:
            kept[name], mapping[written] = row, known
    if not kept:
        why = f"; {dropped[0].id}: {dropped[0].reason}" if dropped else ""
        raise DataError(f"{path} lists no image that can be used{why}")
    checked = pictures.check(root, list(kept), cache)
    listed = [kept[name] for name in checked.names]
    classes = _ordered(mapping.values())
    labels = np.array([classes.index(mapping[str(row[label]).strip()]) for row in listed], np.int64)
    split = columns.get("split", "")
    splits = tuple(split_of(str(row[split] or "")) if split else "" for row in listed)
    source = of_pictures(checked, "labels-csv", classes, labels, splits)
    source.groups = {
        key: tuple(str(row[column] or "").strip() for row in listed)
        for key, column in columns.items()
        if column not in (file, label, split)
    }
    source.files = (SourceFile(path.name, path.stat().st_size, hash_file(path)), *source.files)
    source.dropped, source.rows = (*dropped, *source.dropped), len(rows)
    source.mapping, source.label_rule = mapping, f"the column {label.strip()} of {path.name}"
    return source


def class_of(name: str) -> str:
    """Return the expression that a name means, or ""."""
    try:
        return expression(name)
    except FerBenchError:
        return ""


def split_of(text: str) -> str:
    """Return the name of a split that a folder, a file or a user calls otherwise: "private" for "PrivateTest"."""
    return SPLITS.get(text.strip().casefold(), text.strip().casefold())
