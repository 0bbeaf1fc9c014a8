"""What isolation costs, and whether processes that are forked vary as fresh ones do.

A forked process begins as a copy of its server: the same address layout, the same imports. If that made its latency
more alike than fresh processes' latencies are, an interval over such processes would be too narrow. So both kinds are
measured in turn, and their medians compared: the ratio of their means, and of their standard deviations.
"""

import dataclasses
import math
import random
import statistics

import pytest

from fer_bench import find, list_models
from fer_bench.measuring import task
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure, measure_all
from fer_bench.measuring.task import Task
from fer_bench.records import stats
from fer_bench.records.plan import EDGE, QUICK
from fer_bench.records.store import Store

PAIRS = 20
LARGEST_F, LARGEST_T = 5.0, 3.6
ONE = {"processes": 1, "pilot_processes": 0, "interval_share": None}
PLAN = dataclasses.replace(EDGE, metrics=("latency",), runs=50, min_time_s=0.5, max_time_s=1.0, **ONE)


def process_median(task, starter):
    result = measure(task, starter)
    return stats.median(result.samples("latency_s")[0]), result.wall_s - result.passes_s


@pytest.mark.parametrize("name", ["mini_xception", "mobilenetv3_large"])
def test_forked_processes_vary_as_fresh_ones(benchmark, isolation_rows, name):
    task = Task(find(name), PLAN)
    logs, costs = {"forked": [], "fresh": []}, {"forked": [], "fresh": []}
    with Starter([task.spec]) as forked, Starter([task.spec], fresh=True) as fresh:
        kinds = {"forked": forked, "fresh": fresh}
        process_median(task, forked)  # starts the server
        for _ in range(PAIRS):
            for kind in random.sample(list(kinds), 2):
                median_s, cost_s = process_median(task, kinds[kind])
                logs[kind].append(math.log(median_s))
                costs[kind].append(cost_s)
        benchmark.pedantic(lambda: process_median(task, forked), rounds=1)
    row = {
        "forked_over_fresh": math.exp(statistics.mean(logs["forked"]) - statistics.mean(logs["fresh"])),
        **{f"sd_{kind}": statistics.stdev(values) for kind, values in logs.items()},
        **{f"start_{kind}_s": statistics.median(values) for kind, values in costs.items()},
    }
    benchmark.extra_info |= row
    isolation_rows[name] = row
    # By chance alone one in a thousand is beyond these: of F, and of Student's t, with 19 and 38 degrees of freedom.
    assert 1 / LARGEST_F < (row["sd_forked"] / row["sd_fresh"]) ** 2 < LARGEST_F, row
    error = math.hypot(row["sd_forked"], row["sd_fresh"]) / math.sqrt(PAIRS)
    assert abs(math.log(row["forked_over_fresh"])) < LARGEST_T * error, row


def test_the_order_of_networks_moves_no_peak_of_memory(benchmark, isolation_rows):
    names = ["mobilenetv3_large", "mini_xception", "densenet1_ler", "rasn"]
    plan = dataclasses.replace(QUICK, metrics=("memory",), runs=2, warmup_runs=0, threads=1)
    with Starter(names) as starter:

        def peaks(order):
            return {name: measure(Task(find(name), plan), starter).value("peak_rss_bytes") for name in order}

        first, second = peaks(names), benchmark.pedantic(lambda: peaks(names[::-1]), rounds=1)
    isolation_rows["peak memory, in another order"] = {name: second[name] / first[name] for name in names}
    assert second == pytest.approx(first, rel=0.02)


@pytest.mark.parametrize("plan", [QUICK, EDGE], ids=lambda plan: plan.protocol)
def test_the_harness_s_share_of_a_run(benchmark, isolation_rows, plan, tmp_path):
    """All that is not warm-up or measured passes: of every fourth network for `quick`, of two for `edge`."""
    names = list_models()[::4] if plan is QUICK else ["mini_xception", "mobilenetv3_large"]
    tasks = [Task(find(name), plan) for name in names]
    with Store.open(f"sqlite:///{tmp_path}/results.sqlite") as store:

        class Silent:
            def __getattr__(self, name):
                return lambda *_: None

        run = store.begin(task.fingerprint(tasks), "benchmark")
        done = benchmark.pedantic(lambda: measure_all(tasks, store, run, Silent()), rounds=1)
    assert done.stopped is None
    isolation_rows[f"{plan.protocol}, {len(names)} networks"] = {"harness_share": done.harness_share}
    benchmark.extra_info["harness_share"] = done.harness_share
    assert done.harness_share < (0.5 if plan is QUICK else 0.25)
