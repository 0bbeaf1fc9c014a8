"""Learning curves, drawn into a figure of matplotlib."""

from typing import TYPE_CHECKING

from fer_bench.reporting.figures.trainings import LearningCurves
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT = 2.3  # inches


def draw_learning_curves(figure: "Figure", plot: LearningCurves) -> None:
    """Draw a panel for each quantity: a colour for each training, its training images dashed, seeds as a band."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure.set_size_inches(canvas.DOUBLE, _HEIGHT)
    names = list(dict.fromkeys(curve.label for _, curves in plot.panels for curve in curves))
    handles = {}
    for axes, (axis, curves) in zip(figure.subplots(1, len(plot.panels), squeeze=False)[0], plot.panels, strict=True):
        for curve in curves:
            colour = canvas.look(names.index(curve.label))[0]
            epochs = range(1, len(curve.values) + 1)
            style = {"linestyle": "--" if curve.training else "-", "marker": "." if len(epochs) == 1 else ""}
            (line,) = axes.plot(
                epochs, curve.values, color=colour, linewidth=0.9, label=canvas.short(curve.label), **style
            )
            if curve.seeds > 1:
                axes.fill_between(epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            if not curve.training or curve.label not in handles:
                handles[curve.label] = line
        canvas.set_axes(axes, plot.x, axis)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_ylim(bottom=0)
    kinds = [
        Line2D([], [], color=canvas.INK, linewidth=0.9, linestyle="-", label="validation"),
        Line2D([], [], color=canvas.INK, linewidth=0.9, linestyle="--", label="training"),
    ]
    canvas.explain(figure, [*handles.values(), *kinds], [], columns=3)
