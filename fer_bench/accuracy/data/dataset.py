"""A data set in memory or on the disk, and the manifest that a record keeps of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fer_bench.records.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas

Picture = NDArray[np.uint8]  # (H, W) grey or (H, W, 3) RGB
UNLABELLED = -1
_LISTED = 20  # dropped rows and duplicates that a record lists; of more it has the number


class Images(Sequence[Picture]):
    """Images by their place: uint8, (H, W) grey or (H, W, 3) RGB, upright. Each is read when it is asked for."""

    def __init__(self, count: int, read: Callable[[int], Picture], rows: NDArray[np.int64] | None = None) -> None:
        """Wrap a function that returns the image of a row.

        Args:
            count: rows that there are.
            read: returns one; may be pickled, so that workers of a loader can read.
            rows: those that this sequence has, in its order; by default all.
        """
        self._count, self._read = count, read
        self._rows = np.arange(count) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Picture: ...
    @overload
    def __getitem__(self, place: slice) -> "Images": ...
    def __getitem__(self, place: int | slice) -> "Picture | Images":
        if isinstance(place, slice):
            return self.subset(np.arange(len(self))[place])
        return self._read(int(self._rows[place]))

    def subset(self, places: NDArray[np.int64]) -> "Images":
        """Return the images at these places, in their order; no pixel is copied."""
        return Images(self._count, self._read, self._rows[places])

    def stacked(self) -> Picture:
        """Return all images as one array, (N, H, W) or (N, H, W, 3).

        Raises:
            DataError: they differ in size or in colour.
        """
        pictures = [self[place] for place in range(len(self))]
        shapes = Counter(picture.shape for picture in pictures)
        if len(shapes) > 1:
            listed = ", ".join(f"{count} of {shape}" for shape, count in shapes.most_common(4))
            raise DataError(f"the images have different shapes: {listed}; try: resize them before they are stacked")
        return np.stack(pictures) if pictures else np.empty((0, 0, 0), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class InArray:
    """Reads images from an array of (N, H, W) or (N, H, W, 3), uint8."""

    pixels: Picture

    def __call__(self, row: int) -> Picture:
        return np.asarray(self.pixels[row])


@dataclass(frozen=True, slots=True, eq=False)
class InFiles:
    """Reads images from files."""

    files: tuple[Path, ...]

    def __call__(self, row: int) -> Picture:
        return read_image(self.files[row])


def read_image(path: Path) -> Picture:
    """Read an image file: grey as (H, W), else RGB as (H, W, 3); turned as its EXIF says, transparency dropped.

    Raises:
        DataError: it is no image, or is cut short.
    """
    try:
        with Image.open(path) as opened:
            return pixels_of(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the image {path}: {' '.join(str(error).split())[:200]}") from error


def pixels_of(image: Image.Image) -> Picture:
    """Return the pixels of an opened image as ``read_image`` does."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey
        return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    return np.array(image.convert("L" if image.mode in ("1", "L", "LA", "F") else "RGB"))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read, or a folder of images: its SHA-256 is then of the sorted names and hashes of the files.

    ``known`` names a published file with the same bytes, "" for none.
    """

    path: str
    bytes: int
    sha256: str
    files: int = 1
    known: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row or a file that has no image in the data set, and why: by a fault, or by a rule that was asked for."""

    id: str
    reason: str
    fault: bool = True


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Images that are equal byte for byte: pixels of a CSV, files of a folder.

    Attributes:
        inside: by split, images that repeat an earlier one of the same split.
        across: by two splits, as "training, private", images of the second that are in the first, too.
        conflicting: images with an equal one of another label.
        groups: the ids of equal images, at most twenty of each of the first twenty groups.
    """

    inside: Mapping[str, int]
    across: Mapping[str, int]
    conflicting: int
    groups: tuple[tuple[str, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.inside or self.across)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was read, and what became of it. It is of the whole source, whichever split a data set has of it.

    Attributes:
        form: of the files, as ``fer2013-csv``.
        files: what was read.
        rows: rows or image files that the source has.
        dropped: those that are not in the data set.
        split_rule: how images were divided.
        label_rule: how labels were made, such as "majority of fer2013new.csv".
        mapping: what the source writes for each class.
        counts: by split, images of each class.
        duplicates: equal images.
        findings: what contradicts the published data set, or makes an accuracy doubtful.
        notes: what else a reader should know.
        published: the key of ``published.COUNTS`` that class counts were compared with, "" for none.
        rendered: drawn by ``fer-bench data make-faces``: no person's face.
    """

    form: str
    files: tuple[SourceFile, ...]
    rows: int
    dropped: tuple[Dropped, ...]
    split_rule: str
    label_rule: str
    mapping: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]
    duplicates: Duplicates
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    published: str = ""
    rendered: bool = False

    def reasons(self) -> dict[str, int]:
        """Return how many rows were dropped for each reason."""
        return dict(Counter(each.reason for each in self.dropped).most_common())


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images with their labels, by names of classes.

    Attributes:
        name: "FER2013", "RAF-DB", "images" of an unknown source, or "rendered FER2013" of drawn faces in its form.
        classes: names of ``fer_bench.networks.labels``, in the order of the labels.
        images: uint8 arrays, (H, W) grey or (H, W, 3) RGB.
        labels: (N,) int64, a place in ``classes``; -1 where an image has none.
        targets: (N, K) float32, a distribution of labels for each image (FER+); rows sum to 1.
        ids: what names an image: "row 17" from 0, or its path in the folder.
        groups: columns such as split, person, sex, age, pose: N values each.
        split: that was asked for, or "all".
        manifest: of the whole source.

    Examples:
        >>> faces = fb.load_data(fb.make_faces("faces", "folder", images=40), split="test", cache=False)
        >>> len(faces), faces.images[0].shape, faces.manifest.rendered
        (8, (48, 48), True)
    """

    name: str
    classes: tuple[str, ...]
    images: Images
    labels: NDArray[np.int64]
    targets: NDArray[np.float32] | None
    ids: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    split: str
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}, {self.split}: {len(self)} images of {len(self.classes)} classes>"

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Where an image has a label."""
        return np.not_equal(self.labels, UNLABELLED)

    @property
    def persons(self) -> tuple[str, ...] | None:
        """Each image's person; None where persons are unknown."""
        return self.groups.get("person")

    def group(self, column: str) -> tuple[str, ...]:
        """Return each image's value of a column.

        Raises:
            DataError: there is no such column.
        """
        if column not in self.groups:
            known = ", ".join(self.groups) or "none"
            raise DataError(f"the data have no column {column!r}{nearest(column, self.groups)}; columns: {known}")
        return self.groups[column]

    def counts(self) -> dict[str, int]:
        """Return the images of each class, in the order of the classes."""
        return count_classes(self.labels, self.classes)

    def subset(self, places: Sequence[int] | NDArray[Any], split: str | None = None) -> Self:
        """Return the images at these places, or where a mask is true, in their order.

        Args:
            places: of images, or a mask of N.
            split: a name for them; by default as it is.
        """
        at = np.asarray(places)
        at = np.flatnonzero(at) if at.dtype == np.bool_ else at.astype(np.int64)
        return replace(
            self,
            images=self.images.subset(at),
            labels=self.labels[at],
            targets=None if self.targets is None else self.targets[at],
            ids=tuple(self.ids[place] for place in at),
            groups={name: tuple(values[place] for place in at) for name, values in self.groups.items()},
            split=self.split if split is None else split,
        )

    def levels(self) -> dict[str, list[int]]:
        """Return how many pixels of each class have each level from 0 to 255; of colours all three count."""
        levels = np.zeros((len(self.classes) + 1, 256), np.int64)  # the last is of images without a label
        for place, label in enumerate(self.labels.tolist()):
            levels[label] += np.bincount(self.images[place].ravel(), minlength=256)
        names = (*self.classes, "unlabelled")
        return {name: of.tolist() for name, of in zip(names, levels, strict=True) if of.any()}

    def describe(self) -> dict[str, Any]:
        """Return what a record keeps of the data set, as JSON takes it: no pixel, of long lists their length."""
        manifest = asdict(replace(self.manifest, dropped=self.manifest.dropped[:_LISTED]))
        manifest["reasons"] = self.manifest.reasons()
        return {
            "name": self.name,
            "split": self.split,
            "images": len(self),
            "classes": list(self.classes),
            "counts": self.counts(),
            "unlabelled": int(np.count_nonzero(~self.labelled)),
            "manifest": manifest,
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row for each image: its id, its class and its groups, without pixels."""
        import pandas

        names = np.array([*self.classes, ""])  # the last is where -1 is
        return pandas.DataFrame({"id": self.ids, "class": names[self.labels], **self.groups})


def count_classes(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    """Return the labels of each class; those without one are left out."""
    numbers = np.bincount(labels[labels != UNLABELLED], minlength=len(classes))
    return {name: int(number) for name, number in zip(classes, numbers, strict=True)}
