"""Start workers: forked from a server that has imported PyTorch, or fresh; read what they answer, and end them.

A fresh process imports for seconds. A server imports once and forks in milliseconds; that its children's times vary as
fresh processes' do is measured in ``benchmarks/test_isolation.py``.
"""

import atexit
import contextlib
import functools
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError

# -P: the current folder, which may hold a `models/` of the user's, is not a place to import from.
_MODULE = ("-P", "-m", "fer_bench.measuring.worker")
_START_LIMIT_S = 300.0  # a cold disk may take a minute to import PyTorch from
END_LIMIT_S = 30.0  # for a process that was killed to be gone


class Worker(Protocol):
    """A worker's answers, the commands it gets after its job, and its end."""

    answers: IO[str]

    def send(self, command: str) -> None: ...
    def kill(self) -> None: ...
    def wait(self, limit_s: float) -> int: ...


class _Fresh:
    """A process that starts from nothing."""

    def __init__(self, job: str, errors: IO[str], python: str, *, stepped: bool) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            (python, *_MODULE, str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env=_environment(python),
        )
        assert self._process.stdin is not None  # noqa: S101  # both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self.answers: IO[str] = self._process.stdout
        self.send(job)
        if not stepped:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def send(self, command: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says why
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, limit_s: float) -> int:
        return self._process.wait(limit_s)


class _Server:
    """The process that forks workers."""

    def __init__(self, libraries: Sequence[str], python: str) -> None:
        self._ended: dict[int, int] = {}  # exit codes of children that nobody has asked for yet
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # ours till end
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                (python, *_MODULE, str(os.getpid()), "--serve", str(theirs.fileno()), *libraries),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=_environment(python),
            )
        self._ready = False

    def be_ready(self) -> None:
        """Wait until it has imported what it must.

        Raises:
            FerBenchError: it ended before.
        """
        if not self._ready and self._receive(_START_LIMIT_S) != "ready":
            self.close()
            how = ending(self._process.returncode, self._errors)
            raise FerBenchError(f"the process that forks workers did not start: {how}")
        self._ready = True

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, job: str, files: Sequence[int]) -> int | None:
        """Have a child forked for a job; None when the server has ended."""
        try:
            socket.send_fds(self._connection, [job.encode()], files)
        except ConnectionError:
            return None
        while message := self._receive(END_LIMIT_S):
            kind, pid, *code = message.split()
            if kind == "forked":
                return int(pid)
            self._ended[int(pid)] = int(code[0])
        return None

    def wait(self, pid: int, limit_s: float) -> int:
        """Give a child's exit code once it has ended; with the server its children are killed.

        Raises:
            TimeoutError: it has not ended within the limit.
        """
        while pid not in self._ended:
            message = self._receive(limit_s)
            if not message:
                return -signal.SIGKILL
            _, ended, code = message.split()
            self._ended[int(ended)] = int(code)
        return self._ended.pop(pid)

    def _receive(self, limit_s: float) -> str:
        """Give its next message; "" when it has ended.

        Raises:
            TimeoutError: it said nothing for so long.
        """
        self._connection.settimeout(limit_s)
        try:
            message = self._connection.recv(64).decode()
        except ConnectionError:
            message = ""
        if not message:  # its end of the connection is closed: it is ending, and has not ended yet perhaps
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT_S)
        return message

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Forked:
    """A process forked from a server."""

    def __init__(self, server: _Server, job: str, errors: IO[str], *, stepped: bool) -> None:
        self._server = server
        self._returncode: int | None = None
        answers, theirs = os.pipe()
        self.answers: IO[str] = os.fdopen(answers, encoding="utf-8", errors="replace")
        given, commands = os.pipe() if stepped else (os.open(os.devnull, os.O_RDONLY), None)
        self._commands = os.fdopen(commands, "w", encoding="utf-8") if commands is not None else None
        try:
            self._pid = server.fork(job, [theirs, errors.fileno(), given])
        finally:
            os.close(theirs)
            os.close(given)
        if self._pid is None:
            self._returncode = -signal.SIGKILL  # the server is gone, and its children with it

    def send(self, command: str) -> None:
        assert self._commands is not None  # noqa: S101  # started as stepped
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says why
            self._commands.write(f"{command}\n")
            self._commands.flush()

    def kill(self) -> None:
        if self._returncode is None and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def wait(self, limit_s: float) -> int:
        if self._returncode is None:
            assert self._pid is not None  # noqa: S101  # else it has a code
            try:
                self._returncode = self._server.wait(self._pid, limit_s)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(_MODULE, limit_s) from error
        if self._commands is not None:
            with contextlib.suppress(BrokenPipeError):
                self._commands.close()
        return self._returncode


class Starter:
    """Starts workers for the networks of a run.

    Args:
        specs: networks whose libraries a server imports beforehand; users' code is imported in workers only.
        fresh: start each worker from nothing.
        python: the interpreter of another environment, in which this fer_bench runs with that one's PyTorch.
    """

    def __init__(self, specs: Iterable[ModelSpec], *, fresh: bool = False, python: str = sys.executable) -> None:
        self._libraries = sorted({spec.source.library for spec in specs} - {""})
        self.python = python
        self.fresh = fresh or not (hasattr(socket, "SOCK_SEQPACKET") and sys.platform == "linux")
        self._server: _Server | None = None
        self._ended = False

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

    def end(self) -> None:
        """Kill the server, and its children with it, whatever another thread waits for; nothing is started any more."""
        self._ended = True
        if self._server is not None:
            self._server.kill()

    def begin(self) -> None:
        """Start the server, where there is to be one, and do not wait for it.

        Called in the main thread, where threads are to start workers: the server ends with the thread that started it.
        """
        if not self.fresh and self._server is None:
            self._server = _Server(self._libraries, self.python)

    def start(self, job: str, errors: IO[str], *, stepped: bool = False) -> Worker:
        """Start a worker on a job; what it prints goes to a file of the caller's.

        Args:
            job: a line of JSON.
            errors: where it prints to.
            stepped: commands follow (``Worker.send``); without, there is nothing for it to read.
        """
        if self._ended:
            raise FerBenchError("interrupted")
        if self.fresh:
            return _Fresh(job, errors, self.python, stepped=stepped)
        return _Forked(self._served(), job, errors, stepped=stepped)

    def _served(self) -> _Server:
        if self._server is None or not self._server.alive:
            self._server = _Server(self._libraries, self.python)
        try:
            self._server.be_ready()
        except FerBenchError:  # killed for memory in its first moments, perhaps
            if self._ended:
                raise
            self._server = _Server(self._libraries, self.python)
            self._server.be_ready()
        return self._server


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


def _environment(python: str) -> dict[str, str]:
    found = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if python != sys.executable:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (_alone(), os.environ.get("PYTHONPATH", ""))))
    return found


@functools.cache
def _alone() -> str:
    """Give a folder that holds this fer_bench and nothing else that is installed beside it."""
    folder = tempfile.TemporaryDirectory(prefix="fer-bench-code-")
    Path(folder.name, "fer_bench").symlink_to(Path(__file__).parent.parent, target_is_directory=True)
    atexit.register(folder.cleanup)
    return folder.name
