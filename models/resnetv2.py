"""ResNetV2-50 and its non-local variants.

Paper: Xue. Facial Expression Recognition via Non-Local ResNet50 (paper 003); no code of it is public. The trunk is
ResNetV2 (He et al., arXiv:1603.05027) as Keras Applications (Apache-2.0) has it, rebuilt from its facts: the stem has a
bias and neither batch norm nor ReLU, stages 1 to 3 halve their map in the last block, batch norm has eps 1.001e-5 and
momentum 0.99. The non-local block is Wang et al., arXiv:1711.07971.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(_batch_norm(channels), nn.ReLU(inplace=True))


class PreActivationBottleneck(nn.Module):
    """BN-ReLU, then 1x1, 3x3, 1x1 beside a shortcut: (N, in, H, W) -> (N, 4 width, ceil(H/s), ceil(W/s)).

    The first block of a stage projects the activated input; the others pass the raw input on, sub-sampled if the block
    has a stride. No activation after the sum. Only the projection and the last 1x1 have a bias.
    """

    def __init__(self, in_channels: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.preactivation = _norm_relu(in_channels)
        self.projection = nn.Conv2d(in_channels, 4 * width, 1, stride) if project else None
        self.subsample = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 1, bias=False),
            _norm_relu(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            _norm_relu(width),
            nn.Conv2d(width, 4 * width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = self.preactivation(x)
        shortcut = self.subsample(x) if self.projection is None else self.projection(activated)
        return shortcut + self.body(activated)


class NonLocalBlock(nn.Module):
    """Adds to each position a mixture of all positions: (N, C, H, W) -> the same shape.

    Args:
        channels: C; the inner width is C/2.
        pairwise: the affinity f of two positions. "gaussian" exp(xi·xj) and "embedded_gaussian" exp(θi·φj) are
            normalised by a softmax over j; "dot_product" θi·φj and "concatenation" ReLU(w·[θi, φj]) are divided by the
            number of positions.

    The batch norm at the end starts with a weight of 0, so that a new block passes its input on unchanged.
    """

    def __init__(self, channels: int, pairwise: str) -> None:
        super().__init__()
        if pairwise not in PAIRWISE:
            raise ValueError(f"unknown pairwise function {pairwise!r}: give one of {', '.join(PAIRWISE)}")
        inner = channels // 2
        self.pairwise = pairwise
        embeds = pairwise != "gaussian"
        self.theta = nn.Conv2d(channels, inner, 1) if embeds else nn.Identity()
        self.phi = nn.Conv2d(channels, inner, 1) if embeds else nn.Identity()
        self.g = nn.Conv2d(channels, inner, 1)
        # w·[θi, φj] = wθ·θi + wφ·φj: two small products in place of a map of all pairs.
        self.theta_score = nn.Linear(inner, 1, bias=False) if pairwise == "concatenation" else None
        self.phi_score = nn.Linear(inner, 1, bias=False) if pairwise == "concatenation" else None
        self.expand = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = _batch_norm(channels)
        nn.init.zeros_(self.norm.weight)

    def affinities(self, query: Tensor, key: Tensor) -> Tensor:
        """Normalised weights of positions j for positions i: two (N, P, C) -> (N, P, P)."""
        if self.theta_score is not None and self.phi_score is not None:
            pairs = F.relu(self.theta_score(query) + self.phi_score(key).transpose(-2, -1))
        else:
            pairs = query @ key.transpose(-2, -1)
        if self.pairwise in ("gaussian", "embedded_gaussian"):
            return torch.softmax(pairs, dim=-1)
        return pairs / pairs.shape[-1]

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (torch.flatten(part(x), 2).transpose(1, 2) for part in (self.theta, self.phi, self.g))
        mixed = self.affinities(query, key) @ value
        maps = mixed.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[-2:])
        return x + self.norm(self.expand(maps))


class ResNetV2(nn.Module):
    """Keras ResNet50V2 with global max pool, dropout and a linear classifier.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        nonlocal_stages: stages (of 1 to 4) with a non-local block after every one of their blocks.
        pairwise: affinity of the non-local blocks, see NonLocalBlock.

    Shapes: images (N, in_channels, H, W) -> logits (N, num_classes). Memory of a non-local stage grows with (H W)².
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        nonlocal_stages: tuple[int, ...] = (),
        pairwise: str = "embedded_gaussian",
    ) -> None:
        super().__init__()
        # The pool pads with zeros as in Keras: with no ReLU before it, minus infinity would give other values.
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 64, 7, stride=2, padding=3), nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2)
        )
        channels = 64
        stages: list[nn.Module] = []
        for stage, depth in enumerate((3, 4, 6, 3), 1):
            width = 32 << stage
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage < 4 and index == depth - 1 else 1
                blocks.append(PreActivationBottleneck(channels, width, stride, project=index == 0))
                channels = 4 * width
                if stage in nonlocal_stages:
                    blocks.append(NonLocalBlock(channels, pairwise))
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.final = _norm_relu(channels)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.final(self.stages(self.stem(images)))
        return self.classifier(self.dropout(torch.flatten(F.adaptive_max_pool2d(maps, 1), 1)))


def resnetv2_50(
    num_classes: int = 7,
    in_channels: int = 1,
    nonlocal_stages: tuple[int, ...] = (),
    pairwise: str = "embedded_gaussian",
) -> ResNetV2:
    """ResNetV2-50, the baseline of paper 003; with stages named, any of its non-local variants."""
    return ResNetV2(num_classes, in_channels, nonlocal_stages, pairwise)


def nonlocal_resnetv2_50_s1(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stage 1."""
    return ResNetV2(num_classes, in_channels, (1,), pairwise)


def nonlocal_resnetv2_50_s2(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stage 2."""
    return ResNetV2(num_classes, in_channels, (2,), pairwise)


def nonlocal_resnetv2_50_s3(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stage 3; paper 003 prints its count."""
    return ResNetV2(num_classes, in_channels, (3,), pairwise)


def nonlocal_resnetv2_50_s4(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stage 4; paper 003 prints its count."""
    return ResNetV2(num_classes, in_channels, (4,), pairwise)


def nonlocal_resnetv2_50_s12(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stages 1 and 2."""
    return ResNetV2(num_classes, in_channels, (1, 2), pairwise)


def nonlocal_resnetv2_50_s34(
    num_classes: int = 7, in_channels: int = 1, pairwise: str = "embedded_gaussian"
) -> ResNetV2:
    """ResNetV2-50 with non-local blocks in stages 3 and 4."""
    return ResNetV2(num_classes, in_channels, (3, 4), pairwise)
