"""Sweeps on several nodes: raylets of one machine, one of them killed, and jobs by submitit's local executor."""

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

import fer_bench as fb
from fer_bench.measuring import node, on_ray
from fer_bench.measuring.executors import opened_executor
from fer_bench.measuring.measure import begin, opened
from fer_bench.measuring.on_slurm import SlurmExecutor
from fer_bench.measuring.progress import Quiet
from fer_bench.measuring.runner import BESIDE, measure_all
from fer_bench.measuring.task import Task
from fer_bench.measuring.variants import read_grid
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import CALIBRATION, QUICK, Load
from fer_bench.reporting.analysis import sweeps
from fer_bench.reporting.tables import sweeps as tables

GRID = """
networks = ["mtcnn_pnet", "mini_xception"]
metrics = ["static", "latency"]
[plan]
batch_size = [1, 2]
runs = 5
min_time_s = 0.0
processes = 1
threads = 1
"""
FIRST, LAST = ("a", "b")  # the nodes that measure
full_priority = pytest.mark.skipif(os.nice(0) > 0, reason="what this process starts has a low priority, too")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def grid(folder):
    """Write a sweep, and return its path."""

    def write(text=GRID):
        Path("grid.toml").write_text(text)
        return "grid.toml"

    return write


@pytest.fixture(scope="module")
def cluster():
    """Three raylets: a head that measures nothing, and two nodes with a slot."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        made = raylets(FIRST, LAST)
        yield made
        made.shutdown()


def raylets(*names):
    """Start a cluster; on a busy machine the 30 s that Ray itself waits for a raylet can run out."""
    from ray.cluster_utils import Cluster

    for tries_left in (2, 1, 0):
        made = Cluster()
        try:
            made.add_node(num_cpus=0, node_name="head")
            for name in names:
                made.add_node(num_cpus=1, resources={on_ray.SLOT: 1}, node_name=name)
        except Exception:
            made.shutdown()
            if not tries_left:
                raise
        else:
            return made
    return None


def workers():
    """Return the processes of ours that some descendant of this one has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            found += [child] if "fer_bench.measuring.worker" in child.cmdline() else []
        except psutil.Error:
            continue
    return found


def counts(result):
    """Return what is counted on a network, and not observed of a process."""
    kept = [m for m in result.measurements if m.unit == "count" and not m.metric.endswith(("faults", "switches"))]
    return [(m.metric, m.values) for m in kept]


class Stops(Quiet):
    def done(self, task, result):
        raise KeyboardInterrupt


@pytest.mark.slow
@full_priority
def test_two_nodes_record_what_one_machine_records_and_an_interrupted_sweep_goes_on(cluster, grid):
    address, store = f"ray:{cluster.address}", "sqlite:///results.sqlite"
    made = read_grid(grid(), built_in(), None)
    with opened_executor(address, made.tasks) as chosen, opened(store) as kept:
        run, _ = begin(kept, made.tasks, made.title, None)
        done = measure_all(made.tasks, kept, run, Stops(), load=chosen.load, executor=chosen.executor)
        assert isinstance(done.stopped, KeyboardInterrupt)
        (before,) = [one for one in kept.results(run) if one.plan.protocol != CALIBRATION]
    until = time.monotonic() + 60
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers()
    swept = fb.sweep("grid.toml", store=store, executor=address, progress=False)
    alone = fb.sweep("grid.toml", progress=False)
    assert before in list(swept.results)
    for ours, theirs in zip(alone.results, swept.results, strict=True):
        assert theirs.subject == ours.subject
        assert theirs.plan == ours.plan
        assert [(m.metric, m.unit, len(m.values), m.failure) for m in theirs.measurements] == [
            (m.metric, m.unit, len(m.values), m.failure) for m in ours.measurements
        ]
        assert counts(theirs) == counts(ours)
        assert [name for name, *_ in ours.environment.differences(theirs.environment)] == ["node"]
        assert theirs.environment.openmp_settings == ours.environment.openmp_settings
    assert alone.nodes == ()
    nodes = {node.node_name(name) for name in (FIRST, LAST)}
    # Twice in the sweep that went on, and in the one that was interrupted once, if that had come.
    of_nodes = [one.environment.node for one in swept.nodes]
    assert set(of_nodes) == nodes
    assert all(of_nodes.count(name) in (2, 3) for name in nodes)
    assert all(one.samples("latency_s") for one in swept.nodes)
    assert len(swept.calibration().rows) == 2
    assert all(f" % on node {name}" in swept.table().caption for name in nodes)
    with opened(store) as kept:
        drawn = fb.report(kept.results(run))
    assert [row["node"] for row in drawn["calibration"].rows] == [row["node"] for row in swept.calibration().rows]
    assert {row["name"] for row in drawn["efficiency"].rows} == {"mtcnn_pnet", "mini_xception"}
    assert all(f" % on node {name}" in drawn["efficiency"].caption for name in nodes)


@pytest.mark.slow
@full_priority
def test_nodes_that_cannot_measure_are_refused(cluster, folder, monkeypatch):
    task = Task(built_in().find("mtcnn_pnet"), dataclasses.replace(QUICK, metrics=("static",)))
    on_gpu = dataclasses.replace(task, plan=dataclasses.replace(task.plan, device="cuda"))
    with pytest.raises(FerBenchError, match="none of the 3 nodes of the cluster has a bench_slot and GPU"):
        on_ray.RayExecutor([on_gpu], cluster.address)
    with pytest.raises(FerBenchError, match=r"node a has no /missing\.pt; try: a path that all nodes share"):
        on_ray.RayExecutor([dataclasses.replace(task, checkpoint="/missing.pt")], cluster.address)
    with holding(cluster, FIRST):
        monkeypatch.setattr(on_ray, "_FREED_S", 0.0)
        with pytest.raises(FerBenchError, match="another sweep measures on node a; try: again"):
            on_ray.RayExecutor([task], cluster.address)


@contextlib.contextmanager
def holding(cluster, called):
    """Have another command's actor on a node."""
    import ray

    class Holds:
        def is_there(self):
            return True

    with ray.init(address=cluster.address, namespace="fer-bench", logging_level="ERROR"):
        (name,) = (f"fer-bench-{one['NodeID']}" for one in ray.nodes() if one["NodeName"] == called)
        actor = ray.remote(num_cpus=0)(Holds).options(name=name, lifetime="detached").remote()
        assert ray.get(actor.is_there.remote())
    yield
    with ray.init(address=cluster.address, namespace="fer-bench", logging_level="ERROR"):
        ray.kill(ray.get_actor(name))


LOSES = """
import os, signal, time
import psutil
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, classes)
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

def actor():
    return psutil.Process().parent().parent()  # of the server that forked this process

def good(num_classes=7): return Net(num_classes)
def kills_node_once(num_classes=7):
    if not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        actor().parent().kill()
        time.sleep(1000)
    return Net(num_classes)
def kills_actor(num_classes=7):
    actor().kill()
    time.sleep(1000)
"""


@pytest.mark.slow
@full_priority
def test_a_node_that_is_killed_costs_no_variant(cluster, grid):
    mark = str(Path("killed").resolve())
    Path("net.py").write_text(LOSES.format(mark=mark))
    networks = ["net.py:kills_node_once", "net.py:kills_actor", "net.py:good", "mtcnn_pnet"]
    text = f"networks = {networks}\nmetrics = 'static'\n[plan]\ninput_size = 32\n"
    swept = fb.sweep(grid(text), executor=f"ray:{cluster.address}", progress=False)
    again, failed, good, pnet = swept.results
    assert Path(mark).exists()
    assert "measured again, because the first node was lost" in again.measurements[-1].warnings
    assert again.value("parameters.trainable") == good.value("parameters.trainable") == 4 * 28 + 7 * 5
    assert "lost with its node 2 times" in failed.measurements[0].failure
    assert pnet.value("parameters.trainable") == 6632


@pytest.mark.parametrize(
    ("executor", "says"),
    [
        ("ray:127.0.0.1:1", "no Ray cluster at 127.0.0.1:1 .*try: `ray start --head`"),
        ("ray:head", "has no host and port; try: ray:HOST:6379"),
        ("ray://head:10001", "no ray:// of Ray's client; try: ray:HOST:6379"),
        ("rays", "no executor is called 'rays'; known: local, ray"),
    ],
)
def test_an_address_without_a_cluster_is_refused(executor, says):
    if ":" in executor:
        pytest.importorskip("ray")
    with pytest.raises(FerBenchError, match=says):
        fb.sweep("rarn-backbones", executor=executor, progress=False)


@pytest.mark.parametrize(("executor", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_library_is_named_with_its_extra(executor, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(FerBenchError, match=rf"--executor {executor} needs {library}.*fer-bench\[{executor}\]"):
        fb.sweep("rarn-backbones", executor=executor, progress=False)


VERSIONS = {"fer-bench": "1.0", "torch": "2.9", "torchvision": "0.24", "timm": "1.0"}
FINE = node.Looked("a", True, VERSIONS, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"has_code": False}, "node b has no fer_bench; try: pip install fer-bench==1.0 there"),
        ({"versions": VERSIONS | {"fer-bench": "0.9"}}, "node b has fer_bench 0.9, and this machine 1.0"),
        ({"versions": VERSIONS | {"torch": "2.8"}}, "node b has 2.8 of torch, and node a has 2.9"),
        ({"versions": VERSIONS | {"timm": ""}}, "node b has no version of timm, and node a has 1.0"),
        ({"nice": 15}, "node b runs at nice 15.*try: RAY_worker_niceness=0 before `ray start`"),
        ({"missing": ["w.pt"]}, "node b has no w.pt"),
    ],
)
def test_unlike_nodes_are_refused(changes, says):
    node.check_nodes([FINE, FINE], VERSIONS)
    with pytest.raises(FerBenchError, match=says):
        node.check_nodes([FINE, dataclasses.replace(FINE, called="b", **changes)], VERSIONS)


def test_paths_in_the_folder_travel_with_it_and_all_plans_of_a_network_stay_together(folder):
    Path("net.py").write_text("")
    spec = built_in().find(f"{folder}/net.py:build")
    one = Task(spec, QUICK, checkpoint=f"{folder}/w.pt", data="/elsewhere")
    moved = node.portable(one, folder)
    assert (moved.spec.source.file, moved.checkpoint, moved.data) == ("net.py", "w.pt", "/elsewhere")
    assert node.files_of([moved]) == ["net.py", "w.pt", "/elsewhere"]
    assert node.needs_folder([moved], folder)
    other = Task(built_in().find("rarn"), QUICK, settings=("backbone=resnet18",))
    assert not node.needs_folder([other], folder)
    batch = dataclasses.replace(QUICK, batch_size=8)
    tasks = [one, other, dataclasses.replace(one, plan=batch), dataclasses.replace(other, settings=())]
    assert [[place for place, _ in group] for group in node.by_network(enumerate(tasks))] == [[0, 2], [1], [3]]


def test_counts_need_no_reference_and_times_one_by_the_nodes_load():
    task = Task(built_in().find("rarn"), dataclasses.replace(QUICK, metrics=("static",)))
    assert node.reference([task], Load(0.0, 4)) is None
    timed = dataclasses.replace(task, plan=dataclasses.replace(QUICK, threads=3))
    made = node.reference([timed], Load(4.0, 4))
    assert (made.plan.metrics, made.plan.threads, made.plan.wait) == (("latency",), 3, "passive")


def test_the_memory_monitor_of_ray_is_no_network_out_of_memory():
    monitors = Exception("The actor died. Task was killed due to the node running low on memory. (OOM)")
    assert "Ray's memory monitor ended it" in on_ray._why(monitors)
    assert on_ray._why(Exception("The actor died.\n\tclass_name: A")) == "The actor died"


def on(result, name, **changes):
    return dataclasses.replace(result, environment=dataclasses.replace(result.environment, node=name, **changes))


def test_times_are_compared_on_alike_nodes_only_and_tables_say_so(make_result):
    slow, fast = make_result("slow"), make_result("fast")
    fast = dataclasses.replace(
        fast,
        measurements=tuple(
            dataclasses.replace(m, values=(0.001,) * 5) if m.metric == "latency_s" else m for m in fast.measurements
        ),
    )
    assert sweeps.front([slow, fast]) == [False, True]
    assert sweeps.front([on(slow, "x"), on(fast, "y")]) == [False, True]
    unlike = [on(slow, "x"), on(fast, "y", cpu="another")]
    assert sweeps.front(unlike) == [True, True]
    drawn = tables.variants("t", ("slow", "fast"), unlike, {})
    assert [row["node"] for row in drawn.rows] == ["x", "y"]
    assert "Measured on 2 unlike nodes (cpu: " in drawn.caption
    assert "node" not in [column.key for column in tables.variants("t", ("a", "b"), [slow, fast], {}).columns]


def test_the_drift_of_a_node_is_shown(make_result):
    def of(name, value_s):
        result = on(make_result(), name)
        measured = [dataclasses.replace(m, values=(value_s,)) for m in result.measurements if m.metric == "latency_s"]
        return dataclasses.replace(result, measurements=tuple(measured))

    references = [of("x", 0.010), of("y", 0.020), of("x", 0.5), of("x", 0.011)]
    drawn = tables.calibration(references)
    assert [row["drift"] for row in drawn.rows] == [pytest.approx(0.1), None]
    assert [row["against_first"] for row in drawn.rows] == [0, pytest.approx(1.0)]
    assert tables.drifts(references).endswith(", after the variants against before: +10.0 % on node x.")
    assert tables.drifts(references[1:2]) == ""


def test_every_table_of_unlike_nodes_says_so_and_how_far_they_drifted(make_result):
    def reference(name, value_s):
        result = on(make_result(), name)
        measured = tuple(
            dataclasses.replace(m, values=(value_s,)) if m.metric == "latency_s" else m for m in result.measurements
        )
        return dataclasses.replace(
            result, measurements=measured, plan=dataclasses.replace(result.plan, protocol=CALIBRATION)
        )

    memory = ("memory", "latency")
    results = [on(make_result("resnet50"), "x"), on(make_result("rarn"), "y", cpu="another")]
    results = [dataclasses.replace(r, plan=dataclasses.replace(r.plan, metrics=memory)) for r in results]
    drawn = fb.report([reference("x", 0.010), *results, reference("x", 0.012)])
    measured = {stem: table for stem, table in drawn.items() if stem not in ("calibration", "published")}
    assert {"efficiency", "latency", "memory"} <= set(measured)
    for table in measured.values():
        assert "Measured on 2 unlike nodes (cpu: " in table.caption
        assert table.caption.endswith("+20.0 % on node x.")
        assert "mini_xception" not in {row["name"] for row in table.rows}
    assert [row["name"] for row in drawn["published"].rows if row["name"] == "mini_xception"] == []


class Beside:
    """Measures a reference network before and after its tasks, of which the last is never done."""

    def __init__(self, make, stop):
        self.make, self.stop = make, stop

    def results(self, tasks, watcher):
        yield BESIDE, self.make("before")
        for place in range(len(tasks)):
            if self.stop and place == len(tasks) - 1:
                raise KeyboardInterrupt
            yield place, self.make(f"task {place}")
        yield BESIDE, self.make("after")


def test_what_is_measured_beside_the_tasks_is_stored_with_them_also_when_interrupted(make_result, folder):
    plan = dataclasses.replace(QUICK, metrics=("static",))
    tasks = [Task(built_in().find("rarn"), dataclasses.replace(plan, num_classes=n)) for n in (2, 3)]
    with opened("sqlite:///results.sqlite") as kept:
        run, _ = begin(kept, tasks, "t", None)
        first = measure_all(tasks, kept, run, Quiet(), executor=Beside(make_result, stop=True))
        assert [result.subject.name for result in first.beside] == ["before"]
        assert (len(first.results), first.left) == (1, 1)
        kept.resume(run)
        then = measure_all(tasks, kept, run, Quiet(), executor=Beside(make_result, stop=False))
        assert [result.subject.name for result in then.results] == ["task 0", "task 0"]
        assert [result.subject.name for result in then.beside] == ["before", "before", "after"]
        assert len(kept.results(run)) == 2 + 3


def test_a_machine_that_submits_no_jobs_is_refused(folder, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FerBenchError, match=r"this machine submits no jobs to Slurm.*try: a login node"):
        fb.sweep("rarn-backbones", executor="slurm", progress=False)


@pytest.mark.slow
@full_priority
def test_jobs_record_what_one_machine_records(grid, monkeypatch):
    pytest.importorskip("submitit")
    made = read_grid(grid(GRID.replace('"static", "latency"', '"static"')), built_in(), None)
    executor = SlurmExecutor(cluster="local")
    by_place = dict(executor.results(made.tasks, Quiet()))
    alone = fb.sweep("grid.toml", progress=False)
    for place, ours in enumerate(alone.results):
        theirs = by_place[place]
        assert (theirs.subject, theirs.plan) == (ours.subject, ours.plan)
        kept = [(m.metric, m.values) for m in theirs.measurements if m.metric != "published_builds"]
        assert kept == [(m.metric, m.values) for m in ours.measurements]
        assert theirs.environment.node == node.node_name()


@pytest.mark.slow
@full_priority
def test_a_job_that_fails_leaves_its_network_for_the_same_command(grid):
    pytest.importorskip("submitit")
    fine, fails = (
        Task(built_in().find("mtcnn_pnet"), dataclasses.replace(QUICK, metrics=("static",), device=device))
        for device in ("cpu", "cuda")
    )
    executor = SlurmExecutor(cluster="local")
    fails = dataclasses.replace(fails, settings=("num_classes=3",))
    results = []
    with pytest.raises(FerBenchError, match=r"1 of 2 jobs failed, the first: job .*their logs are in fer-bench-jobs"):
        results.extend(executor.results([fine, fails], Quiet()))
    assert [place for place, _ in results] == [0]
