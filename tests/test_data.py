"""Readers of data sets, on miniatures in every form that users have; and what is wrong with a copy."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fer_bench as fb
from fer_bench.accuracy.data import cache as caches
from fer_bench.accuracy.data import fer2013, folders, loading, published
from fer_bench.accuracy.data.dataset import Dropped, read_image
from fer_bench.accuracy.data.forms import FORMS

SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Every label in each usage, with one image more of happy in Training: 22 rows.
ROWS = [(label, usage) for usage in ("Training", "PublicTest", "PrivateTest") for label in range(7)]
ROWS.insert(3, (3, "Training"))


def load(path, **options):
    return fb.load_data(path, **{"cache": False, **options})


def pixels(row, side=48):
    """Return an image whose pixels say its row: level (row + place) mod 256."""
    return (np.arange(side * side) + row).astype(np.uint8).reshape(side, side)


def text_of(image):
    return " ".join(map(str, image.ravel().tolist()))


def lines_of(header, rows=ROWS, quote=""):
    columns = [name.strip().lower() for name in header.split(",")]
    for row, (label, usage) in enumerate(rows):
        cells = {"emotion": str(label), "usage": usage, "pixels": quote + text_of(pixels(row)) + quote}
        yield ",".join(cells[name] for name in columns)


def write_csv(path, header="emotion,pixels,Usage", end="\n", **options):
    path.write_text(end.join([header, *lines_of(header, **options), ""]), encoding="utf-8", newline="")
    return path


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


@pytest.mark.parametrize(
    ("name", "header", "options"),
    [
        ("fer2013.csv", "emotion,pixels,Usage", {}),
        ("icml_face_data.csv", "emotion, Usage, pixels", {}),
        ("a.csv", "emotion,pixels,Usage", {"end": "\r\n"}),
        ("b.csv", "\ufeffemotion,pixels,Usage", {}),
        ("c.csv", "emotion,pixels,Usage", {"quote": '"'}),
    ],
)
def test_each_form_of_the_csv_gives_the_same_images(tmp_path, name, header, options):
    path = write_csv(tmp_path / name, header.removeprefix("\ufeff"), **options)
    if header.startswith("\ufeff"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n\n")  # and blank lines at the end
    data = load(path)
    assert (data.name, data.classes, len(data), data.split) == ("FER2013", SEVEN, 22, "all")
    assert data.labels.tolist() == [label for label, _ in ROWS]
    assert data.labels.dtype == np.int64
    assert all((data.images[row] == pixels(row)).all() for row in range(22))
    assert data.ids[21] == "row 21"
    assert data.groups["split"] == ("training",) * 8 + ("public",) * 7 + ("private",) * 7
    assert data.manifest.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.manifest.mapping == dict(zip("0123456", SEVEN, strict=True))
    assert not data.manifest.dropped


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("training", range(8)),
        ("public", range(8, 15)),
        ("private", range(15, 22)),
        ("test", range(8, 22)),
        ("all", range(22)),
        ("first-80", range(17)),  # int(0.8 x 22)
        ("last-20", range(17, 22)),
    ],
)
def test_a_split_has_its_rows(tmp_path, split, rows):
    data = load(write_csv(tmp_path / "fer2013.csv"), split=split)
    assert data.ids == tuple(f"row {row}" for row in rows)
    assert data.split == split


def test_a_split_has_its_published_names_too(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv")
    assert {load(path, split=name).split for name in ("PrivateTest", "privatetest", "private")} == {"private"}
    assert load(path, split="train").split == "training"


def test_an_unknown_split_or_class_is_refused_with_what_there_is(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv")
    with pytest.raises(fb.FerBenchError, match=r"no split 'privat' \(did you mean private.*splits: all, training,"):
        load(path, split="privat")
    with pytest.raises(fb.FerBenchError, match="no class contempt in FER2013; it has angry, disgust"):
        load(path, classes=["happy", "contempt"])
    with pytest.raises(fb.FerBenchError, match="the rule majority is for votes of FER"):
        load(path, rule="majority")


def keras_rows():
    """FER2013's published counts as rows: what paper 003 divided by Keras."""
    known = published.COUNTS["FER2013"]
    counts = {"Training": known["training"], "PrivateTest": known["test"]}
    return [
        (SEVEN.index(name), usage) for usage, of in counts.items() for name, count in of.items() for _ in range(count)
    ]


def test_paper_003_s_split_of_keras_has_its_22968_and_1432_images(tmp_path):
    path = tmp_path / "fer2013.csv"
    lines = [f"{label},{row % 256} 0 0 0,{usage}" for row, (label, usage) in enumerate(keras_rows())]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]), encoding="ascii")
    sizes = {split: len(load(path, split=f"keras-{split}")) for split in ("training", "validation", "test")}
    assert sizes == {"training": 22968, "validation": 5741, "test": 1432}


def test_train_and_test_csv_are_one_set_of_which_the_test_images_have_no_label(tmp_path):
    write_csv(tmp_path / "train.csv", "emotion,pixels", rows=ROWS[:8])
    write_csv(tmp_path / "test.csv", "pixels", rows=ROWS[:3])
    data = load(tmp_path)
    assert data.labels.tolist() == [*(label for label, _ in ROWS[:8]), -1, -1, -1]
    assert data.labelled.sum() == 8
    assert (data.ids[7], data.ids[8]) == ("train.csv row 7", "test.csv row 0")
    assert load(tmp_path, split="test").counts() == dict.fromkeys(SEVEN, 0)
    assert load(tmp_path / "test.csv").describe()["unlabelled"] == 3
    assert data.manifest.duplicates.across == {"training, test": 3}


def test_damaged_rows_are_named_with_the_reason_and_the_rest_is_read(tmp_path):
    good = text_of(pixels(0))
    lines = [
        f"0,{good},Training",
        f"0,{good.rsplit(' ', 1)[0]},Training",
        f"x,{good},Training",
        f"7,{good},Training",
        f"1,{good},Other",
        f"1,{good.replace(' 7 ', ' seven ', 1)},Training",
        f"1,{good.replace(' 7 ', ' 256 ', 1)},Training",
        f"1,{good.replace(' 7 ', ' -7 ', 1)},Training",
        f"1,{good.replace(' 7 ', ' 7.5 ', 1)},Training",
        f"surprised,{good},PrivateTest",
        f"3,{good[:500]}",
    ]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]), encoding="ascii")
    data = load(path)
    assert (data.ids, data.labels.tolist()) == (("row 0", "row 9"), [0, 5])
    assert data.manifest.rows == 11
    assert data.manifest.dropped == (
        Dropped("row 1", "2303 pixels where 2304 are expected"),
        Dropped("row 2", "label 'x' is not one of 0 to 6"),
        Dropped("row 3", "label '7' is not one of 0 to 6"),
        Dropped("row 4", "Usage 'Other' is not one of Training, PublicTest, PrivateTest"),
        Dropped("row 5", "a pixel is no whole number"),
        Dropped("row 6", "a pixel is not from 0 to 255"),
        Dropped("row 7", "a pixel is not from 0 to 255"),
        Dropped("row 8", "a pixel is no whole number"),
        Dropped("row 10", "2 fields where the header has 3"),
    )
    assert data.manifest.duplicates.across == {"training, private": 1}
    assert data.manifest.duplicates.conflicting == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no CSV and no folder|lists no labels"),
        (b"emotion,pixels,Usage\n", r"no row that can be read \(0 rows\)"),
        (b"emotion,pixels,Usage\n0,1 2 3,Training\n", "row 0: 3 pixels are no square image"),
        (b"a,b\n1,2\n", "needs a column image or file"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is no text in UTF-8|lists no labels"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(fb.FerBenchError, match=message):
        load(path)


def test_what_is_missing_is_refused(tmp_path):
    with pytest.raises(fb.FerBenchError, match=r"there is no .*absent.csv; try: the path"):
        load(tmp_path / "absent.csv")
    with pytest.raises(fb.FerBenchError, match="has no image; images end in"):
        load(tmp_path)
    with pytest.raises(fb.FerBenchError, match=r"the form 'fer2013' is unknown \(did you mean fer2013-csv.*known:"):
        load(tmp_path, form="fer2013")


def test_counts_that_are_not_the_published_ones_are_a_finding(tmp_path):
    data = load(write_csv(tmp_path / "fer2013.csv"))
    (finding,) = data.manifest.findings
    assert finding.startswith("not FER2013 as published: training angry 1 where 3,995 is right; training disgust 1")
    assert "training happy 2 where 7,215 is right" in finding


def test_published_counts_have_the_published_sums():
    sums = {
        name: {split: sum(of.values()) for split, of in splits.items()} for name, splits in published.COUNTS.items()
    }
    assert sums == {
        "FER2013": {"training": 28709, "public": 3589, "private": 3589, "test": 7178},
        "AffectNet": {"training": 287651, "validation": 3999},
        "RAF-DB": {"training": 12271, "test": 3068},
        "CK+": {"all": 327},
        "CK+ 48x48": {"all": 981},
        "JAFFE": {"all": 213},
    }
    counts = published.COUNTS["FER2013"]
    assert all(counts["public"][name] + counts["private"][name] == counts["test"][name] for name in SEVEN)


def test_classes_are_chosen_by_any_of_their_names_in_the_order_that_is_asked_for(tmp_path):
    data = load(write_csv(tmp_path / "fer2013.csv"), classes=["Sadness", "anger"], split="training")
    assert (data.classes, data.labels.tolist(), data.ids) == (("sad", "angry"), [1, 0], ("row 0", "row 5"))
    assert data.manifest.reasons()["class happy, which was not asked for"] == 4
    assert not any(each.fault for each in data.manifest.dropped)


def test_a_subset_keeps_images_labels_ids_and_groups_together(tmp_path):
    data = load(write_csv(tmp_path / "fer2013.csv"))
    some = data.subset([21, 3], split="mine")
    assert (some.ids, some.labels.tolist(), some.split) == (("row 21", "row 3"), [6, 3], "mine")
    assert some.groups["split"] == ("private", "training")
    assert (some.images[0] == pixels(21)).all()
    assert some.images.stacked().shape == (2, 48, 48)
    assert len(data.images[2:5]) == 3
    assert data.subset(data.labels == 3).ids == ("row 3", "row 4", "row 11", "row 18")
    with pytest.raises(IndexError):
        some.images[2]


def test_a_record_keeps_what_json_takes_and_no_list_of_all_rows(tmp_path):
    described = load(write_csv(tmp_path / "fer2013.csv"), classes=["happy"]).describe()
    assert json.loads(json.dumps(described))["counts"] == {"happy": 4}
    assert len(described["manifest"]["dropped"]) == 18
    frame = load(write_csv(tmp_path / "fer2013.csv"), split="private").to_frame()
    assert frame.columns.tolist() == ["id", "class", "split"]
    assert frame["class"].tolist() == list(SEVEN)


# The cache.


@pytest.mark.parametrize("mapped", [0, 2**20])  # bytes above which a file is mapped and not read
def test_a_second_load_reads_the_cache_and_a_changed_file_does_not(tmp_path, monkeypatch, mapped):
    monkeypatch.setattr(caches, "_MAPPED", mapped)
    path, kept = write_csv(tmp_path / "fer2013.csv"), tmp_path / "kept"
    first = load(path, cache=kept)
    with monkeypatch.context() as patched:
        patched.setattr(fer2013, "_parse", lambda path: pytest.fail("parsed again"))
        second = load(path, cache=kept)
    assert second.describe() == first.describe()
    assert (second.images.stacked() == first.images.stacked()).all()
    second.images[0][:] += 1  # is the caller's own
    assert (load(path, cache=kept).images.stacked() == first.images.stacked()).all()
    write_csv(path, rows=ROWS[:5])
    assert len(load(path, cache=kept)) == 5


@pytest.mark.parametrize("mapped", [0, 2**20])
@pytest.mark.parametrize("damage", [b"", b"{", b"null", 200])  # instead of it, or so many bytes of it
def test_a_damaged_cache_counts_as_none(tmp_path, monkeypatch, damage, mapped):
    monkeypatch.setattr(caches, "_MAPPED", mapped)
    path, kept = write_csv(tmp_path / "fer2013.csv"), tmp_path / "kept"
    load(path, cache=kept)
    for suffix in (".json", ".npy"):
        for file in [each for each in kept.iterdir() if each.name.endswith(suffix)]:
            file.write_bytes(file.read_bytes()[:damage] if isinstance(damage, int) else damage)
        assert len(load(path, cache=kept)) == 22


def test_the_cache_is_where_the_user_s_programs_keep_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load(write_csv(tmp_path / "fer2013.csv"), cache=True)
    assert list((tmp_path / "fer-bench" / "data").glob("*.json"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert caches.folder() == Path.home() / ".cache" / "fer-bench" / "data"


def test_without_space_the_data_are_read_and_the_manifest_says_that_nothing_was_kept(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    data = load(write_csv(tmp_path / "fer2013.csv"), cache=tmp_path / "kept")
    assert len(data) == 22
    assert data.manifest.notes == (f"not cached in {tmp_path / 'kept'}: No space left on device",)
    assert list((tmp_path / "kept").iterdir()) == []


def test_ctrl_c_while_the_cache_is_written_leaves_nothing_of_it(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(write_csv(tmp_path / "fer2013.csv"), cache=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_black_images_are_named(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n0,0 0 0 0,Training\n0,0 1 0 0,Training\n1,0 0 0 0,PublicTest\n")
    assert load(path).manifest.notes == ("2 black images: row 0, row 2",)


# Folders.


def folder_of(root, splits=("train", "test"), classes=SEVEN, many=3, side=20):
    for at, split in enumerate(splits):
        for label, name in enumerate(classes):
            for number in range(many):
                save(root / split / name / f"{number}.png", pixels(100 * at + 10 * label + number, side))
    return root


def test_folders_are_classes_and_the_folder_around_them_a_split(tmp_path):
    data = load(folder_of(tmp_path, classes=("Anger", "HA", "Contempt")))
    assert (data.name, data.classes, len(data)) == ("images", ("angry", "happy", "contempt"), 18)
    assert data.manifest.mapping == {"Anger": "angry", "HA": "happy", "Contempt": "contempt"}
    assert data.ids[:2] == ("test/Anger/0.png", "test/Anger/1.png")
    assert data.manifest.counts["training"] == {"angry": 3, "happy": 3, "contempt": 3}
    assert load(tmp_path, split="training").ids[0] == "train/Anger/0.png"


def test_seven_classes_of_48_pixels_are_compared_with_fer2013(tmp_path):
    data = load(folder_of(tmp_path, side=48))
    assert data.name == "FER2013"
    assert "test fear 3 where 1,024 is right" in data.manifest.findings[0]


def test_equal_files_are_counted_inside_and_across_splits(tmp_path):
    folder_of(tmp_path, classes=("happy", "sad"))
    first = (tmp_path / "train" / "happy" / "0.png").read_bytes()
    for name in ("train/happy/copy.png", "test/happy/copy.png", "test/sad/copy.png"):
        (tmp_path / name).write_bytes(first)
    equal = load(tmp_path).manifest.duplicates
    assert (equal.inside, equal.across, equal.conflicting) == ({"training": 1, "test": 1}, {"training, test": 2}, 4)
    assert equal.groups == (("test/happy/copy.png", "test/sad/copy.png", "train/happy/0.png", "train/happy/copy.png"),)


def test_copies_of_training_images_are_left_out_where_it_is_asked_for(tmp_path):
    folder_of(tmp_path, classes=("happy", "sad"))
    for name in ("test/happy/copy.png", "train/sad/copy.png"):
        (tmp_path / name).write_bytes((tmp_path / "train" / "happy" / "0.png").read_bytes())
    data = load(tmp_path, without_copies=True)
    assert data.manifest.reasons() == {"equal to a training image": 1}
    assert data.manifest.dropped[0].id == "test/happy/copy.png"
    assert (len(load(tmp_path)), len(data), len(load(tmp_path, split="test", without_copies=True))) == (14, 13, 6)


def test_images_of_any_kind_are_grey_or_rgb_bytes_and_upright(tmp_path):
    grey = pixels(0, 8)
    colours = np.dstack([grey, grey + 1, grey + 2])
    tall = np.zeros((4, 8), np.uint8)
    tall[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the first row is the last column then
    save(tmp_path / "happy" / "a.png", grey)
    save(tmp_path / "happy" / "b.png", colours)
    save(tmp_path / "happy" / "c.png", np.dstack([colours, grey]))
    save(tmp_path / "happy" / "d.png", grey.astype(np.uint16) * 256 + 255)
    Image.fromarray(tall).save(tmp_path / "happy" / "e.png", exif=exif)
    Image.fromarray(colours).quantize(64).save(tmp_path / "happy" / "f.gif")
    data = load(tmp_path)
    assert [image.shape for image in data.images] == [(8, 8), (8, 8, 3), (8, 8, 3), (8, 8), (8, 4), (8, 8, 3)]
    assert {image.dtype for image in data.images} == {np.dtype(np.uint8)}
    assert (data.images[0] == grey).all()
    assert (data.images[1] == colours).all()
    assert (data.images[2] == colours).all()
    assert (data.images[3] == grey).all()
    assert (data.images[4][:, 3] == 255).all()
    assert data.manifest.notes == ("2 sizes, from 4x8 to 8x8",)
    with pytest.raises(fb.FerBenchError, match=r"different shapes: 3 of \(8, 8, 3\), 2 of \(8, 8\), 1 of \(8, 4\)"):
        data.images.stacked()


def test_files_that_cannot_be_read_are_named(tmp_path):
    folder_of(tmp_path, splits=("",), classes=("happy",))
    whole = (tmp_path / "happy" / "0.png").read_bytes()
    (tmp_path / "happy" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "happy" / "text.jpg").write_text("none")
    (tmp_path / "happy" / "empty.png").touch()
    (tmp_path / "happy" / ".hidden.png").write_text("none")
    (tmp_path / "happy" / "gone.png").symlink_to("nowhere.png")
    data = load(tmp_path)
    assert data.ids == ("happy/0.png", "happy/1.png", "happy/2.png")
    assert data.manifest.rows == 7
    dropped = {each.id: each.reason for each in data.manifest.dropped}
    assert list(dropped) == ["happy/cut.png", "happy/empty.png", "happy/gone.png", "happy/text.jpg"]
    assert dropped["happy/gone.png"] == "cannot be read: No such file or directory"
    assert dropped["happy/text.jpg"] == "no image that can be read: cannot identify image file 'text.jpg'"
    assert dropped["happy/cut.png"].startswith("no image that can be read: ")
    with pytest.raises(fb.FerBenchError, match=r"cannot read the image .*cut.png"):
        read_image(tmp_path / "happy" / "cut.png")


def test_a_folder_that_is_no_class_and_a_class_without_images_are_reported(tmp_path):
    folder_of(tmp_path, classes=("happy", "sad"))
    (tmp_path / "test" / "fear").mkdir()
    data = load(tmp_path)
    assert data.classes == ("fear", "happy", "sad")
    assert data.counts()["fear"] == 0
    assert data.manifest.findings == ("the folder test/fear has no image of class fear",)
    save(tmp_path / "test" / "misc" / "0.png", pixels(0))
    with pytest.raises(fb.FerBenchError, match="the folder misc name no class beside fear, happy, sad; try: rename"):
        load(tmp_path)


def test_images_without_folders_of_classes_have_no_labels(tmp_path):
    for number in range(3):
        save(tmp_path / "holiday" / f"{number}.png", pixels(number))
    data = load(tmp_path / "holiday")
    assert (data.labels.tolist(), data.classes) == ([-1, -1, -1], ())
    assert data.manifest.label_rule.startswith("none")


def test_the_cache_of_a_folder_knows_a_file_that_changed(tmp_path):
    root, kept = folder_of(tmp_path / "data", classes=("happy",)), tmp_path / "kept"
    first = load(root, cache=kept)
    assert load(root, cache=kept).describe() == first.describe()
    (root / "test" / "happy" / "1.png").write_text("none")
    assert [each.id for each in load(root, cache=kept).manifest.dropped] == ["test/happy/1.png"]


def test_a_csv_of_labels_groups_images_by_its_other_columns(tmp_path):
    for number in range(4):
        save(tmp_path / "faces" / f"{number}.png", pixels(number))
    lines = ["File, Emotion ,age,Person,split", "faces/0.png,Happy,20-39,a,train", "faces/1.png,sadness,40+,b,test"]
    lines += ["faces/2.png,bored,,a,train", "faces/9.png,happy,,a,train", "faces/1.png,sad,,b,test"]
    (tmp_path / "labels.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    data = load(tmp_path)
    assert (data.classes, data.labels.tolist(), data.ids) == (("happy", "sad"), [0, 1], ("faces/0.png", "faces/1.png"))
    assert data.groups == {"split": ("training", "test"), "age": ("20-39", "40+"), "person": ("a", "b")}
    assert [each.reason for each in data.manifest.dropped] == [
        "label 'bored' is no expression",
        "the image faces/9.png is not there",
        "the image faces/1.png is listed twice",
    ]
    assert load(tmp_path / "labels.csv", split="test").ids == ("faces/1.png",)


# The other data sets.


def test_affectnet_s_lists_leave_out_codes_without_an_expression_and_cut_faces(tmp_path):
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    rows = ["1/a.jpg,2,4,10,8,,1,0,0", "1/b.jpg,NULL,NULL,NULL,NULL,,7,0,0"]
    rows += ["1/c.jpg,0,0,5,5,,9,0,0", "1/x.jpg,,,,,,0,0,0"]
    later = ["2/d.jpg,0,0,99,99,,0,0,0", "2/d.jpg,,,,,,11,0,0", "2/d.jpg,,,,,,1,0,0"]
    (tmp_path / "training.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "validation.csv").write_text("\n".join([header, *later]))
    for name in ("1/a", "1/b", "1/c", "2/d"):
        save(tmp_path / "Manually_Annotated_Images" / f"{name}.jpg", pixels(ord(name[-1]), 20))
    data = load(tmp_path)
    assert (data.name, data.manifest.form) == ("AffectNet", "affectnet-csv")
    assert data.classes == ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
    assert (data.labels.tolist(), data.groups["split"]) == ([1, 7, 0], ("training", "training", "validation"))
    assert [image.shape for image in data.images] == [(8, 10), (20, 20), (20, 20)]
    assert [(each.reason, each.fault) for each in data.manifest.dropped] == [
        ("expression uncertain", False),
        ("the image is not there", True),
        ("expression '11' is no code from 0 to 10", True),
        ("the image Manually_Annotated_Images/2/d.jpg is listed twice", True),
    ]
    seven = load(tmp_path, classes=data.classes[:7])
    assert (len(seven.classes), len(seven)) == (7, 2)


def test_affectnet_s_npy_codes_are_numbers_or_texts(tmp_path):
    for folder, codes in (("train_set", {"0": 3, "1": "6", "2": 8}), ("val_set", {"5": "0.0", "6": "x"})):
        (tmp_path / folder / "annotations").mkdir(parents=True)
        for name, code in codes.items():
            np.save(tmp_path / folder / "annotations" / f"{name}_exp.npy", np.array(code))
            np.save(tmp_path / folder / "annotations" / f"{name}_val.npy", np.array("0.1"))
            save(tmp_path / folder / "images" / f"{name}.jpg", pixels(int(name), 16))
    data = load(tmp_path)
    assert (data.manifest.form, data.labels.tolist()) == ("affectnet-npy", [3, 6, 0])
    assert data.ids == ("train_set/images/0.jpg", "train_set/images/1.jpg", "val_set/images/5.jpg")
    assert data.manifest.reasons() == {"expression none": 1, "expression no code from 0 to 10": 1}


def test_raf_db_is_read_from_its_list_with_what_is_known_of_the_person(tmp_path):
    (tmp_path / "EmoLabel").mkdir()
    lines = [f"train_0000{n}.jpg {n}" for n in range(1, 8)]
    lines += ["test_0001.jpg 1", "test_0002.jpg 8", "test_0003.jpg 2"]
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("\r\n".join([*lines, ""]))
    for line in lines[:-1]:
        save(tmp_path / "Image" / "aligned" / f"{line.split('.')[0]}_aligned.jpg", pixels(len(line), 10))
    (tmp_path / "Annotation" / "manual").mkdir(parents=True)
    (tmp_path / "Annotation" / "manual" / "train_00001_manu_attri.txt").write_text("1\t2\n" * 5 + "1\n2\n3\n")
    data = load(tmp_path)
    assert (data.name, data.manifest.form) == ("RAF-DB", "rafdb")
    assert data.classes == ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert len(load(tmp_path, split="test")) == 1
    assert {key: values[0] for key, values in data.groups.items()} == {
        "split": "training",
        "sex": "female",
        "race": "Asian",
        "age": "40-69",
    }
    assert data.groups["sex"][1] == ""
    reasons = ["'test_0002.jpg 8' is no name with a code from 1 to 7", "the image test_0003 is not there"]
    assert list(data.manifest.reasons()) == reasons


def test_raf_db_s_numbered_folders_count_from_1(tmp_path):
    for split in ("train", "test"):
        for code in range(1, 8):
            save(tmp_path / "DATASET" / split / str(code) / f"{split}_{code}.jpg", pixels(code, 10))
    data = load(tmp_path)
    assert data.manifest.form == "rafdb"
    assert data.groups["split"][0] == "test"
    assert data.classes[data.labels[data.ids.index("DATASET/train/4/train_4.jpg")]] == "happy"


def kdef(root, person, code, angle, level=90, size=(12, 9)):
    image = np.full(size, level, np.uint8)
    image[0, 0] = level and len(list(root.rglob("*.JPG")))
    save(root / "KDEF" / person / f"{person}{code}{angle}.JPG", image, format="JPEG")


def test_kdef_s_names_say_all_and_its_published_faults_are_named(tmp_path):
    for person in ("AF01", "BF01", "AM12"):
        for code in ("AF", "SU"):
            for angle in ("S", "HL"):
                kdef(tmp_path, person, code, angle)
    kdef(tmp_path, "AF01", "SU", "FR", level=0)
    kdef(tmp_path, "AM12", "AN", "FR", size=(9, 14))
    save(tmp_path / "KDEF" / "AF31" / "AF31V.JPG", pixels(0, 12))
    data = load(tmp_path)
    assert (data.name, data.manifest.form, len(data)) == ("KDEF", "kdef", 13)
    assert data.classes == ("fear", "angry", "disgust", "happy", "neutral", "sad", "surprise")
    at = data.ids.index("KDEF/BF01/BF01SUHL.JPG")
    assert {key: values[at] for key, values in data.groups.items()} == {
        "person": "F01",
        "session": "B",
        "sex": "female",
        "pose": "half left",
    }
    assert data.classes[data.labels[at]] == "surprise"
    assert {each.id: each.reason for each in data.manifest.dropped} == {
        "KDEF/AF01/AF01SUFR.JPG": "black",
        "KDEF/AF31/AF31V.JPG": "the name has no person and expression",
    }
    assert data.manifest.findings == ("not KDEF as published: 15 images where 4,900 are right",)


def test_a_split_by_person_keeps_both_sessions_of_a_person_on_one_side(tmp_path):
    for number in range(1, 6):
        for session in "AB":
            kdef(tmp_path, f"{session}F{number:02d}", "HA", "S")
    tests, trains = load(tmp_path, split="persons-2-of-5"), load(tmp_path, split="persons-not-2-of-5")
    assert set(tests.persons) == {"F02"}
    assert set(trains.persons) == {"F01", "F03", "F04", "F05"}
    assert (len(tests), len(trains)) == (2, 8)
    for wrong in ("persons-0-of-5", "persons-6-of-5", "persons-1-of-1", "persons-1-of-6"):
        with pytest.raises(fb.FerBenchError, match="is not possible with 5 persons"):
            load(tmp_path, split=wrong)


def test_ck_plus_has_the_last_frame_of_each_labelled_sequence(tmp_path):
    codes = {("S005", "001"): "   3.0000000e+00\n", ("S010", "002"): "7\n", ("S010", "004"): "9\n"}
    for (person, sequence), code in codes.items():
        stem = f"{person}_{sequence}_000000"
        for frame in ("01", "11"):
            save(tmp_path / "cohn-kanade-images" / person / sequence / f"{stem}{frame}.png", pixels(int(frame)))
        folder = tmp_path / "Emotion" / person / sequence
        folder.mkdir(parents=True)
        (folder / f"{stem}11_emotion.txt").write_text(code)
    (tmp_path / "Emotion" / "S011" / "001").mkdir(parents=True)
    data = load(tmp_path)
    assert (data.name, data.manifest.form) == ("CK+", "ckplus")
    assert data.classes == ("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
    assert [data.classes[label] for label in data.labels] == ["disgust", "surprise"]
    assert data.persons == ("S005", "S010")
    assert data.ids[0] == "cohn-kanade-images/S005/001/S005_001_00000011.png"
    assert [each.reason for each in data.manifest.dropped] == ["S010_004_00000011_emotion.txt has no code from 0 to 7"]


def test_the_48_pixel_set_of_ck_plus_knows_its_persons(tmp_path):
    for name in ("S010_004_00000017", "S010_004_00000018", "S011_001_00000014"):
        save(tmp_path / "anger" / f"{name}.png", pixels(int(name[-2:])))
    data = load(tmp_path)
    assert (data.name, data.persons) == ("CK+", ("S010", "S010", "S011"))
    assert "angry 3 where 135 is right" in data.manifest.findings[0]


def test_jaffe_s_names_say_person_and_expression(tmp_path):
    for person in ("KA", "KL"):
        for at, code in enumerate(("AN", "DI", "FE", "HA", "NE", "SA", "SU")):
            save(tmp_path / f"{person}.{code}1.{at + 39}.tiff", pixels(at + len(person) * ord(person[1])))
    data = load(tmp_path)
    assert (data.name, data.manifest.form, len(data)) == ("JAFFE", "jaffe", 14)
    assert (data.ids[3], data.classes[data.labels[3]], data.persons[3]) == ("KA.HA1.42.tiff", "happy", "KA")
    assert set(load(tmp_path, split="persons-1-of-2").persons) == {"KA"}


def test_every_form_has_a_reader():
    assert tuple(loading._READERS) == FORMS
    assert set(folders.SPLITS.values()) == set(loading._ORDER)


REAL = os.environ.get("FER_BENCH_FER2013", "")


@pytest.mark.skipif(not REAL, reason="not run on the real FER2013: FER_BENCH_FER2013 names no file")
def test_the_real_fer2013_has_its_published_counts_and_black_images():
    data = load(REAL)
    assert data.manifest.findings == ()
    assert data.manifest.notes == (
        f"11 black images, as published: {', '.join(f'row {row}' for row in fer2013.BLACK)}",
    )
