"""The Python API: `import fer_bench as fb`, as a script or a notebook uses it."""

import ast
import doctest
import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pandas
import pytest
import torch
from torch import nn

import fer_bench as fb
from fer_bench.records import units
from fer_bench.records.errors import BuildError, CountingError, StoreError
from fer_bench.records.exchange import export
from fer_bench.records.result import Measurement
from fer_bench.records.store import Store
from fer_bench.reporting.table import Column, Table

NAMES = [name for name in fb.__all__ if name != "__version__"]


class Net(nn.Module):
    """8 x 3 x 9 weights and 8 norms; a pass of 10x10 pixels has 64 places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8).eval()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.drop(self.norm(self.conv(x))).mean((2, 3)))


MACS = 8 * 3 * 9 * 64 + 8 * 5
PARAMETERS = 8 * 3 * 9 + 2 * 8 + 8 * 5 + 5


def test_the_one_list_of_public_names_is_what_type_checkers_read():
    tree = ast.parse(Path(fb.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {name.asname: node.module for node in imports for name in node.names} == {
        name: f"fer_bench.{home}" for name, home in fb._HOMES.items()
    }
    used = (Path(__file__).parent / "typing_api.py").read_text(encoding="utf-8")
    assert [name for name in fb.__all__ if f"fb.{name}" not in used] == []


def test_the_package_says_its_version_and_lists_its_names():
    assert fb.__version__ == importlib.metadata.version("fer-bench")
    assert set(fb.__all__) <= set(dir(fb))
    with pytest.raises(AttributeError, match="no attribute 'benchmark'"):
        fb.benchmark  # noqa: B018


def test_importing_the_package_loads_neither_pytorch_nor_pandas():
    code = (
        "import sys, fer_bench as fb; fb.Plan('mine'), fb.Registry(), fb.Result, fb.load, fb.__version__\n"
        "print([name for name in ('torch', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_gives_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=flags)
    found = finder.find(getattr(fb, name), name, module=False, globs={"fb": fb, "torch": torch})
    assert any(test.examples for test in found if test.name == name), f"{name} has no example"
    for test in found:
        output = []
        assert runner.run(test, out=output.append).failed == 0, "".join(output)


def state(model):
    """What a user would miss if it were changed: modes, values, gradients, buffers, hooks."""
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    modes = [module.training for module in model.modules()]
    hooks = [(list(module._forward_hooks.values()), list(module._forward_pre_hooks)) for module in model.modules()]
    values = [(id(tensor), tensor.data_ptr(), str(tensor.device), tensor.tolist()) for tensor in tensors]
    return modes, values, hooks, model.state_dict().keys()


def test_a_module_is_counted_and_stays_as_it_was():
    model, seen = Net(), []
    model.conv.register_forward_hook(lambda *_: seen.append("mine"))
    model(torch.zeros(2, 3, 10, 10)).sum().backward()
    before = state(model)
    random = torch.get_rng_state()
    counted = fb.count(model, input_shape=(3, 10, 10), train=True, counters=["thop", "torch"], name="mine")
    assert (counted.inference.macs, counted.parameters.trainable, counted.num_classes) == (MACS, PARAMETERS, 5)
    assert counted.training.batch == 2
    assert [other.tool.split()[0] for other in counted.others] == ["thop", "torch"]
    assert counted.others[1].value == 2 * MACS  # PyTorch's own counter
    assert counted.row()["name"] == "mine"
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.conv.weight.is_inference()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_on_a_gpu_is_counted_where_it_is():
    model = Net().cuda()
    before = state(model)
    assert fb.count(model, input_shape=(3, 10, 10), counters=["torch"]).inference.macs == MACS
    assert state(model) == before


def test_a_network_is_counted_by_name_by_spec_or_as_a_module():
    by_name = fb.count("mini_xception", input_shape=(1, 64, 64), num_classes=3)
    by_spec = fb.count(fb.find("mini_xception"), fb.Build(3, (1, 64, 64)))
    module = fb.count(fb.create_model("mini_xception", num_classes=3), input_shape=(1, 64, 64))
    assert by_name.row() == by_spec.row()
    assert (by_name.inference.macs, by_name.num_classes) == (module.inference.macs, 3)


@pytest.mark.parametrize(
    ("network", "given", "error", "said"),
    [
        (Net, {"input_shape": (3, 8, 8)}, BuildError, "got the class Net; expected a network: Net"),
        (3, {"input_shape": (3, 8, 8)}, BuildError, "got int; expected a torch.nn.Module, or a name"),
        (Net(), {}, BuildError, "give input_shape="),
        (Net(), {"input_shape": (1, 3, 8, 8)}, BuildError, "expected (channels, height, width)"),
        (Net(), {"input_shape": (3, 8, 8), "num_classes": 5}, BuildError, "leave them out"),
        (Net(), {"input_shape": (1, 8, 8)}, CountingError, "to have 3 channels"),
        (Net(), {"input_shape": (3, 8, 8), "counters": ["flopper"]}, CountingError, "known: torch, fvcore, thop"),
        (nn.LazyLinear(2), {"input_shape": (3, 8, 8)}, BuildError, "has lazy modules"),
        ("mini_xceptoin", {}, fb.FerBenchError, "mini_xception"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_what_to_do(network, given, error, said):
    with pytest.raises(error) as caught:
        fb.count(network, **given)
    assert said in str(caught.value)


def test_a_count_is_a_frame_of_one_row_a_fragment_of_html_and_a_table():
    counted = fb.count(Net(), input_shape=(3, 10, 10))
    frame = counted.to_frame()
    row = frame.iloc[0]
    assert len(frame) == 1
    assert (row["name"], row["macs"], row["flops"], row["input_shape"]) == ("Net", MACS, 2 * MACS, (3, 10, 10))
    assert row["peak_activation_bytes"] == 4 * (3 * 100 + 2 * 8 * 64)  # the images, and what conv and norm return
    assert counted._repr_html_().startswith('<table id="table-static-counts"')
    assert "Net" in str(counted) == repr(counted)


def test_a_table_is_a_frame_of_base_units_whose_intervals_are_columns():
    columns = (
        Column("name", "Network"),
        Column("latency_s", "Latency (ms)", units.milliseconds, interval="interval_s"),
        Column("interval_s", "Interval", units.milliseconds.between),
        Column("size", "Size", units.mebibytes),
    )
    rows = (
        {"name": "a", "latency_s": 0.02, "interval_s": (0.019, 0.021), "size": 2**20},
        {"name": "b", "latency_s": 0.03, "interval_s": None},
    )
    frame = Table("Times", columns, rows, notes=(("One.", "Two."), ())).to_frame()
    assert frame.columns.to_list() == ["name", "latency_s", "latency_low_s", "latency_high_s", "size_bytes", "notes"]
    assert frame.iloc[0].to_list() == ["a", 0.02, 0.019, 0.021, 2**20, "One. Two."]
    assert frame.iloc[1][["latency_low_s", "latency_high_s", "size_bytes"]].isna().all()
    assert frame.iloc[1]["notes"] == ""


def test_results_are_loaded_from_a_run_or_a_file_and_make_a_frame(make_result, tmp_path):
    failed = Measurement("energy", "", failure="no counter")
    stored = [make_result(), make_result("a.b:net", failed, input_shape=(3, 8, 8))]
    with Store.open(str(tmp_path / "mine.sqlite")) as store:
        run = store.begin("mark", "test")
        for number, result in enumerate(stored):
            store.save(run, str(number), result)
        (tmp_path / "results.json").write_text(export(store, store.runs()))
    for results in (
        fb.load("last", store=str(tmp_path / "mine.sqlite")),
        fb.load(run[:6], store=str(tmp_path / "mine.sqlite")),
        fb.load(tmp_path / "results.json"),
        fb.load(tmp_path),
    ):
        assert list(results) == stored
        assert results == fb.Results(stored)
        assert results[1:][0] == results[-1]
    frame = results.to_frame()
    assert frame["name"].to_list() == ["mini_xception", "a.b:net"]
    first = frame.iloc[0]
    assert (first["latency_s"], first["batch_size"], first["macs"]) == (0.010, 2, 2_000_000)  # of make_result
    assert (first["state_dict_bytes"], first["peak_memory_bytes"]) == (2**20, 3 * 2**20)
    assert frame["failures"].to_list() == ["", "Failed (energy): no counter"]
    assert results._repr_html_().startswith('<table id="table-efficiency"')
    assert "a.b:net" in str(results)
    assert (repr(fb.Results([])), fb.Results([])._repr_html_()) == ("no results", "no results")
    with pytest.raises(StoreError, match="there is no run 'nothing'"):
        fb.load("nothing", store=str(tmp_path / "mine.sqlite"))


def test_a_result_prints_a_summary_that_no_name_breaks(make_result):
    result = make_result("<b>\x1b[1mnet", Measurement("energy", "", failure="no counter"))
    lines = str(result).splitlines()
    assert lines[0].endswith("net: 1x48x48, 7 classes; quick on cpu, batch 2, all threads, by forked processes")
    assert [line.split(maxsplit=1)[1] for line in lines if "latency_s" in line] == ["0.0100 s, the median of 5 values"]
    assert [line.split() for line in lines if " macs" in line] == [["macs", "2,000,000"]]
    assert "failed: no counter" in lines[-1]
    assert "\x1b" not in str(result)
    assert "<b>" not in result._repr_html_()


FAST = {"runs": 8, "warmup_runs": 1, "progress": False}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two modules, and two networks by name, of which one is a file's, in the order asked; and the store's results."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "theirs.py").write_text("from torch import nn\ndef build(): return nn.Conv2d(3, 4, 1)\n")
    model = Net()
    model(torch.zeros(2, 3, 10, 10)).sum().backward()
    before = state(model), torch.get_num_threads(), torch.get_rng_state()
    networks = ["mtcnn_pnet", model, f"{folder}/theirs.py:build"]
    results = fb.measure(networks, "quick", input_shape=(3, 12, 12), store=f"{folder}/mine.sqlite", **FAST)
    return results, before, (state(model), torch.get_num_threads(), torch.get_rng_state()), folder


@pytest.mark.slow
def test_names_are_measured_in_processes_and_modules_here_and_both_are_kept_in_order(measured):
    results, before, after, folder = measured
    assert [r.subject.name for r in results] == ["mtcnn_pnet", "Net", f"{folder}/theirs.py:build"]
    assert [r.plan.isolation for r in results] == ["forked", "shared", "forked"]
    assert [len(r.samples("latency_s")[0]) for r in results] == [8, 8, 8]
    assert [r.value("macs") for r in results] == [44760, 8 * 3 * 9 * 100 + 40, 4 * 3 * 144]
    assert results[1].plan.metrics == ("static", "latency")
    assert results[1].measurement("latency_s").details["clock"] == "perf_counter_ns"
    stored = fb.load("last", store=f"{folder}/mine.sqlite")
    assert sorted(r.to_json() for r in stored) == sorted(r.to_json() for r in results)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.slow
def test_the_row_of_a_module_says_that_its_process_is_shared(measured):
    frame = measured[0].to_frame()
    assert frame["isolation"].to_list() == ["forked", "shared", "forked"]
    assert [("isolation: shared" in notes) for notes in frame["notes"]] == [False, True, False]
    assert "isolation: shared" in str(measured[0])
    assert (frame["latency_s"] > 0).all()


@pytest.mark.parametrize(
    ("networks", "given", "said"),
    [
        (Net(), {}, "give input_shape="),
        (Net, {"input_shape": (3, 8, 8)}, "got the class Net; expected a network"),
        ([3], {"input_shape": (3, 8, 8)}, "got int; expected a torch.nn.Module"),
        (
            Net(),
            {"input_shape": (3, 8, 8), "metrics": ["latency", "memory"]},
            "Net is a module of this process, and memory",
        ),
        (Net(), {"input_shape": (3, 8, 8), "isolation": "fresh"}, "'file.py:factory'"),
        (Net(), {"input_shape": (3, 8, 8), "processes": 5}, "'file.py:factory'"),
        (Net(), {"input_shape": (3, 8, 8), "protocol": "training", "metrics": ["training"]}, "'file.py:factory'"),
        ([Net(), Net()], {"input_shape": (3, 8, 8)}, "two networks are called Net"),
        (Net(), {"input_shape": (3, 8, 8), "checkpoint": "weights.pt"}, "load_checkpoint"),
        ("mtcnn_pnet", {"checkpoint": "weights.pt"}, "there is no checkpoint weights.pt"),
        ("mtcnn_pnet", {"batch": 8}, "a plan has no batch; it has protocol, metrics"),
        ("mtcnn_pnet", {"batch": [8]}, "a plan has no batch"),
        ("mtcnn_pnet", {"protocol": "fastest"}, "'fastest' is unknown"),
        ("mtcnn_pnet", {"metrics": "speed"}, "metrics speed: unknown"),
        ("mtcnn_pne", {}, "mtcnn_pnet"),
        ([], {}, "no networks are given"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(networks, given, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fer_bench.measuring.in_process.measure_here", None)
    with pytest.raises(fb.FerBenchError) as caught:
        fb.measure(networks, store="mine.sqlite", **given)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_values_measures_each_and_a_mapping_names_modules():
    nets = {"first": Net(), "second": Net()}
    results = fb.measure(nets, "quick", metrics="static", input_size=[10, 12], batch_size=2, progress=False)
    assert [(r.subject.name, r.subject.input_shape) for r in results] == [
        ("first", (3, 10, 10)),
        ("second", (3, 10, 10)),
        ("first", (3, 12, 12)),
        ("second", (3, 12, 12)),
    ]
    assert {r.plan.batch_size for r in results} == {2}
    assert results[0].value("macs") == MACS
    assert results[0].measurement("latency_s") is None


def test_a_module_that_fails_lets_go_of_the_run(tmp_path):
    class Fails(Net):
        def forward(self, x):
            if not x.is_meta:
                raise RuntimeError("boom")
            return super().forward(x)

    model, store = Fails(), f"{tmp_path}/mine.sqlite"
    with pytest.raises(RuntimeError, match="boom"):
        fb.measure(model, "quick", input_shape=(3, 10, 10), store=store, **FAST)
    assert model.training
    with Store.open(store) as opened:
        assert [run.state for run in opened.runs()] == ["interrupted"]


def test_progress_is_plain_lines_without_a_terminal_and_none_if_not_wanted(capsys):
    for shown in (True, False):
        fb.measure(Net(), "quick", metrics="static", input_shape=(3, 10, 10), progress=shown)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("[1/1] Net: MACs: 13.9 k") if shown else err == ""


def test_a_notebook_sees_one_line_that_changes(monkeypatch):
    shown = []

    class Handle:
        def update(self, line, *, raw):
            shown.append(("update", line["text/plain"]))

    def display(line, *, raw, display_id):
        shown.append(("display", line["text/plain"]))
        return Handle()

    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr("IPython.display.display", display)
    fb.measure({"\x1b[1mmine": Net()}, "quick", metrics="static", input_shape=(3, 10, 10))
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert "[0/1] " in shown[0][1]
    assert "mine: in this process" in shown[1][1]
    assert shown[-1][1].startswith("[1/1] ")
    assert "\x1b" not in "".join(text for _, text in shown)


def test_a_report_is_its_tables_by_name_and_writes_files(make_result, tmp_path):
    results = fb.Results([make_result(), make_result("mtcnn_pnet")])
    drawn = fb.report(results, names=["efficiency", "counts"], models="mtcnn_pnet", best=True)
    assert list(drawn) == ["efficiency", "counts"]
    assert drawn.to_frame()["name"].to_list() == ["mtcnn_pnet"]
    drawn.write(tmp_path / "drawn", ["csv", "markdown"])
    names = {"efficiency.csv", "efficiency.md", "counts.csv", "counts.md"}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == names
    drawn.write_figures(tmp_path / "figures", types=["svg"])
    assert (tmp_path / "figures" / "figures.md").exists()
    drawn.write_page(tmp_path / "page.html", fb.audit(papers="004", networks="mini_xception", recount=False))
    assert "mtcnn_pnet" in (tmp_path / "page.html").read_text()
    assert "id=table-counts" in drawn._repr_html_().replace('"', "")
    for given, said in (
        ({"names": ["speed"]}, "there are efficiency"),
        ({"columns": "speed"}, "no table has speed"),
        ({"models": ["resnet50"]}, "resnet50"),
        ({"paper": "999"}, "there are tables of"),
    ):
        with pytest.raises(fb.FerBenchError, match=said):
            fb.report(results, **given)
    with pytest.raises(fb.FerBenchError, match="no results to report"):
        fb.report([])


@pytest.mark.slow
def test_a_frame_is_audited_as_the_same_table_in_a_file_is(tmp_path):
    # 1,235,496 parameters: torchvision's own documentation of squeezenet1_1.
    names = ["SqueezeNet 1.1", "SqueezeNet 1.1", None]
    frame = pandas.DataFrame({"Model": names, "Params (M)": [1.24, 12.4, 1.0], "Input": [224, None, 224]})
    (tmp_path / "theirs.csv").write_text(
        "Model,Params (M),Input\nSqueezeNet 1.1,1.24,224\nSqueezeNet 1.1,12.4,\n,1,224\n"
    )
    of_frame, of_file = (
        fb.audit(source, num_classes=1000, progress=False) for source in (frame, tmp_path / "theirs.csv")
    )
    assert [verdict.kind for verdict in of_frame] == [verdict.kind for verdict in of_file] == ["confirmed", "slip"]
    assert [verdict.claim.figure.printed for verdict in of_frame] == ["1.24", "12.4"]
    assert [verdict.claim.figure.printed for verdict in of_frame.wrong] == ["12.4"]
    assert of_frame.to_frame()["verdict"].to_list() == ["confirmed", "slip"]
    assert "slip" in str(of_frame) == repr(of_frame)
    assert of_frame._repr_html_().count("<table") == 2
    with pytest.raises(fb.FerBenchError, match="table has no rows"):
        fb.audit(frame[:0], num_classes=1000)


def test_results_in_hand_are_compared_with_results_in_a_file(tmp_path):
    def counted(width):
        net = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))
        return fb.measure({"net": net}, "quick", metrics="static", input_shape=(3, 10, 10), progress=False)

    (tmp_path / "before.json").write_text(counted(4)[0].to_json() + "\n")
    same, larger = (fb.compare(tmp_path / "before.json", counted(width), progress=False) for width in (4, 5))
    assert same.to_frame()[["network", "metric", "outcome"]].to_dict("records") == [
        {"network": "net", "metric": "counts", "outcome": "same"}
    ]
    assert (same.exit_code(), larger.exit_code()) == (0, 1)
    assert larger.to_frame()["outcome"].to_list() == ["worse"]
    verdicts, larger = larger, counted(5)
    assert "worse" in str(verdicts) == repr(verdicts)
    assert verdicts._repr_html_().startswith("<pre>base ")
    with pytest.raises(fb.FerBenchError, match="a network and stored results"):
        fb.compare("mtcnn_pnet", larger)
    with pytest.raises(fb.FerBenchError, match="speed is unknown; known: latency"):
        fb.compare("mtcnn_pnet", "mtcnn_rnet", metrics="speed")
    with pytest.raises(fb.FerBenchError, match="name one"):
        fb.gate("mtcnn_pnet", baseline="counts.json", against="main")
