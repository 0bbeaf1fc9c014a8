"""Standard backbones from timm: Inception-v4 and MobileNetV1, the stand-ins for two rows of paper 002.

Papers: Szegedy et al., AAAI 2017, arXiv:1602.07261 (Inception-v4); Howard et al., 2017, arXiv:1704.04861 (MobileNetV1).
The networks are timm's own (Apache-2.0), built without weights. torchvision has neither of the two.
"""

import timm
from torch import nn


def inception_v4(num_classes: int = 7, in_channels: int = 3) -> nn.Module:
    """Inception-v4: images (N, in_channels, H, W), H and W at least 75 -> logits (N, num_classes)."""
    return timm.create_model("inception_v4", pretrained=False, num_classes=num_classes, in_chans=in_channels)


def mobilenet_v1(num_classes: int = 7, in_channels: int = 3) -> nn.Module:
    """MobileNetV1, width 1.0: images (N, in_channels, H, W) -> logits (N, num_classes)."""
    return timm.create_model("mobilenetv1_100", pretrained=False, num_classes=num_classes, in_chans=in_channels)
