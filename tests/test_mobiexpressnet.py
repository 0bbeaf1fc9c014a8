"""MobiExpressNet-style network: the counts of the reconstruction, part by part, and its map sizes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import mobiexpressnet as family

# Output channels and stride, as in the specs.
BLOCKS = ((32, 2), (32, 1), (32, 2), (32, 2), (48, 1), (160, 1), (160, 1), (160, 1))


def on_meta(in_channels: int = 1) -> family.MobiExpressNet:
    with torch.device("meta"):
        return family.mobiexpressnet(in_channels=in_channels)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def keras_total(module: nn.Module) -> int:
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters(module) + sum(2 * m.num_features for m in norms)


def test_counts_of_the_specs() -> None:
    network = on_meta()
    assert parameters(network) == 72_679
    assert keras_total(network) == 75_079  # 75.08K
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, 1, 48, 48, device="meta"))
    assert counter.get_total_flops() == 2 * 1_091_344  # 1.09M


def test_keras_total_by_part() -> None:
    network = on_meta()
    assert keras_total(network.stem) == 9 * 24 + 4 * 24
    channels = 24
    for block, (out, _) in zip(network.blocks, BLOCKS, strict=True):
        assert keras_total(block) == 9 * channels + 4 * channels + channels * out + 4 * out
        channels = out
    assert parameters(network.classifier) == 7 * 161


def test_map_sizes() -> None:
    network = on_meta().eval()
    maps = network.stem(torch.empty(1, 1, 48, 48, device="meta"))
    sides = [maps.shape[-1]]
    for block in network.blocks:
        maps = block(maps)
        sides.append(maps.shape[-1])
    assert sides == [24, 12, 12, 6, 3, 3, 3, 3, 3]


def test_every_convolution_has_norm_and_relu_and_no_bias() -> None:
    modules = list(on_meta().modules())
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    relus = [m for m in modules if isinstance(m, nn.ReLU)]
    assert len(convolutions) == len(norms) == len(relus) == 1 + 2 * 8
    assert all(m.bias is None for m in convolutions)
    assert all((m.eps, m.momentum) == (1e-3, 0.01) for m in norms)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.mobiexpressnet(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 48, 48))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
