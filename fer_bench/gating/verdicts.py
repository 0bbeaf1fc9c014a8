"""What a gate concludes: a verdict on each network and metric, and the exit code that they come to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fer_bench.records.exit_codes import CANNOT_JUDGE, FINDING, INCOMPARABLE, INCONCLUSIVE, OK

if TYPE_CHECKING:
    pass


class Outcome(StrEnum):
    """A verdict in one word."""

    same = "same"
    better = "better"
    worse = "worse"
    changed = "changed"  # of counts: neither more nor less, and not what it was
    inconclusive = "inconclusive"
    incomparable = "incomparable"
    error = "error"


# The exit code of each outcome, those that decide first on top: a finding stands, whatever else could not be judged.
EXIT_CODES = {
    Outcome.worse: FINDING,
    Outcome.changed: FINDING,
    Outcome.error: CANNOT_JUDGE,
    Outcome.incomparable: INCOMPARABLE,
    Outcome.inconclusive: INCONCLUSIVE,
    Outcome.better: OK,
    Outcome.same: OK,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """How much a metric changed, as a share of the base: 0.05 is 5 % more.

    Attributes:
        low, high: bounds of the interval at ``level``; where that is None, of what may differ for no reason.
        pairs: how many pairs of processes it rests on, or how many ``unit`` names.
        check: the same by plain means, which also see what makes only some passes slower.
    """

    estimate: float
    low: float
    high: float
    level: float | None
    pairs: int
    check: float
    unit: str = "pairs"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one network and metric.

    Attributes:
        metric: "counts", "budget", "latency", "memory", "occupancy" or "accuracy".
        details: lines beneath: modules that changed, warnings.
        accepted: the reason for which it is let pass, or "".
    """

    network: str
    metric: str
    outcome: Outcome
    reason: str
    details: tuple[str, ...] = ()
    accepted: str = ""
    effect: Effect | None = None

    @property
    def exit_code(self) -> int:
        """Return what it alone comes to."""
        return OK if self.accepted else EXIT_CODES[self.outcome]
