"""Whether a network stays under its absolute limits."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

from fer_bench.gating.counts import Snapshot
from fer_bench.gating.verdicts import Verdict, Word
from fer_bench.records.limits import Budget, Limit
from fer_bench.records.result import Result
from fer_bench.records.stats import Interval
from fer_bench.reporting.analysis import latency

METRIC = "budget"

# What a snapshot holds against each limit, and what it is.
_COUNTED: Mapping[str, tuple[str, Callable[[Snapshot], int | None]]] = {
    "max_params": ("parameters", lambda snapshot: snapshot.parameters),
    "max_macs": ("MACs", lambda snapshot: snapshot.macs),
    "max_activation": ("of activations", lambda snapshot: snapshot.cost("peak_activation_bytes")),
    "max_size": ("of weights", lambda snapshot: snapshot.cost("state_dict_bytes")),
}
# Which metric of the gate measures what is held against the others.
_MEASURED = {"max_latency": "latency", "max_memory": "memory"}


def judge(network: str, budget: Budget, snapshot: Snapshot) -> list[Verdict]:
    """Hold what a network counts against each limit of its budget that is about counts.

    MACs with operators that were not counted are a lower bound: above the limit they are above it, and below it they
    say nothing, which is an error and never a pass.
    """
    verdicts = []
    for name, limit in budget.set().items():
        if name not in _COUNTED:
            continue
        noun, count = _COUNTED[name]
        noun = noun if noun not in limit.unit else ""  # "0.6 GMACs"
        value = count(snapshot)
        if value is None:
            said = f"{name}: not counted, and cannot be held against the budget of {limit}"
            verdicts.append(Verdict(network, METRIC, Word.error, said))
        elif name == "max_macs" and snapshot.uncounted:
            verdicts.append(_lower_bound(network, limit, value, noun, snapshot.uncounted))
        else:
            word = Word.worse if value > limit.value else Word.same
            verdicts.append(Verdict(network, METRIC, word, _held(limit, value, noun)))
    return verdicts


def judge_latency(network: str, limit: Limit, interval: Interval | None) -> Verdict:
    """Hold a measured latency against its limit: below it, above it, or inconclusive where the interval has both.

    Args:
        network: whose.
        limit: in seconds.
        interval: in seconds; None where there is none, as of one process, which concludes nothing.
    """
    return _judge_measured(network, "latency", limit, interval)


def judge_latency_of(network: str, limit: Limit, result: Result) -> Verdict:
    """Hold a record's latency against its limit; one that failed is an error, never a pass."""
    taken = latency.summary(result)
    if taken is not None:
        return judge_latency(network, limit, taken.interval)
    why = next((measured.failure for measured in result.measurements if measured.failure), "nothing was measured")
    return Verdict(network, METRIC, Word.error, f"its latency could not be measured: {why}")


def judge_memory(network: str, limit: Limit, interval: Interval | None) -> Verdict:
    """Hold measured memory, in bytes, against its limit, as ``judge_latency`` does."""
    return _judge_measured(network, "memory", limit, interval)


def unheld(budgets: Mapping[str, Budget], cure: str) -> list[str]:
    """Say which limits nothing was held against, since their metric was not measured.

    Args:
        budgets: by network, without limits on what was measured.
        cure: what measures it, with {metric} for the metric.
    """
    notes = []
    for name, metric in _MEASURED.items():
        networks = sorted(network for network, budget in budgets.items() if name in budget.set())
        if networks:
            notes.append(f"{name} of {', '.join(networks)} was not held: {cure.format(metric=metric)}")
    return notes


def without(budget: Budget, metrics: Collection[str]) -> Budget:
    """Give a budget without the limits on metrics that were measured."""
    held: dict[str, None] = {name: None for name, metric in _MEASURED.items() if metric in metrics}
    return dataclasses.replace(budget, **held)


def _judge_measured(network: str, noun: str, limit: Limit, interval: Interval | None) -> Verdict:
    if interval is None:
        said = f"{noun}: no interval, which takes two processes at least, to hold against the budget of {limit}"
        return Verdict(network, METRIC, Word.inconclusive, said)
    most = float(limit.value)
    if interval.high <= most:
        word, where = Word.same, "under"
    elif interval.low > most:
        word, where = Word.worse, "over"
    else:
        word, where = Word.inconclusive, "on both sides of"
    return Verdict(
        network, METRIC, word, f"{noun} {limit.between(interval.low, interval.high)}, {where} the budget of {limit}"
    )


def _held(limit: Limit, value: int, noun: str) -> str:
    """Say how far from the limit a value is: "5.48 M parameters, 0.48 M over the budget of 5 M"."""
    told = f"{limit.written(value)} {noun}".rstrip()
    if value == limit.value:
        return f"{told}, all of the budget"
    where = "over" if value > limit.value else "under"
    return f"{told}, {limit.apart(value)} {where} the budget of {limit}"


def _lower_bound(network: str, limit: Limit, value: int, noun: str, uncounted: Mapping[str, int]) -> Verdict:
    left_out = f"without {', '.join(sorted(uncounted))}, which have no formula"
    if value > limit.value:
        return Verdict(network, METRIC, Word.worse, f"at least {_held(limit, value, noun)} ({left_out})")
    told = f"at least {limit.written(value)} {noun}".rstrip()
    return Verdict(network, METRIC, Word.error, f"{told}, {left_out}, cannot be held against the budget of {limit}")
