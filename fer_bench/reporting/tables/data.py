"""What a data set has, as tables: images of each class by split, rows that are left out, images that are equal."""

from collections.abc import Iterable, Mapping, Sequence

from fer_bench.records import units
from fer_bench.records.result import Json
from fer_bench.reporting.table import Column, Table, text_columns


def class_counts(
    counts: Mapping[str, Mapping[str, int]], published: Mapping[str, Mapping[str, int]], caption: str = ""
) -> Table:
    """List the images of each class, a column for each split, and beside it what the published data set has.

    Args:
        counts: by split, by class.
        published: likewise; empty for a data set that is not known.
        caption: whose images they are.
    """
    rows: list[dict[str, Json]] = [
        {"class": name}
        | {split: of.get(name) for split, of in counts.items()}
        | {f"published_{split}": of.get(name) for split, of in published.items()}
        for name in dict.fromkeys(name for of in counts.values() for name in of)
    ]
    total = {split: sum(of.values()) for split, of in counts.items()}
    total |= {f"published_{split}": sum(of.values()) for split, of in published.items()}
    columns = [*text_columns(**{"class": "class"})]
    for split in counts:
        columns.append(Column(split, split, units.grouped))
        if split in published:
            columns.append(Column(f"published_{split}", "published", units.grouped))
    return Table("Images", tuple(columns), (*rows, {"class": "all", **total}), caption, name="images")


def left_out(dropped: Iterable[tuple[str, str]]) -> Table:
    """List rows and files that are not in the data set, with the reason."""
    rows = tuple({"id": name, "reason": reason} for name, reason in dropped)
    return Table("Left out", tuple(text_columns(id="row or file", reason="reason")), rows, name="left_out")


def equal_images(groups: Sequence[Sequence[str]]) -> Table:
    """List images that are equal byte for byte, a row for each group."""
    rows = tuple({"count": len(names), "ids": ", ".join(names)} for names in groups)
    columns = (Column("count", "equal", units.grouped), *text_columns(ids="images"))
    return Table("Equal images", columns, rows, name="equal_images")
