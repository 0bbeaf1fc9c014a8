"""What a network's modules cost and give, and which of them have a role in common."""

import torch
from torch import nn

from fer_bench.measuring.counting.module_breakdown import (
    measure_anatomy,
    measure_modules,
    module_roles,
    other_operations,
)
from fer_bench.measuring.counting.trace import trace


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.downsample = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.norm(self.conv1(x)) + self.downsample(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.stages = nn.ModuleList([Block(), nn.Sequential(Block(), Block())])
        self.fc = nn.Linear(4, 7)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = x.mean((2, 3))
        return self.fc(x) + (x @ x.T).sum()


def traced(batch=2):
    model = Net().eval()
    return model, trace(model, (torch.empty(batch, 3, 8, 8, device="meta"),))


def test_modules_have_macs_with_all_inside_parameters_and_shapes():
    found = measure_modules(*traced())
    by_path = {part["path"]: (macs, part) for macs, part in zip(found.values, found.details["modules"], strict=True)}
    block_macs = 64 * 4 * 4 * 9 + 64 * 4 * 4  # an 8x8 map, a 3x3 and a 1x1 convolution of 4 to 4 channels
    assert by_path["stem"][0] == 64 * 3 * 4
    assert by_path["stages.0"][0] == block_macs
    assert by_path["stages.1"][0] == 2 * block_macs
    assert by_path["stages.0"][1]["parameters"] == 4 * 4 * 9 + 2 * 4 + 4 * 4 + 4
    assert by_path["stages.1"][1]["output_shape"] == [4, 8, 8]
    assert by_path["fc"][1]["output_shape"] == [7]


def test_a_list_of_modules_is_no_part_and_no_level():
    found = [part["path"] for part in measure_modules(*traced()).details["modules"]]
    assert "stages" not in found
    assert {"stages.0.conv1", "stages.1.0"} <= set(found)
    assert "stages.1.0.conv1" not in found


def test_every_module_has_what_it_dispatches_and_holds_itself_and_all_add_up():
    model, seen = traced()
    model.twin = model.stem  # a second name of one module
    model.tied = nn.Linear(4, 7)
    model.tied.weight = model.fc.weight
    modules, operators = measure_anatomy(model, seen)
    details = modules.details
    rows = zip(details["types"], details["parameters"], modules.values, details["calls"], strict=True)
    found = dict(zip(details["paths"], rows, strict=True))
    assert found["stages.1.0.conv1"] == ("Conv2d", 4 * 4 * 9, 64 * 4 * 4 * 9, 1)
    assert found["stages.1"] == ("Sequential", 0, 0, 1)
    assert found["stages"] == ("ModuleList", 0, 0, 0)  # which does not run
    assert found[""] == ("Net", 0, 2 * 2 * 4 / 2, 1)  # x @ x.T of two images of 4 values, an image
    assert found["tied"] == ("Linear", 7, 0, 0)  # its bias: the weight is another's
    assert "twin" not in found
    assert sum(modules.values) * seen.batch == seen.macs
    assert sum(details["parameters"]) == sum(p.numel() for p in model.parameters())
    calls = dict(zip(operators.details["operators"], operators.values, strict=True))
    assert calls["aten::convolution"] == 7  # the stem, and two in each of three blocks
    assert calls.keys() == seen.operators.keys()


def test_what_other_conventions_count_beside():
    found = other_operations(*traced())
    assert found["norm_elements"] == 2 * 3 * 4 * 64  # two images, three blocks, 4 channels of 8x8
    assert found["bias_elements"] == 2 * (4 * 64 + 3 * 4 * 64 + 7)  # stem, three projections, the classifier
    assert found["norm_parameters"] == 3 * 2 * 4
    assert found["bias_parameters"] == 4 + 3 * 4 + 7
    assert found["weight_macs"] == 2 * (64 * 3 * 4 + 3 * (64 * 16 * 9 + 64 * 16) + 4 * 7)  # without x @ x.T


def test_modules_of_one_name_have_a_role_in_common_in_the_whole_and_in_each_kind_of_part():
    found = module_roles(traced()[0])
    assert len(found["downsample"]) == 3
    assert found["conv1"] == ["stages.0.conv1", "stages.1.0.conv1", "stages.1.1.conv1"]
    assert "stem" not in found  # a role of one module is none
    assert all(len(paths) > 1 for paths in found.values())
