"""What one pass sees: every operator that a network dispatches, and the storages and layers behind it.

How a network is made to run for this stands in ``trace``; what operators cost, in ``operators``; the rules for layers
and activation bytes, in ``totals``.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fer_bench.measuring.counting.operators import FORMULAS, aten, declared_zero, operator_name
from fer_bench.measuring.counting.shapes import short_cut

Device = Literal["meta", "fake", "cpu"]
Kind = Literal["counted", "zero", "uncounted"]

_BACKWARD = "(backward)"


@dataclass(slots=True)
class Operator:
    """What one operator did in the pass. ``kind`` is "counted", "zero" or "uncounted"; MACs are of the whole batch."""

    kind: Kind
    calls: int = 0
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution call: the layer that it belongs to and its form."""

    layer: str
    depthwise: bool
    pointwise: bool


@dataclass(slots=True)
class Trace:
    """What one pass saw. MACs and bytes are of the whole batch.

    Attributes:
        batch: samples in the pass.
        counted_on: "meta", "fake" or "cpu".
        operators: by name, ``namespace::name``.
        modules: MACs by the path of the innermost module that dispatched them; "" is the network itself, "(backward)"
            the whole backward pass.
        peak_bytes: the largest sum of storages alive at one time (see ``totals``).
        forward_macs, backward_macs: MACs of the two halves; without training the second is zero.
        convolutions: calls in order.
        shortcuts: indices into ``convolutions`` of those on a shortcut (see ``totals``).
        separable: indices of depth-wise convolutions that form one separable convolution with a point-wise one.
        linear_layers: the fully connected layers that ran, each once.
        poolings: calls of a pooling over space.
        outputs: the shapes of what the network returned.
        shapes: what each module gave in the forward half, call by call, by its path: the shape of its first tensor.
        operator_macs, operator_bytes: MACs, and bytes read and written, of each call in order; views, which move
            nothing, left out.
    """

    batch: int
    counted_on: Device
    operators: dict[str, Operator] = field(default_factory=dict)
    modules: dict[str, int] = field(default_factory=dict)
    peak_bytes: int = 0
    forward_macs: int = 0
    backward_macs: int = 0
    convolutions: list[Convolution] = field(default_factory=list)
    shortcuts: set[int] = field(default_factory=set)
    separable: set[int] = field(default_factory=set)
    linear_layers: set[str] = field(default_factory=set)
    poolings: int = 0
    outputs: list[tuple[int, ...]] = field(default_factory=list)
    shapes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    operator_macs: list[int] = field(default_factory=list)
    operator_bytes: list[int] = field(default_factory=list)

    @property
    def macs(self) -> int:
        return self.forward_macs + self.backward_macs

    def per_sample(self, total: int) -> int | float:
        """Divide a batch's total by its size: whole where it is whole, as where a network does not mix samples."""
        return total // self.batch if total % self.batch == 0 else total / self.batch

    @property
    def uncounted(self) -> dict[str, int]:
        """Calls by operator for which there is neither a formula nor a declaration of zero."""
        return {name: op.calls for name, op in self.operators.items() if op.kind == "uncounted"}


@dataclass(slots=True)
class _Origin:
    """Where a storage's content comes from.

    ``convolutions`` is a set of indices as the bits of one integer; ``depthwise`` the depth-wise convolution that
    made this content with at most normalisation and activation since.
    """

    convolutions: int = 0
    depthwise: int | None = None


_CONVOLUTION = aten("convolution _convolution convolution_overrideable")
_LINEAR = aten("mm addmm bmm linear _addmm_activation mv addmv")
_POOLING = aten(
    """max_pool2d_with_indices max_pool3d_with_indices max_pool2d mkldnn_max_pool2d avg_pool2d avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d"""
)
_REDUCTION = aten("mean amax max sum")
_NORMALISATION = aten(
    """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update
    _batch_norm_no_update cudnn_batch_norm native_layer_norm native_group_norm"""
)


def flat_tensors(values: Any) -> Iterator[Tensor]:
    """Find the tensors in nested lists, tuples and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from flat_tensors(value)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from flat_tensors(value)


def _pools_space(name: str, args: Sequence[Any]) -> bool:
    """Tell whether an operator pools over H and W: a pooling, or a mean, maximum or sum over both."""
    if name in _POOLING:
        return True
    if name not in _REDUCTION or len(args) < 2 or not isinstance(args[1], list | tuple):
        return False
    rank = args[0].dim()
    return rank == 4 and {2, 3} <= {dim % rank for dim in args[1]}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of the pass, counts it, and follows storages."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would import its compiler (a second) and go through it at every operator. There is nothing to compile.
        return False

    def __init__(self, trace: Trace, names: Mapping[int, str], weights: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = trace
        self.path: list[str] = [""]
        self.layers: list[nn.Module | None] = [None]
        self.backward = False
        self._names = names
        self._weights = weights  # storage key -> the parameter's name
        self._origins: dict[int, _Origin] = {}
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._bytes = 0
        self._known: dict[OpOverload, tuple[str, Operator]] = {}

    def enter(self, module: nn.Module, _inputs: Any) -> None:
        self.path.append(self._names.get(id(module), self.path[-1]))
        self.layers.append(module)

    def leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        first = next(flat_tensors(output), None)
        if first is not None and id(module) in self._names and not self.backward:
            self.trace.shapes.setdefault(self._names[id(module)], []).append(tuple(first.shape))
        self.path.pop()
        self.layers.pop()

    def follow(self, tensor: Tensor) -> None:
        """Count a storage as alive from now until PyTorch frees it; parameters and buffers are not activations."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or key in self._weights:
            return
        size = storage.nbytes()

        def freed(_ref: Any) -> None:  # the address may be another storage's next
            if self._alive.pop(key, None) is not None:
                self._bytes -= size
            self._origins.pop(key, None)

        self._alive[key] = (weakref.ref(storage, freed), size)
        self._bytes += size
        self.trace.peak_bytes = max(self.trace.peak_bytes, self._bytes)

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = self._known.get(func)
        if known is None:
            name = operator_name(func)
            if name not in FORMULAS and not declared_zero(func):
                # Composite operators reach us whole in inference mode: count what they are made of.
                with self:
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            kind: Kind = "counted" if name in FORMULAS else "zero" if declared_zero(func) else "uncounted"
            known = self._known[func] = name, self.trace.operators.setdefault(name, Operator(kind))
        name, operator = known
        out = short_cut(func, args, kwargs)
        if out is None:
            out = func(*args, **kwargs)
        operator.calls += 1
        before = self.trace.macs
        if operator.kind == "counted":
            self._count(func, name, operator, args, kwargs, out)
        if not func.is_view:
            self.trace.operator_macs.append(self.trace.macs - before)
            self.trace.operator_bytes.append(sum(tensor.nbytes for tensor in flat_tensors((args, out))))
            self._note(name, operator, args, out)
        return out

    def _count(
        self, func: OpOverload, name: str, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any
    ) -> None:
        if kwargs:  # formulas go by position
            args = [*args, *(kwargs.get(a.name, a.default_value) for a in func._schema.arguments[len(args) :])]
        macs = FORMULAS[name](args, kwargs, out)
        if macs is None:
            self.trace.operators.setdefault(f"{name} (packed)", Operator("uncounted")).calls += 1
            return
        operator.macs += macs
        if self.backward:
            self.trace.backward_macs += macs
        else:
            self.trace.forward_macs += macs
        path = _BACKWARD if self.backward else self.path[-1]
        self.trace.modules[path] = self.trace.modules.get(path, 0) + macs

    def _note(self, name: str, operator: Operator, args: Sequence[Any], out: Any) -> None:
        """Note lifetimes and, in the forward half, what the layer counts need."""
        outputs = list(flat_tensors(out))
        for tensor in outputs:
            self.follow(tensor)
        if self.backward or not outputs:
            return
        sources = (tensor.untyped_storage()._cdata for tensor in flat_tensors(args))
        origins = [self._origins.get(key) or _Origin() for key in sources if key not in self._weights]
        made = _Origin()
        for origin in origins:
            made.convolutions |= origin.convolutions
        if name in _CONVOLUTION:
            made = self._convolution(args, origins[0] if origins else _Origin())
        elif name in ("aten::add", "aten::add_") and len(origins) == 2:
            self._sum(*origins)
        elif name in _LINEAR:
            self._linear(args)
        elif len(origins) == 1 and (name in _NORMALISATION or (operator.kind == "zero" and _keeps_shape(args, out))):
            made.depthwise = origins[0].depthwise
        if _pools_space(name, args):
            self.trace.poolings += 1
        for tensor in outputs:
            self._origins[tensor.untyped_storage()._cdata] = made

    def _layer(self, kind: type | tuple[type, ...], weight: Tensor) -> str:
        """Name a layer: its module's path, or for a functional call the parameter that it uses."""
        if isinstance(self.layers[-1], kind):
            return self.path[-1]
        parameter = self._weights.get(weight.untyped_storage()._cdata)
        return parameter if parameter is not None else f"{self.path[-1]}#{len(self.trace.convolutions)}"

    def _convolution(self, args: Sequence[Any], source: _Origin) -> _Origin:
        weight, groups = args[1], args[8]
        index = len(self.trace.convolutions)
        depthwise = groups > 1 and weight.shape[1] == 1
        pointwise = groups == 1 and all(size == 1 for size in weight.shape[2:])
        layer = self._layer(nn.modules.conv._ConvNd, weight)
        self.trace.convolutions.append(Convolution(layer, depthwise, pointwise))
        if pointwise and source.depthwise is not None:
            self.trace.separable.add(source.depthwise)
        return _Origin(source.convolutions | 1 << index, index if depthwise else None)

    def _sum(self, first: _Origin, second: _Origin) -> None:
        own = first.convolutions & ~second.convolutions, second.convolutions & ~first.convolutions
        for alone, other in (own, own[::-1]):
            if alone.bit_count() == 1 and other.bit_count() > 1:
                self.trace.shortcuts.add(alone.bit_length() - 1)

    def _linear(self, args: Sequence[Any]) -> None:
        if isinstance(self.layers[-1], nn.RNNBase | nn.RNNCellBase):
            return
        if isinstance(self.layers[-1], nn.Linear):
            self.trace.linear_layers.add(self.path[-1])
            return
        for tensor in flat_tensors(args):
            parameter = self._weights.get(tensor.untyped_storage()._cdata)
            if parameter is not None and tensor.dim() == 2:
                self.trace.linear_layers.add(parameter)


def _keeps_shape(args: Sequence[Any], out: Any) -> bool:
    return isinstance(out, Tensor) and isinstance(args[0], Tensor) and out.shape == args[0].shape
