"""Sweeps: the variants, counting them in a pool, going on, the front, and the choice by accuracy."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

import fer_bench as fb
from fer_bench.accuracy import curves
from fer_bench.measuring import executors, variants
from fer_bench.measuring.candidates import files_of
from fer_bench.measuring.measure import begin, earlier_run, opened
from fer_bench.measuring.progress import Quiet
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.sweep import Sweep, sweep
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis import sweeps
from fer_bench.reporting.figures import figures
from fer_bench.reporting.page.payload import charts
from fer_bench.reporting.results import Results
from fer_bench.reporting.tables.sweeps import variants as variants_table
from support.shades import CLASSES, Shades, contract, write_folder

STATIC = dataclasses.replace(QUICK, metrics=("static",))
KERAS = json.loads((Path(__file__).parent / "golden" / "keras_truncations.json").read_text())["cuts"]
GRID = """
title = "two P-Nets"
networks = "mtcnn_pnet"
metrics = ["static"]
[plan]
num_classes = [2, 3]
"""


@pytest.fixture
def grid(tmp_path):
    """Write a sweep, and return its path."""

    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


def test_the_variants_of_paper_000_are_named_as_keras_names_the_layers():
    for backbone, cuts in KERAS.items():
        made = variants.patch_adaptation(built_in(), STATIC, backbone, "B")
        assert made.labels == tuple(cuts)
        assert [task.settings for task in made.tasks] == [(f"cut={cut}", "block=B") for cut in cuts]


def test_the_other_papers_have_28_and_5_variants():
    made = variants.non_local(built_in(), STATIC)
    assert len(set(made.labels)) == len({task.key for task in made.tasks}) == 7 * 4
    assert variants.rarn_backbones(built_in(), STATIC).labels[-1] == "resnet152"


def test_a_grid_has_every_combination_labelled_by_what_differs(grid):
    text = 'networks = ["resnet50", "rarn"]\n[settings]\nx = 1\n[plan]\nbatch_size = [1, 8]\nthreads = 1\n'
    made = variants.read_grid(grid(text), built_in(), None)
    assert made.labels == (
        *("resnet50, batch_size=1", "resnet50, batch_size=8"),
        *("rarn, batch_size=1", "rarn, batch_size=8"),
    )
    assert [(task.plan.batch_size, task.plan.threads) for task in made.tasks] == [(1, 1), (8, 1)] * 2
    assert {task.settings for task in made.tasks} == {("x=1",)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("network = ['resnet50']", "a sweep has no 'network'.*did you mean networks"),
        ("networks = 'resnet5'", "no network is called 'resnet5'.*did you mean resnet50"),
        ("networks = []", "networks is empty"),
        ("", "networks is empty"),
        ("networks = 'resnet50'\n[plan]\nbatch_sise = 1", "a plan has no 'batch_sise'.*did you mean batch_size"),
        ("networks = 'resnet50'\n[plan]\nbatch_size = []", "plan.batch_size is empty"),
        ("networks = 'resnet50'\nplan = 3", "plan is 3"),
        ("networks = 'resnet50'\n[settings]\nx = [[1]]", "settings.x has"),
        ("networks = 'resnet50'\n[plan]\nprecision = 'int3'", "precision is 'int3'"),
        ("networks = ", "is no TOML"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(grid, text, says):
    with pytest.raises(FerBenchError, match=says):
        variants.read_grid(grid(text), built_in(), None)


def test_a_million_variants_are_asked_for(grid):
    numbers = list(range(1, 1001))
    path = grid(f"networks = 'resnet50'\n[plan]\nbatch_size = {numbers}\nruns = {numbers}\n")
    with pytest.raises(FerBenchError, match=r"1,000,000 variants \(1,000 plan.batch_size x 1,000 plan.runs\).*--yes"):
        variants.read_grid(path, built_in(), None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("patch-adaption",), "did you mean patch-adaptation"),
        (("non-local", {"backbone": "resnet50"}), "backbone can be chosen for patch-adaptation only"),
        (("patch-adaptation", {"backbone": "resnet5"}), "did you mean resnet50"),
        (("patch-adaptation", {"block": "F"}), "known: A, B, C, D, E, patt_lite"),
        (("missing.toml",), "cannot read the sweep missing.toml"),
        (("non-local", {"under": "parms=5M"}), "did you mean params"),
        (("non-local", {"under": "latency=10"}), "it has no unit"),
        (("non-local", {"executor": "grid"}), "known: local, ray"),
        (("non-local", {"until": "best", "metrics": "latency", "executor": "ray"}), "one machine.*--executor local"),
        (("non-local", {"until": "best", "metrics": "latency", "executor": "slurm:gpu"}), "one machine.*'slurm:gpu'"),
        (("non-local", {"until": "best"}), "a time to race for; try: --metrics latency"),
    ],
)
def test_a_sweep_that_is_none_is_refused(arguments, says):
    name, options = arguments if len(arguments) > 1 else (*arguments, {})
    with pytest.raises(FerBenchError, match=says):
        sweep(name, progress=False, **options)


def test_the_pool_records_what_processes_of_their_own_record(grid):
    made = variants.read_grid(grid(GRID), built_in(), None)
    assert executors.can_be_pooled(made.tasks)
    swept = sweep(grid(GRID), progress=False)
    own = fb.measure("mtcnn_pnet", "quick", metrics="static", num_classes=[2, 3], progress=False)
    assert swept.labels == ("num_classes=2", "num_classes=3")
    for pooled, alone in zip(swept.results, own, strict=True):
        assert pooled.subject == alone.subject
        assert pooled.plan == alone.plan
        kept = [m for m in alone.measurements if m.metric != "published_builds"]
        assert list(pooled.measurements) == kept
    # One fully connected layer, of 32 values, has 33 parameters for each class more.
    few, many = (result.value("parameters.trainable") for result in swept.results)
    assert many - few == 33


def test_user_code_and_times_are_not_pooled(grid):
    assert not executors.can_be_pooled(variants.read_grid(grid("networks = 'net.py:f'"), built_in(), STATIC).tasks)
    assert not executors.can_be_pooled(variants.read_grid(grid("networks = 'rarn'"), built_in(), QUICK).tasks)


def test_an_interrupted_sweep_goes_on_with_what_is_left(grid, tmp_path):
    class Stops(executors.Pool):
        def results(self, tasks, watcher):
            yield next(super().results(tasks, watcher))
            raise KeyboardInterrupt

    store = f"sqlite:///{tmp_path}/s.sqlite"
    made = variants.read_grid(grid(GRID), built_in(), None)
    with opened(store) as kept:
        run, _ = begin(kept, made.tasks, made.title, earlier_run(kept, made.tasks))
        done = measure_all(made.tasks, kept, run, Quiet(), executor=Stops())
        assert isinstance(done.stopped, KeyboardInterrupt)
        assert done.left == 1
        (before,) = kept.results(run)
    swept = sweep(grid(GRID), store=store, progress=False)
    assert before in list(swept.results)
    assert len(swept.results) == 2
    with opened(store) as kept:
        assert [one.id for one in kept.runs()] == [run]


def test_a_variant_that_cannot_be_built_is_a_row_with_its_reason(grid):
    text = "networks = 'resnet50_patch_attn'\nmetrics = 'static'\n[settings]\ncut = ['conv1_relu', 'conv9_relu']\n"
    swept = sweep(grid(text), progress=False)
    fine, failed = swept.results
    assert fine.value("parameters.keras_total") == 9728 + 2 * 9 * 64 + 256 * 64 + (256 * 32 + 32) + (32 * 6 + 6)
    assert "unknown cut 'conv9_relu'" in failed.measurements[0].failure


def result_of(sample, **values):
    measurements = tuple(Measurement(metric.replace("__", "."), "count", (value,)) for metric, value in values.items())
    return dataclasses.replace(sample, measurements=measurements, plan=STATIC)


def test_the_front_has_what_no_other_beats_and_limits_leave_out_what_is_above(make_result):
    costs = [(10, 30), (20, 20), (30, 30), (20, 20), (30, 10)]
    results = [result_of(make_result(), parameters__trainable=p, macs=m) for p, m in costs]
    assert sweeps.front(results) == [True, True, False, True, True]
    assert sweeps.front(results, [0.9, 0.9, 0.95, 0.8, None]) == [True, True, True, False, False]
    budget = sweeps.read_limits("params=20, macs=25")
    assert [sweeps.stays_under(one, budget) for one in results] == [False, True, False, True, False]
    with pytest.raises(FerBenchError, match="latency was not measured; try: --metrics latency"):
        sweeps.stays_under(results[0], sweeps.read_limits("latency=1ms"))


def test_a_table_says_by_what_it_divides_the_front(make_result):
    one = make_result()
    two = dataclasses.replace(one, environment=dataclasses.replace(one.environment, threads=1))
    drawn = variants_table("t", ("a", "b"), [one, two], {})
    assert [row["front"] for row in drawn.rows] == ["yes", "yes"]
    assert "Variants that differ in threads have a front each." in drawn.caption
    assert "a front each" not in variants_table("t", ("a", "b"), [one, one], {}).caption
    counted = [result_of(each, macs=n) for n, each in enumerate((one, two), 1)]
    assert "a front each" not in variants_table("t", ("a", "b"), counted, {}).caption


@pytest.fixture
def written(tmp_path):
    """Write a CSV of accuracies."""

    def write(*rows):
        path = tmp_path / "curves.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    return write


HEADER = ("variant", "epoch", "validation_accuracy", "validation_images", "test_accuracy", "test_images")


def test_each_variant_stands_at_its_best_epoch_on_validation(written):
    path = written(HEADER, ("a", 1, 0.8, 100, 0.9, 50), ("a", 2, 0.85, 100, 0.7, 50), ("b", 1, 0.84, 100, 0.95, 50))
    points = curves.read_curves(path, ["a", "b", "c"])
    assert points["a"].epoch == 2
    choice = curves.choose(list(points.values()))
    assert (choice.best.variant, choice.split, choice.tied, choice.of) == ("a", "validation", ("b",), 2)


def test_what_differs_is_what_statsmodels_and_holm_say():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    hits = [950, 940, 930, 925, 900]
    points = [curves.Point(str(n), None, None, curves.Share(n / 1000, 1000)) for n in hits]
    p = [proportion.proportions_ztest([hits[0], n], [1000, 1000])[1] for n in hits[1:]]
    rejected = multitest.multipletests(p, method="holm")[0]
    assert curves.choose(points).tied == tuple(
        str(n) for n, is_apart in zip(hits[1:], rejected, strict=True) if not is_apart
    )


@pytest.mark.parametrize(("share", "images", "number"), [(0.95, 3573, 50), (0.94, 3573, 69), (0.5, 10, 3)])
def test_the_maximum_by_chance_is_that_of_scipys_binomial(share, images, number):
    binom = pytest.importorskip("scipy.stats").binom
    expected = sum(1 - binom.cdf(range(images), images, share) ** number) / images - share
    assert curves.chance_maximum(share, images, number) == pytest.approx(expected, abs=1e-9)


def test_one_variant_exceeds_nothing_by_chance():
    assert curves.chance_maximum(0.9, 1000, 1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("variant", "accuracy")], "column 'accuracy' is unknown"),
        ([("variant", "test_accuracy"), ("a", 0.9)], "lacks test_images"),
        ([("variant", "test_accuracy", "test_images")], "has no rows"),
        ([("variant", "test_accuracy", "test_images"), ("conv1", 0.9, 10)], "did you mean conv1_relu"),
        ([("variant", "test_accuracy", "test_images"), ("conv1_relu", 91, 10)], "try: 0.91 for 91 %"),
        ([("variant", "test_accuracy", "test_images"), ("conv1_relu", "x", 10)], "line 2: test is 'x'"),
    ],
)
def test_a_file_of_accuracies_that_is_none_is_refused(written, rows, says):
    with pytest.raises(FerBenchError, match=says):
        curves.read_curves(written(*rows), ["conv1_relu"])


def test_the_sheets_have_the_cuts_that_the_networks_take():
    from fer_bench.models import resnet_fer

    for backbone, cuts in KERAS.items():
        spec = built_in().find(f"{backbone}_patch_attn")
        assert spec.variants == {"cut": tuple(cuts)}
        depths = resnet_fer.RESNET50_DEPTHS if backbone == "resnet50" else resnet_fer.RESNET101_DEPTHS
        assert set(cuts) <= set(resnet_fer.cut_names(depths))


def cut_results(make_result, cuts, *more, **plan):
    """Return a result of ResNet-50 at each cut, of rising counts."""
    made = [
        make_result("resnet50_patch_attn", settings=(f"cut={cut}", *more), input_shape=(3, 224, 224), num_classes=6)
        for cut in cuts
    ]
    return [
        dataclasses.replace(result_of(one, parameters__trainable=n, macs=n), plan=dataclasses.replace(STATIC, **plan))
        for n, one in enumerate(made, 1)
    ]


def test_variants_of_a_paper_are_one_series_in_its_order_where_all_else_is_the_same(make_result):
    networks = built_in().networks
    cuts = list(KERAS["resnet50"])
    shuffled = cut_results(make_result, [cuts[3], cuts[0], cuts[49]], "block=A")
    others = cut_results(make_result, cuts[:3], "block=B") + cut_results(make_result, cuts[:2])
    wrong = cut_results(make_result, ["conv9_relu", "conv8_relu", "conv7_relu"], "block=A")
    first, second = sweeps.series([*shuffled, *others, *wrong, make_result()], networks)
    assert (first.stem, first.title, first.of) == ("sweep_resnet50_patch_attn", "resnet50_patch_attn, block=A", 50)
    assert first.labels == (cuts[0], cuts[3], cuts[49])
    assert first.results == (shuffled[1], shuffled[0], shuffled[2])
    assert (second.stem, second.settings) == ("sweep_resnet50_patch_attn_2", ("block=B",))


def test_counts_of_a_papers_variants_have_a_table_and_figures_and_stand_in_no_other(make_result):
    cuts = list(KERAS["resnet50"])[26:29]  # the middle one is the paper's
    results = [make_result(), *cut_results(make_result, cuts, "block=A")]
    drawn = fb.report(results)
    assert [row["name"] for row in drawn["efficiency"].rows] == ["mini_xception"]
    table = drawn["sweep_resnet50_patch_attn"]
    assert [(row["variant"], row["chosen"]) for row in table.rows] == list(
        zip(cuts, [None, "the paper's", None], strict=True)
    )
    # The smallest is on the front alone. The binomial maximum is tested above.
    assert "chose conv4_block2_2_relu, not on the front, as the best of 50 by a test accuracy of 95 %" in table.caption
    assert "would show 0.80 points above" in table.caption
    plots = figures(results, built_in())
    assert [point.label for point in plots["sweep_resnet50_patch_attn_macs"].points if point.named] == [cuts[1]]
    assert "modules" not in plots
    # Alone they have the tables of any network, too.
    assert len(fb.report(results[1:])["efficiency"].rows) == 3
    # The page explores what is compared with others.
    own = {stem: table for stem, table in drawn.items() if stem != "sweep_resnet50_patch_attn"}
    assert charts(results, drawn, built_in().networks) == charts(results[:1], own, built_in().networks)


@pytest.mark.slow
def test_weights_of_each_variant_choose_on_validation_and_report_on_test(grid, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    validation, test = dict.fromkeys(CLASSES, 30), {name: 5 + number for number, name in enumerate(CLASSES)}
    write_folder(tmp_path / "data", {"validation": validation, "test": test})
    (tmp_path / "nets.py").write_text("from support.shades import Shades\n")
    (tmp_path / "input.json").write_text(contract().to_json())
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = Shades().state_dict()
    torch.save(weights, folder / "batch_size_2.pt")
    weights["weight"][0] = 1.0  # so that every angry image goes to its neighbour
    torch.save(weights, folder / "batch_size_1.pt")
    text = "networks = 'nets.py:Shades'\nmetrics = 'static'\n[plan]\nbatch_size = [1, 2]\n"
    given = {"checkpoints": folder, "data": tmp_path / "data", "contract": "input.json", "progress": False}
    swept = sweep(grid(text), input_size=8, channels=1, protocol="quick", metrics="static", **given)
    assert swept.choice.split == "validation"
    assert swept.choice.best.variant == "batch_size=2"
    worse = swept.accuracies["batch_size=1"]
    assert (worse.validation.value, worse.validation.images) == (6 / 7, 210)
    assert (worse.test.value, worse.test.images) == (pytest.approx(51 / 56), 56)


def test_a_folder_without_weights_or_with_two_files_of_a_variant_is_refused(tmp_path):
    with pytest.raises(FerBenchError, match="there is no folder"):
        files_of(tmp_path / "none", ["a"])
    with pytest.raises(FerBenchError, match=r"has no weights; try: a file for each variant, as a_b_1.pt"):
        files_of(tmp_path, ["a, b=1"])
    (tmp_path / "c.pt").touch()
    with pytest.raises(FerBenchError, match=r"c.pt is no variant's"):
        files_of(tmp_path, ["a, b=1"])
    (tmp_path / "c.pt").unlink()
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(FerBenchError, match="of one variant"):
        files_of(tmp_path, ["a"])


def test_more_than_a_hundred_measured_variants_are_asked_for_and_as_many_counts_are_not(grid):
    path = grid(f"networks = 'resnet50'\n[plan]\nbatch_size = {list(range(1, 102))}\n")
    assert len(variants.read_grid(path, built_in(), STATIC).tasks) == 101
    with pytest.raises(FerBenchError, match=r"101 variants .*--yes"):
        variants.read_grid(path, built_in(), QUICK)
    assert len(variants.read_grid(path, built_in(), QUICK, most=None).tasks) == 101


def test_the_cut_of_paper_000_is_marked_and_its_choice_judged_by_chance(make_result):
    cut = "conv4_block2_2_relu"
    step = Measurement("training_step_s", "s", (0.1, 0.1, 0.1), details={"batch_size": 8})
    results = [dataclasses.replace(make_result(), measurements=(step,)) for _ in range(2)]
    published = variants.patch_adaptation(built_in(), STATIC).published
    swept = Sweep("s", ("conv1_relu", cut), Results(results, built_in()), {}, None, 50, 801, 200, published)
    first, second = swept.table().rows
    assert (first["chosen"], second["chosen"]) == (None, "the paper's")
    # 801 images are 101 steps of 8.
    assert second["epoch_s"] == pytest.approx(10.1)
    assert second["recipe_s"] == pytest.approx(2020)
    (chance,) = [line for line in swept.conclusion() if "by chance" in line]
    assert "0.80 points" in chance
    (times,) = [line for line in swept.conclusion() if "3,963.81 to 11,279.43 s" in line]
    assert times.startswith("200 epochs take about 2,020 to 2,020 s here by the median step of one process")
    assert "2 and 5.6 of the time of all epochs" in times
