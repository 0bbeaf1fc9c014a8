"""Parameters and bytes of a network, each stored element once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fer_bench.measuring.counting.recorder import PLAIN, flat_tensors, storages


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Elements, except for the two sizes, which are bytes.

    Attributes:
        trainable, frozen: parameters that do and do not require a gradient; packed weights of quantised modules, and
            constants of a frozen program, are frozen.
        buffers: elements of the state that is not trained, batch-norm statistics among them.
        tied: elements that a second name shares; a count by names would add them again.
        keras_total: parameters and the running mean and variance of batch norms, which Keras counts as parameters.
        parameter_bytes: parameters alone, in their number types.
        state_dict_bytes: parameters and persistent buffers, as ``state_dict`` would hold them.
        checkpoint_bytes: that, and the two moments that Adam keeps for each trainable parameter.
    """

    trainable: int
    frozen: int
    buffers: int
    tied: int
    keras_total: int
    parameter_bytes: int
    state_dict_bytes: int
    checkpoint_bytes: int

    @property
    def total(self) -> int:
        return self.trainable + self.frozen


def _stored(tensors: Iterable[Tensor]) -> tuple[int, int]:
    """Count the distinct elements of tensors, and their bytes: of plain ones, those of their storages that they show.

    A sparse tensor has the values that it stores. One that wraps others or is nested has those that it shows, in
    the bytes of its parts.
    """
    sharing: dict[int, dict[int, Tensor]] = defaultdict(dict)
    others: dict[int, Tensor] = {}
    for tensor in tensors:
        plain = type(tensor) in PLAIN or not is_traceable_wrapper_subclass(tensor)
        if not plain or tensor.layout != torch.strided or tensor.is_nested:
            others[id(tensor)] = tensor
        else:
            sharing[tensor.untyped_storage()._cdata][id(tensor)] = tensor
    covered = [(_covered(list(views.values())), next(iter(views.values()))) for views in sharing.values()]
    elements = sum(count for count, _ in covered) + sum(map(_shown, others.values()))
    parts = {storage._cdata: storage.nbytes() for tensor in others.values() for storage in storages(tensor)}
    return elements, sum(count * view.element_size() for count, view in covered) + sum(parts.values())


def _shown(tensor: Tensor) -> int:
    plain = tensor.layout == torch.strided or is_traceable_wrapper_subclass(tensor)
    return int(tensor.numel()) if plain else int((tensor._values() if tensor.is_sparse else tensor.values()).numel())


def _covered(views: Sequence[Tensor]) -> int:
    """Count the elements of a storage that at least one view of it shows."""
    if len(views) == 1 and views[0].is_contiguous():
        return views[0].numel()
    seen = torch.zeros(max(map(_end, views)), dtype=torch.bool, device="cpu")
    for view in views:
        seen.as_strided(view.shape, view.stride(), int(view.storage_offset())).fill_(True)
    return int(seen.count_nonzero())


def _end(view: Tensor) -> int:
    """Return the place in its storage, in elements, behind the last that a view shows."""
    if view.numel() == 0:
        return 0
    reach = sum((size - 1) * step for size, step in zip(view.shape, view.stride(), strict=True))
    return int(view.storage_offset() + reach + 1)


def _held(value: Any) -> Iterator[Tensor]:
    """Find the tensors in nested values; weights that a quantised module keeps packed are unpacked, bytes as bytes."""
    if isinstance(value, torch.ScriptObject):
        if "LinearPackedParams" in str(value):
            value = torch.ops.quantized.linear_unpack(value)
        else:
            value = value.unpack() if hasattr(value, "unpack") else value.__getstate__()
    if isinstance(value, list | tuple):
        for part in value:
            yield from _held(part)
    else:
        yield from flat_tensors(value)


def _programs(model: nn.Module) -> Iterator[torch.jit.ScriptModule]:
    """Return the outermost TorchScript programs of a network."""
    if isinstance(model, torch.jit.ScriptModule):
        yield model
    else:
        for child in model.children():
            yield from _programs(child)


def _constants(program: torch.jit.ScriptModule) -> Iterator[Tensor]:
    """Return the weights that freezing made constants of a program; a number or an index is none."""
    graph: Any = program.inlined_graph  # its nodes live as long as it is held
    for node in graph.findAllNodes("prim::Constant"):
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            tensor = node.t("value")
            if tensor.is_floating_point() and tensor.dim():
                yield tensor


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count a network's parameters, buffers and sizes; nothing is run."""
    modules = list(model.modules())
    named = [tensor for _, tensor in model.named_parameters(remove_duplicate=False)]
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]  # which is one itself
    kept = (value for module in plain for value in vars(module).values() if isinstance(value, torch.ScriptObject))
    packed = [tensor for value in kept for tensor in _held(value)]
    packed += [tensor for module in _programs(model) for tensor in _constants(module)]
    learnt = [tensor for tensor in named if tensor.requires_grad]
    trainable, trainable_bytes = _stored(learnt)
    alike = len(learnt) == len(named) and not packed  # as of most networks
    total, parameter_bytes = (trainable, trainable_bytes) if alike else _stored([*named, *packed])
    buffers, _ = _stored(tensor for module in modules for tensor in module._buffers.values() if tensor is not None)
    statistics, _ = _stored(
        tensor
        for module in modules
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for tensor in (module.running_mean, module.running_var)
        if tensor is not None
    )
    _, state_bytes = _stored(tensor for value in model.state_dict(keep_vars=True).values() for tensor in _held(value))
    return ParameterCounts(
        trainable=trainable,
        frozen=total - trainable,
        buffers=buffers,
        tied=sum(tensor.numel() for tensor in (*named, *packed)) - total,
        keras_total=total + statistics,
        parameter_bytes=parameter_bytes,
        state_dict_bytes=state_bytes,
        checkpoint_bytes=state_bytes + 2 * trainable_bytes,
    )
