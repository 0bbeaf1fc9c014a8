"""Count networks for a gate, each in a process of its own."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fer_bench.gating import counts, limits
from fer_bench.gating.verdicts import Verdict, Word
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks.place import Place
from fer_bench.networks.spec import ModelSpec, Source
from fer_bench.records.errors import CountingError, FerBenchError
from fer_bench.records.limits import Budget
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Result

# What a server imports beforehand, so that each process of a pair finds it there.
LIBRARIES = tuple(ModelSpec(name, Source(name), name) for name in ("timm", "torchvision"))


def new_starter(plan: Plan, python: str = "") -> Starter:
    """Give a starter of processes for a plan, and of another environment by its interpreter.

    Raises:
        FerBenchError: there is no such interpreter.
    """
    if python and not os.access(python, os.X_OK):
        raise FerBenchError(f"--base-python {python}: there is no such program; name the environment's bin/python")
    return Starter(LIBRARIES, fresh=plan.isolation == "fresh", python=python or sys.executable)


def counting(plan: Plan) -> Plan:
    """Give the plan of counting what a plan measures: one image, of the same size and for the same classes."""
    same = {name: getattr(plan, name) for name in ("input_size", "channels", "num_classes", "threads")}
    return dataclasses.replace(counts.COUNTS, **same)


def count(
    specs: Mapping[str, ModelSpec], starter: Starter, plan: Plan, place: Place | None = None
) -> dict[str, Result]:
    """Count networks, by name."""
    environment: Environment | None = None
    found = {}
    for name, spec in specs.items():
        found[name] = measure(Task(spec, counting(plan), place=place), starter, environment=environment)
        environment = environment or found[name].environment
    return found


def count_both(
    specs: Sequence[Mapping[str, ModelSpec]], starters: Sequence[Starter], plan: Plan, places: Sequence[Place]
) -> list[dict[str, Result]]:
    """Count two sides at once; nothing is timed meanwhile."""
    for starter in starters:
        starter.begin()
    with ThreadPoolExecutor(len(starters)) as pool:
        try:
            return list(
                pool.map(lambda side: count(specs[side], starters[side], plan, places[side]), range(len(starters)))
            )
        except BaseException:  # Ctrl-C: leaving the pool waits for its threads, and they for their processes
            for starter in starters:
                starter.end()
            raise


def environment_of(results: Mapping[str, Result]) -> Environment | None:
    """Give where networks were counted."""
    return next((result.environment for result in results.values() if result.environment is not None), None)


def uncountable(result: Result) -> str:
    """Say why a network could not be counted; "" where it was."""
    try:
        counts.Snapshot.of(result)
    except CountingError as error:
        return str(error)
    return ""


def judge_budget(name: str, result: Result, budget: Budget) -> list[Verdict]:
    """Hold counts against the limits that are about counts."""
    try:
        return limits.judge(name, budget, counts.Snapshot.of(result))
    except CountingError as error:
        return [Verdict(name, limits.METRIC, Word.error, str(error))] if budget.set() else []
