"""Measure the accuracy of networks on labelled images: those with a name in processes of their own, a module here."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import in_process
from fer_bench.measuring.in_process import Ready
from fer_bench.measuring.measure import begin, earlier_run, named_networks, opened, plan_of, timed_here
from fer_bench.measuring.progress import watch
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task
from fer_bench.networks.contract import InputContract, read_contract
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import ACCURACY, Evaluation, Plan
from fer_bench.records.result import Measurement, Result
from fer_bench.records.schema import listed
from fer_bench.reporting.results import Results

if TYPE_CHECKING:
    from torch import nn

    from fer_bench.accuracy.data.dataset import Dataset

    Network = str | ModelSpec | nn.Module

_EVALUATION = tuple(field.name for field in dataclasses.fields(Evaluation))
_IN_PROCESS = (*in_process.METRICS, "accuracy")


def evaluate(
    networks: "Network | Iterable[Network] | Mapping[str, nn.Module]",
    data: "str | Path | Dataset",
    *,
    checkpoint: str | Path = "",
    contract: str | Path | InputContract | None = None,
    classes_order: str | Sequence[str] = (),
    metrics: str | Iterable[str] = ACCURACY.metrics,
    protocol: str | Plan = ACCURACY,
    settings: str | Sequence[str] = (),
    store: str | None = None,
    fresh: bool = False,
    registry: Registry | None = None,
    progress: bool = True,
    **fields: Any,
) -> Results:
    """Measure the accuracy of networks on labelled images, and what else is asked for in the same run.

    Networks by name are evaluated in processes of their own, a module in this one. Classes are matched by name. Where
    the data have a validation split, it shows first whether the outputs are in the order of their names.

    Args:
        networks: names, as ``find`` takes them, specs, or modules that you have built; one, several, or modules by the
            names that the results are to have.
        data: a file or folder, as ``load_data`` reads it; for a module also a ``Dataset``.
        checkpoint: a file of weights, for one network by name.
        contract: what is done to an image, and the classes of the outputs: a file, a contract, or "sheet" for the
            network's sheet; by default what is known of the checkpoint. A module needs a file or a contract.
        classes_order: names of the outputs, where they are in another order than the contract has them.
        metrics: of ``fer_bench.records.plan.METRICS``; by default the counts and the accuracy.
        protocol: how other metrics are measured, as for ``measure``.
        settings: further arguments of the factory, each "key=value".
        store: URL of a store, or path of its SQLite file, that keeps the results, the networks' outputs among them.
        fresh: begin anew instead of going on with what was interrupted.
        registry: has the names; by default that of the built-in networks.
        progress: show it, on stderr or as one line in a notebook.
        **fields: of ``Plan``, such as ``device="cuda"``, and of its evaluation: split, rule, data_classes, group_by,
            tta, extra, probe, selected_on, batch, sensitivity, robustness.

    Returns:
        A result for each network; one that failed carries its reason.

    Raises:
        FerBenchError: a network, the data or an option is none, or no contract is known.

    Examples:
        >>> faces = fb.make_faces("faces", form="folder", images=70)
        >>> results = fb.evaluate("mini_xception", faces, contract="sheet", split="test", progress=False)
        >>> results[0].measurement("accuracy.confusion").unit  # of a network without training
        'count'
    """
    how = Evaluation(**{name: _tupled(fields.pop(name)) for name in _EVALUATION if name in fields})
    plan = plan_of(protocol, fields.pop("device", ""), metrics=listed(metrics), evaluation=how, **fields)
    registry = registry or built_in()
    named = named_networks(networks, registry)
    order = listed(classes_order)
    if all(isinstance(network, ModelSpec) for _, network in named):
        if not isinstance(data, str | Path):
            raise FerBenchError("networks by name are evaluated in processes of their own: give the path of the data")
        specs = [network for _, network in named if isinstance(network, ModelSpec)]
        tasks = evaluation_tasks(
            specs,
            data,
            plan,
            checkpoint=checkpoint,
            contract=contract,
            classes_order=order,
            settings=listed(settings),
        )
        title = f"{plan.protocol}: {', '.join(name for name, _ in named)}"
        with opened(store) as kept, watch(len(tasks), show=progress) as watcher:
            run, _ = begin(kept, tasks, title, earlier_run(kept, tasks, fresh=fresh))
            done = measure_all(tasks, kept, run, watcher)
        if done.stopped is not None:
            raise done.stopped
        return Results(done.results, registry)
    if checkpoint:
        raise FerBenchError("a checkpoint is for one network by name; load weights into a module with load_checkpoint")
    if contract is None or contract == "sheet":
        raise FerBenchError("a module has no sheet: give contract=FILE or an InputContract")
    if lacking := [metric for metric in plan.metrics if metric not in _IN_PROCESS]:
        raise FerBenchError(f"{', '.join(lacking)} needs processes of its own: give the network by name")
    known = contract if isinstance(contract, InputContract) else read_contract(contract)
    results = []
    with opened(store) as kept:
        run, _ = begin(kept, [], f"{plan.protocol}: {', '.join(name for name, _ in named)}", None)
        for number, (name, network) in enumerate(named):
            if isinstance(network, ModelSpec):
                raise FerBenchError(f"{name} is a name, and others are modules: evaluate them apart")
            results.append(evaluate_here(network, plan, data, ordered(known, order), name=name))
            kept.save(run, f"{number}:{name}", results[-1])
        kept.finish(run)
    return Results(results, registry)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def evaluation_tasks(
    specs: Sequence[ModelSpec],
    data: str | Path,
    plan: Plan,
    *,
    checkpoint: str | Path = "",
    contract: str | Path | InputContract | None = None,
    classes_order: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> list[Task]:
    """Return the task of each network, with its input contract and built for it.

    The data are read here, too, so that a wrong split or column ends the command before anything is measured; the
    processes that measure read what was cached.

    Raises:
        FerBenchError: the data or the checkpoint are not there, have nothing of what is asked for, or no contract is
            known.
    """
    from fer_bench.measuring.profilers.accuracy import load
    from fer_bench.networks.weights import input_contract, weights_file

    if checkpoint and len(specs) != 1:
        raise FerBenchError("a checkpoint is one network's: name it")
    if not Path(data).exists():
        raise FerBenchError(f"there are no data {data}; try: --data with the path of a CSV or of a folder of images")
    tasks = []
    for spec in specs:
        weights = weights_file(checkpoint, spec.name)
        found = ordered(input_contract(spec, weights or None, contract), classes_order)
        classes = len(found.classes)
        built = plan if classes == spec.num_classes else dataclasses.replace(plan, num_classes=classes)
        tasks.append(
            Task(
                spec,
                built,
                found.shape,
                tuple(settings),
                weights,
                data=str(Path(data).resolve()),
                contract=found,
            )
        )
    load(data, plan.evaluation or Evaluation())
    return tasks


def ordered(contract: InputContract, classes_order: Sequence[str]) -> InputContract:
    """Return a contract whose outputs have these names in this order; without any, as it is."""
    if not classes_order:
        return contract
    return contract.replace("given as the order of classes", classes=tuple(classes_order))


def evaluate_here(
    network: "nn.Module", plan: Plan, data: "str | Path | Dataset", contract: InputContract, *, name: str
) -> Result:
    """Evaluate a module in this process, and measure its latency if the plan asks for that."""
    accuracy = accuracy_here(plan, data, contract)

    def measured(ready: Ready, alone: Plan, before_it: int) -> list[Measurement]:
        found = timed_here(ready, alone, before_it) if "latency" in alone.metrics else []
        return found + (accuracy(ready, alone) if "accuracy" in alone.metrics else [])

    return in_process.measure_here(network, plan, measured, input_shape=contract.shape, name=name)


def accuracy_here(
    plan: Plan, data: "str | Path | Dataset", contract: InputContract
) -> Callable[[Ready, Plan], list[Measurement]]:
    """Load the data, and return what evaluates a network on them that is ready in this process.

    Raises:
        FerBenchError: the data cannot be read, or have no such split.
    """
    from fer_bench.measuring.profilers.accuracy import load, settings_of

    validation = None
    if isinstance(data, str | Path):
        images, validation = load(data, plan.evaluation or Evaluation())
    else:
        images = data

    def measured(ready: Ready, plan: Plan) -> list[Measurement]:
        from fer_bench.accuracy.evaluate import evaluate as evaluate_on

        settings = settings_of(plan)
        found = evaluate_on(ready.model, images, contract, settings, validation=validation, device=plan.device)
        return found.measurements()

    return measured
