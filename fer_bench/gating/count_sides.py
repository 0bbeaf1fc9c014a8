"""Count networks for a gate, each in a process of its own."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fer_bench.gating import counts
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks.place import Place
from fer_bench.networks.spec import ModelSpec, Source
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Environment, Result

# What a server imports beforehand, so that each process of a pair finds it there.
LIBRARIES = tuple(ModelSpec(name, Source(name), name) for name in ("timm", "torchvision"))


def new_starter(plan: Plan, python: str = "") -> Starter:
    """Return a starter of processes for a plan, and of another environment by its interpreter.

    Raises:
        FerBenchError: there is no such interpreter.
    """
    if python and not os.access(python, os.X_OK):
        raise FerBenchError(f"--base-python {python}: there is no such program; name the environment's bin/python")
    return Starter(LIBRARIES, fresh=plan.isolation == "fresh", python=python or sys.executable)


def counting(plan: Plan) -> Plan:
    """Return the plan of counting what a plan measures: one image, of the same size and for the same classes."""
    same = {name: getattr(plan, name) for name in ("input_size", "channels", "num_classes", "threads")}
    return dataclasses.replace(counts.COUNTS, **same)


def count(
    specs: Mapping[str, ModelSpec], starter: Starter, plan: Plan, place: Place | None = None
) -> dict[str, Result]:
    """Count networks, by name."""
    results: dict[str, Result] = {}
    for name, spec in specs.items():
        results[name] = measure(Task(spec, counting(plan), place=place), starter, environment=environment_of(results))
    return results


def count_both(
    specs: Sequence[Mapping[str, ModelSpec]], starters: Sequence[Starter], plan: Plan, places: Sequence[Place]
) -> list[dict[str, Result]]:
    """Count two sides at once; nothing is timed meanwhile."""
    for starter in starters:
        starter.begin(counts.COUNTS.wait)
    with ThreadPoolExecutor(len(starters)) as pool:
        try:
            return list(pool.map(count, specs, starters, [plan, plan], places))
        except BaseException:  # Ctrl-C: leaving the pool waits for its threads, and they for their processes
            for starter in starters:
                starter.end()
            raise


def environment_of(results: Mapping[str, Result]) -> Environment | None:
    """Return where networks were counted."""
    return next((result.environment for result in results.values() if result.environment is not None), None)
