"""RARN: counts of the proposed form and its variants, its levels, its backbone against torchvision, its attention."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet152
from torchvision.models.feature_extraction import create_feature_extractor

from fer_bench.models import rarn

# Options, parameters, MACs at 48x48 and at 224x224; rounded MACs, printed in billions, where only those are known.
VARIANTS = [
    ({}, 60_326_825, "1.261", "26.90"),
    ({"smoothing": False}, 59_736_745, "0.922", "19.50"),
    ({"angle_kernel": 1}, 59_802_537, None, None),
    ({"levels": 4}, 60_310_185, "0.742", "15.60"),
]


@pytest.fixture(scope="module")
def network() -> rarn.RARN:
    """One network with weights for the tests that look at values; they leave it as it is."""
    torch.manual_seed(0)
    return rarn.rarn(smoothing=False).eval()


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("options", "parameters", "small", "large"), VARIANTS)
def test_variants(options: dict[str, int], parameters: int, small: str | None, large: str | None) -> None:
    with torch.device("meta"):
        network = rarn.rarn(**options)
    assert trainable(network) == parameters
    if small is not None and large is not None:
        assert f"{macs(network, 1, 3, 48, 48) / 1e9:.3f}" == small
        assert f"{macs(network, 1, 3, 224, 224) / 1e9:.2f}" == large


def test_counts_of_the_proposed_form() -> None:
    with torch.device("meta"):
        network = rarn.rarn()
    assert trainable(network.stem) + trainable(network.stages) == 58_143_808
    assert trainable(network.laterals) == 1_000_704
    assert trainable(network.smooth) == 590_080
    assert trainable(network.attention) == 590_434
    assert trainable(network.classifier) == 1_799
    assert macs(network, 1, 3, 48, 48) == 1_261_409_152
    assert macs(network, 1, 3, 224, 224) == 26_901_186_816


def test_levels_halve() -> None:
    with torch.device("meta"):
        network = rarn.rarn()
        sizes: list[int] = []
        for lateral in network.laterals:
            lateral.register_forward_hook(lambda module, inputs, output: sizes.insert(0, output.shape[-1]))
        fused: list[tuple[int, ...]] = []
        network.attention.register_forward_hook(lambda module, inputs, output: fused.append(tuple(output.shape)))
        network(torch.empty(2, 3, 48, 48))
    assert sizes == [2, 3, 6, 12, 24]
    assert fused == [(2, 256, 24, 24)]


def test_levels_are_the_stages_of_torchvision(network: rarn.RARN) -> None:
    with torch.device("meta"):
        reference = resnet152(weights=None).eval()
    reference.conv1, reference.bn1 = network.stem[:2]
    for index in range(4):
        name = f"layer{index + 1}"
        getattr(reference, name).load_state_dict(network.stages[index].state_dict(), assign=True)
    names = {"relu": "0", "layer1": "1", "layer2": "2", "layer3": "3", "layer4": "4"}
    captured: list[Tensor] = []
    hooks = [
        lateral.register_forward_hook(lambda module, inputs, output: captured.append(inputs[0]))
        for lateral in network.laterals
    ]
    images = torch.randn(1, 3, 40, 36)
    with torch.no_grad():
        expected = create_feature_extractor(reference, names)(images)
        network(images)
    for hook in hooks:
        hook.remove()
    assert len(captured) == 5
    for index, level in enumerate(captured):
        torch.testing.assert_close(level, expected[str(index)])


def test_fusion_from_a_coarse_to_the_finest_map(network: rarn.RARN) -> None:
    """Replaces the laterals' outputs: constants 1 to 1000, and a coarsest 2x2 map that shows where its values go."""
    corners = torch.tensor([[10_000.0, 20_000.0], [30_000.0, 40_000.0]])
    captured: list[Tensor] = []
    hooks = [network.attention.register_forward_hook(lambda module, inputs, output: captured.append(inputs[0]))]
    for lateral, value in zip(network.laterals, (1.0, 10.0, 100.0, 1000.0, corners), strict=True):
        hooks.append(
            lateral.register_forward_hook(lambda module, inputs, output, value=value: torch.zeros_like(output) + value)
        )
    with torch.no_grad():
        network(torch.randn(1, 3, 48, 48))
    for hook in hooks:
        hook.remove()
    fused = captured[0]
    assert fused.shape == (1, 256, 24, 24)
    # Nearest, 2 -> 3 takes rows 0, 0, 1; then 3 -> 6 -> 12 -> 24 repeats each eight times.
    rows = torch.tensor([0] * 16 + [1] * 8)
    assert torch.equal(fused[0, 0], corners[rows][:, rows] + 1_111)
    assert torch.equal(fused[0, 0], fused[0, 255])


def test_attention_is_one_weight_per_position() -> None:
    attention = rarn.AngleSensitiveAttention(6, 3).eval()
    x = torch.rand(2, 6, 8, 8) + 0.5
    with torch.no_grad():
        mask = attention(x) / x
        torch.testing.assert_close(mask, mask[:, :1].expand_as(mask))
        assert 0 < mask.min() < mask.max() < 1
        # The mask reads the mean first, then the maximum, of the angle map.
        nn.init.zeros_(attention.mask.weight)
        attention.mask.weight[0, 1, 3, 3] = 1.0
        angle = attention.angle(x)
        torch.testing.assert_close(attention(x), x * torch.sigmoid(angle.max(1, keepdim=True).values))


@pytest.mark.parametrize(("options", "message"), [({"levels": 3}, "levels is 3"), ({"angle_kernel": 2}, "odd")])
def test_impossible_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rarn.rarn(**options)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(channels: int) -> None:
    with torch.device("meta"):
        network = rarn.rarn(num_classes=5, in_channels=channels)
        assert network(torch.empty(2, channels, 48, 48)).shape == (2, 5)
        assert network(torch.empty(1, channels, 33, 70)).shape == (1, 5)


def test_training_step_reaches_every_parameter() -> None:
    with torch.device("meta"):
        network = rarn.rarn().train()
        network(torch.empty(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
