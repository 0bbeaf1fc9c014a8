"""Passes on command: a few at a time, so that another process can have its turn in between."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import machine, messages
from fer_bench.measuring.messages import Message, WarmUp
from fer_bench.measuring.profilers.kinds import Clock, inference_mode
from fer_bench.measuring.profilers.passes import Pass, Passes, timed_pass
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json

if TYPE_CHECKING:
    from torch import Tensor, nn

WARMUP_S = 0.1  # of warm-up, beside the plan's passes: of a small network five are over before the clock has settled


def step(
    model: "nn.Module",
    images: "Tensor",
    plan: Plan,
    send: Callable[[Message], None],
    commands: Iterable[str],
    clock: Clock = time.perf_counter_ns,
) -> None:
    """Warm up and make passes as commanded, until there is no command any more.

    Commands are lines of ``WarmUp`` and ``MakePasses``; the answer of each, ``Warm`` or ``Passes``, is sent.
    """
    one = timed_pass(model, images, clock)
    with inference_mode():
        for command in map(messages.load, commands):
            if isinstance(command, WarmUp):
                if command.cores:
                    machine.stay_on(command.cores)
                send(messages.Warm(_outputs(model(images)), _warm_up(one, plan.warmup_runs)))
            elif isinstance(command, messages.MakePasses):
                send(_passes(_longer(one, command.slower, clock), command.runs))


def _warm_up(one: Pass, least: int) -> float:
    seconds = [one()]
    while len(seconds) < least or sum(seconds) < WARMUP_S:
        seconds.append(one())
    return min(seconds)


def _longer(one: Pass, slower: float, clock: Clock) -> Pass:
    """Return passes that are longer by a share of themselves, by work that no network does: the gate tries itself."""

    def longer() -> float:
        seconds = one()
        start = clock()
        while (clock() - start) * 1e-9 < slower * seconds:
            pass
        return seconds + (clock() - start) * 1e-9

    return longer if slower else one


def _passes(one: Pass, runs: int) -> messages.Passes:
    passes, cpu_s = Passes(), time.process_time()
    for _ in range(runs):
        passes.make(one)
    return messages.Passes(
        tuple(passes.seconds),
        time.process_time() - cpu_s,
        sum(passes.minor_faults),
        sum(passes.involuntary_switches),
    )


def _outputs(given: Any) -> dict[str, Json]:
    """Return the shapes of what a pass returned, and a digest of its values."""
    of_a_backend = "torch" not in sys.modules or (isinstance(given, list) and hasattr(given[0], "tobytes"))
    arrays = given if of_a_backend else _as_arrays(given)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    shapes = [list(array.shape) for array in arrays]
    by = "a backend" if of_a_backend else "PyTorch"  # whose images are others
    return {"shapes": shapes, "digest": digest.hexdigest(), "by": by}


def _as_arrays(given: Any) -> list[Any]:
    from fer_bench.measuring.counting.recorder import flat_tensors

    return [tensor.detach().float().cpu().contiguous().numpy() for tensor in flat_tensors(given)]
