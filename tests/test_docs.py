"""What the documents say is what is done."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fer_bench import list_models
from fer_bench.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_of_the_readme():
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    (command,) = [block.strip() for block in blocks if block.strip().endswith("tox")]
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
    ours = {"--fer-models", "--fer-protocol", "--fer-device", "--studies"}  # pytest's, in our plugin
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", README)) - ours
    named = {option for option in named if not option.startswith("--benchmark-")}  # pytest-benchmark's
    helps = "".join(
        CliRunner().invoke(app, [c.name or c.callback.__name__, "--help"]).output for c in app.registered_commands
    )
    assert [option for option in sorted(named) if option not in helps] == []
