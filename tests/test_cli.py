"""The command line as users meet it: what it prints, where, and how it ends."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from fer_bench import cli, registry, store

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


@pytest.fixture
def call(capsys):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
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
        (["count", "{users}:escapes"], "ValueError:  [31m red"),
        (["count", "{users}:three"], "returned int, expected a torch.nn.Module"),
        (["run", "--device", "tpu"], "--device 'tpu' is neither cpu nor cuda"),
        (["run", "--protocol", "slow"], "--protocol 'slow' is unknown; known: quick, safavi2023"),
        (["run", "--models", "resnett50"], "did you mean resnet50"),
        (["run", "--checkpoint", "w.pt"], "--checkpoint is one network's"),
        (["run", "--models", "mini_xception", "--checkpoint", "missing.pt"], "there is no checkpoint missing.pt"),
        (["run", "--models", "mini_xception", "--set", "width"], "is not KEY=VALUE"),
        (["run", "--models", "mini_xception", "--out", "{users}"], "name a folder that you may write to with --out"),
        (["report", "missing"], "cannot read missing"),
        (["report", "{users}"], "not a result of fer_bench"),
        (["check-weights", "mini_xception", "missing.pt"], "there is no checkpoint missing.pt"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_was_expected(call, users_file, arguments, message):
    code, out, err = call(*(argument.format(users=users_file) for argument in arguments))
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("arguments", [["count", "--classes", "0"], ["run", "--batch", "0"], ["count", "--by", "x"]])
def test_a_wrong_option_is_the_command_line_s_own_error(call, arguments):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert arguments[1] in err


@pytest.mark.parametrize("command", ["list", "show", "count", "run", "report", "check-weights"])
def test_every_command_takes_debug(call, command):
    assert "--debug" in call(command, "--help")[1]


def test_debug_shows_the_traceback(call, users_file):
    assert "in raises" in call("count", f"{users_file}:raises", "--debug")[2]
    assert "Traceback" in call("report", "missing", "--debug")[2]


def test_no_gpu_is_told_before_anything_is_measured(call, monkeypatch):
    monkeypatch.setattr("fer_bench.environment.has_gpu", lambda: False)
    code, _, err = call("run", "--device", "cuda")
    assert code == 1
    assert "there is no NVIDIA GPU" in err


def test_an_error_that_nobody_foresaw_is_one_line_too(call, monkeypatch):
    monkeypatch.setattr(registry, "sheets", lambda: 1 / 0)
    code, _, err = call("list")
    assert (code, err) == (1, "fer-bench: ZeroDivisionError: division by zero (--debug shows where)\n")


def test_weights_that_do_not_fit_are_told_key_by_key(call, tmp_path):
    import torch

    torch.save({"stem.0.weight": torch.zeros(8, 1, 3, 3), "odd": torch.zeros(1)}, tmp_path / "w.pt")
    code, out, err = call("check-weights", "mini_xception", tmp_path / "w.pt")
    assert code == 1
    assert "1 entries fit\n" in out
    assert "\n  classifier.bias\n" in out
    assert out.endswith("1 unexpected:\n  odd\n")
    assert err.count("\n") == 1


def test_a_run_prints_the_table_and_its_report_is_the_same_bytes(fer_bench, tmp_path):
    done = fer_bench("run", "--models", "mtcnn_pnet", "--runs", 2, "--device", "cpu", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^mtcnn_pnet +3x12x12 +2 +6\.632 k +44\.8 k +89\.5 k ", done.stdout, re.MULTILINE)
    assert done.stderr.startswith("[1/1] mtcnn_pnet: 44.8 k MACs, ")
    (result,) = store.load(tmp_path / "out")
    assert len(result.measurement("latency_s").values) == 2
    again = fer_bench("report", "out", "--out", "again")
    assert (again.returncode, again.stdout) == (0, "")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert fer_bench("report", "out").stdout in done.stdout


def test_ctrl_c_ends_a_run_at_once_with_what_was_measured(users_file, tmp_path):
    command = [sys.executable, "-m", "fer_bench.cli", "run", "--runs", "2", "--device", "cpu", "--out", "out"]
    command += ["--models", f"mtcnn_pnet,{users_file}:hangs"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr.readline().startswith("[1/2] mtcnn_pnet")
    time.sleep(0.5)  # the next one is under way; it hangs for good, so that no machine is too slow for this
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "fer-bench: interrupted\n"
    assert "mtcnn_pnet" in out
    assert [result.subject.name for result in store.load(tmp_path / "out")] == ["mtcnn_pnet"]


@pytest.mark.parametrize(
    ("factory", "how"), [("leaves", "ended with exit code 0"), ("crashes", "was killed by SIGSEGV")]
)
def test_a_factory_that_ends_the_process_is_told(fer_bench, users_file, factory, how):
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


def test_a_full_disk_behind_stdout_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fer_bench.cli", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "fer-bench: the output: No space left on device\n"
