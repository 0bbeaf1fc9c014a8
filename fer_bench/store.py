"""Keep results: a file of one JSON object a line, to which each result is added as soon as there is one."""

import os
from pathlib import Path

from fer_bench.errors import StoreError
from fer_bench.records import Result


def check_writable(path: Path) -> None:
    """Make a store's folder and see that the file can be added to, before anything is measured for it.

    Raises:
        StoreError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; name a folder that you may write to with --out"
        ) from error


def append(path: Path, result: Result) -> None:
    """Add a result, and return when it is on the disk. What a killed run left of a last line is cut off first.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(result.to_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"cannot write to {path}: {error.strerror or error}; free some space, or name another folder with --out"
        ) from error


def load(path: Path) -> list[Result]:
    """Read all results of a file, or of the ``results.jsonl`` in a folder.

    A last line without its end, which a run that was killed may leave, is no result and is passed over.

    Raises:
        StoreError: there is no such file, or a line in it is no result.
    """
    if path.is_dir():
        path = path / "results.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}; expected a folder or file that `fer-bench run` wrote"
        ) from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is no store of results: {error}") from error
    *lines, _torn = text.split("\n")
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results.append(Result.from_json(line))
        except StoreError as error:
            raise StoreError(f"{path}, line {number}: {error}") from error
    return results
