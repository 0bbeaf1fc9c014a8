"""What a run is going to be: expected times worked out by hand, and the time left as it goes on."""

import dataclasses

import pytest

from fer_bench.measuring.forecast import TimeLeft, duration, expected_s, forecast, macs_of
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.networks.spec import ModelSpec, Source
from fer_bench.records.plan import EDGE, QUICK, Load

LATENCY = dataclasses.replace(QUICK, metrics=("static", "latency"), wait="active")


class Machine:
    """One that attains 100 GMAC/s."""

    def attainable(self, plan, progress):
        return {"macs_per_s": 100e9}


def task(name="resnet50", plan=LATENCY, **options):
    return Task(registry.find(name), plan, **options)


def test_a_pass_takes_its_macs_at_the_machine_s_rate():
    """4 GMAC at 100 GMAC/s, two and a half times over, and 3 ms: 103 ms. 305 passes reach the cap of 12 s."""
    assert expected_s(dataclasses.replace(LATENCY, max_time_s=None), 4e9, 100e9) == pytest.approx(0.3 + 305 * 0.103)
    assert expected_s(LATENCY, 4e9, 100e9) == pytest.approx(0.3 + 12 + 5 * 0.103)


def test_edge_takes_no_more_than_its_budget():
    assert expected_s(dataclasses.replace(EDGE, metrics=("latency",)), 4e9, 100e9) == pytest.approx(0.3 + 90)
    # Five processes, of which each imports PyTorch in about two seconds.
    assert 5 <= expected_s(dataclasses.replace(LATENCY, metrics=("coldstart",)), 4e9, 100e9) <= 20


def test_macs_are_in_proportion_to_the_pixels():
    assert macs_of(task()) == registry.find("resnet50").expected["macs"]
    assert macs_of(task(input_shape=(3, 112, 448))) == macs_of(task())
    assert macs_of(task(plan=dataclasses.replace(LATENCY, input_size=112))) == macs_of(task()) / 4


def test_a_network_of_unknown_macs_takes_what_the_others_take():
    unknown = Task(ModelSpec("x", Source("file", "x.py", "x"), "x", None), LATENCY)
    both = forecast([task(), unknown], Load(0.0, 2), Machine())
    assert both.seconds[1] is None
    assert both.total_s == pytest.approx(6 + 2 * both.seconds[0])
    assert forecast([unknown], Load(0.0, 2), Machine()).total_s is None
    assert "time not known yet" in forecast([unknown], Load(0.0, 2), Machine()).line("cpu", "x.sqlite")


def test_the_first_line_says_what_is_measured_where_and_beside_what():
    plans = [dataclasses.replace(LATENCY, batch_size=size) for size in (1, 2)]
    quiet = forecast([task(plan=plan) for plan in plans], Load(0.0, 2), Machine()).line("cpu", "sqlite:///x")
    assert quiet.startswith("cpu, protocol quick: 1 network in 2 measurements, about ")
    assert quiet.endswith(", into sqlite:///x; no other load")
    busy = dataclasses.replace(QUICK, metrics=("latency",)).settled(Load(1.0, 4))
    line = forecast([task(plan=busy)], Load(1.0, 4), Machine()).line("cpu", "x")
    assert line.endswith("other programs keep 1.0 of 4 cores busy; 3 threads, which sleep while they wait")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (40, "40 s"), (89, "89 s"), (361, "6 min"), (5340, "89 min"), (7800, "2 h 10 min")],
)
def test_a_duration_is_as_people_say_it(seconds, told):
    assert duration(seconds) == told


def test_the_time_left_is_known_from_the_first_network_on_and_corrected_by_what_was_taken():
    now = 0.0
    left = TimeLeft([10.0, 20.0, None], clock=lambda: now)
    assert left.left_s() == 10 + 20 + 15  # the one of unknown size as the mean of the others
    left.begin()
    now = 4.0
    assert left.left_s() == 41
    now = 20.0  # twice as long as expected
    left.done()
    assert left.left_s() == 2 * (20 + 15)
    left.begin()
    now = 30.0
    assert left.left_s() == 60


def test_without_any_expectation_the_first_network_gives_one():
    now = 0.0
    left = TimeLeft([None, None, None], clock=lambda: now)
    assert left.left_s() is None
    left.begin()
    now = 5.0
    left.done()
    assert left.left_s() == 10
