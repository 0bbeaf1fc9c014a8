"""Compare a revision, or the working tree, with another revision: counts, then pairs of processes.

Counts come first, since they are exact and cost seconds. A network whose code is the same on both sides, to the byte,
is not timed. Only its code comes from a revision, so nothing of it can have changed.
"""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_bench.gating import count_sides, counts, limits
from fer_bench.gating.pairs import Side
from fer_bench.gating.request import Findings, Report, Request, Watcher, accept
from fer_bench.gating.revisions import Repository, Revision
from fer_bench.gating.timing import METRICS
from fer_bench.gating.verdicts import Outcome, Verdict
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


def against_revision(
    revision: str, candidate: str, request: Request, watcher: Watcher, *, timed: bool = True
) -> Report:
    """Compare a candidate with a revision: counts, then pairs of processes where it is to be timed.

    The candidate is another revision, or with "" the working tree with its changes.

    Raises:
        RevisionError: a revision is not to be had, or there is nothing to compare.
        UnknownModelError: neither side has a network that was named.
    """
    findings = Findings(watcher)
    with Repository(Path.cwd(), request.registry.folders) as repository, contextlib.ExitStack() as stack:
        watcher.stage("checking out")
        base, head = repository.base(revision, candidate or "HEAD"), repository.candidate(candidate)
        if base.commit == head.commit and not head.changed and not request.unchanged:
            raise RevisionError(
                f"{revision} is the commit that would be judged ({head.label}), and nothing was changed since: "
                "there is nothing to compare. Name an earlier revision, or measure it against itself with --unchanged"
            )
        findings.notes += [*base.notes, *head.notes]
        for side in (base, head) if request.setup else ():
            watcher.stage(f"setting up {side.label}")
            _set_up(side, request.setup, repository.environment)
        reasons = repository.accepted(base, head)
        specs = _choose(base, head, repository, request, reasons, findings)
        plan = dataclasses.replace(request.plan, isolation="fresh") if request.base_python else request.plan
        pythons = (request.base_python, "")
        starters = [stack.enter_context(count_sides.new_starter(plan, python)) for python in pythons]
        watcher.stage(f"counting {len(specs[1])} networks on both sides")
        results = count_sides.count_both(specs, starters, request.plan, (base.place, head.place))
        findings.environment = count_sides.environment_of(results[1])
        binaries = repository.binaries_changed(base, head)
        sides = _Sides((base, head), specs, results, starters, request, findings, timed=timed, binaries=binaries)
        for name in specs[1]:
            findings.add(*(accept(verdict, request.accept, reasons) for verdict in sides.judge(name)))
    return findings.report(base.label, head.label, request)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Two revisions, counted, whose networks are judged one by one; sequences have the base's and the candidate's."""

    revisions: tuple[Revision, Revision]
    specs: Sequence[Mapping[str, ModelSpec]]
    results: Sequence[Mapping[str, Result]]
    starters: Sequence[Starter]
    request: Request
    findings: Findings
    timed: bool
    binaries: bool  # a binary file differs, which C++ may read unseen: nothing is the same to the byte then

    def judge(self, name: str) -> Iterator[Verdict]:
        """Yield the verdicts on a network of the candidate's, and note the limits that nothing was held against."""
        base, candidate = self.results[0].get(name), self.results[1][name]
        budget = self.request.budget_of(self.specs[1][name])
        alone = "`fer-bench gate --models NAME --max-latency TIME` measures a latency alone"
        apart = f"the sides cannot be compared; {alone}"
        measured: tuple[str, ...] = ()
        if base is None:
            if self.request.models:  # for a new one that nobody named there is a note
                new = f"{self.revisions[0].label} does not have it, so there is nothing to compare it with"
                yield Verdict(name, counts.METRIC, Outcome.incomparable, f"{new}; --accept REASON lets it pass")
            yield from limits.judge_counts_of(name, budget, candidate)
            remedy = f"without a base there are no pairs; {alone}"
        elif elsewhere := _read_elsewhere(base, candidate):
            yield Verdict(name, counts.METRIC, Outcome.incomparable, elsewhere)
            yield from limits.judge_counts_of(name, budget, candidate)
            remedy = apart
        else:
            counted = counts.judge_results(name, base, candidate)
            yield counted
            yield from limits.judge_counts_of(name, budget, candidate)
            if not self.timed or counted.outcome is Outcome.error:
                remedy = "--against REV --metrics {metric} measures it"
            elif different := self._environments_apart():
                yield from (Verdict(name, metric, Outcome.incomparable, different) for metric in self.request.metrics)
                remedy = apart
            elif self._same_code(name, base, candidate):
                reason = "not measured: its code is the same on both sides"
                yield from (Verdict(name, metric, Outcome.same, reason) for metric in self.request.metrics)
                remedy = "the code is the same on both sides; --unchanged --metrics {metric} measures it"
            else:
                yield from self._measure(name, budget)
                measured, remedy = self.request.metrics, "--metrics {metric} measures it"
        self.findings.note_unchecked(name, budget, remedy, measured)

    def _environments_apart(self) -> str:
        base, candidate = map(count_sides.environment_of, self.results)
        return base.comparable_with(candidate, apart_from=self.request.declared) if base and candidate else ""

    def _same_code(self, name: str, base: Result, candidate: Result) -> bool:
        if self.request.unchanged or self.request.base_python or self.request.budget.max_latency is not None:
            return False
        same = _code(base).get("files", {}) == _code(candidate).get("files", {})
        return same and self.specs[0][name].builds_like(self.specs[1][name]) and not self.binaries

    def _measure(self, name: str, budget: Budget) -> Iterator[Verdict]:
        # One server for both sides, so that its memory's layout does not differ between them. Two environments have an
        # interpreter each; their processes start from nothing, each with a layout of its own.
        starters = self.starters if self.request.base_python else (self.starters[0], self.starters[0])
        for metric in self.request.metrics:
            plan = METRICS[metric].of(self.request.plan)
            sides = [
                Side(Task(specs[name], plan, place=revision.place), starter)
                for specs, revision, starter in zip(self.specs, self.revisions, starters, strict=True)
            ]
            comparison = self.findings.compare(name, metric, sides, self.request.rule)
            yield comparison.verdict
            limit = budget.set().get(f"max_{metric}")
            if limit is not None:
                interval = stats.interval([pair.checks[1] for pair in comparison.pairs])
                yield limits.judge_measured(name, metric, limit, interval)


def _choose(
    base: Revision, head: Revision, repository: Repository, request: Request, reasons: Sequence[str], found: Findings
) -> tuple[dict[str, ModelSpec], dict[str, ModelSpec]]:
    """Find the networks of each side: those named, or all that come from the repository."""
    now, before = head.place.registry(), base.place.registry()
    names = request.models or _all_of(head.place, now)
    if not names:
        raise FerBenchError(
            "no network is named, and the repository has no sheets of any: --models nets.py:make_net, or --sheets "
            "FOLDER"
        )
    theirs = {name: now.find(_within(name, repository)) for name in names}
    ours = {}
    for name in theirs:
        with contextlib.suppress(UnknownModelError):
            spec = before.find(_within(name, repository))
            if not spec.source.file or Path(base.place.folder, spec.source.file).is_file():
                ours[name] = spec
    gone = sorted(set(_all_of(base.place, before)) - theirs.keys()) if not request.models else []
    said = f"gone since {base.label}; if that is intended, --accept REASON lets it pass"
    lost = (Verdict(name, counts.METRIC, Outcome.incomparable, said) for name in gone)
    found.add(*(accept(verdict, request.accept, reasons) for verdict in lost))
    new = sorted(theirs.keys() - ours.keys())
    if new and not request.models:
        found.notes.append(f"new since {base.label}, compared with their budgets only: {', '.join(new)}")
    return ours, theirs


def _all_of(place: Place, registry: Registry) -> tuple[str, ...]:
    """Return the networks whose code is at a place: the zoo in our own repository, or those of the user's sheets."""
    return tuple(registry.names() if place.zoo is not None else registry.users_names())


def _within(name: str, repository: Repository) -> str:
    """Return a network's name as it is in a checkout: a file's by a path from the current folder."""
    path, colon, factory = name.rpartition(":")
    if not (colon and path.endswith(".py") and Path(path).is_absolute()):
        return name
    repository.inside(Path(path))
    return f"{os.path.relpath(Path(path).resolve(), Path.cwd().resolve())}:{factory}"


def _set_up(side: Revision, command: str, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(  # noqa: S602  # the user's own command, in the user's own shell
            command,
            shell=True,
            cwd=side.place.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SETUP_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RevisionError(f"--setup did not end within {_SETUP_S:g} s in {side.label}") from error
    if done.returncode:
        printed = (done.stdout + done.stderr).strip().splitlines()
        last = printed[-1] if printed else "it printed nothing; run it by hand in a clone at that revision"
        raise RevisionError(f"--setup failed in {side.label} (exit code {done.returncode}): {last}")


def _read_elsewhere(base: Result, candidate: Result) -> str:
    """Return why a network's code was not read from the revisions; "" where it was, or where a side failed."""
    if any(result.measurement(CODE) is None or counts.uncountable(result) for result in (base, candidate)):
        return ""
    code = [_code(base), _code(candidate)]
    same = "so both sides would run the same code"
    if strays := sorted({stray for side in code for stray in side.get("strays", ())}):
        remedy = "put the folder that holds the package on PYTHONPATH"
        return f"{strays[0]} was read from your working folder, not from the revision, {same}; {remedy}"
    if not any(side.get("files") for side in code):
        remedy = "if it is a package of this repository, put the folder that holds it on PYTHONPATH"
        return f"none of its code comes from the revisions, {same}; {remedy}"
    return ""


def _code(result: Result) -> Mapping[str, Json]:
    """Return what ``CodeRead`` recorded."""
    measured = result.measurement(CODE)
    return measured.details if measured is not None else {}
