"""mini-Xception: the counts of paper 004 part by part, the map sizes, and Keras's "same" pooling by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import mini_xception as family


def on_meta() -> family.Xception:
    with torch.device("meta"):
        return family.mini_xception()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def keras_total(module: nn.Module) -> int:
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters(module) + sum(2 * m.num_features for m in norms)


def test_figures_of_paper_004() -> None:
    network = on_meta()
    assert keras_total(network) == 58_423
    assert parameters(network) == 56_951


def test_keras_total_by_part() -> None:
    network = on_meta()
    assert keras_total(network.stem) == (72 + 32) + (576 + 32)
    assert [keras_total(stage) for stage in network.stages] == [920, 2_864, 9_824, 36_032]
    assert parameters(network.classifier) == 8_071


@pytest.mark.parametrize(("channels", "out"), [(8, 16), (16, 32), (5, 7)])
def test_module_in_closed_form(channels: int, out: int) -> None:
    shortcut = channels * out + 4 * out
    first = 9 * channels + channels * out + 4 * out
    second = 9 * out + out * out + 4 * out
    assert keras_total(family.ResidualModule(channels, out)) == shortcut + first + second


def test_tiny_sibling() -> None:
    with torch.device("meta"):
        network = family.tiny_xception().eval()
    assert (parameters(network), keras_total(network)) == (17_574, 18_314)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 1, 48, 48, device="meta"))
    assert counter.get_total_flops() == 2 * 1_847_492


@pytest.mark.parametrize(
    ("side", "sides", "macs"),
    [(48, [44, 22, 11, 6, 3], 5_520_448), (64, [60, 30, 15, 8, 4], 10_163_392)],
)
def test_macs_and_map_sizes(side: int, sides: list[int], macs: int) -> None:
    network = on_meta().eval()
    images = torch.empty(1, 1, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert counter.get_total_flops() == 2 * macs
    maps = network.stem(images)
    measured = [maps.shape[-1]]
    for stage in network.stages:
        maps = stage(maps)
        measured.append(maps.shape[-1])
    assert measured == sides


def test_fifteen_keras_convolutions() -> None:
    modules = list(on_meta().modules())
    separable = sum(isinstance(m, family.SeparableConv2d) for m in modules)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in modules)
    assert (convolutions, separable, convolutions - separable) == (23, 8, 15)
    assert sum(isinstance(m, nn.MaxPool2d) for m in modules) + 1 == 5  # where the paper prints nine
    assert not any(isinstance(m, nn.Linear) for m in modules)


def test_same_pool_of_an_even_map() -> None:
    # Rows 0-3 4-7 8-11 12-15. An even side is padded at its end only: windows begin at 0 and 2.
    pooled = family.SameMaxPool2d()(torch.arange(16.0).reshape(1, 1, 4, 4))
    torch.testing.assert_close(pooled, torch.tensor([[[[10.0, 11.0], [14.0, 15.0]]]]))
    # PyTorch's symmetric padding begins them at -1 and 1.
    symmetric = nn.MaxPool2d(3, stride=2, padding=1)(torch.arange(16.0).reshape(1, 1, 4, 4))
    torch.testing.assert_close(symmetric, torch.tensor([[[[5.0, 7.0], [13.0, 15.0]]]]))


def test_same_pool_of_an_odd_map() -> None:
    # Rows 0-2 3-5 6-8. An odd side is padded at both ends: windows begin at -1 and 1.
    pooled = family.SameMaxPool2d()(torch.arange(9.0).reshape(1, 1, 3, 3))
    torch.testing.assert_close(pooled, torch.tensor([[[[4.0, 5.0], [7.0, 8.0]]]]))


def test_same_pool_of_an_oblong_map_of_negatives() -> None:
    # The padding is minus infinity, so that it never wins. Rows -1 .. -5, -6 .. -10: 1 window of rows, 3 of columns.
    pooled = family.SameMaxPool2d()(-torch.arange(1.0, 11.0).reshape(1, 1, 2, 5))
    torch.testing.assert_close(pooled, torch.tensor([[[[-1.0, -2.0, -4.0]]]]))


def test_no_activation_behind_the_sum() -> None:
    torch.manual_seed(0)
    module = family.ResidualModule(4, 4).eval()
    assert (module(torch.randn(1, 4, 8, 8)) < 0).any()


def test_norms_are_those_of_keras() -> None:
    norms = [m for m in on_meta().modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert sum(m.num_features for m in norms) == 736


def test_smallest_input() -> None:
    network = on_meta().eval()
    assert network(torch.empty(1, 1, 5, 5, device="meta")).shape == (1, 7)
    with pytest.raises(RuntimeError):
        network(torch.empty(1, 1, 4, 4, device="meta"))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.mini_xception(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 48, 48))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
