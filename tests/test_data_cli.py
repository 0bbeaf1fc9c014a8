"""`fer-bench data`: what is printed of a data set, its figures, and the exit codes."""

import json

import pytest

from fer_bench.cli.main import SUBCOMMANDS, main
from fer_bench.reporting.figures import data as figures
from fer_bench.reporting.render.plots.figure import draw, write_figures
from fer_bench.reporting.tables import data as tables


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder on a terminal of 80 columns: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_the_commands_on_data_have_a_help_text_that_fits(call):
    code, out, _ = call("data", "--help")
    assert code == 0
    assert all(name in out for name in SUBCOMMANDS["data"])
    for name in SUBCOMMANDS["data"]:
        code, out, _ = call("data", name, "--help")
        assert (code, max(map(len, out.splitlines())) <= 80, "--debug" in out) == (0, True, True)


def test_faces_are_made_and_inspected(call):
    code, out, _ = call("data", "make-faces", "faces", "--images", 100, "--duplicates", 3, "--black", 2, "--size", 16)
    assert (code, out) == (0, "100 rendered faces in faces; try: fer-bench data inspect faces\n")
    code, out, err = call("data", "inspect", "faces", "--no-cache")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data        rendered FER2013, fer2013-csv"
    assert "no person's face" in lines[1]
    assert "split       all: 100 of 100 images, all images" in lines
    assert "equal       training: 1 repeated" in lines
    assert "equal       private: 3 also in training" in lines
    assert "note        2 black images: row 3, row 4" in lines
    assert ["all", "80", "10", "10"] in [line.split() for line in lines]
    assert "    2  row 0, row 90" in lines


def test_a_long_drawing_says_how_far_it_is(call, monkeypatch):
    monkeypatch.setattr("fer_bench.cli.data._SAID", 10)
    code, _, err = call("data", "make-faces", "faces", "--form", "icml", "--images", 25, "--size", 16)
    assert (code, err.splitlines()) == (0, ["10 of 25 faces", "20 of 25 faces"])


def test_a_data_set_can_be_inspected_as_json_for_programs(call):
    call("data", "make-faces", "faces", "--images", 20, "--size", 16, "--form", "folder")
    code, out, _ = call("data", "inspect", "faces", "--no-cache", "--split", "test", "--format", "json")
    described = json.loads(out)
    assert (code, described["name"], described["images"]) == (0, "rendered images", 4)
    assert described["manifest"]["rendered"] is True
    code, out, _ = call("data", "inspect", "faces", "--no-cache", "--format", "csv")
    assert out.startswith("class,")


def damaged(path):
    rows = ["0,1 2 3 4,Training", "1,1 2 3,Training", "2,5 6 7 8,PublicTest"]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]))


def test_damage_is_shown_and_fails_where_it_is_asked_to(call, tmp_path):
    damaged(tmp_path / "fer2013.csv")
    code, out, err = call("data", "inspect", "fer2013.csv", "--cache", "kept")
    assert code == 0
    assert "left out    1: 3 pixels where 4 are expected" in out
    assert "row 1        3 pixels where 4 are expected" in out
    assert ["angry", "1", "3,995", "0", "467"] in [line.split() for line in out.splitlines()]
    assert err.startswith("fer-bench: not FER2013 as published: training angry 1 where 3,995 is right")
    assert list((tmp_path / "kept").glob("*.npy"))
    code, _, err = call("data", "inspect", "fer2013.csv", "--no-cache", "--strict")
    assert code == 1
    assert "fer-bench: row 1: 3 pixels where 4 are expected" in err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("inspect", "absent"), 1, "there is no absent; try: the path of a CSV"),
        (("inspect", "."), 1, "has no image"),
        (("inspect", ".", "--form", "x"), 1, "the form 'x' is unknown"),
        (("inspect",), 2, "Missing argument"),
        (("inspct",), 2, "No such command"),
        (("make-faces", "out", "--form", "x"), 2, "'x' is not one of fer2013, icml, folder"),
        (("make-faces", "out", "--images", "0"), 1, "0 images of fer2013"),
        (("make-faces", "out", "--intensity", "1"), 1, "--intensity '1' is not two numbers"),
        (("make-faces", "out", "--weights", "a,b"), 1, "--weights 'a' is no number"),
    ],
)
def test_what_cannot_be_done_is_one_message(call, arguments, code, message):
    ended, out, err = call("data", *arguments)
    assert (ended, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_figures_of_classes_and_pixels_are_drawn(call, tmp_path):
    call("data", "make-faces", "faces", "--images", 30, "--size", 16)
    code, *_ = call("data", "inspect", "faces", "--no-cache", "--figures", "drawn")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "classes.png",
        "classes.svg",
        "pixels.png",
        "pixels.svg",
    ]
    assert b"Rendered faces, of no person." in (tmp_path / "drawn" / "pixels.svg").read_bytes()


def test_levels_of_pixels_are_shares_with_mean_and_deviation():
    levels = [0] * 256
    levels[0] = levels[255] = 3  # mean one half, deviation one half
    plot = figures.pixel_levels("a", {"happy": levels})
    assert "mean 0.500, standard deviation 0.500" in plot.caption
    (line,) = plot.lines
    assert (line[0], line[1][0], line[1][-1], sum(line[1])) == ("happy", 0.5, 0.5, 1.0)


def test_names_of_classes_are_drawn_as_they_are(tmp_path):
    hostile = "a_b^2 $x$ <b> \\n \u8868 \x1b[2J"
    plots = {
        "classes": figures.class_counts(hostile, {hostile: {hostile: 3, "happy": 0}, "test": {hostile: 2}}, hostile),
        "pixels": figures.pixel_levels(hostile, {hostile: [1] * 256}, hostile),
    }
    write_figures(tmp_path, plots, ("svg", "png", "pdf"))
    assert len(list(tmp_path.iterdir())) == 6
    texts = [text.get_text() for text in draw(plots["classes"]).axes[0].get_yticklabels()]
    assert "a_b^2 $x$ <b>" in texts[0]
    assert "\x1b" not in texts[0]


def test_counts_stand_beside_the_published_ones_with_their_sum():
    table = tables.class_counts({"training": {"happy": 2, "sad": 1}}, {"training": {"happy": 3, "sad": 1}})
    assert [column.heading for column in table.columns] == ["class", "training", "published"]
    assert [list(row) for row in table.cells()] == [["happy", "2", "3"], ["sad", "1", "1"], ["all", "3", "4"]]
