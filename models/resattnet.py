"""Residual Attention Network, the 56-layer variant.

Paper: Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang. Residual Attention Network for Image Classification. CVPR 2017,
arXiv:1704.06904. Built from the layer facts of pytorchcv's `resattnet56` (MIT), the build that the FER papers count.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck: (N, in, H, W) -> (N, out, H/stride, W/stride).

    Nothing follows the sum. Where width or side changes, the shortcut is a 1x1 convolution of the input after its first
    batch norm and ReLU; elsewhere it is the input itself.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        middle = out_channels // 4
        self.projects = in_channels != out_channels or stride != 1
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, middle, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, out_channels, 1, bias=False)
        if self.projects:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        shortcut = self.projection(active) if self.projects else x
        out = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        total: Tensor = self.conv3(F.relu(self.bn3(out), inplace=True)) + shortcut
        return total


def _gate_layers(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1, bias=False)]


class AttentionModule(nn.Module):
    """A trunk weighted by 1 + the sigmoid of an hourglass: (N, C, H, W) -> (N, C, H, W).

    Args:
        channels: width C, the same throughout.
        depth: how often the hourglass halves the side before it goes up again.

    On the way up each level adds the map that it meets on the way down, once raw and once through a unit of its own;
    the last step adds the trunk's output.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.first = ResidualUnit(channels, channels)
        self.trunk = nn.Sequential(ResidualUnit(channels, channels), ResidualUnit(channels, channels))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.down = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth))
        self.lateral = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth - 1))
        self.up = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth))
        self.gate = nn.Sequential(*_gate_layers(channels), *_gate_layers(channels))
        self.last = ResidualUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        trunk = self.trunk(x)
        skips = [trunk]
        for down, lateral in zip(self.down, self.lateral, strict=False):
            x = down(self.pool(x))
            skips.append(x + lateral(x))
        x = self.down[-1](self.pool(x))
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            # To the size of the skip: twice the side, except where an odd side was halved.
            x = F.interpolate(up(x), size=skip.shape[-2:], mode="bilinear", align_corners=True) + skip
        out: Tensor = self.last((1 + torch.sigmoid(self.gate(x))) * trunk)
        return out


class ResidualAttentionNet(nn.Module):
    """Four stages of residual units, the first three with one attention module each.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        input_size: side of the images; the window of the last average pool is a 32nd of it, rounded up.

    Shapes: images (N, in_channels, input_size, input_size) -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            nn.Sequential(ResidualUnit(64, 256), AttentionModule(256, depth=3)),
            nn.Sequential(ResidualUnit(256, 512, stride=2), AttentionModule(512, depth=2)),
            nn.Sequential(ResidualUnit(512, 1024, stride=2), AttentionModule(1024, depth=1)),
            nn.Sequential(ResidualUnit(1024, 2048, stride=2), ResidualUnit(2048, 2048), ResidualUnit(2048, 2048)),
        )
        self.bn = nn.BatchNorm2d(2048)
        self.pool = nn.AvgPool2d(-(-input_size // 32), stride=1)
        self.fc = nn.Linear(2048, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.bn(self.stages(self.stem(images))), inplace=True)
        logits: Tensor = self.fc(torch.flatten(self.pool(maps), 1))
        return logits


def resattnet56(num_classes: int = 7, in_channels: int = 3, input_size: int = 224) -> ResidualAttentionNet:
    """Attention-56: one attention module in each of the first three stages."""
    return ResidualAttentionNet(num_classes, in_channels, input_size)


# pytorchcv's names: of what stands outside the stages, of the units of an attention module, inside one unit.
_OUTSIDE = (
    (r"features\.init_block\.conv\.conv\.", "stem.0."),
    (r"features\.init_block\.conv\.bn\.", "stem.1."),
    (r"features\.post_activ\.bn\.", "bn."),
    (r"output\.", "fc."),
)
_UNITS = (
    # Pattern, our list or unit, and the number at which pytorchcv begins to count, where it counts.
    (r"init_blocks\.blocks\.block1\.", "first.", 0),
    (r"hg\.down_seq\.down(\d+)\.res_blocks\.blocks\.block1\.", "down.{}.", 1),
    (r"hg\.up_seq\.up(\d+)\.res_blocks\.blocks\.block1\.", "up.{}.", 1),
    (r"hg\.skip_seq\.skip1\.blocks\.block(\d+)\.", "trunk.{}.", 1),
    (r"hg\.skip_seq\.skip(\d+)\.skip1\.", "lateral.{}.", 2),
    (r"final_block\.", "last.", 0),
    (r"", "", 0),
)
_INSIDE = (
    (r"body\.conv(\d)\.(bn|conv)\.", r"\2\1."),
    (r"identity_conv\.", "projection."),
)
_GATE = {"conv1.bn": "gate.0", "conv1.conv": "gate.2", "conv2.bn": "gate.3", "conv2.conv": "gate.5"}


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Key names of pytorchcv's `resattnet56` to ours; all other keys pass unchanged."""
    return {_our_name(key): value for key, value in state_dict.items()}


def _our_name(key: str) -> str:
    for pattern, ours in _OUTSIDE:
        if re.match(pattern, key):
            return re.sub(pattern, ours, key, count=1)
    place = re.match(r"features\.stage(\d+)\.unit(\d+)\.", key)
    if place is None:
        return key
    stage, rest = f"stages.{int(place[1]) - 1}.{int(place[2]) - 1}.", key[place.end() :]
    gate = re.fullmatch(r"middle_block\.(conv\d\.\w+)\.(\w+)", rest)
    if gate is not None and gate[1] in _GATE:
        return f"{stage}{_GATE[gate[1]]}.{gate[2]}"
    for place_pattern, unit, start in _UNITS:
        found = re.match(place_pattern, rest)
        if found is None:
            continue
        inside = rest[found.end() :]
        for pattern, ours in _INSIDE:
            if re.match(pattern, inside):
                numbers = [int(number) - start for number in found.groups()]
                return stage + unit.format(*numbers) + re.sub(pattern, ours, inside, count=1)
    return key
