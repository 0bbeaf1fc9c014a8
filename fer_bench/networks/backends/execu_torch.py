"""ExecuTorch on the CPU by XNNPACK: ``torch.export`` to a ``.pte`` file; it runs in a process that has PyTorch.

What XNNPACK does not have is run by ExecuTorch's portable kernels, which are slow: the share of operators that were
delegated is recorded.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections import Counter
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import Artefact, DeployError, Settings, one_line
from fer_bench.records import extras

_PURPOSE = "--backend executorch"
_GLUE = ("getitem", "executorch_call_delegate")  # of a graph, that run nothing


class ExecuTorch:
    """The backend "executorch"."""

    name = "executorch"
    devices = ("cpu",)
    precisions = ("fp32", "default")
    runs_by = ("torch", "executorch.runtime")
    loaded = False  # in this process: the threads of its pool cannot be changed any more

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact that a plan's precision is run from."""
        return "fp32"

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        return ("executorch",)

    def lacks(self, device: str) -> str:
        """Return what conversion needs and is not here: nothing else."""
        return ""

    def tools(self) -> dict[str, str]:
        """Return the versions of what converts outside of this interpreter: nothing does."""
        return {}

    def convert(self, program: Any, folder: Path, precision: str, images: Any = None) -> Artefact:
        """Convert a program of ``torch.export`` into ``model.pte`` (see ``Backend.convert``)."""
        from fer_bench.networks.backends import lowering

        exir = extras.load("executorch.exir", _PURPOSE)
        xnnpack = extras.load("executorch.backends.xnnpack.partition.xnnpack_partitioner", _PURPOSE)
        shape, weights = lowering.input_shape(program), lowering.weights_of(program)
        notes = lowering.replace_unsupported(program, self.name)
        path = folder / "model.pte"
        with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
            try:
                lowered = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()])
                delegation = delegated(lowered.exported_program().graph_module)
                lowered.to_executorch().save(str(path))
            except Exception as error:
                raise lowering.cannot_lower("ExecuTorch", program, error) from error
        sizes = {path.name: path.stat().st_size}
        return Artefact(folder, self.name, sizes, shape, precision, weights, notes, details={"delegation": delegation})

    def load(self, path: Path, settings: Settings) -> _Method:
        """Load a ``.pte`` file (see ``Backend.load``)."""
        return _Method(path, settings)


class _Method:
    def __init__(self, path: Path, settings: Settings) -> None:
        import torch

        runtime = extras.load("executorch.runtime", _PURPOSE)
        pool = extras.load("executorch.extension.pybindings.portable_lib", _PURPOSE)
        threads = pool._threadpool_get_thread_count()
        if not settings.shipped and threads != settings.threads:
            if BACKEND.loaded:  # it would abort the process
                raise DeployError(f"ExecuTorch has {threads} threads in this process, and the plan {settings.threads}")
            pool._unsafe_reset_threadpool(settings.threads)
            threads = pool._threadpool_get_thread_count()
            if threads != settings.threads:
                raise DeployError(f"asked for {settings}, ExecuTorch reports {threads} threads")
        try:
            checked = runtime.Verification.InternalConsistency
            # A method does not keep its program, without which a pass ends the process.
            self._program = runtime.Runtime.get().load_program(path, verification=checked)
            BACKEND.loaded = True
            self._method = self._program.load_method("forward")
        except Exception as error:
            raise DeployError(f"ExecuTorch refuses {path.name}: {one_line(error)}") from error
        if self._method is None:
            raise DeployError(f"ExecuTorch refuses {path.name}: it has no method forward")
        about = self._method.metadata
        self.inputs = {f"input {n}": _described(about, n) for n in range(about.num_inputs())}
        self._tensor = torch.from_numpy
        self.reported = {
            "name": "executorch",
            "version": importlib.metadata.version("executorch"),
            "threads": threads,
            "streams": None,
            "pinned": False,
            "spinning": None,
            "providers": ["XnnpackBackend"],
            "precision": "float32",
        }

    def __call__(self, images: Any) -> Any:
        return [output.numpy() for output in self._method.execute([self._tensor(images)])]


def _described(about: Any, number: int) -> tuple[list[int], str]:
    one = about.input_tensor_meta(number)
    return list(one.sizes()), "f32" if one.dtype() == 6 else f"number type {one.dtype()} of ExecuTorch's"


def delegated(module: Any) -> dict[str, Any]:
    """Return how many operators of a lowered graph were delegated, in how many calls, and which were not."""
    delegates, inside, left = 0, 0, Counter[str]()
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", str(node.target))
        if name == "executorch_call_delegate":
            delegates += 1
            original = getattr(module, node.args[0].target).original_module.graph_module
            inside += sum(n.op == "call_function" and n.target.__name__ not in _GLUE for n in original.graph.nodes)
        elif name not in _GLUE:
            left[name] += 1
    return {"delegates": delegates, "delegated": inside, "left": dict(left.most_common())}


BACKEND = ExecuTorch()
