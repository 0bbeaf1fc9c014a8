"""Names of expressions. Classes are matched by name: data sets and checkpoints put them in different orders."""

import difflib
from collections.abc import Sequence

from fer_bench.records.errors import FerBenchError

# One row a class: the name that we print, then what data sets, papers and public checkpoints call it. KDEF's and
# JAFFE's codes are here; one-letter codes and numbers are not, since they differ between data sets.
_NAMES = (
    ("angry", "anger", "an"),
    ("disgust", "disgusted", "di"),
    ("fear", "afraid", "fearful", "af", "fe"),
    ("happy", "happiness", "joy", "ha"),
    ("sad", "sadness", "sa"),
    ("surprise", "surprised", "su"),
    ("neutral", "ne"),
    ("contempt", "contemptuous"),
)
EXPRESSIONS = tuple(name for name, *_ in _NAMES)
_CANONICAL = {known: name for name, *synonyms in _NAMES for known in (name, *synonyms)}


def expression(name: str) -> str:
    """Return the name that we print for an expression: "angry" for "Anger" or "AN".

    Raises:
        FerBenchError: no expression is called so.
    """
    key = name.strip().casefold()
    if key in _CANONICAL:
        return _CANONICAL[key]
    near = difflib.get_close_matches(key, _CANONICAL, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise FerBenchError(f"{name!r} is no expression that we know{hint}; known: {', '.join(EXPRESSIONS)}")


def expressions(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that we print for classes in their order.

    Raises:
        FerBenchError: a name is unknown, or two of them mean the same expression.
    """
    known = tuple(expression(name) for name in names)
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise FerBenchError(f"classes {', '.join(names)}: {', '.join(twice)} is there twice")
    return known
