"""The tables of the sheets."""

from collections.abc import Iterable, Sequence

from fer_bench.networks.contract import FIELDS, InputContract
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import STATUSES, UNKNOWN, Figure, ModelSpec
from fer_bench.records import units
from fer_bench.reporting.table import Column, Table, text_columns
from fer_bench.reporting.tables import standard

# Builds that are not the original that their name promises; of these and of inferred ones a footnote says so.
_DOUBTED = ("reconstruction", "stand-in")
_MARKED = ("inferred", *_DOUBTED)


def is_doubted(status: str) -> bool:
    """Report whether a build is not the original that its name promises; figures draw it hollow."""
    return status in _DOUBTED


def doubts(status: str, note: str, uncertain: Sequence[str]) -> list[str]:
    """Describe how far a build can be trusted, where that is not as far as an original."""
    texts = [note] if note else [f"{STATUSES[status]}."] if status in _MARKED else []
    if uncertain:
        texts.append(f"Rests on assumptions: {', '.join(uncertain)}.")
    said = " ".join(texts)
    return [f"{status.capitalize()}: {said}" if status in _MARKED else said] if said else []


def built_with(settings: Iterable[str]) -> str:
    """Describe the arguments of a network's factory."""
    return f"Built with {', '.join(settings)}; its sheet and notes describe the default build."


def catalogue(specs: Iterable[ModelSpec]) -> Table:
    """List networks by what their sheets say."""
    rows = [
        {
            "name": spec.name,
            "title": spec.title,
            "input": spec.input_shape,
            "classes": spec.num_classes,
            "parameters": spec.expected.get("trainable_parameters"),
            "status": spec.status,
            "papers": " ".join(spec.papers) or None,
        }
        for spec in specs
    ]
    columns = (
        *text_columns(name="name", title="network"),
        Column("input", "input", standard.write_shape),
        Column("classes", "classes"),
        Column("parameters", "parameters", units.grouped),
        *text_columns(status="status", papers="papers"),
    )
    return Table("Networks", columns, tuple(rows))


def network_details(spec: ModelSpec, registry: Registry) -> list[tuple[str, str]]:
    """Return a sheet's content for a network, its published figures left out: headings and texts."""
    lines = [
        ("name", f"{spec.name}: {spec.title}"),
        ("status", f"{spec.status}: {STATUSES[spec.status]}"),
        ("input", units.size(spec.input_shape) if spec.input_shape else "as defined by the library"),
        ("classes", str(spec.num_classes)),
    ]
    if spec.min_size > 1:
        lines.append(("runs from", f"{spec.min_size}x{spec.min_size} pixels"))
    lines += [("citation", spec.citation), ("link", spec.link)]
    if spec.source.kind == "zoo":
        lines.append(("code", f"fer_bench/models/{spec.source.module}.py"))
    for paper in spec.papers:
        title = registry.paper_title(paper)
        lines += [("paper", f"{paper}: {title}"), ("its text", registry.papers[paper].file_note)]
    lines += [("expected", f"{key}: {units.grouped(value)}") for key, value in spec.expected.items()]
    lines += contract_details(spec.input) if spec.input else []
    lines.append(("note", spec.note))
    lines += [("choice", choice) for choice in spec.choices]
    if spec.uncertain:
        lines.append(("uncertain", f"{', '.join(spec.uncertain)}: rest on the choices above"))
    return [(heading, text) for heading, text in lines if text]


def contract_details(contract: InputContract) -> list[tuple[str, str]]:
    """Return an input contract: headings and texts, each with its source."""
    crop = contract.crop
    shape = "made square, " if crop.square else ""
    texts = {
        "colour": contract.colour,
        "size": units.size(contract.size),
        "value_range": "0 to 255 become {:g} to {:g}".format(*contract.value_range),
        "mean": " ".join(f"{value:g}" for value in contract.mean),
        "std": " ".join(f"{value:g}" for value in contract.std),
        "resize": contract.resize,
        "antialias": "yes" if contract.antialias else "no",
        "crop": "none" if crop.detector == "none" else f"box of {crop.detector}, {shape}margin {crop.margin:.0%}",
        "classes": " ".join(contract.classes),
        "grey_weights": " ".join(f"{value:g}" for value in contract.grey_weights),
    }
    if contract.colour != "grey":
        del texts["grey_weights"]
    headings = {"value_range": "values", "grey_weights": "grey of RGB"}
    return [
        ("contract", f"{headings.get(name, name)}: {texts[name]} ({contract.source(name)})")
        for name in FIELDS
        if name in texts
    ]


def as_printed(figure: Figure) -> str:
    """Write a figure of a paper with the unit that it has there."""
    return f"{figure.printed} {figure.unit}".strip()


def in_its_sense(convention: str) -> str:
    """Describe in which sense a paper prints a figure; "" where it is not given."""
    return f"In the paper's sense: {convention.removesuffix('.')}." if convention else ""


def figures(spec: ModelSpec) -> Table:
    """Draw the figures that papers print about a network; one that a paper repeats has all its places."""
    places: dict[tuple[str, ...], list[str]] = {}
    for figure in spec.published:
        quantity = " ".join(filter(None, (figure.quantity, figure.stage and f"({figure.stage})")))
        obtained = f"Obtained with: {figure.conditions}." if figure.conditions != UNKNOWN else ""
        key = (quantity, as_printed(figure), figure.dataset, figure.paper, figure.convention, figure.note, obtained)
        places.setdefault(key, []).append(", ".join(filter(None, (figure.where, figure.row, figure.column))))
    rows, notes = [], []
    for (quantity, printed, dataset, paper, convention, note, obtained), where in places.items():
        row = {"quantity": quantity, "printed": printed, "dataset": dataset or None, "paper": paper}
        rows.append(row | {"where": "; ".join(dict.fromkeys(where))})
        notes.append(tuple(filter(None, (in_its_sense(convention), note, obtained))))
    of_place = text_columns(dataset="Data", paper="Paper", where="Where")
    columns = (*text_columns(quantity="Quantity"), Column("printed", "Printed"), *of_place)
    return Table("Published figures", columns, tuple(rows), notes=tuple(notes))
