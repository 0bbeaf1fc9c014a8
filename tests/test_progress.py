"""Progress off a terminal: plain lines on stderr, a line a network."""

from fer_bench.progress import Display
from fer_bench.records import Measurement


def test_each_network_gets_one_plain_line_on_stderr(make_result, capsys):
    with Display(2) as display:
        for result in (make_result("a"), make_result("[red]b", Measurement("memory", "", failure="\x1b[1mboom"))):
            display.begin(result.subject.name)
            display.stage("latency")
            display.done(result)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("[1/2] a: 2.00 M MACs, 10.0 ms, 5 runs (")
    assert second.startswith("[2/2] [red]b: failed:  [1mboom (")
