"""Carry out a gate: count and measure both sides, and gather the verdicts. The rules are elsewhere; here is the order.

Counts come first, since they are exact and cost seconds. A network whose code is the same on both sides, to the byte,
is not timed: only its code comes from a revision, so that nothing of it can have changed.
"""

import contextlib
import dataclasses
import datetime
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fer_bench import registry, stability, stats
from fer_bench.budget import NO_LIMITS, Budget
from fer_bench.errors import CountingError, FerBenchError, RevisionError, UnknownModelError
from fer_bench.gate import baseline as baselines
from fer_bench.gate import budgets, counts, stored, timing
from fer_bench.gate.pairs import Side
from fer_bench.gate.revisions import Repository, Revision
from fer_bench.gate.timing import DEFAULT_RULE, METRICS, Rule
from fer_bench.gate.verdicts import Report, Verdict, Word
from fer_bench.place import CODE, Place
from fer_bench.plan import EDGE, Plan
from fer_bench.processes import Starter
from fer_bench.records import Environment, Json, Result
from fer_bench.registry import ModelSpec
from fer_bench.runner import Task, measure

# What pairs are measured by: one thread on one core, which tells the network and not the machine.
GATE = Plan("gate", metrics=("latency",), threads=1, pin=True, time_limit_s=120.0)

# What a server imports beforehand, so that each process of a pair finds it there.
_LIBRARIES = ("timm:resnet18", "torchvision:resnet18")
_SETUP_S = 3600.0  # for a user's command that prepares a checkout
_SELF_TEST = "mobilenetv3_large"
_SELF_TEST_SLOWER = 0.05


class Watcher(Protocol):
    """Who is told how it goes on."""

    def stage(self, told: str) -> None: ...
    def done(self, verdict: Verdict) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of a gate.

    Attributes:
        models: networks; none for all that there are.
        metrics: of ``METRICS``, that are measured.
        rule: what decides.
        plan: how networks run.
        budget: limits, which stand for those of the sheets.
        accept: why whatever has changed is let pass, or "".
        unchanged: measure networks whose code is the same on both sides, too.
        setup: a shell command that prepares each checkout, or "".
        base_python: the interpreter of the base's own environment, or "".
        declared: what of the environment differs on purpose, by ``Environment``'s names.
        sheets: folders of a user's sheets.
    """

    models: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("latency",)
    rule: Rule = DEFAULT_RULE
    plan: Plan = GATE
    budget: Budget = NO_LIMITS
    accept: str = ""
    unchanged: bool = False
    setup: str = ""
    base_python: str = ""
    declared: tuple[str, ...] = ()
    sheets: tuple[Path, ...] = ()

    def settings(self) -> dict[str, Json]:
        """Tell what decides a verdict."""
        return {
            "metrics": list(self.metrics),
            "min_effect": self.rule.least,
            "budget_s": self.rule.budget_s,
            "plan": self.plan.to_dict(),
        }


@dataclass(slots=True)
class _Gathered:
    """What a gate has found so far."""

    watcher: Watcher
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[Json] = field(default_factory=list)
    environment: Environment | None = None
    began: float = field(default_factory=time.perf_counter)

    def add(self, *verdicts: Verdict) -> None:
        for verdict in verdicts:
            self.verdicts.append(verdict)
            self.watcher.done(verdict)

    def report(self, base: str, candidate: str, request: Request) -> Report:
        return Report(
            base,
            candidate,
            tuple(self.verdicts),
            request.settings(),
            tuple(self.notes),
            self.environment,
            time.perf_counter() - self.began,
            tuple(self.records),
        )


def against_revision(
    revision: str, candidate: str, request: Request, watcher: Watcher, *, timed: bool = True
) -> Report:
    """Hold the working tree, or another revision, against a revision: counts, then pairs of processes.

    Args:
        revision: of the base.
        candidate: a revision; "" for the working tree with its changes.
        request: the rest.
        watcher: told how it goes on.
        timed: measure; without, counts only.

    Raises:
        RevisionError: a revision is not to be had, or there is nothing to compare.
        UnknownModelError: neither side has a network that was named.
    """
    found = _Gathered(watcher)
    with Repository(Path.cwd(), request.sheets) as repository, contextlib.ExitStack() as stack:
        watcher.stage("checking out")
        base, head = repository.base(revision, candidate or "HEAD"), repository.candidate(candidate)
        if base.commit == head.commit and not head.changed and not request.unchanged:
            raise RevisionError(
                f"{revision} is the commit that would be judged ({head.told}), and nothing was changed since: there is "
                "nothing to compare. Name an earlier revision, or measure it against itself with --unchanged"
            )
        found.notes += [*base.notes, *head.notes]
        for side in (base, head):
            _set_up(side, request.setup, watcher)
        specs = _choose(base, head, repository, request, found)
        starters = [stack.enter_context(starter) for starter in _starters(request)]
        watcher.stage(f"counting {len(specs[1])} networks on both sides")
        results = _count_both((base.place, head.place), specs, starters, request)
        found.environment = next((r.environment for r in results[1].values() if r.environment is not None), None)
        apart = _apart(results, request.declared)
        reasons = repository.accepted(base, head)
        for name in specs[1]:
            known = [side.get(name) for side in specs], [side.get(name) for side in results]
            judged = _judge_network(name, *known, (base, head), starters, request, found, apart, timed=timed)
            found.add(*(_accept(verdict, request.accept, reasons) for verdict in judged))
        found.notes += budgets.unheld({name: _budget(spec, request) for name, spec in specs[1].items()}, ())
    return found.report(base.told, head.told, request)


def against_baseline(path: Path, request: Request, watcher: Watcher) -> Report:
    """Hold what networks count here against a baseline file; with a reason to accept it, write that anew.

    Raises:
        BaselineError: it cannot be read or written.
        UnknownModelError: there is no network that was named.
    """
    found = _Gathered(watcher)
    begun = bool(request.accept) and not path.exists()
    known = baselines.Baseline(command=request_command()) if begun else baselines.read(path)
    wanted = request.models or tuple(registry.list_models() if not known.networks else known.networks)
    specs = _here(wanted, known.networks)
    results = _count_here(specs, request, found)
    verdicts, notes = baselines.judge(known, results, wanted)
    unreadable = {name: why for name, result in results.items() if (why := _uncountable(result))}
    new_ones = unreadable.keys() - known.networks.keys()
    found.notes += notes
    if request.accept:
        kept = {name: result for name, result in results.items() if name not in unreadable}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        commit = found.environment.commit if found.environment else ""
        anew = baselines.with_accepted(known, kept, verdicts, reason=request.accept, when=today, commit=commit)
        baselines.write(path, anew)
        found.notes = [f"wrote {path}: {len(anew.networks)} networks"]
        new = sorted(kept.keys() - known.networks.keys())
        verdicts += [Verdict(name, counts.METRIC, Word.same, "new in the baseline") for name in new]
        verdicts = [
            _accepted(verdict, request.accept)
            if verdict.word is not Word.same and verdict.network not in unreadable
            else verdict
            for verdict in verdicts
        ]
    found.add(*verdicts, *(Verdict(name, counts.METRIC, Word.error, unreadable[name]) for name in sorted(new_ones)))
    _hold_budgets(specs, results, request, found)
    return found.report(f"baseline {path}", "the working tree", request)


def against_nothing(request: Request, watcher: Watcher) -> Report:
    """Hold networks against their budgets alone."""
    found = _Gathered(watcher)
    specs = _here(request.models or tuple(registry.list_models()), ())
    if not any(_budget(spec, request).set() for spec in specs.values()):
        raise FerBenchError(
            "there is nothing to hold the networks against: name --against REV, --baseline FILE or a limit such as "
            "--max-params 5M, or write a [NETWORK.gate] table into a sheet"
        )
    specs = {name: spec for name, spec in specs.items() if _budget(spec, request).set()}
    results = _count_here(specs, request, found)
    _hold_budgets(specs, results, request, found)
    return found.report("budgets", "the working tree", request)


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
    found = _Gathered(watcher)
    chosen = [result for result in base if not request.models or result.subject.name in request.models]
    missing = sorted(set(request.models) - {result.subject.name for result in chosen})
    found.add(*(Verdict(name, "counts", Word.incomparable, f"{told[0]} has no record of it") for name in missing))
    if not chosen and not missing:
        raise FerBenchError(f"{told[0]} holds no result")
    if candidate is None:
        candidate = list(_measure_anew(chosen, request, found))
    for one in chosen:
        twin = stored.twin(one, candidate)
        if twin is None:
            found.add(Verdict(one.subject.name, "counts", Word.incomparable, f"{told[1]} has no record of it"))
            continue
        found.environment = found.environment or twin.environment
        judged = stored.judge(one, twin, request.rule.least, request.declared)
        found.add(*(_accept(verdict, request.accept, ()) for verdict in judged))
    return found.report(*told, request)


def compare(told: tuple[str, str], tasks: tuple[Task, Task], request: Request, watcher: Watcher) -> Report:
    """Compare two networks, or two ways to run one, by pairs of processes."""
    found = _Gathered(watcher)
    network = " and ".join(dict.fromkeys(task.spec.name for task in tasks))
    with Starter(_LIBRARIES, fresh=request.plan.isolation == "fresh") as starter:
        counted = []
        for task in tasks:
            watcher.stage(f"counting {task.spec.name}")
            counted.append(measure(dataclasses.replace(task, plan=_counting(task.plan)), starter))
        found.environment = counted[1].environment
        found.notes += [_costs(*each) for each in zip(told, counted, strict=True)]
        for metric in request.metrics:
            sides = [Side(dataclasses.replace(task, plan=METRICS[metric].of(task.plan)), starter) for task in tasks]
            verdict, record = timing.judge(network, metric, sides[0], sides[1], request.rule, _stage(watcher, network))
            found.records.append(record)
            found.add(verdict)
    return found.report(*told, request)


def self_test(request: Request, watcher: Watcher) -> Report:
    """Try the gate on this machine: a network against itself, and against itself made 5 % slower."""
    found = _Gathered(watcher)
    spec = registry.find(request.models[0] if request.models else _SELF_TEST)
    with Starter(_LIBRARIES) as starter:
        for metric in request.metrics:
            task = Task(spec, METRICS[metric].of(request.plan))
            for slower, expected in ((0.0, Word.same), (_SELF_TEST_SLOWER, Word.worse)):
                name = f"{spec.name} {'made 5 % slower' if slower else 'against itself'}"
                sides = Side(task, starter), Side(task, starter, slower)
                verdict, record = timing.judge(name, metric, *sides, request.rule, _stage(watcher, name))
                found.records.append(record)
                if verdict.word is not expected:
                    said = f"{verdict.word} instead of {expected}: {verdict.said}; raise --min-effect or --budget-s"
                    verdict = dataclasses.replace(verdict, word=Word.error, said=said)
                elif slower:
                    verdict = dataclasses.replace(verdict, accepted="it was made slower")
                found.add(verdict)
    return found.report(spec.name, "the same", request)


def request_command() -> str:
    """Give the command line, as the user would type it again."""
    import shlex

    return shlex.join(["fer-bench", *sys.argv[1:]])


def _judge_network(
    name: str,
    specs: Sequence[ModelSpec | None],
    results: Sequence[Result | None],
    sides: tuple[Revision, Revision],
    starters: Sequence[Starter],
    request: Request,
    found: _Gathered,
    apart: str,
    *,
    timed: bool,
) -> Iterator[Verdict]:
    base, candidate = results
    assert candidate is not None and specs[1] is not None  # noqa: S101, PT018  # of the candidate's own networks
    if base is None or specs[0] is None:
        said = f"{sides[0].told} does not have it, so that nothing holds it yet; --accept REASON lets it pass"
        yield Verdict(name, counts.METRIC, Word.incomparable, said)
        return
    counted = counts.judge_results(name, base, candidate)
    yield counted
    yield from _held_counts(name, candidate, _budget(specs[1], request))
    if not timed or counted.word is Word.error:
        return
    if apart:
        yield from (Verdict(name, metric, Word.incomparable, apart) for metric in request.metrics)
        return
    code = [_code(base), _code(candidate)]
    if code[0] == code[1] and not request.unchanged and not request.base_python:
        known = "its code is the same on both sides" if code[0] else "none of its code is in the repository"
        yield from (Verdict(name, metric, Word.same, f"not measured: {known}") for metric in request.metrics)
        return
    for metric in request.metrics:
        plan = METRICS[metric].of(request.plan)
        tasks = [Task(spec, plan, place=side.place) for spec, side in zip((specs[0], specs[1]), sides, strict=True)]
        pair = [Side(task, starter) for task, starter in zip(tasks, _timing_starters(starters, request), strict=True)]
        verdict, record = timing.judge(name, metric, pair[0], pair[1], request.rule, _stage(found.watcher, name))
        found.records.append(record)
        yield verdict
        if (limit := _budget(specs[1], request).max_latency) is not None and metric == "latency":
            values = [each["values"][1] for each in record["pairs"]]
            yield budgets.judge_latency(name, limit, stats.interval(values))


def _timing_starters(starters: Sequence[Starter], request: Request) -> Sequence[Starter]:
    """Give the starters of the two sides: one server for both, so that nothing of its memory's layout tells them apart.

    Two environments have an interpreter each; their processes start from nothing, each with a layout of its own.
    """
    return starters if request.base_python else (starters[0], starters[0])


def _starters(request: Request) -> list[Starter]:
    apart = bool(request.base_python) or request.plan.isolation == "fresh"
    pythons = (request.base_python or sys.executable, sys.executable)
    for python in pythons:
        if not os.access(python, os.X_OK):
            raise FerBenchError(f"--base-python {python}: there is no such program; name the environment's bin/python")
    return [Starter(_LIBRARIES, fresh=apart, python=python) for python in pythons]


def _count_both(
    places: tuple[Place, Place],
    specs: Sequence[Mapping[str, ModelSpec]],
    starters: Sequence[Starter],
    request: Request,
) -> list[dict[str, Result]]:
    """Count both sides at once, each by its own processes; nothing is timed meanwhile."""
    for starter in starters:
        starter.begin()

    def count(side: int) -> dict[str, Result]:
        return _count(specs[side], starters[side], request, places[side])

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(count, (0, 1)))


def _count(
    specs: Mapping[str, ModelSpec], starter: Starter, request: Request, place: Place | None = None
) -> dict[str, Result]:
    environment: Environment | None = None
    found = {}
    for name, spec in specs.items():
        task = Task(spec, _counting(request.plan), place=place)
        found[name] = measure(task, starter, environment=environment)
        environment = environment or found[name].environment
    return found


def _counting(plan: Plan) -> Plan:
    """Give the plan of counting what a plan measures: one image, of the same size and for the same classes."""
    same = {name: getattr(plan, name) for name in ("input_size", "channels", "num_classes", "threads")}
    return dataclasses.replace(counts.COUNTS, **same)


def _count_here(specs: Mapping[str, ModelSpec], request: Request, found: _Gathered) -> dict[str, Result]:
    found.watcher.stage(f"counting {len(specs)} networks")
    with Starter(_LIBRARIES) as starter:
        results = _count(specs, starter, request)
    found.environment = next((r.environment for r in results.values() if r.environment is not None), None)
    return results


def _measure_anew(base: Sequence[Result], request: Request, found: _Gathered) -> Iterator[Result]:
    with Starter(_LIBRARIES) as starter:
        for result in base:
            found.watcher.stage(f"measuring {result.subject.name} as {result.plan['protocol']}")
            plan = dataclasses.replace(Plan.of(result.plan), metrics=_measured_metrics(result))
            subject = result.subject
            spec = registry.find(subject.name)
            plan = dataclasses.replace(plan, num_classes=subject.num_classes)
            yield measure(Task(spec, plan, subject.input_shape, subject.settings, subject.checkpoint), starter)


def _measured_metrics(result: Result) -> tuple[str, ...]:
    """Give what is to be measured to be held against a result: its counts, and the latency that it has."""
    return ("static", "anatomy", *(("latency",) if result.samples("latency_s") else ()))


def _hold_budgets(
    specs: Mapping[str, ModelSpec], results: Mapping[str, Result], request: Request, found: _Gathered
) -> None:
    """Hold counts against budgets, and latencies where the command line asks for a limit on them."""
    held = {name: _budget(spec, request) for name, spec in specs.items()}
    for name, result in results.items():
        found.add(*_held_counts(name, result, held[name]))
    if request.budget.max_latency is None:
        found.notes += budgets.unheld(held, ())
        return
    with Starter(_LIBRARIES) as starter:
        for name, spec in specs.items():
            found.watcher.stage(f"{name}: latency")
            plan = dataclasses.replace(EDGE, metrics=("latency",))
            taken = stability.summary(measure(Task(spec, plan), starter))
            limit = held[name].max_latency
            assert limit is not None  # noqa: S101  # the command line's
            if taken is None:
                found.add(Verdict(name, budgets.METRIC, Word.error, "its latency could not be measured"))
            else:
                found.add(budgets.judge_latency(name, limit, taken.interval))


def _held_counts(name: str, result: Result, budget: Budget) -> list[Verdict]:
    try:
        return budgets.judge(name, budget, counts.Snapshot.of(result))
    except CountingError as error:
        return [Verdict(name, budgets.METRIC, Word.error, str(error))] if budget.set() else []


def _uncountable(result: Result) -> str:
    try:
        counts.Snapshot.of(result)
    except CountingError as error:
        return str(error)
    return ""


def _budget(spec: ModelSpec, request: Request) -> Budget:
    return request.budget.or_else(spec.gate)


def _here(wanted: Sequence[str], known: Mapping[str, object] | Sequence[str]) -> dict[str, ModelSpec]:
    """Find networks by name; one that is gone is left to whoever knows it was there."""
    specs = {}
    for name in wanted:
        try:
            specs[name] = registry.find(name)
        except UnknownModelError:
            if name not in known:
                raise
    return specs


def _choose(
    base: Revision, head: Revision, repository: Repository, request: Request, found: _Gathered
) -> tuple[dict[str, ModelSpec], dict[str, ModelSpec]]:
    """Find the networks of each side: those named, or all that come from the repository.

    Raises:
        UnknownModelError: a name is none of the candidate's.
        FerBenchError: there is none.
    """
    with _reading(head.place):
        names = tuple(request.models) or _all_of(head.place)
        if not names:
            raise FerBenchError(
                "no network is named, and the repository has no sheets of any: --models nets.py:make_net, or --sheets "
                "FOLDER"
            )
        theirs = {name: registry.find(_within(name, repository.top)) for name in names}
    ours = {}
    with _reading(base.place):
        for name in theirs:
            with contextlib.suppress(UnknownModelError):
                ours[name] = registry.find(_within(name, repository.top))
        gone = sorted(set(_all_of(base.place)) - theirs.keys()) if not request.models else []
    if gone:
        found.notes.append(f"gone since {base.told}: {', '.join(gone)}")
    new = sorted(theirs.keys() - ours.keys())
    if new and not request.models:
        found.notes.append(f"new since {base.told}, with nothing to hold them against: {', '.join(new)}")
        theirs = {name: spec for name, spec in theirs.items() if name in ours}
    return ours, theirs


def _all_of(place: Place) -> tuple[str, ...]:
    """Name the networks whose code is at a place: the zoo in our own repository, or those of the user's sheets."""
    return tuple(registry.list_models() if place.zoo is not None else registry.list_users())


def _within(name: str, top: Path) -> str:
    """Give a network's name as it is in a checkout: a file's by a path from the current folder."""
    path, colon, factory = name.rpartition(":")
    if not (colon and path.endswith(".py") and Path(path).is_absolute()):
        return name
    if not Path(path).resolve().is_relative_to(top):
        raise RevisionError(f"{path} is outside of the repository {top}: no revision has it")
    return f"{os.path.relpath(Path(path).resolve(), Path.cwd().resolve())}:{factory}"


@contextlib.contextmanager
def _reading(place: Place) -> Iterator[None]:
    """Read the sheets of a place, and ours again afterwards."""
    with registry.elsewhere():
        place.use_sheets()
        yield


def _set_up(side: Revision, command: str, watcher: Watcher) -> None:
    if not command:
        return
    watcher.stage(f"setting up {side.told}")
    try:
        done = subprocess.run(  # noqa: S602  # the user's own command, in the user's own shell
            command, shell=True, cwd=side.place.folder, capture_output=True, text=True, timeout=_SETUP_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RevisionError(f"--setup did not end within {_SETUP_S:g} s in {side.told}") from error
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise RevisionError(f"--setup failed in {side.told} (exit code {done.returncode}): {' '.join(last)}")


def _apart(results: Sequence[Mapping[str, Result]], declared: Sequence[str]) -> str:
    """Say what of the two environments makes times not comparable, what was declared aside; "" for nothing."""
    found = [next((r.environment for r in side.values() if r.environment is not None), None) for side in results]
    if found[0] is None or found[1] is None:
        return ""
    return found[0].comparable_with(found[1], apart_from=declared)


def _code(result: Result) -> Mapping[str, str]:
    measured = result.measurement(CODE)
    return measured.details["files"] if measured is not None else {}


def _accepted(verdict: Verdict, reason: str) -> Verdict:
    return dataclasses.replace(verdict, accepted=" ".join(reason.split()))


def _accept(verdict: Verdict, reason: str, trailers: Sequence[str]) -> Verdict:
    """Mark what changed, or has nothing to be held against, as accepted: by the command line or a commit's trailer."""
    if verdict.word not in (Word.worse, Word.changed, Word.incomparable) or verdict.metric == budgets.METRIC:
        return verdict
    for trailer in trailers:
        network, colon, why = trailer.partition(": ")
        if colon and network == verdict.network:
            reason = reason or why
    return _accepted(verdict, reason) if reason else verdict


def _costs(told: str, result: Result) -> str:
    try:
        snapshot = counts.Snapshot.of(result)
    except CountingError as error:
        return f"{told}: {error}"
    return f"{told}: {snapshot.parameters:,} parameters, {snapshot.macs:,} MACs"


def _stage(watcher: Watcher, network: str) -> timing.Progress:
    return lambda told: watcher.stage(f"{network}: {told}")
