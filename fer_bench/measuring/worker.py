"""The child process: a job comes in, measurements go out, a JSON line each as soon as known.

Run as a program it does the one job on its stdin (a fresh process) and answers on stdout. With ``--serve FD`` it
imports what networks need, does nothing else, and forks a worker for each job that comes over the socket FD: a process
that costs milliseconds and has run as little as a fresh one. Whatever else the network prints goes to stderr, so that
it cannot pass for a measurement.
"""

import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import torch
from torch import Tensor, nn

from fer_bench.measuring import environment
from fer_bench.measuring.counting.count import Count, count
from fer_bench.measuring.profilers import PROFILERS
from fer_bench.measuring.profilers.paced import pace
from fer_bench.measuring.profilers.roofline import measure_attainable
from fer_bench.networks import build as building
from fer_bench.networks import registry
from fer_bench.networks.build import Build
from fer_bench.networks.checkpoints import load_checkpoint
from fer_bench.networks.place import CODE, CodeRead, Place
from fer_bench.records.errors import BuildError, CountingError, DeviceError, FerBenchError, brief
from fer_bench.records.plan import Plan, parse_settings
from fer_bench.records.result import Json, Measurement

Tell = Callable[[Mapping[str, Json]], None]

_JOB_BYTES = 2**17  # more than a job ever takes, and less than what a socket carries as one message
_HEAP_SHIFT_BYTES = 2**20  # forked processes begin with their parent's heap: a random shift of up to this parts them


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does: metric groups (keys of ``PROFILERS``), in order, of one network.

    Attributes:
        name: of the network; "" to look at the machine instead.
        fall_back: where the network cannot run at the build's input shape, run it at its own.
        process: which of the network's processes this is.
        describe: tell the environment, which takes a moment, so that one process of a network does.
        place: where the network's code is, if not in the current folder; then tell what was read of it, too.
        paced: make passes only as told.
    """

    name: str
    build: Build
    plan: Plan
    groups: tuple[str, ...]
    checkpoint: str = ""
    fall_back: bool = False
    process: int = 0
    describe: bool = True
    place: Place | None = None
    paced: bool = False

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the runner sends."""
        data = json.loads(text)
        shape = tuple(data["input_shape"]) if data["input_shape"] else None
        build = Build(data["num_classes"], shape, parse_settings(data["settings"]))
        rest = {key: data[key] for key in ("name", "checkpoint", "fall_back", "process", "describe", "paced")}
        place = Place.of(data["place"]) if data["place"] else None
        return cls(build=build, plan=Plan.of(data["plan"]), groups=tuple(data["groups"]), place=place, **rest)


class Network:
    """The network of a job, built when a profiler first asks for it, so that memory is measured from before.

    Its libraries are imported at once: their memory is not the network's.
    """

    def __init__(self, job: Job, alive: Callable[[], None] = lambda: None) -> None:
        self.job = job
        self.alive: Callable[[], None] = (
            alive  # to be called now and then by what takes long, so that it does not pass for hung
        )
        self.spec = registry.find(job.name)
        self.build = job.build
        self.exempt = ""
        building.find_factory(self.spec)
        if job.fall_back:
            self._fall_back()
        self.input_shape = building.input_shape(self.spec, self.build)
        self.made_at = 0.0
        self._made: tuple[nn.Module, Tensor] | None = None
        self._counted: Count | None = None

    def _fall_back(self) -> None:
        """Take the network's own size where it cannot run at the protocol's."""
        try:
            count(self.spec, self.build)
        except (BuildError, CountingError) as refusal:
            own = dataclasses.replace(self.build, input_shape=None)
            try:
                count(self.spec, own)
            except (BuildError, CountingError):
                return  # then the size is not to blame
            self.build, self.exempt = own, " ".join(str(refusal).split())

    def counted(self) -> Count:
        """Give the network's counts, of the plan's batch."""
        if self._counted is None:
            self._counted = count(self.spec, self.build, batch=self.job.plan.batch_size)
        return self._counted

    def make(self) -> tuple[nn.Module, Tensor]:
        """Give the network in eval mode and a batch of images, both on the plan's device."""
        if self._made is None:
            plan = self.job.plan
            torch.manual_seed(plan.seed)
            model = building.create(self.spec, self.build, plan.device)
            if self.job.checkpoint:
                load_checkpoint(model, self.job.checkpoint, self.spec)
            self._made = as_planned(model, self.input_shape, plan)
            self.made_at = time.perf_counter()
        return self._made


def as_planned(model: nn.Module, input_shape: tuple[int, int, int], plan: Plan) -> tuple[nn.Module, Tensor]:
    """Make a built network run as a plan has it, and give it with a batch of images, (N, C, H, W)."""
    torch.manual_seed(plan.seed)  # so that the images are the same whatever the network drew
    dtype = building.number_type(model)
    images = building.example_inputs(input_shape, plan.batch_size, plan.device, dtype)
    if plan.layout == "nhwc":
        model, images = building.channels_last(model, images)
    else:  # a user's network may come in channels_last
        model = model.to(memory_format=torch.contiguous_format)
    if plan.precision in building.AUTOCAST:
        model = building.Autocast(model, building.AUTOCAST[plan.precision]).eval()
    if plan.mode == "compile":
        model = building.compiled(model)
    return model, images


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        DeviceError: CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: PyTorch sees no CUDA device; check the driver (nvidia-smi), or use --device cpu"
        )


def take_up(plan: Plan, *, pin: bool = True) -> str:
    """Bring this process into the state that a plan demands, and name the allocator's setting.

    Args:
        plan: says which.
        pin: choose the cores, too; without, somebody else will.

    Raises:
        DeviceError: the plan's device is not there.
    """
    check_device(plan.device)
    allocator = environment.keep_freed_memory() if plan.alloc == "keep" else environment.SYSTEM_ALLOCATOR
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    if plan.pin and pin:
        environment.pin(torch.get_num_threads())
    building.round_products(plan.precision)
    return allocator


def work(job: Job, tell: Tell, commands: Iterable[str] = ()) -> None:
    """Carry out a job and tell the environment, then each measurement; of a paced one what each command asks for."""
    plan = job.plan
    allocator = take_up(plan, pin=not job.paced)
    read = CodeRead(job.place) if job.place and not job.paced else None
    if job.place:
        job.place.enter()
    if not job.name:
        tell({"attainable": measure_attainable(plan.device, plan.precision)})
        tell({"finished": True})
        return
    network = Network(job, lambda: tell({"alive": True}))
    users = Path.cwd() if network.spec.source.users else None
    described = environment.describe(plan.device, allocator, users) if job.describe else None
    told = dataclasses.asdict(described) if described else None
    tell({"environment": told, "input_shape": network.input_shape, "exempt": network.exempt})
    if job.paced:
        pace(*network.make(), plan, tell, commands)
        tell({"finished": True})
        return
    for group in job.groups:
        tell({"started": group})
        idle_s = 0.0
        for measurement in _measure(group, network):
            numbered = dataclasses.replace(measurement, process=job.process)
            idle_s += measurement.details.get("idle_s", 0.0)
            tell({"measurement": dataclasses.asdict(numbered)})
        if network.made_at:
            tell({"passes_s": time.perf_counter() - network.made_at - idle_s})
    if read is not None:
        files = read.files()
        details = {"files": files, "strays": read.strays()}
        tell({"measurement": dataclasses.asdict(Measurement(CODE, "count", (len(files),), details=details))})
    tell({"finished": True})


def _measure(group: str, network: Network) -> Iterator[Measurement]:
    try:
        yield from PROFILERS[group](network, network.job.plan)
    except Exception as error:  # whatever a user's network does is that row's reason, and the next group goes on
        traceback.print_exc()  # shown by `fer-bench run --debug`
        told = str(error) if isinstance(error, FerBenchError) else brief(error)
        yield Measurement(group, "", failure=told)


def answer(text: str, answers: int, commands: TextIO) -> int:
    """Do a job and write what it tells to a file descriptor; give the exit code.

    Args:
        text: the job.
        answers: where to.
        commands: a line each time that a job which is paced shall make passes.
    """
    stream: TextIO = os.fdopen(answers, "w", encoding="utf-8")

    def tell(message: Mapping[str, Any]) -> None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()

    try:
        work(Job.from_json(text), tell, commands)
    except DeviceError as error:
        tell({"no_device": str(error)})
        return 1
    except FerBenchError as error:
        tell({"error": str(error)})
        return 1
    return 0


def serve(connection: socket.socket, names: Sequence[str]) -> int:
    """Fork a worker for each job that comes, and tell its process id, then how it ended.

    Args:
        connection: of messages; a job with three files: for answers, for what the network prints, and of commands.
        names: networks whose libraries are imported beforehand, users' own excepted, whose code runs in workers only.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's, which ends us by closing the connection
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")  # of libraries' idle threads
    for spec in map(registry.find, names):
        if not spec.source.users:
            with contextlib.suppress(BuildError):  # its own worker tells why
                building.find_factory(spec)
    gc.collect()
    gc.freeze()  # so that no worker's collector writes to, and thereby copies, what all share
    server = os.getpid()
    ended, wake = socket.socketpair()  # the kernel's word that a child has ended, to be heard beside the connection
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    connection.send(b"ready")
    while True:
        heard, _, _ = select.select([connection, ended], [], [])
        if ended in heard:
            ended.recv(_JOB_BYTES)
            for child, code in _children_that_ended():
                connection.send(f"ended {child} {code}".encode())
        if connection not in heard:
            continue
        text, files, _, _ = socket.recv_fds(connection, _JOB_BYTES, 3)
        if not text:
            return 0
        child = os.fork()
        if child == 0:
            for theirs in (connection, ended, wake):
                theirs.close()
            os._exit(_forked(server, text.decode(), *files))
        for file in files:
            os.close(file)
        connection.send(f"forked {child}".encode())


def _children_that_ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # there is none left
            return
        if not child:
            return
        yield child, os.waitstatus_to_exitcode(status)


def _forked(server: int, text: str, answers: int, errors: int, commands: int) -> int:
    """Be the worker that a server has just forked."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(errors, 2)
    os.dup2(errors, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        die_with_parent(server)
        _shift_heap()
        return answer(text, answers, os.fdopen(commands, encoding="utf-8"))
    except BaseException:  # the process ends here whatever it was: it must not go on as a second server
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()


def _shift_heap() -> None:
    """Take a random amount of heap for good, as a fresh process has it by address-space randomisation.

    Where data lie in memory changes how long a pass takes (Mytkowicz et al. 2009, Curtsinger and Berger 2013).
    """
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    malloc(random.SystemRandom().randrange(_HEAP_SHIFT_BYTES))


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent is gone, killed itself perhaps, so that nothing runs on unseen."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # sys/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before we asked
            os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """Read a job from stdin and answer on the original stdout, or serve.

    Args:
        arguments: the parent's process id; then, to serve, ``--serve``, the socket's descriptor and networks' names.
    """
    die_with_parent(int(arguments[0]))
    if arguments[1:2] == ["--serve"]:
        return serve(socket.socket(fileno=int(arguments[2])), arguments[3:])
    answers = os.dup(1)
    os.dup2(2, 1)  # C code that prints, too
    commands = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return answer(commands.readline(), answers, commands)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
