"""What a network costs and what papers print of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fer_bench.networks.registry import sheets
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import environments
from fer_bench.reporting.tables.baselines import accuracies, digits_of, published_rows
from fer_bench.reporting.tables.catalogue import as_printed, doubts
from fer_bench.reporting.tables.common import (
    IMAGES_PER_S,
    INPUT,
    INTERVAL,
    LATENCY,
    MEAN,
    NETWORK,
    PARAMETERS,
    PER_IMAGE,
    Row,
    about,
    comparable,
    conditions,
    failures,
    head,
    joined,
    latency_digits,
    latency_means,
    make_table,
    mean,
    varying,
    warnings_of,
)

_REAL_TIME = (
    "Real time: below 41 ms an image, judged at batch 1 (paper 001); unclear where the interval, or of one process "
    "the middle 80 % of the passes, holds that."
)
_PRINTED_FLOPS = "FLOPs as printed stand apart where the sheet does not say by which convention: they may be MACs."
_COUNTED = {
    "parameters": "parameters.trainable",
    "keras_total": "parameters.keras_total",
    "macs": "macs",
    "checkpoint_bytes": "checkpoint_bytes",
}
# What our figures are, by the printed ones beside which they stand.
_SAID = {
    "printed_parameters": "By Keras: with the statistics of batch norm, as Keras prints a total.",
    "flops": "MACs an image by conv+matmul-v1 (convolutions and matrix products).",
    "file_size": "kB: a checkpoint with Adam's state.",
}
_ALLOC_DIFFERS = 0.02  # of the latency: below it the allocators' difference is not worth a note


def efficiency(results: Sequence[Result], baselines: Iterable[ModelSpec] = ()) -> Table:
    """Draw what a paper's efficiency table shows: ours as measured, accuracies as published.

    Args:
        results: ours.
        baselines: what others published of networks that are not measured; each has a row for each of its papers.
    """
    zoo = sheets()
    rows, notes = [], []
    for result in results:
        subject = result.subject
        macs, taken = result.value("macs"), latency.summary(result)
        row = head(result) | {
            "macs": macs,
            "flops": None if macs is None else 2 * macs,
            "state_dict_bytes": result.value("state_dict_bytes"),
            "peak_memory_bytes": result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes"),
            "accuracy": accuracies(zoo[subject.name]) if subject.name in zoo else None,
        }
        if taken is not None:
            row |= latency_digits(taken) | {
                "latency_s": taken.estimate_s,
                "mean_s": taken.mean_s if result.plan.protocol == "safavi2023" else None,
                "latency_per_image_s": None if taken.per_image_s == taken.estimate_s else taken.per_image_s,
                "images_per_s": taken.images_per_s,
                "real_time": taken.real_time,
            }
        rows.append(row)
        notes.append(
            (
                *about(result),
                *warnings_of(result),
                *failures(result),
                *latency.warnings(result),
                *_other_allocator(result, results),
            )
        )
    timing = latency_means(rows)
    for row, texts in published_rows(baselines):
        rows.append(row)
        notes.append(texts)
    columns = (
        NETWORK,
        INPUT,
        Column("num_classes", "Classes"),
        *varying(results),
        replace(PARAMETERS, tolerance=digits_of("parameters")),
        Column("macs", "MACs", units.scaled, better="lower", tolerance=digits_of("macs")),
        Column("flops", "FLOPs", units.scaled, better="lower", tolerance=digits_of("flops")),
        Column(
            "printed_flops", "printed FLOPs, as the paper has them", units.scaled, tolerance=digits_of("printed_flops")
        ),
        Column("state_dict_bytes", "Size (MiB)", units.mebibytes, better="lower"),
        LATENCY,
        INTERVAL,
        MEAN,
        PER_IMAGE,
        IMAGES_PER_S,
        Column("real_time", "Real time"),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes),
        Column("accuracy", "Accuracy, as published", align="left"),
    )
    caption = joined(
        conditions(results),
        "MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs.",
        timing,
        _REAL_TIME if any(row.get("real_time") for row in rows) else "",
        "Memory: peak above the idle process, code of libraries included, or allocated on the GPU. Accuracies are the "
        "papers' (paper, place); we measured none.",
        _PRINTED_FLOPS if any(row.get("printed_flops") for row in rows) else "",
    )
    return make_table("Efficiency", columns, rows, caption, notes, comparable=comparable(results))


def published(specs: Iterable[ModelSpec], results: Sequence[Result]) -> Table:
    """Put the costs that papers print beside ours, a row for each network, paper and way in which it was measured.

    Args:
        specs: the networks, whose sheets hold the figures.
        results: ours; of several that no setting tells apart the first counts. Without one, or where it failed, our
            cells stay empty.
    """
    printed = [
        (spec, row)
        for spec in specs
        for paper in sorted({figure.paper for figure in spec.published})
        if (row := _printed(spec, paper))
    ]
    names = {spec.name for spec, _ in printed}
    used = [result for result in results if result.subject.name in names]
    timed = any("latency" in row for _, row in printed)
    settings = varying(used) if timed else []  # counts depend on none
    kept = _told_apart(used, settings)
    rows, notes = [], []
    for spec, row in printed:
        of_network: list[Result | None] = [result for result in kept if result.subject.name == spec.name]
        for result in of_network or [None]:
            rows.append(row | _ours(result, settings, timed=timed))
            notes.append(tuple(_doubts(spec, result, timed=timed)))
    pairs = {
        "printed_parameters": (
            Column("printed_parameters", "Parameters, printed"),
            Column("our_parameters", "fer_bench: parameters", units.grouped),
            Column("our_keras_total", "fer_bench: by Keras", units.grouped),
        ),
        "flops": (Column("flops", '"FLOPs", printed'), Column("our_macs", "fer_bench: MACs", units.scaled)),
        "file_size": (
            Column("file_size", "Size, printed"),
            Column("our_checkpoint_bytes", "fer_bench: kB", units.kilobytes),
        ),
        "latency": (
            Column("latency", "Time, printed"),
            replace(LATENCY, key="our_latency_s", heading="fer_bench: ms a batch", better=None),
            INTERVAL,
        ),
    }
    columns = [NETWORK, Column("paper", "Paper", align="left"), Column("where", "Where", align="left")]
    columns += [INPUT, Column("num_classes", "Classes"), *settings]
    for quantity, pair in pairs.items():
        if any(quantity in row for row in rows):  # a quantity that no paper prints needs no columns
            columns += pair
    caption = "Printed: digits and units as the paper has them, right or wrong; measured on its own machine."
    if used:
        built = f"as built with {environments.told('packages', used) or 'packages that no record tells'}."
        caption = joined(
            caption,
            f"fer_bench: {conditions(used) if timed else built}",
            *(said for quantity, said in _SAID.items() if any(quantity in row for row in rows)),
            latency_means([row | {"latency_s": row.get("our_latency_s")} for row in rows]),
            "Of several measurements under the same settings the first." if len(kept) < len(used) else "",
        )
    return make_table("Published figures beside ours", columns, rows, caption, notes)


def _printed(spec: ModelSpec, paper: str) -> Row:
    """Give what a paper prints of a network's costs, or nothing."""
    figures = {
        "printed_parameters": spec.figures("parameters", paper) or spec.figures("trainable_parameters", paper),
        "flops": spec.figures("flops", paper),
        "file_size": spec.figures("file_size", paper),
        "latency": spec.figures("latency", paper),
    }
    first = {quantity: found[0] for quantity, found in figures.items() if found}
    if not first:
        return {}
    row: Row = {"name": spec.name, "paper": paper} | {
        quantity: as_printed(figure) for quantity, figure in first.items()
    }
    return row | {"where": ", ".join(dict.fromkeys(figure.where for figure in first.values()))}


def _told_apart(results: Iterable[Result], settings: Iterable[Column]) -> list[Result]:
    """Give the first of the results that a table's columns and notes do not tell apart."""
    keys = [column.key for column in settings]
    found: dict[tuple[Json, ...], Result] = {}
    for result in results:
        row, subject = head(result), result.subject
        told = (subject.name, subject.input_shape, subject.num_classes, subject.settings, *(row[key] for key in keys))
        found.setdefault(told, result)
    return list(found.values())


def _ours(result: Result | None, settings: Iterable[Column], *, timed: bool) -> Row:
    """Give what stands beside the printed figures, and how it was measured."""
    if result is None:
        return {}
    told, taken = head(result), latency.summary(result)
    row = {key: told[key] for key in ("input_shape", "num_classes", *(column.key for column in settings))}
    row |= {f"our_{key}": result.value(metric) for key, metric in _COUNTED.items()}
    if timed and taken is not None:
        row |= latency_digits(taken) | {"our_latency_s": taken.estimate_s}
    return row


def _doubts(spec: ModelSpec, result: Result | None, *, timed: bool) -> list[str]:
    """Say how far a network can be trusted, and its latency."""
    if result is None:
        return doubts(spec.status, spec.note, spec.uncertain)
    return [*about(result), *failures(result), *(latency.warnings(result) if timed else ())]


def _other_allocator(result: Result, results: Sequence[Result]) -> list[str]:
    """Say how long it takes with memory given back to the kernel, where that was measured and makes a difference."""
    if result.plan.alloc != "keep":
        return []
    for other in results:
        if other.subject == result.subject and other.plan == replace(result.plan, alloc="system"):
            kept, system = latency.summary(result), latency.summary(other)
            if kept is None or system is None or abs(system.estimate_s / kept.estimate_s - 1) < _ALLOC_DIFFERS:
                return []
            faults = mean(other, "minor_faults") or 0
            return [
                f"Memory kept; under the system's allocator, as deployed, {units.milliseconds(system.estimate_s)} ms "
                f"({100 * (system.estimate_s / kept.estimate_s - 1):+.0f} %, {faults:.0f} page faults a run)."
            ]
    return []
