"""Imp-MobileNetV3: the authors' counts, a closed form, and the two attentions against a hand calculation."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import imp_mobilenetv3 as family

# Input, kernel, expansion, output, attention and stride, as in the specs.
BLOCKS = (
    (16, 3, 16, 16, "-", 1),
    (16, 3, 64, 24, "-", 2),
    (24, 3, 72, 24, "-", 1),
    (24, 5, 72, 40, "SE", 2),
    (40, 5, 120, 40, "SE", 1),
    (40, 5, 120, 40, "SE", 1),
    (40, 3, 240, 80, "-", 2),
    (80, 3, 200, 80, "-", 1),
    (80, 3, 184, 80, "CP", 1),
    (80, 3, 184, 80, "CP", 1),
    (80, 3, 480, 112, "CA", 1),
    (112, 3, 672, 112, "CA", 1),
    (112, 5, 672, 80, "CA", 2),
    (80, 5, 480, 80, "CA", 1),
    (80, 5, 480, 80, "CA", 1),
)
SQUEEZED = {72: 24, 120: 32}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def attention_parameters(kind: str, width: int) -> int:
    if kind == "-":
        return 0
    if kind == "SE":
        return 2 * width * SQUEEZED[width] + width + SQUEEZED[width]
    hidden = max(8, width // 32)
    return 3 * width * hidden + hidden + 2 * width + 2 * hidden


@pytest.mark.parametrize(("num_classes", "expected"), [(7, 1_297_092), (8, 1_297_733)])
def test_parameters(num_classes: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(family.imp_mobilenetv3(num_classes)) == expected


def test_parameters_by_part() -> None:
    with torch.device("meta"):
        network = family.imp_mobilenetv3()
    assert parameters(network.stem) == 3 * 16 * 9 + 2 * 16
    for block, (channels, kernel, expanded, out, kind, _) in zip(network.blocks, BLOCKS, strict=True):
        expected = kernel * kernel * expanded + 2 * expanded + expanded * out + 2 * out
        expected += channels * expanded + 2 * expanded if expanded != channels else 0
        assert parameters(block) == expected + attention_parameters(kind, expanded)
    assert parameters(network.tail) == 80 * 480 + 2 * 480
    assert parameters(network.classifier) == 480 * 640 + 640 + 640 * 7 + 7


def test_macs_and_map_sizes() -> None:
    with torch.device("meta"):
        network = family.imp_mobilenetv3().eval()
        images = torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert counter.get_total_flops() == 2 * 183_109_120
    maps = network.stem(images)
    side = 112
    assert maps.shape == (1, 16, side, side)
    for block, (_, _, _, out, _, stride) in zip(network.blocks, BLOCKS, strict=True):
        maps, side = block(maps), side // stride
        assert maps.shape == (1, out, side, side)
    assert side == 7


def test_norms() -> None:
    with torch.device("meta"):
        network = family.imp_mobilenetv3()
    attentions = [m.norm for m in network.modules() if isinstance(m, family.CoordinateAttention)]
    others = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m not in attentions]
    assert {(m.eps, m.momentum) for m in others} == {(1e-3, 0.01)}
    assert {m.eps for m in attentions} == {1e-5}


def hard_swish(x: float) -> float:
    return x * min(max(x + 3, 0), 6) / 6


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("complementary", "rows", "columns"),
    [
        # [[1, 3], [5, 7]]: row means 2 and 6, column means 3 and 5; the shared convolution is 0.1 x + 0.5.
        (False, (0.7, 1.1), (0.8, 1.0)),
        # Row maxima 3 and 7, column maxima 5 and 7: [2, 6 | 5, 7] and [3, 7 | 3, 5], each through the convolution.
        (True, (0.7 + 0.8, 1.1 + 1.2), (1.0 + 0.8, 1.2 + 1.0)),
    ],
)
def test_attention_by_hand(complementary: bool, rows: tuple[float, float], columns: tuple[float, float]) -> None:
    attention = family.CoordinateAttention(1, complementary).eval()
    for parameter in (*attention.reduce.parameters(), *attention.rows.parameters(), *attention.columns.parameters()):
        nn.init.zeros_(parameter)
    with torch.no_grad():
        attention.reduce.weight[0] = 0.1
        attention.reduce.bias[0] = 0.5
        attention.rows.weight[0, 0] = 1
        attention.columns.weight[0, 0] = 2
        gated = attention(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]))
    image = ((1, 3), (5, 7))
    norm = 1 / math.sqrt(1 + 1e-5)  # a fresh batch norm
    for i in range(2):
        for j in range(2):
            row_gate = sigmoid(hard_swish(rows[i] * norm))
            column_gate = sigmoid(2 * hard_swish(columns[j] * norm))
            assert gated[0, 0, i, j].item() == pytest.approx(image[i][j] * row_gate * column_gate, rel=1e-5)


def test_attention_of_an_oblong_map() -> None:
    x = torch.rand(2, 64, 3, 5)
    for complementary in (False, True):
        attention = family.CoordinateAttention(64, complementary).eval()
        gated = attention(x)
        assert gated.shape == x.shape
        transposed = family.CoordinateAttention(64, complementary).eval()
        transposed.load_state_dict(attention.state_dict())
        transposed.rows, transposed.columns = transposed.columns, transposed.rows
        # Rows and columns play the same part.
        torch.testing.assert_close(transposed(x.transpose(2, 3)).transpose(2, 3), gated)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.imp_mobilenetv3(in_channels=in_channels).train()
    logits = network(torch.rand(2, in_channels, 64, 64))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
