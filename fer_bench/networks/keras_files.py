"""Read Keras's HDF5 files of a functional or sequential model into a PyTorch network, by their topology.

The names of layers in such a file depend on what its author's session had built before, and sorted they put
``conv2d_10`` before ``conv2d_2``. So the graph of layers in the file's ``model_config`` is compared with the graph of
the network, as a pass through it gives it. Layers with weights correspond if they are of one kind, kernel and stride,
and have the same layers before and behind them. What has no weights, such as pools and activations, is not compared.

Only numbers and JSON are read; no file can run code.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_bench.records import extras, units
from fer_bench.records.errors import CheckpointError, FerBenchError, brief

HDF5 = b"\x89HDF\r\n\x1a\n"  # how such a file begins
CONTAINER = "model_weights"
_MOST_LAYERS = 10_000
_Label = tuple[Any, ...]
_LINEAR: _Label = ("linear",)
_NORMALISE: _Label = ("norm",)
# What becomes of Keras's arrays: the entry of a PyTorch module, and the order of axes.
_CONV = {"kernel": ("weight", (3, 2, 0, 1)), "bias": ("bias", (0,))}
_DEPTHWISE = {"depthwise_kernel": ("weight", (2, 3, 0, 1)), "bias": ("bias", (0,))}
_POINTWISE = {"pointwise_kernel": ("weight", (3, 2, 0, 1)), "bias": ("bias", (0,))}
_DENSE = {"kernel": ("weight", (1, 0)), "bias": ("bias", (0,))}
_NORM = {
    "gamma": ("weight", (0,)),
    "beta": ("bias", (0,)),
    "moving_mean": ("running_mean", (0,)),
    "moving_variance": ("running_var", (0,)),
}


@dataclass(slots=True)
class Layer:
    """A layer with weights, of a file or of a network, in the order of the pass.

    Attributes:
        name: the file's layer, or the network's module.
        label: kind, kernel, stride and the like, which two layers that correspond share.
        entries: the tensors, by the names that a PyTorch module has for them.
        before: indices of the layers with weights whose outputs it takes.
        epsilon: of a batch norm.
    """

    name: str
    label: _Label
    entries: dict[str, Tensor]
    before: frozenset[int] = frozenset()
    epsilon: float | None = None


@dataclass(frozen=True, slots=True)
class KerasModel:
    """What a Keras file says.

    Attributes:
        layers: those with weights.
        input_shape: (C, H, W) of its images, None for what is free.
        outputs: of the last layer with weights.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int | None, ...]
    outputs: int


def is_keras_file(path: str | Path) -> bool:
    """Recognise an HDF5 file by how it begins; False for what cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(HDF5)) == HDF5
    except OSError:
        return False


def read_keras(path: str | Path) -> KerasModel:
    """Read the layers of a Keras HDF5 file.

    Raises:
        CheckpointError: the file is damaged, is no model of Keras, or has layers that are not read.
        FerBenchError: h5py is not installed.
    """
    h5py = extras.load("h5py", f"reading {path}, a Keras file,")
    try:
        with h5py.File(path, "r") as file:
            return _model(file)
    except FerBenchError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # h5py's own errors, and what a damaged file may lead to
        raise CheckpointError(
            f"{path} cannot be read: it is truncated, or no model of Keras ({brief(error)})"
        ) from error


def _model(file: Any) -> KerasModel:
    if CONTAINER not in file or "model_config" not in file.attrs:
        raise CheckpointError(
            "this HDF5 file has weights without the model's topology: save the whole model with model.save(FILE.h5)"
        )
    config = json.loads(file.attrs["model_config"])
    parts = config["config"]["layers"] if isinstance(config["config"], Mapping) else config["config"]
    if config["class_name"] not in ("Model", "Functional", "Sequential") or len(parts) > _MOST_LAYERS:
        raise CheckpointError(f"it is a {config['class_name']} of {len(parts)} layers: only functional models are read")
    sequential, groups = config["class_name"] == "Sequential", file[CONTAINER]
    layers: list[Layer] = []
    ends: dict[str, frozenset[int]] = {}  # by name: the layers with weights that a layer's output comes from
    flat: set[str] = set()  # names of layers whose output is a map in one row
    shape: tuple[int | None, ...] = (None, None, None)
    previous = ""
    for part in parts:
        settings = part["config"]
        name = part.get("name") or settings["name"]
        shape = _input_shape(settings) or shape
        inputs = ([previous] if previous else []) if sequential else list(_inputs(part.get("inbound_nodes", []), name))
        before = frozenset[int]().union(*(ends[one] for one in inputs))
        flattened = part["class_name"] == "Flatten" or any(one in flat for one in inputs)
        arrays = _arrays(groups[name]) if name in groups else {}
        for layer in _layers(part["class_name"], name, settings, arrays) if arrays else ():
            layer.before = before
            if flattened and layer.label == _LINEAR:
                layer.entries["weight"] = _channels_first(layer, [layers[index] for index in before])
            layers.append(layer)
            before = frozenset((len(layers) - 1,))
        if flattened and not arrays:
            flat.add(name)
        ends[name], previous = before, name
    if not layers:
        raise CheckpointError("its model has no layers with weights")
    return KerasModel(tuple(layers), shape, _width(layers[-1]))


def _channels_first(layer: Layer, before: Sequence[Layer]) -> Tensor:
    """Return the weight of a linear layer on a flattened map: Keras has the channels last, PyTorch first."""
    weight, widths = layer.entries["weight"], {_width(one) for one in before}
    if weight.shape[1] in widths:
        return weight  # the map has one place
    if len(before) != 1 or weight.shape[1] % min(widths):
        raise CheckpointError(f"its layer {layer.name} takes a flattened map of several layers, which is not read")
    return weight.reshape(len(weight), -1, min(widths)).transpose(1, 2).flatten(1)


def _width(layer: Layer) -> int:
    """Return the channels of a layer's output; a depthwise weight has one row a channel, too."""
    return len(layer.entries["weight"])


def _inputs(nodes: Sequence[Any], name: str) -> Iterator[str]:
    """Yield the names of the layers that a layer takes, as Keras 2 and Keras 3 write them."""
    if len(nodes) > 1:
        raise CheckpointError(f"its layer {name} is used {len(nodes)} times, which is not read")
    waiting: list[Any] = [*nodes]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, Mapping):
            if "keras_history" in one:
                yield one["keras_history"][0]
            else:
                waiting += one.values()
        elif isinstance(one, list):
            if len(one) in (3, 4) and isinstance(one[0], str):  # [name, node, tensor, arguments]
                yield one[0]
            else:
                waiting += one


def _input_shape(settings: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    sizes = settings.get("batch_input_shape") or settings.get("batch_shape")
    if not sizes or len(sizes) != 4:
        return None
    height, width, channels = sizes[1:]
    return (channels, height, width)


def _arrays(group: Any) -> dict[str, Any]:
    """Return the arrays of a layer by the last part of their names: "kernel" of conv2d_1/kernel:0."""
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs.get("weight_names", ())]
    return {name.rsplit("/", 1)[-1].partition(":")[0]: np.asarray(group[name]) for name in names}


def _layers(kind: str, name: str, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> Iterator[Layer]:
    """Yield what corresponds to a layer of Keras in PyTorch, a module each."""
    if settings.get("data_format") == "channels_first" or set(_listed(settings.get("dilation_rate", 1))) != {1}:
        raise CheckpointError(f"its layer {name} has the channels first or is dilated, which is not read")
    stride = _listed(settings.get("strides", 1))
    if kind in ("Conv2D", "Convolution2D") and settings.get("groups", 1) == 1:
        yield Layer(name, ("conv", arrays["kernel"].shape[:2], stride), _entries(arrays, _CONV))
    elif kind == "DepthwiseConv2D" and _multiplier(settings, arrays) == 1:
        renamed = {"depthwise_kernel" if key == "kernel" else key: value for key, value in arrays.items()}
        shape = renamed["depthwise_kernel"].shape[:2]
        yield Layer(name, ("depthwise", shape, stride), _entries(renamed, _DEPTHWISE))
    elif kind == "SeparableConv2D" and _multiplier(settings, arrays) == 1:
        first = {"depthwise_kernel": arrays["depthwise_kernel"]}
        last = {key: value for key, value in arrays.items() if key != "depthwise_kernel"}
        shape = arrays["depthwise_kernel"].shape[:2]
        yield Layer(name, ("depthwise", shape, stride), _entries(first, _DEPTHWISE))
        yield Layer(name, ("conv", (1, 1), (1, 1)), _entries(last, _POINTWISE))
    elif kind == "Dense":
        yield Layer(name, _LINEAR, _entries(arrays, _DENSE))
    elif kind in ("BatchNormalization", "BatchNormalizationV1"):
        width = len(arrays["moving_mean"])
        full = {"gamma": np.ones(width, "float32"), "beta": np.zeros(width, "float32"), **arrays}
        entries = {**_entries(full, _NORM), "num_batches_tracked": torch.tensor(0)}
        yield Layer(name, _NORMALISE, entries, epsilon=float(settings.get("epsilon", 1e-3)))
    else:
        raise CheckpointError(f"its layer {name}, a {kind} with weights, is not read")


def _listed(value: Any) -> tuple[int, ...]:
    """Return a stride or a dilation as two numbers; Keras keeps one for both as it was given."""
    return tuple(value) if isinstance(value, list) else (value, value)


def _multiplier(settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> int:
    kernel = arrays.get("depthwise_kernel", arrays.get("kernel"))
    return int(settings.get("depth_multiplier", kernel.shape[-1] if kernel is not None else 0))


def _entries(arrays: Mapping[str, Any], names: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    if unknown := arrays.keys() - names.keys():
        raise CheckpointError(f"it has arrays that are not read: {', '.join(sorted(unknown))}")
    return {
        names[key][0]: torch.from_numpy(np.ascontiguousarray(value.transpose(names[key][1]), dtype="float32"))
        for key, value in arrays.items()
    }


def _network_layers(model: nn.Module, shape: tuple[int, ...]) -> list[Layer]:
    """Return the modules with weights of a network in the order of a pass, each with those before it."""
    from fer_bench.networks.build import in_eval_mode  # which loads checkpoints

    layers: list[Layer] = []
    made: dict[Any, int] = {}  # by the node of autograd that stands for a module's output

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if any(layer.name == name for layer in layers):
                raise CheckpointError(f"{name} of the network runs twice in a pass, which no Keras file is read into")
            entries = dict(module.state_dict())
            epsilon = module.eps if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else None
            layers.append(Layer(name, _label(module), entries, _sources(inputs[0], made), epsilon))
            made[output.grad_fn] = len(layers) - 1

        return hook

    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if module._parameters and not module._modules
    ]
    try:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        with torch.enable_grad(), in_eval_mode(model):
            model(torch.zeros((1, *shape), device=device, requires_grad=True))
    except RuntimeError as error:
        raise CheckpointError(
            f"its images are {units.size(shape)}, which {type(model).__name__} cannot take: {brief(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return layers


def _label(module: nn.Module) -> _Label:
    if isinstance(module, nn.Conv2d) and module.dilation == (1, 1):
        if module.groups == 1:
            return ("conv", module.kernel_size, module.stride)
        if module.groups == module.in_channels == module.out_channels:
            return ("depthwise", module.kernel_size, module.stride)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _NORMALISE
    return _LINEAR if isinstance(module, nn.Linear) else ("other", type(module).__name__)


def _sources(value: Tensor, made: Mapping[Any, int]) -> frozenset[int]:
    """Return the layers whose outputs a tensor comes from, through what has no weights."""
    found, seen, waiting = set(), set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in made:
            found.add(made[node])
        else:
            waiting += [before for before, _ in node.next_functions]
    return frozenset(found)


def _places(layers: Sequence[Layer], known: dict[Any, int]) -> list[tuple[int, int]]:
    """Return a number for what lies before a layer and one for what lies behind it, equal for equal graphs."""

    def number(label: _Label, others: Iterable[int]) -> int:
        return known.setdefault((label, tuple(sorted(others))), len(known))

    above: list[int] = []
    for layer in layers:
        above.append(number(layer.label, (above[index] for index in layer.before)))
    below: dict[int, int] = {}
    for index in reversed(range(len(layers))):
        after = [below[other] for other in range(index + 1, len(layers)) if index in layers[other].before]
        below[index] = number(layers[index].label, after)
    return [(above[index], below[index]) for index in range(len(layers))]


def fitted(model: nn.Module, keras: KerasModel, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return a file's tensors by the keys of a network's state dict; what corresponds to nothing has the file's names.

    Args:
        model: the network.
        keras: what ``read_keras`` gives.
        shape: (C, H, W) for a pass, for what is free in the file.

    Raises:
        CheckpointError: two layers cannot be kept apart, a batch norm has another epsilon, or the network does not run.
    """
    image = tuple(of_file or given for of_file, given in zip(keras.input_shape, shape, strict=True))
    ours, known = _network_layers(model, image), dict[Any, int]()
    places, of_ours = _places(keras.layers, known), _places(ours, known)
    if alike := [layer.name for layer, place in zip(keras.layers, places, strict=True) if places.count(place) > 1]:
        raise CheckpointError(
            f"its layers {', '.join(alike[:4])} have one place in the model, and cannot be kept apart"
        )
    at = {place: layer for layer, place in zip(ours, of_ours, strict=True) if of_ours.count(place) == 1}
    state: dict[str, Tensor] = {}
    for layer, place in zip(keras.layers, places, strict=True):
        other = at.get(place)
        if other is not None and layer.epsilon != other.epsilon:
            raise CheckpointError(
                f"its {layer.name} has epsilon {layer.epsilon}, {other.name} of the network {other.epsilon}, so that "
                "outputs would differ: build the network with the file's"
            )
        state |= {f"{(other or layer).name}.{key}": value for key, value in layer.entries.items()}
    return state
