"""Pairs of new processes, one of the base and one of the candidate, measured alternately at one time in one place."""

import contextlib
import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fer_bench.gating.decision import log_ratio
from fer_bench.measuring import machine
from fer_bench.measuring.messages import MakePasses, Message, Passes, Ready, Warm, WarmUp
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.session import Session, WorkerError
from fer_bench.measuring.task import Task
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json, Result

SideName = Literal["base", "candidate"]
NAMES: tuple[SideName, SideName] = ("base", "candidate")
Answer = TypeVar("Answer", bound=Message)

# Turns of each process, and passes a turn, from so many seconds a pass. What comes in bursts of 0.1 s meets both sides
# the more equally the shorter a turn is. The second pass of a turn has its data in the cache again. What a pair costs
# beside its turns is 0.35 s: of a 13 ms network, half as many turns scatter a fifth more and save a third of the time.
TURNS = ((0.25, (6, 1)), (0.05, (12, 1)), (0.0, (12, 2)))

# Involuntary switches a pass by which one side may exceed the other, and the same as a share of the mean of both.
# Beyond these, another program ran on the core of that side.
CONTESTED, CONTESTED_SHARE = 1.0, 0.5
# Both that often: the core is shared, and only large changes can be detected.
SHARED = 1.0
# Page faults a pass, with memory kept: above, the allocator gives memory back. Of a forked process a few are copies.
FAULTS = 20.0


class SideError(FerBenchError):
    """One side of a pair failed."""

    def __init__(self, side: SideName, message: str) -> None:
        super().__init__(message)
        self.side = side


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    task: Task
    starter: Starter
    slower: float = 0.0  # a share by which each pass is made longer, for the gate to try itself


@dataclass(frozen=True, slots=True)
class Turn:
    """A few passes of one side in a row."""

    side: SideName
    passes: Passes


@dataclass(frozen=True, slots=True)
class Pair:
    """What one pair of processes gave.

    Attributes:
        number: from 0.
        log_ratio: of the candidate to the base.
        values: one a side, in the base unit of the metric: of latency the median, seconds.
        checks: one a side: of latency the mean.
        turns: in order; none where the metric is no latency.
        cores: that each side was kept on; none where it was not.
        outputs: shapes and digest, one a side.
    """

    number: int
    log_ratio: float
    values: tuple[float, float]
    checks: tuple[float, float]
    turns: tuple[Turn, ...] = ()
    cores: tuple[tuple[int, ...], ...] = ()
    outputs: tuple[Json, ...] = ()

    def per_run(self, count: str) -> tuple[float, float]:
        """Return page faults or context switches a pass, one a side."""
        sides = ([turn.passes for turn in self.turns if turn.side == name] for name in NAMES)
        base, candidate = (
            sum(getattr(passes, count) for passes in side) / max(sum(len(passes.seconds) for passes in side), 1)
            for side in sides
        )
        return base, candidate

    @property
    def contested(self) -> bool:
        """Return whether another program was in the way of one side only. Only what was forced counts, not waiting."""
        base, candidate = self.per_run("involuntary_switches")
        return abs(base - candidate) > max(CONTESTED, CONTESTED_SHARE * (base + candidate) / 2)


def latency_pair(number: int, base: Side, candidate: Side) -> Pair:
    """Measure a pair: two processes are started together, warmed up, and make passes in turns on one core.

    Which side starts first alternates with the pair. Which one makes passes first alternates with every second pair and
    within it. Of two processes of the same code, the one that started first was slower by 0.8 % (over 120 pairs).

    Raises:
        SideError: one failed.
        DeviceError: the plan's device is not there.
    """
    sides = dict(zip(NAMES, (base, candidate), strict=True))
    cores = dict(zip(NAMES, machine.idlest(*map(_cores_wanted, sides.values())), strict=True))
    order = _order(number)
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(_Stepped(name, sides[name])) for name in order}
        for name in order:
            processes[name].expect(Ready)
        warm = {name: processes[name].ask(WarmUp(cores[name]), Warm) for name in order}
        slowest = max(each.pass_s for each in warm.values())
        rounds, runs = next(planned for least, planned in TURNS if slowest > least)
        turns = [
            Turn(name, processes[name].ask(MakePasses(runs, sides[name].slower), Passes))
            for turn in range(rounds)
            for name in _order(number // 2 + turn)
        ]
    by_turn = [[turn.passes.seconds for turn in turns if turn.side == name] for name in NAMES]
    before, after = (list(itertools.chain(*side)) for side in by_turn)
    return Pair(
        number,
        log_ratio(*by_turn),
        values=(statistics.median(before), statistics.median(after)),
        checks=(statistics.fmean(before), statistics.fmean(after)),
        turns=tuple(turns),
        cores=tuple(cores.values()),
        outputs=tuple(warm[name].outputs for name in NAMES),
    )


def group_pair(value: Callable[[Result], float], stage: str, number: int, base: Side, candidate: Side) -> Pair:
    """Measure a pair of another metric than latency: each side in processes of its own, one side after the other.

    The side that begins alternates with the pair. What the results of a stage are read by, ``value``, is in base units.

    Raises:
        SideError: one failed.
        DeviceError: the plan's device is not there.
    """
    measured = {}
    for name in _order(number):
        side = base if name == "base" else candidate
        result = measure(side.task, side.starter, stage=stage)
        if failed := next((m.failure for m in result.measurements if m.failure), ""):
            raise SideError(name, failed)
        measured[name] = value(result) * (1 + side.slower)
        if measured[name] <= 0:
            raise SideError(name, "measured nothing above what an idle process uses")
    values = measured["base"], measured["candidate"]
    return Pair(number, math.log(values[1] / values[0]), values, values)


def _order(number: int) -> tuple[SideName, SideName]:
    """Return which side is first, which alternates."""
    return NAMES if number % 2 == 0 else (NAMES[1], NAMES[0])


def _cores_wanted(side: Side) -> float:
    """Return how many cores a process stays on: as many as it has threads, or all."""
    plan = side.task.plan
    return plan.threads if plan.pin and plan.threads is not None else math.inf


class _Stepped(Session):
    """A process of one side that makes passes on command."""

    def __init__(self, name: SideName, side: Side) -> None:
        super().__init__(side.task.job(stepped=True), side.starter)
        self._name = name

    def ask(self, command: Message, answer: type[Answer]) -> Answer:
        """Send a command and return its answer (see ``expect``)."""
        self.send(command)
        return self.expect(answer)

    def expect(self, answer: type[Answer]) -> Answer:
        """Return the next message, which is of this type.

        Raises:
            SideError: it failed, ended, hangs, or answers something else.
            DeviceError: its device is not there.
        """
        try:
            message = self.receive()
        except WorkerError as error:
            raise SideError(self._name, str(error)) from error
        if not isinstance(message, answer):
            raise SideError(self._name, "the process sent something other than a measurement")
        return message
