"""``load_data``: the form of a source, its rows, the split and classes that were asked for, and the manifest."""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_bench.accuracy.data import fer2013, ferplus, folders, named, pictures, wild
from fer_bench.accuracy.data.cache import Cache
from fer_bench.accuracy.data.dataset import (
    UNLABELLED,
    Dataset,
    Dropped,
    Duplicates,
    Manifest,
    count_classes,
)
from fer_bench.accuracy.data.forms import FORMS
from fer_bench.accuracy.data.published import COUNTS
from fer_bench.accuracy.data.source import Source, pick
from fer_bench.networks.labels import expressions
from fer_bench.records.errors import DataError, nearest

ALL = "all"
_NOT_ASKED = -2  # in place of a label, of a class that is left out
# Splits as they follow each other where two have equal images; others come last.
_ORDER = {name: place for place, name in enumerate(("training", "validation", "public", "private", "test"))}
_SHOWN = 20  # groups of duplicates in a manifest, and ids of each
_BY_PERSON = re.compile(r"persons-(not-)?(\d+)-of-(\d+)")


_Splits = NDArray[np.str_]  # of each image
_Reader = Callable[[Path, Cache, str | None], Source]


def _without_rule(read: Callable[[Path, Cache], Source]) -> _Reader:
    """Return a reader of a form that has labels, and thus no rule for votes."""

    def reader(path: Path, cache: Cache, rule: str | None) -> Source:
        if rule is not None:
            raise DataError(f"the rule {rule} is for votes of FER+, which {path} does not have; try: leave it out")
        return read(path, cache)

    return reader


_READERS: dict[str, _Reader] = {
    "fer2013-csv": _without_rule(fer2013.read),
    "ferplus": ferplus.read,
    "ferplus-label": functools.partial(ferplus.read, old=True),
    "affectnet-csv": _without_rule(wild.read_affectnet_csv),
    "affectnet-npy": _without_rule(wild.read_affectnet_npy),
    "rafdb": _without_rule(wild.read_rafdb),
    "kdef": _without_rule(named.read_kdef),
    "ckplus": _without_rule(named.read_ckplus),
    "jaffe": _without_rule(named.read_jaffe),
    "labels-csv": _without_rule(folders.read_listed),
    "folder": _without_rule(folders.read),
}


def load_data(
    path: str | Path,
    *,
    form: str | None = None,
    split: str | None = None,
    rule: str | None = None,
    classes: Sequence[str] | None = None,
    without_copies: bool = False,
    cache: bool | str | Path = True,
) -> Dataset:
    """Read a data set of facial expressions.

    Args:
        path: a file or a folder.
        form: of the files, one of ``FORMS``; by default it is recognised.
        split: such as training, public, private (or PrivateTest), test or all, the default; docs/data.md has the list.
        rule: how FER+ votes become labels: majority, probability, crossentropy, multi_target or argmax.
        classes: those to keep, by name and in this order; by default all of the data set, in its own.
        without_copies: leave out images of other splits that are equal to a training image.
        cache: keep what was parsed in the user's cache folder (True), nowhere (False), or in this folder.

    Raises:
        DataError: there is no such data, it cannot be read, or it has nothing of what was asked for.

    Examples:
        >>> path = fb.make_faces("drawn", images=30, black=1)
        >>> training = fb.load_data(path, split="training", classes=["happy", "sad"], cache=False)
        >>> training.classes, training.manifest.rows
        (('happy', 'sad'), 30)
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no {path}; try: the path of a CSV or of a folder of images")
    form = detect(path) if form is None else form
    if form not in FORMS:
        raise DataError(f"the form {form!r} is unknown{nearest(form, FORMS)}; known: {', '.join(FORMS)}")
    source = _READERS[form](path, Cache.of(cache), rule)
    splits = np.array(source.splits)
    findings = [*source.findings, *_against_published(source, splits)]
    duplicates = _duplicates(source)
    if any(source.splits):
        source.groups = {"split": source.splits, **source.groups}
    split = ALL if split is None else folders.split_of(split)
    chosen, split_rule = choose(source, splits, split)
    kept = _choose_classes(source, classes)
    if without_copies:
        kept &= ~_copies(source, splits, kept)
    manifest = Manifest(
        form=source.form,
        files=source.files,
        rows=source.rows,
        dropped=source.dropped,
        split_rule=split_rule,
        label_rule=source.label_rule,
        mapping=source.mapping,
        counts=_counts(source, splits, kept),
        duplicates=duplicates,
        findings=tuple(findings),
        notes=tuple(source.notes),
        published=source.published,
        rendered=source.rendered,
    )
    whole = Dataset(
        name=f"rendered {source.name}" if source.rendered else source.name,
        classes=source.classes,
        images=source.images,
        labels=source.labels,
        targets=source.targets,
        ids=source.ids,
        groups=source.groups,
        split=split,
        manifest=manifest,
    )
    places = chosen[kept[chosen]]
    if not len(places):
        raise DataError(f"{path} has no image of the split {split} and the classes {', '.join(source.classes)}")
    return whole if len(places) == len(whole) else whole.subset(places)  # all of them in their order


def detect(path: Path) -> str:
    """Return the form of a file or folder.

    Raises:
        DataError: it is none that we read.
    """
    if path.is_file():
        if fer2013.is_csv(path):
            return "fer2013-csv"
        if path.name == ferplus.NEW:
            return "ferplus"
        if path.suffix.casefold() == ".csv":
            return "labels-csv"
        raise DataError(f"{path} is no CSV and no folder; try: the CSV, or the folder that an image is in")
    for form, there in (
        ("ferplus", ferplus.is_folder(path)),
        ("fer2013-csv", bool(fer2013.csv_files(path))),
        ("rafdb", wild.rafdb_form(path)),
        ("ckplus", named.ck_images(path) is not None),
        ("labels-csv", (path / folders.LABELS).is_file()),
    ):
        if there:
            return form
    return wild.affectnet_form(path) or named.form_of(pictures.find(path)) or "folder"


def choose(source: Source, splits: _Splits, split: str) -> tuple[NDArray[np.int64], str]:
    """Return the places of a split among those of the images, and its rule in words.

    Raises:
        DataError: the source has no such split.
    """
    every = np.arange(len(splits))
    there = sorted(set(source.splits) - {""}, key=_in_order)
    if split == ALL:
        return every, "all images"
    if split in there:
        return every[splits == split], f"as the source divides: {', '.join(there)}"
    if split == "test" and {"public", "private"} & set(there):
        return every[np.isin(splits, ("public", "private"))], "PublicTest and PrivateTest joined"
    if split in ("first-80", "last-20"):  # mini-Xception's trainer: its validation set is both test sets of FER2013
        first = int(0.8 * len(every))
        return (every[:first] if split == "first-80" else every[first:]), f"by order of rows, the first {first} train"
    if split in ("keras-training", "keras-validation", "keras-test") and there:
        return _keras(source, splits, split)
    if (by_person := _BY_PERSON.fullmatch(split)) and "person" in source.groups:
        return _by_person(source, split, inverted=bool(by_person[1]), fold=int(by_person[2]), folds=int(by_person[3]))
    known = [ALL, *there, *(["test"] if "private" in there else []), "first-80", "last-20"]
    known += ["keras-training", "keras-validation", "keras-test"] if there else []
    known += ["persons-1-of-5", "persons-not-1-of-5"] if "person" in source.groups else []
    raise DataError(f"there is no split {split!r}{nearest(split, known)}; splits: {', '.join(dict.fromkeys(known))}")


def _keras(source: Source, splits: _Splits, split: str) -> tuple[NDArray[np.int64], str]:
    """Divide as Keras' ``validation_split=0.2`` does: of each class the first fifth, in order, validates.

    Paper 003 did so with the folder of training images and with that of test images: it trains on the first's
    training part (22,968) and tests on the second's validation part (1,432).
    """
    test = np.isin(splits, ("test", "public", "private"))
    side = test if split == "keras-test" else splits == "training"
    validating = np.zeros(len(splits), np.bool_)
    for label in range(len(source.classes)):
        places = np.flatnonzero(side & (source.labels == label))
        validating[places[: int(0.2 * len(places))]] = True
    rule = "Keras' validation_split=0.2: of each class the first fifth of the "
    if split == "keras-training":
        return np.flatnonzero(side & ~validating & (source.labels != UNLABELLED)), f"{rule}training images left out"
    return np.flatnonzero(validating), f"{rule}{'test' if split == 'keras-test' else 'training'} images"


def _by_person(source: Source, split: str, *, inverted: bool, fold: int, folds: int) -> tuple[NDArray[np.int64], str]:
    """Divide persons, in the order of their names, in turn among folds."""
    persons = sorted(set(source.groups["person"]))
    if not 1 <= fold <= folds <= len(persons) or folds == 1:
        raise DataError(f"{split} is not possible with {len(persons)} persons: K of N is from 1 of 2 to N of that many")
    inside = {name for number, name in enumerate(persons) if number % folds == fold - 1}
    of_fold = np.array([name in inside for name in source.groups["person"]])
    rule = f"by person: {len(inside)} of {len(persons)} in fold {fold} of {folds}"
    return np.flatnonzero(of_fold != inverted), rule + (", the others here" if inverted else "")


def _choose_classes(source: Source, asked: Sequence[str] | None) -> NDArray[np.bool_]:
    """Give a source the classes that were asked for; return which images are of these, or have no label."""
    kept = np.ones(len(source.labels), np.bool_)
    if asked is None:
        return kept
    classes = expressions(asked)
    if unknown := [name for name in classes if name not in source.classes]:
        raise DataError(f"there is no class {', '.join(unknown)} in {source.name}; it has {', '.join(source.classes)}")
    before = source.classes
    place = np.array([*(classes.index(name) if name in classes else _NOT_ASKED for name in before), UNLABELLED])
    labels = place[source.labels]
    kept[labels == _NOT_ASKED] = False
    source.dropped += tuple(
        Dropped(source.ids[at], f"class {before[source.labels[at]]}, which was not asked for", fault=False)
        for at in np.flatnonzero(~kept)
    )
    source.labels, source.classes = np.where(kept, labels, UNLABELLED), classes
    if source.targets is not None:
        targets = source.targets[:, [before.index(name) for name in classes]]
        source.targets = targets / np.maximum(targets.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    return kept


def _copies(source: Source, splits: _Splits, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which images, of those that are kept, are of another split than training and equal to one of it."""
    training = splits == "training"
    copies = kept & ~training & np.isin(source.digests, source.digests[training])
    source.dropped += tuple(
        Dropped(source.ids[at], "equal to a training image", fault=False) for at in np.flatnonzero(copies)
    )
    return np.asarray(copies)


def _counts(source: Source, splits: _Splits, kept: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    return {
        name or ALL: count_classes(source.labels[(splits == name) & kept], source.classes)
        for name in sorted(set(source.splits), key=_in_order)
    }


def _in_order(split: str) -> tuple[int, str]:
    return _ORDER.get(split, len(_ORDER)), split


def _against_published(source: Source, splits: _Splits) -> list[str]:
    """Compare class counts with the published ones; several small differences are one finding."""
    published = COUNTS.get(source.published, {})
    if not published or source.rendered:
        return []
    wrong = []
    for split, right in published.items():
        at = splits == split if split != ALL else np.ones(len(splits), np.bool_)
        ours = count_classes(source.labels[at], source.classes)
        if at.any() and sum(ours.values()):
            wrong += [
                f"{'' if split == ALL else f'{split} '}{name} {ours.get(name, 0):,} where {number:,} is right"
                for name, number in right.items()
                if ours.get(name, 0) != number
            ]
    return [f"not {source.published} as published: {'; '.join(wrong)}"] if wrong else []


def _duplicates(source: Source) -> Duplicates:
    """Find equal images by their digests."""
    _, numbers, sizes = np.unique(source.digests, return_inverse=True, return_counts=True)
    several: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(sizes[numbers] > 1).tolist():
        several[int(numbers[place])].append(place)
    inside: Counter[str] = Counter()
    across: Counter[str] = Counter()
    conflicting = 0
    for places in several.values():
        by_split = Counter(source.splits[place] for place in places)
        inside.update({name or ALL: number - 1 for name, number in by_split.items() if number > 1})
        there = sorted(by_split, key=_in_order)
        across.update({f"{a or ALL}, {b or ALL}": by_split[b] for at, a in enumerate(there) for b in there[at + 1 :]})
        labels = {int(source.labels[place]) for place in places} - {UNLABELLED}
        conflicting += len(places) if len(labels) > 1 else 0
    listed = [places[:_SHOWN] for places in sorted(several.values())[:_SHOWN]]
    return Duplicates(
        dict(inside), dict(across), conflicting, tuple(pick(source.ids, np.array(places)) for places in listed)
    )
