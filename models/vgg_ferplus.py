"""VGG13 of the FER+ label set: ten convolutions, four pools, three linear layers.

Paper: Barsoum, Zhang, Canton Ferrer, Zhang. Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution. ICMI 2016, arXiv:1608.01041. Written from layer facts of the authors' public code
(microsoft/FERPlus, MIT).
"""

import torch
from torch import Tensor, nn

# Widths of the 3x3 convolutions of each stage; a 2x2 pool closes the stage.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (256, 256, 256))
_HIDDEN_WIDTH = 1024


class Stage(nn.Sequential):
    """3x3 convolutions with ReLU, a 2x2 max-pool, dropout of a quarter: (N, in, H, W) -> (N, out, H//2, W//2)."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            in_channels = width
        super().__init__(*layers, nn.MaxPool2d(2), nn.Dropout(0.25))


class VGG13FERPlus(nn.Module):
    """Four stages without batch norm, then two hidden linear layers with dropout of a half, then the classes.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        input_size: height and width of the images; the first linear layer is built for it.

    Shapes: images (N, in_channels, input_size, input_size) -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        reduction = 2 ** len(_STAGES)
        if input_size < reduction:
            raise ValueError(
                f"input_size is {input_size}, expected at least {reduction} (four pools halve it); give larger images."
            )
        widths = (in_channels, *(stage[-1] for stage in _STAGES))
        self.features = nn.Sequential(*(Stage(a, stage) for a, stage in zip(widths, _STAGES, strict=False)))
        side = input_size // reduction
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * side * side, _HIDDEN_WIDTH),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN_WIDTH, _HIDDEN_WIDTH),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(images), 1))
        return logits


def vgg13_ferplus(num_classes: int = 7, in_channels: int = 1, input_size: int = 64) -> VGG13FERPlus:
    """VGG13 of FER+: very likely the "VGG-Net" of paper 004."""
    return VGG13FERPlus(num_classes, in_channels, input_size)
