"""Processes that a network detaches: none outlives what measured it, however that ends, and the row says so."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.records.plan import QUICK
from fer_bench.reporting.tables import report
from support.processes import heed_ctrl_c, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="adopts orphans by a call of Linux")]

# A daemon as programs make them: forked twice, in a session of its own, its files closed, and deaf to SIGTERM.
DETACHES = """
import os, signal, time
from torch import nn

def detach():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open("daemon.part", "w") as file:
                file.write(str(os.getpid()))
            os.rename("daemon.part", "daemon")
            os.closerange(0, 256)
            time.sleep(1000)
        os._exit(0)
    while not os.path.exists("daemon"):
        time.sleep(0.01)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 7)
    def forward(self, x):
        return self.fc(x.flatten(1)[:, :4])

def ends():
    detach()
    return Net()
def is_killed():
    detach()
    os.kill(os.getpid(), signal.SIGKILL)
def hangs():
    detach()
    time.sleep(1000)
def has_a_helper():
    read, write = os.pipe()
    if os.fork() == 0:  # ends by itself when its parent is gone, as a pool's workers do
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    net = Net()
    net.write = write
    return net
"""


@pytest.fixture
def network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "detaches.py").write_text(DETACHES)
    return lambda name: registry.find(f"detaches.py:{name}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def daemon(folder):
    return int((folder / "daemon").read_text())


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["ends", "is_killed", "hangs"])
def test_what_a_network_detached_ends_with_its_worker_and_the_row_says_so(network, tmp_path, name, fresh):
    plan = dataclasses.replace(QUICK, metrics=("memory",), time_limit_s=10.0 if name == "hangs" else 300.0)
    with Starter([], fresh=fresh) as starter:
        result = measure(Task(network(name), plan, (1, 8, 8)), starter)
        assert not is_alive(daemon(tmp_path))
        assert bool(result.measurements[-1].failure) == (name != "ends")
        assert [m.details.get("left_behind", 0) for m in result.measurements][-1] == 1
    notes = [note for table in report([result], registry.Registry(), []).values() for note in table.note_texts]
    assert "Ended 1 process that the network left behind." in notes


def test_a_helper_that_ends_by_itself_is_none_that_was_left_behind(network):
    with Starter([]) as starter:
        plan = dataclasses.replace(QUICK, metrics=("memory",))
        result = measure(Task(network("has_a_helper"), plan, (1, 8, 8)), starter)
    assert not any(m.failure for m in result.measurements)
    assert not any("left_behind" in m.details for m in result.measurements)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_a_network_detached_ends_with_the_run(network, tmp_path, stop):
    command = [sys.executable, "-m", "fer_bench.cli", "run", "detaches.py:hangs", "--metrics", "memory"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=heed_ctrl_c) as run:
        wait_until((tmp_path / "daemon").exists)
        os.kill(run.pid, stop)
        run.wait(120)
    wait_until(lambda: not is_alive(daemon(tmp_path)))
