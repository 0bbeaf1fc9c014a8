"""mini-Xception and tiny-Xception.

Paper: Arriaga, Valdenegro-Toro, Ploeger. Real-time Convolutional Neural Networks for Emotion and Gender Classification.
arXiv:1710.07557, 2017. Built from the layer facts of the authors' public code (MIT) and of its stored checkpoints.
Keras conventions: batch norm with eps 1e-3 and momentum 0.99, "same" padding that puts the odd pixel at the end.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SeparableConv2d(nn.Sequential):
    """Depth-wise 3x3, then point-wise 1x1, with nothing between and no bias: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
        )


class SameMaxPool2d(nn.Module):
    """3x3 max-pool of stride 2 with Keras's "same" padding: (N, C, H, W) -> (N, C, ceil(H/2), ceil(W/2)).

    An even side is padded at its end only, an odd one at both: PyTorch's symmetric padding would shift even maps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self.pool(F.pad(x, (width % 2, 1, height % 2, 1), value=float("-inf")))


class ResidualModule(nn.Module):
    """Two separable convolutions and a pool beside a strided 1x1 shortcut; no activation after the sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=2, bias=False), _batch_norm(out_channels)
        )
        self.body = nn.Sequential(
            SeparableConv2d(in_channels, out_channels),
            _batch_norm(out_channels),
            nn.ReLU(inplace=True),
            SeparableConv2d(out_channels, out_channels),
            _batch_norm(out_channels),
            SameMaxPool2d(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class Xception(nn.Module):
    """Stem of two valid 3x3 convolutions, residual modules, a convolution to the classes, global average pool.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        stem_widths: output channels of the two stem convolutions.
        module_widths: output channels of the residual modules; each halves the map.

    Shapes: images (N, in_channels, H, W), H and W at least 5 -> logits (N, num_classes). The originals end in a
    softmax, which is left to the loss here.
    """

    def __init__(
        self, num_classes: int, in_channels: int, stem_widths: tuple[int, int], module_widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        first, second = stem_widths
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, bias=False),
            _batch_norm(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, bias=False),
            _batch_norm(second),
            nn.ReLU(inplace=True),
        )
        widths = (second, *module_widths)
        self.stages = nn.Sequential(*(ResidualModule(a, b) for a, b in zip(widths, module_widths, strict=False)))
        self.classifier = nn.Conv2d(widths[-1], num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.classifier(self.stages(self.stem(images)))
        return torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1)


def mini_xception(num_classes: int = 7, in_channels: int = 1) -> Xception:
    """mini-Xception: "our model" of paper 004."""
    return Xception(num_classes, in_channels, (8, 8), (16, 32, 64, 128))


def tiny_xception(num_classes: int = 7, in_channels: int = 1) -> Xception:
    """tiny-Xception: the narrower sibling in the same public code."""
    return Xception(num_classes, in_channels, (5, 5), (8, 16, 32, 64))
