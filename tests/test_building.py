"""Networks are built as asked, and a factory that cannot says why."""

import pytest
import torch
from torch import nn

import fer_bench
from fer_bench.networks.build import Build, create
from fer_bench.records.errors import BuildError, UnknownModelError

# ResNet-50 by hand at one channel and seven classes: 25,557,032 less 2 x 3,136 of the first convolution, less
# 993 x 2,049 of the classifier.
RESNET50_GRAY = 25_557_032 - 2 * 64 * 49 - 993 * 2049


@pytest.mark.parametrize("name", ["resnet50", "torchvision:resnet50", "timm:resnet50"])
def test_one_channel_replaces_the_first_convolution(name):
    model = create(fer_bench.find(name), Build(7, (1, 224, 224)), device="meta")
    assert sum(p.numel() for p in model.parameters()) == RESNET50_GRAY == 23_516_103


def test_a_network_is_made_by_its_name_ready_to_run():
    model = fer_bench.create_model("mini_xception", num_classes=5, in_channels=3)
    assert not model.training
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 5)


def test_a_factory_of_a_file_takes_the_settings(users_file, capsys):
    model = fer_bench.create_model(f"{users_file}:good", num_classes=3)
    assert model.fc.out_features == 3
    fer_bench.create_model(f"{users_file}:talks")
    assert capsys.readouterr().out == ""  # stdout keeps to the report


def test_a_factory_of_a_module_is_found_in_the_folder(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_mine.py").write_text("from torch import nn\ndef net(): return nn.Linear(2, 2)\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(fer_bench.create_model("a_module_of_mine:net"), nn.Linear)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("raises", r"raises: the factory failed at \(num_classes=7\): RuntimeError: boom$"),
        ("exits", r"the factory failed at \(\): SystemExit: 0"),
        ("three", "returned int, expected a torch.nn.Module"),
        ("answer", "has no function 'answer'"),
        ("nothing", "has no function 'nothing'"),
    ],
)
def test_a_factory_that_fails_says_how(users_file, factory, reason):
    with pytest.raises(BuildError, match=reason):
        fer_bench.create_model(f"{users_file}:{factory}")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("mini_xception", {"num_classes": 0}, "0 classes: a classifier needs at least 1"),
        ("mini_xception", {"in_channels": 0}, "the input 0x48x48 is empty"),
        ("mini_xception", {"colour": "red"}, "takes no argument colour; it takes: num_classes, in_channels"),
        ("timm:resnett50", {}, r"timm has no model 'resnett50' \(did you mean resnet50"),
        ("torchvision:resnett50", {}, r"torchvision has no model 'resnett50' \(did you mean resnet50"),
        ("no_such_file.py:net", {}, "there is no file no_such_file.py"),
        ("no.such.module:net", {}, "cannot import no.such.module: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_had_is_refused(name, options, reason):
    with pytest.raises(BuildError, match=reason):
        fer_bench.create_model(name, **options)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("num_classes", 5, "its factory takes no num_classes, so that 5 cannot be had"),
        ("in_channels", 1, "takes no argument in_channels; it takes: none"),
    ],
)
def test_a_factory_without_an_argument_that_was_asked_for_is_told(users_file, option, value, reason):
    with pytest.raises(BuildError, match=reason):
        fer_bench.create_model(f"{users_file}:plain", **{option: value})


@pytest.mark.parametrize("content", ["import no_such_module_at_all", "this is no python", "raise SystemExit"])
def test_a_file_that_cannot_be_imported_is_told(tmp_path, content):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(BuildError, match=r"cannot import .*broken\.py"):
        fer_bench.create_model(f"{tmp_path}/broken.py:net")


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownModelError, match="resnett50"):
        fer_bench.create_model("resnett50")


@pytest.mark.parametrize(
    ("shape", "reason"), [((3, 74, 75), "needs 75x75 pixels or more"), ((3, 10**9, 10**9), "is no image")]
)
def test_an_input_that_a_network_cannot_take_is_refused(shape, reason):
    with pytest.raises(BuildError, match=reason):
        create(fer_bench.find("inception_v4"), Build(input_shape=shape), device="meta")


def test_meta_networks_have_the_shapes_of_real_ones():
    spec = fer_bench.find("mini_xception")
    real, meta = (create(spec, device=device).state_dict() for device in ("cpu", "meta"))
    assert {k: v.shape for k, v in real.items()} == {k: v.shape for k, v in meta.items()}
    assert all(value.is_meta for value in meta.values())
