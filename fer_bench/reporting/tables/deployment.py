"""Backends: what they run, whether it is the same network, and what it costs to deploy and to start."""

import math
from collections.abc import Sequence

from fer_bench.records import stats, units
from fer_bench.records.details import Delegation
from fer_bench.records.plan import TORCH
from fer_bench.records.result import Json, Result
from fer_bench.reporting.analysis import latency, parity
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import common, standard
from fer_bench.reporting.tables.common import Entry, make_table
from fer_bench.reporting.tables.standard import Row

_WAYS = "--mode eager,compile --layout nchw,nhwc"
_COLUMNS = (
    Column("version", "Version", align="left").with_origin("What the runtime says of itself.", "load_s"),
    Column("arithmetic", "Arithmetic", align="left").with_origin(
        "The lowest precision that the runtime reports to execute, not the one that was asked for.", "load_s"
    ),
    Column("verdict", "Parity", align="left").with_origin(
        "By the error against float64 in units of PyTorch's own, and of reduced precision by agreement on images.",
        parity.ERROR,
        parity.AGREES,
    ),
    Column("ratio", "Error / PyTorch's", units.number.with_digits(2), better=None).with_origin(
        "Root mean square error against float64, divided by that of PyTorch in float32; the worst output.", parity.ERROR
    ),
    Column("agreement", "Agreement (%)", align="left").with_origin(
        "Sources whose first class is PyTorch's, with Wilson's interval at 95 %.", parity.AGREES
    ),
    Column("kl", "KL (nats)", units.number.with_digits(2), better="lower").with_origin(
        "Mean divergence of the probabilities from PyTorch's, on images of the task.", parity.AGREES
    ),
    Column("snr_db", "SNR (dB)", units.number.with_digits(2)).with_origin(
        "Variance of PyTorch's scores between images, over the mean squared difference.", parity.AGREES
    ),
    Column("close", "Close", units.percent).with_origin(
        "Images of the task on which PyTorch's margin of the first class over the second is below the error.",
        parity.AGREES,
    ),
    Column("accuracy", "Accuracy (%)", align="left").with_origin(
        "Labelled sources that are recognised, with Wilson's interval at 95 %.", parity.AGREES
    ),
    Column("accuracy_torch", "PyTorch's accuracy (%)", align="left").with_origin(
        "Likewise, of PyTorch on the same images.", parity.AGREES
    ),
    Column("mcnemar_p", "McNemar's p", units.number.with_digits(2), better=None).with_origin(
        "Of the exact test on the sources that one recognises more often than the other.", parity.AGREES
    ),
    standard.LATENCY,
    standard.INTERVAL,
    Column("over_torch", "of PyTorch's best", units.percent, tolerance=standard.TOLERANCE).with_origin(
        "The latency, divided by the least of PyTorch's that was measured of the network and batch.", "latency_s"
    ),
    Column("fastest", "Fastest", align="left").with_origin(
        "Of the network's rows at its batch and threads: the least latency, and those whose intervals overlap it.",
        "latency_s",
    ),
    Column("artefact_bytes", "Artefact (MiB)", units.mebibytes).with_origin(
        "Bytes of all files that are deployed.", "artefact_bytes"
    ),
    Column("weights", "Weights", align="left").with_origin("Number types that the artefact stores.", "artefact_bytes"),
    Column("delegated", "Delegated", units.percent).with_origin(
        "Operators that XNNPACK runs, of all of ExecuTorch's or LiteRT's graph; the others have slower kernels.",
        "artefact_bytes",
        "load_s",
    ),
    Column("convert_s", "Conversion (s)", units.number.with_digits(2)).with_origin(
        "Export and conversion, once, when it was done.", "convert_s"
    ),
    Column("load_s", "Load (ms)", units.milliseconds.with_digits(2)).with_origin(
        "In a new process; the files are in the page cache.", "load_s"
    ),
    Column("first_pass_s", "First pass (ms)", units.milliseconds.with_digits(2)).with_origin(
        "The pass after loading.", "first_pass_s"
    ),
    Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes).with_origin(
        "Peak above the process that has imported the runtime, and PyTorch only where that needs it.",
        "peak_rss_bytes",
    ),
)


def deployment(results: Sequence[Result]) -> Table:
    """Draw backends beside PyTorch; no rows where all is PyTorch's."""
    deployed = {result.subject.name for result in results if result.plan.backend != TORCH}
    shown = [result for result in results if result.subject.name in deployed]
    entries = [_entry(result, shown) for result in shown]
    _mark_fastest(shown, entries)
    columns = (*common.head_columns(shown), *_COLUMNS)
    caption = common.joined(common.conditions(shown), common.latency_means(entries), _words(shown))
    return make_table("Deployment", columns, entries, caption, comparable=common.comparable(shown))


def different(results: Sequence[Result]) -> list[str]:
    """Name the results of backends that do not compute what the network does, or whose reduced precision failed."""
    bad = (parity.Kind.DIFFERENT, parity.Kind.FAILED)
    judged = [(result, parity.judge(result)) for result in results]
    return [
        f"{result.subject.name} by {result.plan.backend}: parity {verdict.kind.value}: {verdict.reason}"
        for result, verdict in judged
        if verdict is not None and verdict.kind in bad
    ]


def notes(result: Result) -> list[str]:
    """Say what a reader must know of a backend's row: of what its times are, and what was done to the network."""
    verdict, stored = parity.judge(result), result.value("stored_values")
    if verdict is None:
        of_file = "A model file, with no network beside it to compare it with: its parity is not known."
        held = f" It stores {units.grouped(stored)} numbers." if stored is not None else ""
        return [of_file + held] if common.detail(result, "artefact_bytes", "artefact") == "" else []
    found = [*(common.detail(result, "artefact_bytes", "notes") or ())]
    found = [f"{text[0].upper()}{text[1:]}." for text in found] + _left(result)
    if verdict.kind is parity.Kind.DIFFERENT:
        struck = latency.unjudged(result)
        time = f" The latency of {units.milliseconds(struck.estimate_s)} ms is struck out." if struck else ""
        return [f"Computes something else than the network: {verdict.reason}.{time}", *found]
    if verdict.kind not in (parity.Kind.SAME, parity.Kind.ORDER):
        found.insert(0, f"Parity {verdict.kind.value}: {verdict.reason}.")
    elif verdict.kind is parity.Kind.ORDER:
        found.insert(0, f"Parity: {verdict.reason}.")
    return found


def _entry(result: Result, results: Sequence[Result]) -> Entry:
    row, verdict, taken = common.head(result), parity.judge(result), latency.summary(result)
    runtime = result.environment.runtime if result.environment is not None else {}
    if runtime:
        row |= {"version": f"{runtime['name']} {runtime['version']}", "arithmetic": runtime["precision"]}
    if verdict is not None:
        row |= {"verdict": verdict.kind.value, "ratio": verdict.ratio}
        row |= _on_images(verdict.agreement) if verdict.agreement is not None else {}
    for metric in ("artefact_bytes", "convert_s", "load_s", "first_pass_s"):
        row[metric] = result.value(metric)
    row["weights"] = ", ".join(common.detail(result, "artefact_bytes", "weights") or ()) or None
    row["delegated"] = _delegated_share(result)
    row["peak_memory_bytes"] = result.value("peak_rss_bytes")
    if taken is not None:
        row |= common.latency_cells(taken)
        best = _best_of_torch(result, results)
        row["over_torch"] = taken.estimate_s / best if best and result.plan.backend != TORCH else None
    return Entry.of(result, row, *common.failures(result), *notes(result), *latency.warnings(result))


def _mark_fastest(results: Sequence[Result], entries: Sequence[Entry]) -> None:
    """Mark in each network's rows the fastest one, and those that are not significantly slower."""
    rows: dict[tuple[Json, ...], list[tuple[float, float, Row]]] = {}
    for result, entry in zip(results, entries, strict=True):
        if (estimate := entry.cells.get("latency_s")) is not None:
            low, high = entry.cells.get("interval_s") or (estimate, math.inf)  # one process says nothing of others
            rows.setdefault(_compared(result), []).append((low, high, entry.cells))
    for row in rows.values():
        _, most, fastest = min(row, key=lambda each: each[2]["latency_s"])
        near = [cells for low, _, cells in row if low <= most]
        if len(near) == len(row) > 1:  # nothing is known to be slower
            fastest["fastest"] = "least, none apart"
        for cells in near if len(near) < len(row) else ():
            cells["fastest"] = "fastest" if cells is fastest else "not apart from it"


def _compared(result: Result) -> tuple[Json, ...]:
    plan = result.plan
    return (*common.build_of(result), plan.batch_size, plan.threads, plan.device)


def _on_images(found: parity.Agreement) -> Row:
    """Return the cells of decisions on images of the task."""
    row: Row = {
        "agreement": _share(found.agreeing, found.sources, found.interval),
        "kl": found.kl[0],
        "snr_db": found.snr_db,
        "close": found.close,
    }
    if (known := found.accuracy) is not None:
        row |= {
            "accuracy": _share(known.backend, known.sources, known.backend_interval),
            "accuracy_torch": _share(known.torch, known.sources, known.torch_interval),
            "mcnemar_p": known.p,
        }
    return row


def _share(hits: float, sources: int, interval: stats.Interval) -> str:
    """Return a share as a cell has it: "98.2 (97.1 to 99.0) of 564"."""
    share, low, high = (units.significant(100 * value, 3) for value in (hits / sources, interval.low, interval.high))
    return f"{share} ({low} to {high}) of {sources}"


def _delegation(result: Result) -> Delegation | None:
    runtime = result.environment.runtime if result.environment is not None else {}
    found: Delegation | None = common.detail(result, "artefact_bytes", "delegation") or runtime.get("delegation")
    return found


def _delegated_share(result: Result) -> float | None:
    found = _delegation(result)
    operators = found["delegated"] + sum(found["left"].values()) if found else 0
    return found["delegated"] / operators if found and operators else None


def _left(result: Result, most: int = 3) -> list[str]:
    """Say which operators are not delegated, the most frequent ones by name."""
    found = _delegation(result)
    if not found or not found["left"]:
        return []
    named = ", ".join(f"{count} {name}" for name, count in list(found["left"].items())[:most])
    further = ", ..." if len(found["left"]) > most else ""
    return [f"Not delegated to XNNPACK, which runs the rest in {found['delegates']} part(s): {named}{further}."]


def _best_of_torch(result: Result, results: Sequence[Result]) -> float | None:
    """Return the least latency of PyTorch for the same network, batch, threads and device; None where none is known."""
    same = [
        taken.estimate_s
        for other in results
        if other.plan.backend == TORCH
        and _compared(other) == _compared(result)
        and (taken := latency.summary(other)) is not None
    ]
    return min(same, default=None)


def _words(results: Sequence[Result]) -> str:
    """Say what PyTorch was measured as, and in which state the runtimes were."""
    ways = sorted({f"{r.plan.mode} {r.plan.layout}" for r in results if r.plan.backend == TORCH})
    if not ways:
        torch = f"PyTorch was not measured beside them: --backend torch,... {_WAYS}."
    elif len(ways) < 4:
        torch = f"PyTorch was measured as {', '.join(ways)} only; its best may be another: {_WAYS}."
    else:
        torch = "PyTorch's best is the least of eager and compile, NCHW and NHWC."
    modes = {r.plan.runtime for r in results if r.plan.backend != TORCH}
    controlled = "Runtimes have the plan's threads, spinning, pinning and precision." if "controlled" in modes else ""
    shipped = "Shipped: as the runtime has them by itself." if "shipped" in modes else ""
    verdicts = (
        "Parity: the error against float64 is up to 4 times PyTorch's own (same arithmetic), up to 30 (other order), "
        "or more (reduced precision, or different: then the latency is struck out)."
    )
    return common.joined(verdicts, torch, controlled, shipped)
