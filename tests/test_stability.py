"""What tables print of a latency, and each warning of the closed list, on results made by hand."""

import dataclasses
import re

import pytest

from fer_bench.records.plan import EDGE, KEPT_ALLOCATOR, QUICK, SAFAVI2023, Plan
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis.latency import Trouble, median_of, share_of, summary, troubles, warnings

QUIET = [0.0100, 0.0102, 0.0098, 0.0101, 0.0099, 0.0100, 0.0103, 0.0097, 0.0100]  # 10 ms, 2 %


@pytest.fixture
def make(make_result):
    """Make a result with a latency of these processes; details are those of each."""

    def make(*processes, plan=None, environment=None, more=(), **details):
        latencies = [
            Measurement("latency_s", "s", tuple(values), number, details) for number, values in enumerate(processes)
        ]
        result = make_result("mini_xception", *latencies, *more, without=("latency_s",))
        changed = dataclasses.replace(QUICK, **plan or {})
        where = dataclasses.replace(result.environment, **environment or {})
        return dataclasses.replace(result, plan=changed, environment=where)

    return make


def per_pass(metric, *processes):
    return [Measurement(metric, "count", tuple(values), number) for number, values in enumerate(processes)]


def seen(result):
    return [trouble for trouble, _ in troubles(result)]


def test_a_summary_of_three_processes(make):
    taken = summary(make([0.010, 0.011, 0.012], [0.020, 0.021, 0.022], [0.016], plan={"batch_size": 4}))
    assert taken.estimate_s == pytest.approx(0.016)  # of medians 11, 21 and 16 ms
    half = 4.302653 * 0.005 / 3**0.5
    assert (taken.interval.low, taken.interval.high) == pytest.approx((0.016 - half, 0.016 + half))
    assert (taken.processes, taken.runs) == (3, 7)
    assert taken.spread == pytest.approx(5 / 16)
    assert taken.mean_s == pytest.approx(0.011)
    assert taken.p90_s == pytest.approx(0.0214)  # 40 % of the way from the sixth to the seventh
    assert taken.p99_s == pytest.approx(0.02194)
    assert taken.per_image_s == pytest.approx(0.004)
    assert taken.images_per_s == pytest.approx(250)


def test_a_summary_of_one_process_has_neither_interval_nor_spread(make):
    taken = summary(make(QUIET))
    assert (taken.interval, taken.spread, taken.converged) == (None, None, None)


def test_the_pilot_of_the_plan_counts(make):
    medians = [[0.011]] * 4 + [[0.008], [0.010], [0.012]]
    taken = summary(make(*medians, plan={"pilot_processes": 4, "processes": 16, "interval_share": 0.01}))
    half = 4.302653 * 0.002 / 7**0.5
    assert taken.interval.high - taken.interval.low == pytest.approx(2 * half)
    assert taken.converged is False


@pytest.mark.parametrize(("seconds", "batch", "real_time"), [(0.040, 1, "yes"), (0.041, 1, "no"), (0.040, 48, None)])
def test_real_time_is_below_41_ms_an_image_and_judged_at_batch_1_only(make, seconds, batch, real_time):
    assert summary(make([seconds] * 5, plan={"batch_size": batch})).real_time == real_time


def test_a_quantile_of_few_runs_is_known_less_well_than_one_of_many(make):
    # 101 runs of 0 to 100 ms: 1.96 x sqrt(0.9 x 0.1 / 101) = 5.85 % to either side of the ninetieth.
    taken = summary(make([number / 1000 for number in range(101)]))
    assert (taken.p90_s, taken.p90_half_s) == pytest.approx((0.090, 0.00585), rel=1e-3)
    # 0.99 -+ 0.0194 reaches from 97.06 ms to the end.
    assert (taken.p99_s, taken.p99_half_s) == pytest.approx((0.099, (0.100 - 0.09706) / 2), rel=1e-2)


def test_a_median_is_known_as_far_as_its_values_spread(make):
    assert share_of(make([0.010, 0.010, 0.011]), "latency_s") == pytest.approx(0.08)  # 10.8 is the ninetieth of 100
    assert share_of(make([0.010]), "latency_s") == pytest.approx(1)
    assert share_of(make([0.010]), "graph_latency_s") is None


def test_what_was_not_measured_or_failed_has_no_summary_and_no_warnings(make_result):
    failed = make_result("net", Measurement("latency", "", failure="boom"), without=("latency_s",))
    assert summary(failed) is None
    assert warnings(failed) == []
    assert summary(make_result(), "graph_latency_s") is None
    assert median_of(failed, "latency_s") is None


def test_a_clock_that_stood_still_has_measured_nothing(make):
    assert summary(make([0.0, 0.0])) is None


def test_another_metric_is_summed_up_alike(make):
    result = make(QUIET, more=[Measurement("graph_latency_s", "s", (0.004, 0.005, 0.006, 0.005, 0.005))])
    assert summary(result, "graph_latency_s").estimate_s == pytest.approx(0.005)
    assert median_of(result, "graph_latency_s") == pytest.approx(0.005)


def test_an_older_result_that_says_little_is_read(make):
    result = dataclasses.replace(make(QUIET, QUIET), plan=Plan.of({"protocol": "quick"}), environment=None)
    assert summary(result).per_image_s == pytest.approx(0.01)
    assert warnings(result) == []


def test_a_quiet_result_has_no_warnings(make):
    more = per_pass("minor_faults", [0.0] * 9, [1.0, 0.0]) + per_pass("involuntary_switches", [1.0, 0.0], [0.0])
    state = {"sm_clock_hz": 1_980_000_000, "throttle_reasons": []}
    told = {"others_cores": 0.09, "throttle_events": 0, "gpu_before": state, "gpu_after": state, "stopped_by": "runs"}
    assert warnings(make(QUIET, QUIET, more=more, **told)) == []


def test_every_warning_has_its_numbers_and_its_remedy(make):
    assert warnings(make(QUIET, QUIET, others_cores=0.4)) == [
        "other load: other programs kept up to 0.40 cores busy during the passes in 2 of 2 processes; try: stopping "
        "other programs, or measuring when the machine is idle"
    ]
    assert warnings(make(QUIET)) == [
        "too few processes: one process does not predict the next, which can differ by several percent; try: "
        "--processes 5 or --protocol edge"
    ]


def test_processes_that_wait_for_a_core_are_reported(make):
    more = per_pass("involuntary_switches", [1.0, 2.0, 1.5], [0.0, 0.0])
    ((trouble, text),) = troubles(make(QUIET, QUIET, more=more))
    assert trouble is Trouble.WAITING_FOR_CORES
    assert text == "other load: a pass had to give up its core up to 1.5 times per run in 1 of 2 processes"


def test_a_throttled_cpu_is_reported(make):
    ((trouble, text),) = troubles(make(QUIET, QUIET, throttle_events=3))
    assert trouble is Trouble.CPU_THROTTLED
    assert "6 times" in text


def test_a_throttled_gpu_is_reported_with_its_reasons(make):
    states = {"gpu_before": {"throttle_reasons": []}, "gpu_after": {"throttle_reasons": ["power cap"]}}
    ((trouble, text),) = troubles(make(QUIET, QUIET, **states))
    assert trouble is Trouble.GPU_THROTTLED
    assert "(power cap) in 2 of 2 processes" in text


@pytest.mark.parametrize("state", [None, {}, {"nvml": "not available: Not Supported"}])
def test_a_gpu_that_does_not_answer_is_not_judged(make, state):
    assert seen(make(QUIET, QUIET, gpu_before=state, gpu_after=state)) == []


JEMALLOC = {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}


def with_variables(**variables):
    """Give what an environment with these variables records."""
    return {"malloc_settings": variables}


@pytest.mark.parametrize(
    ("alloc", "environment", "trouble"),
    [
        ("system", {}, Trouble.FAULTS),
        ("keep", {}, Trouble.FAULTS_THOUGH_KEPT),
        ("system", with_variables(**JEMALLOC), Trouble.FAULTS_OF_JEMALLOC),
        ("keep", with_variables(**JEMALLOC), Trouble.FAULTS_OF_JEMALLOC),
        ("system", with_variables(MALLOC_CONF="dirty_decay_ms:0", **JEMALLOC), Trouble.FAULTS_OF_THE_SETTINGS),
        ("system", with_variables(MALLOC_TRIM_THRESHOLD_="1000"), Trouble.FAULTS_OF_THE_SETTINGS),
        ("system", with_variables(MALLOC_ARENA_MAX="1"), Trouble.FAULTS),  # which keeps nothing
    ],
)
def test_page_faults_are_reported_with_the_remedy_that_the_allocator_needs(make, alloc, environment, trouble):
    more = per_pass("minor_faults", [1500.0, 1600.0], [1400.0])
    ((found, text),) = troubles(make(QUIET, QUIET, plan={"alloc": alloc}, environment=environment, more=more))
    assert found is trouble
    assert "up to 1550 per run, about 3.1 ms of 10.0 ms in 2 of 2 processes" in text


@pytest.mark.parametrize(("limit", "expected"), [(None, []), (2.0, []), (1.5, [Trouble.OVER_THE_QUOTA])])
def test_more_threads_than_a_container_gets_are_named(make, limit, expected):
    result = make(QUIET, QUIET, environment={"threads": 2, "cpu_limit": limit})
    assert seen(result) == expected
    assert not expected or "2 threads, but the container gets the time of 1.5 cores" in warnings(result)[0]


def test_few_page_faults_are_many_for_a_fast_network(make):
    more = per_pass("minor_faults", [10.0] * 9, [10.0] * 9)
    fast = [value / 10 for value in QUIET]  # 1 ms: 10 faults are 20 us
    assert seen(make(QUIET, QUIET, more=more)) == []
    assert seen(make(fast, fast, plan={"alloc": "system"}, more=more)) == [Trouble.FAULTS]
    assert seen(make(fast, fast, plan={"device": "cuda"}, more=more)) == []  # events do not see the host


@pytest.mark.parametrize(("faults", "expected"), [(45.0, []), (4900.0, []), (5100.0, [Trouble.FAULTS])])
def test_page_faults_of_less_than_a_hundredth_of_the_time_are_no_news(make, faults, expected):
    slow = [value * 100 for value in QUIET]  # 1 s: 1 % are 5,000 faults of 2 us; 45 are 0.009 %
    more = per_pass("minor_faults", [faults] * 9, [faults] * 9)
    assert seen(make(slow, slow, plan={"alloc": "system"}, more=more)) == expected


def test_who_keeps_memory_already_gets_no_remedy(make):
    more = per_pass("minor_faults", [1500.0, 1600.0], [1400.0])
    kept = make(QUIET, QUIET, plan={"alloc": "keep"}, more=more, environment={"allocator": KEPT_ALLOCATOR})
    assert seen(kept) == [Trouble.FAULTS_OF_THE_NETWORK]
    assert not any("glibc" in text for text in warnings(kept))


@pytest.mark.parametrize(("passes", "measured"), [(1, False), (4, False), (5, True)])
def test_a_latency_takes_five_passes(make, passes, measured):
    result = make([0.010] * passes)
    assert (summary(result) is not None) == measured
    if not measured:
        (text,) = warnings(result)
        assert text.startswith(f"latency not measured: {passes} pass")
        assert "--runs 5" in text
    capped = make([0.010] * passes, stopped_by="time cap")
    assert measured or warnings(capped)[0].endswith("try: a longer --max-time, or fewer --runs")
    halves = make([0.010] * (passes // 2 or 1), [0.010] * (passes - passes // 2))  # of all processes together
    assert (summary(halves) is not None) == (passes >= 5)


def test_two_modes_within_a_process_are_reported(make):
    two = [0.0129, 0.0186, 0.0130, 0.0185, 0.0128] * 10
    ((trouble, text),) = troubles(make(two, QUIET))
    assert trouble is Trouble.TWO_MODES
    assert text == "two modes: runs take 12.9 ms or 18.5 ms in 1 of 2 processes"


def test_two_modes_between_processes_are_reported_of_six_and_more(make):
    fast, slow = [[seconds] * 5 for seconds in (0.0129, 0.0186)]
    assert seen(make(fast, fast, slow, slow, fast)) == []
    ((trouble, text),) = troubles(make(fast, fast, slow, slow, fast, fast))
    assert trouble is Trouble.TWO_MODES
    assert text == "two modes: processes take 12.9 ms or 18.6 ms"


def test_drift_within_a_process_is_reported(make):
    rising = [0.010 + 0.00008 * step for step in range(30)]
    ((trouble, text),) = troubles(make(rising, QUIET))
    assert trouble is Trouble.DRIFT
    assert text.endswith("the time changed by +15 % in 1 of 2 processes")


def test_a_changed_clock_of_the_gpu_is_reported(make):
    states = {"gpu_before": {"sm_clock_hz": 2_000_000_000}, "gpu_after": {"sm_clock_hz": 1_800_000_000}}
    ((trouble, text),) = troubles(make(QUIET, QUIET, **states))
    assert trouble is Trouble.CLOCK_CHANGED
    assert text == "drift: the GPU's clock changed by -10 % during the passes in 2 of 2 processes"


def test_an_interval_wider_than_wanted_is_reported_with_how_many_processes_it_takes(make):
    medians = [[0.0098], [0.0100], [0.0102], [0.0100], [0.0100]]
    ((trouble, text),) = troubles(make(*medians, plan={"interval_share": 0.01, "processes": 5}))
    assert trouble is Trouble.NOT_CONVERGED
    # 2.776 x 1.414 % / sqrt(5) = 1.756 %
    assert "±1.8 % after 5 processes, but ±1.0 % was requested, which needs about 15" in text
    assert seen(make(*medians, plan={"interval_share": 0.02, "processes": 5})) == []


def test_a_time_cap_before_all_runs_is_reported(make):
    ((trouble, text),) = troubles(make(QUIET, QUIET[:5], stopped_by="time cap"))
    assert trouble is Trouble.TIME_CAP
    assert (
        text == f"few runs: the time cap of {QUICK.max_time_s:g} s was reached after 5 of the 300 requested runs "
        "in 2 of 2 processes"
    )


def test_troubles_come_in_the_order_of_the_list(make):
    more = per_pass("minor_faults", [5000.0]) + per_pass("involuntary_switches", [9.0])
    rising = [0.010 + 0.001 * step for step in range(30)]
    told = {"others_cores": 1.0, "throttle_events": 1, "stopped_by": "time cap"}
    found = seen(make(rising, more=more, plan={"alloc": "system"}, **told))
    assert len(found) == 7
    assert found == sorted(found, key=list(Trouble).index)


def test_remedies_name_options_and_fields_that_there_are(fer_bench):
    remedies = " ".join(trouble.value for trouble in Trouble).replace("nvidia-smi --lock-gpu-clocks", "nvidia-smi")
    known = fer_bench("run", "--help").stdout
    assert {option for option in re.findall(r"--[a-z-]+", remedies) if option not in known} == set()
    assert set(re.findall(r"\b[a-z]+_[a-z]+\b", remedies)) - {"dirty_decay", "muzzy_decay"} <= EDGE.to_dict().keys()
    assert (SAFAVI2023.processes, EDGE.protocol, EDGE.alloc) == (5, "edge", "keep")
