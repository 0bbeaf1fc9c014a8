"""Drawn faces: what an image depends on, the planted faults, and every form as its reader reads it."""

import errno
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import fer_bench as fb
from fer_bench.accuracy.data import faces, make_faces
from fer_bench.accuracy.data.forms import MADE
from fer_bench.accuracy.data.source import FER2013_CLASSES

SEED = 5


def made(path, form="fer2013", **options):
    return fb.make_faces(path, form, **{"images": 40, "seed": SEED, **options})


def load(path, **options):
    return fb.load_data(path, cache=False, **options)


def test_fer2013_has_the_columns_of_the_competition_on_request(tmp_path):
    """As published: the usage before the pixels, and spaces before their names."""
    path = made(tmp_path / "icml", "icml", size=16) / "icml_face_data.csv"
    header, first = path.read_text().splitlines()[:2]
    assert header == "emotion, Usage, pixels, source"
    assert re.fullmatch(r"[0-6],Training,\d+( \d+){255},rendered by fer-bench", first)
    same = load(made(tmp_path / "fer2013", size=16))
    assert (load(path).images.stacked() == same.images.stacked()).all()


@pytest.mark.parametrize("form", MADE)
def test_each_form_is_read_back_as_rendered_faces(tmp_path, form):
    data = load(made(tmp_path / "faces", form, size=32))
    assert data.manifest.rendered
    assert data.name.startswith("rendered ")
    assert data.manifest.findings == ()
    assert not data.manifest.dropped or form == "ferplus"  # where votes are split
    assert data.images[0].shape == ((32, 32, 3) if form in ("rafdb", "kdef") else (32, 32))
    assert json.loads((tmp_path / "faces" / "rendered.json").read_text())["seed"] == SEED


def test_each_way_of_saying_that_faces_are_rendered_is_enough(tmp_path):
    for form in MADE:
        root = made(tmp_path / form, form, size=16, images=20)
        (root / "rendered.json").unlink()
        if form == "ferplus":
            (root / "fer2013.csv").rename(root / "icml_face_data.csv")
        assert load(root).manifest.rendered, form


def test_every_label_is_written_as_the_class_that_was_drawn(tmp_path):
    by_form = {form: load(made(tmp_path / form, form, size=16)) for form in ("fer2013", "folder", "rafdb")}
    drawn = list(make_faces._draw("fer2013", make_faces.Options(images=40, seed=SEED, size=16)))
    expected = {name: sum(FER2013_CLASSES[each.label] == name for each in drawn) for name in FER2013_CLASSES}
    for data in by_form.values():
        assert data.counts() == expected
    csv_ = by_form["fer2013"]
    at = [each for split in ("training", "public", "private") for each in drawn if each.split == split]
    assert all((image == each.face.pixels).all() for image, each in zip(csv_.images, at, strict=True))
    assert csv_.labels.tolist() == [each.label for each in at]
    kdef = load(made(tmp_path / "kdef", "kdef", size=16, images=70 * 7))
    assert kdef.counts() == dict.fromkeys(kdef.classes, 70)
    assert set(kdef.groups["pose"]) == {"straight"}


def test_an_image_depends_on_the_seed_and_its_number_alone(tmp_path):
    few = load(made(tmp_path / "few", "folder", images=10))
    many = load(made(tmp_path / "many", "folder", images=30))
    other = load(made(tmp_path / "other", "folder", images=10, seed=SEED + 1))
    of_many = dict(zip(many.ids, many.images, strict=True))
    assert all((of_many[name] == image).all() for name, image in zip(few.ids, few.images, strict=True))
    assert set(few.ids) != set(other.ids)
    again = made(tmp_path / "again", images=10)
    assert (again / "fer2013.csv").read_bytes() == (made(tmp_path / "b", images=10) / "fer2013.csv").read_bytes()


def test_splits_have_other_persons_unless_they_are_to_share_them(tmp_path):
    apart = load(made(tmp_path / "apart", "folder", images=400, size=16))
    persons = {split: set() for split in ("training", "test")}
    for split, person in zip(apart.groups["split"], apart.persons, strict=True):
        persons[split].add(person)
    assert not persons["training"] & persons["test"]
    shared = load(made(tmp_path / "shared", "folder", images=400, size=16, shared_persons=True))
    tests = {person for split, person in zip(shared.groups["split"], shared.persons, strict=True) if split == "test"}
    trains = {person for split, person in zip(shared.groups["split"], shared.persons, strict=True) if split != "test"}
    assert tests & trains


def test_planted_copies_and_black_images_are_found(tmp_path):
    data = load(made(tmp_path / "faces", images=100, duplicates=4, black=3))
    equal = data.manifest.duplicates
    assert (equal.inside, equal.across) == ({"training": 2}, {"training, private": 4})
    assert [names[0] for names in equal.groups] == ["row 0", "row 1", "row 2", "row 3", "row 4"]
    assert data.manifest.notes == ("3 black images: row 4, row 5, row 6",)
    kdef = load(made(tmp_path / "kdef", "kdef", images=100, duplicates=4, black=3, size=16, label_noise=0.2))
    assert len(kdef) == 97
    assert kdef.manifest.duplicates.inside == {"all": 4}


def test_a_planted_order_of_classes_moves_every_label(tmp_path):
    order = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # alphabetical, as folders are
    right, moved = load(made(tmp_path / "right")), load(made(tmp_path / "moved", order=order))
    assert all((a == b).all() for a, b in zip(right.images, moved.images, strict=True))
    expected = [order[label] for label in right.labels]
    assert [moved.classes[label] for label in moved.labels] == expected


def test_label_noise_draws_that_share_of_labels_anew():
    clean, noisy = (
        [each.label for each in make_faces._draw("fer2013", make_faces.Options(images=700, size=16, label_noise=share))]
        for share in (0.0, 0.35)
    )
    # Six of seven new labels are others: 0.3 of 700, whose standard deviation is sqrt(700 x 0.3 x 0.7) = 12.
    assert sum(a != b for a, b in zip(clean, noisy, strict=True)) == pytest.approx(210, abs=4 * 12)


def test_weights_make_classes_rare(tmp_path):
    data = load(made(tmp_path / "faces", images=60, size=16, weights=[0, 0, 0, 1, 0, 0, 1]))
    assert {name for name, count in data.counts().items() if count} == {"happy", "neutral"}


def test_expressions_differ_in_what_is_drawn():
    """With the same person, place, light and noise, a picture changes with the expression alone."""
    who = faces.identity(0, 1)
    drawn = [faces.draw(np.random.default_rng(3), who, label, 48, intensity=(1, 1)).pixels for label in range(7)]
    for label, one in enumerate(drawn):
        for other in drawn[:label]:
            changed = np.abs(one.astype(int) - other) > 20
            assert 10 < changed.sum() < 48 * 48 / 4  # brows, eyes and mouth, and nothing around them


def test_ferplus_votes_follow_what_was_drawn(tmp_path):
    root = made(tmp_path / "faces", "ferplus", images=200, size=16, black=2)
    data = load(root, rule="argmax")
    truth = load(root / "fer2013.csv")
    name_of = dict(zip(truth.ids, (truth.classes[label] for label in truth.labels), strict=True))
    hits = sum(name_of[name] == data.classes[label] for name, label in zip(data.ids, data.labels, strict=True))
    assert hits / len(data) > 0.8
    lines = (root / "fer2013new.csv").read_text().splitlines()[1:]
    assert {sum(map(int, line.split(",")[2:])) for line in lines} == {10}
    assert sum(line.endswith(",10") for line in lines) == 2  # all see that a black image is no face


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "fer"}, "the form 'fer' is unknown"),
        ({"images": 0}, "0 images of fer2013: 1 to 10,000,000 are possible"),
        ({"form": "kdef", "images": 4901}, "4901 images of kdef: 1 to 4,900"),
        ({"persons": 15}, "15 persons: give tens"),
        ({"form": "kdef", "shared_persons": True}, "leave weights and shared persons out"),
        ({"seed": -1}, "the seed -1 is negative"),
        ({"size": 4}, "a side of 4 pixels"),
        ({"size": 0}, "a side of 0 pixels"),
        ({"label_noise": 1.5}, "a label noise of 1.5"),
        ({"label_noise": float("nan")}, "a label noise of nan"),
        ({"intensity": (0.9, 0.1)}, "give the least and the largest"),
        ({"weights": [1, 2]}, "give seven numbers from 0"),
        ({"weights": [0] * 7}, "give seven numbers from 0"),
        ({"order": ["happy", "sad"]}, "the order needs each of"),
        ({"order": ["happy", "smiling"]}, "'smiling' is no expression"),
        ({"images": 20, "duplicates": 3}, "20 images have room for 2 and 14"),
        ({"images": 20, "black": 15}, "20 images have room for 2 and 14"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(fb.FerBenchError, match=message):
        made(tmp_path / "faces", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(fb.FerBenchError, match="is there and not empty; try: another folder"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert len(load(made(tmp_path / "empty"))) == 40


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_leave_nothing_behind(tmp_path, monkeypatch, failure):
    saves = []

    def save(*_, **__):
        saves.append(1)
        if len(saves) == 3:
            raise failure

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises((fb.FerBenchError, KeyboardInterrupt)) as raised:
        made(tmp_path / "faces", "folder")
    assert list(tmp_path.iterdir()) == []
    if isinstance(failure, OSError):
        assert "No space left on device; nothing is left of it; try: free space" in str(raised.value)
