"""The tables of the sheets and of counts."""

from collections.abc import Iterable, Mapping, Sequence

from fer_bench.networks.registry import paper_title
from fer_bench.networks.spec import STATUSES, Figure, ModelSpec
from fer_bench.records import units
from fer_bench.records.result import Json
from fer_bench.reporting.table import Column, Table

# Builds that are not the original that their name promises; of these and of inferred ones a footnote says so.
_DOUBTED = ("reconstruction", "stand-in")
_MARKED = ("inferred", *_DOUBTED)


def write_shape(value: Sequence[int]) -> str:
    """Write (C, H, W), which JSON has as a list."""
    return units.size(tuple(value))


def is_doubted(status: str) -> bool:
    """Report whether a build is not the original that its name promises; figures draw it hollow."""
    return status in _DOUBTED


def doubts(status: str, note: str, uncertain: Sequence[str]) -> list[str]:
    """Say how far a build can be trusted, where that is not as far as an original."""
    texts = [note] if note else [f"{STATUSES[status]}."] if status in _MARKED else []
    if uncertain:
        texts.append(f"Rests on assumptions: {', '.join(uncertain)}.")
    said = " ".join(texts)
    return [f"{status.capitalize()}: {said}" if status in _MARKED else said] if said else []


def built_with(settings: Iterable[str]) -> str:
    """Say which arguments a network's factory was given."""
    return f"Built with {', '.join(settings)}; what else is said of it is said of the default."


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
        Column("name", "name", align="left"),
        Column("title", "network", align="left"),
        Column("input", "input", write_shape),
        Column("classes", "classes"),
        Column("parameters", "parameters", units.grouped),
        Column("status", "status", align="left"),
        Column("papers", "papers", align="left"),
    )
    return Table("Networks", columns, tuple(rows))


def counts(rows: Iterable[Mapping[str, Json]]) -> Table:
    """Draw the rows of ``fer-bench count``."""
    notes: list[tuple[str, ...]] = []
    drawn = []
    convention = ""
    trained = False
    tools: dict[str, str] = {}
    batches: dict[int, int | None] = {}
    for row in rows:
        if "error" in row:
            drawn.append({"name": row["name"]})
            notes.append((f"Failed: {row['error']}",))
            continue
        convention = row["convention"]
        texts = doubts(row["status"], row["note"], row["uncertain"])
        training = row.get("training", {})
        if row["settings"]:
            texts.append(built_with(row["settings"]))
        for what, uncounted in (("MACs", row["uncounted"]), ("Training MACs", training.get("uncounted"))):
            if uncounted:
                calls = ", ".join(f"{name} ({n})" for name, n in uncounted.items())
                texts.append(f"{what} are a lower bound: no formula for {calls}.")
        if "error" in training:
            texts.append(f"Not trained: {training['error']}")
        batches[row["batch"]] = training.get("batch")
        if row["counted_on"] != "meta":
            texts.append(f"Counted on {row['counted_on']} tensors: it cannot run on meta ones.")
        notes.append(tuple(texts))
        drawn.append(
            {
                "name": row["name"],
                "input": row["input_shape"],
                "classes": row["num_classes"],
                "parameters": row["parameters"]["trainable"],
                "keras": row["parameters"]["keras_total"],
                "macs": row["macs"],
                "flops": row["flops"],
                "activations": row["peak_activation_bytes"],
                "conv": row["layers"]["conv"],
                "pool": row["layers"]["pool"],
                "fc": row["layers"]["fc"],
                "train_macs": training.get("macs"),
                "train_activations": training.get("peak_activation_bytes"),
                **{tool: other["value"] for tool, other in row.get("counters", {}).items()},
            }
        )
        trained = trained or "training" in row
        tools |= {tool: other["unit"] for tool, other in row.get("counters", {}).items()}
    columns = [
        Column("name", "Network", align="left"),
        Column("input", "Input", write_shape),
        Column("classes", "Classes"),
        Column("parameters", "Parameters", units.grouped),
        Column("keras", "Keras total", units.grouped),
        Column("macs", "MACs", units.scaled),
        Column("flops", "FLOPs", units.scaled),
        Column("activations", "Activations (MiB)", units.mebibytes),
        Column("conv", "Conv"),
        Column("pool", "Pool"),
        Column("fc", "FC"),
    ]
    if trained:
        columns.append(Column("train_macs", "Training MACs", units.scaled))
        columns.append(Column("train_activations", "Training activations (MiB)", units.mebibytes))
    columns += [Column(tool, f"{tool} ({unit})", units.grouped) for tool, unit in tools.items()]
    caption = (
        f"Parameters: trainable. MACs an image by {convention} (convolutions and matrix products); FLOPs = 2 x MACs. "
        f"Activations: peak bytes beside the weights, one inference pass of batch {', '.join(map(str, batches))}"
        + (f", one training step of batch {', '.join(map(str, filter(None, batches.values())))}." if trained else ".")
    )
    return Table("Static counts", tuple(columns), tuple(drawn), caption if convention else "", tuple(notes))


def modules(name: str, rows: Sequence[Mapping[str, Json]]) -> Table:
    """Draw MACs by module."""
    columns = (
        Column("module", "Module", align="left"),
        Column("own_macs", "Own MACs", units.grouped),
        Column("macs", "MACs", units.grouped),
        Column("share", "Share", lambda share: f"{100 * share:.1f} %"),
    )
    return Table(f"{name}: MACs an image by module", columns, tuple(rows))


def operators(name: str, rows: Sequence[Mapping[str, Json]]) -> Table:
    """Draw calls and MACs by operator."""
    columns = (
        Column("operator", "Operator", align="left"),
        Column("kind", "Kind", align="left"),
        Column("calls", "Calls"),
        Column("macs", "MACs", units.grouped),
    )
    return Table(f"{name}: MACs an image by operator", columns, tuple(rows))


def portrait(spec: ModelSpec) -> list[tuple[str, str]]:
    """Say what a sheet says of a network, its published figures left out: headings and texts."""
    lines = [
        ("name", f"{spec.name}: {spec.title}"),
        ("status", f"{spec.status}: {STATUSES[spec.status]}"),
        ("input", units.size(spec.input_shape) if spec.input_shape else "as the library has it"),
        ("classes", str(spec.num_classes)),
    ]
    if spec.min_size > 1:
        lines.append(("runs from", f"{spec.min_size}x{spec.min_size} pixels"))
    lines += [("citation", spec.citation), ("link", spec.link)]
    if spec.source.kind == "zoo":
        lines.append(("code", f"fer_bench/models/{spec.source.module}.py"))
    lines += [("paper", f"{paper}: {paper_title(paper)}") for paper in spec.papers]
    lines += [("expected", f"{key}: {units.grouped(value)}") for key, value in spec.expected.items()]
    lines.append(("note", spec.note))
    lines += [("choice", choice) for choice in spec.choices]
    if spec.uncertain:
        lines.append(("uncertain", f"{', '.join(spec.uncertain)}: rest on the choices above"))
    return [(heading, text) for heading, text in lines if text]


def as_printed(figure: Figure) -> str:
    """Write a figure of a paper with the unit that it has there."""
    return f"{figure.printed} {figure.unit}".strip()


def figures(spec: ModelSpec) -> Table:
    """Draw the figures that papers print about a network; one that a paper repeats has all its places."""
    places: dict[tuple[str, ...], list[str]] = {}
    for figure in spec.published:
        quantity = " ".join(filter(None, (figure.quantity, figure.stage and f"({figure.stage})")))
        key = (quantity, as_printed(figure), figure.dataset, figure.paper, figure.convention, figure.note)
        places.setdefault(key, []).append(", ".join(filter(None, (figure.where, figure.row, figure.column))))
    rows, notes = [], []
    for (quantity, printed, dataset, paper, convention, note), where in places.items():
        rows.append(
            {
                "quantity": quantity,
                "printed": printed,
                "dataset": dataset or None,
                "paper": paper,
                "where": "; ".join(dict.fromkeys(where)),
            }
        )
        notes.append(tuple(filter(None, (convention and f"In the paper's sense: {convention}.", note))))
    columns = (
        Column("quantity", "Quantity", align="left"),
        Column("printed", "Printed"),
        Column("dataset", "Data", align="left"),
        Column("paper", "Paper", align="left"),
        Column("where", "Where", align="left"),
    )
    return Table("Published figures", columns, tuple(rows), notes=tuple(notes))
