"""One pass over everything that a network dispatches: what the static profilers read.

The network runs once on meta tensors, which have shapes and no values, so no arithmetic is done and the answer depends
neither on the device nor on the machine. Where meta cannot run a network the pass falls back to fake tensors (which
know a device) and then to the CPU; ``Trace.counted_on`` says which it was. On the CPU the fused kernels of attention,
recurrent layers and encoder layers are switched off for the pass, so that they dispatch the same products as everywhere
else.

The pass leaves the caller's network as it was: its parameters and buffers are replaced for the call, not moved, and
what it stores on its modules is put back. The caller's grad mode, inference mode included, changes nothing.
What operators cost stands in ``operators``; the rules for layers in ``layers``.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from fer_bench.errors import CountingError
from fer_bench.profilers.operators import FORMULAS, declared_zero, operator_name
from fer_bench.profilers.shapes import short_cut

Device = Literal["meta", "fake", "cpu"]

_BACKWARD = "(backward)"


@dataclass(slots=True)
class Operator:
    """What one operator did in the pass. ``kind`` is "counted", "zero" or "uncounted"; MACs are of the whole batch."""

    kind: Literal["counted", "zero", "uncounted"]
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
        modules: MACs by the path of the innermost module that dispatched them; "" is the network itself.
        peak_bytes: the largest sum of storages alive at one time (see ``activations``).
        forward_macs, backward_macs: MACs of the two halves; without training the second is zero.
        convolutions: calls in order.
        shortcuts: indices into ``convolutions`` of those on a shortcut (see ``layers``).
        separable: indices of depth-wise convolutions that form one separable convolution with a point-wise one.
        linear_layers: the fully connected layers that ran, each once.
        poolings: calls of a pooling over space.
        outputs: the shapes of what the network returned.
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

    @property
    def macs(self) -> int:
        return self.forward_macs + self.backward_macs

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


_CONVOLUTION = {"aten::convolution", "aten::_convolution", "aten::convolution_overrideable"}
_LINEAR = {"aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::_addmm_activation", "aten::mv", "aten::addmv"}
_POOLING = {
    "aten::max_pool2d_with_indices",
    "aten::max_pool3d_with_indices",
    "aten::max_pool2d",
    "aten::mkldnn_max_pool2d",
    "aten::avg_pool2d",
    "aten::avg_pool3d",
    "aten::_adaptive_avg_pool2d",
    "aten::_adaptive_avg_pool3d",
    "aten::adaptive_max_pool2d",
    "aten::adaptive_max_pool3d",
    "aten::fractional_max_pool2d",
}
_REDUCTION = {"aten::mean", "aten::amax", "aten::max", "aten::sum"}
_NORMALISATION = {
    "aten::native_batch_norm",
    "aten::_native_batch_norm_legit",
    "aten::_native_batch_norm_legit_no_training",
    "aten::_batch_norm_with_update",
    "aten::_batch_norm_no_update",
    "aten::cudnn_batch_norm",
    "aten::native_layer_norm",
    "aten::native_group_norm",
}


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


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
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

    def leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
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
            known = self._known[func] = name, self._operator(func, name)
        name, operator = known
        out = short_cut(func, args, kwargs)
        if out is None:
            out = func(*args, **kwargs)
        operator.calls += 1
        if operator.kind == "counted":
            self._count(func, name, operator, args, kwargs, out)
        if not func.is_view:
            self._note(name, operator, args, out)
        return out

    def _operator(self, func: OpOverload, name: str) -> Operator:
        kind: Literal["counted", "zero", "uncounted"]
        kind = "counted" if name in FORMULAS else "zero" if declared_zero(func) else "uncounted"
        return self.trace.operators.setdefault(name, Operator(kind))

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
        sources = [
            (key, self._origins.get(key))
            for key in (tensor.untyped_storage()._cdata for tensor in flat_tensors(args))
            if key not in self._weights
        ]
        origins = [origin or _Origin() for _, origin in sources]
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


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    """Switch off fused kernels, which hide their products from a dispatch-level count, and restore them after."""
    attention = torch.backends.cuda
    switches: list[tuple[Callable[[], bool], Callable[[bool], None]]] = [
        (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
        (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
        (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
        (attention.flash_sdp_enabled, attention.enable_flash_sdp),
        (attention.mem_efficient_sdp_enabled, attention.enable_mem_efficient_sdp),
        (attention.cudnn_sdp_enabled, attention.enable_cudnn_sdp),
    ]
    before = [get() for get, _ in switches]
    for _, put in switches:
        put(False)
    try:
        yield
    finally:
        for (_, put), value in zip(switches, before, strict=True):
            put(value)


def _bare(model: nn.Module) -> nn.Module:
    """Take off ``torch.compile`` and ``DataParallel``, which change how a network runs and not what it computes."""
    while isinstance(model, nn.DataParallel) or hasattr(model, "_orig_mod"):
        model = cast(nn.Module, model.module if isinstance(model, nn.DataParallel) else model._orig_mod)
    return model


@contextlib.contextmanager
def _attributes_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back what a forward pass stores on its modules, such as a mask kept for the next call."""
    before = [(vars(module), dict(vars(module))) for module in modules]
    try:
        yield
    finally:
        for attributes, kept in before:
            attributes.clear()
            attributes.update(kept)


def trace(model: nn.Module, inputs: tuple[Tensor, ...], *, train: bool = False, device: Device | None = None) -> Trace:
    """Run a network once without arithmetic and note what it dispatches.

    Args:
        model: the network, on any device; it is not moved, and its mode (train or eval) is the pass's.
        inputs: its arguments, each (N, ...), on the meta device if you like; only shapes and number types are used,
            except in the CPU fall-back.
        train: also run the backward pass, from the sum of all floating-point outputs.
        device: demand one way ("meta", "fake", "cpu") instead of the first that works.

    Raises:
        CountingError: none of the ways could run the network; the message is the CPU's, and says the shapes.
    """
    ways: tuple[Device, ...] = (device,) if device else ("meta", "fake", "cpu")
    if device is None and any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        ways = ("meta",)  # the weights have no values to fall back to
    model = _bare(model)
    failures = []
    for way in ways:
        try:
            return _pass(model, inputs, train, way)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}".strip().splitlines()[0])
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
    raise CountingError(f"{type(model).__name__} cannot run on input {shapes}: {failures[-1]}")


def _pass(model: nn.Module, inputs: tuple[Tensor, ...], train: bool, way: Device) -> Trace:
    seen = Trace(batch=len(inputs[0]), counted_on=way)
    modules = dict(model.named_modules())  # a module at two paths goes by its first
    names = {id(module): path for path, module in modules.items()}
    with contextlib.ExitStack() as stack:
        # Whatever the caller's grad mode, random state and network, the pass sees the same and leaves them alone.
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(_attributes_kept(modules.values()))
        if way == "fake":
            fake = FakeTensorMode(allow_non_fake_inputs=True)

            def convert(tensor: Tensor) -> Tensor:
                return fake.from_tensor(tensor.clone() if tensor.is_inference() else tensor)
        elif way == "meta":

            def convert(tensor: Tensor) -> Tensor:
                plain = tensor.is_meta and not tensor.is_inference()
                return tensor.detach() if plain else torch.empty_like(tensor, device="meta")
        else:

            def convert(tensor: Tensor) -> Tensor:
                return tensor.detach().to("cpu", copy=True)

        state = _put_stand_ins(modules, convert)
        arguments = tuple(convert(_with_values(tensor) if way != "meta" else tensor) for tensor in inputs)
        weights = {tensor.untyped_storage()._cdata: name for name, tensor in state.items()}
        recorder = _Recorder(seen, names, weights)
        for tensor in arguments:
            recorder.follow(tensor)
        if way == "fake":
            stack.enter_context(fake)
        stack.enter_context(_plain_kernels())
        stack.enter_context(torch.set_grad_enabled(train))
        stack.callback(register_module_forward_pre_hook(recorder.enter).remove)
        stack.callback(register_module_forward_hook(recorder.leave, always_call=True).remove)
        with recorder:
            outputs = model(*arguments)
            seen.outputs.extend(tuple(tensor.shape) for tensor in flat_tensors(outputs))
            if train:
                _backward(recorder, outputs)
    return seen


def _with_values(tensor: Tensor) -> Tensor:
    """Make up values for a meta tensor, where a pass needs some."""
    return torch.randn(tensor.shape).to(tensor.dtype) if tensor.is_meta else tensor


def _put_stand_ins(modules: Mapping[str, nn.Module], convert: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Give modules other parameters and buffers, one for each distinct tensor, so that tied ones stay tied.

    ``_attributes_kept`` takes them back. ``torch.func.functional_call`` does the same by way of every name, twice.
    """
    made: dict[int, Tensor] = {}
    state = {}

    def stand_in(tensor: Tensor | None, name: str) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) not in made:
            made[id(tensor)] = convert(tensor).requires_grad_(tensor.requires_grad)
        state[name] = made[id(tensor)]
        return state[name]

    for path, module in modules.items():
        prefix = f"{path}." if path else ""
        for kind in ("_parameters", "_buffers"):
            held = vars(module)[kind]
            vars(module)[kind] = {name: stand_in(tensor, prefix + name) for name, tensor in held.items()}
    return state


def _backward(recorder: _Recorder, outputs: Any) -> None:
    total: Tensor | None = None
    for tensor in flat_tensors(outputs):
        if tensor.is_floating_point() and tensor.requires_grad:
            total = tensor.sum() if total is None else total + tensor.sum()
    if total is None:
        raise ValueError("no output depends on a trainable parameter")
    del outputs
    recorder.backward = True
    total.backward()  # type: ignore[no-untyped-call]
