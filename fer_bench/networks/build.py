"""Make the network of a ModelSpec, on any device."""

import contextlib
import importlib
import inspect
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from fer_bench.networks import registry
from fer_bench.networks.checkpoints import load_checkpoint
from fer_bench.networks.inputs import SETTING, Input, read_inputs
from fer_bench.networks.place import import_users_file, search_first
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec, Shape
from fer_bench.networks.truncations import Truncation, truncate
from fer_bench.records import units
from fer_bench.records.errors import BuildError, brief, nearest
from fer_bench.records.plan import DEVICES, parse_settings

Factory = Callable[..., nn.Module]

_LARGEST_INPUT = 2**31  # values: 8 GiB of float32, and far from the 2**63 bytes that PyTorch can address

# What gives a tensor its initial values. PyTorch's own four reach a mode whole, and would leave it for what they call.
_FILLS = frozenset(
    (
        *(Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_, Tensor.erfinv_, Tensor.clamp_),
        *(nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_),
    )
)
_CONSTRUCTORS = frozenset(_device_constructors())  # what takes a device and makes a tensor


def call_without_gpu(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: str) -> Any:
    """Make a call with this device in place of a GPU: shapes need none, whatever the code says."""
    if func is Tensor.cuda:
        return args[0].to(device)
    if func is Tensor.to or kwargs.get("device") is not None:
        args = [device if _is_gpu(value) else value for value in args]
        kwargs = {key: device if _is_gpu(value) else value for key, value in kwargs.items()}
    return func(*args, **kwargs)


def _is_gpu(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type in DEVICES[1:]
    return isinstance(value, str) and value.partition(":")[0] in DEVICES[1:]


class _OnMeta(TorchFunctionMode):
    """Make new tensors on the meta device and leave them unfilled: there is nothing to fill, and it takes the longest.

    ``torch.device("meta")`` does the first half; a second mode beside it would double the cost of every call.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        elif func in _CONSTRUCTORS and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return call_without_gpu(func, args, kwargs, "meta")


@dataclass(frozen=True, slots=True)
class Build:
    """How to build a network: everything beside its ModelSpec.

    Attributes:
        num_classes: outputs; None for the sheet's.
        input_shape: (C, H, W) of the images; None for the sheet's.
        arguments: further arguments of the factory, by name.
        inputs: what the network takes, where that is not one image of ``input_shape``.
        truncation: where the network is cut; None for the whole.

    Examples:
        >>> fb.count("mini_xception", fb.Build(input_shape=(1, 64, 64))).input_shape
        (1, 64, 64)
    """

    num_classes: int | None = None
    input_shape: tuple[int, ...] | None = None
    arguments: Mapping[str, Any] | None = None
    inputs: tuple[Input, ...] = ()
    truncation: Truncation | None = None

    @classmethod
    def of(cls, num_classes: int | None, shape: Shape | None, settings: Sequence[str]) -> Self:
        """Return how to build a network with settings as a record has them, "key=value" each."""
        arguments = parse_settings(settings)
        inputs = read_inputs(str(arguments.pop(SETTING))) if SETTING in arguments else ()
        truncation = Truncation.pop(arguments)
        return cls(num_classes, shape, arguments, inputs, truncation)


DEFAULT_BUILD = Build()


def input_shape(spec: ModelSpec, build: Build) -> tuple[int, ...]:
    """Return (C, H, W) of the images that a network will see.

    Raises:
        BuildError: the size is below what the network runs at, not positive, or no image's.
    """
    if build.inputs:
        return build.inputs[0].shape
    shape = build.input_shape or _own_shape(spec) or spec.input_shape
    if shape is None:
        import timm

        config = timm.get_pretrained_cfg(spec.source.label)
        shape = config.input_size if config else DEFAULT_INPUT
    if min(shape) < 1:
        raise BuildError(f"the input {units.size(shape)} is empty: channels, height and width start at 1")
    if math.prod(shape) > _LARGEST_INPUT:
        raise BuildError(f"the input {units.size(shape)} is no image: it has more than {_LARGEST_INPUT:,} values")
    if min(shape[1:]) < spec.min_size:
        raise BuildError(
            f"{spec.name} cannot run at {units.size(shape)}: it needs {spec.min_size}x{spec.min_size} pixels or more"
        )
    return shape


def _has_own(spec: ModelSpec, parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Return whether a factory that no sheet describes has a whole number as its own default of an argument."""
    return spec.source.users and ":" in spec.name and name in parameters and type(parameters[name].default) is int


def _own_shape(spec: ModelSpec) -> tuple[int, ...] | None:
    """Return the input shape by the defaults of a factory that no sheet describes; None where it has none."""
    if not (spec.source.users and ":" in spec.name):
        return None
    factory, in_channels_name = find_factory(spec)
    parameters = inspect.signature(factory).parameters
    channels, *sides = spec.input_shape or DEFAULT_INPUT
    if in_channels_name and _has_own(spec, parameters, in_channels_name):
        channels = parameters[in_channels_name].default
    if _has_own(spec, parameters, "input_size"):
        sides = [parameters["input_size"].default] * len(sides)
    return channels, *sides


def create(spec: ModelSpec, build: Build = DEFAULT_BUILD, device: str = "cpu") -> nn.Module:
    """Build a network, in eval mode.

    Args:
        spec: which one.
        build: classes, input and arguments.
        device: "meta" builds without memory or initial values; a factory that cannot do so fails.

    Raises:
        BuildError: the factory is not there, takes no such argument, raises, or returns something else.
    """
    factory, in_channels_name = find_factory(spec)
    arguments = _arguments(spec, factory, build, in_channels_name)
    channels = input_shape(spec, build)[0]
    try:
        with quiet(), _OnMeta() if device == "meta" else contextlib.nullcontext():
            model = _make(factory, arguments, {"num_classes", in_channels_name} - (build.arguments or {}).keys())
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise BuildError(f"{spec.name}: the factory failed with ({given}): {brief(error)}") from error
    if type(model).__name__ == "ExportedProgram":  # of torch.export, whose import takes a second
        model = cast(Any, model).module()
    if not isinstance(model, nn.Module):
        raise BuildError(f"{spec.name}: the factory returned {type(model).__name__}, expected a torch.nn.Module")
    if spec.source.kind == "torchvision" and channels != 3 and not build.inputs:
        from fer_bench.models.torchvision_nets import replace_first_conv

        try:
            replace_first_conv(model, channels)
        except ValueError as error:
            raise BuildError(f"{spec.name}: {error}") from error
    _set_eval(model)
    if device != "meta":
        model.to(device)
    if any(map(is_lazy, model.parameters())):
        _materialise(model, spec, feed(model, input_shape(spec, build), build.inputs, 2, device))
    if build.truncation is not None:
        cut, classes = build.truncation, spec.num_classes if build.num_classes is None else build.num_classes
        with quiet():
            model = truncate(model, cut.at, cut.block, classes, input_shape(spec, build))
    return model


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put somebody's network into eval mode, and each of its modules back into its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    _set_eval(model)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_module(model: object, input_shape: Shape | None, known: str = "") -> tuple[str, Shape]:
    """Return the class's name and (C, H, W) of a network that somebody has built.

    Args:
        model: the network.
        input_shape: of an image.
        known: why the batch is no part of it, for the message.

    Raises:
        BuildError: it is no network, or the shape is none of an image.
    """
    kind = type(model).__name__
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise BuildError(f"got the class {model.__name__}; expected a network: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise BuildError(f"got {kind}; expected a torch.nn.Module, or a name such as resnet50")
    if input_shape is None:
        raise BuildError(
            f"{kind}: a module does not say what images it takes: give input_shape=(channels, height, width)"
        )
    whole = isinstance(input_shape, tuple | list) and all(type(n) is int and n > 0 for n in input_shape)
    if not whole or len(input_shape) != 3:
        raise BuildError(
            f"{kind}: input_shape is {input_shape!r}; expected (channels, height, width), each from 1{known}"
        )
    if any(map(is_lazy, model.parameters())):
        raise BuildError(f"{kind} has lazy modules, whose shapes a first pass decides: make that pass first")
    channels, height, width = input_shape
    return kind, (channels, height, width)


def _make(factory: Factory, arguments: dict[str, Any], ours: set[str]) -> Any:
    """Call a factory; what it refuses of the arguments that are ours and not named by the user, it is not given.

    A factory that takes any keyword hands it on to a function that we do not see.
    """
    while True:
        try:
            return factory(**arguments)
        except TypeError as error:
            refused = [key for key in ours & arguments.keys() if f"unexpected keyword argument '{key}'" in str(error)]
            if not refused:
                raise
            for key in refused:
                del arguments[key]


def _set_eval(model: nn.Module) -> None:
    """Put a network into eval mode; a program of torch.export has the mode in which it was exported."""
    with contextlib.suppress(NotImplementedError):
        model.eval()  # whatever it returns: a network's own train() may return nothing


def _materialise(model: nn.Module, spec: ModelSpec, fed: "Fed") -> None:
    """Let a network with lazy modules take its shapes from a pass."""
    try:
        with quiet(), torch.no_grad():
            model(*fed.args, **fed.kwargs)
    except Exception as error:
        raise BuildError(
            f"{spec.name} has lazy modules, whose shapes a first pass decides; that failed on {fed}: {brief(error)}"
        ) from error


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    checkpoint: str | Path | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a network by name, on the CPU, in eval mode.

    Args:
        name: a name of ``list_models()``, ``timm:NAME``, ``torchvision:NAME``, ``file.py:factory`` or
        ``module:factory``.
        num_classes: outputs; by default those of the sheet.
        in_channels: channels of the images; by default those of the sheet. For a torchvision or timm network another
            number replaces the first convolution.
        checkpoint: a file of weights to load, in the network's own layout or a published one.
        **arguments: further arguments of the factory.

    Raises:
        UnknownModelError, BuildError, CheckpointError: see ``find``, ``create`` and ``load_checkpoint``.

    Examples:
        >>> model = fb.create_model("mini_xception", num_classes=8)
        >>> model(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 8])
    """
    spec = registry.find(name)
    shape = None
    if in_channels is not None:
        shape = (in_channels, *(spec.input_shape or DEFAULT_INPUT)[1:])
        if spec.source.users:
            arguments["in_channels"] = in_channels  # which its factory must take
    model = create(spec, Build(num_classes, shape, arguments))
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, spec)
    return model


def find_factory(spec: ModelSpec) -> tuple[Factory, str]:
    """Import a network's factory and what it imports.

    Returns:
        The factory, and the name of its argument for image channels; "" if the caller must replace the layer.

    Raises:
        BuildError: it is not there, or its module cannot be imported.
    """
    source = spec.source
    if source.kind == "published":
        raise BuildError(f"{spec.name}: its sheet has published figures only; there is no code to build it from")
    if source.kind == "artefact":
        raise BuildError(f"{spec.name} is a file that a runtime loads, and no network in PyTorch: only `run` takes it")
    if source.kind == "timm":
        return _from_timm(source.label), "in_chans"
    if source.kind == "torchvision":
        return _from_torchvision(source.label), ""
    module = _user_module(spec) if source.users else importlib.import_module(source.library)
    factory = getattr(module, source.label, None)
    if not callable(factory):
        raise BuildError(f"{spec.name}: {module.__name__} has no function {source.label!r}")
    return factory, "in_channels"


def _from_timm(name: str) -> Factory:
    import timm

    if not timm.is_model(name):
        near = nearest(name, timm.list_models())
        raise BuildError(f"timm has no model {name!r}{near}; timm.list_models() names those that it has")
    return lambda **arguments: timm.create_model(name, pretrained=False, **arguments)


def _from_torchvision(name: str) -> Factory:
    from torchvision import models

    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        near = nearest(name, models.list_models())
        raise BuildError(
            f"torchvision has no model {name!r}{near}; torchvision.models.list_models() names those it has"
        ) from error
    options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if "weights_backbone" in inspect.signature(builder).parameters:  # by default it would be downloaded
        options["weights_backbone"] = None
    return lambda **arguments: builder(weights=None, **{**options, **arguments})


def library_names() -> list[str]:
    """Return the names of the classifiers of torchvision and timm, as ``find`` takes them; torchvision's first."""
    import timm
    import torchvision

    ours = torchvision.models.list_models(module=torchvision.models)
    return [*(f"torchvision:{name}" for name in ours), *(f"timm:{name}" for name in timm.list_models())]


def _user_module(spec: ModelSpec) -> ModuleType:
    source = spec.source
    path = Path(source.file).resolve()
    if source.file and not path.is_file():
        raise BuildError(f"there is no file {source.file}; a path starts at the current folder")
    # What stands beside it can be imported, as beside a script.
    search_first(str(path.parent) if source.file else os.getcwd())
    try:
        with quiet():
            return import_users_file(path) if source.file else importlib.import_module(source.module)
    except BuildError:
        raise
    except (Exception, SystemExit) as error:
        raise BuildError(f"{spec.name}: cannot import {source.file or source.module}: {brief(error)}") from error


def _arguments(spec: ModelSpec, factory: Factory, build: Build, in_channels_name: str) -> dict[str, Any]:
    """Choose the factory's arguments: what it takes, and what the user asked for even if it does not."""
    arguments = dict(build.arguments or {})
    parameters = inspect.signature(factory).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    classes = spec.num_classes if build.num_classes is None else build.num_classes
    kept = _has_own(spec, parameters, "num_classes") and build.num_classes is None
    if classes < 1 and not (classes == 0 and (spec.source.kind == "timm" or spec.source.users)):
        raise BuildError(
            f"{spec.name} cannot have {classes} classes: 0 means features only, which timm networks and factories of "
            "your own can give; else give 1 or more"
        )
    if unknown := [key for key in arguments if key not in parameters and not anything]:
        takes = ", ".join(parameters) or "none"
        raise BuildError(f"{spec.name} takes no argument {', '.join(unknown)}; it takes: {takes}")
    channels, *sides = input_shape(spec, build)
    wanted: dict[str, tuple[int, bool]] = {} if kept else {"num_classes": (classes, build.num_classes is not None)}
    # A user's factory without the argument is made for the images that it gets, or its first layer complains.
    if in_channels_name and (in_channels_name in parameters or anything or not spec.source.users):
        wanted[in_channels_name] = (channels, channels != (spec.input_shape or DEFAULT_INPUT)[0])
    for key, (value, asked) in wanted.items():
        # What takes any keyword may take the classes, too, and is called without them where it does not; that it takes
        # channels is only tried where other ones were asked for.
        if key in parameters or (anything and (asked or key == "num_classes" or not spec.source.users)):
            arguments.setdefault(key, value)
        elif anything:
            continue
        elif asked:
            raise BuildError(f"{spec.name}: its factory takes no {key}, so {value} cannot be set; leave it out")
    if "input_size" in parameters and "input_size" not in arguments:
        if len(set(sides)) != 1:
            raise BuildError(f"{spec.name} needs square images: its first fully connected layer depends on their size")
        arguments["input_size"] = sides[0]
    return arguments


def number_type(model: nn.Module) -> torch.dtype:
    """Return the number type of a network's images: that of most of its parameters' real values, else its buffers'."""
    for tensors in (model.parameters(), model.buffers()):
        values: Counter[torch.dtype] = Counter()
        for tensor in tensors:
            if tensor.is_floating_point() and not is_lazy(tensor):
                values[tensor.dtype] += tensor.numel()
        if values:
            return values.most_common(1)[0][0]
    return torch.float32


def example_inputs(shape: Sequence[int], batch: int, device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Make a batch of images (batch, C, H, W): standard normal values, or none on the meta device."""
    return torch.randn(batch, *shape, device=device, dtype=dtype)


@dataclass(frozen=True, slots=True)
class Fed:
    """What a network is given in a pass: tensors by their place, by keyword, or in one dictionary."""

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...] = ()
    in_dictionary: bool = False

    @property
    def args(self) -> tuple[Any, ...]:
        if self.in_dictionary:
            return (dict(zip(self.names, self.tensors, strict=True)),)
        return () if self.names else self.tensors

    @property
    def kwargs(self) -> dict[str, Tensor]:
        return {} if self.in_dictionary else dict(zip(self.names, self.tensors, strict=False))

    def beside(self, first: Tensor) -> Self:
        """Return the same with another first tensor, to whose batch the others are repeated."""
        others = (tensor[:1].expand(len(first), *tensor.shape[1:]) for tensor in self.tensors[1:])
        return replace(self, tensors=(first, *others))

    def __str__(self) -> str:
        names = [f"{name} " for name in self.names] or [""] * len(self.tensors)
        return ", ".join(f"{name}{tuple(t.shape)}" for name, t in zip(names, self.tensors, strict=True))


def feed(model: nn.Module, shape: Shape, inputs: Sequence[Input], batch: int, device: str) -> Fed:
    """Make what a network is given: images of a shape, or its several inputs.

    Real inputs are standard normal; whole ones are 0, which every vocabulary has, and masks are true.
    """
    own = number_type(model)
    if not inputs:
        return Fed((example_inputs(shape, batch, device, own),))
    made = [_values(one, batch, device, own) for one in inputs]
    if not inputs[0].name:
        return Fed(tuple(made))
    names = tuple(one.name for one in inputs)
    takes = inspect.signature(model.forward).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in takes.values())
    return Fed(tuple(made), names, in_dictionary=not (anything or set(names) <= takes.keys()))


def _values(one: Input, batch: int, device: str, own: torch.dtype) -> Tensor:
    kind = getattr(torch, one.type) if one.type else own
    if kind.is_floating_point:
        return example_inputs(one.shape, batch, device, kind)
    return torch.full((batch, *one.shape), int(kind == torch.bool), dtype=kind, device=device)


class OfOneInput(nn.Module):
    """A network of several inputs as one that takes the first, which is given the others beside it."""

    def __init__(self, network: nn.Module, fed: Fed) -> None:
        super().__init__()
        self.network = network
        self._fed = fed

    def forward(self, first: Tensor) -> Any:
        fed = self._fed.beside(first)
        return self.network(*fed.args, **fed.kwargs)


AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Autocast(nn.Module):
    """Runs a network under autocast, entered and left in each pass as programs do, so that each casts the weights."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, images: Tensor) -> Any:
        with torch.autocast(images.device.type, self.dtype):
            return self.network(images)


def round_products(precision: str) -> None:
    """Allow or forbid a GPU to round the inputs of float32 products to TF32, as a plan's precision has it."""
    if precision in ("fp32", "tf32"):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what a network prints to stderr, so that stdout keeps to the report."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
