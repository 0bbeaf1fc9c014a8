"""Standard backbones from torchvision: DenseNet-121, ResNet-50, -101 and -152, MobileNetV3-Large.

Papers: Huang et al., CVPR 2017, arXiv:1608.06993 (DenseNet); He et al., CVPR 2016, arXiv:1512.03385 (ResNet); Howard
et al., ICCV 2019, arXiv:1905.02244 (MobileNetV3). The networks are torchvision's own (BSD-3-Clause), without weights.
"""

import re
from typing import TypeVar

import torchvision
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def replace_first_conv(network: Network, in_channels: int) -> Network:
    """Make the first 2-d convolution of a network read `in_channels` channels; returns the same, changed network.

    torchvision's constructors know colour images only. Nothing is touched where the width is right already; elsewhere
    that one convolution gets a new weight in PyTorch's default initialisation, on the old one's device and in its type.

    Raises:
        ValueError: the network has no 2-d convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != in_channels:
                shape = (module.out_channels, in_channels // module.groups, *module.kernel_size)
                module.in_channels = in_channels
                module.weight = nn.Parameter(module.weight.new_empty(shape))
                module.reset_parameters()
            return network
    raise ValueError(
        f"{type(network).__name__} has no nn.Conv2d, so its input cannot be set to {in_channels} channels; "
        "pass a convolutional network."
    )


def densenet121(num_classes: int = 7, in_channels: int = 3) -> torchvision.models.DenseNet:
    """DenseNet-121: images (N, in_channels, H, W), H and W at least 29 -> logits (N, num_classes)."""
    return replace_first_conv(torchvision.models.densenet121(weights=None, num_classes=num_classes), in_channels)


def resnet50(num_classes: int = 7, in_channels: int = 3) -> torchvision.models.ResNet:
    """ResNet-50, stride on the 3x3 convolutions: images (N, in_channels, H, W) -> logits (N, num_classes)."""
    return replace_first_conv(torchvision.models.resnet50(weights=None, num_classes=num_classes), in_channels)


def resnet101(num_classes: int = 7, in_channels: int = 3) -> torchvision.models.ResNet:
    """ResNet-101: 23 blocks in the third stage where ResNet-50 has 6; same shapes."""
    return replace_first_conv(torchvision.models.resnet101(weights=None, num_classes=num_classes), in_channels)


def resnet152(num_classes: int = 7, in_channels: int = 3) -> torchvision.models.ResNet:
    """ResNet-152: 3, 8, 36 and 3 blocks; same shapes."""
    return replace_first_conv(torchvision.models.resnet152(weights=None, num_classes=num_classes), in_channels)


def mobilenetv3_large(num_classes: int = 7, in_channels: int = 3) -> torchvision.models.MobileNetV3:
    """MobileNetV3-Large, width 1.0: images (N, in_channels, H, W) -> logits (N, num_classes)."""
    return replace_first_conv(torchvision.models.mobilenet_v3_large(weights=None, num_classes=num_classes), in_channels)


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of torchvision's older DenseNet files (``norm.1`` in a dense layer is ``norm1`` now)."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
    return {old.sub(r"\1\2.", key): value for key, value in state_dict.items()}
