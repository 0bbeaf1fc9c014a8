"""One pass over everything that a network dispatches: what the static profilers read.

The network runs once on meta tensors, which have shapes and no values. So no arithmetic is done, and the result does
not depend on the device or the machine. Where meta cannot run a network the pass falls back to fake tensors (which know
a device) and then to the CPU; ``Trace.counted_on`` records which it was. On the CPU the fused kernels of attention,
recurrent layers and encoder layers are switched off for the pass, so that they dispatch the same products as everywhere
else.

The pass leaves the caller's network as it was. Its parameters and buffers are replaced for the call, not moved, and
what it assigns to attributes of its modules is put back. The caller's grad mode, inference mode included, changes
nothing.
"""

import concurrent.futures
import contextlib
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from fer_bench.measuring.counting.recorder import SEED, Device, Recorder, Trace, flat_tensors, storage_keys
from fer_bench.networks.build import call_without_gpu
from fer_bench.records.errors import CountingError, brief


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


@contextlib.contextmanager
def _attributes_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back what a forward pass stores on its modules, such as a mask kept for the next call, also in containers."""
    before: dict[int, tuple[Any, Any]] = {}
    for module in modules:
        _keep(vars(module), before)
    try:
        yield
    finally:
        for container, kept in before.values():
            if container or kept:  # most are empty: a module has a dozen of hooks
                container.clear()
                (container.extend if isinstance(container, list | deque) else container.update)(kept)


_CONTAINERS = (dict, list, set, deque)


def _keep(container: Any, before: dict[int, tuple[Any, Any]]) -> None:
    """Note what is in a container that is not noted yet, and in those inside it."""
    before[id(container)] = container, container.copy() if container else ()
    for value in container.values() if isinstance(container, dict) else container:
        if isinstance(value, _CONTAINERS) and id(value) not in before:
            _keep(value, before)


# What a pass switches and watches is the process's own: hooks, fused kernels, the start of threads.
_ONE_PASS = threading.RLock()


class _Functions(TorchFunctionMode):
    """See what is no longer to be seen where operators are dispatched: linear layers, and complex convolutions.

    A move to a GPU stays on the device of the pass.
    """

    _CONVOLUTIONS = frozenset(
        (
            torch.conv1d,
            torch.conv2d,
            torch.conv3d,
            torch.conv_transpose1d,
            torch.conv_transpose2d,
            torch.conv_transpose3d,
        )
    )

    def __init__(self, recorder: Recorder, device: str) -> None:
        super().__init__()
        self._recorder, self._device = recorder, device

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._recorder.over:
            return func(*args, **kwargs)
        if func is nn.functional.linear:
            weight = args[1] if len(args) > 1 else kwargs.get("weight")
            if isinstance(weight, Tensor):
                self._recorder.linear(weight)
        elif func in self._CONVOLUTIONS and any(tensor.is_complex() for tensor in flat_tensors((args[:2], kwargs))):
            with self._recorder.complex_convolution():
                return func(*args, **kwargs)
        return call_without_gpu(func, args, kwargs, self._device)


@contextlib.contextmanager
def _threads_recorded(recorder: Recorder) -> Iterator[None]:
    """Record what a network computes in threads: PyTorch's modes hold for one thread only.

    Of a pool each task is recorded and not the worker, which lives on and serves other modules.
    """
    start, submit = threading.Thread.start, concurrent.futures.ThreadPoolExecutor.submit

    def start_recorded(thread: threading.Thread) -> None:
        thread.run = recorder.in_thread(thread.run)  # type: ignore[method-assign]
        start(thread)

    def submit_recorded(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        task = recorder.in_thread(function)
        with recorder.threads_let_alone():
            return submit(pool, task, *args, **kwargs)

    threading.Thread.start = start_recorded  # type: ignore[method-assign, assignment]
    concurrent.futures.ThreadPoolExecutor.submit = submit_recorded  # type: ignore[method-assign]
    try:
        yield
    finally:
        threading.Thread.start, concurrent.futures.ThreadPoolExecutor.submit = start, submit  # type: ignore[method-assign]


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Run what ``torch.compile`` was put around as it is: it changes how a network runs, not what it computes."""
    if "torch._dynamo" not in sys.modules:  # then nothing has been compiled, and the import would take a second
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def trace(
    model: nn.Module,
    inputs: tuple[Any, ...],
    keywords: Mapping[str, Any] = {},
    *,
    train: bool = False,
    device: Device | None = None,
) -> Trace:
    """Run a network once without arithmetic and note what it dispatches.

    Args:
        model: the network, on any device; it is not moved, and its mode (train or eval) is the pass's.
        inputs: its arguments, each (N, ...) or a dictionary of such, on the meta device if you like; only shapes and
            number types are used, except in the CPU fall-back.
        keywords: its keyword arguments, likewise.
        train: also run the backward pass, from the sum of all floating-point outputs.
        device: demand one way ("meta", "fake", "cpu") instead of the first that works.

    Raises:
        CountingError: none of the ways could run the network; the message is the last one's, and says the shapes.

    Examples:
        >>> seen = fb.trace(fb.create_model("mtcnn_pnet"), (torch.empty(2, 3, 12, 12),), train=True)
        >>> seen.forward_macs == 2 * 44760, seen.batch
        (True, 2)
    """
    ways: tuple[Device, ...] = (device,) if device else ("meta", "fake", "cpu")
    if device is None:
        state = [*model.parameters(), *model.buffers()]
        if _needs_values(model.modules()) or _needs_values(state):
            ways = ("cpu",)
        if any(tensor.is_meta for tensor in state):
            ways = ("meta",)  # the weights have no values to fall back to
    # Take off `torch.compile` and `DataParallel`, which change how a network runs and not what it computes.
    while isinstance(model, nn.DataParallel) or hasattr(model, "_orig_mod"):
        model = cast(nn.Module, model.module if isinstance(model, nn.DataParallel) else model._orig_mod)
    for way in ways:
        try:
            with _ONE_PASS:
                return _pass(model, inputs, keywords, train, way)
        except Exception as error:
            failure = error
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in flat_tensors((inputs, keywords)))
    raise CountingError(f"{type(model).__name__} cannot run on input {shapes}: {_reason(failure)}") from failure


def _reason(error: Exception) -> str:
    """Return why a pass failed; where PyTorch's message is about meta tensors, name the operator instead."""
    operator = re.search(r"\b(\w+)(?:::|\.)(\w+)", str(error))
    if operator is not None and re.search(r"\bmeta tensors|fake impl|FakeTensor|Meta kernel", str(error), re.I):
        return f"{operator[1]}::{operator[2]} needs values, and the network has none"
    return brief(error)


def _needs_values(parts: Iterable[nn.Module | Tensor]) -> bool:
    """Report whether modules or tensors exist on a real device only: TorchScript's, and sparse and quantised values."""
    return any(
        isinstance(part, torch.jit.ScriptModule)
        if isinstance(part, nn.Module)
        else part.layout != torch.strided or part.is_quantized
        for part in parts
    )


def _pass(model: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any], train: bool, way: Device) -> Trace:
    first = next(flat_tensors((inputs, keywords)))
    seen = Trace(batch=len(first), counted_on=way)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    modules = dict(model.named_modules())  # a module at two paths goes by its first
    names = {id(module): path for path, module in modules.items()}
    with contextlib.ExitStack() as stack:
        # Whatever the caller's grad mode, random state and network, the pass sees the same and leaves them alone.
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(SEED)
        stack.enter_context(_attributes_kept(modules.values()))
        fake = FakeTensorMode(allow_non_fake_inputs=True) if way == "fake" else None

        def convert(tensor: Tensor) -> Tensor:
            if fake is not None:
                return fake.from_tensor(tensor.clone() if tensor.is_inference() else tensor)
            if way == "cpu":
                return tensor.detach().to("cpu", copy=True)
            plain = tensor.is_meta and not tensor.is_inference()
            return tensor.detach() if plain else torch.empty_like(tensor, device="meta")

        scripted = any(isinstance(module, torch.jit.ScriptModule) for module in modules.values())
        if scripted:  # TorchScript's state is not to be replaced
            state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        else:
            state = _put_stand_ins(modules, convert)

        def given(tensor: Tensor) -> Tensor:
            if way != "meta" and tensor.is_meta:  # values are needed, where there are none they are made up
                real = tensor.is_floating_point() or tensor.is_complex()
                full = torch.full(tensor.shape, int(tensor.dtype == torch.bool), dtype=tensor.dtype)
                tensor = torch.randn(tensor.shape).to(tensor.dtype) if real else full
            return convert(tensor)

        arguments, by_name = tree_map_only(Tensor, given, (inputs, dict(keywords)))
        weights = {key: name for name, tensor in state.items() for key in storage_keys(tensor)}

        @contextlib.contextmanager
        def modes() -> Iterator[None]:
            grad = torch.set_grad_enabled(train and torch.is_grad_enabled())  # a thread may have switched it off
            with fake or contextlib.nullcontext(), grad, _Functions(recorder, device):
                yield

        recorder = Recorder(seen, names, weights, modes)
        stack.callback(setattr, recorder, "over", True)
        for tensor in flat_tensors((arguments, by_name)):
            recorder.follow(tensor, varies=True)
        device = "meta" if way == "meta" else "cpu"
        stack.enter_context(_plain_kernels())
        stack.enter_context(_uncompiled())
        stack.enter_context(_threads_recorded(recorder))
        stack.enter_context(modes())
        stack.callback(register_module_forward_pre_hook(recorder.enter).remove)
        stack.callback(register_module_forward_hook(recorder.leave, always_call=True).remove)
        with recorder:
            outputs = list(_returned(model(*arguments, **by_name), set()))
            seen.outputs.extend(tuple(tensor.shape) for tensor in flat_tensors(outputs))
            seen.outside = not recorder.varies(outputs)
            if train:
                _backward(recorder, outputs)
        for name, tensor in state.items():
            if name in parameters and not recorder.used.intersection(storage_keys(tensor)):
                seen.unused[name] = tensor.numel()
    return seen


def _put_stand_ins(modules: Mapping[str, nn.Module], convert: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Replace modules' parameters and buffers, one for each distinct tensor, so that tied ones stay tied.

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


def _returned(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Find the tensors in what a network returns: also in dataclasses and other objects, each looked into once."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, nn.Module | type | ModuleType):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        parts = list(value.values())
    else:
        parts = list(value) if isinstance(value, list | tuple) else list(getattr(value, "__dict__", {}).values())
    for part in parts:
        yield from _returned(part, seen)


def _backward(recorder: Recorder, outputs: Any) -> None:
    total: Tensor | None = None
    for tensor in flat_tensors(outputs):
        if tensor.is_floating_point() and tensor.requires_grad:
            total = tensor.sum() if total is None else total + tensor.sum()
    if total is None:
        raise ValueError("no output depends on a trainable parameter")
    del outputs
    recorder.backward = True
    total.backward()  # type: ignore[no-untyped-call]
