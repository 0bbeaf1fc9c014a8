"""ONNX Runtime: ``torch.export`` to ONNX, which needs no PyTorch to run; on the CPU, and on NVIDIA's GPUs.

https://onnxruntime.ai/docs/performance/tune-performance/threading.html says how threads are set. A provider that does
not load is replaced by the CPU's with a line in a log: so what ran where is read from a profile of one pass.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import Artefact, DeployError, Settings, one_line
from fer_bench.records import extras
from fer_bench.records.plan import INT8
from fer_bench.records.result import Json

_PURPOSE = "--backend onnxruntime"
_CPU = "CPUExecutionProvider"
_HEAVY = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")  # never on the CPU
_SPINNING = "session.intra_op.allow_spinning"
_LARGEST = 2**31 - 2**27  # a protobuf message ends at 2 GiB: larger weights go into a file beside it
# Bytes and names of ONNX's number types that weights have (onnx.TensorProto.DataType).
_TYPES = {
    1: ("float32", 4),
    10: ("float16", 2),
    16: ("bfloat16", 2),
    3: ("int8", 1),
    2: ("uint8", 1),
    11: ("float64", 8),
}
# A padding with minus infinity, before a max pooling, would make the range of static calibration infinite.
_QUANTIZED = ("Conv", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool", "AveragePool")
_QUANTIZED_DYNAMICALLY = ("Conv", "MatMul")  # a Gemm becomes a MatMul first


class OnnxRuntime:
    """The backend "onnxruntime", and "onnxruntime-tensorrt", which has another provider.

    Attributes:
        providers: by device of a plan.
    """

    runs_by = ("onnxruntime",)

    def __init__(self, name: str, providers: Mapping[str, str], precisions: tuple[str, ...]) -> None:
        self.name, self.providers, self.precisions = name, providers, precisions
        self.devices = tuple(providers)

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact that a plan's precision is run from."""
        return "fp32" if precision in ("default", "tf32") else precision

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        return ("onnx", "onnxscript", "onnxruntime")

    def lacks(self, device: str) -> str:
        """Return the provider of a device that this ONNX Runtime does not have, or ""."""
        provider = self.providers[device]
        if provider == _CPU or provider in extras.load("onnxruntime", _PURPOSE).get_available_providers():
            return ""
        return f"{provider}, which this onnxruntime has not; try: pip install onnxruntime-gpu in place of onnxruntime"

    def tools(self) -> dict[str, str]:
        """Return the versions of what converts outside of this interpreter: nothing does."""
        return {}

    def convert(self, program: Any, folder: Path, precision: str, images: Any = None) -> Artefact:
        """Convert a program of ``torch.export`` into ``model.onnx`` (see ``Backend.convert``)."""
        import torch

        onnx = extras.load("onnx", _PURPOSE)
        extras.load("onnxscript", _PURPOSE)
        path = folder / "model.onnx"
        with _silent():
            try:
                exported: Any = torch.onnx.export(program, (), dynamo=True)
            except Exception as error:
                raise DeployError(f"torch.onnx cannot export it: {one_line(error)}") from error
            size = sum(tensor.nbytes for tensor in program.state_dict.values())
            exported.save(path, external_data=size > _LARGEST)
        if precision == "fp16":
            _to_half(path)
        elif precision in INT8:
            _to_int8(path, images if precision == "int8" else None)
        model = onnx.load(str(path))
        written = {file.name: file.stat().st_size for file in sorted(folder.glob("model.onnx*"))}
        shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
        opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        return Artefact(folder, self.name, written, shape, precision, weights_of(model), details={"opset": opset})

    def load(self, path: Path, settings: Settings) -> _Session:
        """Load an ONNX file (see ``Backend.load``)."""
        return _Session(path, settings, self.providers[settings.device])


class _Session:
    def __init__(self, path: Path, settings: Settings, provider: str) -> None:
        if provider != _CPU and settings.precision == "fp32":
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read when CUDA's libraries are loaded: they round to TF32 else
        runtime = extras.load("onnxruntime", _PURPOSE)
        wanted = [provider] if provider == _CPU else [provider, _CPU]
        try:
            self._session = runtime.InferenceSession(str(path), _options(runtime, settings), providers=wanted)
        except Exception as error:  # its exceptions have no base of their own
            raise DeployError(f"ONNX Runtime refuses {path.name}: {said(error)}") from error
        used = self._session.get_providers()
        if used != wanted:
            raise DeployError(f"asked for {provider}, ONNX Runtime runs it by {', '.join(used)}")
        self._provider = provider
        self.inputs = {one.name: (one.shape, one.type) for one in self._session.get_inputs()}
        self._name = next(iter(self.inputs), "")
        self.reported = {"name": "onnxruntime", "version": runtime.__version__, **self._settings(settings)}
        if provider != _CPU:
            self.reported["executed"] = executed_on(provider, runtime, path, settings)

    def _settings(self, settings: Settings) -> Mapping[str, Json]:
        options = self._session.get_session_options()
        # Without a number it makes one thread for each physical core, and says 0.
        reported: dict[str, Json] = {
            "threads": options.intra_op_num_threads or None,
            "streams": options.inter_op_num_threads or None,
            "providers": self._session.get_providers(),
            "spinning": None,
            "pinned": not options.intra_op_num_threads,
            "precision": self._precision(settings.precision),
        }
        if not settings.shipped:
            reported["spinning"] = options.get_session_config_entry(_SPINNING) == "1"
            if (reported["threads"], reported["spinning"]) != (settings.threads, settings.spinning):
                raise DeployError(f"asked for {settings}, ONNX Runtime reports {reported}")
        return reported

    def _precision(self, asked: str) -> str:
        if asked in ("tf32", "default") and self._provider != _CPU:
            return "tfloat32"
        return {"fp16": "float16", **dict.fromkeys(INT8, "int8")}.get(asked, "float32")

    def __call__(self, images: Any) -> Any:
        return self._session.run(None, {self._name: images})


# What it begins its messages with: codes, the path that it was given, and places in its own source.
_BEFORE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed:|\S*/onnxruntime_src/\S+ .*?\) (?=[A-Z])"
)
_FOLDERS = re.compile(r'(?<=")[^"]*/(?=[^"/]+")')
_REMEDIES = {
    "not a registered function/op": "an export without operators of one's own",
    "opset version": "an export for an earlier opset",
    "External data": "the file of its weights beside it",
}


def said(error: Exception) -> str:
    """Return why ONNX Runtime refused a file, without paths and places in its source, and what can be done."""
    text = _FOLDERS.sub("", _BEFORE.sub("", one_line(error, 2000)))
    remedy = next((each for mark, each in _REMEDIES.items() if mark in text), "export it anew")
    return f"{text[:200].rstrip('. ')}; try: {remedy}"


def _options(runtime: Any, settings: Settings) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    if not settings.shipped:
        options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry(_SPINNING, str(int(settings.spinning)))
    return options


def executed_on(provider: str, runtime: Any, path: Path, settings: Settings) -> dict[str, int]:
    """Profile one pass in a session of its own, and return how many nodes each provider ran.

    Raises:
        DeployError: the provider ran nothing, or left a convolution or a matrix product to another.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        options = _options(runtime, settings)
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = runtime.InferenceSession(str(path), options, providers=[provider, _CPU])
        given = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in given.shape]
        session.run(None, {given.name: np.zeros(shape, np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [each["args"] for each in events if each.get("cat") == "Node" and each.get("args", {}).get("provider")]
    found = Counter(each["provider"] for each in ran)
    elsewhere = Counter(each["op_name"] for each in ran if each["provider"] != provider and each["op_name"] in _HEAVY)
    if not found[provider] or elsewhere:
        left = ", ".join(f"{count} {name}" for name, count in elsewhere.items()) or "everything"
        raise DeployError(f"asked for {provider}, and ONNX Runtime ran {left} elsewhere: {dict(found)}")
    return dict(found)


def weights_of(model: Any) -> dict[str, int]:
    """Return the bytes of the numbers that an ONNX model stores, by their type; whole numbers of shapes aside."""
    found: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        if tensor.data_type in _TYPES:
            name, size = _TYPES[tensor.data_type]
            count = 1
            for dim in tensor.dims:
                count *= dim
            found[name] += count * size
    return dict(found)


def _to_half(path: Path) -> None:
    onnx = extras.load("onnx", _PURPOSE)
    half = extras.load("onnxruntime.transformers.float16", "--precision fp16")
    with _silent():
        onnx.save(half.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def _to_int8(path: Path, images: Any) -> None:
    """Quantize statically, by the ranges that images give; without images dynamically.

    Operators that poison ranges are left out. Dynamically quantized weights are unsigned: the CPU has no
    convolution of signed ones.
    """
    onnx = extras.load("onnx", _PURPOSE)
    quantization = extras.load("onnxruntime.quantization", "--precision int8")
    pre_process = extras.load("onnxruntime.quantization.shape_inference", "--precision int8").quant_pre_process
    given = onnx.load(str(path), load_external_data=False).graph.input[0].name
    batch = int(onnx.load(str(path), load_external_data=False).graph.input[0].type.tensor_type.shape.dim[0].dim_value)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self._batches = (images[at : at + batch] for at in range(0, len(images) - batch + 1, batch))

        def get_next(self) -> dict[str, Any] | None:
            found = next(self._batches, None)
            return None if found is None else {given: found}

    prepared, written = path.with_name("prepared.onnx"), path.with_name("quantized.onnx")
    with _silent():
        try:
            pre_process(str(path), str(prepared))
            if images is None:
                quantization.quantize_dynamic(
                    str(prepared),
                    str(written),
                    weight_type=quantization.QuantType.QUInt8,
                    op_types_to_quantize=list(_QUANTIZED_DYNAMICALLY),
                )
            else:
                quantization.quantize_static(
                    str(prepared),
                    str(written),
                    Reader(),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    op_types_to_quantize=list(_QUANTIZED),
                )
        except Exception as error:
            raise DeployError(f"ONNX Runtime cannot quantize it: {one_line(error)}") from error
    check_scales(onnx.load(str(written)))
    for left in path.parent.glob("prepared.onnx*"):
        left.unlink()
    os.replace(written, path)


def check_scales(model: Any) -> None:
    """Raise DeployError where a scale of a quantized ONNX model is infinite, NaN or 0: what it scales is lost."""
    import numpy as np

    numpy_helper = extras.load("onnx.numpy_helper", _PURPOSE)
    for tensor in model.graph.initializer:
        if not tensor.name.endswith("_scale"):  # as ONNX Runtime calls them
            continue
        scale = numpy_helper.to_array(tensor)
        if not np.isfinite(scale).all() or not (scale > 0).all():
            raise DeployError(
                f"int8: the range of {_layer(model, tensor.name.removesuffix('_scale'))} is infinite or empty: a "
                "padding with -inf perhaps; quantize without Pad and MaxPool, or pad with the lowest finite value"
            )


def _layer(model: Any, scaled: str) -> str:
    """Name the layer that a tensor is of: the operator that gives it, and the module that this was exported from."""
    floats = [node for node in model.graph.node if not node.op_type.endswith(("QuantizeLinear", "DequantizeLinear"))]
    made = (node for node in floats if scaled in node.output)
    uses = (node for node in floats if any(name == scaled or name.startswith(f"{scaled}_") for name in node.input))
    node = next(made, next(uses, None))
    if node is None:
        return repr(scaled)
    # Of the exporter's: "['', 'stage.conv', 'conv2d']".
    scopes = next((each.value for each in node.metadata_props if each.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules = [name for name in ast.literal_eval(scopes)[:-1] if name]
    return f"{node.op_type} {scaled!r}" + (f" in {modules[-1]}" if modules else "")


@contextlib.contextmanager
def _silent() -> Any:
    """Keep the exporter's progress off the standard output."""
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield


BACKEND = OnnxRuntime(
    "onnxruntime", {"cpu": _CPU, "cuda": "CUDAExecutionProvider"}, ("fp32", "tf32", "default", "fp16", *INT8)
)
TENSORRT = OnnxRuntime("onnxruntime-tensorrt", {"cuda": "TensorrtExecutionProvider"}, ("fp32", "tf32", "default"))
