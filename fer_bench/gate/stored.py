"""Judge two stored results: counts exactly, times only where machine, settings and the machine's speed are the same.

A stored time is another session's. What all processes of a session share, a neighbour or a slower host, moved the
medians of one network by 4 % from session to session on a quiet two-core machine, and no interval within a session
knows of it. So the interval here is wider by that, and small changes stay inconclusive: pairs measured at one time
(``--against REV``) tell them.
"""

import math
from collections.abc import Sequence

from fer_bench import stats, units
from fer_bench.errors import CountingError
from fer_bench.gate import counts, rules
from fer_bench.gate.pairs import NAMES
from fer_bench.gate.verdicts import Effect, Verdict, Word
from fer_bench.records import Environment, Result

LEVEL = 0.99  # of the interval: one gate is wrong in 1 % at most where only what it knows of differs
SESSION_SHARE = 0.04  # of a median, from one session to the next
# One process a side, as of pytest-benchmark, says nothing of how processes differ: with default malloc a network falls
# into one of two states that are 28 % apart.
ONE_PROCESS_SHARE = 0.30
MACHINE_SHARE = 0.10  # by which the machine's own speed may differ before its times are another machine's


def twin(result: Result, others: Sequence[Result]) -> Result | None:
    """Give the record of the same network under the same conditions, or else of the same network, the latest."""
    same = [other for other in others if other.subject.name == result.subject.name]
    alike = [other for other in same if not result.condition_apart(other)]
    return max(alike or same, key=lambda other: other.started_at, default=None)


def judge(base: Result, candidate: Result, least: float, declared: Sequence[str] = ()) -> list[Verdict]:
    """Give the verdict on counts, if both have them, and on the latency, if both have it.

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
    medians = [[stats.median(one) for one in result.samples("latency_s")] for result in (base, candidate)]
    effect, one_process = _effect(medians)
    word = rules.decide(effect, least) or Word.inconclusive
    said = " -> ".join(units.milliseconds.number(stats.estimate(side)) for side in medians) + " ms"
    details = [
        f"stored, not measured now: sessions differ by {100 * SESSION_SHARE:g} %, which the interval allows for; "
        "--against REV measures both sides now"
    ]
    if one_process:
        details.append(f"one process a side tells only changes beyond {100 * ONE_PROCESS_SHARE:g} %")
    return Verdict(network, "latency", word, said, tuple(details), effect=effect)


def _effect(medians: Sequence[Sequence[float]]) -> tuple[Effect, bool]:
    """Give the change with its interval: Welch's over processes, and what sessions differ by."""
    logs = [[math.log(value) for value in side] for side in medians]
    means = [math.fsum(side) / len(side) for side in logs]
    change = means[1] - means[0]
    pairs = min(map(len, logs))
    one_process = pairs < 2  # a variance takes two
    if one_process:
        half = math.log1p(ONE_PROCESS_SHARE)
    else:
        errors = [
            math.fsum((value - mean) ** 2 for value in side) / (len(side) - 1) / len(side)
            for side, mean in zip(logs, means, strict=True)
        ]
        total = sum(errors)
        freedom = total**2 / sum(e**2 / (len(side) - 1) for e, side in zip(errors, logs, strict=True)) if total else 1.0
        half = stats.student_t(LEVEL, max(1, math.floor(freedom))) * math.sqrt(total) + math.log1p(SESSION_SHARE)
    ends = math.expm1(change - half), math.expm1(change + half)
    check = math.log(stats.median(medians[1]) / stats.median(medians[0]))
    return Effect(math.expm1(change), *ends, LEVEL, pairs, math.expm1(check)), one_process


def _environments(base: Result, candidate: Result, declared: Sequence[str]) -> str:
    known = [where for where in (base.environment, candidate.environment) if where is not None and where.cpu]
    if base.environment is None or candidate.environment is None or len(known) < len(NAMES):
        return "the environment of one side is not known"
    apart = base.environment.comparable_with(candidate.environment, apart_from=declared)
    return apart or _machine(base.environment, candidate.environment)


def _machine(base: Environment, candidate: Environment) -> str:
    """Say how far apart the speed is that the machine itself reached in the two sessions, where both tell."""
    now = candidate.speeds
    for kind, then in base.speeds.items():
        if kind in now and abs(math.log(now[kind] / then)) > math.log1p(MACHINE_SHARE):
            return f"the machine itself has {now[kind] / then:.2f} times the speed of then ({kind})"
    return ""
