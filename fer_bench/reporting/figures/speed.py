"""Latency by process, the machine's roofs, and the sweep over batch sizes."""

from collections.abc import Iterable, Sequence

from fer_bench.records import stats, units
from fer_bench.records.result import Environment, Result
from fer_bench.reporting.analysis import latency, roofline
from fer_bench.reporting.figures import common, plots
from fer_bench.reporting.tables.common import conditions, interval_ends, joined, write_latency

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BOUNDS = {bound: f"bound by {bound}" for bound in ("arithmetic", "memory", "overhead")}
_BOUNDS[roofline.NOTHING_MODELLED] = f"bound by none of {', '.join(_BOUNDS)}"
_BEYOND = 2.5  # how far roofs go beyond the points, as a factor
_ENOUGH = 2  # batch sizes; one is no sweep


def spreads(results: Sequence[Result]) -> plots.Spreads | None:
    """Draw the latency of each process of each network, or None where none was measured."""
    timed = _timed(results)
    measured = [result for result, _ in timed]
    if not measured:
        return None
    networks = tuple(
        plots.Spread(
            label,
            summary.estimate_s,
            write_latency(summary),
            interval_ends(summary),
            _strips(result),
            common.hollow(result),
        )
        for (result, summary), label in zip(timed, common.numbered(common.labels(measured)), strict=True)
    )
    several = any(len(network.strips) > 1 for network in networks)
    return plots.Spreads(
        title="Latency by process",
        caption=joined(
            "A strip is a process: its median, the middle half of its runs (box) and 90 % of them (whiskers), relative "
            "to the network's latency at the right, which is the mean of the processes' medians. "
            "Arrows: whiskers that end beyond the axis.",
            "Band: 95 % interval over processes, in this session." if several else "",
            conditions(measured),
        ),
        x=plots.Axis("Difference from the network's latency", "share"),
        networks=networks,
        notes=(*common.doubted(measured), *common.warned(measured)),
    )


def _timed(results: Sequence[Result]) -> list[tuple[Result, latency.Latency]]:
    return [(result, summary) for result in results if (summary := latency.summary(result)) is not None]


def _strips(result: Result) -> tuple[plots.Strip, ...]:
    return tuple(
        plots.Strip(m.process, len(m.values), tuple(stats.quantile(m.values, share) for share in _QUANTILES))
        for m in result.measurements
        if m.metric == latency.LATENCY and m.values
    )


def roofs(results: Sequence[Result], *, every: bool = False) -> plots.Scatter | None:
    """Draw what each network attains below what the machine attains, or None where that was not measured.

    Args:
        results: ours.
        every: all of them, each machine with its roofs; else those under the setting that most networks share.
    """
    known = [result for result in results if _attained(result) is not None]
    kept, notes = (known, []) if every else common.of_one_setting(known)
    if not kept:
        return None
    attained = list(filter(None, map(_attained, kept)))
    points = tuple(
        plots.Point(
            label,
            _BOUNDS[its.model.bound_by],
            its.macs / its.moved_bytes,
            its.macs / its.latency.estimate_s,
            y_interval=common.rate_interval(its.macs, interval_ends(its.latency)),
            hollow=common.hollow(result),
            share=its.model.share_of_peak,
        )
        for result, its, label in zip(kept, attained, common.numbered(common.labels(kept)), strict=True)
    )
    machines = [its.where for its in attained]
    over = tuple(dict.fromkeys(_roof([where]) for where in machines)) if every else (_roof(machines),)
    lines = [line for roof in over for line in _lines(roof, [point.x for point in points])]
    corners = [corner for line in lines for corner in line.points]
    return plots.Scatter(
        title="Roofline",
        caption=_roofs_caption(kept, machines, common.INTERVALS if any(point.y_interval for point in points) else ""),
        x=common.axis("Arithmetic intensity (MAC/B)", "number", [x for x, _ in corners]),
        y=common.axis("MAC/s", "count", [*(point.y for point in points), *(y for _, y in corners)]),
        groups=tuple(group for group in _BOUNDS.values() if any(point.group == group for point in points)),
        points=points,
        lines=tuple(lines),
        roofs=over,
        neutral=_BOUNDS[roofline.NOTHING_MODELLED],
        notes=(*notes, *common.doubted(kept), *common.warned(kept)),
    )


def _attained(result: Result) -> roofline.Attained | None:
    """Return what a network attains, if it has a place below the roofs."""
    attained = roofline.attained(result)
    return attained if attained is not None and attained.macs and attained.moved_bytes else None


def _roof(machines: Sequence[Environment]) -> plots.Roof:
    """Return the best rates measured: whatever disturbs a measurement makes it slower."""
    copies: dict[float, float] = {}
    for where in machines:
        for size, rate in where.attainable["copy_bytes_per_s"]:
            copies[size] = max(rate, copies.get(size, 0.0))
    first = machines[0]
    named = f"{first.device}, {common.counted(first.threads, 'thread')}"
    peak = max(where.attainable["macs_per_s"] for where in machines)
    return plots.Roof(named, peak, max(copies.values()), copies[max(copies)])


def _lines(roof: plots.Roof, intensities: Sequence[float]) -> list[plots.Line]:
    """Return the roof of arithmetic, that of the fastest copy and that of the largest, from left of all points."""
    peak = roof.macs_per_s
    slopes = {f"{units.scaled(rate)}B/s": rate for rate in (roof.fastest_copy, roof.largest_copy)}
    ridges = [peak / rate for rate in slopes.values()]
    left, right = min(*intensities, *ridges) / _BEYOND, max(*intensities, *ridges) * _BEYOND
    lines = [plots.Line(f"{units.scaled(peak)}MAC/s", ((min(ridges), peak), (right, peak)))]
    return lines + [plots.Line(label, ((left, rate * left), (peak / rate, peak))) for label, rate in slopes.items()]


def _roofs_caption(results: Sequence[Result], machines: Iterable[Environment], intervals: str) -> str:
    hows = dict.fromkeys(str(where.attainable.get("how", "")) for where in machines)
    return joined(
        "Multiply-accumulates per second over those per byte moved (inputs, outputs and weights of all operators).",
        "Lines: rates measured on this machine: multiply-accumulates, and bytes copied at the fastest size of a copy "
        f"and at the largest ({'; '.join(filter(None, hows))}).",
        "Colour and shape: which of arithmetic, memory and starting operators takes longest by the model; none of "
        "these where the unexplained time is longer than each of them. A network can exceed a line, by caches, fused "
        "operators or cheaper convolutions.",
        intervals,
        conditions(results),
    )


def sweep(results: Sequence[Result]) -> plots.Sweep | None:
    """Draw latency and rate over the batch size, or None where no network was measured at several."""
    timed = _timed(results)
    names = common.labels([result for result, _ in timed], without=frozenset({"batch_size"}))
    swept: dict[str, dict[int, tuple[Result, latency.Latency]]] = {}
    for (result, summary), label in zip(timed, names, strict=True):
        swept.setdefault(label, {}).setdefault(result.plan.batch_size, (result, summary))
    swept = {label: by_batch for label, by_batch in swept.items() if len(by_batch) >= _ENOUGH}
    if not swept:
        return None
    networks = tuple(
        plots.Series(
            label,
            tuple(_step(batch, by_batch[batch][1]) for batch in sorted(by_batch)),
            any(common.hollow(result) for result, _ in by_batch.values()),
        )
        for label, by_batch in swept.items()
    )
    steps = [step for network in networks for step in network.steps]
    drawn = [result for by_batch in swept.values() for result, _ in by_batch.values()]
    missing = common.left_out(len(results) - len(drawn), "result", "of one batch size only, repeated or failed")
    return plots.Sweep(
        title="Batch sweep",
        caption=joined(
            "Latency of a batch (mean of the processes' medians) and images per second over the batch size.",
            common.INTERVALS if any(step.interval_s for step in steps) else "",
            conditions(drawn),
        ),
        x=plots.Axis("Batch size", "number", log=True),
        latency=common.axis("Latency of a batch (ms)", "seconds", [step.latency_s for step in steps]),
        rate=common.axis("Images/s", "number", [step.images_per_s for step in steps]),
        networks=networks,
        notes=(*missing, *common.doubted(drawn), *common.warned(drawn)),
    )


def _step(batch: int, summary: latency.Latency) -> plots.Step:
    ends = interval_ends(summary)
    rates = common.rate_interval(batch, ends)
    return plots.Step(batch, summary.estimate_s, ends, summary.per_image_s, summary.images_per_s, rates)
