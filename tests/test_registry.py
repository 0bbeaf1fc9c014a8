"""Sheets are read without importing a network; names find them, and wrong ones are answered with the nearest."""

import subprocess
import sys

import pytest

from fer_bench import registry
from fer_bench.errors import SheetError, UnknownModelError
from fer_bench.registry import Figure, ModelSpec

GOOD = '[net]\ntitle = "Net"\ninput_shape = [1, 48, 48]\nnum_classes = 7\nstatus = "exact"\n'


def write(tmp_path, text):
    path = tmp_path / "family.toml"
    path.write_text(text)
    return path


def test_a_table_of_a_sheet_is_a_network_of_its_family(tmp_path):
    found = registry.read_sheet(write(tmp_path, GOOD + "choices = ['a']\n[net.expected]\nmacs = 3\n"))
    assert found == {
        "net": ModelSpec("net", "zoo", "family", "Net", (1, 48, 48), 7, "exact", choices=("a",), expected={"macs": 3})
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
    ],
)
def test_a_sheet_that_is_wrong_is_told_with_its_place(tmp_path, text, complaint):
    with pytest.raises(SheetError, match=complaint):
        registry.read_sheet(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("mini_xception", "zoo", "mini_xception"),
        ("timm:resnet50", "timm", "resnet50"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("some/file.py:factory", "file", "some/file.py:factory"),
        ("C:/some/file.py:factory", "file", "C:/some/file.py:factory"),
        ("package.module:factory", "module", "package.module:factory"),
    ],
)
def test_a_name_tells_its_source(name, source, target):
    spec = registry.find(name)
    assert (spec.name, spec.source, spec.target) == (name, source, target)


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
        "zoo",
        "n",
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
    (found,) = ModelSpec("n", "zoo", "n", "N", published=figures).figures("parameters")
    assert found.printed == "3.450"


def test_the_sheets_are_read_without_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None; import fer_bench; assert 'mini_xception' in fer_bench.list_models()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
