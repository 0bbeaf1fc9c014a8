"""Parameters and bytes of a network, each stored element once."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn


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
    """Count distinct elements and their bytes, tensors that share storage counted once where they overlap."""
    spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for tensor in tensors:
        key = tensor.untyped_storage()._cdata
        start = int(tensor.storage_offset())
        reach = sum((size - 1) * abs(step) for size, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        length = min(tensor.numel(), reach) if tensor.numel() else 0  # an expanded tensor stores less than it shows
        spans[key].append((start, start + int(length)))
        sizes[key] = tensor.element_size()
    elements = total_bytes = 0
    for key, parts in spans.items():
        end = covered = 0
        for start, stop in sorted(parts):
            covered += max(0, stop - max(start, end))
            end = max(end, stop)
        elements += covered
        total_bytes += covered * sizes[key]
    return elements, total_bytes


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count a network's parameters, buffers and sizes; nothing is run."""
    parameters = list(model.parameters())
    trainable, trainable_bytes = _stored(p for p in parameters if p.requires_grad)
    total, parameter_bytes = _stored(parameters)
    buffers, _ = _stored(model.buffers())
    named = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False))
    statistics, _ = _stored(
        tensor
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for tensor in (module.running_mean, module.running_var)
        if tensor is not None
    )
    _, state_bytes = _stored(value for value in model.state_dict().values() if isinstance(value, Tensor))
    return ParameterCounts(
        trainable=trainable,
        frozen=total - trainable,
        buffers=buffers,
        tied=named - total,
        keras_total=total + statistics,
        parameter_bytes=parameter_bytes,
        state_dict_bytes=state_bytes,
        checkpoint_bytes=state_bytes + 2 * trainable_bytes,
    )
