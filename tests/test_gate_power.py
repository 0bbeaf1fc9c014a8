"""The study of the gate's error rates: its table is drawn from its records, and it holds what is said."""

import contextlib
import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fer_bench.gating import decision
from fer_bench.gating.verdicts import Outcome

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "benchmarks" / "gate_power"
REPORT = ROOT / "reports" / "gate-power"


@contextlib.contextmanager
def loaded(name):
    spec = importlib.util.spec_from_file_location(name, STUDY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture(scope="module")
def study():
    with loaded("error_rates") as module:
        yield module


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    with loaded("experiment") as module:
        monkeypatch.setattr(module, "RECORDS", tmp_path)
        yield module


@pytest.mark.slow
def test_the_table_is_drawn_from_the_records_and_from_nothing_else(study, tmp_path, capsys):
    study.main([str(tmp_path)])
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in REPORT.iterdir()}


def test_a_record_that_is_not_there_is_no_row_left_out(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RECORDS", tmp_path)
    for draw in (study.power.__wrapped__, study.real, study.beside):
        with pytest.raises(FileNotFoundError, match=r"(pairs|gates)-"):
            draw()


def test_a_word_from_sums_is_that_of_the_gate_s_rules(study):
    rng = random.Random(1)
    said = []
    for _ in range(2000):
        centres = rng.choice([(0.0, 0.0), (0.0, 0.2), (0.04, 0.04), (-0.05, -0.05), (-0.05, 0.2)])
        pairs = [tuple(rng.gauss(centre, 0.03) for centre in centres) for _ in range(rng.choice(decision.LOOKS))]
        drawn = study.Drawn()
        for pair in pairs:
            drawn.add(pair, 1)
        apart = [differences for differences, _ in pairs], [checks for _, checks in pairs]
        word = decision.decide_pairs(*apart, 0.05)
        assert drawn.word(0.05) == word
        said.append((decision.decide(decision.effect(*apart), 0.05), word))
    refused = {(Outcome.same, None), (Outcome.better, None)}  # for their plain means
    assert set(said) >= {(word, word) for word in (Outcome.same, Outcome.better, Outcome.worse, None)} | refused


@pytest.mark.slow
def test_the_error_rates_are_what_we_promise(study):
    rows = {(row["condition"], row["effect"], row["least"]): row for row in study.power().rows}
    unchanged = {key: row for key, row in rows.items() if not key[1]}
    assert set(unchanged) == {
        (condition, 0, least)
        for condition in ("quiet", "a neighbour on the other core", "a neighbour on each core")
        for least in ("5 %", "3 %")
    }
    for row in unchanged.values():
        assert row["worse"] + row["better"] <= 0.01
    found = rows["quiet", 5, "5 %"]
    assert found["worse"] >= 0.99
    assert found["median_s"] < 60
    found = rows["quiet", 3, "3 %"]
    assert found["worse"] >= 0.90
    assert found["p95_s"] <= 180


@pytest.mark.parametrize("effect", [3, 5])
def test_a_state_is_as_much_slower_as_its_name_says(study, effect):
    assert abs(study.size(effect) - effect / 100) < 0.0075


@pytest.mark.parametrize(
    ("effect", "least", "number", "word", "share"),
    [(0, 5, 30, "same", 0.9), (5, 5, 20, "worse", 0.95), (3, 3, 20, "worse", 0.9)],
)
def test_real_gates_are_enough_and_right(study, effect, least, number, word, share):
    every = study.gates(effect, least)
    assert len(every) >= number
    words = [gate["verdict"]["word"] for gate in every]
    assert words.count(word) >= share * len(words)
    if not effect:
        assert not {"worse", "better"} & set(words)
    assert {study.names_module(gate) for gate in every} == {effect > 0}


def test_records_are_of_enough_pairs_and_say_where_and_by_what_they_were_measured(study):
    names = {path.name for path in STUDY.glob("records/pairs-*.json")}
    conditions = [(condition, states) for condition, (_, states) in study.CONDITIONS.items()]
    assert names == {
        f"pairs-{condition}-{effect}.json" for condition, states in [*conditions, ("size", (3, 5))] for effect in states
    }
    records = [json.loads((STUDY / "records" / name).read_text()) for name in names]
    for record in records:
        assert len(record["pairs"]) >= 60
        assert record["environment"]["cpu"]
    every = [*records, *(gate for effect, least in study.REAL for gate in study.gates(effect, least))]
    assert all(len(record["measured_by"]["commit"]) == 40 for record in every)


def test_real_gates_went_by_the_statistic_that_the_study_goes_by(study):
    pairs = [p for effect, least in study.REAL for g in study.gates(effect, least) for p in g["records"][0]["pairs"]]
    assert [decision.log_ratio(*study.by_turn(pair)) for pair in pairs] == pytest.approx(
        [p["log_ratio"] for p in pairs]
    )


def test_pairs_that_report_the_size_are_records_of_their_own(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "record_pairs", lambda *arguments: arguments)
    experiment.main(["pairs", "quiet", "5", "60"])
    experiment.main(["pairs", "quiet", "3", "70", "size"])
    assert {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()} == {
        "pairs-quiet-5.json": ["quiet", 5, 60],
        "pairs-size-3.json": ["quiet", 3, 70],
    }


def test_gates_that_were_measured_are_kept_where_a_later_one_fails(experiment, tmp_path, monkeypatch):
    verdicts = [{"metric": "counts"}, {"metric": "latency", "word": "same", "effect": None}]
    measured = []

    def run(command, **_):
        if "fer_bench.cli" in command:
            measured.append(command)
            if len(measured) < 3:
                told = Path(command[command.index("--json") + 1])
                told.write_text(json.dumps({"verdicts": verdicts, "records": [len(measured)]}))
        return subprocess.CompletedProcess(command, 0, stdout="c0ffee\n")

    monkeypatch.setattr(experiment.subprocess, "run", run)
    with pytest.raises(FileNotFoundError):
        experiment.main(["gates", "3", "5", "4"])
    kept = json.loads((tmp_path / "gates-3-min-effect-4.json").read_text())
    assert [gate["records"] for gate in kept] == [[1], [2]]
    assert {gate["measured_by"]["commit"] for gate in kept} == {"c0ffee"}
    assert all(command[-3] == "4" for command in measured)
