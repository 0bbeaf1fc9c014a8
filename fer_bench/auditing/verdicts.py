"""What the audit says of a printed figure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from fer_bench.networks.spec import Figure, ModelSpec


class Kind(StrEnum):
    """A verdict; ``MEANINGS`` says what each means."""

    confirmed = "confirmed"
    convention = "another convention"
    build = "another build"
    slip = "slip"
    unit = "unit error"
    contradiction = "contradicts itself"
    refuted = "refuted"
    unexplained = "not explained"
    irreproducible = "not reproducible"
    undecidable = "not decidable"
    possible = "possible"
    out_of_scope = "out of scope"
    statement = "statement"


MEANINGS: dict[Kind, str] = {
    Kind.confirmed: "the recomputed number, rounded or cut, equals the printed figure",
    Kind.convention: "right by another convention than the one stated, such as MACs called FLOPs or a tool's own count",
    Kind.build: "the count of another head, input or width than the one stated",
    Kind.slip: "off by a factor that a slip makes: two, ten, a thousand",
    Kind.unit: "impossible in the unit that is printed",
    Kind.contradiction: "other figures of the same paper, or arithmetic alone, refute it",
    Kind.refuted: "the network, or the data set's own publication, has another number, and no hypothesis explains it",
    Kind.unexplained: "of a table of the user's: no hypothesis fits, and the audit does not know every convention",
    Kind.irreproducible: "our build differs, but the paper says too little to be sure that it is the same",
    Kind.undecidable: "the printed digits are too coarse to distinguish an explanation from chance",
    Kind.possible: "passes every check that can be made without the authors' machine or training; no more is known",
    Kind.out_of_scope: "nothing can be recomputed; the line says why",
    Kind.statement: "words, not a number: the sheet's note, nothing computed",
}
# What a reader should not copy as it stands.
WRONG = (Kind.build, Kind.slip, Kind.unit, Kind.contradiction, Kind.refuted)
# How a page shows the verdicts; the others are open.
TONES: dict[str, str] = {Kind.confirmed: "right", Kind.convention: "nearly", **dict.fromkeys(WRONG, "wrong")}
# Verdicts that something was computed for.
COMPUTED = tuple(kind for kind in Kind if kind not in (Kind.out_of_scope, Kind.statement))


@dataclass(frozen=True, slots=True)
class Claim:
    """A printed figure and what it is about: a network that can be built, or only a subject in words.

    Attributes:
        named: the networks that a paper's own figure is about, the first of which is ``spec``.
        of_table: it stands in a table of the user's, whose build nobody has identified.
    """

    figure: Figure
    spec: ModelSpec | None = None
    named: tuple[ModelSpec, ...] = ()
    of_table: bool = False

    @property
    def subject(self) -> str:
        """Name it as its sheet does."""
        return self.figure.subject or self.network

    @property
    def network(self) -> str:
        """Name the network, or ""."""
        return self.spec.name if self.spec is not None else ""


@dataclass(frozen=True, slots=True)
class Fit:
    """An explanation that fits.

    Attributes:
        arithmetic: its number, and how it comes about.
        how: "exact", "rounded" or "cut".
        chance: that a random figure fits it or a simpler one.
        tier: how much it assumes.
    """

    text: str
    arithmetic: str
    how: str
    chance: float
    kind: Kind
    tier: int = 0

    @property
    def line(self) -> str:
        return f"{self.text}: {self.arithmetic}{'' if self.how == 'exact' else f', {self.how}'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a claim.

    Attributes:
        line: the arithmetic, in one line.
        ours: what we have in its place, written, or ""; ``evidence`` says where that comes from.
        chance: of a match by chance, where an explanation was searched for.
        fits: every explanation that fits, simplest first.
    """

    claim: Claim
    kind: Kind
    line: str
    ours: str = ""
    evidence: str = ""
    chance: float | None = None
    fits: tuple[Fit, ...] = ()
    remarks: tuple[str, ...] = ()

    def remarked(self, *remarks: str) -> "Verdict":
        """Add remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))
