"""The static metrics of one network: what can be counted without running any arithmetic."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fer_bench.measuring.counting.counters import OtherCount, count_with
from fer_bench.measuring.counting.module_breakdown import macs_inside, measure_anatomy, measure_modules
from fer_bench.measuring.counting.operators import CONVENTION
from fer_bench.measuring.counting.params import ParameterCounts, count_parameters
from fer_bench.measuring.counting.recorder import SEED, Trace
from fer_bench.measuring.counting.totals import (
    OUTSIDE,
    LayerCounts,
    count_layers,
    is_unknown,
    measure_activations,
    measure_macs,
    reservations,
    unused_parameters,
)
from fer_bench.measuring.counting.trace import trace
from fer_bench.measuring.machine import collector_at_rest
from fer_bench.networks import build as building
from fer_bench.networks.build import DEFAULT_BUILD, Build
from fer_bench.networks.inputs import Input
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import USERS_MODULE, ModelSpec, Shape
from fer_bench.records.errors import BuildError, CountingError
from fer_bench.records.result import Json, Measurement
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import counts

if TYPE_CHECKING:
    import pandas

# Batch norm cannot train on one value a channel, which is what a 1x1 map of one image is.
SMALLEST_TRAINING_BATCH = 2

_FILES = ("state_dict_bytes", "checkpoint_bytes")


@dataclass(frozen=True, slots=True, repr=False)
class Count:
    """What was counted of one network; it prints itself as a table. ``training`` and ``others`` are there if asked for.

    ``training`` is the reason, in words, where the network can be counted and not be trained.

    Examples:
        >>> counted = fb.count("mtcnn_pnet")
        >>> counted.parameters.trainable, counted.inference.macs
        (6632, 44760)
        >>> [row["module"] for row in counted.by_module()][:2]
        ['(network)', 'features']
    """

    spec: ModelSpec
    build: Build
    input_shape: Shape
    num_classes: int | None
    parameters: ParameterCounts
    layers: LayerCounts
    inference: Trace
    modules: Measurement
    anatomy: tuple[Measurement, ...]
    training: Trace | str | None = None
    others: tuple[OtherCount, ...] = ()

    def _parameters(self) -> dict[str, int]:
        unused = sum(self.inference.unused.values())
        every = dataclasses.asdict(self.parameters) | {"total": self.parameters.total, "unused": unused}
        return {name: number for name, number in every.items() if name not in _FILES}

    def row(self) -> dict[str, Json]:
        """Return the count as the JSON object that ``fer-bench count --format json`` promises."""
        seen, training = self.inference, self.training
        macs = None if is_unknown(seen) else seen.per_sample(seen.macs)
        row: dict[str, Json] = {
            "name": self.spec.name,
            "title": self.spec.title,
            "status": self.spec.status,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "settings": self._settings(),
            **({"inputs": list(map(str, self.build.inputs))} if self.build.inputs else {}),
            "batch": seen.batch,
            "parameters": self._parameters(),
            "macs": macs,
            "flops": None if macs is None else 2 * macs,
            "convention": CONVENTION,
            "uncounted": seen.uncounted,
            "depends_on_values": sorted(seen.decided_by),
            "reservations": self.reservations(),
            "counted_on": seen.counted_on,
            "peak_activation_bytes": seen.peak_bytes,
            "layers": dataclasses.asdict(self.layers),
            **{name: getattr(self.parameters, name) for name in _FILES},
            "note": self.spec.note,
            "uncertain": list(self.spec.uncertain),
        }
        if isinstance(training, str):
            row["training"] = {"error": training}
        elif training is not None:
            row["training"] = {
                "batch": training.batch,
                "macs": training.per_sample(training.macs),
                "forward_macs": training.per_sample(training.forward_macs),
                "backward_macs": training.per_sample(training.backward_macs),
                "peak_activation_bytes": training.peak_bytes,
                "uncounted": training.uncounted,
                "reservations": reservations(training),
            }
        if self.others:
            row["counters"] = {other.tool.split()[0]: dataclasses.asdict(other) for other in self.others}
        return row

    def _settings(self) -> list[str]:
        cut = self.build.truncation
        given = [f"{key}={value}" for key, value in (self.build.arguments or {}).items()]
        return given + (cut.settings if cut is not None else [])

    def reservations(self) -> list[str]:
        """Return in which ways the counts are not the whole and only truth."""
        macs = [OUTSIDE] if is_unknown(self.inference) else reservations(self.inference)
        unused = unused_parameters(self.inference, self.parameters.total)
        return [*macs, *unused, *self._other_classes()]

    def _other_classes(self) -> list[str]:
        """Return a warning if a factory refused or ignored the number of classes that was asked for."""
        asked = self.build.num_classes
        return [_ignored(asked, self.num_classes)] if asked and asked != self.num_classes else []

    def table(self) -> Table:
        """Return the count as a table of one row, as ``fer-bench count`` prints it."""
        return counts.of_rows([self.row()])

    def to_frame(self) -> "pandas.DataFrame":
        """Return the count as a pandas DataFrame of one row, in base units."""
        return self.table().to_frame()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def by_module(self) -> list[dict[str, Json]]:
        """Return MACs a sample by module, in the order in which they ran, each module's own and with all inside it."""
        seen = self.inference
        rank: dict[str, int] = {}  # of each module and of those around it, in the order in which they ran
        for path in seen.modules:
            for around in _ancestry(path):
                rank.setdefault(around, len(rank))
        inside = {path: macs_inside(seen, path) for path in rank}
        return [
            {
                "module": path or "(network)",
                "own_macs": seen.per_sample(seen.modules.get(path, 0)),
                "macs": seen.per_sample(inside[path]),
                "share": inside[path] / (seen.macs or 1),
            }
            for path in sorted(rank, key=lambda path: [rank[around] for around in _ancestry(path)])
        ]

    def by_operator(self) -> list[dict[str, Json]]:
        """Return calls and MACs a sample by operator: counted ones by cost, then uncounted ones, then zeros."""
        order = {"counted": 0, "uncounted": 1, "zero": 2}
        seen = self.inference
        return [
            {
                "operator": name,
                "kind": f"{one.kind}, by register_flop_formula" if one.registered else one.kind,
                "calls": one.calls,
                "macs": seen.per_sample(one.macs),
            }
            for name, one in sorted(
                seen.operators.items(), key=lambda item: (order[item[1].kind], -item[1].macs, -item[1].calls)
            )
        ]

    def _macs(self) -> Measurement:
        measured = measure_macs(self.inference)
        return dataclasses.replace(measured, details={**measured.details, "num_classes": self.num_classes})

    def measurements(self) -> list[Measurement]:
        """Return the count as measurements, one value each."""
        seen, details = self.inference, {"batch": self.inference.batch}
        numbers = {f"parameters.{name}": number for name, number in self._parameters().items()}
        numbers |= {f"layers.{name}": number for name, number in dataclasses.asdict(self.layers).items()}
        said = {
            "parameters.trainable": (*unused_parameters(seen, self.parameters.total), *self._other_classes()),
        }
        return [
            *(Measurement(name, "count", (value,), warnings=said.get(name, ())) for name, value in numbers.items()),
            *(Measurement(metric, "bytes", (getattr(self.parameters, metric),)) for metric in _FILES),
            self._macs(),
            measure_activations(seen),
            self.modules,
            Measurement("operator_macs", "count", tuple(seen.operator_macs), details=details),
            Measurement("operator_bytes", "bytes", tuple(seen.operator_bytes), details=details),
        ]


def _ignored(asked: int, outputs: int | None) -> str:
    return f"{asked} classes were asked for and it has {outputs} outputs: its factory ignores the number of classes"


def _ancestry(path: str) -> list[str]:
    """Return the modules around one and itself, the network first: "a.b" is inside "" and "a"."""
    parts = path.split(".") if path else []
    return [".".join(parts[:depth]) for depth in range(len(parts) + 1)]


def count(
    network: str | ModelSpec | nn.Module,
    build: Build = DEFAULT_BUILD,
    *,
    input_shape: Shape | None = None,
    num_classes: int | None = None,
    batch: int = 1,
    train: bool = False,
    counters: Sequence[str] = (),
    name: str = "",
    registry: Registry | None = None,
) -> Count:
    """Count parameters, MACs, activations and layers of a network.

    It runs once on meta tensors, which have shapes and no data. Where it cannot be built or run there, that is done on
    the CPU. A module of yours is counted in eval mode and stays as it is: modes, values, gradients, devices, hooks.

    Args:
        network: a name, as ``find`` takes it, a ModelSpec, or a module that you have built.
        build: classes, input and arguments.
        input_shape: (C, H, W) of an image; a module needs it, a network by name has its own.
        num_classes: outputs; a module has those that it was made with.
        batch: images in the pass; MACs are given a sample, activation bytes for the batch.
        train: also trace a training step, of at least two images.
        counters: other tools to ask too: "torch", "fvcore", "thop".
        name: of a module in the count; by default its class's.
        registry: has the names; by default that of the built-in networks.

    Raises:
        UnknownModelError: no network has the name.
        BuildError: the network cannot be built, or the input is none.
        CountingError: it cannot run on this input.

    Examples:
        >>> fb.count("mini_xception").inference.macs
        5520448
        >>> counted = fb.count(torch.nn.Conv2d(3, 8, 3), input_shape=(3, 10, 10))
        >>> counted.parameters.trainable, counted.inference.macs  # 8 x (3 x 9 + 1), and 3 x 9 x 8 x 8 x 8
        (224, 13824)
        >>> counted.to_frame()["peak_activation_bytes"].item()  # 4 x (3 x 10 x 10 + 8 x 8 x 8)
        3248
    """
    if batch < 1:
        raise CountingError(f"a batch of {batch} images cannot be counted; it starts at 1")
    if input_shape is not None:
        build = dataclasses.replace(build, input_shape=tuple(input_shape))
    if num_classes is not None:
        build = dataclasses.replace(build, num_classes=num_classes)
    if isinstance(network, str):
        network = (registry or built_in()).find(network)
    if not isinstance(network, ModelSpec):
        return _count_users(network, build, name, batch=batch, train=train, counters=counters)
    spec, shape = network, building.input_shape(network, build)
    with collector_at_rest(), building.quiet():
        try:
            model = building.create(spec, build, "meta")
        except BuildError:
            # It reads values while it is being made. If the CPU cannot build it either, that error is reported.
            model = _with_values(spec, build)
        try:
            inference = _trace(model, shape, batch, build.inputs)
        except CountingError:
            state = [*model.parameters(), *model.buffers()]
            if state and not any(tensor.is_meta for tensor in state):  # without state it may be in constants
                raise
            model = _with_values(spec, build)
            inference = _trace(model, shape, batch, build.inputs)
        training = _training(model, shape, batch, build.inputs) if train else None
        others = tuple(
            count_with(tool, building.create(spec, build, "cpu"), shape, inference, build.inputs) for tool in counters
        )
    asked = spec.num_classes if build.num_classes is None else build.num_classes
    counted = _counted(model, spec, build, shape, asked, inference)
    return dataclasses.replace(counted, training=training, others=others)


def _count_users(
    model: nn.Module, build: Build, name: str, *, batch: int, train: bool, counters: Sequence[str]
) -> Count:
    """Count a network that somebody has built, in eval mode, and leave it as it is."""
    kind, shape = building.check_module(model, build.inputs[0].shape if build.inputs else build.input_shape)
    if build.num_classes is not None or build.arguments:
        raise BuildError(f"{kind}: a module has the classes and arguments that it was made with: leave them out")
    with collector_at_rest(), torch.random.fork_rng(devices=[]), building.in_eval_mode(model), building.quiet():
        counted = count_module(model, ModelSpec(name or kind, USERS_MODULE, kind), shape, batch, build.inputs)
        training = _training(model, shape, batch, build.inputs) if train else None
        others = tuple(
            count_with(tool, copy.deepcopy(model).cpu(), shape, counted.inference, build.inputs) for tool in counters
        )
    return dataclasses.replace(counted, build=build, training=training, others=others)


def _with_values(spec: ModelSpec, build: Build) -> nn.Module:
    """Build a network on the CPU, with the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return building.create(spec, build, "cpu")


def measure_published_builds(
    spec: ModelSpec, builds: Sequence[tuple[Shape, int]], counted: Count
) -> Iterator[Measurement]:
    """Count the builds that published results are of, but for the one that has been counted: MACs, the rest in details.

    A build that the network refuses, or whose classes it ignores, has the reason in place of its counts, and no value.

    Args:
        spec: the network.
        builds: (C, H, W) and classes of each.
        counted: the build that is measured.
    """
    own = (counted.input_shape, counted.num_classes) if not (counted.build.arguments or counted.build.inputs) else None
    others: list[dict[str, Json]] = []
    for shape, classes in builds:
        if (shape, classes) == own:
            continue
        about: dict[str, Json] = {"input_shape": list(shape), "num_classes": classes}
        try:
            other = count(spec, Build(classes, shape))
            if other.num_classes != classes:  # then it is not the build with the published result
                raise BuildError(_ignored(classes, other.num_classes))
        except (BuildError, CountingError) as error:
            others.append(about | {"failure": str(error)})
            continue
        single = [m for m in other.measurements() if len(m.values) == 1 and m.metric != "peak_activation_bytes"]
        warnings = [text for m in single for text in m.warnings]
        others.append(about | {"counts": {m.metric: m.values[0] for m in single}, "warnings": warnings})
    if others:
        macs = tuple(build["counts"]["macs"] for build in others if "counts" in build)
        yield Measurement("published_builds", "count", macs, details={"builds": others})


def count_module(
    model: nn.Module, spec: ModelSpec, shape: Shape, batch: int = 1, inputs: Sequence[Input] = ()
) -> Count:
    """Count a network that somebody has built; it stays as it is, in the mode in which it is.

    Args:
        model: the network.
        spec: what it is called.
        shape: channels, height and width of an image.
        batch: images in the pass.
        inputs: what it takes, where that is not one image.

    Raises:
        CountingError: it cannot run on this input.
    """
    with building.quiet():
        inference = _trace(model, shape, batch, inputs)
    return _counted(model, spec, DEFAULT_BUILD, shape, None, inference)


def _counted(
    model: nn.Module,
    spec: ModelSpec,
    build: Build,
    shape: Shape,
    num_classes: int | None,
    inference: Trace,
) -> Count:
    """Count a network from a pass of it; ``num_classes`` is used where its output does not show it."""
    logits = inference.outputs[0] if len(inference.outputs) == 1 else ()
    return Count(
        spec=spec,
        build=build,
        input_shape=shape,
        num_classes=logits[1] if len(logits) == 2 else num_classes,
        parameters=count_parameters(model),
        layers=count_layers(inference),
        inference=inference,
        modules=measure_modules(model, inference),
        anatomy=measure_anatomy(model, inference),
    )


def _training(model: nn.Module, shape: Shape, batch: int, inputs: Sequence[Input]) -> Trace | str:
    model.train()  # which may return nothing
    try:
        return _trace(model, shape, max(batch, SMALLEST_TRAINING_BATCH), inputs, train=True)
    except CountingError as error:
        return str(error)
    finally:
        model.eval()


def _trace(model: nn.Module, shape: Shape, batch: int, inputs: Sequence[Input] = (), *, train: bool = False) -> Trace:
    fed = building.feed(model, shape, inputs, batch, "meta")
    return trace(model, fed.args, fed.kwargs, train=train)
