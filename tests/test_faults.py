"""Whatever is killed and whatever is full: what was measured stays, the rest goes on, and nothing runs on unseen.

FER_BENCH_KILLS is the number of kills, FER_BENCH_SEED another draw of their moments.
"""

import contextlib
import ctypes
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fer_bench.measuring import progress
from fer_bench.records.errors import StoreError
from fer_bench.records.store import Store

KILLS = int(os.environ.get("FER_BENCH_KILLS", "5"))
SEED = int(os.environ.get("FER_BENCH_SEED", "1"))
PATIENCE_S = 300  # until a run counts as hung: no machine is so slow
GONE_S = 60  # until a process counts as left behind
NETWORKS = "mtcnn_pnet,mtcnn_rnet,mtcnn_onet,mini_xception,tiny_xception,simple_cnn"
NAMES = NETWORKS.split(",")
QUICKLY = "--device cpu --threads 1 --runs 2".split()
ALL = ("--metrics", "static,latency,memory")
KILLED = "the process was killed by SIGKILL (out of memory?)"

WAITS = """
import os, time
from torch import nn

def waits():
    while not os.path.exists("go_on"):
        time.sleep(0.02)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))
"""


class Run:
    """A `fer-bench run` whose processes, and theirs, are known by a mark in their environment."""

    def __init__(self, folder, *arguments, **options):
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fer_bench.cli", "run", *QUICKLY, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "FER_BENCH_TEST_MARK": self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def processes(self):
        """The living ones: of the run, its server, workers, and what these may have started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it has just ended, or is another user's
                dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
                if not dead and process.environ().get("FER_BENCH_TEST_MARK") == self.mark:
                    found.append(process)
        return found

    def server(self):
        for process in self.children():
            with contextlib.suppress(psutil.Error):
                if "--serve" in process.cmdline():
                    return process
        return None

    def workers(self):
        """Those that the server forked."""
        with contextlib.suppress(psutil.Error):
            server = self.server()
            return server.children() if server else []
        return []

    def children(self):
        """The server, or a worker that is no server's."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children()
        return []

    def wait_for(self, condition):
        """Return what a condition gives as soon as it holds, or None when the run has ended first."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if found := condition():
                return found
            if self.process.poll() is not None:
                return None
            time.sleep(0.002)
        raise AssertionError("nothing happened")

    def end(self):
        """Wait for its end: exit code, stdout, stderr; none of its processes may be left then."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        until = time.monotonic() + GONE_S
        while left := self.processes():
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.05)
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path):
    """Start runs in an empty folder; whatever is left of them at the end is killed."""
    runs = []

    def one(*arguments, **options):
        runs.append(Run(tmp_path, *arguments, **options))
        return runs[-1]

    yield one
    for run in runs:
        for process in run.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        run.process.communicate()


@dataclass
class Whole:
    """A run that nobody disturbs: its metrics, and when its first worker, its first result and its end came."""

    metrics: dict
    worker_s: float
    result_s: float
    end_s: float

    def left_s(self, done):
        """How long a run takes about that has some of the networks already."""
        return self.end_s - done * (self.end_s - self.result_s) / (len(NAMES) - 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    run = Run(folder, *ALL, "--models", NETWORKS, "--store", "results.sqlite")
    assert run.wait_for(run.workers)
    worker_s = time.monotonic() - began
    assert run.process.stderr.readline().startswith("cpu, protocol ")
    assert run.process.stderr.readline().startswith("[1/6] ")
    result_s = time.monotonic() - began
    code, _, err = run.end()
    assert code == 0, err
    ((_, results),) = stored(folder / "results.sqlite")
    of = {result.subject.name: metrics(result) for result in results}
    return Whole(of, worker_s, result_s, time.monotonic() - began)


def tell(text):
    """Say what pytest is to show of a test that failed."""
    print(text)  # noqa: T201


def stored(file):
    """Open a store as `fer-bench report` does: its runs, the oldest first, each with its results."""
    with Store.open(str(file), create=False) as store:
        return [(run, store.results(run.id)) for run in reversed(store.runs())]


def metrics(result):
    return {(m.metric, m.process) for m in result.measurements if not m.failure}


def failures(result):
    return {m.metric: m.failure for m in result.measurements if m.failure}


def announced(err):
    """The networks that stderr tells as done, without the time that they took."""
    return re.findall(r"^\[\d+/\d+\] (.*), Took \(s\): ", err, re.MULTILINE)


def announcement(result):
    """What stderr tells of a result."""
    name, *cells = progress._row(result, 0.0)[:-1]
    named = zip(progress._HEADINGS[1:-1], cells, strict=True)
    return f"{name}: " + ", ".join(f"{heading}: {cell}" for heading, cell in named if cell)


# Killed processes


@pytest.mark.faults
def test_a_run_killed_at_any_moment_loses_one_network_at_most_and_goes_on(start, whole, tmp_path):
    dice = random.Random(SEED)
    kills = 0
    for number in range(KILLS):  # each a run that is killed and resumed until it is complete
        if kills == KILLS:
            break
        file = tmp_path / f"{number}.sqlite"
        run_id, kept, finished = None, [], False
        while not finished:
            moment = dice.uniform(0, 1.1 * whole.left_s(len(kept))) if kills < KILLS else PATIENCE_S
            run = start(*ALL, "--models", NETWORKS, "--store", file)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(moment)
            run.process.kill()
            code, out, err = run.end()
            kills += code == -signal.SIGKILL
            tell(f"seed {SEED}, kill {kills}, store {number}: after {moment:.3f} s, exit code {code}\n{err}")
            if not file.exists() or not has_tables(file):
                assert (code, err) == (-signal.SIGKILL, "")
                continue
            check_integrity(file)
            if not (found := stored(file)):
                assert code == -signal.SIGKILL
                assert not announced(err)  # the line before a run is all that was said
                continue
            ((seen, results),) = found  # one run, however often the command was given
            if run_id is not None and err:
                assert f"Run {run_id} of {seen.started_at} goes on: {len(kept)} of 6 are measured" in err
            told = announced(err)
            assert results[: len(kept)] == kept
            new = results[len(kept) :]
            assert [announcement(result) for result in new][: len(told)] == told
            assert len(new) <= len(told) + 1  # killed between the saving and the telling
            assert [result.subject.name for result in results] == NAMES[: len(results)]
            for result in results:
                assert metrics(result) == whole.metrics[result.subject.name]
                assert failures(result) == {}
            assert run_id in (None, seen.id)
            run_id, kept, finished = seen.id, results, seen.state == "finished"
            assert seen.state == ("interrupted" if not finished else "finished")
            if code != -signal.SIGKILL:
                assert (code, finished, len(results)) == (0, True, 6), err
                assert all(re.search(rf"^{name}\b", out, re.MULTILINE) for name in NAMES)
    assert kills == KILLS


def has_tables(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def check_integrity(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.faults
def test_a_server_and_a_worker_killed_at_any_moment_cost_a_metric_each(start, whole, tmp_path):
    dice = random.Random(SEED)
    for number in range(-(-KILLS // 5)):
        run = start(*ALL, "--models", NETWORKS, "--store", f"{number}.sqlite")
        assert run.wait_for(run.workers)
        began = time.monotonic()
        moments = {victim: dice.uniform(0, whole.end_s - whole.worker_s) for victim in ("server", "worker")}
        for victim, after in sorted(moments.items(), key=lambda item: item[1]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(max(0, began + after - time.monotonic()))
            workers = run.wait_for(run.workers)  # so that a server is not hit while it starts: see below
            doomed = workers[0] if workers and victim == "worker" else run.server()
            with contextlib.suppress(psutil.NoSuchProcess):
                if doomed:
                    doomed.kill()
            tell(f"seed {SEED}, store {number}: killed a {victim} {after:.3f} s after the first worker: {doomed}")
        code, out, err = run.end()
        tell(err)
        ((seen, results),) = stored(tmp_path / f"{number}.sqlite")
        assert (seen.state, list(seen.networks)) == ("finished", NAMES)
        failed = [(result.subject.name, *failure) for result in results for failure in failures(result).items()]
        # A kill may find nothing that is under way, or the look at what the machine attains.
        assert (len(failed) <= 2, code) == (True, 1 if failed else 0)
        for name, group, reason in failed:
            assert group in ("static", "latency", "memory")
            assert reason.startswith(KILLED)
            assert re.search(rf"^fer-bench: {name}: Failed \(.*{group}.*\): {re.escape(reason)}$", err, re.MULTILINE)
        for result in results:
            name = result.subject.name
            assert re.search(rf"^{name}\b", out, re.MULTILINE)
            assert name in {name for name, *_ in failed} or metrics(result) == whole.metrics[name]


@pytest.mark.faults
def test_a_server_killed_in_a_pass_is_a_row_with_the_reason_and_another_goes_on(start, users_file, tmp_path):
    command = ("--metrics", "static,memory", "--models", f"mtcnn_pnet,{users_file}:kills_server,mtcnn_rnet")
    code, out, err = start(*command, "--store", "results.sqlite").end()
    ((seen, (first, hit, last)),) = stored(tmp_path / "results.sqlite")
    assert (code, seen.state) == (1, "finished")
    assert failures(hit) == {"memory": KILLED}
    assert ("macs", 0) in metrics(hit)
    assert failures(first) == failures(last) == {}
    assert metrics(first) == metrics(last)
    assert f"fer-bench: {users_file}:kills_server: Failed (memory): {KILLED}\n" in err
    assert re.search(r"^mtcnn_rnet\b", out, re.MULTILINE)


@pytest.mark.faults
def test_a_server_killed_while_it_starts_is_started_again(start, tmp_path):
    run = start("--metrics", "static", "--models", "mtcnn_pnet,mtcnn_rnet", "--store", "results.sqlite")
    run.wait_for(run.server).kill()
    code, _, err = run.end()
    assert code == 0, err
    assert announced(err) == ["mtcnn_pnet: MACs: 44.8 k", "mtcnn_rnet: MACs: 1.53 M"]


@pytest.mark.faults
def test_a_worker_whose_run_is_killed_while_it_imports_does_not_go_on(start, tmp_path):
    (tmp_path / "fresh.toml").write_text('base = "quick"\nisolation = "fresh"\nmetrics = ["static"]\n')
    (tmp_path / "users.py").write_text("import time\nopen('imported', 'w').close()\ntime.sleep(1000)")
    run = start("--protocol", "fresh.toml", "--models", "users.py:net", "--store", "results.sqlite")
    assert run.wait_for((tmp_path / "imported").exists)
    assert run.children()
    run.process.kill()
    code, out, _ = run.end()
    assert (code, out) == (-signal.SIGKILL, "")


@pytest.mark.faults
def test_a_run_that_is_terminated_leaves_no_process_and_goes_on(start, users_file, tmp_path):
    models = f"mtcnn_pnet,{users_file}:hangs_once"
    run = start("--metrics", "static", "--models", models, "--store", "results.sqlite")
    assert run.process.stderr.readline().startswith("cpu, protocol quick: 2 networks")
    first = run.process.stderr.readline()
    assert first.startswith("[1/2] mtcnn_pnet")
    assert run.wait_for(run.workers)
    assert {run.process.pid, run.server().pid} < {process.pid for process in run.processes()}
    run.process.terminate()
    code, _, err = run.end()
    assert code == 130  # as by Ctrl-C
    assert err.endswith("fer-bench: interrupted\n")
    assert "Traceback" not in err
    ((seen, (result,)),) = stored(tmp_path / "results.sqlite")
    assert (seen.state, announcement(result)) == ("interrupted", announced(first)[0])  # what may go on: see above


# Several runs at once


def test_runs_at_once_into_one_store_lose_nothing_even_if_they_are_the_same(start, tmp_path):
    three, two = "mtcnn_pnet,mtcnn_rnet,tiny_xception", "mtcnn_onet,mtcnn_pnet"
    runs = [
        start("--metrics", "static", "--models", names, "--store", "results.sqlite") for names in (three, three, two)
    ]
    ends = [run.end() for run in runs]
    assert [(code, "goes on" in err) for code, _, err in ends] == [(0, False)] * 3, ends
    check_integrity(tmp_path / "results.sqlite")
    found = stored(tmp_path / "results.sqlite")
    assert len({run.id for run, _ in found}) == 3
    assert {run.state for run, _ in found} == {"finished"}
    assert sorted(len(run.networks) for run, _ in found) == [2, 3, 3]
    by_id = {run.id: results for run, results in found}
    for _, out, err in ends:  # each told what it saved, and nobody else's
        (run_id,) = re.findall(r"^Run (\w+) is in", out, re.MULTILINE)
        assert announced(err) == [announcement(result) for result in by_id[run_id]]
        assert not [result for result in by_id[run_id] if failures(result)]


# Disks


def mount(folder, *options):
    return subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False)


def can_mount():
    """Tell whether this user may mount: not in most containers."""
    with contextlib.suppress(OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        probe = Path("/tmp") / f"fer_bench_{uuid.uuid4().hex}"
        probe.mkdir()
        try:
            done = mount(probe, "-o", "size=64k").returncode == 0
            return done and libc.umount2(str(probe).encode(), 0) == 0
        finally:
            probe.rmdir()
    return False


@pytest.fixture
def disk(tmp_path):
    """A disk of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    assert mount(folder, "-o", "size=512k").returncode == 0
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


class SmallDisk:
    """A disk that fills up when a test says so."""

    def __init__(self, folder):
        self.folder = folder

    def fill(self, run, left):
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(4096))
            assert shutil.disk_usage(self.folder).free == 0
            filler.truncate(filler.tell() - left)

    def free(self):
        (self.folder / "filler").unlink()


class SmallFiles:
    """Where nobody may mount: the process under way may no more write files of any size."""

    def __init__(self, folder):
        self.folder = folder

    def fill(self, run, left):
        _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (min(left, 8192), hard))

    def free(self):
        pass


@pytest.fixture(params=["disk" if can_mount() else "limit"])
def small(request, tmp_path):
    return SmallDisk(request.getfixturevalue("disk")) if request.param == "disk" else SmallFiles(tmp_path)


def test_a_disk_that_fills_up_during_a_run_costs_nothing_that_was_measured(start, small, tmp_path):
    (tmp_path / "users.py").write_text(WAITS)
    store = small.folder / "results.sqlite"
    command = ("--metrics", "static", "--models", "mtcnn_pnet,users.py:waits,mtcnn_rnet", "--store", store)
    for begins, left in ((r"\[1/3\] mtcnn_pnet", 0), (r"Run \w+ of .* goes on: 1 of 3 are measured", 36 * 1024)):
        run = start(*command)
        assert run.process.stderr.readline().startswith("cpu, protocol quick: ")
        assert re.match(begins, run.process.stderr.readline())
        assert run.wait_for(run.workers)
        small.fill(run, left)
        (tmp_path / "go_on").touch()
        code, out, err = run.end()
        assert code == 1
        assert err.count("\n") == 1
        assert err.startswith(f"fer-bench: the store {store} ")
        assert re.search(
            r"(free some|has) space, or name another store with --store; \S+:waits, measured last, is ", err
        )
        assert re.search(r"^mtcnn_pnet\b", out, re.MULTILINE)
        assert re.search(r"^users.py:waits\b", out, re.MULTILINE)  # measured, although it could not be saved
        assert "mtcnn_rnet" not in out
        (tmp_path / "go_on").unlink()
        if isinstance(small, SmallDisk) and not left:  # and a run on a disk that is full already does not begin
            code, out, err = start(*command).end()
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert err.startswith(f"fer-bench: the store {store} ")
        small.free()
    check_integrity(store)
    (tmp_path / "go_on").touch()
    code, out, err = start(*command).end()
    assert code == 0, err
    assert "goes on: 1 of 3 are measured" in err
    ((seen, results),) = stored(store)
    assert seen.state == "finished"
    assert [result.subject.name.rpartition(":")[2] for result in results] == ["mtcnn_pnet", "waits", "mtcnn_rnet"]
    assert not [result for result in results if failures(result)]


def obey_rights():
    """Make root obey the rights of files, after the next exec: by taking CAP_DAC_OVERRIDE from what it may have."""
    pr_capbset_drop, cap_dac_override = 24, 1  # sys/prctl.h, linux/capability.h
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override)


@pytest.mark.parametrize("there", [True, False], ids=["old", "new"])
@pytest.mark.parametrize("way", ["mount", "rights"] if can_mount() else ["rights"])
def test_a_store_that_cannot_be_written_to_is_reported_before_anything_is_measured(
    start, tmp_path, request, make_result, way, there
):
    folder = request.getfixturevalue("disk") if way == "mount" else tmp_path / "store"
    folder.mkdir(exist_ok=True)
    store = folder / "results.sqlite"
    if there:
        with Store.open(str(store)) as opened:
            opened.save(opened.begin("print", "title"), "1", make_result())
        before = stored(store)
    if way == "mount":
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    else:
        for path in (*folder.iterdir(), folder):
            path.chmod(0o500 if path is folder else 0o400)
    run = start("--metrics", "static", "--models", "mtcnn_pnet", "--store", store, preexec_fn=obey_rights)
    code, out, err = run.end()
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith(f"fer-bench: the store {store} cannot be ")
    assert err.endswith("or name another store with --store\n")
    if way == "mount":
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    else:
        for path in (folder, *folder.iterdir()):
            path.chmod(0o700)
    if there:
        assert [results for _, results in stored(store)] == [results for _, results in before]
    else:
        with pytest.raises(StoreError, match="there is no store"):
            stored(store)
