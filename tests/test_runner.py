"""A network that fails, of whatever kind, is a result with its reason; the others go on."""

import dataclasses

import pytest

from fer_bench.measuring import runner, task
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.networks.spec import Conditions, Figure
from fer_bench.records.errors import StoreBusyError, StoreError
from fer_bench.records.exchange import import_runs, read_file
from fer_bench.records.plan import EDGE, QUICK, Load
from fer_bench.records.result import Measurement, Subject
from fer_bench.records.store import Store

PLAN = dataclasses.replace(
    QUICK, metrics=("static", "latency", "memory"), runs=2, warmup_runs=0, time_limit_s=60.0, threads=1
)


@pytest.fixture(scope="module")
def starter():
    with Starter([]) as one:
        yield one


@pytest.fixture
def measure(users_file, starter):
    def run(factory, plan=PLAN, **options):
        task = Task(registry.find(f"{users_file}:{factory}"), plan, **options)
        return runner.measure(task, starter)

    return run


def failures(result):
    return {m.metric: m.failure for m in result.measurements if m.failure}


def test_the_builds_of_published_results_are_counted_too(starter):
    spec = registry.find("mtcnn_pnet")
    other = Figure("accuracy", "9", "%", "1", "T", conditions=Conditions((3, 24, 24), spec.num_classes))
    plan = dataclasses.replace(PLAN, metrics=("static",))
    result = runner.measure(Task(dataclasses.replace(spec, published=(other,)), plan), starter)
    (build,) = result.measurement("published_builds").details["builds"]
    assert build["input_shape"] == [3, 24, 24]
    assert build["counts"]["parameters.trainable"] == 6632  # a fully convolutional network's do not depend on the input
    assert (
        runner.measure(Task(dataclasses.replace(spec, published=()), plan), starter).measurement("published_builds")
        is None
    )


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_a_network_gets_every_metric_from_a_process_of_its_own(fresh):
    stages = []
    task = Task(registry.find("mtcnn_pnet"), dataclasses.replace(PLAN, processes=2))
    with Starter([], fresh=fresh) as starter:
        result = runner.measure(task, starter, progress=stages.append)
    assert failures(result) == {}
    assert stages == ["static", "latency 1/2", "latency 2/2", "memory"]
    assert [len(values) for values in result.samples("latency_s")] == [2, 2]
    assert [m.process for m in result.measurements if m.metric == "latency_s"] == [0, 1]
    assert len(result.samples("minor_faults")) == len(result.samples("involuntary_switches")) == 2
    assert result.value("parameters.trainable") == 6632
    assert result.value("macs") == 44_760
    assert sum(result.measurement("operator_macs").values) == 44_760
    assert result.value("peak_rss_bytes") > 0
    assert result.subject.input_shape == (3, 12, 12)
    assert (result.environment.device, result.environment.threads) == ("cpu", 1)
    assert 0 < result.passes_s < result.wall_s


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_each_wait_policy_has_processes_that_began_with_it(fresh, monkeypatch):
    """OpenMP reads its variables when it is loaded: two policies are two servers, whatever the user's variables say."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    plan = dataclasses.replace(PLAN, metrics=("latency",))
    with Starter([], fresh=fresh) as starter:
        for wait, spins in (("passive", "0"), ("active", "300000"), ("passive", "0")):
            task = Task(registry.find("mtcnn_pnet"), dataclasses.replace(plan, wait=wait))
            found = runner.measure(task, starter).environment.openmp_settings
            assert (found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]) == (wait.upper(), spins)


def test_a_run_that_goes_on_keeps_the_threads_and_the_wait_policy_that_it_began_with(make_result):
    plan = dataclasses.replace(PLAN, threads=None)
    tasks = [Task(registry.find(name), plan) for name in ("mtcnn_pnet", "mtcnn_rnet")]
    began = task.settle(tasks, {}, Load(1.0, 4))
    assert {(one.plan.wait, one.plan.threads) for one in began} == {("passive", 3)}
    done = {tasks[0].key: dataclasses.replace(make_result(), plan=began[0].plan)}
    assert task.settle(tasks, done, Load(0.0, 4)) == began
    assert {one.plan.wait for one in task.settle(tasks, {}, Load(0.0, 4))} == {"active"}


@pytest.mark.slow
def test_every_metric_of_the_other_protocols_is_measured(starter):
    metrics = ("static", "training", "training_memory", "occupancy", "energy")
    plan = dataclasses.replace(
        PLAN, metrics=metrics, batch_size=2, input_size=48, channels=1, sample_s=0.2, sample_every_s=0.1
    )
    result = runner.measure(Task(registry.find("tiny_xception"), plan), starter)
    assert failures(result) == {}
    for metric in ("training_forward_s", "training_backward_s", "training_optimizer_s", "training_step_s"):
        assert result.samples(metric)
    assert result.value("training_peak_rss_bytes") > 0
    for stage in ("training", "testing"):
        assert result.samples(f"{stage}.process_user_s")
        assert result.samples(f"{stage}.machine_user_s")
    assert result.measurement("energy_j").details["source"]


@pytest.mark.slow
def test_what_the_machine_attains_is_looked_at_once(attained, monkeypatch):
    monkeypatch.setattr(runner.Machine, "attainable", attained)  # and not the one that looks once in a session
    with Starter([]) as starter:
        machine = runner.Machine(starter, debug=False)
        stages = []
        plan = dataclasses.replace(PLAN, metrics=("static", "latency"))
        for name in ("mtcnn_pnet", "mtcnn_rnet"):
            result = runner.measure(Task(registry.find(name), plan), starter, machine, progress=stages.append)
            assert result.environment.attainable["macs_per_s"] > 0
    assert stages == ["what the machine attains", "static", "latency", "static", "latency"]


def test_what_a_network_leaves_behind_is_gone_when_the_next_is_measured(measure, users_file):
    users_file.write_text("from torch import nn\nMADE = []\ndef grows():\n    MADE.append(1)\n")
    with users_file.open("a") as file:
        file.write("    return nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in MADE))\n")
    plan = dataclasses.replace(PLAN, metrics=("static",))
    first, second = (measure("grows", plan).value("parameters.trainable") for _ in range(2))
    assert first == second >= 12


def test_changed_code_of_a_user_s_network_is_another_task(users_file):
    before = Task(registry.find(f"{users_file}:good"), PLAN).key
    users_file.write_text(users_file.read_text() + "\n# changed\n")
    assert Task(registry.find(f"{users_file}:good"), PLAN).key != before


def test_a_size_that_a_network_cannot_take_makes_it_exempt(starter):
    plan = dataclasses.replace(PLAN, metrics=("static",), input_size=48)
    result = runner.measure(Task(registry.find("inception_v4"), plan), starter)
    assert result.subject.input_shape == (3, 299, 299)
    assert "it needs 75x75 pixels or more" in result.subject.exempt
    fits = runner.measure(Task(registry.find("mini_xception"), dataclasses.replace(plan, channels=3)), starter)
    assert (fits.subject.input_shape, fits.subject.exempt) == ((3, 48, 48), "")


def test_a_size_that_the_user_demands_is_not_exchanged(starter):
    task = Task(registry.find("inception_v4"), dataclasses.replace(PLAN, metrics=("static",)), input_shape=(3, 48, 48))
    assert "it needs 75x75" in failures(runner.measure(task, starter))["static"]


def test_a_factory_that_raises_is_the_reason_of_every_metric(measure):
    found = failures(measure("raises"))
    assert found.keys() == {"static", "latency", "memory"}
    assert all("RuntimeError: boom" in reason for reason in found.values())


def test_a_network_that_crashes_costs_the_metrics_that_run_it_and_no_other(measure):
    result = measure("dies")
    assert failures(result) == dict.fromkeys(("latency", "memory"), "the process was killed by SIGSEGV")
    assert result.value("parameters.trainable") == 4 * 3 * 9 + 4 + 4 * 7 + 7


@pytest.mark.slow
def test_a_library_s_network_that_is_not_there_costs_no_other_its_row():
    tasks = [
        Task(registry.find(name), dataclasses.replace(PLAN, metrics=("static",)))
        for name in ("timm:resnett18", "mtcnn_pnet")
    ]
    with Starter([task.spec for task in tasks]) as starter:
        bad, good = (runner.measure(task, starter) for task in tasks)
    assert "timm has no model 'resnett18'" in failures(bad)["static"]
    assert failures(good) == {}


def test_a_factory_that_leaves_without_a_word_is_reported(measure):
    found = failures(measure("leaves"))
    assert set(found.values()) == {"the process ended with exit code 0 before it was done"}


def test_a_process_killed_for_memory_is_reported(measure):
    found = failures(measure("killed"))
    assert found["latency"] == "the process was killed by SIGKILL (out of memory?)"


@pytest.mark.slow
def test_a_factory_that_hangs_is_given_up_and_the_next_goes_on(measure):
    plan = dataclasses.replace(PLAN, metrics=("latency",), time_limit_s=2.0)
    assert failures(measure("hangs", plan)) == {"latency": "gave no answer for 2 s"}
    assert failures(measure("good", dataclasses.replace(PLAN, metrics=("latency",)))) == {}


def test_a_process_that_answers_rubbish_is_reported(measure):
    plan = dataclasses.replace(PLAN, metrics=("latency",))
    assert failures(measure("babbles", plan)) == {"latency": "the process sent something other than a measurement"}


def test_settings_input_and_classes_reach_the_factory(measure):
    plan = dataclasses.replace(PLAN, metrics=("static",), num_classes=3, input_size=8)
    result = measure("good", plan, settings=("in_channels=1",), input_shape=(1, 9, 9))
    assert result.value("parameters.trainable") == 4 * 9 + 4 + 4 * 3 + 3
    assert (result.subject.input_shape, result.subject.num_classes) == ((1, 9, 9), 3)


@pytest.mark.slow
def test_a_server_that_was_killed_is_started_again(users_file):
    task = Task(registry.find(f"{users_file}:kills_server"), dataclasses.replace(PLAN, metrics=("latency",)))
    good = dataclasses.replace(task, spec=registry.find(f"{users_file}:good"))
    with Starter([]) as starter:
        assert "killed by SIGKILL" in failures(runner.measure(task, starter))["latency"]
        assert failures(runner.measure(good, starter)) == {}


class _Fake(runner._Run):
    """A run whose processes have the medians that a test says."""

    def __init__(self, plan, medians):
        super().__init__(Task(registry.find("mini_xception"), plan), None, lambda stage: None, debug=False)
        self.medians, self.stages = list(medians), []

    def process(self, group, number=0, stage=""):
        self.stages.append(stage)
        told = runner.Report(passes_s=10.0)
        if self.medians[number] is not None:
            told.measurements.append(Measurement("latency_s", "s", (self.medians[number],), process=number))
        return told


def test_the_pilot_decides_how_many_processes_follow():
    calm = _Fake(dataclasses.replace(EDGE, budget_s=None), [0.01] * 16)
    calm.latency()
    assert len(calm.stages) == 4 + 3  # without any spread the fewest that a variance can be taken from
    wild = _Fake(dataclasses.replace(EDGE, budget_s=None), [0.010, 0.012] * 8)
    wild.latency()
    assert len(wild.stages) == 16  # +-1 % is out of reach: all there are


def test_the_budget_ends_the_processes():
    session = _Fake(dataclasses.replace(EDGE, budget_s=75.0), [0.010, 0.012] * 8)
    session.latency()
    assert len(session.stages) == 7  # ten seconds each


def test_a_latency_that_fails_once_is_not_tried_again():
    session = _Fake(EDGE, [0.01, None] + [0.01] * 14)
    session.latency()
    assert len(session.stages) == 2


class Watcher:
    def __init__(self):
        self.begun, self.skipped = [], None

    def skip(self, count):
        self.skipped = count

    def begin(self, task):
        self.begun.append(task.spec.name)

    def stage(self, stage):
        pass

    def done(self, task, result):
        pass


TASKS = [Task(registry.find(name), PLAN) for name in ("mini_xception", "resnet50", "mtcnn_pnet")]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoreError("full")])
def test_what_was_measured_before_the_end_is_kept_and_the_same_run_goes_on(tmp_path, make_result, monkeypatch, stop):
    stops = [stop]

    def fake(task, *_, **__):
        if task.spec.name == "resnet50" and stops:
            raise stops.pop()
        return make_result(task.spec.name)

    monkeypatch.setattr(runner, "measure", fake)
    with Store.open(f"sqlite:///{tmp_path}/results.sqlite") as store:
        run = store.begin(task.fingerprint(TASKS), "test")
        done = runner.measure_all(TASKS, store, run, Watcher())
        assert done.stopped is stop
        assert done.results == store.results(run) == [make_result("mini_xception")]
        watcher = Watcher()
        rest = runner.measure_all(TASKS, store, run, watcher)
        assert (watcher.skipped, watcher.begun) == (1, ["resnet50", "mtcnn_pnet"])
        assert rest.stopped is None
        assert [result.subject.name for result in rest.results] == [task.spec.name for task in TASKS]
        assert store.find_run(run).state == "finished"


def test_a_record_names_a_file_of_weights_and_not_where_it_lies(tmp_path):
    checkpoint = tmp_path / "weights.pt"
    checkpoint.write_bytes(b"abc")
    subject = dataclasses.replace(TASKS[0], checkpoint=str(checkpoint)).subject(None)
    # FIPS 180-2, appendix B.1: the digest of "abc".
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert subject.checkpoint == f"weights.pt (sha256 {digest})"
    for of_older in (str(checkpoint), r"C:\Users\me\weights.pt"):
        data = dataclasses.asdict(dataclasses.replace(subject, checkpoint=of_older))
        assert Subject.of({**data, "input_shape": list(data["input_shape"])}).checkpoint == "weights.pt"


@pytest.fixture
def measured(monkeypatch, make_result):
    """Measure nothing; the results of all networks are made up, and there are no pauses."""
    monkeypatch.setattr(runner, "measure", lambda task, *_, **__: make_result(task.spec.name))
    monkeypatch.setattr(runner, "PAUSES_S", (0, 0, 0))


def broken(store, monkeypatch, error, times, method="save"):
    """Let a method of a store fail so many times."""
    works, failures = getattr(store, method), [error] * times

    def fails(*given):
        if failures:
            raise failures.pop()
        return works(*given)

    monkeypatch.setattr(store, method, fails)


@pytest.mark.parametrize("method", ["save", "finish"])
def test_a_store_that_is_locked_or_out_of_reach_for_a_while_costs_nothing(tmp_path, measured, monkeypatch, method):
    with Store.open(f"{tmp_path}/results.sqlite") as store:
        run = store.begin(task.fingerprint(TASKS), "test")
        broken(store, monkeypatch, StoreBusyError("locked"), 3, method)
        done = runner.measure_all(TASKS, store, run, Watcher())
        assert done.stopped is None
        assert len(store.results(run)) == 3
        assert store.find_run(run).state == "finished"
    assert [file.name for file in tmp_path.iterdir()] == ["results.sqlite"]


@pytest.mark.parametrize(("error", "times"), [(StoreBusyError("locked"), 4), (StoreError("full"), 1)])
def test_what_cannot_be_saved_is_kept_in_a_file_that_import_adds_to_its_run(
    tmp_path, measured, monkeypatch, make_result, error, times
):
    with Store.open(f"{tmp_path}/results.sqlite") as store:
        run = store.begin(task.fingerprint(TASKS), "test")
        store.save(run, TASKS[0].key, make_result("mini_xception"))
        broken(store, monkeypatch, error, times)
        done = runner.measure_all(TASKS, store, run, Watcher())
        file = tmp_path / f"fer-bench-kept-{run}-1.json"
        assert str(done.stopped) == (
            f"{error}; resnet50, measured last, is kept in {file}: "
            f"`fer-bench import {file} --store {tmp_path}/results.sqlite` adds it to run {run}"
        )
        assert [result.subject.name for result in done.results] == ["mini_xception", "resnet50"]
        assert store.results(run) == [make_result("mini_xception")]
        assert read_file(file) == [make_result("resnet50")]
        assert import_runs(store, file.read_text()).added == [run]
        assert import_runs(store, file.read_text()).there == [run]
        assert store.results(run) == [make_result("mini_xception"), make_result("resnet50")]
        assert store.resumable(task.fingerprint(TASKS)).id == run
        store.save(run, TASKS[1].key, make_result("measured again"))
        with pytest.raises(StoreError, match=f"run {run} is in .* and differs; nothing was imported"):
            import_runs(store, file.read_text())
        again = runner.measure_all(TASKS, store, run, watcher := Watcher())
        assert (again.stopped, watcher.begun) == (None, ["mtcnn_pnet"])


def test_what_no_store_can_hold_is_a_failure_of_its_network_and_the_run_goes_on(tmp_path, monkeypatch, make_result):
    bad = Measurement("energy_j", "J", (1.0,), details={"idle_joules": float("nan")})
    monkeypatch.setattr(
        runner,
        "measure",
        lambda task, *_, **__: make_result(task.spec.name, *([bad] if task.spec.name == "resnet50" else [])),
    )
    with Store.open(f"{tmp_path}/results.sqlite") as store:
        run = store.begin(task.fingerprint(TASKS), "test")
        done = runner.measure_all(TASKS, store, run, Watcher())
        assert done.stopped is None
        assert done.results == store.results(run)
        assert store.find_run(run).state == "finished"
        first, hit, last = map(failures, done.results)
        assert first == last == {}
        assert hit["energy_j"].startswith("what was measured cannot be recorded: the store ")


def test_tasks_that_differ_in_anything_are_reported_apart(tmp_path):
    checkpoint = tmp_path / "weights.pt"
    checkpoint.touch()
    first = TASKS[0]
    others = [
        TASKS[1],
        dataclasses.replace(first, plan=dataclasses.replace(PLAN, batch_size=2)),
        dataclasses.replace(first, input_shape=(1, 64, 64)),
        dataclasses.replace(first, settings=("width=2",)),
        dataclasses.replace(first, checkpoint=str(checkpoint)),
    ]
    assert len({task.key for task in (first, *others)}) == 6
    assert dataclasses.replace(first).key == first.key
    assert task.fingerprint(TASKS) != task.fingerprint(TASKS[:2])
