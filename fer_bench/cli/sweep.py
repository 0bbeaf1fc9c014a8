"""Measure the variants of a sweep."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fer_bench.cli import options
from fer_bench.cli.common import fail_if, named, parse_list, print_tables, registry_of, say, stop_on_sigterm
from fer_bench.cli.options import Names, choice, several
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import METRICS
from fer_bench.records.store import DEFAULT_STORE
from fer_bench.reporting import tables as reports

_METRICS = [metric for metric in METRICS if metric != "accuracy"]  # which needs weights and data for each variant


def sweep(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="patch-adaptation, non-local, rarn-backbones, or a TOML file.")
    ],
    backbone: Annotated[str, typer.Option(metavar="NAME", help="Of patch-adaptation: resnet50 or resnet101.")] = "",
    block: Annotated[str, typer.Option(metavar="NAME", help="Of patch-adaptation: A to E, or patt_lite.")] = "",
    metrics: Annotated[Names, several(f"{', '.join(_METRICS)}; by default static, or the file's.")] = None,
    protocol: Annotated[str, options.protocol("quick, or the file's plan")] = "",
    device: options.Device = "",
    batch: Annotated[int | None, typer.Option(metavar="N", min=1, help="Images in a pass.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads; by default one a core.")] = None,
    input_: Annotated[int | None, typer.Option("--input", metavar="N", min=1, help="Side of the images.")] = None,
    classes: options.Classes = None,
    under: Annotated[
        str, typer.Option(metavar="LIMITS", help="Only variants under params, macs, latency, activation or size.")
    ] = "",
    accuracy: Annotated[Path | None, typer.Option(metavar="CSV", help="Accuracies of the variants.")] = None,
    maximise: Annotated[
        str | None, choice(("accuracy",), "What the best variant has most of; needs --accuracy or --checkpoints.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A file of weights for each variant, named as it is.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Labelled images, on which checkpoints are evaluated.")
    ] = None,
    contract: Annotated[
        str, typer.Option(metavar="FILE|sheet", help="Input contract; by default what is known of the weights.")
    ] = "",
    epoch_images: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images of an epoch, to predict its time.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the whole training; by default the paper's 200.")
    ] = None,
    until: Annotated[
        str | None, choice(("best",), "Measure in rounds, and stop variants that are slower than another.")
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="WHERE", help="local, ray, ray:HOST:PORT, slurm, or slurm:PARTITION.")
    ] = "local",
    store: options.Store = DEFAULT_STORE,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of continuing a sweep.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write table and figures here, too.")] = None,
    sheets: options.Sheets = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Count more than 10,000, or measure more than 100 variants.")
    ] = False,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Measure every variant of a sweep, and mark the front.

    Results are stored as they come. An interrupted command continues where it stopped when it is run again.
    """
    from fer_bench.measuring.sweep import sweep as measured

    if maximise and accuracy is None and checkpoints is None:
        raise FerBenchError(
            "--maximise accuracy has no accuracies; try: --accuracy CURVES.csv, or --checkpoints FOLDER"
        )
    stop_on_sigterm()
    fields: dict[str, Any] = {
        "device": device,
        "batch_size": batch,
        "threads": threads,
        "input_size": input_,
        "num_classes": classes,
    }
    swept = measured(
        name,
        backbone=backbone,
        block=block,
        metrics=parse_list(metrics),
        protocol=protocol,
        under=under,
        accuracy=accuracy or "",
        checkpoints=checkpoints or "",
        data=data or "",
        contract=contract or None,
        epoch_images=epoch_images,
        epochs=epochs,
        until=until or "",
        store=store,
        fresh=fresh,
        many=yes,
        executor=executor,
        registry=registry_of(sheets),
        debug=debug,
        **{key: value for key, value in fields.items() if value not in (None, "")},
    )
    if out is not None:
        swept.write(out)
    print_tables(filter(None, [swept.table(), swept.calibration()]), fmt)
    for line in swept.conclusion():
        say(line, err=fmt != "table")
    where = f" --store {store}" if store != DEFAULT_STORE else ""
    say(f"Run {swept.run} is in {store}; all tables: fer-bench report {swept.run}{where}", err=fmt != "table")
    fail_if(
        [
            named(label, text)
            for label, r in zip(swept.labels, swept.results, strict=True)
            for text in reports.failures(r)
        ]
    )
