"""Which details of a measurement tables and verdicts read, by metric, and their types. All others are free.

A record may lack a detail, unless its values mean nothing without it (``_NEEDED``).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from fer_bench.records import schema
from fer_bench.records.schema import MOST, Amount, Count, Integer, Json, Positive, Shape, Size, Whole

# Of two readings of a counter: noise can bring it below 0.
Difference = int | Annotated[float, Meta(ge=-MOST, le=MOST)]


class Gpu(TypedDict, total=False):
    """What is known of a GPU, or of its state at a moment."""

    name: str | None
    driver: str | None
    cuda: str | None
    memory_bytes: Count | None
    tf32_convolutions: bool | None
    tf32_matrix_products: bool | None
    sm_clock_hz: Amount | None
    throttle_reasons: list[str] | None


class Attainable(TypedDict, total=False):
    """What a machine attains (see ``profilers.roofline``)."""

    macs_per_s: Positive
    copy_bytes_per_s: Annotated[list[tuple[Positive, Positive]], Meta(min_length=1)]
    operator_s: Amount
    how: str
    failure: str


class _Macs(TypedDict, total=False):
    batch: Size
    num_classes: Whole | None
    convention: str
    uncounted: dict[str, Count]
    decided_by: list[str]


class _Times(TypedDict, total=False):
    others_cores: Difference | None
    throttle_events: Amount | None
    gpu_before: Gpu | None
    gpu_after: Gpu | None
    stopped_by: str | None
    batch_size: Size
    optimizer: str
    not_captured: str


class _Intervals(TypedDict, total=False):
    cores: Size
    memory_bytes: Annotated[int, Meta(ge=1)]
    images: Count
    busiest_others: list[tuple[str, int | float]] | None


class _Energy(TypedDict, total=False):
    images: Size
    idle_joules: Difference
    idle_w: Difference | None
    window_s: Amount
    source: str


class _Module(TypedDict):
    path: str
    type: str
    parameters: Count
    output_shape: list[int] | None


class _Modules(TypedDict, total=False):
    modules: list[_Module]


class _OwnMacs(TypedDict, total=False):
    paths: list[str]
    types: list[str]
    parameters: list[Count]
    calls: list[Count]


class _Calls(TypedDict, total=False):
    operators: list[str]


class _Counted(TypedDict):
    input_shape: Shape
    num_classes: Whole | None


class _Build(_Counted, total=False):
    counts: dict[str, Amount]
    warnings: list[str]


class _Builds(TypedDict, total=False):
    builds: list[_Build]


class Delegation(TypedDict, total=False):
    """Which operators a delegate runs, such as XNNPACK, in how many parts, and which are left to slower kernels."""

    delegates: Count
    delegated: Count
    left: dict[str, Count]


class Runtime(TypedDict, total=False):
    """What a backend's runtime reports of itself."""

    name: str
    version: str
    precision: str
    threads: Count | None
    delegation: Delegation


class _Load(TypedDict, total=False):
    runtime: Runtime
    new_threads: int


class _Artefact(TypedDict, total=False):
    artefact: str
    weights: dict[str, Count]
    notes: list[str]
    delegation: Delegation


class _Layer(TypedDict, total=False):
    layer: str
    ratio: Amount
    failure: str


class _Errors(TypedDict, total=False):
    outputs: Size
    eager: list[list[Amount]]
    spread: list[list[Amount]]
    size: list[list[Amount]]
    arithmetic: str
    different: str
    layers: list[_Layer]


class _Decisions(TypedDict, total=False):
    sources: list[str]
    labels: list[Count | None]
    eager: list[Count]
    backend: list[Count]
    kl: list[Amount]
    margins: list[Amount]
    errors: list[Amount]
    snr_db: float | None
    checkpoint: bool


class _Peak(TypedDict, total=False):
    file_bytes: Integer | None


# Characters of a text that holds a part of a network's outputs: a multiple of 4, and below what a record may hold.
OUTPUTS_CHUNK = 2**20
_Classes = Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(min_length=2, max_length=1000)]


class _Confusion(TypedDict, total=False):
    classes: _Classes
    masked: list[str]
    data: dict[str, Any]
    contract: dict[str, Any]
    extra: str
    tta: Size
    batch_size: Size
    batch_difference: Amount
    probe: dict[str, Any] | None


class _Codes(TypedDict):
    names: list[str]
    codes: list[Count]


class _Predictions(TypedDict, total=False):
    classes: _Classes
    masked: list[str]
    labels: list[Count]
    outputs: list[str]
    images_sha256: str
    groups: dict[str, _Codes]


class _WarmUp(TypedDict, total=False):
    passes: Count


class _Offered(TypedDict, total=False):
    """What a run of the real-time system was asked for, and what it met."""

    source: str
    detector: str
    detector_stages: list[str]
    policy: str
    fps: Positive | None
    budget_s: Positive
    most_dropped: Amount
    warm_up: _WarmUp
    warnings: list[str]
    labels: dict[str, Count]
    others_cores: Difference | None
    throttle_events: Amount | None
    gpu_after: Gpu | None


_OFFERED = "live.offered"  # a run that was killed has it in pieces, of which the first has the details
# By the end of the metric's name.
_KINDS: Mapping[str, Any] = {
    _OFFERED: _Offered,
    "module_own_macs": _OwnMacs,
    "module_macs": _Modules,
    "operator_calls": _Calls,
    "published_builds": _Builds,
    "peak_rss_bytes": _Peak,
    "artefact_bytes": _Artefact,
    "load_s": _Load,
    "parity_error": _Errors,
    "parity_agrees": _Decisions,
    "energy_j": _Energy,
    "accuracy.confusion": _Confusion,
    "accuracy.predictions": _Predictions,
    ".interval_s": _Intervals,
    "training_step_s": _Times,
    "_s": _Times,
    "macs": _Macs,
}
# Without which values cannot be read.
_NEEDED: Mapping[str, Sequence[str]] = {
    _OFFERED: ("source", "detector", "policy", "fps", "budget_s", "most_dropped"),
    "module_own_macs": ("paths", "types", "parameters", "calls"),
    "module_macs": ("modules",),
    "operator_calls": ("operators",),
    "published_builds": ("builds",),
    "energy_j": ("images", "idle_joules", "idle_w", "window_s", "source"),
    ".interval_s": ("cores", "memory_bytes", "images"),
    "training_step_s": ("batch_size", "optimizer"),
    "load_s": ("runtime",),
    "parity_error": ("outputs", "eager", "spread", "size", "arithmetic"),
    "parity_agrees": ("sources", "kl", "margins", "errors"),
    "accuracy.confusion": ("classes", "data"),
    "accuracy.predictions": ("classes", "labels", "outputs"),
}
_MAY_LACK: Mapping[str, Sequence[str]] = {"parity_agrees": ("labels", "eager", "backend")}  # in older records
_OF_EACH_VALUE = ("module_own_macs", "module_macs", "operator_calls", "parity_agrees")  # lists as long as the values


def check(metric: str, details: Mapping[str, Json], values: int) -> None:
    """Raise ValueError where the details of so many values are not what those of a metric are."""
    end = next((end for end in _KINDS if metric.endswith(end)), None)
    if end is None:
        return
    try:
        schema.fields(_KINDS[end], details)
    except ValueError as error:
        raise ValueError(f"details.{error}") from error
    for name in _NEEDED.get(end, ()) if values and (details or end != _OFFERED) else ():
        if name not in details:
            raise ValueError(f"details lack {name}")
    for name in (*_NEEDED.get(end, ()), *_MAY_LACK.get(end, ())) if values and end in _OF_EACH_VALUE else ():
        if name in details and len(details[name]) != values:
            raise ValueError(f"details.{name} has {len(details[name])} members, and there are {values} values")
    if values and end.startswith("accuracy."):
        _check_accuracy(end, details, values)


def _check_accuracy(metric: str, details: Mapping[str, Json], values: int) -> None:
    classes = len(details["classes"])
    if metric == "accuracy.confusion":
        if values != classes**2:
            raise ValueError(f"details.classes has {classes} members, and there are {values} values")
        return
    of_images = {"labels": details["labels"]} | {
        f"groups.{name}.codes": coded["codes"] for name, coded in details.get("groups", {}).items()
    }
    for name, numbers in of_images.items():
        if len(numbers) != values:
            raise ValueError(f"details.{name} has {len(numbers)} members, and there are {values} values")
    if max(details["labels"]) >= classes:
        raise ValueError(f"details.labels has {max(details['labels'])}, and there are {classes} classes")


def check_gpu(gpu: Mapping[str, Json]) -> None:
    """Raise ValueError where it is not what is known of a GPU."""
    schema.fields(Gpu, gpu)


def check_runtime(runtime: Mapping[str, Json]) -> None:
    """Raise ValueError where it is not what a runtime reports of itself."""
    schema.fields(Runtime, runtime)
    if runtime and not {"name", "version", "precision"} <= runtime.keys():
        raise ValueError("name, version or precision is missing")


def check_attainable(attainable: Mapping[str, Json]) -> None:
    """Raise ValueError where it is not what the roofs of a machine are."""
    schema.fields(Attainable, attainable)
    if "macs_per_s" in attainable and not {"copy_bytes_per_s", "operator_s"} <= attainable.keys():
        raise ValueError("copy_bytes_per_s or operator_s is missing")
