"""Input contracts: each sheet has one, files carry them, and pictures become what OpenCV and Pillow make of them."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import fer_bench
from fer_bench.accuracy.transforms import crop, prepare
from fer_bench.cli.main import app
from fer_bench.networks.contract import ASSUMED, FIELDS, METADATA, Crop, InputContract, read_contract
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.weights import input_contract, save_contract
from fer_bench.records import schema
from fer_bench.records.errors import CheckpointError, FerBenchError, SheetError

SPEC = fer_bench.find("mini_xception")
CONTRACT = InputContract(
    colour="grey",
    size=(64, 48),
    value_range=(-1, 1),
    mean=(0,),
    std=(1,),
    resize="bilinear",
    antialias=False,
    crop=Crop("haar", 0.1, square=True),
    classes=("anger", "HA", "Sadness"),
    sources={"size": "a paper"},
)
RANDOM = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
SIZES = ((64, 48), (48, 48), (224, 224), (31, 120))


def levels(picture, **fields):
    """Return what a grey contract makes of a picture, as levels of 0 to 255."""
    return (prepare([picture], dataclasses.replace(CONTRACT, **fields))[0, 0].numpy() + 1) * 127.5


# Sheets


@pytest.mark.parametrize("name", built_in().names())
def test_every_network_has_a_contract_that_fits_it(name):
    spec = fer_bench.find(name)
    assert spec.input.shape == spec.input_shape
    assert len(spec.input.classes) == spec.num_classes
    assert set(spec.input.to_dict()["sources"]) == set(FIELDS)


def test_what_no_source_gives_is_said_to_be_assumed():
    assert fer_bench.find("mini_xception").input.source("value_range").startswith("public code")
    assert fer_bench.find("rarn").input.source("value_range") == ASSUMED
    assert fer_bench.find("mini_xception").input.source("grey_weights") == ASSUMED


def test_orders_of_classes_are_those_of_the_data():
    """FER2013's numbers; the order of its folders, which paper 003 lists; FER+'s columns less two."""
    numbers = "angry disgust fear happy sad surprise neutral"
    assert fer_bench.find("resmaskingnet").input.classes == tuple(numbers.split())
    assert fer_bench.find("resnetv2_50").input.classes == tuple(sorted(numbers.split()))
    assert fer_bench.find("resnet50_patch_attn").input.classes == tuple("neutral happy surprise sad angry fear".split())
    assert fer_bench.find("mtcnn_onet").input.classes == ("no face", "face")


def test_the_detector_takes_pixels_less_127_5_over_128():
    batch = prepare(
        [np.array([[0, 255], [127, 128]], np.uint8)], fer_bench.find("mtcnn_pnet").input.replace("", size=(2, 2))
    )
    expected = (np.array([[0, 255], [127, 128]]) - 127.5) / 128
    assert np.allclose(batch[0, 1].numpy(), expected, atol=1e-6)


SHEET = '[net]\ntitle = "N"\ninput_shape = [1, 48, 64]\nnum_classes = 3\nstatus = "exact"\n'


def sheet(folder, **fields):
    data = CONTRACT.replace("a test", size=(48, 64)).to_dict() | fields
    contract = InputContract.of(data).to_toml("net.input")
    (folder / "net.toml").write_text(SHEET + contract)
    return Registry([folder])


def test_a_users_sheet_may_have_one(tmp_path):
    assert sheet(tmp_path).find("net").input.classes == ("angry", "happy", "sad")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": [48, 48]}, "takes [1, 48, 48], where input_shape is [1, 48, 64]"),
        ({"colour": "RGB"}, "takes [3, 48, 64], where input_shape is [1, 48, 64]"),
        ({"classes": ["sad", "happy"]}, "has 2 classes, where num_classes is 3"),
    ],
)
def test_a_contract_that_contradicts_its_sheet_is_refused(tmp_path, fields, said):
    with pytest.raises(SheetError, match=rf"net\.toml \[net\.input\]: {re.escape(said)}"):
        sheet(tmp_path, **fields).find("net")


def test_show_prints_it_with_sources(tmp_path):
    shown = CliRunner().invoke(app, ["show", "mini_xception"]).output
    assert "size: 48x48 (FER2013's images" in shown
    assert "grey of RGB: 0.299 0.587 0.114 (assumed)" in shown
    toml = CliRunner().invoke(app, ["show", "mini_xception", "--contract"])
    (tmp_path / "c.toml").write_text(toml.output)
    assert read_contract(tmp_path / "c.toml").same_input(SPEC.input)


# Files


@pytest.mark.parametrize("form", ["json", "toml"])
def test_it_comes_back_from_a_file(tmp_path, form):
    text = CONTRACT.to_json() if form == "json" else CONTRACT.to_toml()
    (tmp_path / f"c.{form}").write_text(text)
    again = read_contract(tmp_path / f"c.{form}")
    assert again.same_input(CONTRACT)
    assert again.classes == ("angry", "happy", "sad")
    assert (again.source("size"), again.source("std")) == ("a paper", ASSUMED)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"colour": "gray"}, "colour is 'gray': one of grey, RGB, BGR was expected"),
        ({"resize": "lanczos"}, "resize is 'lanczos': one of nearest, bilinear, bicubic, area was expected"),
        ({"size": [64]}, "size is a list of 1"),
        ({"size": [0, 64]}, "size[0] is 0"),
        ({"mean": [0, 0]}, "mean has 2 numbers, expected 1 or 1 (grey)"),
        ({"mean": [float("nan")]}, "mean[0] is nan"),
        ({"std": [0]}, "std is [0.0]: expected numbers above 0"),
        ({"value_range": [1, 0]}, "value_range is [1.0, 0.0]: the second must be larger"),
        ({"classes": ["hapy", "sad"]}, "'hapy' is no expression that we know; did you mean happy"),
        ({"classes": ["anger", "angry"]}, "angry is there twice"),
        ({"crop": {"detector": "haar", "margin": 0.1}}, "crop lacks 'square'"),
        ({"crop": {"detector": "dlib", "margin": 0.1, "square": True}}, "one of none, haar, mtcnn, yunet was expected"),
        ({"crop": {"detector": "haar", "margin": -0.5, "square": True}}, "crop margin is -0.5"),
        ({"sources": {"color": "x"}}, "sources has unknown color"),
        ({"rotate": 3}, "has unknown 'rotate'"),
        ({"antialias": True, "resize": "area"}, "antialias is true, which area does not have"),
        ({"antialias": "yes"}, "antialias is 'yes'"),
    ],
)
def test_what_is_none_is_refused_with_what_was_expected(tmp_path, changed, said):
    (tmp_path / "c.json").write_text(json.dumps(CONTRACT.to_dict() | changed))
    with pytest.raises(FerBenchError, match=re.escape(said)) as caught:
        read_contract(tmp_path / "c.json")
    assert "try: `fer-bench show NETWORK --contract`" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"colour": "grey"}', "1" * 5000])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(FerBenchError, match="is no input contract"):
        read_contract(tmp_path / "c.json")


def test_equal_numbers_for_each_channel_are_one():
    grey, three = CONTRACT.replace("", colour="RGB", mean=(0.5,)), CONTRACT.replace("", colour="RGB", mean=(0.5,) * 3)
    assert grey.same_input(three)


# Checkpoints


def weights(folder, name="w.pt"):
    torch.save(fer_bench.create_model("mini_xception").state_dict(), folder / name)
    return folder / name


def test_a_side_file_travels_with_weights(tmp_path):
    path = weights(tmp_path)
    with pytest.raises(
        FerBenchError, match=r"no input contract is known of .*w\.pt.*--contract FILE.*--contract sheet"
    ):
        input_contract(SPEC, path)
    assert input_contract(SPEC, path, "sheet") == SPEC.input
    theirs = SPEC.input.replace("training", value_range=(0, 1))
    assert save_contract(path, theirs).name == "w.pt.input.json"
    assert input_contract(SPEC, path).same_input(theirs)
    assert input_contract(SPEC, path).source("value_range") == "training"


def test_metadata_of_safetensors_travel_too(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    state = {key: value.contiguous() for key, value in fer_bench.create_model("mini_xception").state_dict().items()}
    save_file(state, path, metadata={METADATA: CONTRACT.to_json()})
    assert input_contract(SPEC, path).same_input(CONTRACT)
    save_file(state, path, metadata={METADATA: "{}"})
    with pytest.raises(FerBenchError, match=r"the metadata of .* has no valid input contract: lacks"):
        input_contract(SPEC, path)


def test_what_is_asked_for_goes_before_the_side_file(tmp_path):
    path = weights(tmp_path)
    save_contract(path, CONTRACT)
    (tmp_path / "other.toml").write_text(SPEC.input.to_toml())
    assert input_contract(SPEC, path, tmp_path / "other.toml").same_input(SPEC.input)
    assert input_contract(SPEC, path, CONTRACT) is CONTRACT


def test_networks_and_files_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        input_contract(SPEC, tmp_path / "none.pt")
    with pytest.raises(FerBenchError, match=r"no sheet has an input contract of timm:resnet18; try: --contract FILE"):
        input_contract(fer_bench.find("timm:resnet18"))
    assert input_contract(SPEC) == SPEC.input


# Pictures


@pytest.mark.parametrize("size", SIZES)
def test_bilinear_without_antialias_is_opencvs(size):
    cv2 = pytest.importorskip("cv2")
    grey = cv2.cvtColor(RANDOM, cv2.COLOR_RGB2GRAY)
    for resize, theirs in (
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("nearest", cv2.INTER_NEAREST),
    ):
        expected = cv2.resize(grey, size[::-1], interpolation=theirs).astype(float)
        assert np.abs(levels(RANDOM, size=size, resize=resize) - expected).max() < 1.01, resize


@pytest.mark.parametrize("size", SIZES)
def test_with_antialias_it_is_pillows(size):
    grey = Image.fromarray(RANDOM).convert("L")
    for resize, theirs in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(grey.resize(size[::-1], theirs), float)
        assert np.abs(levels(RANDOM, size=size, resize=resize, antialias=True) - expected).max() < 2.01, resize


def test_area_is_the_mean_of_whole_areas():
    found = levels(RANDOM[..., 0], size=(50, 45), resize="area")
    expected = RANDOM[..., 0].reshape(50, 2, 45, 2).mean((1, 3))
    assert np.abs(found - expected).max() < 0.51


def test_colours_go_in_their_order_and_grey_becomes_three_channels():
    contract = dataclasses.replace(
        CONTRACT, colour="BGR", size=(100, 90), value_range=(0, 255), mean=(103.939, 116.779, 123.68), std=(1, 2, 4)
    )
    expected = (RANDOM[..., ::-1] - np.array([103.939, 116.779, 123.68])) / (1, 2, 4)
    assert np.allclose(prepare([RANDOM], contract)[0].permute(1, 2, 0).numpy(), expected, atol=1e-4)
    grey = prepare([RANDOM[..., 0]], dataclasses.replace(contract, mean=(0,), std=(1,)))[0]
    assert all(np.allclose(channel, RANDOM[..., 0]) for channel in grey.numpy())


def test_grey_is_made_by_the_weights_of_the_contract():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    found = levels(picture, size=(1, 3))
    assert np.allclose(found, [[76, 150, 29]], atol=1e-3)  # 255 x 0.299, 0.587, 0.114, rounded
    assert np.allclose(levels(picture, size=(1, 3), grey_weights=(0, 1, 0)), [[0, 255, 0]], atol=1e-3)


def test_pictures_of_several_sizes_are_a_batch_as_each_alone():
    pictures = [RANDOM, RANDOM[:50], RANDOM[..., 0]]
    together = prepare(pictures, CONTRACT)
    assert (together.shape, together.dtype) == ((3, 1, 64, 48), torch.float32)
    assert all(
        torch.equal(one, prepare([picture], CONTRACT)[0]) for one, picture in zip(together, pictures, strict=True)
    )
    assert torch.equal(prepare([RANDOM, RANDOM], CONTRACT)[1], together[0])
    assert prepare([], CONTRACT).shape == (0, 1, 64, 48)


@pytest.mark.parametrize("bad", [RANDOM / 255, RANDOM[..., :2], RANDOM[None], RANDOM[:0]])
def test_other_arrays_are_refused(bad):
    with pytest.raises(FerBenchError, match=r"image 1 is .*expected uint8 \(H, W\) grey or \(H, W, 3\) RGB"):
        prepare([RANDOM, bad], CONTRACT)


def test_a_face_is_cut_square_with_its_margin():
    """A box of 10 x 20 at (40, 30) is 20 x 20 at (35, 30), and 24 x 24 with a margin of 10 %."""
    assert (crop(RANDOM, (40, 30, 10, 20), CONTRACT) == RANDOM[28:52, 33:57]).all()
    loose = dataclasses.replace(CONTRACT, crop=Crop("haar", 0, square=False))
    assert (crop(RANDOM, (40, 30, 10, 20), loose) == RANDOM[30:50, 40:50]).all()


def test_a_face_at_the_border_stays_square():
    found = crop(RANDOM, (-5, -5, 20, 20), dataclasses.replace(CONTRACT, crop=Crop("haar", 0, square=True)))
    assert found.shape == (20, 20, 3)
    assert (found[:5, :5] == RANDOM[0, 0]).all()
    assert (found[5:, 5:] == RANDOM[:15, :15]).all()
    with pytest.raises(FerBenchError, match="leaves nothing of a picture of 90x100 pixels"):
        crop(RANDOM, (200, 0, 20, 20), CONTRACT)


def test_json_has_each_field_once():
    data = schema.parse(CONTRACT.to_json())
    assert list(data) == [*FIELDS, "sources"]
