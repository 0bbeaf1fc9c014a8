"""Lend pytest-benchmark our plan, and take back a Result.

The fixture ``fer_benchmark`` measures a network under the rules of a plan with pytest-benchmark's own timer, table,
storage and comparison; ``fer_network`` is each network of the registry in turn. The options ``--fer-models``,
``--fer-protocol`` and ``--fer-device`` choose. Whoever has fer_bench installed has this module in every pytest session,
so it loads nothing of weight before a test or an option asks for it.
"""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from fer_bench.records.errors import FerBenchError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from fer_bench.accuracy.data.dataset import Dataset
    from fer_bench.measuring.pytest_plugin.rounds import Accuracy
    from fer_bench.networks.contract import InputContract
    from fer_bench.networks.registry import Registry
    from fer_bench.records.plan import Plan
    from fer_bench.records.result import Json, Result

_MEASURED = pytest.StashKey[dict[str, "Result"]]()  # in this session, by the benchmark's full name
_SAVED = pytest.StashKey[list[tuple[str, dict[str, "Json"]]]]()  # compared with: which run, and the same of it as JSON


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose networks, protocol and device."""
    group = parser.getgroup("fer_bench", "fer_bench: latency of networks")
    group.addoption(
        "--fer-models",
        metavar="NAMES",
        default="",
        help="Networks that fer_network stands for: comma-separated names of `fer-bench list`, timm:NAME, "
        "torchvision:NAME, FILE.py:FACTORY or MODULE:FACTORY; by default all built-ins.",
    )
    group.addoption(
        "--fer-sheets",
        metavar="FOLDER",
        action="append",
        default=[],
        help="A folder of sheets of your own, beside ours; may be repeated.",
    )
    group.addoption(
        "--fer-protocol",
        metavar="NAME|FILE",
        default="",
        help="The plan of each fer_benchmark that is not given one: quick (the default), edge, safavi2023, or a TOML "
        "file; always in one process, that of pytest.",
    )
    group.addoption(
        "--fer-device", choices=("cpu", "cuda", "xpu", "mps"), default="", help="Instead of the protocol's device."
    )
    group.addoption(
        "--fer-backend",
        metavar="NAME",
        default="",
        help="Instead of the protocol's backend: onnxruntime, openvino or another, for networks by name.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what the options ask for and there is not, before anything is measured."""
    options = ("fer_models", "fer_sheets", "fer_protocol", "fer_device", "fer_backend")
    if not any(config.getoption(name) for name in options):
        return
    from fer_bench.measuring.environment import has_gpu

    plan = _plan(config)
    _networks(config)
    if plan.device == "cuda" and not has_gpu():
        asked = "--fer-device cuda" if config.getoption("fer_device") else f"--fer-protocol {plan.protocol} (cuda)"
        raise pytest.UsageError(
            f"{asked}: no driver shows a GPU; check nvidia-smi or rocm-smi, or use --fer-device cpu"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each network for whoever asks for ``fer_network``."""
    if "fer_network" in metafunc.fixturenames:
        metafunc.parametrize("fer_network", _networks(metafunc.config), indirect=True)


@pytest.fixture
def fer_network(request: pytest.FixtureRequest) -> str:
    """The name of each network of the registry in turn, or of those that --fer-models names."""
    return str(request.param)


@pytest.fixture
def fer_benchmark(benchmark: Any, request: pytest.FixtureRequest) -> "Callable[..., Result]":
    """Measure the latency of a network: ``fer_benchmark(MyNet(), input_shape=(3, 224, 224))``, or a name.

    Timed are forward passes in inference mode, after the plan's warm-up, as many as it wants or as its time cap allows.
    A module of the test's own is measured in eval mode on the plan's device, and put back as it was. Gives a
    ``Result`` with the times and the static counts; it also goes to ``extra_info["fer_bench"]``.
    Under --benchmark-disable a single pass is made and nothing is timed.
    """
    config, used = request.config, False

    def measure(
        network: "str | nn.Module",
        plan: "Plan | str | None" = None,
        *,
        input_shape: tuple[int, int, int] | None = None,
        name: str = "",
        backend: str = "",
        data: "str | Path | Dataset | None" = None,
        checkpoint: "str | Path" = "",
        contract: "str | Path | InputContract | None" = None,
        **evaluation: Any,
    ) -> "Result":
        """Measure a network and return the record.

        Args:
            network: a module, or a name of ``fer-bench list``, timm:NAME, torchvision:NAME, file.py:factory or
                package.module:factory.
            plan: the plan, or a protocol's name or TOML file; by default what --fer-protocol and --fer-device say.
            input_shape: (C, H, W) of the images; a module needs it, a network by name has its own.
            name: what to call a module in the record; by default the test's full name.
            backend: "onnxruntime" or another, of a network by name; by default the plan's, or --fer-backend's.
            data: labelled images, on which its accuracy is measured after the latency.
            checkpoint: weights of a network by name.
            contract: as for ``fb.evaluate``; a module needs a file or a contract.
            **evaluation: split, group_by, tta and others of ``fb.evaluate``.

        Raises:
            FerBenchError: the network, its input or the device is not as it must be.
        """
        nonlocal used
        __tracebackhide__ = True
        from fer_bench.measuring.pytest_plugin.rounds import measure_here
        from fer_bench.networks.backends import check
        from fer_bench.records.pytest_benchmark import commit_of

        try:
            if used:
                raise FerBenchError(
                    "fer_benchmark was used twice in one test, and pytest-benchmark keeps one benchmark a test: "
                    "parametrise the test, or write another"
                )
            used = True
            chosen = _of_latency(_protocol(plan) if isinstance(plan, str) else plan or _plan(config))
            chosen = dataclasses.replace(chosen, backend=backend or chosen.backend)
            check(chosen if data is None else dataclasses.replace(chosen, metrics=(*chosen.metrics, "accuracy")))
            if benchmark.group is None:
                benchmark.group = f"{chosen.protocol} on {chosen.device}, batch {chosen.batch_size}"
            found = _registry(config).find(network) if isinstance(network, str) else network
            accuracy = None
            if data is not None:
                chosen, accuracy, input_shape = _evaluating(found, chosen, data, checkpoint, contract, evaluation)
            result = measure_here(
                benchmark,
                found,
                chosen,
                input_shape=input_shape,
                name=name,
                checkpoint=_located(found, checkpoint),
                accuracy=accuracy,
                commit=lambda: commit_of(config.hook.pytest_benchmark_generate_commit_info(config=config)),
            )
        except FerBenchError as error:  # the line of the test and the message are all that a reader needs
            raise _of_our_options(error) from error.__cause__
        config.stash.setdefault(_MEASURED, {})[benchmark.fullname] = result
        # As JSON has it, so that --benchmark-json can write it.
        benchmark.extra_info["fer_bench"] = json.loads(result.to_json())
        return result

    return measure


def _located(network: Any, checkpoint: "str | Path") -> str:
    """Return the path of a checkpoint, which a network by name may have."""
    if not checkpoint:
        return ""
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.networks.weights import weights_file

    if not isinstance(network, ModelSpec):
        raise FerBenchError("a checkpoint is for a network by name; load weights into a module with load_checkpoint")
    return weights_file(checkpoint, network.name)


def _evaluating(
    network: Any,
    plan: "Plan",
    data: "str | Path | Dataset",
    checkpoint: "str | Path",
    contract: "str | Path | InputContract | None",
    evaluation: Mapping[str, Any],
) -> "tuple[Plan, Accuracy, tuple[int, int, int]]":
    """Return the plan of an evaluation, what carries it out, and (C, H, W) of the network's images."""
    from fer_bench.measuring.evaluate import accuracy_here
    from fer_bench.networks.contract import InputContract, read_contract
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.networks.weights import input_contract
    from fer_bench.records.plan import Evaluation

    if isinstance(network, ModelSpec):
        known = input_contract(network, _located(network, checkpoint) or None, contract)
    elif contract is None:
        raise FerBenchError("a module has no sheet: give contract=FILE or an InputContract")
    else:
        known = contract if isinstance(contract, InputContract) else read_contract(contract)
    plan = dataclasses.replace(plan, evaluation=Evaluation.of(evaluation))
    if isinstance(network, ModelSpec) and len(known.classes) != network.num_classes:
        plan = dataclasses.replace(plan, num_classes=len(known.classes))
    return plan, accuracy_here(plan, data, known), (known.channels, *known.size)  # type: ignore[return-value]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add our environment, as the session's first network found it; nothing where none was measured."""
    measured = config.stash.get(_MEASURED, {})
    found = (result.environment for result in measured.values() if result.environment is not None)
    if (where := next(found, None)) is not None:
        machine_info["fer_bench"] = json.loads(json.dumps(dataclasses.asdict(where)))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: Mapping[str, Any]
) -> None:
    """Take our environment out of pytest-benchmark's comparison of machines, which is made before anything is measured.

    It would differ each time, by load and clocks. The records of the saved run are kept instead, for
    ``pytest_terminal_summary`` to compare when more is known.
    """
    theirs = compared_benchmark["machine_info"]
    machine_info.pop("fer_bench", None)
    if "fer_bench" in theirs:
        machine_info["fer_bench"] = theirs["fer_bench"]
    records = {
        bench["fullname"]: bench["extra_info"]["fer_bench"]
        for bench in compared_benchmark["benchmarks"]
        if "fer_bench" in (bench.get("extra_info") or {})
    }
    saved_at = str(compared_benchmark.get("datetime", ""))[:19]
    config.stash.setdefault(_SAVED, []).append((saved_at, records))


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark's own ends with an exception where --benchmark-compare-fail strikes
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where times of a saved run cannot be compared with this session's, though pytest-benchmark compares them."""
    for saved_at, records in config.stash.get(_SAVED, []):
        measured = config.stash.get(_MEASURED, {})
        reasons = Counter(_differences(records, measured))
        for why, networks in reasons.items():
            terminalreporter.write_line(
                f"fer_bench: {networks} of {len(measured)} networks are not comparable with the run saved at "
                f"{saved_at}: {why}",
                yellow=True,
            )


def _differences(saved: "Mapping[str, Json]", measured: "Mapping[str, Result]") -> Iterator[str]:
    from fer_bench.measuring.pytest_plugin.rounds import difference
    from fer_bench.records.result import Result

    for fullname, result in measured.items():
        if fullname in saved:
            try:
                why = difference(Result.of(saved[fullname]), result)
            except StoreError as error:
                why = f"its record cannot be read: {error}"
            if why:
                yield why


def _of_our_options(error: FerBenchError) -> FerBenchError:
    """Give an error whose message names the options as they are called here."""
    text = str(error).replace("--protocol", "--fer-protocol").replace("--device", "--fer-device")
    text = text.replace("--backend", "--fer-backend")
    return type(error)(text)


@functools.cache
def _plan(config: pytest.Config) -> "Plan":
    """Return the plan that the options ask for."""
    from fer_bench.networks.backends import check
    from fer_bench.records.plan import QUICK

    name, device = config.getoption("fer_protocol"), config.getoption("fer_device")
    try:
        plan = _of_latency(_protocol(name) if name else QUICK)
    except FerBenchError as error:
        raise pytest.UsageError(str(error)) from error
    try:
        plan = dataclasses.replace(
            plan, device=device or plan.device, backend=config.getoption("fer_backend") or plan.backend
        )
        check(plan)
    except FerBenchError as error:
        raise pytest.UsageError(str(_of_our_options(error))) from error
    return plan


def _protocol(name: str) -> "Plan":
    from fer_bench.records.plan import protocol

    try:
        return protocol(name)
    except FerBenchError as error:
        raise _of_our_options(error) from None


def _of_latency(plan: "Plan") -> "Plan":
    from fer_bench.records.plan import PRESETS

    if "latency" not in plan.metrics:
        able = ", ".join(name for name, preset in PRESETS.items() if "latency" in preset.metrics)
        raise FerBenchError(
            f"protocol {plan.protocol} measures {', '.join(plan.metrics)}, and pytest-benchmark times forward passes "
            f"only: use {able}, or `fer-bench run --protocol {plan.protocol}`"
        )
    return plan


@functools.cache
def _registry(config: pytest.Config) -> "Registry":
    from fer_bench.networks.registry import Registry

    return Registry(config.getoption("fer_sheets"))


@functools.cache
def _networks(config: pytest.Config) -> list[str]:
    """Return the names that ``fer_network`` stands for."""
    given = [part.strip() for part in config.getoption("fer_models").split(",") if part.strip()]
    try:
        registry = _registry(config)
        names = [registry.find(name).name for name in given] or registry.names()
    except FerBenchError as error:
        raise pytest.UsageError(f"--fer-models: {error}" if given else str(error)) from error
    return list(dict.fromkeys(names))
