"""Latency and rate over the batch size, as numbers to draw and texts to tell."""

from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.figures.plots import Axis, Step
from fer_bench.reporting.figures.speed import sweep as swept


def sweep(results: Sequence[Result]) -> Json:
    """Give each network at its batch sizes, or None where no network was measured at several."""
    plot = swept(results)
    if plot is None:
        return None
    networks = [
        {
            "label": network.label,
            "kind": "doubted" if network.hollow else "measured",
            "steps": [{"batch": step.batch, "latency": _latency(step), "rate": _rate(step)} for step in network.steps],
        }
        for network in plot.networks
    ]
    axes = {"latency": _axis(plot.latency, float(units.milliseconds.per)), "rate": _axis(plot.rate, 1.0)}
    return {"axes": axes, "networks": networks}


def _axis(axis: Axis, per: float) -> Json:
    return {"title": axis.title, "log": axis.log, "per": per, "prefixed": False, "suffix": ""}


def _latency(step: Step) -> Json:
    ends = step.interval_s
    return {
        "raw": step.latency_s,
        "text": f"{units.milliseconds(step.latency_s, 4)} ms",
        "interval": ends,
        "interval_text": f"{units.milliseconds.between(ends)} ms" if ends is not None else None,
    }


def _rate(step: Step) -> Json:
    """Give images a second; its interval is that of the latency, unless this reaches 0."""
    ends = step.interval_s
    interval = (step.batch / ends[1], step.batch / ends[0]) if ends is not None and ends[0] > 0 else None
    return {
        "raw": step.images_per_s,
        "text": units.number(step.images_per_s),
        "interval": interval,
        "interval_text": units.number.between(interval) if interval is not None else None,
    }
