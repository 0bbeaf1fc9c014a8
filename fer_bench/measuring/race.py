"""Measure variants in rounds, and stop each as soon as another is known to be faster: ``fer-bench sweep --until best``.

In a round every variant that is left is measured by one process, in random order, so that what a round shares, such as
another program's load, cancels in the ratio of two variants. After each round the fastest so far is compared with all
others. The interval of a ratio holds after every round at once, at ``ALPHA`` over the number of others, so that looking
after each costs nothing: the fastest variant is stopped by mistake in one race of twenty at most.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fer_bench.measuring.runner import Carried, Machine, Watcher, measure, starter_of
from fer_bench.measuring.task import Task
from fer_bench.records import stats
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Result

ALPHA = 0.05
ROUNDS = 20  # at most: what is level then stays level
_METRICS = {"latency": "latency_s", "training": "training_step_s"}  # what a race is about, the first that is measured
_EFFECT = 10.0  # standard deviation of the prior of mean / deviation: variants mostly differ by far more than noise


def half_width(values: Sequence[float], alpha: float) -> float:
    """Return half the width of an anytime-valid confidence interval around the mean of normal values.

    It is the confidence sequence of the t test: the values are bet on with a normal prior on mean / deviation and the
    right Haar prior on the deviation, which makes a martingale whose value exceeds 1 / alpha in a share alpha of all
    sequences, however long (Lai 1976, Ann. Statist. 4; Wang and Ramdas 2023, arXiv:2310.03722). Infinite for too few.
    """
    count, precision = len(values), _EFFECT**-2
    if count < 2:
        return math.inf
    share = precision / (count + precision)
    bound = (alpha**2 * share) ** (-1 / count)
    if bound * share >= 1:
        return math.inf
    squares = statistics.variance(values) * (count - 1)
    return math.sqrt(squares * (bound - 1) / (count * (1 - bound * share)))


@dataclass(slots=True)
class Standing:
    """The variants that are left in a race, by their places, and the logarithm of what each took in every round.

    Args:
        of: how many variants the whole sweep has, over which ``alpha`` is shared.
        logs: of each that is left.
        alpha: the chance that the fastest is stopped.
    """

    of: int
    logs: dict[int, list[float]]
    alpha: float = ALPHA

    def leader(self) -> int:
        """Return the place of the fastest so far."""
        return min(self.logs, key=lambda place: statistics.fmean(self.logs[place]))

    def stop(self) -> list[int]:
        """Take out the variants that are slower than the fastest so far, and return their places."""
        if len(self.logs) < 2:
            return []
        first = self.logs[self.leader()]
        slower = []
        for place, logs in self.logs.items():
            ratios = [log - other for log, other in zip(logs, first, strict=True)]
            if logs is not first and statistics.fmean(ratios) > half_width(ratios, self.alpha / (self.of - 1)):
                slower.append(place)
        for place in slower:
            del self.logs[place]
        return slower


def race(
    took: Callable[[int, int], float | None], variants: int, of: int, *, rounds: int = ROUNDS, seed: int = 0
) -> Iterator[tuple[Standing, list[int]]]:
    """Hold a race, and yield the standing after each round with the places of those that are out.

    Args:
        took: measures the variant at a place in a round: seconds, or None where it failed, which takes it out.
        variants: that take part.
        of: how many the whole sweep has.
        rounds: at most.
        seed: of the order in a round.
    """
    standing, order = Standing(of, {place: [] for place in range(variants)}), random.Random(seed)  # noqa: S311
    for number in range(rounds):
        failed = []
        for place in order.sample(sorted(standing.logs), len(standing.logs)):
            seconds = took(place, number)
            if seconds is None:
                failed.append(place)
                del standing.logs[place]
            else:
                standing.logs[place].append(math.log(seconds))
        yield standing, failed + standing.stop()
        if len(standing.logs) < 2:
            return


@dataclass(slots=True)
class Race:
    """Carries out tasks as a race; a variant's result comes when it is out, or when the race is over.

    A race that was interrupted goes on with the variants that were left, from their first round.

    Attributes:
        of: how many variants the whole sweep has.
        debug: pass on what processes print.
        left: results of the fastest, and then of those that cannot be told apart from it, when the race is over.
        rounds: that were held.
    """

    of: int
    debug: bool = False
    left: list[Result] = field(default_factory=list)
    rounds: int = 0
    _parts: dict[int, list[Result]] = field(default_factory=dict)

    def results(self, tasks: Sequence[Task], watcher: Watcher) -> Carried:
        """Yield the place of each task and its result.

        Raises:
            FerBenchError: the plan measures no time.
        """
        if not tasks:
            return
        metric = metric_of(tasks[0])
        with starter_of(tasks) as starter:
            machine = Machine(starter, debug=self.debug)

            def took(place: int, number: int) -> float | None:
                once = replace(tasks[place].plan, processes=1, pilot_processes=0, interval_share=None)
                if number:  # what is no time does not change from process to process
                    once = replace(once, metrics=(metric,))
                watcher.begin(tasks[place])
                watcher.stage(f"{metric}, round {number + 1}")
                part = measure(replace(tasks[place], plan=once), starter, machine, debug=self.debug)
                self._parts.setdefault(place, []).append(part)
                values = [value for sample in part.samples(_METRICS[metric]) for value in sample]
                return stats.median(values) if values else None

            last: Standing | None = None
            for standing, out in race(took, len(tasks), self.of, seed=tasks[0].plan.seed):
                self.rounds, last = self.rounds + 1, standing
                for place in out:
                    yield place, self._joined(tasks[place], place)
            if last is not None and last.logs:
                best = last.leader()
                for place in (best, *(place for place in last.logs if place != best)):
                    self.left.append(self._joined(tasks[place], place))
                    yield place, self.left[-1]

    def _joined(self, task: Task, place: int) -> Result:
        """Return the parts of a variant as one result, of as many processes."""
        parts = self._parts.pop(place)
        measurements = [
            replace(measurement, process=number)
            for number, part in enumerate(parts)
            for measurement in part.measurements
        ]
        plan = replace(parts[0].plan, metrics=task.plan.metrics, processes=len(parts))
        wall_s, passes_s = sum(part.wall_s or 0.0 for part in parts), sum(part.passes_s for part in parts)
        return replace(parts[0], plan=plan, measurements=tuple(measurements), wall_s=wall_s, passes_s=passes_s)


def metric_of(task: Task) -> str:
    """Return what a race is about: the latency, or else the training step.

    Raises:
        FerBenchError: neither is measured.
    """
    for metric in _METRICS:
        if metric in task.plan.metrics:
            return metric
    raise FerBenchError("--until best needs a time to race for; try: --metrics latency, or training")
