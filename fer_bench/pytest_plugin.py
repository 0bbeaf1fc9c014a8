"""Lend pytest-benchmark our plan, and take back a Result.

The fixture ``fer_benchmark`` measures a network under the rules of a plan with pytest-benchmark's own timer, table,
storage and comparison. Nothing here loads PyTorch before a test asks for the fixture's work.
"""

import dataclasses
import datetime
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fer_bench.plan import QUICK, Plan

if TYPE_CHECKING:
    from fer_bench.records import Result

_LEAST_ROUNDS = 3


@pytest.fixture
def fer_benchmark(benchmark: Any) -> "Callable[..., Result]":
    """Measure the latency of a network: ``fer_benchmark("resnet50")``, or with a plan of your own.

    Timed are forward passes on the plan's device, after its warm-up, as many as it wants or as its time cap allows. The
    whole record goes to ``extra_info["fer_bench"]``.
    """

    def measure(name: str, plan: Plan = QUICK) -> "Result":
        import torch

        from fer_bench import environment
        from fer_bench.building import DEFAULT_BUILD
        from fer_bench.records import Measurement, Result, Subject
        from fer_bench.worker import Job, Network, take_up

        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        allocator = take_up(plan)
        with torch.inference_mode():
            network = Network(Job(name, DEFAULT_BUILD, plan, ("latency",)))
            model, images = network.make()

            def forward() -> None:
                model(images)
                if images.is_cuda:
                    torch.cuda.synchronize()

            start = time.perf_counter()
            for _ in range(plan.warmup_runs):
                forward()
            a_pass = (time.perf_counter() - start) / max(plan.warmup_runs, 1)
            affordable = plan.runs if plan.max_time_s is None else int(plan.max_time_s / a_pass)
            rounds = min(plan.runs, max(affordable, _LEAST_ROUNDS))
            benchmark.pedantic(forward, rounds=rounds, iterations=1)
            described = environment.describe(plan.device, allocator)
        values = tuple(benchmark.stats.stats.data) if benchmark.stats else ()  # none under --benchmark-disable
        spec = network.spec
        result = Result(
            subject=Subject(
                spec.name,
                spec.title,
                spec.status,
                network.input_shape,
                spec.num_classes,
                note=spec.note,
                uncertain=spec.uncertain,
            ),
            plan=plan.to_dict(),
            environment=described,
            measurements=(Measurement("latency_s", "s", values, details={"clock": "pytest-benchmark"}),),
            started_at=started_at,
        )
        # As JSON has it, so that --benchmark-json can write it.
        benchmark.extra_info["fer_bench"] = json.loads(json.dumps(dataclasses.asdict(result)))
        return result

    return measure
