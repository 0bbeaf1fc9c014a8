"""CBAM-ResNet50: a ResNet-50 with channel and spatial gates in every bottleneck.

Paper: Woo, Park, Lee, Kweon. CBAM: Convolutional Block Attention Module. ECCV 2018, arXiv:1807.06521. Built from the
layer facts of pytorchcv's `cbam_resnet50` (MIT), the build that the FER papers count, and of the authors' public code
(MIT); both hold the same weights.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """One weight a channel from its global mean and maximum, through a shared perceptron: (N, C, H, W) unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Modules, not functions: thop counts the pools of the build that paper 001 profiled.
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.maximum = nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels // 16), nn.ReLU(inplace=True), nn.Linear(channels // 16, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mlp(torch.flatten(self.mean(x), 1))
        maximum = self.mlp(torch.flatten(self.maximum(x), 1))
        return x * torch.sigmoid(mean + maximum)[:, :, None, None]


class SpatialGate(nn.Module):
    """One weight a position from the maximum and mean over its channels: (N, C, H, W) unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.max(dim=1, keepdim=True).values, x.mean(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(summary)))


class CBAM(nn.Module):
    """The channel gate, then the spatial gate: (N, C, H, W) unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(channels)
        self.spatial_gate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.spatial_gate(self.channel_gate(x))
        return gated


class Bottleneck(nn.Module):
    """ResNet bottleneck with the stride on its 3x3 and CBAM before the sum: (N, in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.cbam = CBAM(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.cbam(self.bn3(self.conv3(out)))
        return F.relu(out + self.downsample(x), inplace=True)


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(1, blocks)))


class CBAMResNet(nn.Module):
    """ResNet-50 with CBAM in each of its 16 bottlenecks.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        input_size: side of the images; the window of the last average pool is a 32nd of it, rounded up.

    Shapes: images (N, in_channels, input_size, input_size) -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)
        self.layer4 = _stage(1024, 512, 3, stride=2)
        self.avgpool = nn.AvgPool2d(-(-input_size // 32), stride=1)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(maps), 1))
        return logits


def cbam_resnet50(num_classes: int = 7, in_channels: int = 3, input_size: int = 224) -> CBAMResNet:
    """CBAM-ResNet50 with reduction 16 and a 7x7 spatial gate."""
    return CBAMResNet(num_classes, in_channels, input_size)


# The authors' code numbers the perceptron's layers from its flatten; pytorchcv nests each convolution with its norm.
_AUTHORS = (
    (r"(layer\d\.\d+\.cbam\.)ChannelGate\.mlp\.1\.", r"\1channel_gate.mlp.0."),
    (r"(layer\d\.\d+\.cbam\.)ChannelGate\.mlp\.3\.", r"\1channel_gate.mlp.2."),
    (r"(layer\d\.\d+\.cbam\.)SpatialGate\.spatial\.", r"\1spatial_gate."),
)
_PYTORCHCV = (
    (r"features\.init_block\.conv\.(conv|bn)\.", r"\g<1>1."),
    (r"output\.", "fc."),
)
_PYTORCHCV_UNIT = (
    (r"body\.conv(\d)\.(conv|bn)\.", r"\2\1."),
    (r"identity_conv\.conv\.", "downsample.0."),
    (r"identity_conv\.bn\.", "downsample.1."),
    (r"cbam\.ch_gate\.mlp\.fc1\.", "cbam.channel_gate.mlp.0."),
    (r"cbam\.ch_gate\.mlp\.fc2\.", "cbam.channel_gate.mlp.2."),
    (r"cbam\.sp_gate\.conv\.", "cbam.spatial_gate."),
)


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Key names of pytorchcv and of the authors' code to ours; all other keys pass unchanged."""
    return {_our_name(key): value for key, value in state_dict.items()}


def _our_name(key: str) -> str:
    for pattern, ours in _AUTHORS + _PYTORCHCV:
        if re.match(pattern, key):
            return re.sub(pattern, ours, key, count=1)
    unit = re.fullmatch(r"features\.stage(\d+)\.unit(\d+)\.(.+)", key)
    if unit is not None:
        for pattern, ours in _PYTORCHCV_UNIT:
            if re.match(pattern, unit[3]):
                return f"layer{unit[1]}.{int(unit[2]) - 1}." + re.sub(pattern, ours, unit[3], count=1)
    return key
