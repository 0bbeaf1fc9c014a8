"""What is asked of a gate, and what it has found so far."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fer_bench.gating import limits, timing
from fer_bench.gating.pairs import Side
from fer_bench.gating.timing import DEFAULT_RULE, Rule
from fer_bench.gating.verdicts import Report, Verdict, Word
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.limits import NO_LIMITS, Budget
from fer_bench.records.plan import GATE, Plan
from fer_bench.records.result import Environment, Json


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
        registry: networks by name.
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
    registry: Registry = field(default_factory=Registry)

    def settings(self) -> dict[str, Json]:
        """Tell what decides a verdict."""
        return {
            "metrics": list(self.metrics),
            "min_effect": self.rule.least,
            "budget_s": self.rule.budget_s,
            "plan": self.plan.to_dict(),
            "limits": {name: str(limit) for name, limit in self.budget.set().items()},
            "declared": list(self.declared),
        }

    def budget_of(self, spec: ModelSpec) -> Budget:
        """Give the limits of a network: the command line's, and else its sheet's."""
        return self.budget.or_else(spec.gate)


@dataclass(slots=True)
class Gathered:
    """What a gate has found so far."""

    watcher: Watcher
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[Json] = field(default_factory=list)
    environment: Environment | None = None
    began: float = field(default_factory=time.perf_counter)

    def add(self, *verdicts: Verdict) -> None:
        """Keep verdicts and tell the watcher."""
        for verdict in verdicts:
            self.verdicts.append(verdict)
            self.watcher.done(verdict)

    def judge(self, network: str, metric: str, sides: Sequence[Side], rule: Rule) -> Verdict:
        """Measure pairs, keep them and give the verdict, which is not yet kept."""
        verdict, record = timing.judge(
            network, metric, sides[0], sides[1], rule, lambda told: self.watcher.stage(f"{network}: {told}")
        )
        self.records.append(record)
        return verdict

    def report(self, base: str, candidate: str, request: Request, **settings: Json) -> Report:
        """Give all that was found; settings by name stand for those of the request where others decided."""
        return Report(
            base,
            candidate,
            tuple(self.verdicts),
            request.settings() | settings,
            tuple(self.notes),
            self.environment,
            time.perf_counter() - self.began,
            tuple(self.records),
        )


def accepted(verdict: Verdict, reason: str) -> Verdict:
    """Mark a verdict as let pass."""
    return dataclasses.replace(verdict, accepted=" ".join(reason.split()))


def accept(verdict: Verdict, reason: str, trailers: Sequence[str] = ()) -> Verdict:
    """Mark what changed, or has nothing to be held against, as let pass, where there is a reason.

    Args:
        verdict: of any kind; one on a budget is never let pass: the budget is raised instead.
        reason: the command line's, for all networks.
        trailers: of commits, each "NETWORK: reason".
    """
    if verdict.word not in (Word.worse, Word.changed, Word.incomparable) or verdict.metric == limits.METRIC:
        return verdict
    for trailer in trailers:
        network, colon, why = trailer.partition(": ")
        if colon and network == verdict.network:
            reason = reason or why
    return accepted(verdict, reason) if reason else verdict


def command() -> str:
    """Give the command line, as the user would type it again."""
    return shlex.join(["fer-bench", *sys.argv[1:]])
