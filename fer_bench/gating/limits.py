"""Whether a network stays under its absolute limits."""

import itertools

from fer_bench.gating.counts import Snapshot
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.records.errors import CountingError
from fer_bench.records.limits import Budget, Limit
from fer_bench.records.result import Result
from fer_bench.records.stats import Interval
from fer_bench.reporting.analysis import latency

METRIC = "budget"

# What a snapshot has for each limit, and what it is.
_COUNTED = {
    "max_params": ("parameters", "parameters"),
    "max_macs": ("macs", "MACs"),
    "max_activation": ("peak_activation_bytes", "of activations"),
    "max_size": ("state_dict_bytes", "of weights"),
}
# The other limits, by the metric of the gate that measures them.
MEASURED = {"latency": "max_latency", "memory": "max_memory"}


def judge(network: str, budget: Budget, snapshot: Snapshot) -> list[Verdict]:
    """Compare what a network counts with each limit of its budget that is about counts.

    MACs with operators that were not counted are a lower bound. Above the limit the verdict is *worse*; below it they
    decide nothing, which is an error and never a pass.
    """
    verdicts = []
    for name, limit in budget.set().items():
        if name not in _COUNTED:
            continue
        cost, noun = _COUNTED[name]
        value = snapshot.cost(cost)
        uncounted = ", ".join(sorted(snapshot.uncounted)) if name == "max_macs" else ""
        against = f"cannot be compared with the budget of {limit}"
        if value is None:
            verdicts.append(Verdict(network, METRIC, Outcome.error, f"{name}: not counted, and {against}"))
            continue
        if snapshot.decided_by and cost in ("macs", "peak_activation_bytes"):
            why = f"depends on values ({', '.join(snapshot.decided_by)})"
            verdicts.append(Verdict(network, METRIC, Outcome.error, f"{name}: {why}, and {against}"))
            continue
        outcome = Outcome.worse if value > limit.value else Outcome.same
        reason = f"{limit.written(value)} {noun if noun not in limit.unit else ''}".rstrip()  # "0.6 GMACs"
        if not uncounted:
            reason = f"{reason}, {_distance(limit, value)}"
        elif outcome is Outcome.worse:
            reason = f"at least {reason}, {_distance(limit, value)} (without {uncounted}, which have no formula)"
        else:
            outcome = Outcome.error
            reason = f"at least {reason}, without {uncounted}, which have no formula, {against}"
        verdicts.append(Verdict(network, METRIC, outcome, reason))
    return verdicts


def judge_counts_of(network: str, budget: Budget, result: Result) -> list[Verdict]:
    """Compare a record's counts with the limits about counts; without counts a limit is an error, never a pass."""
    try:
        return judge(network, budget, Snapshot.of(result))
    except CountingError as error:
        return [Verdict(network, METRIC, Outcome.error, str(error))] if budget.set() else []


def judge_measured(network: str, metric: str, limit: Limit, interval: Interval | None) -> Verdict:
    """Compare what was measured with its limit: below it, above it, or inconclusive where the interval has both.

    Both are in the base unit of the metric. One process has no interval, which concludes nothing.
    """
    if interval is None:
        reason = f"{metric}: no interval, which needs two processes at least, to compare with the budget of {limit}"
        return Verdict(network, METRIC, Outcome.inconclusive, reason)
    most = float(limit.value)
    if interval.high <= most:
        outcome, where = Outcome.same, "under"
    elif interval.low > most:
        outcome, where = Outcome.worse, "over"
    else:
        outcome, where = Outcome.inconclusive, "on both sides of"
    reason = f"{metric} {limit.between(interval.low, interval.high)}, {where} the budget of {limit}"
    return Verdict(network, METRIC, outcome, reason)


def judge_latency_of(network: str, limit: Limit, result: Result) -> Verdict:
    """Compare a record's latency with its limit; one that failed is an error, never a pass."""
    summary = latency.summary(result)
    if summary is not None:
        return judge_measured(network, "latency", limit, summary.interval)
    failures = (measured.failure for measured in result.measurements if measured.failure)
    why = next(itertools.chain(failures, latency.warnings(result)), "nothing was measured")
    return Verdict(network, METRIC, Outcome.error, f"its latency could not be measured: {why}")


def _distance(limit: Limit, value: int) -> str:
    """Write how far from the limit a value is: "0.48 M over the budget of 5 M"."""
    if value == limit.value:
        return "all of the budget"
    return f"{limit.apart(value)} {'over' if value > limit.value else 'under'} the budget of {limit}"
