"""How figures name a result, and which doubts their marks show."""

from collections.abc import Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.tables.common import head, varying

_DOUBTED = ("reconstruction", "stand-in")


def kind(result: Result) -> str:
    """Tell how a mark is drawn: "measured", or "doubted" where the network is not the original of its name."""
    return "doubted" if result.subject.status in _DOUBTED else "measured"


def labels(results: Sequence[Result]) -> list[str]:
    """Name each result by its network and by what else sets it apart: settings, else its place among equals."""
    columns = varying(results)
    names = [_name(result, [head(result)[column.key] for column in columns]) for result in results]
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def _name(result: Result, settings: Sequence[Json]) -> str:
    told = [*result.subject.settings, *(str(setting) for setting in settings if setting is not None)]
    return units.printable(", ".join((result.subject.name, *told)))
