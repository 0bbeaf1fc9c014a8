"""What a gate says: a verdict on each network and metric, and the exit code that they come to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from fer_bench.records.result import Environment, Json

OK, WORSE, ERROR, INCONCLUSIVE, INCOMPARABLE = 0, 1, 3, 4, 5


class Word(StrEnum):
    """A verdict in one word."""

    same = "same"
    better = "better"
    worse = "worse"
    changed = "changed"  # of counts: neither more nor less, and not what it was
    inconclusive = "inconclusive"
    incomparable = "incomparable"
    error = "error"


# The exit code of each word, those that decide first on top: a finding stands, whatever else could not be judged.
EXIT_CODES = {
    Word.worse: WORSE,
    Word.changed: WORSE,
    Word.error: ERROR,
    Word.incomparable: INCOMPARABLE,
    Word.inconclusive: INCONCLUSIVE,
    Word.better: OK,
    Word.same: OK,
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
    """What is said of one network and metric.

    Attributes:
        metric: "counts", "budget", "latency", "memory" or "occupancy".
        said: why, in one line.
        details: lines beneath: modules that changed, guards that spoke.
        accepted: the reason for which it is let pass, or "".
        effect: where something was measured.
    """

    network: str
    metric: str
    word: Word
    said: str
    details: tuple[str, ...] = ()
    accepted: str = ""
    effect: Effect | None = None

    @property
    def exit_code(self) -> int:
        """Give what it alone comes to."""
        return OK if self.accepted else EXIT_CODES[self.word]


@dataclass(frozen=True, slots=True)
class Report:
    """All that one gate said.

    Attributes:
        base, candidate: what was compared, as a reader knows it: "main (1a2b3c4)", "working tree, changes included".
        settings: what decides a verdict, by name: metrics, min_effect, budget_s, plan, ...
        notes: what to know beside the verdicts, a line each.
        records: all pairs by network and metric, as measured.
    """

    base: str
    candidate: str
    verdicts: tuple[Verdict, ...]
    settings: dict[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: Environment | None = None
    wall_s: float = 0.0
    records: tuple[Json, ...] = ()

    def exit_code(self, *, inconclusive_passes: bool = False) -> int:
        """Give the exit code: of the verdict that weighs most; none at all is an error, never a pass."""
        return exit_code(self.verdicts, inconclusive_passes=inconclusive_passes)


def exit_code(verdicts: Iterable[Verdict], *, inconclusive_passes: bool = False) -> int:
    """Give the exit code of the verdict that weighs most."""
    found = list(verdicts)
    if not found:
        return ERROR
    left = {
        verdict.word
        for verdict in found
        if not verdict.accepted and not (inconclusive_passes and verdict.word is Word.inconclusive)
    }
    return next((code for word, code in EXIT_CODES.items() if word in left), OK)
