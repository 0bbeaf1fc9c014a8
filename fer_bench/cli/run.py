"""Measure networks."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.cli import options
from fer_bench.cli.common import (
    complain,
    fail_if,
    find_specs,
    named,
    parse_inputs,
    parse_list,
    print_tables,
    registry_of,
    say,
    settings_with,
    stop_on_sigterm,
)
from fer_bench.cli.options import Names, several
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.exit_codes import OK
from fer_bench.records.plan import METRICS
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting import tables as reports
from fer_bench.reporting.render.text import terminal_width
from fer_bench.reporting.summary import summary

if TYPE_CHECKING:
    from fer_bench.measuring.runner import Outcome
    from fer_bench.measuring.task import Task
    from fer_bench.networks.registry import Registry

# What `run` prints of the report, where it was measured; the rest is for `fer-bench report`.
_WIDTH = 80  # of the summary where there is no terminal
_MANY = 100  # measurements, above which `run` asks
_HEADLINES = ("efficiency", "deployment", "training", "occupancy_training", "occupancy_testing", "energy", "coldstart")


def run(
    networks: options.Networks = None,
    models: options.Models = None,
    protocol: Annotated[str, options.protocol("quick on a CPU, safavi2023 on a GPU")] = "",
    metrics: Annotated[Names, several(f"{', '.join(METRICS)}; by default the protocol's.")] = None,
    device: options.Device = "",
    batch: Annotated[Names, several("Images in a pass; several, as 1,2,4,8, are a sweep.")] = None,
    threads: Annotated[Names, several("CPU threads; by default one a core.")] = None,
    wait: Annotated[
        Names, several("Waiting threads spin or sleep: active, passive; by default by the load (quick, training).")
    ] = None,
    input_: options.Input = None,
    own_size: Annotated[
        bool, typer.Option("--own-size", help="With --input: what cannot run at it runs at its own size.")
    ] = False,
    precision: Annotated[
        Names, several("fp32, tf32, default, bf16, fp16, int8, int8-dynamic; by default the protocol's.")
    ] = None,
    layout: Annotated[Names, several("nchw, nhwc (channels_last); by default the protocol's.")] = None,
    mode: Annotated[Names, several("eager, compile; by default the protocol's.")] = None,
    cudnn: Annotated[Names, several("Convolutions on a GPU: heuristics, benchmark; by default heuristics.")] = None,
    backend: Annotated[
        Names,
        several("torch, onnxruntime, openvino, aoti, executorch, litert; several are compared, each at its best."),
    ] = None,
    runtime: Annotated[Names, several("A backend's settings: controlled (by default), or shipped: its own.")] = None,
    calibrate: options.Calibrate = "",
    data: options.Judged = "",
    contract: options.Contract = "",
    alloc: Annotated[Names, several("Freed memory: keep, system, or both; by default keep.")] = None,
    rate: Annotated[Names, several("Passes a second on a clock, as 24; by default back to back.")] = None,
    classes: options.Classes = None,
    runs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Timed passes of a process; by default 300.")
    ] = None,
    processes: Annotated[int | None, typer.Option(metavar="N", min=1, help="Most processes for the latency.")] = None,
    max_time: Annotated[float | None, typer.Option(min=0.0, metavar="S", help="Most seconds of timed passes.")] = None,
    inputs: options.Inputs = "",
    settings: options.Settings = None,
    checkpoint: Annotated[str, typer.Option(metavar="FILE", help="Weights of one network, or wheel:PACKAGE.")] = "",
    time_limit: Annotated[
        float | None,
        typer.Option(min=1.0, metavar="S", help="Kill a process that was silent for so many seconds; by default 600."),
    ] = None,
    store: options.Store = DEFAULT_STORE,
    resume: Annotated[str, typer.Option(metavar="RUN", help="Continue this run, even if started elsewhere.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of continuing a run.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write all tables here, too.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print the full tables, and not a summary.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a backend computes something else.")] = False,
    agreement: Annotated[
        float | None, typer.Option(metavar="PCT", min=0.0, max=100.0, help="Decisions to share with PyTorch; 98.")
    ] = None,
    sheets: options.Sheets = None,
    yes: Annotated[bool, typer.Option("--yes", help=f"Do not ask before more than {_MANY} measurements.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the measurements and their expected time.")] = False,
    debug: options.Debug = False,
) -> None:
    """Measure networks and print a summary, the fastest first.

    Each network is measured in processes of its own, and results are stored as they come. An interrupted command
    continues where it stopped when it is run again.
    """
    from fer_bench.measuring.forecast import forecast
    from fer_bench.measuring.machine import load_now
    from fer_bench.measuring.measure import fair, plan_of, sweep
    from fer_bench.measuring.runner import Machine, starter_of
    from fer_bench.measuring.task import Task, settle, with_images
    from fer_bench.networks.backends import for_file
    from fer_bench.networks.weights import weights_file

    registry = registry_of(sheets)
    stop_on_sigterm()
    specs = find_specs(registry, networks, models)
    names = list(dict.fromkeys(spec.name for spec in specs))
    if checkpoint and len(specs) != 1:
        raise FerBenchError("--checkpoint is one network's: name it")
    given = weights_file(checkpoint, specs[0].name) if checkpoint else ""
    built_with = settings_with(settings, inputs, input_)
    plan = plan_of(
        protocol,
        device,
        metrics=tuple(parse_list(metrics)) or None,
        num_classes=classes,
        runs=runs,
        processes=processes,
        max_time_s=max_time,
        time_limit_s=time_limit,
        agreement_share=agreement / 100 if agreement is not None else None,
    )
    swept: dict[str, Sequence[Any]] = {
        "batch_size": _numbers("--batch", batch),
        "threads": _numbers("--threads", threads),
        "wait": parse_list(wait),
        "input_size": parse_inputs(input_),
        "precision": parse_list(precision),
        "layout": parse_list(layout),
        "mode": parse_list(mode),
        "cudnn": parse_list(cudnn),
        "backend": parse_list(backend),
        "runtime": parse_list(runtime),
        "rate_hz": _rates(rate),
        "alloc": [value for text in parse_list(alloc) for value in (("keep", "system") if text == "both" else (text,))],
    }
    if "accuracy" in plan.metrics:
        raise FerBenchError("accuracy needs data; try: fer-bench evaluate --data PATH --metrics latency")
    swept = fair(plan, swept)
    plans = sweep(plan, swept)
    if not mode and "compile" not in swept.get("mode", ("compile",)):
        complain("no C++ compiler is there: PyTorch is not measured compiled, and its best may be that", OK)
    at_input = bool(input_) and not own_size
    tasks = [
        with_images(
            Task(spec, for_file(spec, one), shape, built_with, given, own_size=not at_input),
            data,
            calibrate,
            contract or None,
        )
        for spec in specs
        for one, shape in plans
    ]
    if at_input and (too_small := [task for task in tasks if not task.fits]):
        needs = dict.fromkeys(f"{task.spec.name} needs {task.spec.min_size}x{task.spec.min_size}" for task in too_small)
        raise FerBenchError(f"--input is too small: {', '.join(needs)}; --own-size runs these at their own size")
    tasks = list({task.key: task for task in tasks}.values())  # what is named twice is measured once
    if dry_run:
        load = load_now()
        with starter_of(tasks) as starter:
            print_tables([forecast(settle(tasks, {}, load), load, Machine(starter, debug=debug)).table()])
        return
    title = f"{plan.protocol}: {', '.join(names)}" if names != registry.names() else f"{plan.protocol}: all built-ins"
    done, _, closing = carry_out(tasks, title, store, resume=resume, fresh=fresh, yes=yes, debug=debug)
    _conclude(done, tasks, registry, out, closing, full=full)
    found = [named(r.subject.name, failure) for r in done.results for failure in reports.failures(r)]
    fail_if(found + (reports.different(done.results) if strict else []))


def carry_out(
    tasks: "Sequence[Task]",
    title: str,
    store: str,
    *,
    resume: str = "",
    fresh: bool = False,
    yes: bool = False,
    debug: bool = False,
) -> "tuple[Outcome, str, str]":
    """Measure tasks, going on with what was interrupted; return what came of it, the run, and where that is stored.

    Args:
        tasks: of one plan, or of a sweep.
        title: of a new run.
        store: URL of the store.
        resume: the run to go on with, or "" for the latest that was interrupted.
        fresh: begin anew.
        yes: do not ask before many measurements.
        debug: pass on what processes print.
    """
    from fer_bench.measuring.forecast import TimeLeft, forecast
    from fer_bench.measuring.machine import load_now
    from fer_bench.measuring.measure import begin, earlier_run
    from fer_bench.measuring.progress import Display
    from fer_bench.measuring.runner import Machine, measure_all, starter_of
    from fer_bench.measuring.task import fingerprint, settle
    from fer_bench.networks.weights import terms_of

    with Store.open(store, create=True) as opened, starter_of(tasks) as starter:
        held = "" if fresh else opened.held_elsewhere(fingerprint(tasks))
        earlier = earlier_run(opened, tasks, resume=resume, fresh=fresh)
        before = dict(opened.done(earlier.id)) if earlier is not None else {}
        load, machine = load_now(), Machine(starter, debug=debug)
        settled = zip(tasks, settle(tasks, before, load), strict=True)
        expected = forecast([one for task, one in settled if task.key not in before], load, machine)
        say(expected.line(tasks[0].plan.device, opened.shown), err=True)
        for terms in dict.fromkeys(terms_of(task.checkpoint) for task in tasks if task.checkpoint):
            if terms:
                say(terms, err=True)
        if len(expected.tasks) > _MANY and not yes:
            _ask(len(expected.tasks))
        under_way, earlier = begin(opened, tasks, title, earlier)
        if earlier is not None:
            say(
                f"Run {earlier.id} of {earlier.started_at} goes on: {earlier.results} of {len(tasks)} are measured "
                "(--fresh begins anew).",
                err=True,
            )
        elif held:
            say(f"Another {held}. This command begins a run of its own.", err=True)
        with Display(len(tasks), TimeLeft(expected.seconds)) as display:
            done = measure_all(tasks, opened, under_way, display, load=load, machine=machine, debug=debug)
        where = f" --store {opened.shown}" if store != DEFAULT_STORE else ""
        return done, under_way, f"Run {under_way} is in {opened.shown}; all tables: fer-bench report {under_way}{where}"


def _numbers(option: str, given: Names) -> list[int]:
    parts = parse_list(given)
    if wrong := [part[:60] for part in parts if units.whole_number(part) is None]:
        raise FerBenchError(f"{option} {', '.join(wrong)} is no number from 1; several have commas between, as 1,2,4")
    return [int(part) for part in parts]


def _rates(given: Names) -> list[float]:
    parts = parse_list(given)
    try:
        rates = [float(part) for part in parts]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate < math.inf for rate in rates):
        raise FerBenchError(f"--rate {', '.join(parts)[:60]} is none: passes a second; try: --rate 24")
    return rates


def _ask(measurements: int) -> None:
    """Ask whether to go on."""
    if not sys.stdin.isatty():
        raise FerBenchError(f"these are {measurements} measurements: --yes measures them, --dry-run lists them")
    typer.confirm(f"These are {measurements} measurements. Measure them?", abort=True, err=True)


def _conclude(
    done: "Outcome", tasks: "Sequence[Task]", registry: "Registry", out: Path | None, closing: str, *, full: bool
) -> None:
    """Print what was measured, however it ended, and raise what stopped it."""
    from fer_bench.reporting.render import write_all

    stopped = done.stopped
    drawn = reports.report(done.results, registry)
    try:  # first the files: whoever reads our output may leave early
        if out is not None and drawn:
            write_all(out, drawn)
    except StoreError as error:
        stopped = stopped or error
    if full:
        print_tables(table for name, table in drawn.items() if name in _HEADLINES)
    elif done.results:
        say(summary(done.results, registry, [closing], terminal_width() or _WIDTH), end="")
    if full and done.harness_share:
        say(
            f"\n{100 * done.harness_share:.0f} % of the wall time went to starting, building and storing, the rest to "
            "warm-up and measured passes."
        )
    if full:
        say(f"\n{closing}")
    if done.difference:
        complain(f"the run went on in another environment, not comparable: {done.difference}; --fresh begins anew", OK)
    if isinstance(stopped, KeyboardInterrupt):
        say(f"{done.left} of {len(tasks)} are left; the same command, without --fresh, goes on.", err=True)
    if stopped is not None:
        raise stopped
