"""The variants of a sweep: networks x settings x fields of a plan, built in or from a TOML file."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.measuring.runner import COUNTED
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import plan as plans
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.plan import Plan
from fer_bench.reporting.analysis import sweeps

BACKBONES = ("resnet50", "resnet101")
MOST = 10_000  # variants, above which a sweep asks
MOST_MEASURED = 100  # the same where more than counts is measured: each takes seconds to minutes
_PLACEMENTS = ((1,), (2,), (3,), (4,), (1, 2), (3, 4), (1, 2, 3, 4))  # of non-local blocks: stages of ResNetV2-50
_PLAN_FIELDS = tuple(field.name for field in dataclasses.fields(Plan) if field.name not in ("metrics", "protocol"))
_FIELDS = ("title", "networks", "protocol", "metrics", "settings", "plan")


@dataclass(frozen=True, slots=True)
class Grid:
    """A sweep before it is carried out: its title, the labels of its variants, a task for each, and a paper's own."""

    title: str
    labels: tuple[str, ...]
    tasks: tuple[Task, ...]
    published: sweeps.Published | None = None


def patch_adaptation(registry: Registry, plan: Plan, backbone: str = "resnet50", block: str = "A") -> Grid:
    """Return the sweep of paper 000: every cut of ResNet-50, or those of the fourth stage of ResNet-101.

    Raises:
        FerBenchError: there is no such backbone or block.
    """
    from fer_bench.models import resnet_fer

    for what, given, known in (("backbone", backbone, BACKBONES), ("block", block, resnet_fer.BLOCKS)):
        if given not in known:
            raise FerBenchError(f"no {what} is called {given!r}{nearest(given, known)}; known: {', '.join(known)}")
    grid = of_paper(registry.find(f"{backbone}_patch_attn"), plan, f"block={block}")
    return dataclasses.replace(grid, title=f"patch-adaptation, {backbone}, block {block}")


def of_paper(spec: ModelSpec, plan: Plan, *settings: str) -> Grid:
    """Return the variants of a network that a paper tried, with further settings."""
    values = itertools.product(*spec.variants.values())
    built = [(*map("=".join, zip(spec.variants, one, strict=True)), *settings) for one in values]
    tasks = tuple(Task(_variant_of(spec), plan, settings=one) for one in built)
    return Grid(spec.name, sweeps.labels_of(spec), tasks, sweeps.PUBLISHED.get(spec.name))


def non_local(registry: Registry, plan: Plan) -> Grid:
    """Return paper 003's non-local blocks: seven placements by four pairwise functions."""
    from fer_bench.models.resnetv2 import PAIRWISE

    spec, labels, tasks = _variant_of(registry.find("resnetv2_50")), [], []
    for stages, pairwise in itertools.product(_PLACEMENTS, PAIRWISE):
        labels.append(f"stage {'+'.join(map(str, stages))}, {pairwise}")
        tasks.append(Task(spec, plan, settings=(f"nonlocal_stages={stages}", f"pairwise={pairwise}")))
    return Grid("non-local", tuple(labels), tuple(tasks))


def rarn_backbones(registry: Registry, plan: Plan) -> Grid:
    """Return paper 002's RARN on ResNet-18 to ResNet-152."""
    from fer_bench.models import rarn

    spec, names = _variant_of(registry.find("rarn")), rarn.BACKBONES
    return Grid("rarn-backbones", names, tuple(Task(spec, plan, settings=(f"backbone={b}",)) for b in names))


BUILT_IN = {"patch-adaptation": patch_adaptation, "non-local": non_local, "rarn-backbones": rarn_backbones}


def _variant_of(spec: ModelSpec) -> ModelSpec:
    """Return a spec without what was published of the network as it comes: a variant is another."""
    return dataclasses.replace(spec, published=())


def read_grid(
    path: str | Path,
    registry: Registry,
    plan: Plan | None,
    *,
    metrics: tuple[str, ...] = (),
    most: int | None = MOST,
) -> Grid:
    """Read a sweep from a TOML file: every combination of its networks, settings and plan fields.

    Args:
        path: of the file.
        registry: has the networks.
        plan: replaces the file's protocol, if given.
        metrics: replace the file's, if given.
        most: combinations that are allowed, and of those with more than counts ``MOST_MEASURED``; None for any number.

    Raises:
        FerBenchError: the file cannot be read, has an unknown field or network, is empty, or is too large.
    """
    try:
        data = schema.parse_toml(Path(path).read_bytes())
    except OSError as error:
        raise FerBenchError(f"cannot read the sweep {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FerBenchError(f"{path} is no TOML: {error}") from error
    _check_known(path, "a sweep", data, _FIELDS)
    settings, fields = (_table(path, name, data.get(name, {})) for name in ("settings", "plan"))
    _check_known(path, "a plan", fields, _PLAN_FIELDS)
    axes = {"networks": _values(path, "networks", data.get("networks", []))}
    axes |= {f"settings.{name}": _values(path, f"settings.{name}", value) for name, value in settings.items()}
    axes |= {f"plan.{name}": _values(path, f"plan.{name}", value) for name, value in fields.items()}
    number = math.prod(map(len, axes.values()))
    base = plan or plans.protocol(str(data.get("protocol", "quick")))
    if metrics or (plan is None and "metrics" in data):
        chosen = metrics or tuple(map(str, _values(path, "metrics", data["metrics"])))
        base = dataclasses.replace(base, metrics=chosen)
    allowed = None if most is None else most if set(base.metrics) <= set(COUNTED) else min(most, MOST_MEASURED)
    if allowed is not None and number > allowed:
        sizes = " x ".join(f"{len(values):,} {name}" for name, values in axes.items() if len(values) > 1)
        raise FerBenchError(f"{path} has {number:,} variants ({sizes}); try: --yes to go on, or fewer values")
    labels, tasks = [], []
    for network, *values in itertools.product(*axes.values()):
        named = dict(zip(list(axes)[1:], values, strict=True))
        changes = {name.removeprefix("plan."): value for name, value in named.items() if name.startswith("plan.")}
        chosen = tuple(f"{n.removeprefix('settings.')}={v}" for n, v in named.items() if n.startswith("settings."))
        spec = _variant_of(registry.find(str(network)))
        tasks.append(Task(spec, dataclasses.replace(base, **changes), settings=chosen))
        swept = [f"{name.partition('.')[2]}={value}" for name, value in named.items() if len(axes[name]) > 1]
        shown = [str(network)] if len(axes["networks"]) > 1 or not swept else []
        labels.append(", ".join((*shown, *swept)))
    return Grid(str(data.get("title", Path(path).stem)), tuple(labels), tuple(tasks))


def _check_known(path: str | Path, what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise FerBenchError(f"{path}: {what} has no {name!r}{nearest(name, known)}; it has {', '.join(known)}")


def _table(path: str | Path, name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FerBenchError(f"{path}: {name} is {schema.shortened(value)}; try: [{name}] and a line for each field")
    return value


def _values(path: str | Path, name: str, value: Any) -> list[Any]:
    """Return the values of an axis, of which each stands once; a single value is an axis of one."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise FerBenchError(f"{path}: {name} is empty, so that there is no variant; try: one value or more")
    if wrong := [one for one in values if not isinstance(one, str | int | float | bool)]:
        raise FerBenchError(f"{path}: {name} has {schema.shortened(wrong[0])}; expected texts or numbers")
    return list(dict.fromkeys(values))
