"""Start workers: forked from a server that has imported PyTorch, or fresh; read what they answer, and end them.

What a network leaves behind is ended with its worker. On Linux that is all of it, since a server starts the workers and
adopts their orphans. Elsewhere it is what the worker has not detached, and only if the worker still runs.

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

import psutil

from fer_bench.measuring.machine import WAIT_SETTINGS
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError
from fer_bench.records.output import capped

# -P: the current folder, which may hold a `models/` of the user's, is not a place to import from.
_MODULE = ("-P", "-m", "fer_bench.measuring.worker")
# What a server imports of ours, and with it PyTorch.
_OURS = tuple(
    f"fer_bench.measuring.{name}"
    for name in (
        "network",
        "counting.recount",
        *(
            f"profilers.{each}"
            for each in ("energy", "latency", "memory", "occupancy", "roofline", "stepped", "training")
        ),
    )
)
_START_LIMIT_S = 300.0  # a cold disk may take a minute to import PyTorch from
_PATIENCE_S = 1.0  # for what a network left behind to end by itself
END_LIMIT_S = 30.0  # for a process that was killed to be gone


class _Server:
    """The process that forks workers."""

    def __init__(self, libraries: Sequence[str], python: str, wait: str, *, fresh: bool) -> None:
        self._ended: dict[int, tuple[int, int]] = {}  # how children ended that nobody has asked for yet
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # ours till end
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                (
                    python,
                    *_MODULE,
                    str(os.getpid()),
                    "--fresh" if fresh else "--serve",
                    str(theirs.fileno()),
                    *libraries,
                ),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=_environment(python, wait),
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

    def wait(self, pid: int, limit_s: float) -> tuple[int, int]:
        """Return a child's exit code, and how many processes it left behind, once these have ended.

        With the server its children are killed.

        Raises:
            TimeoutError: it has not ended within the limit.
        """
        while pid not in self._ended:
            if not self._receive(limit_s):
                return -signal.SIGKILL, 0
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
            self._ended[int(words[1])] = int(words[2]), int(words[3])
        return words

    def end(self) -> None:
        """Have it end its workers, what they left behind, and itself."""
        self._process.terminate()

    def close(self) -> None:
        self.end()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:  # a library hangs while it is imported
            self._process.kill()
            self._process.wait()
        self._connection.close()


class _Forked:
    """A process forked from a server, with the methods of ``Popen`` that a worker needs."""

    def __init__(self, server: _Server, job: str, files: Sequence[int]) -> None:
        self._server = server
        self._pid = server.fork(job, files)
        self._returncode = None if self._pid else -signal.SIGKILL  # the server is gone, and its children with it
        self.left_behind = 0

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self._returncode is None and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def wait(self, timeout: float) -> int:
        if self._returncode is None:
            assert self._pid is not None  # noqa: S101  # else it has a code
            try:
                self._returncode, self.left_behind = self._server.wait(self._pid, timeout)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(_MODULE, timeout) from error
        return self._returncode


class _Started(subprocess.Popen[bytes]):
    """A process of ours where there is no server: only what it has not detached is seen, and only while it lives."""

    left_behind = 0

    def kill(self) -> None:
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.pid).children(recursive=True)
        super().kill()
        _, left = psutil.wait_procs(children, _PATIENCE_S)
        for child in left:
            with contextlib.suppress(psutil.Error):
                child.kill()
        self.left_behind += len(left)


class Worker:
    """A worker's answers, the commands it gets after its job, and its end.

    Args:
        start: starts the process, with the descriptors that it reads commands from and writes answers to.
    """

    def __init__(self, start: Callable[[int, int], "_Started | _Forked"]) -> None:
        answers, theirs = os.pipe()
        given, commands = os.pipe()
        self.answers: IO[str] = os.fdopen(answers, encoding="utf-8", errors="replace")
        self._commands = os.fdopen(commands, "w", encoding="utf-8")
        try:
            self._process = start(given, theirs)
        finally:
            os.close(given)
            os.close(theirs)
        self.kill, self.terminate = self._process.kill, self._process.terminate

    def send(self, command: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says why
            print(command, file=self._commands, flush=True)

    def send_no_more(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()

    @property
    def left_behind(self) -> int:
        """How many processes of the network were ended after it, once it has been waited for."""
        return self._process.left_behind

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
        self._served = hasattr(socket, "SOCK_SEQPACKET") and sys.platform == "linux"
        self.fresh = fresh or not self._served
        # By wait policy, which a process cannot change after its start, and whether workers are new programs.
        self._servers: dict[tuple[str, bool], _Server] = {}
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the servers; the next worker gets another."""
        while self._servers:
            self._servers.popitem()[1].close()

    def end(self) -> None:
        """End the servers, and their children, whatever another thread waits for; nothing is started any more."""
        self._ended = True
        for server in self._servers.values():
            server.end()

    def begin(self, wait: str) -> None:
        """Start the server, where there is to be one, and do not wait for it.

        Called in the main thread, where threads are to start workers: the server ends with the thread that started it.
        """
        if self._served:
            self._running(wait, fresh=self.fresh)

    def start(self, job: str, errors: IO[str], wait: str, *, stepped: bool = False, fresh: bool = False) -> Worker:
        """Start a worker on a job; what it prints goes to a file of the caller's.

        Args:
            job: a line of JSON.
            errors: where it prints to.
            wait: the plan's wait policy.
            stepped: commands follow (``Worker.send``); without, there is nothing for it to read.
            fresh: start it from nothing in any case, without PyTorch: it loads a backend's artefact.
        """
        if self._ended:
            raise FerBenchError("interrupted")
        fresh = fresh or self.fresh
        worker = Worker(lambda given, theirs: self._process(job, given, theirs, errors, wait, fresh=fresh))
        if fresh:
            worker.send(job)
        if not stepped:
            worker.send_no_more()
        return worker

    def _process(
        self, job: str, given: int, theirs: int, errors: IO[str], wait: str, *, fresh: bool
    ) -> "_Started | _Forked":
        if not self._served:
            command = (self.python, *_MODULE, str(os.getpid()))
            environment = _environment(self.python, wait)
            return _Started(command, stdin=given, stdout=theirs, stderr=errors, env=environment)
        server = self._running(wait, fresh=fresh)
        try:
            server.be_ready()
        except FerBenchError:  # killed for memory in its first moments, perhaps
            if self._ended:
                raise
            server = self._running(wait, fresh=fresh)
            server.be_ready()
        return _Forked(server, job, [theirs, errors.fileno(), given])

    def _running(self, wait: str, *, fresh: bool) -> _Server:
        """Return the server of a wait policy, another one where it has ended."""
        server = self._servers.get((wait, fresh))
        if server is None or not server.alive:
            libraries = [] if fresh else [*_OURS, *self._libraries]
            server = self._servers[wait, fresh] = _Server(libraries, self.python, wait, fresh=fresh)
        return server


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
    """Return how a process ended that did not finish its job."""
    errors.seek(0)
    last = [line.strip() for line in errors.read().splitlines() if line.strip()][-1:]
    said = f": {capped(last[0])}" if last else ""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{hint}{said}"
    return f"the process ended with exit code {returncode} before it was done{said}"


def _environment(python: str, wait: str) -> dict[str, str]:
    # A library that asks whether there is a GPU when it is imported loads CUDA's runtime, after which no fork can use
    # CUDA; with this PyTorch asks NVML instead.
    found = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", **WAIT_SETTINGS[wait]}
    if python != sys.executable:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (_alone(), os.environ.get("PYTHONPATH", ""))))
    return found


@functools.cache
def _alone() -> str:
    """Return a folder that holds this fer_bench and nothing else that is installed beside it."""
    folder = tempfile.TemporaryDirectory(prefix="fer-bench-code-")
    Path(folder.name, "fer_bench").symlink_to(Path(__file__).parent.parent, target_is_directory=True)
    atexit.register(folder.cleanup)
    return folder.name
