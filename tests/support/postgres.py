"""A PostgreSQL server for tests: one of our own that is thrown away, or the one in FER_BENCH_POSTGRES."""

import contextlib
import ctypes
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

START_S = 60  # until a server that does not answer is given up
PR_SET_PDEATHSIG = 1


def program(name: str) -> str | None:
    """Find one of PostgreSQL's programs: Debian keeps them out of the PATH."""
    installed = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    return shutil.which(name) or (installed[-1] if installed else None)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server's own database; skip the tests where there is no PostgreSQL, or fail them in CI."""
    if url := os.environ.get("FER_BENCH_POSTGRES"):
        yield url
    elif program("initdb") and program("postgres"):
        with own_server() as url:
            yield url
    elif os.environ.get("CI") or os.environ.get("FER_BENCH_REQUIRE_POSTGRES") == "1":
        pytest.fail("PostgreSQL is not installed, and here its tests may not be skipped: apt-get install postgresql")
    else:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """Start a server that listens to a socket in its own folder only, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="fer_bench_pg_", dir="/tmp", ignore_cleanup_errors=True) as folder:
        identity: dict[str, Any] = {}
        if os.getuid() == 0:  # as whom PostgreSQL refuses to run
            account = next(entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
            os.chown(folder, account.pw_uid, account.pw_gid)
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        options = "--auth=trust --username=postgres --encoding=UTF8 --locale=C --no-sync".split()
        subprocess.run(
            [program("initdb"), *options, f"--pgdata={folder}/data"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **identity,
        )
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={folder}",
            "fsync=off",
            "full_page_writes=off",
            "autovacuum=off",
            "max_connections=30",
        ]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [program("postgres"), "-D", f"{folder}/data", *(f"-c{setting}" for setting in settings)],
                cwd=folder,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT),
                **identity,
            )
        url = f"postgresql://postgres@/postgres?host={folder}"
        try:
            wait_for(url, process, Path(folder, "log"))
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # "fast shutdown": it does not wait for clients
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers."""
    for _ in range(START_S * 10):
        if process.poll() is not None:
            break
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")


@contextlib.contextmanager
def database(server_url: str) -> Iterator[str]:
    """Make an empty database on a server, give its URL, and drop it at the end."""
    name = f"fer_bench_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
