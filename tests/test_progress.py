"""Progress off a terminal: plain lines on stderr, a line a network."""

import io

from fer_bench.measuring.progress import Display, counted
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement


def show(results):
    with Display(len(results)) as display:
        for result in results:
            display.begin(Task(registry.find(result.subject.name), QUICK))
            display.stage("latency")
            display.done(Task(registry.find(result.subject.name), QUICK), result)


def test_each_network_gets_one_plain_line_on_stderr(make_result, capsys):
    show([make_result(), make_result("a.b:[red]b", Measurement("memory", "", failure="\x1b[1mboom"))])
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("[1/2] mini_xception: MACs: 2.00 M, Latency (ms): 10.0, Runs: 1 x 5, Took (s): ")
    assert first.endswith(", 1 s left")
    assert second.startswith("[2/2] a.b:[red]b: ")
    assert second.endswith(" failed: \N{REPLACEMENT CHARACTER}[1mboom")


def test_a_terminal_sees_the_table_grow_and_the_bar(make_result, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    show([make_result(), make_result("a.b:[red]b")])
    text = shown.getvalue()
    assert "Measured so far" in text
    assert "a.b:[red]b" in text
    assert "2/2" in text


def test_a_terminal_sees_how_many_are_done_and_nobody_else_does(monkeypatch, capsys):
    assert list(counted(["a", "b", "c"], "judging")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    assert list(counted(["a", "b", "c"], "judging")) == ["a", "b", "c"]
    assert "judging" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_what_is_measured_already_is_not_waited_for(make_result, capsys):
    with Display(3) as display:
        display.skip(2)
        display.begin(Task(registry.find("mini_xception"), QUICK))
        display.done(Task(registry.find("mini_xception"), QUICK), make_result())
    assert capsys.readouterr().err.startswith("[3/3] mini_xception")
