"""Detectors: our cascade against facenet-pytorch's own, and one list an image whatever the images are."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_bench.live import mtcnn
from fer_bench.live.detectors import make_detector
from fer_bench.live.faces import DetectorError, Faces, Pixels, Stages
from fer_bench.records.errors import CheckpointError

NO_PIXELS = np.zeros((0, 0, 3), np.uint8)
ONE_PIXEL = np.zeros((1, 1, 3), np.uint8)


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def cascade() -> mtcnn.Mtcnn:
    if mtcnn.weights_of_wheel() is None:
        pytest.skip("facenet-pytorch is not installed, whose weights are needed")
    return mtcnn.Mtcnn()


def four(astronaut: Pixels) -> Pixels:
    """Four cuttings of one face, of which borders cut some."""
    above = np.concatenate([astronaut[:300, :300], astronaut[:300, 100:400]], 1)
    below = np.concatenate([astronaut[20:320, 100:400], astronaut[:300, 150:450]], 1)
    return np.concatenate([above, below])


# What facenet-pytorch 2.6.0, MTCNN(keep_all=True), returns of these pictures: boxes, and landmarks of the first.
ASTRONAUT = [181.05140686035156, 62.156131744384766, 267.747314453125, 172.0501708984375]
ASTRONAUT_LANDMARKS = [
    [205.0109100341797, 101.72746276855469],
    [246.7625732421875, 103.71408081054688],
    [224.67135620117188, 128.96499633789062],
    [201.7161102294922, 139.24618530273438],
    [245.26548767089844, 141.85702514648438],
]
FOUR = [
    [329.0553894042969, 355.4070129394531, 421.6987609863281, 478.3687744140625],
    [78.79138946533203, 338.89324951171875, 168.5103302001953, 455.97222900390625],
    [178.9539337158203, 59.58857727050781, 268.70489501953125, 174.91204833984375],
    [379.7831115722656, 61.51046371459961, 466.6560974121094, 175.2948760986328],
]


def test_astronaut(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    stages = Stages()
    (faces,) = cascade.detect([astronaut], stages)
    np.testing.assert_allclose(faces.boxes, [ASTRONAUT], atol=1e-3)
    np.testing.assert_allclose(faces.landmarks, [ASTRONAUT_LANDMARKS], atol=1e-3)
    np.testing.assert_allclose(faces.scores, [0.9999977], atol=1e-6)
    assert stages.counts == {"after_pnet": 153, "after_rnet": 9, "faces": 1}  # of the fact base
    assert stages.seconds.keys() == set(cascade.stages)


def test_four_faces_the_largest_first(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    (faces,) = cascade.detect([four(astronaut)])
    np.testing.assert_allclose(faces.boxes, FOUR, atol=1e-3)


def test_agrees_with_facenet_pytorch(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    original = pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True)
    half = torch.nn.functional.avg_pool2d(torch.from_numpy(astronaut).permute(2, 0, 1).float(), 2)
    smaller = half.permute(1, 2, 0).round().to(torch.uint8).numpy()
    for image in (astronaut[:, ::-1].copy(), four(astronaut), smaller, astronaut[40:180, 150:300].copy()):
        boxes, scores, landmarks = original.detect(image, landmarks=True)
        (faces,) = cascade.detect([image])
        assert len(faces) > 0
        np.testing.assert_allclose(faces.boxes, boxes.astype(float), atol=1e-3)
        np.testing.assert_allclose(faces.landmarks, landmarks.astype(float), atol=1e-3)
        np.testing.assert_allclose(faces.scores, scores.astype(float), atol=1e-5)


def test_a_batch_of_any_sizes(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    blank = np.full((60, 90, 3), 128, np.uint8)
    images = [blank, four(astronaut), ONE_PIXEL, NO_PIXELS, astronaut, blank]
    together = cascade.detect(images)
    assert [len(faces) for faces in together] == [0, 4, 0, 0, 1, 0]
    for faces, image in zip(together, images, strict=True):
        (alone,) = cascade.detect([image])
        np.testing.assert_allclose(faces.boxes, alone.boxes, atol=1e-3)
    assert cascade.detect([]) == []
    assert [array.shape for array in (together[0].boxes, together[0].scores, together[0].landmarks)] == [
        (0, 4),
        (0,),
        (0, 5, 2),
    ]


def test_a_smaller_limit_finds_no_smaller_face(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    coarse = mtcnn.Mtcnn(min_face=500)  # the face has 110 pixels
    assert len(coarse.detect([astronaut])[0]) == 0


def test_proposals_alone(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    stages = Stages()
    (faces,) = make_detector("pnet").detect([astronaut], stages)
    assert len(faces) == 153  # the windows after P-Net
    assert stages.seconds.keys() == {"pyramid", "pnet", "nms"}


def test_area_means_are_those_of_pytorch() -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    sums = mtcnn._sums(image)
    for size in ((24, 24), (5, 50), (37, 53), (60, 100)):
        expected = (torch.nn.functional.interpolate(tensor, size, mode="area") - 127.5) * 0.0078125
        torch.testing.assert_close(mtcnn._shrunk(sums, *size), expected, atol=1e-5, rtol=0)
    boxes = torch.tensor(
        [[3.7, 2.2, 20.9, 30.1], [-5.0, -7.0, 8.0, 9.0], [40.0, 20.0, 90.0, 90.0], [60.0, 5.0, 70.0, 9.0]]
    )
    crops, inside = mtcnn._crops([sums], [boxes], 24)
    assert len(inside[0]) == 3  # the last lies beside the picture
    for crop, (top, bottom, left, right) in zip(crops, [(1, 30, 2, 20), (0, 9, 0, 8), (19, 37, 39, 53)], strict=True):
        part = torch.nn.functional.interpolate(tensor[..., top:bottom, left:right], (24, 24), mode="area")
        torch.testing.assert_close(crop, (part[0] - 127.5) * 0.0078125, atol=1e-5, rtol=0)


def test_sums_may_wrap_around() -> None:
    bright = np.full((3000, 3000, 3), 255, np.uint8)  # 2.3e9, more than an int32 holds
    torch.testing.assert_close(mtcnn._shrunk(mtcnn._sums(bright), 3, 3), torch.full((1, 3, 3, 3), 0.99609375))


def test_suppression_by_the_smaller_box() -> None:
    boxes = torch.tensor([[0.0, 0.0, 99.0, 99.0], [10.0, 10.0, 19.0, 19.0], [90.0, 90.0, 129.0, 129.0]])
    # The second lies within the first: 1.0 of it. Of the third 10 x 10 of 40 x 40 pixels lie in the first: 0.0625.
    assert mtcnn._suppressed_by_smaller(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.7) == [1, 2]
    assert mtcnn._suppressed_by_smaller(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.05) == [0]


def test_weights_of_another_network(cascade: mtcnn.Mtcnn, tmp_path: Path) -> None:
    folder = mtcnn.weights_of_wheel()
    assert folder is not None
    for name, of in (("pnet", "rnet"), ("rnet", "rnet"), ("onet", "onet")):
        (tmp_path / f"{name}.pt").symlink_to(folder / f"{of}.pt")
    with pytest.raises(CheckpointError, match=r"pnet\.pt does not fit PNet"):
        make_detector(f"mtcnn:{tmp_path}")
    with pytest.raises(DetectorError, match=r"no weights of pnet, rnet, onet; try: "):
        make_detector(f"mtcnn:{tmp_path / 'none'}")


def test_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn, "weights_of_wheel", lambda: None)
    with pytest.raises(DetectorError, match=r"facenet-pytorch is not installed; try: pip install --no-deps"):
        make_detector("mtcnn")


def test_haar(astronaut: Pixels) -> None:
    if not hasattr(pytest.importorskip("cv2"), "CascadeClassifier"):
        pytest.skip("OpenCV 5 has no cascades")
    empty, faces, none = make_detector("haar").detect([NO_PIXELS, astronaut, ONE_PIXEL])
    assert faces.boxes.tolist() == [[177, 66, 177 + 95, 66 + 95]]  # of the fact base
    assert len(empty) == len(none) == 0


def test_haar_of_opencv_5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="5.0.0"))  # type: ignore[arg-type]
    with pytest.raises(DetectorError, match=r"OpenCV 5.0.0 has no Haar cascades.*try: "):
        make_detector("haar")


def test_files_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_text("wrong")
    for text, expected in (
        ("haar:nowhere.xml", "there is no cascade nowhere.xml; try: "),
        (f"haar:{wrong}", "is no cascade that OpenCV reads; try: "),
        ("yunet", "there is no file ''; try: "),
        (f"yunet:{wrong}", "is no YuNet that OpenCV"),
        ("boxes:nowhere.csv", "boxes of nowhere.csv: No such file"),
        ("mtcn", r"did you mean mtcnn\?"),
    ):
        with pytest.raises(DetectorError, match=expected):
            make_detector(text)


def test_whole_image() -> None:
    first, empty = make_detector("whole").detect([np.zeros((20, 30, 3), np.uint8), NO_PIXELS])
    assert first.boxes.tolist() == [[0, 0, 30, 20]]
    assert len(empty) == 0


def test_boxes_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        "frame,left,top,right,bottom,score\n0,1,2,3,4,0.5\n7,0,0,2,2,\n7,0,0,9,9,0.25\nface.jpg,5,5,6,6,1\n"
    )
    detector = make_detector(f"boxes:{file}")
    found = detector.detect([ONE_PIXEL] * 4, frames=["7", "0", "1", "face.jpg"])
    assert [faces.boxes.tolist() for faces in found] == [
        [[0, 0, 9, 9], [0, 0, 2, 2]],
        [[1, 2, 3, 4]],
        [],
        [[5, 5, 6, 6]],
    ]
    assert found[0].scores.tolist() == [0.25, 1.0]
    with pytest.raises(DetectorError, match="1 images and 0 names"):
        detector.detect([ONE_PIXEL])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column frame, left, top, right, bottom"),
        ("frame,left,top,right\n", "no column bottom; try: "),
        ("frame,left,top,right,bottom\n0,1,2,x,4\n", "could not convert"),
        ("frame,left,top,right,bottom\n0,1,2\n", "boxes of"),
        ("frame,left,top,right,bottom\n0,1,2,nan,4\n", "not finite"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(text)
    with pytest.raises(DetectorError, match=expected):
        make_detector(f"boxes:{file}")


@pytest.mark.parametrize("name", ["whole", "boxes"])
def test_what_is_no_image(name: str, tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text("frame,left,top,right,bottom\n")
    detector = make_detector(name if name == "whole" else f"boxes:{file}")
    for wrong in (
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        "face.jpg",
    ):
        with pytest.raises(DetectorError, match=r"expected uint8 \(H, W, 3\)"):
            detector.detect([wrong], frames=["0"])  # type: ignore[list-item]


def test_faces_of_nothing() -> None:
    assert len(Faces.of()) == 0


@pytest.mark.parametrize("wrong", [{"min_face": 0}, {"factor": 1.0}, {"thresholds": (0.6, 0.7, 1.0)}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(DetectorError, match="try: min_face 20"):
        mtcnn.Mtcnn(**wrong)  # type: ignore[arg-type]
