"""VGG13 of FER+: counts, layers 10/4/3, and the parity that rules out the figure of paper 004."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import vgg_ferplus as family


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("num_classes", "input_size", "expected"),
    [(7, 64, 8_756_679), (8, 64, 8_757_704), (6, 64, 8_755_654), (7, 48, 6_921_671)],
)
def test_parameters(num_classes: int, input_size: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(family.vgg13_ferplus(num_classes, input_size=input_size)) == expected


def test_parameters_by_part() -> None:
    with torch.device("meta"):
        network = family.vgg13_ferplus()
    assert parameters(network.features) == 3_504_576
    linear = [m for m in network.classifier if isinstance(m, nn.Linear)]
    assert [parameters(m) for m in linear] == [4_195_328, 1_049_600, 7_175]


@pytest.mark.parametrize(("side", "expected"), [(64, 875_830_272), (48, 493_116_416)])
def test_macs(side: int, expected: int) -> None:
    with torch.device("meta"):
        network = family.vgg13_ferplus(input_size=side).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 1, side, side, device="meta"))
    assert counter.get_total_flops() == 2 * expected


def test_layers_are_those_of_paper_004() -> None:
    with torch.device("meta"):
        modules = list(family.vgg13_ferplus().modules())
    counts = {kind: sum(isinstance(m, kind) for m in modules) for kind in (nn.Conv2d, nn.MaxPool2d, nn.Linear)}
    assert counts == {nn.Conv2d: 10, nn.MaxPool2d: 4, nn.Linear: 3}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in modules)
    assert [m.p for m in modules if isinstance(m, nn.Dropout)] == [0.25] * 4 + [0.5] * 2


def test_the_printed_count_has_the_wrong_parity() -> None:
    assert 8_756_679 % 2 == 1
    assert 87_566_680 % 2 == 0
    assert abs(87_566_680 // 10 - 8_756_679) == 11


def test_map_sizes() -> None:
    with torch.device("meta"):
        network = family.vgg13_ferplus().eval()
        maps = torch.empty(1, 1, 64, 64)
    shapes = []
    for stage in network.features:
        maps = stage(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (256, 4, 4)]


def test_smallest_input() -> None:
    with torch.device("meta"):
        assert family.vgg13_ferplus(input_size=16)(torch.empty(2, 1, 16, 16)).shape == (2, 7)
    with pytest.raises(ValueError, match="input_size is 15, expected at least 16"):
        family.vgg13_ferplus(input_size=15)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.vgg13_ferplus(in_channels=in_channels, input_size=32).train()
    logits = network(torch.rand(2, in_channels, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
