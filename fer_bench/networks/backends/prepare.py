"""What PyTorch does before a backend: batch norm, export, and the outputs that a backend is judged by."""

import copy
import hashlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree

from fer_bench.networks.backends.interface import DeployError, one_line
from fer_bench.networks.backends.natural import natural_images

Array = np.ndarray[Any, Any]
REFERENCE = "reference.npz"
DOUBLE = torch.float64
IMAGES = 8  # that a backend is judged on: of float32 arithmetic more say the same
_FOR_BATCH_NORM = 16
# 64 MiB of float64 activations and more are made of each image: one at a time keeps memory small.
_AT_ONCE = 1


def ready_random(model: nn.Module, shape: Sequence[int], seed: int = 0) -> list[str]:
    """Make a network of random weights one that a backend can be judged by, and return notes of what was done.

    A branch that ends in a batch norm of weight 0, as residual ones often start, adds nothing: parity would not see it,
    and a converter drops it, so that a smaller network would be timed. Such weights become 1. Then see ``re_estimate``.
    """
    norms = [each for each in model.modules() if isinstance(each, _BatchNorm) and each.weight is not None]
    silent = [each for each in norms if not each.weight.any()]
    for each in silent:
        nn.init.ones_(each.weight)
    notes = (
        [f"weights of {len(silent)} batch norms, all 0 as built, are 1: converters drop such branches"]
        if silent
        else []
    )
    if layers := re_estimate(model, shape, seed):
        notes.append(f"batch norm of {layers} layers re-estimated on generated natural images: there is no checkpoint")
    return notes


def re_estimate(model: nn.Module, shape: Sequence[int], seed: int = 0) -> int:
    """Set the statistics of batch norm to those of natural images, and return how many layers have them.

    As built, at mean 0 and variance 1, most networks give every image nearly the same outputs, whatever a backend does.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
        layer.training = True
    try:
        with torch.no_grad():
            model(torch.from_numpy(natural_images(_FOR_BATCH_NORM, shape, seed + 1)))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum, layer.training = momentum, False
    return len(layers)


def export(model: nn.Module, images: Tensor) -> Any:
    """Export a network for images of one batch.

    Raises:
        DeployError: it branches on values, or ``torch.export`` cannot follow it otherwise.
    """
    try:
        with torch.no_grad():
            return torch.export.export(model, (images,))
    except Exception as error:
        raise DeployError(f"torch.export cannot export it: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Return what torch.export says first, the line of the network that it is about, and what can be done."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without our own call
    of_torch = str(Path(torch.__file__).parent)
    own = next((frame for frame in reversed(frames) if not frame.filename.startswith(of_torch)), None)
    where = f" ({Path(own.filename).name}, line {own.lineno})" if own is not None else ""
    said = one_line(error, 200).partition(" (unhinted: ")[0].rstrip(".")
    if "data-dependent" in said:
        return f"{said}{where}; try: torch.where or torch.cond where it branches on values, or --backend torch"
    return f"{said}{where}; try: tensors and operators of PyTorch alone in forward, or --backend torch"


def identity(program: Any) -> str:
    """Return a digest of what a program computes, its weights aside."""
    graph = "\n".join(str(node.format_node()) for node in program.graph.nodes)
    return hashlib.sha256(graph.encode()).hexdigest()


def state_digest(model: nn.Module) -> str:
    """Return a digest of a network's state dict: names and values."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def flat(outputs: Any) -> list[Tensor]:
    """Return the tensors of outputs, in the order in which ``torch.export`` has them."""
    return [leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def run(model: nn.Module, images: Array, dtype: torch.dtype = torch.float32) -> list[Array]:
    """Run a network on images, (N, C, H, W), one by one, and return its outputs, each (N, ...)."""
    found: list[list[Tensor]] = []
    with torch.no_grad():
        for at in range(0, len(images), _AT_ONCE):
            found.append(flat(model(torch.from_numpy(images[at : at + _AT_ONCE]).to(dtype))))
    return [torch.cat(parts).numpy() for parts in zip(*found, strict=True)]


def write_reference(model: nn.Module, images: Array, folder: Path) -> None:
    """Write images with the network's outputs on them, in float32 as PyTorch has them and in float64."""
    eager = run(model, images)
    exact = run(doubled(model), images, DOUBLE)
    outputs = {f"eager_{n}": values for n, values in enumerate(eager)} | {f"exact_{n}": v for n, v in enumerate(exact)}
    arrays: dict[str, Any] = {"images": images, **outputs}
    np.savez(folder / REFERENCE, **arrays)


class Tapped(nn.Module):
    """A network that returns the outputs of its layers, in the order in which they ran: where a difference begins."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names: list[str] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        seen: list[tuple[str, Tensor]] = []

        def note(name: str) -> Any:
            def hook(module: nn.Module, given: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.is_floating_point():
                    seen.append((name, output.clone()))

            return hook

        leaves = [(name, each) for name, each in self.network.named_modules() if not any(each.children())]
        hooks = [each.register_forward_hook(note(f"{name} ({type(each).__name__})")) for name, each in leaves]
        try:
            outputs = flat(self.network(images))
        finally:
            for hook in hooks:
                hook.remove()
        self.names = [name for name, _ in seen] + [f"output {n}" for n in range(len(outputs))]
        return [output for _, output in seen] + outputs


def doubled(model: nn.Module) -> nn.Module:
    """Return a copy of a network in float64."""
    return copy.deepcopy(model).double()


def judged_images(shape: Sequence[int], seed: int = 0) -> Array:
    """Return the images that a backend is judged on, (N, C, H, W)."""
    return natural_images(IMAGES, shape, seed + 2)
