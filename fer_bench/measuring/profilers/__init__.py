"""The profilers. ``PROFILERS`` is the one list: a metric group's name and what measures it.

A profiler takes the network (``make()`` gives the module and its batch, ``spec`` and ``build`` what it is) and the
plan, and gives measurements. To add a metric, write one file here and one line below, and name it in ``plan.METRICS``.
Each group runs in a process of its own, which imports what it needs: that of a backend does without PyTorch.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fer_bench.records.plan import INT8, Plan
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.counting.count import Count

# What is measured: a ``Network``, or of a backend a ``Deployed``.
Profiler = Callable[[Any, Plan], Iterable[Measurement]]


# Worked out with float32 values, which autocast makes half as large, here and there.
_OF_FLOAT32 = ("peak_activation_bytes", "operator_macs", "operator_bytes")


def static_of(counted: "Count", plan: Plan) -> list[Measurement]:
    """Return a count as measurements, without what does not hold of the plan's precision."""
    reduced = plan.precision in ("bf16", "fp16", *INT8)
    return [m for m in counted.measurements() if not reduced or m.metric not in _OF_FLOAT32]


def _static(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.counting.count import measure_published_builds

    counted = network.counted
    published = measure_published_builds(network.spec, network.job.builds, counted)
    return [*static_of(counted, plan), *published]


def _recount(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.counting.recount import measure_recounts

    return measure_recounts(network.spec, network.build)


def _latency(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers.latency import measure_latency

    model, images = network.make()
    return measure_latency(model, images, plan, alive=network.alive)


def _memory(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers.memory import measure_memory

    return measure_memory(network.make, plan)


def _training(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers.training import measure_training

    return measure_training(network.make, plan, alive=network.alive)


def _training_memory(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers.training import measure_training_memory

    return measure_training_memory(network.make, plan)


def _occupancy(stage: str) -> Profiler:
    def measure(network: Any, plan: Plan) -> list[Measurement]:
        from fer_bench.measuring.profilers.occupancy import measure_occupancy

        return measure_occupancy(network.make, plan, stage, alive=network.alive)

    return measure


def _energy(network: Any, plan: Plan) -> list[Measurement]:
    from fer_bench.measuring.profilers.energy import measure_energy

    return measure_energy(network.make, plan, alive=network.alive)


def _coldstart(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.coldstart import measure_coldstart

    return measure_coldstart(dataclasses.replace(network.job, input_shape=network.input_shape), alive=network.alive)


def _accuracy(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.accuracy import measure_accuracy

    return measure_accuracy(network.make, plan, network.job, alive=network.alive)


def _train_cost(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.trained import measure_cost_of_training

    return measure_cost_of_training(network, plan)


def _train(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.trained import measure_train

    return measure_train(network, plan)


def _deploy(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.deploy import measure_conversion

    return measure_conversion(network, plan)


def _start(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.deploy import measure_start

    return measure_start(network)


def _graph(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.graph import measure_graph

    return measure_graph(network)


def _parity(network: Any, plan: Plan) -> Iterable[Measurement]:
    from fer_bench.measuring.profilers.parity import measure_parity

    return measure_parity(network, plan)


PROFILERS: Mapping[str, Profiler] = {
    "static": _static,
    "recount": _recount,
    "anatomy": lambda network, plan: network.counted.anatomy,
    "deploy": _deploy,
    "start": _start,
    "graph": _graph,
    "parity": _parity,
    "latency": _latency,
    "memory": _memory,
    "training": _training,
    "training_memory": _training_memory,
    "testing_occupancy": _occupancy("testing"),
    "training_occupancy": _occupancy("training"),
    "energy": _energy,
    "coldstart": _coldstart,
    "accuracy": _accuracy,
    "train_cost": _train_cost,
    "train": _train,
}
