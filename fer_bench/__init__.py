"""Benchmarks and efficiency profiles of facial-expression-recognition networks in PyTorch.

The public names, each imported when it is first used, so that ``import fer_bench`` does not load PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_bench.measuring.counting.count import Count, count
    from fer_bench.measuring.counting.recorder import Trace
    from fer_bench.measuring.counting.trace import trace
    from fer_bench.networks.build import Build, create_model
    from fer_bench.networks.checkpoints import load_checkpoint
    from fer_bench.networks.registry import find, list_models
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.errors import FerBenchError

_HOMES = {
    "Build": "networks.build",
    "create_model": "networks.build",
    "load_checkpoint": "networks.checkpoints",
    "FerBenchError": "records.errors",
    "Count": "measuring.counting.count",
    "count": "measuring.counting.count",
    "Trace": "measuring.counting.recorder",
    "trace": "measuring.counting.trace",
    "ModelSpec": "networks.registry",
    "find": "networks.registry",
    "list_models": "networks.registry",
}

__all__ = [
    "Build",
    "Count",
    "FerBenchError",
    "ModelSpec",
    "Trace",
    "count",
    "create_model",
    "find",
    "list_models",
    "load_checkpoint",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fer_bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fer_bench' has no attribute {name!r}")
