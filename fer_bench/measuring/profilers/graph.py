"""Counts of a model file that somebody else made: of an ONNX graph, and of no other file."""

from typing import TYPE_CHECKING

from fer_bench.networks.backends import graph
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.deployed import Deployed


def measure_graph(network: "Deployed") -> list[Measurement]:
    """Count the MACs of a file and the numbers that it stores; what cannot be counted has no value, and not 0.

    Returns:
        ``artefact_bytes``, and of an ONNX file ``stored_values`` and ``macs``.
    """
    artefact = network.artefact
    details = {"artefact": "", "files": dict(artefact.files), "notes": [], "weights": dict(artefact.weights)}
    found = [Measurement("artefact_bytes", "bytes", (artefact.size,), details=details)]
    if artefact.path.suffix == ".onnx":
        model = graph.read(artefact.path)
        found.append(Measurement("stored_values", "count", (graph.values(model),)))
        counted = graph.macs(model)
        if counted is not None:
            about = {"convention": "conv+matmul-v1", "batch": artefact.input_shape[0], "uncounted": {}}
            found.append(Measurement("macs", "count", (counted,), details=about))
    return found
