"""A network in the style of MobiExpressNet: a reconstruction, not the original.

Paper: Cotter. MobiExpressNet: A Deep Learning Network for Face Expression Recognition on Smart Phones. ICCE 2020,
doi:10.1109/ICCE46568.2020.9042973. No layer table and no code of it was available. This is one of many plans that fit
the two figures that paper 001 prints (75.08K parameters, 1.09M operations), in the manner of Keras's MobileNetV1.
Keras conventions: batch norm with eps 1e-3 and momentum 0.99.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Output channels and stride of the separable blocks.
_BLOCKS = ((32, 2), (32, 1), (32, 2), (32, 2), (48, 1), (160, 1), (160, 1), (160, 1))
_STEM_WIDTH = 24


class ConvUnit(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: (N, in, H, W) -> (N, out, ceil(H/stride), ceil(W/stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
            nn.ReLU(inplace=True),
        )


class SeparableBlock(nn.Sequential):
    """Depth-wise 3x3 that carries the stride, then point-wise 1x1; each with its own batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            ConvUnit(in_channels, in_channels, 3, stride, groups=in_channels), ConvUnit(in_channels, out_channels, 1)
        )


class MobiExpressNet(nn.Module):
    """Strided 3x3 stem, eight separable blocks, global average pool, one linear layer.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes). A 48x48 image ends in a 3x3 map.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = ConvUnit(in_channels, _STEM_WIDTH, 3, stride=2)
        width = _STEM_WIDTH
        blocks = []
        for out_channels, stride in _BLOCKS:
            blocks.append(SeparableBlock(width, out_channels, stride))
            width = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem(images))
        logits: Tensor = self.classifier(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1))
        return logits


def mobiexpressnet(num_classes: int = 7, in_channels: int = 1) -> MobiExpressNet:
    """MobiExpressNet-style network, fitted to the MobiExpressNet row of paper 001."""
    return MobiExpressNet(num_classes, in_channels)
