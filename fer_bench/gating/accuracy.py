"""Judge what a change does to a measured accuracy, from stored results. Pure functions.

With the same weights, as after a change of runtime or code, both sides are compared image by image. After a new
training no pair of networks shows what the change does: one recipe scatters by several points from seed to seed. So
several trainings a side are compared, and a single pair is incomparable.
"""

import math
import statistics
from collections.abc import Sequence

from fer_bench.accuracy.statistics import CONFUSION, Ends, scores_in
from fer_bench.gating import decision
from fer_bench.gating.verdicts import Effect, Outcome, Verdict
from fer_bench.records import stats
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Result

METRIC = "accuracy"
_OUTPUTS = "accuracy.predictions"
SEEDS = 5  # trainings a side, below which nothing is said


def has_accuracy(result: Result) -> bool:
    """Return whether a network was evaluated, or failed to be."""
    return any(measured.metric in (CONFUSION, METRIC) for measured in result.measurements)


def judge(network: str, base: Sequence[Result], candidate: Sequence[Result], least: float) -> Verdict:
    """Return the verdict on a network's accuracy.

    Args:
        network: its name.
        base: its results on that side: one, or one for each training.
        candidate: likewise.
        least: the minimum effect, as a difference of accuracies: 0.01 is one point.
    """
    for side, results in (("base", base), ("candidate", candidate)):
        for result in results:
            if scores_in(result) is None:
                failure = next((m.failure for m in result.measurements if m.metric == METRIC), "not evaluated")
                return Verdict(network, METRIC, Outcome.error, f"the {side} has no accuracy: {failure}")
    if len(base) == len(candidate) == 1 and _weights(base[0]) == _weights(candidate[0]):
        return _same_weights(network, base[0], candidate[0], least)
    if {_weights(one) for one in base} & {_weights(one) for one in candidate}:
        return Verdict(network, METRIC, Outcome.incomparable, "some weights are the same on both sides, and some not")
    return _trainings(network, base, candidate, least)


def _weights(result: Result) -> tuple[str, tuple[str, ...]]:
    """Return what the weights are known by: the file's hash, or how the network was built."""
    return result.subject.checkpoint.partition("(sha256 ")[2] or result.subject.checkpoint, result.subject.settings


def _same_weights(network: str, base: Result, candidate: Result, least: float) -> Verdict:
    """Compare two results image by image."""
    from fer_bench.accuracy.predictions import Predictions

    before, after = Predictions.of(base), Predictions.of(candidate)
    if before is None or after is None:
        return Verdict(network, METRIC, Outcome.error, "the outputs of one side are not stored")
    try:
        pair = before.paired(after)
    except FerBenchError as error:
        return Verdict(network, METRIC, Outcome.incomparable, str(error))
    if asked := _apart(base, candidate):
        return Verdict(network, METRIC, Outcome.incomparable, asked)
    outcome = _decided(pair.interval, least)
    details = [f"the same weights on the same {pair.images} images: {pair.first + pair.second} are judged differently"]
    if outcome is Outcome.inconclusive:
        wanted = pair.images_for(least)
        more = f"about {wanted:,} such images would decide" if wanted else "no number of such images would call it same"
        details.append(f"{more}, with a minimum effect of {100 * least:g} points")
    accuracies = [(pair.both + alone) / pair.images for alone in (pair.first, pair.second)]
    return Verdict(network, METRIC, outcome, _reason(accuracies, pair.difference, pair.interval), tuple(details))


def _apart(base: Result, candidate: Result) -> str:
    """Name the first condition of an accuracy that differs."""
    ours, theirs = (result.measurement(CONFUSION) for result in (base, candidate))
    if ours is None or theirs is None:
        return ""
    names = ("classes", "masked", "tta", "extra")
    pairs = ((name, ours.details.get(name), theirs.details.get(name)) for name in names)
    return next((f"{name}: {first} and {second}" for name, first, second in pairs if first != second), "")


def _trainings(network: str, base: Sequence[Result], candidate: Sequence[Result], least: float) -> Verdict:
    """Compare trainings a side by Welch's interval over them."""
    numbers = len(base), len(candidate)
    if min(numbers) < SEEDS:
        reason = f"retrained: {numbers[0]} and {numbers[1]} trainings; {SEEDS} a side, of different seeds, are needed"
        return Verdict(network, METRIC, Outcome.incomparable, reason)
    images = {one.details.get("images_sha256") for r in (*base, *candidate) if (one := r.measurement(_OUTPUTS))}
    if len(images) != 1:
        return Verdict(network, METRIC, Outcome.incomparable, "the trainings were evaluated on different images")
    sides = [[found.accuracy for one in side if (found := scores_in(one))] for side in (base, candidate)]
    means = [statistics.fmean(side) for side in sides]
    errors = [statistics.variance(side) / len(side) for side in sides]
    difference, total = means[1] - means[0], sum(errors)
    freedom = total**2 / sum(e**2 / (len(side) - 1) for e, side in zip(errors, sides, strict=True)) if total else 1.0
    half = stats.student_t(stats.LEVEL, max(1, math.floor(freedom))) * math.sqrt(total)
    ends = difference - half, difference + half
    details = [f"{numbers[0]} and {numbers[1]} trainings: the interval is Welch's over them"]
    return Verdict(network, METRIC, _decided(ends, least), _reason(means, difference, ends), tuple(details))


def _decided(ends: Ends, least: float) -> Outcome:
    """Return the verdict that an interval of the difference, candidate less base, allows."""
    low, high = ends
    loss = Effect(0.0, -high, -low, stats.LEVEL, 0, 0.0)
    return decision.decide(loss, least) or Outcome.inconclusive


def _reason(accuracies: Sequence[float], difference: float, ends: Ends) -> str:
    first, second = (f"{100 * accuracy:.2f}" for accuracy in accuracies)
    return f"{first} -> {second} %: {100 * difference:+.2f} points ({100 * ends[0]:+.2f} to {100 * ends[1]:+.2f})"
