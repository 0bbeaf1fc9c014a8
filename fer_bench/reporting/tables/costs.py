"""What a network costs and what papers print of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import Figure, ModelSpec
from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.analysis import builds, latency
from fer_bench.reporting.table import Column, RowSource, Table
from fer_bench.reporting.tables import accuracy, common, deployment, environments, standard
from fer_bench.reporting.tables.baselines import accuracy_of, digits_of, published_rows, write_accuracies
from fer_bench.reporting.tables.catalogue import as_printed, doubts
from fer_bench.reporting.tables.common import Entry, make_table

_REAL_TIME = (
    "Real time: below 41 ms per image at batch 1 (paper 001); unclear where the interval, or for one process "
    "the middle 80 % of the passes, contains 41 ms."
)
_PRINTED_FLOPS = "Printed FLOPs have their own column where the sheet names no convention: they may be MACs."
_NONE = "none was measured here."
_ALLOC_DIFFERS = 0.02  # of the latency: below it the allocators' difference is not worth a note


@dataclass(frozen=True, slots=True)
class _Pair:
    """Printed figures and ours beside them: their quantities, of which the first that there is counts."""

    heading: str
    quantities: tuple[str, ...]
    ours: tuple[Column, ...]
    said: str = ""


def _beside(column: Column, heading: str, **changes: Any) -> Column:
    return replace(column, key=f"our_{column.key}", heading=f"fer_bench: {heading}", better=None, **changes)


_PAIRS = {
    "printed_parameters": _Pair(
        "Parameters, printed",
        ("parameters", "trainable_parameters"),
        (_beside(standard.PARAMETERS, "parameters", write=units.grouped), _beside(standard.KERAS_TOTAL, "by Keras")),
        standard.KERAS_TOTAL_IS,
    ),
    "flops": _Pair('"FLOPs", printed', ("flops",), (_beside(standard.MACS, "MACs"),), f"{standard.MACS_ARE}."),
    "file_size": _Pair(
        "Size, printed", ("file_size",), (_beside(standard.CHECKPOINT, "kB"),), "kB: a checkpoint with Adam's state."
    ),
    "latency": _Pair("Time, printed", ("latency",), (_beside(standard.LATENCY, "ms a batch"), standard.INTERVAL)),
}


def efficiency(results: Sequence[Result], registry: Registry, baselines: Iterable[ModelSpec] = ()) -> Table:
    """Draw what a paper's efficiency table shows: ours as measured, accuracies as published.

    Of the baselines, which are not measured, each has a row for each paper that published figures of it.
    """
    measured = [_efficiency_of(result, results, registry.networks) for result in results]
    entries = [*measured, *published_rows(baselines, registry.papers)]
    columns = (
        standard.NETWORK,
        standard.INPUT,
        standard.CLASSES,
        *common.varying(results),
        replace(standard.PARAMETERS, tolerance=digits_of("parameters")),
        replace(standard.MACS, tolerance=digits_of("macs")),
        replace(standard.FLOPS, tolerance=digits_of("flops")),
        Column(
            "printed_flops", "printed FLOPs, as the paper has them", units.scaled, tolerance=digits_of("printed_flops")
        ).with_origin("no sheet has FLOPs for it without a convention", evidence="paper"),
        standard.STATE_DICT,
        standard.LATENCY,
        standard.INTERVAL,
        standard.MEAN,
        standard.PER_IMAGE,
        standard.IMAGES_PER_S,
        Column("real_time", "Real time").with_origin(
            "Whether the interval, or for one process the middle 80 % of the passes, lies below 41 ms at batch 1; "
            "unclear where it contains 41 ms.",
            "latency_s",
        ),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes).with_origin(
            standard.MOST_MEMORY, "peak_cuda_allocated_bytes", "peak_rss_bytes"
        ),
        Column("accuracy", "Accuracy, as published", align="left").with_origin(
            "no sheet has an accuracy for it", evidence="paper"
        ),
        *accuracy.efficiency_columns(results),
    )
    caption = common.joined(
        common.conditions(results),
        f"{standard.MACS_ARE}; {standard.FLOPS_ARE}",
        common.latency_means(measured),
        _REAL_TIME if any(entry.cells.get("real_time") for entry in entries) else "",
        "Memory: peak above the idle process, library code included, or allocated on the GPU. Accuracies are as "
        "published (paper, place); "
        + ("measured ones are of the data in the notes." if any(accuracy.efficiency_columns(results)) else _NONE),
        _PRINTED_FLOPS if any(entry.cells.get("printed_flops") for entry in entries) else "",
    )
    return make_table("Efficiency", columns, entries, caption, comparable=common.comparable(results))


def _efficiency_of(result: Result, results: Sequence[Result], networks: common.Networks) -> Entry:
    spec, summary = networks.get(result.subject.name), latency.summary(result)
    accuracies = spec.figures("accuracy") if spec is not None else []
    row = common.head(result) | standard.counted(result)
    row["peak_memory_bytes"] = result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes")
    row["accuracy"] = write_accuracies(accuracies, builds.as_counted(result))
    if summary is not None:
        row |= common.timed(result, summary) | {"real_time": summary.real_time}
    cells, notes = accuracy.efficiency_cells(result)
    row |= cells
    notes += common.about(result, networks) + common.warnings_of(result) + common.failures(result)
    notes += common.shared(result) + deployment.notes(result)
    notes += latency.warnings(result) + _other_allocator(result, results)
    notes += _of_other_builds(accuracies, result, results)
    return Entry(row, notes, RowSource((result,), {"accuracy": accuracies}))


def _of_other_builds(accuracies: Iterable[Figure], result: Result, results: Sequence[Result]) -> list[str]:
    """Describe which accuracies are of another build than the row, and what that build costs where it was counted."""
    notes = []
    for figure in accuracies:
        of, said = figure.conditions, f"{accuracy_of(figure)} (paper {figure.paper}) is for"
        if passes := builds.of_passes(of):
            notes.append(f"{accuracy_of(figure)} (paper {figure.paper}): {passes}.")
        if of.build is None or builds.is_build(builds.as_counted(result), of.build):
            continue
        counted = builds.of_build(result.subject.name, of.build, [*results, *builds.counted_builds(results)])
        row = standard.counted(counted) if counted is not None else {}
        cost = [f"{standard.MACS.text(row)} MACs", f"{standard.PARAMETERS.text(row)} parameters"] if row else []
        notes.append(f"{said} another build: {': '.join(filter(None, (builds.written(*of.build), ', '.join(cost))))}.")
    return notes


def published(specs: Iterable[ModelSpec], results: Sequence[Result], networks: common.Networks) -> Table:
    """Put the costs that papers print beside ours, a row for each network, paper and way in which it was measured.

    Of several results that no setting distinguishes the first counts. Without one, or where it failed, our cells stay
    empty.
    """
    printed = [
        (spec, paper, figures)
        for spec in specs
        for paper in sorted({figure.paper for figure in spec.published})
        if (figures := _printed(spec, paper))
    ]
    pairs = {key: pair for key, pair in _PAIRS.items() if any(key in figures for *_, figures in printed)}
    names = {spec.name for spec, *_ in printed}
    used = [result for result in results if result.subject.name in names]
    settings = common.varying(used) if "latency" in pairs else []  # counts depend on none
    kept = common.distinct(used, settings)
    entries = []
    for spec, paper, figures in printed:
        first = {key: published[0] for key, published in figures.items()}
        row: standard.Row = {key: as_printed(figure) for key, figure in first.items()}
        row |= {"name": spec.name, "paper": paper}
        row["where"] = ", ".join(dict.fromkeys(figure.where for figure in first.values()))
        of_network = [result for result in kept if result.subject.name == spec.name]
        for result in of_network:
            ours = _ours(result, networks, with_latency="latency" in pairs)
            entries.append(Entry(ours.cells | row, ours.notes, RowSource((result,), figures)))
        if not of_network:
            entries.append(Entry(row, doubts(spec.status, spec.note, spec.uncertain), RowSource(figures=figures)))
    columns = [
        standard.NETWORK.with_origin("The network of the sheets."),
        Column("paper", "Paper", align="left").with_origin("The paper that the printed figures of the row are from."),
        Column("where", "Where", align="left").with_origin("Where the paper has the printed figures of the row."),
        standard.INPUT,
        standard.CLASSES,
        *settings,
    ]
    for key, pair in pairs.items():  # a quantity that no paper prints needs no columns
        missing = f"no sheet has a figure for {' or '.join(pair.quantities)} of it"
        columns += [Column(key, pair.heading).with_origin(missing, evidence="paper"), *pair.ours]
    caption = "Printed: digits and units as in the paper, right or wrong; measured on its own machine."
    if used:
        caption = common.joined(
            caption,
            f"fer_bench: {common.conditions(used) if 'latency' in pairs else environments.as_built(used)}",
            *(pair.said for pair in pairs.values()),
            common.latency_means(entries),
            "Of several measurements under the same settings the first is shown." if len(kept) < len(used) else "",
        )
    return make_table("Published figures beside ours", columns, entries, caption)


def _printed(spec: ModelSpec, paper: str) -> dict[str, list[Figure]]:
    printed = {}
    for key, pair in _PAIRS.items():
        figures = (spec.figures(quantity, paper) for quantity in pair.quantities)
        if of_first := next(filter(None, figures), None):
            printed[key] = of_first
    return printed


def _ours(result: Result, networks: common.Networks, *, with_latency: bool) -> Entry:
    row, summary = common.head(result), latency.summary(result)
    notes = common.about(result, networks) + common.failures(result)
    row |= {f"our_{key}": value for key, value in standard.counted(result).items()}
    if with_latency:
        notes += latency.warnings(result)
        if summary is not None:
            row |= common.latency_cells(summary) | {"our_latency_s": summary.estimate_s}
    return Entry.of(result, row, *notes)


def _other_allocator(result: Result, results: Sequence[Result]) -> list[str]:
    """Describe how long it takes with memory returned to the kernel, where that was measured and makes a difference."""
    if result.plan.alloc != "keep":
        return []
    wanted = (result.subject, replace(result.plan, alloc="system"))
    other = next((other for other in results if (other.subject, other.plan) == wanted), None)
    kept, system = latency.summary(result), latency.summary(other) if other is not None else None
    if other is None or kept is None or system is None:
        return []
    more, faults = system.estimate_s / kept.estimate_s - 1, common.mean(other, "minor_faults") or 0
    text = f"under the system's allocator, as deployed, {units.milliseconds(system.estimate_s)} ms"
    note = f"Memory kept; {text} ({100 * more:+.0f} %, {faults:.0f} page faults per run)."
    return [note] if abs(more) >= _ALLOC_DIFFERS else []
