"""Passes that are made when told: a few at a time, so that another process can have its turn in between."""

import hashlib
import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fer_bench.measuring import machine
from fer_bench.measuring.profilers.kinds import Clock
from fer_bench.measuring.profilers.latency import cuda_pass
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json

WARMUP_S = 0.1  # of warm-up, beside the plan's passes: of a small network five are over before the clock has settled


def pace(
    model: nn.Module,
    images: Tensor,
    plan: Plan,
    tell: Callable[[Mapping[str, Json]], None],
    commands: Iterable[str],
    clock: Clock = time.perf_counter_ns,
) -> None:
    """Warm up, then make passes as told.

    A command is a line of JSON: ``{"cores": [1]}`` moves to these cores and warms up there, ``{"runs": 3}`` makes three
    passes. After the last line it returns.

    Args:
        model: the network, in eval mode, on the plan's device.
        images: the batch, (N, C, H, W), on the same device.
        plan: the passes of warm-up.
        tell: told of each command's end. After the warm-up: ``outputs`` (shapes, and a digest that is the same for the
            same values), ``pass_s`` (seconds of the shortest pass). After passes: ``seconds`` of each, ``cpu_s`` of
            all, ``minor_faults`` and ``involuntary_switches`` of all.
        commands: as above.
        clock: nanoseconds; tests pass their own.
    """

    def on_cpu() -> float:
        start = clock()
        model(images)
        return (clock() - start) * 1e-9

    def one() -> float:
        return cuda_pass(lambda: model(images)) if images.is_cuda else on_cpu()

    with torch.inference_mode():
        for line in commands:
            command = json.loads(line)
            if "cores" in command:
                if command["cores"]:
                    machine.stay_on(command["cores"])
                tell({"outputs": _outputs(model(images)), "pass_s": _warm_up(one, plan.warmup_runs)})
            else:
                tell(_passes(one, command["runs"], command.get("slower", 0.0), clock))


def _warm_up(one: Callable[[], float], least: int) -> float:
    seconds = [one()]
    while len(seconds) < least or sum(seconds) < WARMUP_S:
        seconds.append(one())
    return min(seconds)


def _passes(one: Callable[[], float], runs: int, slower: float, clock: Clock) -> dict[str, Json]:
    before, cpu = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    seconds = []
    for _ in range(runs):
        taken = one()
        if slower:  # the gate tries itself: so much longer by work that no network does
            start = clock()
            while (clock() - start) * 1e-9 < slower * taken:
                pass
            taken += (clock() - start) * 1e-9
        seconds.append(taken)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu_s": time.process_time() - cpu,
        "minor_faults": after.ru_minflt - before.ru_minflt,
        "involuntary_switches": after.ru_nivcsw - before.ru_nivcsw,
    }


def _outputs(given: Any) -> dict[str, Json]:
    """Tell the shapes of what a pass gave, and a digest of its values."""
    tensors = [given] if isinstance(given, Tensor) else [one for one in _leaves(given) if isinstance(one, Tensor)]
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return {"shapes": [list(tensor.shape) for tensor in tensors], "digest": digest.hexdigest()}


def _leaves(given: Any) -> list[Any]:
    from torch.utils._pytree import tree_leaves

    return tree_leaves(given)
