"""What is asked of a gate, and what it has concluded so far."""

import dataclasses
import html
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fer_bench.gating import limits, timing
from fer_bench.gating.pairs import Side
from fer_bench.gating.timing import DEFAULT_RULE, Comparison, Rule
from fer_bench.gating.verdicts import EXIT_CODES, Outcome, Verdict
from fer_bench.measuring.runner import prepared
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import CANNOT_JUDGE, OK
from fer_bench.records.limits import NO_LIMITS, Budget
from fer_bench.records.plan import GATE, TORCH, Plan
from fer_bench.records.result import Environment, Json
from fer_bench.reporting.analysis import parity

if TYPE_CHECKING:
    import pandas


class Watcher(Protocol):
    """Receives the progress of a gate."""

    def stage(self, message: str) -> None: ...
    def done(self, verdict: Verdict) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of a gate.

    Attributes:
        models: networks; none for all that there are.
        metrics: of ``METRICS``, that are measured.
        budget: limits, which stand for those of the sheets.
        accept: why whatever has changed is let pass, or "".
        unchanged: measure networks whose code is the same on both sides, too.
        setup: a shell command that prepares each checkout, or "".
        base_python: the interpreter of the base's own environment, or "".
        declared: what of the environment differs on purpose, by ``Environment``'s names.
        command: the command line, as the user would type it again, or "".
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
    command: str = ""

    def settings(self) -> dict[str, Json]:
        """Return what decides a verdict."""
        return {
            "metrics": list(self.metrics),
            "min_effect": self.rule.least,
            "budget_s": self.rule.budget_s,
            "plan": self.plan.to_dict(),
            "limits": {name: str(limit) for name, limit in self.budget.set().items()},
            "declared": list(self.declared),
        }

    def budget_of(self, spec: ModelSpec) -> Budget:
        """Return the limits of a network: the command line's, and else its sheet's."""
        return self.budget.or_else(spec.gate)


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """All that one gate concluded.

    Attributes:
        base, candidate: what was compared, as a reader knows it: "main (1a2b3c4)", "working tree, changes included".
        settings: what decides a verdict, by name: metrics, min_effect, budget_s, plan, ...
        records: all pairs by network and metric, as measured.
    """

    base: str
    candidate: str
    verdicts: tuple[Verdict, ...]
    settings: dict[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: Environment | None = None
    wall_s: float = 0.0
    records: tuple[Comparison, ...] = ()

    def exit_code(self, *, inconclusive_passes: bool = False) -> int:
        """Return the exit code of the verdict that weighs most; none at all is an error, never a pass."""
        if not self.verdicts:
            return CANNOT_JUDGE
        left = {verdict.outcome for verdict in self.verdicts if not verdict.accepted}
        if inconclusive_passes:
            left.discard(Outcome.inconclusive)
        return next((code for outcome, code in EXIT_CODES.items() if outcome in left), OK)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame, one row for each verdict; an effect and its interval are shares."""
        import pandas

        return pandas.DataFrame([_row(verdict) for verdict in self.verdicts])

    def __str__(self) -> str:
        from fer_bench.gating.report import as_text

        return as_text(self).rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _row(verdict: Verdict) -> dict[str, Json]:
    effect = verdict.effect
    return {
        "network": verdict.network,
        "metric": verdict.metric,
        "outcome": verdict.outcome.value,
        "change_share": effect.estimate if effect else None,
        "change_low_share": effect.low if effect else None,
        "change_high_share": effect.high if effect else None,
        "pairs": effect.pairs if effect else None,
        "reason": verdict.reason,
        "accepted": verdict.accepted,
    }


@dataclass(slots=True)
class Findings:
    """What a gate has concluded and measured so far.

    Attributes:
        unchecked: networks by what would measure what a limit is about, and by the metric of that limit.
    """

    watcher: Watcher
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[Comparison] = field(default_factory=list)
    unchecked: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    environment: Environment | None = None
    began: float = field(default_factory=time.perf_counter)

    def add(self, *verdicts: Verdict) -> None:
        """Keep verdicts and report them to the watcher."""
        for verdict in verdicts:
            self.verdicts.append(verdict)
            self.watcher.done(verdict)

    def compare(self, network: str, metric: str, sides: Sequence[Side], rule: Rule) -> Comparison:
        """Measure pairs and keep them; the verdict is not yet kept. Of a backend its parity is looked at first."""
        try:
            base, candidate = (self._deployed(side) for side in sides)
        except FerBenchError as error:
            return Comparison(Verdict(network, metric, Outcome.error, str(error)))
        comparison = timing.judge(
            network, metric, base, candidate, rule, lambda message: self.watcher.stage(f"{network}: {message}")
        )
        self.records.append(comparison)
        return comparison

    def _deployed(self, side: Side) -> Side:
        """Convert a side's network for its backend; refuse one that computes something else.

        Raises:
            FerBenchError: it cannot be converted, or its parity is "different".
        """
        task = side.task
        if task.plan.backend == TORCH:
            return side
        self.watcher.stage(f"{task.spec.name}: {task.plan.backend}")
        task, result = prepared(task, side.starter)
        verdict = parity.judge(result)
        if verdict is not None:
            said = f"{task.spec.name} by {task.plan.backend}: {verdict.kind.value}: {verdict.reason}"
            if verdict.kind is parity.Kind.DIFFERENT:
                raise FerBenchError(said)
            self.notes += [said] if said not in self.notes else []
        return dataclasses.replace(side, task=task)

    def note_unchecked(self, network: str, budget: Budget, remedy: str, measured: Collection[str] = ()) -> None:
        """Note the limits of a network that were not checked, since their metric was not measured.

        The remedy says what measures it, with {metric} for the metric.
        """
        for metric, name in limits.MEASURED.items():
            if name in budget.set() and metric not in measured:
                self.unchecked.setdefault(remedy, {}).setdefault(metric, set()).add(network)

    def report(self, base: str, candidate: str, request: Request, **settings: Json) -> Report:
        """Return all of it; settings by name stand for those of the request where others decided."""
        unchecked = [
            f"{limits.MEASURED[metric]} of {', '.join(sorted(networks))} was not checked: "
            f"{remedy.format(metric=metric)}"
            for remedy, by_metric in self.unchecked.items()
            for metric, networks in sorted(by_metric.items())
        ]
        return Report(
            base,
            candidate,
            tuple(self.verdicts),
            request.settings() | settings,
            (*self.notes, *unchecked),
            self.environment,
            time.perf_counter() - self.began,
            tuple(self.records),
        )


def accept(verdict: Verdict, reason: str, trailers: Sequence[str] = ()) -> Verdict:
    """Mark what changed, or has nothing to be held against, as let pass, where there is a reason.

    The reason is the command line's, for all networks, or else that of a commit's trailer, "NETWORK: reason". A verdict
    on a budget is never let pass: the budget is raised instead.
    """
    acceptable = verdict.outcome in (Outcome.worse, Outcome.changed, Outcome.incomparable)
    if not acceptable or verdict.metric == limits.METRIC:
        return verdict
    prefix = f"{verdict.network}: "
    reasons = [reason, *(line.removeprefix(prefix) for line in trailers if line.startswith(prefix))]
    return dataclasses.replace(verdict, accepted=" ".join(next(filter(None, reasons), "").split()))
