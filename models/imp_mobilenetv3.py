"""Imp-MobileNetV3: MobileNetV3-Large with half the tail, coordinate attention and complementary pooling.

Paper: Liang, Liang, Yin, Tang. A lightweight method for face expression recognition based on improved MobileNetV3.
IET Image Processing 17(8):2375, 2023, doi:10.1049/ipr2.12798. Written from layer facts of the authors' public
repository (RIS-LAB1/FER-mobilenet), which carries no licence: nothing of its text is used here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Input width, kernel, expanded width, output width, attention and stride of the inverted residual blocks.
_BLOCKS = (
    (16, 3, 16, 16, None, 1),
    (16, 3, 64, 24, None, 2),
    (24, 3, 72, 24, None, 1),
    (24, 5, 72, 40, "squeeze", 2),
    (40, 5, 120, 40, "squeeze", 1),
    (40, 5, 120, 40, "squeeze", 1),
    (40, 3, 240, 80, None, 2),
    (80, 3, 200, 80, None, 1),
    (80, 3, 184, 80, "complementary", 1),
    (80, 3, 184, 80, "complementary", 1),
    (80, 3, 480, 112, "coordinate", 1),
    (112, 3, 672, 112, "coordinate", 1),
    (112, 5, 672, 80, "coordinate", 2),
    (80, 5, 480, 80, "coordinate", 1),
    (80, 5, 480, 80, "coordinate", 1),
)
_TAIL_WIDTH = 480
_HIDDEN_WIDTH = 640


class ConvUnit(nn.Sequential):
    """Convolution without bias and batch norm, then h-swish unless `linear`: strides as nn.Conv2d with half padding."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
            nn.Identity() if linear else nn.Hardswish(inplace=True),
        )


class SqueezeExcitation(nn.Module):
    """Channel gate from the global mean: (N, C, H, W) -> (N, C, H, W). A quarter of C, rounded up to eights, inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = -(-channels // 32) * 8
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.excite(pooled))


class CoordinateAttention(nn.Module):
    """One gate for each row and one for each column of every channel: (N, C, H, W) -> (N, C, H, W).

    Rows and columns are summed up by their means. The complementary form adds a second summary, read by the same
    convolution: [row means, column maxima] plus [row maxima, column means].
    """

    def __init__(self, channels: int, complementary: bool = False) -> None:
        super().__init__()
        hidden = max(8, channels // 32)
        self.complementary = complementary
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        row_means, column_means = x.mean(3), x.mean(2)
        if self.complementary:
            row_maxima, column_maxima = x.amax(3), x.amax(2)
            reduced = self._reduce(row_means, column_maxima) + self._reduce(row_maxima, column_means)
        else:
            reduced = self._reduce(row_means, column_means)
        reduced = F.hardswish(self.norm(reduced))
        row_gates = torch.sigmoid(self.rows(reduced[:, :, :height]))
        column_gates = torch.sigmoid(self.columns(reduced[:, :, height:])).transpose(2, 3)
        return x * row_gates * column_gates

    def _reduce(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(N, C, H) and (N, C, W), laid end to end -> (N, hidden, H + W, 1)."""
        reduced: Tensor = self.reduce(torch.cat([rows, columns], dim=2).unsqueeze(3))
        return reduced


def _attention(kind: str | None, channels: int) -> nn.Module:
    if kind is None:
        return nn.Identity()
    if kind == "squeeze":
        return SqueezeExcitation(channels)
    return CoordinateAttention(channels, complementary=kind == "complementary")


class InvertedResidual(nn.Module):
    """1x1 expansion (left out where it would not widen), depth-wise kxk, attention, linear 1x1 projection.

    The input is added where stride and width allow: (N, in, H, W) -> (N, out, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(
        self, in_channels: int, kernel: int, expanded: int, out_channels: int, attention: str | None, stride: int
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.body = nn.Sequential(
            ConvUnit(in_channels, expanded, 1) if expanded != in_channels else nn.Identity(),
            ConvUnit(expanded, expanded, kernel, stride, groups=expanded),
            _attention(attention, expanded),
            ConvUnit(expanded, out_channels, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class ImpMobileNetV3(nn.Module):
    """Strided stem, fifteen inverted residual blocks, 1x1 convolution, global average pool, two linear layers.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = ConvUnit(in_channels, _BLOCKS[0][0], 3, stride=2)
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in _BLOCKS))
        self.tail = ConvUnit(_BLOCKS[-1][3], _TAIL_WIDTH, 1)
        self.classifier = nn.Sequential(
            nn.Linear(_TAIL_WIDTH, _HIDDEN_WIDTH),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(_HIDDEN_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.tail(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1))
        return logits


def imp_mobilenetv3(num_classes: int = 7, in_channels: int = 3) -> ImpMobileNetV3:
    """Imp-MobileNetV3, as in the authors' repository (8 classes for FERPlus there, 7 for RAF-DB)."""
    return ImpMobileNetV3(num_classes, in_channels)
