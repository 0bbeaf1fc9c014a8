"""Judge two stored results: counts exactly, times only where machine, settings and the machine's speed are the same.

A stored time is another session's. What all processes of a session share, a neighbour or a slower host, moved the
medians of one network by 4 % from session to session on a quiet two-core machine, and no interval within a session
knows of it. So the interval here is wider by that, and small changes stay inconclusive: pairs measured at one time
(``--against REV``) tell them.
"""

import math
import statistics
from collections.abc import Sequence

from fer_bench.gating import counts, decision
from fer_bench.gating.verdicts import Effect, Verdict, Word
from fer_bench.records import stats, units
from fer_bench.records.errors import CountingError
from fer_bench.records.result import Result, speeds_apart

LEVEL = 0.99  # of the interval: one gate is wrong in 1 % at most where only what it knows of differs
SESSION_SHARE = 0.04  # of a median, from one session to the next
# One process a side, as of pytest-benchmark, says nothing of how processes differ: with default malloc a network falls
# into one of two states that are 28 % apart.
ONE_PROCESS_SHARE = 0.30


def twin(result: Result, others: Sequence[Result]) -> Result | None:
    """Give the record of the same network under the same conditions, or else of the same network, the latest."""
    same = [other for other in others if other.subject.name == result.subject.name]
    alike = [other for other in same if not result.condition_apart(other)]
    return max(alike or same, key=lambda other: other.started_at, default=None)


def judge(base: Result, candidate: Result, least: float, declared: Sequence[str] = ()) -> list[Verdict]:
    """Give the verdict on counts, if a side has them, and on the latency, if the base has it.

    Args:
        base: the earlier record.
        candidate: the later one.
        least: the minimum effect, as a share.
        declared: what of the environment differs on purpose.
    """
    network = base.subject.name
    verdicts = []
    if _counted(base) or _counted(candidate):
        if _counted(base) and _counted(candidate):
            verdicts.append(counts.judge_results(network, base, candidate))
        else:
            lacking = "base" if not _counted(base) else "candidate"
            verdicts.append(Verdict(network, counts.METRIC, Word.incomparable, f"the {lacking} was not counted"))
    if base.measurement("latency_s") is not None or base.measurement("latency") is not None:
        verdicts.append(_latency(network, base, candidate, least, declared))
    return verdicts or [Verdict(network, counts.METRIC, Word.incomparable, "no record of counts or of a latency")]


def _counted(result: Result) -> bool:
    try:
        counts.Snapshot.of(result)
    except CountingError:
        return any(m.metric in counts.COUNTS.metrics and bool(m.failure) for m in result.measurements)
    return True


def _latency(network: str, base: Result, candidate: Result, least: float, declared: Sequence[str]) -> Verdict:
    for side, result in (("base", base), ("candidate", candidate)):
        if not result.samples("latency_s"):
            failed = result.measurement("latency_s") or result.measurement("latency")
            why = failed.failure if failed is not None else ""
            return Verdict(network, "latency", Word.error, f"the {side} has no latency{': ' if why else ''}{why}")
    if apart := base.condition_apart(candidate) or _environments(base, candidate, declared):
        return Verdict(network, "latency", Word.incomparable, apart)
    samples = [result.samples("latency_s") for result in (base, candidate)]
    effect = _effect(samples)
    word = decision.decide(effect, least) or Word.inconclusive
    medians = [stats.estimate([stats.median(one) for one in side]) for side in samples]
    details = [
        f"stored, not measured now: sessions differ by {100 * SESSION_SHARE:g} %, which the interval allows for; "
        "--against REV measures both sides now"
    ]
    if effect.level is None:
        details.append(f"one process a side tells only changes beyond {100 * ONE_PROCESS_SHARE:g} %")
    said = " -> ".join(map(units.milliseconds.number, medians)) + " ms"
    return Verdict(network, "latency", word, said, tuple(details), effect=effect)


def _effect(samples: Sequence[Sequence[Sequence[float]]]) -> Effect:
    """Give the change of processes' medians: with Welch's interval over processes and what sessions differ by.

    Of one process a side there is no such interval; what processes of one network differ by stands in its place.

    Args:
        samples: seconds of each pass of each process of the base, and of the candidate.
    """
    logs = [[math.log(stats.median(one)) for one in side] for side in samples]
    change = _between(logs)
    processes = min(map(len, logs))
    if processes < 2:  # a variance takes two
        level, half = None, math.log1p(ONE_PROCESS_SHARE)
    else:
        errors = [statistics.variance(side) / len(side) for side in logs]
        total = sum(errors)
        freedom = total**2 / sum(e**2 / (len(side) - 1) for e, side in zip(errors, logs, strict=True)) if total else 1.0
        level, half = LEVEL, stats.student_t(LEVEL, max(1, math.floor(freedom))) * math.sqrt(total)
        half += math.log1p(SESSION_SHARE)
    check = _between([[math.log(statistics.fmean(one)) for one in side] for side in samples])
    unit = "process a side" if processes == 1 else "processes a side"
    estimate, low, high = (math.expm1(end) for end in (change, change - half, change + half))
    return Effect(estimate, low, high, level, processes, math.expm1(check), unit)


def _between(logs: Sequence[Sequence[float]]) -> float:
    return statistics.fmean(logs[1]) - statistics.fmean(logs[0])


def _environments(base: Result, candidate: Result, declared: Sequence[str]) -> str:
    before, now = base.environment, candidate.environment
    if before is None or now is None or not (before.cpu and now.cpu):
        return "the environment of one side is not known"
    if apart := before.comparable_with(now, apart_from=declared):
        return apart
    told = speeds_apart(before.speeds, now.speeds)
    return f"the machine itself was {told}" if told else ""
