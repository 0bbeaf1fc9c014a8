"""ResAttNet56: parts, counters and the layout of pytorchcv, against specs (zoo_a, section 2) and the original."""

import pytest
import torch
from torch import Tensor, nn

from fer_bench.models import resattnet


@pytest.fixture(scope="module")
def skeleton() -> resattnet.ResidualAttentionNet:
    with torch.device("meta"):
        return resattnet.resattnet56().eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def randomise(network: nn.Module) -> None:
    """Weights as built; batch norms with statistics and affine parts that no two networks share by default."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]


def test_parts_have_the_parameters_of_the_original(skeleton: resattnet.ResidualAttentionNet) -> None:
    assert parameters(skeleton.stem) == 9_536
    assert [[parameters(unit) for unit in stage.children()] for stage in skeleton.stages] == [
        [74_112, 976_896],
        [377_856, 3_046_912],
        [1_509_376, 8_804_352],
        [6_033_408, 4_462_592, 4_462_592],
    ]
    assert parameters(skeleton.bn) == 4_096
    assert parameters(skeleton.fc) == 14_343


def test_imagenet_head_gives_the_published_total() -> None:
    with torch.device("meta"):
        assert parameters(resattnet.resattnet56(num_classes=1000)) == 31_810_728


@pytest.mark.parametrize(("depth", "units"), [(3, 12), (2, 9), (1, 6)])
def test_attention_module_has_the_residual_units_of_the_paper(depth: int, units: int) -> None:
    with torch.device("meta"):
        module = resattnet.AttentionModule(8, depth)
    assert sum(isinstance(part, resattnet.ResidualUnit) for part in module.modules()) == units


def test_state_dict_has_the_entries_of_the_original(skeleton: resattnet.ResidualAttentionNet) -> None:
    assert len(skeleton.state_dict()) == 647
    assert sum(buffer.numel() for buffer in skeleton.buffers()) == 72_811


def test_thop_counts_what_paper_001_prints() -> None:
    thop = pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    with torch.device("meta"):
        network, image = resattnet.resattnet56().eval(), torch.empty(1, 3, 224, 224)
    assert thop.profile(network, inputs=(image,), verbose=False) == (6_337_496_064, 29_776_071)


@pytest.mark.parametrize("input_size", [32, 48, 100, 224])
def test_runs_at_the_input_size_that_it_is_built_for(input_size: int) -> None:
    with torch.device("meta"):
        network = resattnet.resattnet56(input_size=input_size)
        assert network(torch.empty(2, 3, input_size, input_size)).shape == (2, 7)


@pytest.mark.slow
def test_is_the_function_of_pytorchcv_with_converted_weights() -> None:
    providers = pytest.importorskip("pytorchcv.model_provider", reason="the original, pytorchcv, is not installed")
    torch.manual_seed(0)
    original = providers.get_model("resattnet56", num_classes=7).eval()
    randomise(original)
    network = resattnet.resattnet56().eval()
    network.load_state_dict(resattnet.convert_state_dict(original.state_dict()))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, got = original(images), network(images)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_convert_keeps_our_keys_and_unknown_ones(skeleton: resattnet.ResidualAttentionNet) -> None:
    unknown = ["epoch", "features.stage1.unit1.new.weight", "features.stage1.unit2.middle_block.conv3.bn.weight"]
    state: dict[str, Tensor] = {**skeleton.state_dict(), **{key: torch.ones(1) for key in unknown}}
    assert resattnet.convert_state_dict(state).keys() == state.keys()
