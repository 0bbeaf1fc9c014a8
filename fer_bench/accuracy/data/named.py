"""Posed data sets whose file names say person and expression: KDEF, CK+ and JAFFE.

Lundqvist et al., "The Karolinska Directed Emotional Faces" (1998); Lucey et al., "The extended Cohn-Kanade dataset"
(2010); Lyons et al., "Coding facial expressions with Gabor wavelets" (1998). Persons repeat in all of them: a split
that does not keep persons together measures whether a network knows them again.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_bench.accuracy.data import pictures
from fer_bench.accuracy.data.cache import Cache
from fer_bench.accuracy.data.dataset import Dropped
from fer_bench.accuracy.data.folders import of_pictures
from fer_bench.accuracy.data.source import Source, select, unreadable
from fer_bench.networks.labels import expressions
from fer_bench.records.errors import DataError

_CODES = ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
_KDEF = re.compile(
    r"(?P<session>[AB])(?P<sex>[FM])(?P<number>\d\d)(?P<code>AF|AN|DI|HA|NE|SA|SU)(?P<angle>FL|HL|S|HR|FR)"
)
_KDEF_FILES = 4900  # of which two have names without a meaning and ten are black
_SEXES = {"F": "female", "M": "male"}
_ANGLES = {"FL": "full left", "HL": "half left", "S": "straight", "HR": "half right", "FR": "full right"}

_JAFFE = re.compile(r"(?P<person>[A-Z]{2})[.-](?P<code>AN|DI|FE|HA|NE|SA|SU)(?P<take>\d)[.-]\d+")
_JAFFE_CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")

_CK_IMAGES = ("cohn-kanade-images", "cohn-kanade")
_CK_CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_CK_SEQUENCES = 593


def form_of(names: Sequence[str]) -> str:
    """Return "kdef" or "jaffe" where most names of image files are of that form, else ""."""
    for form, pattern in (("kdef", _KDEF), ("jaffe", _JAFFE)):
        if 2 * sum(pattern.fullmatch(Path(name).stem.upper()) is not None for name in names) > len(names):
            return form
    return ""


def read_kdef(root: Path, cache: Cache) -> Source:
    """Read KDEF: images by the codes in their names; black ones and names without a meaning are dropped.

    Raises:
        DataError: no image can be read.
    """
    source, found, checked = _by_name(root, cache, "KDEF", "kdef", _KDEF, _CODES)
    source.groups = {
        "person": tuple(each["sex"] + each["number"] for each in found),
        "session": tuple(each["session"] for each in found),
        "sex": tuple(_SEXES[each["sex"]] for each in found),
        "pose": tuple(_ANGLES[each["angle"]] for each in found),
    }
    if source.rows != _KDEF_FILES and not source.rendered:
        source.findings.append(f"not KDEF as published: {source.rows:,} images where {_KDEF_FILES:,} are right")
    sizes = Counter(map(tuple, checked.sizes.tolist()))
    odd = [name for name, size in zip(checked.names, checked.sizes.tolist(), strict=True) if sizes[tuple(size)] < 10]
    if odd and len(sizes) > 1:
        source.notes.append(f"{len(odd)} images have another size than the rest: {', '.join(odd[:5])}")
    black = np.flatnonzero(checked.black)
    source.dropped += tuple(Dropped(source.ids[at], "black") for at in black)
    select(source, np.flatnonzero(~checked.black))
    return source


def read_jaffe(root: Path, cache: Cache) -> Source:
    """Read JAFFE: images by the codes in their names.

    Raises:
        DataError: no image can be read.
    """
    source, found, _ = _by_name(root, cache, "JAFFE", "jaffe", _JAFFE, _JAFFE_CODES)
    source.groups = {"person": tuple(each["person"] for each in found), "take": tuple(each["take"] for each in found)}
    source.published = "JAFFE"
    return source


def _by_name(
    root: Path, cache: Cache, name: str, form: str, pattern: re.Pattern[str], codes: Sequence[str]
) -> tuple[Source, list[re.Match[str]], pictures.Checked]:
    """Return the source of images whose names a pattern reads, and what it read of each."""
    files = pictures.find(root)
    matches = {file: match for file in files if (match := pattern.fullmatch(Path(file).stem.upper()))}
    if not matches:
        raise DataError(f"{root} has no image with a name of {name}; try: the folder as it was published")
    checked = pictures.check(root, list(matches), cache)
    found = [matches[file] for file in checked.names]
    labels = np.array([codes.index(each["code"]) for each in found], np.int64)
    classes = expressions(codes)
    source = of_pictures(checked, form, classes, labels, ("",) * len(found))
    source.name, source.rows = name, len(files)
    source.dropped += tuple(
        Dropped(file, "the name has no person and expression") for file in files if file not in matches
    )
    source.mapping, source.label_rule = dict(zip(codes, classes, strict=True)), "the code in the file's name"
    return source, found, checked


def ck_images(root: Path) -> Path | None:
    """Return the folder of CK+'s images, if a folder has it and the labels."""
    there = (root / name for name in _CK_IMAGES)
    return next((each for each in there if each.is_dir()), None) if (root / "Emotion").is_dir() else None


def read_ckplus(root: Path, cache: Cache) -> Source:
    """Read CK+: the last frame of each sequence that has a label.

    Raises:
        DataError: a folder is missing, or no image can be read.
    """
    images = ck_images(root)
    if images is None:
        raise DataError(f"{root} has no folders {_CK_IMAGES[0]} and Emotion; try: the folder that both are in")
    codes: dict[str, int] = {}
    dropped = []
    for path in sorted((root / "Emotion").glob("*/*/*_emotion.txt")):
        inside = path.relative_to(root / "Emotion").parent
        name = (images.relative_to(root) / inside / f"{path.name.removesuffix('_emotion.txt')}.png").as_posix()
        code = _ck_code(path)
        if code is None:
            dropped.append(Dropped(name, f"{path.name} has no code from 0 to {len(_CK_CODES) - 1}"))
        elif not (root / name).is_file():
            dropped.append(Dropped(name, "the image is not there"))
        else:
            codes[name] = code
    if not codes:
        raise DataError(f"{root} has no labelled image{f': {dropped[0].reason}' if dropped else ''}")
    checked = pictures.check(root, list(codes), cache)
    used = sorted({codes[name] for name in checked.names} | set(range(1, len(_CK_CODES))))  # neutral where it occurs
    classes = expressions([_CK_CODES[code] for code in used])
    labels = np.array([used.index(codes[name]) for name in checked.names], np.int64)
    source = of_pictures(checked, "ckplus", classes, labels, ("",) * len(labels))
    source.name, source.published = "CK+", "CK+"
    source.dropped += tuple(dropped)
    source.rows = len(codes) + len(dropped)
    sequences = [Path(name).parent.parts for name in checked.names]
    source.groups = {
        "person": tuple(parts[-2] for parts in sequences),
        "sequence": tuple("/".join(parts[-2:]) for parts in sequences),
    }
    source.mapping = {str(code): name for code, name in enumerate(expressions(_CK_CODES))}
    source.label_rule = "the emotion file of a sequence, for its last frame"
    source.notes.append(f"of {_CK_SEQUENCES} published sequences {len(labels)} are labelled here, one frame of each")
    return source


def _ck_code(path: Path) -> int | None:
    try:
        value = float(path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError:
        return None
    return int(value) if value in range(len(_CK_CODES)) else None
