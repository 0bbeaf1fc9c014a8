"""Benchmarks and efficiency profiles of facial-expression-recognition networks in PyTorch.

The public names, each imported when it is first used, so that ``import fer_bench`` does not load PyTorch or pandas.
``docs/api.md`` lists them with an example each.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset as Dataset
    from fer_bench.accuracy.data.loading import load_data as load_data
    from fer_bench.accuracy.data.make_faces import make_faces as make_faces
    from fer_bench.accuracy.recipes import Recipe as Recipe
    from fer_bench.accuracy.recipes import read_recipe as read_recipe
    from fer_bench.accuracy.recipes import recipe_names as recipe_names
    from fer_bench.accuracy.robustness import robustness as robustness
    from fer_bench.accuracy.sensitivity import sensitivity as sensitivity
    from fer_bench.auditing.audit import Audit as Audit
    from fer_bench.auditing.audit import audit as audit
    from fer_bench.gating.gate import compare as compare
    from fer_bench.gating.gate import gate as gate
    from fer_bench.live.realtime import realtime as realtime
    from fer_bench.measuring.counting.count import Count as Count
    from fer_bench.measuring.counting.count import count as count
    from fer_bench.measuring.counting.recorder import Trace as Trace
    from fer_bench.measuring.counting.trace import trace as trace
    from fer_bench.measuring.deploy import deploy as deploy
    from fer_bench.measuring.evaluate import evaluate as evaluate
    from fer_bench.measuring.measure import measure as measure
    from fer_bench.measuring.sweep import Sweep as Sweep
    from fer_bench.measuring.sweep import sweep as sweep
    from fer_bench.measuring.train import Trainings as Trainings
    from fer_bench.measuring.train import train as train
    from fer_bench.networks.build import Build as Build
    from fer_bench.networks.build import create_model as create_model
    from fer_bench.networks.checkpoints import load_checkpoint as load_checkpoint
    from fer_bench.networks.contract import InputContract as InputContract
    from fer_bench.networks.registry import Registry as Registry
    from fer_bench.networks.registry import find as find
    from fer_bench.networks.registry import list_models as list_models
    from fer_bench.networks.spec import ModelSpec as ModelSpec
    from fer_bench.networks.truncations import truncate as truncate
    from fer_bench.networks.weights import input_contract as input_contract
    from fer_bench.records.errors import FerBenchError as FerBenchError
    from fer_bench.records.plan import Plan as Plan
    from fer_bench.records.result import Result as Result
    from fer_bench.reporting.history import history as history
    from fer_bench.reporting.report import Report as Report
    from fer_bench.reporting.report import report as report
    from fer_bench.reporting.results import Results as Results
    from fer_bench.reporting.results import load as load

    __version__: str

# Where each public name is. Type checkers read the imports above, which a test holds to be the same.
_HOMES = {
    "count": "measuring.counting.count",
    "measure": "measuring.measure",
    "evaluate": "measuring.evaluate",
    "realtime": "live.realtime",
    "deploy": "measuring.deploy",
    "sweep": "measuring.sweep",
    "train": "measuring.train",
    "report": "reporting.report",
    "audit": "auditing.audit",
    "gate": "gating.gate",
    "compare": "gating.gate",
    "history": "reporting.history",
    "load": "reporting.results",
    "load_data": "accuracy.data.loading",
    "read_recipe": "accuracy.recipes",
    "recipe_names": "accuracy.recipes",
    "Recipe": "accuracy.recipes",
    "make_faces": "accuracy.data.make_faces",
    "input_contract": "networks.weights",
    "sensitivity": "accuracy.sensitivity",
    "robustness": "accuracy.robustness",
    "trace": "measuring.counting.trace",
    "list_models": "networks.registry",
    "find": "networks.registry",
    "create_model": "networks.build",
    "load_checkpoint": "networks.checkpoints",
    "truncate": "networks.truncations",
    "Audit": "auditing.audit",
    "Build": "networks.build",
    "Dataset": "accuracy.data.dataset",
    "Count": "measuring.counting.count",
    "FerBenchError": "records.errors",
    "InputContract": "networks.contract",
    "ModelSpec": "networks.spec",
    "Plan": "records.plan",
    "Registry": "networks.registry",
    "Report": "reporting.report",
    "Result": "records.result",
    "Results": "reporting.results",
    "Sweep": "measuring.sweep",
    "Trainings": "measuring.train",
    "Trace": "measuring.counting.recorder",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("fer-bench")
    if name in _HOMES:
        return getattr(importlib.import_module(f"fer_bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fer_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
