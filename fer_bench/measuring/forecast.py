"""What a run is going to be: how many measurements, beside which load, and about how long they take."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fer_bench.measuring.runner import Machine
from fer_bench.measuring.task import Task
from fer_bench.networks.spec import DEFAULT_INPUT
from fer_bench.records import units
from fer_bench.records.plan import Load, Plan
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import standard

# A pass over the time of its MACs at the rate that the machine attains in one large product: from a giga-MAC on the
# networks of the zoo took 2.0 to 2.8 times that on two cores.
_OVER_ATTAINED = 2.5
_PASS_S = 3e-3  # what a pass takes beside its MACs
_NETWORK_S = 0.3  # processes, building and counting of one network
_BEGIN_S = 6.0  # importing libraries, once
_TRAINING_PASSES = 3.0  # forward, and backward for weights and activations
_GROUP_S = 0.5  # any other metric
_STARTS_S = 12.0  # of the five processes of a cold start, each of which imports PyTorch
_MINUTE_S, _HOUR_S = 60, 3600
_TIMED = ("latency", "training")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a run before it begins.

    Attributes:
        tasks: those that are not measured yet, with the wait policy chosen.
        load: what other programs take just now.
        macs: of each task's pass; None where no sheet says.
        seconds: that each task is expected to take; all None where the machine's rate is unknown.
    """

    tasks: Sequence[Task]
    load: Load
    macs: Sequence[float | None]
    seconds: Sequence[float | None]

    @property
    def total_s(self) -> float | None:
        """The expected time of all; a task of unknown MACs takes what the others take on average, None if all are."""
        known = [each for each in self.seconds if each is not None]
        if not known:
            return None if self.tasks else 0.0
        return _BEGIN_S + sum(known) * len(self.seconds) / len(known)

    def line(self, device: str, where: str) -> str:
        """Say in one line what is about to be measured, on which device, and into which store."""
        names = {task.spec.name for task in self.tasks}
        networks = f"{len(names)} network{'s' * (len(names) != 1)}"
        swept = f" in {len(self.tasks)} measurements" if len(self.tasks) > len(names) else ""
        protocols = " and ".join(dict.fromkeys(task.plan.protocol for task in self.tasks))
        took = f"about {duration(self.total_s)}" if self.total_s is not None else "time not known yet"
        return f"{device}, protocol {protocols}: {networks}{swept}, {took}, into {where}; {self._load()}"

    def _load(self) -> str:
        if self.load.quiet:
            return "no other load"
        threads = dict.fromkeys(task.plan.threads for task in self.tasks)
        numbers = " or ".join("all" if number is None else str(number) for number in threads)
        waiting = ", which sleep while they wait" if any(task.plan.wait == "passive" for task in self.tasks) else ""
        return (
            f"other programs keep {self.load.busy_cores:.1f} of {self.load.cores} cores busy; "
            f"{numbers} thread{'s' * (list(threads) != [1])}{waiting}"
        )

    def table(self) -> Table:
        """Return what would be measured, a row for each task."""
        rows = tuple(
            {setting.key: getattr(task.plan, setting.key) for setting in standard.SETTINGS}
            | {"name": task.spec.name, "input_shape": shape_of(task), "macs": macs, "expected_s": seconds}
            for task, macs, seconds in zip(self.tasks, self.macs, self.seconds, strict=True)
        )
        varying = [each for each in standard.SETTINGS if len({str(row[each.key]) for row in rows}) > 1]
        expected = Column("expected_s", "Expected (s)", units.number)
        total = f"About {duration(self.total_s)} in all." if self.total_s is not None else ""
        caption = f"{len(rows)} measurement{'s' * (len(rows) != 1)}. {total}".strip()
        return Table(
            "To be measured", (standard.NETWORK, standard.INPUT, *varying, standard.MACS, expected), rows, caption
        )


def forecast(tasks: Sequence[Task], load: Load, machine: Machine) -> Forecast:
    """Estimate how long tasks take, from the MACs in their sheets and the rate that the machine attains.

    Args:
        tasks: that are left, with the wait policy chosen (``task.settle``).
        load: of the machine.
        machine: measures its rate, where a task is timed.
    """
    macs = [macs_of(task) for task in tasks]
    rates = [_rate(task.plan, machine) for task in tasks]
    expected = [
        None if each is None or rate is None else expected_s(task.plan, each, rate)
        for task, each, rate in zip(tasks, macs, rates, strict=True)
    ]
    return Forecast(tasks, load, macs, expected)


def shape_of(task: Task) -> tuple[int, ...] | None:
    """Return the input shape that a task asks for, or else its network's own; None where only the network knows."""
    return task.input_shape or task.protocol_shape() or task.spec.input_shape


def macs_of(task: Task) -> float | None:
    """Return the MACs of an image by the network's sheet, in proportion to the pixels; None where it has none."""
    own, shape = task.spec.input_shape or DEFAULT_INPUT, shape_of(task)
    macs = task.spec.expected.get("macs")
    return None if macs is None or shape is None else macs * math.prod(shape[1:]) / math.prod(own[1:])


def _rate(plan: Plan, machine: Machine) -> float | None:
    if not set(plan.metrics) & set(_TIMED):
        return math.inf
    rate = machine.attainable(plan, lambda stage: None).get("macs_per_s")
    return float(rate) if rate else None


def expected_s(plan: Plan, macs: float, macs_per_s: float) -> float:
    """Return about how many seconds one network takes by a plan, whatever its processes find out on the way."""
    pass_s = plan.batch_size * macs * _OVER_ATTAINED / macs_per_s + _PASS_S
    series_s = min(max(plan.runs * pass_s, plan.min_time_s), plan.max_time_s or math.inf) + plan.warmup_runs * pass_s
    steps_s = min(plan.runs * pass_s * _TRAINING_PASSES, plan.max_time_s or math.inf)
    of_metric = {
        "static": 0.0,
        "latency": min(plan.processes * series_s, plan.budget_s or math.inf),
        "training": steps_s,
        "occupancy": 2 * plan.sample_s,
        "coldstart": _STARTS_S,
    }
    return _NETWORK_S + sum(of_metric.get(metric, _GROUP_S) for metric in plan.metrics)


def duration(seconds: float) -> str:
    """Write a time as people say it: "40 s", "6 min", "2 h 10 min"."""
    if seconds < 1.5 * _MINUTE_S:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR_S:
        return f"{round(seconds / _MINUTE_S)} min"
    hours, rest = divmod(round(seconds / _MINUTE_S), _MINUTE_S)
    return f"{hours} h {rest} min"


@dataclass(slots=True)
class TimeLeft:
    """The time left of a run: what was expected, corrected by what its tasks have taken so far.

    Args:
        seconds: expected of each task, in their order; None where it is not known.
        clock: seconds; tests pass their own.
    """

    seconds: Sequence[float | None]
    clock: Callable[[], float] = time.perf_counter
    _done: int = 0
    _taken_s: float = 0.0
    _began: float = field(default=math.nan)

    def begin(self) -> None:
        """Begin the next task."""
        self._began = self.clock()

    def done(self) -> None:
        """End the task under way."""
        self._taken_s += self.clock() - self._began
        self._done += 1
        self._began = math.nan

    def left_s(self) -> float | None:
        """Return the seconds left; None while nothing is known of any task."""
        known = [each for each in self.seconds if each is not None]
        typical = sum(known) / len(known) if known else self._taken_s / self._done if self._done else None
        if typical is None:
            return None
        expected = [typical if each is None else each for each in self.seconds]
        before = sum(expected[: self._done])
        ratio = self._taken_s / before if before else 1.0
        spent_s = 0.0 if math.isnan(self._began) else self.clock() - self._began
        return max(0.0, ratio * sum(expected[self._done :]) - spent_s)
