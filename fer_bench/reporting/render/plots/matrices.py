"""Confusion matrices drawn into a figure of matplotlib."""

import math
from typing import TYPE_CHECKING

from fer_bench.reporting.figures.plots import Confusion, Confusions
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK = 0.55  # of a share: above it, what stands on the colour is white
_WIDE = 2  # matrices beside each other
_LONGEST = 46  # characters of a title


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
