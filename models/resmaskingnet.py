"""ResMaskingNet: a ResNet-34 whose four stages are each weighted by a small U-Net.

Paper: Pham, Vu, Tran. Facial Expression Recognition Using Residual Masking Network. ICPR 2020,
doi:10.1109/ICPR48806.2021.9411919. Built from the layer facts of the authors' public code (MIT), network
`resmasking_dropout1`, with its key names. That code registers each projection of a mask under two names, so that
counters which walk names meet it twice; here every layer has one name.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, in, H, W) -> (N, out, H/stride, W/stride).

    Args:
        in_channels, out_channels: widths.
        stride: of the first convolution and of the projection.
        project: shortcut by a 1x1 convolution with batch norm; else the input itself.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


class Mask(nn.ModuleDict):
    """U-Net that ends in a softmax over the channels: (N, C, H, W) -> (N, C, H, W).

    Going down, each of `depth` levels doubles the channels, with a 2x2 max-pool between two levels; going up, a
    transposed convolution doubles the side and the level's own output is put beside it. H and W must be multiples of
    2 ** (depth - 1). Blocks are numbered as in the original: conv1 to conv{depth} down, then up; an up_pool has the
    number of the block that follows it.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        for level in range(1, depth + 1):
            wide = channels * 2**level
            self[f"conv{level}"] = BasicBlock(wide // 2, wide, 1, project=True)
        for level in range(depth, 1, -1):
            wide, number = channels * 2**level, 2 * depth + 1 - level
            self[f"up_pool{number}"] = nn.Sequential(
                nn.ConvTranspose2d(wide, wide // 2, 2, stride=2), nn.BatchNorm2d(wide // 2), nn.ReLU(inplace=True)
            )
            self[f"conv{number}"] = BasicBlock(wide, wide // 2, 1, project=True)
        self[f"conv{2 * depth}"] = BasicBlock(2 * channels, channels, 1, project=True)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self["conv1"](x)]
        for level in range(2, self.depth + 1):
            levels.append(self[f"conv{level}"](F.max_pool2d(levels[-1], 2)))
        out = levels.pop()
        for number in range(self.depth + 1, 2 * self.depth):
            out = torch.cat([self[f"up_pool{number}"](out), levels.pop()], dim=1)
            out = self[f"conv{number}"](out)
        return torch.softmax(self[f"conv{2 * self.depth}"](out), dim=1)


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    stride = 1 if in_channels == out_channels else 2
    first = BasicBlock(in_channels, out_channels, stride, project=stride > 1)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1, project=False) for _ in range(1, blocks)))


class ResMaskingNet(nn.Module):
    """ResNet-34 with a mask m after each stage: the stage's map x goes on as x * (1 + m).

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes). The masks halve and double their maps exactly, so
    H and W must be multiples of 32, or at most three less.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, 3)
        self.mask1 = Mask(64, depth=4)
        self.layer2 = _stage(64, 128, 4)
        self.mask2 = Mask(128, depth=3)
        self.layer3 = _stage(128, 256, 6)
        self.mask3 = Mask(256, depth=2)
        self.layer4 = _stage(256, 512, 3)
        self.mask4 = Mask(512, depth=1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(512, num_classes))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for mask in (self.mask1, self.mask2, self.mask3, self.mask4):
            for module in mask.modules():
                if isinstance(module, BasicBlock):
                    nn.init.zeros_(module.bn2.weight)  # every residual branch of a mask starts silent

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True))
        x = self.layer1(x)
        x = x * (1 + self.mask1(x))
        x = self.layer2(x)
        x = x * (1 + self.mask2(x))
        x = self.layer3(x)
        x = x * (1 + self.mask3(x))
        x = self.layer4(x)
        x = x * (1 + self.mask4(x))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resmaskingnet(num_classes: int = 7, in_channels: int = 3) -> ResMaskingNet:
    """ResMaskingNet as released: dropout 0.4 before the classifier."""
    return ResMaskingNet(num_classes, in_channels)


_SECOND_NAME = re.compile(r"^(mask\d+\.)downsample(\d+)(\..+)")


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Key names of the authors' checkpoints to ours: leaves out the second name of each mask's projections.

    The originals hold `mask1.downsample2.0.weight` beside `mask1.conv2.downsample.0.weight`, one tensor twice. A second
    name whose first name is missing is kept under the first.
    """
    converted = {key: value for key, value in state_dict.items() if not _SECOND_NAME.match(key)}
    for key, value in state_dict.items():
        converted.setdefault(_SECOND_NAME.sub(r"\1conv\2.downsample\3", key), value)
    return converted
