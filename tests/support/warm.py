"""Servers of workers, forked from a process that has imported PyTorch: a test does not wait for an import of seconds.

In a user's program a server is a new process. Here only its start differs: it is forked, in the test's folder and
environment. Tests that run the command line as a process have servers as users have them.
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fer_bench.measuring import worker
from fer_bench.measuring.machine import WAIT_SETTINGS

_BYTES = 2**17  # of a message: the environment is most of it
# Variables that are read when Python starts or PyTorch is imported, and cannot be changed afterwards.
_READ_AT_START = ("PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "LD_", "MALLOC_", "GLIBC_", "TORCH", "PYTORCH", "CUDA")


class _Server:
    """A forked server, with the methods of ``Popen`` that its starter calls."""

    def __init__(self, parent: "_Parent", pid: int) -> None:
        self._parent, self.pid = parent, pid
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._descriptor], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked server", timeout or 0.0)
            self.returncode = int(self._parent.ask({"ended": self.pid}))
            os.close(self._descriptor)
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)  # its parent has not asked for its end yet, so that the number is still its own


class _Parent:
    """A process that has imported PyTorch, and forks servers."""

    def __init__(self, libraries: Sequence[str], environment: Mapping[str, str]) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            command = (sys.executable, "-P", __file__, str(os.getpid()), str(theirs.fileno()), *libraries)
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "pass_fds": [theirs.fileno()], "env": environment}
            self._process = subprocess.Popen(command, **options)

    def ask(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> str:
        with self._lock:
            socket.send_fds(self._connection, [json.dumps(request).encode()], files)
            return self._connection.recv(_BYTES).decode()

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


class Warm:
    """Takes the place of the module ``subprocess`` where servers are started."""

    DEVNULL, TimeoutExpired = subprocess.DEVNULL, subprocess.TimeoutExpired

    def __init__(self) -> None:
        self._usual = [{**_read_at_start(os.environ), **settings} for settings in WAIT_SETTINGS.values()]
        self._parents: dict[str, _Parent] = {}
        self._lock = threading.Lock()

    def Popen(self, command: Sequence[str], **options: Any) -> Any:  # noqa: N802  # as in the module
        """Fork a server; what starts new programs, or needs another environment or interpreter, is a process."""
        python, how, libraries = command[0], command[5], command[7:]
        environment = options["env"]
        given = _read_at_start(environment)
        if python != sys.executable or how != "--serve" or given not in self._usual:
            return subprocess.Popen(command, **options)
        with self._lock:
            wait = environment["OMP_WAIT_POLICY"]
            if wait not in self._parents:
                self._parents[wait] = _Parent(
                    [name for name in libraries if name.startswith("fer_bench.")], environment
                )
            parent = self._parents[wait]
        request = {"folder": os.getcwd(), "environment": environment, "libraries": libraries}
        return _Server(parent, int(parent.ask(request, [*options["pass_fds"], options["stdout"].fileno()])))

    def close(self) -> None:
        while self._parents:
            self._parents.popitem()[1].close()


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    # The first two are given to each server, and the third is written by torchvision when it is imported.
    others = ("PYTHONUNBUFFERED", "PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR")
    return {name: text for name, text in environment.items() if name.startswith(_READ_AT_START) and name not in others}


def _serve(connection: socket.socket) -> None:
    """Fork a server for each request, and give how one has ended to whoever asks."""
    this = os.getpid()
    while True:
        text, files, _, _ = socket.recv_fds(connection, _BYTES, 2)
        if not text:
            return
        request = json.loads(text)
        if "ended" in request:
            connection.send(str(os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1])).encode())
            continue
        child = os.fork()
        if child == 0:
            connection.close()
            serving, errors = files
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            os.close(errors)
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            worker.main([str(this), "--serve", str(serving), *request["libraries"]])  # which ends the process
        for file in files:
            os.close(file)
        connection.send(str(child).encode())


if __name__ == "__main__":
    worker.die_with_parent(int(sys.argv[1]))
    for library in sys.argv[3:]:
        importlib.import_module(library)
    _serve(socket.socket(fileno=int(sys.argv[2])))
    os._exit(0)
