"""ResNetV2-50 and its non-local blocks: counts, map sizes, blocks against pytorchcv, affinities by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import resnetv2

# Trainable parameters, Keras total, MACs at 1x96x96.
COUNTS = {
    "resnetv2_50": (23_527_431, 23_572_871, 624_785_408),
    "nonlocal_resnetv2_50_s1": (23_923_335, 23_970_311, 969_832_448),
    "nonlocal_resnetv2_50_s2": (25_631_751, 25_681_287, 902_666_240),
    "nonlocal_resnetv2_50_s3": (36_131_847, 36_189_575, 1_027_865_600),
    "nonlocal_resnetv2_50_s4": (48_714_759, 48_772_487, 851_775_488),
    "nonlocal_resnetv2_50_s12": (26_027_655, 26_078_727, 1_247_713_280),
    "nonlocal_resnetv2_50_s34": (61_319_175, 61_389_191, 1_254_855_680),
}
# Trainable parameters of a block at C = 256, 512, 1024, 2048.
BLOCK_COUNTS = {
    "gaussian": (66_176, 263_424, 1_051_136, 4_199_424),
    "embedded_gaussian": (131_968, 526_080, 2_100_736, 8_395_776),
    "dot_product": (131_968, 526_080, 2_100_736, 8_395_776),
    "concatenation": (132_224, 526_592, 2_101_760, 8_397_824),
}


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def keras_total(network: nn.Module) -> int:
    statistics = (buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return trainable(network) + sum(buffer.numel() for buffer in statistics)


def macs(network: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_counts(name: str, expected: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        network = getattr(resnetv2, name)()
    assert (trainable(network), keras_total(network), macs(network, 1, 1, 96, 96)) == expected


@pytest.mark.parametrize(
    ("channels", "height", "width", "expected_macs"), [(1, 48, 48, 183_846_912), (3, 762, 562, 30_433_846_208)]
)
def test_macs_at_other_sizes(channels: int, height: int, width: int, expected_macs: int) -> None:
    with torch.device("meta"):
        network = resnetv2.resnetv2_50(in_channels=channels)
    assert macs(network, 1, channels, height, width) == expected_macs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnetv2_50", 23_533_703),
        ("nonlocal_resnetv2_50_s12", 26_033_927),
        ("nonlocal_resnetv2_50_s34", 61_325_447),
    ],
)
def test_colour_counts(name: str, expected: int) -> None:
    with torch.device("meta"):
        assert trainable(getattr(resnetv2, name)(in_channels=3)) == expected


def test_imagenet_counts_of_keras() -> None:
    with torch.device("meta"):
        network = resnetv2.resnetv2_50(num_classes=1000, in_channels=3)
    assert (keras_total(network), trainable(network)) == (25_613_800, 25_568_360)
    head = trainable(network.classifier)
    assert (keras_total(network) - head, trainable(network) - head) == (23_564_800, 23_519_360)


@pytest.mark.parametrize(("pairwise", "expected"), BLOCK_COUNTS.items())
def test_block_counts(pairwise: str, expected: tuple[int, ...]) -> None:
    with torch.device("meta"):
        blocks = [resnetv2.NonLocalBlock(channels, pairwise) for channels in (256, 512, 1024, 2048)]
    assert tuple(trainable(block) for block in blocks) == expected


@pytest.mark.parametrize("channels", [2, 256, 1024])
def test_block_formulas(channels: int) -> None:
    with torch.device("meta"):
        block = resnetv2.NonLocalBlock(channels, "embedded_gaussian")
    assert trainable(block) == 2 * channels**2 + 7 * channels // 2
    assert keras_total(block) - trainable(block) == 2 * channels
    inner, positions = channels // 2, 5 * 6
    expected = positions * 4 * channels * inner + 2 * positions**2 * inner
    assert macs(block, 1, channels, 5, 6) == expected


@pytest.mark.parametrize("pairwise", resnetv2.PAIRWISE)
def test_every_variant_takes_every_pairwise_function(pairwise: str) -> None:
    depths = (3, 4, 6, 3)
    for suffix, stages in {"s1": [0], "s2": [1], "s3": [2], "s4": [3], "s12": [0, 1], "s34": [2, 3]}.items():
        with torch.device("meta"):
            network = getattr(resnetv2, f"nonlocal_resnetv2_50_{suffix}")(pairwise=pairwise)
        added = sum(depths[stage] * BLOCK_COUNTS[pairwise][stage] for stage in stages)
        assert trainable(network) == 23_527_431 + added, suffix


def test_unknown_pairwise_function() -> None:
    with pytest.raises(ValueError, match="gaussian, embedded_gaussian, dot_product, concatenation"):
        resnetv2.nonlocal_resnetv2_50_s3(pairwise="cosine")


def test_map_sizes() -> None:
    with torch.device("meta"):
        network = resnetv2.resnetv2_50()
        x = network.stem(torch.empty(1, 1, 96, 96))
        sizes = [[x.shape[-1]]]
        for stage in network.stages:
            sizes.append([])
            for block in stage:
                x = block(x)
                sizes[-1].append(x.shape[-1])
    assert sizes == [[24], [24, 24, 12], [12, 12, 12, 6], [6, 6, 6, 6, 6, 3], [3, 3, 3]]
    assert x.shape[1] == 2048


def test_only_the_right_convolutions_have_biases() -> None:
    with torch.device("meta"):
        network = resnetv2.resnetv2_50()
    blocks = [module for module in network.modules() if isinstance(module, resnetv2.PreActivationBottleneck)]
    assert [block.projection is not None for block in blocks] == [b == 0 for n in (3, 4, 6, 3) for b in range(n)]
    for block in blocks:
        biases = [layer.bias is not None for layer in block.body if isinstance(layer, nn.Conv2d)]
        assert biases == [False, False, True]
        assert block.projection is None or block.projection.bias is not None
    assert network.stem[0].bias is not None


def test_stem_pools_with_zeros() -> None:
    """A map that is -1 everywhere: a pool padded with minus infinity gives -1, Keras gives 0 at the edges."""
    with torch.device("meta"):
        stem = resnetv2.resnetv2_50().stem
    stem = stem.to_empty(device="cpu")
    nn.init.zeros_(stem[0].weight)
    nn.init.constant_(stem[0].bias, -1.0)
    pooled = stem(torch.zeros(1, 1, 16, 16))[0, 0]
    assert pooled.shape == (4, 4)
    assert torch.all(pooled[0] == 0)
    assert torch.all(pooled[:, 0] == 0)
    assert torch.all(pooled[1:, 1:] == -1)


def test_strided_block_passes_the_raw_input_on() -> None:
    block = resnetv2.PreActivationBottleneck(8, 2, stride=2, project=False).eval()
    for parameter in block.body[-1].parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 7, 6)
    assert torch.equal(block(x), x[..., ::2, ::2])


@pytest.mark.parametrize(("in_channels", "project"), [(16, True), (32, False)])
def test_block_equals_pytorchcv(in_channels: int, project: bool) -> None:
    preresnet = pytest.importorskip("pytorchcv.models.preresnet")
    torch.manual_seed(0)
    reference = preresnet.PreResUnit(in_channels, 32, stride=1, bottleneck=True, conv1_stride=False).eval()
    block = resnetv2.PreActivationBottleneck(in_channels, 8, stride=1, project=project).eval()
    theirs = [module for module in reference.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    convolutions = [module for module in theirs if isinstance(module, nn.Conv2d)]
    norms = [module for module in theirs if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.eps = 1.001e-5
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    own_norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    own_convolutions = [layer for layer in block.body if isinstance(layer, nn.Conv2d)]
    if block.projection is not None:
        own_convolutions.append(block.projection)
    for source, target in zip(norms + convolutions, own_norms + own_convolutions, strict=True):
        target.load_state_dict(source.state_dict(), strict=False)
        if isinstance(target, nn.Conv2d) and target.bias is not None:
            nn.init.zeros_(target.bias)
    x = torch.randn(2, in_channels, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(block(x), reference(x), rtol=1e-5, atol=1e-5)


E = math.e
# Two positions with x = (1, 0) and (2, 1), theta = (1, 2), phi = (0, 1), g = (1, 3).
BY_HAND = {
    "gaussian": ((1 + 3 * E) / (1 + E), (1 + 3 * E**3) / (1 + E**3)),
    "embedded_gaussian": ((1 + 3 * E) / (1 + E), (1 + 3 * E**2) / (1 + E**2)),
    "dot_product": ((0 * 1 + 1 * 3) / 2, (0 * 1 + 2 * 3) / 2),
    "concatenation": ((1 * 1 + 0 * 3) / 2, (2 * 1 + 1 * 3) / 2),
}


@pytest.mark.parametrize(("pairwise", "mixed"), BY_HAND.items())
def test_affinities_by_hand(pairwise: str, mixed: tuple[float, float]) -> None:
    block = resnetv2.NonLocalBlock(2, pairwise).eval()
    for layer, weight in ((block.theta, [1.0, 0.0]), (block.phi, [0.0, 1.0]), (block.g, [1.0, 1.0])):
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = torch.tensor(weight).reshape(1, 2, 1, 1)
            nn.init.zeros_(layer.bias)
    if pairwise == "concatenation":
        nn.init.constant_(block.theta_score.weight, 1.0)
        nn.init.constant_(block.phi_score.weight, -1.0)
    block.expand.weight.data = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    x = torch.tensor([[1.0, 2.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
    assert torch.equal(block(x), x)  # a fresh block changes nothing
    nn.init.ones_(block.norm.weight)
    added = torch.tensor([mixed, [2 * value for value in mixed]]).reshape(1, 2, 1, 2) / math.sqrt(1 + 1.001e-5)
    torch.testing.assert_close(block(x), x + added)


@pytest.mark.parametrize("pairwise", resnetv2.PAIRWISE)
def test_normalisers(pairwise: str) -> None:
    """A softmax sums to 1 over the positions; the others divide by their number."""
    block = resnetv2.NonLocalBlock(8, pairwise)
    width = 8 if pairwise == "gaussian" else 4
    query, key = torch.randn(2, 2, 5, width)
    weights = block.affinities(query, key)
    assert weights.shape == (2, 5, 5)
    if "gaussian" in pairwise:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))
    elif pairwise == "dot_product":
        torch.testing.assert_close(weights, query @ key.transpose(1, 2) / 5)


def test_concatenation_equals_the_literal_form() -> None:
    block = resnetv2.NonLocalBlock(8, "concatenation")
    query, key = torch.randn(2, 2, 5, 4)
    pairs = torch.cat((query[:, :, None].expand(2, 5, 5, 4), key[:, None].expand(2, 5, 5, 4)), dim=-1)
    scores: Tensor = pairs @ torch.cat((block.theta_score.weight, block.phi_score.weight), dim=1)[0]
    torch.testing.assert_close(block.affinities(query, key), F.relu(scores) / 5)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = getattr(resnetv2, name)(num_classes=5, in_channels=channels)
        assert network(torch.empty(2, channels, 50, 41)).shape == (2, 5)


def test_training_step_reaches_every_parameter() -> None:
    with torch.device("meta"):
        network = resnetv2.nonlocal_resnetv2_50_s12(pairwise="concatenation").train()
        network(torch.empty(2, 1, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
