"""What is written to be deployed: the artefact with its manifest, and a bundle that measures itself."""

import json
import subprocess
import sys
import zipfile

import pytest

import fer_bench as fb
from fer_bench.measuring import deploy as deploying
from fer_bench.networks import backends
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Result
from fer_bench.records.store import Store
from fer_bench.reporting.analysis import latency, parity

# A process that cannot import what a board does not have.
ON_A_BOARD = "import runpy, sys; sys.modules['fer_bench'] = None; sys.argv = sys.argv[1:]\n"
WITHOUT_PYTORCH = "import sys; sys.modules['torch'] = None\n"
ON_A_BOARD += "runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", ["onnxruntime", "openvino", pytest.param("executorch", marks=pytest.mark.nightly), "litert"]
)
def test_a_bundle_measures_itself_without_us_and_its_record_is_imported(backend, tmp_path, fer_bench_here):
    pytest.importorskip("ai_edge_litert" if backend == "litert" else backend)
    if lacks := backends.find(backend).lacks("cpu"):
        pytest.skip(lacks)
    given = ["--backend", backend, "--out", "net", "--bundle", "net.zip"]
    done = fer_bench_here("deploy", "mtcnn_pnet", *given)
    assert done.returncode == 0, done.stderr
    assert "parity same arithmetic" in done.stdout
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    assert manifest["input"] == {"shape": [1, 3, 12, 12], "type": "float32", "layout": "NCHW"}
    assert set(manifest["files"]) <= {path.name for path in (tmp_path / "net").iterdir()}
    assert json.loads((tmp_path / "net" / "input.json").read_text())["size"] == [12, 12]
    assert str(tmp_path) not in json.dumps(manifest)
    board = tmp_path / "board"
    with zipfile.ZipFile(tmp_path / "net.zip") as bundle:
        bundle.extractall(board)
    program = ON_A_BOARD if backend == "executorch" else WITHOUT_PYTORCH + ON_A_BOARD
    command = [sys.executable, "-c", program, str(board / "run.py"), "--processes", "2", "--runs", "20"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=board)
    assert ran.returncode == 0, ran.stderr
    assert fer_bench_here("import", board / "record.json").returncode == 0
    with Store.open(str(tmp_path / "fer-bench-results" / "results.sqlite")) as store:
        (result,) = store.results(store.runs()[0].id)
    assert isinstance(result, Result)
    assert (result.subject.name, result.plan.backend, result.plan.protocol) == ("mtcnn_pnet", backend, "board")
    # Twenty are asked for; where the warm-up ends is decided by the series, and leaves a few more at times.
    assert [len(sample) >= 20 for sample in result.samples("latency_s")] == [True, True]
    assert latency.summary(result).processes == 2
    assert parity.judge(result).kind is parity.Kind.SAME
    assert result.value("peak_rss_bytes") > 0
    (board / next(iter(manifest["files"]))).write_bytes(b"another")
    changed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=board)
    assert changed.returncode == 1
    assert "not the file that was bundled" in changed.stderr


def test_the_program_of_a_bundle_imports_nothing_of_ours_and_needs_no_later_python_than_3_9():
    import ast

    tree = ast.parse(deploying.runner(), feature_version=(3, 9))
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert imported - set(sys.stdlib_module_names) == {
        *("numpy", "onnxruntime", "openvino", "ai_edge_litert"),
        *("executorch", "torch"),  # which ExecuTorch has its tensors from
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing says where to write it"),
        ({"out": "there"}, "is there already"),
        ({"bundle": "net.tar"}, "a bundle is a zip file, such as net.zip"),
        ({"out": "x", "checkpoint": "missing.pt"}, "there is no checkpoint"),
        ({"out": "x", "precision": "bf16"}, "has no --precision bf16"),
        ({"bundle": "x.zip", "backend": "aoti"}, "its machine code is of this processor"),
        ({"out": "x", "backend": "torch"}, "needs no artefact"),
        ({"out": "x", "backend": "tensorrt"}, "known: torch, onnxruntime, openvino"),
    ],
)
def test_what_cannot_be_written_is_refused_before_it_is_converted(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(FerBenchError, match=said):
        fb.deploy("mtcnn_pnet", given.pop("backend", "onnxruntime"), **given)


@pytest.mark.slow
def test_int8_without_images_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerBenchError, match="--calibrate FOLDER"):
        fb.deploy("mtcnn_pnet", "onnxruntime", out="x", precision="int8")
    assert not (tmp_path / "x").exists()
