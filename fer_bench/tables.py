"""Choose what a table shows: rows of raw values in base units, and how each column writes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fer_bench import units
from fer_bench.records import Environment, Json, Result
from fer_bench.registry import STATUSES, Figure, ModelSpec, paper_title, sheets
from fer_bench.stats import median, quantile

# How far a build can be trusted, as a mark beside its name; the footnote tells.
_MARKED = ("inferred", "reconstruction", "stand-in")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the key of its raw value in a row, its heading with the unit, and how a value is written."""

    key: str
    heading: str
    write: Callable[[Any], str] = str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that knows no format. A missing or None value is written as an en dash.

    ``notes`` says what a reader must know of a row before trusting it: for each row its texts, or nothing at all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Json], ...]
    caption: str = ""
    notes: tuple[tuple[str, ...], ...] = ()

    @property
    def footnotes(self) -> list[str]:
        """The texts of all rows, equal ones once, numbered in the order in which they are needed."""
        return [f"[{number}] {text}" for number, text in enumerate(self._texts(), start=1)]

    def cells(self) -> list[list[str]]:
        """Give the written cells, row by row; the first has the numbers of the row's footnotes."""
        texts = list(self._texts())
        cells = []
        for row, notes in zip(self.rows, self.notes or ((),) * len(self.rows), strict=True):
            written = [
                units.printable(MISSING if row.get(c.key) is None else c.write(row[c.key])) for c in self.columns
            ]
            if notes:
                numbers = sorted({texts.index(units.printable(text)) + 1 for text in notes})
                written[0] += f" [{','.join(map(str, numbers))}]"
            cells.append(written)
        return cells

    def _texts(self) -> dict[str, None]:
        return dict.fromkeys(units.printable(text) for notes in self.notes for text in notes)


MISSING = "\N{EN DASH}"


def _shape(value: Sequence[int]) -> str:
    return units.size(tuple(value))


def _macs(value: float) -> str:
    return units.scaled(value)


def _doubts(status: str, note: str, uncertain: Sequence[str]) -> list[str]:
    """Say how far a build can be trusted, where that is not as far as an original."""
    texts = [note] if note else [f"{STATUSES[status]}."] if status in _MARKED else []
    if uncertain:
        texts.append(f"Rests on assumptions: {', '.join(uncertain)}.")
    said = " ".join(texts)
    return [f"{status.capitalize()}: {said}" if status in _MARKED else said] if said else []


def _built_with(settings: Iterable[str]) -> str:
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
        Column("input", "input", _shape),
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
        texts = _doubts(row["status"], row["note"], row["uncertain"])
        training = row.get("training", {})
        if row["settings"]:
            texts.append(_built_with(row["settings"]))
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
        Column("input", "Input", _shape),
        Column("classes", "Classes"),
        Column("parameters", "Parameters", units.grouped),
        Column("keras", "Keras total", units.grouped),
        Column("macs", "MACs", _macs),
        Column("flops", "FLOPs", _macs),
        Column("activations", "Activations (MiB)", units.mebibytes),
        Column("conv", "Conv"),
        Column("pool", "Pool"),
        Column("fc", "FC"),
    ]
    if trained:
        columns.append(Column("train_macs", "Training MACs", _macs))
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


def efficiency(results: Sequence[Result]) -> Table:
    """Draw what a paper's efficiency table shows: ours as measured, accuracies as published."""
    zoo = sheets()
    rows, notes = [], []
    for result in results:
        subject = result.subject
        built = [_built_with(subject.settings)] if subject.settings else []
        notes.append(
            (*_doubts(subject.status, subject.note, subject.uncertain), *built, *failures(result), *_warnings(result))
        )
        macs, latency = result.value("macs"), result.measurement("latency_s")
        row: dict[str, Json] = {
            "name": subject.name,
            "input_shape": subject.input_shape,
            "num_classes": subject.num_classes,
            "parameters": result.value("parameters.trainable"),
            "macs": macs,
            "flops": None if macs is None else 2 * macs,
            "state_dict_bytes": result.value("state_dict_bytes"),
            "peak_memory_bytes": result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes"),
            "accuracy": _accuracies(zoo[subject.name]) if subject.name in zoo else None,
        }
        if latency is not None and latency.values:
            middle, batch = median(latency.values), result.plan["batch_size"]
            row |= {
                "latency_s": middle,
                "latency_p5_p95_s": (quantile(latency.values, 0.05), quantile(latency.values, 0.95)),
                "latency_per_image_s": middle / batch,
                "images_per_s": batch / middle,
                "runs": len(latency.values),
            }
        rows.append(row)
    columns = (
        Column("name", "Network", align="left"),
        Column("input_shape", "Input", _shape),
        Column("num_classes", "Classes"),
        Column("parameters", "Parameters", lambda n: units.scaled(n, 4)),
        Column("macs", "MACs", _macs),
        Column("flops", "FLOPs", _macs),
        Column("state_dict_bytes", "Size (MiB)", units.mebibytes),
        Column("latency_s", "ms a batch", units.milliseconds),
        Column("latency_p5_p95_s", "5-95 %", lambda ends: "-".join(map(units.milliseconds, ends))),
        Column("latency_per_image_s", "ms an image", units.milliseconds),
        Column("images_per_s", "Images/s", units.significant),
        Column("runs", "Runs"),
        Column("peak_memory_bytes", "Memory (MiB)", units.mebibytes),
        Column("accuracy", "Accuracy, as published", align="left"),
    )
    return Table("Efficiency", columns, tuple(rows), _conditions(results), tuple(notes))


def failures(result: Result) -> list[str]:
    """Say what could not be measured, a reason once."""
    reasons: dict[str, list[str]] = {}
    for measurement in result.measurements:
        if measurement.failure:
            reasons.setdefault(measurement.failure, []).append(measurement.metric)
    return [f"Failed ({', '.join(metrics)}): {reason}" for reason, metrics in reasons.items()]


def _warnings(result: Result) -> list[str]:
    return [f"{m.metric}: {text}." for m in result.measurements for text in m.warnings]


def _accuracies(spec: ModelSpec) -> str | None:
    """Name the accuracies that papers print, each with its data set and place."""
    texts = [
        f"{_as_printed(figure)} {figure.dataset} ({figure.paper}, {figure.where})"
        for figure in spec.figures("accuracy")
    ]
    return "; ".join(texts) or None


def _as_printed(figure: Figure) -> str:
    return f"{figure.printed} {figure.unit}".strip()


def _conditions(results: Sequence[Result]) -> str:
    """Say once what all rows share; a table of rows from several environments says each."""
    lines = []
    for result in results:
        where, plan = result.environment, result.plan
        if where is None:
            continue
        versions = ", ".join(f"{name} {version}" for name, version in where.packages.items())
        line = (
            f"Protocol {plan['protocol']}: batch {plan['batch_size']}, {_precision(where)}, {where.device} "
            f"({where.device_name}), "
            f"{where.threads} threads, allocator: {where.allocator}; {where.os}, Python {where.python}, {versions}."
        )
        if line not in lines:
            lines.append(line)
    lines.append(
        "MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs. Latency: median of one "
        "process, and the spread inside it; another process may differ by more. Memory: peak above the idle process, "
        "or allocated on the GPU. Accuracies are the papers' (paper, place); we measured none."
    )
    return " ".join(lines)


def _precision(where: Environment) -> str:
    rounded = [what for what in ("convolutions", "matrix products") if where.gpu.get(f"tf32_{what.replace(' ', '_')}")]
    return f"float32 (TF32 in {' and '.join(rounded)})" if rounded else "float32"


def published(specs: Iterable[ModelSpec], results: Mapping[str, Result]) -> Table:
    """Put the costs that papers print beside ours, a row for each network and paper.

    Args:
        specs: the networks, whose sheets hold the figures.
        results: ours, by the network's name; without one, or where it failed, our cells stay empty.
    """
    rows, notes = [], []
    for spec in specs:
        ours = results.get(spec.name)
        for paper in sorted({figure.paper for figure in spec.published}):
            figures = {
                "parameters": spec.figures("parameters", paper) or spec.figures("trainable_parameters", paper),
                "flops": spec.figures("flops", paper),
                "file_size": spec.figures("file_size", paper),
                "latency": spec.figures("latency", paper),
            }
            printed = {quantity: found[0] for quantity, found in figures.items() if found}
            if not printed:
                continue
            row: dict[str, Json] = {"name": spec.name, "paper": paper}
            row |= {quantity: _as_printed(figure) for quantity, figure in printed.items()}
            row["where"] = ", ".join(dict.fromkeys(figure.where for figure in printed.values()))
            if ours is not None:
                latency = ours.measurement("latency_s")
                row["our_parameters"] = ours.value("parameters.trainable")
                row["our_keras_total"] = ours.value("parameters.keras_total")
                row["our_macs"] = ours.value("macs")
                row["our_checkpoint_bytes"] = ours.value("checkpoint_bytes")
                row["our_latency_s"] = median(latency.values) if latency is not None and latency.values else None
            rows.append(row)
            notes.append(tuple(_doubts(spec.status, spec.note, spec.uncertain)))
    pairs = {
        "parameters": (
            Column("parameters", "Parameters, printed"),
            Column("our_parameters", "Ours", units.grouped),
            Column("our_keras_total", "Ours by Keras", units.grouped),
        ),
        "flops": (Column("flops", '"FLOPs", printed'), Column("our_macs", "Our MACs", _macs)),
        "file_size": (
            Column("file_size", "Size, printed"),
            Column("our_checkpoint_bytes", "Ours (kB)", units.kilobytes),
        ),
        "latency": (Column("latency", "Time, printed"), Column("our_latency_s", "Our ms a batch", units.milliseconds)),
    }
    columns = [
        Column("name", "Network", align="left"),
        Column("paper", "Paper", align="left"),
        Column("where", "Where", align="left"),
    ]
    for quantity, pair in pairs.items():
        if any(quantity in row for row in rows):  # a quantity that no paper prints needs no columns
            columns += pair
    caption = (
        "Printed: digits and units as the paper has them, right or wrong; measured on its own machine. Ours by Keras: "
        "with the statistics of batch norm, as Keras prints a total. Sizes: a checkpoint with Adam's state."
    )
    return Table("Published figures beside ours", tuple(columns), tuple(rows), caption, tuple(notes))


def report(results: Sequence[Result]) -> dict[str, Table]:
    """Draw the tables of a run, by the stem of their files."""
    zoo = sheets()
    by_name = {result.subject.name: result for result in results}
    specs = [zoo[name] for name in by_name if name in zoo]
    drawn = {"efficiency": efficiency(results), "published": published(specs, by_name)}
    return {stem: table for stem, table in drawn.items() if table.rows}


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
    if spec.source == "zoo":
        lines.append(("code", f"fer_bench/models/{spec.target}.py"))
    lines += [("paper", f"{paper}: {paper_title(paper)}") for paper in spec.papers]
    lines += [("expected", f"{key}: {units.grouped(value)}") for key, value in spec.expected.items()]
    lines.append(("note", spec.note))
    lines += [("choice", choice) for choice in spec.choices]
    if spec.uncertain:
        lines.append(("uncertain", f"{', '.join(spec.uncertain)}: rest on the choices above"))
    return [(heading, text) for heading, text in lines if text]


def figures(spec: ModelSpec) -> Table:
    """Draw the figures that papers print about a network; one that a paper repeats has all its places."""
    places: dict[tuple[str, ...], list[str]] = {}
    for figure in spec.published:
        quantity = " ".join(filter(None, (figure.quantity, figure.stage and f"({figure.stage})")))
        key = (quantity, _as_printed(figure), figure.dataset, figure.paper, figure.convention, figure.note)
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
