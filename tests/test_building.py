"""Networks are built as asked, and a factory that cannot says why."""

import copy
import sys
import types

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
        ("raises", r"raises: the factory failed with \(\): RuntimeError: boom$"),
        ("exits", r"the factory failed with \(\): SystemExit: 0"),
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
        ("mini_xception", {"num_classes": 0}, "0 means features only"),
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
        ("num_classes", 5, "its factory takes no num_classes, so 5 cannot be set"),
        ("in_channels", 1, "takes no argument in_channels; it takes: none"),
    ],
)
def test_a_factory_without_an_argument_that_was_asked_for_is_reported(users_file, option, value, reason):
    with pytest.raises(BuildError, match=reason):
        fer_bench.create_model(f"{users_file}:plain", **{option: value})


@pytest.mark.parametrize("content", ["import no_such_module_at_all", "this is no python", "raise SystemExit"])
def test_a_file_that_cannot_be_imported_is_reported(tmp_path, content):
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


def repository(folder, width):
    """A user's checkout whose network imports a helper of a common name, some of it only when it runs."""
    folder.mkdir()
    (folder / "blocks.py").write_text(f"from torch import nn\ndef block(): return nn.Conv2d(3, {width}, 1)\n")
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text(f"WIDTH = {width}\n")
    (folder / "net.py").write_text(
        "from torch import nn\nfrom blocks import block\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.block = block()\n"
        "    def forward(self, x):\n        from models import WIDTH\n        return self.block(x).view(1, WIDTH, -1)\n"
        "def build(): return Net()\n"
    )
    return f"{folder / 'net.py'}:build"


def test_each_file_imports_its_own_helpers(tmp_path):
    first, second = repository(tmp_path / "a", 4), repository(tmp_path / "b", 6)
    counts = [fer_bench.count(fer_bench.find(name)).row() for name in (first, second, first)]
    assert [row["parameters"]["total"] for row in counts] == [3 * 4 + 4, 3 * 6 + 6, 3 * 4 + 4]
    made = fer_bench.create_model(first)
    assert type(made) is type(fer_bench.create_model(first))  # a file is executed once
    copy.deepcopy(made)
    assert torch.nn is nn  # a library that is installed is shared


def test_files_from_two_folders_leave_the_modules_of_the_program_alone(tmp_path, monkeypatch):
    names = [repository(tmp_path / folder, 4) for folder in "ab"]
    mine = types.ModuleType("mine_before")
    mine.__file__ = str(tmp_path / "a" / "mine_before.py")
    monkeypatch.setitem(sys.modules, "mine_before", mine)
    monkeypatch.setitem(sys.modules, "prevented", None)  # as Python documents it
    fer_bench.create_model(names[0])
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path / "a")])
    fer_bench.create_model(names[1])
    assert sys.modules["mine_before"] is mine
    assert "blocks" in sys.modules  # of the second


FACTORIES = """from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes=1000, width=4):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3, padding=1), nn.Linear(width, num_classes)
    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))
def like_torchvision(progress=True, **kwargs): return Net(**kwargs)
class Grey(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
    def forward(self, x):
        return self.conv(x).mean((2, 3))
def refuses(**kwargs): return Grey(**kwargs)
def wrong(**kwargs): return Net(depth=3, **kwargs)
"""


@pytest.fixture
def factories(tmp_path):
    path = tmp_path / "factories.py"
    path.write_text(FACTORIES)
    return path


def test_a_factory_s_own_default_classes_and_size_are_kept_unless_others_are_asked_for(factories):
    factories.write_text(
        FACTORIES + "def sized(num_classes=10, input_size=64): return nn.Sequential("
        "nn.Flatten(), nn.Linear(3 * input_size**2, num_classes))\n"
    )
    row = fer_bench.count(fer_bench.find(f"{factories}:sized")).row()
    assert (tuple(row["input_shape"]), row["num_classes"], row["macs"]) == ((3, 64, 64), 10, 3 * 64 * 64 * 10)
    row = fer_bench.count(fer_bench.find(f"{factories}:sized"), Build(5, (3, 8, 8))).row()
    assert (tuple(row["input_shape"]), row["num_classes"], row["macs"]) == ((3, 8, 8), 5, 3 * 8 * 8 * 5)
    assert (
        fer_bench.count(fer_bench.find(f"{factories}:Net"), Build(input_shape=(3, 8, 8))).row()["num_classes"] == 1000
    )


def test_a_factory_of_any_keyword_gets_what_it_takes(factories):
    row = fer_bench.count(fer_bench.find(f"{factories}:like_torchvision"), Build(input_shape=(3, 8, 8))).row()
    assert (row["num_classes"], row["macs"]) == (7, 64 * 27 * 4 + 4 * 7)
    row = fer_bench.count(fer_bench.find(f"{factories}:like_torchvision"), Build(9, (3, 8, 8), {"width": 2})).row()
    assert (row["num_classes"], row["macs"]) == (9, 64 * 27 * 2 + 2 * 9)


def test_what_a_factory_of_any_keyword_refuses_is_left_out_and_said(factories):
    grey = fer_bench.find(f"{factories}:refuses")
    row = fer_bench.count(grey, Build(input_shape=(1, 8, 8))).row()  # neither classes nor channels
    assert (row["num_classes"], row["macs"], row["reservations"]) == (4, 36 * 9 * 4, [])
    row = fer_bench.count(grey, Build(9, (1, 8, 8))).row()
    said = "9 classes were asked for and it has 4 outputs: its factory ignores the number of classes"
    assert row["reservations"] == [said]
    with pytest.raises(BuildError, match="unexpected keyword argument 'depth'"):  # not ours, and not to be dropped
        create(fer_bench.find(f"{factories}:wrong"))
    with pytest.raises(BuildError, match="unexpected keyword argument 'height'"):
        create(grey, Build(arguments={"height": 3}))


def test_features_only_are_had_of_timm_and_of_ones_own_factory(factories):
    row = fer_bench.count(fer_bench.find("timm:resnet18"), Build(0)).row()
    assert row["parameters"]["total"] == 11_176_512  # timm.create_model("resnet18", num_classes=0): without its head
    with pytest.raises(BuildError, match="resnet50 cannot have 0 classes: 0 means features only"):
        create(fer_bench.find("resnet50"), Build(0))
    assert create(fer_bench.find(f"{factories}:like_torchvision"), Build(0)).head.out_features == 0
