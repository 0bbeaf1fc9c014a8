"""What a printed count may be: every number that a convention, a tool, another build or a slip makes of a network.

None of them knows what a paper prints. They are ordered in tiers, the simplest first; ``chance`` counts what is tried
together as tried together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from fer_bench.auditing.evidence import Evidence, Recount
from fer_bench.auditing.verdicts import Kind
from fer_bench.networks.weights import known_files
from fer_bench.records.units import grouped

# Tiers. Each needs one assumption more than the one before, or a less usual one.
STATED, USUAL, UNUSUAL, FURTHER, FAR = range(5)

# How networks are published where nobody changed them: with ImageNet's classes, at ImageNet's size.
_LIKELY = ("1000 classes", "224x224 input", "1000 classes, 3x224x224 input")

_KIB = Decimal(1024) / 1000  # what a size comes to if its kB are KiB
_SLIPS = {"a digit too many": "10", "a digit too few": "0.1", "a thousand times too large": "1000"}
_SLIPS |= {"a thousandth": "0.001", "twice": "2", "four times": "4", "half": "0.5"}


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One number that a figure may stand for.

    Attributes:
        value: in base units.
        tier: how much it assumes.
        kind: the verdict if it is true.
        arithmetic: how the number comes about.
        convention: what is counted, whichever build it is counted on; "" where that means nothing.
    """

    text: str
    value: Decimal
    tier: int
    kind: Kind
    arithmetic: str
    convention: str = ""


def of(quantity: str, evidence: Evidence, siblings: Iterable[Evidence] = (), batch: int = 1) -> list[Hypothesis]:
    """Return the hypotheses for a quantity, simplest first, each number once.

    The siblings are other networks that may have been meant, the batch is the one that the paper says a pass had.
    """
    kept: dict[Decimal, Hypothesis] = {}
    for hypothesis in sorted(_MADE[quantity](evidence, siblings, batch), key=lambda one: one.tier):
        if hypothesis.value > 0 or hypothesis.tier == STATED:
            kept.setdefault(hypothesis.value, hypothesis)
    return list(kept.values())


def _count(text: str, value: float | Decimal, tier: int, kind: Kind, how: str = "", convention: str = "") -> Hypothesis:
    exact = Decimal(value)
    written = grouped(int(exact)) if exact == int(exact) else f"{exact:,.1f}"
    return Hypothesis(text, exact, tier, kind, f"{how} = {written}" if how else written, convention)


def _tier(other: Recount) -> int:
    return UNUSUAL if other.change in _LIKELY else FURTHER


def _slips(own: int, what: str) -> Iterator[Hypothesis]:
    for text, factor in _SLIPS.items():
        yield _count(f"{text}: {what}", own * Decimal(factor), FAR, Kind.slip, f"{own:,} x {factor}")


def _parameters(evidence: Evidence, siblings: Iterable[Evidence]) -> Iterator[Hypothesis]:
    own = evidence.own
    counts, extras = own.parameters, own.extras
    trainable, keras = counts["trainable"], counts["keras_total"]
    every = trainable + counts["frozen"]
    yield _count("trainable parameters", trainable, STATED, Kind.confirmed, convention="trainable")
    convention = Kind.convention
    yield _count("all parameters, frozen ones too", every, USUAL, convention, convention="total")
    yield _count("Keras's total, with the statistics of batch norms", keras, USUAL, convention, convention="keras")
    tied = counts["tied"]
    yield _count("tied parameters counted again", every + tied, USUAL, convention, f"{every:,} + {tied:,}")
    yield _count("with all buffers", every + counts["buffers"], UNUSUAL, convention)
    for text, less in (
        ("without the classifier", own.head_parameters),
        ("without those of normalisations", extras["norm_parameters"]),
        ("without biases", extras["bias_parameters"]),
    ):
        yield _count(text, trainable - less, UNUSUAL, convention, f"{trainable:,} - {less:,}")
    builds = [(other.change, other, _tier(other), _tier(other) + 1) for other in evidence.others]
    builds += [(sibling.name, sibling.own, FURTHER, FURTHER) for sibling in siblings]
    for name, other, tier, keras_tier in builds:
        counts = other.parameters
        yield _count(name, counts["trainable"], tier, Kind.build, convention="trainable")
        yield _count(f"{name}, Keras's total", counts["keras_total"], keras_tier, Kind.build, convention="keras")
    for role, group in own.roles.items():
        text, added = f"the {group['modules']} modules `{role}` counted twice", group["parameters"]
        yield _count(text, trainable + added, FURTHER, convention, f"{trainable:,} + {added:,}")
    yield from _slips(trainable, "the parameters")
    yield _count("millions, the unit left out", trainable / Decimal(10**6), UNUSUAL, Kind.unit, f"{trainable:,} / 10^6")
    yield _count("bytes, four a parameter", 4 * trainable, FURTHER, Kind.unit, f"4 x {trainable:,}")


def _operations(
    evidence: Evidence, siblings: Iterable[Evidence], batch: int, flops_tier: int, macs_tier: int
) -> Iterator[Hypothesis]:
    own, convention = evidence.own, Kind.convention
    macs, extras, thop = own.macs, own.extras, own.thop["macs"]

    def kind(tier: int) -> Kind:
        return Kind.confirmed if tier == STATED else convention

    yield _count("FLOPs, two a MAC", 2 * macs, flops_tier, kind(flops_tier), f"2 x {macs:,}", "flops")
    yield _count("MACs", macs, macs_tier, kind(macs_tier), convention="macs")
    yield _count("thop's MACs", thop, USUAL, convention, convention="thop")
    if own.fvcore is not None:
        yield _count("fvcore's count", own.fvcore, UNUSUAL, convention, convention="fvcore")
        yield _count("twice fvcore's count", 2 * own.fvcore, FURTHER, convention, f"2 x {own.fvcore:,}", "twice fvcore")
    yield _count("twice thop's MACs", 2 * thop, FURTHER, convention, f"2 x {thop:,}", "twice thop")
    for text, more in (
        ("MACs and biases", extras["bias_elements"]),
        ("MACs and normalisations, two a value", 2 * extras["norm_elements"]),
        ("MACs of layers with weights", extras["weight_macs"] - macs),
    ):
        how = f"{macs:,} {'+' if more >= 0 else '-'} {abs(more):,}"
        yield _count(text, macs + more, UNUSUAL, convention, how, text)
    for other in evidence.others:
        yield from _build(other.change, other, _tier(other))
    for sibling in siblings:
        yield from _build(sibling.name, sibling.own, FAR)
    for role, group in own.roles.items():
        # A module under two names carries its hook twice, and is summed up under both: four times, three too many.
        more, text = group["thop_macs"], f"thop's MACs with the {group['modules']} modules `{role}`"
        how = f"{thop:,} + 3 x {more:,}"
        yield _count(f"{text} under two names each", thop + 3 * more, FURTHER, convention, how, "thop")
    yield _count("a training step, three times the MACs", 3 * macs, FAR, convention, f"3 x {macs:,}")
    if batch > 1:
        yield _count(f"MACs of a batch of {batch}", batch * macs, FAR, convention, f"{batch} x {macs:,}")
        yield _count(f"FLOPs of a batch of {batch}", 2 * batch * macs, FAR, convention, f"2 x {batch} x {macs:,}")
    for text, value in (("MACs", macs), ("FLOPs", 2 * macs)):
        for prefix, size in (("millions", 10**6), ("billions", 10**9)):
            how = f"{value:,} / {size:,}"
            yield _count(f"{text} in {prefix}, the unit left out", value / Decimal(size), UNUSUAL, Kind.unit, how)
    yield from _slips(macs, "the MACs")  # twice them are the FLOPs, a hypothesis above, which goes first


def _build(change: str, other: Recount, tier: int) -> Iterator[Hypothesis]:
    macs, thop = other.macs, other.thop["macs"]
    yield _count(f"{change}: MACs", macs, tier, Kind.build, convention="macs")
    yield _count(f"{change}: FLOPs", 2 * macs, tier, Kind.build, f"2 x {macs:,}", "flops")
    yield _count(f"{change}: thop's MACs", thop, tier + 1, Kind.build, convention="thop")


def _sizes(evidence: Evidence) -> Iterator[Hypothesis]:
    counts = evidence.own.parameters
    weights, convention = counts["parameter_bytes"], Kind.convention
    keras = 4 * counts["keras_total"]
    sizes = {
        "the weights": (weights, STATED, Kind.confirmed),
        "the weights and buffers": (counts["state_dict_bytes"], USUAL, convention),
        "weights and statistics, as Keras saves them": (keras, USUAL, convention),
        "a checkpoint with Adam's two moments": (counts["checkpoint_bytes"], USUAL, convention),
        "Keras's weights and Adam's two moments": (keras + 8 * counts["trainable"], USUAL, convention),
        "half-precision weights": (weights // 2, UNUSUAL, convention),
        "8-bit weights": (weights // 4, UNUSUAL, convention),
    }
    for text, (value, tier, kind) in sizes.items():
        yield _count(text, value, tier, kind)
        in_1024 = value / _KIB if value < 1_024_000 else value / _KIB**2
        how = f"{value:,} bytes in KiB or MiB"
        yield Hypothesis(f"{text}, in units of 1024", in_1024, tier + 1, convention, how)
    for known in known_files():
        if evidence.name in known.networks and known.overhead_bytes:
            trainable, every = counts["trainable"], counts["keras_total"]
            value = keras + 8 * trainable + 4 + known.overhead_bytes  # Adam counts its steps in 4 bytes
            rest = f"{known.overhead_bytes:,} (HDF5 and topology, in a public file)"
            how = f"4 x {every:,} + 8 x {trainable:,} + 4 + {rest}"
            yield _count("weights and Adam's moments in a Keras file", value, USUAL, Kind.confirmed, how)
    for other in evidence.others:
        if "classes" in other.change and "input" not in other.change:
            size = other.parameters["parameter_bytes"]
            yield _count(f"{other.change}: the weights", size, FURTHER, Kind.build)


def _convolutions(layers: Mapping[str, int]) -> Iterator[Hypothesis]:
    total, shortcuts, once = layers["conv"], layers["conv_shortcut"], layers["conv_separable_once"]
    yield _count("convolutions", total, STATED, Kind.confirmed, convention="conv")
    how, convention = f"{total} - {shortcuts}", Kind.convention
    yield _count("without those of shortcuts", total - shortcuts, USUAL, convention, how, "main path")
    yield _count("separable ones counted once", once, USUAL, convention, convention="separable once")
    how, text = f"{once} - {shortcuts}", "separable ones once, without those of shortcuts"
    yield _count(text, once - shortcuts, UNUSUAL, convention, how, "separable once, main path")


_MADE: Mapping[str, Callable[[Evidence, Iterable[Evidence], int], Iterable[Hypothesis]]] = {
    "parameters": lambda evidence, siblings, _: _parameters(evidence, siblings),
    "trainable_parameters": lambda evidence, siblings, _: _parameters(evidence, siblings),
    "flops": lambda evidence, siblings, batch: _operations(evidence, siblings, batch, STATED, USUAL),
    "macs": lambda evidence, siblings, batch: _operations(evidence, siblings, batch, USUAL, STATED),
    "file_size": lambda evidence, *_: _sizes(evidence),
    "conv_layers": lambda evidence, *_: _convolutions(evidence.own.layers),
    "pooling_layers": lambda evidence, *_: [_count("layers", evidence.own.layers["pool"], STATED, Kind.confirmed)],
    "fc_layers": lambda evidence, *_: [_count("layers", evidence.own.layers["fc"], STATED, Kind.confirmed)],
}
RECOUNTED = tuple(_MADE)
