"""The fixtures and options that lend pytest-benchmark our plan, in a suite of somebody else's."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fer_bench.measuring.in_process import lent
from fer_bench.measuring.pytest_plugin.rounds import difference, planned_rounds
from fer_bench.records.errors import BuildError, CountingError, DeviceError
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Result
from support.shades import CLASSES, contract, write_folder

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, bias=False)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, 5)
    def forward(self, x):
        assert not self.training
        return self.fc(self.drop(self.conv(x)).mean((2, 3)))

def build(): return Net()
"""
SUITE = """
import dataclasses
import pytest
from fer_bench.records.plan import QUICK
from net import Net

PLAN = dataclasses.replace(QUICK, runs=3, warmup_runs=1)

def test_speed(fer_benchmark):
    result = fer_benchmark("mtcnn_pnet", PLAN)
    assert result.subject.name == "mtcnn_pnet"

def test_mine(fer_benchmark):
    net = Net()
    result = fer_benchmark(net, dataclasses.replace(PLAN, layout="nhwc"), input_shape=(3, 10, 10))
    assert net.training and net.drop.training and not net.conv.weight.is_inference()
    assert result.value("macs") == 3 * 4 * 9 * 64 + 4 * 5

@pytest.mark.benchmark(group="theirs")
def test_file(fer_benchmark):
    fer_benchmark("net.py:build", PLAN, input_shape=(3, 10, 10))

def test_theirs(benchmark):
    benchmark.pedantic(sum, args=([1, 2],), rounds=2)

def test_plain():
    assert True
"""
PROTOCOL = 'base = "quick"\nruns = 4\nwarmup_runs = 1\n'


@pytest.fixture
def suite(tmp_path):
    """Run pytest as a user does, on a suite of the user's."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "fast.toml").write_text(PROTOCOL)

    # A worker of xdist's tells its children so, and pytest-benchmark measures nothing there.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}

    def run(*options, code=0, environment=(), tests="test_suite.py"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options, tests],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**ours, **dict(environment)},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def records(path):
    benchmarks = json.loads(path.read_text())["benchmarks"]
    return {b["name"]: b["extra_info"]["fer_bench"] for b in benchmarks if "fer_bench" in b["extra_info"]}


def test_the_record_and_the_environment_are_in_the_files_of_pytest_benchmark(suite, tmp_path):
    suite("--benchmark-json=out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    found = {bench["name"]: bench for bench in document["benchmarks"]}
    assert found.keys() == {"test_speed", "test_mine", "test_file", "test_theirs"}
    speed = Result.of(found["test_speed"]["extra_info"]["fer_bench"])
    latency = speed.measurement("latency_s")
    assert latency.values == tuple(found["test_speed"]["stats"]["data"])
    assert len(latency.values) == len(speed.measurement("minor_faults").values) == 3
    assert len(latency.details["warmup_s"]) == 1
    assert latency.details["clock"] == "pytest-benchmark: time.perf_counter"
    assert (speed.plan.isolation, speed.plan.processes, latency.details["networks_before"]) == ("shared", 1, 0)
    assert found["test_speed"]["group"] == "quick on cpu, batch 1"
    assert found["test_file"]["group"] == "theirs"
    mine = Result.of(found["test_mine"]["extra_info"]["fer_bench"])
    assert (mine.subject.name, mine.subject.title) == ("test_suite.py::test_mine", "Net")
    assert (mine.subject.input_shape, mine.subject.num_classes) == ((3, 10, 10), 5)
    assert mine.value("parameters.trainable") == 4 * 27 + 4 * 5 + 5
    assert mine.measurement("latency_s").details["networks_before"] == 1
    assert found["test_theirs"]["extra_info"] == {}
    assert document["machine_info"]["fer_bench"] == json.loads(json.dumps(dataclasses.asdict(speed.environment)))


@pytest.mark.slow
def test_accuracy_and_latency_are_in_one_record(suite, tmp_path):
    write_folder(tmp_path / "data", {"test": dict.fromkeys(CLASSES, 3)})
    (tmp_path / "input.json").write_text(contract().to_json())
    (tmp_path / "test_accuracy.py").write_text(
        "import pytest\nfrom fer_bench.accuracy.statistics import scores_in\n"
        "from fer_bench.records.errors import FerBenchError\nfrom support.shades import Shades, contract\n"
        "def test_module(fer_benchmark):\n"
        "    result = fer_benchmark(Shades(), data='data', contract=contract(), split='test')\n"
        "    assert scores_in(result).accuracy == 1 and result.samples('latency_s')\n"
        "def test_name(fer_benchmark):\n"
        "    result = fer_benchmark('mini_xception', data='data', contract='sheet')\n"
        "    assert result.subject.input_shape == (1, 48, 48) and scores_in(result).images == 21\n"
        "def test_no_contract(fer_benchmark):\n"
        "    with pytest.raises(FerBenchError, match='a module has no sheet'):\n"
        "        fer_benchmark(Shades(), data='data')\n"
        "def test_no_weights(fer_benchmark):\n"
        "    with pytest.raises(FerBenchError, match='there is no checkpoint w.pt'):\n"
        "        fer_benchmark('mini_xception', checkpoint='w.pt')\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parent), "XDG_CACHE_HOME": str(tmp_path)}
    suite("--fer-protocol=fast.toml", "--benchmark-json=out.json", tests="test_accuracy.py", environment=environment)
    record = Result.of(records(tmp_path / "out.json")["test_module"])
    assert record.plan.metrics == ("static", "latency", "accuracy")
    assert record.measurement("accuracy.predictions").details["classes"] == list(CLASSES)


def test_nothing_of_ours_is_in_the_files_of_a_session_that_does_not_use_us(suite, tmp_path):
    suite("--benchmark-json=out.json", "-k", "theirs")
    assert "fer_bench" not in (tmp_path / "out.json").read_text().replace(str(tmp_path), "")


def test_a_session_without_us_loads_neither_pytorch_nor_the_plan(suite, tmp_path):
    (tmp_path / "test_plain.py").write_text(
        "import sys\ndef test_plain():\n"
        "    assert 'fer_bench.measuring.pytest_plugin.hooks' in sys.modules\n"
        "    assert not {'torch', 'fer_bench.records.plan', 'fer_bench.networks.registry'} & sys.modules.keys()\n"
    )
    assert "1 passed" in suite(tests="test_plain.py")
    assert "1 passed" in suite("-p", "no:benchmark", tests="test_plain.py")


def test_a_saved_run_is_compared_with_the_next(suite, tmp_path):
    only = ("-k", "speed or mine")
    suite("--benchmark-save=first", *only)
    (saved,) = tmp_path.glob(".benchmarks/*/0001_first.json")
    assert all("data" not in bench["stats"] for bench in json.loads(saved.read_text())["benchmarks"])
    assert records(saved).keys() == {"test_speed", "test_mine"}
    again = suite("--benchmark-compare=0001", "--benchmark-compare-fail=min:1000000%", *only)
    assert "test_mine (0001_first)" in again
    assert "test_mine (NOW)" in again
    assert "fer_bench:" not in again
    document = json.loads(saved.read_text())
    for bench in document["benchmarks"]:
        bench["stats"]["min"] = 1e-12  # nothing is as fast as that
    saved.write_text(json.dumps(document))
    failed = suite("--benchmark-compare", "--benchmark-compare-fail=min:5%", *only, code=1)
    assert "Performance has regressed" in failed


def test_what_makes_a_comparison_void_is_reported(suite, tmp_path):
    (tmp_path / "test_one.py").write_text("def test_one(fer_benchmark):\n    fer_benchmark('mtcnn_pnet')\n")
    (tmp_path / "two.toml").write_text(PROTOCOL + "batch_size = 2\n")
    suite("--benchmark-save=one", "--fer-protocol=fast.toml", tests="test_one.py")
    told = suite("--benchmark-compare", "--fer-protocol=two.toml", tests="test_one.py")
    assert "fer_bench: 1 of 1 networks are not comparable with the run saved at" in told
    assert "batch_size: 1 and 2" in told


def test_a_disabled_benchmark_makes_one_pass_and_times_nothing(suite, tmp_path):
    (tmp_path / "test_one.py").write_text(
        "import torch\n"
        "class Counts(torch.nn.Module):\n"
        "    passes = 0\n"
        "    def forward(self, x):\n"
        "        Counts.passes += not x.is_meta\n"
        "        return x\n"
        "def test_one(fer_benchmark):\n"
        "    result = fer_benchmark(Counts(), input_shape=(1, 2, 2))\n"
        "    assert Counts.passes == 1\n"
        "    assert 'disabled' in result.measurement('latency_s').failure\n"
    )
    suite("--benchmark-disable", tests="test_one.py")
    suite(environment={"PYTEST_XDIST_WORKER": "gw0"}.items(), tests="test_one.py")  # as in a worker of pytest-xdist


def test_benchmarks_can_be_skipped_or_be_all(suite):
    assert "1 passed, 4 skipped" in suite("--benchmark-skip")
    assert "4 passed, 1 skipped" in suite("--benchmark-only")


def test_under_xdist_every_test_passes_untimed(suite):
    pytest.importorskip("xdist")
    assert "5 passed" in suite("-p", "xdist", "-n", "1")


def test_a_histogram_is_drawn(suite, tmp_path):
    pytest.importorskip("pygal")
    suite("--benchmark-histogram=drawn", "-k", "speed")
    (drawn,) = tmp_path.glob("drawn*.svg")
    assert "test_speed" in drawn.read_text()


ZOO = (
    "def test_latency(fer_benchmark, fer_network):\n    assert fer_benchmark(fer_network).subject.name == fer_network\n"
)


def test_networks_are_chosen_by_options(suite, tmp_path):
    (tmp_path / "test_zoo.py").write_text(ZOO)
    suite(
        "--fer-models=mtcnn_rnet, mtcnn_pnet,mini_xception",
        "--fer-protocol=fast.toml",
        "--fer-device=cpu",
        "-k=mtcnn",
        "--benchmark-json=out.json",
        tests="test_zoo.py",
    )
    benchmarks = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert [bench["fullname"] for bench in benchmarks] == [
        f"test_zoo.py::test_latency[mtcnn_{name}]" for name in ("rnet", "pnet")
    ]
    assert [bench["params"] for bench in benchmarks] == [{"fer_network": f"mtcnn_{name}"} for name in ("rnet", "pnet")]
    assert [bench["stats"]["rounds"] for bench in benchmarks] == [4, 4]


def test_networks_of_a_user_s_sheets_can_be_chosen(suite, tmp_path):
    (tmp_path / "test_zoo.py").write_text(ZOO)
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "mine.toml").write_text('[mine]\ntitle = "Mine"\nnetwork = "mtcnn_pnet"\n')
    assert "test_latency[mine]" in suite("--fer-sheets=sheets", "--collect-only", tests="test_zoo.py")
    assert "there is no such folder" in suite("--fer-sheets=missing", tests="test_zoo.py", code=4)


def test_all_of_the_registry_is_collected_without_pytorch(suite, tmp_path):
    (tmp_path / "test_zoo.py").write_text(ZOO)
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    from fer_bench import list_models\n"
        "    print(len(session.items) == len(list_models()), 'torch' in sys.modules)\n"
    )
    assert "True False" in suite("--collect-only", tests="test_zoo.py")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fer-models=resnet5"], "--fer-models: no network is called 'resnet5' (did you mean resnet50"),
        (["--fer-protocol=fastest"], "--fer-protocol 'fastest' is unknown; known: quick,"),
        (["--fer-protocol=gone.toml"], "cannot read the protocol gone.toml"),
        (["--fer-protocol=training"], "protocol training measures static, training, training_memory, and"),
        (["--fer-device=gpu"], "argument --fer-device: invalid choice: 'gpu'"),
    ],
)
def test_a_wrong_option_is_one_message_before_anything_runs(suite, options, told):
    said = suite(*options, code=4)
    assert told in said
    assert "Traceback" not in said
    assert "passed" not in said


@pytest.mark.parametrize("options", [["--fer-device=cuda"], ["--fer-protocol=safavi2023"]])
def test_a_gpu_that_is_not_there_is_one_message(suite, options):
    from fer_bench.measuring.environment import has_gpu

    if has_gpu():
        pytest.skip("there is a GPU")
    said = suite(*options, code=4)
    assert "no driver shows a GPU" in said
    assert "Traceback" not in said


def test_a_mistake_is_reported_at_the_line_of_the_test(suite, tmp_path):
    (tmp_path / "test_bad.py").write_text(
        "import dataclasses\n"
        "from fer_bench.records.plan import QUICK\n"
        "from net import Net\n"
        "FAST = dataclasses.replace(QUICK, runs=1, warmup_runs=0)\n"
        "def test_twice(fer_benchmark):\n"
        "    fer_benchmark('mtcnn_pnet', FAST)\n"
        "    fer_benchmark('mtcnn_pnet', FAST)\n"
        "def test_system(fer_benchmark):\n"
        "    fer_benchmark('mtcnn_pnet', dataclasses.replace(FAST, alloc='system'))\n"
        "def test_protocol(fer_benchmark):\n"
        "    fer_benchmark('mtcnn_pnet', 'fastest')\n"
        "def test_class(fer_benchmark):\n"
        "    fer_benchmark(Net, FAST, input_shape=(3, 10, 10))\n"
    )
    said = suite("--tb=short", tests="test_bad.py", code=1)
    assert "fer_benchmark was used twice in one test" in said
    assert "an earlier measurement told glibc to keep freed memory" in said
    assert "got the class Net; expected a network: Net(...)" in said
    assert "--fer-protocol 'fastest' is unknown" in said
    assert "rounds.py" not in said  # no line of ours is between the test's and the message


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(2).eval()

    def forward(self, x):
        return self.norm(self.conv(x))


FAST = dataclasses.replace(QUICK, runs=1, warmup_runs=1)


@pytest.mark.parametrize(
    ("model", "shape", "error", "told"),
    [
        (Net, (3, 8, 8), BuildError, "got the class Net"),
        (3, (3, 8, 8), BuildError, "got int; expected a torch.nn.Module, or a name"),
        (Net(), None, BuildError, "give input_shape=(channels, height, width)"),
        (Net(), (1, 3, 8, 8), BuildError, "input_shape is (1, 3, 8, 8); expected (channels, height, width)"),
        (Net(), (3, 8, 0), BuildError, "each from 1"),
        (Net(), (3, 8.0, 8), BuildError, "input_shape is (3, 8.0, 8)"),
        (Net(), (1, 8, 8), CountingError, "expected input[1, 1, 8, 8] to have 3 channels"),
        (Net().to("meta"), (3, 8, 8), DeviceError, "Net is on meta, and the plan measures on cpu"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1).to("meta")), (3, 8, 8), DeviceError, "cpu, meta"),
    ],
)
def test_a_module_that_cannot_be_measured_is_refused(model, shape, error, told):
    with pytest.raises(error) as caught, lent(model, FAST, shape, "mine"):
        pass
    assert told in str(caught.value)


def test_a_module_is_put_back_as_it_was():
    model = Net()
    plan = dataclasses.replace(FAST, layout="nhwc", precision="bf16", batch_size=2)
    with lent(model, plan, (3, 8, 8), "mine") as ready:
        assert ready.images.shape == (2, 3, 8, 8)
        assert ready.images.is_contiguous(memory_format=torch.channels_last)
        assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert not model.training
        assert ready.model(ready.images).dtype == torch.bfloat16
    assert (model.training, model.conv.training, model.norm.training) == (True, True, False)
    assert model.conv.weight.is_contiguous()
    # Of what autocast makes half as large nothing is told; a network that gives maps tells no number of classes.
    assert not {"peak_activation_bytes", "operator_macs", "operator_bytes"} & {m.metric for m in ready.static}
    assert ready.subject.num_classes is None


class Shares(nn.Module):
    """Two convolutions of one weight, of whose memory a parameter and a buffer are parts, and with one mask."""

    def __init__(self, order):
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 4, 3, bias=False) for _ in range(2))
        weight, mask = (torch.randn(4, 3, 3, 3).contiguous(memory_format=order) for _ in range(2))
        self.one.weight = self.two.weight = nn.Parameter(weight)
        self.one.weight.grad = torch.ones_like(weight)
        self.part = nn.Parameter(weight[:2])
        self.register_buffer("rest", weight[2:])
        for each in (self.one, self.two):
            each.register_buffer("mask", mask)

    def forward(self, x):
        return self.one(x) + self.two(x)

    def state(self):
        kept = [*self.parameters(), *self.buffers(), self.one.weight.grad, self.two.weight, self.two.mask]
        return [(id(tensor), tensor.stride(), tensor.data_ptr()) for tensor in kept]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("own", [torch.contiguous_format, torch.channels_last])
def test_a_module_is_measured_in_the_plan_s_layout_and_keeps_its_own(layout, own):
    model = Shares(own)
    before = model.state()
    order = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}[layout]
    with lent(model, dataclasses.replace(FAST, layout=layout), (3, 8, 8), "mine") as ready:
        for tensor in (*model.parameters(), *model.buffers(), ready.images):
            assert tensor.is_contiguous(memory_format=order)
        ready.model(ready.images)
    assert model.state() == before


@pytest.mark.parametrize(
    ("changes", "pass_s", "rounds"),
    [
        ({"runs": 300}, 0.001, 300),
        ({"runs": 300, "max_time_s": 12.0}, 0.1, 120),
        ({"runs": 300, "max_time_s": 12.0}, 5.0, 3),  # the third pass is the one that is over after 12 s
        ({"runs": 300, "max_time_s": 0.0}, 5.0, 1),
        ({"runs": 10, "min_time_s": 3.0, "max_time_s": 6.0}, 0.01, 300),
        ({"runs": 10, "min_time_s": 3.0, "max_time_s": 2.0}, 0.01, 200),
        ({"runs": 10, "max_time_s": 12.0}, 0.0, 10),
    ],
)
def test_rounds_follow_the_plan(changes, pass_s, rounds):
    plan = dataclasses.replace(QUICK, **{"max_time_s": None, **changes})
    assert planned_rounds(plan, pass_s) == rounds


def test_records_of_other_settings_or_machines_are_not_comparable(make_result):
    one = make_result()
    assert difference(one, make_result()) == ""
    assert difference(one, make_result(input_shape=(1, 64, 64))) == "input: (1, 48, 48) and (1, 64, 64)"
    other = dataclasses.replace(one, plan=dataclasses.replace(one.plan, layout="nhwc"))
    assert difference(one, other) == "layout: 'nchw' and 'nhwc'"
    elsewhere = dataclasses.replace(one, environment=dataclasses.replace(one.environment, threads=1))
    assert difference(one, elsewhere) == "threads: 2 and 1"
    assert difference(one, dataclasses.replace(one, environment=None)) == "environment: not known"


def test_the_session_is_left_as_it_was(suite, tmp_path):
    (tmp_path / "test_state.py").write_text(
        "import dataclasses, os, torch\n"
        "from fer_bench.records.plan import QUICK\n"
        "PLAN = dataclasses.replace(QUICK, runs=2, warmup_runs=1, threads=1, pin=True)\n"
        "def test_state(fer_benchmark):\n"
        "    torch.set_num_threads(2)\n"
        "    before = 2, os.sched_getaffinity(0), torch.get_rng_state().tolist()\n"
        "    result = fer_benchmark('mtcnn_pnet', PLAN)\n"
        "    assert (result.environment.threads, len(result.environment.affinity)) == (1, 1)\n"
        "    after = torch.get_num_threads(), os.sched_getaffinity(0), torch.get_rng_state().tolist()\n"
        "    assert before == after\n"
        "    assert not torch.is_inference_mode_enabled()\n"
    )
    assert "1 passed" in suite(tests="test_state.py")


def test_the_time_cap_holds_though_the_warm_up_was_faster(suite, tmp_path):
    (tmp_path / "test_cap.py").write_text(
        "import dataclasses, torch\n"
        "from fer_bench.measuring.pytest_plugin import rounds\n"
        "from fer_bench.records.plan import QUICK\n"
        "PLAN = dataclasses.replace(QUICK, runs=50, warmup_runs=1, max_time_s=0.0001)\n"
        "def test_cap(fer_benchmark, monkeypatch):\n"
        "    monkeypatch.setattr(rounds, 'planned_rounds', lambda plan, pass_s: 50)\n"
        "    result = fer_benchmark(torch.nn.Conv2d(3, 8, 3), PLAN, input_shape=(3, 256, 256))\n"
        "    latency = result.measurement('latency_s')\n"
        "    assert sum(latency.values[:-1]) < 0.0001\n"  # none began after the time was up
        "    assert len(latency.values) == len(result.measurement('minor_faults').values) < 50\n"
        "    assert latency.details['stopped_by'] == 'time cap'\n"
    )
    suite("--benchmark-json=out.json", tests="test_cap.py")
    assert records(tmp_path / "out.json").keys() == {"test_cap"}


def test_a_benchmark_that_was_interrupted_is_not_saved(suite, tmp_path):
    (tmp_path / "test_stop.py").write_text(
        "import torch\n"
        "class Stops(torch.nn.Module):\n"
        "    passes = 0\n"
        "    def forward(self, x):\n"
        "        self.passes += 1\n"
        "        if self.passes > 20:\n"
        "            raise KeyboardInterrupt\n"
        "        return x\n"
        "def test_whole(fer_benchmark):\n"
        "    fer_benchmark('mtcnn_pnet', 'fast.toml')\n"
        "def test_stop(fer_benchmark):\n"
        "    fer_benchmark(Stops(), input_shape=(1, 2, 2))\n"
    )
    suite("--benchmark-json=out.json", tests="test_stop.py", code=2)
    saved = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert [bench["name"] for bench in saved] == ["test_whole"]


def test_another_timer_is_reported(suite, tmp_path):
    suite("--benchmark-timer=time.process_time", "--benchmark-json=out.json", "-k", "speed")
    latency = Result.of(records(tmp_path / "out.json")["test_speed"]).measurement("latency_s")
    assert latency.details["clock"] == "pytest-benchmark: time.process_time"
    assert latency.warnings == ("timed by process_time (--benchmark-timer), which may tell other than wall time",)


def test_the_commit_of_a_module_is_that_of_its_repository(suite, tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "net.py", "test_suite.py")
    git("commit", "-qm", "first")
    suite("--benchmark-json=out.json", "-k", "mine or file")
    where = [record["environment"] for record in records(tmp_path / "out.json").values()]
    assert [(each["commit"], each["dirty"]) for each in where] == 2 * [(git("rev-parse", "HEAD"), False)]
