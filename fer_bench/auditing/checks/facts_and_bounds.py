"""Judge figures that no recount reaches: facts of data sets, shapes, and what a machine can have been busy with."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from fer_bench.auditing import facts
from fer_bench.auditing.evidence import Evidence
from fer_bench.auditing.printed import Printed, read
from fer_bench.auditing.verdicts import Claim, Kind, Verdict
from fer_bench.records import units

_BYTES_A_GB = 10**9
_SMALL = 100  # things: a number below may count anything of a data set
_NEAR_FACT = 2e-4  # relative: no part that authors choose is as near to a data set's own number
_PROCESSORS = ("cpu_percent", "user_percent", "system_percent")  # the process; the machine for users, for the system
_SPLITS = (10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90)  # per cent, into which authors divide data


def by_facts(claim: Claim, printed: Printed) -> Verdict | None:
    """Compare with what the data set's own publication says; None where it says nothing of the kind."""
    known = facts.known(claim.figure)
    if not known:
        return None
    name, value = facts.named(claim.figure), int(printed.value)
    source = facts.dataset(claim.figure.dataset)["source"]

    def fact_text(what: str) -> str:
        return f"{known[what]:,}" + (f" ({what})" if what else "")

    if name is not None:
        fact = known[name]
        if fact == value:
            return Verdict(claim, Kind.confirmed, fact_text(name), f"{fact:,}", source)
        slip = _slipped(value, int(fact))
        # No matter of how authors split the data are the whole, a class of it, and what it consists of.
        if slip or name.startswith("all") or claim.figure.quantity != "image_count":
            line = f"the data set has {fact_text(name)}" + (f": {slip}" if slip else "")
            return Verdict(claim, Kind.refuted, line, f"{fact:,}", source)
    if value < _SMALL:
        return None
    equal = [fact_text(what) for what, number in known.items() if number == value]
    if equal:
        line = f"equals {' and '.join(equal)}, though the text does not say that it is that"
        return Verdict(claim, Kind.possible, line, "", source)
    shares = [
        f"{share} % of {fact_text(what)}"
        for what, number in known.items()
        for share in _SPLITS
        if abs(value - number * share / 100) <= 1
    ]
    part = f" ({' or '.join(shares)})" if shares else ""
    line = f"not a number of the data set itself; perhaps the authors' part of it{part}"
    return Verdict(claim, Kind.irreproducible, line, "", source)


def _slipped(value: int, fact: int) -> str:
    """Return by which slip one number became another; "" for none."""
    if sorted(str(value)) == sorted(str(fact)):
        return "the same digits in another order"
    near = abs(value - fact) <= fact * _NEAR_FACT
    return f"{abs(value - fact)} {'more' if value > fact else 'fewer'}" if near else ""


def by_shape(claim: Claim, own: Evidence | None, family: Sequence[Evidence]) -> Verdict | None:
    """Ask whether the network anywhere gives a map of the printed shape; None where no shape is printed."""
    printed = claim.figure.printed
    sizes = [int(number) for number in re.findall(r"\d+", printed)]
    if own is None or not sizes or not re.fullmatch(r"[\d\s,×x{}]+", printed):
        return None
    name, maps = own.name, own.own.shapes
    source = f"shapes of {name} ({own.own.build})"
    if "," in printed:  # several stages' widths or sides in one figure
        if which := _pyramid(sizes, maps):
            return Verdict(claim, Kind.confirmed, f"maps of {name} have these {which}, stage by stage", "", source)
        verdict = Verdict(claim, Kind.refuted, f"no stages of {name} have these widths or sides", "", source)
        others = [one.name for one in family if _pyramid(sizes, one.own.shapes)]
        return verdict.remarked(f"those of {', '.join(others)} have") if others else verdict
    shape = tuple(sizes)
    text = units.size(shape)
    sides = {of_map[-2:] for of_map in maps if len(of_map) == 3}
    if {shape, (sizes[-1], *sizes[:-1])} & {*maps, *sides}:  # channels last, too
        return Verdict(claim, Kind.confirmed, f"{name} gives maps of {text}", text, source)
    near = sorted(of_map for of_map in maps if len(of_map) == len(shape) and of_map[1:] == shape[1:])
    line = f"no map of {name} is {text}"
    if near:
        line += f"; of this height and width are {', '.join(map(units.size, near[:4]))}"
    verdict = Verdict(claim, Kind.refuted, line, units.size(near[0]) if near else "", source)
    others = [other.name for other in family if shape in other.own.shapes]
    return verdict.remarked(f"{', '.join(others)} has one: another width") if others else verdict


def _pyramid(sizes: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> str:
    """Return whether maps have these widths while their sides halve, or these sides; "" if neither."""
    maps = {shape for shape in shapes if len(shape) == 3}
    sides = {shape[1] for shape in maps}
    if any(all((c, side >> n, side >> n) in maps for n, c in enumerate(sizes)) for side in sides):
        return "widths"
    return "sides" if set(sizes) <= sides else ""


def by_occupancy(claim: Claim, printed: Printed, row: Mapping[str, Claim], weights: int | None, memory: str) -> Verdict:
    """Ask whether a share of processors or memory is possible beside the others of its row.

    The process must hold the network's weights, bytes or None if not known, and the paper says of its machine's memory
    such things as "16G".
    """
    if claim.figure.quantity == "memory_percent":
        found = re.search(r"(\d+)\s*G", memory)
        if found is None or weights is None:
            return Verdict(claim, Kind.out_of_scope, "the paper does not say of how much memory, or of which network")
        held = printed.value / 100 * int(found.group(1)) * _BYTES_A_GB
        line = f"{claim.figure.printed} % of {found.group(1)} GB = {held / 10**6:,.0f} MB; the weights take "
        line += f"{weights / 10**6:,.1f} MB"
        kind = Kind.possible if held >= weights else Kind.contradiction
        verdict = Verdict(claim, kind, line, "", "weights recounted")
        most = Decimal(weights) / held * 100 if held else Decimal(0)
        if most >= 10:
            return verdict
        return verdict.remarked(f"the weights are {most:.2g} % of it: the figure measures the framework")
    printed_shares = [row[name].figure.printed if name in row else "" for name in _PROCESSORS]
    shares = [number for number in (read(share, "%") for share in printed_shares) if number is not None]
    if len(shares) < len(_PROCESSORS):
        return Verdict(claim, Kind.out_of_scope, "an occupancy of the authors' machine; its row prints nothing beside")
    own, user, system = (share.value for share in shares)
    busy, slack = user + system, sum((share.step for share in shares), Decimal(0))
    if own <= busy + slack and busy <= 100 + slack:
        kind, line = Kind.possible, f"the process's {own} % within the machine's {user} + {system} = {busy} %, of 100 %"
    else:
        kind = Kind.contradiction
        line = f"the process's {own} % against the machine's {user} + {system} = {busy} %, of which it is a part"
    return Verdict(claim, kind, line, "", "the row's other figures")


def by_loss(claim: Claim, printed: Printed, accuracy: Claim | None) -> Verdict | None:
    """Compare a cross-entropy with the least that its row's accuracy allows; None where no accuracy stands beside it.

    An image that is put into a wrong class gives the right one at most half, which costs at least ln 2.
    """
    share = read(accuracy.figure.printed, "%") if accuracy is not None else None
    if share is None:
        return None
    least = (1 - float(share.value) / 100) * math.log(2)
    line = f"at least (1 - {share.value} %) x ln 2 = {least:.3f}, as every error costs ln 2"
    kind = Kind.possible if float(printed.value + printed.step) > least else Kind.contradiction
    return Verdict(claim, kind, line, "", "the row's accuracy, if of the same images")


def by_card(claim: Claim, printed: Printed, environment: Sequence[str]) -> Verdict | None:
    """Compare a printed memory with that of the card that the paper names; None where it names none that is known."""
    card = facts.card(*environment)
    if card is None or (claim.figure.unit, claim.figure.subject) != ("GB", "GPU memory"):
        return None
    fits = float(printed.value) / _BYTES_A_GB <= card.memory_gb
    kind, source = (Kind.possible, "card") if fits else (Kind.refuted, "the card's data sheet")
    return Verdict(claim, kind, f"a {card.name} has {card.memory_gb:g} GB", f"{card.memory_gb:g}", source)
