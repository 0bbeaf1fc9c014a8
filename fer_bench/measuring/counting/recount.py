"""One network counted in every way that a printed figure may have been: the audit's evidence.

Each recount is one build (classes, input) with what every convention makes of it; a build that the network refuses is
left out. Nothing here knows a published figure.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from torch import nn

from fer_bench.measuring.counting import anatomy
from fer_bench.measuring.counting.counters import count_with, thop_by_module
from fer_bench.measuring.counting.layers import count_layers
from fer_bench.measuring.counting.params import count_parameters
from fer_bench.measuring.counting.recorder import Trace
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks import build as building
from fer_bench.networks.build import Build
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import BuildError, CountingError
from fer_bench.records.result import Json, Measurement

METRIC = "recount"

# What others classify: basic expressions without or with contempt and neutral, CIFAR's 10, ImageNet's 1000.
CLASSES = (6, 7, 8, 10, 1000)
# Sides of images that networks are published at: FER2013's 48, ImageNet's 224, and what lies about.
SIDES = (32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384)
CHANNELS = (1, 3)


def builds(own: Build, shape: tuple[int, int, int], classes: int) -> Iterator[tuple[str, Build]]:
    """Give the builds to count, the network's own first: what is not as the sheet says, and the build.

    Args:
        own: as the sheet and the user have it.
        shape: (C, H, W) of that.
        classes: of that.
    """
    channels, height, width = shape
    yield "", dataclasses.replace(own, num_classes=classes, input_shape=shape)
    for other in CLASSES:
        if other != classes:
            yield f"{other} classes", dataclasses.replace(own, num_classes=other, input_shape=shape)
    for other in CHANNELS:
        if other != channels:
            yield (
                f"{other} input channel{'s' * (other > 1)}",
                dataclasses.replace(own, num_classes=classes, input_shape=(other, height, width)),
            )
    for side in SIDES:
        if (side, side) != (height, width):
            yield (
                f"{side}x{side} input",
                dataclasses.replace(own, num_classes=classes, input_shape=(channels, side, side)),
            )
    if (height, width) != (224, 224) or classes != 1000:  # as ImageNet's networks are published
        yield "1000 classes, 3x224x224 input", dataclasses.replace(own, num_classes=1000, input_shape=(3, 224, 224))


def measure_recounts(spec: ModelSpec, own: Build) -> Iterator[Measurement]:
    """Count a network in every build that it does not refuse: a measurement each, its MACs the value.

    Raises:
        BuildError: the network cannot even be built as its sheet says.
        CountingError: nor run on that input.
    """
    shape = building.input_shape(spec, own)
    seen: set[tuple[int, tuple[int, int, int]]] = set()
    classes = spec.num_classes if own.num_classes is None else own.num_classes
    for change, build in builds(own, shape, classes):
        assert build.num_classes is not None  # noqa: S101  # `builds` names them
        assert build.input_shape is not None  # noqa: S101
        key = (build.num_classes, build.input_shape)
        if key in seen:
            continue
        seen.add(key)
        try:
            yield _recount(spec, build, change)
        except (BuildError, CountingError):
            if not change:
                raise


def _recount(spec: ModelSpec, build: Build, change: str) -> Measurement:
    model = building.create(spec, build, "meta")
    shape = building.input_shape(spec, build)
    images = building.example_inputs(shape, 1, "meta", building.number_type(model))
    seen = trace(model, (images,))
    details: dict[str, Json] = {
        "change": change,
        "num_classes": build.num_classes,
        "input_shape": list(shape),
        "parameters": dataclasses.asdict(count_parameters(model)),
        "extras": dataclasses.asdict(anatomy.extras(model, seen)),
        "operators": len(seen.operator_macs),
    }
    if not change:
        details["layers"] = dataclasses.asdict(count_layers(seen))
        details["shapes"] = sorted({shape[1:] for shapes in seen.shapes.values() for shape in shapes})
        details["head_parameters"] = _head(model)
        details["fvcore"] = _fvcore(spec, build, seen)
    by_module = thop_by_module(building.create(spec, build, "meta"), images)
    details["thop"] = {"macs": by_module[""][0], "parameters": by_module[""][1]}
    if not change:
        details["roles"] = _roles(model, by_module)
    return Measurement(METRIC, "count", (seen.macs,), details=details)


def _fvcore(spec: ModelSpec, build: Build, seen: Trace) -> int | None:
    """Ask fvcore, which traces and therefore runs the network on the CPU; None where it cannot."""
    model = building.create(spec, build, "cpu")
    images = building.example_inputs(building.input_shape(spec, build), 1, "cpu", building.number_type(model))
    try:
        return count_with("fvcore", model, images, seen).value
    except Exception:  # its tracer refuses some networks, each in a way of its own; the other conventions remain
        return None


def _head(model: nn.Module) -> int:
    """Count the parameters of the last linear layer, the classifier."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return anatomy.elements(linear[-1]) if linear else 0


def _roles(model: nn.Module, thop: Mapping[str, tuple[int, int]]) -> dict[str, Json]:
    """Sum up the modules of each role: what registering them under a second name would add."""
    found: dict[str, Json] = {}
    for role, paths in anatomy.roles(model).items():
        parameters = sum(anatomy.elements(model.get_submodule(path)) for path in paths)
        if parameters:
            macs = sum(thop.get(path, (0, 0))[0] for path in paths)
            found[role] = {"modules": len(paths), "parameters": parameters, "thop_macs": macs}
    return found
