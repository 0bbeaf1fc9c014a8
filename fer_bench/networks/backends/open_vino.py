"""OpenVINO on the CPU: from ``torch.export`` to its own format, which needs no PyTorch to run.

On processors with bfloat16 it computes in that unless told otherwise; what it runs is read from its runtime model.
Its usage statistics, which would go to Google Analytics, are off: the module that sends them is never imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import Artefact, DeployError, Settings, one_line
from fer_bench.records import extras

_PURPOSE = "--backend openvino"
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "uint8"}  # of weights


class OpenVino:
    """The backend "openvino"."""

    name = "openvino"
    devices = ("cpu",)
    precisions = ("fp32", "default", "bf16", "fp16", "int8")
    runs_by = ("openvino",)

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact: one of float32 runs in any, as it is loaded."""
        return "int8" if precision == "int8" else "fp32"

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        return ("openvino", "nncf") if precision == "int8" else ("openvino",)

    def lacks(self, device: str) -> str:
        """Return what conversion needs beside libraries: nothing."""
        return ""

    def tools(self) -> dict[str, str]:
        """Return the versions of what converts outside of this interpreter: nothing does."""
        return {}

    def convert(self, program: Any, folder: Path, precision: str, images: Any = None) -> Artefact:
        """Convert a program of ``torch.export`` into ``model.xml`` and ``model.bin`` (see ``Backend.convert``)."""
        openvino = _library()
        (given,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
        shape = tuple(given.meta["val"].shape)
        with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
            try:
                model = openvino.convert_model(program)
                model.reshape(list(shape))
                if precision == "int8":
                    model = _to_int8(model, images, shape[0])
            except DeployError:
                raise
            except Exception as error:
                raise DeployError(f"OpenVINO cannot convert it: {_said(error)}") from error
            openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
        written = {name: (folder / name).stat().st_size for name in ("model.xml", "model.bin")}
        return Artefact(folder, self.name, written, shape, precision, _weights_of(model))

    def load(self, path: Path, settings: Settings) -> _Compiled:
        """Load a file of OpenVINO's, or an ONNX file (see ``Backend.load``)."""
        return _Compiled(path, settings)


class _Compiled:
    def __init__(self, path: Path, settings: Settings) -> None:
        openvino = _library()
        asked: dict[str, Any] = {}
        if not settings.shipped:
            asked = {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": settings.threads,
                "ENABLE_CPU_PINNING": False,  # the plan pins, or not
            }
            if settings.precision in _HINTS or settings.precision == "int8":
                asked["INFERENCE_PRECISION_HINT"] = _HINTS.get(settings.precision, "f32")  # of what is left in floats
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", asked)
        except Exception as error:
            raise DeployError(f"OpenVINO refuses {path.name}: {_said(error)}; try: export it anew") from error
        self._request = self._compiled.create_infer_request()
        self.inputs = {
            next(iter(one.names), ""): ([str(d) for d in one.partial_shape], one.element_type.get_type_name())
            for one in self._compiled.inputs
        }
        self.reported = self._report(openvino.__version__, settings)

    def _report(self, version: str, settings: Settings) -> dict[str, Any]:
        get = self._compiled.get_property
        executed = Counter(
            node.get_rt_info()["runtimePrecision"].astype(str)
            for node in self._compiled.get_runtime_model().get_ops()
            if "runtimePrecision" in node.get_rt_info()
        )
        hint = get("INFERENCE_PRECISION_HINT").to_string()
        reported = {
            "name": "openvino",
            "version": version.partition("-")[0],
            "threads": get("INFERENCE_NUM_THREADS"),
            "streams": get("NUM_STREAMS"),
            "pinned": get("ENABLE_CPU_PINNING"),
            "spinning": None,
            "providers": list(get("EXECUTION_DEVICES")),
            "precision": _arithmetic(executed, hint),
            "executed": dict(executed),
        }
        if settings.shipped:
            return reported
        wanted = (settings.threads, 1, False)
        if wanted != (reported["threads"], reported["streams"], reported["pinned"]):
            raise DeployError(f"asked OpenVINO for {wanted} (threads, streams, pinning), it reports {reported}")
        if settings.precision == "fp32" and (executed.keys() & {"bf16", "f16"} or hint not in ("f32", "float32")):
            raise DeployError(f"asked OpenVINO for f32, it reports {hint} and executes {dict(executed)}")
        if settings.precision in ("bf16", "fp16") and not executed[_HINTS[settings.precision]]:
            raise DeployError(
                f"asked OpenVINO for {settings.precision}, it reports {hint} and executes {dict(executed)}: this "
                "processor has none; leave --precision out"
            )
        return reported

    def __call__(self, images: Any) -> Any:
        found = self._request.infer(images, share_inputs=True, share_outputs=True)
        return list(found.values())


# What it begins its messages with: places in its own source, and that it failed.
_WHERE = ("Exception from ", "Check ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:")


def _said(error: Exception) -> str:
    """Return what OpenVINO said, without where in its own source."""
    lines = [line.strip(" -") for line in str(error).splitlines() if not line.startswith(_WHERE)]
    return one_line(RuntimeError("\n".join(filter(None, lines)) or one_line(error)))


def _arithmetic(executed: Counter[str], hint: str) -> str:
    """Name the arithmetic of a compiled model, the lowest that it executes; ``hint`` where it says nothing."""
    for kind, name in (("i8", "int8"), ("u8", "int8"), ("bf16", "bfloat16"), ("f16", "float16")):
        if executed[kind]:
            return name
    return "float32" if executed["f32"] else hint


def _library() -> Any:
    """Import OpenVINO without the module that reports its use."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails, and is done without
    return extras.load("openvino", _PURPOSE)


def _weights_of(model: Any) -> dict[str, int]:
    found: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            kind = node.get_element_type().to_string()
            if kind in _TYPES:
                found[_TYPES[kind]] += node.get_byte_size()
    return dict(found)


def _to_int8(model: Any, images: Any, batch: int) -> Any:
    os.environ["NNCF_CI"] = "1"  # its own usage statistics
    nncf = extras.load("nncf", "--precision int8")
    batches = [images[at : at + batch] for at in range(0, len(images) - batch + 1, batch)]
    quantized = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    check_ranges(quantized)
    return quantized


def check_ranges(model: Any) -> None:
    """Raise DeployError where a range of a quantized model is infinite or NaN: what it quantizes is lost."""
    import numpy as np

    for node in model.get_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        ends = [node.input_value(place).get_node() for place in range(1, 5)]
        if not all(np.isfinite(end.get_data()).all() for end in ends if end.get_type_name() == "Constant"):
            raise DeployError(
                f"int8: the range of {node.input_value(0).get_node().get_friendly_name()!r} is infinite: a padding "
                "with -inf perhaps; pad with the lowest finite value"
            )


BACKEND = OpenVino()
