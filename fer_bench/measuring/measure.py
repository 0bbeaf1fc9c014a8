"""Measure networks: those with a name in processes of their own, a module that somebody has built in this one."""

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import in_process, machine
from fer_bench.measuring.environment import has_gpu
from fer_bench.measuring.in_process import Ready
from fer_bench.measuring.progress import watch
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task, fingerprint, with_images
from fer_bench.networks import backends
from fer_bench.networks.contract import InputContract
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import DEFAULT_INPUT, USERS_MODULE, ModelSpec, Shape
from fer_bench.networks.weights import weights_file
from fer_bench.records import plan as plans
from fer_bench.records.errors import BuildError, FerBenchError
from fer_bench.records.plan import CONTROLLED, INT8, SHIPPED, TORCH, Plan
from fer_bench.records.result import Measurement, Result
from fer_bench.records.schema import listed
from fer_bench.records.store import Run, Store
from fer_bench.reporting.results import Results

if TYPE_CHECKING:
    from torch import nn

    Network = str | ModelSpec | nn.Module

_FIELDS = tuple(field.name for field in dataclasses.fields(Plan))
_REMEDY = "give a name of fb.list_models(), 'timm:NAME' or 'file.py:factory', which a process of its own can build"


def measure(
    networks: "Network | Iterable[Network] | Mapping[str, nn.Module]",
    protocol: str | Plan = "edge",
    *,
    metrics: str | Iterable[str] | None = None,
    input_shape: Shape | None = None,
    settings: str | Sequence[str] = (),
    checkpoint: str | Path = "",
    data: str | Path = "",
    calibrate: str | Path = "",
    contract: str | Path | InputContract | None = None,
    store: str | None = None,
    fresh: bool = False,
    registry: Registry | None = None,
    progress: bool = True,
    **plan_fields: Any,
) -> Results:
    """Measure networks by a protocol.

    Networks by name are measured in processes of their own. Modules are measured in this process and left as they
    were; their rows say so (``isolation: shared``), and have static counts, anatomy and latency only.

    Args:
        networks: names, as ``find`` takes them, specs, or modules that you have built; one, several, or modules by the
            names that the results are to have.
        protocol: "quick", "edge", "safavi2023", "occupancy", "training", a TOML file, or a Plan.
        metrics: of ``fer_bench.records.plan.METRICS``; by default the protocol's.
        input_shape: (C, H, W) of an image; a module needs it, or ``input_size`` for a square. By default each
            network's own.
        settings: further arguments of the factory, each "key=value".
        checkpoint: a file of weights, or ``wheel:PACKAGE``, for one network by name.
        data: images to compare a backend's decisions on, a path as ``load_data`` reads it.
        calibrate: images for ``precision="int8"``, likewise, or "noise".
        contract: of the network's input: a file, a contract, or "sheet"; by default what is known of the checkpoint.
        store: URL of a store, or path of its SQLite file, that keeps the results. A call that was interrupted goes on
            there when it is made again. Without one, results are only returned.
        fresh: begin anew instead of going on with what was interrupted.
        registry: has the names; by default that of the built-in networks.
        progress: show it, on stderr or as one line in a notebook.
        **plan_fields: fields of ``Plan`` that differ from the protocol's, such as ``batch_size=8``; a list of values
            measures with each of them. ``backend=["torch", "onnxruntime"]`` measures PyTorch eager and compiled, NCHW
            and NHWC, and the runtime with the plan's settings and as shipped, unless these are given.

    Returns:
        A result for each network and combination of values; a metric that failed carries its reason.

    Raises:
        FerBenchError: a network, field or metric is none, or a module is to be measured as only a name can be.
        StoreError: the store cannot be written to.

    Examples:
        >>> results = fb.measure("mtcnn_pnet", "quick", runs=20, progress=False)
        >>> results[0].plan.isolation, len(results[0].samples("latency_s")[0])
        ('forked', 20)
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> results = fb.measure({"mine": net}, "quick", input_shape=(3, 32, 32), runs=20, progress=False)
        >>> results.to_frame()[["name", "isolation", "macs"]].to_dict("records")  # 3 x 9 x 4 x 30 x 30
        [{'name': 'mine', 'isolation': 'shared', 'macs': 97200}]
    """
    wanted = None if metrics is None else listed(metrics)
    swept = {name: values for name, values in plan_fields.items() if isinstance(values, list)}
    single = {name: value for name, value in plan_fields.items() if name not in swept}
    plan = plan_of(protocol, single.pop("device", ""), metrics=wanted, **single)
    registry = registry or built_in()
    named = named_networks(networks, registry)
    if checkpoint and (len(named) != 1 or not isinstance(named[0][1], ModelSpec)):
        raise FerBenchError("a checkpoint is for one network by name; load weights into a module with load_checkpoint")
    if "accuracy" in plan.metrics:
        raise FerBenchError("accuracy needs data: call fb.evaluate(network, data, metrics=...), which measures both")
    weights = weights_file(checkpoint, named[0][0]) if checkpoint else ""
    tasks: list[Task] = []
    here: list[_Here] = []
    order: list[Task | _Here] = []
    for one, shape in sweep(plan, fair(plan, swept)):
        for name, network in named:
            asked = input_shape or shape
            if isinstance(network, ModelSpec):
                task = Task(network, backends.for_file(network, one), asked, listed(settings), weights)
                tasks.append(with_images(task, data, calibrate, contract))
                order.append(tasks[-1])
            else:
                here.append(_Here.of(name, network, one, asked, explicit=plan_fields.keys(), metrics=wanted))
                order.append(here[-1])
    title = f"{plan.protocol}: {', '.join(dict.fromkeys(name for name, _ in named))}"
    tasks = list({task.key: task for task in tasks}.values())  # what is named twice is measured once
    results: dict[_Here, Result] = {}
    with opened(store) as kept, watch(len(tasks) + len(here), show=progress) as watcher:
        run, _ = begin(kept, tasks, title, earlier_run(kept, tasks, fresh=fresh or bool(here)))
        try:
            for number, module in enumerate(here):
                watcher.begin(module.task)
                watcher.stage("in this process")
                results[module] = module.measure()
                kept.save(run, f"{number}:{module.name}", results[module])
                watcher.done(module.task, results[module])
        except BaseException:
            kept.release(run)
            raise
        done = measure_all(tasks, kept, run, watcher)
    if done.stopped is not None:
        raise done.stopped
    of_tasks = {task.key: result for task, result in zip(tasks, done.results, strict=True)}
    return Results([results[each] if isinstance(each, _Here) else of_tasks[each.key] for each in order], registry)


def plan_of(protocol: str | Plan, device: str = "", **given: Any) -> Plan:
    """Return a protocol's plan with the fields that are given; None leaves the protocol's value.

    Args:
        protocol: its name, a TOML file, or a plan; "" for quick on a CPU and safavi2023 on a GPU.
        device: of ``fer_bench.records.plan.DEVICES``; "" for the protocol's.
        **given: fields of ``Plan``.

    Raises:
        FerBenchError: there is no such protocol, device or field.
    """
    if unknown := [name for name in given if name not in _FIELDS]:
        raise FerBenchError(f"a plan has no {', '.join(unknown)}; it has {', '.join(_FIELDS)}")
    if device not in ("", *plans.DEVICES):
        raise FerBenchError(f"--device {device!r} is unknown; known: {', '.join(plans.DEVICES)}")
    if isinstance(protocol, Plan):
        chosen = protocol
    elif protocol:
        chosen = plans.protocol(protocol)
    else:
        chosen = plans.SAFAVI2023 if (device or ("cuda" if has_gpu() else "cpu")) != "cpu" else plans.QUICK
    device = device or chosen.device
    if device == "cuda" and not has_gpu():
        raise FerBenchError("--device cuda: no driver shows a GPU; check nvidia-smi or rocm-smi, or use cpu")
    changes = {key: value for key, value in given.items() if value is not None}
    if changes.get("processes", chosen.processes) <= chosen.pilot_processes:
        changes["pilot_processes"] = 0  # so few that there is nothing to decide
    return dataclasses.replace(chosen, device=device, **changes)


def fair(plan: Plan, swept: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return the values given, and where backends are compared with PyTorch's latency those that make it fair.

    PyTorch is then measured eager and compiled, NCHW and NHWC, for its best to be known; each runtime with the plan's
    settings and as shipped. What is given of these stays, and without a C++ compiler nothing is compiled.
    """
    given = {name: values for name, values in swept.items() if values}
    named = given.get("backend", ())
    if "latency" not in plan.metrics or TORCH not in named or len(set(named)) == 1:
        return given
    modes = ("eager", "compile") if has_cpp_compiler() or plan.device != "cpu" else ("eager",)
    further = {"mode": modes, "layout": ("nchw", "nhwc"), "runtime": (CONTROLLED, SHIPPED)}
    return given | {name: values for name, values in further.items() if name not in given}


def has_cpp_compiler() -> bool:
    """Report whether there is a C++ compiler, as ``torch.compile`` looks for one on a CPU."""
    return any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++"))))


def sweep(plan: Plan, swept: Mapping[str, Sequence[Any]]) -> list[tuple[Plan, Shape | None]]:
    """Return a plan for each combination of the values given; an input size that is no square is a shape beside it."""
    given = {name: values for name, values in swept.items() if values}
    if unknown := [name for name in given if name not in _FIELDS]:
        raise FerBenchError(f"a plan has no {', '.join(unknown)}; it has {', '.join(_FIELDS)}")
    combined = []
    for values in product(*given.values()):
        changes = dict(zip(given, values, strict=True))
        if changes.get("runtime") == SHIPPED and changes.get("precision", plan.precision) not in INT8:
            changes["precision"] = "default"  # which a runtime as shipped chooses itself
        shape = changes.pop("input_size") if isinstance(changes.get("input_size"), tuple) else None
        combined.append((dataclasses.replace(plan, **changes), shape))
    return _that_apply(list(dict.fromkeys(combined)))


def _that_apply(combined: list[tuple[Plan, Shape | None]]) -> list[tuple[Plan, Shape | None]]:
    """Leave out combinations that a backend does not have, such as compile, where it has others."""
    apply = [pair for pair in combined if not backends.refusal(pair[0])]
    left = {plan.backend for plan, _ in apply}
    return [pair for pair in combined if pair in apply or pair[0].backend not in left]


@contextlib.contextmanager
def opened(store: str | None) -> Iterator[Store]:
    """Open a store to write to; without one, a store that is gone when this is left."""
    with contextlib.ExitStack() as stack:
        if store is None:
            store = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/results.sqlite"
        yield stack.enter_context(Store.open(store, create=True))


def earlier_run(store: Store, tasks: Sequence[Task], *, resume: str = "", fresh: bool = False) -> Run | None:
    """Return the run that these tasks left unfinished, if there is one.

    Args:
        store: of runs.
        tasks: what is measured.
        resume: the run to go on with, or "" for the latest that was interrupted.
        fresh: None in any case.
    """
    mark = fingerprint(tasks)
    return _asked_for(store, resume, mark) if resume else None if fresh else store.resumable(mark)


def begin(store: Store, tasks: Sequence[Task], title: str, earlier: Run | None) -> tuple[str, Run | None]:
    """Go on with an unfinished run, or begin one.

    Returns:
        The run's id, and what there was of it before, if anything.
    """
    if earlier is not None and store.resume(earlier.id):
        return earlier.id, earlier
    return store.begin(fingerprint(tasks), title), None


def _asked_for(store: Store, name: str, mark: str) -> Run:
    """Return the run to continue."""
    found = store.find_run(name)
    if found.fingerprint != mark:
        raise FerBenchError(f"run {found.id} ({found.title}) is not of this command: give it the same options")
    if found.state in ("finished", "under way"):
        raise FerBenchError(f"run {found.id} is {found.state}: there is nothing to go on with")
    return found


def named_networks(
    networks: "Network | Iterable[Network] | Mapping[str, nn.Module]", registry: Registry
) -> "list[tuple[str, ModelSpec | nn.Module]]":
    """Return networks by their names, each once."""
    if isinstance(networks, Mapping):
        pairs = list(networks.items())
    else:
        single = (
            isinstance(networks, str | ModelSpec | type) or _is_module(networks) or not isinstance(networks, Iterable)
        )
        pairs = [(_name_of(each), each) for each in ([networks] if single else networks)]  # type: ignore[union-attr]
    if not pairs:
        raise FerBenchError("no networks are given; fb.list_models() names the built-in ones")
    found: list[tuple[str, ModelSpec | nn.Module]] = []
    for name, each in pairs:
        if isinstance(each, str):
            each = registry.find(each)
        if any(known == each for _, known in found):
            continue
        if any(name == known for known, _ in found):
            raise FerBenchError(f"two networks are called {name}: give modules as {{name: module}}, a name each")
        found.append((each.name if isinstance(each, ModelSpec) else name, each))
    return found


def _name_of(network: Any) -> str:
    if isinstance(network, str | ModelSpec):
        return network if isinstance(network, str) else network.name
    return type(network).__name__


def _is_module(network: object) -> bool:
    """Return whether it is a torch.nn.Module, of which there is none before PyTorch is imported."""
    return "torch" in sys.modules and isinstance(network, sys.modules["torch"].nn.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class _Here:
    """A module that is to be measured in this process."""

    name: str
    module: "nn.Module"
    plan: Plan
    shape: Shape

    @classmethod
    def of(
        cls,
        name: str,
        module: "nn.Module",
        plan: Plan,
        shape: Shape | None,
        *,
        explicit: Iterable[str],
        metrics: Sequence[str] | None,
    ) -> "_Here":
        """Check that a module can be measured as it is asked for.

        Raises:
            FerBenchError: it cannot.
        """
        from fer_bench.networks import build as building

        if shape is None and plan.input_size is not None:
            shape = (plan.channels or DEFAULT_INPUT[0], plan.input_size, plan.input_size)
        building.check_module(module, shape)
        if lacking := [metric for metric in metrics or () if metric not in in_process.METRICS]:
            raise FerBenchError(
                f"{name} is a module of this process, and {', '.join(lacking)} needs processes of its own: {_REMEDY}; "
                f"or ask for {', '.join(in_process.METRICS)}"
            )
        if own := [
            field for field in ("isolation", "processes", "pilot_processes", "num_classes") if field in explicit
        ]:
            raise FerBenchError(
                f"{name} is a module of this process, which has no {', '.join(own)} to choose: {_REMEDY}"
            )
        kept = tuple(metric for metric in plan.metrics if metric in in_process.METRICS)
        if not kept:
            raise FerBenchError(
                f"{name} is a module of this process, and protocol {plan.protocol} measures {', '.join(plan.metrics)}, "
                f"in processes of their own: {_REMEDY}"
            )
        if shape is None:  # which check_module has refused
            raise BuildError(f"{name}: give input_shape=(channels, height, width)")
        return cls(name, module, dataclasses.replace(plan, metrics=kept), tuple(shape))

    @property
    def task(self) -> Task:
        """What a watcher is told of it."""
        return Task(ModelSpec(self.name, USERS_MODULE, self.name), self.plan, self.shape)

    def measure(self) -> Result:
        """Measure it, and leave it as it was."""
        return in_process.measure_here(self.module, self.plan, timed_here, input_shape=self.shape, name=self.name)


def timed_here(ready: Ready, plan: Plan, before_it: int) -> list[Measurement]:
    """Measure the latency as a worker does."""
    from fer_bench.measuring.profilers.latency import measure_latency

    with machine.collector_at_rest():
        first, *rest = measure_latency(ready.model, ready.images, plan, capture=False)
    return [dataclasses.replace(first, details={**first.details, "networks_before": before_it}), *rest]
