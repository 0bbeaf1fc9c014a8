"""Find networks and papers by name, without importing any of them."""

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fer_bench.networks.sheets import read_paper, read_sheet
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec, Paper, Source
from fer_bench.records.errors import SheetError, UnknownModelError, nearest

_SHEETS = Path(__file__).parent.parent / "models"
_zoo = _SHEETS  # ours, as installed or of another checkout
_USERS_SHEETS = "FER_BENCH_SHEETS"  # folders; an environment variable, so that workers read the same sheets


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
        for name, spec in read_sheet(path, None if path.parent == _zoo else _read((_zoo,))).items():
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
        paper = read_paper(path)
        if paper.id in found:
            raise SheetError(f"{path}: there is a sheet of paper {paper.id} already")
        found[paper.id] = paper
    return found


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
    return [name for name, spec in sheets().items() if spec.can_be_built]


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
    source = Source.of(name)
    if source is not None:  # timm's networks know their size
        return ModelSpec(name, source, source.label, input_shape=None if source.kind == "timm" else DEFAULT_INPUT)
    if name.endswith(".py"):
        raise UnknownModelError(f"{name} is a file: name the function in it that makes the network, {name}:FACTORY")
    raise UnknownModelError(
        f"no network is called {name!r}{nearest(name, zoo)}; `fer-bench list` shows the {len(zoo)} there are, "
        "and timm:NAME, torchvision:NAME, file.py:factory or package.module:factory name any other"
    )
