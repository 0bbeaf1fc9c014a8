"""Pairs of processes that were measured once, in place of new ones: a verdict on them is the same on any machine."""

import dataclasses
import json
from pathlib import Path

from fer_bench.gating import timing
from fer_bench.gating.decision import log_ratio
from fer_bench.gating.pairs import NAMES, Pair, Turn
from fer_bench.measuring.messages import Passes

RECORDS = Path(__file__).parents[2] / "benchmarks" / "gate_power" / "records"


def recorded(condition: str, percent: int) -> list[Pair]:
    """Return the pairs of the study of error rates under a condition, the candidate slower by so many percent."""
    pairs = []
    for record in json.loads((RECORDS / f"pairs-{condition}-{percent}.json").read_text())["pairs"]:
        turns = [Turn(NAMES[side], Passes(tuple(seconds), *counts)) for side, seconds, *counts in record["turns"]]
        by_side = [[turn.passes.seconds for turn in turns if turn.side == name] for name in NAMES]
        values, checks = tuple(record["values"]), tuple(record["checks"])
        pairs.append(Pair(record["number"], log_ratio(*by_side), values, checks, tuple(turns)))
    return pairs


def replay(monkeypatch, pairs: list[Pair]) -> list:
    """Let every metric of the gate be measured by these pairs; return a list to which each adds its two sides."""
    sides = []

    def pair(number, base, candidate):
        sides.append((base, candidate))
        return pairs[number]

    for name, metric in timing.METRICS.items():
        monkeypatch.setitem(timing.METRICS, name, dataclasses.replace(metric, pair=pair))
    return sides
