"""The paper sheets: what the five papers print that is about none of our networks, and nothing lost on the way.

A figure sits either in models/papers/<id>.toml or in the sheet of the network that it is about; the audit
draws on both, so the check list of audited figures is looked up in both.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fer_bench.networks.registry import built_in, find

MODELS = Path(__file__).resolve().parent.parent / "models"
PAPERS = ("000", "001", "002", "003", "004")
CONDITIONS = {"input_shape", "num_classes", "split", "metric", "passes", "selected_on", "runs"}

NETWORK_QUANTITIES = {
    "parameters",
    "trainable_parameters",
    "flops",
    "latency",
    "file_size",
    "conv_layers",
    "pooling_layers",
    "fc_layers",
    "accuracy",
    "train_accuracy",
    "validation_loss",
    "cpu_percent",
    "user_percent",
    "system_percent",
    "memory_percent",
    "memory",
    "parameter_ratio",
    "parameter_reduction",
    "accuracy_gain",
    "accuracy_rank",
    "input_size",
    "output_size",
    "image_count",
    "class_count",
    "model_count",
    "share_of_models",
    "train_time",
    "epochs",
    "true_positive_rate",
    "frame_rate",
    "latency_budget",
    "recipe",
    "environment",
    "confusion_matrix",
}
# What only a paper sheet holds.
PAPER_QUANTITIES = {
    "citation",  # a reference as the text gives it
    "claim",  # a statement without a number that the audit judges
    "class_labels",  # the list of classes
    "count",  # of anything but images, classes and models
    "definition",  # what the paper says that a measure is
    "layer_detail",  # a kernel, width, name or place of a layer
    "name",  # a network's name, or a table's title, as spelt
    "protocol",  # how a latency was measured
    "share",  # of anything but models
    "variant_index",  # which of the variants
}
REQUIRED = {"subject", "quantity", "printed", "unit", "paper", "where"}
OPTIONAL = {
    "over",
    "stage",
    "dataset",
    "row",
    "column",
    "rows",
    "columns",
    "convention",
    "arithmetic",
    "note",
    "of",
    "networks",
    *CONDITIONS,
}

# Every figure that the specs audit (zoo_b section h; for 001's Table also zoo_a 0.1), by paper, as printed.
AUDITED = {
    "000": [
        *("6.17", "5.87", "84.22", "82.96", "24,813,574", "3,913,318", "42,724,070", "7,278,694"),
        *("91.04", "60.86", "53.62", "27th", "50", "69", "119", "52", "95", "71", "128", "47.5", "64.0"),
        *("3.5", "200", "10", "11", "3963.81", "11279.43", "35,889", "95.77", "1.10", "85", "83", "94", "8", "877"),
    ],
    "001": [
        *("7.74", "0.425", "425", "3.45", "73.47", "60.9", "48", "300", "24", "41", "second-best", "63.05", "76.82"),
        *("33,572", "4,953", "547", "5,121", "8,989", "6,077", "4,002", "6,198", "65±5"),
        *("6.33", "29.77", "17.69", "72.63", "2.89", "6.96", "19.57", "73.16", "11.60", "58.16", "23.66", "73.22"),
        *("4.14", "26.05", "16.94", "73.39", "26.76", "142.9", "17.63", "74.14", "0.23", "5.48", "7.48", "64.78"),
        *("1.09", "75.08", "67.96", "0.19", "1.29", "8.93", "68.14", "1.83", "14.4", "71.44"),
        *(
            "Resnet151",
            "RessAttNet56",
            "128 \u00d7 14 \u00d7 14",
            "K = 7, S = 4, P = 3",
            "(TP + TN)/(TP + TN + FP + FN)",
        ),
    ],
    "002": [
        *("57.51", "56.47", "36.34", "0.54", "21.17", "seven", "35,887", "48x48", "0.75", "90", "0.28", "33"),
        *("Lightweight", "Size-Aware Parallel Residual", "Szegedy, 2017", "Zhang, 2023"),
    ],
    "003": [
        *(
            "23,527,431",
            "36,131,847",
            "48,714,759",
            "22968",
            "1432",
            "562 \u00d7 762",
            "64",
            "140",
            "35",
            "4900",
            "3.8",
        ),
        *("89.21", "90.13", "89.82", "76.02", "77.14", "76.68", "89.2"),
    ],
    "004": [
        *(
            "nearly twice",
            "58423",
            "56951",
            "872.9",
            "15",
            "9",
            "87566680",
            "25500000",
            "95263",
            "10",
            "4",
            "3",
            "49",
            "2",
            "1",
            "36",
        ),
        *("67.00", "67", "66.8", "67.0", "35,887", "28,709", "3,589", "3.1", "0.496", "4.3", "17.5", "21.50", "49.78"),
        *("10.83", "2.9", "63% 5", "4,830", "3,171", "4,965", "71.00", "96.93", "87.71", "0.6224", "72.55", "78.00"),
        *("98.98", "59.32", "2.39", "98.87", "57.48", "2.10", "99.70", "58.90", "2.11", "70.91", "0.98", "95"),
        *("18.50", "22.05", "3.11", "4.6", "25.00", "29.50", "5.92", "5.9", "8.67", "16.00", "4.62", "12.5"),
        *("16.67", "18.97", "1.38", "24.67", "5.90", "3.2", "53.67", "15.73", "15.12", "3.95", "12.0", "21.12", "2.65"),
    ],
}


def load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def figures(paper: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = load(MODELS / "papers" / f"{paper}.toml")["figures"]
    return result


def one(paper: str, **wanted: str) -> dict[str, Any]:
    (found,) = [f for f in figures(paper) if all(f.get(key) == value for key, value in wanted.items())]
    return found


def evaluate(expression: str) -> float:
    """An expression of numbers and + - * /, and nothing else."""

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Compare(left=left, comparators=others):  # a chain that holds stands for its middle
                values = [value(part) for part in (left, *others)]
                assert values == sorted(values, reverse=isinstance(node.ops[0], ast.GtE)), expression
                return values[len(values) // 2]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return value(left) - value(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return value(left) * value(right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return value(left) / value(right)
        raise ValueError(f"{expression!r} is not an expression of numbers")

    return value(ast.parse(expression, mode="eval").body)


def number(printed: str) -> int:
    return int(printed.replace(",", ""))


@pytest.mark.parametrize("paper", PAPERS)
def test_head(paper: str) -> None:
    sheet = load(MODELS / "papers" / f"{paper}.toml")
    head = sheet["paper"]
    assert set(sheet) == {"figures", "paper", "results"}
    assert head["id"] == paper
    assert {"id", "title", "authors", "venue", "link", "protocol"} <= set(head)
    assert set(head) <= {"id", "title", "authors", "venue", "year", "link", "protocol", "file_note"}
    assert all(head[key] for key in ("title", "authors", "protocol"))
    assert head["link"] == "" or head["link"].startswith("https://doi.org/")


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_is_complete(paper: str) -> None:
    for figure in figures(paper):
        assert set(figure) >= REQUIRED, figure
        assert set(figure) <= REQUIRED | OPTIONAL, figure
        assert figure["paper"] == paper, figure
        assert figure["quantity"] in NETWORK_QUANTITIES | PAPER_QUANTITIES, figure
        assert all(figure[key] for key in ("subject", "where")), figure
        for key in (REQUIRED | OPTIONAL) - CONDITIONS - {"printed", "rows", "columns", "networks"}:
            assert isinstance(figure.get(key, ""), str), figure
            assert "\n" not in figure.get(key, ""), figure
        if "arithmetic" in figure:
            evaluate(figure["arithmetic"])


@pytest.mark.parametrize("paper", PAPERS)
def test_printed_is_text_or_a_labelled_matrix_of_text(paper: str) -> None:
    for figure in figures(paper):
        printed = figure["printed"]
        if isinstance(printed, str):
            # A table's own entry has its title, and the order of its rows and columns.
            is_table = figure["quantity"] == "name" and figure["subject"] == figure["where"]
            assert is_table or not {"rows", "columns"} & set(figure), figure
            # Only a cell that the text lost may be empty, and then a note must say so.
            assert printed or "lost" in figure["note"], figure
        else:
            assert len(printed) == len(figure["rows"]), figure
            assert all(len(row) == len(figure["columns"]) for row in printed), figure
            assert all(isinstance(cell, str) and cell for row in printed for cell in row), figure


@pytest.mark.parametrize("paper", PAPERS)
def test_no_figure_is_listed_twice(paper: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for figure in figures(paper):
        key = tuple(str(figure.get(name, "")) for name in ("subject", "quantity", "printed", "where", "row", "column"))
        assert key not in seen, figure
        seen.add(key)


def test_fer2013_classes_of_001_do_not_add_up_to_its_total() -> None:
    total = one("001", subject="FER2013", quantity="image_count")
    classes = [f["printed"] for f in figures("001") if f["subject"] == "FER2013 class"]
    assert len(classes) == 7
    assert sum(map(number, classes)) == 35_887
    assert evaluate(total["arithmetic"]) == 35_887
    assert total["printed"] == "33,572"


def test_fer2013_splits_and_classes_of_004_add_up() -> None:
    total = one("004", subject="FER2013", quantity="image_count")
    train = one("004", subject="FER2013, training", quantity="image_count")
    classes = [f["printed"] for f in figures("004") if f["subject"] == "FER2013 class, training"]
    assert len(classes) == 7
    assert number(total["printed"]) == evaluate(total["arithmetic"]) == 35_887
    assert number(train["printed"]) == evaluate(train["arithmetic"]) == sum(map(number, classes)) == 28_709


def test_every_sum_in_the_paper_sheets_but_001s_total_is_right() -> None:
    wrong = [
        (paper, figure["printed"])
        for paper in PAPERS
        for figure in figures(paper)
        if "arithmetic" in figure
        and "=" not in figure["arithmetic"]
        and int(evaluate(figure["arithmetic"])) != number(figure["printed"])
    ]
    assert wrong == [("001", "33,572")]


def test_confusion_matrix_of_004() -> None:
    matrix = one("004", quantity="confusion_matrix")
    assert matrix["rows"] == matrix["columns"]
    assert matrix["rows"] == ["Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"]
    assert [len(row) for row in matrix["printed"]] == [7] * 7
    sums = {label: round(sum(map(float, row)), 2) for label, row in zip(matrix["rows"], matrix["printed"], strict=True)}
    assert (sums.pop("Angry"), sums.pop("Neutral"), sums.pop("Surprise")) == (1.11, 0.95, 0.97)
    assert all(0.99 <= value <= 1.01 for value in sums.values()), sums
    diagonal = [float(row[index]) for index, row in enumerate(matrix["printed"])]
    assert sum(diagonal) / 7 == pytest.approx(0.626, abs=5e-4)


def test_tables_are_complete() -> None:
    def rows(paper: str, where: str) -> list[str]:
        return [f["row"] for f in figures(paper) if f["where"] == where and "row" in f]

    assert len(rows("000", "Table 1")) == 9 + 5
    assert len(rows("001", "Table I")) == 7 + 5
    assert len(rows("002", "Table 1")) == 7 + 3
    assert len(rows("004", "Table 2")) == 17 - 5
    assert len(rows("004", "Table 6")) == 4 - 1
    assert [f["printed"] for f in figures("003") if f["quantity"] == "flops"] == ["1.8", "3.6", "3.8", "7.6", "11.3"]


def published_figures() -> set[tuple[str, str]]:
    """(paper, printed) of every figure in any sheet."""
    found: set[tuple[str, str]] = set()
    for paper in PAPERS:
        found |= {(paper, f["printed"]) for f in figures(paper) if isinstance(f["printed"], str)}
    for path in sorted(MODELS.glob("*.toml")):
        for network in load(path).values():
            found |= {(f["paper"], f["printed"]) for f in network.get("published", [])}
    return found


def test_every_audited_figure_has_a_sheet() -> None:
    found = published_figures()
    wanted = [(paper, printed) for paper, listed in AUDITED.items() for printed in listed]
    missing = [f"{paper}: {printed}" for paper, printed in wanted if (paper, printed) not in found]
    assert not missing, "no sheet holds " + "; ".join(missing)


def test_figures_are_printed_without_their_unit() -> None:
    for paper in PAPERS:
        for figure in figures(paper):
            if figure["unit"] and isinstance(figure["printed"], str):
                assert not re.search(re.escape(figure["unit"]) + r"$", figure["printed"]), figure


RESULTS = {"accuracy", "train_accuracy", "validation_loss"}


def network_figures() -> list[tuple[str, dict[str, Any]]]:
    sheets = {path.stem: load(path) for path in sorted(MODELS.glob("*.toml"))}
    tables = [(name, table) for sheet in sheets.values() for name, table in sheet.items() if name != "gate"]
    return [(name, figure) for name, table in tables for figure in table.get("published", [])]


def test_every_result_of_a_network_says_how_it_was_obtained() -> None:
    """Or that its source does not say: "unknown" is an answer, a key that is not there is none."""
    of_papers = {paper: load(MODELS / "papers" / f"{paper}.toml")["results"] for paper in PAPERS}
    results = [(name, figure) for name, figure in network_figures() if figure["quantity"] in RESULTS]
    assert len(results) > 50
    for name, figure in results:
        stated = {**of_papers[figure["paper"]].get(figure["dataset"], {}), **figure}
        assert set(stated) >= CONDITIONS, (name, figure)


@pytest.mark.parametrize(
    ("name", "paper", "dataset", "build"),
    [
        ("resnet50", "004", "FER2013", ((1, 48, 48), 7)),  # 209,307,648 MACs, and not the 4.09 G of 224x224 RGB
        ("vgg13_ferplus", "004", "FER2013", ((1, 48, 48), 7)),
        ("resnetv2_50", "003", "KDEF", ((3, 762, 562), 7)),  # 30.4 G, and not the 0.62 G of 96x96
        ("resnetv2_50", "003", "FER2013", ((1, 96, 96), 7)),
        ("mit_fusion", "001", "AffectNet", ((3, 224, 224), 8)),
        ("mini_xception", "004", "KDEF", None),
        ("densenet1_ler", "004", "FER2013", None),  # copied from its source
    ],
)
def test_these_results_are_of_these_builds(name: str, paper: str, dataset: str, build: Any) -> None:
    (figure,) = (f for f in find(name).figures("accuracy", paper) if f.dataset == dataset)
    assert figure.conditions.build == build


def test_four_accuracies_of_paper_001_are_of_ten_passes() -> None:
    """Those that equal the list of a project whose public test averages ten augmented passes."""
    specs = [spec for spec in built_in().networks.values() if spec.figures("accuracy", "001")]
    ten = {spec.name for spec in specs if spec.figures("accuracy", "001")[0].conditions.passes == 10}
    assert ten == {"densenet121", "resnet152", "cbam_resnet50", "resmaskingnet"}


def printed_numbers(figure: dict[str, Any]) -> tuple[str, ...]:
    printed = figure["printed"] if isinstance(figure["printed"], str) else ""
    return tuple(re.findall(r"\d+(?:[.,]\d+)*", f"{printed} {figure['unit'].replace('th epoch', '')}"))


def test_no_printed_cell_is_entered_twice() -> None:
    """A cell of a table is its paper, place, row, column and stage.

    In a text the same sentence is recognised by its numbers: of the same quantity, or of any where there are several.
    One sheet may hold a number that its paper repeats in a section; two sheets do not hold the same one. Of a listing,
    such as a recipe, one cell may print several values, each with a subject of its own.
    """
    owned = [(f"papers/{paper}", figure) for paper in PAPERS for figure in figures(paper)] + network_figures()
    cells: dict[Any, list[Any]] = {}
    for owner, figure in owned:
        if (
            figure["quantity"] in ("name", "recipe", "layer_detail")
            and not figure.get("row")
            and len(printed_numbers(figure)) < 2
        ):
            continue
        place = (figure["paper"], figure["where"])
        if figure.get("row") and figure.get("column"):
            cells.setdefault((*place, figure["row"], figure["column"], figure.get("stage")), []).append((owner, figure))
        elif numbers := printed_numbers(figure):
            quantity = figure["quantity"] if len(numbers) == 1 else ""
            cells.setdefault((*place, quantity, numbers, figure.get("dataset")), []).append((owner, figure))
    for cell, entries in cells.items():
        listed = all(figure["quantity"] in ("recipe", "environment", "epochs", "protocol") for _, figure in entries)
        in_text = not (entries[0][1].get("row") and entries[0][1].get("column"))
        owners = {owner for owner, _ in entries}
        assert len(entries) == 1 or listed or (in_text and len(owners) == 1), (cell, [owner for owner, _ in entries])


FIRST_AUTHOR = {  # of what a link leads to, as arXiv has it
    "https://arxiv.org/abs/1512.03385": "He",
    "https://arxiv.org/abs/1603.05027": "He",
    "https://arxiv.org/abs/1711.07971": "Wang",
    "https://arxiv.org/abs/1710.07557": "Arriaga",
    "https://arxiv.org/abs/1807.06521": "Woo",
    "https://arxiv.org/abs/1604.02878": "Zhang",
    "https://arxiv.org/abs/2306.09626": "Ngwe",
    "https://arxiv.org/abs/1704.06904": "Wang",
    "https://arxiv.org/abs/1602.07261": "Szegedy",
    "https://arxiv.org/abs/1704.04861": "Howard",
    "https://arxiv.org/abs/1608.06993": "Huang",
    "https://arxiv.org/abs/1905.02244": "Howard",
    "https://arxiv.org/abs/1608.01041": "Barsoum",
}


def test_a_link_leads_to_the_work_that_is_cited() -> None:
    for spec in built_in().networks.values():
        if spec.link.startswith("https://arxiv.org"):
            assert spec.citation.partition(",")[0].partition(" ")[0] == FIRST_AUTHOR[spec.link], spec.name
