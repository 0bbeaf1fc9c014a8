"""What changes of the input did to decisions and to accuracy, drawn from the rows of ``accuracy.effects``."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from fer_bench.records import units
from fer_bench.records.result import Json
from fer_bench.reporting.table import Column, Table, text_columns

_DROP = "drop_"  # before a class, in a row
Rows = Sequence[Mapping[str, Json]]


def sensitivity(rows: Rows) -> Table:
    """Draw how many decisions stay the same under each change of the input contract."""
    columns = (
        *text_columns(kind="Field", change="Change"),
        Column("same", "Same class (%)", units.hundredths),
        Column("total_variation", "Total variation", units.number),
        Column("accuracy", "Accuracy (%)", units.hundredths),
    )
    caption = (
        "Same class: share of images with the class that they have under the contract. Total variation: mean of half "
        "the sum of the absolute differences of probabilities, 0 to 1."
    )
    notes = tuple((f"Failed: {row['failed']}",) if row["failed"] else () for row in rows)
    return Table("Sensitivity to the input", columns, tuple(rows), caption, notes, name="sensitivity", label="change")


def robustness(rows: Rows, accuracy: float) -> Table:
    """Draw accuracy at each strength of each disturbance, and the mean drop over the strengths, by class."""
    drops = [key for key in rows[0] if key.startswith(_DROP)]
    drawn = []
    for name in dict.fromkeys(row["disturbance"] for row in rows):
        mine = [row for row in rows if row["disturbance"] == name]
        strengths = {f"strength_{row['strength']}": row["accuracy"] for row in mine}
        means = {key: fmean(row[key] for row in mine) for key in ("drop", *drops)}
        drawn.append({"disturbance": name, "from": mine[0]["setting"], "to": mine[-1]["setting"], **strengths, **means})
    columns = (
        *text_columns(disturbance="Disturbance", **{"from": "from", "to": "to"}),
        *(Column(f"strength_{number}", f"{number} (%)", units.hundredths) for number in range(1, 6)),
        Column("drop", "Drop (pp)", units.hundredths),
        *(Column(key, f"{key.removeprefix(_DROP)} (pp)", units.hundredths) for key in drops),
    )
    caption = (
        f"Accuracy at strengths 1 to 5; undisturbed {units.percent(accuracy)}. Drop: mean over the strengths, in "
        "percentage points, of accuracy and of the recall of each class."
    )
    return Table("Robustness", columns, tuple(drawn), caption, name="robustness")
