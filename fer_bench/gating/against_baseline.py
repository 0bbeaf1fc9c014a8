"""Compare networks as they stand with a baseline file, or with absolute limits: no revision, no pairs."""

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fer_bench.gating import baseline as baselines
from fer_bench.gating import count_sides, counts, limits, timing
from fer_bench.gating.request import Findings, Report, Request, Watcher
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError, UnknownModelError
from fer_bench.records.plan import EDGE
from fer_bench.records.result import Result


def against_baseline(path: Path, request: Request, watcher: Watcher) -> Report:
    """Compare what networks count here with a baseline file; with a reason to accept it, write that anew.

    Raises:
        BaselineError: it cannot be read or written.
        UnknownModelError: there is no network that was named.
    """
    findings = Findings(watcher)
    begun = bool(request.accept) and not path.exists()
    known = baselines.Baseline(command=request.command) if begun else baselines.read(path)
    ours = request.registry
    every = (*known.networks, *ours.users_names()) if known.networks else ours.names()
    wanted = request.models or tuple(dict.fromkeys(every))
    specs = _here(wanted, known.networks, ours)
    results = _count_here(specs, request, findings)
    verdicts, notes = baselines.judge(known, results, wanted)
    unreadable = {name: why for name, result in results.items() if (why := counts.uncountable(result))}
    new = sorted(results.keys() - known.networks.keys() - unreadable.keys())
    if not request.accept:
        findings.notes += notes
        reason = "not in the baseline, so there is nothing to compare it with; --accept REASON adds it"
        named = [name for name in new if name in request.models]
        verdicts += [Verdict(name, counts.METRIC, Outcome.incomparable, reason) for name in named]
    else:
        kept = {name: result for name, result in results.items() if name not in unreadable}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        commit = findings.environment.commit if findings.environment else ""
        anew = baselines.with_accepted(known, kept, verdicts, reason=request.accept, when=today, commit=commit)
        baselines.write(path, anew)
        findings.notes.append(f"wrote {path}: {len(anew.networks)} networks")
        reason = " ".join(request.accept.split())
        for place, verdict in enumerate(verdicts):
            if verdict.outcome is not Outcome.same and verdict.network not in unreadable:
                verdicts[place] = dataclasses.replace(verdict, accepted=reason)
        verdicts += [Verdict(name, counts.METRIC, Outcome.same, "new in the baseline") for name in new]
    newly_unreadable = sorted(unreadable.keys() - known.networks.keys())
    verdicts += [Verdict(name, counts.METRIC, Outcome.error, unreadable[name]) for name in newly_unreadable]
    findings.add(*verdicts)
    return _with_budgets(f"baseline {path}", specs, results, request, findings)


def against_nothing(request: Request, watcher: Watcher) -> Report:
    """Compare networks with their budgets alone."""
    findings = Findings(watcher)
    specs = _here(request.models or tuple(request.registry.names()), (), request.registry)
    specs = {name: spec for name, spec in specs.items() if request.budget_of(spec).set()}
    if not specs:
        raise FerBenchError(
            "there is nothing to compare the networks with: name --against REV, --baseline FILE or a limit such as "
            "--max-params 5M, or write a [NETWORK.gate] table into a sheet"
        )
    results = _count_here(specs, request, findings)
    return _with_budgets("budgets", specs, results, request, findings)


def _count_here(specs: Mapping[str, ModelSpec], request: Request, findings: Findings) -> dict[str, Result]:
    findings.watcher.stage(f"counting {len(specs)} networks")
    with count_sides.new_starter(request.plan) as starter:
        results = count_sides.count(specs, starter, request.plan)
    findings.environment = count_sides.environment_of(results)
    return results


def _with_budgets(
    base: str, specs: Mapping[str, ModelSpec], results: Mapping[str, Result], request: Request, findings: Findings
) -> Report:
    """Compare counts with budgets, and latencies where the command line has a limit on them; report all."""
    most, plan = request.budget.max_latency, count_sides.counting(request.plan)
    for name, spec in specs.items():
        budget = request.budget_of(spec)
        findings.add(*limits.judge_counts_of(name, budget, results[name]))
        remedy = "--against REV --metrics {metric} measures it"
        findings.note_unchecked(name, budget, remedy, measured=("latency",) if most is not None else ())
    if most is not None:
        own = timing.is_own(request.plan)
        same = {name: getattr(request.plan, name) for name in ("device", *timing.WHAT)}
        chosen = dataclasses.replace(EDGE, **same) if own else request.plan
        plan = dataclasses.replace(chosen, metrics=("latency",))
        with count_sides.new_starter(plan) as starter:
            for name, spec in specs.items():
                findings.watcher.stage(f"{name}: latency")
                findings.add(limits.judge_latency_of(name, most, measure(Task(spec, plan), starter)))
    return findings.report(base, "the working tree", request, metrics=list(plan.metrics), plan=plan.to_dict())


def _here(wanted: Iterable[str], known: Collection[str], registry: Registry) -> dict[str, ModelSpec]:
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
