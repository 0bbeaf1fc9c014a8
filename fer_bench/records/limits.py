"""Absolute limits that a network stays under, as a sheet or the command line says them."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from fer_bench.records.errors import FerBenchError
from fer_bench.records.schema import shortened
from fer_bench.records.units import EXACT, PRINTED_UNITS, decimal, in_range

_LONGEST = 60  # characters of a limit
_COUNTED = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_LIMITS: dict[str, dict[str, Decimal]] = {
    "parameters": {unit: Decimal(step) for unit, step in _COUNTED.items()},
    "MACs": {f"{unit}{noun}": Decimal(step) for noun in ("", "MAC", "MACs") for unit, step in _COUNTED.items()},
    "bytes": {
        "": Decimal(1),
        **{f"{unit}B": Decimal(step) for unit, step in _COUNTED.items()},
        **{f"{unit}iB": Decimal(2) ** power for unit, power in (("K", 10), ("M", 20), ("G", 30))},
    },
    # No bare number: 20 seconds is no limit to anybody who meant milliseconds.
    "seconds": {unit: PRINTED_UNITS[unit] for unit in ("ns", "us", "µs", "ms", "s", "min")},
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as a user wrote it."""

    value: Decimal  # in base units: a count, bytes or seconds
    unit: str  # as written: "M", "GMACs", "MiB", "ms", or ""
    step: Decimal  # base units in one of these

    def written(self, value: float | Decimal) -> str:
        """Write a value in the limit's unit, to a digit more than the one in which it differs from the limit."""
        return f"{self._to_place(value, self._place(value))} {self.unit}".rstrip()

    def apart(self, value: float | Decimal) -> str:
        """Write how far a value is from the limit, to the same digit."""
        return f"{self._to_place(abs(decimal(value) - self.value), self._place(value))} {self.unit}".rstrip()

    def between(self, low: float, high: float) -> str:
        """Write the ends of an interval, both to the finer of their digits."""
        place = min(self._place(low), self._place(high))
        return f"[{self._to_place(low, place)}, {self._to_place(high, place)}] {self.unit}".rstrip()

    def __str__(self) -> str:
        return f"{(self.value / self.step).normalize():,f} {self.unit}".rstrip()

    def _place(self, value: float | Decimal) -> int:
        """Return the decimal place to write a value and its distance to: no finer than a byte, a nanosecond or one."""
        apart, most = abs(decimal(value) - self.value) / self.step, decimal(value) / self.step
        wanted = min((number.adjusted() - digits for number, digits in ((apart, 1), (most, 2)) if number), default=0)
        finest = Decimal("1E-9") if self.unit in _LIMITS["seconds"] else Decimal(1)
        return max(wanted, (finest / self.step).adjusted())

    def _to_place(self, value: float | Decimal, place: int) -> str:
        return f"{(decimal(value) / self.step).quantize(Decimal(1).scaleb(min(place, 0)), context=EXACT):,f}"


def parse_limit(given: str | float, kind: str) -> Limit:
    """Read a limit of a kind: "5 M" or 5000000 "parameters", "0.5 G" "MACs", "64 MiB" "bytes", "20 ms" "seconds".

    Raises:
        FerBenchError: the digits are no number above 0, or the unit is none of the kind.
    """
    known = _LIMITS[kind]
    # Of a number the representation is read, and True is none.
    text = given if isinstance(given, str) else repr(given) if isinstance(given, int | float) else ""
    match = re.fullmatch(r"\s*([0-9][0-9,_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*([^\s0-9.]*)\s*", text)
    digits, unit = (match[1], match[2]) if match else ("0", "")
    number = Decimal(digits.replace("_", "").replace(",", ""))
    written = ", ".join(unit for unit in known if unit not in ("", "K", "KB") and "MAC" not in unit)
    example = {"parameters": "5 M", "MACs": "0.5 G", "bytes": "64 MiB", "seconds": "20 ms"}[kind]
    if not number or not in_range(number) or len(text) > _LONGEST:
        raise FerBenchError(f"{shortened(given)} is no limit: expected a number of {kind} above 0, such as {example!r}")
    if "FLOP" in unit.upper():
        raise FerBenchError(f"{given!r} is in FLOPs: expected MACs, of which each is two FLOPs, such as {example!r}")
    if unit not in known:
        said = f"unit {unit!r} is unknown" if unit else "it has no unit"
        raise FerBenchError(f"{given!r}: {said}; {kind} are written with one of {written}, such as {example!r}")
    return Limit(number * known[unit], unit or ("B" if kind == "bytes" else ""), known[unit])


_KINDS = {
    "max_params": "parameters",
    "max_macs": "MACs",  # a sample
    "max_activation": "bytes",  # of activations at their peak, of one image
    "max_size": "bytes",  # of the state dict
    "max_latency": "seconds",  # a pass
    "max_memory": "bytes",  # of the process at its peak
}


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one network, each of the kind that ``_KINDS`` has for it; None where there is none."""

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
        """Return these limits, and another budget's where there is none here."""
        return dataclasses.replace(other, **self.set())

    def set(self) -> dict[str, Limit]:
        """Return the limits that there are, by name."""
        found = {name: getattr(self, name) for name in _KINDS}
        return {name: limit for name, limit in found.items() if limit is not None}


NO_LIMITS = Budget()
