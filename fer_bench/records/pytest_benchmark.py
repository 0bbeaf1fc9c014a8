"""Read what pytest-benchmark writes: the file of ``--benchmark-json``, or one that ``--benchmark-save`` keeps.

A benchmark of our fixture holds a whole record. Of any other the times are known, if the file has them, and little
about where they were measured. What is not known stays empty, and is never made up.
"""

import datetime
import re
from collections.abc import Mapping
from typing import Any

from fer_bench.records import schema
from fer_bench.records.errors import StoreError
from fer_bench.records.plan import SHARED, Plan
from fer_bench.records.result import Environment, Json, Measurement, Result, Subject

PROTOCOL = "pytest-benchmark"  # of a benchmark that is not by a plan of ours

_NO_DATA = (
    "the file has no times, only statistics of them (median {median:.4g} s of {rounds} rounds): run with "
    "--benchmark-json FILE, or add --benchmark-save-data to --benchmark-save"
)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def written_by_pytest_benchmark(text: str) -> bool:
    """Return whether a text is pytest-benchmark's, cut short perhaps."""
    return '"machine_info"' in text[:200] or ('"machine_info"' in text and '"benchmarks"' in text)


def results_of(text: str) -> tuple[list[Result], str]:
    """Read the benchmarks of a file, and when it was written (ISO 8601 in UTC).

    Raises:
        StoreError: the text is cut short, damaged, or of a form that is not known.
    """
    try:
        document = schema.parse(text)
    except ValueError as error:
        raise StoreError(
            f"this file of pytest-benchmark is cut short or damaged: {error}; write it again by --benchmark-json"
        ) from error
    version = document.get("version", "unknown") if isinstance(document, Mapping) else "unknown"
    try:
        written_at = _utc(document["datetime"])
        found = [_result(bench, document, written_at) for bench in document["benchmarks"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"this file of pytest-benchmark {version} is not in the format of version 5: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not found:
        raise StoreError("this file of pytest-benchmark holds no benchmark: all were skipped or failed")
    return found, written_at


def commit_of(commit_info: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the recorded commit, and whether the code was changed since; "" where there is none."""
    found = str(commit_info.get("id", ""))
    return (found, bool(commit_info.get("dirty"))) if _COMMIT.fullmatch(found) else ("", False)


def _result(bench: Mapping[str, Json], document: Mapping[str, Json], written_at: str) -> Result:
    name = str(bench["fullname"])
    ours = (bench.get("extra_info") or {}).get("fer_bench")
    try:
        # A made one is read like a stored one, too: its values are checked.
        return Result.of(ours if ours is not None else _made(name, bench, document, written_at).to_dict())
    except StoreError as error:
        raise StoreError(f"{name}: {error}") from error


def _made(name: str, bench: Mapping[str, Json], document: Mapping[str, Json], written_at: str) -> Result:
    """Return what is known of a benchmark of somebody else's."""
    statistics, options = bench["stats"], bench.get("options") or {}
    times = statistics.get("data") or []
    kept = {key: value for key, value in statistics.items() if key not in ("data", "iterations")}
    calls = statistics.get("iterations", 1)
    measured = Measurement(
        metric="latency_s",
        unit="s",
        values=tuple(times),
        details={
            "clock": f"pytest-benchmark: {options.get('timer', 'unknown timer')}",
            "told": "a call" if calls == 1 else f"mean over {calls} calls",
            "params": bench.get("params"),
            "written_by": f"pytest-benchmark {document.get('version', '')}".strip(),
            **({} if times else {"statistics": kept}),
        },
        failure="" if times else _NO_DATA.format(median=statistics["median"], rounds=statistics["rounds"]),
    )
    # A call counts as one image: what it does is not known.
    plan = Plan.of({"protocol": PROTOCOL, "metrics": ["latency"], "batch_size": 1, "processes": 1, "isolation": SHARED})
    subject = Subject(name, str(bench["name"]), "unregistered", input_shape=None, num_classes=None)
    return Result(subject, plan, _environment(document), (measured,), started_at=written_at)


def _environment(document: Mapping[str, Json]) -> Environment:
    """Return what is known of the machine: nothing of threads, allocator, packages, nor whether a GPU was used."""
    machine = document["machine_info"]
    cpu = machine.get("cpu") or {}
    commit, dirty = commit_of(document.get("commit_info") or {})
    return Environment(
        cpu=cpu.get("brand_raw") or cpu.get("brand") or machine.get("processor") or "",
        cores=cpu.get("count") or 0,
        memory_bytes=0,
        os=" ".join(filter(None, (machine.get(key) for key in ("system", "release", "machine")))),
        python=machine.get("python_version") or "",
        packages={},
        device="",
        device_name="",
        threads=0,
        allocator="",
        load_1min=0.0,
        commit=commit,
        dirty=dirty,
    )


def _utc(text: str) -> str:
    """Bring a time into the form of our records; one without a zone is in UTC, as early versions wrote it."""
    at = datetime.datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
    return at.astimezone(datetime.UTC).isoformat(timespec="seconds")
