"""Read the sheets and find networks, without importing any of them.

A sheet is ``models/<family>.toml``; its table ``[name]`` registers the function ``name`` of ``models/<family>.py``, and
holds the facts: input, classes, paper, expected counts, and every figure that the papers print. What a network costs is
left to the profilers; making it, to ``building``.
"""

import difflib
import functools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fer_bench.errors import SheetError, UnknownModelError

Status = Literal["exact", "library", "inferred", "reconstruction", "stand-in", "unregistered"]
STATUSES: dict[str, str] = {
    "exact": "follows an original and reproduces its counts",
    "library": "torchvision's or timm's own build",
    "inferred": "the paper does not say which network; arithmetic identifies it",
    "reconstruction": "the original is not public; built to fit the published figures",
    "stand-in": "the paper names no architecture; a plausible substitute",
    "unregistered": "the user's own, or a library's; no sheet",
}
QUANTITIES = frozenset(
    """parameters trainable_parameters flops latency file_size conv_layers pooling_layers fc_layers accuracy
    train_accuracy validation_loss cpu_percent user_percent system_percent memory_percent memory parameter_ratio
    parameter_reduction accuracy_gain accuracy_rank input_size output_size image_count class_count model_count
    share_of_models train_time epochs true_positive_rate frame_rate latency_budget recipe environment
    confusion_matrix""".split()
)

_SHEETS = Path(__file__).parent / "models"
DEFAULT_INPUT = (3, 224, 224)
_DEFAULT_CLASSES = 7  # the basic expressions of FER2013


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: the digits as printed, the unit as printed, and where.

    ``units.printed_value`` gives the number in base units.
    """

    quantity: str
    printed: str
    unit: str
    paper: str
    where: str
    row: str = ""
    column: str = ""
    stage: str = ""
    dataset: str = ""
    convention: str = ""
    arithmetic: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a network before it is built.

    Attributes:
        name: as users type it.
        source: "zoo", "timm", "torchvision", "file" or "module".
        target: what to import: the family, the library's name, or ``path.py:factory`` / ``package.module:factory``.
        input_shape: (C, H, W); None for a timm network, which knows its own.
        num_classes: the sheet's.
        status: how far the build can be trusted (``STATUSES``).
        note: a sentence to show wherever the network is shown, or "".
        choices: what was chosen where the source is open.
        uncertain: quantities that rest on assumptions: of "parameters", "macs", "latency".
        expected: counts of the original, by name.
        published: figures that the papers print.
        min_size: the smallest H and W that the network runs at.
    """

    name: str
    source: Literal["zoo", "timm", "torchvision", "file", "module"]
    target: str
    title: str
    input_shape: tuple[int, int, int] | None = DEFAULT_INPUT
    num_classes: int = _DEFAULT_CLASSES
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


_KEYS = frozenset(ModelSpec.__dataclass_fields__) - {"name", "source", "target"}
_FIGURE_KEYS = frozenset(Figure.__dataclass_fields__)


def _figures(place: str, entries: list[dict[str, Any]]) -> Iterator[Figure]:
    for entry in entries:
        unknown = entry.keys() - _FIGURE_KEYS
        missing = {"quantity", "printed", "unit", "paper", "where"} - entry.keys()
        if unknown or missing:
            raise SheetError(f"{place}: a published figure {_complaint(missing, unknown)}: {entry}")
        if entry["quantity"] not in QUANTITIES:
            raise SheetError(f"{place}: unknown quantity {entry['quantity']!r}; known: {', '.join(sorted(QUANTITIES))}")
        yield Figure(**entry)


def _complaint(missing: set[str], unknown: set[str]) -> str:
    parts = [f"lacks {', '.join(sorted(missing))}"] if missing else []
    parts += [f"has unknown keys {', '.join(sorted(unknown))}"] if unknown else []
    return " and ".join(parts)


def _spec(path: Path, name: str, table: dict[str, Any]) -> ModelSpec:
    place = f"{path.name} [{name}]"
    missing, unknown = {"title", "input_shape", "num_classes", "status"} - table.keys(), table.keys() - _KEYS
    if missing or unknown:
        raise SheetError(f"{place} {_complaint(missing, unknown)}")
    shape = table["input_shape"]
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise SheetError(f"{place}: input_shape is {shape!r}, expected [channels, height, width]")
    if table["status"] not in STATUSES:
        raise SheetError(f"{place}: status {table['status']!r} is none of {', '.join(STATUSES)}")
    published = tuple(_figures(place, table.get("published", [])))
    rest: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key != "published"
    }
    return ModelSpec(name=name, source="zoo", target=path.stem, published=published, **rest)


def read_sheet(path: Path) -> dict[str, ModelSpec]:
    """Read one sheet.

    Raises:
        SheetError: the file is no TOML, or a table lacks a key or has one that no sheet has.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise SheetError(f"{path}: {error}") from error
    return {name: _spec(path, name, table) for name, table in tables.items()}


@functools.cache
def sheets() -> Mapping[str, ModelSpec]:
    """Read all sheets of the zoo, once; networks by name, in alphabetical order.

    Raises:
        SheetError: a sheet is wrong, or two register one name.
    """
    found: dict[str, ModelSpec] = {}
    for path in sorted(_SHEETS.glob("*.toml")):
        for name, spec in read_sheet(path).items():
            if name in found:
                raise SheetError(f"{name} is registered twice: in {found[name].target}.toml and in {path.name}")
            found[name] = spec
    return dict(sorted(found.items()))


@functools.cache
def paper_title(paper: str) -> str:
    """Name one of the papers: "001" is its title and venue, from ``models/papers/001.toml``.

    Raises:
        SheetError: there is no such paper.
    """
    path = _SHEETS / "papers" / f"{paper}.toml"
    try:
        with path.open("rb") as file:
            about = tomllib.load(file)["paper"]
    except FileNotFoundError as error:
        raise SheetError(f"there is no paper {paper!r}: {path} is missing") from error
    return " ".join(filter(None, (f"{about['title']}.", str(about.get("venue", "")), str(about.get("year", "")))))


def list_models() -> list[str]:
    """Name the networks of the zoo, alphabetically."""
    return list(sheets())


def find(name: str) -> ModelSpec:
    """Find a network by name.

    A name is one of the zoo, ``timm:NAME``, ``torchvision:NAME``, ``path/to/file.py:factory`` or
    ``package.module:factory``.

    Raises:
        UnknownModelError: the zoo has no such name; the message has the nearest ones. Whether a library or a file has
            it is only known when it is built.
    """
    zoo = sheets()
    if name in zoo:
        return zoo[name]
    source, colon, target = name.partition(":")
    if colon and source and target:
        if source == "timm":
            return ModelSpec(name, "timm", target, target, input_shape=None)
        if source == "torchvision":
            return ModelSpec(name, "torchvision", target, target)
        path, _, factory = name.rpartition(":")
        if path.endswith(".py"):
            return ModelSpec(name, "file", name, factory)
        return ModelSpec(name, "module", name, factory)
    if name.endswith(".py"):
        raise UnknownModelError(f"{name} is a file: name the function in it that makes the network, {name}:FACTORY")
    raise UnknownModelError(
        f"no network is called {name!r}{nearest(name, zoo)}; `fer-bench list` shows the {len(zoo)} there are, "
        "and timm:NAME, torchvision:NAME, file.py:factory or package.module:factory name any other"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the known names was meant: " (did you mean resnet50 or resnet101?)", or ""."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    near = near or [n for n in names if name and name.lower() in n][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
