"""Parameters and bytes of a network, each stored element once."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from fer_bench.measuring.counting.recorder import flat_tensors


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Elements, except for the two sizes, which are bytes.

    Attributes:
        trainable, frozen: parameters that do and do not require a gradient.
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
    """Count the distinct elements in the storages of tensors, and their bytes."""
    storages: dict[int, dict[int, Tensor]] = defaultdict(dict)
    for tensor in tensors:
        storages[tensor.untyped_storage()._cdata][id(tensor)] = tensor
    elements = total_bytes = 0
    for sharing in storages.values():
        views = list(sharing.values())
        if len(views) == 1 and views[0].is_contiguous():
            covered = views[0].numel()
        else:
            covered = end = 0
            for start, stop in sorted(span for view in views for span in _spans(view)):
                covered += max(0, stop - max(start, end))
                end = max(end, stop)
        elements += covered
        total_bytes += covered * views[0].element_size()
    return elements, total_bytes


def _spans(tensor: Tensor) -> list[tuple[int, int]]:
    """Give the places in its storage that a tensor shows, as ranges: one, or one an element where it leaves gaps."""
    start = int(tensor.storage_offset())
    if tensor.numel() == 0:
        return []
    steps = [(size, step) for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]
    reach = sum((size - 1) * step for size, step in steps) + 1
    if reach == tensor.numel() and all(step for _, step in steps):
        return [(start, start + reach)]
    places = {start}
    for size, step in steps:
        places = {place + i * step for place in places for i in range(size)}
    return [(place, place + 1) for place in places]


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count a network's parameters, buffers and sizes; nothing is run."""
    modules = list(model.modules())
    named = [tensor for _, tensor in model.named_parameters(remove_duplicate=False)]
    trainable, trainable_bytes = _stored(tensor for tensor in named if tensor.requires_grad)
    total, parameter_bytes = _stored(named)
    buffers, _ = _stored(tensor for module in modules for tensor in module._buffers.values() if tensor is not None)
    statistics, _ = _stored(
        tensor
        for module in modules
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for tensor in (module.running_mean, module.running_var)
        if tensor is not None
    )
    _, state_bytes = _stored(flat_tensors(model.state_dict(keep_vars=True)))
    return ParameterCounts(
        trainable=trainable,
        frozen=total - trainable,
        buffers=buffers,
        tied=sum(tensor.numel() for tensor in named) - total,
        keras_total=total + statistics,
        parameter_bytes=parameter_bytes,
        state_dict_bytes=state_bytes,
        checkpoint_bytes=state_bytes + 2 * trainable_bytes,
    )
