"""What is worked out of a run of the real-time system: hand calculations, and how often intervals cover."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from fer_bench.live.ledger import joined
from fer_bench.networks.registry import built_in
from fer_bench.records import details, stats
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import REALTIME, Plan
from fer_bench.records.result import Measurement, Result, Subject
from fer_bench.reporting import tables
from fer_bench.reporting.analysis import live
from fer_bench.reporting.figures import figures
from fer_bench.reporting.figures.plots import Seconds
from support.samples import ENVIRONMENT

SETTINGS = {
    "source": "clip.mp4",
    "fps": 30.0,
    "policy": "latest",
    "detector": "whole",
    "detector_stages": [],
    "budget_s": 0.05,
    "most_dropped": 0.01,
    "warnings": [],
    "labels": {"happy": 3},
}
PERIOD = 1 / 30
NOTHING = Result(
    Subject("mini_xception", "mini-Xception", "exact", (1, 64, 64), 7),
    Plan(REALTIME, metrics=(REALTIME,)),
    ENVIRONMENT,
    (),
    "2026-11-26T12:00:00+00:00",
)


def ran(
    service: Sequence[float], latency: Sequence[float] = (), dropped_at: Sequence[float] = (), **more: object
) -> Result:
    """A run whose frames were captured 30 times a second, without those that were dropped."""
    lost = {round(at / PERIOD) for at in dropped_at}
    times = [n * PERIOD for n in range(len(service) + len(lost)) if n not in lost]
    values = {
        "captured_s": times,
        "service_s": service,
        "latency_s": latency or service,
        "classify_s": service,
        "faces": [1.0] * len(service),
        "dropped_at_s": dropped_at,
    }
    measurements = [
        Measurement("live.offered", "count", (len(service) + len(lost),), details={**SETTINGS, **more}),
        Measurement("live.dropped", "count", (len(lost),)),
        *(Measurement(f"live.{name}", "s", tuple(each)) for name, each in values.items()),
    ]
    return dataclasses.replace(NOTHING, measurements=tuple(measurements))


def test_a_steady_run_keeps_all_promises() -> None:
    came_to = live.analyse(ran([0.020, 0.022] * 300))
    assert came_to is not None
    assert (came_to.offered, came_to.done, came_to.dropped) == (600, 600, 0)
    assert came_to.service.value == pytest.approx(0.021)
    assert came_to.done_fps == pytest.approx(30.0)
    assert (came_to.stable, came_to.few_drops, came_to.low_latency) == ("yes", "yes", "yes")
    assert came_to.in_time.value == 1.0
    assert came_to.dropped_share.high == pytest.approx(3 / 570, rel=0.01)  # none of 19 seconds: the rule of three


def test_it_may_keep_up_and_be_late() -> None:
    # The lesson of 40 ms at 24 frames a second: the rate holds, and one result in four is beyond the budget.
    came_to = live.analyse(ran([0.030] * 600, latency=[0.040, 0.045, 0.049, 0.060] * 150))
    assert came_to is not None
    assert (came_to.stable, came_to.low_latency) == ("yes", "no")
    assert came_to.in_time.value == pytest.approx(0.75, abs=0.002)
    assert came_to.latency_p95.value == pytest.approx(0.060)
    assert 0.045 <= came_to.latency_p50 <= 0.049


def test_drops_are_a_share_of_what_was_offered() -> None:
    dropped = [n * PERIOD for n in range(4, 600, 5)]  # one in five
    came_to = live.analyse(ran([0.040] * 480, dropped_at=dropped))
    assert came_to is not None
    assert (came_to.offered, came_to.done, came_to.dropped) == (600, 480, 120)
    assert came_to.dropped_share.value == pytest.approx(0.2, abs=0.002)
    assert (came_to.stable, came_to.few_drops) == ("no", "no")
    assert came_to.in_time.value == pytest.approx(0.8, abs=0.002)


def test_a_short_run_proves_nothing() -> None:
    came_to = live.analyse(ran([0.020] * 90))
    assert came_to is not None
    assert came_to.service.ends is None
    assert came_to.stable == "inconclusive"
    assert live.analyse(NOTHING) is None


def test_the_first_second_is_left_out() -> None:
    came_to = live.analyse(ran([9.0] * 29 + [0.020] * 600))
    assert came_to is not None
    assert came_to.service.value == pytest.approx(0.020)


def autocorrelated(number: int, noise: random.Random, lag: float = 0.77) -> list[float]:
    """Times around 20 ms whose neighbours are alike."""
    values, state = [], noise.gauss(0, 1)
    for _ in range(number):
        state = lag * state + math.sqrt(1 - lag * lag) * noise.gauss(0, 1)
        values.append(0.020 + 0.002 * state)
    return values


def test_intervals_over_blocks_cover_where_those_over_frames_do_not() -> None:
    noise, runs = random.Random(1), 100
    by_blocks = by_frames = quantiles = 0
    p95 = 0.020 + 0.002 * 1.6449  # of the normal distribution
    for _ in range(runs):
        values = autocorrelated(600, noise)
        came_to = live.analyse(ran(values))
        assert came_to is not None
        low, high = came_to.service.ends or (0, 0)
        by_blocks += low <= 0.020 <= high
        naive = stats.interval(values)
        assert naive is not None
        by_frames += naive.low <= 0.020 <= naive.high
        low, high = came_to.latency_p95.ends or (0, 0)
        quantiles += low <= p95 <= high
    assert by_blocks / runs > 0.91
    assert quantiles / runs > 0.88
    assert by_frames / runs < 0.6


def test_growth_is_the_slope_of_the_memory() -> None:
    run = ran([0.020] * 600)
    noise = random.Random(2)
    growing = tuple(round(1e8 + 1000 * second + noise.gauss(0, 200)) for second in range(20))
    more = (Measurement("live.rss_bytes", "bytes", growing), Measurement("live.interval_s", "s", (1.0,) * 20))
    came_to = live.analyse(dataclasses.replace(run, measurements=(*run.measurements, *more)))
    assert came_to is not None
    assert came_to.memory_slope is not None
    low, high = came_to.memory_slope.ends or (0, 0)
    assert low < 1000 < high
    scipy = pytest.importorskip("scipy.stats")
    # Ours leaves the first second out.
    fit = scipy.linregress(range(2, 21), growing[1:])
    assert came_to.memory_slope.value == pytest.approx(fit.slope)
    half = scipy.t.ppf(0.975, 17) * fit.stderr
    assert high - low == pytest.approx(2 * half, rel=1e-6)


def test_pieces_join_to_one_measurement_a_metric() -> None:
    piece = [
        Measurement("live.offered", "count", (3,), details={"source": "a"}),
        Measurement("live.latency_s", "s", (0.1, 0.2)),
        Measurement("live.interval_s", "s", (1.0,), details={"cores": 2, "memory_bytes": 9, "images": 3}),
    ]
    whole = {each.metric: each for each in joined([*piece, *piece])}
    assert whole["live.offered"].values == (6,)
    assert whole["live.offered"].details == {"source": "a"}
    assert whole["live.latency_s"].values == (0.1, 0.2, 0.1, 0.2)
    assert whole["live.interval_s"].details["images"] == 6


def test_pieces_and_the_whole_come_to_the_same() -> None:
    run = ran([0.020, 0.022] * 300)
    halves = []
    for measured in run.measurements:
        middle = len(measured.values) // 2
        parts = [measured.values[:middle], measured.values[middle:]] if middle else [measured.values]
        halves += [dataclasses.replace(measured, values=part) for part in parts]
    assert live.analyse(dataclasses.replace(run, measurements=tuple(halves))) == live.analyse(run)


def test_tables_and_figure_of_a_run() -> None:
    run, registry = ran([0.020, 0.022] * 300), built_in()
    drawn = tables.report([run], registry)
    assert list(drawn) == ["realtime", "realtime_stages"]
    (row,) = drawn["realtime"].rows
    assert (row["offered"], row["done"], row["stable"]) == (600, 600, "yes")
    assert "Expression labels: happy 3." in drawn["realtime"].notes[0]
    stages = {row["stage"]: row for row in drawn["realtime_stages"].rows}
    assert stages["classify"]["share"] == pytest.approx(1.0)
    assert stages["classify"]["median_s"] == pytest.approx(0.021)
    plot = figures([run], registry)["realtime"]
    assert isinstance(plot, Seconds)
    assert [second.done_per_s for second in plot.runs[0].seconds][:5] == [30.0] * 5
    assert all(a.at_s < b.at_s for a, b in pairwise(plot.runs[0].seconds))


def test_heat_and_other_load_and_the_age_of_boxes_are_reported() -> None:
    run = ran([0.020] * 600, others_cores=0.5, throttle_events=3)
    more = {"temperature_c": (41.0, 80.0, 78.0), "cpu_clock_hz": (3e9, 2e9), "box_age_s": (0.0, 0.033, 0.066)}
    measured = [Measurement(f"live.{name}", "s", values) for name, values in more.items()]
    run = dataclasses.replace(run, measurements=(*run.measurements, *measured))
    table = tables.report([run], built_in())["realtime"]
    for text in (
        "Other programs kept 0.50 cores busy.",
        "The CPU had 41 °C at first, and 80 at most.",
        "Its clock was 2.00 to 3.00 GHz.",
        "It lowered its clock for its temperature 3 times.",
    ):
        assert text in table.note_texts
    assert table.rows[0]["box_age_s"] == 0.066
    quiet = tables.report([ran([0.020] * 600, others_cores=0.01, throttle_events=0)], built_in())["realtime"]
    assert quiet.rows[0]["box_age_s"] is None
    assert not any("busy" in text or "clock" in text for text in quiet.note_texts)


def test_runs_of_one_network_are_told_apart_in_the_figure() -> None:
    runs = [ran([0.020] * 600, fps=fps, policy=policy) for fps, policy in ((24.0, "latest"), (None, "block"))]
    sampled = [Measurement("live.interval_s", "s", (20.0,), details={"cores": 2, "memory_bytes": 9, "images": 600})]
    names = ("process_user_s", "process_system_s", "machine_user_s", "machine_system_s", "machine_steal_s", "rss_bytes")
    sampled += [Measurement(f"live.{name}", "bytes" if name == "rss_bytes" else "s", (1,)) for name in names]
    runs = [dataclasses.replace(run, measurements=(*run.measurements, *sampled)) for run in (*runs, runs[0])]
    plot = figures(runs, built_in())["realtime"]
    assert isinstance(plot, Seconds)
    named = ["mini_xception, 24 frames/s, latest", "mini_xception, saturated", "mini_xception, 24 frames/s, latest (2)"]
    assert [run.label for run in plot.runs] == named


def test_a_stage_that_not_each_frame_had_is_timed_where_it_was() -> None:
    run = ran([0.020] * 600)
    detected = Measurement("live.detect_s", "s", (0.016, 0.0, 0.0) * 200)  # in each third frame
    run = dataclasses.replace(run, measurements=(*run.measurements, detected))
    (row,) = (row for row in tables.report([run], built_in())["realtime_stages"].rows if row["stage"] == "detect")
    assert (row["median_s"], row["p95_s"]) == (0.016, 0.016)
    assert row["mean_s"] == pytest.approx(0.016)
    assert row["share"] == pytest.approx(0.016 / 0.060)  # of three frames, 20 ms each


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"budget_s": None}, "budget_s"),
        ({"fps": "fast"}, "fps"),
        ({"warnings": 3}, "warnings"),
        ({"policy": 1}, "policy"),
    ],
)
def test_a_damaged_record_of_a_run_is_refused(damage: dict[str, object], expected: str) -> None:
    whole = json.loads(ran([0.020] * 600).to_json())
    assert json.loads(Result.from_json(json.dumps(whole)).to_json()) == whole
    for measurement in whole["measurements"]:
        if measurement["metric"] == "live.offered":
            measurement["details"] |= damage
    with pytest.raises(FerBenchError, match=expected):
        Result.from_json(json.dumps(whole))


def test_settings_that_a_record_of_a_run_lacks_are_named_and_a_later_piece_has_none() -> None:
    with pytest.raises(ValueError, match="details lack policy"):
        details.check("live.offered", {"source": "a", "detector": "b"}, 1)
    details.check("live.offered", {}, 1)


def test_a_run_of_a_moment_has_no_figure() -> None:
    assert "realtime" not in figures([ran([0.020] * 5)], built_in())


def test_a_plan_of_a_run_is_no_plan_for_run() -> None:
    with pytest.raises(FerBenchError, match="is measured by `fer-bench realtime`"):
        Plan(REALTIME, metrics=(REALTIME,)).check_asked()
