"""What the tables of a run show, from results whose numbers are round."""

import dataclasses

import pytest

from fer_bench.networks.registry import built_in
from fer_bench.networks.spec import STATUSES, Figure, ModelSpec, Source
from fer_bench.records.plan import EDGE, OCCUPANCY, QUICK, SAFAVI2023, TRAINING, Plan
from fer_bench.records.result import Measurement
from fer_bench.reporting import tables
from fer_bench.reporting.render.latex import to_latex
from fer_bench.reporting.tables import costs, resources, speed

MIB = 2**20
ALONE = "too few processes: one process does not predict the next, which can differ by several percent"
CURE = "try: --processes 5 or --protocol edge"


def efficiency(results):
    return costs.efficiency(results, built_in())


def published(specs, results):
    return costs.published(specs, results, built_in().networks)


def report(results):
    return tables.report(results, built_in())


def cells(table):
    """Each row's cells by heading."""
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.cells()]


def latencies(*processes):
    return [
        Measurement("latency_s", "s", values * 5 if len(values) == 1 else values, process=number)
        for number, values in enumerate(processes)
    ]


def with_plan(result, plan, **changes):
    return dataclasses.replace(result, plan=dataclasses.replace(plan, **changes))


def test_the_efficiency_table_has_what_a_paper_prints(make_result):
    result = make_result("mini_xception", *latencies((0.009, 0.010, 0.011), (0.012,), (0.014,)), without=("latency_s",))
    (row,) = cells(efficiency([with_plan(result, QUICK, batch_size=1)]))
    assert row == {
        "Network": "mini_xception",
        "Input": "1x48x48",
        "Classes": "7",
        "Parameters": "1.000 k",
        "MACs": "2.00 M",
        "FLOPs": "4.00 M",
        "Size (MiB)": "1.00",
        "Latency (ms)": "12",  # the mean of the medians 10, 12 and 14
        "95 % interval (ms)": "7–17",  # 12 -+ 4.303 x 2 / sqrt(3) = 4.97, which supports whole milliseconds
        "Images/s": "83",
        "Real time": "yes",
        "Memory (MiB)": "3.00",
        "Accuracy, as published": "67.00 % FER2013 (004, Table 2); 87.71 % KDEF (004, Table 6; unknown input)",
    }


def test_one_process_has_no_interval_and_the_row_says_so(make_result):
    table = efficiency([make_result()])
    assert "95 % interval (ms)" not in cells(table)[0]
    for caption in (table.caption, tables.latency([make_result()]).caption):
        assert "Latency of a batch: median of one process's passes;" in caption
        assert "Student" not in caption
    mixed = tables.latency([make_result(), make_result("y", *latencies((0.01,), (0.02,)), without=("latency_s",))])
    assert "Student's over processes" in mixed.caption
    assert "A single process has no interval." in mixed.caption
    assert table.footnotes == [f"[1] {ALONE}; {CURE}"]


def test_real_time_is_judged_at_batch_1_and_never_by_division(make_result):
    slow = make_result("x", *latencies((0.060,)), without=("latency_s",))
    at_2, at_1 = with_plan(slow, QUICK, batch_size=2), with_plan(slow, QUICK, batch_size=1)
    rows = cells(efficiency([at_2, at_1]))
    assert [row["Real time"] for row in rows] == ["–", "no"]
    assert [row["Batch"] for row in rows] == ["2", "1"]


def test_real_time_is_unclear_where_what_is_known_holds_the_limit(make_result):
    # 41 ms lies in 41.5 -+ 12.706 x 0.707 / sqrt(2) = 6.4, and between the tenth and the ninetieth of a process's runs.
    known = [((0.041,), (0.042,)), ((0.040, 0.040, 0.042, 0.042) * 2,), ((0.0400, 0.0405) * 3,), ((0.042, 0.043) * 3,)]
    results = [make_result("x", *latencies(*processes), without=("latency_s",)) for processes in known]
    rows = cells(efficiency([with_plan(result, QUICK, batch_size=1) for result in results]))
    assert [row["Real time"] for row in rows] == ["unclear", "unclear", "yes", "no"]


def test_an_image_s_share_of_a_batch_of_one_is_not_repeated(make_result):
    one, two = (with_plan(make_result(), QUICK, batch_size=size) for size in (1, 2))
    assert "ms per image" not in cells(tables.latency([one]))[0]
    assert [row["ms per image"] for row in cells(tables.latency([one, two]))] == ["–", "5.0"]  # two digits at least


def test_code_of_libraries_in_the_peak_is_reported_apart(make_result):
    peak = Measurement("peak_rss_bytes", "bytes", (33 * MIB,), details={"file_bytes": 29 * MIB})
    (row,) = cells(resources.memory([make_result("x", peak, without=("peak_rss_bytes",))]))
    assert (row["Process (MiB)"], row["of it libraries (MiB)"]) == ("33.0", "29.0")


def test_memory_of_a_gpu_stands_for_that_of_its_host(make_result):
    result = make_result("x", Measurement("peak_cuda_allocated_bytes", "bytes", (5 * MIB,)))
    assert cells(efficiency([result]))[0]["Memory (MiB)"] == "5.00"


def test_a_failure_is_a_row_with_its_reason_once(make_result):
    failed = [Measurement(metric, "", failure="boom") for metric in ("latency", "memory")]
    result = make_result("x", *failed, without=("latency_s", "peak_rss_bytes"))
    table = efficiency([result, make_result("y")])
    first, second = cells(table)
    assert (first["Network"], first["Latency (ms)"], first["Memory (MiB)"], first["MACs"]) == (
        "x [1]",
        "–",
        "–",
        "2.00 M",
    )
    assert second["Network"] == "y [2]"
    assert table.footnotes[0] == "[1] Failed (latency, memory): boom"
    # The row is in every table that was asked for it.
    assert cells(tables.latency([result]))[0] == {"Network": "x [1]", "Input": "1x48x48"}
    assert cells(resources.memory([result]))[0]["Network"] == "x [1]"


def test_a_doubtful_build_and_a_warning_are_footnotes_and_equal_ones_are_shared(make_result):
    warned = Measurement("peak_rss_bytes", "bytes", (1,), warnings=("odd",))
    results = [
        make_result("a", status="stand-in", note="not theirs"),
        make_result("b", warned, status="stand-in", note="not theirs", without=("peak_rss_bytes",)),
        make_result("c", status="reconstruction"),
        make_result("d", exempt="it needs 75x75 pixels"),
    ]
    table = efficiency(results)
    assert [row["Network"] for row in cells(table)] == ["a [1,2]", "b [1,2,3]", "c [2,4]", "d [2,5]"]
    assert table.footnotes == [
        "[1] Stand-in: not theirs",
        f"[2] {ALONE}; {CURE}",
        "[3] peak_rss_bytes: odd.",
        f"[4] Reconstruction: {STATUSES['reconstruction']}.",
        "[5] Exempt from the protocol's input size, measured at its own: it needs 75x75 pixels.",
    ]


def test_settings_that_differ_are_columns_and_those_that_do_not_stand_in_the_caption(make_result):
    result = make_result()
    rows = [with_plan(result, QUICK, precision=precision, layout="nhwc") for precision in ("fp32", "bf16")]
    table = efficiency(rows)
    assert [row["Precision"] for row in cells(table)] == ["fp32", "bf16"]
    assert "Layout" not in cells(table)[0]
    assert table.caption.startswith(
        "Protocol quick: batch 1, nhwc, cpu (Some CPU), 2 threads, allocator: system; Linux"
    )
    assert "batch 1, autocast to bf16, cpu" in efficiency(rows[1:]).caption.replace("nhwc, ", "")


def test_the_system_s_allocator_is_reported_where_it_makes_a_difference(make_result):
    kept = make_result("x", *latencies((0.013,)), without=("latency_s",))
    faults = Measurement("minor_faults", "count", (1970.0, 1990.0))
    system = make_result("x", *latencies((0.01664,)), faults, without=("latency_s",))
    table = efficiency([with_plan(kept, QUICK), with_plan(system, QUICK, alloc="system")])
    told = "Memory kept; under the system's allocator, as deployed, 16.6 ms (+28 %, 1980 page faults per run)."
    assert any(told in note for note in table.footnotes)
    assert [row["Allocator"] for row in cells(table)] == ["keep", "system"]
    same = efficiency([with_plan(kept, QUICK), with_plan(kept, QUICK, alloc="system")])
    assert not any("as deployed" in note for note in same.footnotes)


def test_the_latency_table_reports_all_of_it(make_result):
    result = make_result(
        "x",
        *latencies((0.010,) * 99 + (0.030,), (0.012,) * 100),
        Measurement("minor_faults", "count", (3.0, 5.0)),
        Measurement("involuntary_switches", "count", (0.0, 0.5)),
        without=("latency_s",),
    )
    (row,) = cells(tables.latency([with_plan(result, SAFAVI2023, device="cpu", batch_size=4)]))
    row.pop("Network")
    assert row == {
        "Input": "1x48x48",
        "Latency (ms)": "11",
        "95 % interval (ms)": "0–24",  # 11 -+ 12.706 x 1.414 / sqrt(2), and no time is below 0
        "Mean of one process (ms)": "10",  # 10.2 of the first process, as the paper has it: (99 x 10 + 30) / 100
        "p90 (ms)": "12",
        "p99 (ms)": "12",
        "Between processes": "13 %",  # 1.414 / 11, which is known to 71 % of itself of two processes
        "ms per image": "2.8",  # 11 / 4, which is known no better than the 11
        "Images/s": "360",
        "Processes": "2",
        "Runs": "200",
        "Faults per run": "4.0",  # 3 and 5 in one process: 4 -+ 1
        "Switches per run": "0.25",
    }


def test_a_mean_over_processes_has_the_digits_of_its_standard_error(make_result):
    # Means 4000 and 4200 of two processes: 4100 -+ 141 / sqrt(2) = 100.
    faults = [Measurement("minor_faults", "count", (value,), process=n) for n, value in enumerate((4000.0, 4200.0))]
    assert cells(tables.latency([make_result("x", *faults)]))[0]["Faults per run"] == "4100"
    faults = [Measurement("minor_faults", "count", (value,), process=n) for n, value in enumerate((3.0, 6.333))]
    # 4.6665 -+ 1.67: two digits at least.
    assert cells(tables.latency([make_result("x", *faults)]))[0]["Faults per run"] == "4.7"


def test_a_caption_has_no_gap_where_nothing_is_said(make_result):
    counted = make_result("x", without=("latency_s",))
    for table in (efficiency([counted]), tables.latency([counted]), efficiency([make_result()])):
        assert "  " not in table.caption


def test_a_gpu_s_four_ways_are_columns(make_result):
    more = [
        Measurement(f"{way}_s", "s", (0.001 * n,) * 5)
        for n, way in enumerate(("latency_cold", "graph_latency"), start=2)
    ]
    lost = Measurement("graph_latency_cold_s", "s")
    table = tables.latency([make_result("x", *more, lost)])
    assert (cells(table)[0]["Cold L2 (ms)"], cells(table)[0]["CUDA graph (ms)"]) == ("2.00", "3.00")
    assert "CUDA graph, cold L2 (ms)" not in cells(table)[0]


def test_a_network_that_no_cuda_graph_can_hold_says_so(make_result):
    lost = Measurement("graph_latency_s", "s", details={"not_captured": "it looks at values"})
    assert "Cannot be captured as a CUDA graph: it looks at values." in str(
        tables.latency([make_result("x", lost)]).notes
    )


def test_not_converged_is_said(make_result):
    result = make_result("x", *latencies(*[(0.010 + 0.001 * (n % 3),) for n in range(8)]), without=("latency_s",))
    assert "not converged" in str(efficiency([with_plan(result, EDGE)]).notes)


def test_the_roofline_reports_shares_and_the_bound(make_result):
    result = make_result(
        "x",
        Measurement("operator_macs", "count", (8_000_000, 0)),
        Measurement("operator_bytes", "bytes", (1000, 2_000_000)),
        *latencies((0.010,)),
        without=("latency_s",),
    )
    attainable = {"macs_per_s": 1e9, "copy_bytes_per_s": [[1e3, 2e9], [1e9, 2e9]], "operator_s": 2e-6, "threads": 2}
    where = dataclasses.replace(result.environment, attainable=attainable)
    (row,) = cells(speed.bounds([dataclasses.replace(result, environment=where)]))
    assert row == {
        "Network": "x",
        "Input": "1x48x48",
        "Latency (ms)": "10.0",
        "MAC/s": "800 M",
        "of attainable": "80 %",  # of a roof that is known to 3 %
        "B/s": "200 M",
        "of a copy's": "10.0 %",
        "Bound by": "arithmetic",
        "Arithmetic": "80 %",
        "Memory": "10.0 %",  # 2 MB at 2 GB/s are 1 ms
        "Overhead": "0.040 %",  # two operators of 2 us
        "Rest": "10 %",  # 100 - 90.04, of which 3 % are 2.7
    }
    assert speed.bounds([result]).rows == ()


ATTAINABLE = {"macs_per_s": 1e9, "copy_bytes_per_s": [[1e3, 2e9], [1e9, 2e9]], "operator_s": 2e-6, "threads": 2}


def roofed(make_result, name="x", macs=8_000_000, attainable=ATTAINABLE, **where):
    """A pass of 10 ms, of which a MAC takes 1 ns by the roof."""
    operators = [Measurement("operator_macs", "count", (macs,)), Measurement("operator_bytes", "bytes", (1000,))]
    result = make_result(name, *operators, *latencies((0.010,)), without=("latency_s",))
    environment = dataclasses.replace(result.environment, attainable=attainable, **where)
    return dataclasses.replace(result, environment=environment)


def test_where_the_rest_is_largest_nothing_modelled_is_said_to_bind(make_result):
    # 4 ms, 4.9 ms and 6 ms of arithmetic leave a rest of 6, 5.1 and 4 ms less 2 us.
    results = [roofed(make_result, macs=macs) for macs in (4_000_000, 4_900_000, 6_000_000)]
    assert [row["Bound by"] for row in cells(speed.bounds(results))] == [
        "none of these",
        "none of these",
        "arithmetic",
    ]


def test_a_roofline_says_its_conditions_and_which_row_has_which_roof(make_result):
    first, same = roofed(make_result), roofed(make_result, "y")
    table = speed.bounds([first, same])
    assert "batch 2, float32, cpu (Some CPU), 2 threads" in table.caption
    assert "Attainable on this machine, as measured: 1.00 G MAC/s, 2.00 G B/s copied from memory, 2.00" in table.caption
    assert table.footnotes == []
    faster = roofed(make_result, "z", attainable=ATTAINABLE | {"macs_per_s": 3e9}, device_name="Another CPU")
    table = speed.bounds([first, faster])
    assert "1.00 G MAC/s" not in table.caption
    assert "Times of different rows are not comparable" in table.caption
    assert [row["Network"] for row in cells(table)] == ["x [1]", "z [2]"]
    assert "3.00 G MAC/s" in table.footnotes[1]
    assert "(Another CPU, 2 threads)" in table.footnotes[1]


def test_a_training_step_is_reported_in_its_parts(make_result):
    parts = {"step": 0.040, "forward": 0.010, "backward": 0.020, "optimizer": 0.005}
    told = {"batch_size": 8, "optimizer": "adam"}
    # The slowest of three passes takes 1.1 times the others; nine tenths of the way to it are 8 % above the median.
    steps = [Measurement(f"training_{part}_s", "s", (s, s, 1.1 * s), details=told) for part, s in parts.items()]
    peak = Measurement("training_peak_rss_bytes", "bytes", (7 * MIB,))
    result = with_plan(make_result("x", *steps, peak), TRAINING)
    (row,) = cells(resources.training([result]))
    assert row == {
        "Network": "x",
        "Input": "1x48x48",
        "Parameters": "1.000 k",
        "Batch": "8",
        "Step (ms)": "40",
        "Forward (ms)": "10.0",  # to 0.8
        "Backward (ms)": "20",  # to 1.6
        "Optimiser (ms)": "5.0",
        "Images/s": "200",
        "Memory (MiB)": "7.00",
        "Optimiser": "adam",
        "Steps": "3",
    }
    assert cells(resources.memory([result]))[0]["Training: process (MiB)"] == "7.00"
    assert "medians of parts do not add up" in resources.training([result]).caption


def test_occupancy_is_in_the_form_of_paper_004(make_result):
    seconds = {
        "interval_s": 2.0,
        "process_user_s": 1.5,
        "process_system_s": 0.5,
        "machine_user_s": 2.0,
        "machine_system_s": 0.6,
        "machine_idle_s": 9.4,
        "machine_steal_s": 0.0,
    }
    told = {"cores": 6, "memory_bytes": 1000 * MIB, "images": 64, "busiest_others": [["browser", 0.25]]}
    more = [Measurement(f"testing.{name}", "s", (value,), details=told) for name, value in seconds.items()]
    result = with_plan(make_result("x", *more, Measurement("testing.rss_bytes", "bytes", (31 * MIB,))), OCCUPANCY)
    table = resources.occupation([result], "testing")
    assert cells(table) == [
        {
            "Model": "x [1]",
            "Input": "1x48x48",
            "Parameters": "1,000",
            "CPU (%)": "16.67",  # 2 s of 2 s x 6 cores
            "us (%)": "16.67",
            "sy (%)": "5.00",
            "MEM (%)": "3.10",
            "own us (%)": "12.50",
            "own sy (%)": "4.17",
            "Cores used": "1.00",
            "Others' cores": "0.300",
            "RSS (MiB)": "31.0",
            "Images/s": "32.0",
            "Sampled (s)": "2.00",
        }
    ]
    assert table.footnotes == ["[1] Running beside it: browser (0.25 cores)."]
    assert "Cores: 6. CPU: the process's" in table.caption
    assert cells(resources.occupation([result], "training"))[0] == {
        "Model": "x",
        "Input": "1x48x48",
        "Parameters": "1,000",
    }


def test_energy_is_reported_where_a_counter_reported_it_and_is_blank_elsewhere(make_result):
    told = {"images": 100, "idle_joules": 20.0, "idle_w": 10.0, "window_s": 2.0, "source": "RAPL package-0"}
    table = resources.joules(
        [
            make_result("x", Measurement("energy_j", "J", (70.0,), details=told)),
            make_result("y", Measurement("energy_j", "J", details={"source": "none", "reason": "no counter"})),
        ]
    )
    assert cells(table) == [
        {
            "Network": "x",
            "Input": "1x48x48",
            "Energy per image (mJ)": "500",
            "Idle share subtracted (mJ)": "200",
            "Idle (W)": "10.0",
            "Window (s)": "2.00",
            "Counter": "RAPL package-0",
        }
    ]


def test_printed_figures_stand_beside_ours(make_result):
    spec = built_in().find("mini_xception")
    table = published([spec], [make_result()])
    assert cells(table) == [
        {
            "Network": "mini_xception",
            "Paper": "004",
            "Input": "1x48x48",
            "Classes": "7",
            "Parameters, printed": "58423",
            "fer_bench: parameters": "1,000",
            "fer_bench: by Keras": "1,200",
            "Size, printed": "872.9 kilobytes",
            "fer_bench: kB": "3000",
            "Where": "Table 3, abstract",
        }
    ]
    assert "fer_bench: as built with torch 2.9.0. By Keras" in table.caption  # the paper prints no time of it


def timed_spec():
    figures = (Figure("latency", "7.48", "ns", "001", "Table II"), Figure("flops", "0.23", "B", "001", "Table II"))
    return ModelSpec("n", Source("zoo", "n", "n"), "N", published=figures)


def test_each_setting_has_a_row_of_its_own_whatever_the_order_of_the_files(make_result):
    result = make_result("n", *latencies((0.009,), (0.010,), (0.011,)), without=("latency_s",))
    one, two = (with_plan(result, QUICK, batch_size=size) for size in (1, 2))
    table = published([timed_spec()], [one, two, dataclasses.replace(one, started_at="later")])
    rows = cells(table)
    assert [row["Batch"] for row in rows] == ["1", "2"]
    # 10 -+ 4.303 x 1 / sqrt(3) = 2.48
    assert [(row["fer_bench: ms a batch"], row["95 % interval (ms)"]) for row in rows] == [("10", "8–12")] * 2
    assert sorted(map(str, rows)) == sorted(map(str, cells(published([timed_spec()], [two, one]))))
    assert "cpu (Some CPU), 2 threads" in table.caption
    assert "the interval is Student's" in table.caption
    assert table.caption.endswith("Of several measurements under the same settings the first is shown.")
    assert "Of several" not in published([timed_spec()], [one, two]).caption


def test_a_count_at_another_input_than_the_sheet_s_says_so(make_result):
    told = "Counted and measured with 1x48x48 and 7 classes; its sheet and the notes on its counts are for 3x224x224"
    small = make_result("resnet152")
    for table in (
        published([built_in().find("resnet152")], [small]),
        efficiency([small]),
        tables.details([small], built_in())["counts"],
        tables.papers([small], built_in())["paper001_table2"],
    ):
        assert f"{told} and 7 classes." in table.note_texts
    own = make_result("resnet152", input_shape=(3, 224, 224))
    assert not any(text.startswith("Counted and") for text in efficiency([own]).note_texts)
    eight = make_result("mini_xception", num_classes=8)
    assert any("with 1x48x48 and 8 classes" in text for text in efficiency([eight]).note_texts)


def test_each_paper_has_its_own_row_and_ours_stay_empty_without_a_result():
    figures = tuple(Figure("flops", printed, "B", paper, "Table 1") for printed, paper in (("2.1", "2"), ("2.0", "1")))
    table = published([ModelSpec("n", Source("zoo", "n", "n"), "N", published=figures)], [])
    assert cells(table) == [
        {"Network": "n", "Paper": "1", "Where": "Table 1", '"FLOPs", printed': "2.0 B"},
        {"Network": "n", "Paper": "2", "Where": "Table 1", '"FLOPs", printed': "2.1 B"},
    ]
    assert "fer_bench" not in table.caption


def test_only_what_was_measured_has_a_table(make_result):
    assert list(report([make_result("users.py:net")])) == ["efficiency", "latency", "memory"]
    occupancy = with_plan(make_result(), OCCUPANCY)
    names = ["efficiency", "memory", "occupancy_training", "occupancy_testing", "published"]
    assert list(report([occupancy])) == names


@pytest.mark.parametrize("plan", [QUICK, Plan.of({"protocol": "quick", "batch_size": 1})], ids=["now", "silent"])
def test_a_plan_that_says_less_has_its_tables_too(make_result, plan):
    result = dataclasses.replace(make_result(), plan=plan)
    assert "latency" in report([result])


def test_a_gpu_that_rounds_to_tf32_is_not_called_float32_alone(make_result):
    result = make_result()
    gpu = {"name": "Some GPU", "tf32_convolutions": True, "tf32_matrix_products": False}
    environment = dataclasses.replace(result.environment, device="cuda", device_name="Some GPU", gpu=gpu)
    on_gpu = dataclasses.replace(result, environment=environment)
    assert "float32, cpu" in efficiency([result]).caption
    assert "float32 (TF32 in convolutions), cuda (Some GPU)" in efficiency([on_gpu]).caption


def test_a_bare_count_adds_no_row_beside_a_measured_result_of_the_same_build(make_result):
    measured = make_result("resnet50")
    counted = dataclasses.replace(measured, plan=dataclasses.replace(measured.plan, metrics=("static",)))
    other = dataclasses.replace(counted, subject=dataclasses.replace(counted.subject, num_classes=1000))
    rows = report([measured, counted, other])["efficiency"].rows
    assert [row["num_classes"] for row in rows] == [measured.subject.num_classes, 1000]
    assert len(report([counted])["efficiency"].rows) == 1


def test_a_value_of_one_pass_has_one_figure_and_says_that_it_is_about(make_result):
    once = make_result("x", Measurement("minor_faults", "count", (1234.0,)))
    several = make_result("x", Measurement("minor_faults", "count", (1234.0, 1236.0, 1232.0, 1235.0, 1233.0)))
    assert cells(tables.latency([once]))[0]["Faults per run"] == "≈1000"
    assert cells(tables.latency([several]))[0]["Faults per run"] == "1230"
    assert r"\ensuremath{\approx}" in to_latex(tables.latency([once]))


def test_a_latency_of_fewer_than_five_passes_is_not_shown(make_result):
    few = make_result("x", Measurement("latency_s", "s", (0.010,) * 4), without=("latency_s",))
    (row,) = cells(efficiency([few, make_result("y")]))[:1]
    assert (row["Latency (ms)"], row["Images/s"]) == ("–", "–")
    assert "latency not measured: 4 passes, fewer than the 5 needed; try: --runs 5 or more" in str(
        efficiency([few]).notes
    )
