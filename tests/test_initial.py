"""Initial weights: random, of a file, of ImageNet from a library; and what is left out or refused."""

import urllib.error

import pytest
import torch

import fer_bench as fb
from fer_bench.accuracy.initial import RANDOM, begin
from fer_bench.accuracy.recipes import read_recipe
from fer_bench.records.errors import CheckpointError, FerBenchError

SMALL = "torchvision:squeezenet1_1"
IMAGENET = read_recipe("safavi2023")


def saved(path, name="mini_xception", **given):
    torch.manual_seed(1)
    model = fb.create_model(name, **given)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_random_weights_stay_as_they_are():
    model = fb.create_model("mini_xception")
    before = state(model)
    assert begin(model, fb.find("mini_xception"), read_recipe("rao2023")) == RANDOM
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_file_of_as_many_classes_gives_all_its_weights(tmp_path):
    source = saved(tmp_path / "a.pt")
    model = fb.create_model("mini_xception")
    said = begin(model, fb.find("mini_xception"), read_recipe("rao2023"), tmp_path / "a.pt")
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    entries = sum(not key.endswith("num_batches_tracked") for key in model.state_dict())
    assert said == f"a.pt: {entries} of {entries} entries"


def test_a_classifier_of_other_classes_stays_random_and_that_is_said(tmp_path):
    source = saved(tmp_path / "a.pt", num_classes=5)
    model = fb.create_model("mini_xception")
    before = state(model)
    said = begin(model, fb.find("mini_xception"), read_recipe("rao2023"), tmp_path / "a.pt")
    assert "the classifier classifier has another number of classes and stays random" in said
    for key, value in model.state_dict().items():
        expected = before if key.startswith("classifier.") else source.state_dict()
        assert torch.equal(value, expected[key])


def test_a_first_convolution_of_other_channels_is_refused(tmp_path):
    saved(tmp_path / "a.pt", in_channels=3)
    with pytest.raises(CheckpointError, match=r"stem.0.weight: \(8, 3, 3, 3\) against \(8, 1, 3, 3\).*; try: "):
        begin(fb.create_model("mini_xception"), fb.find("mini_xception"), read_recipe("rao2023"), tmp_path / "a.pt")


def test_a_file_of_another_network_is_refused(tmp_path):
    saved(tmp_path / "a.pt", "mobiexpressnet")
    with pytest.raises(CheckpointError, match="try: "):
        begin(fb.create_model("mini_xception"), fb.find("mini_xception"), read_recipe("rao2023"), tmp_path / "a.pt")


def test_imagenet_s_weights_come_from_torchvision_without_their_classifier(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights("squeezenet1_1")["IMAGENET1K_V1"].url
    source = saved(tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2], SMALL, num_classes=1000)
    model = fb.create_model(SMALL, num_classes=7)
    said = begin(model, fb.find(SMALL), IMAGENET)
    assert said.startswith("ImageNet, squeezenet1_1-")
    assert "the classifier classifier.1 has another number of classes" in said
    key = "features.0.weight"
    assert torch.equal(model.state_dict()[key], source.state_dict()[key])


def test_without_a_network_the_remedy_is_a_file(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(FerBenchError) as raised:
        begin(fb.create_model(SMALL, num_classes=7), fb.find(SMALL), IMAGENET)
    text = str(raised.value)
    assert "no route to host" in text
    assert text.endswith("; try: --initial FILE or --recipe safavi2023:scratch")
    assert "\n" not in text


def test_a_network_that_no_library_has_needs_a_file():
    with pytest.raises(FerBenchError, match="neither torchvision nor timm has any for mit_fusion; try: --initial FILE"):
        begin(fb.create_model("mit_fusion"), fb.find("mit_fusion"), IMAGENET)
