"""Sheets are read without importing a network; names find them, and wrong ones are answered with the nearest."""

import subprocess
import sys

import pytest

from fer_bench.networks import registry, sheets
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import PUBLISHED, UNKNOWN, Conditions, Figure, ModelSpec, Source
from fer_bench.records.errors import SheetError, UnknownModelError

GOOD = '[net]\ntitle = "Net"\ninput_shape = [1, 48, 48]\nnum_classes = 7\nstatus = "exact"\n'
RESULT = "published = [{{ quantity = 'accuracy', printed = '1', unit = '%', paper = '1', where = 'x', {} }}]\n"


def write(tmp_path, text):
    path = tmp_path / "family.toml"
    path.write_text(text)
    return path


def test_a_table_of_a_sheet_is_a_network_of_its_family(tmp_path):
    found = sheets.read_sheet(write(tmp_path, GOOD + "choices = ['a']\n[net.expected]\nmacs = 3\n"))
    assert found == {
        "net": ModelSpec(
            "net", Source("zoo", "net", "family"), "Net", (1, 48, 48), 7, "exact", choices=("a",), expected={"macs": 3}
        )
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[net", "family.toml"),
        ("[net]\ntitle = 'x'\n", r"family.toml \[net\] lacks input_shape, num_classes, status"),
        (GOOD + "colour = 'red'\n", "has unknown keys colour"),
        (GOOD.replace("[1, 48, 48]", "[48, 48]"), r"input_shape is \[48, 48\], expected \[channels, height, width\]"),
        (GOOD.replace("exact", "perhaps"), "status 'perhaps' is none of exact"),
        (GOOD + "published = [{ quantity = 'macs' }]\n", "a published figure lacks paper, printed, unit, where"),
        (
            GOOD + "published = [{ quantity = 'beauty', printed = '1', unit = '', paper = '1', where = 'x' }]\n",
            "unknown quantity 'beauty'",
        ),
        (GOOD + RESULT.format("passes = 0"), 'passes is 0, expected a number from 1, or "unknown"'),
        (GOOD + RESULT.format("input_shape = [48, 48]"), r"input_shape is \[48, 48\], expected \[channels"),
        (GOOD + RESULT.format("runs = 'some'"), "runs is 'some', expected single or best or mean"),
        (GOOD + RESULT.format("split = 3"), "split is 3, expected text in quotes"),
    ],
)
def test_a_sheet_that_is_wrong_is_reported_with_its_place(tmp_path, text, complaint):
    with pytest.raises(SheetError, match=complaint):
        sheets.read_sheet(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mini_xception", Source("zoo", "mini_xception", module="mini_xception")),
        ("timm:resnet50", Source("timm", "resnet50")),
        ("torchvision:resnet50", Source("torchvision", "resnet50")),
        ("some/file.py:factory", Source("file", "factory", file="some/file.py")),
        ("C:/some/file.py:factory", Source("file", "factory", file="C:/some/file.py")),
        ("package.module:factory", Source("module", "factory", module="package.module")),
    ],
)
def test_a_name_gives_its_source(name, source):
    spec = registry.find(name)
    assert (spec.name, spec.source) == (name, source)


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnett50", "resnet50"), ("Mini_Xception", "mini_xception"), ("xception", "mini_xception")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(UnknownModelError, match=f"did you mean .*{nearest}"):
        registry.find(name)


@pytest.mark.parametrize("name", ["", ":", "timm:", "qqqqqqqq"])
def test_a_name_near_none_is_answered_with_where_to_look(name):
    with pytest.raises(UnknownModelError, match="fer-bench list") as caught:
        registry.find(name)
    assert "did you mean" not in str(caught.value)


def test_of_several_figures_the_one_in_a_table_counts_and_then_the_more_exact_one():
    def accuracy(printed, where, dataset, paper="1"):
        return Figure("accuracy", printed, "%", paper, where, dataset=dataset)

    spec = ModelSpec(
        "n",
        Source("zoo", "n", "n"),
        "N",
        published=(
            accuracy("67", "abstract", "A"),
            accuracy("66.812", "section 2", "A"),
            accuracy("67.0", "Table 2", "A"),
            accuracy("67.00", "Table 3", "A"),
            accuracy("80", "section 4", "B"),
            accuracy("81.5", "section 5", "B"),
            accuracy("99", "Table 9", "C", paper="2"),
        ),
    )
    assert [f.printed for f in spec.figures("accuracy", "1")] == ["67.00", "81.5"]
    assert [f.printed for f in spec.figures("accuracy")] == ["67.00", "81.5", "99"]
    assert spec.figures("flops") == []


def test_a_quantity_of_the_network_has_one_figure_whatever_the_data_set():
    figures = tuple(
        Figure("parameters", printed, "M", "1", where, dataset=data)
        for printed, where, data in (("3.45", "section 4", ""), ("3.450", "Table 1", "A"))
    )
    (found,) = ModelSpec("n", Source("zoo", "n", "n"), "N", published=figures).figures("parameters")
    assert found.printed == "3.450"


def test_the_sheets_are_read_without_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None; import fer_bench; assert 'mini_xception' in fer_bench.list_models()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SHEET = """
[baseline]
title = "A baseline of others"
published = [ { quantity = "parameters", printed = "2.54", unit = "M", paper = "theirs", where = "Table 1" } ]

[planted]
title = "Named after a library's network"
network = "torchvision:mobilenet_v3_small"
num_classes = 10

[twin]
title = "One of ours under another name"
network = "mini_xception"
"""


@pytest.fixture
def users_folder(tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "theirs.toml").write_text(SHEET)
    (tmp_path / "papers" / "theirs.toml").write_text('[paper]\nid = "theirs"\ntitle = "A paper"\nyear = 2024\n')
    return tmp_path


def test_a_user_s_sheets_join_ours(users_folder):
    registry = Registry([users_folder])
    assert set(registry.networks) > {"baseline", "planted", "mini_xception"}
    assert "baseline" not in registry.names()
    assert registry.users_names() == ["planted", "twin"]
    assert registry.find("baseline").source == PUBLISHED
    assert registry.find("planted").source == Source("torchvision", "mobilenet_v3_small")
    assert registry.paper_title("theirs") == "A paper. 2024"


def test_a_user_s_sheet_with_code_beside_it_builds_that_code(users_folder):
    (users_folder / "mine.toml").write_text('[mine]\ntitle = "Mine"\ninput_shape = [1, 8, 8]\nnum_classes = 3\n')
    (users_folder / "mine.py").write_text("")
    registry = Registry([users_folder])
    assert registry.find("mine").source == Source("file", "mine", file=str(users_folder.resolve() / "mine.py"))


@pytest.mark.parametrize(
    ("sheet", "complaint"),
    [
        ('[mini_xception]\ntitle = "x"\n', "mini_xception is registered twice: in mini_xception.toml and in wrong"),
        ('[x]\ntitle = "x"\nnetwork = "resnet51"\n', "network 'resnet51' is unknown"),
        ("[x]\n", "lacks title"),
        ('[x]\ntitle = "x"\nnum_classes = 0\n', "num_classes is 0"),
        ("x = 1\n", "is no table"),
        (
            '[x]\ntitle = ""\npublished = [{ quantity = "epochs", printed = 5, unit = "", paper = "", where = "" }]\n',
            "printed is 5, expected text",
        ),
    ],
)
def test_a_user_s_sheet_that_is_wrong_is_reported(users_folder, sheet, complaint):
    (users_folder / "wrong.toml").write_text(sheet)
    with pytest.raises(SheetError, match=complaint):
        _ = Registry([users_folder]).networks


def test_a_folder_of_sheets_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(SheetError, match="there is no such folder"):
        Registry([tmp_path / "missing"])


OURS = """[net]
title = "Ours"
network = "resnet50"
published = [
  { quantity = "accuracy", printed = "88", unit = "%", dataset = "RAF", paper = "ours", where = "T 1" },
  { quantity = "accuracy", printed = "89", unit = "%", dataset = "RAF", paper = "ours", where = "T 2", passes = 10 },
  { quantity = "accuracy", printed = "9", unit = "%", dataset = "RAF", paper = "ours", where = "T", split = "unknown" },
  { quantity = "flops", printed = "4", unit = "G", dataset = "RAF", paper = "ours", where = "T 1" },
]
"""
PAPER = """[paper]
id = "ours"
title = "Our paper"
[results.RAF]
input_shape = [3, 112, 112]
num_classes = 7
split = "test"
passes = 1
runs = "best"
selected_on = "unknown"
"""


def test_a_user_s_results_have_the_conditions_of_their_paper_or_their_own(tmp_path):
    (tmp_path / "mine.toml").write_text(OURS)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "ours.toml").write_text(PAPER)
    one, ten, other, flops = Registry([tmp_path]).networks["net"].published
    assert one.conditions == Conditions((3, 112, 112), 7, "test", "", 1, "", "best")
    assert (ten.conditions.passes, ten.conditions.split) == (10, "test")
    assert other.conditions.split == ""  # which the source does not say, whatever the paper has of the others
    assert flops.conditions == UNKNOWN  # a count is no result
    assert Registry([tmp_path]).networks["net"].published_builds == (((3, 112, 112), 7),)
    (tmp_path / "papers" / "ours.toml").write_text(PAPER + "colour = 3\n")
    with pytest.raises(SheetError, match=r"ours.toml \[results.RAF\]: a result has unknown keys colour"):
        _ = Registry([tmp_path]).networks
