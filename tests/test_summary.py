"""The end of a run on one screen: 20 lines of 80 columns, whatever was measured."""

import dataclasses

import pytest

from fer_bench.networks.registry import Registry
from fer_bench.records.exchange import read_file
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.summary import LINES, summary
from support.samples import RECOUNTS

CLOSING = "Run 925d668ff71c is in sqlite:///fer-bench-results/results.sqlite; all tables: fer-bench report 925d668ff71c"


@pytest.fixture
def timed(make_result):
    """A result with these passes, in seconds, and what else ran beside them on two cores."""

    def make(name, *seconds, others_cores=0.0, switches=None, **environment):
        result = make_result(name, without=("latency_s",))
        measured = [Measurement("latency_s", "s", seconds, details={"others_cores": others_cores})]
        if switches is not None:
            measured.append(Measurement("involuntary_switches", "count", (switches,) * len(seconds)))
        where = dataclasses.replace(result.environment, **environment)
        return dataclasses.replace(result, measurements=(*result.measurements, *measured), environment=where)

    return make


@pytest.mark.parametrize("protocol", ["quick-cpu", "edge-cpu", "training-cpu", "sweep-cpu", "occupancy-cpu"])
def test_every_protocol_s_run_fits_on_a_screen(protocol):
    results = read_file(RECOUNTS.parents[1] / protocol / "results.json")
    lines = summary(results, Registry([]), [CLOSING]).splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("925d668ff71c")


def test_rows_are_sorted_by_latency_and_those_without_one_come_last(timed, make_result):
    failed = make_result("broken", without=("latency_s",))
    text = summary([failed, timed("slow", *[0.02] * 9), timed("fast", *[0.01] * 9)], Registry([]))
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["fast", "slow", "broken"]
    assert "Fastest: fast, 10.0 ms." in text


def test_a_cold_start_is_shown_where_nothing_else_was_timed(make_result):
    starts = [
        Measurement("coldstart_s", "s", (value,), process) for process, value in enumerate((2.4, 2.45, 2.5, 2.55, 2.6))
    ]
    result = make_result("cold", *starts, without=("latency_s",))
    assert "To first result (ms)" in summary([result], Registry([]))
    assert "Fastest: cold, 2500 ms." in summary([result], Registry([]))


def test_the_smallest_and_the_best_of_one_paper_s_accuracies_are_named():
    """Of paper 001 on FER2013, no network is both as cheap and as accurate as any of these (its table 2)."""
    text = summary(read_file(RECOUNTS.parents[1] / "edge-cpu" / "results.json"), Registry([]), width=200)
    assert "Smallest: mini_xception, 57.0 k parameters." in text
    assert "Best accuracy for their MACs (FER2013, paper 001): mobilenetv3_large, mit_fusion." in text


@pytest.mark.parametrize(
    ("others_cores", "threads", "usable"),
    [(0.0, 2, True), (1.0, 1, True), (1.0, 2, False), (2.0, 1, False), (0.3, 2, True)],
)
def test_times_are_not_usable_where_others_took_the_cores_of_the_passes(timed, others_cores, threads, usable):
    """Two cores: what others take beyond the idle ones, over the threads, is 0, 0, 1/2, 1 and 0.15."""
    result = timed("x", *[0.01] * 9, others_cores=others_cores, threads=threads)
    assert latency.is_usable(result) is usable
    assert ("The machine was busy: these times are not usable." in summary([result], Registry([]))) is not usable


def test_passes_that_gave_up_their_core_are_not_usable(timed):
    assert not latency.is_usable(timed("x", *[0.01] * 9, switches=5))


def test_some_rows_that_are_not_usable_are_named(timed):
    rows = [timed(name, *[0.01] * 9, others_cores=busy) for name, busy in (("a", 2.0), ("b", 0.0), ("c", 2.0))]
    text = summary(rows, Registry([]))
    assert "The machine was busy: the times of 2 of 3 rows are not usable (a, c)." in text


def test_warnings_of_one_kind_are_one_with_the_worst_row(timed):
    steady, spread = [0.010] * 20, [0.010] * 15 + [0.084] * 5
    rows = [timed("even", *steady, others_cores=1.0), timed("mtcnn_pnet", *spread, others_cores=0.5)]
    text = " ".join(summary(rows, Registry([]), width=200).split())
    assert "other load: 2 rows, worst 84.0 ms (p90) for mtcnn_pnet" in text
    assert "too few processes: 2 rows" in text


def test_what_does_not_fit_is_counted(timed):
    rows = [timed(f"network_{number}", *[0.01 + number / 1000] * 9) for number in range(40)]
    lines = summary(rows, Registry([])).splitlines()
    assert len(lines) <= LINES
    shown = sum(line.startswith("network_") for line in lines)
    assert f"... and {40 - shown} more, slower or without a time." in lines
