"""RARN, the Rotation-Aware Residual Network.

Paper: Zhu. RARN: Lightweight Deep Residual Learning with Attention for Human Emotions Recognition. EMITI 2024 (paper
002); no code of it is public. Built from the paper's prose, which leaves widths, kernels and the input size open; the
sheet names what was chosen. The backbone is torchvision's ResNet-152 (BSD-3-Clause), or on request a smaller one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_WIDTH = 256


class AngleSensitiveAttention(nn.Module):
    """Weights the positions of a map by a mask of one channel: (N, C, H, W) -> the same shape.

    A convolution makes the "angle" map; its mean and maximum over the channels, convolved and squashed, are the mask of
    the input map. Nothing in these operations is equivariant or invariant to rotation, whatever the name says.
    """

    def __init__(self, channels: int, angle_kernel: int) -> None:
        super().__init__()
        self.angle = nn.Sequential(
            nn.Conv2d(channels, channels, angle_kernel, padding=angle_kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.mask = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        angle = self.angle(x)
        pooled = torch.cat((angle.mean(1, keepdim=True), angle.amax(1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.mask(pooled))


class RARN(nn.Module):
    """A ResNet, top-down fusion of its levels, attention on the finest fused map, global average pool, classifier.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        levels: 5 fuses the stem's map (before its pool) and the four stages, 4 the stages only.
        smoothing: a 3x3 convolution on the fused map.
        angle_kernel: kernel of the attention's first convolution, an odd number.
        backbone: of `BACKBONES`; the paper's is ResNet-152.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        levels: int,
        smoothing: bool,
        angle_kernel: int,
        backbone: str = "resnet152",
    ) -> None:
        super().__init__()
        if levels not in (4, 5):
            raise ValueError(f"levels is {levels}: give 5 (the stem and four stages) or 4 (the stages only)")
        if angle_kernel % 2 == 0:
            raise ValueError(f"angle_kernel is {angle_kernel}: give an odd number, so that the map keeps its size")
        if backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {backbone!r}: give one of {', '.join(BACKBONES)}")
        trunk = getattr(models, backbone)(weights=None)
        if in_channels != 3:
            trunk.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu)
        self.pool = trunk.maxpool
        self.stages = nn.ModuleList([trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4])
        # The last stage's width is the input of torchvision's classifier; each stage before has half of it.
        widths = (64, *(trunk.fc.in_features >> halvings for halvings in (3, 2, 1, 0)))
        self.laterals = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in widths[-levels:])
        self.smooth = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1) if smoothing else nn.Identity()
        self.attention = AngleSensitiveAttention(_WIDTH, angle_kernel)
        self.classifier = nn.Linear(_WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = [self.stem(images)]
        x = self.pool(maps[0])
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        reduced = [lateral(level) for lateral, level in zip(self.laterals, maps[-len(self.laterals) :], strict=True)]
        fused = reduced.pop()
        while reduced:
            finer = reduced.pop()
            # To the exact size of the finer map: at 48x48 the coarsest steps are 2 -> 3 and 3 -> 6.
            fused = F.interpolate(fused, size=finer.shape[-2:], mode="nearest") + finer
        fused = self.attention(self.smooth(fused))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(fused, 1), 1))


def rarn(
    num_classes: int = 7,
    in_channels: int = 3,
    levels: int = 5,
    smoothing: bool = True,
    angle_kernel: int = 3,
    backbone: str = "resnet152",
) -> RARN:
    """RARN of paper 002, as far as the paper says; the paper leaves all named options open but the backbone."""
    return RARN(num_classes, in_channels, levels, smoothing, angle_kernel, backbone)
