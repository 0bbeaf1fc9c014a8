"""Backends: a network as ONNX Runtime and OpenVINO run it, in processes without PyTorch; what is refused before."""

import dataclasses
import inspect
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import fer_bench as fb
from fer_bench.measuring import task_images
from fer_bench.measuring.measure import fair, sweep
from fer_bench.measuring.task import Task, with_images
from fer_bench.networks import backends
from fer_bench.networks.backends import graph, natural, prepare
from fer_bench.networks.backends.interface import Artefact, DeployError, Settings
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import QUICK
from support.processes import plain_environment

RUNTIMES = ("onnxruntime", "openvino")
ONE_THREAD = Settings(threads=1, spinning=False, precision="fp32")


def plan(**changes):
    return dataclasses.replace(QUICK, wait="active", threads=1, **changes)


class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, classes)

    def forward(self, images):
        return self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))


@pytest.fixture
def fer_bench(fer_bench_here):
    return fer_bench_here


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


def converted(backend, model, folder, shape=(3, 16, 16), batch=2, **options):
    pytest.importorskip(backend)
    found = backends.find(backend)
    program = prepare.export(model, torch.randn(batch, *shape))
    return found.convert(program, folder, options.pop("precision", "fp32"), **options)


@pytest.fixture(scope="module")
def kept(net, tmp_path_factory):
    """Convert the network once for each backend."""
    found = {}

    def convert(backend):
        if backend not in found:
            found[backend] = converted(backend, net, tmp_path_factory.mktemp(backend))
        return found[backend]

    return convert


@pytest.fixture
def artefact_of(kept, tmp_path):
    """Return a copy of the network's artefact, which the test may change."""

    def copied(backend):
        one = kept(backend)
        for name in one.files:
            shutil.copy(one.folder / name, tmp_path / name)
        return dataclasses.replace(one, folder=tmp_path)

    return copied


@pytest.mark.parametrize("backend", RUNTIMES)
def test_an_artefact_gives_the_networks_outputs_and_says_what_it_is(backend, net, artefact_of, tmp_path):
    artefact = artefact_of(backend)
    assert artefact.input_shape == (2, 3, 16, 16)
    assert artefact.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    weights = 8 * 3 * 9 + 8 + 5 * 8 + 5  # batch norm is folded into the convolution, or kept: 32 numbers more
    assert 4 * weights <= artefact.weights["float32"] <= 4 * (weights + 40)
    prepared = backends.find(backend).load(artefact.path, ONE_THREAD)
    images = np.random.default_rng(0).standard_normal(artefact.input_shape, dtype=np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(prepared(images)[0], expected, rtol=1e-4, atol=1e-5)
    assert prepared.reported["precision"] == "float32"
    assert prepared.reported["threads"] == 1
    assert prepared.reported["streams"] == 1


@pytest.mark.parametrize("backend", RUNTIMES)
def test_outputs_come_in_the_networks_order(backend, tmp_path):
    class Several(nn.Module):
        def forward(self, images):
            return {"b": images.mean((2, 3)), "a": (images.amax((2, 3)), images * 2)}

    artefact = converted(backend, Several(), tmp_path)
    images = np.random.default_rng(0).standard_normal(artefact.input_shape, dtype=np.float32)
    found = backends.find(backend).load(artefact.path, ONE_THREAD)(images)
    expected = [images.mean((2, 3)), images.max((2, 3)), images * 2]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_runtime_that_reports_other_settings_than_asked_for_is_refused(artefact_of, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    artefact = artefact_of("onnxruntime")
    monkeypatch.setattr(runtime.InferenceSession, "get_providers", lambda self: ["OtherProvider"])
    with pytest.raises(DeployError, match="asked for CPUExecutionProvider, ONNX Runtime runs it by OtherProvider"):
        backends.find("onnxruntime").load(artefact.path, ONE_THREAD)


def test_bfloat16_in_place_of_float32_is_refused(artefact_of, monkeypatch):
    pytest.importorskip("openvino")
    from fer_bench.networks.backends import open_vino

    artefact = artefact_of("openvino")
    monkeypatch.setattr(open_vino, "_HINTS", {"fp32": "bf16"})  # as if the hint were not followed
    capable = backends.find("openvino").load(artefact.path, dataclasses.replace(ONE_THREAD, precision="default"))
    if capable.reported["precision"] != "bfloat16":
        pytest.skip("this processor has no bfloat16")
    with pytest.raises(DeployError, match="asked OpenVINO for f32, it reports"):
        backends.find("openvino").load(artefact.path, ONE_THREAD)


def test_openvino_runs_without_the_module_that_reports_its_use(artefact_of):
    artefact_of("openvino")
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_or_cut_off_is_refused_in_a_line(backend, content, artefact_of):
    artefact = artefact_of(backend)
    path = artefact.path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(DeployError, match="refuses model") as caught:
        backends.find(backend).load(path, ONE_THREAD)
    assert "\n" not in str(caught.value)


def test_an_artefact_that_was_changed_is_not_measured(artefact_of, tmp_path):
    artefact = artefact_of("onnxruntime")
    artefact.save()
    assert Artefact.load(tmp_path, verified=True) == artefact
    data = bytearray(artefact.path.read_bytes())
    data[len(data) // 2] ^= 1
    artefact.path.write_bytes(data)
    assert Artefact.load(tmp_path) == artefact  # of the same size
    with pytest.raises(DeployError, match="not the file that was converted"):
        Artefact.load(tmp_path, verified=True)
    artefact.path.write_bytes(b"")
    with pytest.raises(DeployError, match="not the file that was converted"):
        Artefact.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DeployError, match="holds no artefact"):
        Artefact.load(tmp_path)


class Branches(nn.Module):
    def forward(self, images):
        return images * 2 if images.sum() > 0 else images


class LeavesPyTorch(nn.Module):
    def forward(self, images):
        return torch.from_numpy(images.numpy() * 2)


@pytest.mark.parametrize(
    ("network", "cause", "remedy"),
    [
        (Branches, "data-dependent expression", "try: torch.where or torch.cond where it branches on values, or"),
        (LeavesPyTorch, ".numpy() is not supported", "try: tensors and operators of PyTorch alone in forward, or"),
    ],
)
def test_what_torch_export_refuses_is_a_line_with_cause_place_and_remedy(network, cause, remedy):
    with pytest.raises(DeployError) as caught:
        prepare.export(network(), torch.randn(1, 3, 8, 8))
    said = str(caught.value)
    assert said.startswith("torch.export cannot export it: ")
    assert cause in said
    line = inspect.getsourcelines(network.forward)[1] + 1
    assert f"(test_backends.py, line {line}); {remedy} --backend torch" in said
    assert "\n" not in said


def test_batch_norm_has_the_statistics_of_the_images(net):
    model = Net().eval()
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert prepare.re_estimate(model, (3, 16, 16)) == 1
    images = torch.from_numpy(natural.natural_images(16, (3, 16, 16), seed=1))
    with torch.no_grad():
        maps = model.conv(images)
    torch.testing.assert_close(model.norm.running_mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(model.norm.running_var, maps.var((0, 2, 3)))
    assert not model.training
    assert not model.norm.training
    assert model.norm.momentum == 0.1
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
    assert prepare.re_estimate(nn.Linear(3, 3), (3, 16, 16)) == 0


def test_a_branch_that_starts_silent_is_computed_and_judged_and_said():
    model = Net().eval()
    nn.init.zeros_(model.norm.weight)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images)[0], model(images)[1])  # of any image: those of its bias
    said = "batch norm of 1 layers re-estimated on generated natural images: there is no checkpoint"
    silent, re_estimated = prepare.ready_random(model, (3, 16, 16))
    assert silent.startswith("weights of 1 batch norms, all 0 as built, are 1")
    assert re_estimated == said
    assert not torch.equal(model(images)[0], model(images)[1])
    assert prepare.ready_random(model, (3, 16, 16)) == [said]
    assert prepare.ready_random(nn.BatchNorm2d(3, affine=False, track_running_stats=False), (3, 16, 16)) == []


def test_natural_images_are_standardised_and_smooth():
    images = natural.natural_images(4, (1, 48, 48))
    assert images.shape == (4, 1, 48, 48)
    np.testing.assert_allclose(images.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std((1, 2, 3)), 1, rtol=1e-4)
    assert np.array_equal(images, natural.natural_images(4, (1, 48, 48)))
    neighbours = np.mean(images[..., 1:] * images[..., :-1])  # their correlation: about 0 of noise
    assert neighbours > 0.5
    assert natural.natural_images(2, (3, 4, 8, 8)).shape == (2, 3, 4, 8, 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "onnxruntime", "layout": "nhwc"}, "with --layout nhwc"),
        ({"backend": "openvino", "mode": "compile"}, "with --mode compile"),
        ({"backend": "openvino", "metrics": ("training",)}, "does not train"),
        ({"backend": "onnxruntime", "metrics": ("static", "accuracy")}, "accuracy is measured with --backend torch"),
        ({"backend": "openvino", "metrics": ("coldstart",)}, "coldstart is of --backend torch"),
        ({"backend": "openvino", "device": "cuda"}, "the plan has cuda"),
        ({"backend": "onnxruntime", "device": "cuda", "metrics": ("energy",)}, "through PyTorch for energy"),
        ({"backend": "onnxruntime", "precision": "tf32"}, "tf32 on a GPU only"),
        ({"backend": "onnxruntime-tensorrt"}, "is built for cuda here, and the plan has cpu"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "has no --precision bf16; it has fp32, tf32, default, fp16"),
        ({"precision": "int8"}, "PyTorch runs none here"),
        ({"runtime": "shipped"}, "whose defaults are its own"),
        ({"backend": "openvino", "runtime": "shipped"}, "leaves the precision to openvino"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_before_anything_is_measured(changes, said):
    with pytest.raises(FerBenchError, match=said):
        Task(fb.find("mini_xception"), plan(**changes))


def test_a_missing_extra_is_reported_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(extras, "missing", lambda modules: list(modules))
    with pytest.raises(FerBenchError, match=r"onnxruntime: not installed; try: pip install 'fer-bench\[onnx\]'"):
        Task(fb.find("mini_xception"), plan(backend="onnxruntime"))
    with pytest.raises(FerBenchError, match=r"pip install 'fer-bench\[openvino\]'"):
        Task(fb.find("mini_xception"), plan(backend="openvino"))


def test_a_sweep_leaves_out_what_a_backend_does_not_have():
    swept = {"backend": ["torch", "onnxruntime"], "mode": ["eager", "compile"], "runtime": ["controlled", "shipped"]}
    found = [(one.backend, one.mode, one.runtime, one.precision) for one, _ in sweep(plan(), swept)]
    assert found == [
        ("torch", "eager", "controlled", "fp32"),
        ("torch", "compile", "controlled", "fp32"),
        ("onnxruntime", "eager", "controlled", "fp32"),
        ("onnxruntime", "eager", "shipped", "default"),
    ]
    assert [one.mode for one, _ in sweep(plan(), {"backend": ["onnxruntime"], "mode": ["compile"]})] == ["compile"]


def pictures_of(folder, names, size=(48, 48)):
    """Write grey pictures of different pixels, and return them by name."""
    from PIL import Image

    random, found = np.random.default_rng(0), {}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        found[name] = random.integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(found[name]).save(folder / name)
    return found


def test_a_comparison_of_backends_has_each_at_its_best_unless_asked_otherwise(monkeypatch):
    timed = dataclasses.replace(plan(), metrics=("static", "latency"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    found = sweep(timed, fair(timed, {"backend": ["torch", "openvino"], "mode": []}))
    assert [(one.backend, one.mode, one.layout, one.runtime) for one, _ in found] == [
        ("torch", "eager", "nchw", "controlled"),
        ("torch", "eager", "nhwc", "controlled"),
        ("torch", "compile", "nchw", "controlled"),
        ("torch", "compile", "nhwc", "controlled"),
        ("openvino", "eager", "nchw", "controlled"),
        ("openvino", "eager", "nchw", "shipped"),
    ]
    asked = {"backend": ["torch", "openvino"], "mode": ["eager"], "layout": ["nchw"], "runtime": ["controlled"]}
    assert fair(timed, asked) == asked
    for same in ({"backend": ["torch"]}, {"backend": ["openvino"]}, {"batch_size": [1, 2]}):
        assert fair(timed, same) == same
    untimed = dataclasses.replace(timed, metrics=("parity",))
    assert fair(untimed, {"backend": ["torch", "openvino"]}) == {"backend": ["torch", "openvino"]}
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert fair(timed, {"backend": ["torch", "openvino"]})["mode"] == ("eager",)


def test_images_of_the_task_are_prepared_by_the_contract_and_labelled_by_name(tmp_path):
    contract = fb.find("mini_xception").input  # grey, 48x48, -1 to 1; angry, disgust, fear, happy, ...
    pixels = pictures_of(tmp_path / "faces", ["test/happy/a.png", "test/angry/b.png", "train/happy/c.png"])
    shutil.copyfile(tmp_path / "faces/test/happy/a.png", tmp_path / "faces/test/happy/same.png")
    found = task_images.judging(str(tmp_path / "faces"), contract, (1, 48, 48))
    assert found.labels == (0, 3)
    assert found.sources == ("test/angry/b.png", "test/happy/a.png")  # each a source, and equal pixels one
    (images,) = found.batches(8)
    by_hand = np.stack([pixels["test/angry/b.png"], pixels["test/happy/a.png"]])[:, None] / 255 * 2 - 1
    np.testing.assert_allclose(images, by_hand, atol=1e-6)
    assert str(tmp_path) not in found.note
    calibrating, note = task_images.calibrating(str(tmp_path / "faces"), contract, (1, 48, 48))
    np.testing.assert_allclose(calibrating[:, 0], [pixels["train/happy/c.png"] / 255 * 2 - 1], atol=1e-6)
    assert note == "int8 was calibrated on 1 images of images, training"
    larger = task_images.judging(str(tmp_path / "faces"), contract, (1, 64, 64))
    assert next(larger.batches(1)).shape == (1, 1, 64, 64)
    with pytest.raises(DeployError, match="grey images, and the network takes 3x48x48"):
        task_images.judging(str(tmp_path / "faces"), contract, (3, 48, 48))


def test_frames_of_one_video_are_one_source(tmp_path):
    contract = fb.find("mini_xception").input
    pictures_of(tmp_path, ["one.png", "crops/two.png", "clips/ann/1.png", "clips/ann/2.png", "clips/bob/1.png"])
    found = task_images.judging(str(tmp_path), contract, (1, 48, 48))
    assert sorted(found.sources) == ["clips/ann", "clips/ann", "clips/bob", "crops/two.png", "one.png"]
    assert found.labels == (None,) * 5
    drawn = fb.make_faces(tmp_path / "drawn", form="folder", images=40, persons=10)
    found = task_images.judging(str(drawn), contract, (1, 48, 48))
    persons = {path.stem.rpartition("_")[2] for path in drawn.rglob("*_person_*.png") if "test" in path.parts}
    assert set(found.sources) == persons


@pytest.mark.parametrize("given", ["", "missing", "empty", "text"])
def test_images_that_are_none_are_refused(given, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.png").write_text("no image")
    contract = fb.find("mini_xception").input
    with pytest.raises(FerBenchError, match=r"--calibrate FOLDER|there is no|no image"):
        task_images.calibrating(str(tmp_path / given) if given else "", contract, (1, 48, 48))


def test_images_are_for_a_backend_and_need_a_contract(tmp_path):
    pictures_of(tmp_path, ["a.png"])
    torch.save(fb.create_model("mtcnn_rnet").state_dict(), tmp_path / "mine.pt")
    spec = fb.find("mtcnn_rnet")
    by_torch = Task(spec, plan())
    assert with_images(by_torch, tmp_path) is by_torch
    with pytest.raises(FerBenchError, match="--precision int8 needs images to calibrate by: --calibrate FOLDER"):
        with_images(Task(spec, plan(backend="onnxruntime", precision="int8")))
    random = with_images(Task(spec, plan(backend="onnxruntime")), tmp_path)
    assert random.contract == spec.input
    mine = Task(spec, plan(backend="onnxruntime"), checkpoint=str(tmp_path / "mine.pt"))
    with pytest.raises(FerBenchError, match="no input contract is known of"):
        with_images(mine, tmp_path)
    assert with_images(mine, tmp_path, contract="sheet").contract == spec.input
    with pytest.raises(FerBenchError, match="--calibrate nowhere: there is no such file or folder"):
        with_images(mine, calibrate="nowhere")
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(FerBenchError, match=r"net\.onnx is a model file, with no network to compare it with"):
        with_images(Task(fb.find(str(tmp_path / "net.onnx")), plan(backend="onnxruntime")), tmp_path)


@pytest.mark.slow
def test_a_run_on_two_backends_has_artefact_parity_and_latency_of_each_without_pytorch(cache, fer_bench, tmp_path):
    for backend in RUNTIMES:
        pytest.importorskip(backend)
    given = ["--metrics", "latency,memory", "--threads", "1", "--runs", "20", "--strict"]
    given += ["--mode", "eager", "--layout", "nchw", "--runtime", "controlled"]
    done = fer_bench("run", "mtcnn_pnet", "--backend", "torch,onnxruntime,openvino", *given)
    assert done.returncode == 0, done.stderr
    exported = json.loads(fer_bench("export", "last").stdout)
    results = {each["plan"]["backend"]: each for each in (one["result"] for one in exported["runs"][0]["results"])}
    for backend in RUNTIMES:
        found = {each["metric"]: each for each in results[backend]["measurements"]}
        assert len(found["latency_s"]["values"]) == 20
        assert found["load_s"]["details"]["with_pytorch"] is False
        assert found["peak_rss_bytes"]["details"]["with_pytorch"] is False
        assert len(found["parity_error"]["values"]) == 2 * 8  # two outputs, eight images
        assert results[backend]["environment"]["runtime"]["name"] == backend
        assert results[backend]["environment"]["threads"] == 1
    assert results["torch"]["environment"]["runtime"] == {}
    assert not {"artefact_bytes", "parity_error"} & {each["metric"] for each in results["torch"]["measurements"]}
    assert str(cache) not in fer_bench("export", "last").stdout
    table = fer_bench("report", "last").stdout
    assert table.count("same arithmetic") >= 2


@pytest.mark.slow
def test_a_network_that_cannot_be_converted_is_a_row_with_its_reason(fer_bench, tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        return x.mean((2, 3)) if x.is_meta or x.sum() > 0 else x.amax((2, 3))\n"
    )
    given = ["--backend", "onnxruntime", "--metrics", "latency", "--threads", "1", "--input", "3x8x8"]
    done = fer_bench("run", "net.py:Net", *given)
    assert done.returncode == 1
    assert "torch.export cannot export it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_reduced_precision_is_judged_on_images_of_the_task(fer_bench, tmp_path):
    pytest.importorskip("onnxruntime")
    from PIL import Image

    torch.save(fb.create_model("mtcnn_rnet").state_dict(), tmp_path / "weights.pt")
    (tmp_path / "faces").mkdir()
    random = np.random.default_rng(0)
    for n in range(6):
        Image.fromarray(random.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / "faces" / f"{n}.png")
    given = ["--backend", "onnxruntime", "--precision", "fp16,int8", "--calibrate", "faces", "--data", "faces"]
    done = fer_bench(
        *("run", "mtcnn_rnet", *given, "--checkpoint", "weights.pt", "--contract", "sheet"),
        *("--metrics", "parity", "--threads", "1", "--full"),
    )
    assert done.returncode == 0, done.stderr
    assert "6 sources" in done.stdout
    assert "Parity reduced precision (not decidable)" in done.stdout.replace("\n", " ")  # of six images
    assert "nt8 was calibrated on 6 images of images, all" in done.stdout.replace("\n", " ")
    assert str(tmp_path) not in done.stdout


def test_a_module_in_hand_is_not_passed_off_as_a_backends(net):
    with pytest.raises(FerBenchError, match="builds a network by its name"):
        fb.measure({"mine": net}, plan(), input_shape=(3, 16, 16), backend="onnxruntime", progress=False)


@pytest.mark.slow
def test_a_session_of_pytest_measures_a_backend_in_its_process(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "test_them.py").write_text(
        "def test_latency(fer_benchmark, fer_network):\n"
        "    result = fer_benchmark(fer_network)\n"
        "    assert result.plan.backend == result.environment.runtime['name'] == 'onnxruntime'\n"
        "    assert result.plan.isolation == 'shared'\n"
        "    assert result.measurement('parity_error').values\n"
        "    assert result.samples('latency_s')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--fer-models", "mtcnn_pnet"]
    for backend, code in (("onnxruntime", 0), ("tensorrt", 4)):
        given = [*command, "--fer-backend", backend, "test_them.py"]
        done = subprocess.run(given, env=plain_environment(), capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
    assert "backend is 'tensorrt'; known: torch, onnxruntime, openvino" in done.stdout + done.stderr


def test_macs_and_values_are_counted_from_the_graph(artefact_of):
    pytest.importorskip("onnx")
    model = graph.read(artefact_of("onnxruntime").path)
    assert graph.macs(model) == 8 * 27 * 14 * 14 + 8 * 5  # a 3x3 convolution to 14x14 maps, a fully connected layer
    assert 8 * 27 + 8 + 40 + 5 <= graph.values(model) <= 8 * 27 + 8 + 40 + 5 + 40  # and batch norm, folded or not
    assert graph.arithmetic(model) == "float32"


def test_what_cannot_be_counted_from_a_graph_is_unknown_and_not_0(tmp_path):
    onnx = pytest.importorskip("onnx")
    for opset in (1, 99):
        onnx_file(tmp_path / "own.onnx", [("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])], opset, "somebody.else")
        assert graph.macs(graph.read(tmp_path / "own.onnx")) is None
    assert graph.macs(graph.read(tmp_path / "own.onnx")) is None
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "own.onnx").read_bytes()[:20] + b"\xff")
    with pytest.raises(DeployError, match="is no ONNX file"):
        graph.read(tmp_path / "cut.onnx")


def onnx_file(path, inputs, opset=17, domain=""):
    """Write a model that adds its inputs, or passes one on."""
    import onnx

    make = onnx.helper
    given = [make.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    kind = "Identity" if len(inputs) == 1 else "Add"
    node = make.make_node(kind if not domain else "Special", [name for name, *_ in inputs], ["y"], domain=domain)
    output = make.make_tensor_value_info("y", inputs[0][1], inputs[0][2])
    made = make.make_model(
        make.make_graph([node], "g", given, [output]),
        opset_imports=[make.make_opsetid(domain, opset)] + ([make.make_opsetid("", 17)] if domain else []),
        ir_version=10,
    )
    onnx.save(made, str(path))


@pytest.mark.slow
def test_a_model_file_of_somebody_else_is_measured_or_refused_in_a_line(fer_bench, tmp_path, kept):
    onnx = pytest.importorskip("onnx")
    real = onnx.TensorProto.FLOAT
    given = ["--metrics", "static,latency,memory", "--threads", "1", "--runs", "10", "--batch", "2"]
    (tmp_path / "theirs.onnx").write_bytes(kept("onnxruntime").path.read_bytes())
    done = fer_bench("run", "theirs.onnx", *given, "--full")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "42.4 k" in shown  # MACs, as above
    assert "no network beside it to compare it with" in shown
    assert str(tmp_path) not in done.stdout
    onnx_file(tmp_path / "free.onnx", [("x", real, ["n", 3, "h", "w"])])
    onnx_file(tmp_path / "two.onnx", [("a", real, [2, 3, 8, 8]), ("b", real, [2, 3, 8, 8])])
    onnx_file(tmp_path / "bytes.onnx", [("x", onnx.TensorProto.UINT8, [2, 3, 8, 8])])
    onnx_file(tmp_path / "later.onnx", [("x", real, [2, 3, 8, 8])], opset=99)
    onnx_file(tmp_path / "own.onnx", [("x", real, [2, 3, 8, 8])], domain="somebody.else", opset=1)
    (tmp_path / "cut.onnx").write_bytes(kept("onnxruntime").path.read_bytes()[:500])
    onnx_file(tmp_path / "four.onnx", [("x", real, [4, 3, 8, 8])])
    names = ["free", "two", "bytes", "later", "own", "cut", "four"]
    done = fer_bench("run", *(f"{name}.onnx" for name in names), *given)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for said in (
        "free.onnx: the sizes of its input 'x' are 3x?x?; give them by --input",
        "two.onnx has 2 inputs (a, b), and passes are made with one; try: ",
        "four.onnx takes 4x3x8x8, and the plan has 2x3x8x8; try: --batch 4",
    ):
        assert said in done.stderr
    for name in ("bytes.onnx takes tensor(uint8)", "refuses later.onnx", "refuses own.onnx", "refuses cut.onnx"):
        assert name in done.stderr
    assert fer_bench("run", "free.onnx", *given, "--input", "3x8x8").returncode == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"opset": 99}, r"own.onnx: ONNX Runtime only \*guarantees\* .*; try: an export for an earlier opset$"),
        (
            {"domain": "some.one", "opset": 1},
            r"own.onnx: Fatal error: some.one:Special\(-1\) .*; try: an export without",
        ),
        ({"cut": True}, "own.onnx: Protobuf parsing failed; try: export it anew$"),
    ],
)
def test_what_onnx_runtime_refuses_is_said_without_the_path_and_with_a_remedy(changes, said, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path, cut = tmp_path / "own.onnx", changes.pop("cut", False)
    onnx_file(path, [("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])], **changes)
    path.write_bytes(path.read_bytes()[: 30 if cut else None])
    with pytest.raises(DeployError, match=said) as caught:
        backends.find("onnxruntime").load(path, ONE_THREAD)
    assert str(tmp_path) not in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)


def test_weights_that_are_not_beside_the_file_are_named(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    make, path = onnx.helper, tmp_path / "net.onnx"
    sides = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    weights = onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), "w")  # as bytes, which can lie beside it
    graph = make.make_graph([make.make_node("Add", ["x", "w"], ["y"])], "g", sides[:1], sides[1:], [weights])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()
    with pytest.raises(DeployError, match=r"\"net.data\"; try: the file of its weights beside it") as caught:
        backends.find("onnxruntime").load(path, ONE_THREAD)
    assert str(tmp_path) not in str(caught.value)


def test_what_openvino_refuses_is_said_without_places_in_its_source(tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    from onnx import TensorProto

    onnx_file(tmp_path / "own.onnx", [("x", TensorProto.FLOAT, [1, 3, 8, 8])], domain="somebody.else", opset=1)
    with pytest.raises(DeployError, match=r"refuses own.onnx: No conversion rule .*somebody\.else\.Special; try: "):
        backends.find("openvino").load(tmp_path / "own.onnx", ONE_THREAD)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "net.onnx is loaded by onnxruntime or openvino; try: --backend onnxruntime"),
        ({"backend": "onnxruntime", "metrics": ("anatomy",)}, "has no anatomy"),
        ({"backend": "onnxruntime", "precision": "fp16"}, "has the precision that it was made in"),
    ],
)
def test_what_a_model_file_does_not_have_is_refused(changes, said, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(FerBenchError, match=said):
        Task(fb.find(str(tmp_path / "net.onnx")), plan(**changes))
    with pytest.raises(FerBenchError, match="there is no file missing"):
        fb.find("missing.onnx")
