"""How the columns of a wide table are shared out; widths in whatever unit a format has."""

from collections.abc import Sequence


def blocks(widths: Sequence[float], gap: float, limit: float, named: int = 1) -> list[list[int]]:
    """Share columns out among blocks that fit, each with the first columns and with another one at least.

    Args:
        widths: of the columns.
        gap: between two columns.
        limit: what a block may take; 0 for no limit.
        named: columns that each block begins with.
    """
    first = list(range(min(named, len(widths))))
    shares = [first.copy()]
    for place in range(len(first), len(widths)):
        inside = [*shares[-1], place]
        if limit and len(inside) > named + 1 and sum(widths[p] + gap for p in inside) - gap > limit:
            shares.append(first.copy())
        shares[-1].append(place)
    return shares
