"""What the documents say is what is done."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fer_bench import list_models
from fer_bench.cli.main import COMMANDS as GROUPS
from fer_bench.cli.main import app
from fer_bench.networks.registry import Registry
from fer_bench.records.limits import NO_LIMITS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fer_bench"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```(?:{language})\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_contributing_names_files_and_lists_that_exist():
    files = re.findall(r"`((?:fer_bench|models|tests|benchmarks|reports)/[\w/.-]+)`", CONTRIBUTING)
    assert [name for name in files if not (ROOT / name).exists()] == []
    paths = [path for folder in ("fer_bench", "models", "tests") for path in (ROOT / folder).rglob("*.[pj][ys]")]
    code = "".join(path.read_text(encoding="utf-8") for path in paths)
    lists = set(re.findall(r"`(_?[A-Z][A-Z_]{3,})`", CONTRIBUTING))
    assert [name for name in sorted(lists) if not re.search(rf"^(const )?{name}\b.*=", code, flags=re.MULTILINE)] == []


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = [block.strip() for block in blocks("sh") if block.strip().endswith("tox")]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_readme_names_every_network_of_the_zoo():
    text = README.replace("\\", "")
    variants = {f"nonlocal_resnetv2_50{suffix}" for suffix in re.findall(r"_s\d+", text)}
    assert [name for name in list_models() if name not in text and name not in variants] == []


COMMANDS = "list|show-run|show|count|runs|run|report|why|audit|check-weights|export|import|delete|gate|compare|history"


@pytest.mark.parametrize("command", sorted(set(re.findall(rf"fer-bench ({COMMANDS})", README))))
def test_each_command_that_the_readme_names_has_a_help_text(command):
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_each_option_that_the_readme_names_exists():
    ours = {"--fer-models", "--fer-sheets", "--fer-protocol", "--fer-device", "--studies"}  # pytest's, in our plugin
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", README)) - ours
    named = {option for option in named if not option.startswith("--benchmark-")}  # pytest-benchmark's
    helps = "".join(CliRunner().invoke(app, [name, "--help"]).output for group in GROUPS.values() for name in group)
    assert [option for option in sorted(named) if option not in helps] == []


# Each command in a block: its name, and the rest of its line with the comment.
LINES = re.findall(rf"\bfer-bench ({COMMANDS})\b(.*)", "\n".join(blocks("sh|console")))


def test_the_readme_has_commands_in_blocks():
    assert {command for command, _ in LINES} >= {"count", "run", "report", "audit", "gate", "compare", "history"}


@pytest.mark.parametrize(("command", "rest"), LINES)
def test_a_command_in_a_block_of_the_readme_can_be_parsed(command, rest):
    known = get_command(app).get_command(None, command)
    arguments = shlex.split(rest.partition(" > ")[0], comments=True)
    known.make_context(command, arguments)  # which refuses an option or an argument that the command does not take
    options = {name for parameter in known.params for name in parameter.opts}
    assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)) <= options  # those of the comment, too


def test_the_sheets_of_the_readme_can_be_read(tmp_path):
    for block in blocks("toml"):
        path = tmp_path / re.match(r"# ([\w/]+\.toml)", block)[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    (tmp_path / "my_models" / "my_net.py").touch()
    registry = Registry([tmp_path / "my_models"])
    assert registry.users_names() == ["my_net"]  # the others have no code here, and are published baselines
    limits = {name: str(limit) for name, limit in registry.find("my_net").gate.set().items()}
    assert limits == {"max_params": "5 M", "max_macs": "0.5 G", "max_latency": "20 ms"}
    assert registry.networks["ours_small"].gate == NO_LIMITS
    assert registry.papers["ours"].figures[0].printed == "3,068"


MY_NET = """
from torch import nn

class MyNet(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))
"""


@pytest.mark.slow
def test_the_tests_in_the_readme_pass(tmp_path):
    (example,) = [block for block in blocks("python") if "fer_benchmark" in block]
    (tmp_path / "my_net.py").write_text(MY_NET)
    (tmp_path / "test_suite.py").write_text(f"from my_net import MyNet\n\n\n{example}")
    (tmp_path / "fast.toml").write_text('base = "quick"\nruns = 3\nwarmup_runs = 1\n')
    # A worker of xdist's tells its children so, and pytest-benchmark measures nothing there.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--fer-protocol=fast.toml", "--fer-models=mtcnn_pnet")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_suite.py"],
        cwd=tmp_path,
        env=ours,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert re.search(r"test_each\[mtcnn_pnet\] .*\d", done.stdout)  # it was timed
