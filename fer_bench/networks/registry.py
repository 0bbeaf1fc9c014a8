"""Read the sheets and find networks, without importing any of them.

A sheet is ``models/<family>.toml``; its table ``[name]`` registers the function ``name`` of ``models/<family>.py``, and
holds the facts: input, classes, paper, expected counts, and every figure that the papers print. What a paper prints
about none of the networks stands in ``models/papers/<id>.toml``. What a network costs is left to the profilers; making
it, to ``building``.

A user's folders of sheets, named by the environment variable ``FER_BENCH_SHEETS`` (``--sheets`` sets it), are read
beside ours. A table there may have code beside it, as ours; or name a known network under ``network``; or have neither,
and then it only holds what others published.

A table ``[name.gate]`` holds limits that ``fer-bench gate`` keeps the network under; ``[gate]`` holds those of all
networks of the sheet, where they say none of their own.
"""

import contextlib
import dataclasses
import difflib
import functools
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fer_bench.records.errors import FerBenchError, SheetError, UnknownModelError
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

_SHEETS = Path(__file__).parent.parent / "models"
_zoo = _SHEETS  # ours, as installed or of another checkout
_USERS_SHEETS = "FER_BENCH_SHEETS"  # folders; an environment variable, so that workers read the same sheets
DEFAULT_INPUT = (3, 224, 224)
_DEFAULT_CLASSES = 7  # the basic expressions of FER2013


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
        built_as: the network that a user's sheet names as the one to build, or "".
        source: "zoo", "timm", "torchvision", "file" or "module"; "published" where nothing can be built.
        target: what to import: the family, the library's name, or ``path.py:factory`` / ``package.module:factory``.
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
    source: Literal["zoo", "timm", "torchvision", "file", "module", "published"]
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
    built_as: str = ""
    gate: Budget = NO_LIMITS

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


_KEYS = frozenset(ModelSpec.__dataclass_fields__) - {"name", "source", "target", "built_as"} | {"network"}
_LISTS = ("printed", "networks", "rows", "columns")  # of a figure; ``printed`` for a confusion matrix alone
_FIGURE_KEYS = frozenset(Figure.__dataclass_fields__)
# Of a paper's own figures: what no network has.
_PAPER_QUANTITIES = frozenset("citation claim class_labels count definition layer_detail name protocol share".split())
_PAPER_QUANTITIES |= {"variant_index"}


def _figures(place: str, entries: list[dict[str, Any]], known: frozenset[str] = QUANTITIES) -> Iterator[Figure]:
    for entry in entries:
        unknown = entry.keys() - _FIGURE_KEYS
        missing = {"quantity", "printed", "unit", "paper", "where"} - entry.keys()
        if unknown or missing:
            raise SheetError(f"{place}: a published figure {_complaint(missing, unknown)}: {entry}")
        wrong = [
            (key, value)
            for key, value in entry.items()
            if not isinstance(value, str) and not (key in _LISTS and isinstance(value, list))
        ]
        if wrong:
            raise SheetError(f"{place}: {wrong[0][0]} is {wrong[0][1]!r}, expected text in quotes, as it is printed")
        if entry["quantity"] not in known:
            raise SheetError(f"{place}: unknown quantity {entry['quantity']!r}; known: {', '.join(sorted(known))}")
        yield Figure(**{key: _frozen(value) for key, value in entry.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _complaint(missing: set[str], unknown: set[str]) -> str:
    parts = [f"lacks {', '.join(sorted(missing))}"] if missing else []
    parts += [f"has unknown keys {', '.join(sorted(unknown))}"] if unknown else []
    return " and ".join(parts)


def _spec(path: Path, name: str, table: dict[str, Any], limits: Budget, *, users: bool) -> ModelSpec:
    place = f"{path.name} [{name}]"
    if not isinstance(table, dict):
        raise SheetError(f"{place} is no table: a sheet has one for each network, headed [name]")
    needed = {"title"} if users else {"title", "input_shape", "num_classes", "status"}
    missing, unknown = needed - table.keys(), table.keys() - _KEYS
    if missing or unknown:
        raise SheetError(f"{place} {_complaint(missing, unknown)}")
    shape = table.get("input_shape", list(DEFAULT_INPUT))
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise SheetError(f"{place}: input_shape is {shape!r}, expected [channels, height, width]")
    if table.get("status", "unregistered") not in STATUSES:
        raise SheetError(f"{place}: status {table['status']!r} is none of {', '.join(STATUSES)}")
    classes = table.get("num_classes", _DEFAULT_CLASSES)
    if not isinstance(classes, int) or classes < 1:
        raise SheetError(f"{place}: num_classes is {classes!r}, expected a number from 1")
    published = tuple(_figures(place, table.get("published", [])))
    gate = _limits(f"{path.name} [{name}.gate]", table.get("gate", {})).or_else(limits)
    apart = ("published", "network", "gate")
    rest: dict[str, Any] = {key: _frozen(value) for key, value in table.items() if key not in apart}
    spec = ModelSpec(name=name, source="zoo", target=path.stem, published=published, gate=gate, **rest)
    return _users(path, spec, table.get("network", "")) if users else spec


def _limits(place: str, table: Any) -> Budget:
    if not isinstance(table, dict):
        raise SheetError(f"{place} is {table!r}, expected a table of limits such as max_params = '5 M'")
    try:
        return Budget.of(table)
    except FerBenchError as error:
        raise SheetError(f"{place}: {error}") from error


def _users(path: Path, spec: ModelSpec, network: str) -> ModelSpec:
    """Say what a user's table is built from: the network that it names, the file beside it, or nothing."""
    if network:
        known = _elsewhere(network) if ":" in network else _read((_zoo,)).get(network)
        if known is None:
            raise SheetError(f"{path.name} [{spec.name}]: network {network!r} is unknown; `fer-bench list` shows ours")
        return dataclasses.replace(spec, source=known.source, target=known.target, built_as=known.name)
    code = path.with_suffix(".py")
    if code.is_file():
        return dataclasses.replace(spec, source="file", target=f"{code}:{spec.name}")
    return dataclasses.replace(spec, source="published", target="")


def read_sheet(path: Path, *, users: bool = False) -> dict[str, ModelSpec]:
    """Read one sheet, ours or a user's.

    Raises:
        SheetError: the file is no TOML, or a table lacks a key or has one that no sheet has.
    """
    tables = _toml(path)
    limits = _limits(f"{path.name} [gate], the limits of all networks of the sheet", tables.pop("gate", {}))
    return {name: _spec(path, name, table, limits, users=users) for name, table in tables.items()}


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SheetError(f"cannot read the sheet {path}: {error}") from error


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Let other sheets be used, and read those of before again afterwards."""
    zoo, users = _zoo, os.environ.get(_USERS_SHEETS)
    try:
        yield
    finally:
        use_zoo(zoo)
        os.environ.pop(_USERS_SHEETS, None)
        if users is not None:
            os.environ[_USERS_SHEETS] = users


def use_zoo(folder: Path | None) -> None:
    """Read our own sheets from the folder of another checkout from now on; None for those installed."""
    global _zoo  # as the environment variable is, beside it
    _zoo = folder or _SHEETS


def use_sheets(folders: Iterable[Path]) -> None:
    """Read a user's folders of sheets beside ours from now on, here and in workers, as they are then.

    Raises:
        SheetError: one is no folder.
    """
    given = _existing(folders)
    if given:  # else what the environment says stays
        os.environ[_USERS_SHEETS] = os.pathsep.join(map(str, given))
        _read.cache_clear()
        _read_papers.cache_clear()


def _folders() -> tuple[Path, ...]:
    named = os.environ.get(_USERS_SHEETS, "").split(os.pathsep)
    return (_zoo, *_existing(Path(part) for part in named if part))


def _existing(folders: Iterable[Path]) -> list[Path]:
    found = [folder.resolve() for folder in folders]
    for folder in found:
        if not folder.is_dir():
            raise SheetError(f"sheets in {folder}: there is no such folder; it holds sheets such as my_family.toml")
    return found


def sheets() -> Mapping[str, ModelSpec]:
    """Read all sheets, once; networks by name, in alphabetical order.

    Raises:
        SheetError: a sheet is wrong, or two register one name.
    """
    return _read(_folders())


@functools.cache
def _read(folders: tuple[Path, ...]) -> Mapping[str, ModelSpec]:
    found: dict[str, ModelSpec] = {}
    places: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        for name, spec in read_sheet(path, users=path.parent != _zoo).items():
            if name in found:
                raise SheetError(f"{name} is registered twice: in {places[name]} and in {path.name}")
            found[name], places[name] = spec, path.name
    return dict(sorted(found.items()))


def papers() -> Mapping[str, Paper]:
    """Read the sheets of papers, once, by their ids.

    Raises:
        SheetError: a sheet is wrong, or two are of one paper.
    """
    return _read_papers(_folders())


@functools.cache
def _read_papers(folders: tuple[Path, ...]) -> Mapping[str, Paper]:
    found: dict[str, Paper] = {}
    for path in (path for folder in folders for path in sorted((folder / "papers").glob("*.toml"))):
        paper = _paper(path)
        if paper.id in found:
            raise SheetError(f"{path}: there is a sheet of paper {paper.id} already")
        found[paper.id] = paper
    return found


def _paper(path: Path) -> Paper:
    data = _toml(path)
    about = data.get("paper", {})
    unknown = about.keys() - Paper.__dataclass_fields__.keys() | data.keys() - {"paper", "figures"}
    missing = {"id", "title"} - about.keys()
    if missing or unknown:
        raise SheetError(f"{path.name} [paper] {_complaint(missing, unknown)}")
    return Paper(**about, figures=tuple(_figures(path.name, data.get("figures", []), QUANTITIES | _PAPER_QUANTITIES)))


def paper_title(paper: str) -> str:
    """Name one of the papers: "001" is its title, venue and year.

    Raises:
        SheetError: there is no such paper.
    """
    if paper not in papers():
        raise SheetError(f"there is no paper {paper!r}; there are sheets of {', '.join(papers())}")
    return papers()[paper].cited


def list_models() -> list[str]:
    """Name the networks of the sheets that can be built, alphabetically."""
    return [name for name, spec in sheets().items() if spec.source != "published"]


def list_users() -> list[str]:
    """Name the networks of the user's sheets that can be built, alphabetically."""
    ours = _read((_zoo,))
    return [name for name in list_models() if name not in ours]


def users_folders() -> list[Path]:
    """Give the user's folders of sheets."""
    return list(_folders()[1:])


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
    found = _elsewhere(name)
    if found is not None:
        return found
    if name.endswith(".py"):
        raise UnknownModelError(f"{name} is a file: name the function in it that makes the network, {name}:FACTORY")
    raise UnknownModelError(
        f"no network is called {name!r}{nearest(name, zoo)}; `fer-bench list` shows the {len(zoo)} there are, "
        "and timm:NAME, torchvision:NAME, file.py:factory or package.module:factory name any other"
    )


def _elsewhere(name: str) -> ModelSpec | None:
    """Take apart a name that is none of the sheets': timm's, torchvision's, a file's or a module's."""
    source, colon, target = name.partition(":")
    if not (colon and source and target):
        return None
    if source == "timm":
        return ModelSpec(name, "timm", target, target, input_shape=None)
    if source == "torchvision":
        return ModelSpec(name, "torchvision", target, target)
    path, _, factory = name.rpartition(":")
    return ModelSpec(name, "file" if path.endswith(".py") else "module", name, factory)


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the known names was meant: " (did you mean resnet50 or resnet101?)", or ""."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    near = near or [n for n in names if name and name.lower() in n][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
