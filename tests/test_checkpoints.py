"""Weights of users' own: published layouts load, and whatever does not fit is told key by key."""

import argparse
import collections
import os
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

import fer_bench
from fer_bench.networks.build import create
from fer_bench.networks.checkpoints import _PREFIXES, _without_prefixes, describe, load_checkpoint
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
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {key.replace(".", "._orig_mod.", 1): value for key, value in state.items()},
        lambda state: {f"module._orig_mod.model.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"student.{k}": v for k, v in state.items()}, "hyper_parameters": {"lr": 0.1}},
        lambda state: {"model": {"net": {f"backbone.{key}": value for key, value in state.items()}}},
        lambda state: {"state_dict_ema": state, "epoch": 3},
        lambda state: {"n_averaged": torch.tensor(7), **{f"module.{key}": value for key, value in state.items()}},
        lambda state: {"net": state, "best": np.float64(73.1), "epochs": np.int64(3), "curve": np.ones(3)},
        lambda state: {"net": state, "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a"))},
        lambda state: {"net": state, "log": collections.defaultdict(dict, a={"b": 1})},
    ],
    ids=[
        *("bare", "net", "nested", "DataParallel", "DataParallel twice in state_dict", "compiled", "compiled part"),
        *("compiled in DataParallel in a trainer", "Lightning with a student", "two containers and a backbone"),
        *("EMA", "AveragedModel", "NumPy", "arguments", "a log"),
    ],
)
def test_weights_come_back_from_every_layout(tmp_path, model, layout):
    torch.save(layout(model.state_dict()), tmp_path / "weights.pt")
    again = fer_bench.create_model(NAME, checkpoint=tmp_path / "weights.pt")
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_are_known_by_their_content(tmp_path, model, name):
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / name)
    assert load_checkpoint(model, tmp_path / name).complete
    torch.save(model.state_dict(), tmp_path / "pickled.safetensors")
    assert load_checkpoint(model, tmp_path / "pickled.safetensors").complete


def test_what_was_removed_and_averaged_is_reported(tmp_path, model):
    state = {f"module._orig_mod.{key}": value for key, value in model.state_dict().items()}
    torch.save({"model_ema": state, "model": 3}, tmp_path / "w.pt")
    found = load_checkpoint(model, tmp_path / "w.pt")
    assert (found.container, found.averaged, sorted(found.stripped)) == ("model_ema", True, ["_orig_mod.", "module."])
    said = f"{len(state)} entries fit (averages over the training), without '_orig_mod.' 'module.' before their keys"
    assert describe(found) == said


def test_averaged_weights_beside_those_that_were_loaded_are_named(tmp_path, model):
    torch.save({"model_ema": model.state_dict(), "model": model.state_dict()}, tmp_path / "w.pt")
    found = load_checkpoint(model, tmp_path / "w.pt")
    assert (found.container, found.averaged, found.also_averaged) == ("model", False, "model_ema")
    assert "averaged weights lie beside them, in 'model_ema', and were not loaded" in describe(found)


def test_settings_under_the_name_of_a_container_are_not_the_weights(tmp_path, model):
    torch.save({"model": {"depth": 50}, "state_dict": model.state_dict()}, tmp_path / "w.pt")
    assert load_checkpoint(model, tmp_path / "w.pt").container == "state_dict"


def test_a_prefixed_key_does_not_replace_a_bare_one(tmp_path):
    network = torch.nn.Linear(2, 2)
    bare, student = ({key: torch.full_like(value, of) for key, value in network.state_dict().items()} for of in (1, 2))
    torch.save(bare | {f"student.{key}": value for key, value in student.items()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"2 unexpected: student\.bias, student\.weight"):
        load_checkpoint(network, tmp_path / "w.pt")
    load_checkpoint(network, tmp_path / "w.pt", strict=False)
    assert network.bias.tolist() == [1, 1]


def test_a_file_that_contains_itself_is_read(tmp_path, model):
    content = {"net": {}, "state_dict": model.state_dict()}
    content["net"] = content
    torch.save(content, tmp_path / "w.pt")
    assert load_checkpoint(model, tmp_path / "w.pt").complete
    content.pop("state_dict")
    content["model"] = content
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_checkpoint(model, tmp_path / "w.pt")


def test_prefixes_may_be_many(tmp_path):
    network = torch.nn.Linear(2, 2)
    torch.save({"module." * 1500 + key: value for key, value in network.state_dict().items()}, tmp_path / "deep.pt")
    assert load_checkpoint(network, tmp_path / "deep.pt").complete


def test_the_order_of_prefixes_makes_no_further_way():
    """With eight beside each other, their orders alone would be 40,320."""
    state = {f"{prefix}{number}": torch.zeros(1) for number, prefix in enumerate(_PREFIXES[:8])}
    keys = [frozenset(bare) for _, bare in _without_prefixes(state)]
    assert len(keys) == len(set(keys)) == 2**8


def test_a_prefix_of_the_network_s_own_stays(tmp_path):
    network = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 3), "net": torch.nn.Linear(3, 4)})
    torch.save(network.state_dict(), tmp_path / "w.pt")
    found = load_checkpoint(network, tmp_path / "w.pt")
    assert (found.complete, found.stripped) == (True, ())


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "x")


def whole_model(path):
    torch.save(torch.nn.Linear(2, 2), path)


def scripted(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def quantised(path):
    torch.save({"a.weight": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (whole_model, "asks for torch.nn.modules.linear.Linear when it is read, which can run code. A whole model"),
        (scripted, "is a TorchScript program"),
        (quantised, "holds 1 quantised entries, such as a.weight: make them plain float tensors"),
        (lambda path: torch.save({"a.weight": torch.eye(3).to_sparse()}, path), "holds 1 sparse entries"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
            "a Git LFS pointer",
        ),
        (lambda path: path.write_text("\n<!DOCTYPE html><html></html>"), "is a web page"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "cannot be read: it is truncated, or no model of Keras"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08"), "compressed with gzip"),
        (lambda path: archive(path, "readme.txt"), "a zip archive of 1 files and no PyTorch checkpoint"),
        (lambda path: archive(path, "config.json", "model.weights.h5"), "is an archive of Keras 3"),
        (lambda path: archive(path, "m/serialized_exported_program.json"), "a program of torch.export"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_what_is_no_file_of_weights_is_named_with_what_to_do(tmp_path, model, write, said):
    write(tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_checkpoint(model, tmp_path / "w.pt")


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


def test_what_does_not_fit_is_reported_key_by_key_and_nothing_is_changed(tmp_path, model):
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
    assert describe(found, most=None, lines=True).splitlines()[1:3] == ["1 missing:", "  face.bias"]


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


def test_files_that_are_no_checkpoint_are_reported(tmp_path, model):
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
