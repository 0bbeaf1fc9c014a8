"""Runs as one JSON document: to write, to read, to import into a store."""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from fer_bench.records import files, pytest_benchmark, schema
from fer_bench.records.errors import StoreError
from fer_bench.records.output import printable_json
from fer_bench.records.result import Json, Result
from fer_bench.records.schema import Integer, Name
from fer_bench.records.store import Contents, Run, Skipped, Store, compact, head, left_out

EXPORT_VERSION = 1  # of the exported document; each result in it states its own schema


def export(store: Store, runs: Sequence[Run]) -> str:
    """Write runs as one JSON document, a result a line. The same content gives the same bytes, in whatever order asked.

    Raises:
        StoreError: a run is not in the store, or the database fails.
    """
    ordered = sorted(runs, key=lambda run: (run.started_at, run.id))
    return _document(store.contents(run.id) for run in ordered)


def keep(store: Store, run: Contents) -> str:
    """Write results that cannot be saved into their run to a file beside the store, which ``import_runs`` adds to it.

    Returns:
        Which file it is and how it is imported; where no file can be written, why not.
    """
    names = ", ".join(result.subject.name for _, result in run.results)
    text = _document([dataclasses.replace(run, partial=True)])
    failure: StoreError | None = None
    name = f"fer-bench-kept-{re.sub(r'[^A-Za-z0-9-]', '_', run.id)[:12]}"
    for folder in dict.fromkeys((store.folder, Path())):
        number = 1
        while (file := folder / f"{name}-{number}.json").exists():
            number += 1
        try:
            with files.noted():  # it is the error that names it
                files.write(file, text)
        except StoreError as error:
            failure = failure or error
        else:
            command = f"fer-bench import {shlex.quote(str(file))} --store {shlex.quote(store.shown)}"
            return f"{names}, measured last, is kept in {file}: `{command}` adds it to run {run.id}"
    return f"{names}, measured last, is lost: {failure}"


class Imported(NamedTuple):
    """What became of the runs of a document."""

    added: list[str]  # their ids
    there: list[str]  # ids of those that the store has already
    refused: list[str]  # a line on each run that cannot be read


def import_runs(store: Store, text: str) -> Imported:
    """Add the runs of an exported document; one with a record that cannot be read is left out as a whole.

    A file of one result a line, or one of pytest-benchmark's, becomes one run.

    Raises:
        StoreError: the text is neither, no run of it can be read, a run is in the store already and differs, or the
            database fails; nothing was added then.
    """
    runs: list[Contents] = []
    refused: list[str] = []
    for run in _read(text):
        if run.refused:
            refused.append(f"{schema.first_of(run.refused)}; remove that record, or export the run again")
        else:
            runs.append(run.contents)
    if refused and not runs:
        raise StoreError(schema.first_of(refused))
    return Imported(*store.add(runs), refused)


def read_file(path: Path, skipped: Skipped | None = None) -> list[Result]:
    """Read the results in an exported document, in a file of one result a line, or in one of pytest-benchmark's.

    Of a folder, results.json is read or else results.jsonl. A last line that was cut off, as by a run that was killed,
    is passed over. With ``skipped`` records that cannot be read are left out; without, the first is a StoreError.

    Raises:
        StoreError: there is no such file, or it holds something else.
    """
    if path.is_dir():
        path = path / "results.json" if (path / "results.json").exists() else path / "results.jsonl"
    try:
        runs = _read(path.read_text(encoding="utf-8"))
        for run in runs:
            if run.refused and skipped is None:
                raise StoreError(f"{run.refused[0]}; remove that record, or export the run again")
            if run.refused and skipped is not None:
                skipped(left_out(str(path), run.refused, len(run.contents.results)))
        return [result for run in runs for _, result in run.contents.results]
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}; expected a file that `fer-bench export` or "
            "--benchmark-json wrote, or a folder with such a results.json"
        ) from error
    except (UnicodeDecodeError, StoreError) as error:
        raise StoreError(f"{path}: {error}") from error


def _document(runs: Iterable[Contents]) -> str:
    body = ",\n".join(map(_exported, runs))
    return printable_json(f'{{"fer_bench_export":{EXPORT_VERSION},"runs":[\n{body}\n]}}\n')


def _exported(run: Contents) -> str:
    lines = (compact({"key": key, "result": result.to_dict()}) for key, result in run.results)
    about = head(run) | ({"partial": True} if run.partial else {})
    return f'{json.dumps(about)[:-1]}, "results":[\n' + ",\n".join(lines) + "\n]}"


class _Read(NamedTuple):
    """A run of a file: what can be read of it, and a line on each record that cannot."""

    contents: Contents
    refused: Sequence[str] = ()


class _Document(TypedDict):
    fer_bench_export: Integer
    runs: list[Json]


class _Record(TypedDict):
    key: Name
    result: Json


class _WholeRun(TypedDict):
    """A run as it is exported."""

    id: Name
    title: str
    started_at: str
    finished_at: str | None
    fingerprint: str
    results: list[Json]


class _Run(_WholeRun, total=False):
    """A run as ``export`` or ``keep`` wrote it."""

    partial: bool


def _read(text: str) -> list[_Read]:
    if '"fer_bench_export"' in text[:200]:
        return _of_export(text)
    if pytest_benchmark.written_by_pytest_benchmark(text):
        results, written_at = pytest_benchmark.results_of(text)
        return [_Read(_run_of(text, "pytest-benchmark", results, written_at))]
    if '"fer_bench_baseline"' in text[:200]:
        raise StoreError(
            "a baseline has counts and no results: fer-bench gate --baseline FILE compares networks with it"
        )
    results = _of_lines(text)
    finished_at = max(result.started_at for result in results)
    return [_Read(_run_of(text, "imported from lines of results", results, finished_at))]


def _of_export(text: str) -> list[_Read]:
    try:
        document = schema.parse(text)
    except ValueError as error:
        raise StoreError(f"this export is cut short or damaged: {error}; export it again") from error
    try:
        version = schema.whole(_Document, document)["fer_bench_export"]
    except ValueError as error:
        raise StoreError(f"this is no export of fer_bench: {error}; export it again") from error
    if version > EXPORT_VERSION:
        raise StoreError("exported by a later fer_bench; upgrade this one: pip install --upgrade fer-bench")
    return [_contents_of(run, place) for place, run in enumerate(document["runs"], start=1)]


def _contents_of(run: Json, place: int) -> _Read:
    """Read a run; of one that says not even what it is called, nothing is read."""
    try:
        schema.bounded(
            {key: value for key, value in run.items() if key != "results"} if isinstance(run, Mapping) else run
        )
        about = schema.whole(_Run, run)
    except ValueError as error:
        nothing = Contents(f"number {place}", "", "", None, "", ())
        return _Read(nothing, [f"run {place} of the file: {error}"])
    records: dict[str, Result] = {}
    refused = []
    for number, each in enumerate(about.pop("results"), start=1):
        key = each.get("key", number) if isinstance(each, Mapping) else number
        try:
            record = schema.whole(_Record, each)
            if record["key"] in records:
                raise ValueError("there is another one with this key")
            records[record["key"]] = Result.of(record["result"])
        except (ValueError, StoreError) as error:
            refused.append(f"record {schema.named(key)} of run {schema.named(about['id'])}: {error}")
    return _Read(Contents(**about, results=tuple(records.items())), refused)


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
            "not a result of fer_bench on each line, nor an export; expected a file that `fer-bench export` or "
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
            raise StoreError(f"line {number}: {error}; correct or remove that line") from error
    if not results:
        raise StoreError("there is no result in it")
    return results


def _is_json(text: str) -> bool:
    try:
        schema.parse(text)
    except ValueError:
        return False
    return True
