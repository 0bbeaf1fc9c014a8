"""The figure to explore: every numeric column of the tables, and accuracies as published, as axes to choose from."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fer_bench.networks.registry import sheets
from fer_bench.networks.spec import Figure
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Json, Result
from fer_bench.reporting.page.labels import kind, labels
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.catalogue import as_printed
from fer_bench.reporting.tables.common import head

_ENOUGH = 2  # points of an axis; one is no figure
_HIGHER = ("images_per_s",)  # columns of which more is better, though no table marks them
_COSTS = ("s", "B", "J")  # units of which less is better
_FIRST = ("latency_s", "macs", "parameters")  # costs that are shown first, where they are there
_WORTH_SHOWING = 4  # points with an accuracy, from which that is shown first
_SETTINGS = "name input_shape protocol device batch_size threads precision layout mode alloc".split()

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Point:
    """A mark: a result, or what a paper published of a network that was not measured."""

    name: str
    label: str
    kind: str
    paper: str = ""
    values: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Axis:
    """A quantity to choose: how its numbers are written, and which end is best, if any."""

    id: str
    key: str
    title: str
    group: str
    better: str | None
    per: float = 1.0
    prefixed: bool = False
    suffix: str = ""

    def as_json(self) -> Json:
        shown = ("id", "title", "group", "better", "per", "prefixed", "suffix")
        return {name: getattr(self, name) for name in shown}


def explorer(results: Sequence[Result], tables: Mapping[str, Table]) -> Json:
    """Give points with their values by axis, or None where there are not two axes to choose.

    A value has its raw number, its text as its table writes it, and its interval, if it has one.
    """
    points = _points(results, tables)
    axes = [*_columns(points, tables), *_accuracies(points.values())]
    if len(axes) < 2:
        return None
    x, y = _shown_first(axes, points.values())
    drawn = [
        {"label": point.label, "kind": point.kind, "values": point.values} for point in points.values() if point.values
    ]
    return {"axes": [axis.as_json() for axis in axes], "points": drawn, "x": x.id, "y": y.id}


def _points(results: Sequence[Result], tables: Mapping[str, Table]) -> dict[_Key, _Point]:
    """Make the points without values, by what a table's row can be known by."""
    heads = _keys([head(result) for result in results])
    points = {
        key: _Point(result.subject.name, label, kind(result))
        for key, label, result in zip(heads, labels(results), results, strict=True)
    }
    rows = tables["efficiency"].rows if "efficiency" in tables else ()
    for key, row in zip(_keys(rows), rows, strict=True):
        if "paper" in row:
            name, paper = row["name"], row["paper"]
            points[key] = _Point(name, units.printable(f"{name} (paper {paper})"), "published", paper)
    return points


def _keys(rows: Sequence[Mapping[str, Json]]) -> list[_Key]:
    """Give what tells rows of different tables to be of one result: name, settings, and which of equal ones it is."""
    found: Counter[_Key] = Counter()
    keys = []
    for row in rows:
        names = ("name", "paper") if "paper" in row or "protocol" not in row else _SETTINGS
        key = tuple(f"{name}={row.get(name)}" for name in names)
        found[key] += 1
        keys.append((*key, str(found[key])))
    return keys


def _columns(points: Mapping[_Key, _Point], tables: Mapping[str, Table]) -> Iterator[_Axis]:
    """Put the values of numeric columns into their points, and give the axes; one that repeats another is left out."""
    seen: set[tuple[str, tuple[tuple[int, float], ...]]] = set()
    places = {key: place for place, key in enumerate(points)}
    for stem, table in tables.items():
        keyed = [(key, row) for key, row in zip(_keys(table.rows), table.rows, strict=True) if key in points]
        for column in table.columns:
            numbers = [(key, row) for key, row in keyed if _is_number(row.get(column.key))]
            values = (column.key, tuple(sorted((places[key], row[column.key]) for key, row in numbers)))
            if len(numbers) < _ENOUGH or values in seen:
                continue
            seen.add(values)
            axis = _axis_of(stem, table, column)
            for key, row in numbers:
                points[key].values[axis.id] = _value(column, row)
            yield axis


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _axis_of(stem: str, table: Table, column: Column) -> _Axis:
    quantity = column.quantity or units.grouped
    better = "higher" if column.key in _HIGHER else column.better or ("lower" if column.unit in _COSTS else None)
    return _Axis(
        id=f"{stem}.{column.key}",
        key=column.key,
        title=units.printable(column.heading),
        group=units.printable(table.title),
        better=better,
        per=float(quantity.per),
        prefixed=quantity.prefixed,
        suffix=quantity.suffix,
    )


def _value(column: Column, row: Mapping[str, Json]) -> Json:
    value: Json = {"raw": row[column.key], "text": column.text(row)}
    ends, quantity = row.get(column.interval), column.quantity
    if ends is not None and quantity is not None:
        value |= {"interval": list(ends), "interval_text": quantity.between(ends)}
    return value


def _accuracies(points: Collection[_Point]) -> Iterator[_Axis]:
    """Put published accuracies into their points, and give an axis for each data set and paper.

    Papers divide and clean a data set differently, so that accuracies of two papers do not share an axis.
    """
    found: dict[tuple[str, str], list[tuple[_Point, Json]]] = {}
    for point in points:
        for figure in _printed(point):
            if (value := _percent(figure)) is not None:
                found.setdefault((figure.dataset, figure.paper), []).append((point, value))
    for (dataset, paper), values in sorted(found.items(), key=lambda item: item[0]):
        if len(values) < _ENOUGH:
            continue
        on = f" on {dataset}" if dataset else ""
        title = units.printable(f"Accuracy{on}, paper {paper} (%)")
        axis = _Axis(f"accuracy.{paper}.{dataset}", "accuracy", title, "As published", "higher")
        for point, value in values:
            point.values[axis.id] = value
        yield axis


def _printed(point: _Point) -> Iterator[Figure]:
    """Give the accuracies of a network, one for each paper and data set; of a paper's row only its own."""
    spec = sheets().get(point.name)
    if spec is None:
        return
    papers = [point.paper] if point.paper else sorted({figure.paper for figure in spec.published})
    for paper in papers:
        yield from spec.figures("accuracy", paper)


def _percent(figure: Figure) -> Json:
    """Give an accuracy in per cent, or None where it is no number; the table has it as printed."""
    try:
        value = float(units.printed_value(figure.printed, figure.unit))
    except SheetError:
        return None
    raw = value if figure.unit else 100 * value
    return {"raw": raw, "text": units.printable(f"{as_printed(figure)} ({figure.where})")}


def _shown_first(axes: Sequence[_Axis], points: Collection[_Point]) -> tuple[_Axis, _Axis]:
    """Choose the axes that a reader sees first: a cost, and the accuracy that most points have, else another cost."""
    shown = {axis.id: sum(axis.id in point.values for point in points) for axis in axes}
    costs = [axis for key in _FIRST for axis in axes if axis.key == key]
    accuracies = [axis for axis in axes if axis.key == "accuracy" and shown[axis.id] >= _WORTH_SHOWING]
    y = max(accuracies or costs[:1] or axes[:1], key=lambda axis: shown[axis.id])
    return next(axis for axis in (*costs, *axes) if axis is not y), y
