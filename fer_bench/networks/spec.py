"""What is known of a network and of a paper before anything is built."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from fer_bench.records.limits import NO_LIMITS, Budget

Status = Literal["exact", "library", "inferred", "reconstruction", "stand-in", "unregistered"]
STATUSES: dict[str, str] = {
    "exact": "follows an original and reproduces its counts",
    "library": "torchvision's or timm's own build",
    "inferred": "the paper does not say which network; arithmetic identifies it",
    "reconstruction": "the original is not public; built to fit the published figures",
    "stand-in": "the paper names no architecture; a plausible substitute",
    "unregistered": "the user's own, or a library's",
}
QUANTITIES = frozenset(
    """parameters trainable_parameters flops latency file_size conv_layers pooling_layers fc_layers accuracy
    train_accuracy validation_loss cpu_percent user_percent system_percent memory_percent memory parameter_ratio
    parameter_reduction accuracy_gain accuracy_rank input_size output_size image_count class_count model_count
    share_of_models train_time epochs true_positive_rate frame_rate latency_budget recipe environment
    confusion_matrix""".split()
)
DEFAULT_INPUT = (3, 224, 224)
DEFAULT_CLASSES = 7  # the basic expressions of FER2013


@dataclass(frozen=True, slots=True)
class Source:
    """Where the code of a network is.

    Attributes:
        kind: "published" where there is none.
        label: the function that makes the network, or the library's name of the network.
        module: of the zoo the family, of "module" the importable module.
        file: of "file" the path.
    """

    kind: Literal["zoo", "timm", "torchvision", "file", "module", "published"]
    label: str = ""
    module: str = ""
    file: str = ""

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Read ``timm:NAME``, ``torchvision:NAME``, ``file.py:factory`` or ``module:factory``; None for other names."""
        place, colon, label = name.rpartition(":")
        if not (colon and place and label):
            return None
        if place.endswith(".py"):
            return cls("file", label, file=place)
        if place == "timm":
            return cls("timm", label)
        return cls("torchvision", label) if place == "torchvision" else cls("module", label, module=place)

    @property
    def users(self) -> bool:
        """True if the code is the user's own, which is imported in workers only."""
        return self.kind in ("file", "module")

    @property
    def library(self) -> str:
        """The module that holds the code, or "" where that is the user's own or nowhere."""
        if self.kind == "zoo":
            return f"fer_bench.models.{self.module}"
        return self.kind if self.kind in ("timm", "torchvision") else ""

    def related_to(self, other: Self) -> bool:
        """True of one network under two names, and of networks of one family of the zoo."""
        return self == other or (self.kind == "zoo" and self.library == other.library)


PUBLISHED = Source("published")


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: the digits as printed, the unit as printed, and where.

    ``units.printed_value`` gives the number in base units.

    Attributes:
        subject: what it is about, where that is no network of the sheets.
        arithmetic: the figure worked out from others that the paper prints, such as "142.9 / 3.45".
        of: of how many things the figure is a share, as the paper prints that.
        networks: networks that can be built and that a paper's own figure is about, the first above all.
        rows, columns: headings of a confusion matrix, whose ``printed`` is a list of rows.
    """

    quantity: str
    printed: str
    unit: str
    paper: str
    where: str
    subject: str = ""
    row: str = ""
    column: str = ""
    stage: str = ""
    dataset: str = ""
    convention: str = ""
    arithmetic: str = ""
    of: str = ""
    networks: tuple[str, ...] = ()
    note: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper: what it is, and the figures that are about none of the networks of the sheets."""

    id: str
    title: str
    authors: str = ""
    venue: str = ""
    year: int | None = None
    link: str = ""
    protocol: str = ""
    file_note: str = ""
    figures: tuple[Figure, ...] = ()

    @property
    def cited(self) -> str:
        """Give its title, venue and year."""
        return " ".join(filter(None, (f"{self.title}.", self.venue, str(self.year or ""))))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a network before it is built.

    Attributes:
        name: as users type it.
        source: where its code is.
        input_shape: (C, H, W); None for a timm network, which knows its own.
        num_classes: the sheet's.
        status: how far the build can be trusted (``STATUSES``).
        note: a sentence to show wherever the network is shown, or "".
        choices: what was chosen where the source is open.
        uncertain: quantities that rest on assumptions: of "parameters", "macs", "latency".
        expected: counts of the original, by name.
        published: figures that the papers print.
        gate: limits that the network stays under.
        min_size: the smallest H and W that the network runs at.
    """

    name: str
    source: Source
    title: str
    input_shape: tuple[int, int, int] | None = DEFAULT_INPUT
    num_classes: int = DEFAULT_CLASSES
    status: Status = "unregistered"
    min_size: int = 1
    citation: str = ""
    link: str = ""
    papers: tuple[str, ...] = ()
    note: str = ""
    choices: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    published: tuple[Figure, ...] = ()
    gate: Budget = NO_LIMITS

    @property
    def can_be_built(self) -> bool:
        """False where a sheet only holds what others published."""
        return self.source.kind != "published"

    def builds_like(self, other: Self) -> bool:
        """Compare all that a build depends on: not the published figures, the limits, or the folder of a file."""
        ours, theirs = (
            dataclasses.replace(
                spec,
                published=(),
                gate=NO_LIMITS,
                source=dataclasses.replace(spec.source, file=Path(spec.source.file).name),
            )
            for spec in (self, other)
        )
        return ours == theirs

    def figures(self, quantity: str, paper: str | None = None) -> list[Figure]:
        """Give the published figure of a quantity, of any paper or of one; of accuracy, one for each data set.

        Where a paper prints several, the one in a table stands for the ones in the text, then the one with more digits.
        """
        best: dict[str, Figure] = {}
        for figure in self.published:
            if figure.quantity == quantity and paper in (None, figure.paper):
                kind = figure.dataset if quantity == "accuracy" else ""
                if kind not in best or _weight(figure) > _weight(best[kind]):
                    best[kind] = figure
        return list(best.values())


def _weight(figure: Figure) -> tuple[bool, int]:
    return figure.where.startswith(("Table", "Fig")), sum(character.isdigit() for character in figure.printed)
