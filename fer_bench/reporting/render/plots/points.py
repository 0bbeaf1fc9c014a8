"""Scatters and sweeps drawn into a figure of matplotlib."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_bench.reporting.figures.plots import Axis, Line, Point, Scatter, Seconds, Sweep
from fer_bench.reporting.render.plots import canvas
from fer_bench.reporting.render.plots.labels import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW, _MANY = 10, 24  # points whose names have room in one column; and in a figure of ordinary height
_MOST_TICKS = 10  # batch sizes that are all written
_NAMES_ROOM = 0.55  # room for names at the right of a sweep, as a share of its range
_HALF_A_LEGEND, _LINE = 22, 0.15  # characters that two columns of a legend have room for; inches of one of its lines
_MARKS = 6  # on the line of a run


def draw_scatter(figure: "Figure", plot: Scatter) -> None:
    """Draw points by group, with lines, intervals and names."""
    from matplotlib.lines import Line2D

    wide = len(plot.points) > _FEW
    figure.set_size_inches((canvas.DOUBLE, 4.6 if len(plot.points) <= _MANY else 6.0) if wide else (canvas.SINGLE, 3.2))
    axes = figure.add_subplot()
    canvas.set_axes(axes, plot.x, plot.y)
    looks = {group: canvas.look(number) for number, group in enumerate(plot.groups)}
    if plot.neutral in looks:
        looks[plot.neutral] = canvas.NEUTRAL
    for line in plot.lines:
        axes.plot(
            *zip(*line.points, strict=True),
            color=looks[line.group][0] if line.group else canvas.INK,
            linewidth=0.9,
            alpha=0.7,
            drawstyle="steps-post" if line.steps else "default",
            label=line.label,
        )
    for group, hollow in itertools.product(looks, (False, True)):
        if points := [point for point in plot.points if (point.group, point.hollow) == (group, hollow)]:
            _draw_points(axes, points, looks[group])
    corners = [corner for line in plot.lines for corner in line.points]
    canvas.fit(axes.xaxis, plot.x, [*(point.x for point in plot.points), *(x for x, _ in corners)])
    ends = [end for point in plot.points for end in (point.y_interval or ()) if plot.y.quantity in ("percent", "share")]
    canvas.fit(axes.yaxis, plot.y, [*(point.y for point in plot.points), *(y for _, y in corners), *ends])
    handles = [Line2D([], [], linestyle="none", label=g, **canvas.mark(*its, hollow=False)) for g, its in looks.items()]
    fronts = any(line.steps for line in plot.lines)
    if fronts:
        of_papers = any(line.label.startswith("Pareto front of") for line in plot.lines)  # else on a data set
        label = "Pareto front of its paper" if of_papers else "Pareto front on its data"
        handles.append(Line2D([], [], color=canvas.GREY, linewidth=0.9, label=label))
    labels = [point.label for point in plot.points]
    canvas.explain(figure, handles, [point.hollow for point in plot.points], columns=3 if wide else 1, labels=labels)
    figure.draw_without_rendering()  # settles the layout, which names are placed in
    covered = [_name_line(axes, line) for line in plot.lines if not line.steps]
    ordered = sorted((point for point in plot.points if point.label), key=lambda point: not point.named)
    places = [(point.x, point.y) for point in ordered]
    colours = [canvas.INK if point.named or not fronts else canvas.FAINT for point in ordered]
    lines = [_corners(line) for line in plot.lines]
    must = sum(point.named for point in ordered)
    canvas.name_points(axes, [point.label for point in ordered], places, colours, covered, lines, must)


def _draw_points(axes: "Axes", points: Sequence[Point], its: tuple[str, str]) -> None:
    for point in points:
        if point.x_interval is not None:
            axes.hlines(point.y, *point.x_interval, colors=its[0], linewidths=0.8)
        if point.y_interval is not None:
            axes.vlines(point.x, *point.y_interval, colors=its[0], linewidths=0.8)
    axes.plot(
        [point.x for point in points],
        [point.y for point in points],
        linestyle="none",
        zorder=3,
        label=points[0].group,
        **canvas.mark(*its, hollow=points[0].hollow),
    )


def _name_line(axes: "Axes", line: Line) -> Box:
    """Write the name of a roof along it, and return the room that it takes."""
    start, end = line.points[0], line.points[-1]
    (x0, y0), (x1, y1) = canvas.spot(axes, *start), canvas.spot(axes, *end)
    level = start[1] == end[1]
    text = axes.annotate(
        line.label,
        end if level else start,
        xytext=(0, 2) if level else (4, 5),
        textcoords="offset points",
        rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
        rotation_mode="anchor",
        ha="right" if level else "left",
        va="bottom",
        color=canvas.INK,
        in_layout=False,
    )
    return canvas.extent(text)


def _corners(line: Line) -> list[tuple[float, float]]:
    """Return the ends of a line's straight pieces: of one in steps, those of its treads and rises."""
    from matplotlib.cbook import pts_to_poststep

    return list(zip(*pts_to_poststep(*zip(*line.points, strict=True)), strict=True) if line.steps else line.points)


def draw_sweep(figure: "Figure", plot: Sweep) -> None:
    """Draw latency and rate over the batch size, one panel below the other."""
    figure.set_size_inches(canvas.SINGLE, 4.6)
    above, below = figure.subplots(2, 1, sharex=True)
    latencies = [[(step.batch, step.latency_s) for step in series.steps] for series in plot.networks]
    rates = [[(step.batch, step.images_per_s) for step in series.steps] for series in plot.networks]
    _draw_series(above, plot, plot.latency, latencies)
    _draw_series(below, plot, plot.rate, rates)
    names = [series.label for series in plot.networks]
    colours = [canvas.look(number)[0] for number in range(len(names))]
    for colour, series in zip(colours, plot.networks, strict=True):
        for step in series.steps:
            if step.interval_s is not None:
                above.vlines(step.batch, *step.interval_s, colors=colour, linewidths=0.8)
    above.set_xlabel("")
    _divide_batches(below, sorted({step.batch for series in plot.networks for step in series.steps}))
    canvas.explain(figure, [], [series.hollow for series in plot.networks], columns=1)
    figure.draw_without_rendering()
    for axes, lines in ((above, latencies), (below, rates)):
        canvas.name_points(axes, names, [line[-1] for line in lines], colours, lines=lines)


def draw_seconds(figure: "Figure", plot: Seconds) -> None:
    """Draw latency and rates over time, one panel below the other."""
    columns = 2 if max(len(run.label) for run in plot.runs) <= _HALF_A_LEGEND else 1
    figure.set_size_inches(canvas.SINGLE, 3.3 + _LINE * -(-len(plot.runs) // columns))
    above, below = figure.subplots(2, 1, sharex=True)
    canvas.set_axes(above, plot.x, plot.latency)
    canvas.set_axes(below, plot.x, plot.rate)
    above.set_xlabel("")
    for number, run in enumerate(plot.runs):
        colour, marker = canvas.look(number)
        at = [second.at_s for second in run.seconds]
        look = {"color": colour, "linewidth": 0.9}
        marked = look | canvas.mark(colour, marker, run.hollow) | {"markevery": max(1, len(at) // _MARKS)}
        above.plot(at, [second.p50_s for second in run.seconds], label=run.label, **marked)
        above.plot(at, [second.p95_s for second in run.seconds], linestyle="--", **look)
        above.axhline(run.budget_s, color=canvas.FAINT, linewidth=0.7, linestyle=":")
        below.plot(at, [second.done_per_s for second in run.seconds], **marked)
        below.plot(at, [second.dropped_per_s for second in run.seconds], linestyle="--", **look)
    above.set_ylim(bottom=0.0)
    below.set_ylim(bottom=0.0)
    canvas.explain(figure, above.get_legend_handles_labels()[0], [run.hollow for run in plot.runs], columns)


def _draw_series(axes: "Axes", plot: Sweep, axis: Axis, lines: Sequence[Sequence[tuple[float, float]]]) -> None:
    canvas.set_axes(axes, plot.x, axis)
    for number, (series, line) in enumerate(zip(plot.networks, lines, strict=True)):
        colour, marker = canvas.look(number)
        drawn = canvas.mark(colour, marker, series.hollow)
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=0.9, label=series.label, **drawn)
    canvas.fit(axes.yaxis, axis, [value for line in lines for _, value in line])


def _divide_batches(axes: "Axes", batches: Sequence[int]) -> None:
    """Set the ticks at the batch sizes measured, and leave room at the right for names."""
    from matplotlib.ticker import FixedLocator, NullLocator

    apart = -(-len(batches) // _MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(batches[::apart]))
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = canvas.around(batches, log=True)
    axes.set_xlim(low, high * (batches[-1] / batches[0]) ** _NAMES_ROOM)
