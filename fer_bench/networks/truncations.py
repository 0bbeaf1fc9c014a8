"""Cut a network at a named module, and put a block and a classifier behind it (Muminov et al., paper 000)."""

import copy
import warnings
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from fer_bench.models.resnet_fer import BLOCKS, PatchAttentionNet
from fer_bench.networks.spec import DEFAULT_INPUT, Shape
from fer_bench.records import units
from fer_bench.records.errors import BuildError, brief, nearest

AT, BLOCK = "truncate_at", "truncate_block"  # the settings by which a record has a truncation
NO_BLOCK = "none"  # global average pool and one fully connected layer
_NAMED = {"patch_attention": "A", **{block: block for block in BLOCKS}, NO_BLOCK: NO_BLOCK}
_MAPS = 4  # dimensions of a batch of feature maps


@dataclass(frozen=True, slots=True)
class Truncation:
    """Where a network is cut, and what is put there."""

    at: str
    block: str = "patch_attention"

    @classmethod
    def pop(cls, arguments: dict[str, object]) -> Self | None:
        """Remove a truncation from the settings of a network; None where there is none.

        Raises:
            BuildError: a block is given and no cut.
        """
        at, block = (arguments.pop(name, None) for name in (AT, BLOCK))
        if at is None and block is not None:
            raise BuildError(f"{BLOCK} is given and no {AT}; try: {AT}=layer3.2")
        return None if at is None else cls(str(at)) if block is None else cls(str(at), str(block))

    @property
    def settings(self) -> list[str]:
        """Return it as the settings of a record."""
        return [f"{AT}={self.at}", f"{BLOCK}={self.block}"]


class _Trunk(nn.Module):
    """The part of a network before the cut, as a module that gives the maps alone."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor
        (maps,) = self.extractor(images).values()
        return maps


class _PooledNet(nn.Module):
    def __init__(self, trunk: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.trunk(images).mean((-2, -1)))
        return logits


def truncate(
    model: nn.Module,
    at: str,
    block: str = "patch_attention",
    num_classes: int = 7,
    input_shape: Shape = DEFAULT_INPUT,
    attention: str = "token",
) -> nn.Module:
    """Cut a network behind a named module, and put a block and a classifier there.

    The network is traced by torch.fx, as the feature extraction of timm and torchvision does, so that only what lies on
    the path to the cut is kept. Its weights are shared with the network given. Without a trace a network cannot be cut;
    neither can one whose maps have their channels last, such as Swin's.

    Args:
        model: of torchvision or timm, or of your own; in eval mode, as ``create_model`` gives it.
        at: a name of ``model.named_modules()``, or of a node of the trace where one module runs several times.
        block: "patch_attention" or "A", two depth-wise and one point-wise layer with attention; "B" to "E", other
            blocks of as many parameters; "patt_lite"; or "none": global average pool and one fully connected layer.
        num_classes: width of the output.
        input_shape: (C, H, W) of an image, by which the block is fitted.
        attention: "token", or "batch", which leaks between the samples of a batch.

    Returns:
        The new network, in eval mode, on the device of the one given.

    Raises:
        BuildError: there is no such module or block, the network cannot be traced, or the block does not fit.

    Examples:
        >>> net = fb.truncate(fb.create_model("resnet50"), at="layer3.2", block="patch_attention", num_classes=6)
        >>> net(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 6])
    """
    if block not in _NAMED:
        raise BuildError(f"no block is called {block!r}{nearest(block, _NAMED)}; known: {', '.join(_NAMED)}")
    trunk = _cut(model, at)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    maps = _shape(trunk, input_shape, f"{at} of {type(model).__name__}")
    if len(maps) != _MAPS or _channels_last(model):
        raise BuildError(
            f"{at} of {type(model).__name__} gives {units.size(maps[1:]) or 'one value'}, and a block needs maps, "
            "channels x height x width; try: a convolution, or a layer behind one"
        )
    with torch.device(device):
        network = (
            _PooledNet(trunk, maps[1], num_classes)
            if block == NO_BLOCK
            else PatchAttentionNet(trunk, maps[1], num_classes, _NAMED[block], attention)
        ).eval()
    _shape(network, input_shape, f"block {block} on {units.size(maps[1:])} at {at} of {type(model).__name__}")
    return network


def _cut(model: nn.Module, at: str) -> nn.Module:
    from timm.models import create_feature_extractor, get_graph_node_names

    kind = type(model).__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # train and eval mode may differ behind the cut
            _, nodes = get_graph_node_names(model)
    except Exception as error:  # whatever its forward does without values
        raise BuildError(
            f"{kind} cannot be cut, because torch.fx cannot trace it: {brief(error)}; "
            "try: a network without control flow that depends on values"
        ) from error
    known = list(dict.fromkeys(_prefixes(nodes)))
    if at not in known:
        last = f"the last are {', '.join(nodes[-3:])}"
        raise BuildError(f"{kind} runs no module {at!r}{nearest(at, known)}; {last}; model.named_modules() has them")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Trunk(create_feature_extractor(model, [at]))


def _prefixes(nodes: list[str]) -> list[str]:
    """Return the nodes of a trace and the modules around them."""
    return [
        ".".join(parts[:depth]) for parts in (node.split(".") for node in nodes) for depth in range(1, len(parts) + 1)
    ]


def _shape(network: nn.Module, input_shape: Shape, what: str) -> tuple[int, ...]:
    """Return the shape of a network's output for two images, from a pass without values."""
    try:
        with torch.no_grad():
            output = copy.deepcopy(network).to("meta").eval()(torch.empty(2, *input_shape, device="meta"))
    except Exception as error:  # of anybody's network
        raise BuildError(f"{what} does not run on {units.size(input_shape)}: {brief(error)}") from error
    if not isinstance(output, Tensor):
        raise BuildError(f"{what} gives {type(output).__name__}, and a block needs one tensor of maps")
    return tuple(output.shape)


def _channels_last(model: nn.Module) -> bool:
    """Report whether a network's maps have their channels last, as timm says, or as torchvision's Swin has them."""
    return getattr(model, "output_fmt", "NCHW") == "NHWC" or type(model).__name__ == "SwinTransformer"
