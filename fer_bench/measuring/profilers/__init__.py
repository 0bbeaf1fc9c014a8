"""The profilers. ``PROFILERS`` is the one list: a metric group's name and what measures it.

A profiler takes the network (``make()`` gives the module and its batch, ``spec`` and ``build`` what it is) and the
plan, and gives measurements. To add a metric, write one file here and one line below, and name it in ``plan.METRICS``.
Each group runs in a process of its own.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fer_bench.measuring.counting.count import measure_published_builds
from fer_bench.measuring.counting.recount import measure_recounts
from fer_bench.measuring.profilers.accuracy import measure_accuracy
from fer_bench.measuring.profilers.coldstart import measure_coldstart
from fer_bench.measuring.profilers.energy import measure_energy
from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.measuring.profilers.memory import measure_memory
from fer_bench.measuring.profilers.occupancy import measure_occupancy
from fer_bench.measuring.profilers.training import measure_training, measure_training_memory
from fer_bench.networks.build import AUTOCAST
from fer_bench.records.plan import Plan
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.counting.count import Count
    from fer_bench.measuring.network import Network

Profiler = Callable[["Network", Plan], Iterable[Measurement]]


# Worked out with float32 values, which autocast makes half as large, here and there.
_OF_FLOAT32 = ("peak_activation_bytes", "operator_macs", "operator_bytes")


def static_of(counted: "Count", plan: Plan) -> list[Measurement]:
    """Return a count as measurements, without what does not hold of the plan's precision."""
    return [m for m in counted.measurements() if plan.precision not in AUTOCAST or m.metric not in _OF_FLOAT32]


PROFILERS: Mapping[str, Profiler] = {
    "static": lambda network, plan: [
        *static_of(network.counted, plan),
        *measure_published_builds(network.spec, network.job.builds, network.counted),
    ],
    "recount": lambda network, plan: measure_recounts(network.spec, network.build),
    "anatomy": lambda network, plan: network.counted.anatomy,
    "latency": lambda network, plan: measure_latency(*network.make(), plan, alive=network.alive),
    "memory": lambda network, plan: measure_memory(network.make, plan),
    "training": lambda network, plan: measure_training(network.make, plan, alive=network.alive),
    "training_memory": lambda network, plan: measure_training_memory(network.make, plan),
    "testing_occupancy": lambda network, plan: measure_occupancy(network.make, plan, "testing", alive=network.alive),
    "training_occupancy": lambda network, plan: measure_occupancy(network.make, plan, "training", alive=network.alive),
    "energy": lambda network, plan: measure_energy(network.make, plan, alive=network.alive),
    "accuracy": lambda network, plan: measure_accuracy(network.make, plan, network.job, alive=network.alive),
    "coldstart": lambda network, plan: measure_coldstart(
        dataclasses.replace(network.job, input_shape=network.input_shape), alive=network.alive
    ),
}
