"""What the documents say is what is done."""

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fer_bench import list_models
from fer_bench.cli.main import COMMANDS as GROUPS
from fer_bench.cli.main import SUBCOMMANDS, app, main
from fer_bench.networks.registry import Registry
from fer_bench.records.limits import NO_LIMITS
from fer_bench.records.plan import PRESETS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fer_bench"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")  # in place of the table of contents
DOCS = "\n".join(PAGES.values())
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```(?:{language})\n(.*?)^```", DOCS, flags=re.DOTALL | re.MULTILINE)


def test_contributing_names_files_and_lists_that_exist():
    files = re.findall(r"`((?:fer_bench|models|tests|benchmarks|reports)/[\w/.-]+)`", CONTRIBUTING)
    assert [name for name in files if not (ROOT / name).exists()] == []
    paths = [path for folder in ("fer_bench", "models", "tests") for path in (ROOT / folder).rglob("*.[pj][ys]")]
    code = "".join(path.read_text(encoding="utf-8") for path in paths)
    lists = set(re.findall(r"`(_?[A-Z][A-Z_]{3,})`", CONTRIBUTING))
    assert [name for name in sorted(lists) if not re.search(rf"^(const )?{name}\b.*=", code, flags=re.MULTILINE)] == []


def anchors(page):
    """Give the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    counts = Counter(
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    )
    return {f"{name}-{number}" if number else name for name, count in counts.items() for number in range(count)}


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_each_link_leads_to_a_file_and_a_heading(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    for link in links:
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_table_of_contents_has_every_page():
    listed = re.findall(r"^\| \[([\w.]+)\]", (ROOT / "docs" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted([*listed, "README.md"]) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


SHOWN = re.findall(r"^```console\n\$ (.*?)\n(.*?)```", PAGES["README.md"], re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("command", "shown"), SHOWN, ids=[command.split()[1] for command, _ in SHOWN])
def test_a_command_of_the_readme_prints_what_is_shown(command, shown, monkeypatch):
    """To the end, or to a line of three dots."""
    monkeypatch.chdir(ROOT)
    # GNU readline, which pytest imports, sets COLUMNS behind Python's back; a child would inherit that.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    arguments = [sys.executable, "-m", "fer_bench.cli", *shlex.split(command)[1:]]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    beginning, dots, _ = shown.partition("\n...\n")
    assert done.stdout.startswith(beginning + "\n") if dots else done.stdout == shown


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = [block.strip() for block in blocks("sh") if block.strip().endswith("&& tox")]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_readme_names_every_network_of_the_zoo():
    text = DOCS.replace("\\", "")
    variants = {f"nonlocal_resnetv2_50{suffix}" for suffix in re.findall(r"_s\d+", text)}
    assert [name for name in list_models() if name not in text and name not in variants] == []


COMMANDS = "|".join(sorted((name for group in GROUPS.values() for name in group), key=len, reverse=True))


@pytest.mark.parametrize("command", sorted(set(re.findall(rf"fer-bench ({COMMANDS})", DOCS))))
def test_each_command_that_the_readme_names_has_a_help_text(command):
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_each_option_that_the_readme_names_exists():
    ours = {"--fer-models", "--fer-sheets", "--fer-protocol", "--fer-device", "--studies"}  # pytest's, in our plugin
    ours |= {"--extra-index-url", "--no-deps", "--token", "--exclusive"}  # pip's, some other program's, and Slurm's
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", DOCS)) - ours
    named = {option for option in named if not option.startswith("--benchmark-")}  # pytest-benchmark's
    commands = [[name] for group in GROUPS.values() for name in group]
    commands += [[name, inner] for name, inside in SUBCOMMANDS.items() for inner in inside]
    helps = "".join(CliRunner().invoke(app, [*command, "--help"]).output for command in commands)
    assert [option for option in sorted(named) if option not in helps] == []


# Each command in a block: its name, and the rest of its line with the comment.
LINES = re.findall(rf"\bfer-bench ({COMMANDS})\b(.*)", "\n".join(blocks("sh|console")).replace("\\\n", " "))


def test_the_readme_has_commands_in_blocks():
    assert {command for command, _ in LINES} >= {"count", "run", "report", "audit", "gate", "compare", "history"}


@pytest.mark.parametrize(("command", "rest"), LINES)
def test_a_command_in_a_block_of_the_readme_can_be_parsed(command, rest):
    known = get_command(app).get_command(None, command)
    arguments = shlex.split(rest.partition(" > ")[0], comments=True)
    if command in SUBCOMMANDS:
        command = arguments.pop(0)
        known = known.get_command(None, command)
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
    def __init__(self, width=4, num_classes=7, in_channels=3):
        super().__init__(
            nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        )

def build(num_classes=7, in_channels=3, width=4):
    return MyNet(width, num_classes, in_channels)

class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.words = MyNet(), nn.Embedding(100, 7)

    def forward(self, image, tokens):
        return self.image(image) @ self.words(tokens).mean(1).T

def clip():
    return Clip()
"""
THEIR_TABLE = "Model,Params (M),FLOPs (G)\nResNet-50,25.6,4.1\nMobileNetV3-Large,5.5,0.22\n"
QUICKLY = ("--runs", "5", "--max-time", "20", "--processes", "1", "--time-limit", "300")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """A folder in which one network has been run, with the files that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "my_net.py").write_text(MY_NET)
    (folder / "their_table.csv").write_text(THEIR_TABLE)
    for page in ("sheets.md", "measure.md"):
        for block in re.findall(r"^```toml\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE):
            path = folder / re.match(r"# ([\w/]+\.toml)", block)[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
    (folder / "my_models" / "ours.py").write_text(
        "from torch import nn\ndef ours_small(num_classes=7):\n    return nn.Conv2d(3, num_classes, 112)\n"
    )
    import torch

    from fer_bench import create_model

    torch.save(create_model("mini_xception").state_dict(), folder / "weights.pt")
    with contextlib.chdir(folder):
        assert main(["run", "mini_xception", "--metrics", "static,latency", *QUICKLY]) == 0
    return folder


@pytest.fixture
def reader(first_run, tmp_path, monkeypatch):
    """The folder of a reader who has run one network."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shorter = dataclasses.replace(PRESETS["occupancy"], batch_size=2, warmup_runs=1, sample_s=0.5, sample_every_s=0.1)
    monkeypatch.setitem(PRESETS, "occupancy", shorter)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param("measure.md", marks=pytest.mark.nightly),  # most of its commands are the same run, swept
        *(f"{name}.md" for name in "README realtime results report sheets networks audit history".split()),
    ],
)
def test_the_commands_of_a_page_run_in_order(reader, page, capfd):
    """As written, but briefly, on small images and networks; the gate has a test of its own: it needs a repository."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE))
    for line in re.findall(r"^fer-bench .*$", text, re.MULTILINE):
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        if words[0] == "gate":
            continue
        if words[0] == "run":
            words = [word.replace("resnet50", "mobiexpressnet") for word in words]
            words += [*QUICKLY, *(["--metrics", "static,latency"] if "--protocol" not in words else [])]
            words += ["--input", "64"] if "occupancy" not in words else []
        if words[0] == "count" and words[1:2] in ([], ["--strict"]):
            words += ["--models", "mini_xception,mtcnn_pnet"]  # the gate of our own counts every network
        if words[0] == "audit" and not {"--table", "--sheets"} & set(words):
            words += ["--from", str(ROOT / "reports" / "audit" / "recounts.json")]  # counting takes a minute
        code = main(words)
        assert code == 0 or (words[0] == "audit" and code == 1), (line, capfd.readouterr())  # 1: a figure is wrong


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGES["README.md"], flags=re.DOTALL | re.MULTILINE)
    exec(example.replace('protocol="quick"', 'protocol="quick", runs=5'), {})
    assert "mobilenet_v1" in capsys.readouterr().out


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
