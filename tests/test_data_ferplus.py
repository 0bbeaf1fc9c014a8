"""FER+: the public rules on votes worked by hand, the join by row order, and the real files where they are."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fer_bench as fb
from fer_bench.accuracy.data import ferplus
from fer_bench.accuracy.data.forms import RULES

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def alone(place):
    """Every rule gives the one class."""
    return {rule: {place: 1} for rule in ("majority", "argmax", "crossentropy", "multi_target")}


# Ten votes in the order of the header, and what each rule makes of them: the class, or shares of classes, or nothing.
# neu hap sur sad ang dis fea con unk NF
WORKED = [
    # One class has all.
    (
        (0, 10, 0, 0, 0, 0, 0, 0, 0, 0),
        alone(1),
    ),
    # Single votes go first: 5 of 5 remain, and no share is left for the others.
    (
        (5, 1, 1, 1, 1, 1, 0, 0, 0, 0),
        alone(0),
    ),
    # A tie of two: no majority; both are taken at once; argmax has the first column.
    (
        (5, 0, 0, 5, 0, 0, 0, 0, 0, 0),
        {"argmax": {0: 1}, "crossentropy": {0: 0.5, 3: 0.5}, "multi_target": {0: 0.5, 3: 0.5}},
    ),
    # 6 of 10 are a majority, less than three quarters: the next level joins, then 10 of 10 are covered.
    (
        (6, 0, 4, 0, 0, 0, 0, 0, 0, 0),
        {"majority": {0: 1}, "argmax": {0: 1}, "crossentropy": {0: 0.6, 2: 0.4}, "multi_target": {0: 0.6, 2: 0.4}},
    ),
    # 8 of 10 are three quarters: the level of 2 is not taken; 2 of 10 are below three tenths.
    (
        (0, 0, 0, 0, 8, 2, 0, 0, 0, 0),
        alone(4),
    ),
    # Exactly half is no majority.
    (
        (0, 0, 0, 5, 0, 0, 3, 2, 0, 0),
        {"argmax": {3: 1}, "crossentropy": {3: 5 / 8, 6: 3 / 8}, "multi_target": {3: 5 / 8, 6: 3 / 8}},
    ),
    # Four classes at once are more than three: dropped; of multi_target 4 x 2 of 8 are below three tenths each.
    ((2, 2, 2, 2, 1, 1, 0, 0, 0, 0), {"argmax": {0: 1}}),
    # Three classes of a level: a third each, which is above three tenths.
    (
        (0, 0, 3, 0, 3, 0, 3, 1, 0, 0),
        {
            "argmax": {2: 1},
            "crossentropy": {2: 1 / 3, 4: 1 / 3, 6: 1 / 3},
            "multi_target": {2: 1 / 3, 4: 1 / 3, 6: 1 / 3},
        },
    ),
    # Unknown is first: no rule gives a label. Its level ends the distribution with nothing covered.
    ((0, 3, 0, 0, 0, 0, 0, 0, 7, 0), {}),
    # Unknown at the level of the second: 6 of 10 are covered before it, and its own votes are cut.
    (
        (0, 6, 0, 0, 0, 0, 0, 0, 4, 0),
        alone(1),
    ),
    # Unknown ends it at half: 5 of 10 are not more than half. Together with unknown there is more than half.
    ((0, 5, 0, 0, 0, 0, 0, 0, 5, 0), {"argmax": {1: 1}, "multi_target": {1: 1}}),
    # All see no face.
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), {}),
    # Ten single votes leave nothing; argmax, which drops none, has the first column.
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), {"argmax": {0: 1}}),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("votes", "expected"), WORKED, ids=lambda value: str(value) if isinstance(value, tuple) else ""
)
def test_a_rule_gives_what_a_hand_works_out(votes, expected, rule):
    shares = np.zeros(8)
    for place, share in expected.get("crossentropy" if rule == "probability" else rule, {}).items():
        shares[place] = share
    (given,) = ferplus.RULES[rule](np.array([votes]))
    assert given == pytest.approx(shares)


def test_each_rule_has_its_name():
    assert tuple(ferplus.RULES) == RULES


def csv_of(usages, side=4):
    rows = [f"0,{' '.join(str(row) for _ in range(side * side))},{usage}" for row, usage in enumerate(usages)]
    return "\n".join(["emotion,pixels,Usage", *rows])


USAGES = ("Training", "Training", "Training", "PublicTest", "PrivateTest")
# The second image has no name, and the names count on without it: the number is not the row.
NAMED = [
    ("fer0000000.png", "0,10,0,0,0,0,0,0,0,0"),
    ("", "0,0,0,0,0,0,0,0,0,10"),
    ("fer0000001.png", "0,0,0,0,10,0,0,0,0,0"),
    ("fer0000002.png", "5,0,0,5,0,0,0,0,0,0"),
    ("fer0000003.png", "0,0,0,0,0,0,0,9,0,0"),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fer2013.csv").write_text(csv_of(USAGES))
    lines = [f"{usage},{name},{votes}" for usage, (name, votes) in zip(USAGES, NAMED, strict=True)]
    (tmp_path / "fer2013new.csv").write_text("\n".join([HEADER, *lines, ""]))
    return tmp_path


def old_files(root, votes):
    for name, rows in votes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        lines = [f'{image},"(0, 0, 48, 48)",{cells}' for image, cells in rows]
        (root / name / "label.csv").write_text("\n".join(lines))


def load(path, **options):
    return fb.load_data(path, cache=False, **options)


def test_votes_belong_to_the_row_of_their_line_and_not_to_the_number_in_the_name(folder):
    data = load(folder)
    assert (data.name, data.manifest.form, data.manifest.label_rule) == (
        "FER+",
        "ferplus",
        "majority of fer2013new.csv",
    )
    assert data.classes == ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
    assert (data.ids, data.labels.tolist()) == (("row 0", "row 2", "row 4"), [1, 4, 7])
    assert [int(image[0, 0]) for image in data.images] == [0, 2, 4]
    assert data.targets is None
    assert data.manifest.reasons() == {"no label by majority of fer2013new.csv": 2}
    assert [file.path for file in data.manifest.files] == ["fer2013.csv", "fer2013new.csv"]


def test_a_rule_of_distributions_gives_targets_that_sum_to_1(folder):
    data = load(folder / "fer2013new.csv", rule="crossentropy", split="public")
    assert data.targets.tolist() == [[0.5, 0, 0, 0.5, 0, 0, 0, 0]]
    assert (data.targets.dtype, data.labels.tolist()) == (np.float32, [0])
    assert data.manifest.notes[-1].startswith("1 images have several classes with most votes")


def test_the_six_classes_of_paper_000_leave_disgust_and_contempt_out(folder):
    six = ["neutral", "happiness", "surprise", "sadness", "anger", "fear"]
    data = load(folder, classes=six)
    assert (len(data), data.counts()["angry"]) == (2, 1)
    assert data.manifest.reasons()["class contempt, which was not asked for"] == 1
    shared = load(folder, classes=six[:3], rule="crossentropy", split="public")
    assert shared.targets.tolist() == [[1, 0, 0]]  # the rest is scaled to 1


def test_label_csv_is_joined_by_the_names_that_fer2013new_gives_rows(folder):
    old_files(
        folder / "data",
        {
            "FER2013Train": [("fer0000000.png", "10,0,0,0,0,0,0,0,0,0"), ("fer0000001.png", "0,0,10,0,0,0,0,0,0,0")],
            "FER2013Valid": [("fer0000002.png", "0,0,0,10,0,0,0,0,0,0")],
            "FER2013Test": [],
        },
    )
    data = load(folder, form="ferplus-label")
    assert (data.ids, data.labels.tolist()) == (("row 0", "row 2", "row 3"), [0, 2, 3])
    assert data.manifest.label_rule == "majority of label.csv"
    assert data.manifest.reasons() == {"label.csv has no votes for it": 2}
    assert load(folder).labels.tolist() == [1, 4, 7]  # which the other file is for
    (folder / "fer2013new.csv").unlink()
    with pytest.raises(fb.FerBenchError, match=r"fer2013new\.csv, which leads names to rows, is not in"):
        load(folder)


def test_the_images_that_ferplus_wrote_are_read_by_their_names(tmp_path):
    train, test = ("fer0000000.png", "0,10,0,0,0,0,0,0,0,0"), ("fer0000007.png", "0,0,0,0,0,0,9,1,0,0")
    old_files(tmp_path, {"FER2013Train": [train], "FER2013Test": [test]})
    for at, name in enumerate(("FER2013Train/fer0000000.png", "FER2013Test/fer0000007.png")):
        Image.fromarray(np.full((4, 4), at, np.uint8)).save(tmp_path / name)
    data = load(tmp_path)
    assert [(name, data.classes[label]) for name, label in zip(data.ids, data.labels, strict=True)] == [
        ("FER2013Test/fer0000007.png", "fear"),
        ("FER2013Train/fer0000000.png", "happy"),
    ]
    assert data.groups["split"] == ("private", "training")


def test_votes_that_do_not_fit_are_refused(folder):
    with pytest.raises(fb.FerBenchError, match=r"the rule 'majorty' is unknown \(did you mean majority"):
        load(folder, rule="majorty")
    with pytest.raises(fb.FerBenchError, match=r"has no label\.csv of FER"):
        load(folder, form="ferplus-label")
    new = folder / "fer2013new.csv"
    text = new.read_text()
    new.write_text(text.replace("5,0,0,5", "5,x,0,5"))
    with pytest.raises(fb.FerBenchError, match="row 3: '5,x,0,5,0,0,0,0,0,0' are no 10 votes"):
        load(folder)
    new.write_text(text.replace("PublicTest", "Training"))
    with pytest.raises(fb.FerBenchError, match="1 rows have another Usage in the votes"):
        load(folder)
    new.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(fb.FerBenchError, match=r"fer2013new\.csv has 4 rows, fer2013\.csv 5: they are joined by row"):
        load(folder)
    new.write_text(text.replace("Image name", "Image").replace("happiness", "joy"))
    with pytest.raises(fb.FerBenchError, match=r"is no fer2013new\.csv: its header is not"):
        load(folder)
    new.write_text(text)
    (folder / "fer2013.csv").unlink()
    with pytest.raises(fb.FerBenchError, match=r"has votes and no images; try: put fer2013\.csv"):
        load(folder)


REAL = os.environ.get("FER_BENCH_FERPLUS", "")
# Training, PublicTest, PrivateTest; then all by class, in the order of the header.
COUNTS = {
    ("new", "majority"): ((25060, 3199, 3153), (11012, 9045, 3960, 3749, 2660, 161, 677, 148)),
    ("old", "majority"): ((25045, 3191, 3137), None),
    ("new", "crossentropy"): ((27956, 3505, 3505), (12690, 9325, 4409, 4266, 3041, 222, 805, 208)),
    ("new", "probability"): ((27956, 3505, 3505), (12690, 9325, 4409, 4266, 3041, 222, 805, 208)),
    ("new", "multi_target"): ((27671, 3472, 3472), (12621, 9306, 4370, 4233, 2936, 204, 759, 186)),
    ("new", "argmax"): ((28389, 3553, 3546), (12906, 9355, 4462, 4371, 3111, 248, 819, 216)),
}


@pytest.mark.skipif(not REAL, reason="not run on the real FER+: FER_BENCH_FERPLUS names no folder of its repository")
@pytest.mark.parametrize(("file", "rule"), COUNTS)
def test_the_real_files_have_the_counts_of_each_rule(file, rule):
    root = Path(REAL)
    voted = ferplus.read_new(root / "fer2013new.csv") if file == "new" else ferplus.read_old(root / "data")
    shares = ferplus.RULES[rule](voted.votes)
    kept = shares.any(1)
    splits, classes = COUNTS[file, rule]
    counted = Counter(np.array(voted.splits)[kept].tolist())
    assert tuple(counted[name] for name in ("training", "public", "private")) == splits
    if classes is not None:
        assert tuple(np.bincount(shares[kept].argmax(1), minlength=8)) == classes
