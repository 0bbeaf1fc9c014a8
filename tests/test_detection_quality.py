"""Detection quality against hand calculations."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_bench.cli.main import main
from fer_bench.live.faces import DetectorError, Faces
from fer_bench.live.quality import Annotated, Quality, judge, overlaps, read_annotations, roc

TWO = """a/one.jpg
2
10 10 20 20 0 0 0 0 0 0
50 50 20 20 0 0 0 1 0 0
two.jpg
0
0 0 0 0 0 0 0 0 0 0
"""


def test_annotations(tmp_path: Path) -> None:
    file = tmp_path / "truth.txt"
    file.write_text(TWO)
    first, second = read_annotations(file)
    assert first.path == "a/one.jpg"
    assert first.boxes.tolist() == [[10, 10, 30, 30], [50, 50, 70, 70]]
    assert first.ignored.tolist() == [False, True]
    assert (second.path, len(second.boxes)) == ("two.jpg", 0)


@pytest.mark.parametrize("text", ["", "a.jpg\n", "a.jpg\nx\n", "a.jpg\n2\n1 2 3 4\n", "a.jpg\n1\n1 2 3\n"])
def test_annotations_that_are_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "truth.txt"
    file.write_text(text)
    with pytest.raises(DetectorError, match="try: wider_face"):
        read_annotations(file)


def test_overlaps() -> None:
    first = np.array([[0, 0, 10, 10]], np.float32)
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert overlaps(first, second)[0].tolist() == pytest.approx([1, 50 / 150, 0])


def of(*boxes: tuple[float, ...], ignored: tuple[bool, ...] = ()) -> Annotated:
    return Annotated("a", Faces.of(boxes).boxes, np.array(ignored or [False] * len(boxes), bool))


FACE, OTHER, NONE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0), (80.0, 0.0, 90.0, 10.0)


def test_a_face_is_found_once() -> None:
    found = Faces.of([FACE, (0, 0, 10, 11), NONE, OTHER], [0.9, 0.8, 0.7, 0.6])
    quality = judge([found], [of(FACE, OTHER)])
    assert quality.hits == (True, False, False, True)
    # Precision at the two faces is 1/1 and 2/4.
    assert quality.average_precision == pytest.approx((1 + 0.5) / 2)
    assert quality.curve() == [(0, 0.5), (1, 0.5), (2, 0.5), (2, 1.0)]
    assert quality.rate_at(1) == 0.5
    assert quality.rate_at(2) == 1.0
    assert quality.rate_at(3) is None


def test_precision_is_made_monotonic() -> None:
    # 0/1, 1/2, 2/3: the best precision at a recall or beyond is 2/3 for both faces.
    assert Quality((False, True, True), 2).average_precision == pytest.approx(2 / 3)
    assert Quality((), 2).average_precision == 0.0


def test_ignored_faces_count_neither_way() -> None:
    quality = judge([Faces.of([FACE, OTHER])], [of(FACE, OTHER, ignored=(False, True))])
    assert (quality.hits, quality.faces) == ((True,), 1)


def test_scores_of_all_images_are_one_list() -> None:
    found = [Faces.of([NONE], [0.9]), Faces.of([FACE], [0.5])]
    assert judge(found, [of(), of(FACE)]).hits == (False, True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "a" / "one.jpg")
    truth = tmp_path / "truth.txt"
    truth.write_text("a/one.jpg\n1\n0 0 40 20\n")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("frame,left,top,right,bottom\na/one.jpg,30,10,40,20\n")
    given = ["--truth", str(truth), "--data", str(tmp_path), "--detector", f"whole,boxes:{boxes}"]
    assert main(["detect", *given, "--false-positives", "1", "--format", "csv"]) == 0
    header, whole, other = capsys.readouterr().out.splitlines()[:3]
    row = dict(zip(header.split(","), whole.split(","), strict=True))
    assert (row["true"], row["false"], float(row["ap"])) == ("1", "0", 1.0)
    assert "peak_bytes" not in header
    assert ",0,1,0.0" in other
    (tmp_path / "a" / "one.jpg").unlink()
    assert main(["detect", *given]) == 1
    assert "one.jpg is no image that can be read" in capsys.readouterr().err


def test_the_roc_is_drawn_at_numbers_of_false_positives() -> None:
    found = [Quality((True, False, True, False), 4), Quality((), 4)]
    plot = roc(["one", "blind"], found, 0.5, [1, 2, 9])
    assert plot is not None
    assert plot.groups == ("one",)
    assert plot.lines[0].points == ((0, 0.0), (0, 0.25), (1, 0.25), (1, 0.5), (2, 0.5))
    assert [(point.x, point.y) for point in plot.points] == [(1, 0.5), (2, 0.5)]
    assert roc(["blind"], [found[1]], 0.5, [1]) is None


@pytest.mark.slow
def test_figure_and_memory_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "one.png")
    (tmp_path / "truth.txt").write_text("one.png\n1\n0 0 40 20\n")
    given = ["--truth", str(tmp_path / "truth.txt"), "--data", str(tmp_path), "--detector", "whole", "--memory"]
    assert main(["detect", *given, "--figures", str(tmp_path / "figures"), "--format", "json"]) == 0
    ((row,),) = (table["rows"] for table in json.loads(capsys.readouterr().out))
    assert 0 <= row["peak_bytes"] < 2**30
    assert (tmp_path / "figures" / "roc.svg").stat().st_size > 0
