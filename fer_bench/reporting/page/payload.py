"""What the page's scripts draw: the Plots of ``figures`` and the columns of Tables, each number with its text.

Scripts place marks by raw numbers in base units. Texts are written here, where digits and units are known.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Json, Result, Subject
from fer_bench.reporting.analysis import builds
from fer_bench.reporting.analysis.sweeps import beside, series
from fer_bench.reporting.figures.accuracy import percent, printed_of
from fer_bench.reporting.figures.backends import backends
from fer_bench.reporting.figures.common import hollow, labels, numbered
from fer_bench.reporting.figures.measured import by_class, confusions, data_names, divided, reliability
from fer_bench.reporting.figures.modules import divisions
from fer_bench.reporting.figures.plots import (
    Axis,
    Backends,
    ByClass,
    Confusions,
    Divisions,
    Part,
    Roof,
    Scatter,
    Spreads,
    Step,
    Sweep,
)
from fer_bench.reporting.figures.speed import roofs, spreads, sweep
from fer_bench.reporting.figures.trainings import Curve, LearningCurves, learning_curves
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import standard
from fer_bench.reporting.tables.accuracy import RENDERED, measured_cells
from fer_bench.reporting.tables.catalogue import as_printed
from fer_bench.reporting.tables.common import distinct, head

_ENOUGH = 2  # points of an axis; one is no figure
_HIGHER = ("images_per_s",)  # columns of which more is better, though no table marks them
_COSTS = ("s", "B", "J")  # units of which less is better
_FIRST = ("latency_s", "macs", "parameters")  # costs that are shown first, where they are there
_WORTH_SHOWING = 4  # points with a published accuracy, from which that is shown first
_COUNTS = {column.key: column for column in (standard.MACS, standard.FLOPS, standard.PARAMETERS, standard.STATE_DICT)}
_SETTINGS = """name input_shape protocol device backend runtime batch_size threads wait precision layout mode cudnn
alloc rate_hz""".split()
_MEASURED = ("top1_share", f"top1_share{RENDERED}")  # whose column is of several data sets, which share no axis
_NAMED = 8  # modules drawn as one that are named; of more, the number
_LEAST = 1e-5  # share that is written by its number


def charts(
    results: Sequence[Result], tables: Mapping[str, Table], networks: Mapping[str, ModelSpec]
) -> dict[str, Json]:
    """Return the data of the page's figures by name, without those that nothing was measured for.

    The variants that a paper tried have a table of their own, and are no networks to compare with others.
    """
    tried = series(results, networks)
    results = beside(results, tried)
    tables = {stem: table for stem, table in tables.items() if stem not in {one.stem for one in tried}}
    drawn: dict[str, tuple[Any, Callable[[Any], Json]]] = {
        "explorer": (explorer(results, tables, networks), dict),
        "latency": (spreads(results), _latencies),
        "backends": (backends(results), _backends),
        "roofline": (roofs(results, every=True), _roofline),
        "modules": (divisions(results), _modules),
        "sweep": (sweep(results), _sweep),
        "curves": (learning_curves(results), _curves),
    }
    for suffix, _, known in divided(results):  # of faces, and apart from them of rendered faces
        if known:
            drawn |= {
                f"classes{suffix}": (by_class(known), _by_class),
                f"confusion{suffix}": (confusions(known), _confusions),
                f"reliability{suffix}": (reliability(known), _reliability),
            }
    return {name: write(plot) for name, (plot, write) in drawn.items() if plot is not None}


def _mark(label: str, is_hollow: bool) -> dict[str, Json]:
    return {"label": label, "kind": "doubted" if is_hollow else "measured"}


def _value(raw: float, text: str, ends: Sequence[float] | None = None, between: str = "") -> dict[str, Json]:
    value: dict[str, Json] = {"raw": raw, "text": text}
    return value | {"interval": list(ends), "interval_text": between} if ends is not None else value


def _milliseconds(seconds: float, ends: Sequence[float] | None = None, text: str = "") -> dict[str, Json]:
    between = f"{units.milliseconds.between(ends)} ms" if ends is not None else ""
    return _value(seconds, f"{text or units.milliseconds(seconds, 4)} ms", ends, between)


def _latencies(plot: Spreads) -> Json:
    """Return the latency of each network process by process, fastest first."""
    networks = [
        _mark(network.label, network.hollow)
        | {
            "estimate": _milliseconds(network.estimate_s, network.interval_s, network.written),
            "strips": [
                {"process": s.process + 1, "runs": s.runs, "quantiles": list(map(_milliseconds, s.quantiles))}
                for s in network.strips
            ],
        }
        for network in sorted(plot.networks, key=lambda network: network.estimate_s)
    ]
    return {"networks": networks}


def _backends(plot: Backends) -> Json:
    """Return each network's latency by each backend."""
    networks = [
        _mark(network.label, network.hollow)
        | {
            "runtimes": [
                {name: getattr(its, name) for name in ("label", "group", "look", "parity")}
                | {"latency": _milliseconds(its.latency_s, its.interval_s, its.written)}
                for its in network.runtimes
            ]
        }
        for network in plot.networks
    ]
    axis = {"title": plot.x.title, "log": plot.x.log, "per": float(units.milliseconds.per)}
    return {"axis": axis, "groups": list(plot.groups), "networks": networks}


def _roofline(plot: Scatter) -> Json:
    """Return rate over intensity of each network, and the roofs of each machine."""
    points = [
        _mark(point.label, point.hollow)
        | {
            "intensity": _value(point.x, f"{units.number(point.x)} MAC/B"),
            "rate": _value(point.y, f"{units.scaled(point.y)}MAC/s"),
            "share_text": units.percent(point.share or 0.0),
        }
        for point in plot.points
    ]
    machines = {machine["label"]: machine for machine in map(_machine, plot.roofs)}
    return {"points": points, "machines": list(machines.values())}


def _machine(roof: Roof) -> dict[str, Json]:
    peak, memory = f"{units.scaled(roof.macs_per_s)}MAC/s", f"{units.scaled(roof.largest_copy)}B/s"
    return {
        "label": f"{roof.machine}: {peak}, {memory} from memory",
        "peak": _value(roof.macs_per_s, peak),
        "slopes": [["memory", roof.largest_copy], ["cache", roof.fastest_copy]],
    }


def _modules(plot: Divisions) -> Json:
    """Return the shares of each network's modules in its MACs.

    ``parts`` are all of them; ``whole`` are those of a row among other networks', where small neighbours are one.
    """
    networks = [
        _mark(network.label, network.hollow)
        | {
            "macs": units.scaled(network.macs),
            "whole": [_part(part) for part in network.parts],
            "parts": [_part(part) for part in network.modules],
        }
        for network in plot.networks
    ]
    return {"networks": networks, "left_out": plot.left_out}


def _part(part: Part) -> Json:
    more = len(part.merged) - _NAMED
    return asdict(part) | {
        "share_text": units.percent(part.share) if part.share >= _LEAST else f"< {units.percent(_LEAST, 1)}",
        "macs": units.scaled(part.macs),
        "parameters": units.scaled(part.parameters),
        "merged": ", ".join(part.merged[:_NAMED]) + (f" and {more} more" if more > 0 else ""),
    }


def _sweep(plot: Sweep) -> Json:
    """Return each network at its batch sizes."""
    networks = [_mark(one.label, one.hollow) | {"steps": list(map(_step, one.steps))} for one in plot.networks]
    axes = {
        "latency": {"title": plot.latency.title, "log": plot.latency.log, "per": float(units.milliseconds.per)},
        "rate": {"title": plot.rate.title, "log": plot.rate.log},
    }
    return {"axes": axes, "networks": networks}


def _step(step: Step) -> Json:
    rates = step.rate_interval
    between = units.number.between(rates) if rates is not None else ""
    rate = _value(step.images_per_s, units.number(step.images_per_s), rates, between)
    return {"batch": step.batch, "latency": _milliseconds(step.latency_s, step.interval_s), "rate": rate}


def _curves(plot: LearningCurves) -> Json:
    """Return for each training the values of every epoch, of each quantity's axis in their order."""
    axes = [{"title": axis.title, "per": 0.01 if axis.quantity == "share" else None} for axis, _ in plot.panels]
    labels = dict.fromkeys(curve.label for _, curves in plot.panels for curve in curves)
    trainings = [
        {
            "label": label,
            "panels": [[_curve(axis, c) for c in curves if c.label == label] for axis, curves in plot.panels],
        }
        for label in labels
    ]
    return {"axes": axes, "trainings": trainings}


def _curve(axis: Axis, curve: Curve) -> Json:
    epochs = [
        _value(
            raw, axis.write(raw), ends if curve.seeds > 1 else None, f"{axis.write(ends[0])} to {axis.write(ends[1])}"
        )
        for raw, ends in zip(curve.values, zip(curve.low, curve.high, strict=True), strict=True)
    ]
    return {"images": "training" if curve.training else "validation", "seeds": curve.seeds, "epochs": epochs}


def _share(share: float, ends: Sequence[float] | None = None) -> dict[str, Json]:
    between = units.percent.between(ends) if ends is not None else ""
    return _value(share, units.percent(share), ends, f"{between} %" if between else "")


def _by_class(plot: ByClass) -> Json:
    """Return recall, precision and F1 of each class of each network."""
    networks = [
        _mark(network.label, network.hollow)
        | {
            "classes": [
                {"name": one.name, "images": one.images, "recall": _share(one.recall, one.interval)}
                | {"precision": _share(one.precision), "f1": _share(one.f1)}
                for one in network.classes
            ]
        }
        for network in plot.networks
    ]
    return {"classes": list(plot.classes), "networks": networks, "left_out": " ".join(plot.notes)}


def _confusions(plot: Confusions) -> Json:
    """Return the confusion matrices, each cell as its count and its share of the true class."""
    networks = [
        {
            "label": network.label,
            "classes": list(network.classes),
            "rows": [
                {"images": sum(row), "cells": [{"count": n, **_share(n / sum(row) if sum(row) else 0.0)} for n in row]}
                for row in network.counts
            ],
        }
        for network in plot.networks
    ]
    return {"networks": networks, "left_out": " ".join(plot.notes)}


def _reliability(plot: Scatter) -> Json:
    """Return for each network the bins of its confidence."""
    networks = [
        _mark(group, is_hollow=False)
        | {
            "bins": [
                {"confidence": _share(point.x), "accuracy": _share(point.y, point.y_interval)}
                for point in plot.points
                if point.group == group
            ]
        }
        for group in plot.groups
    ]
    return {"networks": networks}


_Key = tuple[str, ...]  # what a row of any table is known by
_Axis = dict[str, Json]  # a quantity to choose: how its numbers are written, and which end is best, if any


@dataclass(frozen=True, slots=True)
class _Point:
    """A mark: a result, or what a paper published of a network that was not measured.

    ``subject`` is the network as built, None of what was published.
    """

    name: str
    label: str
    kind: str
    paper: str = ""
    subject: Subject | None = None
    values: dict[str, Json] = field(default_factory=dict)


def explorer(results: Sequence[Result], tables: Mapping[str, Table], networks: Mapping[str, ModelSpec]) -> Json:
    """Return points with their values by quantity, or None where there are not two quantities to choose.

    Quantities are the numeric columns of the tables, and accuracies as measured and as published. A value has its raw
    number, its text as its table writes it, and its interval, if it has one.
    """
    points = _points(results, tables)
    axes = list(_columns(points, tables))
    others = list(_other_builds(results, networks, points.values(), axes))
    axes += _measured(points, results)
    axes += _accuracies([*points.values(), *others], networks)
    if len(axes) < 2:
        return None
    x, y = _shown_first(axes, points.values())
    drawn = [{"label": p.label, "kind": p.kind, "values": p.values} for p in (*points.values(), *others) if p.values]
    return {"axes": axes, "points": drawn, "x": x["id"], "y": y["id"]}


def _points(results: Sequence[Result], tables: Mapping[str, Table]) -> dict[_Key, _Point]:
    """Make the points without values, by what a table's row can be known by."""
    points = {
        key: _Point(result.subject.name, **_mark(label, hollow(result)), subject=builds.as_counted(result))
        for key, label, result in zip(_keys(map(head, results)), numbered(labels(results)), results, strict=True)
    }
    rows = tables["efficiency"].rows if "efficiency" in tables else ()
    for key, row in zip(_keys(rows), rows, strict=True):
        if "paper" in row:
            name, paper = row["name"], row["paper"]
            points[key] = _Point(name, f"{name} (paper {paper})", "published", paper)
    return points


def _keys(rows: Iterable[Mapping[str, Json]]) -> Iterator[_Key]:
    """Yield a key that rows of one result share in all tables: name, settings, and which of equal ones it is."""
    repeats: Counter[_Key] = Counter()
    for row in rows:
        names = ("name", "paper") if "paper" in row or "protocol" not in row else _SETTINGS
        key = tuple(f"{name}={row.get(name)}" for name in names)
        repeats[key] += 1
        yield (*key, str(repeats[key]))


def _columns(points: Mapping[_Key, _Point], tables: Mapping[str, Table]) -> Iterator[_Axis]:
    """Put the values of numeric columns into their points, and return the axes, without repeated ones."""
    seen: set[tuple[str, tuple[tuple[int, float], ...]]] = set()
    places = {key: place for place, key in enumerate(points)}
    for stem, table in tables.items():
        if any(column.key == "data" for column in table.columns):
            continue  # rows of several data sets, which share no axis: see _measured
        keyed = [(key, row) for key, row in zip(_keys(table.rows), table.rows, strict=True) if key in points]
        for column in table.columns:
            if column.key in _MEASURED:
                continue
            numbers = [(key, row) for key, row in keyed if _is_number(row.get(column.key))]
            values = (column.key, tuple(sorted((places[key], row[column.key]) for key, row in numbers)))
            if len(numbers) < _ENOUGH or values in seen:
                continue
            seen.add(values)
            axis = _quantity(stem, table, column)
            for key, row in numbers:
                points[key].values[axis["id"]] = _cell(column, row)
            yield axis


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _quantity(stem: str, table: Table, column: Column) -> _Axis:
    written = column.quantity or units.grouped
    return {
        "id": f"{stem}.{column.key}",
        "key": column.key,
        "title": column.heading,
        "group": table.title,
        "better": "higher" if column.key in _HIGHER else column.better or ("lower" if column.unit in _COSTS else None),
        "per": float(written.per),
        "prefixed": written.prefixed,
        "suffix": written.suffix,
    }


def _cell(column: Column, row: Mapping[str, Json]) -> Json:
    ends = row.get(column.interval) if column.quantity is not None else None
    between = column.quantity.between(ends) if column.quantity is not None and ends is not None else ""
    return _value(row[column.key], column.text(row), ends, between)


def _other_builds(
    results: Sequence[Result], networks: Mapping[str, ModelSpec], points: Iterable[_Point], axes: Iterable[_Axis]
) -> Iterator[_Point]:
    """Make a point for each build that published accuracies are of and that was only counted: what it counts."""
    measured = [point.subject for point in points if point.subject is not None]
    counts = {axis["key"]: axis["id"] for axis in axes if axis["key"] in _COUNTS}
    for view in distinct(builds.counted_builds(results)):
        its = view.subject
        build = builds.built(its)
        wanted = any(figure.conditions.build == build for figure in printed_of(networks.get(its.name)))
        if not wanted or any(other.name == its.name and builds.is_build(other, build) for other in measured):
            continue
        label = f"{its.name}, {units.size(its.input_shape or ())}, {its.num_classes} classes"
        cells = standard.counted(view)
        values = {counts[key]: _cell(column, cells) for key, column in _COUNTS.items() if key in counts}
        yield _Point(its.name, **_mark(label, hollow(view)), subject=its, values=values)


def _measured(points: Mapping[_Key, _Point], results: Sequence[Result]) -> Iterator[_Axis]:
    """Put measured accuracies into their points, and return an axis for the images of each data set and split."""
    values_of: dict[str, list[tuple[_Point, Json]]] = {}
    for key, result, data in zip(_keys(map(head, results)), results, data_names(results), strict=True):
        cells = measured_cells(result)
        if not cells:
            continue
        share, ends, passes = cells["top1_share"], cells["interval_share"], cells["passes"]
        value = _value(100 * share, units.percent(share), [100 * end for end in ends], units.percent.between(ends))
        value |= {"apart": f"{passes} augmented passes, of which the cost is one"} if passes else {}
        values_of.setdefault(data, []).append((points[key], value))
    for data, values in values_of.items():
        if len(values) < _ENOUGH:
            continue
        axis = f"measured.{data}"
        for point, value in values:
            point.values[axis] = value
        title = f"Accuracy on {data}, measured (%)"
        yield {"id": axis, "key": "accuracy", "title": title, "group": "As measured", "better": "higher"}


def _accuracies(points: Collection[_Point], networks: Mapping[str, ModelSpec]) -> Iterator[_Axis]:
    """Put published accuracies into their points, and return an axis for each data set and paper.

    Papers divide and clean a data set differently, so that accuracies of two papers do not share an axis. An accuracy
    goes to the points of its own build; without one, to the others, each with a note on the difference.
    """
    values_of: dict[tuple[str, str], list[tuple[_Point, Json]]] = {}
    for point in points:
        for figure in printed_of(networks.get(point.name), point.paper):
            of = figure.conditions
            same = [p for p in points if p.name == point.name and p.subject is not None]
            own = [p for p in same if p.subject is not None and builds.is_build(p.subject, of.build)]
            if point.subject is not None and own and point not in own:
                continue
            other = builds.apart(of, point.subject) if point.subject is not None else ""
            apart = "; ".join(filter(None, (other, builds.of_passes(of))))
            try:
                value = _value(percent(figure), f"{as_printed(figure)} ({figure.where})")
            except SheetError:  # no number; the table has it as printed
                continue
            value |= {"apart": apart} if apart else {}
            values_of.setdefault((figure.dataset, figure.paper), []).append((point, value))
    for (dataset, paper), values in sorted(values_of.items(), key=lambda item: item[0]):
        if len(values) < _ENOUGH:
            continue
        on = f" on {dataset}" if dataset else ""
        title = f"Accuracy{on}, paper {paper} (%)"
        axis = f"accuracy.{paper}.{dataset}"
        for point, value in values:
            point.values[axis] = value
        yield {"id": axis, "key": "accuracy", "title": title, "group": "As published", "better": "higher"}


def _shown_first(axes: Sequence[_Axis], points: Collection[_Point]) -> tuple[_Axis, _Axis]:
    """Choose the axes that a reader sees first: a cost, and the accuracy that most points have, else another cost."""

    def shown(axis: _Axis) -> int:
        return sum(axis["id"] in point.values for point in points)

    costs = [axis for key in _FIRST for axis in axes if axis["key"] == key]
    measured = [axis for axis in axes if axis["group"] == "As measured"]
    accuracies = measured or [axis for axis in axes if axis["key"] == "accuracy" and shown(axis) >= _WORTH_SHOWING]
    y = max(accuracies or costs[:1] or axes[:1], key=shown)
    return next(axis for axis in (*costs, *axes) if axis is not y), y
