"""The gate as a user runs it, on a repository of a user's: verdicts, exit codes, faults, and nothing left behind."""

import dataclasses
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fer_bench.cli.main import main
from fer_bench.gating import against_baseline, against_results, count_sides, timing
from fer_bench.gating.pairs import Pair
from fer_bench.measuring import runner
from support.pairs import recorded, replay
from support.processes import heed_ctrl_c, plain_environment
from support.repositories import contents, git

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head = nn.Linear(8, classes)
    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))

def build(num_classes=7):
    return Net(num_classes)
"""
WIDER = NET.replace("nn.Conv2d(8, 8, 3))", "nn.Conv2d(8, 12, 3), nn.Conv2d(12, 8, 3))")
SAME_COUNTS = NET + "\n# another line\n"
IN_FORWARD = "    def forward(self, x):\n"
DIES = NET.replace(
    IN_FORWARD, IN_FORWARD + "        if not x.is_meta: __import__('os').kill(__import__('os').getpid(), 11)\n"
)
HANGS = NET.replace(IN_FORWARD, IN_FORWARD + "        if not x.is_meta: __import__('time').sleep(1000)\n")
RAISES = NET.replace("    return Net(num_classes)", "    raise RuntimeError('boom')")
OPTIONS = ("--models", "net.py:build", "--budget-s", "5")


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A repository with one commit of a network on main; the current folder is in it."""
    monkeypatch.setattr(count_sides, "LIBRARIES", ())  # nothing here needs timm, which takes seconds to import
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("__pycache__/\n*.json\n*.md\n*.xml\n*.toml\n")
    commit(folder, NET)
    monkeypatch.chdir(folder)
    return folder


def sheet(top, *limits):
    """Lay a sheet with one network beside the code, with these limits."""
    (top / "sheets").mkdir()
    (top / "sheets" / "mine.py").write_text(NET.replace("def build(", "def mine("))
    gate = "[mine.gate]\n" + "\n".join(limits) if limits else ""
    (top / "sheets" / "mine.toml").write_text(f'[mine]\ntitle = "Mine"\n{gate}\n')


def commit(folder, text, name="net.py"):
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "a change")


def processes_of(gate, number):
    """Wait until a gate has so many processes of ours, servers and workers; what libraries start on import is none."""

    def ours(process):
        try:
            return "--serve" in process.cmdline()
        except psutil.Error:  # it has ended meanwhile
            return False

    deadline = time.monotonic() + 120
    found = []
    while len(found) < number and time.monotonic() < deadline:
        time.sleep(0.05)
        found = [each for each in psutil.Process(gate.pid).children(recursive=True) if ours(each)]
    assert len(found) >= number
    return found


@pytest.fixture
def gate(top, capfd):
    """Run `fer-bench gate`; give the exit code, what it says, and its JSON."""

    def run(*arguments):
        report = top / "report.json"
        report.unlink(missing_ok=True)
        repository = contents(top / ".git")
        code = main(["gate", *map(str, arguments), "--json", str(report)])
        said = capfd.readouterr()
        told = json.loads(report.read_text()) if report.exists() else None
        assert contents(top / ".git") == repository
        assert not any(path.name.startswith("fer-bench") for path in (top.parent / "temporary").iterdir())
        return code, said.out + said.err, told

    return run


@pytest.fixture
def quiet(monkeypatch):
    """Let all pairs be recorded ones, of one network against itself on a quiet machine; give the sides of each."""
    return replay(monkeypatch, recorded("quiet", 0))


@pytest.fixture
def ten_ms(monkeypatch):
    """Let every pass outside of a pair have taken 10 ms."""
    measure = runner.measure

    def timed(*arguments, **options):
        result = measure(*arguments, **options)
        made_up = tuple(
            dataclasses.replace(m, values=(0.010,) * len(m.values)) if m.metric == "latency_s" else m
            for m in result.measurements
        )
        return dataclasses.replace(result, measurements=made_up)

    for module in (runner, against_baseline):
        monkeypatch.setattr(module, "measure", timed)


def words(told):
    return {each["metric"]: each["word"] for each in told["verdicts"]}


def test_a_change_is_named_by_module_and_measured(top, gate):
    (top / "net.py").write_text(WIDER)
    code, said, told = gate("--against", "main", *OPTIONS)
    assert code == 1
    assert words(told)["counts"] == "worse"
    assert re.search(r"body.*: new Conv2d", said)
    # 224 + 584 + 584 + 63, and 224 + 584 + 876 + 872 + 63
    assert "parameters 1,455 -> 2,619" in said
    assert told["verdicts"][1]["metric"] == "latency"
    assert told["verdicts"][1]["effect"]["pairs"] >= 3
    assert len(told["records"][0]["pairs"]) == told["verdicts"][1]["effect"]["pairs"]
    assert "1 uncommitted change" in told["candidate"]


def test_code_that_is_the_same_to_the_byte_is_not_timed(top, gate):
    commit(top, "", "other.py")
    code, said, told = gate("--against", "HEAD~1", *OPTIONS)
    assert code == 0
    assert words(told) == {"counts": "same", "latency": "same"}
    assert "not measured: its code is the same on both sides" in said
    assert told["records"] == []


@pytest.mark.parametrize(("slower", "code", "word"), [(0, 0, "same"), (5, 1, "worse")])
def test_a_verdict_on_times_is_that_of_the_pairs(top, gate, monkeypatch, slower, code, word):
    sides = replay(monkeypatch, recorded("quiet", slower))
    (top / "net.py").write_text(SAME_COUNTS)
    found, said, told = gate("--against", "main", *OPTIONS)
    assert (found, words(told)) == (code, {"counts": "same", "latency": word})
    assert f"{len(sides)} pairs" in said
    base, candidate = sides[0]
    assert base.task.place != candidate.task.place


def test_code_in_another_file_that_the_network_imports_counts_as_its_code(top, gate, quiet):
    commit(top, "WIDTH = 8\n", "width.py")
    commit(top, NET.replace("from torch import nn", "from torch import nn\nfrom width import WIDTH"))
    commit(top, "WIDTH = 4 + 4\n", "width.py")
    code, _, told = gate("--against", "HEAD~1", *OPTIONS)
    assert words(told)["counts"] == "same"
    assert told["records"]
    assert quiet
    assert code == 0


def test_a_network_whose_code_no_revision_has_is_incomparable(top, gate):
    commit(top, SAME_COUNTS)
    code, said, told = gate("--against", "HEAD~1", "--models", "mini_xception")
    assert (code, words(told)) == (5, {"counts": "incomparable"})
    assert "none of its code comes from the revisions" in said


def test_a_package_that_is_imported_from_where_the_user_works_is_never_a_pass(top, gate, monkeypatch):
    """As from an editable install that a finder knows, and no path: both revisions would run the same code."""
    (top / "lib").mkdir()
    commit(top, NET, "lib/mine.py")
    finder = top.parent / "finder"
    finder.mkdir()
    (finder / "sitecustomize.py").write_text(f"""
import importlib.util, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "mine":
            return importlib.util.spec_from_file_location(name, {str(top / "lib" / "mine.py")!r})
sys.meta_path.append(Finder)
""")
    monkeypatch.setenv("PYTHONPATH", str(finder))
    (top / "lib" / "mine.py").write_text(WIDER)
    for against in ("--against", "--baseline"):
        code, said, told = gate(against, "main", "--models", "mine:build")
        assert (code, words(told)) == (5, {"counts": "incomparable"})
        assert "lib/mine.py was read from your working folder" in said


def test_a_network_that_a_baseline_lacks_is_no_pass_when_it_is_named(top, gate):
    options = ("--baseline", "counts.json", "--models")
    assert gate(*options, "net.py:build", "--accept", "first")[0] == 0
    commit(top, NET, "other.py")
    code, said, _ = gate(*options, "net.py:build,other.py:build")
    assert code == 5
    assert "not in the baseline" in said
    assert gate(*options, "net.py:build,other.py:build", "--accept", "another")[0] == 0
    assert gate(*options, "net.py:build,other.py:build")[0] == 0


def test_the_same_commit_is_refused_and_measured_against_itself_if_asked(top, gate, quiet):
    code, said, told = gate("--against", "main", *OPTIONS)
    assert code == 3
    assert "there is nothing to compare" in said
    assert told is None
    code, _, told = gate("--against", "main", "--unchanged", *OPTIONS)
    assert told["records"]
    assert quiet
    assert code == 0


def test_a_network_that_the_base_lacks_is_incomparable_unless_accepted(top, gate):
    commit(top, NET.replace("def build(", "def later("), "later.py")
    options = ("--models", "later.py:later")
    code, said, told = gate("--against", "HEAD~1", *options)
    assert (code, words(told)) == (5, {"counts": "incomparable"})
    assert "does not have it" in said
    assert gate("--against", "HEAD~1", *options, "--accept", "a new network")[0] == 0


@pytest.mark.parametrize(
    ("base", "candidate", "told"),
    [
        (RAISES, NET, "base: net.py:build cannot be counted: net.py:build: the factory failed"),
        (NET, RAISES, "candidate: net.py:build cannot be counted: net.py:build: the factory failed"),
        (NET, DIES, "the candidate failed again and again: the process was killed by SIGSEGV"),
        ("import nothing_like_that\n", NET, "cannot import net.py"),
    ],
)
def test_a_side_that_does_not_build_or_dies_is_an_error_and_never_a_pass(top, gate, base, candidate, told):
    commit(top, base + "\n")
    commit(top, candidate + "\n\n")
    code, said, _ = gate("--against", "HEAD~1", *OPTIONS)
    assert code == 3
    assert told in said


def test_a_side_that_hangs_is_given_up(top, gate):
    (top / "short.toml").write_text('base = "quick"\nthreads = 1\npin = true\ntime_limit_s = 5.0\n')
    commit(top, HANGS)
    code, said, _ = gate("--against", "HEAD~1", "--protocol", "short.toml", *OPTIONS)
    assert code == 3
    assert "the candidate failed again and again: gave no answer for 5 s" in said


def test_a_change_is_accepted_by_the_command_or_by_a_commit(top, gate):
    (top / "net.py").write_text(WIDER)
    code, said, told = gate("--baseline", "main", "--models", "net.py:build", "--accept", "a wider\n body")
    assert code == 0
    assert [each["accepted"] for each in told["verdicts"]] == ["a wider body"]
    git(top, "commit", "-qam", "wider\n\nFer-Bench-Accept: net.py:build: by the reviewers' wish")
    code, said, _ = gate("--baseline", "HEAD~1", "--models", "net.py:build")
    assert code == 0
    assert "by the reviewers' wish" in said
    git(top, "commit", "-q", "--amend", "-m", "wider\n\nFer-Bench-Accept: other.py:build: not this one")
    assert gate("--baseline", "HEAD~1", "--models", "net.py:build")[0] == 1


def test_a_baseline_file_is_written_held_and_written_anew_with_its_reason(top, gate):
    options = ("--baseline", "counts.json", "--models", "net.py:build")
    assert gate(*options)[0] == 3
    assert gate(*options, "--accept", "first counts")[0] == 0
    assert gate(*options)[0] == 0
    (top / "net.py").write_text(WIDER)
    code, said, told = gate(*options)
    assert (code, words(told)) == (1, {"counts": "worse"})
    assert gate(*options, "--accept", "a wider body")[0] == 0
    assert gate(*options)[0] == 0
    kept = json.loads((top / "counts.json").read_text())
    assert [each["reason"] for each in kept["accepted"]] == ["first counts", "a wider body"]
    (top / "counts.json").write_text((top / "counts.json").read_text().replace('"num_classes": 7', '"num_classes": 8'))
    code, said, _ = gate(*options)
    assert code == 3
    assert "edited by hand" in said or "checksum" in said


@pytest.mark.parametrize(("limit", "code"), [("1K", 1), ("2K", 0)])
def test_a_budget_is_held_without_any_base(top, gate, limit, code):
    assert gate("--models", "net.py:build", "--max-params", limit)[0] == code


def test_a_budget_of_a_sheet_is_held(top, gate):
    sheet(top, 'max_params = "1 k"')
    code, said, _ = gate("--models", "mine", "--sheets", "sheets")
    assert code == 1
    assert "over the budget of 1" in said


def test_nothing_to_hold_against_is_reported(top, gate):
    code, said, _ = gate("--models", "net.py:build")
    assert code == 3
    assert "--against REV, --baseline FILE or a limit" in said


def test_a_pytest_benchmark_file_and_a_run_are_held_against(top, gate, capfd, monkeypatch):
    # Other tests that run at the same time slow the machine down.
    monkeypatch.setattr(against_results, "speeds_apart", lambda *_: "")
    run = ("--models", "net.py:build", "--metrics", "static,anatomy,latency", "--runs", "5")
    assert main(["run", *run, "--store", "sqlite:///results.json.sqlite"]) == 0
    assert main(["export", "last", "--store", "sqlite:///results.json.sqlite", "--out", "old.json"]) == 0
    (top / "net.py").write_text(WIDER)
    capfd.readouterr()
    code, said, told = gate("--against", "old.json")
    assert code == 1
    assert words(told)["counts"] == "worse"
    assert "one process a side" in said
    assert gate("--against", "last", "--store", "sqlite:///results.json.sqlite")[0] == 1
    (top / "bench_it.py").write_text(
        "from net import build\ndef test_mine(fer_benchmark):\n    fer_benchmark(build(), input_shape=(3, 32, 32))\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "bench_it.py",
        "--benchmark-json",
        "bench.json",
        "-p",
        "no:cacheprovider",
    ]
    subprocess.run(command, check=True, env=plain_environment(PYTHONPATH=str(top)), capture_output=True)
    capfd.readouterr()
    assert main(["compare", "bench.json", "bench.json"]) == 4  # of one process a side nothing is ruled out
    assert "all counts same" in capfd.readouterr().out
    code, said, told = gate("--against", "bench.json", "--candidate", "bench.json", "--max-params", "2K")
    assert (code, words(told)["counts"]) == (1, "same")
    assert "over the budget of 2" in said
    assert gate("--against", "bench.json")[0] == 3  # a module of a test's cannot be made again


def test_limits_are_held_against_stored_results_too(top, gate, capfd, ten_ms):
    sheet(top, 'max_params = "1 k"', 'max_latency = "10 s"', 'max_memory = "1 GiB"')
    store = ("--store", "sqlite:///results.json.sqlite")
    run = ("--models", "mine", "--metrics", "static,anatomy,latency", "--runs", "5", "--processes", "2")
    assert main(["run", *run, *store, "--sheets", "sheets"]) == 0
    capfd.readouterr()
    code, said, told = gate("--against", "last", "--candidate", "last", *store, "--sheets", "sheets")
    assert code == 1
    budgets = [each for each in told["verdicts"] if each["metric"] == "budget"]
    assert [each["word"] for each in budgets] == ["worse", "same"]  # parameters and latency
    assert "note: max_memory of mine was not checked: the results do not contain it" in said


@pytest.mark.parametrize("accept", [(), ("--accept", "a new network")])
def test_a_limit_is_held_of_a_network_that_no_base_has(top, gate, accept):
    commit(top, NET.replace("def build(", "def later("), "later.py")
    options = ("--models", "later.py:later", "--max-params", "1K")
    code, _, told = gate("--against", "HEAD~1", *options, *accept)
    assert code == 1
    assert words(told) == {"counts": "incomparable", "budget": "worse"}


def test_a_limit_is_held_of_a_new_network_that_nobody_named(top, gate):
    sheet(top)
    git(top, "add", "-Af")
    git(top, "commit", "-qm", "sheets")
    (top / "sheets" / "more.py").write_text(NET.replace("def build(", "def more("))
    (top / "sheets" / "more.toml").write_text(
        '[more]\ntitle = "More"\n[more.gate]\nmax_params = "1 k"\nmax_latency = "10 s"\n'
    )
    git(top, "add", "-Af")
    git(top, "commit", "-qm", "another")
    code, said, told = gate("--against", "HEAD~1", "--sheets", "sheets")
    assert code == 1
    assert [(each["network"], each["word"]) for each in told["verdicts"] if each["metric"] == "budget"] == [
        ("more", "worse")
    ]
    assert "new since" in said
    assert "max_latency of more was not checked: without a base there are no pairs" in said


def test_a_limit_on_a_latency_is_held_or_it_is_reported_why_not(top, gate, quiet):
    sheet(top, 'max_latency = "10 s"')
    git(top, "add", "-Af")
    git(top, "commit", "-qm", "sheets")
    commit(top, "", "other.py")
    options = ("--against", "HEAD~1", "--sheets", "sheets", "--budget-s", "5")
    code, said, _ = gate(*options)
    assert code == 0
    assert "max_latency of mine was not checked: the code is the same on both sides; --unchanged" in said
    _, _, told = gate(*options, "--max-latency", "10s")  # asked for now, it is measured
    assert words(told)["budget"] == "same"
    assert told["records"]
    assert quiet
    (top / "sheets" / "mine.py").write_text(NET.replace("def build(", "def mine(") + "\n")
    _, said, _ = gate(*options, "--metrics", "memory")
    assert "max_latency of mine was not checked: --metrics latency measures it" in said


def test_a_network_that_is_gone_is_incomparable_unless_it_is_meant(top, gate):
    sheet(top)
    git(top, "add", "-Af")
    git(top, "commit", "-qm", "sheets")
    assert gate("--baseline", "counts.json", "--sheets", "sheets", "--accept", "first", "--models", "mine")[0] == 0
    (top / "sheets" / "mine.toml").write_text('[other]\ntitle = "Other"\n')
    (top / "sheets" / "mine.py").write_text(NET.replace("def build(", "def other("))
    for options in (("--baseline", "HEAD"), ("--baseline", "counts.json")):
        code, said, told = gate(*options, "--sheets", "sheets")
        assert (code, words(told)) == (5, {"counts": "incomparable"})
        assert "gone" in said
    assert "other counts the same: renamed?" in said
    git(top, "add", "-Af")
    git(top, "commit", "-qm", "renamed\n\nFer-Bench-Accept: mine: it is called other now")
    assert gate("--baseline", "HEAD~1", "--sheets", "sheets")[0] == 0
    assert gate("--baseline", "counts.json", "--sheets", "sheets", "--accept", "renamed")[0] == 0
    assert list(json.loads((top / "counts.json").read_text())["networks"]) == ["other"]


def test_a_file_that_is_gone_can_leave_the_baseline(top, gate):
    options = ("--baseline", "counts.json")
    assert gate(*options, "--models", "net.py:build", "--accept", "first")[0] == 0
    (top / "net.py").rename(top / "other.py")
    code, said, _ = gate(*options)
    assert code == 5
    assert "gone" in said
    assert gate(*options, "--accept", "removed")[0] == 0
    assert json.loads((top / "counts.json").read_text())["networks"] == {}


def test_a_network_of_a_sheet_that_the_baseline_lacks_is_reported(top, gate):
    sheet(top)
    options = ("--baseline", "counts.json", "--sheets", "sheets")
    assert gate(*options, "--models", "net.py:build", "--accept", "first")[0] == 0
    code, said, _ = gate(*options)
    assert code == 0
    assert "not in the baseline, so there is nothing to compare with: mine" in said
    assert gate(*options, "--accept", "mine, too")[0] == 0
    assert sorted(json.loads((top / "counts.json").read_text())["networks"]) == ["mine", "net.py:build"]


def test_two_environments_are_measured_each_by_its_own_interpreter(top, gate):
    """Another version of PyTorch is told as such; here both are one, so that times can be compared."""
    (top / "net.py").write_text(SAME_COUNTS)
    code, _, told = gate("--against", "main", *OPTIONS, "--base-python", sys.executable)
    assert code in (0, 1, 4)  # what is measured here is no finding
    assert words(told)["counts"] == "same"
    assert told["verdicts"][1]["effect"]["pairs"] >= 3


def test_another_pytorch_is_incomparable_unless_it_is_declared(top, gate, monkeypatch, quiet):
    (top / "net.py").write_text(SAME_COUNTS)
    count_both = count_sides.count_both

    def with_another(*arguments):
        base, candidate = count_both(*arguments)
        for name, result in base.items():
            packages = {**result.environment.packages, "torch": "1.0.0"}
            where = dataclasses.replace(result.environment, packages=packages)
            base[name] = dataclasses.replace(result, environment=where)
        return [base, candidate]

    monkeypatch.setattr(count_sides, "count_both", with_another)
    code, said, told = gate("--against", "main", *OPTIONS)
    assert (code, words(told)) == (5, {"counts": "same", "latency": "incomparable"})
    assert "'torch': '1.0.0'" in said
    assert "operators and activations not compared" in said
    _, _, told = gate("--against", "main", *OPTIONS, "--declare", "torch")
    assert told["records"]


def test_how_many_cores_a_network_keeps_busy_is_compared(top, gate):
    (top / "net.py").write_text(SAME_COUNTS)
    (top / "short.toml").write_text('base = "quick"\nsample_s = 0.3\nsample_every_s = 0.1\n')
    code, said, told = gate("--against", "main", *OPTIONS, "--metrics", "occupancy", "--protocol", "short.toml")
    assert code in (0, 1, 4)  # what is measured here is no finding
    assert told["verdicts"][1]["effect"]["pairs"] >= 3
    assert "cores busy" in said


@pytest.mark.slow
def test_two_ways_to_run_a_network_are_compared(top, capfd, monkeypatch):
    sides = replay(monkeypatch, recorded("quiet", 5))
    options = ("--budget-s", "5", "--json", "report.json")
    code = main(["compare", "net.py:build", "net.py:build@batch_size=64", *options])
    said = capfd.readouterr().out
    assert code == 1
    assert "1,455 parameters" in said
    told = json.loads((top / "report.json").read_text())
    assert words(told) == {"latency": "worse"}
    assert told["settings"]["changes"] == [{}, {"batch_size": 64}]
    assert {tuple(side.task.plan.batch_size for side in pair) for pair in sides} == {(1, 64)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("compare", "net.py:build", "net.py:build@speed=3"), "do not differ in speed, but in device, batch_size"),
        (("compare", "net.py:build", "nothing"), "no network is called 'nothing'"),
        (("gate", "--against", "man", "--models", "net.py:build"), "did you mean main?"),
        (("gate", "--against", "main", "--baseline", "x.json"), "name one"),
        (("gate", "--against", "missing.json"), "cannot read missing.json"),
        (("gate", "--against", "HEAD", "--metrics", ""), "'' has no value"),
        (("gate", "--against", "HEAD~1..HEAD", "--models", "net.py:build"), "no revision 'HEAD~1..HEAD'"),
        (("gate", "--against", "x.json", "--setup", "true"), "are about revisions"),
        (("gate", "--self-test", "--max-params", "1M"), "no limits to hold"),
        (("gate", "--baseline", "HEAD", "--max-latency", "1ms"), "--max-latency is held where"),
        (("gate", "--against", "HEAD", "--max-latency", "1ms", "--metrics", "memory"), "--max-latency is held where"),
        (("gate", "--against", "x.json", "--metrics", "memory"), "--metrics is measured by --against REV"),
        (("gate", "--against", "x.json", "--protocol", "quick"), "leave --protocol, --device, --backend, --input"),
        (("gate", "--sheets", "nowhere"), "nowhere"),
        (("compare", "net.py:build", "net.py:build@isolation=fresh"), "do not differ in isolation"),
        (("compare", "net.py:build", "net.py:build@"), "what differs is expected after the @"),
        (("compare", "a.json", "b.json", "--metrics", "memory"), "--metrics is measured by --against REV"),
        (("gate", "--candidate", "HEAD", "--models", "net.py:build"), "--candidate is held against"),
        (("compare", "net.py:build@threads=abc", "net.py:build"), "@threads=abc: threads is 'abc': a whole number"),
        (("gate", "--against", "HEAD", "--metrics", "speed"), "known: latency, memory, occupancy"),
        (("gate", "--models", "net.py:build", "--max-params", "many"), "max_params"),
        (("gate", "--against", "HEAD", "--unchanged"), "no network is named"),
        (("gate", "--against", "HEAD", "--unchanged", "--models", "/etc/net.py:build"), "outside of the repository"),
        (("gate", "--against", "HEAD", "--unchanged", *OPTIONS, "--setup", "echo no; exit 3"), "--setup failed"),
        (
            ("gate", "--against", "HEAD", "--unchanged", *OPTIONS, "--setup", "exit 7"),
            "(exit code 7): it printed nothing",
        ),
        (("gate", "--against", "HEAD", "--unchanged", *OPTIONS, "--base-python", "/none"), "--base-python /none"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_exit_with_3(top, capfd, arguments, told):
    assert main(list(arguments)) == 3
    said = capfd.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_a_setup_command_runs_in_each_checkout(top, gate):
    commit(top, NET.replace("from torch import nn", "from torch import nn\nimport built"))
    commit(top, (top / "net.py").read_text() + "\n#\n")
    code, _, told = gate("--baseline", "HEAD~1", "--models", "net.py:build", "--setup", "echo BUILT=1 > built.py")
    assert (code, words(told)) == (0, {"counts": "same"})


def test_a_setup_command_that_calls_git_changes_its_checkout_and_not_the_repository(top, gate, monkeypatch):
    commit(top, (top / "net.py").read_text() + "\n#\n")
    monkeypatch.setenv("GIT_DIR", str(top / ".git"))  # as in a hook
    setup = ("--setup", "git tag of-a-setup && git config a.b c && git checkout -q -b of-a-setup")
    code, said, told = gate("--baseline", "HEAD~1", "--models", "net.py:build", *setup)
    assert (code, words(told)) == (0, {"counts": "same"}), said


def test_reports_are_written_for_people_and_for_readers_of_junit(top, gate):
    (top / "net.py").write_text(WIDER)
    files = ("--summary", "summary.md", "--junit", "junit.xml")
    (top / "summary.md").write_text("# before\n")
    gate("--baseline", "main", "--models", "net.py:build", *files)
    assert (top / "summary.md").read_text().startswith("# before\n\n## fer-bench gate: worse")
    assert "<failure" in (top / "junit.xml").read_text()


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_neither_checkouts_nor_processes(top):
    commit(top, SAME_COUNTS)
    before = contents(top / ".git")
    environment = {**os.environ, "TMPDIR": str(top.parent / "temporary")}
    command = [sys.executable, "-m", "fer_bench.cli", "gate", "--against", "HEAD~1", "--models", "net.py:build"]
    process = subprocess.Popen(
        [*command, "--min-effect", "0.1"],
        cwd=top,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
    )
    children = processes_of(process, 4)  # two servers, two of a pair
    assert contents(top / ".git") == before
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in said
    assert b"Traceback" not in said
    assert contents(top / ".git") == before
    assert not any(path.name.startswith("fer-bench") for path in (top.parent / "temporary").iterdir())
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


@pytest.mark.slow
def test_sigterm_while_counting_ends_it_at_once(top):
    commit(
        top,
        NET.replace("    return Net(num_classes)", "    __import__('time').sleep(600)\n    return Net(num_classes)"),
    )
    commit(top, (top / "net.py").read_text() + "\n")
    before = contents(top / ".git")
    environment = {**os.environ, "TMPDIR": str(top.parent / "temporary")}
    command = [sys.executable, "-m", "fer_bench.cli", "gate", "--against", "HEAD~1", "--models", "net.py:build"]
    process = subprocess.Popen(command, cwd=top, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    children = processes_of(process, 4)  # two servers, two that count
    assert contents(top / ".git") == before
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # and not when the network has been built
    assert process.returncode == 130
    assert contents(top / ".git") == before
    assert not any(path.name.startswith("fer-bench") for path in (top.parent / "temporary").iterdir())
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_the_gate_tries_itself(top, monkeypatch, capfd):
    def made_up(number, base, candidate):
        slower = 1 + candidate.slower + 0.001 * (number % 2)
        return Pair(number, math.log(slower), (0.01, 0.01 * slower), (0.01, 0.01 * slower))

    metric = timing.METRICS["latency"]
    for told, pair in (
        ("accepted: it was made slower", made_up),
        ("same instead of worse", lambda n, b, c: made_up(n, b, b)),
    ):
        changed = {"latency": type(metric)(metric.group, pair, metric.quantity, metric.unit)}
        monkeypatch.setattr(timing, "METRICS", changed)
        monkeypatch.setattr(against_results, "METRICS", changed)
        code = main(["gate", "--self-test"])
        assert told in capfd.readouterr().out
        assert code == (0 if "accepted" in told else 3)


PAGE = (Path(__file__).parent.parent / "docs" / "gate.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^fer-bench (?:gate|compare) [^#\n]*", PAGE, re.MULTILINE)


@pytest.fixture
def changed(top):
    """The repository of the page's examples: a network in my_net.py, a branch, a change."""
    commit(top, NET, "my_net.py")
    git(top, "checkout", "-qb", "mine")
    commit(top, SAME_COUNTS, "my_net.py")
    return top


def run(example):
    """Run an example as written, but for less time."""
    return main([*shlex.split(example)[1:], "--budget-s", "5"])


def test_the_page_has_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(
    "example", [line.strip() for line in EXAMPLES if "--self-test" not in line and "--baseline" not in line]
)
def test_the_examples_of_the_page_run_as_written_but_for_less_time(changed, capfd, quiet, ten_ms, example):
    code = run(example)
    said = capfd.readouterr()
    assert code == 0, said.out + said.err
    assert bool(quiet) == ("compare" in example or "--against" in example)
    assert [name for name in re.findall(r"\bgate\.\w+", example) if not (changed / name).is_file()] == []


def test_the_baseline_of_the_page_is_written_and_then_held(changed, capfd):
    write, hold = (line for line in EXAMPLES if "--baseline" in line)
    assert run(write) == 0
    assert list(json.loads((changed / "fer-bench.json").read_text())["networks"]) == ["my_net.py:build"]
    capfd.readouterr()
    assert run(hold) == 0
    assert re.search(r"^my_net\.py:build +counts +same", capfd.readouterr().out, re.MULTILINE)
    (changed / "my_net.py").write_text(WIDER)
    assert run(hold) == 1
