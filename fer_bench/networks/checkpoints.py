"""Load a file of weights into a network, in its own layout or a published one, and tell what fitted.

Families know the published layouts: a function ``convert_state_dict`` in a family's file renames foreign keys to ours.
"""

import importlib
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import CheckpointError, brief

_CONTAINERS = ("net", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a checkpoint's entries, by key.

    Attributes:
        container: the entry that held the weights, or "".
        loaded: keys that the network took.
        missing: keys of the network that the checkpoint lacks; it keeps their initial values.
        unexpected: keys of the checkpoint that the network has not.
        mismatched: keys in both, of different shapes: "key: (checkpoint) against (network)".
    """

    container: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read a file of weights: a state dict, bare or inside a container, pickled by PyTorch or as safetensors.

    Pickles are read with ``weights_only``: a file that would run code is refused.

    Returns:
        The flat state dict without ``module.`` prefixes, and the container's key or "".

    Raises:
        CheckpointError: the file is missing, truncated, would run code, or holds no tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # of unusual pickles: what matters is told below
                content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}; a path starts at the current folder") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder, expected a file of weights") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is no PyTorch checkpoint, or it asks to run code when it is read. "
            "Save only the state_dict (tensors) and try again"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated, or no PyTorch checkpoint ({brief(error)})"
        ) from error
    container = ""
    while isinstance(content, Mapping) and (inner := [k for k in _CONTAINERS if isinstance(content.get(k), Mapping)]):
        container, content = inner[0], content[inner[0]]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path} holds no tensors; its keys are {', '.join(map(str, list(content)[:8]))}")
    while all(key.startswith("module.") for key in state):  # what DataParallel adds
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state, container


def load_checkpoint(
    model: nn.Module, path: str | Path, spec: ModelSpec | None = None, *, strict: bool = True
) -> LoadReport:
    """Load a file of weights into a network.

    Args:
        model: the network; a strict load that fails leaves it as it was.
        path: the file (see ``read_checkpoint``).
        spec: its ModelSpec, so that published layouts of its family are recognised.
        strict: raise unless every key fits; otherwise load what fits and report the rest.

    Raises:
        CheckpointError: the file cannot be read, or (strict) keys are missing, unexpected or of another shape.
    """
    state, container = read_checkpoint(path)
    if spec is not None and spec.source.kind == "zoo":
        family = importlib.import_module(spec.source.library)
        state = getattr(family, "convert_state_dict", dict)(state)
    own = model.state_dict()
    mismatched = {key for key, value in state.items() if key in own and value.shape != own[key].shape}
    fitting = {key: value for key, value in state.items() if key in own and key not in mismatched}
    report = LoadReport(
        container=container,
        loaded=tuple(sorted(fitting)),
        # Files from before PyTorch 0.4.1 lack this counter, which does not change the network's output.
        missing=tuple(sorted(key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked"))),
        unexpected=tuple(sorted(state.keys() - own.keys())),
        mismatched=tuple(
            f"{key}: {tuple(state[key].shape)} against {tuple(own[key].shape)}" for key in sorted(mismatched)
        ),
    )
    if strict and not report.complete:
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {describe(report)}")
    model.load_state_dict(fitting, strict=False)
    return report


def describe(report: LoadReport, most: int | None = 5) -> str:
    """Say what became of a checkpoint.

    Args:
        report: what ``load_checkpoint`` found.
        most: name so many keys of each kind, in one line; None names all, a line each.
    """
    parts = [f"{len(report.loaded)} entries fit"]
    for keys, what in (
        (report.missing, "missing"),
        (report.unexpected, "unexpected"),
        (report.mismatched, "of another shape (is --classes right?)"),
    ):
        if keys and most is None:
            parts.append("\n  ".join([f"{len(keys)} {what}:", *keys]))
        elif keys:
            parts.append(f"{len(keys)} {what}: {', '.join(keys[:most])}{', ...' if keys[most:] else ''}")
    return ("\n" if most is None else "; ").join(parts)
