"""What is written down: raw values in base units, never statistics. One ``Measurement`` type serves every quantity.

Schema history (``SCHEMA_VERSION``):
    1  2026-11: first form; one JSON object a line.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fer_bench.errors import StoreError

SCHEMA_VERSION = 1

Json = Any  # what json.dumps takes: str, int, float, bool, None, and lists and dicts of them


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity of one network: raw values in a base unit, or the reason why there is none.

    Attributes:
        metric: what was measured: "macs", "latency_s", "peak_rss_bytes", ...
        unit: "count", "bytes", "s".
        values: as measured, in order; a count is one value.
        details: what is needed to understand the values, by name.
        warnings: what may mislead about the values.
        failure: why there are no values, or "".
    """

    metric: str
    unit: str
    values: tuple[float, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        return cls(**{**data, "values": tuple(data["values"]), "warnings": tuple(data["warnings"])})


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it was measured, told by the process that measured. Sizes in bytes, frequencies in Hz."""

    cpu: str
    cores: int
    memory_bytes: int
    os: str
    python: str
    packages: Mapping[str, str]
    device: str
    device_name: str
    threads: int
    allocator: str
    load_1min: float
    commit: str
    dirty: bool
    gpu: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """Which network was measured, and how it was built: enough to build it again.

    ``input_shape`` is (C, H, W), or None where the network failed before its size was known.
    """

    name: str
    title: str
    status: str
    input_shape: tuple[int, int, int] | None
    num_classes: int
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    note: str = ""
    uncertain: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Self:
        shape = tuple(data["input_shape"]) if data["input_shape"] else None
        lists = {key: tuple(data[key]) for key in ("settings", "uncertain")}
        return cls(**{**data, "input_shape": shape, **lists})


@dataclass(frozen=True, slots=True)
class Result:
    """All that one run learned of one network."""

    subject: Subject
    plan: Mapping[str, Json]
    environment: Environment | None
    measurements: tuple[Measurement, ...]
    started_at: str
    schema_version: int = SCHEMA_VERSION

    def measurement(self, metric: str) -> Measurement | None:
        return next((m for m in self.measurements if m.metric == metric), None)

    def value(self, metric: str) -> float | None:
        """Give the single value of a count, or None where it was not measured or failed."""
        found = self.measurement(metric)
        return found.values[0] if found is not None and found.values else None

    def to_json(self) -> str:
        """Write the result as one line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read one line.

        Raises:
            StoreError: it is no result, or one of a later schema.
        """
        try:
            data = json.loads(line)
            version = data["schema_version"]
            if version > SCHEMA_VERSION:
                raise StoreError(f"written by a later fer_bench (schema {version}, this one reads {SCHEMA_VERSION})")
            return cls(
                subject=Subject.of(data["subject"]),
                plan=data["plan"],
                environment=Environment(**data["environment"]) if data["environment"] else None,
                measurements=tuple(map(Measurement.of, data["measurements"])),
                started_at=data["started_at"],
                schema_version=version,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"not a result of fer_bench: {type(error).__name__}: {error}") from error
