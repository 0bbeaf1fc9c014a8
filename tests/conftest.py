"""Shared by tests: a fixed result, networks of a user's own, and the command line as a process."""

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Callable

import pytest

from fer_bench.records.plan import ACCURACY, QUICK, Evaluation, Plan
from fer_bench.records.result import Measurement, Result, Subject
from support.samples import ENVIRONMENT, THREE
from support.warm import Warm

# What a fixture needs, its tests need; those that are slow start processes of ours, which load PyTorch.
_MARKS = {"driver": "browser"} | dict.fromkeys(
    ("changed", "fer_bench", "fer_bench_here", "gate", "real", "start", "suite"), "slow"
)


def pytest_itemcollected(item):
    for fixture in _MARKS.keys() & set(item.fixturenames):
        item.add_marker(_MARKS[fixture])


@pytest.fixture(autouse=True)
def no_users_sheets(monkeypatch):
    """What a test, or who runs it, says of folders of sheets holds for no other test."""
    monkeypatch.setenv("FER_BENCH_SHEETS", "")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    """What a test leaves in the user's cache is in a folder of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def warm():
    """Fork servers of workers from a process that has imported PyTorch; the first test that starts one begins it."""
    servers = Warm()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_bench.measuring.processes.subprocess", servers)
        yield servers
    servers.close()


@pytest.fixture(scope="session", autouse=True)
def attained():
    """Look once in a session at what the machine attains, which takes two seconds of all cores; give the true look."""
    from fer_bench.measuring.runner import Machine

    known: dict[tuple[object, ...], object] = {}
    look = Machine.attainable

    def attainable(machine: Machine, plan: Plan, progress: Callable[[str], None]):
        setting = (plan.device, plan.precision)
        if setting not in known:
            known[setting] = look(machine, plan, progress)
        return known[setting]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Machine, "attainable", attainable)
        yield look


USERS_NETWORKS = """
import os, signal, time, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=7, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.fc = nn.Linear(4, classes)
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

class Talks(Net):
    def forward(self, x):
        print("talk of the network")
        return super().forward(x)

class Looks(Net):
    def forward(self, x):
        return super().forward(x) + x.mean().item()

class Dies(Net):
    def forward(self, x):
        if not x.is_meta:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().forward(x)

class Killed(Net):
    def forward(self, x):
        if not x.is_meta:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

class KillsServer(Net):
    def forward(self, x):
        if not x.is_meta:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10)
        return super().forward(x)

class Babbles(Net):
    def forward(self, x):
        if not x.is_meta:
            for number in range(3, 30):
                try:
                    os.write(number, b"3\\n[]\\n")
                except OSError:
                    pass
        return super().forward(x)

def killed(): return Killed()
def kills_server(): return KillsServer()
def babbles(): return Babbles()
def good(num_classes=7, in_channels=3): return Net(num_classes, in_channels)
def plain(): return Net()
def talks(num_classes=7):
    print("talk of the factory")
    return Talks(num_classes)
def looks(): return Looks()
def dies(): return Dies()
def raises(num_classes=7): raise RuntimeError("boom\\nsecond line")
def exits(): raise SystemExit(0)
def leaves(): os._exit(0)
def crashes(): os.kill(os.getpid(), signal.SIGSEGV)
def hangs(): time.sleep(1000)
def hangs_once():
    if not os.path.exists("go_on"):
        open("it_hangs", "w").close()
        time.sleep(1000)
    return Net()
def three(): return 3
def escapes(): raise ValueError("\\x1b[31m red")
answer = 42
"""


@pytest.fixture
def users_file(tmp_path):
    """A file of factories, most of them bad."""
    path = tmp_path / "users_networks.py"
    path.write_text(USERS_NETWORKS)
    return path


@pytest.fixture
def fer_bench(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a user does, in an empty folder."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fer_bench.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,  # for what hangs; nothing is slow enough for it
            cwd=tmp_path,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def fer_bench_here(tmp_path, capfd) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in this process and in an empty folder, for what a process of its own makes no other."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from fer_bench.cli.main import main

        capfd.readouterr()
        with contextlib.chdir(tmp_path):
            code = main(list(map(str, arguments)))
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Make a result of round numbers: 10 ms a batch of 2, 1000 parameters, 2 million MACs."""

    def make(name: str = "mini_xception", *more: Measurement, without: tuple[str, ...] = (), **subject) -> Result:
        facts = {"title": "Net", "status": "exact", "input_shape": (1, 48, 48), "num_classes": 7}
        measurements = (
            Measurement("latency_s", "s", (0.009, 0.010, 0.011, 0.010, 0.020)),
            Measurement("peak_rss_bytes", "bytes", (3 * 2**20,)),
            Measurement("parameters.trainable", "count", (1000,)),
            Measurement("parameters.keras_total", "count", (1200,)),
            Measurement("macs", "count", (2_000_000,)),
            Measurement("state_dict_bytes", "bytes", (2**20,)),
            Measurement("checkpoint_bytes", "bytes", (3_000_000,)),
        )
        return Result(
            subject=Subject(name, **{**facts, **subject}),
            plan=dataclasses.replace(QUICK, batch_size=2, wait="active"),
            environment=ENVIRONMENT,
            measurements=(*(m for m in measurements if m.metric not in without), *more),
            started_at="2026-01-01T00:00:00+00:00",
        )

    return make


@pytest.fixture
def evaluated(make_result) -> Callable[..., Result]:
    """Make a result of a network that says these classes of images that are of those, of so many MACs."""
    import numpy as np

    from fer_bench.accuracy.predictions import Predictions

    def make(name, labels, said, macs=1000, *, rendered=False, groups=None, group_by="", weights="", images="same"):
        outputs = np.full((len(said), len(THREE)), 0.1, np.float32)
        outputs[np.arange(len(said)), said] = 0.8
        predictions = Predictions(outputs, np.array(labels), THREE, (), images, groups or {})
        manifest = {"rendered": rendered, "label_rule": "folders", "split_rule": "as given"}
        conditions = {
            "data": {"name": "FER2013", "split": "private", "manifest": manifest},
            "contract": {"sources": {"size": "the file", "crop": "assumed"}},
            "group_by": group_by,
            "tta": 1,
        }
        measured = predictions.measurements(conditions, ["batch-dependent: by 3 %"] if name == "mixing" else [])
        measured = [Measurement.of(dataclasses.asdict(one)) for one in measured]
        counts = Measurement("macs", "count", (macs,))
        result = make_result(name, counts, *measured, without=("macs",), checkpoint=weights)
        plan = dataclasses.replace(ACCURACY, evaluation=Evaluation(group_by=group_by))
        return Result.from_json(dataclasses.replace(result, plan=plan).to_json())

    return make
