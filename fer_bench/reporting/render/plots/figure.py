"""Plots as files: SVG, PNG and PDF, drawn by matplotlib.

The same plots give the same bytes with the same matplotlib: no date, no random name, no user's style, no font but the
one that matplotlib brings. Names are drawn as they are: mathematical text is off. Only of a character that the font
lacks the number is drawn. SVG has letters as outlines, and looks the same everywhere; PDF embeds the font. Title and
caption are in the file's metadata.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.records import files
from fer_bench.records.errors import StoreError
from fer_bench.records.output import each_text, printable
from fer_bench.reporting.figures.data import ClassCounts, PixelLevels
from fer_bench.reporting.figures.history import Timeline
from fer_bench.reporting.figures.plots import Plot
from fer_bench.reporting.figures.trainings import LearningCurves
from fer_bench.reporting.render.plots.bars import draw_backends, draw_divisions, draw_spreads
from fer_bench.reporting.render.plots.canvas import INK
from fer_bench.reporting.render.plots.curves import draw_learning_curves
from fer_bench.reporting.render.plots.data import draw_class_counts, draw_pixel_levels
from fer_bench.reporting.render.plots.history import draw_timeline
from fer_bench.reporting.render.plots.matrices import draw_by_class, draw_confusions
from fer_bench.reporting.render.plots.points import draw_scatter, draw_seconds, draw_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metadata by suffix that change from one writing to the next, and are left out.
_CHANGING = {"svg": ("Date", "Creator"), "png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
SUFFIXES = tuple(_CHANGING)

_FONT = "DejaVu Sans"
_LOOK: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",  # as everything else
    "figure.constrained_layout.use": True,
    "font.family": _FONT,
    "font.size": 7,  # points: what journals ask for at least, at the width that the figures are made for
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.4,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "pdf.fonttype": 42,  # TrueType, which publishers take
    "svg.fonttype": "path",
    "svg.hashsalt": "fer_bench",
    "text.color": INK,
    "text.parse_math": False,
}
_DOTS_PER_INCH = 220

_DRAWERS: Mapping[str, Callable[["Figure", Any], None]] = {
    "scatter": draw_scatter,
    "spreads": draw_spreads,
    "divisions": draw_divisions,
    "sweep": draw_sweep,
    "confusions": draw_confusions,
    "by_class": draw_by_class,
    "timeline": draw_timeline,
    "class_counts": draw_class_counts,
    "pixel_levels": draw_pixel_levels,
    "seconds": draw_seconds,
    "learning_curves": draw_learning_curves,
    "backends": draw_backends,
}
Drawable = Plot | Timeline | ClassCounts | PixelLevels | LearningCurves


def write_figures(folder: Path, plots: Mapping[str, Drawable], suffixes: Sequence[str] = ("svg", "png")) -> None:
    """Write each plot into a folder, a file for each suffix.

    Args:
        folder: made where it is not there.
        plots: by the stem of their files.
        suffixes: of ``SUFFIXES``.

    Raises:
        StoreError: a suffix is unknown, or the folder or a file cannot be written.
    """
    from matplotlib import style

    unknown = [suffix for suffix in suffixes if suffix not in SUFFIXES]
    if unknown:
        raise StoreError(f"no figure can be written as {', '.join(unknown)}; known: {', '.join(SUFFIXES)}")
    files.make_folder(folder)
    for stem, plot in plots.items():
        plot = each_text(plot)
        figure = draw(plot)
        with style.context(dict(_LOOK), after_reset=True):
            for suffix in suffixes:
                key = "Subject" if suffix == "pdf" else "Description"
                about = {"Title": plot.title, key: plot.caption, **dict.fromkeys(_CHANGING[suffix])}
                drawn = io.BytesIO()
                figure.savefig(drawn, format=suffix, dpi=_DOTS_PER_INCH, metadata=about)
                files.write(folder / f"{stem}.{suffix}", drawn.getvalue())


def draw(plot: Drawable) -> "Figure":
    """Draw a plot; data stand in the axes in base units.

    No state of pyplot is touched. What is drawn later, as by ``savefig``, takes the look that holds then.
    """
    from matplotlib import font_manager, style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = frozenset(font_manager.get_font(font_manager.findfont(_FONT)).get_charmap())
    plot = each_text(plot, lambda text: _spelled(printable(text), known))
    with style.context(dict(_LOOK), after_reset=True):
        figure = Figure()
        FigureCanvasAgg(figure)  # measures texts
        _DRAWERS[plot.kind](figure, plot)
    return figure


def _spelled(text: str, known: frozenset[int]) -> str:
    r"""Write characters that the font lacks as their numbers, as Python does: \u8868, \U0001f600."""
    return "".join(c if ord(c) in known else c.encode("ascii", "backslashreplace").decode() for c in text)
