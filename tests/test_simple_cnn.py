"""simple_CNN: a closed form of its counts, its order of layers, and Keras's pooling at the edge."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import simple_cnn as family

# Kernel and width of the convolutions, as in the specs.
CONVOLUTIONS = ((7, 16), (7, 16), (5, 32), (5, 32), (3, 64), (3, 64), (3, 128), (3, 128), (3, 256), (3, 7))


def on_meta() -> family.SimpleCNN:
    with torch.device("meta"):
        return family.simple_cnn()


def test_parameters_in_closed_form() -> None:
    network = on_meta()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    channels, total = 1, 0
    for module, (kernel, width) in zip(convolutions, CONVOLUTIONS, strict=True):
        assert module.kernel_size == (kernel, kernel)
        total += kernel * kernel * channels * width + width
        channels = width
    assert [m.num_features for m in norms] == [width for _, width in CONVOLUTIONS[:9]]
    trainable = sum(p.numel() for p in network.parameters())
    assert trainable == total + sum(2 * m.num_features for m in norms) == 641_463
    assert trainable + sum(2 * m.num_features for m in norms) == 642_935


def test_macs_in_closed_form() -> None:
    sides = (48, 48, 24, 24, 12, 12, 6, 6, 3, 3)
    channels, total = 1, 0
    for side, (kernel, width) in zip(sides, CONVOLUTIONS, strict=True):
        total += side * side * kernel * kernel * channels * width
        channels = width
    with FlopCounterMode(display=False) as counter:
        on_meta().eval()(torch.empty(1, 1, 48, 48, device="meta"))
    assert counter.get_total_flops() == 2 * total == 2 * 71_550_720


def test_one_relu_a_pair_and_none_at_the_end() -> None:
    network = on_meta()
    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    pair = ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "ReLU", "AvgPool2d", "Dropout"]
    assert kinds == pair * 4 + ["Conv2d", "BatchNorm2d", "Conv2d"]
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {0.5}


def test_pool_of_an_odd_map() -> None:
    pool = next(m for m in on_meta().modules() if isinstance(m, nn.AvgPool2d))
    pooled = pool(torch.arange(9.0).reshape(1, 1, 3, 3))
    # 0 1 | 2     a window over the edge averages what lies inside
    # 3 4 | 5
    # 6 7 | 8
    torch.testing.assert_close(pooled, torch.tensor([[[[2.0, 3.5], [6.5, 8.0]]]]))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.simple_cnn(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 48, 48))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
