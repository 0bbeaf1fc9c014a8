"""Keep runs and their results in an SQLite file, or in PostgreSQL by URL.

A result is on the disk when ``save`` returns, so that a run that was killed goes on where it was.

Whoever measures a run holds it by a lease, which ``held`` renews: one process at a time adds results to it. A process
of this machine is looked for by its number. Of one elsewhere, in another container perhaps, only the lease says whether
it lives: once that has run out, the run may go on.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import socket
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from fer_bench.records import schema
from fer_bench.records.errors import StoreError
from fer_bench.records.result import Environment, Json, Measurement, Result

if TYPE_CHECKING:  # SQLAlchemy takes long to import, and most commands open no store
    from sqlalchemy import Column
    from sqlalchemy.engine import Connection, Row

    from fer_bench.records.database import Database

DEFAULT_STORE = "sqlite:///fer-bench-results/results.sqlite"

HEARTBEAT_S = 15.0  # between renewals of a lease, each a write of 300 bytes that does not wait for the disk
LEASE_S = 90.0  # several heartbeats, of which two may each wait for another process's lock

State = Literal["finished", "under way", "interrupted", "elsewhere"]
Keyed = tuple[str, Result]
Skipped = Callable[[str], None]  # gets a line on a run of which something was left out

UNREAD = (math.nan,)  # the values in the head of a result, which nothing measured has
_AT_ONCE = 10_000  # results that one query asks for by number: databases take some ten thousands of parameters

_DECODED = ("subject", "plan")  # fields of a result whose columns are JSON
_OF_RESULT = ("started_at", "wall_s", "passes_s", "schema_version", "subject", "plan")  # fields with columns
# Fields of a measurement whose columns have the same name; its values do not, since VALUES is a word of SQL.
_AS_STORED = ("metric", "unit", "process", "details", "warnings", "failure")


@dataclass(frozen=True, slots=True)
class Run:
    """What a store holds of one run. Times are ISO 8601 in UTC."""

    id: str
    title: str
    started_at: str
    finished_at: str | None
    state: State  # "interrupted" may go on; "elsewhere" was imported unfinished: only where it comes from is more known
    results: int  # how many there are
    networks: tuple[str, ...]  # their names, in the order measured
    fingerprint: str  # runs with the same one measure the same in the same way, so that one may go on for another


@dataclass(frozen=True, slots=True)
class Contents:
    """A run with its results and their keys, as it is exported."""

    id: str
    title: str
    started_at: str
    finished_at: str | None
    fingerprint: str
    results: tuple[Keyed, ...]
    partial: bool = False  # not all that the run has: results that could not be saved into it


class Store:
    """Runs in a database. Any number of processes may use it at once; ``open`` makes one.

    All methods raise StoreError where the database fails, and where there is no run of the id that is given.
    """

    def __init__(self, database: "Database") -> None:
        self._db = database
        self._id = uuid.uuid4().hex  # no other process or store has it
        self._held: set[str] = set()  # runs that were begun or resumed by this store
        self.shown = database.shown  # the URL or path as given, without its password
        self.folder = database.folder  # of the SQLite file; the current one for PostgreSQL

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Self:
        """Open a store by its URL, or by the path of its SQLite file.

        With ``create`` the folder and the tables are made where they are missing. It is also tested whether the store
        can be written to, since a run must not find out after hours.

        Raises:
            StoreError: the URL is wrong, the store is not there, cannot be reached or written to, or is a later one.
        """
        from fer_bench.records.database import Database

        return cls(Database(url, create=create))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def begin(self, fingerprint: str, title: str) -> str:
        """Begin a run, which this process holds, and give its id."""
        run_id = uuid.uuid4().hex[:12]
        row = {"id": run_id, "started_at": _now(), "fingerprint": fingerprint, "title": title}
        with self._db.writing() as connection:
            connection.execute(self._db.runs.insert().values({**row, "holder": self._lease(connection)}))
        self._held.add(run_id)
        return run_id

    def resumable(self, fingerprint: str) -> Run | None:
        """Return the latest interrupted run that measures the same, if there is one."""
        interrupted = (run for run in self.runs() if run.state == "interrupted" and run.fingerprint == fingerprint)
        return next(interrupted, None)

    def resume(self, run_id: str) -> bool:
        """Make this process the holder of an unfinished run; False where it is finished or a living process holds it.

        Of several processes that try at once, one gets True. A run "elsewhere" is taken over: whoever asks for that
        by its id knows that nobody works on it.
        """
        with self._db.writing() as connection:
            run = self._run_row(connection, run_id)
            if _state(run, self._db.now_s(connection)) in ("finished", "under way"):
                return False
            self._update(connection, run_id, holder=self._lease(connection))
        self._held.add(run_id)
        return True

    def release(self, run_id: str) -> None:
        """Let go of a run without having finished it, so that any process, this one too, may resume it."""
        with self._db.writing() as connection:
            if self._holds(self._run_row(connection, run_id)):
                self._update(connection, run_id, holder=None)
                self._held.discard(run_id)

    def renew(self, run_id: str) -> None:
        """Renew the lease of a run, if this store has it still."""
        with self._db.writing(durable=False) as connection:
            run = self._run_row(connection, run_id)
            if run.finished_at is None and (run.holder or {}).get("id") == self._id:
                self._update(connection, run_id, holder=self._lease(connection))

    @contextlib.contextmanager
    def held(self, run_id: str) -> Iterator[None]:
        """Renew the lease of a run from a thread for as long as the block lasts, however long a network takes."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(HEARTBEAT_S):
                with contextlib.suppress(StoreError):  # several heartbeats fit into a lease: the next may get through
                    self.renew(run_id)

        thread = threading.Thread(target=renew, name=f"lease of {run_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_JOIN_S)

    def held_elsewhere(self, fingerprint: str) -> str:
        """Return who measures the same where only a lease shows whether they live; "" for nobody."""
        with self._db.reading() as connection:
            same = self._db.runs.select().where(
                self._db.runs.c.fingerprint == fingerprint, self._db.runs.c.finished_at.is_(None)
            )
            now_s = self._db.now_s(connection)
            for run in connection.execute(same.order_by(self._db.runs.c.started_at.desc())):
                if _state(run, now_s) == "under way" and _lives(run.holder) is None:
                    return f"run {run.id} {_held_by(run, now_s)}"
        return ""

    def done(self, run_id: str) -> list[Keyed]:
        """Return the keys and results that a run has, in the order saved."""
        return list(self.contents(run_id).results)

    def results(self, run_id: str, skipped: Skipped | None = None) -> list[Result]:
        """Return the results of a run, in the order saved.

        With ``skipped`` those that cannot be read are left out; without, the first of them is a StoreError.
        """
        with self._db.reading() as connection:
            return [result for _, result in self._contents(connection, run_id, skipped).results]

    def save(self, run_id: str, key: str, result: Result) -> None:
        """Add a result to a run, in place of the one with this key, and return when it is on the disk.

        After a StoreError nothing has changed.
        """
        results = self._db.results
        with self._db.writing() as connection:
            self._check_held(connection, run_id)
            replaced = results.delete().where(results.c.run_id == run_id, results.c.key == key)
            if connection.execute(replaced).rowcount:
                self._drop_unused_environments(connection)
            self._insert(connection, run_id, key, result)

    def append(self, run_id: str, key: str, measurements: Sequence[Measurement]) -> None:
        """Add measurements to the result of a run with this key, and return when they are on the disk.

        What is measured over a long time is so kept as it comes, in pieces of the same metrics.

        Raises:
            StoreError: also where the run has no such result; nothing has changed then.
        """
        results, stored = self._db.results, self._db.measurements
        with self._db.writing() as connection:
            self._check_held(connection, run_id)
            of_run = results.select().where(results.c.run_id == run_id, results.c.key == key)
            row = connection.execute(of_run.with_only_columns(results.c.id)).first()
            if row is None:
                raise StoreError(f"run {run_id} has no result {key} to add measurements to")
            there = stored.select().where(stored.c.result_id == row.id).order_by(stored.c.position.desc()).limit(1)
            last = connection.execute(there.with_only_columns(stored.c.position)).first()
            self._insert_measurements(
                connection, row.id, map(dataclasses.asdict, measurements), last.position + 1 if last else 0
            )

    def finish(self, run_id: str) -> None:
        """Note that a run has all its results."""
        with self._db.writing() as connection:
            self._check_held(connection, run_id)
            self._update(connection, run_id, finished_at=_now())

    def runs(self) -> list[Run]:
        """Return all runs, the newest first."""
        runs, results = self._db.runs, self._db.results
        names = defaultdict(list)
        with self._db.reading() as connection:
            now_s = self._db.now_s(connection)
            rows = connection.execute(runs.select().order_by(runs.c.started_at.desc(), runs.c.id)).all()
            columns = results.select().with_only_columns(results.c.run_id, results.c.name).order_by(results.c.id)
            for run_id, name in connection.execute(columns):
                names[run_id].append(name)
        # A column that is damaged is shown as it is: a run that nobody can see cannot be deleted.
        return [
            Run(
                **_as_text(row),
                state=_state(row, now_s),
                results=len(found := names[row.id]),
                networks=tuple(dict.fromkeys(map(str, found))),
            )
            for row in rows
        ]

    def networks(self) -> list[str]:
        """Return the names of all networks that have results."""
        names = self._db.results.select().with_only_columns(self._db.results.c.name).distinct()
        with self._db.reading() as connection:
            return sorted(map(str, connection.execute(names).scalars()))

    def metrics(self, name: str) -> dict[str, str]:
        """Return the metrics that were measured of a network, or failed, with their units."""
        results, measurements = self._db.results, self._db.measurements
        pairs = measurements.join(results).select().where(results.c.name == name)
        columns = pairs.with_only_columns(measurements.c.metric, measurements.c.unit).distinct()
        with self._db.reading() as connection:
            return {str(row.metric): str(row.unit) for row in connection.execute(columns.order_by(measurements.c.unit))}

    def heads_of(
        self, name: str, metrics: Sequence[str], *, skipped: Skipped | None = None
    ) -> "Iterator[tuple[int, str, Result]]":
        """Yield a network's results in all runs without environments and values, each with its number and run's id.

        They have the measurements of these metrics, with ``UNREAD`` in place of their values: of many results the few
        that matter are then read by ``results_of``. ``skipped`` is as there.
        """
        return self._read(name, metrics, _Reader(details=False).head, [], skipped)

    def results_of(
        self,
        name: str,
        metrics: Sequence[str],
        *,
        details: bool = True,
        skipped: Skipped | None = None,
        numbers: Sequence[int] | None = None,
    ) -> "Iterator[tuple[int, str, Result]]":
        """Yield the results of a network in all runs, in the order saved, each with its number and its run's id.

        They have the measurements of these metrics only, with no warnings, and without ``details`` none of these. With
        ``skipped`` results that cannot be read are left out; without, the first of them is a StoreError. ``numbers``
        names those to read, by ``heads_of``.
        """
        texts = [self._db.measurements.c.samples, *([self._db.measurements.c.details] if details else [])]
        read = _Reader(details=details).result
        if numbers is None:
            yield from self._read(name, metrics, read, texts, skipped)
            return
        for begin in range(0, len(numbers), _AT_ONCE):
            yield from self._read(name, metrics, read, texts, skipped, numbers[begin : begin + _AT_ONCE])

    def _read(
        self,
        name: str,
        metrics: Sequence[str],
        read: "Callable[[Sequence[Row[Any]]], Result]",
        texts: "Sequence[Column[Any]]",
        skipped: Skipped | None,
        numbers: Sequence[int] | None = None,
    ) -> "Iterator[tuple[int, str, Result]]":
        """Yield results by number and run, from their rows; the environment is in these where ``texts`` are."""
        environments, results, measurements = self._db.environments, self._db.results, self._db.measurements
        columns: list[Any] = [
            column for column in results.c if column.name not in (*_DECODED, "key", "name", "environment_id")
        ]
        columns += [measurements.c[name] for name in ("metric", "unit", "process", "failure")]
        columns += map(self._db.as_text, [*texts, *(results.c[name] for name in _DECODED)])
        tables = results.outerjoin(environments) if texts else results
        if texts:
            columns.append(self._db.as_text(environments.c.data).label("environment"))
        asked = (measurements.c.result_id == results.c.id) & measurements.c.metric.in_(metrics)
        chosen = results.c.name == name
        if numbers is not None:
            chosen &= results.c.id.in_(numbers)
        query = tables.outerjoin(measurements, asked).select().where(chosen).with_only_columns(*columns)
        refused, kept = [], 0
        with self._db.reading() as connection:
            rows = connection.execute(query.order_by(results.c.id, measurements.c.position))
            for number, group in itertools.groupby(rows, key=lambda row: row.id):
                of_result = list(group)
                run_id = of_result[0].run_id
                try:
                    result = read(of_result)
                except StoreError as error:
                    if skipped is None:
                        raise StoreError(f"{name} in run {run_id} of {self.shown}: {error}") from error
                    refused.append(f"run {run_id}: {error}")
                else:
                    kept += 1
                    yield number, run_id, result
        if skipped is not None and refused:
            skipped(left_out(f"{name} in {self.shown}", refused, kept))

    def find_run(self, text: str) -> Run:
        """Return a run by its id, by a beginning of it that only one has, or the newest by "last"."""
        runs = self.runs()
        if not runs:
            raise StoreError(f"there are no runs in {self.shown} yet; `fer-bench run` adds one")
        if text == "last":
            return runs[0]
        found = [run for run in runs if text and run.id.startswith(text)]
        if len(found) == 1:
            return found[0]
        named = "; ".join(f"{run.id} ({run.title}, {run.started_at[:16]})" for run in (found or runs)[:5])
        if found:
            raise StoreError(f"run {text!r} matches {len(found)} runs: {named}; give more of the id")
        raise StoreError(f"there is no run {text!r} in {self.shown}; the latest are {named}; or use last")

    def delete(self, run_id: str) -> None:
        """Delete a run with its results.

        Raises:
            StoreError: also where another process is measuring it.
        """
        with self._db.writing() as connection:
            run, now_s = self._run_row(connection, run_id), self._db.now_s(connection)
            if _state(run, now_s) == "under way" and run.holder.get("id") != self._id:
                raise StoreError(f"run {run_id} {_held_by(run, now_s)}; stop it first: nothing was deleted")
            connection.execute(self._db.runs.delete().where(self._db.runs.c.id == run_id))
            self._drop_unused_environments(connection)

    def contents(self, run_id: str) -> Contents:
        """Return a run with all that is in it.

        Raises:
            StoreError: also where a result is of another schema.
        """
        with self._db.reading() as connection:
            return self._contents(connection, run_id)

    def add(self, runs: Sequence[Contents]) -> tuple[list[str], list[str]]:
        """Add runs of another store, all or none; give the ids of those added, and of those that were there already.

        What a partial run has is added to the run of that id.

        Raises:
            StoreError: also where a run is there already and differs.
        """
        added, skipped = [], []
        with self._db.writing() as connection:
            for run in runs:
                if connection.execute(self._db.runs.select().where(self._db.runs.c.id == run.id)).first() is None:
                    # Nobody here knows whether an unfinished run still goes on where it comes from: no host holds it.
                    connection.execute(self._db.runs.insert().values({**head(run), "holder": {}}))
                    for key, result in run.results:
                        self._insert(connection, run.id, key, result)
                    added.append(run.id)
                elif (there := self._contents(connection, run.id)) == run:
                    skipped.append(run.id)
                elif run.partial and there.fingerprint == run.fingerprint and _in_accord(there, run):
                    known = dict(there.results)
                    new = [(key, result) for key, result in run.results if key not in known]
                    for key, result in new:
                        self._insert(connection, run.id, key, result)
                    (added if new else skipped).append(run.id)
                else:
                    raise StoreError(
                        f"run {run.id} is in {self.shown} already and differs; nothing was imported: delete that run "
                        "first, or import into another store with --store"
                    )
        return added, skipped

    def _lease(self, connection: "Connection") -> dict[str, Json]:
        return {"id": self._id, **_this_process(), "expires_s": self._db.now_s(connection) + LEASE_S}

    def _holds(self, run: "Row[Any]") -> bool:
        """Return False where another process has taken over a run of this store's."""
        return run.id not in self._held or (run.holder or {}).get("id", self._id) == self._id

    def _check_held(self, connection: "Connection", run_id: str) -> None:
        run = self._run_row(connection, run_id)
        if not self._holds(run):
            raise StoreError(
                f"run {run_id} {_held_by(run, self._db.now_s(connection))}, which took it over when its lease had run "
                "out: this process was silent for too long"
            )

    def _run_row(self, connection: "Connection", run_id: str) -> "Row[Any]":
        row = connection.execute(self._db.runs.select().where(self._db.runs.c.id == run_id)).first()
        if row is None:
            raise StoreError(f"there is no run {run_id} in {self.shown}; it may have been deleted")
        return row

    def _update(self, connection: "Connection", run_id: str, **values: Json) -> None:
        self._run_row(connection, run_id)
        connection.execute(self._db.runs.update().where(self._db.runs.c.id == run_id).values(values))

    def _insert(self, connection: "Connection", run_id: str, key: str, result: Result) -> None:
        environments, results = self._db.environments, self._db.results
        data = result.to_dict()
        row = {name: data[name] for name in _OF_RESULT}
        row |= {"run_id": run_id, "key": key, "name": result.subject.name}
        if (environment := data["environment"]) is not None:
            row["environment_id"] = hashlib.sha256(compact(environment).encode()).hexdigest()
            stored = environments.select().where(environments.c.id == row["environment_id"])
            if connection.execute(stored).first() is None:
                connection.execute(environments.insert().values(id=row["environment_id"], data=environment))
        result_id = connection.execute(results.insert().values(row).returning(results.c.id)).scalar_one()
        self._insert_measurements(connection, result_id, data["measurements"])

    def _insert_measurements(
        self, connection: "Connection", result_id: int, measurements: Iterable[dict[str, Json]], first: int = 0
    ) -> None:
        rows = [
            {**measurement, "samples": measurement.pop("values"), "result_id": result_id, "position": position}
            for position, measurement in enumerate(measurements, first)
        ]
        if rows:
            connection.execute(self._db.measurements.insert(), rows)

    def _drop_unused_environments(self, connection: "Connection") -> None:
        environments, results = self._db.environments, self._db.results
        used = results.select().with_only_columns(results.c.environment_id).where(results.c.environment_id.is_not(None))
        connection.execute(environments.delete().where(environments.c.id.not_in(used)))

    def _contents(self, connection: "Connection", run_id: str, skipped: Skipped | None = None) -> Contents:
        environments, results, measurements = self._db.environments, self._db.results, self._db.measurements
        run = self._run_row(connection, run_id)
        of_run = results.select().where(results.c.run_id == run_id)
        theirs = measurements.c.result_id.in_(of_run.with_only_columns(results.c.id))
        measured = defaultdict(list)
        for row in connection.execute(measurements.select().where(theirs).order_by(measurements.c.position)):
            data = {name: getattr(row, name) for name in _AS_STORED}
            measured[row.result_id].append({**data, "values": row.samples})
        with_environment = of_run.add_columns(environments.c.data.label("environment")).outerjoin(environments)
        keyed, refused = [], []
        for row in connection.execute(with_environment.order_by(results.c.id)):
            data = {name: getattr(row, name) for name in (*_OF_RESULT, "environment")}
            try:
                keyed.append((row.key, Result.of({**data, "measurements": measured[row.id]})))
            except StoreError as error:
                if skipped is None:
                    raise StoreError(f"{row.name} in run {run_id} of {self.shown}: {error}") from error
                refused.append(f"{row.name}: {error}")
        if skipped is not None and refused:
            skipped(left_out(f"run {run_id} of {self.shown}", refused, len(keyed)))
        return Contents(**head(run), results=tuple(keyed))


class _Reader:
    """Makes results of rows whose JSON is text yet: of equal texts, which most subjects and plans are, once."""

    def __init__(self, *, details: bool) -> None:
        self._details = details
        self._known: dict[tuple[Json, ...], Result] = {}

    def result(self, rows: "Sequence[Row[Any]]") -> Result:
        """Read a result and its measurements; raise StoreError where that fails."""
        row, measured = rows[0], rows if rows[0].metric is not None else ()
        with _no_result():
            if self._details:
                where = schema.parse(row.environment) if row.environment is not None else None
                return self._whole(row, where, [_row_of(one) for one in measured])
            where = Environment.of_json(row.environment) if row.environment is not None else None
            return self._as_before(row, where, map(_values_of, measured))

    def head(self, rows: "Sequence[Row[Any]]") -> Result:
        """Read a result without environment and values; raise StoreError where that fails."""
        measured = rows if rows[0].metric is not None else ()
        heads = (
            Measurement(row.metric, row.unit, () if row.failure else UNREAD, row.process, failure=row.failure)
            for row in measured
        )
        with _no_result():
            return self._as_before(rows[0], None, heads)

    def _as_before(self, row: "Row[Any]", environment: Environment | None, measured: Iterable[Measurement]) -> Result:
        texts = row.schema_version, row.subject, row.plan
        if texts not in self._known:
            self._known[texts] = self._whole(row, None, [])
        known = self._known[texts]
        started_at = schema.time(row.started_at, "started_at")
        return Result(known.subject, known.plan, environment, tuple(measured), started_at, row.wall_s, row.passes_s)

    def _whole(self, row: "Row[Any]", environment: Json, measurements: list[Json]) -> Result:
        data = {name: getattr(row, name) for name in _OF_RESULT if name not in _DECODED}
        data |= {name: schema.parse(getattr(row, name)) for name in _DECODED}
        return Result.of({**data, "environment": environment, "measurements": measurements})


@contextlib.contextmanager
def _no_result() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise StoreError(f"not a result of fer_bench: {error}") from error


def _row_of(row: "Row[Any]") -> dict[str, Json]:
    known = {name: getattr(row, name) for name in ("metric", "unit", "process", "failure")}
    details = schema.parse(row.details) if "details" in row._fields else {}
    return {**known, "values": schema.parse(row.samples), "details": details, "warnings": []}


def _values_of(row: "Row[Any]") -> Measurement:
    try:
        values = schema.numbers(row.samples)
    except ValueError:  # one that is wrong, or below 0, which some may be
        return Measurement.of(_row_of(row))
    return Measurement(row.metric, row.unit, values, row.process, failure=row.failure)


def head(run: "Row[Any] | Contents") -> dict[str, Any]:
    """Return what there is of a run besides its results, by name."""
    return {name: getattr(run, name) for name in ("id", "title", "started_at", "finished_at", "fingerprint")}


def left_out(where: str, refused: Sequence[str], kept: int) -> str:
    """Return in a line which records were left out."""
    return f"{where}: left out {len(refused)} of {len(refused) + kept} records: {schema.first_of(refused)}"


def _as_text(row: "Row[Any]") -> dict[str, Any]:
    return {name: value if value is None else str(value) for name, value in head(row).items()}


def compact(data: Json) -> str:
    """Write JSON that is equal where the data is: keys sorted, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _in_accord(there: Contents, run: Contents) -> bool:
    """Return whether no key has different results in two contents of a run."""
    known = dict(there.results)
    return all(known.get(key, result) == result for key, result in run.results)


_JOIN_S = 5.0  # for a renewal under way, which may wait for a lock; it does no harm when it comes later


def _this_process() -> dict[str, Json]:
    """Return who holds a run, so that another process can find out whether the holder lives."""
    return {
        "host": socket.gethostname(),
        "machine": _system("/etc/machine-id"),  # many machines have the same host name
        "boot": _system("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),  # a process has its number there only: each container counts its own
        "pid": os.getpid(),
        "process_started": _process_started(os.getpid()),
    }


def _system(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    if sys.platform != "linux":
        return "system"
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_started(pid: int) -> int | None:
    """When a living process started, in clock ticks since the system did; None where there is none.

    Elsewhere than on Linux it is seconds of the wall clock, which move when that is set.
    """
    if not Path("/proc/self/stat").exists():
        import psutil

        try:
            return int(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        # Fields from the third on (proc_pid_stat(5)); the second, the name in brackets, may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _lives(holder: Mapping[str, Json]) -> bool | None:
    """Return whether the process that holds a run lives; None where its number means nothing here."""
    here = _this_process()
    # Holders recorded before there were leases say nothing of a namespace.
    known = {"namespace": here["namespace"], **holder}
    same = all(known.get(name) == here[name] for name in ("host", "machine", "boot", "namespace"))
    sure = here["namespace"] and (here["boot"] or sys.platform != "linux")
    if not (same and sure and isinstance(known.get("pid"), int)):
        return None
    return _process_started(known["pid"]) == known.get("process_started")


def _state(run: "Row[Any]", now_s: float) -> State:
    if run.finished_at is not None:
        return "finished"
    if run.holder is None:
        return "interrupted"
    holder = run.holder if isinstance(run.holder, Mapping) else {}
    lives, expires_s = _lives(holder), holder.get("expires_s")
    if lives is None:
        if not isinstance(expires_s, int | float):  # imported, or recorded before there were leases
            here = _this_process()
            same_machine = all(holder.get(name) == here[name] for name in ("host", "machine"))
            return "interrupted" if same_machine else "elsewhere"
        lives = now_s < expires_s
    return "under way" if lives else "interrupted"


def _held_by(run: "Row[Any]", now_s: float) -> str:
    """Return which process holds a run that is under way."""
    holder = run.holder
    lease = ""
    if _lives(holder) is None:
        lease = f", or was killed: its lease ends in {max(0.0, holder['expires_s'] - now_s):.0f} s"
    return f"is under way in process {holder.get('pid')} of {holder.get('host')}{lease}"
