"""Networks of users' own, in the forms that they come in."""

import json

import pytest
import torch

from fer_bench import Build, count, find
from fer_bench.cli.main import main
from fer_bench.records.errors import BuildError

NETWORKS = """
import torch
import torchvision
from torch import nn

class Grey(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.fc = nn.Linear(4, 7)
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

class Deformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(3, 18, 3, padding=1)
        self.conv = torchvision.ops.DeformConv2d(3, 4, 3, padding=1)
    def forward(self, x):
        return self.conv(x, self.offset(x)).mean((2, 3))

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.ones(3, 2))
    def forward(self, x):
        scale = self.weight.sum().item()
        return x.mean((2, 3)) @ self.weight * scale

def grey(): return Grey()
def deformed(): return Deformed()
def frozen(): return Frozen()
def half(): return Grey().half()
"""


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return lambda name: f"{path}:{name}"


def test_a_factory_without_arguments_is_taken_as_it_is(network):
    counted = count(find(network("grey")), Build(input_shape=(1, 48, 48)))
    assert counted.inference.macs == 46 * 46 * 4 * 9 + 4 * 7
    assert counted.row()["num_classes"] == 7


def test_classes_that_a_factory_cannot_give_are_refused(network):
    with pytest.raises(BuildError, match="takes no num_classes, so 8 cannot be set; leave it out"):
        count(find(network("grey")), Build(8, (1, 48, 48)))


def test_images_have_the_number_type_of_the_network(network):
    assert count(find(network("half")), Build(input_shape=(1, 48, 48))).inference.counted_on == "meta"


def test_a_network_of_buffers_that_reads_them_falls_back(network):
    counted = count(find(network("frozen")), Build(input_shape=(3, 8, 8)))
    assert counted.inference.counted_on != "meta"
    assert counted.inference.macs == 3 * 2


def test_a_network_that_cannot_be_trained_keeps_its_counts(network):
    counted = count(find(network("frozen")), Build(input_shape=(3, 8, 8)), train=True)
    assert counted.inference.macs == 3 * 2
    assert "no output depends on a trainable parameter" in counted.row()["training"]["error"]


def test_strict_looks_at_the_training_step_too(network, capsys):
    arguments = ["count", network("deformed"), "--input", "3x8x8", "--format", "json"]
    assert main([*arguments, "--strict"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--strict", "--train"]) == 1
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert list(row["training"]["uncounted"]) == ["torchvision::_deform_conv2d_backward"]
    assert "_deform_conv2d_backward" in told.err


def test_settings_stand_in_the_row_and_under_the_table(capsys):
    assert main(["count", "patt_lite", "--set", "attention=batch"]) == 0
    assert "Built with attention=batch" in capsys.readouterr().out
    assert count(find("patt_lite"), Build(arguments={"attention": "batch"})).row()["settings"] == ["attention=batch"]


def test_a_segmentation_network_of_torchvision_is_built_without_a_download(monkeypatch):
    def download(*_, **__):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    counted = count(find("torchvision:lraspp_mobilenet_v3_large"), Build(input_shape=(3, 64, 64)))
    assert counted.inference.macs > 0
