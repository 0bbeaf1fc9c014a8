"""The commands on data sets: what one has, and drawn faces."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_bench.accuracy.data.forms import FORMS, MADE, RULES
from fer_bench.cli import options
from fer_bench.cli.common import fail_if, parse_list, print_json, print_tables, say, skip
from fer_bench.cli.options import Names, choice, several
from fer_bench.records.errors import FerBenchError
from fer_bench.reporting.table import Table

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset

_SAID = 2000  # images, after each of which a long drawing says how many are done
_MOST = 20  # rows that are listed as left out; with --format json all reasons have their number


def data() -> None:
    """Inspect data sets, and draw faces for tests."""


def inspect(
    path: Annotated[Path, typer.Argument(help="A CSV, or a folder of a data set.")],
    form: Annotated[str | None, typer.Option(metavar="NAME", help=f"{', '.join(FORMS)}; else recognised.")] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Such as private; by default all.")] = None,
    rule: Annotated[str | None, typer.Option(metavar="NAME", help=f"Of FER+ votes: {', '.join(RULES)}.")] = None,
    classes: Annotated[Names, several("Only these classes, by name, in this order.")] = None,
    without_copies: Annotated[
        bool, typer.Option("--without-copies", help="Leave out what is equal to a training image.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw distributions of classes and pixels here.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep what is parsed here.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep nothing of what is parsed.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if images are damaged or not as published.")] = False,
    fmt: options.Format = "table",
) -> None:
    """Report what a data set has, and what is wrong with it.

    Files and their hashes, images of each class beside the published numbers, rows that cannot be read, equal images
    inside and across splits. Nothing is downloaded or changed.
    """
    from fer_bench.accuracy.data.loading import load_data

    kept: bool | Path = cache if cache is not None else not no_cache
    found = load_data(
        path,
        form=form,
        split=split,
        rule=rule,
        classes=parse_list(classes) or None,
        without_copies=without_copies,
        cache=kept,
    )
    if figures is not None:
        _draw(found, figures)
    if fmt == "json":
        print_json(found.describe())
    elif fmt == "table":
        from fer_bench.reporting.render.text import definitions

        say(definitions(_facts(found)))
        print_tables(_tables(found))
    else:
        print_tables(_tables(found), fmt)
    if strict:
        damaged = [f"{each.id}: {each.reason}" for each in found.manifest.dropped if each.fault]
        more = [f"and {len(damaged) - _MOST:,} more"] if len(damaged) > _MOST else []
        fail_if([*found.manifest.findings, *damaged[:_MOST], *more])
    for finding in found.manifest.findings:
        skip(finding)


def _facts(found: "Dataset") -> Iterator[tuple[str, str]]:
    manifest = found.manifest
    yield "data", f"{found.name}, {manifest.form}"
    if manifest.rendered:
        yield "rendered", "drawn by fer-bench data make-faces: no person's face, no result to compare with photographs"
    for file in manifest.files:
        of = f"{file.files:,} files, " if file.files > 1 else ""
        yield (
            "file",
            f"{file.path}: {of}{file.bytes:,} bytes, sha256 {file.sha256[:16]}{f', {file.known}' * bool(file.known)}",
        )
    yield "split", f"{found.split}: {len(found):,} of {manifest.rows:,} images, {manifest.split_rule}"
    yield "labels", manifest.label_rule
    yield "classes", ", ".join(found.classes) or "none"
    if found.persons is not None:
        yield "persons", f"{len(set(found.persons)):,}; split them by persons-1-of-5 and persons-not-1-of-5"
    if columns := [name for name in found.groups if name not in ("person", "split")]:
        yield "columns", ", ".join(columns)
    equal = manifest.duplicates
    for split, count in equal.inside.items():
        yield "equal", f"{split}: {count:,} repeated"
    for pair, count in equal.across.items():
        first, second = pair.split(", ")
        yield "equal", f"{second}: {count:,} also in {first}"
    if equal.conflicting:
        yield "equal", f"{equal.conflicting:,} with an equal image of another class"
    for reason, count in manifest.reasons().items():
        yield "left out", f"{count:,}: {reason}"
    for note in manifest.notes:
        yield "note", note


def _tables(found: "Dataset") -> Iterator[Table]:
    from fer_bench.accuracy.data.published import COUNTS
    from fer_bench.reporting.tables import data as tables

    manifest = found.manifest
    published = {} if manifest.rendered else COUNTS.get(manifest.published, {})
    yield tables.class_counts(manifest.counts, published, _said(found))
    if faults := [(each.id, each.reason) for each in manifest.dropped if each.fault]:
        yield tables.left_out(faults[:_MOST])
    if manifest.duplicates.groups:
        yield tables.equal_images(manifest.duplicates.groups)


def _said(found: "Dataset") -> str:
    return "Rendered faces, of no person." if found.manifest.rendered else ""


def _draw(found: "Dataset", folder: Path) -> None:
    from fer_bench.reporting.figures import data as figures
    from fer_bench.reporting.render.plots.figure import write_figures

    plots: dict[str, Any] = {
        "classes": figures.class_counts(found.name, found.manifest.counts, _said(found)),
        "pixels": figures.pixel_levels(f"{found.name}, {found.split}", found.levels(), _said(found)),
    }
    write_figures(folder, plots)


def make_faces(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is not there yet, or empty.")],
    form: Annotated[str, choice(MADE, "The layout of files.")] = "fer2013",
    images: Annotated[int, typer.Option(metavar="N", help="How many.")] = 1000,
    persons: Annotated[int, typer.Option(metavar="N", help="How many, in tens; splits have different ones.")] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Another one gives other faces.")] = 0,
    size: Annotated[int | None, typer.Option(metavar="PIXELS", help="Side; by default the form's.")] = None,
    label_noise: Annotated[float, typer.Option(metavar="SHARE", help="Of labels that are drawn anew.")] = 0.0,
    intensity: Annotated[str, typer.Option(metavar="LEAST,MOST", help="Of expressions, from 0 to 1.")] = "0.55,1",
    weights: Annotated[Names, several("Seven weights of the classes, in FER2013's order.")] = None,
    shared_persons: Annotated[
        bool, typer.Option("--shared-persons", help="A leak: splits have the same persons.")
    ] = False,
    duplicates: Annotated[int, typer.Option(metavar="N", help="Test images that are copies of training images.")] = 0,
    black: Annotated[int, typer.Option(metavar="N", help="Training images that are black.")] = 0,
    order: Annotated[Names, several("Seven classes: FER2013's k-th is written as the k-th of these, a fault.")] = None,
) -> None:
    """Draw faces with seven expressions, as a data set's files.

    They are rendered, and said to be so wherever they are shown: data for tests and for trying commands out.
    """
    from fer_bench.accuracy.data.make_faces import make_faces as make

    made = make(
        out,
        form,
        images=images,
        persons=persons,
        seed=seed,
        size=size,
        label_noise=label_noise,
        intensity=_pair(intensity),
        weights=[_number("--weights", text) for text in parse_list(weights)] or None,
        shared_persons=shared_persons,
        duplicates=duplicates,
        black=black,
        order=parse_list(order) or None,
        progress=lambda done: say(f"{done:,} of {images:,} faces", err=True) if not done % _SAID else None,
    )
    say(f"{images:,} rendered faces in {made}; try: fer-bench data inspect {made}")


def _pair(text: str) -> tuple[float, float]:
    least, comma, most = text.partition(",")
    if not comma:
        raise FerBenchError(f"--intensity {text[:60]!r} is not two numbers with a comma, such as 0.55,1")
    return _number("--intensity", least), _number("--intensity", most)


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FerBenchError(f"{option} {text[:60]!r} is no number") from None
