"""The ResNets of paper 000: two plain baselines, and two cut ones that end in a patch block and an attention head.

Paper: Muminov, Yusupov, Islam, Sahlabadi, Yim. Lightweight and Accurate FER for Driver Emotion Analysis: Optimizing
ResNet with Patch Extraction and Self-attention Techniques. No code of it is public. The trunk is ResNet V1 (He et al.,
arXiv:1512.03385) as Keras Applications (Apache-2.0) has it, rebuilt from its facts: every convolution has a bias, a
stage halves its map in the first 1x1 of its first block, batch norm has eps 1.001e-5 and momentum 0.99. The heads are
the ones whose sizes reproduce the published totals; they keep the Keras default of batch norm, eps 1e-3.
"""

import difflib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESNET50_DEPTHS = (3, 4, 6, 3)
RESNET101_DEPTHS = (3, 4, 23, 3)


def cut_names(depths: tuple[int, ...]) -> list[str]:
    """Keras layer names after which the trunk may be cut, in order: 50 for ResNet-50, 101 for ResNet-101."""
    blocks = [f"conv{stage}_block{block}" for stage, depth in enumerate(depths, 2) for block in range(1, depth + 1)]
    return [
        "conv1_relu",
        "pool1_pool",
        *(f"{block}_{part}" for block in blocks for part in ("1_relu", "2_relu", "out")),
    ]


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2),
        nn.BatchNorm2d(out_channels, eps=1.001e-5, momentum=0.01),
    )


def _conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    return _conv_norm(in_channels, out_channels, kernel_size, stride).append(nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 beside a shortcut: (N, in, H, W) -> (N, 4 width, ceil(H/stride), ceil(W/stride)).

    The stride is on the first 1x1, not on the 3x3 as in torchvision. A change of width puts a 1x1 on the shortcut.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.body = nn.Sequential(
            _conv_norm_relu(in_channels, width, 1, stride),
            _conv_norm_relu(width, width, 3),
            _conv_norm(width, out_channels, 1),
        )
        projects = in_channels != out_channels
        self.shortcut = _conv_norm(in_channels, out_channels, 1, stride) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Trunk(nn.Sequential):
    """ResNet V1 up to and including the Keras layer `cut`: (N, in_channels, H, W) -> (N, out_channels, H', W').

    Only what lies on the path to the cut is built. Inside a block that is one or two of its convolutions, without the
    shortcut, which joins later.
    """

    def __init__(self, in_channels: int, depths: tuple[int, ...], cut: str) -> None:
        names = cut_names(depths)
        if cut not in names:
            near = " or ".join(difflib.get_close_matches(cut, names))
            meant = f" (did you mean {near}?)" if near else ""
            raise ValueError(f"unknown cut {cut!r}{meant}: give the name of a layer, one of {', '.join(names)}")
        layers = [_conv_norm_relu(in_channels, 64, 7, 2)]
        channels = 64
        position = names.index(cut)
        if position:
            # Keras pads this pool with zeros. After a ReLU that equals PyTorch's padding with minus infinity.
            layers.append(nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1)))
            plan = [
                (64 << stage, 2 if stage and not block else 1) for stage, n in enumerate(depths) for block in range(n)
            ]
            whole_blocks, parts = divmod(position - 1, 3)
            for width, stride in plan[:whole_blocks]:
                layers.append(nn.Sequential(Bottleneck(channels, width, stride)))
                channels = 4 * width
            if parts:
                width, stride = plan[whole_blocks]
                steps = (_conv_norm_relu(channels, width, 1, stride), _conv_norm_relu(width, width, 3))
                layers.append(nn.Sequential(*steps[:parts]))
                channels = width
        super().__init__(*layers)
        self.out_channels = channels


class SameDepthwiseConv2d(nn.Module):
    """Depth-wise convolution with Keras's "same" padding: (N, C, H, W) -> (N, C, ceil(H/s), ceil(W/s))."""

    def __init__(self, channels: int, kernel_size: int, stride: int, bias: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels, kernel_size, stride, groups=channels, bias=bias)

    def _missing(self, size: int) -> tuple[int, int]:
        missing = max(self.kernel_size - 1 - (size - 1) % self.stride, 0)
        return missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self.conv(F.pad(x, (*self._missing(width), *self._missing(height))))


class DotProductAttention(nn.Module):
    """softmax(s X Xᵀ) X with query = key = value: (N, C) -> (N, C).

    Args:
        attention: "token" makes each sample a sequence of one token; its weight is always 1, so the layer returns its
            input. "batch" takes the batch as the sequence, which is what the Keras layer of PAtt-Lite does with an
            (N, C) tensor: samples attend to each other, so that a prediction LEAKS from the other samples of its batch.
        scaled: s is learned; without, it is 1.
    """

    def __init__(self, attention: str, scaled: bool = False) -> None:
        super().__init__()
        if attention not in ("token", "batch"):
            raise ValueError(f"unknown attention {attention!r}: give 'token' (no leak) or 'batch' (mixes the samples)")
        self.attention = attention
        self.scale = nn.Parameter(torch.ones(())) if scaled else None

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.unsqueeze(0 if self.attention == "batch" else 1)
        products = tokens @ tokens.transpose(-2, -1)
        weights = torch.softmax(products if self.scale is None else self.scale * products, dim=-1)
        return (weights @ tokens).reshape(features.shape)


class VanillaResNet(nn.Module):
    """Whole trunk, global average pool, and a stack of fully connected layers.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        depths: blocks of the four stages.
        hidden_widths: outputs of the hidden fully connected layers; each is followed by ReLU and batch norm.
        norm_features: batch norm on the pooled features too.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes). Training needs N of at least 2 (batch norm on
    vectors).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        depths: tuple[int, ...],
        hidden_widths: tuple[int, ...],
        norm_features: bool,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(in_channels, depths, cut_names(depths)[-1])
        width = self.trunk.out_channels
        head: list[nn.Module] = [nn.BatchNorm1d(width, eps=1e-3, momentum=0.01)] if norm_features else []
        for hidden in hidden_widths:
            head += [nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.BatchNorm1d(hidden, eps=1e-3, momentum=0.01)]
            width = hidden
        self.head = nn.Sequential(*head, nn.Linear(width, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.trunk(images), 1), 1))


BLOCKS = ("A", "B", "C", "D", "E", "patt_lite")  # patch blocks, each with its head: see `patch_block`


def _separable(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, padded: bool = True
) -> list[nn.Module]:
    """Keras's separable convolution with its ReLU: depth-wise without a bias, then point-wise with one."""
    if padded:
        depthwise: nn.Module = SameDepthwiseConv2d(in_channels, kernel_size, stride)
    else:
        depthwise = nn.Conv2d(in_channels, in_channels, kernel_size, stride, groups=in_channels, bias=False)
    return [depthwise, *_pointwise(in_channels, out_channels)]


def _pointwise(in_channels: int, out_channels: int, bias: bool = True) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 1, bias=bias), nn.ReLU(inplace=True)]


def patch_block(block: str, channels: int) -> tuple[nn.Sequential, int]:
    """Make a patch block for maps of so many channels: the layers, and the channels that they give.

    Paper 000 prints no sizes. "A" to "E" each have the 78,566 parameters that its totals leave for block and head, on
    256 channels and with 6 classes; "patt_lite" is PAtt-Lite's own, which has 132,481 more. Strides that a count does
    not fix leave 2x2 patches of the 14x14 map at the published cuts, or 4x4 where there is one such layer.
    """
    if block == "A":
        depthwise = [SameDepthwiseConv2d(channels, 3, stride=4), nn.ReLU(inplace=True)]
        depthwise += [SameDepthwiseConv2d(channels, 3, stride=2), nn.ReLU(inplace=True)]
        return nn.Sequential(*depthwise, *_pointwise(channels, 256, bias=False)), 256
    if block == "B":
        return nn.Sequential(*_separable(channels, 128, 4, 4), *_pointwise(128, 256)), 256
    if block == "C":
        depthwise = [SameDepthwiseConv2d(channels, 4, stride=4, bias=True), nn.ReLU(inplace=True)]
        return nn.Sequential(*depthwise, *_pointwise(channels, 256)), 256
    if block == "D":
        return nn.Sequential(*_separable(channels, 256, 4, 4)), 256
    if block == "E":
        layers = [*_separable(channels, 128, 4, 4), *_separable(128, 128, 4, 2), *_separable(128, 128, 4, 1)]
        return nn.Sequential(*layers), 128
    if block == "patt_lite":
        layers = [*_separable(channels, 256, 4, 4), *_separable(256, 256, 2, 2, padded=False)]
        return nn.Sequential(*layers, *_pointwise(256, 256)), 256
    raise ValueError(f"unknown block {block!r}: give one of {', '.join(BLOCKS)}")


class PatchAttentionNet(nn.Module):
    """Cut trunk, patch block, global average pool, and attention between two fully connected layers.

    Args:
        trunk: gives maps (N, channels, H', W').
        channels: of these maps.
        num_classes: width of the output.
        block: of `BLOCKS`. The head goes with it: batch norm after the first fully connected layer but for "A" and
            "C", after the attention too for "D", and a learned scale in the attention of "patt_lite".
        attention: see DotProductAttention.

    Shapes: images as the trunk takes them -> logits (N, num_classes). With batch norm training needs N of at least 2.
    """

    def __init__(self, trunk: nn.Module, channels: int, num_classes: int, block: str, attention: str) -> None:
        super().__init__()
        self.trunk = trunk
        self.patch, width = patch_block(block, channels)
        self.reduce = nn.Sequential(nn.Linear(width, 32), nn.ReLU(inplace=True))
        if block not in ("A", "C"):
            self.reduce.append(nn.BatchNorm1d(32, eps=1e-3, momentum=0.01))
        self.attention = DotProductAttention(attention, scaled=block == "patt_lite")
        classifier = nn.Linear(32, num_classes)
        norm = nn.BatchNorm1d(32, eps=1e-3, momentum=0.01)
        self.classifier = nn.Sequential(norm, classifier) if block == "D" else classifier

    def forward(self, images: Tensor) -> Tensor:
        pooled = torch.flatten(F.adaptive_avg_pool2d(self.patch(self.trunk(images)), 1), 1)
        return self.classifier(self.attention(self.reduce(pooled)))


def resnet50_vanilla_fer(num_classes: int = 7, in_channels: int = 3) -> VanillaResNet:
    """ResNet-50 baseline of paper 000, with the 512-256-128 head that its total implies."""
    return VanillaResNet(num_classes, in_channels, RESNET50_DEPTHS, (512, 256, 128), norm_features=True)


def resnet101_vanilla_fer(num_classes: int = 7, in_channels: int = 3) -> VanillaResNet:
    """ResNet-101 baseline of paper 000, with the head of width 32 that its total implies."""
    return VanillaResNet(num_classes, in_channels, RESNET101_DEPTHS, (32,), norm_features=False)


def resnet50_patch_attn(
    num_classes: int = 7,
    in_channels: int = 3,
    cut: str = "conv4_block2_2_relu",
    attention: str = "token",
    block: str = "A",
) -> PatchAttentionNet:
    """Reconstruction of the cut ResNet-50 of paper 000.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        cut: last Keras layer of the trunk, one of `cut_names(RESNET50_DEPTHS)`.
        attention: "token", or "batch", which leaks between the samples of a batch.
        block: patch block and head, of `BLOCKS`.
    """
    trunk = Trunk(in_channels, RESNET50_DEPTHS, cut)
    return PatchAttentionNet(trunk, trunk.out_channels, num_classes, block, attention)


def resnet101_patch_attn(
    num_classes: int = 7,
    in_channels: int = 3,
    cut: str = "conv4_block5_2_relu",
    attention: str = "token",
    block: str = "A",
) -> PatchAttentionNet:
    """Reconstruction of the cut ResNet-101 of paper 000.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        cut: last Keras layer of the trunk, one of `cut_names(RESNET101_DEPTHS)`; the paper tries those of conv4.
        attention: "token", or "batch", which leaks between the samples of a batch.
        block: patch block and head, of `BLOCKS`.
    """
    trunk = Trunk(in_channels, RESNET101_DEPTHS, cut)
    return PatchAttentionNet(trunk, trunk.out_channels, num_classes, block, attention)
