"""Latencies by process and shares of modules drawn into a figure of matplotlib."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fer_bench.records import stats, units
from fer_bench.reporting.figures.plots import Backends, Deployed, Division, Divisions, Part, Spread, Spreads
from fer_bench.reporting.render.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRIP, _THIN_STRIP = 0.13, 0.06  # inches of height of a strip, and where a network has many
_MANY = 4  # strips of a network
_LINE = 0.11  # inches of height that a network's name takes
_GAP = 0.7  # strips between networks
_LONGEST = 60  # characters of a name in a wide figure
_HELD = 0.95  # share of the whiskers' ends that lie within the axis
_BEYOND = 1.1  # how far the axis goes beyond those
_LEAST = 0.01  # to both sides, so that equal times do not look far apart
_ROW = 0.19  # inches of height of a bar
_EDGES = 0.75  # inches that titles and ticks take
_LETTER = 0.062  # inches of width of a character, on average
_DARKER = "#7fb8dc"
_FEW = 12  # networks that fit into one column


def draw_spreads(figure: "Figure", plot: Spreads) -> None:
    """Draw a strip for each process, networks below each other."""
    from matplotlib.patches import Patch

    strip = _THIN_STRIP if max(len(network.strips) for network in plot.networks) > _MANY else _STRIP
    tall = [max(len(network.strips), _LINE / strip) + _GAP for network in plot.networks]  # in strips
    wide = len(plot.networks) > _FEW
    figure.set_size_inches(canvas.DOUBLE if wide else canvas.SINGLE, _EDGES + sum(tall) * strip)
    axes = figure.add_subplot()
    axes.set_xlabel(plot.x.title)
    axes.grid(True, axis="x")
    canvas.divide(axes.xaxis, plot.x)
    limits = _limits(plot.networks)
    middles = [sum(tall[:number]) + its / 2 for number, its in enumerate(tall)]
    for network, middle in zip(plot.networks, middles, strict=True):
        _draw_network(axes, network, middle, limits, strip * 72)
    axes.set_xlim(*limits)
    axes.set_ylim(sum(tall), 0)  # the first network on top
    banded = any(network.interval_s is not None for network in plot.networks)
    handles = [Patch(color=canvas.BAND, linewidth=0, label="95 % interval over processes")] if banded else []
    canvas.explain(figure, handles, [network.hollow for network in plot.networks], columns=1)
    names = [_named(network, wide) for network in plot.networks]
    _name_rows(axes, middles, names, [f"{network.written} ms" for network in plot.networks])


def _limits(networks: Sequence[Spread]) -> tuple[float, float]:
    """Return the ends of the axis: all boxes lie within; the longest whiskers are cut, to leave room for the rest."""

    def differences(place: int) -> list[float]:
        return [strip.quantiles[place] / n.estimate_s - 1 for n in networks for strip in n.strips]

    low = min(*differences(1), stats.quantile(differences(0), 1 - _HELD), -_LEAST)
    high = max(*differences(-2), stats.quantile(differences(-1), _HELD), _LEAST)
    return _BEYOND * low, _BEYOND * high


def _draw_network(axes: "Axes", network: Spread, middle: float, limits: tuple[float, float], points: float) -> None:
    """Draw the strips of a network, ``points`` high each, and the interval behind them."""
    rows = [middle + number - (len(network.strips) - 1) / 2 for number in range(len(network.strips))]
    low, lower, median, upper, high = (
        [strip.quantiles[place] / network.estimate_s - 1 for strip in network.strips] for place in range(5)
    )
    colour = canvas.COLOURS[0]
    if network.interval_s is not None:
        start, end = (edge / network.estimate_s - 1 for edge in network.interval_s)
        axes.fill_betweenx([rows[0] - 0.5, rows[-1] + 0.5], start, end, color=canvas.BAND, linewidth=0)
    axes.hlines(rows, low, high, colors=canvas.GREY, linewidths=min(0.8, points / 6))
    axes.barh(
        rows,
        [to - at for at, to in zip(lower, upper, strict=True)],
        left=lower,
        height=0.7,
        color="white" if network.hollow else canvas.PALE,
        edgecolor=colour,
        linewidth=min(0.6, points / 8),
        zorder=2.5,
    )
    above, below = ([row + half for row in rows] for half in (-0.42, 0.42))
    axes.vlines(median, above, below, colors=colour, linewidths=1.2, zorder=3)
    for row, *ends in zip(rows, low, high, strict=True):
        for end, side in zip(ends, "<>", strict=True):
            if not limits[0] <= end <= limits[1]:
                axes.plot([limits[end > 0]], [row], marker=side, markersize=2.5, color=canvas.GREY, clip_on=False)


def _named(network: Spread | Division | Deployed, wide: bool) -> str:
    shown = canvas.short(network.label, _LONGEST) if wide else canvas.short(network.label)
    return f"{shown} \N{WHITE CIRCLE}" if network.hollow else shown


def _name_rows(axes: "Axes", places: Sequence[float], names: Sequence[str], numbers: Sequence[str]) -> None:
    """Write a name at the left of each row and a number at its right."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.spines[:].set_visible(False)
    for side, texts in ((axes, names), (right, numbers)):
        side.set_yticks(places, texts)
        side.tick_params(axis="y", length=0, pad=5)


# How a mark is filled, and what that means; what is struck has a cross through it.
_FILLED = {
    "order": ({"fillstyle": "bottom"}, "half, below: same arithmetic in another order"),
    "reduced": ({"fillstyle": "left"}, "half, at the left: reduced precision"),
    "open": ({"fillstyle": "none"}, "hollow: parity not decidable"),
    "struck": ({"fillstyle": "none"}, "crossed out: computes something else"),
}


def draw_backends(figure: "Figure", plot: Backends) -> None:
    """Draw a row for each network, with a mark for each backend at its latency."""
    from matplotlib.lines import Line2D

    figure.set_size_inches(canvas.DOUBLE, _EDGES + 0.3 + len(plot.networks) * _ROW)
    axes = figure.add_subplot()
    axes.set_xlabel(plot.x.title)
    axes.grid(True, axis="x")
    canvas.divide(axes.xaxis, plot.x)
    looks = {group: canvas.look(number) for number, group in enumerate(plot.groups)}

    def mark(colour: str, marker: str, look: str) -> dict[str, Any]:
        filled = _FILLED[look][0] if look in _FILLED else {}
        return {**canvas.mark(colour, marker, hollow=False), "markerfacecoloralt": "white", **filled}

    runtimes = [(row, runtime) for row, network in enumerate(plot.networks) for runtime in network.runtimes]
    for row, runtime in runtimes:
        colour, marker = looks[runtime.group]
        if runtime.interval_s is not None:
            axes.hlines(row, *runtime.interval_s, colors=colour, linewidths=0.8)
        look = {"linestyle": "none", "zorder": 3, **mark(colour, marker, runtime.look)}
        axes.plot([runtime.latency_s], [row], label=runtime.label, **look)
        if runtime.look == "struck":
            axes.plot([runtime.latency_s], [row], marker="x", markersize=7, color=canvas.INK, zorder=4)
    canvas.fit(axes.xaxis, plot.x, [runtime.latency_s for _, runtime in runtimes])
    axes.set_ylim(len(plot.networks) - 0.4, -0.6)  # the first network on top
    axes.set_yticks(range(len(plot.networks)), [_named(network, wide=True) for network in plot.networks])
    axes.tick_params(axis="y", length=0)
    handles = [Line2D([], [], label=group, linestyle="none", **mark(*its, "same")) for group, its in looks.items()]
    there = {runtime.look for _, runtime in runtimes}
    handles += [
        Line2D([], [], label=means, linestyle="none", **mark(canvas.GREY, "x" if look == "struck" else "o", look))
        for look, (_, means) in _FILLED.items()
        if look in there
    ]
    canvas.explain(figure, handles, [], columns=3)


def draw_divisions(figure: "Figure", plot: Divisions) -> None:
    """Draw the modules of one network as a bar each, or those of several as parts of a bar for each network."""
    axes, alone = figure.add_subplot(), len(plot.networks) == 1
    names, numbers = (_draw_parts if alone else _draw_rows)(figure, axes, plot)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(plot.x.title)
    canvas.divide(axes.xaxis, plot.x)
    _name_rows(axes, range(len(names)), names, numbers)
    if not alone:
        figure.draw_without_rendering()
        for row, network in enumerate(plot.networks):
            _name_parts(axes, row, network, axes.bbox.width / figure.dpi)


def _draw_parts(figure: "Figure", axes: "Axes", plot: Divisions) -> tuple[list[str], list[str]]:
    """Draw a bar for each module, and return the rows' names and numbers."""
    (network,) = plot.networks
    shares = [part.share for part in network.parts]
    figure.set_size_inches(canvas.SINGLE, _EDGES + 0.2 + _ROW * len(shares))
    colour = "white" if network.hollow else canvas.PALE
    axes.barh(range(len(shares)), shares, height=0.7, color=colour, edgecolor=canvas.COLOURS[0], linewidth=0.6)
    axes.set_xlim(0, max(shares) * 1.05)
    axes.set_title(f"{_named(network, wide=False)}: {units.scaled(network.macs)} MACs", loc="left")
    axes.grid(True, axis="x")
    return [canvas.short(part.path) for part in network.parts], [plot.x.write(share) for share in shares]


def _draw_rows(figure: "Figure", axes: "Axes", plot: Divisions) -> tuple[list[str], list[str]]:
    """Draw a bar for each network, and return the rows' names and numbers."""
    from matplotlib.patches import Patch

    figure.set_size_inches(canvas.DOUBLE, _EDGES + _ROW * len(plot.networks))
    for row, network in enumerate(plot.networks):
        _draw_row(axes, row, network)
    axes.set_xlim(0, 1)
    darker = Patch(color=_DARKER, linewidth=0, label="darker: the largest, where not hollow")
    canvas.explain(figure, [darker], [network.hollow for network in plot.networks], columns=2)
    names = [_named(network, wide=True) for network in plot.networks]
    return names, [units.scaled(network.macs) for network in plot.networks]


def _draw_row(axes: "Axes", row: int, network: Division) -> None:
    """Draw the parts of a network side by side, the largest module darker."""
    shares = [part.share for part in network.parts]
    modules = [number for number, part in enumerate(network.parts) if not part.merged]
    largest = max(modules, key=lambda number: shares[number], default=None)
    axes.barh(
        [row] * len(shares),
        shares,
        left=list(itertools.accumulate(shares[:-1], initial=0.0)),
        height=0.78,
        color=["white" if network.hollow else canvas.PALE if n != largest else _DARKER for n in range(len(shares))],
        edgecolor=canvas.COLOURS[0] if network.hollow else "white",
        linewidth=0.6,
    )


def _name_parts(axes: "Axes", row: int, network: Division, inches: float) -> None:
    """Write a module's name into its part, where it has room there."""
    start = 0.0
    for part in network.parts:
        room = part.share * inches / _LETTER - 0.6  # characters
        if text := next((text for text in _names(part) if len(text) <= room), ""):
            middle = start + part.share / 2
            axes.text(middle, row, text, ha="center", va="center_baseline", color=canvas.INK, in_layout=False)
        start += part.share


def _names(part: Part) -> Iterator[str]:
    """Yield what may stand in a part, the fullest first, but no bare number, which would look like a share."""
    share = units.percent(part.share, 2)
    if part.merged:
        yield from (f"others ({part.merged[0]} to {part.merged[-1]}) {share}", f"others {share}", part.path)
        return
    *around, own = part.path.split(".")
    if not own.isdigit():
        yield from (f"{part.path} {share}", part.path, own)
    elif around:
        yield from (f"{part.path} {share}", part.path, f"{around[-1]}.{own}", f"{around[-1][:1]}.{own}")
