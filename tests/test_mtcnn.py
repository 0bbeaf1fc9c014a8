"""MTCNN: counts, the sizes of maps that pools round up, and weights in facenet-pytorch's layout."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import mtcnn as family


@pytest.mark.parametrize(
    ("entry", "side", "expected", "prelus", "macs"),
    [
        (family.mtcnn_pnet, 12, 6_632, 58, 44_760),
        (family.mtcnn_rnet, 24, 100_178, 268, 1_530_768),
        (family.mtcnn_onet, 48, 389_040, 544, 12_909_952),
    ],
)
def test_counts_of_the_specs(entry: Callable[..., nn.Module], side: int, expected: int, prelus: int, macs: int) -> None:
    with torch.device("meta"):
        network = entry().eval()
        crops = torch.empty(1, 3, side, side)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.PReLU)) == prelus
    with FlopCounterMode(display=False) as counter:
        network(crops)
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize(
    ("entry", "sides"),
    [
        (family.mtcnn_pnet, [12, 10, 5, 3, 1]),
        (family.mtcnn_rnet, [24, 22, 11, 9, 4, 3]),
        (family.mtcnn_onet, [48, 46, 23, 21, 10, 8, 4, 3]),
    ],
)
def test_map_sizes(entry: Callable[..., family.RNet], sides: list[int]) -> None:
    with torch.device("meta"):
        network = entry()
        maps = torch.empty(1, 3, sides[0], sides[0])
    measured = [sides[0]]
    for layer in network.features:
        maps = layer(maps)
        if not isinstance(layer, nn.PReLU):
            measured.append(maps.shape[-1])
    assert measured == sides


def test_pnet_slides_over_an_image() -> None:
    network = family.mtcnn_pnet().eval()
    image = torch.rand(1, 3, 20, 31)
    with torch.no_grad():
        face, box = network(image)
        window_face, window_box = network(image[..., 4:16, 10:22])
    height, width = math.ceil(18 / 2) - 4, math.ceil(29 / 2) - 4
    assert face.shape == (1, 2, height, width)
    assert box.shape == (1, 4, height, width)
    torch.testing.assert_close(face[..., 2, 5], window_face[..., 0, 0])  # a cell is two pixels
    torch.testing.assert_close(box[..., 2, 5], window_box[..., 0, 0])


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("entry", "side", "shapes"),
    [
        (family.mtcnn_pnet, 12, [(2, 2, 1, 1), (2, 4, 1, 1)]),
        (family.mtcnn_rnet, 24, [(2, 2), (2, 4)]),
        (family.mtcnn_onet, 48, [(2, 2), (2, 4), (2, 10)]),
    ],
)
def test_trains(entry: Callable[..., nn.Module], side: int, shapes: list[tuple[int, ...]], in_channels: int) -> None:
    network = entry(in_channels=in_channels).train()
    heads = network(torch.rand(2, in_channels, side, side))
    torch.cat([head.flatten() for head in heads]).sum().backward()
    assert [head.shape for head in heads] == shapes
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(("entry", "smallest"), [(family.mtcnn_rnet, 14), (family.mtcnn_onet, 28)])
def test_other_crop_sizes(entry: Callable[..., nn.Module], smallest: int) -> None:
    with torch.device("meta"):
        for side in (smallest, 37, 64):
            assert entry(input_size=side)(torch.empty(2, 3, side, side))[0].shape == (2, 2)
    with pytest.raises(ValueError, match=f"is {smallest - 1}, expected at least {smallest}"):
        entry(input_size=smallest - 1)


def facenet_onet(weights: dict[str, Tensor], crops: Tensor) -> list[Tensor]:
    """O-Net as facenet-pytorch runs it, from the facts of the specs: the linear layer reads W, H, C."""
    x = crops
    for number, (kernel, stride) in enumerate([(3, 2), (3, 2), (2, 2), (0, 0)], start=1):
        x = F.conv2d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        x = F.prelu(x, weights[f"prelu{number}.weight"])
        if kernel:
            x = F.max_pool2d(x, kernel, stride, ceil_mode=True)
    x = F.linear(x.permute(0, 3, 2, 1).flatten(1), weights["dense5.weight"], weights["dense5.bias"])
    x = F.prelu(x, weights["prelu5.weight"])
    return [F.linear(x, weights[f"dense6_{n}.weight"], weights[f"dense6_{n}.bias"]) for n in (1, 2, 3)]


def test_facenet_onet_gives_the_same() -> None:
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, out, inner, kernel in [
        ("conv1", 32, 3, 3),
        ("conv2", 64, 32, 3),
        ("conv3", 64, 64, 3),
        ("conv4", 128, 64, 2),
    ]:
        shapes |= {f"{name}.weight": (out, inner, kernel, kernel), f"{name}.bias": (out,)}
    for name, out, inner in [("dense5", 256, 1152), ("dense6_1", 2, 256), ("dense6_2", 4, 256), ("dense6_3", 10, 256)]:
        shapes |= {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}
    for number, width in enumerate([32, 64, 64, 128, 256], start=1):
        shapes[f"prelu{number}.weight"] = (width,)
    weights = {key: 0.1 * torch.randn(shape) for key, shape in shapes.items()}
    network = family.mtcnn_onet().eval()
    network.load_state_dict(family.convert_state_dict(weights))
    crops = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        for ours, theirs in zip(network(crops), facenet_onet(weights, crops), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("entry", "renamed"),
    [
        (family.mtcnn_pnet, {"face": "conv4_1", "box": "conv4_2"}),
        (family.mtcnn_rnet, {"dense": "dense4", "prelu": "prelu4", "face": "dense5_1", "box": "dense5_2"}),
        (
            family.mtcnn_onet,
            {"dense": "dense5", "prelu": "prelu5", "face": "dense6_1", "box": "dense6_2", "landmarks": "dense6_3"},
        ),
    ],
)
def test_facenet_keys(entry: Callable[..., nn.Module], renamed: dict[str, str]) -> None:
    with torch.device("meta"):
        ours = entry().state_dict()
    theirs = {}
    for key, value in ours.items():
        module, _, leaf = key.removeprefix("features.").partition(".")
        theirs[f"{renamed.get(module, module)}.{leaf}"] = value
    converted = family.convert_state_dict({**theirs, "stranger": torch.empty(0)})
    assert list(converted) == [*ours, "stranger"]
    assert all(converted[key].shape == value.shape for key, value in ours.items())
    assert family.convert_state_dict(ours) == dict(ours)
