"""Make networks ready to be measured in somebody's pytest session: built by name, or a module that a test has made."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fer_bench.networks.spec import ModelSpec, Source
from fer_bench.records.errors import BuildError, DeviceError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Measurement, Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A network that is about to be measured.

    Attributes:
        model, images: as ``Network.make`` returns them.
        static: what was counted of it.
        users: its code is neither ours nor a library's.
    """

    subject: Subject
    model: "nn.Module"
    images: "Tensor"
    static: list[Measurement]
    users: bool


def built(spec: ModelSpec, plan: Plan, input_shape: Shape | None) -> Ready:
    """Build a network as a worker does."""
    from fer_bench.measuring.network import Network
    from fer_bench.measuring.profilers import static_of
    from fer_bench.measuring.task import Task

    task = Task(spec, plan, input_shape)
    network = Network(spec, task.job(groups=("latency",)))
    static = static_of(network.counted, plan)
    subject = task.subject(network.input_shape, network.exempt)
    return Ready(subject, *network.make(), static, users=spec.source.users)


@contextlib.contextmanager
def lent(model: "nn.Module", plan: Plan, input_shape: Shape | None, name: str) -> Iterator[Ready]:
    """Lay out somebody's module as a worker makes a network, and put it back as it was.

    Another device or layout makes new tensors, which do not share memory as the old ones may: those are kept meanwhile.
    """
    from fer_bench.measuring.counting.count import count_module
    from fer_bench.measuring.network import as_planned
    from fer_bench.measuring.profilers import static_of

    kind, shape, home = _checked(model, plan, input_shape)
    modes = [(module, module.training) for module in model.modules()]
    values = [(its, its.data) for one in model.parameters() for its in (one, one.grad) if its is not None]
    buffers = [
        (module, *named)
        for module in model.modules()
        for named in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        model.eval().to(plan.device)
        counted = count_module(model, ModelSpec(name, Source("module"), kind), shape, plan.batch_size)
        subject = Subject(name, kind, "unregistered", shape, counted.num_classes)
        yield Ready(subject, *as_planned(model, shape, plan), static_of(counted, plan), users=True)
    finally:
        if home is not None:
            model.to(home)  # what its own `to` moves beside parameters and buffers
        for its, value in values:
            its.data = value
        for module, key, buffer in buffers:
            setattr(module, key, buffer)
        for module, mode in modes:
            module.training = mode


def _checked(model: object, plan: Plan, input_shape: Shape | None) -> "tuple[str, Shape, torch.device | None]":
    """Refuse what cannot be measured; give the class's name, the input shape, and the device that the module is on."""
    from torch import nn

    kind = type(model).__name__
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise BuildError(f"fer_benchmark got the class {model.__name__}; expected a network: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise BuildError(f"fer_benchmark got {kind}; expected a torch.nn.Module, or a name such as resnet50")
    if input_shape is None:
        raise BuildError(
            f"{kind}: a module does not tell what images it takes: give input_shape=(channels, height, width)"
        )
    whole = isinstance(input_shape, tuple | list) and all(type(n) is int and n > 0 for n in input_shape)
    if not whole or len(input_shape) != 3:
        raise BuildError(
            f"{kind}: input_shape is {input_shape!r}; expected (channels, height, width), each from 1; the batch is "
            f"the plan's: {plan.batch_size}"
        )
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        raise DeviceError(f"{kind} is spread over {', '.join(sorted(map(str, devices)))}; expected one device")
    home = next(iter(devices), None)
    if home is not None and home.type not in ("cpu", plan.device):
        cure = "give it values on the cpu first" if home.type == "meta" else f"use --fer-device {home.type}, or .cpu()"
        raise DeviceError(f"{kind} is on {home}, and the plan measures on {plan.device}: {cure}")
    channels, height, width = input_shape
    return kind, (channels, height, width), home
