"""A timeline drawn into a figure of matplotlib, and in letters for a terminal."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_bench.records import stats
from fer_bench.reporting.figures.history import Mark, Timeline
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NARROW = 12  # points that fit into one column of a paper
_HEIGHT = 2.7  # inches without the names of environments
_LINE = 0.14  # inches of a line of text
_LABELS = 9  # ticks of a wide figure; half as many where it is narrow
_LONGEST, _LONGEST_NARROW = 100, 46  # characters of an environment in the legend
_ALARM = canvas.COLOURS[1]
_GAP = 3  # pixels between labels

_ROWS = 8  # lines of a chart in letters
_MOST = 100  # points in one
_EDGE = 12  # columns that its scale takes
_SEEN, _ROOM = (0.1, 0.9), 1.0  # quantiles within its scale, and what is added beyond them, as a share of their range


def draw_timeline(figure: "Figure", plot: Timeline) -> None:
    """Draw points, levels, and a line at each change; dashed where it is the environment that changed."""
    wide = len(plot.points) > _NARROW
    figure.set_size_inches(canvas.DOUBLE if wide else canvas.SINGLE, _HEIGHT + _LINE * len(plot.groups))
    axes = figure.add_subplot()
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y.title)
    axes.grid(True, axis="y")
    canvas.divide(axes.yaxis, plot.y)
    _draw_points(axes, plot)
    for level in plot.levels:
        colour = _look(level.kind)[0] if plot.groups else canvas.INK
        axes.hlines(level.value, level.first - 0.4, level.last + 0.4, colors=colour, linewidths=0.9, zorder=2.2)
    for its in plot.marks:
        style = (canvas.FAINT, "--") if its.environment else (_ALARM, "-")
        axes.axvline(its.place - 0.5, color=style[0], linestyle=style[1], linewidth=0.8, zorder=1.5)
    axes.set_xlim(-0.7, len(plot.points) - 0.3)
    values = [point.value for point in plot.points]
    ends = [end for point in plot.points if point.interval is not None for end in point.interval]
    canvas.fit(axes.yaxis, plot.y, [*values, *ends])
    _label_places(axes, plot, wide)
    _explain(figure, plot, wide)
    _label_marks(figure, axes, plot.marks)


def _draw_points(axes: "Axes", plot: Timeline) -> None:
    for group in range(max(1, len(plot.groups))):
        colour, marker = _look(group)
        places = [place for place, point in enumerate(plot.points) if point.group == group]
        axes.plot(
            places,
            [plot.points[place].value for place in places],
            linestyle="none",
            zorder=2.5,
            **(canvas.mark(colour, marker, hollow=False) | {"markersize": 3.2, "markeredgewidth": 0}),
        )
        for place in places:
            if (ends := plot.points[place].interval) is not None:
                axes.vlines(place, *ends, colors=colour, linewidths=0.8, alpha=0.6)


def _label_places(axes: "Axes", plot: Timeline, wide: bool) -> None:
    """Write what stands below the points, as many as there is room for."""
    count, upright = len(plot.points), plot.x.startswith("Commit")
    most = count if upright else _LABELS if wide else _LABELS // 2
    apart = -(-count // most)
    places = list(range(0, count, apart))
    axes.set_xticks(places, [plot.points[place].label for place in places])
    if upright and count > 4:
        axes.tick_params(axis="x", labelrotation=90)


def _explain(figure: "Figure", plot: Timeline, wide: bool) -> None:
    """Draw the legend of lines, and above it that of environments."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=canvas.INK, linewidth=0.9, label="level")]
    if any(not its.environment for its in plot.marks):
        lines.append(Line2D([], [], color=_ALARM, linewidth=0.8, label="change"))
    if any(its.environment for its in plot.marks):
        lines.append(Line2D([], [], color=canvas.FAINT, linewidth=0.8, linestyle="--", label="environment"))
    if any(point.interval is not None for point in plot.points):
        lines.append(Line2D([], [], color=canvas.COLOURS[0], alpha=0.6, linewidth=0.8, label="95 % interval"))
    figure.legend(handles=lines, loc="outside lower left", ncols=len(lines))
    names = [canvas.short(text, _LONGEST if wide else _LONGEST_NARROW) for text in plot.groups]
    looks = [canvas.mark(*_look(number), hollow=False) for number in range(len(names))]
    named = [Line2D([], [], linestyle="none", label=n, **its) for n, its in zip(names, looks, strict=True)]
    canvas.explain(figure, named, [], columns=1)


def _look(group: int) -> tuple[str, str]:
    """Return colour and marker of an environment, never the colour of changes."""
    return canvas.look(group if group == 0 else group + 1)


def _label_marks(figure: "Figure", axes: "Axes", marks: Sequence[Mark]) -> None:
    """Write what changed above the axes, in as many lines as it takes that none lies on another."""
    figure.draw_without_rendering()
    ends: list[float] = []  # of what is written so far, line by line
    for its in marks:
        text = axes.annotate(
            its.label,
            (its.place - 0.5, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=canvas.FAINT if its.environment else _ALARM,
        )
        box = canvas.extent(text)
        line = next((number for number, end in enumerate(ends) if end + _GAP < box.left), len(ends))
        ends[line : line + 1] = [box.right]
        text.xyann = (0, 2 + 8 * line)


def to_letters(plot: Timeline, width: int) -> str:
    """Draw a timeline in letters: o a point, | a change of level, : an environment that is new.

    Args:
        plot: of which the latest points are drawn where there are too many.
        width: columns of the terminal; 0 where there is none.
    """
    room = min((width or 100) - _EDGE, _MOST)
    first = max(0, len(plot.points) - max(room // 2, 1))
    points = plot.points[first:]
    apart = max(2, min(6, room // max(len(points), 1)))
    low, high = _limits([point.value for point in points])
    rows = 1 if low == high else _ROWS
    lines = [[" "] * (apart * len(points)) for _ in range(rows)]
    marks = [its for its in plot.marks if its.place > first]
    for its, line in itertools.product(marks, lines):
        line[apart * (its.place - first) - 1] = ":" if its.environment else "|"
    for place, point in enumerate(points):
        shown = min(max(point.value, low), high)
        row = round((high - shown) / (high - low) * (rows - 1)) if rows > 1 else 0
        lines[row][apart * place] = "o" if shown == point.value else "^" if point.value > high else "v"
    scale = {0: plot.y.tick(float(f"{high:.4g}")), rows - 1: plot.y.tick(float(f"{low:.4g}"))}
    drawn = [f"{scale.get(row, ''):>{_EDGE - 3}}  {''.join(line).rstrip()}".rstrip() for row, line in enumerate(lines)]
    legend = [" to ".join(points[place].label for place in sorted({0, len(points) - 1}))]
    legend += ["| change of level"] if not all(its.environment for its in marks) else []
    legend += [": new environment"] if any(its.environment for its in marks) else []
    legend += ["^ v beyond the scale"] if set("^v") & set("".join(drawn)) else []
    return "\n".join([plot.y.title, "", *drawn, "", " " * (_EDGE - 1) + "   ".join(legend)]) + "\n"


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the scale, which a few spikes may lie beyond: with them nothing else could be seen."""
    low, high = (stats.quantile(values, share) for share in _SEEN)
    room = _ROOM * (high - low)
    return max(min(values), low - room), min(max(values), high + room)
