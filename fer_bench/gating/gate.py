"""Judge a change of networks, and compare two of them: the verbs of this package."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_bench.gating import against_baseline, against_results, against_revision
from fer_bench.gating.request import Report, Request, Watcher
from fer_bench.gating.revisions import Repository
from fer_bench.gating.timing import METRICS, Rule
from fer_bench.gating.verdicts import Verdict
from fer_bench.measuring.machine import load_now
from fer_bench.measuring.task import Task
from fer_bench.networks import backends
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import Shape
from fer_bench.records import plan as plans
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, RevisionError, UnknownModelError
from fer_bench.records.limits import Budget
from fer_bench.records.output import printable
from fer_bench.records.plan import Plan, parse_settings
from fer_bench.records.schema import listed
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting.results import Results

# What of a plan two sides of a comparison may differ in: all that a pass depends on, and nothing of how it is measured.
_DIFFER = tuple(
    """device batch_size input_size channels num_classes backend runtime precision layout mode cudnn threads wait pin
    alloc""".split()
)


def gate(
    networks: str | Iterable[str] = (),
    *,
    baseline: str | Path = "",
    against: str | Path = "",
    candidate: str | Path = "",
    metrics: str | Iterable[str] = "latency",
    min_effect: float = 0.05,
    budget_s: float = 180.0,
    limits: Mapping[str, str] = {},
    accept: str = "",
    unchanged: bool = False,
    protocol: str | Plan = "",
    device: str = "",
    backend: str = "",
    input_shape: int | Shape | None = None,
    num_classes: int | None = None,
    setup: str = "",
    base_python: str = "",
    declare: str | Iterable[str] = (),
    self_test: bool = False,
    store: str = DEFAULT_STORE,
    registry: Registry | None = None,
    command: str = "",
    progress: bool = True,
) -> Report:
    """Check whether a change makes networks slower or larger.

    Counts are compared exactly, and latency by alternating pairs of fresh processes.

    Args:
        networks: names; by default those of the baseline file, or of all sheets.
        baseline: a baseline file or a git revision, to compare counts alone.
        against: a git revision, a file of results or a stored run, to compare counts and times.
        candidate: what is judged, likewise; by default the working tree with its changes.
        metrics: "latency", "memory", "occupancy".
        min_effect: the least change that matters, as a share.
        budget_s: seconds for a network and metric.
        limits: "max_params", "max_macs", "max_activation", "max_size", "max_latency", as "5M" or "20ms".
        accept: why changes are let pass; a baseline file records it.
        unchanged: measure networks of unchanged code, too.
        protocol: how pairs are measured; by default one thread on one core.
        device: instead of the protocol's.
        backend: instead of the protocol's, "onnxruntime", "openvino" or another: how both sides are run.
        input_shape: side of square images, or their (C, H, W); by default each network's own.
        num_classes: by default each network's own.
        setup: a shell command that is run in each checkout first.
        base_python: the base's own ``bin/python``, with PyTorch.
        declare: differences of the environment to allow, such as "torch".
        self_test: try the gate itself, with a slower network.
        store: of the runs that are named.
        registry: has the networks; by default that of the built-in ones.
        command: that repeats this, for the report.
        progress: show it on stderr.

    Returns:
        The verdicts; ``exit_code()`` is that of ``fer-bench gate``.

    Raises:
        FerBenchError: what is asked cannot be done, or does not go together.

    Examples:
        >>> written = fb.gate("mtcnn_pnet", baseline="counts.json", accept="the first", progress=False)
        >>> verdicts = fb.gate("mtcnn_pnet", baseline="counts.json", progress=False)
        >>> verdicts.exit_code(), verdicts.to_frame()[["network", "outcome"]].to_dict("records")
        (0, [{'network': 'mtcnn_pnet', 'outcome': 'same'}])
        >>> fb.gate("mtcnn_pnet", baseline="counts.json", limits={"max_params": "1k"}, progress=False).exit_code()
        1
    """
    request = _request(
        listed(metrics),
        min_effect,
        budget_s,
        protocol,
        device,
        backend,
        size=_size(input_shape, num_classes),
        declared=listed(declare),
        models=listed(networks),
        budget=Budget.of(limits),
        accept=accept,
        unchanged=unchanged,
        setup=setup,
        base_python=base_python,
        registry=registry or built_in(),
        command=command,
    )
    told = Progress() if progress else Quiet()
    return _gated(str(baseline), str(against), str(candidate), request, store, told, self_test=self_test)


def compare(
    base: str | Path | Results,
    candidate: str | Path | Results,
    *,
    metrics: str | Iterable[str] = "latency",
    min_effect: float = 0.05,
    budget_s: float = 180.0,
    protocol: str | Plan = "",
    device: str = "",
    settings: str | Sequence[str] = (),
    declare: str | Iterable[str] = (),
    store: str = DEFAULT_STORE,
    registry: Registry | None = None,
    progress: bool = True,
) -> Report:
    """Compare two networks, two settings of one, or the results of two runs.

    Networks are measured now, by alternating pairs of fresh processes. Results are compared by what they hold.

    Args:
        base: a network, such as "resnet50" or "resnet50@mode=compile,threads=2"; a file of results, a stored run, or
            results in hand.
        candidate: the second one; verdicts describe it relative to the first. Less of a metric is better.
        metrics: "latency", "memory", "occupancy".
        min_effect: the least change that matters, as a share.
        budget_s: seconds for a metric.
        protocol: how pairs are measured; by default one thread on one core.
        device: instead of the protocol's.
        settings: further arguments of both factories, each "key=value".
        declare: differences of the environment to allow, such as "torch".
        store: of the runs that are named.
        registry: has the networks; by default that of the built-in ones.
        progress: show it on stderr.

    Raises:
        FerBenchError: one is a network and the other is not, or something is neither.

    Examples:
        >>> one, other = (fb.measure("mtcnn_pnet", "quick", metrics="static", progress=False) for _ in range(2))
        >>> verdicts = fb.compare(one, other, progress=False)
        >>> verdicts.to_frame().loc[0, ["network", "metric", "outcome"]].to_list()
        ['mtcnn_pnet', 'counts', 'same']
    """
    given = listed(settings)
    parse_settings(given)
    request = _request(
        listed(metrics),
        min_effect,
        budget_s,
        protocol,
        device,
        declared=listed(declare),
        registry=registry or built_in(),
    )
    told = Progress() if progress else Quiet()
    texts = [None if isinstance(side, Results) else str(side) for side in (base, candidate)]
    ours, theirs = (_side(text, request, given, store) if text is not None else None for text in texts)
    names = tuple(text or f"{number} results" for text, number in zip(texts, ("the first", "the second"), strict=True))
    if ours is not None and theirs is not None:
        return against_results.compare((names[0], names[1]), (ours, theirs), request, told)
    if ours is not None or theirs is not None:
        raise FerBenchError(f"{names[0]} and {names[1]} are a network and stored results: compare two of one kind")
    _refuse_plans(request)
    named = [text and name_source(text, store) for text in texts]
    results = [
        list(side) if isinstance(side, Results) else read_results(str(side), store) for side in (base, candidate)
    ]
    return against_results.against_results(
        (named[0] or names[0], named[1] or names[1]), results[0], results[1], request, told
    )


class Progress:
    """Shows progress on stderr: one line that changes on a terminal, a line for each verdict elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def stage(self, message: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\033[K{printable(message)}")
            sys.stderr.flush()

    def done(self, verdict: Verdict) -> None:
        if self._live:
            sys.stderr.write("\r\033[K")
        elif verdict.effect is not None:
            print(printable(f"{verdict.network}: {verdict.metric} {verdict.outcome}"), file=sys.stderr)  # noqa: T201
        sys.stderr.flush()


class Quiet:
    """Shows nothing."""

    def stage(self, message: str) -> None: ...
    def done(self, verdict: Verdict) -> None: ...


def _request(
    metrics: Iterable[str],
    min_effect: float,
    budget_s: float,
    protocol: str | Plan,
    device: str,
    backend: str = "",
    size: Mapping[str, Any] = {},
    **others: Any,
) -> Request:
    names = tuple(metrics)
    if not names:
        raise FerBenchError(f"--metrics names none; known: {', '.join(METRICS)}")
    if unknown := [name for name in names if name not in METRICS]:
        raise FerBenchError(f"--metrics {', '.join(unknown)} is unknown; known: {', '.join(METRICS)}")
    plan = protocol if isinstance(protocol, Plan) else plans.protocol(protocol) if protocol else plans.GATE
    if plan.wait == plans.AUTO:
        plan = plan.settled(load_now())
    plan = dataclasses.replace(plan, **size)
    return Request(
        metrics=names,
        rule=Rule(min_effect, budget_s),
        plan=_on(plan, device, backend),
        **others,
    )


def _on(plan: Plan, device: str, backend: str) -> Plan:
    """Return a plan on another device and backend, where they are given."""
    plan = dataclasses.replace(plan, device=device or plan.device, backend=backend or plan.backend)
    backends.check(plan)
    return plan


def _size(shape: int | Shape | None, classes: int | None) -> dict[str, Any]:
    """Return the fields of the plan that say at which size and with how many classes networks are judged."""
    fields: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if isinstance(shape, int):
        return fields | {"input_size": shape}
    if shape is None:
        return fields
    channels, *sides = shape
    if len(sides) != 2 or len(set(sides)) != 1:  # height and width
        raise FerBenchError(f"an input of {units.size(shape)}: a gate judges at square images, such as 3x96x96 or 96")
    return fields | {"channels": channels, "input_size": sides[0]}


def _gated(
    baseline: str,
    against: str,
    candidate: str,
    request: Request,
    store: str,
    told: Watcher,
    *,
    self_test: bool,
) -> Report:
    if sum(map(bool, (baseline, against, self_test))) > 1:
        raise FerBenchError("--baseline, --against and --self-test are three kinds of gate: name one")
    if candidate and not against and (not baseline or _is_baseline(baseline)):
        raise FerBenchError("--candidate is held against a revision or against results: name one with --against")
    if self_test:
        if request.budget.set():
            raise FerBenchError("--self-test has no limits to hold: leave --max-... out")
        return against_results.self_test(request, told)
    stored = bool(against) and _stored(against, store)
    if (request.setup or request.base_python or request.unchanged) and (stored or not (against or baseline)):
        raise FerBenchError("--setup, --base-python and --unchanged are about revisions: name one with --against")
    if stored:
        _refuse_plans(request)
    of_revision = bool(against and not stored) or bool(baseline and not _is_baseline(baseline))
    if of_revision and request.budget.max_latency is not None and (baseline or "latency" not in request.metrics):
        raise FerBenchError("--max-latency is held where the latency is measured: by --against REV --metrics latency")
    if against:
        if not stored:
            return against_revision.against_revision(against, candidate, request, told)
        later = read_results(candidate, store) if candidate else None
        names = name_source(against, store), name_source(candidate, store) if candidate else "measured now"
        return against_results.against_results(names, read_results(against, store), later, request, told)
    if baseline:
        if _is_baseline(baseline):
            return against_baseline.against_baseline(Path(baseline), request, told)
        return against_revision.against_revision(baseline, candidate, request, told, timed=False)
    return against_baseline.against_nothing(request, told)


def _refuse_plans(request: Request) -> None:
    """Refuse what stored results do not follow: they hold counts and latencies, by plans of their own."""
    if request.metrics != ("latency",):
        raise FerBenchError("stored results hold counts and latencies: --metrics is measured by --against REV")
    if request.plan != plans.GATE:
        raise FerBenchError(
            "stored results have plans of their own: leave --protocol, --device, --backend, --input and --classes out"
        )


def _is_baseline(text: str) -> bool:
    """Return whether a file is meant, and no revision."""
    return Path(text).suffix == ".json" or Path(text).is_file()


def _stored(source: str, store: str) -> bool:
    """Return whether results are meant, and no revision: a file, a folder with one, or a run of the store."""
    folder = Path(source, "results.json").exists() or Path(source, "results.jsonl").exists()
    if source.endswith((".json", ".jsonl")) or Path(source).is_file() or folder:
        return True
    with contextlib.suppress(RevisionError):
        if Repository(Path.cwd()).commit_of(source):
            return False
    return _is_results(source, store)  # of anything else git says what is wrong with it


def _side(text: str, request: Request, settings: Sequence[str], store: str) -> tuple[Task, dict[str, Any]] | None:
    """Read NAME or NAME@FIELD=VALUE,...: a network, and what of the plan is changed; None for what is stored."""
    name, at, changes = text.partition("@")
    try:
        spec = request.registry.find(name)
    except UnknownModelError:
        if at or not _is_results(text, store):
            raise
        return None
    changed = parse_settings([part.strip() for part in changes.split(",") if part.strip()])
    if at and not changed:
        raise FerBenchError(f"{text}: what differs is expected after the @, such as mode=compile")
    if others := sorted(changed.keys() - set(_DIFFER)):
        raise FerBenchError(f"{text}: two sides do not differ in {', '.join(others)}, but in {', '.join(_DIFFER)}")
    try:
        backends.check(dataclasses.replace(request.plan, **changed))
    except FerBenchError as error:
        raise FerBenchError(f"{text}: {error}") from error
    return Task(spec, request.plan, settings=tuple(settings)), changed


def _is_results(text: str, store: str) -> bool:
    try:
        name_source(text, store)
    except FerBenchError:
        return False
    return True
