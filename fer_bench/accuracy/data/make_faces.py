"""``make_faces``: drawn faces, written as the public data sets are."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fer_bench.accuracy.data import faces
from fer_bench.accuracy.data.dataset import Picture
from fer_bench.accuracy.data.source import FER2013_CLASSES, MARKER, RENDERED
from fer_bench.networks.labels import expressions
from fer_bench.records.errors import DataError, StoreError, nearest

_USAGES = {"training": "Training", "public": "PublicTest", "private": "PrivateTest"}
# Of ten images, in the order of their numbers, one is of PublicTest and one of PrivateTest.
_OF_TEN = ("training",) * 8 + ("public", "private")
_SIZES = {"fer2013": 48, "icml": 48, "folder": 48, "ferplus": 48, "rafdb": 100, "kdef": 96}
_KDEF_ANGLES = {"S": 0, "HL": -40, "HR": 40, "FL": -80, "FR": 80}  # degrees; few images are the first of these
_KDEF_CODES = dict(zip(FER2013_CLASSES, ("AN", "DI", "AF", "HA", "SA", "SU", "NE"), strict=True))
_KDEF_MOST = 4900  # 70 persons, two sessions, seven expressions, five angles
_RAFDB = expressions("surprise fear disgust happiness sadness anger neutral".split())
_FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_FERPLUS_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # that of FER2013
_VOTES, _TEMPERATURE = 10, 0.35  # of FER+'s votes; how far a vote strays from what was drawn
_NUMBERS = [str(number) for number in range(256)]


@dataclass(frozen=True, slots=True)
class Options:
    """What is drawn; ``make_faces`` says what each means."""

    images: int = 1000
    persons: int = 100
    seed: int = 0
    size: int | None = None
    label_noise: float = 0.0
    intensity: tuple[float, float] = faces.INTENSITY
    weights: tuple[float, ...] | None = None
    shared_persons: bool = False
    duplicates: int = 0
    black: int = 0
    order: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An image with its number; ``label`` is what is written, ``face`` has what was drawn."""

    number: int
    split: str
    person: int
    label: int
    face: faces.Face
    black: bool = False


def make_faces(
    out: str | Path,
    form: str = "fer2013",
    *,
    images: int = 1000,
    persons: int = 100,
    seed: int = 0,
    size: int | None = None,
    label_noise: float = 0.0,
    intensity: tuple[float, float] = faces.INTENSITY,
    weights: Sequence[float] | None = None,
    shared_persons: bool = False,
    duplicates: int = 0,
    black: int = 0,
    order: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write drawn faces as a public data set is laid out, and return the folder, as ``load_data`` reads it.

    Image i depends on the seed, on i and on the settings, not on how many there are. Of ten images eight train, one is
    of PublicTest and one of PrivateTest; a form without these has both as its test images. What is written says that it
    is rendered, and ``load_data`` reports it.

    Args:
        out: a folder that is not there yet, or is empty.
        form: fer2013, icml (as ``icml_face_data.csv``: other columns, with spaces), folder, ferplus, rafdb or kdef.
        images: how many; KDEF's names suffice for 4,900.
        persons: how many there are, in tens; those of training, PublicTest and PrivateTest differ. KDEF has 70.
        seed: another one gives other persons and pictures.
        size: side in pixels; by default 48, of rafdb 100 and of kdef 96.
        label_noise: probability that a label is drawn anew from all classes: the best accuracy is 1 less 6/7 of it.
        intensity: least and largest of the expressions; smaller ones are harder.
        weights: of the classes in FER2013's order, such as its counts; by default equal.
        shared_persons: let splits have the same persons: a planted leak.
        duplicates: this many images of PrivateTest are copies of training images: a planted leak.
        black: this many training images are black, as eleven of FER2013 are.
        order: all seven classes; the k-th class of FER2013 is written as the k-th of these: a planted permutation.
        progress: called with the number of images written so far.

    Raises:
        DataError: a setting is not possible.
        StoreError: the folder is not empty, or cannot be written; nothing is left behind.

    Examples:
        >>> fb.load_data(fb.make_faces("rendered", images=50), split="private", cache=False)
        <Dataset rendered FER2013, private: 5 images of 7 classes>
    """
    given = Options(
        images,
        persons,
        seed,
        _SIZES.get(form) if size is None else size,
        label_noise,
        (intensity[0], intensity[1]),
        None if weights is None else tuple(weights),
        shared_persons,
        duplicates,
        black,
        None if order is None else expressions(order),
    )
    _check(form, given)
    with _new_folder(Path(out)) as folder:
        _WRITERS[form](folder, _counted(_draw(form, given), progress))
        written = {"rendered_by": "fer-bench data make-faces", "form": form, **asdict(given)}
        (folder / MARKER).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return Path(out)


def _check(form: str, given: Options) -> None:
    most = _KDEF_MOST if form == "kdef" else 10**7
    private = given.images // 10
    for wrong, message in (
        (form not in _WRITERS, f"the form {form!r} is unknown{nearest(form, _WRITERS)}; known: {', '.join(_WRITERS)}"),
        (not 1 <= given.images <= most, f"{given.images} images of {form}: 1 to {most:,} are possible"),
        (given.persons < 10 or given.persons % 10, f"{given.persons} persons: give tens, such as 100"),
        (
            form == "kdef" and (given.weights is not None or given.shared_persons),
            "kdef has each person with each expression, and no splits: leave weights and shared persons out",
        ),
        (given.seed < 0, f"the seed {given.seed} is negative"),
        (not 16 <= (given.size or 0) <= 1024, f"a side of {given.size} pixels: 16 to 1024 are possible"),
        (not 0 <= given.label_noise <= 1, f"a label noise of {given.label_noise}: give a share from 0 to 1"),
        (
            not 0 <= given.intensity[0] <= given.intensity[1] <= 1,
            f"intensities {given.intensity}: give the least and the largest, from 0 to 1",
        ),
        (
            given.weights is not None and not _are_weights(given.weights),
            "weights: give seven numbers from 0, one for each class in FER2013's order",
        ),
        (
            given.order is not None and sorted(given.order) != sorted(FER2013_CLASSES),
            f"the order needs each of {', '.join(FER2013_CLASSES)} once",
        ),
        (
            not 0 <= given.duplicates <= private or not 0 <= given.black <= 7 * private,
            f"{given.duplicates} duplicates and {given.black} black images: {given.images} images have room for "
            f"{private} and {7 * private}",
        ),
    ):
        if wrong:
            raise DataError(message)


def _are_weights(given: Sequence[float]) -> bool:
    return len(given) == len(FER2013_CLASSES) and all(0 <= each < math.inf for each in given) and any(given)


def _draw(form: str, given: Options) -> Iterator[_Drawn]:
    """Draw all images, in the order of their numbers."""
    draw = _draw_kdef if form == "kdef" else _draw_one
    colour = form in ("rafdb", "kdef")
    training = private = 0
    for number in range(given.images):
        drawn = draw(given, number, colour=colour)
        if drawn.split == "private" and private < given.duplicates:
            first = draw(given, private + 2 * (private // 8), colour=colour)  # the training image of that number
            drawn = replace(first, number=number, split="private")
        elif drawn.split == "training" and given.duplicates <= training < given.duplicates + given.black:
            face = faces.Face(np.zeros_like(drawn.face.pixels), drawn.face.strengths)
            drawn = replace(drawn, face=face, black=True)
        training, private = training + (drawn.split == "training"), private + (drawn.split == "private")
        yield drawn


def _draw_one(given: Options, number: int, *, colour: bool) -> _Drawn:
    """Draw the image of a number: from the seed and the number alone."""
    random = np.random.default_rng((given.seed, 1, number))
    pool = number % 10  # persons of the same last digit: those of other splits differ
    tens = int(random.integers(given.persons // 10))
    person = int(random.integers(given.persons)) if given.shared_persons else 10 * tens + pool
    weights = None if given.weights is None else np.array(given.weights) / sum(given.weights)
    label = int(random.choice(len(FER2013_CLASSES), p=weights))
    shown = _noisy(given, random, label)
    who = faces.identity(given.seed, person)
    face = faces.draw(random, who, label, given.size or 48, colour=colour, intensity=given.intensity)
    return _Drawn(number, _OF_TEN[pool], person, shown, face)


def _draw_kdef(given: Options, number: int, *, colour: bool) -> _Drawn:
    """Draw an image of KDEF: number by number another person, expression and angle, each once."""
    random = np.random.default_rng((given.seed, 1, number))
    person, rest = number % 70, number // 70
    label, angle = rest % 7, list(_KDEF_ANGLES.values())[rest // 7 % 5]
    shown = _noisy(given, random, label)
    who = faces.identity(given.seed, person)
    face = faces.draw(random, who, label, given.size or 96, colour=colour, yaw=angle / 2, intensity=given.intensity)
    return _Drawn(number, _OF_TEN[number % 10], person, shown, face)


def _noisy(given: Options, random: np.random.Generator, label: int) -> int:
    """Return the label that is written: with the noise and the order that were asked for."""
    other, replaced = int(random.integers(len(FER2013_CLASSES))), random.random() < given.label_noise
    label = other if replaced else label
    return label if given.order is None else FER2013_CLASSES.index(given.order[label])


def _write_csv(
    folder: Path,
    drawn: Iterator[_Drawn],
    name: str = "fer2013.csv",
    columns: Sequence[str] = ("emotion", "pixels", "Usage", "source"),
) -> list[_Drawn]:
    """Write a CSV, split after split, and return the images in its order, their pixels gone."""
    lines: dict[str, list[str]] = {split: [] for split in _USAGES}
    rows: dict[str, list[_Drawn]] = {split: [] for split in _USAGES}
    with (folder / name).open("w", encoding="ascii", newline="") as file:
        file.write(",".join(columns) + "\n")
        for each in drawn:
            pixels = " ".join([_NUMBERS[value] for value in each.face.pixels.ravel().tolist()])
            cells = {"emotion": str(each.label), "pixels": pixels, "Usage": _USAGES[each.split], "source": RENDERED}
            line = ",".join(cells[column.strip()] for column in columns) + "\n"
            if each.split == "training":  # the first and most: written at once
                file.write(line)
            else:
                lines[each.split].append(line)
            rows[each.split].append(replace(each, face=replace(each.face, pixels=each.face.pixels[:0])))
        for split in _USAGES:
            file.writelines(lines[split])
    return [each for split in _USAGES for each in rows[split]]


def _write_icml(folder: Path, drawn: Iterator[_Drawn]) -> None:
    """Write ``icml_face_data.csv``, whose columns stand in another order, with spaces before their names."""
    _write_csv(folder, drawn, "icml_face_data.csv", ("emotion", " Usage", " pixels", " source"))


def _write_ferplus(folder: Path, drawn: Iterator[_Drawn]) -> None:
    """Write ``fer2013.csv`` and ``fer2013new.csv``: ten votes, which stray more the nearer expressions are."""
    column = [_FERPLUS.index(name) for name in _FERPLUS_ORDER]
    lines = [f"Usage,Image name,{','.join(_FERPLUS)}\n"]
    for row, each in enumerate(_write_csv(folder, drawn)):
        away = ((faces.PROTOTYPES - each.face.strengths) ** 2).sum(1)
        likely = np.full(len(_FERPLUS), 0.01)
        likely[column] += np.exp(-(away - away.min()) / _TEMPERATURE)
        if each.black:  # all see that there is no face
            likely = np.array([0.0] * (len(_FERPLUS) - 1) + [1.0])
        votes = np.random.default_rng((each.number, each.person)).multinomial(_VOTES, likely / likely.sum())
        lines.append(f"{_USAGES[each.split]},fer{row:07d}.png,{','.join(map(str, votes.tolist()))}\n")
    (folder / "fer2013new.csv").write_text("".join(lines), encoding="ascii", newline="")


def _write_folder(folder: Path, drawn: Iterator[_Drawn]) -> None:
    marked = PngInfo()
    marked.add_text("Software", RENDERED)
    for each in drawn:
        split = "train" if each.split == "training" else "test"
        place = folder / split / FER2013_CLASSES[each.label]
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"face_{each.number:06d}_person_{each.person:04d}.png"
        Image.fromarray(each.face.pixels).save(path, pnginfo=marked, compress_level=1)


def _write_rafdb(folder: Path, drawn: Iterator[_Drawn]) -> None:
    (folder / "EmoLabel").mkdir()
    (folder / "Image" / "aligned").mkdir(parents=True)
    lines, counts = [], {"train": 0, "test": 0}
    for each in drawn:
        split = "train" if each.split == "training" else "test"
        counts[split] += 1
        stem = f"{split}_{counts[split]:05d}"
        lines.append(f"{stem}.jpg {_RAFDB.index(FER2013_CLASSES[each.label]) + 1}\n")
        _save_jpeg(folder / "Image" / "aligned" / f"{stem}_aligned.jpg", each.face.pixels)
    (folder / "EmoLabel" / "list_patition_label.txt").write_text("".join(sorted(lines)), encoding="ascii")


def _write_kdef(folder: Path, drawn: Iterator[_Drawn]) -> None:
    """Write ``KDEF/AF01/AF01ANS.JPG``: where noise or a copy has a name twice, the person's next free one is given."""
    angles = list(_KDEF_ANGLES)
    for each in drawn:
        person = f"{'FM'[each.person // 35]}{each.person % 35 + 1:02d}"
        code, place = _KDEF_CODES[FER2013_CLASSES[each.label]], each.number // 490
        names = [
            f"{'AB'[at // 5 % 2]}{person}/{'AB'[at // 5 % 2]}{person}{code}{angles[at % 5]}.JPG"
            for at in range(place, place + 10)
        ]
        path = next((folder / "KDEF" / name for name in names if not (folder / "KDEF" / name).exists()), None)
        if path is None:
            raise DataError(f"KDEF has ten names for {code} of {person}, which are given; try: fewer images")
        path.parent.mkdir(parents=True, exist_ok=True)
        _save_jpeg(path, each.face.pixels)


def _save_jpeg(path: Path, pixels: Picture) -> None:
    Image.fromarray(pixels).save(path, format="JPEG", quality=92, comment=RENDERED.encode())


_WRITERS: dict[str, Callable[[Path, Iterator[_Drawn]], object]] = {
    "fer2013": _write_csv,
    "icml": _write_icml,
    "folder": _write_folder,
    "ferplus": _write_ferplus,
    "rafdb": _write_rafdb,
    "kdef": _write_kdef,
}


def _counted(drawn: Iterator[_Drawn], progress: Callable[[int], None] | None) -> Iterator[_Drawn]:
    for count, each in enumerate(drawn, 1):
        yield each
        if progress is not None:
            progress(count)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Fill a folder that takes its place when it is whole; a failure or Ctrl-C leaves nothing behind."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is there and not empty; try: another folder, or remove it")
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=".fer-bench-", dir=out.parent))
        part.chmod(0o777 & ~_umask())
        yield part
        part.replace(out)
    except OSError as error:
        raise StoreError(
            f"cannot write {out}: {error.strerror or error}; nothing is left of it; try: free space, or another folder"
        ) from error
    finally:
        if part is not None and part.exists():
            shutil.rmtree(part, ignore_errors=True)


def _umask() -> int:
    """Return the process's mask of permissions, which can only be read by setting it."""
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
