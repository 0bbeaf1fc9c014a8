"""Commands that judge a change: gate, compare."""

import contextlib
import dataclasses
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.cli.common import (
    Debug,
    Settings,
    SheetsOption,
    StoreOption,
    complain,
    name_source,
    parse_list,
    parse_settings,
    read_results,
    reason,
    write_text,
)
from fer_bench.gating.verdicts import ERROR, Report, Verdict
from fer_bench.networks import registry
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, RevisionError
from fer_bench.records.limits import Budget
from fer_bench.records.store import DEFAULT_STORE

if TYPE_CHECKING:
    from fer_bench.gating.request import Request
    from fer_bench.measuring.task import Task
    from fer_bench.records.plan import Plan

CODES = """Exit codes: 0 no network is worse, 1 one is worse or counts something else, 2 wrong usage, 3 something could
not be judged, 4 inconclusive, 5 the sides cannot be compared, 130 interrupted."""


# What of a plan two sides of a comparison may differ in: all that a pass depends on, and nothing of how it is measured.
_DIFFER = tuple("device batch_size input_size channels num_classes precision layout mode threads pin alloc".split())


class Inconclusive(StrEnum):
    """What becomes of a verdict that nothing could be told."""

    fail = "fail"
    pass_ = "pass"  # noqa: S105  # the word on the command line


Models = Annotated[
    str,
    typer.Option(
        "--models", metavar="NAMES", help="Comma-separated names; by default a baseline's, or all of the sheets."
    ),
]
Metrics = Annotated[
    str, typer.Option("--metric", metavar="LIST", help="latency, memory or occupancy, comma-separated.")
]
MinEffect = Annotated[
    float, typer.Option("--min-effect", min=0.1, max=100.0, metavar="PCT", help="Smallest change that matters, in %.")
]
BudgetS = Annotated[
    float,
    typer.Option("--budget-s", min=5.0, metavar="N", help="Seconds for one network and metric; three pairs at least."),
]
Protocol = Annotated[
    str, typer.Option(help="How networks run: quick, edge, ..., or a TOML file; by default one thread on one core.")
]
Device = Annotated[str, typer.Option(help="cpu or cuda; by default the protocol's.")]
InconclusiveOption = Annotated[
    Inconclusive, typer.Option("--inconclusive", help="Whether an inconclusive verdict fails.")
]
Declared = Annotated[
    str, typer.Option("--declare", metavar="LIST", help="What of the environment differs on purpose, such as torch.")
]
Summary = Annotated[Path | None, typer.Option(metavar="FILE.md", help="Add a summary in Markdown to this file.")]
Junit = Annotated[Path | None, typer.Option(metavar="FILE.xml", help="Write JUnit XML into this file.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE.json", help="Write all, each pass, into this file.")
]


def gate(
    baseline: Annotated[
        str, typer.Option(metavar="FILE|REV", help="Counts alone, against a baseline file or a git revision.")
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            metavar="REV|FILE|RUN", help="Counts and times, against a git revision, a file of results or a stored run."
        ),
    ] = "",
    candidate: Annotated[
        str, typer.Option(metavar="REV|FILE|RUN", help="What is judged; by default the working tree with its changes.")
    ] = "",
    models: Models = "",
    metric: Metrics = "latency",
    min_effect: MinEffect = 5.0,
    budget_s: BudgetS = 180.0,
    max_params: Annotated[str, typer.Option(metavar="N", help="Most parameters, such as 5M.")] = "",
    max_macs: Annotated[str, typer.Option(metavar="N", help="Most MACs a sample, such as 0.5G.")] = "",
    max_activation: Annotated[str, typer.Option(metavar="SIZE", help="Largest activations, such as 10MiB.")] = "",
    max_size: Annotated[str, typer.Option(metavar="SIZE", help="Largest state dict, such as 20MB.")] = "",
    max_latency: Annotated[str, typer.Option(metavar="TIME", help="Longest pass, such as 20ms; it is measured.")] = "",
    accept: Annotated[
        str,
        typer.Option(metavar="REASON", help="Let a change pass; with --baseline FILE, keep it and the reason there."),
    ] = "",
    unchanged: Annotated[
        bool, typer.Option("--unchanged", help="Measure networks whose code is the same, too.")
    ] = False,
    inconclusive: InconclusiveOption = Inconclusive.fail,
    protocol: Protocol = "",
    device: Device = "",
    setup: Annotated[str, typer.Option(metavar="COMMAND", help="Run in each checkout first, to build something.")] = "",
    base_python: Annotated[
        str, typer.Option(metavar="FILE", help="The base's own environment: its bin/python, with PyTorch.")
    ] = "",
    declare: Declared = "",
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Try the gate here: a network against itself, and made slower.")
    ] = False,
    sheets: SheetsOption = None,
    store: StoreOption = DEFAULT_STORE,
    summary: Summary = None,
    junit: Junit = None,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Judge a change: what networks count, exactly, and what they take, by pairs of processes measured now."""

    def judged() -> Report:
        from fer_bench.gating.request import Request
        from fer_bench.gating.timing import Rule

        registry.use_sheets(sheets or [])
        limits = {
            "max_params": max_params,
            "max_macs": max_macs,
            "max_activation": max_activation,
            "max_size": max_size,
            "max_latency": max_latency,
        }
        request = Request(
            models=tuple(parse_list(models)),
            metrics=_metrics(metric),
            rule=Rule(min_effect / 100, budget_s),
            plan=_plan(protocol, device),
            budget=Budget.of({name: value for name, value in limits.items() if value}),
            accept=accept,
            unchanged=unchanged,
            setup=setup,
            base_python=base_python,
            declared=tuple(parse_list(declare)),
            registry=registry.current(),
            command=_command(),
        )
        return _gated(baseline, against, candidate, request, store, self_test=self_test)

    _judge(judged, inconclusive, summary, junit, json_file, debug=debug)


gate.__doc__ = f"{gate.__doc__}\n\n    {' '.join(CODES.split())}"


def compare(
    base: Annotated[
        str, typer.Argument(metavar="A", help="A network, such as NAME@mode=compile,threads=2; a file; a stored run.")
    ],
    candidate: Annotated[str, typer.Argument(metavar="B", help="Likewise; what is said is said of B.")],
    metric: Metrics = "latency",
    min_effect: MinEffect = 5.0,
    budget_s: BudgetS = 180.0,
    inconclusive: InconclusiveOption = Inconclusive.fail,
    protocol: Protocol = "",
    device: Device = "",
    settings: Settings = None,
    declare: Declared = "",
    sheets: SheetsOption = None,
    store: StoreOption = DEFAULT_STORE,
    summary: Summary = None,
    junit: Junit = None,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Compare two networks, two ways to run one, or two stored runs: better is less of the metric."""

    def judged() -> Report:
        from fer_bench.gating import against_results
        from fer_bench.gating.request import Request
        from fer_bench.gating.timing import Rule

        registry.use_sheets(sheets or [])
        parse_settings(settings)
        request = Request(
            metrics=_metrics(metric),
            rule=Rule(min_effect / 100, budget_s),
            plan=_plan(protocol, device),
            declared=tuple(parse_list(declare)),
        )
        ours, theirs = (_side(side, request.plan, tuple(settings or ()), store) for side in (base, candidate))
        if ours is not None and theirs is not None:
            return against_results.compare((base, candidate), (ours, theirs), request, _Told())
        if ours is not None or theirs is not None:
            raise FerBenchError(f"{base} and {candidate} are a network and stored results: compare two of one kind")
        _refuse_plans(request)
        results = [read_results(side, store) for side in (base, candidate)]
        told = name_source(base, store), name_source(candidate, store)
        return against_results.against_results(told, results[0], results[1], request, _Told())

    _judge(judged, inconclusive, summary, junit, json_file, debug=debug)


compare.__doc__ = f"{compare.__doc__}\n\n    {' '.join(CODES.split())}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(gate)
    app.command()(compare)


class _Told:
    """Says on stderr how it goes on: one line that changes on a terminal, a line each verdict elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def stage(self, message: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\033[K{units.printable(message)}")
            sys.stderr.flush()

    def done(self, verdict: Verdict) -> None:
        if self._live:
            sys.stderr.write("\r\033[K")
        elif verdict.effect is not None:
            sys.stderr.write(units.printable(f"{verdict.network}: {verdict.metric} {verdict.outcome}") + "\n")
        sys.stderr.flush()


def _gated(baseline: str, against: str, candidate: str, request: "Request", store: str, *, self_test: bool) -> Report:
    from fer_bench.gating import against_baseline, against_results, against_revision

    told = _Told()
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
        raise FerBenchError("--max-latency is held where the latency is measured: by --against REV --metric latency")
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


def _refuse_plans(request: "Request") -> None:
    """Refuse what stored results do not follow: they hold counts and latencies, by plans of their own."""
    from fer_bench.records.plan import GATE

    if request.metrics != ("latency",):
        raise FerBenchError("stored results hold counts and latencies: --metric is measured by --against REV")
    if request.plan != GATE:
        raise FerBenchError("stored results have plans of their own: leave --protocol and --device out")


def _is_baseline(text: str) -> bool:
    """Tell whether a file is meant, and no revision."""
    return Path(text).suffix == ".json" or Path(text).is_file()


def _stored(source: str, store: str) -> bool:
    """Tell whether results are meant, and no revision: a file, a folder with one, or a run that the store has."""
    folder = Path(source, "results.json").exists() or Path(source, "results.jsonl").exists()
    if source.endswith((".json", ".jsonl")) or Path(source).is_file() or folder:
        return True
    from fer_bench.gating.revisions import Repository

    with contextlib.suppress(RevisionError):
        if Repository(Path.cwd()).commit_of(source):
            return False
    return _is_run(source, store)  # of anything else git says what is wrong with it


def _judge(
    judged: Callable[[], Report],
    inconclusive: Inconclusive,
    summary: Path | None,
    junit: Path | None,
    json_file: Path | None,
    *,
    debug: bool,
) -> None:
    """Judge, tell, write what was asked for, end with the exit code; whatever fails is an error, never a pass."""
    from fer_bench.gating import report as telling

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job of CI's ends as by Ctrl-C
    passes = inconclusive is Inconclusive.pass_
    try:
        report = judged()
        report = dataclasses.replace(report, settings={**report.settings, "command": _command()})
        typer.echo(telling.as_text(report, inconclusive_passes=passes), nl=False)
        failures = []
        for path, write, tell in (
            (summary, _append, telling.as_markdown),
            (junit, write_text, telling.as_junit),
            (json_file, write_text, telling.as_json),
        ):
            try:
                if path is not None:
                    write(path, tell(report, inconclusive_passes=passes))
            except (OSError, FerBenchError) as error:  # which costs no other file
                failures.append(reason(error))
        if failures:
            raise FerBenchError("; ".join(failures))
    except Exception as error:
        if debug:
            traceback.print_exc()
        raise typer.Exit(complain(reason(error), ERROR)) from error
    raise typer.Exit(report.exit_code(inconclusive_passes=passes))


def _command() -> str:
    """Return the command line, as the user would type it again."""
    return shlex.join(["fer-bench", *sys.argv[1:]])


def _append(path: Path, text: str) -> None:
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, f"{before}\n{text}" if before else text)


def _metrics(text: str) -> tuple[str, ...]:
    from fer_bench.gating.timing import METRICS

    metrics = parse_list(text)
    if not metrics:
        raise FerBenchError(f"--metric names none; known: {', '.join(METRICS)}")
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise FerBenchError(f"--metric {', '.join(unknown)} is unknown; known: {', '.join(METRICS)}")
    return tuple(metrics)


def _plan(name: str, device: str) -> "Plan":
    from fer_bench.records import plan
    from fer_bench.records.plan import GATE

    chosen = plan.protocol(name) if name else GATE
    return dataclasses.replace(chosen, device=device) if device else chosen


def _side(text: str, chosen: "Plan", settings: Sequence[str], store: str) -> "tuple[Task, dict[str, Any]] | None":
    """Read NAME or NAME@FIELD=VALUE,...: a network, and what of the plan is changed; None for what is stored."""
    from fer_bench.measuring.task import Task
    from fer_bench.records.errors import UnknownModelError

    name, at, changes = text.partition("@")
    try:
        spec = registry.find(name)
    except UnknownModelError:
        if at or not (Path(text).exists() or text.endswith((".json", ".jsonl")) or _is_run(text, store)):
            raise
        return None
    changed = parse_settings(parse_list(changes))
    if at and not changed:
        raise FerBenchError(f"{text}: what differs is expected after the @, such as mode=compile")
    if others := sorted(changed.keys() - set(_DIFFER)):
        raise FerBenchError(f"{text}: two sides do not differ in {', '.join(others)}, but in {', '.join(_DIFFER)}")
    try:
        dataclasses.replace(chosen, **changed)
    except TypeError as error:
        raise FerBenchError(f"{text}: a value is of the wrong type, such as text where a number belongs") from error
    return Task(spec, chosen, settings=tuple(settings)), changed


def _is_run(text: str, store: str) -> bool:
    try:
        name_source(text, store)
    except FerBenchError:
        return False
    return True
