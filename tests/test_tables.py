"""What tables choose to show, from sheets and counts."""

import pytest

from fer_bench.networks.registry import built_in
from fer_bench.networks.spec import STATUSES, Figure, ModelSpec, Source
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import catalogue, counts


def cells(table):
    """Each row's cells by heading."""
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.cells()]


def test_a_figure_that_a_paper_repeats_has_one_row_with_all_its_places():
    def figure(where, **more):
        return Figure("accuracy", "67", "%", "1", where, dataset="A", **more)

    spec = ModelSpec(
        "n",
        Source("zoo", "n", "n"),
        "N",
        published=(figure("abstract"), figure("section 1", note="Wrong."), figure("Table 2", row="Ours", column="Acc")),
    )
    rows = cells(catalogue.figures(spec))
    assert [(row["Quantity"], row["Where"]) for row in rows] == [
        ("accuracy", "abstract; Table 2, Ours, Acc"),
        ("accuracy [1]", "section 1"),
    ]


def test_a_portrait_leaves_out_what_the_sheet_does_not_say():
    assert catalogue.network_details(ModelSpec("n", Source("timm", "n"), "N", input_shape=None), built_in()) == [
        ("name", "n: N"),
        ("status", f"unregistered: {STATUSES['unregistered']}"),
        ("input", "as defined by the library"),
        ("classes", "7"),
    ]


def test_the_catalogue_has_every_network():
    specs = built_in().networks
    assert [row["name"] for row in cells(catalogue.catalogue(specs.values()))] == list(specs)


def test_counts_say_when_they_are_a_lower_bound():
    row = {
        "name": "n",
        "status": "unregistered",
        "note": "",
        "uncertain": [],
        "settings": [],
        "batch": 1,
        "convention": "conv+matmul-v1",
        "uncounted": {"aten::odd": 3},
        "reservations": ["a lower bound: operators without a formula were called: aten::odd (3)"],
        "counted_on": "cpu",
        "input_shape": [3, 8, 8],
        "num_classes": 7,
        "parameters": {"trainable": 1000, "frozen": 0, "keras_total": 1000},
        "macs": 5,
        "flops": 10,
        "peak_activation_bytes": 2**20,
        "layers": {"conv": 1, "pool": 2, "fc": 3},
        "counters": {"thop": {"value": 6.0, "unit": "MACs"}},
    }
    table = counts.of_rows([row, {"name": "m", "error": "boom"}])
    first, second = cells(table)
    assert (first["Network"], first["MACs"], first["FLOPs"], first["FC"]) == ("n [1,2]", "5", "10", "3")
    assert first["thop (MACs)"] == "6.0"
    assert second["Network"] == "m [3]"
    assert table.footnotes == [
        "[1] A lower bound: operators without a formula were called: aten::odd (3).",
        "[2] Counted on cpu tensors: it cannot run on meta ones.",
        "[3] Failed: boom",
    ]


def test_a_row_without_its_notes_is_a_mistake_of_ours():
    table = Table("t", (Column("name", "Name"),), ({"name": "a"}, {"name": "b"}), notes=(("x",),))
    with pytest.raises(ValueError, match="shorter"):
        table.cells()
