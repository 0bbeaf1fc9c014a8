"""RASN: residual network with attention on affinity features and their sharing. A reconstruction of low confidence.

Paper: Yang, Lv, Kuang, Yang, Xiao, Tang. RASN: Using Attention and Sharing Affinity Features to Address Sample
Imbalance in Facial Expression Recognition. IEEE Access 10:103264, 2022, doi:10.1109/ACCESS.2022.3210109. Only its
abstract was available. The plan fits the two figures that paper 001 prints: 14.4M parameters and 1.83B operations leave
3.2M weights beside a ResNet-18, in linear layers, and none for the attention. The backbone is torchvision's
(BSD-3-Clause).
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

_MAP_WIDTH = 512
_HIDDEN_WIDTH = 128
_REDUCTION = 32


class AffinityAttention(nn.Module):
    """Weigh each position by its cosine similarity to the map's mean vector: (N, C, H, W) -> (N, C, H, W).

    It has no parameters. Behind a ReLU, the weights lie between 0 and 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        affinity = F.cosine_similarity(x, x.mean((2, 3), keepdim=True), dim=1)
        return x * affinity.unsqueeze(1)


class AffinitySharing(nn.Module):
    """Add a share of the batch's mean map to every sample: (N, C, H, W) -> (N, C, H, W).

    Training uses the mean of the batch and keeps a running mean of it; evaluation uses the running mean, so that a
    sample's result does not depend on its neighbours.

    Args:
        shape: (C, H, W) of the map.
        share: factor of the mean that is added.
        momentum: weight of the newest batch in the running mean.
    """

    running_mean: Tensor

    def __init__(self, shape: tuple[int, int, int], share: float = 0.1, momentum: float = 0.1) -> None:
        super().__init__()
        self.share = share
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x + self.share * self.running_mean
        mean = x.mean(0)
        self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
        return x + self.share * mean


class RASN(nn.Module):
    """ResNet-18 to its last map, affinity attention, sharing, then two linear layers on the flattened map.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        input_size: height and width of the images; the first linear layer is built for it.

    Shapes: images (N, in_channels, input_size, input_size) -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        if input_size < 1:
            raise ValueError(f"input_size is {input_size}, expected at least 1; give the side of the images in pixels.")
        backbone = torchvision.models.resnet18(weights=None)
        if in_channels != 3:
            backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        # All but the pool and the linear layer at the end, under torchvision's names.
        self.backbone = nn.Sequential(OrderedDict(list(backbone.named_children())[:-2]))
        side = -(-input_size // _REDUCTION)
        self.attention = AffinityAttention()
        self.sharing = AffinitySharing((_MAP_WIDTH, side, side))
        self.classifier = nn.Sequential(
            nn.Linear(_MAP_WIDTH * side * side, _HIDDEN_WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.attention(self.backbone(images))
        logits: Tensor = self.classifier(torch.flatten(self.sharing(maps), 1))
        return logits


def rasn(num_classes: int = 7, in_channels: int = 3, input_size: int = 224) -> RASN:
    """RASN-style network, fitted to the RASN row of paper 001."""
    return RASN(num_classes, in_channels, input_size)
