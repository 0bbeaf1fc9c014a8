"""What tables choose to show, from results whose numbers are round."""

import dataclasses

import pytest

from fer_bench import registry, tables
from fer_bench.records import Measurement
from fer_bench.registry import Figure, ModelSpec
from fer_bench.tables import Column, Table


def cells(table):
    """Each row's cells by heading."""
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.cells()]


def test_the_efficiency_table_has_what_a_paper_prints(make_result):
    (row,) = cells(tables.efficiency([make_result()]))
    assert row == {
        "Network": "mini_xception",
        "Input": "1x48x48",
        "Classes": "7",
        "Parameters": "1.000 k",
        "MACs": "2.00 M",
        "FLOPs": "4.00 M",
        "Size (MiB)": "1.00",
        "ms a batch": "10.0",
        "5-95 %": "9.20-18.2",  # of 9, 10, 10, 11, 20: 9 + 0.2 x 1, and 11 + 0.8 x 9
        "ms an image": "5.00",
        "Images/s": "200",
        "Runs": "5",
        "Memory (MiB)": "3.00",
        "Accuracy, as published": "67.00 % FER2013 (004, Table 2); 87.71 % KDEF (004, Table 6)",
    }


def test_memory_of_a_gpu_stands_for_that_of_its_host(make_result):
    result = make_result("x", Measurement("peak_cuda_allocated_bytes", "bytes", (5 * 2**20,)))
    assert cells(tables.efficiency([result]))[0]["Memory (MiB)"] == "5.00"


def test_a_failure_is_a_row_with_its_reason_once(make_result):
    failed = [Measurement(metric, "", failure="boom") for metric in ("latency", "memory")]
    result = make_result("x", *failed, without=("latency_s", "peak_rss_bytes"))
    table = tables.efficiency([result, make_result("y")])
    first, second = cells(table)
    assert (first["Network"], first["ms a batch"], first["Memory (MiB)"], first["MACs"]) == (
        "x [1]",
        "–",
        "–",
        "2.00 M",
    )
    assert second["Network"] == "y"
    assert table.footnotes == ["[1] Failed (latency, memory): boom"]


def test_a_doubtful_build_and_a_warning_are_footnotes_and_equal_ones_are_shared(make_result):
    warned = Measurement("peak_rss_bytes", "bytes", (1,), warnings=("odd",))
    results = [
        make_result("a", status="stand-in", note="not theirs"),
        make_result("b", warned, status="stand-in", note="not theirs", without=("peak_rss_bytes",)),
        make_result("c", status="reconstruction"),
    ]
    table = tables.efficiency(results)
    assert [row["Network"] for row in cells(table)] == ["a [1]", "b [1,2]", "c [3]"]
    assert table.footnotes == [
        "[1] Stand-in: not theirs",
        "[2] peak_rss_bytes: odd.",
        f"[3] Reconstruction: {registry.STATUSES['reconstruction']}.",
    ]


def test_printed_figures_stand_beside_ours(make_result):
    spec = registry.find("mini_xception")
    table = tables.published([spec], {"mini_xception": make_result()})
    assert cells(table) == [
        {
            "Network": "mini_xception",
            "Paper": "004",
            "Parameters, printed": "58423",
            "Ours": "1,000",
            "Ours by Keras": "1,200",
            "Size, printed": "872.9 kilobytes",
            "Ours (kB)": "3000",
            "Where": "Table 3, abstract",
        }
    ]


def test_each_paper_has_its_own_row_and_ours_stay_empty_without_a_result():
    figures = tuple(Figure("flops", printed, "B", paper, "Table 1") for printed, paper in (("2.1", "2"), ("2.0", "1")))
    table = tables.published([ModelSpec("n", "zoo", "n", "N", published=figures)], {})
    assert [(row["Paper"], row['"FLOPs", printed'], row["Our MACs"]) for row in cells(table)] == [
        ("1", "2.0 B", "–"),
        ("2", "2.1 B", "–"),
    ]


def test_a_network_without_a_sheet_has_no_published_table(make_result):
    assert list(tables.report([make_result("users.py:net")])) == ["efficiency"]


def test_a_figure_that_a_paper_repeats_has_one_row_with_all_its_places():
    def figure(where, **more):
        return Figure("accuracy", "67", "%", "1", where, dataset="A", **more)

    spec = ModelSpec(
        "n",
        "zoo",
        "n",
        "N",
        published=(figure("abstract"), figure("section 1", note="Wrong."), figure("Table 2", row="Ours", column="Acc")),
    )
    rows = cells(tables.figures(spec))
    assert [(row["Quantity"], row["Where"]) for row in rows] == [
        ("accuracy", "abstract; Table 2, Ours, Acc"),
        ("accuracy [1]", "section 1"),
    ]


def test_a_portrait_leaves_out_what_the_sheet_does_not_say():
    assert tables.portrait(ModelSpec("n", "timm", "n", "N", input_shape=None)) == [
        ("name", "n: N"),
        ("status", f"unregistered: {registry.STATUSES['unregistered']}"),
        ("input", "as the library has it"),
        ("classes", "7"),
    ]


def test_the_catalogue_has_every_network():
    specs = registry.sheets().values()
    assert [row["name"] for row in cells(tables.catalogue(specs))] == list(registry.sheets())


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
        "counted_on": "cpu",
        "input_shape": [3, 8, 8],
        "num_classes": 7,
        "parameters": {"trainable": 1000, "keras_total": 1000},
        "macs": 5,
        "flops": 10,
        "peak_activation_bytes": 2**20,
        "layers": {"conv": 1, "pool": 2, "fc": 3},
        "counters": {"thop": {"value": 6.0, "unit": "MACs"}},
    }
    table = tables.counts([row, {"name": "m", "error": "boom"}])
    first, second = cells(table)
    assert (first["Network"], first["MACs"], first["FLOPs"], first["FC"]) == ("n [1,2]", "5", "10", "3")
    assert first["thop (MACs)"] == "6.0"
    assert second["Network"] == "m [3]"
    assert table.footnotes == [
        "[1] MACs are a lower bound: no formula for aten::odd (3).",
        "[2] Counted on cpu tensors: it cannot run on meta ones.",
        "[3] Failed: boom",
    ]


def test_cells_hold_nothing_that_a_terminal_obeys():
    table = Table("t", (Column("name", "Name"),), ({"name": "a\x1b[2J\nb"},), notes=(("c\rd",),))
    assert table.cells() == [["a [2J b [1]"]]
    assert table.footnotes == ["[1] c d"]


def test_a_row_without_its_notes_is_a_mistake_of_ours():
    table = Table("t", (Column("name", "Name"),), ({"name": "a"}, {"name": "b"}), notes=(("x",),))
    with pytest.raises(ValueError, match="shorter"):
        table.cells()


def test_a_gpu_that_rounds_to_tf32_is_not_called_float32_alone(make_result):
    result = make_result()
    gpu = {"name": "Some GPU", "tf32_convolutions": True, "tf32_matrix_products": False}
    environment = dataclasses.replace(result.environment, device="cuda", device_name="Some GPU", gpu=gpu)
    on_gpu = dataclasses.replace(result, environment=environment)
    assert "float32, cpu" in tables.efficiency([result]).caption
    assert "float32 (TF32 in convolutions), cuda (Some GPU)" in tables.efficiency([on_gpu]).caption
