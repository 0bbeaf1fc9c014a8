"""What a network costs and what papers print of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fer_bench import stability, units
from fer_bench.records import Result
from fer_bench.registry import ModelSpec, sheets
from fer_bench.report.baselines import accuracies, digits_of, published_rows
from fer_bench.report.common import (
    IMAGES_PER_S,
    INPUT,
    INTERVAL,
    LATENCY,
    MEAN,
    NETWORK,
    PARAMETERS,
    PER_IMAGE,
    Row,
    accuracy,
    comparable,
    conditions,
    exempt,
    failures,
    head,
    make_table,
    mean,
    varying,
    warnings_of,
)
from fer_bench.table import Column, Table
from fer_bench.tables import as_printed, built_with, doubts

_LATENCY_MEANS = (
    "Latency of a batch: mean of the processes' medians, and Student's interval over processes, in this session. "
    "Real time: below 41 ms an image, judged at batch 1 (paper 001). "
)
_PRINTED_FLOPS = " FLOPs as printed stand apart where the sheet does not say by which convention: they may be MACs."
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
        macs, taken = result.value("macs"), stability.summary(result)
        row = head(result) | {
            "num_classes": subject.num_classes,
            "macs": macs,
            "flops": None if macs is None else 2 * macs,
            "state_dict_bytes": result.value("state_dict_bytes"),
            "peak_memory_bytes": result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes"),
            "accuracy": accuracies(zoo[subject.name]) if subject.name in zoo else None,
        }
        if taken is not None:
            row |= accuracy(taken) | {
                "latency_s": taken.estimate_s,
                "mean_s": taken.mean_s if result.plan["protocol"] == "safavi2023" else None,
                "latency_per_image_s": None if taken.per_image_s == taken.estimate_s else taken.per_image_s,
                "images_per_s": taken.images_per_s,
                "real_time": taken.real_time,
            }
        rows.append(row)
        notes.append(
            (*_about(result), *failures(result), *stability.warnings(result), *_other_allocator(result, results))
        )
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
        Column("real_time", "Real time", lambda yes: "yes" if yes else "no"),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes),
        Column("accuracy", "Accuracy, as published", align="left"),
    )
    caption = (
        f"{conditions(results)} MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs. "
        f"{_LATENCY_MEANS if any('latency_s' in row for row in rows) else ''}"
        "Memory: peak above the idle process, code of libraries included, or allocated on the GPU. Accuracies are the "
        "papers' (paper, place); we measured none."
        f"{_PRINTED_FLOPS if any(row.get('printed_flops') for row in rows) else ''}"
    )
    return make_table("Efficiency", columns, rows, caption, notes, comparable=comparable(results))


def published(specs: Iterable[ModelSpec], results: Mapping[str, Result]) -> Table:
    """Put the costs that papers print beside ours, a row for each network and paper.

    Args:
        specs: the networks, whose sheets hold the figures.
        results: ours, by the network's name; without one, or where it failed, our cells stay empty.
    """
    rows, notes = [], []
    for spec in specs:
        ours = results.get(spec.name)
        for paper in sorted({figure.paper for figure in spec.published}):
            figures = {
                "printed_parameters": spec.figures("parameters", paper) or spec.figures("trainable_parameters", paper),
                "flops": spec.figures("flops", paper),
                "file_size": spec.figures("file_size", paper),
                "latency": spec.figures("latency", paper),
            }
            printed = {quantity: found[0] for quantity, found in figures.items() if found}
            if not printed:
                continue
            row: Row = {"name": spec.name, "paper": paper}
            row |= {quantity: as_printed(figure) for quantity, figure in printed.items()}
            row["where"] = ", ".join(dict.fromkeys(figure.where for figure in printed.values()))
            if ours is not None:
                taken = stability.summary(ours)
                row["our_parameters"] = ours.value("parameters.trainable")
                row["our_keras_total"] = ours.value("parameters.keras_total")
                row["our_macs"] = ours.value("macs")
                row["our_checkpoint_bytes"] = ours.value("checkpoint_bytes")
                row["our_latency_s"] = taken.estimate_s if taken is not None else None
            rows.append(row)
            notes.append(tuple(doubts(spec.status, spec.note, spec.uncertain)))
    pairs = {
        "printed_parameters": (
            Column("printed_parameters", "Parameters, printed"),
            Column("our_parameters", "Ours", units.grouped),
            Column("our_keras_total", "Ours by Keras", units.grouped),
        ),
        "flops": (Column("flops", '"FLOPs", printed'), Column("our_macs", "Our MACs", units.scaled)),
        "file_size": (
            Column("file_size", "Size, printed"),
            Column("our_checkpoint_bytes", "Ours (kB)", units.kilobytes),
        ),
        "latency": (Column("latency", "Time, printed"), Column("our_latency_s", "Our ms a batch", units.milliseconds)),
    }
    columns = [NETWORK, Column("paper", "Paper", align="left"), Column("where", "Where", align="left")]
    for quantity, pair in pairs.items():
        if any(quantity in row for row in rows):  # a quantity that no paper prints needs no columns
            columns += pair
    caption = (
        "Printed: digits and units as the paper has them, right or wrong; measured on its own machine. Ours by Keras: "
        "with the statistics of batch norm, as Keras prints a total. Sizes: a checkpoint with Adam's state."
    )
    return Table("Published figures beside ours", tuple(columns), tuple(rows), caption, tuple(notes))


def _about(result: Result) -> list[str]:
    """Say what the reader must know of a network: doubts, settings, another size than the protocol's, warnings."""
    subject = result.subject
    texts = doubts(subject.status, subject.note, subject.uncertain)
    if subject.settings:
        texts.append(built_with(subject.settings))
    return [*texts, *exempt(result), *warnings_of(result)]


def _other_allocator(result: Result, results: Sequence[Result]) -> list[str]:
    """Say how long it takes with memory given back to the kernel, where that was measured and makes a difference."""
    if result.plan.get("alloc") != "keep":
        return []
    for other in results:
        if other.subject == result.subject and other.plan == {**result.plan, "alloc": "system"}:
            kept, system = stability.summary(result), stability.summary(other)
            if kept is None or system is None or abs(system.estimate_s / kept.estimate_s - 1) < _ALLOC_DIFFERS:
                return []
            faults = mean(other, "minor_faults") or 0
            return [
                f"Memory kept; under the system's allocator, as deployed, {units.milliseconds(system.estimate_s)} ms "
                f"({100 * (system.estimate_s / kept.estimate_s - 1):+.0f} %, {faults:.0f} page faults a run)."
            ]
    return []
