"""DenseNet-1 of the LER (lightweight emotion recognition) paper: a reconstruction.

Paper: Zhao, Yang, Yu. Expression Recognition Method Based on a Lightweight Convolutional Neural Network.
IEEE Access 8:38528, 2020. Only its abstract was available. The plan fits all four figures that paper 004 prints (36
convolutions, 4 pools, one linear layer, 95,263 parameters) and was the only regular one in a search; that it is the
original's is not proven.
Keras conventions: every convolution has a bias, batch norm with eps 1e-3 and momentum 0.99.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEM_WIDTH = 64
_GROWTH = 8
_BOTTLENECK = 4 * _GROWTH
_LAYERS = (4, 4, 4, 4)


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU(inplace=True))


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3, joined to the input: (N, C, H, W) -> (N, C + 8, H, W)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _norm_relu(in_channels),
            nn.Conv2d(in_channels, _BOTTLENECK, 1),
            _norm_relu(_BOTTLENECK),
            nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], dim=1)


class Transition(nn.Sequential):
    """BN-ReLU-1x1 to half the channels, 2x2 average pool: (N, C, H, W) -> (N, C//2, H//2, W//2)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(_norm_relu(in_channels), nn.Conv2d(in_channels, in_channels // 2, 1), nn.AvgPool2d(2))


class DenseNetLER(nn.Module):
    """Strided 7x7 stem, four dense blocks with transitions between, global average pool, one linear layer.

    Shapes: images (N, in_channels, H, W), H and W at least 15 -> logits (N, num_classes). A 48x48 image ends in a 3x3
    map of 68 channels.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, _STEM_WIDTH, 7, stride=2, padding=3),
            nn.BatchNorm2d(_STEM_WIDTH, eps=1e-3, momentum=0.01),
            nn.ReLU(inplace=True),
        )
        width = _STEM_WIDTH
        parts: list[nn.Module] = []
        for number, layers in enumerate(_LAYERS):
            if number > 0:
                parts.append(Transition(width))
                width //= 2
            parts.append(nn.Sequential(*(DenseLayer(width + _GROWTH * layer) for layer in range(layers))))
            width += _GROWTH * layers
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(self.stem(images))
        logits: Tensor = self.classifier(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1))
        return logits


def densenet1_ler(num_classes: int = 7, in_channels: int = 3) -> DenseNetLER:
    """DenseNet-1 of the LER paper, fitted to the DenseNet-1 row of paper 004."""
    return DenseNetLER(num_classes, in_channels)
