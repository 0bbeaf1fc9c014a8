"""What was parsed, kept beside the hash of its file: the next load reads arrays instead of text."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

_VERSION = 1  # of what is kept: another one is parsed anew
_MAPPED = 2**20  # bytes of a file, above which it is mapped: what is never used is never read
Facts = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


def folder() -> Path:
    """Return where parsed files are kept: ``fer-bench/data`` in XDG_CACHE_HOME, by default in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "fer-bench" / "data"


class Cache:
    """Arrays and facts of files, by each file's path, size and time of change."""

    def __init__(self, where: Path | None) -> None:
        """Keep them in a folder, or with None nowhere."""
        self.where = where
        self.failure = ""  # why something could not be kept

    @classmethod
    def of(cls, cache: bool | str | Path) -> "Cache":
        """Return the cache of an argument: True for the user's, False for none, or a folder."""
        if isinstance(cache, bool):
            return cls(folder() if cache else None)
        return cls(Path(cache))

    def load(self, path: Path, kind: str) -> tuple[Facts, Arrays] | None:
        """Return the facts and arrays of a file that is as it was, else None; what is damaged counts as absent."""
        if self.where is None:
            return None
        entry = self._entry(path, kind)
        try:
            facts = json.loads(entry.with_suffix(".json").read_bytes())
            arrays = {}
            for name, shape in facts.pop("arrays").items():
                file = entry.with_suffix(f".{name}.npy")
                mapped: Literal["c"] | None = "c" if file.stat().st_size > _MAPPED else None
                array = np.asarray(np.load(file, mapped, allow_pickle=False))
                if list(array.shape) != shape:
                    return None
                arrays[name] = array
        except (OSError, ValueError, EOFError, KeyError, AttributeError):
            return None
        return facts, arrays

    def store(self, path: Path, kind: str, facts: Facts, arrays: Arrays) -> None:
        """Keep facts and arrays of a file; where that fails, ``failure`` says why and nothing else happens."""
        if self.where is None:
            return
        entry = self._entry(path, kind)
        try:
            self.where.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                with _whole(entry.with_suffix(f".{name}.npy")) as file:
                    np.save(file, array, allow_pickle=False)
            shapes = {name: array.shape for name, array in arrays.items()}
            with _whole(entry.with_suffix(".json")) as file:  # the last: where it is, the arrays are
                file.write(json.dumps({**facts, "arrays": shapes}).encode())
        except OSError as error:
            self.failure = f"not cached in {self.where}: {error.strerror or error}"

    def _entry(self, path: Path, kind: str) -> Path:
        """Return the stem of the entry's files."""
        assert self.where is not None  # noqa: S101  callers ask before
        state = path.stat()
        signed = f"{_VERSION}|{kind}|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ino}"
        return self.where / hashlib.sha256(signed.encode(errors="surrogateescape")).hexdigest()[:32]


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` when all of it is written, and is gone if it is not."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
