"""The child process: a job comes in, measurements go out, a JSON line each as soon as known.

Run as a program it does the one job on its stdin (a fresh process) and answers on stdout. With ``--serve FD`` it only
imports what networks need, and forks a worker for each job that comes over the socket FD. Such a process costs
milliseconds and has run as little as a fresh one. With ``--fresh FD`` it imports nothing for them and starts
fresh processes. Whatever else the network prints goes to stderr, so that it cannot pass for a measurement.

On Linux a server is the subreaper of all that its workers start. A process that a network detached, by a double fork
and a session of its own, becomes a child of its worker. When the worker is gone, it becomes the server's, which ends
it.
"""

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import psutil

from fer_bench.measuring import environment, messages
from fer_bench.measuring.messages import Job, Message
from fer_bench.measuring.profilers import PROFILERS
from fer_bench.networks.place import CODE, CodeRead
from fer_bench.records.errors import DeviceError, FerBenchError, brief
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.deployed import Deployed
    from fer_bench.measuring.network import Network

_JOB_BYTES = 2**17  # more than a job ever takes, and less than what a socket carries as one message
_PATIENCE_S = 1.0  # for what a network left behind to end by itself, and for what was killed to be gone
_POLL_S = 0.01
_HEAP_SHIFT_BYTES = 2**20  # forked processes begin with their parent's heap: a random shift of up to this parts them


def work(job: Job, send: Callable[[Message], None], commands: Iterable[str] = ()) -> None:
    """Do a job: send what is known of the network, then each measurement; a stepped one follows its commands."""
    plan = job.plan
    if job.without_pytorch:
        from fer_bench.measuring.deployed import Deployed

        deployed = Deployed(job, lambda: send(messages.Alive()))
        if job.describe and not job.stepped:
            where = environment.describe(plan.device, deployed.allocator)
            send(messages.Ready(where, deployed.input_shape, ""))
        _report(deployed, send, commands)
        return
    from fer_bench.measuring.network import Network, apply_plan_settings

    allocator = apply_plan_settings(plan, pin=not job.stepped)
    read = CodeRead(job.place) if job.place and not job.stepped else None
    if job.place:
        job.place.enter()
    if job.spec is None:
        from fer_bench.measuring.profilers.roofline import measure_attainable

        send(messages.Attainable(measure_attainable(plan.device, plan.precision)))
        return
    network = Network(job.spec, job, lambda text="": send(messages.Alive(text)))
    users = Path.cwd() if job.spec.source.users else None
    described = environment.describe(plan.device, allocator, users) if job.describe else None
    send(messages.Ready(described, network.input_shape, network.exempt))
    if not _report(network, send, commands):
        return
    if read is not None:
        files = read.files()
        details = {"files": files, "strays": read.strays()}
        send(messages.Measured(Measurement(CODE, "count", (len(files),), details=details)))


def _report(network: "Network | Deployed", send: Callable[[Message], None], commands: Iterable[str]) -> bool:
    """Send each measurement of a job's groups; of a stepped job follow the commands instead, and return False."""
    job = network.job
    if job.stepped:
        from fer_bench.measuring.profilers.stepped import step

        if job.without_pytorch:
            send(messages.Ready(None, network.input_shape, network.exempt))
        model, images = network.make()
        step(model, images, job.plan, send, commands)
        return False
    for group in job.groups:
        send(messages.Started(group))
        idle_s = 0.0
        for measurement in _measure(group, network):
            idle_s += measurement.details.get("idle_s", 0.0)
            send(messages.Measured(dataclasses.replace(measurement, process=job.process)))
        if network.made_at:
            send(messages.AtWork(time.perf_counter() - network.made_at - idle_s))
    return True


def _measure(group: str, network: "Network | Deployed") -> Iterator[Measurement]:
    try:
        yield from PROFILERS[group](network, network.job.plan)
    except Exception as error:  # whatever a user's network does is that row's reason, and the next group goes on
        traceback.print_exc()  # shown by `fer-bench run --debug`
        reason = str(error) if isinstance(error, FerBenchError) else brief(error)
        yield Measurement(group, "", failure=reason)


def answer(text: str, answers: int, commands: TextIO) -> int:
    """Do a job and write its messages to a file descriptor; return the exit code.

    Args:
        text: the job's line.
        answers: where to.
        commands: lines for a stepped job.
    """
    stream: TextIO = os.fdopen(answers, "w", encoding="utf-8")

    def send(message: Message) -> None:
        stream.write(messages.dump(message) + "\n")
        stream.flush()

    try:
        job = messages.load(text)
        if not isinstance(job, Job):
            raise FerBenchError(f"a worker needs a job, and got {type(job).__name__}")
        work(job, send, commands)
        send(messages.Finished())
    except FerBenchError as error:
        send(messages.Refused(str(error), no_device=isinstance(error, DeviceError)))
        return 1
    return 0


def serve(connection: socket.socket, libraries: Sequence[str], *, fresh: bool = False) -> int:
    """Fork a worker for each job that comes, and send its process id, then how it ended and what it left behind.

    When the connection is closed or SIGTERM comes, workers and what they left behind are ended.

    Args:
        connection: of messages; a job with three files: for answers, for what the network prints, and of commands.
        libraries: modules that are imported beforehand.
        fresh: a worker is a new program, which reads its job from its commands.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's, which ends us by closing the connection
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")  # of libraries' idle threads
    for library in libraries:
        with contextlib.suppress(Exception):  # the network's own worker reports why
            importlib.import_module(library)
    gc.collect()
    gc.freeze()  # so that no worker's collector writes to, and thereby copies, what all share
    server = os.getpid()
    ended, wake = socket.socketpair()  # the kernel's word that a child has ended, to be heard beside the connection
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    adopt_orphans()
    workers: set[int] = set()
    try:
        connection.send(b"ready")
        while True:
            heard, _, _ = select.select([connection, ended], [], [])
            if ended in heard:
                if signal.SIGTERM in ended.recv(_JOB_BYTES):
                    return 0
                for child, code in _workers_that_ended(workers):
                    workers.remove(child)
                    connection.send(f"ended {child} {code} {end_children(workers)}".encode())
            if connection not in heard:
                continue
            text, files, _, _ = socket.recv_fds(connection, _JOB_BYTES, 3)
            if not text:
                return 0
            child = os.fork()
            if child == 0:
                for theirs in (connection, ended, wake):
                    theirs.close()
                os._exit(_forked(server, "" if fresh else text.decode(), *files))
            workers.add(child)
            for file in files:
                os.close(file)
            connection.send(f"forked {child}".encode())
    except ConnectionError:  # the runner was killed
        return 0
    finally:
        if os.getpid() == server:
            end_children(patience_s=0.0)


def _workers_that_ended(workers: Iterable[int]) -> Iterator[tuple[int, int]]:
    for worker in list(workers):
        child, status = os.waitpid(worker, os.WNOHANG)
        if child:
            yield child, os.waitstatus_to_exitcode(status)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parents are gone (Linux)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36  # sys/prctl.h
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def end_children(but: Collection[int] = (), patience_s: float = _PATIENCE_S) -> int:
    """End the children of this process, and theirs, which become its own, and return how many had to be killed.

    Args:
        but: processes that go on.
        patience_s: what they have to end by themselves, as helpers do when the pipe from their parent is closed.
    """
    killed: set[int] = set()
    began = time.monotonic()
    while left := [child for child in psutil.Process().children() if child.pid not in but]:
        waited_s = time.monotonic() - began
        if waited_s > patience_s + _PATIENCE_S and not {child.pid for child in left} - killed:
            break  # killed, and still in a call of the kernel's
        for child in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if os.waitpid(child.pid, os.WNOHANG)[0] == 0 and waited_s >= patience_s:
                    os.kill(child.pid, signal.SIGKILL)
                    killed.add(child.pid)
        time.sleep(_POLL_S)
    return len(killed)


def _forked(server: int, text: str, answers: int, errors: int, commands: int) -> int:
    """Be the worker that a server has just forked; without a job's text, become a fresh program."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not text:
        for place, file in enumerate((commands, answers, errors)):
            os.dup2(file, place)
            os.close(file)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "fer_bench.measuring.worker", str(server)])  # noqa: S606
    os.dup2(errors, 2)
    os.dup2(errors, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        die_with_parent(server)
        adopt_orphans()
        _shift_heap()
        return answer(text, answers, os.fdopen(commands, encoding="utf-8"))
    except BaseException:  # the process ends here whatever it was: it must not go on as a second server
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()


def _shift_heap() -> None:
    """Allocate a random amount of heap for good, as a fresh process has it by address-space randomisation.

    Where data lie in memory changes how long a pass takes (Mytkowicz et al. 2009, Curtsinger and Berger 2013).
    """
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    malloc(random.SystemRandom().randrange(_HEAP_SHIFT_BYTES))


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent is gone, killed itself perhaps, so that nothing runs on unseen."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # sys/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)
        if os.getppid() != parent:  # it was gone before we asked
            os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """Read a job from stdin and answer on the original stdout, or serve.

    Args:
        arguments: the parent's process id; then, to serve, ``--serve`` or ``--fresh``, the socket's descriptor and
        modules.
    """
    if arguments[1:]:
        die_with_parent(int(arguments[0]), signal.SIGTERM)  # to end its workers first
        how, descriptor, *libraries = arguments[1:]
        os._exit(serve(socket.socket(fileno=int(descriptor)), libraries, fresh=how == "--fresh"))
    die_with_parent(int(arguments[0]))
    adopt_orphans()
    answers = os.dup(1)
    os.dup2(2, 1)  # C code that prints, too
    commands = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return answer(commands.readline(), answers, commands)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
