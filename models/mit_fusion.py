"""Mix Transformer encoder with a fusion block: the network that paper 001 proposes.

Papers: Safavi, Patel, Vinjamuri. Towards Efficient Deep Learning Models for Facial Expression Recognition using
Transformers. BSN 2023, doi:10.1109/BSN58485.2023.10331041. Encoder MiT-B0: Xie, Wang, Yu, Anandkumar, Alvarez, Luo.
SegFormer. NeurIPS 2021, arXiv:2105.15203. No code of paper 001 is public, and the encoder authors' code is under a
non-commercial licence: this file is written from facts about the layers. Published MiT-B0 weights carry that licence.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Sequence reduction of the attention in stages 1 to 4; with depth and head width the same in both variants.
_REDUCTIONS = (8, 4, 2, 1)
_DEPTH = 2
_HEAD_WIDTH = 32


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of maps whose channels come last, as the linear layers and norms around it want them."""
    maps: Tensor = conv(x.permute(0, 3, 1, 2))
    return maps.permute(0, 2, 3, 1)


class DropPath(nn.Module):
    """In training drops whole samples of a residual branch with the given rate and scales the others up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        return x * (x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep)


class Reduce(nn.Module):
    """A strided convolution and a layer norm: (N, H, W, in) -> (N, H/stride, W/stride, out)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(_convolve(self.conv, x))
        return out


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map reduced in side: (N, H, W, C) unchanged in shape."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.heads = channels // _HEAD_WIDTH
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = Reduce(channels, channels, reduction, stride=reduction)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).flatten(1, 2).unflatten(-1, (self.heads, _HEAD_WIDTH)).transpose(1, 2)
        kv = self.kv(self.reduce(x)).flatten(1, 2).unflatten(-1, (2, self.heads, _HEAD_WIDTH))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * _HEAD_WIDTH**-0.5).softmax(dim=-1)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(x.shape))
        return out


class MixFFN(nn.Module):
    """Linear to four times the width, depth-wise 3x3, GELU, linear back: (N, H, W, C) unchanged in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 4 * channels
        self.expand = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.contract(F.gelu(_convolve(self.depthwise, self.expand(x))))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: (N, H, W, C) unchanged in shape."""

    def __init__(self, channels: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.ffn = MixFFN(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x)))
        return out


class Stage(nn.Module):
    """Overlapping patch embedding, blocks, a layer norm: maps (N, in, H, W) -> (N, out, H/s, W/s).

    The first stage (s = 4) embeds by a 7x7 convolution, the others (s = 2) by a 3x3.
    """

    def __init__(self, in_channels: int, out_channels: int, first: bool, reduction: int, rates: list[float]) -> None:
        super().__init__()
        kernel, stride = (7, 4) if first else (3, 2)
        self.embed = Reduce(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        self.blocks = nn.Sequential(*(Block(out_channels, reduction, rate) for rate in rates))
        self.norm = nn.LayerNorm(out_channels, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.norm(self.blocks(self.embed(maps.permute(0, 2, 3, 1))))
        return out.permute(0, 3, 1, 2)


class MixTransformer(nn.Module):
    """Encoder of four stages: images (N, in_channels, H, W) -> four maps of 1/4, 1/8, 1/16 and 1/32 of the side.

    Args:
        in_channels: channels of the images.
        widths: channels of the four maps, multiples of the head width 32.
        drop_path: rate of the last block; it grows linearly from 0 at the first.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int], drop_path: float = 0.1) -> None:
        super().__init__()
        if any(width % _HEAD_WIDTH for width in widths):
            raise ValueError(
                f"widths {widths}: each must be a multiple of the head width {_HEAD_WIDTH}; round them to it"
            )
        last = len(widths) * _DEPTH - 1
        rates = [drop_path * block / last for block in range(last + 1)]
        self.stages = nn.ModuleList()
        for number, (width, reduction) in enumerate(zip(widths, _REDUCTIONS, strict=True)):
            stage_rates = rates[_DEPTH * number : _DEPTH * (number + 1)]
            self.stages.append(Stage(in_channels, width, number == 0, reduction, stage_rates))
            in_channels = width
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        return features


class MiTFusion(nn.Module):
    """MiT whose last map F4 goes on as F4 + F4 * F_R; F_R is drawn from the maps of all four stages.

    Args:
        num_classes: width of the output.
        in_channels: channels of the images.
        widths: channels of the four stages.

    Shapes: images (N, in_channels, H, W), H and W at least 29 -> logits (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.encoder = MixTransformer(in_channels, widths)
        # Rounding up only matters where 32 does not divide the side: the pooled maps then still fit F4.
        self.pools = nn.ModuleList(nn.MaxPool2d(window, ceil_mode=True) for window in (8, 4, 2))
        self.fusion = nn.Conv2d(sum(widths), widths[-1], 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        *early, last = self.encoder(images)
        pooled = [pool(maps) for pool, maps in zip(self.pools, early, strict=True)]
        score = self.fusion(torch.cat([*pooled, last], dim=1))
        maps = self.avgpool(last + last * score)
        logits: Tensor = self.fc(self.dropout(torch.flatten(maps, 1)))
        return logits


def mit_fusion(num_classes: int = 7, in_channels: int = 3) -> MiTFusion:
    """The proposed network at MiT-B0's own widths, which reproduce the figures of paper 001."""
    return MiTFusion(num_classes, in_channels, (32, 64, 160, 256))


def mit_fusion_w128(num_classes: int = 7, in_channels: int = 3) -> MiTFusion:
    """The proposed network at the widths that Table I of paper 001 prints."""
    return MiTFusion(num_classes, in_channels, (32, 64, 128, 256))


# Where a layout puts a stage's parts. NVlabs numbers the stages from 1, transformers 4 and 5 from 0.
_PREFIX = r"(?:backbone\.|segformer\.|encoder\.)*"
_PLACES = (
    (r"patch_embed(?P<nvlabs>\d)\.", "embed."),
    (r"patch_embeddings\.(?P<stage>\d)\.", "embed."),
    (r"stages\.(?P<stage>\d)\.patch_embeddings\.", "embed."),
    (r"block(?P<nvlabs>\d)\.(?P<block>\d+)\.", "blocks.{block}."),
    (r"block\.(?P<stage>\d)\.(?P<block>\d+)\.", "blocks.{block}."),
    (r"stages\.(?P<stage>\d)\.blocks\.(?P<block>\d+)\.", "blocks.{block}."),
    (r"norm(?P<nvlabs>\d)\.", "norm."),
    (r"layer_norm\.(?P<stage>\d)\.", "norm."),
    (r"stages\.(?P<stage>\d)\.layer_norm\.", "norm."),
)
_PARTS = {
    "embed.": {"proj": "conv", "norm": "norm", "layer_norm": "norm"},
    "norm.": {"": ""},
    "blocks.{block}.": {
        "norm1": "norm1",
        "layer_norm_1": "norm1",
        "layernorm_before": "norm1",
        "attn.q": "attention.q",
        "attention.self.query": "attention.q",
        "attention.q_proj": "attention.q",
        "attn.kv": "attention.kv",
        "attention.self.key": "attention.key",
        "attention.k_proj": "attention.key",
        "attention.self.value": "attention.value",
        "attention.v_proj": "attention.value",
        "attn.proj": "attention.proj",
        "attention.output.dense": "attention.proj",
        "attention.o_proj": "attention.proj",
        "attn.sr": "attention.reduce.conv",
        "attention.self.sr": "attention.reduce.conv",
        "attention.sequence_reduction.sequence_reduction": "attention.reduce.conv",
        "attn.norm": "attention.reduce.norm",
        "attention.self.layer_norm": "attention.reduce.norm",
        "attention.sequence_reduction.layer_norm": "attention.reduce.norm",
        "norm2": "norm2",
        "layer_norm_2": "norm2",
        "layernorm_after": "norm2",
        "mlp.fc1": "ffn.expand",
        "mlp.dense1": "ffn.expand",
        "mlp.dwconv.dwconv": "ffn.depthwise",
        "mlp.fc2": "ffn.contract",
        "mlp.dense2": "ffn.contract",
    },
}


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Key names of published MiT encoders to ours: NVlabs, transformers 4 (stored) and transformers 5 (in memory).

    Prefixes `backbone.`, `segformer.` and `encoder.` are understood. Keys and values that a layout keeps apart are
    joined, keys first. Classifiers and decode heads of other tasks, and all other keys, pass unchanged.
    """
    converted = {_our_name(key): value for key, value in state_dict.items()}
    for key in [name for name in converted if ".attention.key." in name]:
        value = key.replace(".attention.key.", ".attention.value.")
        if value in converted:
            joined = torch.cat([converted.pop(key), converted.pop(value)])
            converted[key.replace(".attention.key.", ".attention.kv.")] = joined
    return converted


def _our_name(key: str) -> str:
    for pattern, place in _PLACES:
        found = re.fullmatch(_PREFIX + pattern + r"(?P<part>(?:[\w.]+\.)?)(?P<tensor>weight|bias)", key)
        if found is None:
            continue
        names = found.groupdict()
        part = _PARTS[place].get(names["part"].removesuffix("."))
        if part is None:
            return key
        stage = int(names["nvlabs"]) - 1 if "nvlabs" in names else int(names["stage"])
        inside = place.format(block=names.get("block")) + (part + "." if part else "")
        return f"encoder.stages.{stage}.{inside}{names['tensor']}"
    return key
