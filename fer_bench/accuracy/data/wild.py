"""Data sets from the web with label files of their own: AffectNet and RAF-DB.

Mollahosseini et al., "AffectNet" (2017); Li et al., "Reliable crowdsourcing and deep locality-preserving learning"
(2017). AffectNet has no public test set, and RAF-DB no validation set: what selects a network must be said.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data import pictures
from fer_bench.accuracy.data.cache import Cache
from fer_bench.accuracy.data.dataset import Dropped, Images, Picture, SourceFile, read_image
from fer_bench.accuracy.data.folders import of_pictures
from fer_bench.accuracy.data.source import Source, hash_file, unreadable
from fer_bench.networks.labels import expressions
from fer_bench.records.errors import DataError

_AFFECTNET = expressions("neutral happy sad surprise fear disgust anger contempt".split())
_NO_CLASS = {8: "none", 9: "uncertain", 10: "no face"}  # codes of AffectNet
_AFFECTNET_LISTS = {"training.csv": "training", "validation.csv": "validation"}
_AFFECTNET_SETS = {"train_set": "training", "val_set": "validation"}
_FILE, _CODE = "subDirectory_filePath", "expression"
_BOX = ("face_x", "face_y", "face_width", "face_height")
_IMAGES = ("Manually_Annotated_Images", "Manually_Annotated", "images", ".")

_RAFDB = expressions("surprise fear disgust happiness sadness anger neutral".split())  # codes from 1
_RAFDB_SPLITS = {"train": "training", "test": "test"}
_RAFDB_LIST = "EmoLabel/list_patition_label.txt"  # so spelt
# Lines 6 to 8 of Annotation/manual/*_manu_attri.txt, below five landmarks.
_RAFDB_GROUPS = {
    "sex": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _InCrops:
    """Reads the faces of image files: (left, top, width, height) in pixels, or four zeros for the whole image."""

    files: tuple[Path, ...]
    boxes: NDArray[np.int64]

    def __call__(self, row: int) -> Picture:
        image = read_image(self.files[row])
        left, top, width, height = self.boxes[row].tolist()
        cut = image[max(0, top) : top + height, max(0, left) : left + width] if width and height else image
        return cut if cut.size else image


@dataclass(slots=True)
class _Listed:
    """What a label file says of images: by name the code and the split; boxes where it has them."""

    codes: dict[str, int]
    splits: dict[str, str]
    boxes: dict[str, list[int]]
    dropped: list[Dropped]


def affectnet_form(root: Path) -> str:
    """Return "affectnet-csv" or "affectnet-npy" where a folder is one of them, else ""."""
    if any((root / name / "annotations").is_dir() for name in _AFFECTNET_SETS):
        return "affectnet-npy"
    return "affectnet-csv" if _lists(root) else ""


def _lists(root: Path) -> list[Path]:
    found = [
        path for name in _AFFECTNET_LISTS for path in (root / name, *sorted(root.glob(f"*/{name}"))) if path.is_file()
    ]
    return [path for path in found if path.is_file() and _FILE in _first_line(path)]


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(4096)


def read_affectnet_csv(root: Path, cache: Cache) -> Source:
    """Read AffectNet's ``training.csv`` and ``validation.csv``: faces are cut out by their boxes.

    Raises:
        DataError: a list is missing or lacks a column, or no image can be read.
    """
    lists = _lists(root)
    if not lists:
        raise DataError(f"{root} has no training.csv or validation.csv of AffectNet, with a column {_FILE}")
    listed = _Listed({}, {}, {}, [])
    rows = 0
    for path in lists:
        for number, row in enumerate(_rows(path)):
            rows += 1
            _add(root, listed, row, f"{path.name} row {number}", _AFFECTNET_LISTS[path.name])
    source = _listed(root, cache, listed, "AffectNet", "affectnet-csv", _AFFECTNET, rows)
    boxes = np.array([listed.boxes[name] for name in source.ids], np.int64).reshape(-1, 4)
    source.images = Images(len(boxes), _InCrops(tuple(root / name for name in source.ids), boxes))
    source.files += tuple(SourceFile(path.name, path.stat().st_size, hash_file(path)) for path in lists)
    source.label_rule = "the column expression"
    return source


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in (_FILE, _CODE) if name not in (reader.fieldnames or ())]:
                raise DataError(f"{path} has no column {', '.join(missing)}")
            yield from reader
    except OSError as error:
        raise unreadable(path, error) from error


def _add(root: Path, listed: _Listed, row: dict[str, str], where: str, split: str) -> None:
    """Add a row of AffectNet's CSV to what is listed."""
    file, code = (row[_FILE] or "").strip(), (row[_CODE] or "").strip()
    name = next((f"{folder}/{file}" for folder in _IMAGES if (root / folder / file).is_file()), "").removeprefix("./")
    if not code.isdecimal() or int(code) >= len(_AFFECTNET) + len(_NO_CLASS):
        listed.dropped.append(Dropped(where, f"expression {code[:20]!r} is no code from 0 to 10"))
    elif int(code) in _NO_CLASS:
        listed.dropped.append(Dropped(where, f"expression {_NO_CLASS[int(code)]}", fault=False))
    elif not file or not name:
        listed.dropped.append(Dropped(where, "the image is not there"))
    elif name in listed.codes:
        listed.dropped.append(Dropped(where, f"the image {name} is listed twice"))
    else:
        listed.codes[name], listed.splits[name] = int(code), split
        cells = [(row.get(column) or "").strip() for column in _BOX]
        listed.boxes[name] = [int(cell) for cell in cells] if all(cell.isdecimal() for cell in cells) else [0] * 4


def read_affectnet_npy(root: Path, cache: Cache) -> Source:
    """Read AffectNet's ``train_set`` and ``val_set``: cropped images, and a file with the code of each.

    Raises:
        DataError: no image can be read.
    """
    listed = _Listed({}, {}, {}, [])
    for folder, split in _AFFECTNET_SETS.items():
        annotations = root / folder / "annotations"
        if annotations.is_dir():
            _add_npy(root, listed, annotations, split, cache)
    rows = len(listed.codes) + len(listed.dropped)
    source = _listed(root, cache, listed, "AffectNet", "affectnet-npy", _AFFECTNET, rows)
    source.label_rule = "the code in annotations/*_exp.npy"
    return source


def _add_npy(root: Path, listed: _Listed, annotations: Path, split: str, cache: Cache) -> None:
    kept = cache.load(annotations, "affectnet")  # opening 287,651 small files takes a minute
    if kept is None:
        names = sorted(path.name.removesuffix("_exp.npy") for path in annotations.glob("*_exp.npy"))
        kept = {"names": names}, {"code": np.array([_npy_code(annotations / f"{n}_exp.npy") for n in names], np.int64)}
        cache.store(annotations, "affectnet", *kept)
    images = annotations.parent / "images"
    for number, code in zip(kept[0]["names"], kept[1]["code"].tolist(), strict=True):
        path = next(
            (images / f"{number}{end}" for end in pictures.SUFFIXES if (images / f"{number}{end}").is_file()), None
        )
        name = f"{annotations.parent.name}/images/{number}"
        if path is None:
            listed.dropped.append(Dropped(name, "the image is not there"))
        elif code not in range(len(_AFFECTNET)):
            reason = _NO_CLASS.get(code, "no code from 0 to 10")
            listed.dropped.append(Dropped(name, f"expression {reason}", fault=code not in _NO_CLASS))
        else:
            name = path.relative_to(root).as_posix()
            listed.codes[name], listed.splits[name] = code, split


def _npy_code(path: Path) -> int:
    """Return the code in a file, which is a number or its text; -1 for what is no code."""
    try:
        text = str(np.load(path, allow_pickle=False).reshape(-1)[0])
        return int(float(text))
    except (OSError, ValueError, EOFError, IndexError):
        return -1


def rafdb_form(root: Path) -> bool:
    """Return whether a folder is RAF-DB: with its label file, or with the folders 1 to 7 of a re-packaging."""
    return (root / _RAFDB_LIST).is_file() or _numbered(root) is not None


def _numbered(root: Path) -> Path | None:
    numbers = [str(code) for code in range(1, 8)]
    return next(
        (each for each in (root, root / "DATASET") if all((each / "train" / n).is_dir() for n in numbers)), None
    )


def read_rafdb(root: Path, cache: Cache) -> Source:
    """Read RAF-DB's basic emotions: aligned images where they are there, else the original ones.

    Raises:
        DataError: the label file is missing, or no image can be read.
    """
    listed = _Listed({}, {}, {}, [])
    numbered = None if (root / _RAFDB_LIST).is_file() else _numbered(root)
    if numbered is not None:
        for name in pictures.find(numbered):
            split, code = (*Path(name).parts, "")[:2]
            if split in _RAFDB_SPLITS and code.isdecimal():
                inside = (numbered / name).relative_to(root).as_posix()
                listed.codes[inside], listed.splits[inside] = int(code) - 1, _RAFDB_SPLITS[split]
        rows = len(listed.codes)
    else:
        rows = _add_rafdb(root, listed)
    source = _listed(root, cache, listed, "RAF-DB", "rafdb", _RAFDB, rows)
    source.mapping = {str(code): name for code, name in enumerate(_RAFDB, 1)}
    source.label_rule = "the folder's number" if numbered is not None else f"the code in {Path(_RAFDB_LIST).name}"
    if numbered is None:
        path = root / _RAFDB_LIST
        source.files += (SourceFile(_RAFDB_LIST, path.stat().st_size, hash_file(path)),)
        source.groups = _rafdb_groups(root, source.ids)
    return source


def _add_rafdb(root: Path, listed: _Listed) -> int:
    path = root / _RAFDB_LIST
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise unreadable(path, error) from error
    rows = [line.split() for line in lines if line.strip()]
    for number, row in enumerate(rows):
        stem = row[0].removesuffix(".jpg")
        names = (f"Image/aligned/{stem}_aligned.jpg", f"Image/original/{stem}.jpg")
        name = next((each for each in names if (root / each).is_file()), "")
        code, split = row[-1], _RAFDB_SPLITS.get(stem.partition("_")[0], "")
        if len(row) != 2 or not code.isdecimal() or not 1 <= int(code) <= len(_RAFDB):
            listed.dropped.append(
                Dropped(f"row {number}", f"{' '.join(row)[:40]!r} is no name with a code from 1 to 7")
            )
        elif not split:
            listed.dropped.append(Dropped(f"row {number}", f"{stem} is of neither train nor test"))
        elif not name:
            listed.dropped.append(Dropped(f"row {number}", f"the image {stem} is not there"))
        else:
            listed.codes[name], listed.splits[name] = int(code) - 1, split
    return len(rows)


def _rafdb_groups(root: Path, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return sex, race and age of each image where there are annotations, "" for an image without."""
    folder = root / "Annotation" / "manual"
    if not folder.is_dir():
        return {}
    columns: dict[str, list[str]] = {key: [] for key in _RAFDB_GROUPS}
    for name in names:
        path = folder / f"{Path(name).stem.removesuffix('_aligned')}_manu_attri.txt"
        try:
            lines = path.read_text(encoding="ascii", errors="replace").split("\n")[5:8]
        except OSError:
            lines = []
        for (key, words), line in zip(_RAFDB_GROUPS.items(), lines or ["", "", ""], strict=False):
            code = line.strip()
            columns[key].append(words[int(code)] if code.isdecimal() and int(code) < len(words) else "")
    return {key: tuple(values) for key, values in columns.items()}


def _listed(
    root: Path, cache: Cache, listed: _Listed, name: str, form: str, classes: tuple[str, ...], rows: int
) -> Source:
    """Return the source of images that a label file lists."""
    if not listed.codes:
        why = f"; {listed.dropped[0].id}: {listed.dropped[0].reason}" if listed.dropped else ""
        raise DataError(f"{root} has no image that its labels are of ({rows:,} rows){why}")
    checked = pictures.check(root, list(listed.codes), cache)
    labels = np.array([listed.codes[each] for each in checked.names], np.int64)
    source = of_pictures(checked, form, classes, labels, tuple(listed.splits[each] for each in checked.names))
    source.name = source.published = name
    source.dropped += tuple(listed.dropped)
    source.rows = rows
    source.mapping = {str(code): each for code, each in enumerate(classes)}
    return source
