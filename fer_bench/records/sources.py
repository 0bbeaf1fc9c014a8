"""Results by the name of where they are: a file, a folder, or a run of a store."""

from pathlib import Path

from fer_bench.records.exchange import read_file
from fer_bench.records.result import Result
from fer_bench.records.store import DEFAULT_STORE, Skipped, Store


def read_results(source: str, store: str = DEFAULT_STORE, skipped: Skipped | None = None) -> list[Result]:
    """Read a run of the store, or a file of results.

    With ``skipped`` records that cannot be read are left out; without, the first of them is a StoreError.
    """
    if is_file(source):
        return read_file(Path(source), skipped)
    with Store.open(store, create=False) as opened:
        return opened.results(opened.find_run(source).id, skipped)


def name_source(source: str, store: str) -> str:
    """Return the name of a file of results, or of a run with its whole id.

    Raises:
        StoreError: there is no such run.
    """
    if is_file(source):
        return f"file {source}"
    with Store.open(store, create=False) as opened:
        return f"run {opened.find_run(source).id} of {opened.shown}"


def is_file(source: str) -> bool:
    """Return whether a file or folder is meant, and no run."""
    return Path(source).exists() or source.endswith((".json", ".jsonl"))
