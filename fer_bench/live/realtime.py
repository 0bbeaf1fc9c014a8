"""Run the real-time system: a source of frames, a detector, a network, timed per stage; and write down what it did."""

import contextlib
import dataclasses
import gc
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.measuring import environment, machine
from fer_bench.measuring.measure import opened, plan_of
from fer_bench.measuring.task import Task
from fer_bench.networks.registry import Registry, built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import REALTIME, Plan
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.records.schema import listed
from fer_bench.reporting.analysis.live import REALTIME_FPS
from fer_bench.reporting.results import Results

if TYPE_CHECKING:
    from torch import nn

    from fer_bench.live.faces import Detector
    from fer_bench.live.pipeline import Done, Pipeline
    from fer_bench.live.sources import Source
    from fer_bench.networks.contract import InputContract
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.store import Store

SOURCE, MAX = "source", "max"  # rates that are words
BUDGET_S = 1 / REALTIME_FPS
MOST_DROPPED = 0.01
_USUAL_SIZE = (360, 640)  # height and width of the picture to warm up on, where a source has none to be read


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run is at, for whoever shows it."""

    seconds: float
    counts: dict[str, int]
    last: "Done"


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for, beside the network.

    Attributes:
        source: see ``sources.open_source``.
        detector: see ``detectors.make_detector``.
        rate: "source", the source's own times; "max", a frame whenever the worker is free; or frames a second.
        policy: see ``intake.Policy``; "" is block at the rate "max" and latest otherwise.
        detect_every: the detector runs on each so many frames.
        seconds: after which the run ends; None at the end of the source.
        budget_s: from capture to result.
        most_dropped: share of dropped frames that is accepted.
        min_face: side of the smallest face in pixels.
        least_probability: below it a label is "uncertain".
        save: an annotated video (.mp4, .avi, .mkv), or a folder of annotated images.
        rows: a CSV file of all frames.
    """

    source: str
    detector: str = "mtcnn"
    rate: str = SOURCE
    policy: str = ""
    detect_every: int = 1
    seconds: float | None = None
    budget_s: float = BUDGET_S
    most_dropped: float = MOST_DROPPED
    min_face: int = 20
    least_probability: float = 0.0
    save: str = ""
    rows: str = ""

    def __post_init__(self) -> None:
        if self.rate not in (SOURCE, MAX) and not (_number(self.rate) or 0.0) > 0:
            raise FerBenchError(f"rate {self.rate!r} is none; try: source, max, or frames a second such as 24")
        for name, value, least in (
            ("detect_every", self.detect_every, 1),
            ("min_face", self.min_face, 1),
            ("seconds", self.seconds if self.seconds is not None else 1, 1e-3),
            ("budget_s", self.budget_s, 1e-6),
        ):
            if not value >= least:
                raise FerBenchError(f"{name} is {value}; try: {least:g} or more")
        for name, share in (("most_dropped", self.most_dropped), ("least_probability", self.least_probability)):
            if not 0 <= share <= 1:
                raise FerBenchError(f"{name} is {share}; try: a share from 0 to 1")


def realtime(
    networks: str | Sequence[str],
    source: str,
    *,
    checkpoint: str | Path = "",
    contract: "str | Path | InputContract | None" = None,
    store: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    registry: Registry | None = None,
    **asked: Any,
) -> Results:
    """Run camera or video -> detector -> crop -> expression label, and time each stage of each frame.

    Latency is from capture to result. Exposure, transfer and display lie outside: it is not glass-to-glass.
    Networks run one after the other, in this process. No pixel is kept unless ``save`` says where.

    Args:
        networks: names, as ``find`` takes them.
        source: an image, a video, a folder of images, "camera:0" or "test:640x360@30".
        checkpoint: a file of weights, for one network; without, labels are meaningless and only times count.
        contract: "sheet", a file, or an input contract; by default what is known of the checkpoint.
        store: URL or path of a store that keeps the record, a piece each second.
        device: "cpu" or "cuda", of network and detector.
        threads: of PyTorch's operators; None for PyTorch's choice.
        registry: has the names; by default that of the built-in networks.
        **asked: of ``Asked``: detector ("mtcnn", "haar", "yunet:FILE.onnx", "whole", "boxes:FILE.csv"), rate ("source",
            "max" or a number), policy ("latest", "queue:4", "block"), detect_every, seconds, budget_s, most_dropped,
            min_face, least_probability, save, rows.

    Returns:
        A result for each network; ``fer_bench.reporting.analysis.live.analyse`` works out its verdicts.

    Raises:
        FerBenchError: a network, source, detector, policy or rate is none, or a file cannot be read or written.

    Examples:
        >>> results = fb.realtime("mini_xception", "test:64x48@30:20", detector="whole", rate="max", contract="sheet")
        >>> len(results[0].samples("live.latency_s")[0])
        20
    """
    known = [field.name for field in dataclasses.fields(Asked)]
    if unknown := [name for name in asked if name not in known]:
        raise FerBenchError(f"realtime has no {', '.join(unknown)}; it has {', '.join(known[1:])}")
    registry = registry or built_in()
    wanted = Asked(source, **{**asked, "rate": str(asked.get("rate", SOURCE))})
    specs = [registry.find(name) for name in listed(networks)]
    results = []
    with opened(store) as kept:
        for run in runs(specs, wanted, kept, checkpoint, contract, device=device, threads=threads):
            results.append(run.result)
            if run.interrupted:
                raise KeyboardInterrupt
    return Results(results, registry)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended: by itself, or by Ctrl-C."""

    run_id: str
    result: Result
    interrupted: bool
    licences: tuple[str, ...]


def runs(
    specs: "Sequence[ModelSpec]",
    asked: Asked,
    store: "Store",
    checkpoint: str | Path = "",
    contract: "str | Path | InputContract | None" = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    watch: Watch = lambda progress: None,
) -> Iterator[Ran]:
    """Run one network after the other on the same source; after Ctrl-C none follows."""
    if not specs:
        raise FerBenchError("no network is given; try: --models mini_xception")
    if checkpoint and len(specs) > 1:
        raise FerBenchError("--checkpoint is one network's; try: one name")
    if len(specs) > 1 and (asked.save or asked.rows):
        raise FerBenchError("--save and --rows are of one network; try: one name")
    plan = plan_of(Plan(REALTIME, metrics=(REALTIME,)), device, threads=threads)
    for spec in specs:
        ran = _run(spec, asked, plan, store, checkpoint, contract, watch)
        yield ran
        if ran.interrupted:
            return


def _run(
    spec: "ModelSpec",
    asked: Asked,
    plan: Plan,
    store: "Store",
    checkpoint: str | Path,
    contract: "str | Path | InputContract | None",
    watch: Watch,
) -> Ran:
    from fer_bench.live.detectors import make_detector
    from fer_bench.live.pipeline import WARM_UP_PASSES, Pipeline
    from fer_bench.live.sources import open_source
    from fer_bench.live.writers import open_rows, open_writer
    from fer_bench.measuring.network import apply_plan_settings
    from fer_bench.networks.weights import SHEET, input_contract, weights_file

    began, started_at = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    allocator = apply_plan_settings(plan)
    weights = weights_file(checkpoint, spec.name)
    taken = input_contract(spec, weights or None, contract if contract is not None or weights else SHEET)
    model, terms = _network(spec, taken, weights, plan.device)
    source = open_source(asked.source)
    detector = make_detector(asked.detector, min_face=asked.min_face, device=plan.device)
    licences = tuple(text for text in (detector.licence, terms) if text)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(open_writer(asked.save, source.fps)) if asked.save else None
        pipeline = Pipeline(detector, model, taken, plan.device, asked.detect_every, asked.least_probability, writer)
        rows = stack.enter_context(open_rows(asked.rows)) if asked.rows else None
        size = source.size or _USUAL_SIZE
        warm_up_s = pipeline.warm_up(size)
        task = Task(spec, dataclasses.replace(plan, metrics=("latency",)), taken.shape, checkpoint=weights)
        subject = dataclasses.replace(task.subject(taken.shape), num_classes=len(taken.classes))
        result = Result(subject, plan, environment.describe(plan.device, allocator), (), started_at)
        run_id = store.begin(uuid.uuid4().hex, f"{REALTIME}: {spec.name} on {source.name}")
        store.save(run_id, spec.name, result)
        with store.held(run_id):
            settings = _settings(asked, source, detector, pipeline, weights)
            settings["warm_up"] = {"passes": WARM_UP_PASSES, "size": list(size), "seconds": warm_up_s}
            measured, interrupted = _measure(
                pipeline, source, asked, settings, lambda piece: store.append(run_id, spec.name, piece), rows, watch
            )
        result = dataclasses.replace(
            result,
            measurements=tuple(measured),
            wall_s=time.perf_counter() - began,
            passes_s=sum(value for m in measured if m.metric == "live.service_s" for value in m.values),
        )
        store.save(run_id, spec.name, result)  # in one piece, in place of the many
        store.finish(run_id)
    return Ran(run_id, result, interrupted, licences)


def _network(spec: "ModelSpec", taken: "InputContract", weights: str, device: str) -> "tuple[nn.Module, str]":
    """Return the network, and the terms of its weights."""
    import torch

    from fer_bench.networks import build as building
    from fer_bench.networks.checkpoints import load_checkpoint

    torch.manual_seed(0)
    build = building.Build(num_classes=len(taken.classes), input_shape=taken.shape)
    model = building.create(spec, build, device)
    terms = load_checkpoint(model, weights, spec).terms if weights else ""
    return model.requires_grad_(False), terms


def _settings(
    asked: Asked, source: "Source", detector: "Detector", pipeline: "Pipeline", weights: str
) -> dict[str, Json]:
    """Return what a record says of the run: all that its numbers depend on, and no folder of the user's."""
    paced = asked.rate != MAX and (asked.rate != SOURCE or source.fps is not None)
    taken = pipeline.contract
    warnings = []
    if not weights:
        warnings.append("no weights were loaded: the labels mean nothing, only the times count")
    if taken.crop.detector not in ("none", detector.name.partition(" ")[0].partition(",")[0]):
        warnings.append(f"the contract's crop is of boxes of {taken.crop.detector}, and {detector.name} finds others")
    return {
        "source": source.name,
        "source_kind": source.kind,
        "fps": _number(asked.rate) or (source.fps if paced else None),
        "rate": asked.rate,
        "policy": asked.policy or ("latest" if paced else "block"),
        "detector": detector.name,
        "detector_licence": detector.licence,
        "detector_stages": list(detector.stages),
        "detect_every": asked.detect_every,
        "budget_s": asked.budget_s,
        "most_dropped": asked.most_dropped,
        "least_probability": asked.least_probability,
        "contract": json.loads(taken.to_json()),  # with lists, as it is read again
        "annotated": bool(asked.save),
        "captured": "the source's times" if source.kind != "camera" else "the kernel's time of capture",
        "warnings": warnings,
    }


def _measure(
    pipeline: "Pipeline",
    source: "Source",
    asked: Asked,
    settings: dict[str, Json],
    save: Callable[[Sequence[Measurement]], None],
    rows: "Callable[[Done], None] | None",
    watch: Watch,
) -> tuple[list[Measurement], bool]:
    """Bring all frames through the pipeline; return the measurements, and whether Ctrl-C ended it."""
    from fer_bench.live.intake import Intake, Policy
    from fer_bench.live.ledger import Ledger
    from fer_bench.measuring.profilers.energy import find_counter
    from fer_bench.measuring.profilers.occupancy import System

    paced = settings["fps"] is not None
    if not paced and settings["policy"] != "block":
        raise FerBenchError(
            f"policy {settings['policy']} needs times at which frames come, and at the rate {asked.rate} "
            f"{source.name} has none; try: block, or a rate such as 24"
        )
    policy = Policy.of(settings["policy"])
    counter = find_counter(pipeline.device)
    idle = _idle(counter)
    fps = _number(asked.rate)
    intake = Intake(source.frames(), policy, fps, paced, asked.seconds, threaded=paced)
    ledger = Ledger(settings, save, System())
    labels: dict[str, int] = {}
    skipped = errors = 0
    interrupted, load = False, machine.LoadMonitor()
    gc.collect()
    joules = counter.joules() if not isinstance(counter, str) else 0.0
    ledger.start()
    intake.start()

    def counts() -> dict[str, int]:
        return {
            "offered": intake.offered,
            "dropped": len(intake.dropped_at_s),
            "dropped_by_driver": intake.by_driver,
            "skipped": skipped,
            "errors": errors,
        }

    def now_s() -> float:
        return intake.clock() - intake.start_s

    try:
        while (taken := intake.take()) is not None:
            done = pipeline.process(taken, now_s)
            errors += done.status == "error"
            skipped += done.box_age_s > 0
            if done.status != "error":
                ledger.add(done)
            for face in done.faces:
                labels[face.label] = labels.get(face.label, 0) + 1
            if rows is not None:
                rows(done)
            ledger.tick(counts(), intake.dropped_at_s)
            watch(Progress(now_s(), counts(), done))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        intake.close()
    window_s = now_s()
    if not intake.offered and not interrupted:
        raise FerBenchError(f"{source.name} gave no frame; try: a source with frames, or more --seconds")
    ledger.tick(counts(), intake.dropped_at_s, last=True)
    warnings = [*settings["warnings"], *source.warnings]
    settings = {**settings, "warnings": warnings, "labels": labels, "interrupted": interrupted, **load.report()}
    measured = ledger.close(settings)
    number = sum(len(m.values) for m in measured if m.metric == "live.frame")
    if isinstance(counter, str):
        return [*measured, Measurement("energy_j", "J", details={"source": "none", "reason": counter})], interrupted
    details = {
        "source": counter.source,
        "window_s": window_s,
        "images": max(1, number),
        "idle_w": idle,
        "idle_joules": idle * window_s,
    }
    return [*measured, Measurement("energy_j", "J", (counter.joules() - joules,), details=details)], interrupted


_IDLE_S = 2.0  # as in ``profilers.energy``


def _idle(counter: Any) -> float:
    """Return the watts of the idle device, with all networks in place; 0 where there is no counter."""
    if isinstance(counter, str):
        return 0.0
    joules, start = counter.joules(), time.perf_counter()
    time.sleep(_IDLE_S)
    return float((counter.joules() - joules) / (time.perf_counter() - start))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
