"""Compare what is no revision: stored results, two networks, two ways to run one, and a network with itself.

A stored time is another session's. A neighbour or a slower host affects all processes of a session alike. On a quiet
two-core machine the medians of one network moved by 4 % from session to session, which no interval within a session
includes. So the interval here is wider by that, and small changes stay inconclusive. Pairs measured at one time
(``--against REV``) resolve them.
"""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fer_bench.gating import accuracy, count_sides, counts, decision, limits
from fer_bench.gating.pairs import Side
from fer_bench.gating.request import Findings, Report, Request, Watcher, accept
from fer_bench.gating.timing import METRICS
from fer_bench.gating.verdicts import Effect, Outcome, Verdict
from fer_bench.measuring.runner import Machine, measure
from fer_bench.measuring.task import Task
from fer_bench.records import stats, units
from fer_bench.records.errors import FerBenchError, UnknownModelError
from fer_bench.records.plan import GATE, Plan
from fer_bench.records.result import Result, speeds_apart
from fer_bench.reporting.analysis import parity

Changed = tuple[Task, Mapping[str, Any]]  # a task, and what of a plan is another for it

_SELF_TEST = "mobilenetv3_large"
_SELF_TEST_SLOWER = 0.05

LEVEL = 0.99  # of the interval: one gate is wrong in 1 % at most where only what it knows of differs
SESSION_SHARE = 0.04  # of a median, from one session to the next
# One process a side, as of pytest-benchmark, does not show how processes differ. With default malloc a network falls
# into one of two states that are 28 % apart.
ONE_PROCESS_SHARE = 0.30


def against_results(
    names: tuple[str, str],
    base: Sequence[Result],
    candidate: Sequence[Result] | None,
    request: Request,
    watcher: Watcher,
) -> Report:
    """Compare results with stored ones: counts exactly, times where that is fair.

    Without a candidate the networks of the base are measured here and now, by the base's own plans.
    """
    findings = Findings(watcher)
    chosen = [result for result in base if not request.models or result.subject.name in request.models]
    missing = sorted(set(request.models) - {result.subject.name for result in chosen})
    if not chosen and not missing:
        raise FerBenchError(f"{names[0]} contains no result")
    findings.add(*(_incomparable(name, f"{names[0]} has no record of it") for name in missing))
    now = list(_measure_anew(chosen, request, findings)) if candidate is None else candidate
    for one in chosen:
        twin = find_twin(one, now)
        if twin is not None:
            findings.environment = findings.environment or twin.environment
            judged = [*judge(one, twin, request.rule.least, request.declared), *_limits(twin, request, findings)]
            findings.add(*(accept(verdict, request.accept) for verdict in judged))
        elif candidate is not None:  # else it could not be measured, which has its verdict
            findings.add(_incomparable(one.subject.name, f"{names[1]} has no record of it"))
    findings.add(*(accept(verdict, request.accept) for verdict in _accuracies(chosen, candidate, request)))
    plans = "those of the stored results"
    return findings.report(*names, request, metrics=["static", "latency"], budget_s=None, plan=plans)


def _accuracies(base: Sequence[Result], candidate: Sequence[Result] | None, request: Request) -> Iterator[Verdict]:
    """Yield the verdict on the accuracy of each network that was evaluated on both sides."""
    for name in dict.fromkeys(result.subject.name for result in base):
        before = [result for result in base if result.subject.name == name and accuracy.has_accuracy(result)]
        if before and candidate is None:
            reason = "no record has the path of data: evaluate again, and give that run as --candidate"
            yield Verdict(name, accuracy.METRIC, Outcome.incomparable, reason)
            continue
        of_name = [result for result in candidate or () if result.subject.name == name]
        after = [result for result in of_name if accuracy.has_accuracy(result)]
        if before and after:
            yield accuracy.judge(name, before, after, request.rule.least)


def compare(names: tuple[str, str], sides: tuple[Changed, Changed], request: Request, watcher: Watcher) -> Report:
    """Compare two networks, or two ways to run one, by pairs of processes."""
    findings = Findings(watcher)
    network = " and ".join(dict.fromkeys(task.spec.name for task, _ in sides))

    def task_by(plan: Plan, side: Changed) -> Task:
        task, changed = side
        return dataclasses.replace(task, plan=dataclasses.replace(plan, **changed))

    with count_sides.new_starter(request.plan) as starter:
        for name, side in zip(names, sides, strict=True):
            watcher.stage(f"counting {side[0].spec.name}")
            task = task_by(request.plan, side)
            result = measure(dataclasses.replace(task, plan=count_sides.counting(task.plan)), starter)
            findings.environment = result.environment
            findings.notes.append(f"{name}: {counts.uncountable(result) or counts.Snapshot.of(result).summary()}")
        for metric in request.metrics:
            pair = [Side(task_by(METRICS[metric].of(request.plan), side), starter) for side in sides]
            findings.add(findings.compare(network, metric, pair, request.rule).verdict)
    return findings.report(*names, request, changes=[dict(changed) for _, changed in sides])


def self_test(request: Request, watcher: Watcher) -> Report:
    """Try the gate here: a network against itself, and against itself made slower by the minimum effect, or 5 %."""
    findings = Findings(watcher)
    spec = request.registry.find(request.models[0] if request.models else _SELF_TEST)
    with count_sides.new_starter(request.plan) as starter:
        for metric in request.metrics:
            task = Task(spec, METRICS[metric].of(request.plan))
            for slower, expected in ((0.0, Outcome.same), (max(_SELF_TEST_SLOWER, request.rule.least), Outcome.worse)):
                name = f"{spec.name} {f'made {100 * slower:g} % slower' if slower else 'against itself'}"
                sides = Side(task, starter), Side(task, starter, slower)
                verdict = findings.compare(name, metric, sides, request.rule).verdict
                if verdict.outcome is not expected:
                    remedy = "raise --min-effect or --budget-s, or stop other programs"
                    reason = f"{verdict.outcome} instead of {expected}: {verdict.reason}; {remedy}"
                    verdict = dataclasses.replace(verdict, outcome=Outcome.error, reason=reason)
                elif slower:
                    verdict = dataclasses.replace(verdict, accepted="it was made slower")
                findings.add(verdict)
    return findings.report(spec.name, "the same", request)


def find_twin(result: Result, others: Sequence[Result]) -> Result | None:
    """Return the record of the same network under the same conditions, or else of the same network, the latest."""
    same = [other for other in others if other.subject.name == result.subject.name]
    alike = [other for other in same if not result.condition_apart(other)]
    return max(alike or same, key=lambda other: other.started_at, default=None)


def judge(base: Result, candidate: Result, least: float, declared: Sequence[str] = ()) -> list[Verdict]:
    """Return the verdict on counts, if a side has any or failed to count, and on the latency, if the base has it.

    ``least`` is the minimum effect, as a share; ``declared`` is what of the environment differs on purpose.
    """
    network = base.subject.name
    verdicts = []
    counted = [any(map(counts.is_count, side.measurements)) for side in (base, candidate)]
    if all(counted):
        verdicts.append(counts.judge_results(network, base, candidate))
    elif any(counted):
        lacking = "candidate" if counted[0] else "base"
        verdicts.append(_incomparable(network, f"the {lacking} was not counted"))
    if base.measurement("latency_s") is not None or base.measurement("latency") is not None:
        verdicts.append(_judge_latency(base, candidate, least, declared))
    return verdicts or [_incomparable(network, "no record of counts or of a latency")]


def _incomparable(network: str, reason: str) -> Verdict:
    return Verdict(network, counts.METRIC, Outcome.incomparable, reason)


def _judge_latency(base: Result, candidate: Result, least: float, declared: Sequence[str]) -> Verdict:
    network, samples = base.subject.name, [result.samples("latency_s") for result in (base, candidate)]
    for side, result, given in zip(("base", "candidate"), (base, candidate), samples, strict=True):
        if not given:
            failed = result.measurement("latency_s") or result.measurement("latency")
            why = f": {failed.failure}" if failed is not None and failed.failure else ""
            return Verdict(network, "latency", Outcome.error, f"the {side} has no latency{why}")
        if parity.is_different(result):
            reason = f"the {side}, by {result.plan.backend}, computes something else than the network"
            return Verdict(network, "latency", Outcome.error, reason)
    if apart := base.condition_apart(candidate) or _environments_apart(base, candidate, declared):
        return Verdict(network, "latency", Outcome.incomparable, apart)
    effect = _effect(samples)
    outcome = decision.decide(effect, least) or Outcome.inconclusive
    details = [
        f"stored, not measured now: sessions differ by {100 * SESSION_SHARE:g} %, which the interval allows for; "
        "--against REV measures both sides now"
    ]
    if effect.level is None:
        details.append(f"one process a side shows only changes beyond {100 * ONE_PROCESS_SHARE:g} %")
    medians = [stats.estimate([stats.median(one) for one in side]) for side in samples]
    reason = " -> ".join(map(units.milliseconds.number, medians)) + " ms"
    return Verdict(network, "latency", outcome, reason, tuple(details), effect=effect)


def _effect(samples: Sequence[Sequence[Sequence[float]]]) -> Effect:
    """Return the change of processes' medians: with Welch's interval over processes and what sessions differ by.

    Of one process a side there is no such interval; what processes of one network differ by stands in its place.
    Samples are the seconds of each pass of each process of the base, and of the candidate.
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


def _environments_apart(base: Result, candidate: Result, declared: Sequence[str]) -> str:
    before, now = base.environment, candidate.environment
    if before is None or now is None or not (before.cpu and now.cpu):
        return "the environment of one side is not known"
    slower = speeds_apart(before.speeds, now.speeds)
    return before.comparable_with(now, apart_from=declared) or (f"the machine itself was {slower}" if slower else "")


def _limits(result: Result, request: Request, findings: Findings) -> list[Verdict]:
    """Compare a record with the limits of its network, which may be of no sheet here."""
    name, budget = result.subject.name, request.budget
    with contextlib.suppress(UnknownModelError):
        budget = request.budget_of(request.registry.find(name))
    verdicts = limits.judge_counts_of(name, budget, result)
    measured = ("latency",) if result.measurement("latency_s") is not None else ()
    if budget.max_latency is not None and measured:
        verdicts.append(limits.judge_latency_of(name, budget.max_latency, result))
    findings.note_unchecked(
        name, budget, "the results do not contain it; --against REV --metrics {metric} measures it", measured
    )
    return verdicts


def _measure_anew(base: Sequence[Result], request: Request, findings: Findings) -> Iterator[Result]:
    """Measure networks as stored results were: their counts, and the latency where they have one."""
    with count_sides.new_starter(GATE) as starter:
        machine = Machine(starter, debug=False)
        for result in base:
            subject = result.subject
            findings.watcher.stage(f"measuring {subject.name} as {result.plan.protocol}")
            metrics = ("static", "anatomy", *(("latency",) if result.samples("latency_s") else ()))
            # A network of a pytest session shared its process with others; here it has one.
            plan = dataclasses.replace(
                result.plan, isolation="forked", metrics=metrics, num_classes=subject.num_classes
            )
            try:
                spec = request.registry.find(subject.name)
            except UnknownModelError as error:
                reason = f"it cannot be built here, but --candidate FILE names later results: {error}"
                findings.add(Verdict(subject.name, counts.METRIC, Outcome.error, reason))
                continue
            if subject.checkpoint:
                reason = f"it had the weights of {subject.checkpoint}, and no record has the path of that file"
                remedy = "measure it with `fer-bench run --checkpoint FILE` and give that run as --candidate"
                findings.add(Verdict(subject.name, counts.METRIC, Outcome.error, f"{reason}: {remedy}"))
                continue
            yield measure(Task(spec, plan, subject.input_shape, subject.settings), starter, machine)
