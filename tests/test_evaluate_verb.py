"""``fer-bench evaluate``: from a folder of images to a record, tables and figures."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fer_bench as fb
from fer_bench.accuracy.predictions import Predictions
from fer_bench.accuracy.statistics import scores_in
from fer_bench.cli.main import main
from fer_bench.measuring.evaluate import evaluate, evaluation_tasks
from fer_bench.measuring.profilers.accuracy import load
from fer_bench.records import units
from fer_bench.records.plan import ACCURACY, Evaluation, Plan
from fer_bench.records.store import Store
from fer_bench.reporting import tables
from fer_bench.reporting.tables.accuracy import binary_accuracies
from support.processes import heed_ctrl_c, wait_until
from support.shades import CLASSES, Shades, contract, dataset, write_folder

COUNTS = {
    "training": dict.fromkeys(CLASSES, 2),
    "validation": dict.fromkeys(CLASSES, 30),
    "test": {name: 5 + number for number, name in enumerate(CLASSES)},  # 5 to 11: 56 in all
}
NETWORKS = """
import time
from pathlib import Path
from support.shades import Mixing, Shades
import torch

class Folders(Shades):
    def forward(self, images):
        return super().forward(images)[:, [0, 1, 2, 3, 6, 4, 5]]  # as folders are sorted: neutral before sad

class Waiting(Shades):
    def forward(self, images):
        Path("reached").touch()
        while not Path("go_on").exists():
            time.sleep(0.01)
        return super().forward(images)

class Broken(Shades):
    def forward(self, images):
        return torch.full_like(super().forward(images), float("nan"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shades")
    write_folder(made / "data", COUNTS)
    (made / "nets.py").write_text(NETWORKS)
    (made / "input.json").write_text(contract().to_json())
    return made


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, where the tests' support can be imported by workers, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("nets.py", "input.json"):
        shutil.copy(folder / name, tmp_path)
    return folder / "data"


@pytest.mark.slow
def test_a_network_by_name_is_evaluated_and_its_outputs_are_kept(here: Path) -> None:
    given = {"contract": "input.json", "store": "mine.sqlite", "progress": False}
    results = evaluate(["nets.py:Shades", "nets.py:Mixing"], here, **given)
    assert [m.failure for result in results for m in result.measurements if m.failure] == []
    found = [scores_in(result) for result in results]
    assert [one.images for one in found if one] == [56, 56]
    assert found[0] is not None
    assert found[0].accuracy == 1
    conditions = results[0].measurement("accuracy.confusion").details
    assert conditions["data"]["split"] == "test"
    assert conditions["probe"]["verdict"] == "as named"
    assert conditions["probe"]["split"] == "validation"
    assert str(here) not in results[0].to_json()  # a record may be published
    assert results[1].measurement("accuracy.confusion").warnings[0].startswith("batch-dependent")
    with Store.open("mine.sqlite") as store:
        (run,) = store.runs()
        stored = store.results(run.id)
    assert stored == list(results)
    kept = [Predictions.of(result) for result in stored]
    assert kept[0] is not None
    assert kept[0].paired(kept[1]).images == 56
    outputs, labels = map(torch.from_numpy, kept[0].scored)
    sure = outputs.softmax(1) > 0.5
    right = (sure == torch.nn.functional.one_hot(labels, outputs.shape[1])).float().mean()
    assert binary_accuracies(stored)[0].startswith(f"nets.py:Shades: binary accuracy {units.percent(right.item())} of ")
    assert main(["export", "--store", "mine.sqlite", "--out", "moved.json"]) == 0
    moved = fb.load("moved.json")
    assert (Predictions.of(moved[0]).outputs == kept[0].outputs).all()
    assert main(["delete", run.id, "--yes", "--store", "mine.sqlite"]) == 0


@pytest.mark.slow
def test_permuted_outputs_end_with_a_finding_and_a_remedy_that_works(here: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["evaluate", "nets.py:Folders", "--data", str(here), "--contract", "input.json"]
    assert main(command) == 1
    said = capsys.readouterr().err
    order = "angry,disgust,fear,happy,neutral,sad,surprise"
    assert "accuracy is 57.1 %, and 100.0 % where sad is neutral, surprise is sad, neutral is surprise" in said
    assert f"--classes-order {order}" in said
    assert main([*command, "--classes-order", order, "--format", "json"]) == 0
    table, *_ = json.loads(capsys.readouterr().out)
    assert table["rows"][0]["top1_share"] == 1
    assert main([*command, "--probe", "none", "--fresh"]) == 0


@pytest.mark.slow
def test_what_fails_in_a_network_is_its_record(here: Path) -> None:
    (result,) = evaluate("nets.py:Broken", here, contract="input.json", probe="none", progress=False)
    assert result.measurement("accuracy").failure == ("the outputs of 56 of 56 images are no numbers (NaN or infinite)")
    (table,) = (table for name, table in tables.report([result], fb.Registry()).items() if name == "accuracy")
    assert "no numbers" in " ".join(table.notes[0])
    assert result.value("parameters.trainable") == 7


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_the_network_that_was_not_done(here: Path, tmp_path: Path) -> None:
    networks = ("nets.py:Shades", "nets.py:Waiting")
    command = [sys.executable, "-m", "fer_bench.cli", "evaluate", *networks, "--data", str(here)]
    command += ["--contract", "input.json", "--probe", "none", "--store", "mine.sqlite"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=heed_ctrl_c)
    wait_until((tmp_path / "reached").exists)
    process.kill()
    process.communicate(timeout=60)
    with Store.open("mine.sqlite") as store:
        (kept,) = store.results(store.runs()[0].id)
    (tmp_path / "go_on").touch()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "goes on: 1 of 2 are measured" in again.stderr
    assert "nets.py:Shades" not in again.stderr  # is not measured again
    with Store.open("mine.sqlite") as store:
        (run,) = store.runs()
        first, second = store.results(run.id)
    assert (run.state, process.returncode, first) == ("finished", -signal.SIGKILL, kept)
    assert Predictions.of(second).paired(Predictions.of(first)).difference == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "try: --data"),
        (["--data", "missing"], "there are no data missing"),
        (["--data", "DATA"], "no sheet has an input contract of nets.py:Shades"),
        (["--data", "DATA", "--contract", "none.json"], "cannot read the contract none.json"),
        (["--data", "DATA", "--contract", "input.json", "--checkpoint", "w.pt"], "there is no checkpoint w.pt"),
        (["--data", "DATA", "--contract", "input.json", "--classes-order", "angry,fear,joy,glad"], "glad"),
        (["--data", "DATA", "--contract", "input.json", "--split", "tset"], "no split 'tset' (did you mean test"),
        (["--data", "DATA", "--contract", "input.json", "--probe", "val1dation"], "(did you mean validation"),
        (["--data", "DATA", "--contract", "input.json", "--group-by", "splitt"], "(did you mean split?)"),
        (["--data", "DATA", "--contract", "input.json", "--rule", "majority"], "is for votes of FER+"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_measured(
    here: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    given = [str(here) if word == "DATA" else word for word in arguments]
    assert main(["evaluate", "nets.py:Shades", *given]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("asked", [{"split": "tset"}, {"group_by": "age"}, {"rule": "majority"}])
def test_the_api_refuses_what_the_data_lack_before_anything_is_stored(here: Path, asked: dict[str, str]) -> None:
    with pytest.raises(fb.FerBenchError):
        evaluate("nets.py:Shades", here, contract="input.json", store="mine.sqlite", progress=False, **asked)
    assert not Path("mine.sqlite").exists()


def test_the_test_set_does_not_judge_the_order(here: Path) -> None:
    with pytest.raises(fb.FerBenchError, match="--probe test: a test set decides nothing"):
        load(here, Evaluation(probe="test"))
    data, validation = load(here, Evaluation())
    assert (data.split, validation.split) == ("test", "validation")
    data, validation = load(here, Evaluation(split="validation"))
    assert validation is data
    assert load(here, Evaluation(probe="none"))[1] is None


def test_evaluate_needs_a_network_and_run_needs_evaluate(capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "--data", "."]) == 1
    assert "no network is named" in capsys.readouterr().err
    assert main(["run", "mtcnn_pnet", "--metrics", "accuracy"]) == 1
    assert "fer-bench evaluate --data PATH" in capsys.readouterr().err


def test_a_module_is_evaluated_here_and_left_as_it_was() -> None:
    network = Shades().train()
    data = dataset([label for label in range(7) for _ in range(8)])
    results = evaluate({"mine": network}, data, contract=contract(), metrics=("static", "latency", "accuracy"), runs=3)
    assert network.training
    assert scores_in(results[0]).accuracy == 1
    assert len(results[0].samples("latency_s")[0]) == 3
    assert results[0].plan.isolation == "shared"
    with pytest.raises(fb.FerBenchError, match="a module has no sheet"):
        evaluate(network, data)
    with pytest.raises(fb.FerBenchError, match="needs processes of its own"):
        evaluate(network, data, contract=contract(), metrics=("memory", "accuracy"))


def test_how_it_is_evaluated_is_part_of_the_plan(here: Path) -> None:
    plan = Plan("mine", metrics=("accuracy",), evaluation=Evaluation(split="test", tta=10, data_classes=("happy",)))
    assert Plan.of(json.loads(json.dumps(plan.to_dict()))) == plan
    assert "evaluation" not in Plan("mine").to_dict()  # as records before there was one
    with pytest.raises(fb.FerBenchError, match=r"evaluation\.tta is 0"):
        Evaluation(tta=0)
    with pytest.raises(fb.FerBenchError, match="extra is 'left'; known: errors, masked"):
        Evaluation(extra="left")
    spec = fb.find("nets.py:Shades")
    (one,) = evaluation_tasks([spec], here, ACCURACY, contract="input.json")
    (other,) = evaluation_tasks([spec], here, plan, contract="input.json")
    (named,) = evaluation_tasks([spec], here, ACCURACY, contract="input.json", classes_order=sorted(CLASSES))
    assert len({one.key, other.key, named.key}) == 3


def test_importing_the_verb_loads_no_torch() -> None:
    code = "import sys, fer_bench as fb; fb.evaluate; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
