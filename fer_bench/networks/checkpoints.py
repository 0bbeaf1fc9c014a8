"""Load a file of weights into a network, in its own layout or a published one, and report what fitted.

PyTorch's files and safetensors are read here, Keras's HDF5 files by ``keras_files``.

Families know the published layouts: a function ``convert_state_dict`` in a family's file renames foreign keys to ours.
What wrappers and trainers put before the keys is removed. No file can run code: pickles are read with ``weights_only``.
"""

import argparse
import importlib
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from fer_bench.networks.keras_files import CONTAINER, KerasModel, fitted, is_keras_file, read_keras
from fer_bench.networks.spec import DEFAULT_INPUT, ModelSpec
from fer_bench.networks.weights import known_file, locate
from fer_bench.records import units
from fer_bench.records.errors import CheckpointError, brief

# Entries that hold the weights; averaged ones are taken where there are no others.
_CONTAINERS = ("net", "state_dict", "model_state_dict", "model", "module", "network", "student", "weights", "params")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "model_ema_state_dict", "params_ema", "ema")
# What wrappers put before the keys of the network that they hold.
_PREFIXES = ("module.", "model.", "net.", "network.", "student.", "ema_model.", "ema.", "backbone.", "encoder.")
_MOST_CONTAINERS = 64  # that are looked into
_COMPILED = "_orig_mod."  # of torch.compile, before any module's keys
_AVERAGES = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


def _rebuilds(value: Any) -> Callable[..., Any]:
    """Return the function that pickle calls to make a NumPy value again."""
    function: Callable[..., Any] = value.__reduce__()[0]
    return function


# Pickled beside weights by many trainers, and only data: numbers, names, paths and containers of these.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    (lambda *_default: {}, "collections.defaultdict"),  # which PyTorch refuses to fill
    dict,
    TorchVersion,
    numpy.dtype,
    numpy.ndarray,
    *(type(numpy.dtype(kind)) for kind in "?bBhHiIlLqQefdgFD"),
    *(
        (function, f"numpy.{module}.multiarray.{name}")
        for module in ("core", "_core")
        for name, function in (
            ("scalar", _rebuilds(numpy.float64(0))),
            ("_reconstruct", _rebuilds(numpy.zeros(0))),
        )
    ),
    *((getattr(pathlib, name), f"pathlib.{name}") for name in ("PurePosixPath", "PureWindowsPath")),
    (pathlib.PurePosixPath, "pathlib.PosixPath"),
    (pathlib.PureWindowsPath, "pathlib.WindowsPath"),
    (lambda text, _encoding: text.encode("latin-1"), "_codecs.encode"),  # how numbers' bytes are written
]

_SAVE = "save model.state_dict() with torch.save and try again"
# How files begin that are none of weights: what they are, and what to do.
_NO_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself: fetch that with `git lfs pull`"),
    (b"<!doctype html", "a web page, as a download that needs a confirmation gives: download the file in a browser"),
    (b"<html", "a web page, as a download that needs a confirmation gives: download the file in a browser"),
    (b"<?xml", "XML, as a failed download gives: download the file again"),
    (b"{", "JSON: name the file of weights that lies beside it"),
    (b"\x89hdf", "an HDF5 file, as Keras writes, whose entries have names for no network: load it into one"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"rar!", "a RAR archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
)
_ONNX = ".onnx"
_TAR_AT = 257  # where a tar archive says what it is


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a checkpoint's entries, by key.

    Attributes:
        container: the entry that held the weights, or "".
        loaded: keys that the network took.
        missing: keys of the network that the checkpoint lacks; it keeps their initial values.
        unexpected: keys of the checkpoint that the network has not.
        mismatched: keys in both, of different shapes: "key: (checkpoint) against (network)".
        stripped: what was removed before the keys, in order.
        averaged: the weights are averages over the training (EMA or SWA), as their entry says.
        also_averaged: entry of averaged weights that the file holds beside those that were loaded, or "".
        terms: licence of the weights and of the data behind them, where the file is known.
        images: size of the images that the file itself names, as "1x64x64"; "" where it does not.
    """

    container: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    stripped: tuple[str, ...] = ()
    averaged: bool = False
    also_averaged: str = ""
    terms: str = ""
    images: str = ""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], str, str]:
    """Read a file of weights: a state dict, bare or inside a container, pickled by PyTorch or as safetensors.

    Returns:
        The flat state dict as the file has it, the container's key or "", and that of averaged weights beside it or "".

    Raises:
        CheckpointError: the file is missing, no checkpoint, truncated, would run code, or holds no plain tensors.
    """
    path = Path(path)
    content = _content(path)
    container = averaged = ""
    outer = {id(content)}
    while isinstance(content, Mapping) and (inner := _inside(content, set(outer))):
        beside = (key for key in _AVERAGED if key != inner and _holds_tensors(content.get(key), set(outer)))
        averaged = averaged or next(beside, "")
        container, content = inner, content[inner]
        outer.add(id(content))
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path} holds no tensors; its keys are {', '.join(map(str, list(content)[:8]))}")
    for what, odd in (
        ("quantised", [key for key, value in state.items() if value.is_quantized]),
        ("sparse", [key for key, value in state.items() if value.layout != torch.strided]),
    ):
        if odd:
            raise CheckpointError(
                f"{path} holds {len(odd)} {what} entries, such as {odd[0]}: make them plain float tensors "
                f"({'value.dequantize()' if what == 'quantised' else 'value.to_dense()'}) and save them again"
            )
    return state, container, averaged


def _inside(content: Mapping[Any, Any], seen: set[int]) -> str:
    """Return the entry that holds the weights, or "" where they lie bare; ``seen`` has what was looked into."""
    return next((key for key in (*_CONTAINERS, *_AVERAGED) if _holds_tensors(content.get(key), seen)), "")


def _holds_tensors(entry: Any, seen: set[int]) -> bool:
    """Return whether an entry is a state dict or a container of one; a trainer's settings may have such a name, too.

    A file may be hostile: what contains itself, or is very deep, is not followed.
    """
    if not isinstance(entry, Mapping) or id(entry) in seen or len(seen) >= _MOST_CONTAINERS:
        return False
    seen.add(id(entry))
    return any(isinstance(value, Tensor) for value in entry.values()) or bool(_inside(entry, seen))


def _content(path: Path) -> Any:
    """Read a file, without running any code that it may hold."""
    try:
        with path.open("rb") as file:
            head = file.read(_TAR_AT + 8)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}; a path starts at the current folder") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder, expected a file of weights") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(f"{path} cannot be read: it is empty")
    try:
        if _is_safetensors(path, head):
            from safetensors.torch import load_file

            return load_file(path)
        if what := _no_weights(path, head):
            raise CheckpointError(f"{path} is {what}")
        # Unusual pickles make warnings: what matters is reported below.
        # By its name PyTorch would take a file for safetensors, so that it gets it open.
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(_HARMLESS),
            path.open("rb") as file,
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is refused: {_refusal(str(error))}") from error
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated, or no PyTorch checkpoint ({brief(error)})"
        ) from error


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Recognise safetensors by content: the length of a JSON header, then that."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= path.stat().st_size - 8


def _no_weights(path: Path, head: bytes) -> str:
    """Return what a file is that holds no weights for us, and what to do; "" if it may hold some."""
    begins = head.lstrip().lower()
    for start, what in _NO_WEIGHTS:
        if begins.startswith(start):
            return what
    if path.suffix == _ONNX:
        return f"an ONNX program: load the PyTorch network that it was exported from, and {_SAVE}"
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any("serialized_exported_program" in name or name.endswith("models/model.json") for name in names):
        return f"a program of torch.export: load the network that it was exported from, and {_SAVE}"
    if any("/code/" in name for name in names) and any(name.endswith("constants.pkl") for name in names):
        return f"a TorchScript program: in Python torch.jit.load(...).state_dict() has its weights; {_SAVE}"
    if "model.weights.h5" in names:
        return "an archive of Keras 3: in Python keras.saving.load_model(...).save('FILE.h5') makes an HDF5 file of it"
    if not any(name.endswith("data.pkl") for name in names):
        return f"a zip archive of {len(names)} files and no PyTorch checkpoint: unpack it first"
    return ""


def _refusal(message: str) -> str:
    """Return why PyTorch refused a pickle: it names what the file asks for."""
    asked = re.search(r"GLOBAL ([A-Za-z_][\w.]*)", message)
    if asked is None:
        return f"it is no PyTorch checkpoint, or it asks to run code when it is read; {_SAVE}"
    return (
        f"it asks for {asked[1]} when it is read, which can run code. A whole model or an object of a trainer was "
        f"pickled, and not weights alone: {_SAVE}"
    )


def load_checkpoint(
    model: nn.Module, path: str | Path, spec: ModelSpec | None = None, *, strict: bool = True
) -> LoadReport:
    """Load a file of weights into a network.

    Args:
        model: the network; a strict load that fails leaves it as it was.
        path: the file (see ``read_checkpoint``), or ``wheel:PACKAGE`` for the one in an installed wheel.
        spec: its ModelSpec, so that published layouts of its family are recognised.
        strict: raise unless every key fits; otherwise load what fits and report the rest.

    Raises:
        CheckpointError: the file cannot be read, or (strict) keys are missing, unexpected or of another shape.

    Examples:
        >>> model = fb.create_model("mtcnn_pnet")
        >>> torch.save(model.state_dict(), "weights.pt")
        >>> fb.load_checkpoint(model, "weights.pt").complete
        True
    """
    path = locate(path, spec.name if spec is not None else "")
    known = known_file(path)
    if keras := read_keras(path) if is_keras_file(path) else None:
        entries, container, also_averaged = _entries_of_keras(model, keras, path, spec), CONTAINER, ""
    else:
        entries, container, also_averaged = read_checkpoint(path)
    own = model.state_dict()
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    if spec is not None and spec.source.kind == "zoo":
        convert = getattr(importlib.import_module(spec.source.library), "convert_state_dict", dict)
    # What makes most keys fit; of several that are alike the first, which removes least.
    stripped, state = max(
        ((removed, convert(bare)) for removed, bare in _without_prefixes(entries)),
        key=lambda way: len(way[1].keys() & own.keys()),
    )
    mismatched = {key for key, value in state.items() if key in own and value.shape != own[key].shape}
    fitting = {key: value for key, value in state.items() if key in own and key not in mismatched}
    averages = _AVERAGES in entries
    report = LoadReport(
        container=container,
        loaded=tuple(sorted(fitting)),
        # Files from before PyTorch 0.4.1 lack this counter, which does not change the network's output.
        missing=tuple(sorted(key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked"))),
        unexpected=tuple(sorted(state.keys() - own.keys() - ({_AVERAGES} if averages else set()))),
        mismatched=tuple(
            f"{key}: {tuple(state[key].shape)} against {tuple(own[key].shape)}" for key in sorted(mismatched)
        ),
        stripped=stripped,
        averaged=averages or container in _AVERAGED or any(prefix.startswith("ema") for prefix in stripped),
        also_averaged=also_averaged,
        terms=known.terms if known is not None else "",
        images=_images(keras) if keras is not None else "",
    )
    if strict and not report.complete:
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {describe(report)}")
    model.load_state_dict(fitting, strict=False)
    return report


def _entries_of_keras(model: nn.Module, keras: KerasModel, path: Path, spec: ModelSpec | None) -> dict[str, Tensor]:
    """Return a Keras file's entries by the names of the network's that they correspond to."""
    try:
        return fitted(model, keras, spec.input_shape if spec is not None and spec.input_shape else DEFAULT_INPUT)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _images(keras: KerasModel) -> str:
    sizes = tuple(size for size in keras.input_shape if size)
    return units.size(sizes) if len(sizes) == len(keras.input_shape) else ""


def _without_prefixes(state: dict[str, Tensor]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield a state dict, and what it is without prefixes, with those removed: the fewest first, the same keys once."""
    ways: list[tuple[tuple[str, ...], dict[str, Tensor]]] = [((), state)]
    seen = set()
    for removed, bare in ways:  # which grows
        if (keys := frozenset(bare)) in seen:
            continue
        seen.add(keys)
        yield removed, bare
        if any(_COMPILED in key for key in bare):
            ways.append(((*removed, _COMPILED), {key.replace(_COMPILED, ""): value for key, value in bare.items()}))
            continue
        for prefix in _PREFIXES:
            without = {key.removeprefix(prefix): value for key, value in bare.items()}
            # A key must not replace another one, such as a student's the teacher's.
            if len(without) == len(bare) and without.keys() != bare.keys():
                ways.append(((*removed, prefix), without))


def describe(report: LoadReport, most: int | None = 5, *, lines: bool = False) -> str:
    """Return what became of a checkpoint.

    Args:
        report: what ``load_checkpoint`` returned.
        most: name so many keys of each kind; None names all.
        lines: a line for each.
    """
    removed = f", without {' '.join(map(repr, report.stripped))} before their keys" if report.stripped else ""
    averaged = " (averages over the training)" if report.averaged else ""
    parts = [f"{len(report.loaded)} entries fit{averaged}{removed}"]
    if report.also_averaged:
        parts.append(f"averaged weights lie beside them, in {report.also_averaged!r}, and were not loaded")
    if report.images:
        parts.append(f"its images are {report.images}")
    if report.terms:
        parts.append(report.terms)
    for keys, what in (
        (report.missing, "missing"),
        (report.unexpected, "unexpected"),
        (report.mismatched, "of another shape (is --classes right?)"),
    ):
        if keys and lines:
            more = [f"... and {len(keys) - most} more"] if most is not None and len(keys) > most else []
            parts.append("\n  ".join([f"{len(keys)} {what}:", *keys[:most], *more]))
        elif keys:
            parts.append(f"{len(keys)} {what}: {', '.join(keys[:most])}{', ...' if keys[most:] else ''}")
    return ("\n" if lines else "; ").join(parts)
