"""`benchmarks/cuda.py` where there is no GPU: what it says, what it goes on without, and how it ends."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fer_bench.records.exchange import read_file

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "cuda.py"
STANDINS = ROOT / "benchmarks" / "standins"
# What a machine with a GPU lacked when one was at hand, and more; each package with its metadata.
HIDDEN = ("sqlalchemy", "fvcore", "thop", "msgspec", "tabulate", "pynvml", "nvidia_ml_py", "pandas", "typer", "rich")


@pytest.fixture
def cuda(monkeypatch):
    """The script as a module, which may change this process's path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delitem(sys.modules, "cuda", raising=False)
    spec = importlib.util.spec_from_file_location("cuda", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_one_line_says_what_is_missing(cuda, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert cuda.main([str(tmp_path / "out")]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"benchmarks/cuda.py: PyTorch {torch.__version__} sees no cuda device: a GPU with its driver is missing; "
        "nothing was measured\n"
    )
    assert not (tmp_path / "out").exists()


def test_without_pytorch_it_says_so_before_anything_else(cuda, monkeypatch, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert cuda.main([str(tmp_path / "out")]) == 3
    assert "torch cannot be imported by" in capsys.readouterr().err


def test_a_step_or_network_that_is_none_is_refused(cuda, tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        cuda.main([str(tmp_path), "--steps", "table_iii"])
    assert refused.value.code == 2
    assert cuda.main([str(tmp_path), "--device", "cpu", "--networks", "nonet"]) == 2
    assert "--networks nonet: there is no such network" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cuda.main([str(tmp_path / "file"), "--device", "cpu"]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_a_step_that_fails_or_takes_too_long_costs_itself(cuda, monkeypatch, tmp_path, capsys):
    def quick(bench):
        """One."""
        bench.write("quick.json", [1])

    def fails(bench):
        """Two."""
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def hangs(bench):
        """Three."""
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("whoever catches errors on the way must not catch the end of the budget")

    def lacks(bench):
        """Four."""

    def last(bench):
        """Five."""

    monkeypatch.setattr(cuda, "STEPS", (quick, fails, hangs, lacks, last))
    monkeypatch.setattr(cuda, "SHARES", {"hangs": 0.001})
    monkeypatch.setattr(cuda, "NEEDS", {"lacks": "nowhere"})
    monkeypatch.setattr(cuda, "missing", lambda: {"nowhere": "nothing"})
    assert cuda.main([str(tmp_path), "--device", "cpu", "--budget-s", "100"]) == 1
    ended = {step["step"]: step["ended"] for step in json.loads((tmp_path / "steps.json").read_text())}
    assert ended == {
        "quick": "done",
        "fails": "failed: RuntimeError: CUDA error: an illegal memory access was encountered",
        "hangs": "cut short: its time was up",
        "lacks": "left out: nowhere is missing",
        "last": "done",
    }
    assert "missing nowhere: nothing" in capsys.readouterr().out
    assert "(0 s): done. One." in (tmp_path / "README.md").read_text()


def test_when_the_budget_is_spent_no_step_is_begun(cuda, monkeypatch, tmp_path):
    def never(bench):
        """Never."""
        pytest.fail("there was no time for it")

    monkeypatch.setattr(cuda, "STEPS", (never,))
    assert cuda.main([str(tmp_path), "--device", "cpu", "--budget-s", "0"]) == 1
    (step,) = json.loads((tmp_path / "steps.json").read_text())
    assert step["ended"] == "left out: no time was left"


def test_further_processes_join_the_first_one(cuda, make_result, tmp_path):
    bench = cuda.Bench(tmp_path, "cpu", 100.0, [])
    bench.results, bench.places["table_ii"] = [make_result()], range(1)
    bench.measure = lambda name, plan: make_result(name, without=("macs",))
    cuda.further(bench)
    (joined,) = read_file(tmp_path)
    assert (joined.plan.processes, len(joined.samples("latency_s"))) == (5, 2)
    assert [m.process for m in joined.measurements if m.metric == "latency_s"] == [0, 1]


def test_what_stands_in_for_msgspec_reads_records_as_msgspec_does():
    records = ROOT / "reports" / "quick-cpu" / "results.json"
    code = (
        "import sys, msgspec; from pathlib import Path\n"
        "from fer_bench.records import exchange\n"
        "print(msgspec.__file__)\n"
        "for result in exchange.read_file(Path(sys.argv[1])): print(result.to_json(), repr(result.plan), "
        "repr(result.subject))\n"
    )
    lines = []
    for folders in ([str(ROOT)], [str(STANDINS), str(ROOT)]):
        done = subprocess.run(
            [sys.executable, "-c", code, str(records)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )
        lines.append(done.stdout.splitlines())
    assert Path(lines[1][0]).parent == STANDINS
    assert lines[0][1:] == lines[1][1:]
    assert len(lines[0]) > 10


@pytest.mark.slow
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the libraries can be hidden from a virtual environment only")
def test_it_goes_on_without_what_it_can_spare(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for entry in Path(torch.__file__).parents[1].iterdir():
        if not entry.name.lower().startswith((*HIDDEN, "__editable__", "fer_bench")) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(os.path.realpath(sys.executable), str(SCRIPT), str(out), "--device", "cpu"),
            *("--steps", "rest", "--networks", "mtcnn_pnet"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    for name in ("sqlalchemy", "fvcore", "thop", "msgspec", "tabulate", "pynvml"):
        assert f"missing {name}: " in done.stdout
    results = read_file(out)  # as a machine reads them that has everything
    assert [result.subject.name for result in results] == ["mtcnn_pnet"]
    assert results[0].value("macs") > 0
    assert len(results[0].samples("latency_s")) == 1
    assert (out / "tables" / "latency.table").exists()
