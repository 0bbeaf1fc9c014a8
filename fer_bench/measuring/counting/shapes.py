"""Output shapes of common operators on meta tensors, worked out directly.

PyTorch infers them in Python too, but through general decompositions that take 0.2 to 2 ms a call: for a whole network
longer than running it. These short cuts take microseconds. Each returns None where its few lines do not cover the case
(an odd shape, a wrong one, another number type, a permuted layout): then PyTorch's own inference decides, and raises
its own error.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten

ShortCut = Callable[[Sequence[Any]], Any]


def _made(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _plain(tensor: Any, dtype: torch.dtype) -> bool:
    """Return whether these few lines know what PyTorch makes of a tensor: its layout decides that of the output."""
    return bool(tensor.dtype == dtype and tensor.is_meta and tensor.is_contiguous())


def _convolution(args: Sequence[Any]) -> Tensor | None:
    inputs, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    spatial = weight.dim() - 2
    if inputs.dim() != spatial + 2 or not _plain(weight, inputs.dtype):
        return None
    # PyTorch's own inference on meta takes the first layout for every output; the kernels keep that of the images.
    layout = torch.contiguous_format
    if not inputs.is_contiguous():
        if spatial != 2 or not inputs.is_contiguous(memory_format=torch.channels_last):
            return None
        layout = torch.channels_last
    if inputs.shape[1] != (weight.shape[0] if transposed else weight.shape[1] * groups) or weight.shape[0] % groups:
        return None
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and (bias.shape != (channels,) or bias.dtype != inputs.dtype):
        return None
    sizes = []
    for i in range(spatial):
        size, kernel = inputs.shape[i + 2], weight.shape[i + 2]
        step, pad, spread = (values[i if len(values) > 1 else 0] for values in (stride, padding, dilation))
        if step < 1 or pad < 0 or spread < 1:
            return None
        reach = spread * (kernel - 1)
        if transposed:
            extra = output_padding[i if len(output_padding) > 1 else 0]
            if not 0 <= extra < max(step, spread):
                return None
            sizes.append((size - 1) * step - 2 * pad + reach + extra + 1)
        else:
            sizes.append((size + 2 * pad - reach - 1) // step + 1)
        if sizes[-1] < 1 or size < 1:
            return None
    shape = inputs.shape[0], channels, *sizes
    return torch.empty(shape, dtype=inputs.dtype, device="meta", memory_format=layout)


def _batch_norm(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor] | None:
    inputs, weight, training = args[0], args[1], args[5]
    if inputs.dim() < 2 or not inputs.is_floating_point() or not _plain(inputs, inputs.dtype):
        return None
    if weight is not None and (weight.dtype != inputs.dtype or len(weight) != inputs.shape[1]):
        return None
    saved = inputs.shape[1] if training else 0  # mean and inverse deviation, kept for the backward pass
    return _made(inputs, inputs.shape), _made(inputs, (saved,)), _made(inputs, (saved,))


def _layer_norm(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor] | None:
    inputs, normalized, weight = args[:3]
    lead = inputs.dim() - len(normalized)
    if tuple(inputs.shape[lead:]) != tuple(normalized):
        return None
    if inputs.dtype not in (torch.float32, torch.float64) or not _plain(inputs, inputs.dtype):
        return None  # for half precision the statistics are of another number type
    if weight is not None and (weight.dtype != inputs.dtype or weight.shape != inputs.shape[lead:]):
        return None
    shape = (*inputs.shape[:lead], *(1 for _ in normalized))
    return _made(inputs, inputs.shape), _made(inputs, shape), _made(inputs, shape)


def _same_shape(args: Sequence[Any]) -> Tensor | None:
    inputs = args[0]
    return _made(inputs, inputs.shape) if inputs.is_floating_point() and inputs.is_contiguous() else None


def _softmax(args: Sequence[Any]) -> Tensor | None:
    inputs, dim = args[:2]
    if any(args[2:]) or not -inputs.dim() <= dim < inputs.dim():  # another number type was asked for
        return None
    return _same_shape(args)


def _two_of_a_kind(args: Sequence[Any]) -> Tensor | None:
    first, second = args[:2]
    if not isinstance(second, Tensor):
        return _same_shape(args) if isinstance(second, int | float) else None
    if first.dim() != second.dim() or not first.is_floating_point():
        return None
    if not (_plain(first, first.dtype) and _plain(second, first.dtype)):
        return None
    if first.shape == second.shape:
        return _made(first, first.shape)
    whole, part = (first, second) if first.numel() >= second.numel() else (second, first)
    spread = all(size in (1, other) for size, other in zip(part.shape, whole.shape, strict=True))
    return _made(first, whole.shape) if spread else None


def _in_place(args: Sequence[Any]) -> Tensor | None:
    return args[0] if args[0].is_floating_point() else None


def _in_place_of_two(args: Sequence[Any]) -> Tensor | None:
    first, second = args[:2]
    if isinstance(second, Tensor) and (first.shape != second.shape or first.dtype != second.dtype):
        return None
    return _in_place(args) if isinstance(second, Tensor | int | float) else None


def _prelu(args: Sequence[Any]) -> Tensor | None:
    return _two_of_a_kind(args) if args[0].numel() >= args[1].numel() else None


def _addmm(args: Sequence[Any]) -> Tensor | None:
    bias, first, second = args[:3]
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[0] or first.dtype != second.dtype:
        return None
    shape = (first.shape[0], second.shape[1])
    if bias.dtype != first.dtype or bias.dim() > 2:
        return None
    if any(a not in (1, b) for a, b in zip(bias.shape[::-1], shape[::-1], strict=False)):
        return None
    return _made(first, shape)


def _cat(args: Sequence[Any]) -> Tensor | None:
    tensors, dim = args[0], args[1] if len(args) > 1 else 0
    first = tensors[0]
    rank = first.dim()
    if not -rank <= dim < rank:
        return None
    dim %= rank
    rest = [*first.shape]
    total = 0
    for tensor in tensors:
        if tensor.dim() != rank or not _plain(tensor, first.dtype):
            return None
        total += tensor.shape[dim]
        if any(size != rest[i] for i, size in enumerate(tensor.shape) if i != dim):
            return None
    rest[dim] = total
    return _made(first, rest)


def _mean(args: Sequence[Any]) -> Tensor | None:
    inputs, dims, keep = args[0], args[1], args[2] if len(args) > 2 else False
    if not dims or not inputs.is_floating_point() or not inputs.is_contiguous():
        return None
    rank = inputs.dim()
    if any(not -rank <= dim < rank for dim in dims):
        return None
    gone = {dim % rank for dim in dims}
    if len(gone) < len(dims):
        return None
    shape = [1 if i in gone else size for i, size in enumerate(inputs.shape) if keep or i not in gone]
    return _made(inputs, shape)


def _upsample(args: Sequence[Any]) -> Tensor | None:
    inputs, size = args[:2]
    if inputs.dim() != 4 or len(size) != 2 or min(*size, *inputs.shape) < 1 or not _plain(inputs, inputs.dtype):
        return None
    return _made(inputs, (*inputs.shape[:2], *size)) if inputs.is_floating_point() else None


SHORT_CUTS: dict[OpOverload, ShortCut] = {
    aten.convolution.default: _convolution,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.addmm.default: _addmm,
    aten.cat.default: _cat,
    aten.mean.dim: _mean,
    **{getattr(aten, name).Tensor: _two_of_a_kind for name in "add sub mul div".split()},
    aten.mul.Scalar: _two_of_a_kind,
    aten.add_.Tensor: _in_place_of_two,
    aten.mul_.Tensor: _in_place_of_two,
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
    aten._prelu_kernel.default: _prelu,
    aten.upsample_bilinear2d.default: _upsample,
    **{
        getattr(aten, name).default: _same_shape
        for name in "relu gelu silu sigmoid tanh hardtanh hardswish hardsigmoid leaky_relu elu".split()
    },
    **{
        getattr(aten, name).default: _in_place
        for name in "relu_ silu_ sigmoid_ hardtanh_ hardswish_ hardsigmoid_ leaky_relu_".split()
    },
}


def short_cut(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Work out an operator's outputs without PyTorch's inference, or return None.

    Args:
        func: the dispatched operator.
        args: its positional arguments; the tensors among them live on the meta device.
        kwargs: its keyword arguments; any keyword declines the short cut.

    Returns:
        Meta tensors of the right shape, number type and layout (the argument itself for an operator in place); or None.
    """
    rule = SHORT_CUTS.get(func)
    if rule is None or kwargs:
        return None
    first = args[0][0] if isinstance(args[0], list | tuple) else args[0]
    if first.device.type != "meta" or type(first) not in (Tensor, torch.nn.Parameter):
        return None
    return rule(args)
