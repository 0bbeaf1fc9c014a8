"""AOTInductor, ExecuTorch and LiteRT: what they convert, how what they cannot is replaced, what is refused before."""

import dataclasses
import json
import os
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import fer_bench as fb
from fer_bench.measuring.task import Task
from fer_bench.networks import backends
from fer_bench.networks.backends import lite_rt, lowering, prepare
from fer_bench.networks.backends.interface import DeployError, Settings
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import QUICK
from fer_bench.reporting.tables import deployment

EDGE = ("aoti", "executorch", "litert")
ONE_THREAD = Settings(threads=1, spinning=False, precision="fp32")
SHAPE = (2, 3, 16, 16)


class Net(nn.Module):
    """Has what converters cannot lower: PReLU on a vector, a maximum over channels, adaptive max pooling, resizing."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(16, 5)
        self.act, self.pool = nn.PReLU(5), nn.AdaptiveMaxPool2d(1)

    def forward(self, images):
        maps = self.norm(self.conv(images)).relu()
        joined = torch.cat([maps.mean((2, 3)), self.pool(maps).flatten(1)], 1)
        resized = nn.functional.interpolate(images, size=(24, 20))
        return {"b": self.act(self.fc(joined)), "a": self.pool(images), "c": images.max(1, True).values, "d": resized}


@pytest.fixture
def fer_bench(fer_bench_here):
    return fer_bench_here


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Net().eval()
    model.act.weight.data = torch.randn(5)
    return model


@pytest.fixture(scope="module")
def artefact_of(net, tmp_path_factory):
    """Convert the network once for each backend; skip where it cannot be done here."""
    found = {}

    def convert(name):
        if name != "aoti":
            pytest.importorskip({"litert": "ai_edge_litert"}.get(name, name))
        if lacks := backends.find(name).lacks("cpu"):
            pytest.skip(lacks)
        if name not in found:
            program = prepare.export(net, torch.randn(SHAPE))
            found[name] = backends.find(name).convert(program, tmp_path_factory.mktemp(name), "fp32")
        return found[name]

    return convert


def planned(**changes):
    return dataclasses.replace(QUICK, wait="active", threads=1, **changes)


def test_what_is_put_in_the_place_of_operators_has_the_same_values(net):
    images = torch.randn(SHAPE)
    program = prepare.export(net, images)
    notes = lowering.replace_unsupported(program, "executorch")
    assert notes == (
        "adaptive max pooling to one pixel is a max pooling over the whole map (2 of them)",
        "PReLU on a vector is relu(x) - w relu(-x) (1 of them)",
        "a maximum over channels is amax, which XNNPACK is not given (1 of them)",
    )
    left = Counter(str(node.target) for node in program.graph.nodes)
    assert not {"aten.adaptive_max_pool2d.default", "aten.prelu.default", "aten.max.dim"} & left.keys()
    expected = net(images)
    found = program.module()(images)
    assert (expected["b"] < 0).any()  # where PReLU is not the identity
    for key in ("a", "b", "c"):
        assert torch.equal(found[key], expected[key])


def test_what_is_not_known_to_have_the_same_values_is_left_alone():
    class Others(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.pool = nn.PReLU(3), nn.AdaptiveMaxPool2d(2)

        def forward(self, images):
            values, places = nn.functional.adaptive_max_pool2d(images, 1, return_indices=True)
            return self.pool(self.act(images)), values, places, images.max(3).values

    program = prepare.export(Others(), torch.randn(SHAPE))
    before = str(program.graph)
    assert lowering.replace_unsupported(program, "executorch") == ()
    assert str(program.graph) == before


@pytest.mark.parametrize("size", [(3, 5), (4, 4), (1, 2), (7, 11)])
def test_nearest_neighbours_are_slices_where_litert_takes_others(size):
    class Resized(nn.Module):
        def forward(self, images):
            return nn.functional.interpolate(images, size=size)

    images = torch.randn(2, 3, 2, 3)
    program = prepare.export(Resized(), images)
    (note,) = lowering.replace_unsupported(program, "litert")
    assert note.startswith("nearest-neighbour resizing, of which LiteRT has another one, is slices")
    assert not any("upsample" in str(node.target) for node in program.graph.nodes)
    assert torch.equal(program.module()(images), Resized()(images))


def test_nearest_neighbours_of_whole_enlargements_are_left_alone():
    class Enlarged(nn.Module):
        def forward(self, images):
            return nn.functional.interpolate(images, scale_factor=2), nn.functional.interpolate(images, size=(6, 9))

    program = prepare.export(Enlarged(), torch.randn(2, 3, 2, 3))
    before = str(program.graph)
    assert lowering.replace_unsupported(program, "litert") == ()
    assert str(program.graph) == before


def test_a_failure_to_lower_names_operator_and_module(net):
    program = prepare.export(net, torch.randn(SHAPE))
    said = str(
        lowering.cannot_lower("LiteRT", program, "Traceback\nRuntimeError: Lowering not found: aten.prelu.default")
    )
    assert said.startswith("LiteRT cannot lower prelu of act (PReLU), and no way round is known")
    unknown = str(lowering.cannot_lower("LiteRT", program, "ValueError: nobody knows\nUse something"))
    assert unknown == "the converter of LiteRT failed: ValueError: nobody knows"
    decomposed = RuntimeError("no kernel for aten::frobnicate")
    assert str(lowering.cannot_lower("ExecuTorch", program, decomposed)).startswith(
        "ExecuTorch cannot lower frobnicate:"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGE)
def test_an_artefact_gives_the_networks_outputs_and_says_what_it_is(name, net, artefact_of):
    artefact = artefact_of(name)
    assert artefact.input_shape == SHAPE
    assert artefact.size == artefact.path.stat().st_size
    weights = 8 * 3 * 9 + 8 + 16 * 5 + 5 + 5  # batch norm is folded, or kept: 32 numbers more, and padded ones
    assert 4 * weights <= artefact.weights["float32"] <= 4 * (weights + 100)
    prepared = backends.find(name).load(artefact.path, ONE_THREAD)
    images = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    with torch.no_grad():
        expected = prepare.flat(net(torch.from_numpy(images)))
    for ours, theirs in zip(prepared(images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    assert prepared.reported["threads"] == 1
    assert prepared.reported["precision"] == "float32"
    if name != "aoti":
        delegation = artefact.details["delegation"]
        assert delegation["delegated"] > 5
        assert len(artefact.notes) == (3 if name == "executorch" else 2)  # each has the others


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_or_cut_off_is_refused_in_a_line(name, content, artefact_of, tmp_path):
    whole = artefact_of(name).path
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2] if content is None else content)
    with pytest.raises(DeployError, match=f"refuses {whole.name}") as caught:
        backends.find(name).load(path, ONE_THREAD)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_executorch_does_not_change_the_threads_of_a_process_that_has_loaded_a_method(artefact_of):
    """It would abort the process."""
    artefact = artefact_of("executorch")
    backend = backends.find("executorch")
    backend.load(artefact.path, ONE_THREAD)
    with pytest.raises(DeployError, match="has 1 threads in this process, and the plan 2"):
        backend.load(artefact.path, Settings(threads=2, spinning=False, precision="fp32"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [pytest.param("executorch", "theirs.pte", marks=pytest.mark.nightly), ("litert", "theirs.tflite")],
)
def test_a_model_file_of_somebody_else_is_measured(name, file, artefact_of, fer_bench, tmp_path):
    shutil.copy(artefact_of(name).path, tmp_path / file)
    given = ["--metrics", "static,latency,memory", "--threads", "1", "--runs", "10"]
    done = fer_bench("run", file, *given, "--batch", "2", "--full")
    assert done.returncode == 0, done.stderr
    assert "no network beside it to compare it with" in " ".join(done.stdout.split())
    (result,) = json.loads(fer_bench("export", "last").stdout)["runs"][0]["results"]
    found = {each["metric"]: each for each in result["result"]["measurements"]}
    assert found["load_s"]["details"]["with_pytorch"] is (name == "executorch")
    assert "macs" not in found  # unknown, and not 0
    refused = fer_bench("run", file, *given, "--batch", "3")
    assert refused.returncode == 1
    assert f"{file} takes 2x3x16x16, and the plan has 3x3x16x16; try: --batch 2" in refused.stderr


class FakeRuns:
    """What LiteRT lists: a delegate in the place of the operators 0 and 1, behind which 2 and 3 follow."""

    def _get_ops_details(self):
        made = [("CONV_2D", [0], [1]), ("ADD", [1], [2]), ("PADV2", [2], [3]), ("PADV2", [3], [4])]
        made += [("DELEGATE", [0], [2])]
        return [{"index": n, "op_name": k, "inputs": i, "outputs": o} for n, (k, i, o) in enumerate(made)]

    def get_output_details(self):
        return [{"index": 4}]


def test_operators_that_litert_delegates_are_counted_once():
    assert lite_rt.delegated(FakeRuns()) == {"delegates": 1, "delegated": 2, "left": {"PADV2": 2}}


def test_the_share_that_is_delegated_is_in_the_table(make_result):
    from fer_bench.records.result import Measurement

    delegation = {"delegates": 2, "delegated": 6, "left": {"aten.mean.dim": 2}}
    measured = make_result(
        "mini_xception", Measurement("artefact_bytes", "bytes", (10,), details={"delegation": delegation})
    )
    assert deployment._delegated_share(measured) == 0.75
    assert deployment._left(measured) == [
        "Not delegated to XNNPACK, which runs the rest in 2 part(s): 2 aten.mean.dim."
    ]
    assert deployment._delegated_share(make_result()) is None


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "nhwc"}, "with --layout nhwc"),
        ({"metrics": ("training",)}, "does not train"),
        ({"mode": "compile"}, "with --mode compile"),
        ({"device": "cuda"}, "the plan has cuda"),
        ({"precision": "int8"}, "has no --precision int8"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_before_anything_is_measured(name, changes, said):
    with pytest.raises(FerBenchError, match=said):
        Task(fb.find("mini_xception"), planned(backend=name, **changes))


@pytest.mark.parametrize(("name", "library"), [("executorch", "executorch"), ("litert", "ai_edge_litert")])
def test_a_missing_extra_is_reported_before_anything_is_measured(name, library, monkeypatch):
    monkeypatch.setattr(extras, "missing", lambda modules: list(modules))
    with pytest.raises(FerBenchError, match=rf"needs {library}: not installed; try: pip install 'fer-bench\[{name}\]'"):
        Task(fb.find("mini_xception"), planned(backend=name))


def test_no_compiler_is_reported_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(FerBenchError, match=r"needs a C\+\+ compiler, and g\+\+ is not in PATH; try: apt install"):
        Task(fb.find("mini_xception"), planned(backend="aoti"))
    monkeypatch.setenv("CXX", "clang++")
    with pytest.raises(FerBenchError, match=r"clang\+\+ is not in PATH"):
        Task(fb.find("mini_xception"), planned(backend="aoti"))


def test_the_interpreter_of_litert_s_converter_is_asked_for_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "missing", lambda modules: [])
    monkeypatch.setenv(lite_rt.INTERPRETER, str(tmp_path / "python"))
    with pytest.raises(FerBenchError, match="python is none"):
        Task(fb.find("mini_xception"), planned(backend="litert"))
    monkeypatch.delenv(lite_rt.INTERPRETER)
    monkeypatch.setattr(lite_rt.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        FerBenchError, match="python3 -m venv litert && litert/bin/pip install litert-torch torch=="
    ) as e:
        Task(fb.find("mini_xception"), planned(backend="litert"))
    assert "\n" not in str(e.value)
    (tmp_path / "theirs.tflite").write_bytes(b"")
    assert Task(fb.find(str(tmp_path / "theirs.tflite")), planned(backend="litert"))  # which is not converted


def test_what_litert_s_converter_prints_becomes_the_reason(net, monkeypatch, tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'RuntimeError: Lowering not found: aten.relu.default' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv(lite_rt.INTERPRETER, str(fake))
    backend = backends.find("litert")
    with pytest.raises(DeployError, match="LiteRT cannot lower relu of the network"):
        backend.convert(prepare.export(net, torch.randn(SHAPE)), tmp_path, "fp32")
    with pytest.raises(DeployError, match="has no litert-torch; try: python3 -m venv"):
        backend.tools()


GPU = Settings(threads=1, spinning=False, precision="fp32", device="cuda")


class FakeRuntime:
    """ONNX Runtime with a GPU: sessions report the providers, and their profile says what ran where."""

    __version__ = "0"
    ExecutionMode = type("ExecutionMode", (), {"ORT_SEQUENTIAL": 0})

    class SessionOptions:
        def __init__(self):
            self.entries = {}

        def add_session_config_entry(self, name, value):
            self.entries[name] = value

        def get_session_config_entry(self, name):
            return self.entries[name]

    def __init__(self, ran, used=None):
        runtime = self

        class InferenceSession:
            def __init__(self, path, options, providers):
                self.options, self.providers = options, used or providers

            def get_providers(self):
                return self.providers

            def get_session_options(self):
                return self.options

            def get_inputs(self):
                return [type("Input", (), {"name": "images", "shape": [1, 3, 8, 8], "type": "tensor(float)"})]

            def run(self, outputs, given):
                return [given["images"]]

            def end_profiling(self):
                events = [{"cat": "Session", "name": "model_loading", "args": {}}]
                events += [{"cat": "Node", "args": {"op_name": op, "provider": by}} for op, by in runtime.ran]
                path = f"{self.options.profile_file_prefix}.json"
                with open(path, "w") as file:
                    json.dump(events, file)
                return path

        self.ran, self.InferenceSession = ran, InferenceSession

    def get_available_providers(self):
        return ["CPUExecutionProvider"]


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_what_ran_on_the_gpu_is_read_from_a_profile(monkeypatch, tmp_path):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime([("Conv", CUDA), ("Conv", CUDA), ("Shape", CPU)]))
    prepared = backends.find("onnxruntime").load(tmp_path / "model.onnx", GPU)
    assert prepared.reported["executed"] == {CUDA: 2, CPU: 1}
    assert prepared.reported["precision"] == "float32"
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    loose = backends.find("onnxruntime").load(tmp_path / "model.onnx", dataclasses.replace(GPU, precision="default"))
    assert loose.reported["precision"] == "tfloat32"


@pytest.mark.parametrize(
    ("ran", "used", "said"),
    [
        ([("Conv", CPU)], [CPU], "asked for CUDAExecutionProvider, ONNX Runtime runs it by CPUExecutionProvider"),
        ([("Conv", CPU)], None, "ONNX Runtime ran 1 Conv elsewhere"),
        ([("Conv", CUDA), ("MatMul", CPU), ("MatMul", CPU)], None, "ran 2 MatMul elsewhere"),
        ([], None, "ran everything elsewhere"),
    ],
)
def test_a_provider_that_onnx_runtime_falls_back_from_is_an_error(ran, used, said, monkeypatch, tmp_path):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(ran, used))
    with pytest.raises(DeployError, match=said):
        backends.find("onnxruntime").load(tmp_path / "model.onnx", GPU)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-tensorrt"])
def test_a_provider_that_is_not_installed_is_reported_before_anything_is_measured(name, monkeypatch):
    monkeypatch.setattr(extras, "missing", lambda modules: [])
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime([]))
    with pytest.raises(FerBenchError, match=r"ExecutionProvider, which this onnxruntime has not; try: pip install"):
        Task(fb.find("mini_xception"), planned(backend=name, device="cuda", metrics=("latency",)))


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-tensorrt"])
def test_a_gpu_s_provider_runs_the_network_with_its_outputs(name, net, tmp_path):
    pytest.importorskip("onnxruntime")
    if lacks := backends.find(name).lacks("cuda"):
        pytest.skip(lacks)
    artefact = backends.find(name).convert(prepare.export(net, torch.randn(SHAPE)), tmp_path, "fp32")
    prepared = backends.find(name).load(artefact.path, GPU)
    images = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    with torch.no_grad():
        expected = prepare.flat(net(torch.from_numpy(images)))
    for ours, theirs in zip(prepared(images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
