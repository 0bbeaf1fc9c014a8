"""Check the instrument: our latency beside other ways to time the same network, and what a timed run costs beside it.

Each round times one block of passes by every tool in turn, in one process, so that all see the same machine; a ratio is
the median over the rounds of a tool's mean over ours. The mean, because some tools tell nothing else.
"""

import dataclasses
import os
import statistics
import time
import timeit

import pytest
import torch
from torch import nn
from torch.utils.benchmark import Timer

from fer_bench import create_model, find
from fer_bench.measuring.machine import keep_freed_memory, pin
from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.networks.build import example_inputs
from fer_bench.records.plan import QUICK

ROUNDS = 41
BLOCK_S = 0.05  # long enough that starting a block, which costs some tools more than others, does not show
WITHIN = 0.02
OVERHEAD_S = 5e-6
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def ours(model, images, runs):
    plan = dataclasses.replace(QUICK, device=images.device.type, warmup_runs=1, runs=runs, max_time_s=None)
    found = measure_latency(model, images, plan)[0]
    return statistics.mean(found.values[:runs])


def by_hand(model, images, runs):
    if images.is_cuda:
        total = 0.0
        for _ in range(runs):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            model(images)
            end.record()
            torch.cuda.synchronize()
            total += start.elapsed_time(end) * 1e-3
        return total / runs
    start = time.perf_counter()
    for _ in range(runs):
        model(images)
    return (time.perf_counter() - start) / runs


def by_torch(model, images, runs):
    timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
    return timer.timeit(runs).mean


def by_timeit(model, images, runs):
    return timeit.timeit(lambda: model(images), number=runs) / runs


# What can be compared: on a GPU timers of the host, which do not wait for it, tell something else.
TOOLS = {
    "cpu": {"a loop by hand": by_hand, "torch.utils.benchmark": by_torch, "timeit": by_timeit},
    "cuda": {"a loop by hand": by_hand},
}


@pytest.fixture
def one_pinned_thread():
    """Two threads wait for each other: a neighbour on one core would be in every mean, and in some more than others."""
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(1)
    pin(1)
    yield
    torch.set_num_threads(threads)
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("name", ["mini_xception", "mobilenetv3_large"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("one_pinned_thread")
def test_other_tools_tell_the_same(benchmark, instrument_ratios, device, name):
    keep_freed_memory()
    spec = find(name)
    model, images = create_model(name).to(device), example_inputs(spec.input_shape, 1, device)
    tools = {"ours": ours, **TOOLS[device]}
    seconds = {tool: [] for tool in tools}
    with torch.inference_mode():
        by_hand(model, images, 20)
        runs = max(3, round(BLOCK_S / by_hand(model, images, 20)))
        for number in range(ROUNDS):
            order = list(tools)[number % len(tools) :] + list(tools)[: number % len(tools)]
            for tool in order:
                seconds[tool].append(tools[tool](model, images, runs))
        benchmark.pedantic(lambda: model(images), rounds=3)
    ratios = {
        tool: statistics.median(theirs / our for theirs, our in zip(taken, seconds["ours"], strict=True))
        for tool, taken in seconds.items()
        if tool != "ours"
    }
    benchmark.extra_info["ratios"] = ratios
    instrument_ratios[f"{name}, {device}"] = ratios
    assert all(abs(ratio - 1) < WITHIN for ratio in ratios.values()), ratios


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_triton_tells_the_same_of_a_cold_cache(benchmark, instrument_ratios):
    """do_bench empties the L2 cache before each pass, and takes milliseconds instead of runs.

    A large batch: unlike ours, its passes wait in the queue, so that starting operators would not show.
    """
    from triton.testing import do_bench

    model, images = create_model("resnet50").cuda(), example_inputs((3, 224, 224), 64, "cuda")
    plan = dataclasses.replace(QUICK, device="cuda", runs=20, max_time_s=None)
    ratios = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            found = {m.metric: m.values for m in measure_latency(model, images, plan)}
            theirs_s = do_bench(lambda: model(images), warmup=25, rep=1000, return_mode="median") * 1e-3
            ratios.append(theirs_s / statistics.median(found["latency_cold_s"]))
        benchmark.pedantic(lambda: model(images), rounds=3)
    instrument_ratios["resnet50 at batch 64, cold L2, cuda"] = {"triton do_bench": statistics.median(ratios)}
    assert abs(statistics.median(ratios) - 1) < WITHIN


class Nothing(nn.Module):
    def forward(self, x):
        return x


def test_a_timed_run_costs_little_beside_the_pass(benchmark, instrument_ratios):
    """The whole loop's time a run, less a call of the same network that does nothing."""
    model, images, runs = Nothing(), torch.zeros(1), 20_000
    plan = dataclasses.replace(QUICK, runs=runs, max_time_s=None)

    def both():
        start = time.perf_counter()
        measure_latency(model, images, plan)
        whole = (time.perf_counter() - start) / runs
        return whole, by_timeit(model, images, runs)

    wholes, bare = zip(*(both() for _ in range(7)), strict=True)
    benchmark.pedantic(both, rounds=1)
    overhead_s = statistics.median(wholes) - statistics.median(bare)
    inside_s = statistics.median(measure_latency(model, images, plan)[0].values) - statistics.median(bare)
    benchmark.extra_info |= {"overhead_s": overhead_s, "inside_the_interval_s": inside_s}
    instrument_ratios["a run beside its pass, µs"] = {"in all": overhead_s * 1e6, "in the interval": inside_s * 1e6}
    assert overhead_s < OVERHEAD_S
