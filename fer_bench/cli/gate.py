"""Commands that judge a change: gate, compare."""

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.cli import options
from fer_bench.cli.common import (
    parse_list,
    reason,
    registry_of,
    say,
    stop_on_sigterm,
)
from fer_bench.cli.options import Names, choice, several
from fer_bench.gating.verdicts import Verdict
from fer_bench.records import files
from fer_bench.records import plan as plans
from fer_bench.records.errors import FerBenchError, RevisionError, UnknownModelError
from fer_bench.records.limits import Budget
from fer_bench.records.masking import command_line
from fer_bench.records.output import printable
from fer_bench.records.plan import parse_settings
from fer_bench.records.sources import name_source, read_results
from fer_bench.records.store import DEFAULT_STORE

if TYPE_CHECKING:
    from fer_bench.gating.request import Report, Request
    from fer_bench.measuring.task import Task

# What of a plan two sides of a comparison may differ in: all that a pass depends on, and nothing of how it is measured.
_DIFFER = tuple(
    "device batch_size input_size channels num_classes precision layout mode threads wait pin alloc".split()
)

# Options of both commands.
Metrics = Annotated[Names, several("latency, memory, occupancy; by default latency.")]
MinEffect = Annotated[float, typer.Option(min=0.1, max=100.0, metavar="PCT", help="Least change that matters, in %.")]
BudgetS = Annotated[float, typer.Option(min=5.0, metavar="S", help="Seconds for a network and metric.")]
Protocol = Annotated[str, options.protocol("one thread on one core")]
Inconclusive = Annotated[str, choice(("fail", "pass"), "What an inconclusive verdict does.")]
Declared = Annotated[Names, several("Environment differences to allow, such as torch.")]
Summary = Annotated[Path | None, typer.Option(metavar="FILE.md", help="Append a summary in Markdown to this file.")]
Junit = Annotated[Path | None, typer.Option(metavar="FILE.xml", help="Write JUnit XML to this file.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE.json", help="Write all, each pass, here.")]


def gate(
    networks: options.Networks = None,
    models: options.Models = None,
    baseline: Annotated[
        str, typer.Option(metavar="FILE|REV", help="Compare counts alone, with a baseline file or a git revision.")
    ] = "",
    against: Annotated[
        str, typer.Option(metavar="REV|FILE|RUN", help="Compare counts and times, with a git revision or results.")
    ] = "",
    candidate: Annotated[
        str, typer.Option(metavar="REV|FILE|RUN", help="What is judged; by default the working tree with its changes.")
    ] = "",
    metrics: Metrics = None,
    min_effect: MinEffect = 5.0,
    budget_s: BudgetS = 180.0,
    max_params: Annotated[str, typer.Option(metavar="N", help="Most parameters, such as 5M.")] = "",
    max_macs: Annotated[str, typer.Option(metavar="N", help="Most MACs a sample, such as 0.5G.")] = "",
    max_activation: Annotated[str, typer.Option(metavar="SIZE", help="Largest activations, such as 10MiB.")] = "",
    max_size: Annotated[str, typer.Option(metavar="SIZE", help="Largest state dict, such as 20MB.")] = "",
    max_latency: Annotated[str, typer.Option(metavar="TIME", help="Longest pass, such as 20ms; it is measured.")] = "",
    accept: Annotated[str, typer.Option(metavar="REASON", help="Accept changes; a --baseline file records them.")] = "",
    unchanged: Annotated[bool, typer.Option("--unchanged", help="Measure networks of unchanged code, too.")] = False,
    inconclusive: Inconclusive = "fail",
    protocol: Protocol = "",
    device: options.Device = "",
    setup: Annotated[str, typer.Option(metavar="COMMAND", help="Run in each checkout first, to build something.")] = "",
    base_python: Annotated[str, typer.Option(metavar="FILE", help="The base's own bin/python, with PyTorch.")] = "",
    declare: Declared = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="Try the gate: itself, and a slower network.")] = False,
    sheets: options.Sheets = None,
    store: options.Store = DEFAULT_STORE,
    summary: Summary = None,
    junit: Junit = None,
    json_file: JsonFile = None,
) -> None:
    """Check whether a change makes networks slower or larger.

    Counts are compared exactly, and latency by alternating pairs of fresh processes. Networks are by default those of
    the baseline file, or of all sheets.
    """
    limits = {
        "max_params": max_params,
        "max_macs": max_macs,
        "max_activation": max_activation,
        "max_size": max_size,
        "max_latency": max_latency,
    }
    stop_on_sigterm()
    request = _request(
        metrics,
        min_effect,
        budget_s,
        protocol,
        device,
        declare,
        models=tuple(parse_list(networks, models)),
        budget=Budget.of({name: value for name, value in limits.items() if value}),
        accept=accept,
        unchanged=unchanged,
        setup=setup,
        base_python=base_python,
        registry=registry_of(sheets),
        command=command_line(sys.argv[1:]),
    )
    report = _gated(baseline, against, candidate, request, store, self_test=self_test)
    _conclude(report, summary, junit, json_file, inconclusive_passes=inconclusive == "pass")


def compare(
    base: Annotated[
        str,
        typer.Argument(metavar="A", help="A network, such as NAME@mode=compile,threads=2; a file; a stored run."),
    ],
    candidate: Annotated[str, typer.Argument(metavar="B", help="The second one; verdicts describe B relative to A.")],
    metrics: Metrics = None,
    min_effect: MinEffect = 5.0,
    budget_s: BudgetS = 180.0,
    inconclusive: Inconclusive = "fail",
    protocol: Protocol = "",
    device: options.Device = "",
    settings: options.Settings = None,
    declare: Declared = None,
    sheets: options.Sheets = None,
    store: options.Store = DEFAULT_STORE,
    summary: Summary = None,
    junit: Junit = None,
    json_file: JsonFile = None,
) -> None:
    """Compare two networks, two settings of one, or two runs.

    Two stored runs or files of results are compared by what they hold. Less of a metric is better.
    """
    from fer_bench.gating import against_results

    stop_on_sigterm()
    parse_settings(settings or [])
    request = _request(metrics, min_effect, budget_s, protocol, device, declare, registry=registry_of(sheets))
    ours, theirs = (_side(side, request, tuple(settings or ()), store) for side in (base, candidate))
    if ours is not None and theirs is not None:
        report = against_results.compare((base, candidate), (ours, theirs), request, _Told())
    elif ours is not None or theirs is not None:
        raise FerBenchError(f"{base} and {candidate} are a network and stored results: compare two of one kind")
    else:
        _refuse_plans(request)
        results = [read_results(side, store) for side in (base, candidate)]
        told = name_source(base, store), name_source(candidate, store)
        report = against_results.against_results(told, results[0], results[1], request, _Told())
    _conclude(report, summary, junit, json_file, inconclusive_passes=inconclusive == "pass")


def _request(
    metrics: Names,
    min_effect: float,
    budget_s: float,
    protocol: str,
    device: str,
    declared: Names,
    **others: Any,
) -> "Request":
    from fer_bench.gating.request import Request
    from fer_bench.gating.timing import METRICS, Rule

    names = tuple(parse_list(metrics)) if metrics else ("latency",)
    if unknown := [name for name in names if name not in METRICS]:
        raise FerBenchError(f"--metrics {', '.join(unknown)} is unknown; known: {', '.join(METRICS)}")
    plan = plans.protocol(protocol) if protocol else plans.GATE
    if plan.wait == plans.AUTO:
        from fer_bench.measuring.machine import load_now

        plan = plan.settled(load_now())
    return Request(
        metrics=names,
        rule=Rule(min_effect / 100, budget_s),
        plan=dataclasses.replace(plan, device=device) if device else plan,
        declared=tuple(parse_list(declared)),
        **others,
    )


class _Told:
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
            say(printable(f"{verdict.network}: {verdict.metric} {verdict.outcome}"), err=True)
        sys.stderr.flush()


def _gated(baseline: str, against: str, candidate: str, request: "Request", store: str, *, self_test: bool) -> "Report":
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


def _refuse_plans(request: "Request") -> None:
    """Refuse what stored results do not follow: they hold counts and latencies, by plans of their own."""
    if request.metrics != ("latency",):
        raise FerBenchError("stored results hold counts and latencies: --metrics is measured by --against REV")
    if request.plan != plans.GATE:
        raise FerBenchError("stored results have plans of their own: leave --protocol and --device out")


def _is_baseline(text: str) -> bool:
    """Return whether a file is meant, and no revision."""
    return Path(text).suffix == ".json" or Path(text).is_file()


def _stored(source: str, store: str) -> bool:
    """Return whether results are meant, and no revision: a file, a folder with one, or a run of the store."""
    folder = Path(source, "results.json").exists() or Path(source, "results.jsonl").exists()
    if source.endswith((".json", ".jsonl")) or Path(source).is_file() or folder:
        return True
    from fer_bench.gating.revisions import Repository

    with contextlib.suppress(RevisionError):
        if Repository(Path.cwd()).commit_of(source):
            return False
    return _is_results(source, store)  # of anything else git says what is wrong with it


def _conclude(
    report: "Report", summary: Path | None, junit: Path | None, json_file: Path | None, *, inconclusive_passes: bool
) -> None:
    """Print the report, write the files asked for, and end with the exit code."""
    from fer_bench.gating import report as telling

    report = dataclasses.replace(report, settings={**report.settings, "command": command_line(sys.argv[1:])})
    say(telling.as_text(report, inconclusive_passes=inconclusive_passes), end="")
    failures = []
    for path, write, tell in (
        (summary, files.append, telling.as_markdown),
        (junit, files.write, telling.as_junit),
        (json_file, files.write, telling.as_json),
    ):
        try:
            if path is not None:
                write(path, tell(report, inconclusive_passes=inconclusive_passes))
        except FerBenchError as error:  # which costs no other file
            failures.append(reason(error))
    if failures:
        raise FerBenchError("; ".join(failures))
    raise typer.Exit(report.exit_code(inconclusive_passes=inconclusive_passes))


def _side(text: str, request: "Request", settings: Sequence[str], store: str) -> "tuple[Task, dict[str, Any]] | None":
    """Read NAME or NAME@FIELD=VALUE,...: a network, and what of the plan is changed; None for what is stored."""
    from fer_bench.measuring.task import Task

    name, at, changes = text.partition("@")
    try:
        spec = request.registry.find(name)
    except UnknownModelError:
        if at or not _is_results(text, store):
            raise
        return None
    changed = parse_settings(parse_list([changes] if changes else None))
    if at and not changed:
        raise FerBenchError(f"{text}: what differs is expected after the @, such as mode=compile")
    if others := sorted(changed.keys() - set(_DIFFER)):
        raise FerBenchError(f"{text}: two sides do not differ in {', '.join(others)}, but in {', '.join(_DIFFER)}")
    if changed.get("wait") == plans.AUTO:
        raise FerBenchError(f"{text}: a side has one wait policy, active or passive")
    try:
        dataclasses.replace(request.plan, **changed)
    except FerBenchError as error:
        raise FerBenchError(f"{text}: {error}") from error
    return Task(spec, request.plan, settings=tuple(settings)), changed


def _is_results(text: str, store: str) -> bool:
    try:
        name_source(text, store)
    except FerBenchError:
        return False
    return True
