"""What the tables of a run show, from results whose numbers are round."""

import dataclasses

import pytest

from fer_bench import registry, report
from fer_bench.plan import EDGE, OCCUPANCY, QUICK, SAFAVI2023, TRAINING
from fer_bench.records import Measurement
from fer_bench.registry import Figure, ModelSpec

MIB = 2**20
ALONE = "too few processes: one process tells nothing about the next, which differs by several percent"
CURE = "cure: --processes 5 or --protocol edge"


def cells(table):
    """Each row's cells by heading."""
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.cells()]


def latencies(*processes):
    return [Measurement("latency_s", "s", values, process=number) for number, values in enumerate(processes)]


def with_plan(result, plan, **changes):
    return dataclasses.replace(result, plan=dataclasses.replace(plan, **changes).to_dict())


def test_the_efficiency_table_has_what_a_paper_prints(make_result):
    result = make_result("mini_xception", *latencies((0.009, 0.010, 0.011), (0.012,), (0.014,)), without=("latency_s",))
    (row,) = cells(report.efficiency([with_plan(result, QUICK, batch_size=1)]))
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
        "Accuracy, as published": "67.00 % FER2013 (004, Table 2); 87.71 % KDEF (004, Table 6)",
    }


def test_one_process_has_no_interval_and_the_row_says_so(make_result):
    table = report.efficiency([make_result()])
    assert "95 % interval (ms)" not in cells(table)[0]
    assert table.footnotes == [f"[1] {ALONE}; {CURE}"]


def test_real_time_is_judged_at_batch_1_and_never_by_division(make_result):
    slow = make_result("x", *latencies((0.060,)), without=("latency_s",))
    at_2, at_1 = with_plan(slow, QUICK, batch_size=2), with_plan(slow, QUICK, batch_size=1)
    rows = cells(report.efficiency([at_2, at_1]))
    assert [row["Real time"] for row in rows] == ["–", "no"]
    assert [row["Batch"] for row in rows] == ["2", "1"]


def test_code_of_libraries_in_the_peak_is_told_apart(make_result):
    peak = Measurement("peak_rss_bytes", "bytes", (33 * MIB,), details={"file_bytes": 29 * MIB})
    (row,) = cells(report.memory([make_result("x", peak, without=("peak_rss_bytes",))]))
    assert (row["Process (MiB)"], row["of it libraries (MiB)"]) == ("33.0", "29.0")


def test_memory_of_a_gpu_stands_for_that_of_its_host(make_result):
    result = make_result("x", Measurement("peak_cuda_allocated_bytes", "bytes", (5 * MIB,)))
    assert cells(report.efficiency([result]))[0]["Memory (MiB)"] == "5.00"


def test_a_failure_is_a_row_with_its_reason_once(make_result):
    failed = [Measurement(metric, "", failure="boom") for metric in ("latency", "memory")]
    result = make_result("x", *failed, without=("latency_s", "peak_rss_bytes"))
    table = report.efficiency([result, make_result("y")])
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
    assert cells(report.latency([result]))[0] == {"Network": "x [1]", "Input": "1x48x48"}
    assert cells(report.memory([result]))[0]["Network"] == "x [1]"


def test_a_doubtful_build_and_a_warning_are_footnotes_and_equal_ones_are_shared(make_result):
    warned = Measurement("peak_rss_bytes", "bytes", (1,), warnings=("odd",))
    results = [
        make_result("a", status="stand-in", note="not theirs"),
        make_result("b", warned, status="stand-in", note="not theirs", without=("peak_rss_bytes",)),
        make_result("c", status="reconstruction"),
        make_result("d", exempt="it needs 75x75 pixels"),
    ]
    table = report.efficiency(results)
    assert [row["Network"] for row in cells(table)] == ["a [1,2]", "b [1,2,3]", "c [2,4]", "d [2,5]"]
    assert table.footnotes == [
        "[1] Stand-in: not theirs",
        f"[2] {ALONE}; {CURE}",
        "[3] peak_rss_bytes: odd.",
        f"[4] Reconstruction: {registry.STATUSES['reconstruction']}.",
        "[5] Exempt from the protocol's size, measured at its own: it needs 75x75 pixels.",
    ]


def test_settings_that_differ_are_columns_and_those_that_do_not_stand_in_the_caption(make_result):
    result = make_result()
    rows = [with_plan(result, QUICK, precision=precision, layout="nhwc") for precision in ("fp32", "bf16")]
    table = report.efficiency(rows)
    assert [row["Precision"] for row in cells(table)] == ["fp32", "bf16"]
    assert "Layout" not in cells(table)[0]
    assert table.caption.startswith(
        "Protocol quick: batch 1, nhwc, cpu (Some CPU), 2 threads, allocator: system; Linux"
    )
    assert "batch 1, autocast to bf16, cpu" in report.efficiency(rows[1:]).caption.replace("nhwc, ", "")


def test_the_system_s_allocator_is_told_where_it_makes_a_difference(make_result):
    kept = make_result("x", *latencies((0.013,)), without=("latency_s",))
    faults = Measurement("minor_faults", "count", (1970.0, 1990.0))
    system = make_result("x", *latencies((0.01664,)), faults, without=("latency_s",))
    table = report.efficiency([with_plan(kept, QUICK), with_plan(system, QUICK, alloc="system")])
    told = "Memory kept; under the system's allocator, as deployed, 16.6 ms (+28 %, 1980 page faults a run)."
    assert any(told in note for note in table.footnotes)
    assert [row["Allocator"] for row in cells(table)] == ["keep", "system"]
    same = report.efficiency([with_plan(kept, QUICK), with_plan(kept, QUICK, alloc="system")])
    assert not any("as deployed" in note for note in same.footnotes)


def test_the_latency_table_tells_all_of_it(make_result):
    result = make_result(
        "x",
        *latencies((0.010,) * 99 + (0.030,), (0.012,) * 100),
        Measurement("minor_faults", "count", (3.0, 5.0)),
        Measurement("involuntary_switches", "count", (0.0, 0.5)),
        without=("latency_s",),
    )
    (row,) = cells(report.latency([with_plan(result, SAFAVI2023, device="cpu", batch_size=4)]))
    row.pop("Network")
    assert row == {
        "Input": "1x48x48",
        "Latency (ms)": "11",
        "95 % interval (ms)": "0–24",  # 11 -+ 12.706 x 1.414 / sqrt(2), and no time is below 0
        "Mean of one process (ms)": "10",  # 10.2 of the first process, as the paper has it: (99 x 10 + 30) / 100
        "p90 (ms)": "12",
        "p99 (ms)": "12",
        "Between processes": "12.9 %",  # 1.414 / 11
        "ms an image": "2.8",  # 11 / 4, which is known no better than the 11
        "Images/s": "360",
        "Processes": "2",
        "Runs": "200",
        "Faults a run": "4.00",
        "Switches a run": "0.250",
    }


def test_a_gpu_s_four_ways_are_columns(make_result):
    more = [
        Measurement(f"{way}_s", "s", (0.001 * n,)) for n, way in enumerate(("latency_cold", "graph_latency"), start=2)
    ]
    lost = Measurement("graph_latency_cold_s", "s")
    table = report.latency([make_result("x", *more, lost)])
    assert (cells(table)[0]["Cold L2 (ms)"], cells(table)[0]["CUDA graph (ms)"]) == ("2.00", "3.00")
    assert "CUDA graph, cold L2 (ms)" not in cells(table)[0]


def test_a_network_that_no_cuda_graph_can_hold_says_so(make_result):
    lost = Measurement("graph_latency_s", "s", details={"not_captured": "it looks at values"})
    assert "Cannot be captured as a CUDA graph: it looks at values." in str(
        report.latency([make_result("x", lost)]).notes
    )


def test_not_converged_is_said(make_result):
    result = make_result("x", *latencies(*[(0.010 + 0.001 * (n % 3),) for n in range(8)]), without=("latency_s",))
    assert "not converged" in str(report.efficiency([with_plan(result, EDGE)]).notes)


def test_the_roofline_tells_shares_and_the_bound(make_result):
    result = make_result(
        "x",
        Measurement("operator_macs", "count", (8_000_000, 0)),
        Measurement("operator_bytes", "bytes", (1000, 2_000_000)),
        *latencies((0.010,)),
        without=("latency_s",),
    )
    attainable = {"macs_per_s": 1e9, "copy_bytes_per_s": [[1e3, 2e9], [1e9, 2e9]], "operator_s": 2e-6, "threads": 2}
    where = dataclasses.replace(result.environment, attainable=attainable)
    (row,) = cells(report.bounds([dataclasses.replace(result, environment=where)]))
    assert row == {
        "Network": "x",
        "Input": "1x48x48",
        "Latency (ms)": "10.0",
        "MAC/s": "800 M",
        "of attainable": "80.0 %",
        "B/s": "200 M",
        "of a copy's": "10.0 %",
        "Bound by": "arithmetic",
        "Arithmetic": "80.0 %",
        "Memory": "10.0 %",  # 2 MB at 2 GB/s are 1 ms
        "Overhead": "0.0400 %",  # two operators of 2 us
        "Rest": "9.96 %",
    }
    assert report.bounds([result]).rows == ()


def test_a_training_step_is_told_in_its_parts(make_result):
    parts = {"step": 0.040, "forward": 0.010, "backward": 0.020, "optimizer": 0.005}
    told = {"batch_size": 8, "optimizer": "adam"}
    steps = [Measurement(f"training_{part}_s", "s", (s, s, s), details=told) for part, s in parts.items()]
    peak = Measurement("training_peak_rss_bytes", "bytes", (7 * MIB,))
    result = with_plan(make_result("x", *steps, peak), TRAINING)
    (row,) = cells(report.training([result]))
    assert row == {
        "Network": "x",
        "Input": "1x48x48",
        "Parameters": "1.000 k",
        "Batch": "8",
        "Step (ms)": "40.0",
        "Forward (ms)": "10.0",
        "Backward (ms)": "20.0",
        "Optimiser (ms)": "5.00",
        "Images/s": "200",
        "Memory (MiB)": "7.00",
        "Optimiser": "adam",
        "Steps": "3",
    }
    assert cells(report.memory([result]))[0]["Training: process (MiB)"] == "7.00"


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
    table = report.occupation([result], "testing")
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
    assert table.footnotes == ["[1] Beside it ran browser (0.25 cores)."]
    assert "Cores: 6. CPU: the process's" in table.caption
    assert cells(report.occupation([result], "training"))[0] == {
        "Model": "x",
        "Input": "1x48x48",
        "Parameters": "1,000",
    }


def test_energy_is_told_where_a_counter_told_it_and_is_blank_elsewhere(make_result):
    told = {"images": 100, "idle_joules": 20.0, "idle_w": 10.0, "window_s": 2.0, "source": "RAPL package-0"}
    table = report.joules(
        [
            make_result("x", Measurement("energy_j", "J", (70.0,), details=told)),
            make_result("y", Measurement("energy_j", "J", details={"source": "none", "reason": "no counter"})),
        ]
    )
    assert cells(table) == [
        {
            "Network": "x",
            "Input": "1x48x48",
            "Energy an image (mJ)": "500",
            "Idle share subtracted (mJ)": "200",
            "Idle (W)": "10.0",
            "Window (s)": "2.00",
            "Counter": "RAPL package-0",
        }
    ]


def test_printed_figures_stand_beside_ours(make_result):
    spec = registry.find("mini_xception")
    table = report.published([spec], {"mini_xception": make_result()})
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
    table = report.published([ModelSpec("n", "zoo", "n", "N", published=figures)], {})
    assert [(row["Paper"], row['"FLOPs", printed'], row["Our MACs"]) for row in cells(table)] == [
        ("1", "2.0 B", "–"),
        ("2", "2.1 B", "–"),
    ]


def test_only_what_was_measured_has_a_table(make_result):
    assert list(report.report([make_result("users.py:net")])) == ["efficiency", "latency", "memory"]
    occupancy = with_plan(make_result(), OCCUPANCY)
    names = ["efficiency", "memory", "occupancy_training", "occupancy_testing", "published"]
    assert list(report.report([occupancy])) == names


@pytest.mark.parametrize("plan", [QUICK.to_dict(), {"protocol": "quick", "batch_size": 1}], ids=["now", "schema 1"])
def test_a_plan_that_says_less_has_its_tables_too(make_result, plan):
    result = dataclasses.replace(make_result(), plan=plan)
    assert "latency" in report.report([result])


def test_a_gpu_that_rounds_to_tf32_is_not_called_float32_alone(make_result):
    result = make_result()
    gpu = {"name": "Some GPU", "tf32_convolutions": True, "tf32_matrix_products": False}
    environment = dataclasses.replace(result.environment, device="cuda", device_name="Some GPU", gpu=gpu)
    on_gpu = dataclasses.replace(result, environment=environment)
    assert "float32, cpu" in report.efficiency([result]).caption
    assert "float32 (TF32 in convolutions), cuda (Some GPU)" in report.efficiency([on_gpu]).caption
