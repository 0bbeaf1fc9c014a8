"""The runs of a store, and one of them in words."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_bench.records.result import Result
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.common import failures, warnings_of

if TYPE_CHECKING:
    from fer_bench.records.store import Run


def runs(stored: "Sequence[Run]") -> Table:
    """List runs of a store."""
    columns = (
        Column("id", "run", align="left"),
        Column("started_at", "started (UTC)", lambda time: time[:19].replace("T", " "), "left"),
        Column("state", "state", align="left"),
        Column("results", "results"),
        Column("title", "protocol: networks", align="left"),
    )
    return Table("Runs", columns, tuple(dataclasses.asdict(run) for run in stored))


def run_details(run: "Run", results: Sequence[Result]) -> list[tuple[str, str]]:
    """Describe a run: headings and texts."""
    lines = [
        ("run", run.id),
        ("what", run.title),
        ("started", run.started_at),
        ("finished", run.finished_at or f"no: {run.state}"),
        ("results", str(run.results)),
    ]
    plans = dict.fromkeys(", ".join(f"{k}={v}" for k, v in r.plan.to_dict().items() if v is not None) for r in results)
    lines += [("plan", plan) for plan in plans]
    places: dict[str, None] = {}
    for where in (result.environment for result in results):
        if where is not None:
            facts = dataclasses.asdict(where) | {"attainable": None, "load_1min": None, "affinity": None}
            places[", ".join(f"{key}={value}" for key, value in facts.items() if value)] = None
    lines += [("environment", place) for place in places]
    for result in results:
        lines += [("note", f"{result.subject.name}: {text}") for text in (*failures(result), *warnings_of(result))]
    return lines
