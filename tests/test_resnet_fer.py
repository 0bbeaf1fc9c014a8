"""The ResNets of paper 000: the two heads, the attention, and the trunk against torchvision.

The counts of all cuts are in test_truncations.py, against Keras's.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet

from fer_bench.models import resnet_fer

DEPTHS = {50: resnet_fer.RESNET50_DEPTHS, 101: resnet_fer.RESNET101_DEPTHS}


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def keras_total(network: nn.Module) -> int:
    statistics = (buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return trainable(network) + sum(buffer.numel() for buffer in statistics)


def macs(network: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


def meta_trunk(layers: int, cut: str) -> resnet_fer.Trunk:
    with torch.device("meta"):
        return resnet_fer.Trunk(3, DEPTHS[layers], cut)


def randomise(network: nn.Module) -> None:
    """Gives batch norm statistics that matter."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.uniform_(tensor, -0.2, 0.2)


def test_cut_names() -> None:
    names = resnet_fer.cut_names(DEPTHS[101])
    fourth = [name for name in names if name.startswith("conv4_")]
    assert len(fourth) == 69
    assert (fourth[0], fourth[-1]) == ("conv4_block1_1_relu", "conv4_block23_out")
    assert fourth.index("conv4_block5_2_relu") == 13  # number 14 of the 69
    assert len(names) == 101
    assert len(set(names)) == 101


def test_both_depths_agree_up_to_the_sixth_block_of_stage_4() -> None:
    for cut in ("conv2_block1_out", "conv3_block4_2_relu", "conv4_block6_out"):
        assert keras_total(meta_trunk(50, cut)) == keras_total(meta_trunk(101, cut))


@pytest.mark.parametrize(
    ("layers", "cut", "total", "without_statistics", "expected_macs"),
    [
        (50, "conv4_block2_2_relu", 3_834_752, 3_818_496, 2_198_913_024),
        (101, "conv4_block5_2_relu", 7_200_128, 7_174_656, 2_854_010_880),
        (50, "conv5_block3_out", 23_587_712, None, 3_855_925_248),
        (101, "conv5_block3_out", 42_658_176, None, 7_568_146_432),
    ],
)
def test_trunk_counts(layers: int, cut: str, total: int, without_statistics: int | None, expected_macs: int) -> None:
    trunk = meta_trunk(layers, cut)
    assert keras_total(trunk) == total
    assert without_statistics is None or trainable(trunk) == without_statistics
    assert macs(trunk, 1, 3, 224, 224) == expected_macs


@pytest.mark.parametrize("layers", [50, 101])
def test_every_kind_of_cut_runs_and_announces_its_channels(layers: int) -> None:
    names = resnet_fer.cut_names(DEPTHS[layers])
    # Of ResNet-50 the stem and both kinds of block of each stage: further blocks are the second once more.
    for cut in names[::25] if layers == 101 else [name for name in names if "_block" not in name or name[11] in "12"]:
        trunk = meta_trunk(layers, cut)
        maps = trunk(torch.empty(1, 3, 224, 224, device="meta"))
        stage = 2 if cut == "pool1_pool" else int(cut[4])
        width = 64 if stage == 1 or cut == "pool1_pool" else 2 ** (stage + 4) * (4 if cut.endswith("out") else 1)
        assert maps.shape == (1, width, 224 >> stage, 224 >> stage)
        assert trunk.out_channels == width


def test_cut_inside_a_first_block_leaves_out_its_shortcut() -> None:
    trunk = meta_trunk(50, "conv4_block1_2_relu")
    blocks = [module for module in trunk.modules() if isinstance(module, resnet_fer.Bottleneck)]
    assert len(blocks) == 3 + 4
    projections = [block for block in blocks if not isinstance(block.shortcut, nn.Identity)]
    assert len(projections) == 2


@pytest.mark.parametrize("cut", ["conv6_block1_out", "conv4_block7_out", "avg_pool", ""])
def test_unknown_cut_names_the_known_ones(cut: str) -> None:
    with pytest.raises(ValueError, match=r"conv1_relu.*conv4_block2_2_relu.*conv5_block3_out"):
        resnet_fer.resnet50_patch_attn(cut=cut)


def test_an_unknown_cut_is_refused_with_the_nearest_names_first() -> None:
    with pytest.raises(ValueError, match=r"did you mean conv4_block2_2_relu or .*\?\): give the name"):
        resnet_fer.resnet50_patch_attn(cut="conv4_block2_2relu")


def test_resnet101_takes_the_cuts_that_resnet50_lacks() -> None:
    with torch.device("meta"):
        network = resnet_fer.resnet101_patch_attn(cut="conv4_block23_out")
    assert keras_total(network.trunk) == 27_659_648


@pytest.mark.parametrize(
    ("name", "total", "expected_macs"),
    [
        ("resnet50_vanilla_fer", 24_813_574, 3_857_138_432),
        ("resnet101_vanilla_fer", 42_724_070, 7_568_212_160),
    ],
)
def test_vanilla_counts(name: str, total: int, expected_macs: int) -> None:
    with torch.device("meta"):
        network = getattr(resnet_fer, name)(num_classes=6)
    assert keras_total(network) == total
    assert macs(network, 1, 3, 224, 224) == expected_macs


def test_vanilla_heads_differ() -> None:
    with torch.device("meta"):
        heads = [resnet_fer.resnet50_vanilla_fer(6).head, resnet_fer.resnet101_vanilla_fer(6).head]
    parts_50 = (8_192, 1_049_088, 2_048, 131_328, 1_024, 32_896, 512, 774)
    parts_101 = (65_568, 128, 198)
    for head, parts in zip(heads, (parts_50, parts_101), strict=True):
        assert tuple(keras_total(layer) for layer in head if keras_total(layer)) == parts


def test_vanilla_statistics_are_two_per_normalised_channel() -> None:
    def trunk_channels(depths: tuple[int, ...]) -> int:
        return 64 + sum((6 * n + 4) * (64 << stage) for stage, n in enumerate(depths))

    with torch.device("meta"):
        networks = [resnet_fer.resnet50_vanilla_fer(6), resnet_fer.resnet101_vanilla_fer(6)]
    for network, depths, head in zip(networks, DEPTHS.values(), (2048 + 512 + 256 + 128, 32), strict=True):
        assert keras_total(network) - trainable(network) == 2 * (trunk_channels(depths) + head)


@pytest.mark.parametrize(
    ("name", "total", "trunk_trainable", "trunk_macs"),
    [
        ("resnet50_patch_attn", 3_913_318, 3_818_496, 2_198_913_024),
        ("resnet101_patch_attn", 7_278_694, 7_174_656, 2_854_010_880),
    ],
)
def test_patch_attention_counts(name: str, total: int, trunk_trainable: int, trunk_macs: int) -> None:
    with torch.device("meta"):
        network = getattr(resnet_fer, name)(num_classes=6)
    assert keras_total(network) == total
    assert keras_total(network) - keras_total(network.trunk) == 78_566
    assert keras_total(network.patch) == 2_304 + 2_304 + 65_536
    assert keras_total(network.reduce) + keras_total(network.classifier) == 8_224 + 198
    assert trainable(network) == trunk_trainable + 78_566
    # Depth-wise 3x3 to 4x4 and to 2x2, point-wise on 2x2, two fully connected layers, two products of one token.
    patch_and_head = 16 * 9 * 256 + 4 * 9 * 256 + 4 * 256 * 256 + 256 * 32 + 32 * 6 + 2 * 32
    assert macs(network, 1, 3, 224, 224) == trunk_macs + patch_and_head


def test_patch_block_leaves_four_patches() -> None:
    with torch.device("meta"):
        network = resnet_fer.resnet50_patch_attn()
    maps = network.trunk(torch.empty(1, 3, 224, 224, device="meta"))
    assert maps.shape == (1, 256, 14, 14)
    assert network.patch(maps).shape == (1, 256, 2, 2)


@pytest.mark.parametrize(("size", "first"), [(14, 0), (16, 0), (13, 1), (15, 0)])
def test_same_padding_of_the_patch_block(size: int, first: int) -> None:
    """Keras: ceil(n/4) outputs, missing pixels max((out - 1) 4 + 3 - n, 0), the odd one at the end."""
    layer = resnet_fer.SameDepthwiseConv2d(1, 3, stride=4)
    nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[..., 0, 0] = 1
    image = torch.arange(1.0, size * size + 1).reshape(1, 1, size, size)
    padded = torch.zeros(size + 3, size + 3)
    padded[first : first + size, first : first + size] = image[0, 0]
    outputs = -(-size // 4)
    assert torch.equal(layer(image)[0, 0], padded[::4, ::4][:outputs, :outputs])


def test_token_attention_is_the_identity_and_batch_attention_is_not() -> None:
    features = torch.randn(5, 32)
    assert torch.equal(resnet_fer.DotProductAttention("token")(features), features)
    expected = torch.softmax(features @ features.T, dim=1) @ features
    torch.testing.assert_close(resnet_fer.DotProductAttention("batch")(features), expected)


def test_unknown_attention() -> None:
    with pytest.raises(ValueError, match=r"'token'.*'batch'"):
        resnet_fer.resnet50_patch_attn(attention="patch")


@pytest.mark.parametrize("attention", ["token", "batch"])
def test_only_batch_attention_leaks_between_samples(attention: str) -> None:
    torch.manual_seed(0)
    network = resnet_fer.resnet50_patch_attn(cut="conv2_block1_2_relu", attention=attention).eval()
    images = torch.randn(3, 3, 64, 64)
    changed = images.clone()
    changed[2] = 4 * torch.randn(3, 64, 64)
    with torch.no_grad():
        before, after = network(images), network(changed)
    leaked = (before[:2] - after[:2]).abs().max()
    assert (leaked > 1e-4) if attention == "batch" else (leaked < 1e-6)


def test_trunk_equals_torchvision_with_the_stride_moved() -> None:
    torch.manual_seed(0)
    depths = (2, 1, 2, 1)
    reference = resnet.ResNet(resnet.Bottleneck, list(depths)).eval()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.001e-5
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    reference.fc = nn.Identity()
    randomise(reference)
    trunk = resnet_fer.Trunk(3, depths, "conv5_block1_out").eval()
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    theirs = [module for module in reference.modules() if isinstance(module, kinds)]
    ours = [module for module in trunk.modules() if isinstance(module, kinds)]
    for source, target in zip(theirs, ours, strict=True):
        missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
        assert not unexpected
        if missing:
            assert missing == ["bias"]
            nn.init.zeros_(target.bias)
    images = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        expected: Tensor = reference(images)
        torch.testing.assert_close(trunk(images).mean((2, 3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["resnet50_vanilla_fer", "resnet101_vanilla_fer", "resnet50_patch_attn", "resnet101_patch_attn"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = getattr(resnet_fer, name)(num_classes=5, in_channels=channels)
        assert network(torch.empty(2, channels, 96, 96)).shape == (2, 5)


def test_training_step_reaches_every_parameter() -> None:
    with torch.device("meta"):
        network = resnet_fer.resnet50_patch_attn(attention="batch").train()
        network(torch.empty(2, 3, 48, 48)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
