"""Weights of users' own: published layouts load, and whatever does not fit is told key by key."""

import os
import pickle

import pytest
import torch

import fer_bench
from fer_bench.networks.build import create
from fer_bench.networks.checkpoints import describe, load_checkpoint
from fer_bench.records.errors import CheckpointError

NAME = "mtcnn_pnet"


@pytest.fixture
def model():
    return fer_bench.create_model(NAME)


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: state,
        lambda state: {"net": state},
        lambda state: {"model": {"state_dict": state}, "epoch": 3},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.module.{key}": value for key, value in state.items()}},
    ],
    ids=["bare", "net", "nested", "DataParallel", "DataParallel twice in state_dict"],
)
def test_weights_come_back_from_every_layout(tmp_path, model, layout):
    torch.save(layout(model.state_dict()), tmp_path / "weights.pt")
    again = fer_bench.create_model(NAME, checkpoint=tmp_path / "weights.pt")
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_safetensors_load_too(tmp_path, model):
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    assert load_checkpoint(model, tmp_path / "weights.safetensors").complete


def test_the_second_names_in_resmaskingnets_container_are_no_unexpected_keys(tmp_path):
    spec = fer_bench.find("resmaskingnet")
    network = create(spec, device="meta")
    first = "mask1.conv2.downsample.0.weight"
    weight = torch.zeros(network.state_dict()[first].shape)
    torch.save({"net": {first: weight, first.replace("conv2.downsample", "downsample2"): weight}}, tmp_path / "w.pt")
    with pytest.warns(UserWarning, match="meta"):
        found = load_checkpoint(network, tmp_path / "w.pt", spec, strict=False)
    assert (found.container, found.loaded, found.unexpected) == ("net", (first,), ())


@pytest.mark.parametrize(
    "theirs",
    [
        ("norm1.weight",),  # NVlabs
        ("segformer.encoder.layer_norm.0.weight",),  # transformers 4, as stored
        ("backbone.norm1.weight",),  # NVlabs inside a segmentation network
    ],
)
def test_segformer_layouts_load_into_the_encoder_and_the_rest_is_missing(tmp_path, theirs):
    spec = fer_bench.find("mit_fusion")
    network = create(spec)
    torch.save({**{key: torch.full((32,), 5.0) for key in theirs}, "head.weight": torch.zeros(1000)}, tmp_path / "w.pt")
    found = load_checkpoint(network, tmp_path / "w.pt", spec, strict=False)
    assert found.loaded == ("encoder.stages.0.norm.weight",)
    assert found.unexpected == ("head.weight",)
    assert len(found.missing) == len(network.state_dict()) - 1
    assert network.state_dict()[found.loaded[0]].tolist() == [5.0] * 32


def test_what_does_not_fit_is_told_key_by_key_and_nothing_is_changed(tmp_path, model):
    state = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    del state["face.bias"]
    state["new.weight"] = torch.zeros(1)
    state["face.weight"] = torch.zeros(7, 3)
    torch.save(state, tmp_path / "w.pt")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, tmp_path / "w.pt")
    message = str(caught.value)
    assert "1 missing: face.bias" in message
    assert "1 unexpected: new.weight" in message
    shape = tuple(before["face.weight"].shape)
    assert f"1 of another shape (is --classes right?): face.weight: (7, 3) against {shape}" in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    found = load_checkpoint(model, tmp_path / "w.pt", strict=False)
    assert len(found.loaded) == len(state) - 2
    assert describe(found, most=None).splitlines()[1:3] == ["1 missing:", "  face.bias"]


class Bomb:
    """Runs a command where it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, model, save, recwarn):
    save({"weight": Bomb(tmp_path / "exploded")}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="is refused"):
        load_checkpoint(model, tmp_path / "w.pt")
    assert not (tmp_path / "exploded").exists()
    assert not recwarn.list


def test_files_that_are_no_checkpoint_are_told(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    for name, reason in (
        ("missing.pt", "there is no checkpoint"),
        ("half.pt", "cannot be read: it is truncated, or no PyTorch checkpoint"),
        ("empty.pt", "cannot be read"),
        ("text.pt", "cannot be read"),
        ("list.pt", "holds a list, expected a dict of tensors"),
        ("epoch.pt", "holds no tensors; its keys are epoch"),
        ("", "is a folder"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            load_checkpoint(model, tmp_path / name)
