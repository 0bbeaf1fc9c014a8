"""Where the multiply-accumulates of networks go, as shares to draw and texts to tell."""

from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.figures.common import of_one_setting
from fer_bench.reporting.figures.modules import divisions
from fer_bench.reporting.figures.plots import Part
from fer_bench.reporting.page.labels import kind

_NAMED = 8  # modules drawn as one that are named; of more, the number
_LEAST = 1e-5  # share that is told by its number


def modules(results: Sequence[Result]) -> Json:
    """Give the shares of each network's modules in its MACs, or None where no record tells of modules.

    ``parts`` are all of them; ``whole`` are those of a row among other networks', where small neighbours are one.
    """
    plot = divisions(results)
    if plot is None:
        return None
    alone = {id(result): found for result in results if (found := divisions([result])) is not None}
    kept, told = of_one_setting([result for result in results if id(result) in alone])
    networks = [
        {
            "label": network.label,
            "kind": kind(result),
            "macs": units.scaled(network.macs),
            "whole": [_part(part) for part in network.parts],
            "parts": [_part(part) for part in alone[id(result)].networks[0].parts],
        }
        for network, result in zip(plot.networks, kept, strict=True)
    ]
    return {"networks": networks, "told": " ".join(told)}


def _part(part: Part) -> Json:
    more = len(part.merged) - _NAMED
    return {
        "path": part.path,
        "type": part.type,
        "share": part.share,
        "share_text": units.percent(part.share) if part.share >= _LEAST else f"< {units.percent(_LEAST, 1)}",
        "macs": units.scaled(part.macs),
        "parameters": units.scaled(part.parameters),
        "merged": ", ".join(part.merged[:_NAMED]) + (f" and {more} more" if more > 0 else ""),
    }
