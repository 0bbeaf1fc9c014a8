"""Facts that others published: data sets and graphics cards, from ``facts.toml``."""

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.networks.spec import Figure

# More than any one device does, in any precision, at the time of writing: what exceeds it is no measurement.
FASTEST_FLOPS = 1e16


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card's peak rates in FLOP/s, and its memory in GB."""

    name: str
    float32_flops: float
    tensor_flops: float
    memory_gb: float


@functools.cache
def _facts() -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / "facts.toml").read_text("utf-8"))


def dataset(name: str) -> Mapping[str, Any]:
    """Return what a data set's own publication says of it; nothing for one that is not known."""
    known: Mapping[str, Any] = _facts()["datasets"].get(name, {})
    return known


def card(*texts: str) -> Card | None:
    """Find the graphics card that a text names; the longest name that fits, in the first text that has one."""
    known: Mapping[str, Any] = _facts()["cards"]
    for text in texts:
        words = "".join(text.lower().split())
        names = [name for name in known if "".join(name.lower().split()) in words]
        if names:
            name = max(names, key=len)
            about = known[name]
            rate = 2.0 * about["cores"] * about["clock_hz"]
            return Card(name, rate, max(rate, about["tensor_flops"]), about["memory_gb"])
    return None


def images(name: str, part: str) -> int | None:
    """Return the number of images of a data set, "all" or "training", where it has a fixed one."""
    number: int | None = dataset(name).get("images", {}).get(part)
    return number


def known(figure: Figure) -> Mapping[str, float]:
    """Return the facts of a figure's data set of the kind that it is, by what they are of."""
    about = dataset(figure.dataset)
    if figure.quantity == "class_count":
        return {"": about["classes"]} if about else {}
    kinds = {"image_count": "images", "count": "counts", "share": "shares"}
    facts: Mapping[str, float] = about.get(kinds.get(figure.quantity, ""), {})
    return facts


# Words of one meaning, the facts' own first.
_SAME = (
    ("angry", "anger"),
    ("disgust", "disgusted"),
    ("fear", "fearful", "scared", "afraid"),
    ("happy", "happiness", "happily"),
    ("sad", "sadness"),
    ("surprise", "surprised"),
    ("neutral", "normal"),
    ("women", "females", "female"),
    ("men", "males", "male"),
    ("persons", "person", "individuals", "individual", "people", "subjects"),
    ("angles", "viewing"),
    ("training", "train"),
    ("test", "testing"),
)
_WORD: Mapping[str, str] = {word: group[0] for group in _SAME for word in group}
# Words that say nothing about which part of a data set is meant.
_EMPTY = frozenset("all a an of the in class classes image images data dataset set s and".split())


def same(word: str) -> str:
    """Return the word that stands for all of its meaning, in lower case."""
    return _WORD.get(word.lower(), word.lower())


def _words(text: str) -> frozenset[str]:
    return frozenset(same(word) for word in re.findall(r"[a-z]+", text.lower())) - _EMPTY


def named(figure: Figure) -> str | None:
    """Return which of the known facts a figure is about, by its words; None where they name none, or something else.

    "FER2013 class", row "anger", stage "training" is "training, angry"; "FER2013" alone is "all".
    """
    if figure.quantity == "class_count":
        return ""
    words = _words(f"{figure.subject} {figure.row} {figure.stage}") - _words(figure.dataset)
    other = {"validation": "test", "test": "validation"}  # what is tested on is called either
    names = {_words(name): name for name in list(known(figure))[::-1]}  # of two with the same words the first
    return names.get(words) or names.get(frozenset(other.get(word, word) for word in words))
