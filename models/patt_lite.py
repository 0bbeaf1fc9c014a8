"""PAtt-Lite.

Paper: Ngwe, Lim, Lee, Ong, Alqahtani. PAtt-Lite: Lightweight Patch and Attention MobileNet for Challenging Facial
Expression Recognition. IEEE Access 12, 2024, arXiv:2306.09626. Built from the layer facts of the authors' public
notebook (MIT). Keras conventions: batch norm with eps 1e-3 and momentum 0.99, "same" padding that puts the odd pixel at
the end. Resize, flip and contrast, which the notebook has inside the network, belong to the data here, and so does the
scaling to [-1, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _norm_relu6(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU6(inplace=True)]


class SamePad2d(nn.Module):
    """Keras's "same" padding for a square kernel: an odd remainder goes to the bottom and the right."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def _missing(self, size: int) -> tuple[int, int]:
        missing = self.kernel_size - 1 - (size - 1) % self.stride
        return missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return F.pad(x, (*self._missing(width), *self._missing(height)))


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    """Depth-wise 3x3 of MobileNet: a stride of 2 pads the bottom and the right by one, whatever the size of the map."""
    pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
    return [pad, nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False), *_norm_relu6(channels)]


class MobileNetTrunk(nn.Sequential):
    """MobileNetV1 up to the depth-wise half of its ninth block: (N, in_channels, H, W) -> (N, 512, H/16, W/16)."""

    def __init__(self, in_channels: int) -> None:
        widths = (32, 64, 128, 128, 256, 256, 512, 512, 512)
        strides = (1, 2, 1, 2, 1, 2, 1, 1)
        layers = [SamePad2d(3, 2), nn.Conv2d(in_channels, 32, 3, 2, bias=False), *_norm_relu6(32)]
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [*_depthwise(before, stride), nn.Conv2d(before, after, 1, bias=False), *_norm_relu6(after)]
        super().__init__(*layers, *_depthwise(512, 1))


class DotProductAttention(nn.Module):
    """softmax(s X Xᵀ) X with one learned scale s and query = key = value: (N, C) -> (N, C).

    Args:
        attention: "token" makes each sample a sequence of one token; its weight is always 1, so the layer returns its
            input and the scale gets no gradient. "batch" is the original: an (N, C) tensor makes the batch the
            sequence, samples attend to each other, and a prediction LEAKS from the other samples of its batch.
    """

    def __init__(self, attention: str) -> None:
        super().__init__()
        if attention not in ("token", "batch"):
            raise ValueError(f"unknown attention {attention!r}: give 'token' (no leak) or 'batch' (mixes the samples)")
        self.attention = attention
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.unsqueeze(0 if self.attention == "batch" else 1)
        weights = torch.softmax(self.scale * (tokens @ tokens.transpose(-2, -1)), dim=-1)
        return (weights @ tokens).reshape(features.shape)


class PAttLite(nn.Module):
    """Cut MobileNetV1, patch extraction to 2x2, global average pool, attention between two fully connected layers.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        attention: "token" or "batch", see DotProductAttention; only "batch" lets a sample see its batch.

    Shapes: images (N, in_channels, H, W), H and W at least 79 -> logits (N, num_classes). Training needs N of at least
    2 (batch norm on vectors).
    """

    def __init__(self, num_classes: int, in_channels: int, attention: str) -> None:
        super().__init__()
        self.trunk = MobileNetTrunk(in_channels)
        self.patch = nn.Sequential(
            SamePad2d(4, 4),
            nn.Conv2d(512, 512, 4, 4, groups=512, bias=False),
            nn.Conv2d(512, 256, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 2, 2, groups=256, bias=False),
            nn.Conv2d(256, 256, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 1),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(0.1)
        self.reduce = nn.Sequential(
            nn.Linear(256, 32), nn.ReLU(inplace=True), nn.BatchNorm1d(32, eps=1e-3, momentum=0.01)
        )
        self.attention = DotProductAttention(attention)
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = torch.flatten(F.adaptive_avg_pool2d(self.patch(self.trunk(images)), 1), 1)
        return self.classifier(self.attention(self.reduce(self.dropout(pooled))))


def patt_lite(num_classes: int = 7, in_channels: int = 3, attention: str = "token") -> PAttLite:
    """PAtt-Lite; attention="batch" is what the authors ran, and it leaks between the samples of a batch."""
    return PAttLite(num_classes, in_channels, attention)
