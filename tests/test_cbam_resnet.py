"""CBAM-ResNet50: parts, counters and both published layouts, against specs (zoo_a, section 3) and pytorchcv."""

import re

import pytest
import torch
from torch import Tensor, nn

from fer_bench.models import cbam_resnet


@pytest.fixture(scope="module")
def skeleton() -> cbam_resnet.CBAMResNet:
    with torch.device("meta"):
        return cbam_resnet.cbam_resnet50().eval()


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


def authors_name(key: str) -> str:
    """Our key in the layout of the authors' code, whose gates are numbered from a flatten."""
    key = key.replace("cbam.channel_gate.mlp.2.", "cbam.ChannelGate.mlp.3.")
    key = key.replace("cbam.channel_gate.mlp.0.", "cbam.ChannelGate.mlp.1.")
    return key.replace("cbam.spatial_gate.", "cbam.SpatialGate.spatial.")


def test_gates_have_the_parameters_of_the_closed_form(skeleton: cbam_resnet.CBAMResNet) -> None:
    gates = [parameters(module) for module in skeleton.modules() if isinstance(module, cbam_resnet.CBAM)]
    assert gates == 3 * [8_564] + 4 * [33_412] + 6 * [132_260] + 3 * [526_564]
    assert parameters(skeleton) - sum(gates) == 23_522_375  # a plain ResNet-50 with seven classes


def test_imagenet_head_gives_the_published_total() -> None:
    with torch.device("meta"):
        assert parameters(cbam_resnet.cbam_resnet50(num_classes=1000)) == 28_089_624


def test_state_dict_has_the_entries_of_the_originals(skeleton: cbam_resnet.CBAMResNet) -> None:
    assert len(skeleton.state_dict()) == 480
    assert sum(buffer.numel() for buffer in skeleton.buffers()) == 53_221


@pytest.mark.parametrize(("num_classes", "macs"), [(7, 4_143_587_362), (1000, 4_145_621_026)])
def test_thop_counts_what_paper_001_prints(num_classes: int, macs: int) -> None:
    thop = pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    with torch.device("meta"):
        network, image = cbam_resnet.cbam_resnet50(num_classes).eval(), torch.empty(1, 3, 224, 224)
    assert thop.profile(network, inputs=(image,), verbose=False)[0] == macs


@pytest.mark.parametrize("input_size", [32, 48, 224])
def test_runs_at_the_input_size_that_it_is_built_for(input_size: int) -> None:
    with torch.device("meta"):
        network = cbam_resnet.cbam_resnet50(input_size=input_size)
        assert network(torch.empty(2, 3, input_size, input_size)).shape == (2, 7)


@pytest.mark.slow
def test_is_the_function_of_pytorchcv_with_converted_weights() -> None:
    providers = pytest.importorskip("pytorchcv.model_provider", reason="the original, pytorchcv, is not installed")
    torch.manual_seed(0)
    original = providers.get_model("cbam_resnet50", num_classes=7).eval()
    randomise(original)
    network = cbam_resnet.cbam_resnet50().eval()
    network.load_state_dict(cbam_resnet.convert_state_dict(original.state_dict()))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, got = original(images), network(images)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_layout_of_the_authors_loads_strictly(skeleton: cbam_resnet.CBAMResNet) -> None:
    ours = skeleton.state_dict()
    theirs = {authors_name(key): value for key, value in ours.items()}
    gates = {re.sub(r"^layer\d+\.\d+\.", "", key) for key in theirs if "cbam" in key}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert gates == {
        *(f"cbam.ChannelGate.mlp.{layer}.{tensor}" for layer in (1, 3) for tensor in ("weight", "bias")),
        "cbam.SpatialGate.spatial.conv.weight",
        *(f"cbam.SpatialGate.spatial.bn.{tensor}" for tensor in norm),
    }
    converted = cbam_resnet.convert_state_dict(theirs)
    assert converted.keys() == ours.keys()
    assert all(converted[key] is ours[key] for key in ours)


def test_convert_keeps_our_keys_and_unknown_ones(skeleton: cbam_resnet.CBAMResNet) -> None:
    unknown = ["epoch", "features.stage1.unit1.new.weight", "layer1.0.bam.SpatialGate.spatial.conv.weight"]
    state: dict[str, Tensor] = {**skeleton.state_dict(), **{key: torch.ones(1) for key in unknown}}
    assert cbam_resnet.convert_state_dict(state).keys() == state.keys()
