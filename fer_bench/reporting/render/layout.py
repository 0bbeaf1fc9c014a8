"""How the columns of a wide table are shared out; widths in whatever unit a format has."""

from collections.abc import Sequence


def blocks(widths: Sequence[float], gap: float, limit: float) -> list[list[int]]:
    """Share columns out among blocks that fit, each with the first column; a block has two columns at least.

    Args:
        widths: of the columns.
        gap: between two columns.
        limit: what a block may take; 0 for no limit.
    """
    shares = [[0]]
    for place in range(1, len(widths)):
        inside = [*shares[-1], place]
        if limit and len(inside) > 2 and sum(widths[p] + gap for p in inside) - gap > limit:
            shares.append([0])
        shares[-1].append(place)
    return shares
