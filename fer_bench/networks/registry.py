"""Find networks and papers by name, without importing any of them."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fer_bench.networks.sheets import read_paper, read_sheet
from fer_bench.networks.spec import ARTEFACTS, DEFAULT_INPUT, ModelSpec, Paper, Source
from fer_bench.records.errors import SheetError, UnknownModelError, nearest

_ZOO = Path(__file__).parent.parent / "models"


class Registry:
    r"""The networks and papers of our sheets, and of those in folders that a user names.

    Sheets are read when they are first needed, and once.

    Args:
        folders: of a user's sheets, beside ours.
        zoo: the folder of our own sheets; another checkout's perhaps.

    Raises:
        SheetError: a folder is not there.

    Examples:
        >>> from pathlib import Path
        >>> Path("my_models").mkdir()
        >>> _ = Path("my_models", "my_net.toml").write_text(
        ...     '[my_net]\ntitle = "My network"\ninput_shape = [1, 48, 48]\nnum_classes = 7\nstatus = "exact"\n'
        ... )
        >>> fb.Registry(["my_models"]).find("my_net").title
        'My network'
    """

    def __init__(self, folders: Iterable[str | Path] = (), zoo: Path | None = None) -> None:
        self.folders = tuple(Path(folder).resolve() for folder in folders)
        self._zoo = zoo or _ZOO
        for folder in self.folders:
            if not folder.is_dir():
                raise SheetError(
                    f"sheets in {folder}: there is no such folder; expected one with sheets such as my_family.toml"
                )

    @functools.cached_property
    def networks(self) -> Mapping[str, ModelSpec]:
        """All networks by name, in alphabetical order, those included that only have published figures.

        Raises:
            SheetError: a sheet is wrong, or two register one name.
        """
        return dict(sorted(_read(_files(self.folders), _read_zoo(self._zoo), self.papers).items()))

    @functools.cached_property
    def papers(self) -> Mapping[str, Paper]:
        """The papers by their ids.

        Raises:
            SheetError: a sheet is wrong, or two are of one paper.
        """
        return _read_papers((self._zoo, *self.folders))

    def names(self) -> list[str]:
        """Return the names of the networks that can be built, alphabetically."""
        return [name for name, spec in self.networks.items() if spec.can_be_built]

    def users_names(self) -> list[str]:
        """Return the names of the networks of the user's sheets that can be built, alphabetically."""
        return [name for name in self.names() if name not in _read_zoo(self._zoo)]

    def find(self, name: str) -> ModelSpec:
        """Find a network by name.

        A name is one of the sheets, ``timm:NAME``, ``torchvision:NAME``, ``path/to/file.py:factory`` or
        ``package.module:factory``.

        Raises:
            UnknownModelError: no sheet has the name; the message has the nearest ones. Whether a library or a file has
                it is only known when it is built.
        """
        if name in self.networks:
            return self.networks[name]
        if name.endswith(ARTEFACTS):
            file = Path(name)
            if not file.is_file():
                raise UnknownModelError(f"there is no file {name}; a path starts at the current folder")
            loaded = Source("artefact", file.name, file=str(file.resolve()))
            return ModelSpec(file.name, loaded, "a model file", input_shape=None)
        source = Source.of(name)
        if source is not None:  # timm's networks know their size
            return ModelSpec(name, source, source.label, input_shape=None if source.kind == "timm" else DEFAULT_INPUT)
        if name.endswith(".py"):
            raise UnknownModelError(f"{name} is a file: name the function in it that makes the network, {name}:FACTORY")
        raise UnknownModelError(
            f"no network is called {name!r}{nearest(name, self.networks)}; `fer-bench list` shows the "
            f"{len(self.networks)} there are, and timm:NAME, torchvision:NAME, file.py:factory or "
            "package.module:factory name any other"
        )

    def paper_title(self, paper: str) -> str:
        """Return a paper's title, venue and year.

        Raises:
            SheetError: there is no such paper.
        """
        if paper not in self.papers:
            raise SheetError(f"there is no paper {paper!r}; there are sheets of {', '.join(self.papers)}")
        return self.papers[paper].cited


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    return (path for folder in folders for path in sorted(folder.glob("*.toml")))


def _read_papers(folders: Iterable[Path]) -> dict[str, Paper]:
    found: dict[str, Paper] = {}
    for path in _files(folder / "papers" for folder in folders):
        paper = read_paper(path)
        if paper.id in found:
            raise SheetError(f"{path}: there is a sheet of paper {paper.id} already")
        found[paper.id] = paper
    return found


def _read(
    paths: Iterable[Path], zoo: Mapping[str, ModelSpec] | None, papers: Mapping[str, Paper]
) -> dict[str, ModelSpec]:
    found = dict(zoo or {})
    places = {name: f"{spec.source.module}.toml" for name, spec in found.items()}
    for path in paths:
        for name, spec in read_sheet(path, zoo, papers).items():
            if name in found:
                raise SheetError(f"{name} is registered twice: in {places[name]} and in {path.name}")
            found[name], places[name] = spec, path.name
    return found


@functools.cache
def _read_zoo(folder: Path) -> Mapping[str, ModelSpec]:
    return _read(_files((folder,)), None, _read_papers((folder,)))


@functools.cache
def built_in() -> Registry:
    """Return the registry of our own sheets."""
    return Registry()


def list_models() -> list[str]:
    """Return the names of the built-in networks, alphabetically.

    Examples:
        >>> "mini_xception" in fb.list_models()
        True
    """
    return built_in().names()


def find(name: str) -> ModelSpec:
    """Return the ModelSpec of a built-in network, or of one of a library, a file or a module, by name.

    Raises:
        UnknownModelError: no sheet has the name (see ``Registry.find``).

    Examples:
        >>> fb.find("mini_xception").input_shape
        (1, 48, 48)
        >>> fb.find("my_net.py:build").source.kind
        'file'
    """
    return built_in().find(name)
