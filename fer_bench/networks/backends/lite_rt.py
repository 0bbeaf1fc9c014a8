"""LiteRT (TensorFlow Lite) on the CPU by XNNPACK: a ``.tflite`` file, which needs no PyTorch to run.

Its converter, ``litert-torch``, pins other versions of what we use. It therefore runs in an interpreter of its own,
which FER_BENCH_LITERT_PYTHON names, unless it is installed beside us.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import Artefact, DeployError, Settings, one_line
from fer_bench.records import extras

_PURPOSE = "--backend litert"
INTERPRETER = "FER_BENCH_LITERT_PYTHON"
_CONVERTER = Path(__file__).with_name("lite_rt_convert.py")
_TYPES = {"FLOAT32": ("float32", 4), "FLOAT16": ("float16", 2), "INT8": ("int8", 1), "UINT8": ("uint8", 1)}


class LiteRt:
    """The backend "litert"."""

    name = "litert"
    devices = ("cpu",)
    precisions = ("fp32", "default")
    runs_by = ("ai_edge_litert.interpreter",)

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact that a plan's precision is run from."""
        return "fp32"

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        return ("ai_edge_litert",)

    def lacks(self, device: str) -> str:
        """Return what conversion needs and is not here, or ""."""
        named = os.environ.get(INTERPRETER, "")
        if named and not (Path(named).is_file() and os.access(named, os.X_OK)):
            return f"the interpreter of its converter, and {INTERPRETER}={named} is none"
        if not named and importlib.util.find_spec("litert_torch") is None:
            return f"its converter, which pins other packages: {self._remedy()}"
        return ""

    def _remedy(self) -> str:
        version = importlib.metadata.version("torch").partition("+")[0]
        return (
            f"try: python3 -m venv litert && litert/bin/pip install litert-torch torch=={version} && "
            f"export {INTERPRETER}=$PWD/litert/bin/python"
        )

    def tools(self) -> dict[str, str]:
        """Return the versions of the converter and of its PyTorch."""
        done = _converter("--versions")
        if done.returncode:
            raise DeployError(f"the interpreter of LiteRT's converter has no litert-torch; {self._remedy()}")
        return dict(line.split() for line in done.stdout.splitlines())

    def convert(self, program: Any, folder: Path, precision: str, images: Any = None) -> Artefact:
        """Convert a program of ``torch.export`` into ``model.tflite`` (see ``Backend.convert``)."""
        import torch

        from fer_bench.networks.backends import lowering

        shape = lowering.input_shape(program)
        notes = lowering.replace_unsupported(program, self.name)
        path = folder / "model.tflite"
        with tempfile.TemporaryDirectory(dir=folder) as held:
            exported = Path(held) / "program.pt2"
            torch.export.save(program, str(exported))
            done = _converter(str(exported), str(path))
        sys.stderr.write(done.stderr)  # shown by --debug
        if done.returncode or not path.is_file():
            raise lowering.cannot_lower("LiteRT", program, done.stderr)
        sizes = {path.name: path.stat().st_size}
        loaded = self.load(path, Settings(threads=1, spinning=False, precision="default", shipped=True))
        details = {"delegation": loaded.delegation}
        return Artefact(folder, self.name, sizes, shape, precision, weights_of(path), notes, details=details)

    def load(self, path: Path, settings: Settings) -> _Interpreter:
        """Load a ``.tflite`` file (see ``Backend.load``)."""
        return _Interpreter(path, settings)


class _Interpreter:
    def __init__(self, path: Path, settings: Settings) -> None:
        runtime = extras.load("ai_edge_litert.interpreter", _PURPOSE)
        threads = _threads()
        try:
            self._runs = runtime.Interpreter(
                model_path=str(path), num_threads=None if settings.shipped else settings.threads
            )
            self._runs.allocate_tensors()
        except Exception as error:
            raise DeployError(f"LiteRT refuses {path.name}: {one_line(error)}") from error
        given = self._runs.get_input_details()
        self.inputs = {
            one["name"]: ([int(size) for size in one["shape_signature"]], _kind(one["dtype"])) for one in given
        }
        self._given, self._shape = given[0]["index"] if given else -1, tuple(given[0]["shape"]) if given else ()
        self._results = [one["index"] for one in self._runs.get_output_details()]
        self.delegation, tensors = delegated(self._runs), self._runs.get_tensor_details()
        made = 1 + _threads() - threads if os.path.isdir("/proc/self/task") else None
        if not settings.shipped and made not in (None, settings.threads) and self.delegation["delegates"]:
            raise DeployError(f"asked LiteRT for {settings.threads} threads, and it made {made}")
        self.reported = {
            "name": "litert",
            "version": importlib.metadata.version("ai-edge-litert"),
            "threads": made if settings.shipped else settings.threads,
            "streams": None,
            "pinned": False,
            "spinning": None,
            "providers": ["XNNPACK"] if self.delegation["delegates"] else ["LiteRT"],
            "precision": "int8" if any(_kind(each["dtype"]) == "int8" for each in tensors) else "float32",
            "delegation": self.delegation,
        }

    def __call__(self, images: Any) -> Any:
        if images.shape != self._shape:  # sizes that the file leaves open
            self._runs.resize_tensor_input(self._given, images.shape)
            self._runs.allocate_tensors()
            self._shape = images.shape
        self._runs.set_tensor(self._given, images)
        self._runs.invoke()
        return [self._runs.get_tensor(index) for index in self._results]


def delegated(interpreter: Any) -> dict[str, Any]:
    """Return how many operators of a loaded file are run by XNNPACK, in how many parts, and which are not.

    The runtime lists the operators of the file and the delegates that replace some: which are run is followed from the
    outputs back to the input, by delegates where there are.
    """
    listed = interpreter._get_ops_details()
    delegates = [one for one in listed if one["op_name"] == "DELEGATE"]
    plain = [one for one in listed if one["op_name"] != "DELEGATE"]
    maker = {int(tensor): one for one in [*plain, *delegates] for tensor in one["outputs"]}
    left: Counter[str] = Counter()
    seen: set[int] = set()
    waiting = [one["index"] for one in interpreter.get_output_details()]
    while waiting:
        made_by = maker.get(int(waiting.pop()))
        if made_by is None or made_by["index"] in seen:
            continue
        seen.add(made_by["index"])
        if made_by["op_name"] != "DELEGATE":
            left[made_by["op_name"]] += 1
        waiting += [int(tensor) for tensor in made_by["inputs"]]
    inside = len(plain) - left.total()
    return {"delegates": len(delegates), "delegated": inside, "left": dict(left.most_common())}


def weights_of(path: Path) -> dict[str, int]:
    """Return the bytes of the numbers that a ``.tflite`` file stores, by their type; whole numbers of shapes aside."""
    schema = extras.load("ai_edge_litert.schema_py_generated", _PURPOSE)
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    names = {value: name for name, value in vars(schema.TensorType).items() if name in _TYPES}
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for n in range(model.SubgraphsLength()):
        graph = model.Subgraphs(n)
        for tensor in (graph.Tensors(at) for at in range(graph.TensorsLength())):
            held = model.Buffers(tensor.Buffer())
            if held.DataLength() and tensor.Type() in names and tensor.Buffer() not in seen:
                seen.add(tensor.Buffer())
                found[_TYPES[names[tensor.Type()]][0]] += held.DataLength()
    return dict(found)


def _kind(dtype: Any) -> str:
    name = getattr(dtype, "__name__", str(dtype))
    return "f32" if name == "float32" else str(name)


def _threads() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0


def _converter(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the converter in its interpreter."""
    command = [os.environ.get(INTERPRETER) or sys.executable, str(_CONVERTER), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603


BACKEND = LiteRt()
