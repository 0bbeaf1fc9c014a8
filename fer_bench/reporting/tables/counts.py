"""The tables of counts: of stored results, and of networks counted just now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.table import Column, Table, text_columns
from fer_bench.reporting.tables import standard
from fer_bench.reporting.tables.catalogue import built_with, doubts
from fer_bench.reporting.tables.common import Entry, Networks, about, distinct, head, make_table, warnings_of

_COLUMNS = (
    standard.NETWORK,
    standard.INPUT,
    standard.CLASSES,
    replace(standard.PARAMETERS, write=units.grouped),
    standard.KERAS_TOTAL,
    standard.MACS,
    standard.FLOPS,
    standard.STATE_DICT,
    replace(standard.ACTIVATIONS, better="lower"),
    standard.CONV,
    standard.CONV_SEPARABLE_ONCE,
    standard.POOL,
    standard.FC,
)


def once(results: Iterable[Result], metric: str) -> list[Result]:
    """Return for each build the first result with a count: no plan changes it."""
    return distinct(
        result for result in results if (measured := result.measurement(metric)) is not None and measured.values
    )


def of_results(results: Iterable[Result], networks: Networks) -> Table:
    """Draw what was counted of each network, once for each input and number of classes."""
    entries = [
        Entry.of(
            result,
            head(result) | standard.counted(result),
            *about(result, networks),
            *warnings_of(result, "macs", "parameters.trainable"),
        )
        for result in once(results, "macs")
    ]
    caption = (
        f"Parameters: trainable. {standard.MACS_ARE}; {standard.FLOPS_ARE} "
        "Size: parameters and buffers. Activations: peak bytes besides weights, in inference. Layers: those that run."
    )
    return make_table("Counts", _COLUMNS, entries, caption)


def of_rows(rows: Sequence[Mapping[str, Json]]) -> Table:
    """Draw the rows of ``fer-bench count``, with a training step and other tools' counts where these were asked for."""
    done = [row for row in rows if "error" not in row]
    tools = {tool: other["unit"] for row in done for tool, other in row.get("counters", {}).items()}
    columns = (
        *(column for column in _COLUMNS if column not in (standard.STATE_DICT, standard.CONV_SEPARABLE_ONCE)),
        Column("train_macs", "Training MACs", units.scaled),
        Column("train_activations", "Training activations (MiB)", units.mebibytes),
        *(Column(tool, f"{tool} ({unit})", units.grouped) for tool, unit in tools.items()),
    )
    batches = dict.fromkeys(str(row["batch"]) for row in done)
    steps = dict.fromkeys(str(row["training"]["batch"]) for row in done if row.get("training", {}).get("batch"))
    caption = (
        f"Parameters: trainable. {standard.MACS_ARE}; {standard.FLOPS_ARE} "
        f"Activations: peak bytes besides the weights, one inference pass of batch {', '.join(batches)}"
    ) + (f", one training step of batch {', '.join(steps)}." if steps else ".")
    return make_table("Static counts", columns, [_of_row(row) for row in rows], caption)


def _of_row(row: Mapping[str, Json]) -> Entry:
    if "error" in row:
        return Entry({"name": row["name"]}, [f"Failed: {row['error']}"])
    notes = doubts(row["status"], row["note"], row["uncertain"])
    training = row.get("training", {})
    if row.get("inputs"):
        notes.append(f"Inputs: {', '.join(row['inputs'])}.")
    if row["settings"]:
        notes.append(built_with(row["settings"]))
    if frozen := row["parameters"]["frozen"]:
        notes.append(f"{units.grouped(frozen)} more parameters are frozen or quantised.")
    notes += [f"{text[0].upper()}{text[1:]}." for text in row["reservations"]]
    notes += [f"Training step: {text}." for text in training.get("reservations", ())]
    if "error" in training:
        notes.append(f"Not trained: {training['error']}")
    if row["counted_on"] != "meta":
        notes.append(f"Counted on {row['counted_on']} tensors: it cannot run on meta ones.")
    cells = {**row, **row["layers"], **row["parameters"], "parameters": row["parameters"]["trainable"]}
    if row["macs"] is None and not row["parameters"]["total"]:  # what runs elsewhere has its weights there
        cells |= {"parameters": None, "keras_total": None}
    cells |= {"train_macs": training.get("macs"), "train_activations": training.get("peak_activation_bytes")}
    return Entry(cells | {tool: other["value"] for tool, other in row.get("counters", {}).items()}, notes)


def modules(name: str, rows: Sequence[Mapping[str, Json]]) -> Table:
    """Draw MACs by module."""
    columns = (
        *text_columns(module="Module"),
        Column("own_macs", "Own MACs", units.grouped),
        Column("macs", "MACs", units.grouped),
        Column("share", "Share", lambda share: f"{100 * share:.1f} %"),
    )
    return Table(f"{name}: MACs per image by module", columns, tuple(rows))


def operators(name: str, rows: Sequence[Mapping[str, Json]]) -> Table:
    """Draw calls and MACs by operator."""
    columns = (
        *text_columns(operator="Operator", kind="Kind"),
        Column("calls", "Calls"),
        Column("macs", "MACs", units.grouped),
    )
    return Table(f"{name}: MACs per image by operator", columns, tuple(rows))
