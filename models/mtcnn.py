"""The three networks of the MTCNN face detector: P-Net, R-Net and O-Net.

Paper: Zhang, Zhang, Li, Qiao. Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks. IEEE
Signal Processing Letters 23(10):1499, 2016, arXiv:1604.02878. Written from layer facts of the port in facenet-pytorch
(MIT), whose files `convert_state_dict` reads. The cascade around the networks (image pyramid, thresholds, suppression)
is not here.

They are detectors: the classes are "no face" and "face", and each network returns a tuple of heads, not one tensor.
"""

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

_BOX = 4  # offsets of the left, top, right and bottom edge
_LANDMARKS = 10  # five points: eyes, nose, corners of the mouth


def _pooled(size: int) -> int:
    """Side of a map behind a 3x3 max-pool of stride 2 that rounds up."""
    return -(-(size - 3) // 2) + 1


def _check_crop(input_size: int, smallest: int, network: str) -> None:
    if input_size < smallest:
        raise ValueError(f"input_size of {network} is {input_size}, expected at least {smallest}; give larger crops.")


class PNet(nn.Module):
    """Proposal network, fully convolutional, one cell of stride 2 for each 12x12 window.

    Shapes: images (N, in_channels, H, W), H and W at least 11 -> face logits (N, num_classes, h, w) and box offsets
    (N, 4, h, w), with h = ceil((H - 2) / 2) - 4 and w likewise. The original ends in a softmax, which is left out here.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 10, 3),
                prelu1=nn.PReLU(10),
                pool1=nn.MaxPool2d(2, ceil_mode=True),
                conv2=nn.Conv2d(10, 16, 3),
                prelu2=nn.PReLU(16),
                conv3=nn.Conv2d(16, 32, 3),
                prelu3=nn.PReLU(32),
            )
        )
        self.face = nn.Conv2d(32, num_classes, 1)
        self.box = nn.Conv2d(32, _BOX, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(images)
        return self.face(maps), self.box(maps)


class RNet(nn.Module):
    """Refinement network on crops.

    Shapes: crops (N, in_channels, input_size, input_size) -> face logits (N, num_classes) and box offsets (N, 4).
    The original ends in a softmax, which is left out here.
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        _check_crop(input_size, 14, "R-Net")
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 28, 3),
                prelu1=nn.PReLU(28),
                pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
                conv2=nn.Conv2d(28, 48, 3),
                prelu2=nn.PReLU(48),
                pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
                conv3=nn.Conv2d(48, 64, 2),
                prelu3=nn.PReLU(64),
            )
        )
        side = _pooled(_pooled(input_size - 2) - 2) - 1
        self.dense = nn.Linear(64 * side * side, 128)
        self.prelu = nn.PReLU(128)
        self.face = nn.Linear(128, num_classes)
        self.box = nn.Linear(128, _BOX)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.prelu(self.dense(torch.flatten(self.features(crops), 1)))
        return self.face(vectors), self.box(vectors)


class ONet(nn.Module):
    """Output network on crops, with landmarks.

    Shapes: crops (N, in_channels, input_size, input_size) -> face logits (N, num_classes), box offsets (N, 4) and
    landmarks (N, 10). The original ends in a softmax, which is left out here.
    """

    def __init__(self, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        _check_crop(input_size, 28, "O-Net")
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 32, 3),
                prelu1=nn.PReLU(32),
                pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
                conv2=nn.Conv2d(32, 64, 3),
                prelu2=nn.PReLU(64),
                pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
                conv3=nn.Conv2d(64, 64, 3),
                prelu3=nn.PReLU(64),
                pool3=nn.MaxPool2d(2, ceil_mode=True),
                conv4=nn.Conv2d(64, 128, 2),
                prelu4=nn.PReLU(128),
            )
        )
        side = -(-(_pooled(_pooled(input_size - 2) - 2) - 2) // 2) - 1
        self.dense = nn.Linear(128 * side * side, 256)
        self.prelu = nn.PReLU(256)
        self.face = nn.Linear(256, num_classes)
        self.box = nn.Linear(256, _BOX)
        self.landmarks = nn.Linear(256, _LANDMARKS)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors = self.prelu(self.dense(torch.flatten(self.features(crops), 1)))
        return self.face(vectors), self.box(vectors), self.landmarks(vectors)


def mtcnn_pnet(num_classes: int = 2, in_channels: int = 3) -> PNet:
    """P-Net of MTCNN: proposes windows."""
    return PNet(num_classes, in_channels)


def mtcnn_rnet(num_classes: int = 2, in_channels: int = 3, input_size: int = 24) -> RNet:
    """R-Net of MTCNN: refines P-Net's windows, as 24x24 crops."""
    return RNet(num_classes, in_channels, input_size)


def mtcnn_onet(num_classes: int = 2, in_channels: int = 3, input_size: int = 48) -> ONet:
    """O-Net of MTCNN: decides on 48x48 crops and finds the landmarks."""
    return ONet(num_classes, in_channels, input_size)


# facenet-pytorch's names for what stands behind the features; the heads tell the three networks apart.
_PUBLIC_NAMES = (
    {"conv4_1": "face", "conv4_2": "box"},
    {"dense5_1": "face", "dense5_2": "box", "dense4": "dense", "prelu4": "prelu"},
    {"dense6_1": "face", "dense6_2": "box", "dense6_3": "landmarks", "dense5": "dense", "prelu5": "prelu"},
)


def convert_state_dict(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename facenet-pytorch's keys to ours; a state dict of ours passes through unchanged.

    Its linear layer reads the map with its axes in the order W, H, C; ours reads C, H, W: those weights are reordered.
    """
    layouts = [names for names in _PUBLIC_NAMES if f"{next(iter(names))}.weight" in state_dict]
    if not layouts:
        return dict(state_dict)
    converted = {}
    for key, value in state_dict.items():
        module, dot, leaf = key.partition(".")
        if module in layouts[0]:
            module = layouts[0][module]
        elif re.fullmatch(r"(conv|prelu)\d", module):
            module = f"features.{module}"
        if (module, leaf) == ("dense", "weight"):
            value = value.reshape(len(value), 3, 3, -1).permute(0, 3, 2, 1).flatten(1)
        converted[module + dot + leaf] = value
    return converted
