"""torchvision's backbones: counts of the specs, grey images, old DenseNet keys, thop's cells of paper 001."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import torchvision_nets as family


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def macs(network: nn.Module, *shape: int) -> float:
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("entry", "num_classes", "in_channels", "expected"),
    [
        (family.densenet121, 7, 3, 6_961_031),
        (family.densenet121, 1000, 3, 7_978_856),
        (family.resnet50, 7, 3, 23_522_375),
        (family.resnet50, 7, 1, 23_516_103),
        (family.resnet50, 1000, 3, 25_557_032),
        (family.resnet152, 7, 3, 58_158_151),
        (family.resnet152, 8, 3, 58_160_200),
        (family.resnet152, 1000, 3, 60_192_808),
        (family.mobilenetv3_large, 7, 3, 4_210_999),
        (family.mobilenetv3_large, 1000, 3, 5_483_032),
    ],
)
def test_parameters(entry: Callable[..., nn.Module], num_classes: int, in_channels: int, expected: int) -> None:
    with torch.device("meta"):
        network = entry(num_classes=num_classes, in_channels=in_channels)
    assert parameters(network) == expected


def resnet_parameters(blocks: tuple[int, ...], num_classes: int) -> int:
    """Closed form of a bottleneck ResNet without convolution biases."""
    total = 3 * 64 * 49 + 2 * 64  # stem
    channels = 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        out = 4 * width
        total += channels * out + 2 * out  # projection
        for _ in range(count):
            total += channels * width + 9 * width * width + width * out + 2 * (2 * width + out)
            channels = out
    return total + channels * num_classes + num_classes


@pytest.mark.parametrize(
    ("entry", "blocks"),
    [(family.resnet50, (3, 4, 6, 3)), (family.resnet101, (3, 4, 23, 3)), (family.resnet152, (3, 8, 36, 3))],
)
def test_resnets_in_closed_form(entry: Callable[..., nn.Module], blocks: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert parameters(entry()) == resnet_parameters(blocks, 7)


def test_resnet101_is_17_blocks_more_than_resnet50() -> None:
    block = 1024 * 256 + 9 * 256 * 256 + 256 * 1024 + 2 * (256 + 256 + 1024)
    assert resnet_parameters((3, 4, 23, 3), 7) == 23_522_375 + 17 * block == 42_514_503


@pytest.mark.parametrize(
    ("entry", "num_classes", "shape", "expected"),
    [
        (family.densenet121, 7, (1, 3, 224, 224), 2_833_144_832),
        (family.resnet50, 7, (1, 3, 224, 224), 4_087_150_592),
        (family.resnet50, 7, (1, 1, 48, 48), 209_307_648),
        (family.resnet101, 7, (1, 3, 224, 224), 7_799_371_776),
        (family.resnet152, 7, (1, 3, 224, 224), 11_511_592_960),
        (family.mobilenetv3_large, 7, (1, 3, 224, 224), 430_637_440 / 2),
        (family.mobilenetv3_large, 1000, (1, 3, 224, 224), 433_179_520 / 2),
    ],
)
def test_macs(entry: Callable[..., nn.Module], num_classes: int, shape: tuple[int, ...], expected: float) -> None:
    with torch.device("meta"):
        network = entry(num_classes=num_classes, in_channels=shape[1])
    assert macs(network, *shape) == expected


@pytest.mark.parametrize(
    ("entry", "num_classes", "expected", "cell"),
    [
        (family.densenet121, 7, 2_895_990_272, "2.89"),
        (family.resnet152, 7, 11_601_911_808, "11.60"),
        (family.mobilenetv3_large, 1000, 234_838_456, "0.23"),
    ],
)
def test_thop_gives_the_cells_of_paper_001(
    entry: Callable[..., nn.Module], num_classes: int, expected: int, cell: str
) -> None:
    thop = pytest.importorskip("thop")
    network = entry(num_classes=num_classes).eval()
    counted, _ = thop.profile(network, inputs=(torch.zeros(1, 3, 224, 224),), verbose=False)
    assert counted == expected
    assert f"{int(counted / 1e7) / 100:.2f}" == cell  # the paper cuts its digits


@pytest.mark.parametrize("in_channels", [1, 4])
def test_first_convolution_is_replaced(in_channels: int) -> None:
    network = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.Conv2d(8, 4, 1)))
    kept = network[1][1].weight
    changed = family.replace_first_conv(network, in_channels)
    assert changed is network
    assert network[1][0].weight.shape == (8, in_channels, 5, 5)
    assert network[1][1].weight is kept
    assert network(torch.rand(2, in_channels, 9, 9)).shape == (2, 4, 5, 5)


def test_first_convolution_stays_where_the_width_is_right() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3))
    weight = network[0].weight
    assert family.replace_first_conv(network, 3)[0].weight is weight


def test_first_convolution_keeps_device_and_type() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, device="meta", dtype=torch.bfloat16))
    weight = family.replace_first_conv(network, 1)[0].weight
    assert (weight.device.type, weight.dtype) == ("meta", torch.bfloat16)


def test_network_without_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no nn\.Conv2d.*1 channels"):
        family.replace_first_conv(nn.Sequential(nn.Linear(3, 3)), 1)


@pytest.mark.parametrize("entry", [family.densenet121, family.resnet50, family.mobilenetv3_large])
def test_grey_images_train(entry: Callable[..., nn.Module]) -> None:
    network = entry(num_classes=5, in_channels=1).train()
    logits = network(torch.rand(2, 1, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert all(p.grad is not None for p in network.parameters())


def test_densenet_runs_from_29_pixels() -> None:
    with torch.device("meta"):
        network = family.densenet121().eval()
        assert network(torch.empty(1, 3, 29, 29)).shape == (1, 7)
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 3, 28, 28))


def test_old_densenet_keys_are_renamed() -> None:
    with torch.device("meta"):
        ours = family.densenet121().state_dict()
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): value
        for key, value in ours.items()
    }
    assert len(set(old) - set(ours)) == 58 * 12  # 58 dense layers; two norms of five entries, two convolutions
    assert list(family.convert_state_dict(old)) == list(ours)
    assert list(family.convert_state_dict(ours)) == list(ours)


def test_other_keys_pass_unchanged() -> None:
    with torch.device("meta"):
        keys = list(family.resnet50().state_dict())
    converted = family.convert_state_dict({**dict.fromkeys(keys, torch.empty(0)), "norm.1.x": torch.empty(0)})
    assert list(converted) == [*keys, "norm.1.x"]
