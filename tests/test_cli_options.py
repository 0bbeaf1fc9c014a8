"""One vocabulary of options, the old names that still work, the groups of `--help`, and the exit codes."""

import importlib.metadata
import json
import os
import re
import shlex

import pytest
import typer

import fer_bench
from fer_bench.cli import common
from fer_bench.cli.common import guarded, registry_of
from fer_bench.cli.main import COMMANDS, DEPRECATED, EXAMPLES, SUBCOMMANDS, app, main
from fer_bench.measuring.measure import sweep
from fer_bench.records.plan import QUICK
from fer_bench.records.store import Store
from support.samples import RECOUNTS

NAMES = [name for group in COMMANDS.values() for name in group]
EACH = [*NAMES, *(f"{name} {inner}" for name, inside in SUBCOMMANDS.items() for inner in inside)]
WITH_NETWORKS = ("count", "run", "audit", "gate")

# The old name of an option, in a command that shows that its value arrives: the exit code, and what is reported.
OLD = [
    ("run", "--size", "x", (), 1, "--input 'x' is not CxHxW"),
    ("export", "--to", "missing/out.json", ("--store", "kept.sqlite"), 1, "cannot write missing/out.json"),
    ("audit", "--records", "missing.json", (), 3, "cannot read missing.json"),
    ("gate", "--metric", "speed", (), 3, "--metrics speed is unknown"),
    ("compare", "--metric", "speed", ("a", "b"), 3, "--metrics speed is unknown"),
]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder, on a terminal of 80 columns: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", [name for name in EACH if name not in SUBCOMMANDS])
def test_the_help_of_each_command_ends_with_examples_that_it_understands(call, name):
    code, out, _ = call(*name.split(), "--help")
    assert code == 0
    assert "Examples:\n" in out
    command = typer.main.get_command(app)
    for part in name.split():
        command = command.get_command(None, part)
    for example in EXAMPLES[name]:
        assert f"    fer-bench {example}\n" in out
        words = shlex.split(example.partition(" > ")[0])
        assert example.startswith(name)
        with command.make_context(name, words[len(name.split()) :]):
            pass


def test_the_version_is_that_of_the_installed_package(call):
    version = importlib.metadata.version("fer-bench")
    assert call("--version") == (0, f"fer-bench {version}\n", "")
    assert fer_bench.__version__ == version


def test_a_list_that_goes_on_below_says_so(call):
    code, out, _ = call("list")
    assert code == 0
    assert out.startswith("Networks (status, papers: below)\n")
    assert re.search(r"^name +status +papers$", out, re.MULTILINE)


def test_a_size_that_a_network_cannot_take_is_refused_unless_it_may_run_at_its_own(call):
    code, out, err = call("run", "inception_v4", "--input", "48")
    assert (code, out) == (1, "")
    assert "--input is too small: inception_v4 needs 75x75; --own-size runs these at their own size" in err
    code, out, _ = call("run", "inception_v4", "--input", "48", "--own-size", "--metrics", "static", "--dry-run")
    assert (code, "inception_v4" in out) == (0, True)


def test_the_files_that_a_command_writes_are_named(call, tmp_path):
    recounts = RECOUNTS.parents[1] / "edge-cpu" / "results.json"
    code, out, err = call("report", recounts, "--table", "efficiency", "--out", "out")
    assert (code, out, err) == (
        0,
        "",
        "wrote out/efficiency.md, out/efficiency.tex, out/efficiency.csv, out/efficiency.json\n",
    )
    code, _, err = call("report", recounts, "--out", "more")
    names = list((tmp_path / "more").iterdir())
    assert (code, err) == (0, f"wrote {len(names)} files into more\n")


def test_rows_of_sheets_that_are_not_given_are_named(call, tmp_path):
    text = (RECOUNTS.parents[1] / "edge-cpu" / "results.json").read_text()
    (tmp_path / "r.json").write_text(text.replace('"name":"patt_lite"', '"name":"my_net"'))
    code, out, err = call("report", "r.json", "--table", "efficiency")
    assert code == 0
    assert "my_net" in out
    assert (
        err == "fer-bench: my_net: from sheets that are not given; --sheets FOLDER adds their titles and accuracies\n"
    )


def test_every_old_name_is_tried_here():
    tried = {(command, old) for command, old, *_ in OLD}
    names = {(command, old) for command, names in DEPRECATED.items() for old in names}
    assert {each for each in names if each[0] != "history"} == tried  # test_history.py tries its own


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("command", "old", "value", "rest", "code", "message"), OLD)
def test_an_old_name_works_as_the_new_one_and_prints_a_notice(
    call, make_result, command, old, value, rest, code, message, joined
):
    with Store.open("kept.sqlite", create=True) as store:
        store.save(store.begin("fingerprint", "title"), "key", make_result())
    new = DEPRECATED[command][old]
    before, after = (
        call(command, *rest, *([f"{option}={value}"] if joined else [option, value])) for option in (old, new)
    )
    assert before[:2] == after[:2] == (code, "")
    assert message in after[2]
    assert before[2] == f"{old} is deprecated: use {new}\n{after[2]}"


def test_old_names_are_not_in_the_help(call):
    for command, names in DEPRECATED.items():
        shown = call(command, "--help")[1].split()
        assert [old for old in names if old in shown] == []


def test_help_lists_every_command_in_its_group(call):
    code, out, _ = call("--help")
    assert code == 0
    groups = {}
    for line in out.partition("Show this message and exit.")[2].splitlines():
        if line.endswith(":") and not line.startswith(" "):
            group = groups.setdefault(line[:-1], [])
        elif line:
            group.append(line.split()[0])
    assert groups == {
        "Look up": ["list", "show", "check-weights"],
        "Measure": ["count", "run", "train", "evaluate", "realtime", "detect", "deploy", "sweep"],
        "Data": ["data"],
        "Stored runs": ["runs", "show-run", "export", "import", "delete"],
        "Publish": ["report", "why", "audit"],
        "Check a change": ["gate", "compare", "history"],
    }


def test_no_summary_is_cut_in_a_terminal_of_80_columns(call):
    lines = {line.split()[0]: line for line in call("--help")[1].splitlines() if line.startswith("  ")}
    for name in NAMES:
        assert lines[name].endswith(".")
        assert "..." not in lines[name]
        summary = " ".join(lines[name].split()[1:])
        assert summary in call(name, "--help")[1]  # the command's own help begins with it, on one line


@pytest.mark.parametrize("command", EACH)
def test_the_help_of_every_command_fits_and_has_debug(call, command):
    code, out, _ = call(*command.split(), "--help")
    assert (code, max(map(len, out.splitlines())) <= 80) == (0, True)
    assert "--debug" in out


def test_a_command_that_is_misspelt_gets_a_suggestion(call):
    code, _, err = call("rprot")
    assert code == 2
    assert "Did you mean 'report'?" in err


@pytest.mark.parametrize("command", WITH_NETWORKS)
def test_networks_are_arguments_or_an_option_in_every_command_that_names_some(call, command):
    ways = [["resnett50"], ["--models", "resnett50"], ["--models", "mini_xception,resnett50"]]
    ways += [["mini_xception,resnett50"], ["mini_xception", "--models", "resnett50"]]
    ways += [["--models", "mini_xception", "--models", "resnett50"]]
    for way in ways:
        code, _, err = call(command, *way)
        assert code == (3 if command in ("audit", "gate") else 1)
        assert "did you mean resnet50" in err


def test_networks_are_counted_in_the_order_in_which_they_are_named(call):
    _, out, _ = call("count", "tiny_xception,mtcnn_onet", "--models", "mtcnn_pnet", "--format", "json")
    assert [row["name"] for row in json.loads(out)] == ["tiny_xception", "mtcnn_onet", "mtcnn_pnet"]


def test_an_input_of_one_number_is_a_square_of_each_network_s_own_channels(call):
    _, out, _ = call("count", "mini_xception", "mobilenet_v1", "--input", "64,96", "--format", "json")
    assert [row["input_shape"] for row in json.loads(out)] == [[1, 64, 64], [1, 96, 96], [3, 64, 64], [3, 96, 96]]


def test_a_run_sweeps_sizes_of_both_kinds():
    plans = sweep(QUICK, {"batch_size": [1, 2], "input_size": [48, (1, 64, 32)], "mode": []})
    assert [(plan.batch_size, plan.input_size, shape) for plan, shape in plans] == [
        (1, 48, None),
        (1, None, (1, 64, 32)),
        (2, 48, None),
        (2, None, (1, 64, 32)),
    ]


def test_sheets_are_those_given_and_else_those_of_the_environment_variable(monkeypatch, tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    for folder in (a, b, c):
        folder.mkdir()
    assert registry_of(None).folders == ()
    monkeypatch.setenv("FER_BENCH_SHEETS", f"{a}{os.pathsep}{b}")
    assert registry_of(None).folders == (a, b)
    assert registry_of([c]).folders == (c,)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list"], 0),
        (["count", "resnett50"], 1),
        (["history", "--last", "0"], 2),
        (["audit", "--format", "x"], 2),
        (["audit", "--paper", "999"], 3),
        (["audit", "--exit-zero", "--paper", "999"], 3),
        (["compare", "resnett50", "resnet50"], 3),
    ],
)
def test_a_command_that_judges_parts_its_errors_from_what_it_finds(call, arguments, code):
    assert call(*arguments)[0] == code


@pytest.mark.parametrize("arguments", [["show", "resnet50"], ["audit"]])
def test_ctrl_c_is_130_for_every_command(call, monkeypatch, arguments):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "Registry", interrupted)
    assert call(*arguments) == (130, "", "fer-bench: interrupted\n")


@pytest.mark.parametrize("code", [1, 3])
def test_a_reader_that_leaves_early_is_no_finding_of_a_command_that_judges(monkeypatch, code):
    def command():
        raise BrokenPipeError

    monkeypatch.setattr(os, "dup2", lambda *_: None)
    with pytest.raises(typer.Exit) as ended:
        guarded(command, code)()
    assert ended.value.exit_code == code
