"""DenseNet-1 of LER: the four figures of paper 004, a closed form, and the map sizes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import densenet_ler as family


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def keras_total(module: nn.Module) -> int:
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters(module) + sum(2 * m.num_features for m in norms)


def test_figures_of_paper_004() -> None:
    with torch.device("meta"):
        network = family.densenet1_ler()
    modules = list(network.modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == 36
    assert sum(isinstance(m, nn.AvgPool2d) for m in modules) + 1 == 4  # and the global one
    assert sum(isinstance(m, nn.Linear) for m in modules) == 1
    assert keras_total(network) == 95_263
    assert parameters(network) == 91_727


def test_keras_total_by_part() -> None:
    with torch.device("meta"):
        network = family.densenet1_ler()
    assert keras_total(network.stem) == 3 * 64 * 49 + 64 + 4 * 64
    width = 64
    for number, part in enumerate(network.features):
        if number % 2:  # a transition
            assert keras_total(part) == 4 * width + width * (width // 2) + width // 2
            width //= 2
        else:
            for layer in part:
                assert keras_total(layer) == 4 * width + width * 32 + 32 + 4 * 32 + 9 * 32 * 8 + 8
                width += 8
    assert width == 68
    assert parameters(network.classifier) == 7 * 69


def test_macs_and_map_sizes() -> None:
    with torch.device("meta"):
        network = family.densenet1_ler().eval()
        images = torch.empty(1, 3, 48, 48)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert counter.get_total_flops() == 2 * 22_682_204
    maps = network.stem(images)
    shapes = [tuple(maps.shape[1:])]
    for part in network.features:
        maps = part(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [
        *((64, 24, 24), (96, 24, 24), (48, 12, 12), (80, 12, 12)),
        *((40, 6, 6), (72, 6, 6), (36, 3, 3), (68, 3, 3)),
    ]


def test_dense_layer_keeps_its_input() -> None:
    layer = family.DenseLayer(5).eval()
    x = torch.randn(2, 5, 4, 4)
    kept = x.clone()
    out = layer(x)
    assert out.shape == (2, 13, 4, 4)
    torch.testing.assert_close(out[:, :5], kept)


def test_runs_from_15_pixels() -> None:
    with torch.device("meta"):
        network = family.densenet1_ler().eval()
        assert network(torch.empty(1, 3, 15, 15)).shape == (1, 7)
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 3, 14, 14))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.densenet1_ler(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 48, 48))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
