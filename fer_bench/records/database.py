"""The tables of a store, and its database: opened, and written to by one process at a time.

Only ``store`` imports this, and only where it opens a store: importing SQLAlchemy takes long.

Database history (``DATABASE_VERSION``):
    1  2026-11: first form.
"""

import json
import os.path
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from fer_bench.records import schema
from fer_bench.records.errors import StoreBusyError, StoreError, UnstorableError, brief
from fer_bench.records.masking import masked_url

DATABASE_VERSION = 1
WAIT_S = 30.0  # for another process's transaction, which takes milliseconds, and for a server's answer to a connection
# PostgreSQL's lock of whoever writes to a store: any number that other programs will hardly use.
_WRITERS_LOCK = 0x0FE2_BE7C


def _filled(kind: type[TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    """Return columns of one kind that are never null."""
    return [sa.Column(name, kind, nullable=False) for name in names]


class Database:
    """An open database. Its tables are attributes, so that ``store`` need not import SQLAlchemy to name them.

    A connection lives as long as its transaction. So none is idle while networks are measured for hours, where a
    firewall may cut it. And none is inherited by a forked process, which SQLite forbids.

    Attributes:
        shown: the URL or path as it was given, without its password.
        folder: of the SQLite file; the current one for PostgreSQL.
    """

    metadata = sa.MetaData()
    schema_info = sa.Table("schema_info", metadata, *_filled(sa.Integer, "version"))
    runs = sa.Table(
        "runs",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        *_filled(sa.Text, "started_at"),
        sa.Column("finished_at", sa.Text),
        *_filled(sa.Text, "fingerprint", "title"),
        sa.Column("holder", sa.JSON(none_as_null=True)),
    )
    environments = sa.Table(
        "environments", metadata, sa.Column("id", sa.Text, primary_key=True), *_filled(sa.JSON, "data")
    )
    results = sa.Table(
        "results",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
        *_filled(sa.Text, "key", "name", "started_at"),
        *_filled(sa.Double, "wall_s", "passes_s"),
        *_filled(sa.Integer, "schema_version"),  # of the record
        *_filled(sa.JSON, "subject", "plan"),
        sa.Column("environment_id", sa.ForeignKey(environments.c.id), index=True),
        sa.UniqueConstraint("run_id", "key"),
    )
    measurements = sa.Table(
        "measurements",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("result_id", sa.ForeignKey(results.c.id, ondelete="CASCADE"), nullable=False, index=True),
        *_filled(sa.Integer, "position"),
        *_filled(sa.Text, "metric", "unit"),
        *_filled(sa.Integer, "process"),
        *_filled(sa.JSON, "samples", "details", "warnings"),
        *_filled(sa.Text, "failure"),
    )

    def __init__(self, text: str, *, create: bool) -> None:
        """Open the database at a URL or path; with ``create`` make what is missing and see that it can be written to.

        Raises:
            StoreError: the URL is none, or the database is not there, cannot be reached, written to or understood.
        """
        url = _url(text)
        self.shown = masked_url(text)
        self.folder = Path()
        if url.drivername == "sqlite" and "uri" not in url.query:
            file = Path(str(url.database))
            self.folder = file.parent
            if not create and not file.exists():
                raise self._missing()
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot make the folder of the store {self.shown}: {error.strerror or error}; name a file in a "
                    "folder that you may write to with --store"
                ) from error
        self._engine = self._make_engine(url)
        if not create:
            with self.reading() as connection:
                if not self._has_tables(connection):
                    raise self._missing()
            return
        with self.writing() as connection:
            if not self._has_tables(connection):
                self._make_tables(connection)
            # Whether the store can be written to shows only when something is written.
            connection.execute(self.schema_info.update().values(version=DATABASE_VERSION))
        if url.drivername == "sqlite":
            # With a write-ahead log, which SQLite keeps for good, writers do not keep readers out. SQLite does not wait
            # for the switch: where another process uses the file, it stays as safe as it is until the next opening.
            with suppress(SQLAlchemyError), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL").close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction in which all queries see the same moment; raise StoreError where the database fails."""
        with self._store_errors(), self._engine.begin() as connection:
            if self._engine.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """Return a transaction of the only writer; at its end all of it is on the disk, or with an exception nothing.

        Without ``durable`` it does not wait for the disk, and may be lost with the machine's power.

        Raises:
            StoreError: the database fails, or another process has been writing for longer than ``WAIT_S``.
        """
        opening: tuple[str, ...] = (
            f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}",
            "PRAGMA foreign_keys=ON",
            "BEGIN IMMEDIATE",
        )
        if self._engine.name != "sqlite":
            opening = (
                f"SET LOCAL lock_timeout = {round(WAIT_S * 1000)}",
                f"SET LOCAL synchronous_commit = {'on' if durable else 'off'}",
                f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})",
            )
        with self._store_errors(), self._engine.begin() as connection:
            for statement in opening:
                connection.exec_driver_sql(statement).close()
            yield connection

    @staticmethod
    def as_text(column: sa.Column[Any]) -> sa.Label[str]:
        """Return a column of JSON as the text that is stored."""
        return sa.cast(column, sa.Text).label(column.name)

    def now_s(self, connection: Connection) -> float:
        """Return the time in seconds since 1970 by the clock that all users of the database share."""
        if self._engine.name == "sqlite":
            return time.time()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def close(self) -> None:
        self._engine.dispose()

    def _make_engine(self, url: URL) -> Engine:
        arguments: dict[str, object] = {}
        if url.drivername == "sqlite":
            # Without an isolation level sqlite3 begins no transactions of its own; ``writing`` and ``reading`` do.
            arguments = {"timeout": WAIT_S, "isolation_level": None}
        elif "connect_timeout" not in url.query:
            arguments = {"connect_timeout": round(WAIT_S)}
        # PostgreSQL's JSON has no NaN, so SQLite's may not have one either.
        serializer = partial(json.dumps, allow_nan=False)
        try:
            engine = sa.create_engine(
                url, poolclass=NullPool, connect_args=arguments, json_serializer=serializer, json_deserializer=_json
            )
        except ImportError as error:
            raise StoreError(
                f"the store {self.shown} needs psycopg 3, which cannot be imported ({brief(error)}); "
                "install it with: pip install 'psycopg[binary]'"
            ) from error
        if url.drivername == "sqlite":
            sa.event.listen(engine, "connect", _read_any_text)
        return engine

    def _missing(self) -> StoreError:
        return StoreError(
            f"there is no store at {self.shown}; `fer-bench run` makes one, or name another one with --store"
        )

    def _has_tables(self, connection: Connection) -> bool:
        """Return whether the tables are there, and raise StoreError where they are of a later version."""
        if not sa.inspect(connection).has_table("schema_info"):
            return False
        version: int = connection.execute(self.schema_info.select()).scalar_one()
        if version > DATABASE_VERSION:
            raise StoreError(
                f"the store {self.shown} was made by a later fer_bench (version {version}; this one knows "
                f"{DATABASE_VERSION}): upgrade it with `pip install --upgrade fer-bench`, or name another store with "
                "--store"
            )
        return True

    def _make_tables(self, connection: Connection) -> None:
        if others := sorted(set(sa.inspect(connection).get_table_names()) & set(self.metadata.tables)):
            raise StoreError(
                f"{self.shown} holds tables of another program ({', '.join(others)}); name another store with --store"
            )
        self.metadata.create_all(connection)
        connection.execute(self.schema_info.insert().values(version=DATABASE_VERSION))

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ValueError) as error:  # ValueError: see the trouble of that name
            kind, message = _trouble(getattr(error, "orig", None) or error, unstorable=isinstance(error, DataError))
            raise kind(f"the store {self.shown} {message}") from error


def _json(text: str | bytes) -> Any:
    """Read a column of JSON; what is damaged stays a text, so that its record is refused and no other."""
    try:
        return schema.parse(text)
    except ValueError:
        return str(text)


def _read_any_text(connection: sqlite3.Connection, _: object) -> None:
    """Let a text that is no UTF-8 be read: the row is refused by what it holds, and no other with it."""
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")


# By SQLite's names of errors and by PostgreSQL's codes, either by their beginning: what it means, and the remedy.
_ANOTHER = "or name another store with --store"
_TROUBLES = {
    "SQLITE_FULL": ("is full", f"free some space, {_ANOTHER}"),
    "SQLITE_READONLY": (
        "cannot be written to",
        f"get write permission for the file and its folder, which SQLite needs even to read, {_ANOTHER}",
    ),
    "SQLITE_CANTOPEN": (
        "cannot be opened",
        f"check that you can read and write the file and its folder, {_ANOTHER}",
    ),
    "SQLITE_BUSY": ("is locked by another process", f"wait until it is done, {_ANOTHER}"),
    "SQLITE_NOTADB": ("is no SQLite database", "name another file with --store"),
    "SQLITE_CORRUPT": (
        "is damaged",
        "move it away and `fer-bench import` your last export, or try `sqlite3 FILE .recover`",
    ),
    "SQLITE_IOERR": ("cannot be read or written", f"check that the disk is sound and has space, {_ANOTHER}"),
    "53100": ("is full", f"free some space on the server, {_ANOTHER}"),
    "25006": ("cannot be written to", f"ask for a database that is not read-only, {_ANOTHER}"),
    "42501": ("refuses this user", f"ask its owner for permission to read and write, {_ANOTHER}"),
    "55P03": ("is locked by another process", f"wait until it is done, {_ANOTHER}"),
    "connection": (
        "cannot be reached",
        f"check that the server runs and that host, user, password and database are right, {_ANOTHER}",
    ),
    "value": ("was given or holds a value that is not valid JSON or text", f"leave its network out, {_ANOTHER}"),
    "": ("fails", f"check that it is a store of fer_bench and that its URL is right, {_ANOTHER}"),
}


_KINDS = {
    **dict.fromkeys(("SQLITE_BUSY", "55P03", "connection"), StoreBusyError),
    "value": UnstorableError,
}


def _trouble(error: BaseException, *, unstorable: bool) -> tuple[type[StoreError], str]:
    """Return the kind of a driver's error, and in one line what it is about, with the remedy. SQL is left out."""
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""
    diagnosis = getattr(error, "diag", None)
    reason = getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
    lost = type(error).__name__ == "OperationalError" and not isinstance(error, sqlite3.Error) and not code
    if lost or code.startswith(("08", "28", "3D", "57P")):
        code = "connection"
    if unstorable or isinstance(error, ValueError):
        code = "value"
    meaning, remedy = next(text for prefix, text in _TROUBLES.items() if code.startswith(prefix))
    kind = next((kind for prefix, kind in _KINDS.items() if code.startswith(prefix)), StoreError)
    return kind, f"{meaning}: {reason}; {remedy}"


def _url(text: str) -> URL:
    """Read what --store names.

    Raises:
        StoreError: it is neither a path nor a URL of SQLite or PostgreSQL.
    """
    wrong = StoreError(
        f"{masked_url(text)!r} names no store; expected a file such as results.sqlite, sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/DATABASE (an @ or / in the password is written %40 or %2F)"
    )
    if "://" not in text:
        if not text or ":" in text:  # rather a URL with a slip in it than a file
            raise wrong
        return URL.create("sqlite", database=os.path.expanduser(text))
    if not text.startswith("sqlite") and text.count("@") > 1:  # a raw one in the password: a part would be the host
        raise wrong
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise wrong from None  # their text may quote the password
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite" and url.database not in (None, "", ":memory:") and not url.host:
        if not url.query or "uri" in url.query:
            return url.set(drivername="sqlite", database=os.path.expanduser(str(url.database)))
    elif kind in ("postgresql", "postgres") and "@" not in f"{url.host}{url.database}":
        return url.set(drivername="postgresql+psycopg")
    raise wrong
