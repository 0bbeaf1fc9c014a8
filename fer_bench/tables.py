"""Choose what a table shows: rows of raw values in base units, and how each column writes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fer_bench import units
from fer_bench.records import Json, Result
from fer_bench.registry import STATUSES, Figure, ModelSpec, sheets
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
    """A table that knows no format. A missing or None value is written as an en dash."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Json], ...]
    caption: str = ""
    footnotes: tuple[str, ...] = field(default=())

    def cells(self) -> list[list[str]]:
        """Give the written cells, row by row."""
        return [["–" if row.get(c.key) is None else c.write(row[c.key]) for c in self.columns] for row in self.rows]


def _shape(value: Sequence[int]) -> str:
    return units.size(tuple(value))


def _macs(value: float) -> str:
    return units.scaled(value)


class _Notes:
    """Number footnotes in the order in which they are first needed, equal ones once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, texts: Iterable[str]) -> str:
        marks = []
        for text in filter(None, texts):
            if text not in self.texts:
                self.texts.append(text)
            marks.append(str(self.texts.index(text) + 1))
        return f" [{','.join(marks)}]" if marks else ""

    def numbered(self) -> tuple[str, ...]:
        return tuple(f"[{number}] {text}" for number, text in enumerate(self.texts, start=1))


def _doubts(status: str, note: str) -> list[str]:
    """Say what a reader must know before trusting a row."""
    if note:
        return [f"{status.capitalize()}: {note}" if status in _MARKED else note]
    return [f"{status.capitalize()}: {STATUSES[status]}."] if status in _MARKED else []


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
    notes = _Notes()
    drawn = []
    convention = ""
    trained = False
    tools: dict[str, str] = {}
    for row in rows:
        if "error" in row:
            drawn.append({"name": row["name"] + notes.mark([f"Failed: {row['error']}"])})
            continue
        convention = row["convention"]
        texts = _doubts(row["status"], row["note"])
        if row["uncounted"]:
            calls = ", ".join(f"{name} ({n})" for name, n in row["uncounted"].items())
            texts.append(f"MACs are a lower bound: no formula for {calls}.")
        if row["counted_on"] != "meta":
            texts.append(f"Counted on {row['counted_on']} tensors: it cannot run on meta ones.")
        drawn.append(
            {
                "name": row["name"] + notes.mark(texts),
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
                "train_macs": row.get("training", {}).get("macs"),
                "train_activations": row.get("training", {}).get("peak_activation_bytes"),
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
        "Activations: peak bytes beside the weights, one inference pass."
    )
    return Table("Static counts", tuple(columns), tuple(drawn), caption if convention else "", notes.numbered())


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
    """Draw what a paper's efficiency table shows, as measured."""
    notes = _Notes()
    rows = []
    for result in results:
        subject, latency = result.subject, result.measurement("latency_s")
        batch = result.plan["batch_size"]
        texts = _doubts(subject.status, subject.note)
        texts += [f"{m.metric} failed: {m.failure}" for m in result.measurements if m.failure]
        texts += [_warning(m.metric, text) for m in result.measurements for text in m.warnings]
        row: dict[str, Json] = {
            "name": subject.name + notes.mark(texts),
            "input": subject.input_shape,
            "classes": subject.num_classes,
            "parameters": result.value("parameters.trainable"),
            "macs": result.value("macs"),
            "flops": None if result.value("macs") is None else 2 * (result.value("macs") or 0),
            "bytes": result.value("state_dict_bytes"),
            "memory": result.value("peak_cuda_allocated_bytes") or result.value("peak_rss_bytes"),
        }
        if latency is not None and latency.values:
            middle = median(latency.values)
            row |= {
                "latency": middle,
                "spread": (quantile(latency.values, 0.05), quantile(latency.values, 0.95)),
                "per_image": middle / batch,
                "throughput": batch / middle,
                "runs": len(latency.values),
            }
        rows.append(row)
    columns = (
        Column("name", "Network", align="left"),
        Column("input", "Input", _shape),
        Column("parameters", "Parameters (M)", lambda n: f"{n / 1e6:.3f}"),
        Column("macs", "MACs", _macs),
        Column("flops", "FLOPs", _macs),
        Column("bytes", "Size (MiB)", units.mebibytes),
        Column("latency", "ms a batch", units.milliseconds),
        Column("spread", "5-95 %", lambda ends: " - ".join(map(units.milliseconds, ends))),
        Column("per_image", "ms an image", units.milliseconds),
        Column("throughput", "Images/s", units.significant),
        Column("runs", "Runs"),
        Column("memory", "Memory (MiB)", units.mebibytes),
    )
    return Table("Efficiency", columns, tuple(rows), _conditions(results), notes.numbered())


def _warning(metric: str, text: str) -> str:
    return f"{metric}: {text}."


def _conditions(results: Sequence[Result]) -> str:
    """Say once what all rows share; a table of rows from several environments says each."""
    lines = []
    for result in results:
        where, plan = result.environment, result.plan
        if where is None:
            continue
        classes = "the sheet's classes" if plan["num_classes"] is None else f"{plan['num_classes']} classes"
        versions = ", ".join(f"{name} {version}" for name, version in where.packages.items())
        line = (
            f"Protocol {plan['protocol']}: batch {plan['batch_size']}, {classes}, float32, {where.device} "
            f"({where.device_name}), {where.threads} threads, allocator: {where.allocator}; "
            f"{where.os}, Python {where.python}, {versions}."
        )
        if line not in lines:
            lines.append(line)
    convention = (
        "MACs an image by conv+matmul-v1 (convolutions and matrix products); FLOPs = 2 x MACs. Latency: median of one "
        "process; another process may differ by several percent. Memory: peak above the idle process, or allocated on "
        "the GPU."
    )
    return " ".join([*lines, convention]) if lines else convention


def published(specs: Iterable[ModelSpec], results: Mapping[str, Result]) -> Table:
    """Put the figures that papers print beside ours, a row for each network and paper.

    Args:
        specs: the networks, whose sheets hold the figures.
        results: ours, by the network's name; without one, or where it failed, our cells stay empty.
    """
    rows = []
    for spec in specs:
        ours = results.get(spec.name)
        for paper in sorted({figure.paper for figure in spec.published}):
            row = _published_row(spec, paper)
            if row is None:
                continue
            if ours is not None:
                latency = ours.measurement("latency_s")
                row["our_parameters"] = ours.value("parameters.trainable")
                row["our_macs"] = ours.value("macs")
                row["our_latency"] = median(latency.values) if latency is not None and latency.values else None
            rows.append(row)
    columns = (
        Column("name", "Network", align="left"),
        Column("paper", "Paper"),
        Column("parameters", "Parameters, printed"),
        Column("our_parameters", "Ours", units.grouped),
        Column("flops", '"FLOPs", printed'),
        Column("our_macs", "Our MACs", _macs),
        Column("latency", "Time, printed"),
        Column("our_latency", "Our ms a batch", units.milliseconds),
        Column("accuracy", "Accuracy, printed", align="left"),
        Column("source", "Where", align="left"),
    )
    caption = (
        "Printed: digits and units as the paper has them, right or wrong; measured on its own machine. "
        "Accuracies are the papers'; we measured none."
    )
    return Table("Published figures beside ours", columns, tuple(rows), caption)


def _published_row(spec: ModelSpec, paper: str) -> dict[str, Json] | None:
    def printed(quantity: str) -> Figure | None:
        return spec.figure(quantity, paper)

    def text(figure: Figure | None) -> str | None:
        if figure is None:
            return None
        data = f" ({figure.dataset})" if figure.quantity == "accuracy" and figure.dataset else ""
        return f"{figure.printed}{' ' if figure.unit.isalpha() and len(figure.unit) > 1 else ''}{figure.unit}{data}"

    shown = {
        "parameters": printed("parameters") or printed("trainable_parameters"),
        "flops": printed("flops"),
        "latency": printed("latency"),
        "accuracy": printed("accuracy"),
    }
    if not any(shown.values()):
        return None
    places = dict.fromkeys(figure.where for figure in shown.values() if figure is not None)
    return {
        "name": spec.name,
        "paper": paper,
        **{key: text(figure) for key, figure in shown.items()},
        "source": ", ".join(places),
    }


def report(results: Sequence[Result]) -> dict[str, Table]:
    """Draw the tables of a run, by the stem of their files."""
    zoo = sheets()
    by_name = {result.subject.name: result for result in results}
    specs = [zoo[name] for name in by_name if name in zoo]
    drawn = {"efficiency": efficiency(results), "published": published(specs, by_name)}
    return {stem: table for stem, table in drawn.items() if table.rows}


def portrait(spec: ModelSpec) -> str:
    """Say what a sheet says of a network, its published figures left out."""
    lines = [
        f"{spec.name}: {spec.title}",
        f"  status       {spec.status}: {STATUSES[spec.status]}",
        f"  input        {units.size(spec.input_shape) if spec.input_shape else 'as the library has it'}",
        f"  classes      {spec.num_classes}",
    ]
    if spec.min_size > 1:
        lines.append(f"  runs from    {spec.min_size}x{spec.min_size} pixels")
    lines += [f"  {key:<12} {text}" for key, text in (("citation", spec.citation), ("link", spec.link)) if text]
    if spec.source == "zoo":
        lines.append(f"  code         fer_bench/models/{spec.target}.py")
    if spec.papers:
        lines.append(f"  papers       {', '.join(spec.papers)} (see `published`)")
    lines += [f"  expected     {key}: {units.grouped(value)}" for key, value in spec.expected.items()]
    if spec.note:
        lines.append(f"  note         {spec.note}")
    lines += [f"  choice       {choice}" for choice in spec.choices]
    if spec.uncertain:
        lines.append(f"  uncertain    {', '.join(spec.uncertain)}: rest on the choices above")
    return "\n".join(lines)


def figures(spec: ModelSpec) -> Table:
    """Draw the figures that papers print about a network."""
    rows = [
        {
            "quantity": " ".join(filter(None, (figure.quantity, figure.stage and f"({figure.stage})"))),
            "printed": f"{figure.printed} {figure.unit}".strip(),
            "paper": figure.paper,
            "where": ", ".join(filter(None, (figure.where, figure.row, figure.column))),
            "note": figure.note or None,
        }
        for figure in spec.published
    ]
    columns = (
        Column("quantity", "Quantity", align="left"),
        Column("printed", "Printed"),
        Column("paper", "Paper"),
        Column("where", "Where", align="left"),
        Column("note", "Note", align="left"),
    )
    return Table("Published figures", columns, tuple(rows))
