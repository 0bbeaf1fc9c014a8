"""What two ways of running one network differ by, in raw values: errors against float64, decisions, probabilities."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LARGEST = 1e60  # in place of an error that is not finite: no record has infinity


@dataclass(frozen=True, slots=True)
class Errors:
    """Root mean squares, a list for each output of the network, a value for each image.

    Attributes:
        backend: of the backend's differences from float64.
        eager: of PyTorch's own.
        spread: of float64's differences from their mean over images: what tells images apart.
        size: of float64's values themselves.
    """

    backend: tuple[tuple[float, ...], ...]
    eager: tuple[tuple[float, ...], ...]
    spread: tuple[tuple[float, ...], ...]
    size: tuple[tuple[float, ...], ...]


def in_batches(call: Callable[[Array], Sequence[Array]], images: Array, batch: int) -> list[Array]:
    """Run images, (N, C, H, W), through what takes batches of one size, and return its outputs, each (N, ...)."""
    found: list[list[Array]] = []
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        full = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)]) if len(part) < batch else part
        outputs = call(np.ascontiguousarray(full))
        found.append([np.array(output)[: len(part)] for output in outputs])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def errors(backend: Sequence[Array], eager: Sequence[Array], exact: Sequence[Array]) -> Errors:
    """Return the errors of a backend's outputs and of PyTorch's, each (N, ...).

    Raises:
        ValueError: the outputs have other shapes, or are of another number.
    """
    shapes = [[output.shape for output in outputs] for outputs in (backend, eager)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"its outputs are {shapes[0]}, and PyTorch's {shapes[1]}")
    real = [n for n, output in enumerate(eager) if np.issubdtype(output.dtype, np.floating)]
    double = [np.asarray(exact[n], np.float64) for n in real]
    return Errors(
        backend=tuple(_rms(np.asarray(backend[n], np.float64) - each) for n, each in zip(real, double, strict=True)),
        eager=tuple(_rms(np.asarray(eager[n], np.float64) - each) for n, each in zip(real, double, strict=True)),
        spread=tuple(_rms(each - each.mean(axis=0)) for each in double),
        size=tuple(_rms(each) for each in double),
    )


def scores(outputs: Sequence[Array]) -> Array | None:
    """Return the first output that is scores of classes, (N, classes), or None."""
    return next((each for each in outputs if each.ndim == 2 and each.shape[1] > 1), None)


def divergences(eager: Array, backend: Array) -> list[float]:
    """Return for each image the Kullback-Leibler divergence of the backend's probabilities from PyTorch's, in nats."""
    ours, theirs = _log_softmax(eager), _log_softmax(backend)
    return [max(0.0, float(value)) for value in (np.exp(ours) * (ours - theirs)).sum(axis=1)]


def margins(scored: Array) -> list[float]:
    """Return for each image how far its first class is above its second."""
    ordered = np.sort(np.asarray(scored, np.float64), axis=1)
    return [float(value) for value in ordered[:, -1] - ordered[:, -2]]


def _log_softmax(values: Array) -> Array:
    shifted = np.asarray(values, np.float64) - np.max(values, axis=1, keepdims=True)
    logged: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logged


def _rms(values: Array) -> tuple[float, ...]:
    """Return the root mean square of each image's values; of what is not finite ``LARGEST``."""
    flat = values.reshape(len(values), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.sqrt(np.mean(np.square(flat), axis=1)) if flat.shape[1] else np.zeros(len(flat))
    return tuple(float(value) if math.isfinite(value) else LARGEST for value in found)
