"""The profilers. ``PROFILERS`` is the one list: a metric group's name and what measures it.

A profiler takes the network (``make()`` gives the module and its batch, ``spec`` and ``job.build`` what it is) and the
plan, and gives measurements. To add a metric, write one file here and one line below. Groups that would disturb each
other, as time and memory do, run in processes of their own: see ``runner.PROCESSES``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fer_bench.plan import Plan
from fer_bench.profilers.latency import measure_latency
from fer_bench.profilers.memory import measure_memory
from fer_bench.profilers.static import count
from fer_bench.records import Measurement

if TYPE_CHECKING:
    from fer_bench.worker import Network

Profiler = Callable[["Network", Plan], Iterable[Measurement]]


def _latency(network: "Network", plan: Plan) -> list[Measurement]:
    return [measure_latency(*network.make(), plan)]


def _memory(network: "Network", plan: Plan) -> list[Measurement]:
    return measure_memory(network.make, plan)


def _static(network: "Network", plan: Plan) -> list[Measurement]:
    return count(network.spec, network.job.build, batch=plan.batch_size).measurements()


PROFILERS: Mapping[str, Profiler] = {"latency": _latency, "memory": _memory, "static": _static}
