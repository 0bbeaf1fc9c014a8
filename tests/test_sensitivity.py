"""What changes of the input do: networks of one line, whose decisions are known by hand."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import fer_bench
from fer_bench.accuracy import changes
from fer_bench.accuracy.effects import Disturbed, Effect, Robustness, Sensitivity
from fer_bench.accuracy.robustness import DISTURBANCES, robustness
from fer_bench.accuracy.sensitivity import sensitivity
from fer_bench.accuracy.transforms import crop
from fer_bench.networks.contract import Crop, InputContract
from fer_bench.networks.weights import input_contract
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Measurement
from fer_bench.reporting.tables import effects as effect_tables
from support.keras import emotion_model

CONTRACT = InputContract(
    colour="grey",
    size=(8, 8),
    value_range=(-1, 1),
    mean=(0,),
    std=(1,),
    resize="bilinear",
    antialias=False,
    crop=Crop("none", 0, square=False),
    classes=("happy", "sad"),
)


def data(images, labels, classes=("happy", "sad")):
    return SimpleNamespace(images=images, labels=np.array(labels), classes=classes)


def plain(level, size=8):
    return np.full((size, size), level, np.uint8)


def by_brightness(batch):
    """Call an image happy if its mean is above 0, with a certainty that grows with it."""
    mean = batch.mean((1, 2, 3))
    return torch.stack((mean, -mean), 1)


def effects(found):
    return {one.change: one for one in found.effects}


def test_values_of_another_range_change_the_decisions_that_they_must():
    """Under [-1, 1] the levels 50, 100 are sad and 200, 250 happy; under [0, 1] all are above 0, so happy."""
    found = sensitivity(by_brightness, data([plain(each) for each in (50, 100, 200, 250)], [1, 1, 0, 1]), CONTRACT)
    assert (found.images, found.labelled, found.hits) == (4, 4, 3)
    effect = effects(found)["[0, 1]"]
    assert (effect.same, effect.hits) == (2, 1)
    assert "[-1, 1]" not in effects(found)  # it is the contract
    # Two classes: half the sum of absolute differences is the difference of one probability, 1 / (1 + exp(-2 x)).
    levels = np.array((50, 100, 200, 250)) / 255
    expected = np.abs(1 / (1 + np.exp(-2 * levels)) - 1 / (1 + np.exp(-2 * (2 * levels - 1)))).mean()
    assert effect.total_variation == pytest.approx(expected, abs=1e-6)
    assert found.top == pytest.approx((1 / (1 + np.exp(-2 * np.abs(2 * levels - 1)))).mean(), abs=1e-6)


def test_probabilities_are_taken_as_they_are():
    found = sensitivity(lambda batch: by_brightness(batch).softmax(1), data([plain(250)], [0]), CONTRACT)
    assert found.top == pytest.approx(1 / (1 + np.exp(-2 * (500 / 255 - 1))), abs=1e-6)


def test_a_size_that_the_network_cannot_take_is_a_row_with_its_reason():
    weight = torch.ones(64, 2)
    found = sensitivity(lambda batch: batch.flatten(1) @ weight, data([plain(50)], [-1]), CONTRACT)
    failed = effects(found)["6x6 in place of 8x8"]
    assert "shapes cannot be multiplied" in failed.failed
    assert (found.labelled, found.hits) == (0, 0)
    row = next(row for row in found.rows() if row["change"] == failed.change)
    assert row == {"kind": "size", "change": "6x6 in place of 8x8", "failed": failed.failed}
    assert {"same", "total_variation", "accuracy", "failed"} <= set(found.to_frame().columns)


def test_colours_are_only_swapped_where_there_are_some():
    """Red is 255 x 0.299 = 76 as grey and blue 29: with a threshold between them, a swap changes the class."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255

    def above_50(batch):
        return by_brightness(batch - (2 * 50 / 255 - 1))

    found = effects(sensitivity(above_50, data([red], [0]), CONTRACT))
    assert (found["red and blue swapped"].same, found["grey is green"].same) == (0, 0)
    assert found["grey is the mean of red, green, blue"].same == 1  # 85
    grey = effects(sensitivity(above_50, data([plain(80)], [0]), CONTRACT))
    assert "colour" not in {one.kind for one in grey.values()}


def test_upside_down_and_mirrored_are_seen_by_a_network_that_looks_at_one_side():
    image = plain(0)
    image[:4, :4] = 255

    def corner(batch):
        return by_brightness(batch[..., :4, :4])

    found = effects(sensitivity(corner, data([image], [0]), CONTRACT))
    assert [found[name].same for name in ("mirrored", "upside down", "JPEG of quality 30")] == [0, 0, 1]


def test_images_are_spread_evenly_and_classes_go_by_name():
    images = [plain(20)] * 50 + [plain(220)] * 50
    found = sensitivity(by_brightness, data(images, [0] * 50 + [1] * 50, ("sad", "happy")), CONTRACT, most=10)
    assert (found.images, found.hits) == (10, 10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([], []), "has no image"),
        (([plain(1)], [0], ("fear",)), "the data have the class fear, which the network has not; it has happy, sad"),
    ],
)
def test_data_that_do_not_fit_are_refused(given, said):
    with pytest.raises(FerBenchError, match=said):
        sensitivity(by_brightness, data(*given), CONTRACT)
    with pytest.raises(FerBenchError, match="outputs are"):
        sensitivity(lambda batch: batch.flatten(1), data([plain(1)], [0]), CONTRACT)


def test_it_comes_back_from_a_record():
    images = data([plain(each) for each in (50, 200)], [1, 0])
    for made, kind in ((sensitivity, Sensitivity), (robustness, Robustness)):
        found = made(by_brightness, images, CONTRACT)
        stored = Measurement.of(json.loads(json.dumps(asdict(found.measurement()))))
        assert kind.of(stored) == found
        assert len(stored.values) == len(found.rows()) - (kind is Sensitivity)
        with pytest.raises(ValueError, match="lacks"):
            kind.of(Measurement(stored.metric, "count", details={}))


# Tables


def test_tables_write_shares_and_what_failed():
    changed = (Effect("values", "[0, 1]", 2, 0.25, 1), Effect("size", "2x2", failed="too small"))
    table = effect_tables.sensitivity(Sensitivity(4, 4, 3, 0.9, changed).rows())
    same, accuracy = (next(column for column in table.columns if column.key == key) for key in ("same", "accuracy"))
    assert [same.write(row["same"]) for row in table.rows[:2]] == ["100.00", "50.00"]
    assert [accuracy.write(row["accuracy"]) for row in table.rows[:2]] == ["75.00", "25.00"]
    assert table.notes == ((), (), ("Failed: too small",))


def test_drops_are_a_row_for_each_disturbance():
    hits = ((4, 2), (4, 1), (3, 1), (2, 0), (0, 0))
    disturbed = tuple(
        Disturbed("tilt", strength, f"{strength} degrees", {"happy": happy, "sad": sad})
        for strength, (happy, sad) in enumerate(hits, 1)
    )
    found = Robustness({"happy": 4, "sad": 2}, {"happy": 4, "sad": 2}, disturbed)
    (row,) = effect_tables.robustness(found.rows(), found.accuracy).rows
    assert [row[f"strength_{number}"] for number in range(1, 6)] == pytest.approx([1, 5 / 6, 4 / 6, 2 / 6, 0])
    # Of 30 faces 17 are right, of 20 happy ones 13, of 10 sad ones 4.
    assert (row["drop"], row["drop_happy"], row["drop_sad"]) == pytest.approx((13 / 30, 7 / 20, 6 / 10))


# Robustness


def test_what_is_covered_is_the_part_that_is_named():
    """A network that looks at a quarter of the face loses it when that is covered, and not before."""
    left = plain(100)
    left[:, :2] = 255  # the left quarter is bright; the mean of all is 138.75, which rounds to 139

    def quarter(batch):
        return by_brightness(batch[..., :2] - (2 * 190 / 255 - 1))

    found = robustness(quarter, data([left, plain(100)], [0, 1]), CONTRACT)
    hits = {(one.disturbance, one.strength): one.hits["happy"] for one in found.disturbed}
    assert (found.hits, found.images, found.accuracy) == ({"happy": 1, "sad": 1}, {"happy": 1, "sad": 1}, 1)
    assert [hits["left covered", strength] for strength in (1, 5)] == [1, 0]
    assert [hits["right covered", strength] for strength in (1, 5)] == [1, 1]
    strongest = next(one for one in found.disturbed if (one.disturbance, one.strength) == ("left covered", 5))
    assert [found.drop(strongest), found.drop(strongest, "happy"), found.drop(strongest, "sad")] == [0.5, 1, 0]
    row = next(row for row in found.rows() if row["disturbance"] == "left covered" and row["strength"] == 5)
    assert (row["accuracy"], row["drop"], row["drop_happy"]) == (0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("left covered", slice(None), slice(0, 50)),
        ("right covered", slice(None), slice(50, None)),
        ("chin covered", slice(50, None), slice(None)),
        ("top covered", slice(0, 50), slice(None)),
    ],
)
def test_half_of_the_face_is_covered_at_the_strongest(name, rows, columns):
    image = np.zeros((100, 100, 3), np.uint8)
    image[..., 0] = np.arange(100)
    _, draw = DISTURBANCES[name][4]
    changed = (draw(image, 0) == np.array([50, 0, 0])).all(axis=2)  # the mean of 0 to 99 is 49.5, to even 50
    expected = image[..., 0] == 50
    expected[rows, columns] = True
    assert (changed == expected).all()


def test_every_disturbance_has_five_settings_that_keep_type_and_size_and_go_further():
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    for name, settings in DISTURBANCES.items():
        apart = []
        for _, draw in settings:
            changed = draw(image, 0)
            assert (changed.shape, changed.dtype) == (image.shape, np.uint8), name
            assert (draw(image, 0) == changed).all(), name
            apart.append(np.abs(changed.astype(float) - image).mean())
        assert len(settings) == 5
        assert apart == sorted(apart) or name == "tilt", name  # on noise every tilt is as far
        assert apart[0] > 0


def test_light_and_noise_are_what_they_say():
    image = plain(100, 200)
    assert set(changes.light(2.5)(image, 0).ravel()) == {250}
    assert set(changes.light(3)(image, 0).ravel()) == {255}
    noisy = changes.noise(16)(image, 0).astype(float)
    assert noisy.std() == pytest.approx(16, rel=0.05)
    assert (changes.noise(16)(image, 1) != noisy).any()


def test_margins_repeat_the_border_and_tilts_turn_about_the_centre():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert (changes.margin(0.1)(image, 0) == np.pad(image, 1, "edge")).all()
    assert (changes.margin(-0.1)(image, 0) == image[1:-1, 1:-1]).all()
    assert changes.widened(0.1)(image, 0).shape == (10, 12)
    assert (changes.shifted(0.1, 0)(image, 0)[:, :9] == image[:, 1:]).all()
    assert (changes.tilted(0)(image, 0) == image).all()
    odd = plain(0, 9)
    odd[4, 4] = 255
    assert changes.tilted(30)(odd, 0).argmax() == 40


def test_unlabelled_images_are_left_out():
    found = robustness(by_brightness, data([plain(200), plain(200)], [0, -1]), CONTRACT)
    assert found.images == {"happy": 1}
    with pytest.raises(FerBenchError, match="no image with a label"):
        robustness(by_brightness, data([plain(200)], [-1]), CONTRACT)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # of single images, which several threads make no faster
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_real_network_depends_on_values_as_was_measured():
    """On [0, 255] none of 71 real faces kept its class (they have 0.0 %); the astronaut is one more."""
    pictures = pytest.importorskip("skimage.data")
    path = emotion_model()
    spec = fer_bench.find("mini_xception")
    contract = input_contract(spec, path)
    model = fer_bench.create_model("mini_xception", checkpoint=path).eval()
    face = crop(pictures.astronaut(), (177, 66, 95, 95), contract)
    found = sensitivity(model, data([face], [3], contract.classes), contract)
    assert (found.hits, effects(found)["[0, 255]"].same) == (1, 0)
    assert effects(found)["bilinear, antialiased as Pillow"].same == 1
