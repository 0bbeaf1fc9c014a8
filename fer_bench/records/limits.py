"""Absolute limits that a network stays under, as a sheet or the command line says them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fer_bench.records.errors import FerBenchError
from fer_bench.records.units import Limit, parse_limit

_KINDS = {
    "max_params": "parameters",
    "max_macs": "MACs",
    "max_activation": "bytes",
    "max_size": "bytes",
    "max_latency": "seconds",
    "max_memory": "bytes",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one network; None where there is none.

    Attributes:
        max_params: parameters.
        max_macs: MACs a sample.
        max_activation: bytes of activations at their peak, of one image.
        max_size: bytes of the state dict.
        max_latency: seconds a pass.
        max_memory: bytes of the process at its peak.
    """

    max_params: Limit | None = None
    max_macs: Limit | None = None
    max_activation: Limit | None = None
    max_size: Limit | None = None
    max_latency: Limit | None = None
    max_memory: Limit | None = None

    @classmethod
    def of(cls, limits: Mapping[str, Any]) -> Self:
        """Read limits as users write them: ``{"max_params": "5 M", "max_latency": "20 ms"}``.

        Raises:
            FerBenchError: there is no such limit, or it is no number with a unit of its kind.
        """
        if unknown := [name for name in limits if name not in _KINDS]:
            raise FerBenchError(f"unknown limits {', '.join(unknown)}; known: {', '.join(_KINDS)}")
        read = {}
        for name, given in limits.items():
            try:
                read[name] = parse_limit(given, _KINDS[name])
            except FerBenchError as error:
                raise FerBenchError(f"{name} = {error}") from error
        return cls(**read)

    def or_else(self, other: Self) -> Self:
        """Give these limits, and another budget's where there is none here."""
        return dataclasses.replace(other, **self.set())

    def set(self) -> dict[str, Limit]:
        """Give the limits that there are, by name."""
        found = {name: getattr(self, name) for name in _KINDS}
        return {name: limit for name, limit in found.items() if limit is not None}


NO_LIMITS = Budget()
