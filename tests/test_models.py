"""Every network of the zoo against its sheet: it builds, answers in shape, and has the counts that the sheet says."""

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
import torch

import fer_bench
from fer_bench.measuring.counting.params import count_parameters
from fer_bench.networks.build import Build, create
from fer_bench.networks.registry import built_in
from fer_bench.records import units

NAMES = fer_bench.list_models()
MODELS = Path(fer_bench.__file__).parent / "models"

# Figures that the papers print in words, or as a list of sizes.
WORDS = {"highest", "second", "second-best", "nearly twice", "32, 64, 128, 256", "128 × 14 × 14", "56, 28, 14, 7"}
NEW_CLASSES = 11


def outputs(model, channels, size, batch=2):
    with torch.no_grad():
        found = model(torch.empty(batch, channels, *size, device="meta"))
    return found if isinstance(found, tuple) else (found,)


@pytest.fixture(params=NAMES)
def spec(request):
    return fer_bench.find(request.param)


def test_it_builds_and_gives_a_score_for_each_class_of_each_image(spec):
    channels, *size = spec.input_shape
    model = create(spec, device="meta")
    assert not model.training
    assert outputs(model, channels, size)[0].shape[:2] == (2, spec.num_classes)


def test_parameters_and_keras_total_are_those_of_the_sheet(spec):
    counted = count_parameters(create(spec, device="meta"))
    for key, count in (("trainable_parameters", counted.trainable), ("keras_total", counted.keras_total)):
        if key in spec.expected:
            assert count == spec.expected[key], key


def test_another_number_of_classes_and_channels_is_respected(spec):
    channels, *size = spec.input_shape
    other = 1 if channels == 3 else 3
    model = create(spec, Build(NEW_CLASSES, (other, *size)), device="meta")
    assert outputs(model, other, size)[0].shape[:2] == (2, NEW_CLASSES)


def test_it_runs_at_the_smallest_size_that_its_sheet_names(spec):
    channels, *_ = spec.input_shape
    size = (spec.min_size, spec.min_size)
    model = create(spec, Build(input_shape=(channels, *size)), device="meta")
    assert outputs(model, channels, size)[0].shape[1] == spec.num_classes


def test_its_sheet_says_where_it_comes_from(spec):
    assert spec.title
    assert spec.citation
    assert spec.link.startswith("https://")
    assert spec.expected.keys() <= {"trainable_parameters", "keras_total", "macs"}
    assert set(spec.papers) <= {"000", "001", "002", "003", "004"}
    assert {figure.paper for figure in spec.published} <= set(spec.papers)
    if spec.status in ("inferred", "reconstruction", "stand-in"):
        assert spec.choices or spec.note, "what was chosen must be told"


def test_its_published_figures_are_numbers_or_known_words(spec):
    for figure in spec.published:
        if figure.printed not in WORDS and figure.unit != "th epoch":
            assert isinstance(units.printed_value(figure.printed, figure.unit), Decimal)


def test_every_family_has_a_sheet_and_every_sheet_a_family():
    families = {path.stem for path in MODELS.glob("*.py")} - {"__init__"}
    assert (
        families
        == {path.stem for path in MODELS.glob("*.toml")}
        == {s.source.module for s in built_in().networks.values()}
    )


def test_every_sheet_is_plain_toml_in_its_package():
    assert (MODELS.parent / "py.typed").is_file()
    papers = sorted(path.name for path in (MODELS / "papers").glob("*.toml"))
    assert papers == [f"00{number}.toml" for number in range(5)]
    for path in MODELS.rglob("*.toml"):
        assert tomllib.loads(path.read_text(encoding="utf-8"))
