"""Files that users asked for: written whole or not at all, and never over a store."""

import contextlib
import contextvars
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fer_bench.records.errors import StoreError

_REMEDIES = {
    errno.ENOENT: "make its folder first",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EISDIR: "it is a folder, name a file",
}
_NOTED: contextvars.ContextVar[list[Path] | None] = contextvars.ContextVar("noted", default=None)
_SQLITE = b"SQLite format 3\0"  # how a store begins


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8: beside the one that is there, which is replaced when all of it is on the disk.

    What is no file, such as /dev/stdout or a pipe, is written to as it is.

    Raises:
        StoreError: it cannot be written, or it is a store; what was there is as it was.
    """
    given, data = Path(path), content.encode() if isinstance(content, str) else content
    with _failures_named(given):
        path = given.resolve()  # so that a link stays one
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
        _refuse_store(path)
        part = path.with_name(f".fer-bench-{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    _note(given)


@contextlib.contextmanager
def noted() -> Iterator[list[Path]]:
    """Collect the paths of the files that are written in the block."""
    paths: list[Path] = []
    token = _NOTED.set(paths)
    try:
        yield paths
    finally:
        _NOTED.reset(token)


def _note(path: Path) -> None:
    paths = _NOTED.get()
    if paths is not None and path not in paths:
        paths.append(path)


def make_folder(path: Path) -> None:
    """Make a folder, and those around it, where they are not there yet.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}; name another one") from error


def append(path: str | Path, text: str) -> None:
    """Add a text to a file, after an empty line where it has content: whole, also where several processes add theirs.

    Raises:
        StoreError: it cannot be written, or it is a store; what was there is as it was.
    """
    path = Path(path)
    with _failures_named(path):
        _refuse_store(path)
        with path.open("ab", buffering=0) as file:
            _lock(file.fileno())
            before = os.fstat(file.fileno()).st_size
            left = memoryview(f"\n{text}".encode() if before else text.encode())
            try:
                while left:
                    left = left[file.write(left) :]
                if path.is_file():
                    os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):  # the first failure says more
                    os.ftruncate(file.fileno(), before)
                raise


def _refuse_store(path: Path) -> None:
    path = path.resolve()
    beside = path.with_name(path.name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal"))
    for file in dict.fromkeys((path, beside)):
        if file.is_file() and file.stat().st_size:
            with file.open("rb") as opened:
                if opened.read(len(_SQLITE)) == _SQLITE:
                    raise StoreError(f"{file} is a store, or another SQLite database: name another file to write to")


def _lock(descriptor: int) -> None:
    """Wait until no other process adds to the file; its closing ends that."""
    try:
        import fcntl
    except ImportError:  # Windows has none
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "name another file")
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; the previous content is unchanged: {remedy}"
        ) from error
