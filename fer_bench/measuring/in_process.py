"""Measure a network in the process that asks: one of a pytest session, or a module that somebody has built.

Such a process is shared: networks have one allocator, libraries' caches and the state that earlier work left. The
record says so: its plan has one process and the isolation "shared". ``fer-bench run``, ``fer-bench gate`` and
``fer_bench.measure`` of a name measure in processes of their own.
"""

import contextlib
import dataclasses
import datetime
import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import environment, machine
from fer_bench.measuring.profilers.deploy import cache_folder, measure_conversion, measure_start, settings_reported
from fer_bench.networks.spec import USERS_MODULE, ModelSpec, Shape
from fer_bench.records.errors import DeviceError, FerBenchError
from fer_bench.records.plan import KEPT_ALLOCATOR, SHARED, TORCH, Plan
from fer_bench.records.result import Measurement, Result, Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from fer_bench.measuring.counting.count import Count
    from fer_bench.measuring.network import Network
    from fer_bench.measuring.task import Task

METRICS = ("static", "anatomy", "latency")  # what can be measured in a process that does other work, too

# What this process has been through: glibc was told to keep freed memory, for good; so many networks were measured.
_here = SimpleNamespace(memory_kept=False, networks=0)


@dataclass(frozen=True, slots=True)
class Ready:
    """A network that is about to be measured.

    Attributes:
        model, images: as ``Network.make`` returns them.
        static: what was counted of it, as far as the plan asks for that.
        users: its code is neither ours nor a library's.
        deployed: of a backend, what was measured of its artefact: size, start, parity.
    """

    subject: Subject
    model: "nn.Module"
    images: "Tensor"
    static: list[Measurement]
    users: bool
    deployed: tuple[Measurement, ...] = ()


def measure_here(
    network: "ModelSpec | nn.Module",
    plan: Plan,
    timed: "Callable[[Ready, Plan, int], list[Measurement]]",
    *,
    input_shape: Shape | None = None,
    name: str,
    checkpoint: str = "",
    commit: Callable[[], tuple[str, bool]] | None = None,
) -> Result:
    """Count a network, and measure its latency; leave the process as it was.

    What stays is glibc's setting to keep freed memory, which cannot be read and put back.

    Args:
        network: a module, or what is known of one that can be built.
        plan: how; it is carried out in this one process. Its metrics are of ``METRICS``.
        timed: measures the latency or the accuracy of what is ready, given the plan and how many networks were measured
            here before.
        input_shape: (C, H, W); a module needs it.
        name: of a module in the record.
        checkpoint: weights to load into a network that is built, or "".
        commit: returns the commit of code that is not ours, and whether it was changed since; by default of the
            current folder's repository.

    Returns:
        Counts, then what ``timed`` returns.

    Raises:
        FerBenchError: the network, its input or the device is not as it must be.
    """
    import torch

    began, started_at = time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    alone = dataclasses.replace(plan, processes=1, pilot_processes=0, interval_share=None, budget_s=None)
    measured: list[Measurement] = []
    try:
        with contextlib.ExitStack() as stack:
            allocator = stack.enter_context(_settings(alone))
            if isinstance(network, ModelSpec):
                ready = built(network, alone, input_shape, checkpoint)
            else:
                ready = stack.enter_context(lent(network, alone, input_shape, name))
            where = environment.describe(alone.device, allocator, Path.cwd() if ready.users and not commit else None)
            users, subject, static = ready.users, ready.subject, [*ready.static, *ready.deployed]
            if runtime := settings_reported(ready.deployed):
                where = dataclasses.replace(where, runtime=runtime, threads=runtime.get("threads") or where.threads)
            if set(alone.metrics) & {"latency", "accuracy"}:
                with torch.inference_mode():  # not around what builds or moves a network: its weights would stay so
                    measured = timed(ready, alone, _here.networks)
            del ready  # and with it the network, before the next one comes
    finally:
        _here.networks += 1
        _free(alone)
    if users and commit:
        told, dirty = commit()
        where = dataclasses.replace(where, commit=told, dirty=dirty)
    return Result(
        subject,
        dataclasses.replace(alone, isolation=SHARED, wait=machine.wait_policy()),
        where,
        (*static, *measured),
        started_at,
        wall_s=time.perf_counter() - began,
        passes_s=sum(sum(m.values) + sum(m.details.get("warmup_s", ())) for m in measured if m.metric == "latency_s"),
    )


def built(spec: ModelSpec, plan: Plan, input_shape: Shape | None, checkpoint: str = "") -> Ready:
    """Build a network as a worker does."""
    from fer_bench.measuring.network import Network
    from fer_bench.measuring.task import Task

    task = Task(spec, plan, input_shape, checkpoint=checkpoint)
    network = Network(spec, task.job(groups=("latency",)))
    static = _counts(network.counted, plan)
    subject = task.subject(network.input_shape, network.exempt)
    if plan.backend != TORCH:
        return _of_a_backend(network, task, subject, static)
    return Ready(subject, *network.make(), static, users=spec.source.users)


def _of_a_backend(network: "Network", task: "Task", subject: Subject, static: list[Measurement]) -> Ready:
    """Convert a network for the plan's backend, look at its parity, and load it."""
    from fer_bench.measuring.deployed import Deployed
    from fer_bench.measuring.profilers.parity import measure_parity

    plan = network.job.plan
    found = list(measure_conversion(network, plan))
    folder = str(cache_folder() / found[0].details["artefact"])
    network.job = dataclasses.replace(network.job, artefact=folder)
    deployed = Deployed(task.job(groups=("latency",), artefact=folder))
    found += measure_start(deployed)
    found += measure_parity(network, plan)
    return Ready(subject, *deployed.make(), static, users=task.spec.source.users, deployed=tuple(found))


@contextlib.contextmanager
def lent(model: "nn.Module", plan: Plan, input_shape: Shape | None, name: str) -> Iterator[Ready]:
    """Lay out somebody's module as a worker makes a network, and put it back as it was.

    Another device or layout makes new tensors, which do not share memory as the old ones may: those are kept meanwhile.
    """
    from fer_bench.measuring.counting.count import count_module
    from fer_bench.measuring.network import as_planned
    from fer_bench.networks import build as building

    if plan.backend != TORCH:
        raise FerBenchError(
            f"{name} is a module of this process, and --backend {plan.backend} builds a network by its name: give "
            "'file.py:factory' or a name of fb.list_models()"
        )
    batch = f"; the batch is the plan's: {plan.batch_size}"
    kind, shape = building.check_module(model, input_shape, batch)
    home = _device_of(model, plan)
    values = [(its, its.data) for one in model.parameters() for its in (one, one.grad) if its is not None]
    buffers = [
        (module, *named)
        for module in model.modules()
        for named in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        with building.in_eval_mode(model):
            model.to(plan.device)
            counted = count_module(model, ModelSpec(name, USERS_MODULE, kind), shape, plan.batch_size)
            subject = Subject(name, kind, "unregistered", shape, counted.num_classes)
            yield Ready(subject, *as_planned(model, shape, plan), _counts(counted, plan), users=True)
    finally:
        if home is not None:
            model.to(home)  # what its own `to` moves beside parameters and buffers
        for its, value in values:
            its.data = value
        for module, key, buffer in buffers:
            setattr(module, key, buffer)


def _counts(counted: "Count", plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers import static_of

    static = static_of(counted, plan) if "static" in plan.metrics else []
    return [*static, *(counted.anatomy if "anatomy" in plan.metrics else ())]


def _device_of(model: "nn.Module", plan: Plan) -> "torch.device | None":
    """Return the device that a module is on, None without tensors; refuse one that the plan cannot measure on."""
    kind = type(model).__name__
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        raise DeviceError(f"{kind} is spread over {', '.join(sorted(map(str, devices)))}; expected one device")
    home = next(iter(devices), None)
    if home is not None and home.type not in ("cpu", plan.device):
        cure = "give it values on the cpu first" if home.type == "meta" else f"measure on {home.type}, or call .cpu()"
        raise DeviceError(f"{kind} is on {home}, and the plan measures on {plan.device}: {cure}")
    return home


@contextlib.contextmanager
def _settings(plan: Plan) -> Iterator[str]:
    """Bring this process into the state that a plan demands, as a worker is, and back; name the allocator's setting."""
    import torch

    from fer_bench.measuring.network import apply_plan_settings

    if plan.alloc == "system" and _here.memory_kept:
        raise FerBenchError(
            'alloc is "system", and an earlier measurement told glibc to keep freed memory in this process, which '
            "cannot be undone: measure in a process, or a session of pytest, of its own"
        )
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    switches: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    rounded, tries = [environment.allows_tf32(switch) for switch in switches], torch.backends.cudnn.benchmark
    try:
        allocator = apply_plan_settings(plan)
        _here.memory_kept |= allocator == KEPT_ALLOCATOR
        # A seed is every device's. MPS has one generator, which is not of a number, and stays seeded.
        seeded = range(torch.get_device_module(plan.device).device_count()) if plan.device in ("cuda", "xpu") else []
        with torch.random.fork_rng(seeded, device_type=plan.device if seeded else "cuda"):
            yield allocator
    finally:
        for switch, allowed in zip(switches, rounded, strict=True):
            if plan.device != "cpu" and allowed is not None:
                switch.allow_tf32 = allowed
        torch.backends.cudnn.benchmark = tries
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def _free(plan: Plan) -> None:
    """Give back what a network held."""
    import torch

    if plan.mode == "compile":
        torch._dynamo.reset()
    gc.collect()
    its = torch.get_device_module(plan.device)
    if plan.device == "mps" or (plan.device != "cpu" and its.is_initialized()):
        its.empty_cache()
