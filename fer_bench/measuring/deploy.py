"""Write a network as it is deployed: its artefact with a manifest, or a bundle that measures itself on a board."""

import dataclasses
import inspect
import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.measuring.measure import plan_of
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import prepared
from fer_bench.measuring.task import Task, with_images
from fer_bench.networks.backends.interface import MANIFEST, Artefact
from fer_bench.networks.contract import InputContract
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import ModelSpec, Shape
from fer_bench.networks.weights import input_contract, weights_file
from fer_bench.records import files, stats
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import DEPLOYED, TORCH
from fer_bench.records.result import SCHEMA_VERSION, Result
from fer_bench.reporting.analysis import parity

if TYPE_CHECKING:
    from fer_bench.reporting.analysis.parity import Verdict

CONTRACT = "input.json"
_REFERENCE, _EXAMPLES, _RUNNER = "reference.npz", "examples.npz", "run.py"
_INLINED = "from fer_bench.records.stats import WARMUP_RANGE, WARMUP_WINDOW, quantile, warmup_cut\n"


def deploy(
    network: str | ModelSpec,
    backend: str,
    *,
    out: str | Path = "",
    bundle: str | Path = "",
    checkpoint: str | Path = "",
    precision: str = "fp32",
    calibrate: str | Path = "",
    data: str | Path = "",
    contract: str | Path | InputContract | None = None,
    batch_size: int = 1,
    input_shape: Shape | None = None,
    num_classes: int | None = None,
    settings: Sequence[str] = (),
    registry: Registry | None = None,
) -> "Verdict":
    """Convert a network for a backend, look whether it is still the same network, and write it.

    Args:
        network: a name, as ``find`` takes it, or a spec.
        backend: "onnxruntime", "openvino", "aoti", "executorch" or "litert".
        out: a new folder for the artefact, ``manifest.json`` and, where it is known, the input contract
            ``input.json``.
        bundle: a new zip file, with example images and a program that measures the network where there is no PyTorch.
        checkpoint: a file of weights, or ``wheel:PACKAGE``; without one they are random.
        precision: "fp32", "fp16", "int8" or "int8-dynamic".
        calibrate: images for int8, a path as ``load_data`` reads it, or "noise".
        data: images to compare decisions on, likewise.
        contract: of the network's input: a file, a contract, or "sheet"; by default what is known of the checkpoint.
        batch_size: images of a pass.
        input_shape: (C, H, W); by default the network's own.
        num_classes: outputs; by default the network's own.
        settings: further arguments of the factory, each "key=value".
        registry: has the names; by default that of the built-in networks.

    Returns:
        The verdict on parity, whose ``kind`` is printed.

    Raises:
        FerBenchError: it cannot be converted, computes something else, or a file is there already.

    Examples:
        >>> import pytest; _ = pytest.importorskip("onnxruntime")
        >>> verdict = fb.deploy("mtcnn_pnet", "onnxruntime", out="pnet")
        >>> verdict.kind.value
        'same arithmetic'
        >>> from pathlib import Path
        >>> sorted(path.name for path in Path("pnet").iterdir())
        ['input.json', 'manifest.json', 'model.onnx']
    """
    if not (out or bundle):
        raise FerBenchError("nothing says where to write it: --out FOLDER, or --bundle FILE.zip")
    for given in (out, bundle):
        if given and Path(given).exists():
            raise FerBenchError(f"{given} is there already; name another, or delete it")
    if bundle and Path(bundle).suffix != ".zip":
        raise FerBenchError(f"--bundle {bundle}: a bundle is a zip file, such as {Path(bundle).stem}.zip")
    if bundle and backend == "aoti":
        raise FerBenchError(
            "--bundle with --backend aoti: its machine code is of this processor; try: another --backend"
        )
    if backend == TORCH:
        raise FerBenchError("--backend torch needs no artefact: a checkpoint is what PyTorch loads")
    spec = network if isinstance(network, ModelSpec) else (registry or built_in()).find(network)
    weights = weights_file(checkpoint, spec.name)
    plan = plan_of(
        "quick", "cpu", metrics=DEPLOYED, backend=backend, precision=precision, batch_size=batch_size, threads=1,
        wait="active", num_classes=num_classes,
    )  # fmt: skip
    task = with_images(Task(spec, plan, input_shape, tuple(settings), weights), data, calibrate, contract)
    with Starter([spec]) as starter:
        done, result = prepared(task, starter)
    verdict = parity.judge(result)
    if verdict is None or verdict.kind is parity.Kind.DIFFERENT:
        raise FerBenchError(
            f"{spec.name} by {backend} computes something else, and is not written: {verdict and verdict.reason}"
        )
    artefact = Artefact.load(Path(done.artefact), verified=True)
    manifest, known = _manifest(artefact, result, verdict), _contract(done)
    if out:
        _write_folder(Path(out), artefact, manifest, known)
    if bundle:
        files.write(bundle, _zipped(artefact, manifest, known))
    return verdict


def _manifest(artefact: Artefact, result: Result, verdict: "Verdict") -> dict[str, Any]:
    """Return what a manifest says: files, input, outputs, how it was made, and the verdict on it."""
    kept = json.loads((artefact.folder / MANIFEST).read_text(encoding="utf-8"))
    errors = result.measurement(parity.ERROR)
    details = {k: v for k, v in (errors.details if errors is not None else {}).items() if k != "layers"}
    deployed = [m for m in result.measurements if m.metric in ("artefact_bytes", "convert_s")]
    return {
        **{key: kept[key] for key in ("backend", "precision", "files", "sha256", "weights", "notes", "input_shape")},
        "input": {"shape": list(artefact.input_shape), "type": "float32", "layout": "NCHW"},
        "versions": kept["details"]["versions"],
        "subject": dataclasses.asdict(result.subject),
        "verdict": {"kind": verdict.kind.value, "ratio": verdict.ratio, "reason": verdict.reason},
        "parity": details,
        "plan": {
            **result.plan.to_dict(),
            "metrics": ["deploy", "parity", "latency", "memory"],
            "protocol": "board",
            "alloc": "system",
            "wait": "passive",
            "pin": True,
            "isolation": "fresh",
        },
        "measurements": [dataclasses.asdict(each) for each in deployed],
        "schema_version": SCHEMA_VERSION,
    }


def _contract(task: Task) -> str:
    """Return the input contract that travels with the network, as JSON: what is known of its weights; "" for none."""
    try:
        known = task.contract or input_contract(task.spec, task.checkpoint or None)
    except FerBenchError:  # weights of which nothing is known, or a network without a sheet
        return ""
    return known.to_json()


def _write_folder(out: Path, artefact: Artefact, manifest: dict[str, Any], contract: str) -> None:
    files.make_folder(out)
    for name in artefact.files:
        shutil.copyfile(artefact.folder / name, out / name)
    if contract:
        files.write(out / CONTRACT, contract)
    files.write(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def _zipped(artefact: Artefact, manifest: dict[str, Any], contract: str) -> bytes:
    """Return a zip file of all that a board needs."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as written:
        for name in artefact.files:
            written.write(artefact.folder / name, name)
        written.write(artefact.folder / _REFERENCE, _EXAMPLES)
        written.writestr(_RUNNER, runner())
        if contract:
            written.writestr(CONTRACT, contract)
        written.writestr(MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return held.getvalue()


def runner() -> str:
    """Return the program of a bundle: ``board.py`` with what it imports of ours written out."""
    from fer_bench.measuring import board

    source = inspect.getsource(board)
    constants = "".join(f"{name} = {getattr(stats, name)!r}\n" for name in ("WARMUP_WINDOW", "WARMUP_RANGE"))
    functions = "\n\n".join(inspect.getsource(each) for each in (stats.quantile, stats.warmup_cut))
    typing = "from typing import Any, Sequence\n\n"
    if _INLINED not in source:
        raise FerBenchError("board.py does not import what is written out in its place")
    return source.replace("from typing import Any\n\n", typing).replace(_INLINED, f"{constants}\n\n{functions}\n")
