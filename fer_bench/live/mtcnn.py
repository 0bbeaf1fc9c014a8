"""The cascade of MTCNN around our P-Net, R-Net and O-Net: pyramid, suppression, regression, landmarks.

Paper: Zhang, Zhang, Li, Qiao. Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks. IEEE
Signal Processing Letters 23(10):1499, 2016. Every rounding is that of the port in facenet-pytorch 2.6.0, so that boxes
and landmarks are the same: widths with or without one added, crops clipped at the border and not padded.

Pictures are shrunk by averaging areas, which is most of the work beside P-Net's convolutions. All levels of the pyramid
and all crops are read from one table of sums of the picture, which is exact: the pixels are whole numbers.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import nms

from fer_bench.live.faces import DetectorError, Faces, Pixels, Stages, check_images, largest_first
from fer_bench.networks.build import create
from fer_bench.networks.checkpoints import load_checkpoint
from fer_bench.networks.registry import built_in

LICENCE = (
    "MTCNN weights: MIT as facenet-pytorch offers them; trained on WIDER FACE (CC BY-NC-ND) and CelebA "
    "(non-commercial research), whose terms stand behind them."
)
NETWORKS = ("pnet", "rnet", "onet")
_SUFFIXES = (".safetensors", ".pth", ".pt")  # the last is taken first
_WHEEL = "facenet-pytorch"

_WINDOW, _STRIDE = 12, 2  # of P-Net, in pixels of a level
_RNET_SIDE, _ONET_SIDE = 24, 48
_WITHIN_LEVEL, _ACROSS_LEVELS, _REFINED, _FINAL = 0.5, 0.7, 0.7, 0.7  # overlaps above which a box is suppressed

# oneDNN keeps what it compiles for each shape that it meets, 1,024 of them with 70 KiB each and gaps between, so that
# memory would grow with each picture of another size. Few shapes of crops, therefore; and of levels, unless the picture
# has the size of the last one, as in a video.
_BATCH = 32  # crops in one pass at most
_BITS = 3  # that are not 0 in the side of a padded level at most: 64, 80, 96, 112, 128
_BELOW_ALL = -1e9  # loses each comparison of a pool

Sums = NDArray[np.int32]  # (H + 1, W + 1, 3): of all pixels above and to the left


def weights_of_wheel() -> Path | None:
    """Return the folder of the weights in an installed facenet-pytorch, without importing it; None without one."""
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    found = next((file for file in files if file.name == "pnet.pt"), None)
    folder = Path(str(found.locate())).parent if found is not None else None
    return folder if folder is not None and folder.is_dir() else None


class Mtcnn:
    """The cascade.

    Args:
        weights: a folder with pnet, rnet and onet, as .pt, .pth or .safetensors; None for those of an installed
            facenet-pytorch wheel. Nothing is downloaded.
        min_face: side in pixels of the smallest face to find; the cost falls with its square.
        thresholds: probabilities from which P-Net, R-Net and O-Net pass a window on.
        factor: from one level of the pyramid to the next.
        only_proposals: stop after P-Net, whose regressed windows are the faces then (for comparisons).
        device: of the networks.

    Raises:
        DetectorError: there are no weights, or min_face, a threshold or the factor is out of range.
        CheckpointError: a file of weights cannot be read, or is another network's.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        min_face: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        only_proposals: bool = False,
        device: str = "cpu",
    ) -> None:
        if min_face < 1 or not 0 < factor < 1 or not all(0 < each < 1 for each in thresholds):
            raise DetectorError(
                f"min_face {min_face}, factor {factor}, thresholds {thresholds}: a face has a pixel at least, and the "
                "others lie between 0 and 1; try: min_face 20, factor 0.709, thresholds (0.6, 0.7, 0.7)"
            )
        self.min_face, self.thresholds, self.factor = min_face, thresholds, factor
        self.only_proposals, self.device = only_proposals, torch.device(device)
        self.name = f"{'mtcnn P-Net alone' if only_proposals else 'mtcnn'}, min face {min_face}"
        self.licence = LICENCE
        self.stages: tuple[str, ...] = ("pyramid", "pnet", "nms")
        if not only_proposals:
            self.stages = ("pyramid", "pnet", "rnet", "onet", "nms")
        self._size = (0, 0)  # of the last picture
        files = _files(weights, NETWORKS[:1] if only_proposals else NETWORKS)
        self._networks = {name: _network(name, file, self.device) for name, file in files.items()}

    def detect(self, images: Sequence[Pixels], stages: Stages | None = None, frames: Sequence[str] = ()) -> list[Faces]:
        """Return the faces of each image, the largest first; images may differ in size, and be empty.

        Stages: "pyramid" (shrinking the picture), "pnet", "rnet" and "onet" (with their crops) and "nms".
        Counts: "after_pnet" and "after_rnet", the windows that each left, and "faces".
        """
        check_images(images)
        stages = stages or Stages()
        with torch.inference_mode():
            with stages.stage("pyramid"):
                sums = [_sums(image) for image in images]
            proposed = [self._propose(table, stages) for table in sums]
            stages.count("after_pnet", sum(len(boxes) for boxes, _ in proposed))
            if self.only_proposals:
                found = [Faces.of(boxes.numpy(), scores.numpy()) for boxes, scores in proposed]
            else:
                refined = self._refine(sums, [_squared(boxes) for boxes, _ in proposed], stages)
                stages.count("after_rnet", sum(map(len, refined)))
                found = self._decide(sums, refined, stages)
            stages.count("faces", sum(map(len, found)))
        return [largest_first(faces) for faces in found]

    def _scales(self, height: int, width: int) -> list[float]:
        scale = _WINDOW / self.min_face
        short, scales = min(height, width) * scale, []
        while short >= _WINDOW:
            scales.append(scale)
            scale, short = scale * self.factor, short * self.factor
        return scales

    def _propose(self, sums: Sums, stages: Stages) -> tuple[Tensor, Tensor]:
        """Return the boxes (n, 4) that P-Net proposes, regressed, and their scores (n,)."""
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        another, self._size = (height, width) != self._size, (height, width)
        boxes, scores, offsets = [torch.empty(0, 4)], [torch.empty(0)], [torch.empty(0, 4)]
        pnet = self._networks["pnet"]
        for scale in self._scales(height, width):
            with stages.stage("pyramid"):
                level = _shrunk(sums, int(height * scale + 1), int(width * scale + 1))
            with stages.stage("pnet"):
                level = level.to(self.device)
                logits, regression = _slid_padded(pnet, level) if another else pnet(level)
                face = (logits[0, 1] - logits[0, 0]).sigmoid().cpu()  # the softmax of two
                rows, columns = torch.nonzero(face >= self.thresholds[0], as_tuple=True)
                if not len(rows):
                    continue
                corner = torch.stack((columns, rows), 1).float() * _STRIDE
                windows = torch.cat((((corner + 1) / scale).floor(), ((corner + _WINDOW) / scale).floor()), 1)
                rated, moved = face[rows, columns], regression[0].cpu()[:, rows, columns].T
            with stages.stage("nms"):
                kept = nms(windows, rated, _WITHIN_LEVEL)
                boxes.append(windows[kept])
                scores.append(rated[kept])
                offsets.append(moved[kept])
        with stages.stage("nms"):
            windows, rated, moved = torch.cat(boxes), torch.cat(scores), torch.cat(offsets)
            kept = nms(windows, rated, _ACROSS_LEVELS)
            return _regressed(windows[kept], moved[kept], 0), rated[kept]

    def _refine(self, sums: Sequence[Sums], squares: Sequence[Tensor], stages: Stages) -> list[Tensor]:
        """Return the squares (n, 4) of each image that R-Net leaves of those given."""
        with stages.stage("rnet"):
            crops, squares = _crops(sums, squares, _RNET_SIDE)
            logits, offsets = self._heads(self._networks["rnet"], crops, 2)
            scores = (logits[:, 1] - logits[:, 0]).sigmoid()
        left, start = [], 0
        for boxes in squares:
            here = slice(start, start := start + len(boxes))
            passed = torch.nonzero(scores[here] > self.thresholds[1])[:, 0]
            with stages.stage("nms"):
                kept = passed[nms(boxes[passed], scores[here][passed], _REFINED)]
            left.append(_squared(_regressed(boxes[kept], offsets[here][kept], 1)))
        return left

    def _decide(self, sums: Sequence[Sums], squares: Sequence[Tensor], stages: Stages) -> list[Faces]:
        """Return the faces of each image that O-Net sees in the squares given."""
        with stages.stage("onet"):
            crops, squares = _crops(sums, squares, _ONET_SIDE)
            logits, offsets, landmarks = self._heads(self._networks["onet"], crops, 3)
            scores = (logits[:, 1] - logits[:, 0]).sigmoid()
        found, start = [], 0
        for boxes in squares:
            here = slice(start, start := start + len(boxes))
            passed = torch.nonzero(scores[here] > self.thresholds[2])[:, 0]
            boxes, rated = boxes[passed], scores[here][passed]
            size = boxes[:, 2:] - boxes[:, :2] + 1
            points = landmarks[here][passed].reshape(-1, 2, 5).transpose(1, 2)  # x of all five, then y
            points = points * size[:, None] + boxes[:, None, :2] - 1
            boxes = _regressed(boxes, offsets[here][passed], 1)
            with stages.stage("nms"):
                kept = _suppressed_by_smaller(boxes, rated, _FINAL)
            found.append(Faces.of(boxes[kept].numpy(), rated[kept].numpy(), points[kept].numpy()))
        return found

    def _heads(self, network: nn.Module, crops: Tensor, number: int) -> tuple[Tensor, ...]:
        if not len(crops):  # a linear layer takes an empty batch, a flattened one of no size does not
            return tuple(torch.empty(0, width) for width in (2, 4, 10)[:number])
        parts = [network(part) for part in torch.split(crops.to(self.device), _BATCH)]
        return tuple(torch.cat(heads).cpu() for heads in zip(*parts, strict=True))


def _files(weights: str | Path | None, names: Sequence[str]) -> dict[str, Path]:
    """Return the file of each named network's weights."""
    folder = weights_of_wheel() if weights is None else Path(weights)
    if folder is None:
        raise DetectorError(
            "the detector mtcnn needs weights, and facenet-pytorch is not installed; "
            f"try: pip install --no-deps {_WHEEL}, or name a folder with pnet.pt, rnet.pt and onet.pt"
        )
    there = {file.stem: file for end in _SUFFIXES for file in folder.glob(f"*{end}") if file.is_file()}
    if missing := [name for name in names if name not in there]:
        raise DetectorError(
            f"{folder} has no weights of {', '.join(missing)}; try: a folder with pnet.pt, rnet.pt and onet.pt"
        )
    return {name: there[name] for name in names}


def _network(name: str, file: Path, device: torch.device) -> nn.Module:
    spec = built_in().find(f"mtcnn_{name}")
    network = create(spec, device=str(device))
    load_checkpoint(network, file, spec)
    # Three colours and ten maps are few: with channels last the convolutions take half the time.
    return network.requires_grad_(False).to(memory_format=torch.channels_last)


def _sums(image: Pixels) -> Sums:
    """Return the table of sums of a picture. It may wrap around: differences, all that is read, are right again."""
    height, width, colours = image.shape
    table = np.zeros((height + 1, width + 1, colours), np.int32)
    np.cumsum(image, axis=1, dtype=np.int32, out=table[1:, 1:])
    np.cumsum(table[1:], axis=0, out=table[1:])
    return table


def _cells(length: Any, number: int) -> tuple[Any, Any]:
    """Return where the cells begin and end into which adaptive average pooling divides lengths, (..., number)."""
    place, length = np.arange(number), np.asarray(length)[..., None]
    return place * length // number, -(-(place + 1) * length // number)


def _shrunk(sums: Sums, height: int, width: int) -> Tensor:
    """Return a level of the pyramid, (1, 3, height, width), normalised: each pixel the mean of its area."""
    top, bottom = _cells(sums.shape[0] - 1, height)
    left, right = _cells(sums.shape[1] - 1, width)
    rows = sums[bottom] - sums[top]
    totals = rows[:, right] - rows[:, left]
    return _normalised(totals, ((bottom - top)[:, None] * (right - left))[..., None]).permute(2, 0, 1)[None]


def _slid_padded(pnet: Any, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return what P-Net gives of a level, (1, 3, h, w), computed on one of few larger sizes.

    The result is the same: only P-Net's pool, which rounds up, reaches beyond the level, and what it meets there is
    below all else.
    """
    height, width = level.shape[2:]
    canvas = level.new_zeros(1, _rounded_up(height), _rounded_up(width), 3).permute(0, 3, 1, 2)  # channels last
    canvas[..., :height, :width] = level
    maps = pnet.features[:2](canvas)
    maps[..., height - 2 :, :] = _BELOW_ALL
    maps[..., width - 2 :] = _BELOW_ALL
    maps = pnet.features[2:](maps)
    rows, columns = (-(-(side - 2) // 2) - 4 for side in (height, width))
    return pnet.face(maps)[..., :rows, :columns], pnet.box(maps)[..., :rows, :columns]


def _rounded_up(side: int) -> int:
    step = 1 << max(0, side.bit_length() - _BITS)
    return -(-side // step) * step


def _crops(sums: Sequence[Sums], squares: Sequence[Tensor], side: int) -> tuple[Tensor, list[Tensor]]:
    """Return the crops of all images, (n, 3, side, side), normalised, and the squares that they are of.

    A square is clipped where the picture ends, and left out where nothing of it lies inside.
    """
    crops, inside = [torch.empty(0, 3, side, side)], []
    for table, boxes in zip(sums, squares, strict=True):
        height, width = table.shape[0] - 1, table.shape[1] - 1
        left, top, right, bottom = boxes.numpy().astype(np.int64).T  # towards 0, as the port truncates
        left, top = np.maximum(left - 1, 0), np.maximum(top - 1, 0)  # whose pixels count from 1
        right, bottom = np.minimum(right, width), np.minimum(bottom, height)
        whole = (right > left) & (bottom > top)
        inside.append(boxes[torch.from_numpy(whole)])
        if not whole.any():
            continue
        left, top, right, bottom = left[whole], top[whole], right[whole], bottom[whole]
        up, down = (cells + top[:, None] for cells in _cells(bottom - top, side))
        first, last = (cells + left[:, None] for cells in _cells(right - left, side))
        flat = table.reshape(-1, table.shape[2])

        def at(rows: Any, columns: Any, flat: Any = flat, stride: int = width + 1) -> Any:
            return flat[rows[:, :, None] * stride + columns[:, None, :]]

        totals = at(down, last) - at(up, last) - at(down, first) + at(up, first)
        areas = (down - up)[:, :, None] * (last - first)[:, None, :]
        crops.append(_normalised(totals, areas[..., None]).permute(0, 3, 1, 2))
    return torch.cat(crops), inside


def _normalised(totals: Any, areas: Any) -> Tensor:
    return torch.from_numpy(((totals / areas.astype(np.float32)).astype(np.float32) - 127.5) * np.float32(0.0078125))


def _regressed(boxes: Tensor, offsets: Tensor, more: int) -> Tensor:
    """Move each edge by its offset, a share of the width or height; the port adds 1 to these behind P-Net."""
    size = boxes[:, 2:] - boxes[:, :2] + more
    return boxes + offsets * size.repeat(1, 2)


def _squared(boxes: Tensor) -> Tensor:
    """Return squares about the centres, with the longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdim=True).values
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat((corner, corner + side), 1)


def _suppressed_by_smaller(boxes: Tensor, scores: Tensor, most: float) -> list[int]:
    """Return the boxes that stay, the best first, by the shared area of the smaller box; sizes have 1 added."""
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    low, high = torch.maximum(boxes[:, None, :2], boxes[:, :2]), torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low + 1).clamp(min=0).prod(2) / torch.minimum(area[:, None], area)
    kept: list[int] = []
    for box in scores.argsort(descending=True, stable=True).tolist():
        if all(shared[box, other] <= most for other in kept):
            kept.append(box)
    return kept
