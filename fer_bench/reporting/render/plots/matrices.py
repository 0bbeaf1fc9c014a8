"""Confusion matrices and scores by class drawn into a figure of matplotlib."""

import math
from typing import TYPE_CHECKING

from fer_bench.reporting.figures.plots import ByClass, Confusion, Confusions
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK = 0.55  # of a share: above it, what stands on the colour is white
_WIDE = 2  # matrices beside each other
_LONGEST = 46  # characters of a title
_ROW, _BAR, _EDGES = 0.14, 0.07, 0.85  # inches between classes, of a network, and of titles and ticks
_PANELS = {"recall": "Recall (%)", "precision": "Precision (%)", "f1": "F1 (%)"}


def draw_confusions(figure: "Figure", plot: Confusions) -> None:
    """Draw a matrix for each network, two beside each other."""
    across = min(_WIDE, len(plot.networks))
    down = math.ceil(len(plot.networks) / across)
    figure.set_size_inches(canvas.SINGLE if across == 1 else canvas.DOUBLE, 3.2 * down)
    for number, network in enumerate(plot.networks):
        _draw(figure.add_subplot(down, across, number + 1), network)


def _draw(axes: "Axes", network: Confusion) -> None:
    shares = [[count / sum(row) if sum(row) else 0.0 for count in row] for row in network.counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(network.classes))
    axes.set_xticks(places, network.classes, rotation=45, ha="right")
    axes.set_yticks(places, network.classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(canvas.short(network.label, _LONGEST), loc="left")
    for row, cells in enumerate(shares):
        for column, share in enumerate(cells):
            colour = "white" if share > _DARK else canvas.INK
            text = f"{100 * share:.0f}" if sum(network.counts[row]) else ""
            axes.text(column, row, text, ha="center", va="center", color=colour)


def draw_by_class(figure: "Figure", plot: ByClass) -> None:
    """Draw a panel for recall, precision and F1, with a row for each class."""
    from matplotlib.lines import Line2D

    many = len(plot.networks)
    figure.set_size_inches(canvas.DOUBLE, _EDGES + len(plot.classes) * (_ROW + _BAR * many) + 0.14 * many)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (key, title) in zip(panels, _PANELS.items(), strict=True):
        for place, network in enumerate(plot.networks):
            colour, marker = canvas.look(place)
            away = (place - (many - 1) / 2) * 0.7 / many
            for one in network.classes:
                row, share = plot.classes.index(one.name) + away, getattr(one, key)
                if key == "recall":
                    axes.plot(one.interval, [row, row], color=colour, linewidth=0.9)
                axes.plot([share], [row], linestyle="none", **canvas.mark(colour, marker, network.hollow))
        axes.set_xlabel(title)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(True, axis="x")
        canvas.divide(axes.xaxis, plot.x)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(plot.classes)), [canvas.short(name) for name in plot.classes])
    panels[0].set_ylim(len(plot.classes) - 0.5, -0.5)  # the first class on top
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            label=canvas.short(network.label, _LONGEST),
            **canvas.mark(*canvas.look(at), hollow=False),
        )
        for at, network in enumerate(plot.networks)
    ]
    canvas.explain(figure, handles, [network.hollow for network in plot.networks], columns=2)
