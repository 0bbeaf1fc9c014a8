"""Compare face detectors on annotated images."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import complain, parse_list, print_tables
from fer_bench.cli.options import Names, several
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import OK


def detect(
    truth: Annotated[Path, typer.Option(metavar="FILE", help="Annotations in WIDER FACE's form.")],
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Images that the annotations name.")],
    detector: Annotated[Names, several("mtcnn, pnet, haar, yunet:ONNX, whole, boxes:CSV.")] = None,
    min_face: Annotated[int, typer.Option(metavar="N", min=1, help="Side of the smallest face, in pixels.")] = 20,
    iou: Annotated[float, typer.Option(metavar="X", min=0.01, max=1, help="Overlap that finds a face.")] = 0.5,
    false_positives: Annotated[Names, several("Where the true positive rate is read: 10,100,1000.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads; by default one a core.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Measure each one's memory, in a fresh process.")] = False,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw the ROC here: roc.svg, roc.png.")] = None,
    fmt: options.Format = "table",
) -> None:
    """Compare face detectors by precision, recall and time."""
    import torch

    from fer_bench.live.detectors import make_detector
    from fer_bench.live.quality import FALSE_POSITIVES, detect_all, peak_bytes, read_annotations
    from fer_bench.measuring.progress import counted

    if threads is not None:
        torch.set_num_threads(threads)
    numbers = [units.whole_number(text) for text in parse_list(false_positives)] or list(FALSE_POSITIVES)
    if None in numbers:
        raise FerBenchError("--false-positives has a value that is no number from 1; try: 10,100,1000")
    makers = [partial(make_detector, text, min_face=min_face) for text in parse_list(detector) or ["mtcnn"]]
    detectors = [make() for make in makers]
    annotations = read_annotations(truth)
    table, roc = detect_all(
        detectors,
        annotations,
        data,
        iou=iou,
        false_positives=[number for number in numbers if number is not None],
        peaks=[peak_bytes(make, annotations, data) for make in makers] if memory else (),
        show=lambda images: counted(images, "images"),
    )
    print_tables([table], fmt)
    if figures is not None and roc is not None:
        from fer_bench.reporting.render.plots.figure import write_figures

        write_figures(figures, {"roc": roc})
    for text in dict.fromkeys(each.licence for each in detectors if each.licence):
        complain(text, OK)
