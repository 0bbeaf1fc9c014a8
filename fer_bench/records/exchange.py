"""Runs as one JSON document: to write, to read, to import into a store."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_bench.records import pytest_benchmark
from fer_bench.records.errors import StoreError, brief
from fer_bench.records.result import Json, Result
from fer_bench.records.store import Contents, Run, Store, compact, head

EXPORT_VERSION = 1  # of the exported document; each result in it tells its own schema


def export(store: Store, runs: Sequence[Run]) -> str:
    """Write runs as one JSON document, a result a line. The same content gives the same bytes, in whatever order asked.

    Raises:
        StoreError: a run is not in the store, or the database fails.
    """
    ordered = sorted(runs, key=lambda run: (run.started_at, run.id))
    body = ",\n".join(_exported(store.contents(run.id)) for run in ordered)
    return f'{{"fer_bench_export":{EXPORT_VERSION},"runs":[\n{body}\n]}}\n'


def import_runs(store: Store, text: str) -> tuple[list[str], list[str]]:
    """Add the runs of an exported document, all or none.

    A file of one result a line, or one of pytest-benchmark's, becomes one run.

    Give the ids of the runs added, and of those passed over because they are in the store already.

    Raises:
        StoreError: the text is neither, a run is in the store already and differs, or the database fails.
    """
    return store.add(_read(text))


def read_file(path: Path) -> list[Result]:
    """Read the results in an exported document, in a file of one result a line, or in one of pytest-benchmark's.

    Of a folder, results.json is read or else results.jsonl. A last line that was cut off, as by a run that was killed,
    is passed over.

    Raises:
        StoreError: there is no such file, or it holds something else.
    """
    if path.is_dir():
        path = path / "results.json" if (path / "results.json").exists() else path / "results.jsonl"
    try:
        return [result for run in _read(path.read_text(encoding="utf-8")) for _, result in run.results]
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}; expected a file that `fer-bench export` or "
            "--benchmark-json wrote, or a folder with such a results.json"
        ) from error
    except (UnicodeDecodeError, StoreError) as error:
        raise StoreError(f"{path}: {error}") from error


def _exported(run: Contents) -> str:
    lines = (compact({"key": key, "result": result.to_dict()}) for key, result in run.results)
    return f'{json.dumps(head(run))[:-1]}, "results":[\n' + ",\n".join(lines) + "\n]}"


def _read(text: str) -> list[Contents]:
    if '"fer_bench_export"' in text[:200]:
        return _of_export(text)
    if pytest_benchmark.written_by_pytest_benchmark(text):
        results, written_at = pytest_benchmark.results_of(text)
        return [_run_of(text, "pytest-benchmark", results, written_at)]
    if '"fer_bench_baseline"' in text[:200]:
        raise StoreError(
            "a baseline holds counts and no results: fer-bench gate --baseline FILE holds networks against it"
        )
    results = _of_lines(text)
    return [_run_of(text, "imported from lines of results", results, max(result.started_at for result in results))]


def _of_export(text: str) -> list[Contents]:
    try:
        document = json.loads(text)
        if document["fer_bench_export"] > EXPORT_VERSION:
            raise StoreError("exported by a later fer_bench; upgrade this one: pip install --upgrade fer-bench")
        return [_contents_of(run) for run in document["runs"]]
    except ValueError as error:
        raise StoreError(f"this export is cut short or damaged: {error}; export it again") from error
    except (KeyError, TypeError) as error:
        raise StoreError(f"this is no export of fer_bench: {brief(error)}; export it again") from error


def _contents_of(run: Mapping[str, Json]) -> Contents:
    results = []
    for each in run["results"]:
        try:
            results.append((each["key"], Result.of(each["result"])))
        except StoreError as error:
            raise StoreError(f"record {each['key']}: {error}; remove that record, or export the run again") from error
    return Contents(**{**run, "results": tuple(results)})


def _run_of(text: str, title: str, results: Sequence[Result], finished_at: str) -> Contents:
    """Make one finished run of results that stand in no run. The same text makes the same run."""
    return Contents(
        id=hashlib.sha256(text.encode()).hexdigest()[:12],
        title=title,
        started_at=min(result.started_at for result in results),
        finished_at=finished_at,
        fingerprint="",
        results=tuple((f"{number}:{result.subject.name}", result) for number, result in enumerate(results, start=1)),
    )


def _of_lines(text: str) -> list[Result]:
    if text.strip() and ('"schema_version"' not in text or ("\n" in text.strip() and _is_json(text))):
        raise StoreError(
            "not a result of fer_bench a line, nor an export of it; expected a file that `fer-bench export` or "
            "--benchmark-json wrote"
        )
    lines = text.split("\n")
    if not _is_json(lines[-1]):  # nothing after the last line's end, or what a killed run left
        lines.pop()
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results.append(Result.from_json(line))
        except StoreError as error:
            raise StoreError(f"line {number}: {error}; mend or remove that line") from error
    if not results:
        raise StoreError("there is no result in it")
    return results


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
