"""The study of the gate's error rates: its table is drawn from its records, and it holds what is said."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "benchmarks" / "gate_power"
REPORT = ROOT / "reports" / "gate-power"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("error_rates", STUDY / "error_rates.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["error_rates"]


def test_the_table_is_drawn_from_the_records_and_from_nothing_else(study, tmp_path, capsys):
    study.main([str(tmp_path)])
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in REPORT.iterdir()}


def test_the_error_rates_are_what_we_promise(study):
    rows = {(row["condition"], row["effect"], row["least"]): row for row in study.power().rows}
    for (_, effect, _), row in rows.items():
        if not effect:
            assert row["worse"] + row["better"] <= 0.01
    found = rows["quiet", 5, "5 %"]
    assert found["worse"] >= 0.99
    assert found["median_s"] < 60
    found = rows["quiet", 3, "3 %"]
    assert found["worse"] >= 0.90
    assert found["p95_s"] <= 180


@pytest.mark.parametrize(
    ("effect", "least", "number", "word", "share"),
    [(0, 5, 30, "same", 0.9), (5, 5, 20, "worse", 0.95)],
)
def test_real_gates_are_enough_and_right(study, effect, least, number, word, share):
    every = study.gates(effect, least)
    assert len(every) >= number
    words = [gate["verdict"]["word"] for gate in every]
    assert words.count(word) >= share * len(words)
    if not effect:
        assert not {"worse", "better"} & set(words)


def test_records_are_of_enough_pairs_and_say_where_they_were_measured():
    names = {path.name for path in STUDY.glob("records/pairs-*.json")}
    assert {
        "pairs-quiet-0.json",
        "pairs-quiet-5.json",
        "pairs-size-5.json",
        "pairs-size-4.json",
        "pairs-size-3.json",
    } <= names
    for name in names:
        record = json.loads((STUDY / "records" / name).read_text())
        assert len(record["pairs"]) >= 60
        assert record["environment"]["cpu"]
