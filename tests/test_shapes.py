"""Short cuts against PyTorch's own inference, on random shapes: the same tensors, or declined."""

import random
from collections import Counter

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fer_bench.measuring.counting.shapes import SHORT_CUTS, short_cut

aten = torch.ops.aten
ROUNDS = 150


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def shaken(rng, tensor):
    """Most tensors as they are; some with permuted dimensions in memory, expanded, or of another number type."""
    kind = rng.random()
    if kind < 0.1 and tensor.dim() > 1:
        order = rng.sample(range(tensor.dim()), tensor.dim())
        back = [order.index(i) for i in range(tensor.dim())]
        return tensor.permute(order).contiguous().permute(back)
    if kind < 0.15 and tensor.dim() > 1:
        return tensor[:1].expand(tensor.shape)
    if kind < 0.2:
        return tensor.to(rng.choice([torch.float16, torch.int64, torch.bool]))
    return tensor


def some_shape(rng, low=0, high=4):
    return [rng.choice([1, 2, 3, 5]) for _ in range(rng.randint(low, high))]


def convolution(rng):
    spatial, groups, transposed = rng.choice([1, 2, 3]), rng.choice([1, 2]), rng.random() < 0.4
    width, out = groups * rng.randint(1, 3), groups * rng.randint(1, 3)
    weight = [width, out // groups] if transposed else [out, width // groups]
    kernel = [rng.randint(1, 3) for _ in range(spatial)]
    inputs = [rng.randint(1, 3), rng.choice([width, width, width, width + 1]), *(rng.randint(1, 7) for _ in kernel)]

    def sizes(low, high):
        return [rng.randint(low, high) for _ in range(rng.choice([1, spatial]))]

    bias = rng.choice([None, meta(out), meta(out), meta(out + 1)])
    stride, padding, dilation = sizes(1, 3), sizes(0, 2), sizes(1, 2)
    extra = sizes(0, 1) if transposed else [0]
    return (
        *(shaken(rng, meta(*shape)) for shape in (inputs, [*weight, *kernel])),
        *(bias, stride, padding, dilation, transposed, extra, groups),
    )


def batch_norm(rng):
    shape = [rng.randint(1, 3), rng.randint(1, 4), *some_shape(rng, 0, 3)]
    width = shape[1]
    weight = rng.choice([None, meta(width), meta(width)])
    statistics = meta(width), meta(width)
    return shaken(rng, meta(*shape)), weight, weight, *statistics, rng.random() < 0.5, 0.1, 1e-5


def layer_norm(rng):
    shape = some_shape(rng, 1, 4)
    normalized = shape[rng.randrange(len(shape)) :]
    weight = rng.choice([None, meta(*normalized)])
    return shaken(rng, meta(*shape)), normalized, weight, weight, 1e-5


def alone(rng):
    return (shaken(rng, meta(*some_shape(rng))),)


def softmax(rng):
    shape = some_shape(rng, 1)
    return shaken(rng, meta(*shape)), rng.randint(-len(shape), len(shape) - 1), False


def safe_softmax(rng):
    return softmax(rng)[:2]


def two(rng):
    shape = some_shape(rng)
    other = rng.choice([shape, [rng.choice([1, size]) for size in shape], shape[1:], some_shape(rng)])
    second = rng.choice([shaken(rng, meta(*other)), shaken(rng, meta(*other)), 2, 0.5])
    return shaken(rng, meta(*shape)), second


def scalar(rng):
    return shaken(rng, meta(*some_shape(rng))), rng.choice([2, 0.5])


def addmm(rng):
    rows, inner, columns = (rng.randint(1, 4) for _ in range(3))
    bias = rng.choice([[columns], [1], [rows, columns], [rows, 1], [], [columns + 1], [1, rows, columns]])
    second = shaken(rng, meta(rng.choice([inner, inner, inner + 1]), columns))
    return shaken(rng, meta(*bias)), shaken(rng, meta(rows, inner)), second


def cat(rng):
    shape = some_shape(rng, 1)
    dim = rng.randint(-len(shape), len(shape) - 1)
    parts = []
    for _ in range(rng.randint(1, 3)):
        part = [*shape]
        part[dim] = rng.randint(0, 3)
        parts.append(shaken(rng, meta(*part)))
    if rng.random() < 0.1:
        parts.append(meta(0))
    return parts, dim


def mean(rng):
    shape = some_shape(rng, 1)
    dims = rng.sample(range(-len(shape), len(shape)), rng.randint(0, len(shape)))
    return shaken(rng, meta(*shape)), dims, rng.random() < 0.5


def prelu(rng):
    shape = [rng.randint(1, 3), rng.randint(1, 4), *some_shape(rng, 0, 2)]
    weight = [1, rng.choice([1, shape[1]]), *(1 for _ in shape[2:])]
    return shaken(rng, meta(*shape)), meta(*weight)


def upsample(rng):
    return shaken(rng, meta(*(rng.randint(1, 5) for _ in range(4)))), [rng.randint(1, 9) for _ in range(2)], False


GENERATORS = {
    aten.convolution.default: convolution,
    aten.native_batch_norm.default: batch_norm,
    aten.native_layer_norm.default: layer_norm,
    aten.addmm.default: addmm,
    aten.cat.default: cat,
    aten.mean.dim: mean,
    aten._softmax.default: softmax,
    aten._safe_softmax.default: safe_softmax,
    aten._prelu_kernel.default: prelu,
    aten.upsample_bilinear2d.default: upsample,
    aten.mul.Scalar: scalar,
    **dict.fromkeys(
        (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.add_.Tensor, aten.mul_.Tensor), two
    ),
}


def inferred(func, args):
    if func is aten.native_batch_norm.default:
        # In eval mode the kernels save no statistics; the meta function makes two vectors all the same.
        args = [torch.zeros_like(arg, device="cpu") if isinstance(arg, Tensor) else arg for arg in args]
    if func is aten.convolution.default:
        # On meta it forgets a permuted layout, which the CPU's kernels keep: ask it as for the CPU.
        with FakeTensorMode():
            args = [
                torch.empty_strided(arg.shape, arg.stride(), dtype=arg.dtype) if isinstance(arg, Tensor) else arg
                for arg in args
            ]
            return func(*args)
    return func(*args)


def described(outputs):
    tensors = [outputs] if isinstance(outputs, Tensor) else outputs
    return [(tuple(t.shape), t.dtype, t.stride() if t.numel() else ()) for t in tensors]


@pytest.mark.parametrize("func", SHORT_CUTS, ids=str)
def test_short_cut_gives_what_pytorch_infers_or_declines(func):
    rng = random.Random(str(func))
    seen = Counter()
    for _ in range(ROUNDS):
        args = GENERATORS.get(func, alone)(rng)
        short = short_cut(func, args, {})
        if short is None:
            seen["declined"] += 1
            continue
        seen["taken"] += 1
        assert described(short) == described(inferred(func, args)), args
        if func._schema.is_mutable:
            assert short is args[0]
    assert seen["taken"] > ROUNDS / 10
    assert seen["declined"] > 0  # or the test would not tell whether it can


def test_keywords_and_other_devices_are_left_to_pytorch():
    assert short_cut(aten.relu.default, (meta(2),), {}) is not None
    assert short_cut(aten.relu.default, (torch.empty(2),), {}) is None
    assert short_cut(aten.add.Tensor, (meta(2), meta(2)), {"alpha": 2}) is None
    assert short_cut(aten.add.Tensor, (meta(2), torch.empty(2)), {}) is None
    assert short_cut(aten.exp.default, (meta(2),), {}) is None


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.convolution.default, (meta(1, 4, 8, 8), meta(6, 3, 3, 3), None, [1], [0], [1], False, [0], 1)),
        (aten.convolution.default, (meta(1, 3, 2, 2), meta(6, 3, 3, 3), None, [1], [0], [1], False, [0], 1)),
        (aten.addmm.default, (meta(3), meta(2, 4), meta(5, 3))),
        (aten.cat.default, ([meta(2, 3), meta(3, 3)], 1)),
        (aten.mean.dim, (meta(2, 3), [2])),
        (aten.add.Tensor, (meta(2, 3), meta(2, 2))),
    ],
    ids=lambda value: str(value) if not isinstance(value, tuple) else "",
)
def test_wrong_shapes_are_pytorchs_to_refuse(func, args):
    assert short_cut(func, args, {}) is None
    with pytest.raises((RuntimeError, IndexError)):
        func(*args)
