"""Recipes: what the papers' say, what a file may say, and how other readings and values are laid over it."""

import json
import subprocess
import sys

import pytest

import fer_bench as fb
from fer_bench.accuracy import recipe_tables as tables
from fer_bench.accuracy.recipe_tables import CHANGED, ORIGINS, UNSAID
from fer_bench.accuracy.recipes import read_recipe, recipe_names
from fer_bench.records.errors import FerBenchError

NAMES = ("muminov2024", "rao2023", "safavi2023", "xue2023", "zhu2024")
READINGS = [name if not v else f"{name}:{v}" for name in NAMES for v in ("", *read_recipe(name).variants)]
SMALLEST = """
title = "mine"
networks = ["mini_xception"]
epochs = 4
batch_size = 8
optimizer = { name = "sgd", lr = 0.1 }
selection = { by = "last" }
"""

TWO_PHASES = "[[phases]]\nname = 'a'\nepochs = 2\n[[phases]]\nname = 'b'\nepochs = 2\n"


@pytest.fixture
def write(tmp_path):
    def written(*more, instead=SMALLEST):
        path = tmp_path / "mine.toml"
        path.write_text("\n".join((instead, *more)), encoding="utf-8")
        return path

    return written


def test_there_are_the_recipes_of_five_papers():
    assert recipe_names() == NAMES
    assert [read_recipe(name).paper for name in NAMES] == ["000", "004", "001", "003", "002"]


@pytest.mark.parametrize("name", READINGS)
def test_each_field_of_each_reading_has_its_origin_and_a_reason(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert [row.field for row in recipe.rows() if row.origin not in ORIGINS or not row.why] == []
    for network in recipe.networks:
        assert fb.find(network).input is not None
        recipe.contract(fb.find(network).input)
    assert json.loads(json.dumps(recipe.to_dict()))["name"] == name


# What the papers print, typed from their texts.
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("muminov2024", {"epochs": 200, "batch_size": 8, "optimizer.name": "adam", "optimizer.lr": 1e-3}),
        ("safavi2023", {"epochs": 50, "batch_size": 48, "optimizer.lr": 1e-4, "optimizer.weight_decay": 1e-3}),
        ("safavi2023", {"augmentation.rotation": 30, "schedule.factor": 0.1, "schedule.patience": 2}),
        ("safavi2023", {"stopping.patience": 8, "stopping.rule": "exceeds", "input.size": (224, 224)}),
        ("zhu2024", {"epochs": 33, "batch_size": 64, "optimizer.name": "sgd", "optimizer.lr": 0.01}),
        ("zhu2024", {"schedule.every": 3, "schedule.factor": 0.9, "augmentation.rotation": 90}),
        ("zhu2024", {"augmentation.shift_x": 0.75, "augmentation.shift_y": 0.28, "augmentation.hue": 0.2}),
        ("xue2023", {"epochs": 50, "batch_size": 64, "input.size": (96, 96), "input.value_range": (0, 1)}),
        ("xue2023", {"augmentation.shift_x": 0.1, "augmentation.shift_y": 0.1, "data.training": "keras-training"}),
        ("rao2023", {"epochs": 250, "optimizer.name": "adam"}),
    ],
)
def test_printed_values_are_the_papers(name, values):
    recipe = read_recipe(name)
    for field, value in values.items():
        found = recipe
        for step in field.split("."):
            found = getattr(found, step)
        assert found == value
        assert recipe.origin(field).kind == "printed"


def test_readings_differ_in_what_they_are_about():
    assert read_recipe("zhu2024:literal").settings() == read_recipe("zhu2024").settings()
    mild = read_recipe("zhu2024:mild").augmentation
    assert (mild.shift_x, mild.shift_y, mild.rotation) == (0.075, 0.028, 90)
    assert read_recipe("rao2023:no_l2").loss.l2 == 0
    assert read_recipe("rao2023:l2_everywhere").loss.l2_on == ("*",)
    sgd = read_recipe("safavi2023:sgd")
    assert (type(sgd.optimizer), sgd.optimizer.momentum) == (tables.SGD, 0.9)
    public = read_recipe("rao2023:public_code")
    contract = public.contract(fb.find("mini_xception").input)
    assert (contract.size, contract.value_range, public.data.validation) == ((64, 64), (-1, 1), "last-20")
    assert "public code" in contract.source("size")


def test_phases_take_from_the_recipe_what_they_do_not_name():
    recipe = read_recipe("muminov2024:two_phases")
    head, whole = recipe.parts()
    assert (head.epochs, whole.epochs, recipe.epochs) == (100, 100, 200)
    assert (head.optimizer.lr, whole.optimizer.lr) == (1e-3, 1e-5)
    assert whole.optimizer.eps == head.optimizer.eps == 1e-7
    assert (head.frozen, whole.frozen, whole.frozen_batch_norms) == (("trunk",), (), ("trunk",))
    assert (head.schedule.kind, whole.schedule.kind) == ("plateau", "inverse_time")
    assert whole.stopping.monitor == "training_accuracy"
    assert (head.loss.class_weights, whole.loss.class_weights) == ("balanced", "none")
    assert (recipe.phases[1].begins, recipe.origin("phases.all.begins").kind) == ("best", "public code")
    assert "phases.head.begins" not in {row.field for row in recipe.rows()}
    assert read_recipe("muminov2024").parts() == (read_recipe("muminov2024"),)


# By hand: 200 epochs of two halves; a third phase would need an epoch of its own.
@pytest.mark.parametrize(("epochs", "expected"), [(3, [2, 1]), (2, [1, 1]), (10, [5, 5])])
def test_phases_share_other_epochs(epochs, expected):
    recipe = read_recipe("muminov2024:two_phases").with_(epochs=epochs)
    assert [phase.epochs for phase in recipe.phases] == expected
    kinds = [recipe.origin(f"phases.all.{name}").kind for name in ("epochs", "begins")]
    assert kinds == [CHANGED, "public code"]


def test_too_few_epochs_for_the_phases_are_refused():
    with pytest.raises(FerBenchError, match="2 phases, and 1 epochs are too few; try: --epochs 2"):
        read_recipe("muminov2024:two_phases").with_(epochs=1)


def test_a_changed_value_has_no_longer_the_origin_of_the_old_one():
    recipe = read_recipe("rao2023").with_("--epochs", epochs=3, optimizer={"lr": 0.5})
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.name) == (3, 0.5, "adam")
    assert recipe.origin("epochs") == (CHANGED, "--epochs")
    assert recipe.origin("optimizer.lr").kind == CHANGED
    assert recipe.origin("optimizer.name").kind == "printed"
    assert recipe.sha256 != read_recipe("rao2023").sha256
    assert recipe.with_(epochs=250, optimizer={"lr": 1e-3}).sha256 == read_recipe("rao2023").sha256
    other = recipe.with_(optimizer={"name": "sgd", "lr": 1.0})
    assert (other.optimizer, other.origin("optimizer.name").kind) == (tables.SGD("sgd", 1.0), CHANGED)


def test_a_variant_that_names_no_origins_does_not_inherit_those_of_other_values(write):
    path = write(
        "[origins]\nschedule = 'printed: here'\nepochs = 'printed'\n",
        "[variants.other]\nabout = 'x'\nepochs = 5\nschedule = { kind = 'step', every = 1, factor = 0.5 }",
    )
    recipe = read_recipe(f"{path}:other")
    assert (recipe.name, recipe.epochs, recipe.schedule) == ("mine:other", 5, tables.Step("step", 1, 0.5))
    assert {recipe.origin(name).kind for name in ("epochs", "schedule.factor")} == {UNSAID}
    assert read_recipe(path).origin("schedule.kind") == ("printed", "here")


def test_lines_show_each_field_with_its_origin():
    lines = read_recipe("rao2023").lines()
    assert lines[0].split()[:3] == ["epochs", "250", "printed"]
    (line,) = [line for line in lines if line.startswith("loss.l2 ")]
    assert "0.01" in line
    assert "public code" in line
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("epoch = 3", "mine.toml has unknown epoch (did you mean epochs?)"),
        ("[augmentation]\nrotatoin = 3", "augmentation has unknown rotatoin (did you mean rotation?)"),
        ("[augmentation]\nrotation = 'ten'", "rotation is 'ten': a number was expected"),
        ("[augmentation]\nzoom = 1.5", "zoom is 1.5: a number below 1"),
        ("[augmentation]\nfill = 'edges'", "fill is 'edges' (did you mean edge?), expected one of edge, constant"),
        ("[schedule]\nkind = 'plateu'", "schedule.kind is 'plateu' (did you mean plateau?), expected one of"),
        ("[schedule]\nfactor = 0.1", "schedule lacks kind, one of constant"),
        ("[schedule]\nkind = 'step'\nfactor = 0.1", "schedule lacks every"),
        ("[schedule]\nkind = 'constant'\nfactor = 0.1", "schedule has unknown factor"),
        ("schedule = 3", "schedule is 3, expected a table"),
        ("[loss]\nl2 = 0.1", "loss.l2 and loss.l2_on go together"),
        ("[origins]\nepochs = 'guessed'", "the origin of epochs is 'guessed', expected printed"),
        ("[origins]\nepoch = 'printed'", "origins has unknown epoch (did you mean epochs?)"),
        ("[origins]\n'optimizer.rate' = 'printed'", "origins has unknown optimizer.rate"),
        ("[[phases]]\nname = 'a'\nepochs = 3", "epochs is 4, and the phases have 3"),
        ("[[phases]]\nname = 'a'\nepochs = 4\nrate = 1", "phases[0] has unknown rate"),
        ("[[phases]]\nname = 'a'\nepochs = 4\nbegins = 'bets'", "phases[0].begins is 'bets' (did you mean best?)"),
        ("[[phases]]\nname = 'a'\nepochs = 4\nbegins = 'best'", "nothing is before the first phase"),
        (f"{TWO_PHASES}begins = 'best'", "a phase begins with the best weights, and selection.by is 'last'"),
        (f"{TWO_PHASES}loss = {{ l2 = 1 }}", "loss.l2 and loss.l2_on go together"),
        (
            f"{TWO_PHASES}[origins]\n'phases.b.begin' = 'printed'",
            "unknown phases.b.begin (did you mean phases.b.begins",
        ),
        ("[variants.a]\nabout = 'x'\nepochs = 0", "variants.a: epochs is 0: a whole number from 1"),
        ("[variants.a]\nabout = 'x'\nbatch = 1", "variants.a has unknown batch (did you mean batch_size?)"),
        ("[input]\nvalue_range = [1, 0]", "the second must be larger"),
        ("initial = 'imagnet'", "initial is 'imagnet' (did you mean imagenet?)"),
        ("dropout = [", "is no recipe"),
    ],
)
def test_a_wrong_file_is_refused_in_a_line_with_a_remedy(write, more, said):
    with pytest.raises(FerBenchError) as raised:
        read_recipe(write(more))
    text = str(raised.value)
    assert said in text
    assert "; try: " in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rao2032", "no recipe is called 'rao2032' (did you mean rao2023?)"),
        ("rao2023:no_l3", "recipe rao2023 has no variant 'no_l3' (did you mean no_l2?); try: rao2023:public_code"),
        ("nowhere/mine.toml", "cannot read the recipe nowhere/mine.toml: No such file"),
        ("", "no recipe is called ''"),
    ],
)
def test_an_unknown_recipe_is_refused_with_the_nearest_name(name, said):
    with pytest.raises(FerBenchError) as raised:
        read_recipe(name)
    assert said in str(raised.value)


def test_a_recipe_that_is_no_text_is_refused(tmp_path):
    (path := tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FerBenchError, match="is no recipe"):
        read_recipe(path)


def test_reading_recipes_loads_no_pytorch():
    code = (
        "import sys; from fer_bench.accuracy.recipes import read_recipe; read_recipe('rao2023').lines(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
