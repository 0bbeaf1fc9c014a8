"""Check the default of `quick` on a busy machine: its median beside one busy process, over the quiet one.

Beside it torch.utils.benchmark, which has one thread unless told otherwise, and a loop as timm's benchmark.py has it,
with all threads. The busy process runs pure Python and is not pinned. The machine must be quiet otherwise: what else
runs is printed with the ratios.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys

import pytest

from fer_bench import find
from fer_bench.measuring.machine import load_now
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.records import stats
from fer_bench.records.plan import QUICK

WITHIN = 2.5
PLAN = dataclasses.replace(QUICK, metrics=("latency",), max_time_s=5.0)

# Programs of their own: OpenMP's threads and their policy are those of a process that has just started.
_MADE = """
import json, statistics, sys, time, torch
from fer_bench import create_model, find
model = create_model(sys.argv[1]).eval()
images = torch.randn(1, *find(sys.argv[1]).input_shape)
"""
_TORCH = """
from torch.utils.benchmark import Timer
with torch.inference_mode():
    print(json.dumps(Timer("model(images)", globals=globals()).blocked_autorange(min_run_time=5).median))
"""
_TIMM = """
times = []
with torch.inference_mode():
    for _ in range(10):
        model(images)
    until = time.perf_counter() + 5
    while time.perf_counter() < until:
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
print(json.dumps(statistics.median(times)))
"""


@contextlib.contextmanager
def one_busy_process():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def ours(name):
    with Starter([find(name)]) as starter:
        result = measure(Task(find(name), PLAN), starter)
    (sample,) = result.samples("latency_s")
    return stats.median(sample), f"{result.plan.wait}, {result.environment.threads} threads"


def theirs(program, name):
    done = subprocess.run([sys.executable, "-c", _MADE + program, name], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), ""


TOOLS = {
    "quick": ours,
    "torch.utils.benchmark": lambda name: theirs(_TORCH, name),
    "timm's loop": lambda name: theirs(_TIMM, name),
}


@pytest.mark.parametrize("name", ["mobilenetv3_large", "resnet50", "mini_xception"])
def test_a_busy_machine_gives_no_nonsense(name, busy_rows):
    others = load_now().busy_cores
    quiet = {tool: median_of(name) for tool, median_of in TOOLS.items()}
    with one_busy_process():
        busy = {tool: median_of(name) for tool, median_of in TOOLS.items()}
    for tool, (quiet_s, how) in quiet.items():
        busy_s, how_then = busy[tool]
        busy_rows[f"{name}, {tool} ({how}; {how_then})" if how else f"{name}, {tool}"] = {
            "quiet ms": 1e3 * quiet_s,
            "busy ms": 1e3 * busy_s,
            "busy over quiet": busy_s / quiet_s,
            "other busy cores": others,
        }
    assert busy["quick"][0] / quiet["quick"][0] <= WITHIN
