"""Where a cell comes from: told for every cell of every table, and truly."""

import dataclasses
from pathlib import Path

import pytest

from fer_bench.networks.registry import Registry, built_in
from fer_bench.records import exchange
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement
from fer_bench.reporting import arrange
from fer_bench.reporting import tables as report
from fer_bench.reporting.origin.why import why
from fer_bench.reporting.table import Column, Table

REPORTS = Path(__file__).parent.parent / "reports"
COMMIT = "0" * 40
SMITH = """
[smith]
title = "Smith's"
published = [
  { quantity = "parameters", printed = "1.2", unit = "M", paper = "smith2024", where = "Table 3", row = "SmithNet" },
]
"""


def tables(results, registry):
    baselines = [spec for spec in registry.networks.values() if not spec.can_be_built]
    return {
        **report.report(results, registry, baselines),
        **report.papers(results, registry),
        **report.details(results, registry),
    }


def ask(results, stem, row, column, registry=None):
    """What is told, by heading; of several texts under one, all."""
    registry = registry or built_in()
    told = {}
    for heading, text in why(tables(results, registry), stem, row, column, registry.papers):
        told.setdefault(heading, []).append(text)
    return told


def fails(drawn, *asked):
    with pytest.raises(FerBenchError) as caught:
        why(drawn, *asked, {})
    return str(caught.value)


def with_plan(result, **changes):
    return dataclasses.replace(result, plan=dataclasses.replace(QUICK, **changes))


@pytest.mark.parametrize("records", sorted(REPORTS.glob("*/results.json")), ids=lambda path: path.parent.name)
def test_every_cell_of_every_table_of_the_reports_has_an_origin(records):
    results = exchange.read_file(records)
    drawn = tables(results, built_in())
    assert len(drawn) > 14  # the papers' 14 and what was measured
    for stem, table in drawn.items():
        for place, row in enumerate(table.rows):
            for column in table.columns:
                told = why(drawn, stem, str(place + 1), column.key, built_in().papers)
                texts = [text for heading, text in told if heading in ("source", "metric", "measured", "commit")]
                assert texts, (stem, row, column.key)
                if row.get(column.key) is not None:
                    missing = [text for text in texts if text.endswith("not in the record") or "among the" in text]
                    assert not missing, (stem, row, column.key)


def test_columns_of_tables_that_no_report_has_have_an_origin_too(make_result):
    gpu = [
        Measurement(f"{stage}peak_cuda_{kind}_bytes", "bytes", (5,))
        for stage in ("", "training_")
        for kind in ("allocated", "reserved", "process")
    ]
    series = [
        Measurement(metric, "s", (0.01, 0.01))
        for metric in ("latency_cold_s", "graph_latency_s", "graph_latency_cold_s")
    ]
    details = {"images": 10, "idle_joules": 5.0, "idle_w": 5.0, "window_s": 1.0, "source": "RAPL"}
    result = make_result("x", *gpu, *series, Measurement("energy_j", "J", (25.0,), details=details))
    module = {"path": "conv", "type": "Conv2d", "parameters": 4, "output_shape": [4, 2, 2]}
    parts = Measurement("module_macs", "count", (100,), details={"modules": [module]})
    result = dataclasses.replace(
        with_plan(result, metrics=("latency", "memory", "training_memory")),
        measurements=(*result.measurements, parts),
    )
    sweep = [
        with_plan(result, batch_size=2, metrics=("latency", "memory", "training_memory", "energy")),
        with_plan(
            result,
            batch_size=4,
            threads=2,
            precision="bf16",
            layout="nhwc",
            mode="compile",
            alloc="system",
            device="cuda",
            protocol="safavi2023",
        ),
    ]
    drawn = tables(sweep, built_in())
    assert {"energy", "architecture", "memory"} <= drawn.keys()
    for stem in ("efficiency", "latency", "memory", "energy", "architecture"):
        for column in drawn[stem].columns:
            assert column.origin is not None, (stem, column.key)


def test_a_latency_is_reported_with_processes_passes_interval_plan_and_place(make_result):
    # Medians 10, 12 and 14 ms: mean 12, and Student's 4.303 x 2 / sqrt(3) = 4.969 to either side.
    processes = [(0.009, 0.010, 0.011), (0.012,), (0.014,)]
    latencies = [Measurement("latency_s", "s", values, process=number) for number, values in enumerate(processes)]
    result = with_plan(make_result("x", *latencies, without=("latency_s",)), batch_size=1)
    told = ask([result], "efficiency", "X", "latency (MS)")
    assert told["metric"] == ["latency_s: 5 values of 3 processes, in s"]
    assert [told[f"process {number}"] for number in range(3)] == [["0.009, 0.01, 0.011"], ["0.012"], ["0.014"]]
    assert told["estimate"] == ["0.012 s, the mean of the processes' medians"]
    assert told["source"] == ["Mean of the processes' medians."]
    (interval,) = told["interval"]
    assert interval.startswith("0.00703")
    assert " to 0.01696" in interval
    assert interval.endswith("at 95 %, over 3 processes")
    assert "batch_size=1" in told["plan"][0]
    assert "cpu (Some CPU), 2 threads" in told["environment"][0]
    assert (told["commit"], told["started"]) == ([COMMIT], ["2026-01-01T00:00:00+00:00"])
    assert told["column"] == ["Latency (ms) (latency_s)"]
    assert told["row"] == ["1 / x"]


def test_a_long_series_shows_its_ends_and_its_middle(make_result):
    values = tuple(number / 1000 for number in range(1, 102))
    result = make_result("x", Measurement("latency_s", "s", values), without=("latency_s",))
    told = ask([result], "latency", "x", "p99_s")
    assert told["process 0"] == [
        "0.001, 0.002, 0.003, ... 0.099, 0.1, 0.101; lowest 0.001, median 0.051, highest 0.101"
    ]
    assert told["interval"] == ["none: an interval needs several processes"]
    assert any(note.startswith("too few processes") for note in told["note"])


def test_a_count_is_reported_with_its_convention_and_flops_with_their_formula(make_result):
    macs = Measurement("macs", "count", (3_000_000,), details={"convention": "conv+matmul-v1", "uncounted": {}})
    result = make_result("x", macs, without=("macs",))
    told = ask([result], "efficiency", "x", "flops")
    assert told["source"] == ["FLOPs = 2 x MACs."]
    assert told["cell"] == ["6.00 M"]
    assert told["process 0"] == ["3000000"]
    assert told["details"] == ["convention=conv+matmul-v1"]


def test_a_failure_and_a_warning_are_reported(make_result):
    failed = Measurement("latency_s", "s", failure="boom")
    warned = Measurement("peak_rss_bytes", "bytes", (1,), warnings=("odd",))
    result = make_result("x", failed, warned, without=("latency_s", "peak_rss_bytes"))
    told = ask([result], "efficiency", "x", "peak_memory_bytes")
    assert told["warning"] == ["odd"]
    told = ask([result], "latency", "x", "name")
    assert "Failed (latency_s): boom" in told["note"]
    told = ask([dataclasses.replace(result, environment=None)], "efficiency", "x", "macs")
    assert told["environment"] == ["unknown: the process failed before reporting it"]


def test_uncommitted_changes_are_reported(make_result):
    result = make_result("x")
    dirty = dataclasses.replace(result, environment=dataclasses.replace(result.environment, dirty=True))
    assert ask([dirty], "efficiency", "x", "macs")["commit"] == [f"{COMMIT}, with uncommitted changes"]


def test_of_several_settings_the_row_s_own_record_is_reported(make_result):
    results = [with_plan(make_result("x"), batch_size=size) for size in (1, 2, 4)]
    for number, size in ((1, 1), (2, 2), (3, 4)):
        assert f"batch_size={size}," in ask(results, "efficiency", str(number), "macs")["plan"][0]
    # Two records that a row cannot tell apart are told in their order.
    twins = [dataclasses.replace(results[0], started_at=time) for time in ("then", "later")]
    assert [ask(twins, "latency", number, "latency_s")["started"] for number in "12"] == [["then"], ["later"]]


def test_ours_beside_a_published_figure_is_of_the_row_s_own_record(make_result):
    results = [with_plan(make_result("resnet152", input_shape=(3, 224, 224)), batch_size=size) for size in (1, 2)]
    for number, size in ((1, 1), (2, 2)):
        told = ask(results, "published", str(number), "our_latency_s")
        assert f"batch_size={size}," in told["plan"][0]
        assert told["metric"] == ["latency_s: 5 values of 1 process, in s"]
    assert ask(results, "published", "2", "latency")["printed"] == ["23.66 ns"]


def test_a_paper_s_own_cell_is_reported_with_place_convention_and_link():
    told = ask([], "paper001_table2", "proposed method", "Flops")
    assert told["source"][0].startswith("as published, paper 001: Towards Efficient Deep Learning Models")
    assert told["where"] == ["Table II, row Proposed Method, column Flops"]
    assert (told["printed"], told["base units"]) == (["0.425 B"], ["425000000"])
    assert told["convention"] == ["floating-point operations per second, in the paper's words"]
    assert told["link"] == ["https://doi.org/10.1109/BSN58485.2023.10331041"]
    assert ask([], "paper001_table2", "rasn", "Time")["source"] == [
        "paper 001 prints nothing in this cell of its Table II"
    ]


def test_a_figure_that_is_a_whole_table_and_a_lost_cell_are_reported():
    told = ask([], "paper004_table1", "Fear", "Happy")
    assert (told["cell"], told["printed"]) == (["0.05"], ["a table of its own"])
    assert "the diagonal weighted by the test set's classes gives 65.6 %" in told["its note"][0]
    assert ask([], "paper002_table1", "Vertical Flip", "printed")["printed"] == ["lost in the text"]


def test_ours_in_a_paper_s_table_is_reported_from_the_record(make_result):
    told = ask([make_result("resnet152")], "paper001_table2", "resnet152", "fer_bench: MACs")
    assert told["metric"] == ["macs: 1 value of 1 process, in count"]
    told = ask([make_result("resnet152")], "paper001_table2", "densenet121", "fer_bench: macs")
    assert told["measured"] == ["no result for this row"]
    told = ask([make_result()], "paper002_table2", "CPU", "ours")
    assert told["commit"] == [COMMIT]
    assert "cpu=Some CPU" in told["machine"][0]


def test_printed_figures_outside_of_a_paper_s_table_are_reported(make_result, tmp_path):
    (tmp_path / "mine.toml").write_text(SMITH)
    registry = Registry([tmp_path])
    results = [make_result("mini_xception")]
    told = ask(results, "efficiency", "mini_xception", "accuracy")
    assert told["where"] == [
        "Table 2, row Our model, column Test set accuracy",
        "Table 6, row Our model, column Test set accuracy",
    ]
    told = ask(results, "published", "mini_xception", "file_size")
    assert told["printed"] == ["872.9 kilobytes"]
    told = ask(results, "efficiency", "smith", "parameters", registry)
    assert (told["source"], told["where"]) == (["as published, paper smith2024"], ["Table 3, row SmithNet"])
    told = ask(results, "efficiency", "smith", "macs", registry)
    assert told["measured"] == ["no result for this row"]
    assert ask([make_result("x")], "efficiency", "x", "name")["source"][0].startswith("Which network was measured")


def test_what_is_not_there_is_answered_with_what_is(make_result):
    results = [make_result("mini_xception"), make_result("resnet50")]
    drawn = tables(results, built_in())
    assert "no table 'eficiency' (did you mean efficiency" in fails(drawn, "eficiency", "1", "macs")
    assert "no row 'resnet5' (did you mean resnet50" in fails(drawn, "efficiency", "resnet5", "macs")
    assert "a number from 1 to 2" in fails(drawn, "efficiency", "3", "macs")
    assert "no column 'mac' (did you mean macs" in fails(drawn, "efficiency", "1", "mac")
    twice = [with_plan(results[0], batch_size=size) for size in (1, 2)]
    assert "2 rows are called 'mini_xception': name one by its number, 1, 2" in fails(
        tables(twice, built_in()), "efficiency", "mini_xception", "macs"
    )


def test_a_heading_that_two_columns_have_is_asked_for_by_key():
    columns = (Column("macs", "Ours"), Column("flops", "Ours"))
    table = Table("t", columns, ({"name": "x", "macs": 1, "flops": 2},))
    assert "by its key, macs, flops" in fails({"t": table}, "t", "x", "ours")


def test_sorted_rows_keep_what_they_were_made_from(make_result):
    slow, fast = (
        make_result(name, Measurement("latency_s", "s", (seconds,) * 5), without=("latency_s",))
        for name, seconds in (("slow", 0.2), ("fast", 0.1))
    )
    drawn = arrange.choose_models(arrange.sort_rows(tables([slow, fast], built_in()), "latency_s"), ["fast"])
    told = why(drawn, "latency", "1", "latency_s", {})
    assert [text for heading, text in told if heading == "process 0"] == ["0.1, 0.1, 0.1, 0.1, 0.1"]


def test_a_column_whose_origin_nobody_wrote_down_is_an_error():
    table = Table("t", (Column("nonsense", "Nonsense"),), ({"name": "x", "nonsense": 1},))
    assert "the origin of column nonsense of t is not recorded" in fails({"t": table}, "t", "1", "nonsense")
