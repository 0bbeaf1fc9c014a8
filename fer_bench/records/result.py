"""What is written down: raw values in base units, never statistics. One ``Measurement`` type serves every quantity.

Schema history (``SCHEMA_VERSION``):
    1  2026-11: never released, and not read.
    2  2026-11: the first that is read.
"""

import dataclasses
import html
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Self, TypedDict, TypeVar

from fer_bench.records import details, output, schema, stats, units
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.output import capped
from fer_bench.records.plan import Plan
from fer_bench.records.schema import Amount, Count, Integer, Name, Shape, Whole
from fer_bench.records.schema import Json as Json  # read from here by all others

SCHEMA_VERSION = 2
LEFT_BEHIND = "left_behind"  # detail of a result's last measurement: processes of the network that had to be ended

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity of one network: raw values in a base unit, or the reason why there is none."""

    metric: Name  # "macs", "latency_s", "minor_faults", "peak_rss_bytes", ...
    unit: str  # "count", "bytes", "s", "J"
    values: tuple[int | float, ...] = ()  # as measured, in order; a count is one value
    process: Count = 0  # which of the processes that measured this metric of this network
    details: Mapping[str, Json] = field(default_factory=dict)  # what is needed to understand the values, by name
    warnings: tuple[str, ...] = ()  # what may mislead about the values
    failure: str = ""  # why there are no values, in ``output.MOST_CHARACTERS`` at most

    def __post_init__(self) -> None:
        object.__setattr__(self, "failure", capped(self.failure))

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read a measurement as JSON has it; raise ValueError where no profiler writes such a one."""
        try:
            schema.bounded(data)
            read = schema.read(cls, data)
            # Differences of the system's counters of time can go back by a tick.
            least = -schema.MOST if read.metric.startswith(("training.", "testing.", "live.")) else 0
            for place, value in enumerate(read.values):
                if not least <= value <= schema.MOST:
                    raise schema.wrong(f"values[{place}]", value, f"a number from {least:g} to {schema.MOST:g}")
            details.check(read.metric, read.details, len(read.values))
        except ValueError as error:
            known = data if isinstance(data, Mapping) else {}
            metric, process = (schema.named(known.get(key, 0)) for key in ("metric", "process"))
            raise ValueError(f"{metric} of process {process}: {error}") from error
        return read


# What a time depends on, in the order in which differences are reported.
_MATTERS = """device device_name cpu cores cpu_limit memory_bytes memory_limit_bytes threads allocator malloc_settings
huge_pages frequency_policy nice
packages blas python os gpu runtime node""".split()
_MEMORY_SHARE = 0.01  # of difference that is none
_SPEED_SHARE = 0.10  # likewise: tries of one machine differ by less
_PARTS = {
    "packages": ("torch", "torchvision", "timm"),
    "runtime": ("name", "version", "precision", "threads", "providers"),
    "gpu": ("name", "driver", "cuda", "memory_bytes", "tf32_convolutions", "tf32_matrix_products"),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it was measured, as the process that measured saw it. Sizes in bytes, frequencies in Hz."""

    cpu: str
    cores: Count
    memory_bytes: Count
    os: str
    python: str
    packages: Mapping[str, str]
    device: str
    device_name: str
    threads: Count
    allocator: str
    load_1min: Amount
    commit: str
    dirty: bool
    gpu: Mapping[str, Json] = field(default_factory=dict)
    cpu_clock_hz: Amount = 0.0  # when the network was about to be measured; 0 where the system reports none
    blas: str = ""  # what multiplies matrices and convolves on the CPU, with versions, and the instruction set in use
    affinity: tuple[Count, ...] = ()  # the cores that the process may run on
    frequency_policy: str = ""  # the CPU's governor, or "" where the system reports none
    malloc_settings: Mapping[str, str] = field(default_factory=dict)  # environment variables that change the allocator
    # Environment variables that change OpenMP's threads. What they say of waiting is compared as the plan's ``wait``.
    openmp_settings: Mapping[str, str] = field(default_factory=dict)
    huge_pages: str = ""  # the system's mode of transparent huge pages
    cpu_limit: Amount | None = None  # processors' worth of time that the container gets; None without a limit
    memory_limit_bytes: Count | None = None  # of the container; None without a limit
    node: str = ""  # of a cluster: a hash of its machine and name; "" where the command itself ran
    nice: Integer = 0  # of the process: above 0 everything else may interrupt it
    # Of a backend: its name and version, and threads, precision and more as the runtime itself reports them. Empty for
    # PyTorch, so that an installed runtime changes nothing of PyTorch's results.
    runtime: Mapping[str, Json] = field(default_factory=dict)
    # What this machine reaches with this device, precision and number of threads (see ``profilers.roofline``); empty
    # where it was not measured.
    attainable: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read an environment as JSON has it; raise ValueError where it is none."""
        read = schema.read(cls, data)
        _part("attainable", details.check_attainable, read.attainable)
        _part("gpu", details.check_gpu, read.gpu)
        _part("runtime", details.check_runtime, read.runtime)
        return read

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Read an environment as JSON, the fast way for many; raise ValueError where it is none."""
        read: Self | None = schema.decode(cls, text)
        if read is None or read.attainable or read.gpu or read.runtime:
            return cls.of(schema.parse(text))
        return read

    @property
    def speeds(self) -> dict[str, float]:
        """Return what the machine itself attained then, by kind: "arithmetic" in MAC/s, "memory" in bytes/s."""
        copies = self.attainable.get("copy_bytes_per_s") or [(0, 0.0)]
        found = {"arithmetic": self.attainable.get("macs_per_s"), "memory": max(copies)[1]}  # of the largest copy
        return {kind: float(speed) for kind, speed in found.items() if speed}

    def comparable_with(self, other: Self, *, apart_from: Sequence[str] = ()) -> str:
        """Name the first of ``differences`` with both values; "" for none."""
        return next((f"{n}: {ours!r} and {theirs!r}" for n, ours, theirs in self.differences(other, apart_from)), "")

    def differences(self, other: Self, apart_from: Sequence[str] = ()) -> Iterator[tuple[str, Json, Json]]:
        """Yield what makes times of the two not comparable: attributes with both values.

        Load, clocks, temperatures and the commit of what is measured are no such difference. Stability warnings
        cover the first three, and the last is what one compares. ``apart_from`` names what differs on purpose: of these
        attributes, and of packages.
        """
        for name in _MATTERS:
            if name in apart_from:
                continue
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours == theirs:
                continue
            if name in _PARTS:
                kept = [key for key in _PARTS[name] if key not in apart_from]
                ours, theirs = ({key: value.get(key) for key in kept} for value in (ours, theirs))
            if name == "memory_bytes" and math.isclose(ours, theirs, rel_tol=_MEMORY_SHARE):
                continue  # a virtual machine is given a page more or less from start to start
            if ours != theirs:
                yield name, ours, theirs


def speeds_apart(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return by what factor a machine was itself faster or slower than before: "1.6x slower in arithmetic", or "".

    Both are ``Environment.speeds``; what only one of them knows is not compared.
    """
    parts = []
    for kind in before:
        if kind in after and before[kind] > 0 and after[kind] > 0:
            ratio = after[kind] / before[kind]
            factor = max(ratio, 1 / ratio)
            if factor > 1 + _SPEED_SHARE:
                parts.append(f"{units.significant(factor, 2)}x {'faster' if ratio > 1 else 'slower'} in {kind}")
    return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Subject:
    """Which network was measured, and how it was built: enough to build it again.

    ``input_shape`` is (C, H, W), or None where the network failed before its size was known; ``num_classes`` is None
    where it is unknown. ``checkpoint`` is the file of weights, by name and SHA-256, or "". ``exempt`` is the reason why
    it did not run at the protocol's size, but at its own.
    """

    name: Name
    title: str
    status: str
    input_shape: Shape | None
    num_classes: Whole | None
    settings: tuple[str, ...] = ()
    checkpoint: str = ""
    note: str = ""
    uncertain: tuple[str, ...] = ()
    exempt: str = ""

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read a subject as JSON has it; raise ValueError where it is none."""
        if isinstance(data, Mapping) and data.get("input_shape") == []:
            data = {**data, "input_shape": None}
        subject = schema.read(cls, data)
        # Older records have the whole path, which says where a user's files lie.
        name = PurePath(subject.checkpoint.replace("\\", "/")).name
        return dataclasses.replace(subject, checkpoint=name)


# What of a plan the time of a pass depends on.
PLAN_CONDITIONS = tuple(
    """device backend runtime batch_size precision layout mode cudnn threads wait pin alloc rate_hz""".split()
)


@dataclass(frozen=True, slots=True)
class Result:
    """All that one run learned of one network, as raw values; it prints as a summary.

    Attributes:
        wall_s: how long it took in all.
        passes_s: how long of that the network was at work: warm-up, timed passes, steps.

    Examples:
        >>> result = fb.measure("mtcnn_pnet", "quick", metrics="static", progress=False)[0]
        >>> result.value("macs"), result.measurement("latency_s")
        (44760, None)
        >>> print(result)
        mtcnn_pnet: 3x12x12, 2 classes; quick on cpu, batch 1, ... by forked processes
        ...
          macs                           44,760
        ...
    """

    subject: Subject
    plan: Plan
    environment: Environment | None
    measurements: tuple[Measurement, ...]
    started_at: str
    wall_s: Amount = 0.0
    passes_s: Amount = 0.0
    schema_version: Integer = SCHEMA_VERSION

    def measurement(self, metric: str) -> Measurement | None:
        """Return the first measurement of a metric, failed or not."""
        return next((m for m in self.measurements if m.metric == metric), None)

    def samples(self, metric: str) -> list[tuple[float, ...]]:
        """Return the values of a metric process by process; a process that failed has none and is left out."""
        return [m.values for m in self.measurements if m.metric == metric and m.values]

    def value(self, metric: str) -> float | None:
        """Return the single value of a count, or None where it was not measured or failed."""
        found = self.measurement(metric)
        return found.values[0] if found is not None and found.values else None

    def condition_apart(self, other: "Result") -> str:
        """Name the first condition on which times depend that differs between two results, with both; "" for none."""
        pairs = [("input", self.subject.input_shape, other.subject.input_shape)]
        pairs += [(name, getattr(self.plan, name), getattr(other.plan, name)) for name in PLAN_CONDITIONS]
        return next((f"{name}: {ours!r} and {theirs!r}" for name, ours, theirs in pairs if ours != theirs), "")

    def __str__(self) -> str:
        """Write what was measured, a line for each metric: its value, or the median of all values in base units."""
        subject, plan = self.subject, self.plan
        size = units.size(subject.input_shape) if subject.input_shape else "input unknown"
        head = f"{subject.name}: {size}, {subject.num_classes or 'unknown'} classes; {plan.protocol} on {plan.device}, "
        lines = [f"{head}batch {plan.batch_size}, {plan.threads or 'all'} threads, by {plan.isolation} processes"]
        for metric in dict.fromkeys(measured.metric for measured in self.measurements):
            values = [value for sample in self.samples(metric) for value in sample]
            failed = [m.failure for m in self.measurements if m.metric == metric and m.failure]
            unit = next(m.unit for m in self.measurements if m.metric == metric).replace("count", "")
            if len(values) == 1:
                text = f"{units.grouped(values[0])} {unit}"
            elif values:
                text = f"{units.number(stats.median(values))} {unit}, the median of {len(values)} values"
            else:
                text = f"failed: {failed[0]}" if failed else "no value"
            lines.append(f"  {metric:<30} {text}".rstrip())
        return output.printable("\n".join(lines), lines=True)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_dict(self) -> dict[str, Json]:
        """Return the result as JSON has it."""
        return {**dataclasses.asdict(self), "plan": self.plan.to_dict()}

    def to_json(self) -> str:
        """Write the result as one line."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read one line; raise StoreError where it is no result, or one of another schema."""
        try:
            data = schema.parse(line)
        except ValueError as error:
            raise StoreError(f"not a result of fer_bench: {error}") from error
        return cls.of(data)

    @classmethod
    def of(cls, data: Json) -> Self:
        """Read a result as JSON has it; raise StoreError where it is none, or one of another schema."""
        try:
            head = schema.fields(_Head, data)
            version = head.get("schema_version", 0)
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"written by a later fer_bench (schema {version}, this one reads {SCHEMA_VERSION}): upgrade with "
                    "`pip install --upgrade fer-bench`"
                )
            if missing := [name for name in _NEEDED if name not in data]:
                raise ValueError(f"it lacks {', '.join(missing)}")
            if version < SCHEMA_VERSION:
                raise StoreError(
                    f"written by a fer_bench before the first release (schema {version}, this one reads "
                    f"{SCHEMA_VERSION}): measure it again"
                )
            schema.time(head["started_at"], "started_at")
            where = data["environment"]  # None where the process failed before it could say
            return cls(
                subject=_part("subject", Subject.of, data["subject"]),
                plan=_part("plan", Plan.of, data["plan"]),
                environment=None if where is None else _part("environment", Environment.of, where),
                measurements=_in_step(tuple(map(Measurement.of, head.pop("measurements")))),
                **head,
            )
        except ValueError as error:
            raise StoreError(f"not a result of fer_bench: {error}") from error


class _Head(TypedDict, total=False):
    """What a result has besides its parts."""

    measurements: list[Json]
    started_at: str
    wall_s: Amount
    passes_s: Amount
    schema_version: Integer


_NEEDED = ("schema_version", "subject", "plan", "environment", "measurements", "started_at")


def _part(name: str, read: Callable[[Json], Part], data: Json) -> Part:
    try:
        schema.bounded(data)
        return read(data)
    except (ValueError, FerBenchError) as error:
        raise ValueError(f"{name}: {error}") from error


def _in_step(measured: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """Return measurements as they are; raise ValueError where one cannot be read without another that is missing."""
    values = {each.metric: each.values for each in measured}
    for stage in ("training", "testing"):
        intervals, held = (values.get(f"{stage}.{of}", ()) for of in ("interval_s", "rss_bytes"))
        if intervals and not (held and sum(intervals)):
            raise ValueError(f"{stage}.interval_s has values that are all 0, or no {stage}.rss_bytes beside them")
    macs, moved = (values.get(f"operator_{of}", ()) for of in ("macs", "bytes"))
    if macs and moved and len(macs) != len(moved):
        raise ValueError(f"operator_macs has {len(macs)} values, and operator_bytes {len(moved)}")
    return measured
