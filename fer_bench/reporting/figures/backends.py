"""Latency by backend, with what parity says of each."""

from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.plan import SHIPPED, TORCH
from fer_bench.records.result import Json, Result
from fer_bench.reporting.analysis import latency, parity
from fer_bench.reporting.analysis.parity import Kind
from fer_bench.reporting.figures import common, plots
from fer_bench.reporting.tables.common import build_of, conditions, interval_ends, joined, write_latency

_LOOKS: dict[Kind, plots.Look] = {
    Kind.SAME: "same",
    Kind.ORDER: "order",
    Kind.PASSED: "reduced",
    Kind.UNDECIDED: "reduced",
    Kind.FAILED: "struck",
    Kind.DIFFERENT: "struck",
    Kind.OPEN: "open",
}


def backends(results: Sequence[Result]) -> plots.Backends | None:
    """Draw the latency of each network by each backend, or None where all is PyTorch's."""
    measured = [(result, summary) for result in results if (summary := latency.unjudged(result)) is not None]
    rows: dict[tuple[Json, ...], list[tuple[Result, latency.Latency]]] = {}
    for result, summary in measured:
        plan = result.plan
        rows.setdefault((*build_of(result), plan.batch_size, plan.threads, plan.device), []).append((result, summary))
    rows = {key: row for key, row in rows.items() if any(result.plan.backend != TORCH for result, _ in row)}
    if not rows:
        return None
    drawn = [result for row in rows.values() for result, _ in row]
    runtimes = [[_runtime(result, summary) for result, summary in row] for row in rows.values()]
    heads = [row[0][0] for row in rows.values()]
    networks = tuple(
        plots.Deployed(label, tuple(marks), common.hollow(head))
        for label, marks, head in zip(
            common.numbered(common.labels(heads, frozenset(_OF_MARKS))), runtimes, heads, strict=True
        )
    )
    marks = [mark for network in networks for mark in network.runtimes]
    return plots.Backends(
        title="Latency by backend",
        caption=joined(
            "PyTorch in each way that it was measured, and runtimes with the plan's settings or as shipped.",
            "Crossed out: computes something else than the network, so that its latency is none of the network's.",
            common.INTERVALS if any(mark.interval_s for mark in marks) else "",
            conditions(drawn),
        ),
        x=common.axis("Latency (ms)", "seconds", [mark.latency_s for mark in marks]),
        groups=tuple(dict.fromkeys(mark.group for mark in marks)),
        networks=networks,
        notes=tuple(dict.fromkeys((*common.doubted(drawn), *common.warned(drawn)))),
    )


# What marks of a row differ in, and their labels and colours show.
_OF_MARKS = ("backend", "runtime", "precision", "layout", "mode", "wait")


def _runtime(result: Result, summary: latency.Latency) -> plots.Runtime:
    plan, verdict = result.plan, parity.judge(result)
    own = [plan.mode, plan.layout] if plan.backend == TORCH else [SHIPPED] if plan.runtime == SHIPPED else []
    own += [plan.precision] if plan.precision not in ("fp32", "default") else []
    name = "PyTorch" if plan.backend == TORCH else plan.backend
    ratio = f", {units.significant(verdict.ratio, 2)} times PyTorch's error" if verdict and verdict.ratio else ""
    return plots.Runtime(
        label=", ".join((name, *own)),
        group=", ".join((name, *(word for word in own if word not in ("eager", "nchw", "nhwc")))),
        latency_s=summary.estimate_s,
        written=write_latency(summary),
        interval_s=interval_ends(summary),
        look=_LOOKS[verdict.kind] if verdict is not None else "same",
        parity=f"{verdict.kind.value}{ratio}" if verdict is not None else "",
    )
