"""Measure networks."""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.cli.common import (
    OK,
    Classes,
    Debug,
    Format,
    Input,
    Settings,
    SheetsOption,
    StoreOption,
    complain,
    fail_if,
    find_specs,
    named,
    parse_list,
    parse_settings,
    parse_shape,
    print_tables,
)
from fer_bench.networks import registry
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting import tables as reports

if TYPE_CHECKING:
    from fer_bench.measuring.runner import Outcome
    from fer_bench.measuring.task import Task
    from fer_bench.records.plan import Plan
    from fer_bench.records.store import Run

# What `run` prints of the report, where it was measured; the rest is for `fer-bench report`.
_HEADLINES = ("efficiency", "training", "occupancy_training", "occupancy_testing", "energy")


def run(
    models: Annotated[
        str, typer.Option("--models", metavar="NAMES", help="Comma-separated names; by default all built-ins.")
    ] = "",
    protocol: Annotated[
        str,
        typer.Option(
            help="quick, edge, safavi2023, occupancy, training, or a TOML file; by default quick on a CPU, safavi2023 "
            "on a GPU."
        ),
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(
            help="static, latency, memory, training, training_memory, occupancy, energy, recount, anatomy: "
            "comma-separated; by default the protocol's."
        ),
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda; by default the protocol's.")] = "",
    batch: Annotated[str, typer.Option(metavar="LIST", help="Images a pass; several, as 1,2,4,8, are a sweep.")] = "",
    threads: Annotated[str, typer.Option(metavar="LIST", help="CPU threads; by default one a core.")] = "",
    size: Annotated[str, typer.Option(metavar="LIST", help="Height and width; by default each network's.")] = "",
    precision: Annotated[str, typer.Option(metavar="LIST", help="fp32, tf32, default, bf16, fp16.")] = "",
    layout: Annotated[str, typer.Option(metavar="LIST", help="nchw or nhwc (channels_last).")] = "",
    mode: Annotated[str, typer.Option(metavar="LIST", help="eager or compile.")] = "",
    alloc: Annotated[str, typer.Option(help="keep freed memory, leave that to the system, or both.")] = "",
    classes: Classes = None,
    input_: Input = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Timed passes a process; by default 300.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes for the latency, at most.")] = None,
    max_time: Annotated[
        float | None,
        typer.Option("--max-time", min=0.0, metavar="SECONDS", help="Time cap of a process's timed passes."),
    ] = None,
    settings: Settings = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to load; with --models naming one network.")] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=1.0, metavar="SECONDS", help="Give a process up that says nothing for so long; by default 600."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    resume: Annotated[
        str, typer.Option("--resume", metavar="RUN", help="Go on with this run, even one that another machine began.")
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew where an unfinished run could go on.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write all tables into this folder, too.")] = None,
    sheets: SheetsOption = None,
    debug: Debug = False,
) -> None:
    """Measure networks, each in processes of its own, and print the table that a paper would.

    Results are stored as they come. Running an interrupted command again goes on where it stopped.
    """
    import signal

    from fer_bench.cli.progress import Display
    from fer_bench.measuring.runner import measure_all
    from fer_bench.measuring.task import Task

    registry.use_sheets(sheets or [])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job of CI's ends as by Ctrl-C
    specs = find_specs(parse_list(models))
    if checkpoint is not None and len(specs) != 1:
        raise FerBenchError("--checkpoint is one network's: name it with --models")
    if checkpoint is not None and not checkpoint.is_file():
        raise FerBenchError(f"there is no checkpoint {checkpoint}; a path starts at the current folder")
    parse_settings(settings)
    plan = _plan(
        protocol,
        device,
        metrics=tuple(parse_list(metrics)) or None,
        num_classes=classes,
        runs=runs,
        processes=processes,
        max_time_s=max_time,
        time_limit_s=time_limit,
    )
    swept: dict[str, Sequence[Any]] = {
        "batch_size": _numbers("--batch", batch),
        "threads": _numbers("--threads", threads),
        "input_size": _numbers("--size", size),
        "precision": parse_list(precision),
        "layout": parse_list(layout),
        "mode": parse_list(mode),
        "alloc": ["keep", "system"] if alloc == "both" else parse_list(alloc),
    }
    given = str(checkpoint.resolve()) if checkpoint else ""
    shape, plans = parse_shape(input_), _sweep(plan, swept)
    tasks = [Task(spec, one, shape, tuple(settings or ()), given) for spec in specs for one in plans]
    tasks = list({task.key: task for task in tasks}.values())  # what is named twice is measured once
    with Store.open(store, create=True) as opened:
        under_way = _begin(opened, tasks, resume=resume, fresh=fresh)
        with Display(len(tasks)) as display:
            done = measure_all(tasks, opened, under_way, display, debug=debug)
        _conclude(done, tasks, out)
        where = f" --store {opened.shown}" if store != DEFAULT_STORE else ""
        typer.echo(f"\nRun {under_way} is in {opened.shown}; all tables: fer-bench report {under_way}{where}")
    fail_if([named(r.subject.name, failure) for r in done.results for failure in reports.failures(r)])


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("run")(run)


def _plan(protocol: str, device: str, **given: Any) -> "Plan":
    """Choose the preset and put in what the command line says; None leaves the preset's."""
    from fer_bench.measuring.environment import has_gpu
    from fer_bench.records import plan as plans

    if device not in ("", "cpu", "cuda"):
        raise FerBenchError(f"--device {device!r} is neither cpu nor cuda")
    if protocol:
        chosen = plans.protocol(protocol)
    else:
        chosen = plans.SAFAVI2023 if (device or ("cuda" if has_gpu() else "cpu")) == "cuda" else plans.QUICK
    device = device or chosen.device
    if device == "cuda" and not has_gpu():
        raise FerBenchError("--device cuda: there is no NVIDIA GPU that the driver shows; check nvidia-smi, or use cpu")
    changes = {key: value for key, value in given.items() if value is not None}
    if changes.get("processes", chosen.processes) <= chosen.pilot_processes:
        changes["pilot_processes"] = 0  # so few that there is nothing to decide
    return dataclasses.replace(chosen, device=device, **changes)


def _sweep(plan: "Plan", swept: Mapping[str, Sequence[Any]]) -> "list[Plan]":
    """Give a plan for each combination of the values that were given."""
    several = {name: values for name, values in swept.items() if values}
    return [
        dataclasses.replace(plan, **dict(zip(several, values, strict=True))) for values in product(*several.values())
    ]


def _numbers(option: str, text: str) -> list[int]:
    parts = parse_list(text)
    if wrong := [part for part in parts if not part.isdecimal() or int(part) < 1]:
        raise FerBenchError(f"{option} {', '.join(wrong)} is no number from 1; several have commas between, as 1,2,4")
    return [int(part) for part in parts]


def _begin(store: "Store", tasks: "Sequence[Task]", *, resume: str, fresh: bool) -> str:
    """Take up the run that these tasks left unfinished, or begin one."""
    from fer_bench.measuring.task import fingerprint

    mark = fingerprint(tasks)
    earlier = _asked_for(store, resume, mark) if resume else None if fresh else store.resumable(mark)
    if earlier is not None and store.resume(earlier.id):
        typer.echo(
            f"Run {earlier.id} of {earlier.started_at} goes on: {earlier.results} of {len(tasks)} are measured "
            "(--fresh begins anew).",
            err=True,
        )
        return earlier.id
    names = list(dict.fromkeys(task.spec.name for task in tasks))
    whole = names == registry.list_models()
    return store.begin(mark, f"{tasks[0].plan.protocol}: {'all built-ins' if whole else ', '.join(names)}")


def _asked_for(store: "Store", name: str, fingerprint: str) -> "Run":
    """Find the run that is to go on."""
    found = store.find_run(name)
    if found.fingerprint != fingerprint:
        raise FerBenchError(f"run {found.id} ({found.title}) is not of this command: give it the same options")
    if found.state in ("finished", "under way"):
        raise FerBenchError(f"run {found.id} is {found.state}: there is nothing to go on with")
    return found


def _conclude(done: "Outcome", tasks: "Sequence[Task]", out: Path | None) -> None:
    """Print what was measured, however it ended, and pass on what stopped it."""
    from fer_bench.reporting.render import write_all

    stopped = done.stopped
    drawn = reports.report(done.results, registry.current())
    try:  # first the files: whoever reads our output may leave early
        if out is not None and drawn:
            write_all(out, drawn)
    except StoreError as error:
        stopped = stopped or error
    print_tables([table for name, table in drawn.items() if name in _HEADLINES], Format.table)
    if done.harness_share:
        typer.echo(
            f"\n{100 * done.harness_share:.0f} % of the wall time went to starting, building and storing, the rest to "
            "warm-up and measured passes."
        )
    if done.difference:
        complain(f"the run went on in another environment, not comparable: {done.difference}; --fresh begins anew", OK)
    if isinstance(stopped, KeyboardInterrupt):
        typer.echo(f"{done.left} of {len(tasks)} are left; the same command, without --fresh, goes on.", err=True)
    if stopped is not None:
        raise stopped
