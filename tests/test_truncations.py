"""Cut networks: counts against Keras's, and torchvision's and timm's networks cut at any module."""

import itertools
import json
from pathlib import Path

import pytest
import torch
import torchvision

import fer_bench as fb
from fer_bench.models import resnet_fer
from fer_bench.networks.build import Build
from fer_bench.networks.truncations import truncate
from fer_bench.records.errors import BuildError

KERAS = json.loads((Path(__file__).parent / "golden" / "keras_truncations.json").read_text())["cuts"]
DEPTHS = {"resnet50": resnet_fer.RESNET50_DEPTHS, "resnet101": resnet_fer.RESNET101_DEPTHS}
CUTS = [(backbone, cut) for backbone, cuts in KERAS.items() for cut in cuts]


def keras_total(module):
    """Count as Keras does: parameters and running statistics."""
    statistics = sum(value.numel() for name, value in module.named_buffers() if "running" in name)
    return sum(value.numel() for value in module.parameters()) + statistics


def test_all_119_cuts_have_the_names_counts_and_channels_of_keras():
    names = [(b, cut) for b in DEPTHS for cut in resnet_fer.cut_names(DEPTHS[b]) if b == "resnet50" or "conv4" in cut]
    assert names == CUTS
    assert len(names) == 119
    with torch.device("meta"):
        for backbone, cut in CUTS:
            trunk = resnet_fer.Trunk(3, DEPTHS[backbone], cut)
            assert [keras_total(trunk), trunk.out_channels] == KERAS[backbone][cut], cut


def patch_block_a(channels):
    """Two depth-wise 3x3 and a point-wise layer to 256, no biases; fully connected 32 and 6."""
    return 2 * 9 * channels + 256 * channels + (256 * 32 + 32) + (32 * 6 + 6)


def test_the_total_of_resnet_50_falls_six_times_and_stays_once_and_that_of_resnet_101_only_rises():
    """By Keras's counts of the trunks, and block A by hand: ours are the same."""
    totals = {
        backbone: [total + patch_block_a(channels) for total, channels in KERAS[backbone].values()]
        for backbone in KERAS
    }
    steps = [after - before for before, after in itertools.pairwise(totals["resnet50"])]
    assert len(steps) == 49
    assert (sum(step < 0 for step in steps), sum(step == 0 for step in steps)) == (6, 1)
    falls = [cut for cut, step in zip(list(KERAS["resnet50"])[1:], steps, strict=True) if step < 0]
    with torch.device("meta"):
        for channels in {channels for cuts in KERAS.values() for _, channels in cuts.values()}:
            network = resnet_fer.PatchAttentionNet(torch.nn.Identity(), channels, 6, "A", "token")
            assert keras_total(network) == patch_block_a(channels)
    assert falls[0] == "conv2_block2_1_relu"
    assert all(after > before for before, after in itertools.pairwise(totals["resnet101"]))


BY_HAND = {  # parameters of block and head on so many channels, with 6 classes: kernels, biases, batch norms, attention
    "A": patch_block_a,
    "B": lambda c: (16 * c + 128 * c + 128) + (128 * 256 + 256) + 8224 + 128 + 198,
    "C": lambda c: (16 * c + c) + (256 * c + 256) + 8224 + 198,
    "D": lambda c: (16 * c + 256 * c + 256) + 8224 + 128 + 128 + 198,
    "E": lambda c: (16 * c + 128 * c + 128) + 2 * (16 * 128 + 128 * 128 + 128) + 4128 + 128 + 198,
    "patt_lite": lambda c: (16 * c + 256 * c + 256) + (4 * 256 + 256 * 256 + 256) + 65792 + 8224 + 128 + 1 + 198,
}


def test_with_any_block_at_least_two_steps_of_resnet_50_go_down_and_none_of_resnet_101():
    for block, parameters in BY_HAND.items():
        with torch.device("meta"):
            network = resnet_fer.PatchAttentionNet(torch.nn.Identity(), 512, 6, block, "token")
        assert keras_total(network) == parameters(512), block
        falls = {
            backbone: sum(
                after + parameters(wide_after) < before + parameters(wide_before)
                for (before, wide_before), (after, wide_after) in itertools.pairwise(cuts.values())
            )
            for backbone, cuts in KERAS.items()
        }
        assert falls["resnet50"] >= 2, block
        assert falls["resnet101"] == 0, block


@pytest.mark.parametrize(
    ("block", "total"), [*((block, 3_913_318) for block in "ABCDE"), ("patt_lite", 3_834_752 + 211_047)]
)
def test_every_block_has_the_parameters_that_arithmetic_gives_it(block, total):
    with torch.device("meta"):
        assert keras_total(resnet_fer.resnet50_patch_attn(6, block=block)) == total


@pytest.mark.parametrize("block", resnet_fer.BLOCKS)
def test_a_network_with_any_block_can_be_trained(block):
    torch.manual_seed(0)
    network = resnet_fer.resnet50_patch_attn(6, cut="conv2_block1_2_relu", block=block).train()
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    # With one token the attention returns its input, and its scale has a gradient of 0.
    without = [name for name, one in network.named_parameters() if one.grad is None]
    assert without == []


def test_a_cut_network_gives_what_the_whole_one_gives_at_the_cut():
    torch.manual_seed(0)
    whole = torchvision.models.resnet50(weights=None).eval()
    cut = truncate(whole, "layer2.1", block="none", num_classes=5, input_shape=(3, 64, 64))
    images = torch.randn(2, 3, 64, 64)
    maps = whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))
    maps = whole.layer2[:2](whole.layer1(maps))
    with torch.no_grad():
        torch.testing.assert_close(cut.trunk(images), maps, rtol=0, atol=0)
        torch.testing.assert_close(cut(images), cut.classifier(maps.mean((2, 3))))
    kept = {name for name, _ in whole.named_parameters() if name.startswith(("conv1", "bn1", "layer1", "layer2"))}
    kept -= {name for name in kept if name.startswith(("layer2.2", "layer2.3"))}
    wanted = sum(value.numel() for name, value in whole.named_parameters() if name in kept)
    assert sum(value.numel() for value in cut.trunk.parameters()) == wanted


@pytest.mark.parametrize(
    ("name", "at", "channels"),
    [("torchvision:vgg16", "features.16", 256), ("timm:mobilenetv3_small_050", "blocks.2", 24)],
)
def test_networks_of_libraries_are_cut_by_settings(name, at, channels):
    counted = fb.count(name, Build.of(6, (3, 64, 64), [f"truncate_at={at}", "truncate_block=none"]))
    assert counted.num_classes == 6
    assert counted.row()["settings"] == [f"truncate_at={at}", "truncate_block=none"]
    (head,) = [row["macs"] for row in counted.by_module() if row["module"] == "classifier"]
    assert head == channels * 6


def test_the_vgg_trunk_has_the_parameters_of_its_convolutions():
    whole = torchvision.models.vgg16(weights=None)
    cut = truncate(whole, "features.4", num_classes=6, input_shape=(3, 64, 64))
    by_hand = (3 * 64 + 64 * 64) * 9 + 2 * 64
    assert sum(value.numel() for value in cut.trunk.parameters()) == by_hand
    assert keras_total(cut) == by_hand + patch_block_a(64)


@pytest.mark.parametrize(
    ("at", "block", "says"),
    [
        ("layer3.11", "A", "did you mean layer3.1"),
        ("layer3", "Patch_attention", "did you mean patch_attention"),
        ("fc", "A", "needs maps"),
        ("layer4", "patt_lite", "block patt_lite on 512x1x1 at layer4 of ResNet does not run on 3x32x32"),
    ],
)
def test_a_cut_or_block_that_does_not_fit_is_refused_with_what_would(at, block, says):
    with pytest.raises(BuildError, match=says):
        truncate(torchvision.models.resnet18(weights=None), at, block, input_shape=(3, 32, 32))


def test_a_network_that_depends_on_values_cannot_be_cut():
    class Undecided(torch.nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    with pytest.raises(BuildError, match="cannot be cut"):
        truncate(Undecided(), "somewhere")


def test_a_block_without_a_cut_is_an_error():
    with pytest.raises(BuildError, match="truncate_at"):
        Build.of(6, None, ["truncate_block=A"])
