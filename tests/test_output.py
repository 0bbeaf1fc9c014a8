"""What leaves the program: nothing that a terminal obeys, no endless message, and on stdout nothing of networks."""

import csv
import io
import json
import re
import sys
import unicodedata

import pytest

from fer_bench.cli.main import main
from fer_bench.gating.report import as_json, as_junit, as_markdown, as_text
from fer_bench.gating.request import Report
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.networks.registry import Registry
from fer_bench.records.errors import brief
from fer_bench.records.output import REPLACEMENT, capped, each_text, printable, printable_json
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement
from fer_bench.records.store import Store
from fer_bench.reporting.page import page
from fer_bench.reporting.tables import report

# A window's title, a screen cleared, the same by C1 controls, DEL, text turned round.
COMMANDS = "\x1b]0;title\x07 \x1b[2J \x9b2J \x9d0;t\x9c \x7f \u202egnp.exe\u202c \u2066a\u2069 \u061c\u200e\u200f"
HOSTILE = f"net {COMMANDS}"
BIDIRECTIONAL = [*map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))]


def obeyed(text):
    """Return the characters of a text that a terminal could obey, or that turn or hide text."""
    controls = {c for c in text if unicodedata.category(c) in ("Cc", "Cs") or c in BIDIRECTIONAL}
    return sorted(controls - set("\n\t"))


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), *map(ord, BIDIRECTIONAL), 0xD800, 0xFFFE, 0xFEFF])
def test_no_control_character_is_left_and_columns_stay_aligned(code):
    for lines in (False, True):
        shown = printable(f"a{chr(code)}b", lines=lines)
        assert len(shown) == 3
        assert obeyed(shown) == []
        assert shown[1] in (" ", REPLACEMENT) or (lines and chr(code) in "\n\t")


def test_words_are_left_as_they_are():
    words = "naïve 表情 می\u200cخواهم 👩\u200d🔬 a–b ≈"
    assert printable(words) == words


def test_white_space_does_not_break_a_line_of_ours():
    assert printable("a\nb\tc\r\u2028d\xa0e") == "a b c  d e"
    assert printable("a\nb\tc\r\u2028d", lines=True) == "a\nb\tc  d"


def test_json_reads_the_same_and_has_no_control_character():
    value = {HOSTILE: [HOSTILE, "é 表 \ud83d", 1.5, "a\\u001b\n"]}
    document = printable_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value
    assert obeyed(document) == []
    assert "é 表" in document


def test_each_text_of_a_value_is_changed_whatever_holds_it():
    found = Measurement("a", "b", details={"c": ["d", ("e", 1)]}, warnings=("f",))
    changed = each_text(found, str.upper)
    assert changed == Measurement("A", "B", details={"C": ["D", ("E", 1)]}, warnings=("F",))


def test_a_long_message_has_head_and_tail_and_the_number_left_out():
    text = "a" * 1000 + "b" * 10**6 + "c" * 1000
    short = capped(text, 100)
    assert short == "a" * 60 + " ... 1001910 characters left out ... " + "c" * 30
    assert capped("a" * 100, 100) == "a" * 100


def test_a_failure_is_short_wherever_it_comes_from():
    assert len(brief(ValueError("x" * 2_000_000))) < 1100
    assert len(Measurement("macs", "", failure="x" * 2_000_000).failure) < 2100


# Every way out


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder: what it prints on stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        main([str(argument) for argument in arguments])
        return capsys.readouterr()

    return run


@pytest.fixture
def hostile_result(make_result):
    failed = Measurement("memory", "", failure=f"RuntimeError: {COMMANDS}", warnings=(COMMANDS,))
    return make_result(HOSTILE, failed, title=HOSTILE, note=COMMANDS, status="stand-in", uncertain=(COMMANDS,))


@pytest.fixture
def stored(hostile_result, tmp_path):
    """A store with a run of a hostile network; return what names it on the command line."""
    url = f"sqlite:///{tmp_path / 'its.sqlite'}"
    with Store.open(url, create=True) as store:
        run = store.begin("mark", f"title {COMMANDS}")
        store.save(run, "key", hostile_result)
        store.finish(run)
    return ("--store", url)


@pytest.fixture
def sheets(tmp_path):
    """A folder with a sheet whose every text is hostile; TOML takes its own escapes of them."""
    folder = tmp_path / "sheets"
    folder.mkdir()
    quoted = "".join(f"\\U{ord(c):08x}" if obeyed(c) else c for c in HOSTILE)
    (folder / "mine.toml").write_text(
        f'[mine]\ntitle = "{quoted}"\ninput_shape = [1, 8, 8]\nnum_classes = 3\nnote = "{quoted}"\n'
        f'citation = "{quoted}"\npublished = [{{ quantity = "epochs", printed = "{quoted}", unit = "", '
        f'paper = "{quoted}", where = "{quoted}" }}]\n'
    )
    (folder / "mine.py").write_text(
        "import logging, warnings\n"
        f"def mine():\n    logging.getLogger({HOSTILE!r}).warning({HOSTILE!r})\n    warnings.warn({HOSTILE!r})\n"
        f"    raise ValueError({HOSTILE!r})\n"
    )
    return folder


COMMAND_LINES = [
    *(f"report --format {fmt}" for fmt in ("table", "markdown", "latex", "csv", "json", "html")),
    "runs", "runs --format json", "show-run", "why efficiency 1 Network", "export", "delete last --yes",
]  # fmt: skip


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_nothing_of_a_record_is_obeyed(call, stored, line):
    out, err = call(*line.split(), *stored)
    assert "net" in out or "deleted" in out
    assert obeyed(out + err) == []


@pytest.mark.parametrize("fmt", ["table", "json", "markdown"])
def test_nothing_of_a_history_is_obeyed(call, stored, fmt):
    out, err = call("history", HOSTILE, "latency", "--format", fmt, *stored)
    assert "net" in out
    assert obeyed(out + err) == []


def test_json_of_a_record_is_lossless(call, stored):
    assert HOSTILE in json.loads(call("runs", "--format", "json", *stored).out)[0]["networks"]
    exported = json.loads(call("export", *stored).out)
    assert exported["runs"][0]["results"][0]["result"]["subject"]["note"] == COMMANDS


@pytest.mark.parametrize("line", ["list", "list --format csv", "list --format json", "show mine", "count mine",
                                  "count mine --format json", "count mine --debug", "show absent"])  # fmt: skip
def test_nothing_of_a_sheet_or_an_error_is_obeyed(call, sheets, line):
    out, err = call(*line.split(), "--sheets", sheets)
    assert ("ValueError" in out + err) == (line.startswith("count")), err
    assert REPLACEMENT in out + err or "json" in line or "absent" in err
    assert obeyed(out + err) == []


def test_nothing_of_an_argument_is_obeyed(call):
    for line in (
        ["show", HOSTILE],
        [f"--{HOSTILE}"],
        ["count", f"--{HOSTILE}"],
        [HOSTILE],
        ["run", "--batch", HOSTILE],
    ):
        out, err = call(*line)
        assert err
        assert obeyed(out + err) == []


def test_nothing_of_a_page_is_obeyed(hostile_result):
    drawn = report([hostile_result], Registry(), [])
    document = page(HOSTILE, [hostile_result], drawn, Registry())
    assert obeyed(document) == []
    for escaped in re.findall(r"\\u([0-9a-f]{4})", document):  # of the figures' data, which a script reads
        assert obeyed(chr(int(escaped, 16))) == []


def test_nothing_of_a_gates_report_is_obeyed():
    verdict = Verdict(HOSTILE, HOSTILE, Outcome.worse, HOSTILE, details=(HOSTILE,), accepted=HOSTILE)
    given = Report(HOSTILE, HOSTILE, (verdict,), {"command": HOSTILE, HOSTILE: HOSTILE}, (HOSTILE,))
    for write in (as_text, as_markdown, as_junit, as_json):
        assert obeyed(write(given)) == []
    assert json.loads(as_json(given))["verdicts"][0]["network"] == HOSTILE


# An error without end


def test_an_error_of_megabytes_is_short_in_record_row_and_stderr(fer_bench, tmp_path):
    (tmp_path / "big.py").write_text("def net():\n    raise ValueError('begin ' + 'x' * 2_000_000 + ' end')\n")
    ran = fer_bench("run", "big.py:net", "--metrics", "static,memory")
    assert ran.returncode == 1
    assert "characters left out" in ran.stderr
    assert len(ran.stderr) < 20_000
    exported = fer_bench("export").stdout
    assert len(exported) < 50_000
    result = json.loads(exported)["runs"][0]["results"][0]["result"]
    failures = [measurement["failure"] for measurement in result["measurements"]]
    assert all("begin xxx" in failure and failure.endswith(" end") for failure in failures)
    assert QUICK.protocol == result["plan"]["protocol"]
    assert len(fer_bench("report").stdout) < 20_000
    counted = fer_bench("count", "big.py:net", "--format", "json")
    assert len(counted.stdout + counted.stderr) < 10_000


# What a network prints

PRINTS = """
import atexit, ctypes, os, threading, sys
from torch import nn

def everywhere(where):
    os.write(1, f"written at {where}\\n".encode())
    print(f"printed at {where}")
    ctypes.CDLL(None).printf(f"C printed at {where}\\n".encode())  # in a buffer that is written at exit
    os.system(f"echo a child at {where}")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 7)
        everywhere("build")
    def forward(self, x):
        everywhere("pass")
        return self.fc(x.flatten(1)[:, :4])
    def state_dict(self, *args, **kwargs):
        everywhere("state")
        return super().state_dict(*args, **kwargs)

everywhere("import")
atexit.register(everywhere, "exit")
net = Net
"""


@pytest.mark.parametrize("fmt", ["json", "csv"])
@pytest.mark.parametrize("by_sheet", [False, True])
def test_stdout_has_nothing_that_a_network_prints(fer_bench, tmp_path, fmt, by_sheet):
    (tmp_path / "prints.py").write_text(PRINTS)
    name, options = "prints.py:net", ()
    if by_sheet:  # in the process of the command itself, whose end flushes the buffers of C
        (tmp_path / "net.toml").write_text('[net]\ntitle = "Prints"\ninput_shape = [1, 8, 8]\nnum_classes = 7\n')
        (tmp_path / "prints.py").rename(tmp_path / "net.py")
        name, options = "net", ("--sheets", ".")
    ran = fer_bench("count", name, "--input", "1x8x8", "--format", fmt, *options)
    assert ran.returncode == 0, ran.stderr
    if fmt == "json":
        (row,) = json.loads(ran.stdout)
    else:
        (row,) = csv.DictReader(io.StringIO(ran.stdout))
    assert int(row["macs"]) == 4 * 7
    assert " at " not in ran.stdout
    for how in ("written", "printed", "a child"):
        for where in ("import", "build", "pass"):
            assert f"{how} at {where}" in ran.stderr


def test_stdout_of_a_run_has_nothing_that_a_network_prints(fer_bench, tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS)
    ran = fer_bench("run", "prints.py:net", "--metrics", "static", "--input", "1x8x8", "--debug")
    assert ran.returncode == 0, ran.stderr
    assert " at " not in ran.stdout
    assert "written at pass" in ran.stderr


def test_help_and_a_table_are_on_stdout_still(fer_bench):
    assert "Usage: fer-bench count" in fer_bench("count", "--help").stdout
    assert "mini_xception" in fer_bench("list").stdout


def test_a_program_that_calls_a_command_keeps_its_stdout(call, capsys):
    before = sys.stdout
    assert "mini_xception" in call("list").out
    print("ours")  # noqa: T201
    assert sys.stdout is before
    assert capsys.readouterr().out == "ours\n"
