"""The gate by real times, on changes so large, or none, that its verdict is plain on a machine at rest.

What the gate does with the pairs that it measures is tested in ``tests/test_gate.py``, on recorded pairs; how often a
verdict is wrong is studied in ``gate_power``.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

from fer_bench.cli.main import main
from support.repositories import git

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Gate a change\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"^fer-bench gate [^#\n]*", SECTION.partition("### In CI")[0], re.MULTILINE)
NET = """
from torch import nn

def build(num_classes=7):
    body = [layer for _ in range(DEPTH) for layer in (nn.Conv2d(16, 16, 3), nn.ReLU())]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes)
    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), *body, *head)
"""
NOT_WORSE = (0, 4)  # the same, or inconclusive where the machine is busy


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A repository with a network on main, checked out on a branch of its own; the current folder is in it."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("__pycache__/\n*.json\n*.md\n*.xml\n")
    (tmp_path / "my_net.py").write_text(f"DEPTH = 4\n{NET}")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "a network")
    git(tmp_path, "checkout", "-qb", "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(top, benchmark):
    """Run `fer-bench` with a command line; give its exit code and its report."""

    def run(*arguments):
        code = benchmark.pedantic(lambda: main([*map(str, arguments), "--json", "report.json"]), rounds=1)
        told = json.loads((top / "report.json").read_text())
        benchmark.extra_info["verdicts"] = told["verdicts"]
        return code, {each["metric"]: each for each in told["verdicts"]}

    return run


@pytest.mark.parametrize(("depth", "word"), [(4, "same"), (8, "worse"), (1, "better")])
def test_a_change_of_the_layers_has_its_verdict(top, gate, depth, word):
    (top / "my_net.py").write_text(f"DEPTH = {depth}\n{NET}\n# changed\n")
    _, verdicts = gate("gate", "--against", "main", "--models", "my_net.py:build")
    assert verdicts["latency"]["word"] == word


def test_memory_and_cores_of_the_same_network_are_not_worse(top, gate):
    (top / "my_net.py").write_text(f"DEPTH = 4\n{NET}\n# changed\n")
    options = ("--metrics", "memory,occupancy", "--budget-s", "60")
    code, verdicts = gate("gate", "--against", "main", "--models", "my_net.py:build", *options)
    assert code in NOT_WORSE
    assert verdicts.keys() == {"counts", "memory", "occupancy"}


def test_the_same_commit_is_not_worse_than_itself(top, gate):
    code, _ = gate("gate", "--against", "main", "--unchanged", "--models", "my_net.py:build")
    assert code in NOT_WORSE


def test_a_larger_batch_takes_longer(top, gate):
    code, verdicts = gate("compare", "my_net.py:build", "my_net.py:build@batch_size=64")
    assert code == 1
    assert verdicts["latency"]["effect"]["estimate"] > 1


@pytest.mark.parametrize(
    "example", [line.strip() for line in EXAMPLES if "--self-test" not in line and "--baseline" not in line]
)
def test_the_examples_of_the_readme_are_not_worse(top, benchmark, example):
    (top / "my_net.py").write_text(f"DEPTH = 4\n{NET}\n# changed\n")
    git(top, "commit", "-qam", "a change")
    code = benchmark.pedantic(lambda: main([*shlex.split(example)[1:], "--budget-s", "30"]), rounds=1)
    assert code in NOT_WORSE
