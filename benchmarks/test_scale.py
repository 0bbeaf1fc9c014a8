"""Two nodes carry out tasks of a second at 0.9 of twice the rate of one node.

The raylets are of this machine, with a CPU each. "sleeping" tasks take a second whatever else runs, so that they show
what scheduling costs. "working" tasks need a free core each, and show that two networks at work do not wait for each
other: on a machine that is busy they say nothing.

A round is one node and then both, with the same tasks. A sweep's start and end are left out, which are the same for
any number of tasks: from the first result of each node on, the tasks in each second are counted.
"""

import dataclasses
import os
import statistics
import time
from pathlib import Path

import psutil
import pytest

from fer_bench.measuring.measure import begin, opened
from fer_bench.measuring.on_ray import SLOT, RayExecutor
from fer_bench.measuring.progress import Quiet
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import built_in
from fer_bench.records.plan import QUICK

TASKS = 12
ROUNDS = 3
WITHIN = 0.9  # of linear
OTHERS = 0.3  # cores that others may keep busy, for working tasks to say anything
NETWORK = """
import time
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(3, classes)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def sleeping(num_classes=7, number=0):
    time.sleep(1)
    return Net(num_classes)

def working(num_classes=7, number=0):
    until = time.process_time() + 1  # of the processor's time
    while time.process_time() < until:
        pass
    return Net(num_classes)
"""


class Arrivals(Quiet):
    """Notes when each result came."""

    def __init__(self):
        self.at = []

    def done(self, task, result):
        assert not [m.failure for m in result.measurements if m.failure]
        self.at.append(time.perf_counter())


def tasks_per_s(address, kind, folder):
    """Return the rate at which results came, from the first one on."""
    plan = dataclasses.replace(QUICK, metrics=("static",), input_size=32)
    spec = built_in().find(f"net.py:{kind}")
    # Without a size to fall back to, a network is built and counted once, and not first to see whether it fits.
    made = [Task(spec, plan, settings=(f"number={number}",), own_size=False) for number in range(TASKS)]
    watcher = Arrivals()
    with RayExecutor(made, address) as executor, opened(f"sqlite:///{folder}/{time.time_ns()}.sqlite") as store:
        run, _ = begin(store, made, "scale", None)
        done = measure_all(made, store, run, watcher, load=executor.load, executor=executor)
        nodes = len(executor._slots)
    assert done.stopped is None
    assert len(done.results) == TASKS
    # The first result of each node has its imports in it.
    return (TASKS - nodes) / (watcher.at[-1] - watcher.at[nodes - 1]), nodes


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    Path("net.py").write_text(NETWORK)
    made = Cluster()
    made.add_node(num_cpus=0, node_name="head")
    yield made
    made.shutdown()


@pytest.mark.parametrize("kind", ["sleeping", "working"])
def test_two_nodes_are_almost_twice_as_fast_as_one(cluster, kind, tmp_path):
    if kind == "working":
        if os.cpu_count() < 2:
            pytest.skip("needs two cores")
        busy = psutil.cpu_percent(2) / 100 * os.cpu_count()
        if busy > OTHERS:
            pytest.skip(f"others keep {busy:.1f} cores busy")
    cluster.add_node(num_cpus=1, resources={SLOT: 1}, node_name="a")
    shares = []
    for _ in range(ROUNDS):
        alone, nodes = tasks_per_s(cluster.address, kind, tmp_path)
        assert nodes == 1
        second = cluster.add_node(num_cpus=1, resources={SLOT: 1}, node_name="b")
        both, nodes = tasks_per_s(cluster.address, kind, tmp_path)
        assert nodes == 2
        cluster.remove_node(second)
        shares.append(both / (2 * alone))
        print(f"{kind}: {alone:.3f} tasks/s on one node, {both:.3f} on two: {shares[-1]:.2f} of linear")
    assert statistics.median(shares) >= WITHIN
