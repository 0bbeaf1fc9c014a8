"""Train networks by recipes."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fer_bench.cli import options
from fer_bench.cli.common import (
    complain,
    fail_if,
    find_specs,
    named,
    parse_list,
    print_tables,
    registry_of,
    say,
    settings_with,
    stop_on_sigterm,
)
from fer_bench.cli.options import Names, choice, several
from fer_bench.cli.run import carry_out
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import OK
from fer_bench.records.masking import command_line
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import tables as reports

_PRECISIONS = ("fp32", "bf16", "fp16")


def train(
    networks: options.Networks = None,
    models: options.Models = None,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="How: such as rao2023, zhu2024:mild, or a TOML file.")
    ] = "",
    data: Annotated[str, typer.Option(metavar="PATH", help="Labelled images: a CSV or a folder.")] = "",
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Instead of the recipe's.")] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings of each network, seeds from 0.")] = 1,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Keeps states, weights and curves.")] = Path("trained"),
    initial: Annotated[
        str, typer.Option(metavar="FILE", help="Weights of one network to begin with; wheel:NAME, too.")
    ] = "",
    contract: Annotated[str, typer.Option(metavar="FILE|sheet", help="Input contract; by default the sheet's.")] = "",
    validation: Annotated[
        str, typer.Option(metavar="SPLIT|SHARE", help="Selects the weights; by default the recipe's.")
    ] = "",
    rule: Annotated[str, typer.Option(metavar="NAME", help="How FER+ votes become labels, such as majority.")] = "",
    data_classes: Annotated[Names, several("Classes of the data that are kept.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes that prepare images beside.")] = 0,
    precision: Annotated[str | None, choice(_PRECISIONS, "Of the steps; fp16 on a GPU.", "--precision")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads; by default one a core.")] = None,
    device: options.Device = "",
    settings: options.Settings = None,
    store: options.Store = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print recipe and cost, and train nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what was trained in FOLDER, and begin anew.")] = False,
    sheets: options.Sheets = None,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Train networks by a recipe, with their cost and accuracy.

    The same command goes on where an interrupted or killed one stopped. What a training is going to cost is measured
    before it begins.
    """
    from fer_bench.measuring.train import MODEL, Trainings, forget, kept, read_for, title_of, training_tasks
    from fer_bench.reporting.results import Results

    if not (networks or models):
        raise FerBenchError("no network is named; try: fer-bench train mini_xception --recipe rao2023 --data PATH")
    if not recipe:
        from fer_bench.accuracy.recipes import recipe_names

        raise FerBenchError(f"no recipe is named; try: --recipe with one of {', '.join(recipe_names())}, or a file")
    if not data:
        raise FerBenchError("nothing to train on; try: --data with the path of a CSV or of a folder of images")
    registry = registry_of(sheets)
    stop_on_sigterm()
    given: dict[str, Any] = {"precision": precision, "threads": threads, "device": device}
    tasks = training_tasks(
        find_specs(registry, networks, models),
        recipe,
        data,
        epochs=epochs,
        seeds=range(seeds),
        out=out,
        initial=initial,
        contract=contract or None,
        validation=validation,
        data_classes=parse_list(data_classes),
        rule=rule,
        workers=workers,
        settings=settings_with(settings, "", None),
        **{key: value for key, value in given.items() if value},
    )
    if dry_run:
        for line in read_for(recipe, epochs).lines():
            say(line, err=fmt != "table")
        _print_cost(tasks, seeds, fmt, debug=debug)
        return
    if fresh:
        forget(tasks)
    done, run, closing = carry_out(tasks, title_of(tasks), store, fresh=fresh, debug=debug)
    drawn_in = out / "runs" / run
    trainings = Trainings(Results(done.results, registry), tuple(Path(task.folder) for task in tasks))
    if done.results:
        trainings.write(drawn_in)
        drawn = reports.report(done.results, registry)
        wanted = ("trainings", "accuracy", "accuracy_rendered")
        print_tables([drawn[name] for name in wanted if name in drawn], fmt)
        if fmt == "table":
            made = any((folder / MODEL).exists() for folder in trainings.folders)
            say(f"\n{f'Weights are in {out}, learning curves in {drawn_in}. ' if made else ''}{closing}")
    if done.difference:
        complain(f"the run went on in another environment: {done.difference}", OK)
    if isinstance(done.stopped, KeyboardInterrupt):
        for line in kept(tasks[len(done.results) :]):
            say(line, err=True)
        command = command_line(argument for argument in sys.argv[1:] if argument != "--fresh")
        say(f"{done.left} of {len(tasks)} {'is' if done.left == 1 else 'are'} left; to go on: {command}", err=True)
    if done.stopped is not None:
        raise done.stopped
    fail_if([named(r.subject.name, failure) for r in done.results for failure in reports.failures(r)])


def _print_cost(tasks: "list[Any]", seeds: int, fmt: str, *, debug: bool) -> None:
    """Measure and print what the trainings are going to cost."""
    from fer_bench.measuring.machine import load_now
    from fer_bench.measuring.runner import measure, starter_of
    from fer_bench.measuring.task import settle
    from fer_bench.measuring.train import only_cost, predicted

    asked = settle(only_cost(tasks), {}, load_now())
    with starter_of(asked) as starter:
        results = [measure(task, starter, debug=debug) for task in asked]
    print_tables([predicted(results, seeds)], fmt)
    fail_if([named(r.subject.name, failure) for r in results for failure in reports.failures(r)])
