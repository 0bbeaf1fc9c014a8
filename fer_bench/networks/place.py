"""A place that networks' code comes from, other than the current folder: the checkout of a revision.

The bench that measures stays the installed one. Of our own repository the zoo comes from the place too.
"""

import hashlib
import importlib.util
import os
import sys
import sysconfig
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from fer_bench.networks.registry import Registry

_ZOO = "fer_bench.models"
CODE = "code_files"  # the measurement that records what ``CodeRead`` saw


@dataclass(frozen=True, slots=True)
class Place:
    """A checkout.

    Attributes:
        root: its top folder.
        folder: of it, the one that stands for the current folder.
        sheets: of it, the folders of a user's sheets.
        instead_of: the top folder that the user works in. What Python would import from there, it imports from here.
    """

    root: str
    folder: str
    sheets: tuple[str, ...] = ()
    instead_of: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read what JSON has."""
        return cls(**{**data, "sheets": tuple(data["sheets"])})

    @property
    def zoo(self) -> Path | None:
        """The folder of our own zoo, where this is our own repository."""
        zoo = Path(self.root, "models")
        ours = zoo.joinpath("__init__.py").is_file() and Path(self.root, "fer_bench", "__init__.py").is_file()
        return zoo if ours else None

    def enter(self) -> None:
        """Make this process, from now on, find networks here."""
        os.chdir(self.folder)
        sys.path[:] = [self._moved(entry) for entry in sys.path]
        if Path(self.root, "src").is_dir():  # of a package installed as editable, which is found by no path
            sys.path.insert(0, str(Path(self.root, "src")))
        sys.path.insert(0, self.folder)
        if self.zoo is not None:
            import fer_bench

            for name in [name for name in sys.modules if name == _ZOO or name.startswith(f"{_ZOO}.")]:
                del sys.modules[name]
            fer_bench.models = import_file(_ZOO, self.zoo / "__init__.py")  # which would be found elsewhere

    def registry(self) -> Registry:
        """Return the networks of the sheets that are here."""
        return Registry(self.sheets, self.zoo)

    def _moved(self, entry: str) -> str:
        path, theirs = Path(entry).resolve(), Path(self.instead_of)
        if not (entry and self.instead_of and path.is_relative_to(theirs)):
            return entry
        moved = Path(self.root, path.relative_to(theirs))
        # A virtual environment inside the repository is in no revision.
        return str(moved) if moved.exists() else entry


class CodeRead:
    """Notes which files of a place Python opens, from making this to asking: the code that a network is made of.

    What C++ opens by itself, such as weights by ``torch.jit.load``, it does not see. Sheets are left out: each process
    reads all of them, and what they say of the network is known otherwise.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._root = os.path.realpath(place.root)
        self._sheets = [os.path.realpath(folder) for folder in (*place.sheets, str(place.zoo or "")) if folder]
        self._opened: set[str] = set()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "ctypes.dlopen") and isinstance(arguments[0], str | bytes):
            self._opened.add(os.fsdecode(arguments[0]))

    def files(self) -> dict[str, str]:
        """Return the digest of each file by its path in the place."""
        return {
            path: hashlib.sha256(Path(self._root, path).read_bytes()).hexdigest() for path in self._under(self._root)
        }

    def strays(self) -> list[str]:
        """Return the files that were read where the user works though the place has them: of no revision, that is."""
        if not self._place.instead_of:
            return []
        ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        works_in = os.path.realpath(self._place.instead_of)
        return [
            path
            for path in self._under(works_in)
            if os.path.isfile(os.path.join(self._root, path))
            and not os.path.join(works_in, path).startswith(ours + os.sep)
        ]

    def _under(self, root: str) -> list[str]:
        modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        found = {os.path.realpath(path) for path in (*self._opened, *filter(None, modules))}
        return sorted(
            os.path.relpath(path, root)
            for path in found
            if path.startswith(f"{root}{os.sep}") and os.path.isfile(path) and not self._not_code(path)
        )

    def _not_code(self, path: str) -> bool:
        """Return whether a file is a sheet, or compiled by Python from a file that is listed itself."""
        sheet = path.endswith(".toml") and any(path.startswith(f"{folder}{os.sep}") for folder in self._sheets)
        return sheet or "__pycache__" in path


_USERS = "fer_bench_user_"  # how the name of a user's file begins, as imported
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_beside: dict[str, dict[str, ModuleType]] = {}  # what was imported from each folder of users' files, by name
_inserted: list[str] = []  # the folder that is searched first now, if we put it there
_before: set[str] = set()  # modules that were there before: whoever imported them still has them


def search_first(folder: str) -> None:
    """From now on import what stands beside a user's file from its folder, and from no other such folder.

    Two files may import helpers of one name, such as ``blocks``. Each gets its own, when it is imported and when its
    network is made. Its passes get them, too, until a network of another folder is made.
    """
    if _inserted[-1:] == [folder]:
        return
    for earlier in _inserted:
        _beside[earlier] = {
            name: module
            for name, module in list(sys.modules.items())  # asking a lazy module for its file may import others
            if name not in _before and not name.startswith(_USERS) and _lies_in(name, module, earlier)
        }
        for name in _beside[earlier]:
            sys.modules.pop(name, None)
        if earlier in sys.path:  # the user's code may have changed it
            sys.path.remove(earlier)
    _inserted[:] = [folder]
    _before.clear()
    _before.update(sys.modules)
    sys.path.insert(0, folder)
    sys.modules.update(_beside.get(folder, {}))
    importlib.invalidate_caches()


def _lies_in(name: str, module: ModuleType, folder: str) -> bool:
    """Report whether a module stands in a folder, and is no library that is installed below it, nor our own.

    Code may put anything in place of a module, such as None to prevent an import.
    """
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", None) or ()), "")
    if not isinstance(file, str) or name.partition(".")[0] in ("fer_bench", "__main__"):
        return False
    path = Path(file)
    installed = {"site-packages", "dist-packages"}.intersection(path.parts) or path.is_relative_to(_STANDARD_LIBRARY)
    return bool(file) and not installed and path.is_relative_to(folder)


def import_users_file(path: Path) -> ModuleType:
    """Import a user's file, once, under a name of its own: one called torch.py must not pass for PyTorch."""
    name = f"{_USERS}{path.stem}_{zlib.crc32(bytes(path)):08x}"
    return sys.modules[name] if name in sys.modules else import_file(name, path)


def import_file(name: str, file: Path) -> ModuleType:
    """Import a file, or the package of an ``__init__.py``, under a name."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # noqa: S101  # a file's name ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickling and dataclasses look a class up by its module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
