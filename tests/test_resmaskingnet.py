"""ResMaskingNet: closed-form counts, the authors' layout, the counting artefact (specs, zoo_a, section 1)."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fer_bench.models import resmaskingnet

# Width of each mask's input and the depth of its U-Net.
MASKS = {"mask1": (64, 4), "mask2": (128, 3), "mask3": (256, 2), "mask4": (512, 1)}
MASK_PARAMETERS = {"mask1": 32_366_080, "mask2": 31_885_312, "mask3": 29_965_312, "mask4": 22_291_456}


@pytest.fixture
def skeleton() -> resmaskingnet.ResMaskingNet:
    with torch.device("meta"):
        return resmaskingnet.resmaskingnet().eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def projecting_block(a: int, b: int) -> int:
    return 10 * a * b + 9 * b * b + 6 * b


def up_block(a: int, b: int) -> int:
    return 4 * a * b + 3 * b


def mask_parameters(channels: int, depth: int) -> int:
    down = sum(projecting_block(channels * 2 ** (level - 1), channels * 2**level) for level in range(1, depth + 1))
    wide = [channels * 2**level for level in range(2, depth + 1)]
    up = sum(up_block(width, width // 2) + projecting_block(width, width // 2) for width in wide)
    return down + up + projecting_block(2 * channels, channels)


def projections(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each mask with the original's second name of each of its projections."""
    for name, (_, depth) in MASKS.items():
        mask = network.get_submodule(name)
        for number in range(1, 2 * depth + 1):
            yield mask, f"downsample{number}", mask.get_submodule(f"conv{number}.downsample")


def original_layout(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict with the second name of each projection, as the authors' checkpoints hold it."""
    layout = dict(state_dict)
    for name, (_, depth) in MASKS.items():
        for number in range(1, 2 * depth + 1):
            first, second = f"{name}.conv{number}.downsample.", f"{name}.downsample{number}."
            layout |= {second + key.removeprefix(first): state_dict[key] for key in state_dict if key.startswith(first)}
    return layout


@pytest.mark.parametrize("name", MASKS)
def test_mask_has_the_parameters_of_the_closed_form(name: str, skeleton: resmaskingnet.ResMaskingNet) -> None:
    assert mask_parameters(*MASKS[name]) == MASK_PARAMETERS[name]
    assert parameters(skeleton.get_submodule(name)) == MASK_PARAMETERS[name]


def test_trunk_has_the_parameters_of_the_original(skeleton: resmaskingnet.ResMaskingNet) -> None:
    assert parameters(skeleton.conv1) + parameters(skeleton.bn1) == 9_536
    stages = (skeleton.layer1, skeleton.layer2, skeleton.layer3, skeleton.layer4)
    assert [parameters(stage) for stage in stages] == [221_952, 1_116_416, 6_822_400, 13_114_368]
    assert parameters(skeleton.fc) == 3_591


def test_masks_number_their_blocks_as_the_original(skeleton: resmaskingnet.ResMaskingNet) -> None:
    ups = {"mask1": [5, 6, 7], "mask2": [4, 5], "mask3": [3], "mask4": []}
    for name, (_, depth) in MASKS.items():
        expected = {f"conv{number}" for number in range(1, 2 * depth + 1)} | {
            f"up_pool{number}" for number in ups[name]
        }
        assert {child for child, _ in skeleton.get_submodule(name).named_children()} == expected


def test_state_dict_has_each_entry_of_the_original_once(skeleton: resmaskingnet.ResMaskingNet) -> None:
    assert len(skeleton.state_dict()) == 620
    assert sum(buffer.numel() for buffer in skeleton.buffers()) == 77_926


def test_original_layout_loads_strictly(skeleton: resmaskingnet.ResMaskingNet) -> None:
    ours = skeleton.state_dict()
    theirs = original_layout(ours)
    assert len(theirs) == 740
    assert {"mask1.conv8.downsample.0.weight", "mask1.downsample8.0.weight", "fc.1.weight"} <= theirs.keys()
    converted = resmaskingnet.convert_state_dict(theirs)
    assert converted.keys() == ours.keys()
    skeleton.load_state_dict(converted, assign=True)


def test_convert_takes_either_name_and_keeps_unknown_keys(skeleton: resmaskingnet.ResMaskingNet) -> None:
    ours = skeleton.state_dict()
    second_names_only = {
        key: value for key, value in original_layout(ours).items() if not ("mask" in key and ".downsample." in key)
    }
    assert len(second_names_only) == 620
    assert resmaskingnet.convert_state_dict(second_names_only).keys() == ours.keys()
    other = {"layer2.0.downsample.0.weight": torch.ones(1), "epoch": torch.ones(1)}
    assert resmaskingnet.convert_state_dict(other).keys() == other.keys()


def test_thop_counts_the_clean_network(skeleton: resmaskingnet.ResMaskingNet) -> None:
    thop = pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    image = torch.empty(1, 3, 224, 224, device="meta")
    assert thop.profile(skeleton, inputs=(image,), verbose=False) == (23_805_731_328, 137_796_423)


def test_second_names_bring_back_the_published_figures(skeleton: resmaskingnet.ResMaskingNet) -> None:
    thop = pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    second_names = list(projections(skeleton))
    assert len(second_names) == 20
    assert sum(parameters(projection) for _, _, projection in second_names) == 5_147_008
    for mask, name, projection in second_names:
        mask.add_module(name, projection)
    assert parameters(skeleton) == 137_796_423  # the network itself is the same
    image = torch.empty(1, 3, 224, 224, device="meta")
    assert thop.profile(skeleton, inputs=(image,), verbose=False) == (26_767_821_312, 142_943_431)


def test_mask_is_a_softmax_over_the_channels() -> None:
    torch.manual_seed(0)
    mask = resmaskingnet.Mask(4, depth=3).eval()
    with torch.no_grad():
        weights = mask(torch.randn(2, 4, 8, 8))
    assert weights.shape == (2, 4, 8, 8)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 8, 8))


def test_branches_of_masks_start_silent() -> None:
    torch.manual_seed(0)
    mask = resmaskingnet.ResMaskingNet(7, 3).mask4
    block = mask["conv1"]
    assert isinstance(block, resmaskingnet.BasicBlock)
    assert block.bn2.weight.eq(0).all()
    assert block.bn1.weight.eq(1).all()
    assert isinstance(block.downsample, nn.Sequential)
    assert block.downsample[1].weight.eq(1).all()  # type: ignore[operator]
