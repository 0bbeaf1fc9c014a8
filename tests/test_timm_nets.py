"""timm's backbones: the counts of the specs for the two stand-ins of paper 002."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import timm_nets as family


def macs(network: nn.Module, *shape: int) -> float:
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("entry", "num_classes", "expected"),
    [
        (family.inception_v4, 7, 41_153_575),
        (family.inception_v4, 1000, 42_679_816),
        (family.mobilenet_v1, 7, 3_214_151),
        (family.mobilenet_v1, 1000, 4_231_976),
    ],
)
def test_parameters(entry: Callable[..., nn.Module], num_classes: int, expected: int) -> None:
    with torch.device("meta"):
        network = entry(num_classes=num_classes)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_mobilenet_v1_in_closed_form() -> None:
    total = 3 * 32 * 9 + 2 * 32  # stem
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for channels, out in itertools.pairwise(widths):
        total += 9 * channels + 2 * channels + channels * out + 2 * out
    with torch.device("meta"):
        network = family.mobilenet_v1()
    assert total + 1024 * 7 + 7 == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("entry", "side", "expected"),
    [
        (family.inception_v4, 299, 12_252_449_376),
        (family.inception_v4, 75, 428_869_216),
        (family.mobilenet_v1, 48, 28_852_480),
        (family.mobilenet_v1, 224, 567_723_520),
    ],
)
def test_macs(entry: Callable[..., nn.Module], side: int, expected: int) -> None:
    with torch.device("meta"):
        network = entry()
    assert macs(network, 1, 3, side, side) == expected


def test_inception_v4_runs_from_75_pixels() -> None:
    with torch.device("meta"):
        network = family.inception_v4().eval()
        assert network(torch.empty(1, 3, 75, 75)).shape == (1, 7)
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 3, 74, 74))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_mobilenet_v1_trains(in_channels: int) -> None:
    network = family.mobilenet_v1(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 48, 48))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("in_channels", [1, 3])
def test_inception_v4_takes_any_channels(in_channels: int) -> None:
    with torch.device("meta"):
        network = family.inception_v4(in_channels=in_channels).train()
        assert network(torch.empty(2, in_channels, 75, 75)).shape == (2, 7)
