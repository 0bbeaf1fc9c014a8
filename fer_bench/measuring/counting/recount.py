"""One network counted in every way that a printed figure may have been: the audit's evidence.

Each recount is one build (classes, input) with what every convention makes of it; a build that the network refuses is
left out. Nothing here knows a published figure.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from torch import nn

from fer_bench.measuring.counting.counters import count_with, thop_by_module
from fer_bench.measuring.counting.module_breakdown import elements, module_roles, other_operations
from fer_bench.measuring.counting.params import count_parameters
from fer_bench.measuring.counting.recorder import Trace
from fer_bench.measuring.counting.totals import count_layers
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks import build as building
from fer_bench.networks.build import Build
from fer_bench.networks.spec import ModelSpec, Shape
from fer_bench.records.errors import BuildError, CountingError
from fer_bench.records.result import Json, Measurement

# What others classify: basic expressions without or with contempt and neutral, CIFAR's 10, ImageNet's 1000.
CLASSES = (6, 7, 8, 10, 1000)
# Sides of images that networks are published at: FER2013's 48, ImageNet's 224, and what lies about.
SIDES = (32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384)
CHANNELS = (1, 3)


def _variants(own: Shape, classes: int) -> dict[tuple[int, Shape], str]:
    """Return classes and input of the builds to count, the network's own first, and what is not as the sheet says."""
    channels, height, width = own
    changes = [
        ("", classes, own),
        *((f"{other} classes", other, own) for other in CLASSES),
        *((f"{other} input channel{'s' * (other > 1)}", classes, (other, height, width)) for other in CHANNELS),
        *((f"{side}x{side} input", classes, (channels, side, side)) for side in SIDES),
        ("1000 classes, 3x224x224 input", 1000, (3, 224, 224)),  # as ImageNet's networks are published
    ]
    variants: dict[tuple[int, Shape], str] = {}
    for change, number, shape in changes:
        variants.setdefault((number, shape), change)
    return variants


def measure_recounts(spec: ModelSpec, own: Build) -> Iterator[Measurement]:
    """Count a network in every build that it does not refuse: a measurement each, its MACs the value.

    Raises:
        BuildError: the network cannot even be built as its sheet says.
        CountingError: nor run on that input.
    """
    own_classes = spec.num_classes if own.num_classes is None else own.num_classes
    for (classes, shape), change in _variants(building.input_shape(spec, own), own_classes).items():
        try:
            yield _recount(spec, dataclasses.replace(own, num_classes=classes, input_shape=shape), change)
        except (BuildError, CountingError):
            if not change:
                raise


def _recount(spec: ModelSpec, build: Build, change: str) -> Measurement:
    model = building.create(spec, build, "meta")
    shape = building.input_shape(spec, build)
    images = building.example_inputs(shape, 1, "meta", building.number_type(model))
    seen = trace(model, (images,))
    by_module = thop_by_module(building.create(spec, build, "meta"), images)
    details: dict[str, Json] = {
        "change": change,
        "num_classes": build.num_classes,
        "input_shape": list(shape),
        "parameters": dataclasses.asdict(count_parameters(model)),
        "extras": other_operations(model, seen),
        "operators": len(seen.operator_macs),
        "thop": dict(zip(("macs", "parameters"), by_module[""], strict=True)),
    }
    if not change:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        details |= {
            "layers": dataclasses.asdict(count_layers(seen)),
            "shapes": sorted({shape[1:] for shapes in seen.shapes.values() for shape in shapes}),
            "head_parameters": elements(linear[-1]) if linear else 0,  # of the classifier
            "fvcore": _fvcore(spec, build, seen),
            "roles": _roles(model, by_module),
        }
    return Measurement("recount", "count", (seen.macs,), details=details)


def _fvcore(spec: ModelSpec, build: Build, seen: Trace) -> int | None:
    """Ask fvcore, which traces and therefore runs the network on the CPU; None where it cannot."""
    try:
        model = building.create(spec, build, "cpu")
        return count_with("fvcore", model, building.input_shape(spec, build), seen, build.inputs).value
    except Exception:  # its tracer refuses some networks, each in a way of its own; the other conventions remain
        return None


def _roles(model: nn.Module, thop: Mapping[str, tuple[int, int]]) -> dict[str, Json]:
    """Sum up the modules of each role: what registering them under a second name would add."""
    found: dict[str, Json] = {}
    for role, paths in module_roles(model).items():
        parameters = sum(elements(model.get_submodule(path)) for path in paths)
        if parameters:
            macs = sum(thop.get(path, (0, 0))[0] for path in paths)
            found[role] = {"modules": len(paths), "parameters": parameters, "thop_macs": macs}
    return found
