"""Start workers: forked from a server that has imported PyTorch, or fresh; read what they answer, and end them.

A fresh process imports for seconds. A server imports once and forks in milliseconds; that its children's times vary as
fresh processes' do is measured in ``benchmarks/test_isolation.py``.
"""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Protocol, Self

from fer_bench import units
from fer_bench.errors import FerBenchError

# -P: the current folder, which may hold a `models/` of the user's, is not a place to import from.
_COMMAND = (sys.executable, "-P", "-m", "fer_bench.worker")
_START_LIMIT_S = 300.0  # a cold disk may take a minute to import PyTorch from
END_LIMIT_S = 30.0  # for a process that was killed to be gone


class Worker(Protocol):
    """A worker's answers, and its end."""

    answers: IO[str]

    def kill(self) -> None: ...
    def wait(self, limit_s: float | None = None) -> int: ...


class _Fresh:
    """A process that starts from nothing."""

    def __init__(self, job: str, errors: IO[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            (*_COMMAND, str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
        )
        assert self._process.stdin is not None  # noqa: S101  # both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self.answers: IO[str] = self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # it ended before it had read its job: its exit code tells
            self._process.stdin.write(job)
            self._process.stdin.close()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, limit_s: float | None = None) -> int:
        return self._process.wait(limit_s)


class _Server:
    """The process that forks workers."""

    def __init__(self, names: Sequence[str]) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # ours till end
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                (*_COMMAND, str(os.getpid()), "--serve", str(theirs.fileno()), *names),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        if self.hear(_START_LIMIT_S) != "ready":
            self.close()
            how = ending(self._process.returncode, self._errors)
            raise FerBenchError(f"the process that forks workers did not start: {how}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, job: str, files: Sequence[int]) -> None:
        socket.send_fds(self._connection, [job.encode()], files)

    def hear(self, limit_s: float | None) -> str:
        """Give its next message; "" when it has ended.

        Raises:
            TimeoutError: it said nothing for so long.
        """
        self._connection.settimeout(limit_s)
        try:
            told = self._connection.recv(64).decode()
        except ConnectionError:
            told = ""
        if not told:  # its end of the connection is closed: it is ending, and has not ended yet perhaps
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT_S)
        return told

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Forked:
    """A process forked from a server."""

    def __init__(self, server: _Server, job: str, errors: IO[str]) -> None:
        self._server = server
        self._returncode: int | None = None
        ours, theirs = os.pipe()
        self.answers: IO[str] = os.fdopen(ours, encoding="utf-8", errors="replace")
        try:
            server.send(job, [theirs, errors.fileno()])
            told = server.hear(END_LIMIT_S)
        except ConnectionError:
            told = ""
        finally:
            os.close(theirs)
        self._pid = int(told) if told else None
        if not told:
            self._returncode = -signal.SIGKILL  # the server is gone, and its children with it

    def kill(self) -> None:
        if self._returncode is None and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def wait(self, limit_s: float | None = None) -> int:
        if self._returncode is None:
            try:
                told = self._server.hear(limit_s)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(_COMMAND, limit_s or 0.0) from error
            self._returncode = int(told) if told else -signal.SIGKILL
        return self._returncode


class Starter:
    """Starts workers for the networks of a run; one at a time is under way."""

    def __init__(self, names: Sequence[str], *, fresh: bool = False) -> None:
        self._names = list(dict.fromkeys(names))
        self.fresh = fresh or not (hasattr(socket, "SOCK_SEQPACKET") and sys.platform == "linux")
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server; the next worker gets another."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def start(self, job: str, errors: IO[str]) -> Worker:
        """Start a worker on a job; what it prints goes to a file of the caller's."""
        if self.fresh:
            return _Fresh(job, errors)
        if self._server is None or not self._server.alive:
            self._server = self._served()
        return _Forked(self._server, job, errors)

    def _served(self) -> _Server:
        try:
            return _Server(self._names)
        except FerBenchError:  # killed for memory in its first moments, perhaps
            return _Server(self._names)


def lines(stream: IO[str], limit_s: float) -> Iterator[str | None]:
    """Yield a stream's lines; None when no line came within the limit."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        try:
            for line in stream:
                found.put(line)
        finally:
            found.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = found.get(timeout=limit_s)
        except queue.Empty:
            yield None
            return
        if not line:
            return
        yield line


def ending(returncode: int, errors: IO[str]) -> str:
    """Say how a process ended that did not finish its job."""
    errors.seek(0)
    last = [line.strip() for line in errors.read().splitlines() if line.strip()][-1:]
    said = f": {units.printable(last[0])}" if last else ""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{hint}{said}"
    return f"the process ended with exit code {returncode} before it was done{said}"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
