"""What one pass sees: every operator that a network dispatches, and the storages and layers behind it.

How a network is made to run for this stands in ``trace``; what operators cost, in ``operators``; the rules for layers
and activation bytes, in ``totals``.
"""

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from fer_bench.measuring.counting.operators import (
    Formula,
    aten,
    attention_macs,
    declared_zero,
    find_formula,
    is_registered,
    operator_name,
)
from fer_bench.measuring.counting.shapes import short_cut

SEED = 0  # of images and weights where values are needed: what depends on them is then the same in every count

Device = Literal["meta", "fake", "cpu"]
Kind = Literal["counted", "zero", "uncounted"]

_BACKWARD = "(backward)"


@dataclass(slots=True)
class Operator:
    """What one operator did in the pass.

    ``kind`` is "counted", "zero" or "uncounted"; MACs are of the whole batch; ``registered`` if by the user's formula.
    """

    kind: Kind
    calls: int = 0
    macs: int = 0
    registered: bool = False


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
        decided_by: operators that read values which the images, or random numbers, decide: the work depends on them.
        outside: no output came of the images by operators that the pass saw: the work is done elsewhere.
        unused: elements of the parameters that no operator of the pass got, by name.
        operator_macs, operator_bytes: MACs, and bytes read and written, of each call in order; views, which move
            nothing, left out.

    Examples:
        >>> seen = fb.trace(torch.nn.Linear(8, 2), (torch.empty(4, 8),))
        >>> seen.macs, seen.per_sample(seen.macs), seen.outputs
        (64, 16, [(4, 2)])
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
    decided_by: set[str] = field(default_factory=set)
    outside: bool = False
    unused: dict[str, int] = field(default_factory=dict)
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
    made this content with at most normalisation and activation since. ``varies``: it depends on the images or on random
    numbers.
    """

    convolutions: int = 0
    depthwise: int | None = None
    varies: bool = False


_CONVOLUTION = aten("convolution _convolution convolution_overrideable")
_PRODUCTS = aten("mm addmm linear _addmm_activation")
_PROGRAMS = (torch.jit.ScriptModule, torch.fx.GraphModule)  # have operators where networks have modules and functions
_POOLING = aten(
    """max_pool2d_with_indices max_pool3d_with_indices max_pool2d mkldnn_max_pool2d avg_pool2d avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d"""
)
_REDUCTION = aten("mean amax max sum")
_NORMALISATION = aten(
    """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update
    _batch_norm_no_update cudnn_batch_norm native_layer_norm native_group_norm"""
)


_NESTED = (list, tuple, Mapping)
PLAIN = (Tensor, nn.Parameter)  # classes whose tensors wrap no others


def flat_tensors(values: Any) -> Iterator[Tensor]:
    """Find the tensors in nested lists, tuples and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, _NESTED):
        for value in values.values() if isinstance(values, Mapping) else values:
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, _NESTED):
                yield from flat_tensors(value)


def storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """Return where a tensor's values are: one place, or those of its parts where it is sparse, nested or wrapped."""
    if is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            yield from storages(getattr(tensor, name))
    elif tensor.layout == torch.sparse_coo:
        yield from (part.untyped_storage() for part in (tensor._indices(), tensor._values()))
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (part.untyped_storage() for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()))
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (part.untyped_storage() for part in (tensor.ccol_indices(), tensor.row_indices(), tensor.values()))
    elif tensor.layout == torch.strided and not tensor.is_nested:
        yield tensor.untyped_storage()


def storage_keys(values: Any) -> list[int]:
    """Return an identifier of each storage of tensors in nested lists, tuples and mappings."""
    keys: list[int] = []
    for tensor in flat_tensors(values):
        if type(tensor) in PLAIN and tensor.layout == torch.strided and not tensor.is_nested:  # most are: a short way
            keys.append(tensor.untyped_storage()._cdata)
        else:
            keys += [storage._cdata for storage in storages(tensor)]
    return keys


# What makes values, shapes or the way through the code depend on the values of a tensor.
_READS_VALUES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


def _pools_space(name: str, args: Sequence[Any]) -> bool:
    """Return whether an operator pools over H and W: a pooling, or a mean, maximum or sum over both."""
    if name in _POOLING:
        return True
    if name not in _REDUCTION or len(args) < 2 or not isinstance(args[1], list | tuple):
        return False
    rank = args[0].dim()
    return rank == 4 and {2, 3} <= {dim % rank for dim in args[1]}


class _Way(threading.local):
    """Where one thread of the pass is: the modules around what runs, by path and themselves; "" is the network.

    ``complex``: real convolutions that remain of complex ones; ``alone``: what was entered for one module alone.
    """

    def __init__(self) -> None:
        self.recorded = False
        self.path = [""]
        self.layers: list[nn.Module | None] = [None]
        self.complex: list[int] = []
        self.alone = contextlib.ExitStack()


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of the pass, counts it, and follows storages.

    A network may compute in several threads: each has its own way through the modules. Operators run side by side
    and are noted one at a time.
    ``modes`` is what the pass enters in each thread beside the recorder.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would import its compiler (a second) and go through it at every operator. There is nothing to compile.
        return False

    def __init__(
        self,
        trace: Trace,
        names: Mapping[int, str],
        weights: Mapping[int, str],
        modes: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = trace
        self._modes = modes
        self.backward = False
        self._names = names
        self._weights = weights  # storage key -> the parameter's name
        self._origins: dict[int, _Origin] = {}
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._bytes = 0
        self._known: dict[OpOverload, tuple[str, Operator, Formula | None]] = {}
        self._lock = threading.RLock()
        self._way = _Way()
        self._way.recorded = True  # the thread that makes the pass
        self.over = False  # the pass is: what a thread still does is none of it
        self.used: set[int] = set()  # keys of weights that an operator got

    @property
    def in_pass(self) -> bool:
        """Whether this thread works for the pass, and not for something else in the process."""
        return self._way.recorded and not self.over

    def in_thread(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is recorded in whatever thread it runs, as inside the modules that are running now.

        What a thread that is not of the pass hands on is returned as it is.
        """
        if not self.in_pass:
            return function
        path, layers = list(self._way.path), list(self._way.layers)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._way.recorded or self.over:
                return function(*args, **kwargs)
            with self._recorded(path, layers):
                return function(*args, **kwargs)

        return call

    @contextlib.contextmanager
    def _recorded(self, path: Sequence[str], layers: Sequence[nn.Module | None]) -> Iterator[None]:
        """Record this thread, as inside these modules."""
        self._way.path, self._way.layers, self._way.recorded = list(path), list(layers), True
        try:
            with self._modes(), self:
                yield
        finally:
            self._way.recorded = False

    @contextlib.contextmanager
    def threads_let_alone(self) -> Iterator[None]:
        """Leave alone the threads that this one starts in here."""
        before, self._way.recorded = self._way.recorded, False
        try:
            yield
        finally:
            self._way.recorded = before

    def enter(self, module: nn.Module, _inputs: Any) -> None:
        way = self._way
        if not self.in_pass:  # a thread that ran before the pass is recorded module by module
            if self.over or id(module) not in self._names:
                return  # another network's, which something else in the process runs
            way.alone.enter_context(self._recorded([""], [None]))
        way.path.append(self._names.get(id(module), way.path[-1]))
        way.layers.append(module)

    def leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if not self.in_pass:
            return
        first = next(flat_tensors(output), None)
        if first is not None and id(module) in self._names and not self.backward:
            self.trace.shapes.setdefault(self._names[id(module)], []).append(tuple(first.shape))
        self._way.path.pop()
        self._way.layers.pop()
        if len(self._way.path) == 1:
            self._way.alone.close()  # which does nothing in a thread of the pass

    def follow(self, tensor: Tensor, *, varies: bool = False) -> None:
        """Count a storage as alive from now until PyTorch frees it; parameters and buffers are not activations.

        ``varies``: its values are the images'.
        """
        for storage in storages(tensor):
            key = storage._cdata
            if varies:
                self._origins[key] = _Origin(varies=True)
            if key in self._alive or key in self._weights:
                continue
            size = storage.nbytes()

            def freed(_ref: Any, key: int = key, size: int = size) -> None:  # the address may be another's next
                with self._lock:
                    if self._alive.pop(key, None) is not None:
                        self._bytes -= size
                    self._origins.pop(key, None)

            self._alive[key] = (weakref.ref(storage, freed), size)
            self._bytes += size
            self.trace.peak_bytes = max(self.trace.peak_bytes, self._bytes)

    def varies(self, values: Any) -> bool:
        """Report whether any of the tensors was worked out from the images, or from random numbers."""
        return any(key in self._origins and self._origins[key].varies for key in storage_keys(values))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self.over:
            return func(*args, **(kwargs or {}))
        if isinstance(func, HigherOrderOperator):
            return self._higher_order(func, args, kwargs or {})
        return self._record(func, args, kwargs or {})

    def _record(self, func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        known = self._known.get(func)
        if known is None:
            name = operator_name(func)
            formula, zero = find_formula(name), declared_zero(func)
            if formula is None and not zero:
                # Composite operators reach us whole in inference mode: count what they are made of.
                with self:
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            kind: Kind = "counted" if formula is not None else "zero" if zero else "uncounted"
            with self._lock:
                operator = self.trace.operators.setdefault(name, Operator(kind, registered=is_registered(name)))
            known = self._known[func] = name, operator, formula
        name, operator, formula = known
        self._check_values(func, name, args)
        out = short_cut(func, args, kwargs)
        if out is None:  # without the lock: a user's operator may itself wait for threads
            out = func(*args, **kwargs)
        with self._lock:
            operator.calls += 1
            before = self.trace.macs
            if formula is not None:
                self._count(func, name, operator, formula, args, kwargs, out)
            if not func.is_view:
                self.trace.operator_macs.append(self.trace.macs - before)
                self.trace.operator_bytes.append(sum(_bytes(tensor) for tensor in flat_tensors((args, out))))
                self._note(func, name, operator, args, kwargs, out)
        return out

    def _check_values(self, func: OpOverload, name: str, args: Sequence[Any]) -> None:
        """Note a read of values that vary; of an index, only a mask's values decide how many there are."""
        if any(tag in func.tags for tag in _READS_VALUES):
            masks = name == "aten::index"
            read = [t for t in flat_tensors(args) if not masks or t.dtype in (torch.bool, torch.uint8)]
            if self.varies(read):
                self.trace.decided_by.add(name)

    def _higher_order(self, func: HigherOrderOperator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Count an operator that takes functions: a branch or a loop by what runs in it, attention by its formula."""
        name = str(func)
        if name in ("cond", "while_loop"):
            self.trace.decided_by.add(name)
            with self:
                return _branch(*args) if name == "cond" else _loop(*args)
        kind: Kind = "counted" if name == "flex_attention" else "uncounted"
        operator = self.trace.operators.setdefault(name, Operator(kind))
        operator.calls += 1
        self.used.update(key for key in storage_keys(args) if key in self._weights)
        out = func(*args, **kwargs)
        if kind == "counted":
            query, key, value = args[:3]
            *lead, queries, width = query.shape
            heads = torch.Size(lead).numel()
            self._add(operator, attention_macs(heads, queries, key.shape[-2], width, value.shape[-1]))
        for tensor in flat_tensors(out):
            self.follow(tensor, varies=True)
        return out

    def _count(
        self,
        func: OpOverload,
        name: str,
        operator: Operator,
        formula: Formula,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        out: Any,
    ) -> None:
        if kwargs and not operator.registered:  # formulas of ours go by position
            args = [*args, *(kwargs.get(a.name, a.default_value) for a in func._schema.arguments[len(args) :])]
        macs = formula(args, kwargs, out)
        if macs is None:
            self.trace.operators.setdefault(f"{name} (packed)", Operator("uncounted")).calls += 1
            return
        self._add(operator, macs * self._factor(name, args))

    def _factor(self, name: str, args: Sequence[Any]) -> int:
        """Return how many real MACs one of an operator's is: four of two complex numbers, two if one is real."""
        if self._way.complex and name in _CONVOLUTION:  # PyTorch makes three real ones of a complex one
            self._way.complex[-1] -= 1
            return 4 if self._way.complex[-1] == _REAL_PARTS - 1 else 0
        complex_operands = sum(tensor.is_complex() for tensor in flat_tensors(args[:3]))
        return 1 if complex_operands == 0 else 2 if complex_operands == 1 else 4

    @contextlib.contextmanager
    def complex_convolution(self) -> Iterator[None]:
        """Count the real convolutions that PyTorch makes in here of a complex one as that one."""
        self._way.complex.append(_REAL_PARTS)
        try:
            yield
        finally:
            self._way.complex.pop()

    def _add(self, operator: Operator, macs: int) -> None:
        operator.macs += macs
        if self.backward:
            self.trace.backward_macs += macs
        else:
            self.trace.forward_macs += macs
        path = _BACKWARD if self.backward else self._way.path[-1]
        self.trace.modules[path] = self.trace.modules.get(path, 0) + macs

    def _note(
        self,
        func: OpOverload,
        name: str,
        operator: Operator,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        out: Any,
    ) -> None:
        """Note lifetimes and, in the forward half, what the layer counts need."""
        outputs = list(flat_tensors(out))
        for tensor in outputs:
            self.follow(tensor)
        if self.backward or not outputs:
            return
        keys = storage_keys((args, kwargs) if kwargs else args)
        self.used.update(key for key in keys if key in self._weights)
        origins = [self._origins.get(key) or _Origin() for key in keys if key not in self._weights]
        varies = torch.Tag.nondeterministic_seeded in func.tags or self.varies((args, kwargs))
        made = _Origin(varies=varies)
        for origin in origins:
            made.convolutions |= origin.convolutions
        if name in _CONVOLUTION:
            made = self._convolution(args, origins[0] if origins else _Origin(), varies=varies)
        elif name in ("aten::add", "aten::add_") and len(origins) == 2:
            self._sum(*origins)
        elif name in _PRODUCTS and isinstance(self._way.layers[-1], _PROGRAMS):
            for weight in flat_tensors(args):
                if weight.dim() == 2:
                    self.linear(weight)
        elif len(origins) == 1 and (name in _NORMALISATION or (operator.kind == "zero" and _keeps_shape(args, out))):
            made.depthwise = origins[0].depthwise
        if _pools_space(name, args):
            self.trace.poolings += 1
        for key in storage_keys(outputs):
            self._origins[key] = made

    def _layer(self, kind: type | tuple[type, ...], weight: Tensor) -> str:
        """Name a layer: its module's path, or for a functional call the parameter that it uses."""
        if isinstance(self._way.layers[-1], kind):
            return self._way.path[-1]
        parameter = next((self._weights[key] for key in storage_keys(weight) if key in self._weights), None)
        return parameter if parameter is not None else f"{self._way.path[-1]}#{len(self.trace.convolutions)}"

    def _convolution(self, args: Sequence[Any], source: _Origin, *, varies: bool) -> _Origin:
        if self._way.complex and self._way.complex[-1] < _REAL_PARTS - 1:  # a further part of one that is noted
            return _Origin(source.convolutions, varies=varies)
        weight, groups = args[1], args[8]
        index = len(self.trace.convolutions)
        depthwise = groups > 1 and weight.shape[1] == 1
        pointwise = groups == 1 and all(size == 1 for size in weight.shape[2:])
        layer = self._layer(nn.modules.conv._ConvNd, weight)
        self.trace.convolutions.append(Convolution(layer, depthwise, pointwise))
        if pointwise and source.depthwise is not None:
            self.trace.separable.add(source.depthwise)
        return _Origin(source.convolutions | 1 << index, index if depthwise else None, varies)

    def _sum(self, first: _Origin, second: _Origin) -> None:
        own = first.convolutions & ~second.convolutions, second.convolutions & ~first.convolutions
        for alone, other in (own, own[::-1]):
            if alone.bit_count() == 1 and other.bit_count() > 1:
                self.trace.shortcuts.add(alone.bit_length() - 1)

    def linear(self, weight: Tensor) -> None:
        """Note a call of ``functional.linear``: a fully connected layer, if its weight is the network's own."""
        if self.backward or isinstance(self._way.layers[-1], nn.RNNBase | nn.RNNCellBase):
            return
        if isinstance(self._way.layers[-1], nn.Linear):
            self.trace.linear_layers.add(self._way.path[-1])
            return
        self.trace.linear_layers.update(self._weights[key] for key in storage_keys(weight) if key in self._weights)


_REAL_PARTS = 3  # real convolutions that PyTorch makes of a complex one, by Gauss's method


def _branch(predicate: Any, true_branch: Callable[..., Any], false_branch: Callable[..., Any], operands: Any) -> Any:
    return (true_branch if predicate else false_branch)(*operands)


def _loop(condition: Callable[..., Any], body: Callable[..., Any], carried: Any, more: Any = ()) -> Any:
    while condition(*carried, *more):
        carried = body(*carried, *more)
    return carried


def _bytes(tensor: Tensor) -> int:
    plain = tensor.layout == torch.strided and not tensor.is_nested
    return tensor.nbytes if plain else sum(storage.nbytes() for storage in storages(tensor))


def _keeps_shape(args: Sequence[Any], out: Any) -> bool:
    return isinstance(out, Tensor) and isinstance(args[0], Tensor) and out.shape == args[0].shape
