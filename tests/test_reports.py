"""The committed reports are drawn from the committed records, by the commands of their README, and by nothing else."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fer_bench.cli.main import main

REPORTS = Path(__file__).parent.parent / "reports"
COMMANDS = re.findall(r"^fer-bench .*$", (REPORTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
RECORDS = ("results.json", "recounts.json")
TEXTS = {".md", ".tex", ".csv", ".json", ".html"}


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    """Reports drawn anew in another folder, from the records alone."""
    folder = tmp_path_factory.mktemp("redrawn")
    for records in (path for name in RECORDS for path in REPORTS.rglob(name)):
        copy = folder / "reports" / records.relative_to(REPORTS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(records, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in COMMANDS:
            assert main(shlex.split(command)[1:]) == 0, command
    return folder / "reports"


def files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_there_that_was_not_drawn_or_measured(redrawn):
    gates = {path for path in files(REPORTS) if path.parts[0] == "gate-power"}  # test_gate_power.py draws them
    assert gates
    assert files(redrawn) == files(REPORTS) - {Path("README.md")} - gates


def test_redrawing_changes_no_byte_of_a_text(redrawn):
    texts = sorted(path for path in files(redrawn) if path.suffix in TEXTS)
    assert len(texts) > 50
    assert [path for path in texts if (redrawn / path).read_bytes() != (REPORTS / path).read_bytes()] == []


def test_redrawing_gives_the_same_vectors(redrawn):
    drawings = sorted(path for path in files(redrawn) if path.suffix == ".svg")
    assert drawings
    for path in drawings:
        ours, theirs = ((folder / path).read_text(encoding="utf-8") for folder in (REPORTS, redrawn))
        number = re.compile(r"-?\d+\.?\d*")
        assert number.sub("", ours) == number.sub("", theirs), path
        pairs = zip(number.findall(ours), number.findall(theirs), strict=True)
        assert max(abs(float(a) - float(b)) for a, b in pairs) < 1, path


def test_the_readme_names_every_folder_and_nothing_else():
    named = set(re.findall(r"^\| `([\w-]+)/` \|", (REPORTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {path.name for path in REPORTS.iterdir() if path.is_dir()}
