"""Facts that others published: data sets and graphics cards, from ``facts.toml``."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.registry import Figure

_FILE = Path(__file__).parent / "facts.toml"

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
    with _FILE.open("rb") as file:
        return tomllib.load(file)


def dataset(name: str) -> Mapping[str, Any] | None:
    """Give what a data set's own publication says of it, or None."""
    found: Mapping[str, Any] | None = _facts()["datasets"].get(name)
    return found


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


def test_sizes(name: str) -> dict[str, int]:
    """Give the test sets of a data set and their sizes; none for one that is not known or has no fixed test set."""
    about = dataset(name)
    return dict(about.get("tests", {})) if about is not None else {}


def training_size(name: str) -> dict[str, int]:
    """Give the number of training images of a data set, where it has a fixed number."""
    about = dataset(name)
    number = about.get("images", {}).get("training") if about is not None else None
    return {"training": number} if number is not None else {}


def images(name: str) -> int | None:
    """Give the number of all images of a data set, or None."""
    about = dataset(name)
    number: int | None = about.get("images", {}).get("all") if about is not None else None
    return number


def told(figure: Figure) -> tuple[str, float] | None:
    """Say which fact of its data set a figure agrees with, and its number; None if the data set is not known.

    The name is "" where the figure agrees with none; the number is then that of the whole.
    """
    from fer_bench.audit.printed import read

    about, printed = dataset(figure.dataset), read(figure.printed, "") if isinstance(figure.printed, str) else None
    if about is None or printed is None:
        return None
    numbers: dict[str, float] = {
        "image_count": about.get("images", {}),
        "count": about.get("counts", {}),
        "share": about.get("shares", {}),
        "class_count": {"classes": about["classes"]},
    }.get(figure.quantity, {})
    if not numbers:
        return None
    fitting = [name for name, number in numbers.items() if number == printed.value]
    if not fitting:
        return "", next(iter(numbers.values()))
    words = f"{figure.subject} {figure.row} {figure.stage}".lower()
    name = max(fitting, key=lambda one: sum(word in words for word in one.replace(",", "").split()))
    return name, numbers[name]
