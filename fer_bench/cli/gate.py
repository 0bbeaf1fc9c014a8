"""Commands that judge a change: gate, compare."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import (
    parse_inputs,
    parse_list,
    reason,
    registry_of,
    say,
    stop_on_sigterm,
)
from fer_bench.cli.options import Names, choice, several
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError
from fer_bench.records.masking import command_line
from fer_bench.records.store import DEFAULT_STORE

if TYPE_CHECKING:
    from fer_bench.gating.request import Report
    from fer_bench.networks.spec import Shape

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
    backend: options.Backend = "",
    input_: options.Input = None,
    classes: options.Classes = None,
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
    from fer_bench.gating.gate import gate as judge

    limits = {
        "max_params": max_params,
        "max_macs": max_macs,
        "max_activation": max_activation,
        "max_size": max_size,
        "max_latency": max_latency,
    }
    stop_on_sigterm()
    report = judge(
        parse_list(networks, models),
        baseline=baseline,
        against=against,
        candidate=candidate,
        metrics=parse_list(metrics) if metrics else "latency",
        min_effect=min_effect / 100,
        budget_s=budget_s,
        limits={name: value for name, value in limits.items() if value},
        accept=accept,
        unchanged=unchanged,
        protocol=protocol,
        device=device,
        backend=backend,
        setup=setup,
        base_python=base_python,
        declare=parse_list(declare),
        self_test=self_test,
        store=store,
        registry=registry_of(sheets),
        command=command_line(sys.argv[1:]),
        input_shape=_size(input_),
        num_classes=classes,
    )
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
    from fer_bench.gating.gate import compare as judge

    stop_on_sigterm()
    report = judge(
        base,
        candidate,
        metrics=parse_list(metrics) if metrics else "latency",
        min_effect=min_effect / 100,
        budget_s=budget_s,
        protocol=protocol,
        device=device,
        settings=settings or (),
        declare=parse_list(declare),
        store=store,
        registry=registry_of(sheets),
    )
    _conclude(report, summary, junit, json_file, inconclusive_passes=inconclusive == "pass")


def _size(input_: Names) -> "int | Shape | None":
    """Read the one size that networks are judged at."""
    sizes = parse_inputs(input_)
    if len(sizes) > 1:
        raise FerBenchError("--input: a gate judges at one size")
    return sizes[0] if sizes else None


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
