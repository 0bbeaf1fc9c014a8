"""The bottleneck of a network: arithmetic, memory traffic, or the overhead of starting its operators. Pure functions.

The roofline model (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52(4), 2009) with one roof of memory for each size of data, since a small network lives in the
caches (Ilic, Pratas and Sousa, "Cache-aware Roofline model: Upgrading the loft", IEEE Computer Architecture Letters
13(1), 2014), applied operator by operator. The roofs are measured by ``profilers.roofline``.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_bench.records.plan import TORCH
from fer_bench.records.result import Environment, Json, Result
from fer_bench.reporting.analysis import latency

NOTHING_MODELLED = "none of these"


@dataclass(frozen=True, slots=True)
class Roofline:
    """Where the time of a pass goes by the model, and which share of the attainable it reaches."""

    bound: str  # "arithmetic", "memory" or "overhead": the largest of the three times; see ``bound_by``
    arithmetic_s: float  # of the operators whose arithmetic takes longer than their traffic, at the attainable rate
    memory_s: float  # of the other operators: their traffic at the rate of a copy of the same size
    overhead_s: float  # starting the operators, each in the time of the cheapest
    # What the latency has beyond the three: work that reaches neither rate, as that of depthwise convolutions and of
    # small maps. It is 0 where the three are longer than the latency: then the network is faster than the model knows,
    # by Winograd's convolution or fused operators perhaps.
    rest_s: float
    share_of_peak: float  # multiply-accumulates per second over the attainable ones; may exceed 1 for the same reason
    bytes_per_s: float  # inputs, outputs and weights of all operators over the latency
    share_of_copy: float  # ``bytes_per_s`` over the rate of the largest copy; above 1 where the caches serve

    @property
    def bound_by(self) -> str:
        """The bottleneck: ``bound``, or ``NOTHING_MODELLED`` where the rest takes longer than that."""
        return NOTHING_MODELLED if self.rest_s > max(self.arithmetic_s, self.memory_s, self.overhead_s) else self.bound


@dataclass(frozen=True, slots=True)
class Attained:
    """What a network reaches on a machine whose roofs were measured."""

    latency: latency.Latency  # of a batch
    macs: float  # multiply-accumulates of all operators, for the whole batch
    moved_bytes: float  # inputs, outputs and weights of all operators
    where: Environment
    model: Roofline  # where the time goes


def attained(result: Result) -> Attained | None:
    """Return what a network reaches, or None where its latency, its operators or the machine's roofs are unknown."""
    summary, where = latency.summary(result), result.environment
    macs, moved = result.measurement("operator_macs"), result.measurement("operator_bytes")
    if summary is None or where is None or "macs_per_s" not in where.attainable or macs is None or moved is None:
        return None
    if result.plan.backend != TORCH and where.runtime.get("precision") != "float32":
        return None  # the roofs are of PyTorch's arithmetic, and this is another
    model = classify(summary.estimate_s, macs.values, moved.values, where.attainable)
    return Attained(summary, sum(macs.values), sum(moved.values), where, model)


def classify(
    latency_s: float,
    operator_macs: Sequence[float],
    operator_bytes: Sequence[float],
    attainable: Mapping[str, Json],
) -> Roofline:
    """Compute where the time of a pass goes.

    Args:
        latency_s: of a pass of the whole batch.
        operator_macs: multiply-accumulates of each operator that is dispatched, for the whole batch.
        operator_bytes: what each moves, in the same order: inputs, outputs and weights.
        attainable: what ``profilers.roofline.measure_attainable`` measured.
    """
    peak, curve = attainable["macs_per_s"], attainable["copy_bytes_per_s"]
    arithmetic_s = memory_s = 0.0
    for macs, moved in zip(operator_macs, operator_bytes, strict=True):
        computing, moving = macs / peak, moved / rate(curve, moved)
        if computing > moving:
            arithmetic_s += computing
        else:
            memory_s += moving
    times = {
        "arithmetic": arithmetic_s,
        "memory": memory_s,
        "overhead": len(operator_macs) * attainable["operator_s"],
    }
    bytes_per_s = sum(operator_bytes) / latency_s
    return Roofline(
        bound=max(times, key=lambda kind: times[kind]),
        arithmetic_s=arithmetic_s,
        memory_s=memory_s,
        overhead_s=times["overhead"],
        rest_s=max(0.0, latency_s - sum(times.values())),
        share_of_peak=sum(operator_macs) / latency_s / peak,
        bytes_per_s=bytes_per_s,
        share_of_copy=bytes_per_s / curve[-1][1],
    )


def rate(curve: Sequence[Sequence[float]], size: float) -> float:
    """Return the bytes per second of a copy that moves so many bytes.

    Between two measured sizes it is interpolated linearly over the size's logarithm; beyond the ends it is theirs.

    Args:
        curve: (bytes, bytes per second), by ascending bytes.
        size: bytes moved, read and written.
    """
    for (low, slow), (high, fast) in itertools.pairwise(curve):
        if size < high:
            place = max(0.0, math.log(size / low) / math.log(high / low)) if size > low else 0.0
            return slow + place * (fast - slow)
    return curve[-1][1]
