"""Hold networks as they stand against a baseline file, or against absolute limits: no revision, no pairs."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_bench.gating import baseline as baselines
from fer_bench.gating import count_sides, counts, limits, timing
from fer_bench.gating.request import Gathered, Request, Watcher, accepted, command
from fer_bench.gating.verdicts import Report, Verdict, Word
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError, UnknownModelError
from fer_bench.records.plan import EDGE, Plan
from fer_bench.records.result import Result

_NOT_MEASURED = "--against REV --metric {metric} measures it"  # what a budget limits


def against_baseline(path: Path, request: Request, watcher: Watcher) -> Report:
    """Hold what networks count here against a baseline file; with a reason to accept it, write that anew.

    Raises:
        BaselineError: it cannot be read or written.
        UnknownModelError: there is no network that was named.
    """
    found = Gathered(watcher)
    begun = bool(request.accept) and not path.exists()
    known = baselines.Baseline(command=command()) if begun else baselines.read(path)
    ours = request.registry
    every = (*known.networks, *ours.users_names()) if known.networks else ours.names()
    wanted = request.models or tuple(dict.fromkeys(every))
    specs = _here(wanted, known.networks, ours)
    results = _count_here(specs, request, found)
    verdicts, notes = baselines.judge(known, results, wanted)
    unreadable = {name: why for name, result in results.items() if (why := count_sides.uncountable(result))}
    new_ones = unreadable.keys() - known.networks.keys()
    found.notes += notes
    said = "not in the baseline, so that nothing holds it yet; --accept REASON adds it"
    new = sorted(results.keys() - known.networks.keys() - unreadable.keys())
    if not request.accept:
        verdicts += [Verdict(name, counts.METRIC, Word.incomparable, said) for name in new if name in request.models]
    else:
        kept = {name: result for name, result in results.items() if name not in unreadable}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        commit = found.environment.commit if found.environment else ""
        anew = baselines.with_accepted(known, kept, verdicts, reason=request.accept, when=today, commit=commit)
        baselines.write(path, anew)
        found.notes = [f"wrote {path}: {len(anew.networks)} networks"]
        verdicts += [Verdict(name, counts.METRIC, Word.same, "new in the baseline") for name in new]
        verdicts = [
            accepted(verdict, request.accept)
            if verdict.word is not Word.same and verdict.network not in unreadable
            else verdict
            for verdict in verdicts
        ]
    found.add(*verdicts, *(Verdict(name, counts.METRIC, Word.error, unreadable[name]) for name in sorted(new_ones)))
    plan = _hold_budgets(specs, results, request, found)
    return found.report(
        f"baseline {path}", "the working tree", request, metrics=list(plan.metrics), plan=plan.to_dict()
    )


def against_nothing(request: Request, watcher: Watcher) -> Report:
    """Hold networks against their budgets alone."""
    found = Gathered(watcher)
    specs = _here(request.models or tuple(request.registry.names()), (), request.registry)
    if not any(request.budget_of(spec).set() for spec in specs.values()):
        raise FerBenchError(
            "there is nothing to hold the networks against: name --against REV, --baseline FILE or a limit such as "
            "--max-params 5M, or write a [NETWORK.gate] table into a sheet"
        )
    specs = {name: spec for name, spec in specs.items() if request.budget_of(spec).set()}
    results = _count_here(specs, request, found)
    plan = _hold_budgets(specs, results, request, found)
    return found.report("budgets", "the working tree", request, metrics=list(plan.metrics), plan=plan.to_dict())


def _count_here(specs: Mapping[str, ModelSpec], request: Request, found: Gathered) -> dict[str, Result]:
    found.watcher.stage(f"counting {len(specs)} networks")
    with count_sides.new_starter(request.plan) as starter:
        results = count_sides.count(specs, starter, request.plan)
    found.environment = count_sides.environment_of(results)
    return results


def _hold_budgets(
    specs: Mapping[str, ModelSpec], results: Mapping[str, Result], request: Request, found: Gathered
) -> Plan:
    """Hold counts against budgets, and latencies where the command line asks for a limit on them; give the plan."""
    held = {name: request.budget_of(spec) for name, spec in specs.items()}
    for name, result in results.items():
        found.add(*count_sides.judge_budget(name, result, held[name]))
    if request.budget.max_latency is None:
        found.notes += limits.unheld(held, _NOT_MEASURED)
        return count_sides.counting(request.plan)
    own = timing.is_own(request.plan)
    chosen = dataclasses.replace(EDGE, device=request.plan.device) if own else request.plan
    plan = dataclasses.replace(chosen, metrics=("latency",))
    with count_sides.new_starter(plan) as starter:
        for name, spec in specs.items():
            found.watcher.stage(f"{name}: latency")
            found.add(limits.judge_latency_of(name, request.budget.max_latency, measure(Task(spec, plan), starter)))
    left = {name: limits.without(budget, plan.metrics) for name, budget in held.items()}
    found.notes += limits.unheld(left, _NOT_MEASURED)
    return plan


def _here(
    wanted: Sequence[str], known: Mapping[str, object] | Sequence[str], registry: Registry
) -> dict[str, ModelSpec]:
    """Find networks by name; one that is gone is left to whoever knows it was there."""
    specs = {}
    for name in wanted:
        try:
            spec = registry.find(name)
        except UnknownModelError:
            if name not in known:
                raise
            continue
        gone = spec.source.file and not Path(spec.source.file).is_file()
        if not gone or name not in known:
            specs[name] = spec
    return specs
