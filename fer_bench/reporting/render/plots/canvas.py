"""What the kinds of plots share when matplotlib draws them: sizes, colours, marks, axes, names beside points."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fer_bench.reporting.figures.plots import APART, APART_MEANS, HOLLOW, Axis
from fer_bench.reporting.render.plots.labels import Box, Scene, Spot, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SINGLE, DOUBLE = 3.4, 7.0  # inches: a column of a paper, and both
INK, FAINT, GREY, PALE = "#222222", "#6a6a6a", "#8a8a8a", "#bcd8ea"
BAND = "#f6d88c"  # behind strips

# Okabe and Ito's palette ("Color Universal Design", 2008) without its yellow, too pale for marks on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^DvPXp"  # one more than colours, so that pairs of the two repeat late
_MARK = 4.5  # points across
NEUTRAL = (FAINT, "d")  # colour and marker of a group whose name says nothing
_MARGIN = 0.08  # beside values, as a share of their range
_FEW_POWERS = 100  # of an axis's end to its start: below it powers of ten may be one or none


def look(number: int) -> tuple[str, str]:
    """Return colour and marker of the group of that number, from 0."""
    return COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]


def mark(colour: str, marker: str, hollow: bool) -> dict[str, Any]:
    """Return a mark as arguments of a line."""
    return {
        "marker": marker,
        "markersize": _MARK,
        "markeredgecolor": colour,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgewidth": 0.9,
    }


def set_axes(axes: "Axes", x: Axis, y: Axis) -> None:
    """Set the axes' titles, divisions and grid."""
    axes.set_xlabel(x.title)
    axes.set_ylabel(y.title)
    axes.grid(True)
    divide(axes.xaxis, x)
    divide(axes.yaxis, y)


def divide(side: Any, axis: Axis) -> None:
    """Divide one side of axes, ticks written as the axis wants them."""
    from matplotlib.ticker import NullFormatter

    if axis.log:
        side.axes.set(**{f"{side.axis_name}scale": "log"})
        side.set_minor_formatter(NullFormatter())
    side.set_major_formatter(lambda value, _: axis.tick(value))


def fit(side: Any, axis: Axis, values: Sequence[float]) -> None:
    """Set the limits of a side around values; where they hold few powers of ten, it has more ticks than these."""
    from matplotlib.ticker import LogLocator

    low, high = around(values, axis.log)
    side.axes.set(**{f"{side.axis_name}lim": (low, high)})
    if axis.log and high / low < _FEW_POWERS:
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))


def around(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Return limits of an axis that leave a margin beside values."""
    low, high = min(values), max(values)
    if log:
        factor = (high / low) ** _MARGIN if high > low else 1 + _MARGIN
        return low / factor, high * factor
    room = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    return low - room, high + room


def explain(
    figure: "Figure", handles: Sequence[Any], hollow: Iterable[bool], columns: int, *, labels: Iterable[str] = ()
) -> None:
    """Draw the legend above the axes, where it covers nothing, with what hollow marks and daggers mean, if any."""
    from matplotlib.lines import Line2D

    shown = list(handles)
    if any(hollow):
        shown.append(Line2D([], [], linestyle="none", label=f"hollow: {HOLLOW}", **mark(GREY, "o", hollow=True)))
    if any(label.endswith(APART) for label in labels):
        shown.append(Line2D([], [], linestyle="none", label=f"{APART} {APART_MEANS}"))
    if shown:
        figure.legend(handles=shown, loc="outside upper left", ncols=columns)


def short(name: str, longest: int = 34) -> str:
    """Shorten a name to so many characters by its middle, so that its ends, which distinguish names, stay."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def spot(axes: "Axes", x: float, y: float) -> Spot:
    """Return the place of data on the canvas, in pixels."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def extent(text: "Text") -> Box:
    """Return the room that a text takes on the canvas, in pixels."""
    return Box(*map(float, text.get_window_extent().extents))


def name_points(
    axes: "Axes",
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    colours: Sequence[str],
    texts: Sequence[Box] = (),
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    must: int = 0,
) -> None:
    """Write names beside points, the most important first, with leader lines where they stand apart.

    The figure's layout must be settled. Names for which there is no room are left out, and the picture says how many.

    Args:
        axes: that the points are in.
        names: of points.
        points: data.
        colours: of names.
        texts: boxes that are covered, in pixels.
        lines: data; names had better not lie on them.
        must: so many of the first names are not given up for others.
    """
    shown = [short(name) for name in names]
    spots = [spot(axes, *point) for point in points]
    pixels = axes.figure.dpi / 72  # a point has so many
    reach = _MARK / 2 * pixels
    marks = [Box(x - reach, y - reach, x + reach, y + reach) for x, y in spots]
    pieces = [(spot(axes, *a), spot(axes, *b)) for line in lines for a, b in itertools.pairwise(line)]
    frame = Box(*axes.bbox.extents)
    sizes = [_size(axes, name) for name in shown]
    covered = tuple(dict.fromkeys((*marks, *texts)))  # equal points once
    places = place(spots, sizes, Scene(frame, covered, tuple(pieces), joined=2 * reach), must)
    for name, point, colour, at, name_place in zip(shown, points, colours, spots, places, strict=True):
        if name_place is None:
            continue
        leader = {"arrowstyle": "-", "linewidth": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": _MARK / 2}
        leader |= {"relpos": name_place.held, "patchA": None}  # with a patch it would end at a distance from the text
        axes.annotate(
            name,
            point,
            xytext=((name_place.box.left - at[0]) / pixels, (name_place.box.bottom - at[1]) / pixels),
            textcoords="offset points",
            ha="left",
            va="bottom",
            color=colour,
            arrowprops=leader if name_place.joined else None,
            in_layout=False,
        )
    if unnamed := places.count(None):
        note = f"{unnamed} unnamed: no room"
        axes.text(1, 0.01, note, transform=axes.transAxes, ha="right", va="bottom", color=FAINT, in_layout=False)


def _size(axes: "Axes", name: str) -> tuple[float, float]:
    """Measure a name, in pixels."""
    text = axes.text(0.5, 0.5, name, transform=axes.transAxes)
    box = extent(text)
    text.remove()
    return box.right - box.left, box.top - box.bottom
