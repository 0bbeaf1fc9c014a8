"""A network that fails, of whatever kind, is a result with its reason; the others go on."""

import dataclasses

import pytest

from fer_bench import registry, runner, store
from fer_bench.errors import StoreError
from fer_bench.plan import QUICK

PLAN = dataclasses.replace(QUICK, runs=2, warmup_runs=0, time_limit_s=60.0)


def measure(users_file, factory, plan=PLAN, **options):
    return runner.measure(registry.find(f"{users_file}:{factory}"), plan, **options)


def failures(result):
    return {m.metric: m.failure for m in result.measurements if m.failure}


def test_a_network_gets_every_metric_from_fresh_processes():
    stages = []
    result = runner.measure(registry.find("mtcnn_pnet"), PLAN, progress=stages.append)
    assert failures(result) == {}
    assert stages == ["latency", "memory", "static"]
    assert len(result.measurement("latency_s").values) == 2
    assert result.value("parameters.trainable") == 6632
    assert result.value("macs") == 44_760
    assert result.value("peak_rss_bytes") > 0
    assert result.subject.input_shape == (3, 12, 12)
    assert result.environment.device == "cpu"


def test_a_factory_that_raises_is_the_reason_of_every_metric(users_file):
    found = failures(measure(users_file, "raises"))
    assert found.keys() == {"latency", "memory", "static"}
    assert all("RuntimeError: boom" in reason for reason in found.values())


def test_a_network_that_crashes_costs_the_metrics_that_run_it_and_no_other(users_file):
    result = measure(users_file, "dies")
    assert failures(result) == dict.fromkeys(("latency", "memory"), "the process was killed by SIGSEGV")
    assert result.value("parameters.trainable") == 4 * 3 * 9 + 4 + 4 * 7 + 7


def test_a_factory_that_leaves_without_a_word_is_told(users_file):
    found = failures(measure(users_file, "leaves"))
    assert set(found.values()) == {"the process ended with exit code 0 before it was done"}


def test_a_factory_that_hangs_is_given_up(users_file, monkeypatch):
    monkeypatch.setattr(runner, "PROCESSES", (("latency",),))
    plan = dataclasses.replace(PLAN, time_limit_s=2.0)
    assert failures(measure(users_file, "hangs", plan)) == {"latency": "gave no answer for 2 s"}


def test_settings_input_and_classes_reach_the_factory(users_file, monkeypatch):
    monkeypatch.setattr(runner, "PROCESSES", (("static",),))
    plan = dataclasses.replace(PLAN, num_classes=3, input_size=8)
    result = measure(users_file, "good", plan, settings=["in_channels=1"], input_shape=(1, 9, 9))
    assert result.value("parameters.trainable") == 4 * 9 + 4 + 4 * 3 + 3
    assert (result.subject.input_shape, result.subject.num_classes) == ((1, 9, 9), 3)


class Watcher:
    def begin(self, name):
        pass

    def stage(self, stage):
        pass

    def done(self, result):
        pass


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoreError("full")])
def test_what_was_measured_before_the_end_is_kept(tmp_path, make_result, monkeypatch, stop):
    def fake(spec, plan, **_):
        if spec.name == "resnet50":
            raise stop
        return make_result(spec.name)

    monkeypatch.setattr(runner, "measure", fake)
    file = tmp_path / "results.jsonl"
    specs = [registry.find(name) for name in ("mini_xception", "resnet50", "mtcnn_pnet")]
    done = runner.measure_all(specs, PLAN, file, Watcher())
    assert done.stopped is stop
    assert done.results == store.load(file) == [make_result("mini_xception")]
