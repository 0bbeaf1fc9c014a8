"""PAtt-Lite: counts, paddings, the trunk against another MobileNetV1, and what its attention mixes."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import patt_lite


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def keras_total(network: nn.Module) -> int:
    statistics = (buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return trainable(network) + sum(buffer.numel() for buffer in statistics)


def macs(network: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


def meta_network(num_classes: int = 7) -> patt_lite.PAttLite:
    with torch.device("meta"):
        return patt_lite.patt_lite(num_classes)


@pytest.mark.parametrize(("num_classes", "total"), [(6, 1_102_631), (7, 1_102_664), (8, 1_102_697)])
def test_totals(num_classes: int, total: int) -> None:
    assert keras_total(meta_network(num_classes)) == total


def test_parts() -> None:
    network = meta_network()
    assert trainable(network) == 1_093_000
    assert keras_total(network.trunk) == 821_952
    assert keras_total(network.trunk) - trainable(network.trunk) == 9_600
    layers = list(network.patch)
    counts = [keras_total(layer) for layer in layers if keras_total(layer)]
    assert (sum(counts[:2]), sum(counts[2:4]), sum(counts[4:])) == (139_520, 66_816, 65_792)
    assert keras_total(network.reduce) == 8_224 + 128
    assert keras_total(network.attention) == 1
    assert keras_total(network.classifier) == 231
    # What is left to train while the trunk is frozen.
    assert trainable(network) - trainable(network.trunk) == 280_648


def test_macs() -> None:
    network = meta_network()
    assert macs(network, 1, 3, 224, 224) == 336_786_720
    assert macs(network.trunk, 1, 3, 224, 224) == 334_021_632


def test_map_sizes() -> None:
    network = meta_network()
    maps = network.trunk(torch.empty(1, 3, 224, 224, device="meta"))
    assert maps.shape == (1, 512, 14, 14)
    assert [tuple(network.patch[:stop](maps).shape[1:]) for stop in (4, 7, 9)] == [
        (256, 4, 4),
        (256, 2, 2),
        (256, 2, 2),
    ]


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "before", "after"),
    [(3, 2, 224, 0, 1), (3, 2, 225, 1, 1), (4, 4, 14, 1, 1), (4, 4, 16, 0, 0), (4, 4, 13, 1, 2), (4, 4, 5, 1, 2)],
)
def test_same_padding(kernel: int, stride: int, size: int, before: int, after: int) -> None:
    padded = patt_lite.SamePad2d(kernel, stride)(torch.ones(1, 1, size, size))
    assert padded.shape[-1] == before + size + after
    assert torch.equal(padded[0, 0].sum(0) > 0, torch.tensor([False] * before + [True] * size + [False] * after))


def test_trunk_equals_a_mirrored_mobilenet() -> None:
    """pytorchcv pads before, Keras after: on even maps one is the mirror image of the other."""
    mobilenet = pytest.importorskip("pytorchcv.models.mobilenet")
    torch.manual_seed(0)
    # In float64: in float32 the order of the sums, which differs between processors, is worth 1e-5.
    reference = mobilenet.mobilenet_w1(pretrained=False).double().eval()
    trunk = patt_lite.MobileNetTrunk(3).double().eval()
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    theirs = [module for module in reference.modules() if isinstance(module, kinds)]
    ours = [module for module in trunk.modules() if isinstance(module, kinds)]
    for source, target in zip(theirs, ours, strict=False):
        if isinstance(source, nn.BatchNorm2d):
            source.eps = 1e-3
            nn.init.uniform_(source.weight, 0.5, 2.0)
            nn.init.uniform_(source.bias, -0.2, 0.5)
        target.load_state_dict(source.state_dict())
        if isinstance(target, nn.Conv2d):
            target.weight.data = target.weight.data.flip(2, 3)
    for module in reference.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.ReLU6())
    captured: list[Tensor] = []
    dw_of_ninth = [module for module in reference.modules() if isinstance(module, nn.ReLU6)][len(ours) // 2 - 1]
    dw_of_ninth.register_forward_hook(lambda *call: captured.append(call[-1]))
    images = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        reference.features[:-1](images)
        maps = trunk(images.flip(2, 3)).flip(2, 3)
    assert maps.shape == (1, 512, 6, 6)
    assert maps.std() > 1e-3
    torch.testing.assert_close(maps, captured[0])


def test_token_attention_is_the_identity_and_its_scale_learns_nothing() -> None:
    attention = patt_lite.DotProductAttention("token")
    features = torch.randn(4, 32)
    output = attention(features)
    assert torch.equal(output, features)
    output.square().sum().backward()
    assert attention.scale.grad is not None
    assert attention.scale.grad.item() == 0


def test_batch_attention_is_a_softmax_over_the_samples() -> None:
    attention = patt_lite.DotProductAttention("batch")
    features = torch.randn(4, 32) / 4
    torch.testing.assert_close(attention(features), torch.softmax(features @ features.T, dim=1) @ features)
    nn.init.constant_(attention.scale, 0.0)
    torch.testing.assert_close(attention(features), features.mean(0).expand(4, -1))
    nn.init.ones_(attention.scale)
    attention(features).square().sum().backward()
    assert attention.scale.grad is not None
    assert attention.scale.grad.item() != 0


@pytest.mark.parametrize("attention", ["token", "batch"])
def test_only_batch_attention_leaks_between_samples(attention: str) -> None:
    torch.manual_seed(0)
    network = patt_lite.patt_lite(attention=attention).eval()
    images = torch.randn(3, 3, 80, 80)
    changed = images.clone()
    changed[2] = 8 * torch.randn(3, 80, 80)
    for module in network.modules():
        # A fresh trunk has nearly silent outputs; a louder one lets the samples differ.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 4.0)
    with torch.no_grad():
        before, after = network(images), network(changed)
    leaked = (before[:2] - after[:2]).abs().max()
    assert (leaked > 1e-4) if attention == "batch" else (leaked < 1e-6)


def test_unknown_attention() -> None:
    with pytest.raises(ValueError, match=r"'token'.*'batch'"):
        patt_lite.patt_lite(attention="none")


@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_image(channels: int) -> None:
    with torch.device("meta"):
        network = patt_lite.patt_lite(num_classes=5, in_channels=channels)
        assert network(torch.empty(2, channels, 79, 79)).shape == (2, 5)
        with pytest.raises(RuntimeError):
            network(torch.empty(2, channels, 78, 78))


def test_training_step_reaches_every_parameter() -> None:
    network = meta_network().train()
    network(torch.empty(2, 3, 80, 80, device="meta")).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
