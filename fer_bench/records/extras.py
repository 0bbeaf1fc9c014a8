"""Libraries that only some commands need: imported when they are, with one clear error where they are missing."""

import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType

from fer_bench.records.errors import FerBenchError

# What brings each, by the name that is imported: an extra of ours.
EXTRAS = {
    "accelerate": "train",
    "h5py": "hdf5",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
    "nncf": "openvino",
    "executorch": "executorch",
    "ai_edge_litert": "litert",
    "ray": "ray",
    "submitit": "slurm",
    "av": "video",
    "cv2": "opencv",
}


def load(module: str, purpose: str) -> ModuleType:
    """Import a library of an extra, or a module of one.

    Args:
        module: as it is imported, such as "onnxruntime.quantization".
        purpose: what needs it, as a sentence begins: "reading a Keras file".

    Raises:
        FerBenchError: it is not installed, or cannot be imported here.
    """
    root = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != root:
            raise FerBenchError(f"{purpose} needs {root}, which needs {error.name}: {remedy([root])}") from error
        raise FerBenchError(f"{purpose} needs {root}: {remedy([root])}") from error
    except ImportError as error:
        raise FerBenchError(f"{purpose} needs {root}, which cannot be imported: {error}") from error


def missing(modules: Iterable[str]) -> list[str]:
    """Return those that are not installed, without importing any."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


def remedy(modules: Iterable[str]) -> str:
    """Return the command that installs libraries of extras."""
    extras = sorted({EXTRAS[module] for module in modules})
    return f"try: pip install 'fer-bench[{','.join(extras)}]'"
