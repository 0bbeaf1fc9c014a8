"""simple_CNN, a stand-in for the "CNN" of paper 004.

Paper 004 says nothing of its CNN's layers. This is the plain network of the public code that paper 004's own model
agrees with: oarriaga/face_classification (MIT), beside Arriaga, Valdenegro-Toro, Ploeger, arXiv:1710.07557. Written
from its layer facts.
Keras conventions: batch norm with eps 1e-3 and momentum 0.99, "same" padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Width and kernel of each pair of convolutions.
_PAIRS = ((16, 7), (32, 5), (64, 3), (128, 3))
_LAST_WIDTH = 256


class ConvNorm(nn.Sequential):
    """Convolution with bias that keeps the size, then batch norm: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
            nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
        )


class Pair(nn.Sequential):
    """Two convolutions with nothing between, ReLU, 2x2 average pool, dropout of a half: sides halve, rounded up.

    A pool that reaches over the edge of an odd map averages what lies inside, as Keras's "same" padding does.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(
            ConvNorm(in_channels, out_channels, kernel),
            ConvNorm(out_channels, out_channels, kernel),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2, ceil_mode=True),
            nn.Dropout(0.5),
        )


class SimpleCNN(nn.Module):
    """Four pairs, one more convolution, one to the classes, global average pool.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes). The original ends in a softmax, which is left to
    the loss here. No activation stands behind the ninth batch norm.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        widths = (in_channels, *(width for width, _ in _PAIRS))
        self.pairs = nn.Sequential(*(Pair(a, b, kernel) for a, (b, kernel) in zip(widths, _PAIRS, strict=False)))
        self.last = ConvNorm(widths[-1], _LAST_WIDTH, 3)
        self.classifier = nn.Conv2d(_LAST_WIDTH, num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.classifier(self.last(self.pairs(images)))
        return torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1)


def simple_cnn(num_classes: int = 7, in_channels: int = 1) -> SimpleCNN:
    """simple_CNN of oarriaga/face_classification."""
    return SimpleCNN(num_classes, in_channels)
