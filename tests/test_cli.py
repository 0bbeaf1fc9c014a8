"""The command line as users meet it: what it prints, where, and how it ends."""

import csv
import io
import json
import re
import signal
import subprocess
import sys

import pytest

from fer_bench.cli import common
from fer_bench.cli.main import main
from fer_bench.networks import registry
from support.processes import heed_ctrl_c, wait_until

CONTRACT = {
    "name",
    "input_shape",
    "num_classes",
    "parameters",
    "macs",
    "flops",
    "convention",
    "uncounted",
    "counted_on",
    "peak_activation_bytes",
    "layers",
    "state_dict_bytes",
    "checkpoint_bytes",
}


COMMANDS = "list show count run report check-weights runs show-run export import delete".split()


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_the_list_has_every_network_in_every_format(call):
    code, out, err = call("list", "--format", "json")
    assert (code, err) == (0, "")
    assert [row["name"] for row in json.loads(out)] == registry.list_models()
    names = [row["name"] for row in csv.DictReader(io.StringIO(call("list", "--format", "csv")[1]))]
    assert names == registry.list_models()
    for fmt in ("table", "markdown", "latex"):
        assert "mini" in call("list", "--format", fmt)[1]


def test_the_bare_list_is_the_one_in_the_table_format(call):
    assert call("list") == call("list", "--format", "table")


def test_a_network_is_shown_with_its_published_figures(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = call("show", "mini_xception")
    assert code == 0
    assert out.startswith("name        mini_xception: mini-Xception\n")
    assert "872.9 kilobytes" in out
    assert max(map(len, out.splitlines())) <= 100


def test_counts_in_json_hold_the_contract(call):
    code, out, err = call("count", "mini_xception", "--format", "json", "--classes", "8", "--input", "3x64x64")
    (row,) = json.loads(out)
    assert (code, err) == (0, "")
    assert row.keys() >= CONTRACT
    assert (row["num_classes"], row["input_shape"]) == (8, [3, 64, 64])
    assert row["parameters"].keys() >= {"trainable", "total", "keras_total"}
    assert row["layers"].keys() >= {"conv", "conv_separable_once", "conv_shortcut", "pool", "fc"}
    # One class more is one more output of a 3x3 convolution on 128 maps; two channels more, 8 kernels of 3x3 each.
    assert row["parameters"]["trainable"] == 56_951 + 9 * 128 + 1 + 2 * 8 * 9
    assert row["flops"] == 2 * row["macs"]


def test_counts_break_down_by_module_and_operator(call):
    code, out, _ = call("count", "mtcnn_pnet", "--by", "module", "--format", "json")
    assert code == 0
    modules = {row["module"]: row["macs"] for row in json.loads(out)[0]["modules"]}
    assert modules["features.conv1"] == 3 * 10 * 9 * 10 * 10  # 3 to 10 channels, 3x3, on 10x10
    operators = json.loads(call("count", "mtcnn_pnet", "--by", "op", "--format", "json")[1])[0]["operators"]
    assert sum(row["macs"] for row in operators) == modules["(network)"]
    assert "features.conv1" in call("count", "mtcnn_pnet", "--by", "module")[1]


def test_a_user_s_factory_keeps_json_clean_and_gets_its_settings(call, users_file):
    code, out, err = call("count", f"{users_file}:talks", "--set", "num_classes=3", "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["num_classes"] == 3
    assert "talk of the network" in err


def test_a_network_that_looks_at_values_is_counted_on_the_cpu(call, users_file):
    code, out, _ = call("count", f"{users_file}:looks", "--format", "json")
    assert (code, json.loads(out)[0]["counted_on"]) == (0, "cpu")


def test_one_network_s_failure_costs_no_other_its_row(call, users_file):
    code, out, err = call("count", f"{users_file}:raises", "mini_xception", "--format", "json")
    first, second = json.loads(out)
    assert code == 1
    assert "RuntimeError: boom" in first["error"]
    assert second["macs"] == 5_520_448
    assert err.count("\n") == 1
    assert err.startswith(f"fer-bench: {users_file}:raises: the factory failed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["count", "resnett50"], "no network is called 'resnett50' (did you mean resnet50"),
        (["show", "mini_exception"], "did you mean mini_xception"),
        (["count", "inception_v4", "--input", "3x74x74"], "inception_v4 cannot run at 3x74x74: it needs 75x75"),
        (["count", "mini_xception", "--input", "48x48"], "is not CxHxW"),
        (["count", "mini_xception", "--input", "1x0x48"], "is not CxHxW"),
        (["count", "mini_xception", "--counter", "abacus"], "--counter abacus is unknown; known: torch, fvcore, thop"),
        (["count", "mini_xception", "--set", "width"], "--set 'width' is not KEY=VALUE"),
        (["count", "mini_xception", "--set", "width=2"], "takes no argument width; it takes: num_classes"),
        (["count", "{users}:escapes"], "ValueError: \N{REPLACEMENT CHARACTER}[31m red"),
        (["count", "{users}:three"], "returned int, expected a torch.nn.Module"),
        (["run", "--device", "tpu"], "--device 'tpu' is unknown; known: cpu, cuda, xpu, mps"),
        (["run", "--protocol", "slow"], "--protocol 'slow' is unknown; known: quick, edge, safavi2023"),
        (["run", "--protocol", "missing.toml"], "cannot read the protocol missing.toml"),
        (["run", "--metrics", "beauty"], "metrics beauty: unknown; known: static, recount"),
        (["run", "--batch", "1,x"], "--batch x is no number from 1"),
        (["run", "--precision", "fp8"], "precision is 'fp8'; known: fp32"),
        (["run", "--alloc", "none"], "alloc is 'none'; known: keep, system"),
        (["run", "--store", "mysql://host/db"], "mysql"),
        (["runs", "--store", "missing/results.sqlite"], "there is no store at"),
        (["show-run", "abc"], "there is no store at"),
        (["import", "missing.json"], "cannot read missing.json"),
        (["run", "--models", "resnett50"], "did you mean resnet50"),
        (["run", "--checkpoint", "w.pt"], "--checkpoint is one network's"),
        (["run", "--models", "mini_xception", "--checkpoint", "missing.pt"], "there is no checkpoint missing.pt"),
        (["run", "--models", "mini_xception", "--set", "width"], "is not KEY=VALUE"),
        (["run", "--models", "mini_xception", "--store", "{users}"], "{users}"),
        (["report", "missing"], "there is no store at"),
        (["report", "missing.json"], "cannot read missing.json"),
        (["count", "my_net.py"], "my_net.py:FACTORY"),
        (["report", "{users}"], "not a result of fer_bench"),
        (["check-weights", "mini_xception", "missing.pt"], "there is no checkpoint missing.pt"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_was_expected(call, users_file, arguments, message):
    code, out, err = call(*(argument.format(users=users_file) for argument in arguments))
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert message.format(users=users_file) in err


@pytest.mark.parametrize("arguments", [["count", "--classes", "-1"], ["run", "--runs", "0"], ["count", "--by", "x"]])
def test_a_wrong_option_is_the_command_line_s_own_error(call, arguments):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert arguments[1] in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_debug(call, command):
    assert "--debug" in call(command, "--help")[1]


def test_debug_shows_the_traceback(call, users_file):
    assert "in raises" in call("count", f"{users_file}:raises", "--debug")[2]
    assert "Traceback" in call("report", "missing", "--debug")[2]


def test_no_gpu_is_reported_before_anything_is_measured(call, monkeypatch):
    monkeypatch.setattr("fer_bench.measuring.environment.has_gpu", lambda: False)
    code, _, err = call("run", "--device", "cuda")
    assert code == 1
    assert "no driver shows a GPU" in err


def test_an_error_that_nobody_foresaw_is_one_line_too(call, monkeypatch):
    monkeypatch.setattr(common, "Registry", lambda folders: 1 / 0)
    code, _, err = call("list")
    assert (code, err) == (1, "fer-bench: ZeroDivisionError: division by zero (--debug shows where)\n")


def test_weights_that_do_not_fit_are_reported_key_by_key(call, tmp_path):
    import torch

    torch.save({"stem.0.weight": torch.zeros(8, 1, 3, 3), "odd": torch.zeros(1)}, tmp_path / "w.pt")
    code, out, err = call("check-weights", "mini_xception", tmp_path / "w.pt")
    assert code == 1
    assert "1 entries fit\n" in out
    assert "\n  classifier.bias\n" in out
    assert out.endswith("1 unexpected:\n  odd\n")
    keys = re.search(r"(\d+) missing:\n((?:  .*\n)+)", out)
    named = keys[2].splitlines()
    assert len(named) == 10 + 1
    assert named[-1] == f"  ... and {int(keys[1]) - 10} more"
    code, out, err = call("check-weights", "mini_xception", tmp_path / "w.pt", "--full")
    assert len(re.search(r"missing:\n((?:  .*\n)+)", out)[1].splitlines()) == int(keys[1])
    assert err.count("\n") == 1


RUN = ("run", "--device", "cpu", "--runs", 5, "--metrics", "static,latency,memory")


def test_a_run_prints_the_table_and_its_report_is_the_same_bytes(fer_bench, tmp_path):
    done = fer_bench(*RUN, "--models", "mtcnn_pnet", "--out", "out", "--full")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^mtcnn_pnet \[.*\] +3x12x12 +2 +6\.632 k +44\.8 k +89\.5 k ", done.stdout, re.MULTILINE)
    assert "too few processes: one process does not predict" in done.stdout
    assert "% of the wall time went to starting" in done.stdout
    begins, measured, written = done.stderr.splitlines()
    assert re.match(r"cpu, protocol quick: 1 network, about \d+ s, into sqlite:///\S+; (no other l|other prog)", begins)
    assert measured.startswith("[1/1] mtcnn_pnet: MACs: 44.8 k, ")
    assert re.fullmatch(r"wrote \d+ files into out", written)
    (run,) = json.loads(fer_bench("runs", "--format", "json").stdout)
    assert (run["state"], run["results"], run["title"]) == ("finished", 1, "quick: mtcnn_pnet")
    assert f"all tables: fer-bench report {run['id']}" in done.stdout
    again = fer_bench("report", "--out", "again")
    assert (again.returncode, again.stdout) == (0, "")
    assert {path.name for path in (tmp_path / "again").glob("*.md")} >= {"efficiency.md", "latency.md", "roofline.md"}
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert fer_bench("report", "last", "--table", "efficiency").stdout in done.stdout
    assert "--table beauty: there are efficiency, latency" in fer_bench("report", "--table", "beauty").stderr


def test_a_dry_run_lists_what_would_be_measured_and_stores_nothing(fer_bench, tmp_path):
    done = fer_bench(*RUN, "--models", "mtcnn_pnet,mtcnn_rnet", "--batch", "1,2", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(r"^(mtcnn_[pr]net) +3x\d+x\d+ +([12]) +", done.stdout, re.MULTILINE)
    assert rows == [("mtcnn_pnet", "1"), ("mtcnn_pnet", "2"), ("mtcnn_rnet", "1"), ("mtcnn_rnet", "2")]
    assert "4 measurements. About " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_hundred_measurements_are_not_begun_unasked(fer_bench_here):
    done = fer_bench_here(
        "run", "--metrics", "static", "--models", "mtcnn_pnet", "--batch", ",".join(map(str, range(1, 102)))
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 network in 101 measurements, about " in done.stderr
    assert "these are 101 measurements: --yes measures them, --dry-run lists them" in done.stderr
    assert json.loads(fer_bench_here("runs", "--format", "json").stdout) == []


def test_stored_runs_can_be_shown_exported_imported_and_deleted(fer_bench_here, tmp_path):
    assert fer_bench_here(*RUN, "--models", "mtcnn_pnet", "--store", "one.sqlite").returncode == 0
    shown = fer_bench_here("show-run", "--store", "one.sqlite").stdout
    assert "protocol=quick" in shown
    assert "torch" in shown
    exported = fer_bench_here("export", "--store", "one.sqlite", "--out", "out.json")
    assert (exported.returncode, exported.stdout) == (0, "")
    assert (tmp_path / "out.json").read_text() == fer_bench_here("export", "last", "--store", "one.sqlite").stdout
    ((run,),) = (json.loads((tmp_path / "out.json").read_text())["runs"],)
    assert fer_bench_here("import", "out.json", "--store", "sqlite:///two.sqlite").stdout == f"imported: {run['id']}\n"
    assert fer_bench_here("import", "out.json", "--store", "two.sqlite").stdout == f"there already: {run['id']}\n"
    tables = [
        fer_bench_here("report", *of).stdout
        for of in (["out.json"], ["--store", "one.sqlite"], ["--store", "two.sqlite"])
    ]
    assert tables[0] == tables[1] == tables[2] != ""
    assert fer_bench_here("delete", run["id"][:6], "--store", "two.sqlite", "--yes").returncode == 0
    assert json.loads(fer_bench_here("runs", "--store", "two.sqlite", "--format", "json").stdout) == []
    gone = fer_bench_here("report", "--store", "two.sqlite")
    assert gone.returncode == 1
    assert "there are no runs in" in gone.stderr


def exported(fer_bench):
    """The results of the last run, with every raw value."""
    (run,) = json.loads(fer_bench("export").stdout)["runs"]
    return [kept["result"] for kept in run["results"]]


def test_nothing_is_deleted_without_a_yes(fer_bench):
    fer_bench(*RUN, "--models", "mtcnn_pnet")
    asked = fer_bench("delete", "last", input="n\n")
    assert asked.returncode == 1
    assert "nothing was deleted" in asked.stderr
    assert len(json.loads(fer_bench("runs", "--format", "json").stdout)) == 1


def test_a_sweep_is_a_row_for_each_setting_and_a_column_for_what_differs(fer_bench_here):
    sweep = ("--batch", "1,2", "--threads", "1,2", "--alloc", "both", "--wait", "active", "--full")
    done = fer_bench_here(*RUN, "--models", "mtcnn_pnet", *sweep)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(fer_bench_here("runs", "--format", "json").stdout)
    assert run["results"] == 8
    results = exported(fer_bench_here)
    settings = {(r["plan"]["batch_size"], r["plan"]["threads"], r["plan"]["alloc"]) for r in results}
    assert settings == {(b, t, a) for b in (1, 2) for t in (1, 2) for a in ("keep", "system")}
    assert re.search(r"Network +Input +Classes +Batch +Threads +Allocator", done.stdout)
    # Real time is judged at batch 1 only: every other row has a dash there.
    rows = list(
        csv.DictReader(io.StringIO(fer_bench_here("report", "--table", "efficiency", "--format", "csv").stdout))
    )
    assert {row["real_time"] != "" for row in rows if row["batch_size"] == "1"} == {True}
    assert {row["real_time"] for row in rows if row["batch_size"] == "2"} == {""}


@pytest.mark.parametrize("option", ["--precision bf16", "--layout nhwc", "--input 48", "--precision default"])
def test_precision_layout_and_size_are_fields_of_the_plan(fer_bench_here, option):
    done = fer_bench_here(*RUN, "--models", "tiny_xception", *option.split())
    assert done.returncode == 0, done.stderr
    name, value = option[2:].split()
    (result,) = exported(fer_bench_here)
    assert str(result["plan"][{"input": "input_size"}.get(name, name)]) == value


def test_a_protocol_of_one_s_own_comes_from_a_file(fer_bench_here, tmp_path):
    (tmp_path / "lab.toml").write_text(
        'base = "edge"\nruns = 2\nmin_time_s = 0\nmetrics = ["latency"]\nprocesses = 7\n'
    )
    done = fer_bench_here("run", "--protocol", "lab.toml", "--models", "mtcnn_pnet")
    assert done.returncode == 0, done.stderr
    (result,) = exported(fer_bench_here)
    measured = [m for m in result["measurements"] if m["metric"] == "latency_s"]
    assert [m["process"] for m in measured] == list(range(7))
    assert (result["plan"]["protocol"], result["environment"]["threads"]) == ("lab", 1)


def interrupted(tmp_path, users_file, stop):
    """Start a run of two networks, and stop it while the second one hangs."""
    command = [sys.executable, "-m", "fer_bench.cli", *map(str, RUN)]
    command += ["--models", f"mtcnn_pnet,{users_file}:hangs_once"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    assert process.stderr.readline().startswith("cpu, protocol quick: 2 networks, ")
    assert process.stderr.readline().startswith("[1/2] mtcnn_pnet")
    wait_until((tmp_path / "it_hangs").exists)  # for good, so that no machine is too slow for this
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    return command, process.returncode, out, err


@pytest.mark.slow
def test_ctrl_c_ends_a_run_at_once_and_the_same_command_goes_on(users_file, tmp_path):
    command, code, out, err = interrupted(tmp_path, users_file, signal.SIGINT)
    assert code == 130
    assert err == "1 of 2 are left; the same command, without --fresh, goes on.\nfer-bench: interrupted\n"
    assert "mtcnn_pnet" in out
    (tmp_path / "go_on").touch()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    begins, goes_on, measured = again.stderr.splitlines()
    assert begins.startswith("cpu, protocol quick: 1 network, ")
    assert "goes on: 1 of 2 are measured" in goes_on
    assert measured.startswith("[2/2] ")
    assert "mtcnn_pnet" in again.stdout


def test_a_run_goes_on_by_its_name_too_but_only_with_its_own_command(users_file, tmp_path, fer_bench):
    command, _, _, _ = interrupted(tmp_path, users_file, signal.SIGINT)
    (tmp_path / "go_on").touch()
    other = fer_bench(*RUN, "--models", "mtcnn_pnet", "--resume", "last")
    assert "is not of this command: give it the same options" in other.stderr
    again = subprocess.run([*command, "--resume", "last"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "goes on: 1 of 2 are measured" in again.stderr
    done = subprocess.run([*command, "--resume", "last"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is finished: there is nothing to go on with" in done.stderr


def test_a_killed_run_goes_on_too_unless_one_begins_anew(users_file, tmp_path, fer_bench):
    command, code, _, _ = interrupted(tmp_path, users_file, signal.SIGKILL)
    assert code == -signal.SIGKILL
    (tmp_path / "go_on").touch()
    anew = subprocess.run([*command, "--fresh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert anew.stderr.splitlines()[1].startswith("[1/2] mtcnn_pnet")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "goes on: 1 of 2 are measured" in again.stderr
    states = [run["state"] for run in json.loads(fer_bench("runs", "--format", "json").stdout)]
    assert states == ["finished", "finished"]


@pytest.mark.parametrize(
    ("factory", "how"), [("leaves", "ended with exit code 0"), ("crashes", "was killed by SIGSEGV")]
)
def test_a_factory_that_ends_the_process_is_reported(fer_bench, users_file, factory, how):
    done = fer_bench("count", f"{users_file}:{factory}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fer-bench: the process {how} before it was done: code of the network did that\n"


def test_what_is_counted_apart_is_printed_as_ever(fer_bench, users_file):
    done = fer_bench("count", f"{users_file}:good", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)[0]["num_classes"]) == (0, 7)


def test_a_reader_that_has_seen_enough_ends_it_without_a_word():
    command = f"{sys.executable} -m fer_bench.cli list --format json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_full_disk_behind_stdout_is_reported():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fer_bench.cli", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "fer-bench: the output: No space left on device\n"


def test_warnings_of_libraries_are_one_line(call, tmp_path):
    code = "import logging, warnings\nfrom torch import nn\ndef net():\n"
    code += "    for n in range(7): warnings.warn(f'number {n}')\n"
    code += "    logging.getLogger('some.library').warning('and a log')\n    return nn.Conv2d(3, 4, 1)\n"
    (tmp_path / "noisy.py").write_text(code)
    arguments = ("count", f"{tmp_path / 'noisy.py'}:net", "--input", "3x8x8")
    exit_code, _, err = call(*arguments)
    assert (exit_code, err) == (0, "fer-bench: 8 warnings of noisy.py, some: --debug shows them\n")
    err = call(*arguments, "--debug")[2]
    assert "--debug shows them" not in err
    assert "UserWarning: number 6" in err
    assert "\nand a log\n" in err


@pytest.mark.parametrize(("given", "meant"), [("224x224x3", "3x224x224"), ("48x64x1", "1x48x64")])
def test_an_input_with_channels_last_is_questioned(call, given, meant):
    code, _, err = call("count", "resnet50", "--input", given)
    assert code == 1
    assert f"give channels first, {meant}" in err
    assert common.parse_shape("64x8x8") == (64, 8, 8)
    assert common.parse_shape("3x1x1") == (3, 1, 1)
