"""What is known of a network and of a paper before anything is built."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from fer_bench.networks.contract import InputContract
from fer_bench.records.limits import NO_LIMITS, Budget
from fer_bench.records.schema import Count, Name, Size

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
Shape = tuple[int, ...]  # (C, H, W); of a clip (C, T, H, W)
DEFAULT_INPUT: Shape = (3, 224, 224)
# Of these: what a network reached, under conditions.
RESULTS = frozenset(("accuracy", "train_accuracy", "validation_loss", "true_positive_rate", "confusion_matrix"))
DEFAULT_CLASSES = 7  # the basic expressions of FER2013


@dataclass(frozen=True, slots=True)
class Source:
    """Where the code of a network is.

    Attributes:
        kind: "published" where there is none; "artefact" of a file that a runtime loads, which has none of ours.
        label: the function that makes the network, or the library's name of the network.
        module: of the zoo the family, of "module" the importable module.
        file: of "file" the path.
    """

    kind: Literal["zoo", "timm", "torchvision", "file", "module", "artefact", "published"]
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


ARTEFACTS = (".onnx", ".xml", ".pte", ".tflite")  # how the names of files end that a backend's runtime loads
PUBLISHED = Source("published")
USERS_MODULE = Source("module")  # of an instance that a user has built, and no process but his can have


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a published result was obtained: None and "" where that is not known.

    Attributes:
        input_shape: (C, H, W) of the images.
        num_classes: outputs of the network.
        split: what was evaluated, such as "test".
        metric: such as "accuracy", over all images, or "mean class accuracy".
        passes: forward passes an image: more than one with test-time augmentation or in an ensemble.
        selected_on: the split by which the epoch or the variant was chosen.
        runs: what the figure is of several trainings: "best" or "mean"; "single" of one.
    """

    input_shape: Shape | None = None
    num_classes: int | None = None
    split: str = ""
    metric: str = ""
    passes: int | None = None
    selected_on: str = ""
    runs: str = ""

    @property
    def build(self) -> tuple[Shape, int] | None:
        """The input and the classes of the network that had the result; None where one is unknown."""
        if self.input_shape is None or self.num_classes is None:
            return None
        return self.input_shape, self.num_classes

    def __str__(self) -> str:
        size = "x".join(map(str, self.input_shape)) if self.input_shape else "unknown"
        runs = f"{self.runs} run" if self.runs in ("single", "best") else self.runs and f"{self.runs} of the runs"
        return "; ".join(
            (
                f"input {size}",
                f"{self.num_classes or 'unknown'} classes",
                f"split {self.split or 'unknown'}",
                self.metric or "metric unknown",
                f"{self.passes or 'unknown'} pass{'' if self.passes == 1 else 'es'} an image",
                f"selected on {self.selected_on or 'unknown'}",
                runs or "runs unknown",
            )
        )


UNKNOWN = Conditions()


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: the digits as printed, the unit as printed, and where.

    ``units.printed_value`` gives the number in base units.

    Attributes:
        subject: what it is about, where that is no network of the sheets.
        arithmetic: the figure worked out from others that the paper prints, such as "142.9 / 3.45".
        of: of how many things the figure is a share, as the paper prints that.
        networks: networks that can be built and that a paper's own figure is about, the first above all.
        over: the setting that varies from one to the next of the ``variants`` of these networks, where the figure says
            in words that their parameters rise or fall.
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
    over: str = ""
    note: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    conditions: Conditions = UNKNOWN


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper: what it is, and the figures that are about none of the networks of the sheets.

    ``results`` has, by data set, what holds of its results where a figure does not say otherwise.
    """

    id: Name
    title: str
    authors: str = ""
    venue: str = ""
    year: int | None = None
    link: str = ""
    protocol: str = ""
    file_note: str = ""
    figures: tuple[Figure, ...] = ()
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def cited(self) -> str:
        """Return its title, venue and year."""
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
        variants: settings that the paper varied, each with the values that it tried, in order.
        published: figures that the papers print.
        gate: limits that the network stays under.
        input: what is done to a picture, and what the outputs stand for; None where a sheet does not say.
        min_size: the smallest H and W that the network runs at.

    Examples:
        >>> spec = fb.find("resmaskingnet")
        >>> isinstance(spec, fb.ModelSpec), spec.num_classes, spec.figures("accuracy")[0].paper
        (True, 7, '001')
    """

    name: str
    source: Source
    title: str
    input_shape: Shape | None = DEFAULT_INPUT
    num_classes: int = DEFAULT_CLASSES
    status: Status = "unregistered"
    min_size: Size = 1
    citation: str = ""
    link: str = ""
    papers: tuple[str, ...] = ()
    note: str = ""
    choices: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    expected: Mapping[str, Count] = field(default_factory=dict)
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: tuple[Figure, ...] = ()
    gate: Budget = NO_LIMITS
    input: InputContract | None = None

    @property
    def can_be_built(self) -> bool:
        """False where a sheet only holds what others published."""
        return self.source.kind != "published"

    @property
    def published_builds(self) -> tuple[tuple[Shape, int], ...]:
        """Input and classes of the builds that had the published results, as far as these are known."""
        return tuple(dict.fromkeys(figure.conditions.build for figure in self.published if figure.conditions.build))

    def builds_like(self, other: Self) -> bool:
        """Compare all that a build depends on: not the figures, variants, limits, contract or the folder of a file."""
        ours, theirs = (
            dataclasses.replace(
                spec,
                published=(),
                variants={},
                gate=NO_LIMITS,
                input=None,
                source=dataclasses.replace(spec.source, file=Path(spec.source.file).name),
            )
            for spec in (self, other)
        )
        return ours == theirs

    def figures(self, quantity: str, paper: str | None = None) -> list[Figure]:
        """Return the published figure of a quantity, of any paper or of one; of accuracy, one for each data set.

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
