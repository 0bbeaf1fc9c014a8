"""What a data set has, drawn into a figure of matplotlib."""

from typing import TYPE_CHECKING

from fer_bench.reporting.figures.data import ClassCounts, PixelLevels
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _BAR, _EDGES = 0.12, 0.11, 0.75  # inches between classes, of a bar, and of titles and ticks
_HEIGHT = 2.2
_STYLES = ("-", "--", "-.", ":")


def draw_class_counts(figure: "Figure", plot: ClassCounts) -> None:
    """Draw a bar for each class and split, with its number."""
    from matplotlib.patches import Patch

    many = len(plot.groups)
    figure.set_size_inches(canvas.SINGLE, _EDGES + len(plot.classes) * (_ROW + _BAR * many) + 0.14)
    axes = figure.add_subplot()
    most = max(number for _, numbers in plot.groups for number in numbers)
    for place, (_, numbers) in enumerate(plot.groups):
        rows = [at + (place - (many - 1) / 2) * 0.8 / many for at in range(len(plot.classes))]
        axes.barh(rows, numbers, height=0.76 / many, color=canvas.look(place)[0])
        for row, number in zip(rows, numbers, strict=True):
            axes.text(number + 0.01 * most, row, f"{number:,}", va="center_baseline", color=canvas.INK)
    axes.set_yticks(range(len(plot.classes)), [canvas.short(name) for name in plot.classes])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(plot.classes) - 0.4, -0.6)  # the first class on top
    axes.set_xlim(0, max(most, 1) * 1.16)  # room for numbers
    axes.set_xlabel(plot.x.title)
    axes.grid(True, axis="x")
    canvas.divide(axes.xaxis, plot.x)
    names = [canvas.short(name) for name, _ in plot.groups]
    handles = [Patch(color=canvas.look(at)[0], linewidth=0, label=name) for at, name in enumerate(names)]
    canvas.explain(figure, handles, [], columns=3)


def draw_pixel_levels(figure: "Figure", plot: PixelLevels) -> None:
    """Draw a line for each class or split."""
    figure.set_size_inches(canvas.SINGLE, _HEIGHT)
    axes = figure.add_subplot()
    handles = []
    for place, (name, shares) in enumerate(plot.lines):
        colour, style = canvas.look(place)[0], _STYLES[place // len(canvas.COLOURS) % len(_STYLES)]
        edges = [at / len(shares) for at in range(len(shares) + 1)]
        handles.append(
            axes.stairs(shares, edges, color=colour, linestyle=style, linewidth=0.9, label=canvas.short(name))
        )
    canvas.set_axes(axes, plot.x, plot.y)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    canvas.explain(figure, handles, [], columns=4)
