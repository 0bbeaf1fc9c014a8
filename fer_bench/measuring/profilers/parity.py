"""Parity: whether a backend computes what PyTorch does, and how far it is off in units of PyTorch's own error."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_bench.networks import backends
from fer_bench.networks.backends import compare, prepare
from fer_bench.networks.backends.interface import Artefact, Prepared, Settings
from fer_bench.records.errors import FerBenchError, brief
from fer_bench.records.plan import INT8, Plan
from fer_bench.records.result import Json, Measurement

if TYPE_CHECKING:
    from fer_bench.measuring.network import Network

ERROR, AGREES = "parity_error", "parity_agrees"
_TOGETHER = 64  # images of the task that are prepared at a time
_LOOK_CLOSER = 4.0  # times PyTorch's own error, above which the layer that differs most is looked for


def measure_parity(network: "Network", plan: Plan) -> Iterator[Measurement]:
    """Run an artefact on the images that were kept with it, and on images of the task, if there are any.

    Returns:
        ``parity_error``: the root mean square error against float64 of each output on each image, output by output,
        with PyTorch's own beside it in the details. ``parity_agrees``: for each image of the task 1 where the first
        class is PyTorch's, else 0; both classes and the label are in the details.
    """
    artefact = Artefact.load(Path(network.job.artefact), verified=True)
    prepared = backends.find(plan.backend).load(artefact.path, Settings.of(plan))
    with np.load(artefact.folder / prepare.REFERENCE) as kept:
        images = kept["images"]
        eager, exact = ([kept[f"{kind}_{n}"] for n in range(len(kept.files) // 2)] for kind in ("eager", "exact"))
    details: dict[str, Json] = {
        "images": len(images),
        "kind": "generated natural images" if images.ndim == 4 else "noise",
        "checkpoint": bool(network.job.checkpoint),
        "arithmetic": prepared.reported["precision"],
    }
    ours = compare.in_batches(prepared, images, artefact.input_shape[0])
    try:
        found = compare.errors(ours, eager, exact)
    except ValueError as error:
        yield Measurement(ERROR, "", details={**details, "different": str(error)}, values=())
        return
    details |= {"outputs": len(found.backend), "eager": found.eager, "spread": found.spread, "size": found.size}
    if ratio(found) > _LOOK_CLOSER and plan.precision not in INT8:
        details["layers"] = layers(network, plan)
    yield Measurement(ERROR, "", tuple(value for output in found.backend for value in output), details=details)
    if network.job.data:
        yield from _on_task(network, prepared, artefact)


def ratio(found: compare.Errors) -> float:
    """Return the largest ratio of the backend's error to PyTorch's own, of any output."""
    return max(
        (_whole(theirs) / max(_whole(ours), 2.0**-24 * _whole(size), 1e-300))
        for theirs, ours, size in zip(found.backend, found.eager, found.size, strict=True)
    )


def _whole(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _on_task(network: "Network", prepared: Prepared, artefact: Artefact) -> Iterator[Measurement]:
    """Compare decisions with PyTorch's on images of the task, as the input contract prepares them."""
    from fer_bench.measuring import task_images

    job = network.job
    if job.contract is None:
        raise FerBenchError("images of the task need an input contract: --contract FILE")
    given = task_images.judging(job.data, job.contract, network.input_shape)
    model, _ = network.plain()
    if not job.checkpoint:
        prepare.ready_random(model, network.input_shape, job.plan.seed)
    scores: tuple[list[compare.Array], list[compare.Array]] = ([], [])
    for images in given.batches(_TOGETHER):
        outputs = (prepare.run(model, images), compare.in_batches(prepared, images, artefact.input_shape[0]))
        for kept, of_one in zip(scores, map(compare.scores, outputs), strict=True):
            if of_one is None:
                yield Measurement(AGREES, "", failure="the network gives no scores of classes to decide by")
                return
            kept.append(of_one)
        network.alive()
    eager, theirs = (np.concatenate(each).astype(np.float64) for each in scores)
    if not np.isfinite(theirs).all():
        yield Measurement(AGREES, "", failure="its scores on images of the task are no numbers (NaN or infinite)")
        return
    classes = list(job.contract.classes)
    named = len(classes) == eager.shape[1]
    first, own = theirs.argmax(axis=1), eager.argmax(axis=1)
    noise, signal = float(np.mean(np.square(theirs - eager))), float(np.mean(np.square(eager - eager.mean(axis=0))))
    yield Measurement(
        AGREES,
        "",
        tuple(int(value) for value in first == own),
        details={
            "of": given.note,
            "contract": given.contract.to_dict(),
            "images_sha256": given.digest,
            "sources": list(given.sources),
            "classes": classes if named else [],
            "labels": list(given.labels) if named else [None] * len(given),
            "eager": [int(value) for value in own],
            "backend": [int(value) for value in first],
            "kl": compare.divergences(eager, theirs),
            "margins": compare.margins(eager),
            "errors": [float(value) for value in np.abs(theirs - eager).max(axis=1)],
            "snr_db": 10 * float(np.log10(signal / noise)) if signal and noise else None,
            "checkpoint": bool(job.checkpoint),
        },
    )


def layers(network: "Network", plan: Plan, most: int = 3) -> list[Json]:
    """Return the layers whose outputs a backend is furthest off in, each with its ratio; the network is converted anew.

    Why it could not be looked at is returned in their place.
    """
    import tempfile

    try:
        model, images = network.plain()
        if not network.job.checkpoint:
            prepare.ready_random(model, network.input_shape, plan.seed)
        tapped = prepare.Tapped(model)
        judged = prepare.judged_images(network.input_shape, plan.seed)[:2]
        eager = prepare.run(tapped, judged)
        exact = prepare.run(prepare.Tapped(prepare.doubled(model)), judged, prepare.DOUBLE)
        backend = backends.find(plan.backend)
        with tempfile.TemporaryDirectory() as folder:
            program = prepare.export(tapped, images)
            artefact = backend.convert(program, Path(folder), backend.converted_as(plan.precision))
            outputs = compare.in_batches(backend.load(artefact.path, Settings.of(plan)), judged, len(images))
        found: list[tuple[float, str]] = []
        for name, theirs, ours, known in zip(tapped.names, outputs, eager, exact, strict=True):
            one = compare.errors([theirs], [ours], [known])
            found.append((ratio(one), name))
        worst = sorted(found, reverse=True)[:most]
        return [{"layer": name, "ratio": value} for value, name in worst]
    except Exception as error:  # a look for the cause must not cost the verdict
        return [{"layer": "", "failure": brief(error)}]
