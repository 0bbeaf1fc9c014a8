"""Whether a backend computes what PyTorch does: a verdict from errors against float64, as a result has them.

The unit is PyTorch's own error in float32. It needs no tolerance for each network: one whose outputs hardly differ, or
that rounds badly, is judged by how badly float32 rounds in it. docs/backends.md has the evidence for the bounds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fer_bench.accuracy.statistics import mcnemar
from fer_bench.records import stats, units
from fer_bench.records.plan import TORCH
from fer_bench.records.result import Json, Measurement, Result

ERROR, AGREES = "parity_error", "parity_agrees"
# Times PyTorch's own error. Float32 in another order stays below 4 (all of ours did), and TF32 or float16 weights, the
# nearest arithmetic with fewer bits, begin at 578.
SAME, OTHER_ORDER = 4.0, 30.0
# What an arithmetic explains, from its bits: eight times what rounding to them gives. Of int8 it is unknown.
EXPLAINED = {"float16": 2.0**16, "bfloat16": 2.0**19}
# PyTorch's own error as a share of what tells images apart, above which outputs do not differ between images.
_DEGENERATE = 0.01
_FLOAT32 = 2.0**-24  # no float32 is nearer to a number than this share of it


class Kind(Enum):
    """A verdict, as it is printed."""

    SAME = "same arithmetic"
    ORDER = "same arithmetic, other order"
    PASSED = "reduced precision (passed)"
    UNDECIDED = "reduced precision (not decidable)"
    FAILED = "reduced precision (failed)"
    DIFFERENT = "different"
    OPEN = "not decidable"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often PyTorch and the backend are right, on labelled images of the task.

    Attributes:
        sources: of the labelled images, independent of each other.
        torch, backend: sources for which each is right; of a source with several images the share of these.
        torch_interval, backend_interval: Wilson's, at 95 %.
        p: of McNemar's exact test, over the sources for which one is right more often than the other.
    """

    sources: int
    torch: float
    backend: float
    torch_interval: stats.Interval
    backend_interval: stats.Interval
    p: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the first class is PyTorch's, on images of the task.

    Attributes:
        agreeing: sources that agree; of a source with several images, such as a video, the share of these.
        sources: which are independent of each other.
        interval: Wilson's, at 95 %.
        kl: mean and largest divergence of the probabilities, in nats.
        close: the share of images whose margin is below the error.
        snr_db: of the scores.
        accuracy: of both, where there are labels.
    """

    agreeing: float
    sources: int
    interval: stats.Interval
    kl: tuple[float, float]
    close: float
    snr_db: float | None
    accuracy: Accuracy | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a backend's parity came to.

    Attributes:
        ratio: its error in units of PyTorch's own; None where there is none.
        reason: a sentence.
        agreement: on images of the task, where there are some.
    """

    kind: Kind
    ratio: float | None
    reason: str
    agreement: Agreement | None = None


def judge(result: Result) -> Verdict | None:
    """Return the verdict on a result's backend; None for PyTorch, and where parity was not looked at."""
    measured = result.measurement(ERROR) or result.measurement("parity")
    if result.plan.backend == TORCH or measured is None:
        return None
    if measured.failure:
        return Verdict(Kind.OPEN, None, measured.failure)
    details = measured.details
    if different := details.get("different"):
        return Verdict(Kind.DIFFERENT, None, different)
    outputs = _outputs(measured)
    ratio, decidable = max(each.ratio for each in outputs), any(each.decidable for each in outputs)
    arithmetic, error = details["arithmetic"], f"{units.significant(ratio, 2)} times PyTorch's own error"
    if ratio <= OTHER_ORDER:
        if not decidable:
            return Verdict(Kind.OPEN, ratio, "outputs do not differ between images by more than PyTorch's own rounding")
        return Verdict(Kind.SAME if ratio <= SAME else Kind.ORDER, ratio, f"{error}{_layers(details)}")
    if arithmetic == "float32":
        return Verdict(Kind.DIFFERENT, ratio, f"{error}, in float32 by its own report{_layers(details)}")
    if ratio > EXPLAINED.get(arithmetic, math.inf):
        return Verdict(Kind.DIFFERENT, ratio, f"{error}, more than {arithmetic} explains{_layers(details)}")
    return _reduced(result, ratio, f"{error}, in {arithmetic}")


def is_different(result: Result) -> bool:
    """Report whether a result's times are of something that computes something else than the network."""
    verdict = judge(result)
    return verdict is not None and verdict.kind is Kind.DIFFERENT


def _reduced(result: Result, ratio: float, error: str) -> Verdict:
    """Judge a reduced precision by the decisions of a trained network on images of the task, and by nothing else."""
    measured = result.measurement(AGREES)
    if measured is None or not measured.values:
        why = measured.failure if measured is not None and measured.failure else "no images of the task: --data FOLDER"
        return Verdict(Kind.UNDECIDED, ratio, f"{error}; {why}")
    agreement, limit = of_agreement(measured), result.plan.agreement_share
    said = (
        f"{error}; the first class is PyTorch's for {agreement.agreeing:.6g} of {agreement.sources} "
        f"sources, {_percent(agreement.interval.low)} to {_percent(agreement.interval.high)} % at 95 %"
    )
    if not measured.details.get("checkpoint"):
        why = "; the weights are random, and such a network's decisions say nothing: --checkpoint FILE"
        return Verdict(Kind.UNDECIDED, ratio, said + why, agreement)
    if agreement.interval.low >= limit:
        return Verdict(Kind.PASSED, ratio, said, agreement)
    if agreement.interval.high < limit:
        return Verdict(Kind.FAILED, ratio, f"{said}, and {_percent(limit)} % is asked for", agreement)
    return Verdict(Kind.UNDECIDED, ratio, f"{said}: more images are needed to tell from {_percent(limit)} %", agreement)


def of_agreement(measured: Measurement) -> Agreement:
    """Return what ``parity_agrees`` came to. Frames of one source are not independent: sources are counted."""
    details = measured.details
    shares = _by_source(measured.values, details["sources"])
    agreeing = math.fsum(shares.values())
    kl, margins, errors = (details[key] for key in ("kl", "margins", "errors"))
    return Agreement(
        agreeing,
        len(shares),
        stats.wilson(agreeing, len(shares)),
        (sum(kl) / len(kl), max(kl)),
        sum(margin < error for margin, error in zip(margins, errors, strict=True)) / len(margins),
        details.get("snr_db"),
        _accuracy(details),
    )


def _accuracy(details: Json) -> Accuracy | None:
    labels, eager, backend = (details.get(key, ()) for key in ("labels", "eager", "backend"))
    known = [place for place, label in enumerate(labels) if label is not None]
    if not known:
        return None
    sources = [details["sources"][place] for place in known]
    ours, theirs = (_by_source([first[n] == labels[n] for n in known], sources) for first in (eager, backend))
    torch, backend = (math.fsum(shares.values()) for shares in (ours, theirs))
    return Accuracy(
        len(ours),
        torch,
        backend,
        stats.wilson(torch, len(ours)),
        stats.wilson(backend, len(ours)),
        mcnemar(sum(ours[s] > theirs[s] for s in ours), sum(ours[s] < theirs[s] for s in ours)),
    )


def _by_source(values: Sequence[float], sources: Sequence[str]) -> dict[str, float]:
    """Return the mean of each source's values."""
    found: dict[str, list[float]] = {}
    for value, source in zip(values, sources, strict=True):
        found.setdefault(source, []).append(value)
    return {source: math.fsum(own) / len(own) for source, own in found.items()}


@dataclass(frozen=True, slots=True)
class _Output:
    """One output: the backend's error in units of PyTorch's, and whether it tells images apart."""

    ratio: float
    decidable: bool


def _outputs(measured: Measurement) -> list[_Output]:
    number = measured.details["outputs"]
    images = len(measured.values) // number
    found = []
    for at in range(number):
        theirs = _rms(measured.values[at * images : (at + 1) * images])
        own, spread, size = (_rms(measured.details[key][at]) for key in ("eager", "spread", "size"))
        unit = max(own, _FLOAT32 * size, 1e-300)
        found.append(_Output(theirs / unit, unit <= _DEGENERATE * spread))
    return found


def _rms(values: Sequence[float]) -> float:
    largest = max(values, default=0.0)
    return largest * math.sqrt(sum((value / largest) ** 2 for value in values) / len(values)) if largest else 0.0


def _layers(details: Json) -> str:
    """Name the layer that differs most, where that was looked for."""
    first: dict[str, Json] = next(iter(details.get("layers") or ()), {})
    return f"; most in {first['layer']}" if first.get("layer") else ""


def _percent(share: float) -> str:
    return units.significant(100 * share, 3)
