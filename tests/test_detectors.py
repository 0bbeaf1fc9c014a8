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
from fer_bench.networks.build import create
from fer_bench.networks.registry import built_in
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


def test_proposals_alone_need_no_other_network(cascade: mtcnn.Mtcnn, tmp_path: Path) -> None:
    folder = mtcnn.weights_of_wheel()
    assert folder is not None
    (tmp_path / "pnet.pt").symlink_to(folder / "pnet.pt")
    assert make_detector(f"pnet:{tmp_path}").stages == ("pyramid", "pnet", "nms")
    with pytest.raises(DetectorError, match="no weights of rnet, onet; try: "):
        make_detector(f"mtcnn:{tmp_path}")


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


@pytest.mark.parametrize("size", [(12, 12), (12, 33), (13, 17), (40, 41), (64, 96), (97, 130)])
def test_a_padded_level_gives_what_the_level_alone_gives(size: tuple[int, int]) -> None:
    pnet = create(built_in().find("mtcnn_pnet")).eval()
    level = torch.rand(1, 3, *size) - 0.5
    with torch.inference_mode():
        for padded, alone in zip(mtcnn._slid_padded(pnet, level), pnet(level), strict=True):
            torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-6)


def test_padded_levels_have_few_sizes() -> None:
    sides = {mtcnn._rounded_up(side) for side in range(12, 1025)}
    assert sides == {n << shift for n in (4, 5, 6, 7) for shift in range(9) if 12 <= n << shift <= 1024}


def test_crops_come_in_few_batches(cascade: mtcnn.Mtcnn) -> None:
    crops, sizes = torch.rand(70, 3, 24, 24), []
    hook = cascade._networks["rnet"].register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    with torch.inference_mode():
        heads = cascade._heads(cascade._networks["rnet"], crops, 2)
        hook.remove()
        for together, each in zip(heads, cascade._networks["rnet"](crops), strict=True):
            torch.testing.assert_close(together, each, rtol=1e-4, atol=1e-5)
    assert sizes == [32, 32, 6]


def test_a_picture_gives_the_same_after_any_other(cascade: mtcnn.Mtcnn, astronaut: Pixels) -> None:
    (first,) = cascade.detect([astronaut])
    (again,) = cascade.detect([astronaut])  # as in a video, whose levels are not padded
    cascade.detect([astronaut[:99, :200]])
    (after,) = cascade.detect([astronaut])
    for other in (again, after):
        assert np.abs(other.boxes - first.boxes).max() < 1e-3
        assert np.abs(other.landmarks - first.landmarks).max() < 1e-3


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


def yunet_file(path: Path, heads: dict[str, np.ndarray]) -> Path:
    """Write a network with the inputs and outputs of YuNet for 64x64 pictures, which gives these whatever it sees."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    nodes = [h.make_node("ReduceMean", ["input"], ["mean"], keepdims=0), h.make_node("Mul", ["mean", "zero"], ["none"])]
    stored = [onnx.numpy_helper.from_array(np.float32(0), "zero")]
    for name, values in heads.items():
        stored.append(onnx.numpy_helper.from_array(values, f"{name} given"))
        nodes.append(h.make_node("Add", [f"{name} given", "none"], [name]))
    seen = h.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    given = [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, each.shape) for name, each in heads.items()]
    graph = h.make_graph(nodes, "yunet", [seen], given, stored)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 11)], ir_version=8), path)
    return path


def test_yunet_by_hand(tmp_path: Path) -> None:
    """Two cells: the sixth of the third row at stride 8, and the first at stride 32, whose face is larger."""
    pytest.importorskip("cv2")
    widths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    heads = {
        f"{name}_{stride}": np.zeros((1, (64 // stride) ** 2, width), np.float32)
        for name, width in widths.items()
        for stride in (8, 16, 32)
    }
    small, large = (2 * 8 + 5, 8), (0, 32)
    for (cell, stride), score in ((small, 0.81), (large, 1.0)):
        heads[f"cls_{stride}"][0, cell] = score
        heads[f"obj_{stride}"][0, cell] = 1
    heads["bbox_8"][0, small[0]] = [0.5, 0.25, np.log(2), 0]  # the centre from the cell, and logarithms of the sides
    heads["kps_8"][0, small[0]] = np.arange(10) / 8
    heads["bbox_32"][0, 0] = [0.75, 1, 0, 0]
    detector = make_detector(f"yunet:{yunet_file(tmp_path / 'yunet.onnx', heads)}")
    found, none = detector.detect([np.zeros((64, 64, 3), np.uint8), NO_PIXELS])
    # Centre (24, 32), side 32; and centre ((5 + 0.5) 8, (2 + 0.25) 8) = (44, 18), sides 16 and 8. Score: sqrt(cls obj).
    assert found.boxes == pytest.approx(np.array([[8, 16, 40, 48], [36, 14, 52, 22]]), abs=1e-3)
    assert found.scores == pytest.approx([1.0, 0.9], abs=1e-4)
    assert found.landmarks[1] == pytest.approx(np.array([[40 + 2 * n, 17 + 2 * n] for n in range(5)]), abs=1e-3)
    assert len(none) == 0


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
