"""Backends: runtimes that run a network without PyTorch's eager mode, each a file here.

A network is converted once, by ``Backend.convert``, in a process that has PyTorch. What that writes, the artefact, is
loaded by ``Backend.load``, in processes that need not have it. To add a backend, write one file with the interface of
``interface.Backend`` and name it below and in ``records.plan``.
"""

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from fer_bench.networks.backends.interface import Backend
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import INT8, SHIPPED, TORCH, Plan

_MODULES: Mapping[str, str] = {
    "onnxruntime": "onnx_runtime",
    "onnxruntime-tensorrt": "onnx_runtime",
    "openvino": "open_vino",
    "aoti": "aoti",
    "executorch": "execu_torch",
    "litert": "lite_rt",
}
_OF_PYTORCH_ON_GPU = ("occupancy", "energy")  # they ask NVML for the GPU that PyTorch uses
_TRAINING = ("training", "training_memory")


def find(name: str) -> Backend:
    """Return a backend by its name.

    Raises:
        FerBenchError: there is no such backend.
    """
    if name not in _MODULES:
        raise FerBenchError(f"--backend {name!r} is unknown; known: {', '.join((TORCH, *_MODULES))}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return cast(Backend, module.TENSORRT if name == "onnxruntime-tensorrt" else module.BACKEND)


def refusal(plan: Plan) -> str:
    """Return why a plan's backend cannot carry it out, or ""."""
    if plan.backend == TORCH:
        if plan.precision in INT8:
            return f"--precision {plan.precision} is of another --backend, as onnxruntime: PyTorch runs none here"
        if plan.runtime == SHIPPED:
            return "--runtime shipped is of another --backend than torch, whose defaults are its own"
        if not set(plan.metrics) - {"deploy", "parity"}:
            return "metrics deploy and parity are of a backend; try: --backend onnxruntime"
        return ""
    backend, given = find(plan.backend), f"--backend {plan.backend}"
    if plan.layout != "nchw":
        return f"{given} with --layout {plan.layout}: it chooses layouts itself; leave --layout out"
    if plan.mode != "eager":
        return f"{given} with --mode {plan.mode}: that is a way of PyTorch to run; leave --mode out"
    if training := [metric for metric in plan.metrics if metric in _TRAINING]:
        return f"{given} runs networks and does not train them: leave out {', '.join(training)}"
    if "accuracy" in plan.metrics:
        return f"accuracy is measured with --backend torch, and parity says how far {plan.backend} agrees with that"
    if "coldstart" in plan.metrics:  # whose processes import PyTorch and build the network
        return f"coldstart is of --backend torch: leave it out; deploy measures load and first pass of {plan.backend}"
    if plan.device not in backend.devices:
        return f"{given} is built for {', '.join(backend.devices)} here, and the plan has {plan.device}"
    if plan.device != "cpu" and (host := [metric for metric in plan.metrics if metric in _OF_PYTORCH_ON_GPU]):
        return f"{given} on {plan.device} is asked through PyTorch for {', '.join(host)}: leave it out"
    if plan.precision == "tf32" and plan.device == "cpu":
        return f"{given} has --precision tf32 on a GPU only"
    if plan.precision not in backend.precisions:
        return f"{given} has no --precision {plan.precision}; it has {', '.join(backend.precisions)}"
    if plan.runtime == SHIPPED and plan.precision not in ("default", *INT8):
        return f"--runtime shipped leaves the precision to {plan.backend}: --precision default"
    return ""


_OF_FILES = {
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".pte": ("executorch",),
    ".tflite": ("litert",),
}
_NOT_OF_FILES = ("recount", "anatomy", "training", "training_memory", "parity", "coldstart", "accuracy")


def for_file(spec: ModelSpec, plan: Plan) -> Plan:
    """Return a plan as it is, or for a model file by the runtime of such files, where it names no backend."""
    if spec.source.kind != "artefact" or plan.backend != TORCH:
        return plan
    return dataclasses.replace(plan, backend=_OF_FILES[Path(spec.source.file).suffix][0])


def check_file(spec: ModelSpec, plan: Plan) -> None:
    """Raise FerBenchError where a model file cannot be measured as a plan has it."""
    able = _OF_FILES[Path(spec.source.file).suffix]
    if plan.backend not in able:
        raise FerBenchError(f"{spec.name} is loaded by {' or '.join(able)}; try: --backend {able[0]}")
    if plan.device != "cpu":
        raise FerBenchError(f"{spec.name} is a model file, which is measured on the CPU: leave --device out")
    if others := [metric for metric in plan.metrics if metric in _NOT_OF_FILES]:
        raise FerBenchError(f"{spec.name} is a model file, which has no {', '.join(others)}: leave it out")
    if plan.precision not in ("fp32", "default"):
        raise FerBenchError(f"{spec.name} has the precision that it was made in: leave --precision out")


def check(plan: Plan, *, converts: bool = True) -> None:
    """Raise FerBenchError where a plan's backend cannot carry it out, or something that it needs is missing.

    Args:
        plan: to carry out.
        converts: a network is converted first, and not a file measured that somebody else made.
    """
    if why := refusal(plan):
        raise FerBenchError(why)
    if plan.backend != TORCH:
        needs = find(plan.backend).libraries(plan.precision)
        if lacking := extras.missing(needs):
            raise FerBenchError(
                f"--backend {plan.backend} needs {', '.join(lacking)}: not installed; {extras.remedy(lacking)}"
            )
        if converts and (lacks := find(plan.backend).lacks(plan.device)):
            raise FerBenchError(f"--backend {plan.backend} needs {lacks}")


def versions(name: str, precision: str) -> dict[str, str]:
    """Return the versions of all that converts and runs for a backend, by package."""
    backend = find(name)
    installed = {each: importlib.metadata.version(each) for each in ("torch", *backend.libraries(precision))}
    return {**installed, **backend.tools()}
