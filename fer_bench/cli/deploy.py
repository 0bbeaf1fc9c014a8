"""Write a network as it is deployed."""

from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli import options
from fer_bench.cli.common import parse_inputs, registry_of, say
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exit_codes import FINDING


def deploy(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="A name, as `fer-bench run` takes it.")],
    backend: Annotated[str, typer.Option(metavar="NAME", help="onnxruntime, openvino, aoti, executorch or litert.")],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A new folder for artefact and manifest.")] = None,
    bundle: Annotated[Path | None, typer.Option(metavar="FILE.zip", help="A bundle that measures on a board.")] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="FILE", help="Weights, or wheel:PACKAGE; by default random ones.")
    ] = "",
    precision: Annotated[str, typer.Option(metavar="NAME", help="fp32, fp16, int8, int8-dynamic.")] = "fp32",
    calibrate: options.Calibrate = "",
    data: options.Judged = "",
    contract: options.Contract = "",
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Images of a pass; by default 1.")] = 1,
    input_: options.Input = None,
    classes: options.Classes = None,
    settings: options.Settings = None,
    sheets: options.Sheets = None,
) -> None:
    """Convert a network for a backend, and judge its parity.

    It is written if it is still the same network. The manifest names the files with digests, the input, the versions
    and the verdict. A bundle has example images and run.py, too, which needs Python 3.9, NumPy and the runtime only and
    writes what `fer-bench import` reads.
    """
    from fer_bench.measuring.deploy import deploy as write
    from fer_bench.reporting.analysis.parity import Kind

    sizes = parse_inputs(input_)
    registry = registry_of(sheets)
    spec = registry.find(network)
    if len(sizes) > 1:
        raise FerBenchError("--input: an artefact has one size")
    channels = (spec.input_shape or (3,))[0]
    shape = next(((channels, size, size) if isinstance(size, int) else size for size in sizes), None)
    verdict = write(
        spec,
        backend,
        out=out or "",
        bundle=bundle or "",
        checkpoint=checkpoint,
        precision=precision,
        calibrate=calibrate,
        data=data,
        contract=contract or None,
        batch_size=batch,
        input_shape=shape,
        num_classes=classes,
        settings=settings or (),
        registry=registry,
    )
    say(f"{spec.name} by {backend}: parity {verdict.kind.value}: {verdict.reason}")
    say(f"written: {', '.join(str(path) for path in (out, bundle) if path is not None)}")
    if verdict.kind is Kind.FAILED:
        raise typer.Exit(FINDING)
