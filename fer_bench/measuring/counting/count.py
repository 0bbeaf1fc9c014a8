"""The static metrics of one network: what can be told without running any arithmetic."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fer_bench.measuring.counting.activations import measure_activations
from fer_bench.measuring.counting.anatomy import macs_inside, measure_anatomy, measure_modules
from fer_bench.measuring.counting.counters import OtherCount, count_with
from fer_bench.measuring.counting.layers import LayerCounts, count_layers
from fer_bench.measuring.counting.macs import measure_macs, per_sample
from fer_bench.measuring.counting.operators import CONVENTION
from fer_bench.measuring.counting.params import ParameterCounts, count_parameters
from fer_bench.measuring.counting.recorder import Trace
from fer_bench.measuring.counting.trace import trace
from fer_bench.measuring.machine import collector_at_rest
from fer_bench.networks import build as building
from fer_bench.networks.build import DEFAULT_BUILD, Build
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import BuildError, CountingError
from fer_bench.records.result import Json, Measurement

# Batch norm cannot train on one value a channel, which is what a 1x1 map of one image is.
SMALLEST_TRAINING_BATCH = 2


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted of one network. ``training`` and ``others`` are there if asked for.

    ``training`` is the reason, in words, where the network can be counted and not be trained.
    """

    spec: ModelSpec
    build: Build
    input_shape: tuple[int, int, int]
    num_classes: int | None
    parameters: ParameterCounts
    layers: LayerCounts
    inference: Trace
    training: Trace | str | None = None
    others: tuple[OtherCount, ...] = ()
    modules: Measurement | None = None
    anatomy: tuple[Measurement, ...] = ()

    def row(self) -> dict[str, Json]:
        """Give the count as the JSON object that ``fer-bench count --format json`` promises."""
        counts = dataclasses.asdict(self.parameters)
        state_dict_bytes, checkpoint_bytes = counts.pop("state_dict_bytes"), counts.pop("checkpoint_bytes")
        macs = per_sample(self.inference.macs, self.inference.batch)
        row: dict[str, Json] = {
            "name": self.spec.name,
            "title": self.spec.title,
            "status": self.spec.status,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "settings": [f"{key}={value}" for key, value in (self.build.arguments or {}).items()],
            "batch": self.inference.batch,
            "parameters": {**counts, "total": self.parameters.total},
            "macs": macs,
            "flops": 2 * macs,
            "convention": CONVENTION,
            "uncounted": self.inference.uncounted,
            "counted_on": self.inference.counted_on,
            "peak_activation_bytes": self.inference.peak_bytes,
            "layers": dataclasses.asdict(self.layers),
            "state_dict_bytes": state_dict_bytes,
            "checkpoint_bytes": checkpoint_bytes,
            "note": self.spec.note,
            "uncertain": list(self.spec.uncertain),
        }
        if isinstance(self.training, str):
            row["training"] = {"error": self.training}
        elif self.training is not None:
            batch = self.training.batch
            row["training"] = {
                "batch": batch,
                "macs": per_sample(self.training.macs, batch),
                "forward_macs": per_sample(self.training.forward_macs, batch),
                "backward_macs": per_sample(self.training.backward_macs, batch),
                "peak_activation_bytes": self.training.peak_bytes,
                "uncounted": self.training.uncounted,
            }
        if self.others:
            row["counters"] = {other.tool.split()[0]: dataclasses.asdict(other) for other in self.others}
        return row

    def by_module(self) -> list[dict[str, Json]]:
        """Give MACs a sample by module, in the order in which they ran, each module's own and with all inside it."""
        own = self.inference.modules
        total = self.inference.macs or 1
        rank: dict[str, int] = {}  # of each module and of those around it, in the order in which they ran
        for path in own:
            for around in _ancestry(path):
                rank.setdefault(around, len(rank))
        rows = []
        for path in sorted(rank, key=lambda path: [rank[around] for around in _ancestry(path)]):
            inside = macs_inside(self.inference, path)
            rows.append(
                {
                    "module": path or "(network)",
                    "own_macs": per_sample(own.get(path, 0), self.inference.batch),
                    "macs": per_sample(inside, self.inference.batch),
                    "share": inside / total,
                }
            )
        return rows

    def by_operator(self) -> list[dict[str, Json]]:
        """Give calls and MACs a sample by operator: counted ones by cost, then uncounted ones, then declared zeros."""
        order = {"counted": 0, "uncounted": 1, "zero": 2}
        operators = sorted(
            self.inference.operators.items(), key=lambda item: (order[item[1].kind], -item[1].macs, -item[1].calls)
        )
        return [
            {
                "operator": name,
                "kind": operator.kind,
                "calls": operator.calls,
                "macs": per_sample(operator.macs, self.inference.batch),
            }
            for name, operator in operators
        ]

    def measurements(self) -> list[Measurement]:
        """Give the count as measurements, one value each."""
        row = self.row()
        counts = {f"parameters.{key}": value for key, value in row["parameters"].items()}
        counts |= {f"layers.{key}": value for key, value in row["layers"].items()}
        sizes = {key: row[key] for key in ("state_dict_bytes", "checkpoint_bytes")}
        return [
            *(Measurement(metric, "count", (value,)) for metric, value in counts.items()),
            *(Measurement(metric, "bytes", (value,)) for metric, value in sizes.items()),
            measure_macs(self.inference),
            measure_activations(self.inference),
            *([self.modules] if self.modules is not None else []),
            Measurement(
                "operator_macs", "count", tuple(self.inference.operator_macs), details={"batch": self.inference.batch}
            ),
            Measurement(
                "operator_bytes", "bytes", tuple(self.inference.operator_bytes), details={"batch": self.inference.batch}
            ),
        ]


def _ancestry(path: str) -> list[str]:
    """Give the modules around one and itself, the network first: "a.b" is inside "" and "a"."""
    parts = path.split(".") if path else []
    return [".".join(parts[:depth]) for depth in range(len(parts) + 1)]


def count(
    spec: ModelSpec,
    build: Build = DEFAULT_BUILD,
    *,
    batch: int = 1,
    train: bool = False,
    counters: Sequence[str] = (),
) -> Count:
    """Build a network on meta tensors and count it; where it cannot be built there, on the CPU.

    Args:
        spec: which network.
        build: classes, input and arguments.
        batch: images in the pass; MACs are given a sample, activation bytes for the batch.
        train: also trace a training step, of at least two images.
        counters: other tools to ask too: "torch", "fvcore", "thop".

    Raises:
        BuildError: the network cannot be built.
        CountingError: it cannot run on this input.
    """
    if batch < 1:
        raise CountingError(f"a batch of {batch} images cannot be counted; it starts at 1")
    shape = building.input_shape(spec, build)
    with collector_at_rest(), building.quiet():
        model = _on_meta_or_cpu(spec, build)
        try:
            inference = trace(model, (_images(model, shape, batch),))
        except CountingError:
            if not _is_meta(model):
                raise
            model = building.create(spec, build, "cpu")
            inference = trace(model, (_images(model, shape, batch),))
        training = _training(model, shape, batch) if train else None
        others = []
        for tool in counters:
            fresh = building.create(spec, build, "cpu")
            images = building.example_inputs(shape, batch, "cpu", building.number_type(fresh))
            others.append(count_with(tool, fresh, images, inference))
    asked = spec.num_classes if build.num_classes is None else build.num_classes
    counted = _counted(model, spec, build, shape, asked, inference)
    return dataclasses.replace(counted, training=training, others=tuple(others))


def count_module(model: nn.Module, spec: ModelSpec, shape: tuple[int, int, int], batch: int = 1) -> Count:
    """Count a network that somebody has built; it stays as it is, in the mode in which it is.

    Args:
        model: the network.
        spec: what it is called.
        shape: channels, height and width of an image.
        batch: images in the pass.

    Raises:
        CountingError: it cannot run on this input.
    """
    with building.quiet():
        inference = trace(model, (_images(model, shape, batch),))
    return _counted(model, spec, DEFAULT_BUILD, shape, None, inference)


def _counted(
    model: nn.Module,
    spec: ModelSpec,
    build: Build,
    shape: tuple[int, int, int],
    num_classes: int | None,
    inference: Trace,
) -> Count:
    """Count a network from a pass of it; ``num_classes`` stands where its output does not tell."""
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


def _training(model: nn.Module, shape: tuple[int, int, int], batch: int) -> Trace | str:
    try:
        return trace(model.train(), (_images(model, shape, max(batch, SMALLEST_TRAINING_BATCH)),), train=True)
    except CountingError as error:
        return str(error)
    finally:
        model.eval()


def _images(model: nn.Module, shape: tuple[int, int, int], batch: int) -> torch.Tensor:
    return torch.empty(batch, *shape, device="meta", dtype=building.number_type(model))


def _is_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def _on_meta_or_cpu(spec: ModelSpec, build: Build) -> nn.Module:
    try:
        return building.create(spec, build, "meta")
    except BuildError:
        # It reads values while it is being made. If the CPU cannot build it either, that error is the one to tell.
        return building.create(spec, build, "cpu")
