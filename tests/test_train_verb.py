"""``fer-bench train``: from images to weights, records, curves, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import fer_bench as fb
from fer_bench.accuracy.statistics import scores_in, wilson
from fer_bench.cli.main import main
from fer_bench.measuring.profilers.occupancy import System
from fer_bench.measuring.profilers.trained import load
from fer_bench.measuring.train import forget, training_tasks
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import FAILED, INTERRUPTED
from fer_bench.records.plan import Plan, Training
from fer_bench.records.result import Result
from fer_bench.records.store import Store
from fer_bench.reporting.analysis import trainings
from fer_bench.reporting.figures.trainings import curve_table, learning_curves
from fer_bench.reporting.tables import report

pytest.importorskip("accelerate")

RECIPE = """
title = "A small one"
networks = ["mini_xception"]
epochs = 2
batch_size = 16
optimizer = { name = "adam", lr = 1e-3 }
selection = { by = "validation_accuracy" }
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fb.make_faces(tmp_path_factory.mktemp("data") / "faces", images=200)


@pytest.fixture(scope="module")
def done(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """Two seeds by the command, with its folder and its results."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.toml").write_text(RECIPE)
    command = [*options(folder, faces), "--seeds", "2"]
    assert main(command) == 0
    with Store.open(str(folder / "store.sqlite")) as store:
        return folder, [result for _, result in store.contents(store.find_run("last").id).results]


def options(folder: Path, faces: Path) -> list[str]:
    return [
        *("train", "mini_xception", "--recipe", str(folder / "small.toml"), "--data", str(faces), "--threads", "1"),
        *("--out", str(folder / "out"), "--store", str(folder / "store.sqlite")),
    ]


def test_weights_records_and_curves_are_there(done: tuple[Path, list[Result]], faces: Path) -> None:
    folder, results = done
    assert [result.plan.seed for result in results] == [0, 1]
    for seed, result in enumerate(results):
        assert len(trainings.series(result, "loss")) == len(trainings.series(result, "validation_accuracy")) == 2
        weights = folder / "out" / "mini_xception" / "small" / f"seed-{seed}" / "model.safetensors"
        # Evaluated again by itself, the file gives the accuracy that was recorded.
        again = fb.evaluate("mini_xception", faces, checkpoint=weights, split="private", probe="none", progress=False)
        ours, theirs = scores_in(result), scores_in(again[0])
        assert ours is not None
        assert theirs is not None
        assert ours.accuracy == theirs.accuracy
    with Store.open(str(folder / "store.sqlite")) as store:
        run = store.runs()[-1].id
    written = {path.name for path in (folder / "out" / "runs" / run).iterdir()}
    assert {"trainings.md", "learning_curves.csv", "learning_curves.svg"} <= written


def test_another_seed_gives_other_weights(done: tuple[Path, list[Result]]) -> None:
    _, (first, second) = done
    assert trainings.series(first, "loss") != trainings.series(second, "loss")


def test_the_table_has_the_mean_and_students_interval_over_seeds(done: tuple[Path, list[Result]]) -> None:
    _, results = done
    (row,) = report(results, built_in())["trainings"].rows
    shares = [trainings.test_share(result) or 0.0 for result in results]
    middle = sum(shares) / 2
    half = 12.706 * abs(shares[0] - shares[1]) / 2  # Student's t for one degree of freedom; sd / sqrt(2) is d / 2
    assert row["test"] == pytest.approx(middle)
    assert row["test_interval"] == pytest.approx((middle - half, middle + half), rel=1e-3, abs=1e-6)
    assert (row["seeds"], row["epochs"]) == (2, 2)
    notes = " ".join(report(results, built_in())["efficiency"].note_texts)
    assert all(re.search(rf"weights: trained by \S+, seed {seed}\b", notes) for seed in (0, 1))
    (single,) = report(results[:1], built_in())["trainings"].rows
    confusion = results[0].measurement("accuracy.confusion")
    assert confusion is not None
    assert single["test_interval"] == wilson(round(shares[0] * sum(confusion.values)), int(sum(confusion.values)))


def test_curves_are_of_every_epoch_with_a_band_over_seeds(done: tuple[Path, list[Result]]) -> None:
    _, results = done
    plot = learning_curves(results)
    assert plot is not None
    (_, losses), (_, shares) = plot.panels
    assert [(curve.training, curve.seeds, len(curve.values)) for curve in losses] == [(True, 2, 2), (False, 2, 2)]
    first, second = (trainings.series(result, "validation_accuracy") for result in results)
    assert shares[1].values == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)])
    assert shares[1].low == tuple(map(min, first, second))
    assert len(curve_table(results).rows) == 4


def test_what_was_predicted_stands_beside_what_happened(done: tuple[Path, list[Result]]) -> None:
    _, results = done
    predicted = trainings.predicted_s(results[0])
    measured = results[0].measurement("train.predicted_step_s")
    image = results[0].measurement("train.predicted_image_s")
    assert predicted is not None
    assert measured is not None
    assert image is not None
    known = measured.details
    step, evaluated = sum(measured.values) / len(measured.values), sum(image.values) / len(image.values)
    expected = known["epochs"] * (known["steps"] * step + known["validation_images"] * evaluated)
    assert predicted.value == pytest.approx(expected)
    assert predicted.ends is not None
    assert predicted.ends[0] <= predicted.value <= predicted.ends[1]


def test_the_same_command_of_a_training_that_has_ended_does_not_repeat_it(
    done: tuple[Path, list[Result]], faces: Path
) -> None:
    folder, results = done
    assert main(options(folder, faces)) == 0
    with Store.open(str(folder / "store.sqlite")) as store:
        (again,) = [result for _, result in store.contents(store.find_run("last").id).results]
    assert trainings.series(again, "step_s") == trainings.series(results[0], "step_s")  # the same seconds
    assert len(list((folder / "out" / "runs").iterdir())) == 2  # and the curves of the first are still there


def test_evaluating_on_the_images_that_selected_warns(done: tuple[Path, list[Result]], faces: Path) -> None:
    folder, _ = done
    weights = folder / "out" / "mini_xception" / "small" / "seed-0" / "model.safetensors"

    def warnings(**how: str) -> str:
        given = {"checkpoint": weights, "probe": "none", "progress": False, **how}
        measured = fb.evaluate("mini_xception", faces, **given)[0].measurement("accuracy.confusion")
        assert measured is not None
        return "; ".join(measured.warnings)

    assert "selected on the test set: these images of split public" in warnings(split="public")
    assert "selected on" not in warnings(split="private")
    assert "selected on the test set" in warnings(split="private", selected_on="PrivateTest")
    assert "selected on" not in warnings(split="public", selected_on="last")


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the command", "to all processes, as a terminal does"])
def test_ctrl_c_keeps_the_step_under_way_and_says_how_to_go_on(
    faces: Path, tmp_path: Path, send: Callable[[int, int], None]
) -> None:
    recipe = RECIPE.replace("batch_size = 16", "batch_size = 2")  # 80 steps, and no state is kept between them
    (tmp_path / "small.toml").write_text(recipe)
    command = [sys.executable, "-m", "fer_bench.cli", *options(tmp_path, faces)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as program:
        state = tmp_path / "out" / "mini_xception" / "small" / "seed-0" / "state.pt"
        until = time.monotonic() + 200
        while not state.exists():  # written before the first step
            assert time.monotonic() < until
            assert program.poll() is None
            time.sleep(0.05)
        send(program.pid, signal.SIGINT)
        said, _ = program.communicate(timeout=100)
    assert program.returncode == INTERRUPTED
    kept = torch.load(state, weights_only=True)
    steps = kept["part"]["step"]
    assert (len(kept["history"]), steps > 0) == (0, True)
    assert f"mini_xception, seed 0: 0 epochs and {steps} steps of the next are kept in {state.parent}" in said
    assert f"1 of 1 is left; to go on: fer-bench {' '.join(options(tmp_path, faces))}" in said


def test_dry_run_prints_each_field_with_its_origin_and_the_cost(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    assert main([*options(tmp_path, faces), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "optimizer.lr" in printed
    assert "not stated" in printed
    assert "One seed (s)" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--recipe", ""], "no recipe is named"),
        (["--recipe", "rao2032"], "no recipe is called 'rao2032'"),
        (["--data", "nowhere"], "there is no nowhere"),
        (["--data", ""], "nothing to train on"),
        (["--validation", "1.5"], "is no share of images"),
        (["--precision", "fp16"], "fp16 is trained on a GPU only"),
        (["--initial", "missing.pt"], "there is no checkpoint missing.pt"),
        (["--data-classes", "bored"], "bored"),
    ],
)
def test_wrong_options_are_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], said: str
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    assert main([*options(tmp_path, faces), *changes]) != 0
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize("fields", [{"layout": "nhwc"}, {"mode": "compile"}, {"batch_size": 8}, {"cudnn": "benchmark"}])
def test_what_the_loop_would_ignore_is_refused(faces: Path, fields: dict[str, object]) -> None:
    (name,) = fields
    with pytest.raises(
        FerBenchError, match=f"a training has no {name} to choose; try: only device, precision, threads"
    ):
        fb.train("mini_xception", "rao2023", faces, progress=False, **fields)


def test_weights_of_another_network_are_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    assert main([*options(tmp_path, faces), "--initial", str(tmp_path / "other.pt")]) == FAILED
    assert "other.pt" in "".join(capsys.readouterr())


def test_fresh_deletes_what_a_training_wrote_and_nothing_else(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    tasks = training_tasks([fb.find("mini_xception")], tmp_path / "small.toml", faces, out=tmp_path / "out")
    folder = Path(tasks[0].folder)
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"")
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(FerBenchError, match=r"thesis\.tex, which no training wrote"):
        forget(tasks)
    (folder / "thesis.tex").unlink()
    forget(tasks)
    assert not folder.exists()


def test_images_that_select_are_the_validation_split_or_a_share(faces: Path) -> None:
    training, validation = load(str(faces), Training("r"))
    assert (training.split, validation.split if validation else "") == ("training", "public")
    left, held = load(str(faces), Training("r", validation="0.25"))
    assert held is not None
    assert len(left) + len(held) == len(training)
    _, test = load(str(faces), Training("r", validation="private"))
    assert test is not None
    assert test.split == "private"


def test_occupancy_counts_children_that_run_and_that_have_ended() -> None:
    def used(system: System) -> float:
        seconds = system.sample().seconds
        return seconds["process_user_s"] + seconds["process_system_s"]

    alone, together = System(), System(children=True)
    before, first = used(alone), used(together)
    busy = "import time\nwhile time.process_time() < 1: pass\nprint('done', flush=True)\ninput()"
    command = [sys.executable, "-c", busy]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        assert used(together) - first > 0.9
        assert used(alone) - before < 0.9
        child.communicate("end\n")
    assert used(together) - first > 0.9


def test_a_plan_keeps_its_training() -> None:
    plan = Plan("train", metrics=("train",), training=Training("rao2023", epochs=3, data_classes=("happy", "sad")))
    assert Plan.of(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(FerBenchError, match=r"training has unknown epoch; known: recipe"):
        Plan.of(plan.to_dict() | {"training": {"recipe": "r", "epoch": 3}})
    with pytest.raises(FerBenchError, match="measured by `fer-bench train`"):
        Plan("quick", metrics=("train",)).check_asked()


def test_a_missing_extra_is_named_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_bench.records.extras.missing", list)
    with pytest.raises(
        FerBenchError, match=r"accelerate, which is not installed; try: pip install 'fer-bench\[train\]'"
    ):
        training_tasks([], "rao2023", "faces")
