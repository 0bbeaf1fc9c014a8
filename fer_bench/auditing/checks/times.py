"""Judge a published time by what its network has to do: no device exceeds its peak rate.

A time says nothing that could be recomputed on another machine. But a pass of so many MACs in so short a time needs a
rate, and that rate is possible on the stated device or it is not.
"""

import re
from collections.abc import Sequence

from fer_bench.auditing import facts
from fer_bench.auditing.evidence import Evidence
from fer_bench.auditing.printed import Printed
from fer_bench.auditing.verdicts import Claim, Kind, Verdict
from fer_bench.records.stats import rank_correlation
from fer_bench.records.units import printed_value, scaled

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
# A device rarely does less than this share of its peak on a whole network: below, another unit is more likely.
_IDLE_SHARE = 1e-5
_FEWEST = 5  # rows of a column, before one asks what its times follow
_CLEAR = 0.2  # by so much one rank correlation must exceed the other to be worth a remark


def stated_batch(claim: Claim) -> int:
    """Read the batch that a figure's convention states, or 1."""
    found = re.search(r"batch(?: size)?(?: of)? ([1-9]\d{0,5})\b", claim.figure.convention)
    return int(found.group(1)) if found else 1


def by_rate(claim: Claim, printed: Printed, evidence: Evidence, environment: Sequence[str]) -> Verdict:
    """Compare the rate that a latency needs with what the device of the paper's environment can do."""
    if printed.value <= 0:
        return Verdict(claim, Kind.contradiction, "no pass takes no time", "", "arithmetic")
    card = facts.card(claim.figure.convention, *environment)
    peak, name = (card.tensor_flops, card.name) if card is not None else (facts.FASTEST_FLOPS, "any one device")
    float32 = card.float32_flops if card is not None else peak
    flops, batch, seconds = 2 * evidence.own.macs, stated_batch(claim), float(printed.value)
    source = f"{scaled(evidence.own.macs)}MACs recounted ({evidence.own.build}); peak of {name} {scaled(peak)}FLOP/s"

    def rate(images: int, time_s: float) -> float:
        return images * flops / time_s

    def verdict(kind: Kind, line: str, ours: str = "") -> Verdict:
        return Verdict(claim, kind, line, ours, source)

    needed = rate(1, seconds)
    if needed > peak:
        factor = seconds / float(printed_value("1", claim.figure.unit))
        readings = [
            f"{unit}, {scaled(rate(1, factor * size))}FLOP/s"
            for unit, size in _UNITS.items()
            if _IDLE_SHARE * float32 < rate(1, factor * size) <= float32
        ]
        found = verdict(
            Kind.unit,
            f"2 x {evidence.own.macs:,} / {seconds:g} s = {scaled(needed)}FLOP/s at batch 1, {needed / peak:,.0f} "
            f"times the peak of {name}",
            f"possible units: {'; '.join(readings)}" if readings else "no unit of time is possible",
        )
        in_ms = rate(batch, factor * 1e-3)
        if batch == 1 or in_ms <= float32:
            return found
        return found.remarked(
            f"in ms, the stated batch of {batch} would need {scaled(in_ms)}FLOP/s, above the float32 peak of {name}, "
            f"{scaled(float32)}FLOP/s: not that batch"
        )
    stated = rate(batch, seconds)
    line = f"{batch} x {flops:,} / {seconds:g} s = {scaled(stated)}FLOP/s"
    if stated <= peak:
        return verdict(Kind.possible, f"{line}, below the peak")
    return verdict(
        Kind.contradiction,
        f"{line}, above the peak of {name}, so not the stated batch of {batch}; batch 1 would need "
        f"{scaled(needed)}FLOP/s",
    )


def what_times_follow(rows: Sequence[tuple[float, Evidence]]) -> str:
    """Return whether a column of times follows the work or the number of operators that are started; "" if not clear.

    Times that rank as the operators do, and not as the work, have one of two causes. The batches were small, so that
    starting kernels takes the time; or the clock did not wait for the device, and nothing else was timed.
    """
    if len(rows) < _FEWEST:
        return ""
    times = [seconds for seconds, _ in rows]
    work = rank_correlation(times, [evidence.own.macs for _, evidence in rows])
    started = rank_correlation(times, [evidence.own.operators for _, evidence in rows])
    if started - work < _CLEAR:
        return ""
    return (
        f"the column's {len(rows)} times rank as the operators started (rank correlation {started:.2f}) and less as "
        f"the MACs ({work:.2f}): small batches, or a clock that did not wait for the device"
    )
