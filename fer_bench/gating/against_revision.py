"""Hold a revision, or the working tree, against another revision: counts, then pairs of processes.

Counts come first, since they are exact and cost seconds. A network whose code is the same on both sides, to the byte,
is not timed: only its code comes from a revision, so that nothing of it can have changed.
"""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_bench.gating import count_sides, counts, limits
from fer_bench.gating.pairs import Side
from fer_bench.gating.request import Gathered, Request, Watcher, accept
from fer_bench.gating.revisions import Repository, Revision
from fer_bench.gating.timing import METRICS
from fer_bench.gating.verdicts import Report, Verdict, Word
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.task import Task
from fer_bench.networks.place import CODE, Place
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import stats
from fer_bench.records.errors import FerBenchError, RevisionError, UnknownModelError
from fer_bench.records.limits import Budget
from fer_bench.records.result import Json, Result

_SETUP_S = 3600.0  # for a user's command that prepares a checkout

# What would measure what a budget limits, where it was not measured.
_ALONE = "`fer-bench gate --models NAME --max-latency TIME` measures a latency alone"
_NO_BASE = f"without a base there are no pairs; {_ALONE}"
_APART = f"the sides cannot be compared; {_ALONE}"
_NOT_TIMED = "--against REV --metric {metric} measures it"
_SAME_CODE = "the code is the same on both sides; --unchanged --metric {metric} measures it"
_OTHER_METRIC = "--metric {metric} measures it"


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
    found = Gathered(watcher)
    with Repository(Path.cwd(), request.registry.folders) as repository, contextlib.ExitStack() as stack:
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
        reasons = repository.accepted(base, head)
        specs = _choose(base, head, repository, request, reasons, found)
        starters = [stack.enter_context(starter) for starter in _starters(request)]
        watcher.stage(f"counting {len(specs[1])} networks on both sides")
        results = count_sides.count_both(specs, starters, request.plan, (base.place, head.place))
        found.environment = count_sides.environment_of(results[1])
        binaries = repository.binaries_changed(base, head)
        compared = _Compared((base, head), specs, results, starters, request, found, timed=timed, binaries=binaries)
        for name in specs[1]:
            found.add(*(accept(verdict, request.accept, reasons) for verdict in compared.judge(name)))
        for cure, left in compared.unheld.items():
            found.notes += limits.unheld(left, cure)
    return found.report(base.told, head.told, request)


@dataclass(slots=True)
class _Compared:
    """Two revisions, counted, whose networks are judged one by one.

    Attributes:
        sides, specs, results, starters: of the base and of the candidate.
        binaries: a binary file differs, which C++ may read unseen: nothing is the same to the byte then.
        unheld: what is left of networks' budgets, by what would measure it.
    """

    sides: tuple[Revision, Revision]
    specs: Sequence[Mapping[str, ModelSpec]]
    results: Sequence[Mapping[str, Result]]
    starters: Sequence[Starter]
    request: Request
    found: Gathered
    timed: bool
    binaries: bool
    unheld: dict[str, dict[str, Budget]] = field(default_factory=dict)

    def judge(self, name: str) -> Iterator[Verdict]:
        """Give the verdicts on a network of the candidate's."""
        candidate, budget = self.results[1][name], self.request.budget_of(self.specs[1][name])
        base = self.results[0].get(name)
        new = f"{self.sides[0].told} does not have it, so that nothing holds it yet; --accept REASON lets it pass"
        apart = _elsewhere(base, candidate) if base is not None else new
        if base is None or apart:
            if base is not None or self.request.models:  # of a new one that nobody named, a note tells
                yield Verdict(name, counts.METRIC, Word.incomparable, apart)
            yield from count_sides.judge_budget(name, candidate, budget)
            self._leave(name, budget, _NO_BASE if base is None else _APART)
            return
        counted = counts.judge_results(name, base, candidate)
        yield counted
        yield from count_sides.judge_budget(name, candidate, budget)
        if not self.timed or counted.word is Word.error:
            self._leave(name, budget, _NOT_TIMED)
            return
        if without := self._not_to_be_measured(name, base, candidate):
            word, said = without
            yield from (Verdict(name, metric, word, said) for metric in self.request.metrics)
            self._leave(name, budget, _SAME_CODE if word is Word.same else _APART)
            return
        yield from self._measure(name, budget)
        self._leave(name, limits.without(budget, self.request.metrics), _OTHER_METRIC)

    def _leave(self, name: str, budget: Budget, cure: str) -> None:
        """Note which limits of a network's nothing was held against, and what would measure that."""
        self.unheld.setdefault(cure, {})[name] = budget

    def _not_to_be_measured(self, name: str, base: Result, candidate: Result) -> tuple[Word, str] | None:
        """Say why a network is not measured, and the verdict that follows; None where it is."""
        environments = [count_sides.environment_of(side) for side in self.results]
        if environments[0] is not None and environments[1] is not None:
            apart = environments[0].comparable_with(environments[1], apart_from=self.request.declared)
            if apart:
                return Word.incomparable, apart
        code = [_code(side).get("files", {}) for side in (base, candidate)]
        alike = self.specs[0][name].builds_like(self.specs[1][name])
        same = code[0] == code[1] and alike and not self.binaries
        asked = self.request.unchanged or self.request.base_python or self.request.budget.max_latency is not None
        if asked or not same:
            return None
        return Word.same, "not measured: its code is the same on both sides"

    def _measure(self, name: str, budget: Budget) -> Iterator[Verdict]:
        # One server for both sides, so that nothing of its memory's layout tells them apart. Two environments have an
        # interpreter each; their processes start from nothing, each with a layout of its own.
        starters = self.starters if self.request.base_python else (self.starters[0], self.starters[0])
        for metric in self.request.metrics:
            plan = METRICS[metric].of(self.request.plan)
            tasks = [
                Task(spec[name], plan, place=side.place) for spec, side in zip(self.specs, self.sides, strict=True)
            ]
            sides = [Side(task, starter) for task, starter in zip(tasks, starters, strict=True)]
            verdict = self.found.judge(name, metric, sides, self.request.rule)
            yield verdict
            interval = stats.interval([pair["checks"][1] for pair in self.found.records[-1]["pairs"]])
            if metric == "latency" and budget.max_latency is not None:
                yield limits.judge_latency(name, budget.max_latency, interval)
            if metric == "memory" and budget.max_memory is not None:
                yield limits.judge_memory(name, budget.max_memory, interval)


def _starters(request: Request) -> list[Starter]:
    plan = dataclasses.replace(request.plan, isolation="fresh") if request.base_python else request.plan
    return [count_sides.new_starter(plan, request.base_python), count_sides.new_starter(plan)]


def _choose(
    base: Revision,
    head: Revision,
    repository: Repository,
    request: Request,
    reasons: Sequence[str],
    found: Gathered,
) -> tuple[dict[str, ModelSpec], dict[str, ModelSpec]]:
    """Find the networks of each side: those named, or all that come from the repository.

    Raises:
        UnknownModelError: a name is none of the candidate's.
        FerBenchError: there is none.
    """
    now, before = head.place.registry(), base.place.registry()
    names = tuple(request.models) or _all_of(head.place, now)
    if not names:
        raise FerBenchError(
            "no network is named, and the repository has no sheets of any: --models nets.py:make_net, or --sheets "
            "FOLDER"
        )
    theirs = {name: now.find(_within(name, repository.top)) for name in names}
    ours = {}
    for name in theirs:
        with contextlib.suppress(UnknownModelError):
            spec = before.find(_within(name, repository.top))
            if not spec.source.file or Path(base.place.folder, spec.source.file).is_file():
                ours[name] = spec
    gone = sorted(set(_all_of(base.place, before)) - theirs.keys()) if not request.models else []
    said = f"gone since {base.told}; if that is meant, --accept REASON lets it pass"
    lost = [Verdict(name, counts.METRIC, Word.incomparable, said) for name in gone]
    found.add(*(accept(verdict, request.accept, reasons) for verdict in lost))
    new = sorted(theirs.keys() - ours.keys())
    if new and not request.models:
        found.notes.append(f"new since {base.told}, with nothing but their budgets to hold them: {', '.join(new)}")
    return ours, theirs


def _all_of(place: Place, registry: Registry) -> tuple[str, ...]:
    """Name the networks whose code is at a place: the zoo in our own repository, or those of the user's sheets."""
    return tuple(registry.names() if place.zoo is not None else registry.users_names())


def _within(name: str, top: Path) -> str:
    """Give a network's name as it is in a checkout: a file's by a path from the current folder."""
    path, colon, factory = name.rpartition(":")
    if not (colon and path.endswith(".py") and Path(path).is_absolute()):
        return name
    if not Path(path).resolve().is_relative_to(top):
        raise RevisionError(f"{path} is outside of the repository {top}: no revision has it")
    return f"{os.path.relpath(Path(path).resolve(), Path.cwd().resolve())}:{factory}"


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
        said = last or ["it printed nothing; try it by hand in a clone at that revision"]
        raise RevisionError(f"--setup failed in {side.told} (exit code {done.returncode}): {said[0]}")


def _elsewhere(base: Result, candidate: Result) -> str:
    """Say that a network's code was not read from the revisions; "" where it was, or where a side failed."""
    if any(result.measurement(CODE) is None or count_sides.uncountable(result) for result in (base, candidate)):
        return ""
    told = [_code(base), _code(candidate)]
    if strays := sorted({stray for each in told for stray in each.get("strays", ())}):
        return (
            f"{strays[0]} was read where you work and not from the revision, so that both would run the same; put "
            "the folder that holds the package on PYTHONPATH"
        )
    if not any(each.get("files") for each in told):
        return (
            "none of its code comes from the revisions, so that both would run the same; if it is a package of "
            "this repository, put the folder that holds it on PYTHONPATH"
        )
    return ""


def _code(result: Result) -> Mapping[str, Json]:
    """Give what ``CodeRead`` found."""
    measured = result.measurement(CODE)
    return measured.details if measured is not None else {}
