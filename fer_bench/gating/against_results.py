"""Compare what is no revision: stored results, two networks, two ways to run one, and a network with itself."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fer_bench.gating import count_sides, counts, limits, stored_times
from fer_bench.gating.pairs import Side
from fer_bench.gating.request import Gathered, Request, Watcher, accept
from fer_bench.gating.timing import METRICS
from fer_bench.gating.verdicts import Report, Verdict, Word
from fer_bench.measuring.runner import Machine, measure
from fer_bench.measuring.task import Task
from fer_bench.records.errors import CountingError, FerBenchError, UnknownModelError
from fer_bench.records.plan import GATE
from fer_bench.records.result import Result

Changed = tuple[Task, Mapping[str, Any]]  # a task, and what of a plan is another for it

_SELF_TEST = "mobilenetv3_large"
_SELF_TEST_SLOWER = 0.05


def against_results(
    told: tuple[str, str],
    base: Sequence[Result],
    candidate: Sequence[Result] | None,
    request: Request,
    watcher: Watcher,
) -> Report:
    """Hold results, measured now unless they are given, against stored ones: counts exactly, times where that is fair.

    Args:
        told: the names of both.
        base: stored.
        candidate: stored, or None to measure the networks of the base here and now by the base's own plans.
        request: the rest.
        watcher: told how it goes on.
    """
    found = Gathered(watcher)
    chosen = [result for result in base if not request.models or result.subject.name in request.models]
    missing = sorted(set(request.models) - {result.subject.name for result in chosen})
    found.add(*(Verdict(name, "counts", Word.incomparable, f"{told[0]} has no record of it") for name in missing))
    if not chosen and not missing:
        raise FerBenchError(f"{told[0]} holds no result")
    now = list(_measure_anew(chosen, request, found)) if candidate is None else candidate
    for one in chosen:
        twin = stored_times.twin(one, now)
        if twin is None and candidate is not None:
            found.add(Verdict(one.subject.name, "counts", Word.incomparable, f"{told[1]} has no record of it"))
            continue
        if twin is None:  # it could not be measured, which is told
            continue
        found.environment = found.environment or twin.environment
        judged = [
            *stored_times.judge(one, twin, request.rule.least, request.declared),
            *_hold_budget(twin, request, found),
        ]
        found.add(*(accept(verdict, request.accept) for verdict in judged))
    plans = "those of the stored results"
    return found.report(*told, request, metrics=["static", "latency"], budget_s=None, plan=plans)


def compare(
    told: tuple[str, str],
    sides: tuple[Changed, Changed],
    request: Request,
    watcher: Watcher,
) -> Report:
    """Compare two networks, or two ways to run one, by pairs of processes.

    Args:
        told: what each is called.
        sides: a task each, and what of the request's plan is another for it.
        request: the rest.
        watcher: told how it goes on.
    """
    found = Gathered(watcher)
    network = " and ".join(dict.fromkeys(task.spec.name for task, _ in sides))
    with count_sides.new_starter(request.plan) as starter:
        counted = []
        for task, changed in sides:
            watcher.stage(f"counting {task.spec.name}")
            plan = count_sides.counting(dataclasses.replace(request.plan, **changed))
            counted.append(measure(dataclasses.replace(task, plan=plan), starter))
        found.environment = counted[1].environment
        found.notes += [_costs(*each) for each in zip(told, counted, strict=True)]
        for metric in request.metrics:
            plan = METRICS[metric].of(request.plan)
            pair = [
                Side(dataclasses.replace(task, plan=dataclasses.replace(plan, **changed)), starter)
                for task, changed in sides
            ]
            found.add(found.judge(network, metric, pair, request.rule))
    return found.report(*told, request, changes=[dict(changed) for _, changed in sides])


def self_test(request: Request, watcher: Watcher) -> Report:
    """Try the gate here: a network against itself, and against itself made slower by the minimum effect, or 5 %."""
    found = Gathered(watcher)
    spec = request.registry.find(request.models[0] if request.models else _SELF_TEST)
    with count_sides.new_starter(request.plan) as starter:
        for metric in request.metrics:
            task = Task(spec, METRICS[metric].of(request.plan))
            for slower, expected in ((0.0, Word.same), (max(_SELF_TEST_SLOWER, request.rule.least), Word.worse)):
                name = f"{spec.name} {f'made {100 * slower:g} % slower' if slower else 'against itself'}"
                sides = Side(task, starter), Side(task, starter, slower)
                verdict = found.judge(name, metric, sides, request.rule)
                if verdict.word is not expected:
                    cure = "raise --min-effect or --budget-s, or stop other programs"
                    said = f"{verdict.word} instead of {expected}: {verdict.said}; {cure}"
                    verdict = dataclasses.replace(verdict, word=Word.error, said=said)
                elif slower:
                    verdict = dataclasses.replace(verdict, accepted="it was made slower")
                found.add(verdict)
    return found.report(spec.name, "the same", request)


def _hold_budget(result: Result, request: Request, found: Gathered) -> list[Verdict]:
    """Hold what a record tells against the limits of its network, which may be of no sheet here."""
    name, budget = result.subject.name, request.budget
    with contextlib.suppress(UnknownModelError):
        budget = request.budget_of(request.registry.find(name))
    verdicts = count_sides.judge_budget(name, result, budget)
    if budget.max_latency is not None and result.measurement("latency_s") is not None:
        verdicts.append(limits.judge_latency_of(name, budget.max_latency, result))
        budget = limits.without(budget, ("latency",))
    found.notes += limits.unheld({name: budget}, "the results do not tell it; --against REV --metric {metric} does")
    return verdicts


def _measure_anew(base: Sequence[Result], request: Request, found: Gathered) -> Iterator[Result]:
    """Measure networks as stored results were: their counts, and the latency where they have one."""
    with count_sides.new_starter(GATE) as starter:
        machine = Machine(starter, debug=False)
        for result in base:
            subject = result.subject
            found.watcher.stage(f"measuring {subject.name} as {result.plan.protocol}")
            metrics = ("static", "anatomy", *(("latency",) if result.samples("latency_s") else ()))
            # A network of a pytest session shared its process with others; here it has one.
            plan = dataclasses.replace(
                result.plan, isolation="forked", metrics=metrics, num_classes=subject.num_classes
            )
            try:
                spec = request.registry.find(subject.name)
            except UnknownModelError as error:
                said = f"it cannot be built here, but --candidate FILE names later results: {error}"
                found.add(Verdict(subject.name, counts.METRIC, Word.error, said))
                continue
            task = Task(spec, plan, subject.input_shape, subject.settings, subject.checkpoint)
            yield measure(task, starter, machine)


def _costs(told: str, result: Result) -> str:
    try:
        snapshot = counts.Snapshot.of(result)
    except CountingError as error:
        return f"{told}: {error}"
    return f"{told}: {snapshot.parameters:,} parameters, {snapshot.macs:,} MACs"
