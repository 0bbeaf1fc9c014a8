"""Other tools beside ours: the published cells digit by digit, each with its unit and what it missed."""

import pytest
import torch

from fer_bench import Build, count, find
from fer_bench.measuring.counting.counters import COUNTERS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_classes", "macs", "cell"),
    [
        ("resattnet56", None, 6_337_496_064, "6.33"),
        ("densenet121", None, 2_895_990_272, "2.89"),
        ("resnet152", None, 11_601_911_808, "11.60"),
        ("cbam_resnet50", None, 4_143_587_362, "4.14"),
        ("mobilenetv3_large", 1000, 234_838_456, "0.23"),
        ("mit_fusion", None, 425_306_368, "0.425"),
    ],
)
def test_thop_gives_the_cells_of_paper_001(name, num_classes, macs, cell):
    pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    counted = count(find(name), Build(num_classes=num_classes), counters=["thop"])
    (thop,) = counted.others
    assert (thop.value, thop.unit) == (macs, "MACs")
    assert thop.tool.startswith("thop 0.1.1")
    assert str(thop.value / 1e9).startswith(cell)  # the paper cuts its digits


def test_pytorchs_own_counter_gives_twice_our_macs():
    counted = count(find("mini_xception"), counters=["torch"], batch=3)
    (torchs,) = counted.others
    assert (torchs.value, torchs.unit, torchs.missed) == (2 * counted.inference.macs, "FLOPs", {})
    assert torchs.tool == f"torch {torch.__version__}"


def test_fvcore_adds_elementwise_work_and_names_what_it_does_not_know():
    pytest.importorskip("fvcore", reason="fvcore is not installed")
    counted = count(find("mobilenetv3_large"), counters=["fvcore"])
    (fvcore,) = counted.others
    assert (fvcore.unit, fvcore.parameters) == ("MACs", 4_210_999)
    # Batch norm (2 an element) and adaptive pooling (1 an input element) on top of conv+matmul.
    assert fvcore.value > counted.inference.macs
    assert {"aten::hardswish_", "aten::hardsigmoid"} <= set(fvcore.missed)
    assert all(calls > 0 for calls in fvcore.missed.values())


def test_thop_misses_attention():
    pytest.importorskip("thop", reason="thop is not installed")
    counted = count(find("mit_fusion"), counters=["thop"])
    (thop,) = counted.others
    # All but convolutions and linear layers (specs, zoo_a, section 4).
    assert sum(thop.missed.values()) == 458_635_520 - 108_631_040 - 311_895_808 == 38_108_672


def test_torch_misses_what_fused_kernels_hide(tmp_path, monkeypatch):
    (tmp_path / "fused.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes=7):\n"
        "        super().__init__()\n"
        "        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)\n"
        "        self.fc = nn.Linear(8, num_classes)\n"
        "    def forward(self, x):\n"
        "        x = x.flatten(2)\n"
        "        return self.fc(self.attention(x, x, x, need_weights=False)[0].mean(1))\n"
    )
    monkeypatch.chdir(tmp_path)
    counted = count(find("fused.py:Net"), Build(input_shape=(3, 2, 4)), counters=["torch"])
    attention = 3 * 8 * 8 * 4 + 2 * (3 * 3 * 4) * 2  # three positions, two heads of four channels
    assert counted.inference.macs == attention + 8 * 7
    (torchs,) = counted.others
    assert torchs.value == 2 * 8 * 7
    assert sum(torchs.missed.values()) == attention


def test_each_tool_stands_under_its_own_name():
    for name in COUNTERS:
        pytest.importorskip(name)
    row = count(find("mtcnn_pnet"), counters=list(COUNTERS)).row()
    assert list(row["counters"]) == ["torch", "fvcore", "thop"]
    assert all(other["unit"] in ("MACs", "FLOPs") for other in row["counters"].values())
    assert row["macs"] == 44_760  # ours is untouched by theirs
