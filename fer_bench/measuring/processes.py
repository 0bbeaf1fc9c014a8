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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Self

from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError
from fer_bench.records.output import capped

# -P: the current folder, which may hold a `models/` of the user's, is not a place to import from.
_MODULE = ("-P", "-m", "fer_bench.measuring.worker")
_START_LIMIT_S = 300.0  # a cold disk may take a minute to import PyTorch from
END_LIMIT_S = 30.0  # for a process that was killed to be gone


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
        if not self._ready and self._receive(_START_LIMIT_S) != ["ready"]:
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
        while words := self._receive(END_LIMIT_S):
            if words[0] == "forked":
                return int(words[1])
        return None

    def wait(self, pid: int, limit_s: float) -> int:
        """Give a child's exit code once it has ended; with the server its children are killed.

        Raises:
            TimeoutError: it has not ended within the limit.
        """
        while pid not in self._ended:
            if not self._receive(limit_s):
                return -signal.SIGKILL
        return self._ended.pop(pid)

    def _receive(self, limit_s: float) -> list[str]:
        """Return the words of its next message, none when it has ended; keep the exit code of a child that has.

        Raises:
            TimeoutError: it said nothing for so long.
        """
        self._connection.settimeout(limit_s)
        try:
            words = self._connection.recv(64).decode().split()
        except ConnectionError:
            words = []
        if not words:  # its end of the connection is closed: it is ending, and has not ended yet perhaps
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT_S)
        elif words[0] == "ended":
            self._ended[int(words[1])] = int(words[2])
        return words

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Forked:
    """A process forked from a server, with the methods of ``Popen`` that a worker needs."""

    def __init__(self, server: _Server, job: str, files: Sequence[int]) -> None:
        self._server = server
        self._pid = server.fork(job, files)
        self._returncode = None if self._pid else -signal.SIGKILL  # the server is gone, and its children with it

    def kill(self) -> None:
        if self._returncode is None and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        if self._returncode is None:
            assert self._pid is not None  # noqa: S101  # else it has a code
            try:
                self._returncode = self._server.wait(self._pid, timeout)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(_MODULE, timeout) from error
        return self._returncode


class Worker:
    """A worker's answers, the commands it gets after its job, and its end.

    Args:
        start: starts the process, with the descriptors that it reads commands from and writes answers to.
    """

    def __init__(self, start: Callable[[int, int], "subprocess.Popen[bytes] | _Forked"]) -> None:
        answers, theirs = os.pipe()
        given, commands = os.pipe()
        self.answers: IO[str] = os.fdopen(answers, encoding="utf-8", errors="replace")
        self._commands = os.fdopen(commands, "w", encoding="utf-8")
        try:
            self._process = start(given, theirs)
        finally:
            os.close(given)
            os.close(theirs)
        self.kill = self._process.kill

    def send(self, command: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says why
            print(command, file=self._commands, flush=True)

    def send_no_more(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()

    def wait(self, limit_s: float) -> int:
        returncode = self._process.wait(limit_s)
        self.send_no_more()
        return returncode


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

    def __exit__(self, *error: object) -> None:
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
        if not self.fresh:
            self._running()

    def start(self, job: str, errors: IO[str], *, stepped: bool = False) -> Worker:
        """Start a worker on a job; what it prints goes to a file of the caller's.

        Args:
            job: a line of JSON.
            errors: where it prints to.
            stepped: commands follow (``Worker.send``); without, there is nothing for it to read.
        """
        if self._ended:
            raise FerBenchError("interrupted")
        worker = Worker(lambda given, theirs: self._process(job, given, theirs, errors))
        if self.fresh:
            worker.send(job)
        if not stepped:
            worker.send_no_more()
        return worker

    def _process(self, job: str, given: int, theirs: int, errors: IO[str]) -> "subprocess.Popen[bytes] | _Forked":
        if self.fresh:
            command = (self.python, *_MODULE, str(os.getpid()))
            environment = _environment(self.python)
            return subprocess.Popen(command, stdin=given, stdout=theirs, stderr=errors, env=environment)  # noqa: S603
        server = self._running()
        try:
            server.be_ready()
        except FerBenchError:  # killed for memory in its first moments, perhaps
            if self._ended:
                raise
            server = self._running()
            server.be_ready()
        return _Forked(server, job, [theirs, errors.fileno(), given])

    def _running(self) -> _Server:
        """Return the server, another one where it has ended."""
        if self._server is None or not self._server.alive:
            self._server = _Server(self._libraries, self.python)
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
    said = f": {capped(last[0])}" if last else ""
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
