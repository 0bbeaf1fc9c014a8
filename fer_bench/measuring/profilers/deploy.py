"""Deployment: a network is converted once, in a process of its own, and then started from what that wrote."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.networks import backends
from fer_bench.networks.backends import graph
from fer_bench.networks.backends.interface import MANIFEST, Artefact
from fer_bench.records.plan import Plan
from fer_bench.records.result import Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.deployed import Deployed
    from fer_bench.measuring.network import Network

ARTEFACT = "artefact_bytes"  # the measurement whose detail ``artefact`` names the folder
_CACHE_BYTES = 8 * 2**30  # of artefacts that are kept: all of ours in three backends are 7 GiB
_SPARED_S = 3600.0  # since an artefact was last used: another run may be measuring it


def cache_folder() -> Path:
    """Return the folder in which artefacts are kept, by digests of all that they depend on."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer-bench" / "artefacts"


def measure_conversion(network: "Network", plan: Plan) -> Iterator[Measurement]:
    """Convert a network for the plan's backend, unless that was done already.

    Without a checkpoint batch norm is re-estimated on natural images first: a pass takes as long, and there is
    something to compare.

    Returns:
        ``artefact_bytes`` with all that the manifest has, and ``convert_s``, the seconds of the conversion.

    Raises:
        DeployError: it cannot be converted.
    """
    artefact, cached = converted(
        network, plan, Path(network.job.artefacts) if network.job.artefacts else cache_folder()
    )
    details = {
        "artefact": artefact.folder.name,
        "backend": artefact.backend,
        "weights": dict(artefact.weights),
        "files": dict(artefact.files),
        "notes": list(artefact.notes),
        "cached": cached,
        **artefact.details,
    }
    yield Measurement(ARTEFACT, "bytes", (artefact.size,), details=details)
    seconds = artefact.details["seconds"]
    yield Measurement("convert_s", "s", (sum(seconds.values()),), details={"parts": seconds, "cached": cached})


def measure_start(network: "Deployed") -> list[Measurement]:
    """Load an artefact and make the first pass, in a new process; its files are in the page cache.

    Returns:
        ``load_s`` with what the runtime reports of itself, and ``first_pass_s``.
    """
    prepared, _ = network.make()
    reported = dict(prepared.reported)
    path = network.artefact.path
    if network.job.spec is not None and network.job.spec.source.kind == "artefact" and path.suffix == ".onnx":
        reported["precision"] = graph.arithmetic(graph.read(path))  # ONNX Runtime reports none, and we did not make it
    elif network.job.spec is not None and network.job.spec.source.kind == "artefact" and path.suffix == ".pte":
        reported["precision"] = "unknown"  # the file does not say, and we did not make it
    details = {
        "runtime": reported,
        "new_threads": network.new_threads,
        "with_pytorch": "torch" in sys.modules,
    }
    return [
        Measurement("load_s", "s", (network.load_s,), details=details),
        Measurement("first_pass_s", "s", (network.first_pass_s,)),
    ]


def converted(network: "Network", plan: Plan, cache: Path) -> tuple[Artefact, bool]:
    """Return a network's artefact, and whether it was there already."""
    from fer_bench.networks.backends import prepare

    backend, job = backends.find(plan.backend), network.job
    model, images = network.plain()
    notes, seconds = [], {}
    state = prepare.state_digest(model)
    if not job.checkpoint:
        notes += prepare.ready_random(model, network.input_shape, plan.seed)
    began = time.perf_counter()
    program = prepare.export(model, images)
    seconds["export"] = time.perf_counter() - began
    calibrating = None
    if plan.precision == "int8":
        from fer_bench.measuring import task_images

        calibrating, note = task_images.calibrating(job.calibration, job.contract, network.input_shape, plan.seed)
        notes.append(note)
    versions = backends.versions(plan.backend, plan.precision)
    precision = backend.converted_as(plan.precision)
    about = [plan.backend, precision, versions, state, notes, prepare.identity(program), plan.seed]
    about += [list(images.shape), hashlib.sha256(calibrating.tobytes()).hexdigest() if calibrating is not None else ""]
    folder = cache / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]
    if (folder / MANIFEST).is_file():
        os.utime(folder)
        return Artefact.load(folder), True
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="unfinished-") as unfinished:
        work = Path(unfinished) / "artefact"
        work.mkdir()
        began, cpu_s = time.perf_counter(), time.process_time()
        artefact = backend.convert(program, work, precision, calibrating)
        seconds["convert"] = time.perf_counter() - began
        cpu_s = time.process_time() - cpu_s
        network.alive()
        prepare.write_reference(model, prepare.judged_images(network.input_shape, plan.seed), work)
        network.alive()
        artefact = replace(
            artefact,
            notes=(*artefact.notes, *notes),
            details={
                **artefact.details,
                "versions": versions,
                "state": state,
                "seconds": seconds,
                "cpu_s": cpu_s,
                "precision": precision,
            },
        )
        artefact.save()
        try:
            work.rename(folder)
        except OSError:  # another process was faster
            if not (folder / MANIFEST).is_file():
                raise
    _prune(cache)
    return replace(artefact, folder=folder), False


def _prune(cache: Path) -> None:
    """Delete the artefacts that were used longest ago, down to what the cache may hold."""
    folders = sorted((f for f in cache.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    held = 0
    for folder in folders:
        held += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if held > _CACHE_BYTES and time.time() - folder.stat().st_mtime > _SPARED_S:
            shutil.rmtree(folder, ignore_errors=True)


def settings_reported(measurements: Any) -> dict[str, Any]:
    """Return what a runtime reported of itself, or nothing."""
    return next((dict(m.details["runtime"]) for m in measurements if m.metric == "load_s" and m.values), {})
