"""Budgets: limits as users write them, in sheets and on the command line, and what is held against them."""

import dataclasses
from decimal import Decimal

import pytest

from fer_bench.gating.counts import Snapshot
from fer_bench.gating.limits import judge, judge_measured
from fer_bench.gating.request import Findings, Request
from fer_bench.gating.verdicts import Outcome
from fer_bench.networks import sheets
from fer_bench.records import limits
from fer_bench.records.errors import FerBenchError, SheetError
from fer_bench.records.limits import NO_LIMITS, Budget
from fer_bench.records.stats import Interval

SHEET = '[net]\ntitle = "Net"\ninput_shape = [1, 48, 48]\nnum_classes = 7\nstatus = "exact"\n'
OTHER = SHEET.replace("[net]", "[other]")


@pytest.mark.parametrize(
    ("given", "kind", "value", "written"),
    [
        ("5 M", "parameters", 5_000_000, "5 M"),
        ("5M", "parameters", 5_000_000, "5 M"),
        (" 5.50 M ", "parameters", 5_500_000, "5.5 M"),
        (5_000_000, "parameters", 5_000_000, "5,000,000"),
        ("5,000,000", "parameters", 5_000_000, "5,000,000"),
        (5e6, "parameters", 5_000_000, "5,000,000"),
        ("0.5 G", "MACs", 500_000_000, "0.5 G"),
        ("0.5 GMACs", "MACs", 500_000_000, "0.5 GMACs"),
        ("20 ms", "seconds", Decimal("0.02"), "20 ms"),
        ("1.5 s", "seconds", Decimal("1.5"), "1.5 s"),
        ("300 us", "seconds", Decimal("0.0003"), "300 us"),
        ("64 MiB", "bytes", 64 * 2**20, "64 MiB"),
        ("20 MB", "bytes", 20_000_000, "20 MB"),
        ("20 kB", "bytes", 20_000, "20 kB"),
        (4096, "bytes", 4096, "4,096 B"),
    ],
)
def test_a_limit_is_read_exactly_and_written_as_it_was(given, kind, value, written):
    limit = limits.parse_limit(given, kind)
    assert (limit.value, str(limit)) == (value, written)


@pytest.mark.parametrize(
    ("given", "kind", "complaint"),
    [
        ("5 Q", "parameters", "unit 'Q' is unknown; parameters are written with one of k, M, G, T, such as '5 M'"),
        ("20 MiB", "parameters", "unit 'MiB' is unknown"),
        ("20", "seconds", "it has no unit; seconds are written with one of ns, us, µs, ms, s, min, such as '20 ms'"),
        (20, "seconds", "it has no unit"),
        ("1 GFLOPs", "MACs", "is in FLOPs: expected MACs, of which each is two FLOPs"),
        ("5 m", "parameters", "unit 'm' is unknown"),
        ("64 mib", "bytes", "unit 'mib' is unknown; bytes are written with one of B, kB, MB, GB, TB, KiB, MiB, GiB"),
        ("", "bytes", "'' is no limit: expected a number of bytes above 0, such as '64 MiB'"),
        ("M", "parameters", "is no limit"),
        ("five", "parameters", "is no limit"),
        ("-5 M", "parameters", "is no limit"),
        ("0", "parameters", "is no limit"),
        (0, "parameters", "is no limit"),
        (float("inf"), "MACs", "is no limit"),
        (float("nan"), "MACs", "is no limit"),
        (True, "parameters", "True is no limit"),
        (["5 M"], "parameters", "is no limit"),
        ("5 M extra", "parameters", "is no limit"),
    ],
)
def test_what_is_no_limit_is_refused_with_an_example(given, kind, complaint):
    with pytest.raises(FerBenchError) as caught:
        limits.parse_limit(given, kind)
    assert complaint in str(caught.value)


def sheet(tmp_path, text):
    path = tmp_path / "family.toml"
    path.write_text(text)
    return sheets.read_sheet(path)


def test_a_sheet_has_limits_for_a_network_and_for_all(tmp_path):
    limits = "[net.gate]\nmax_params = '5 M'\nmax_latency = '20 ms'\n[gate]\nmax_params = '9 M'\nmax_macs = '1 G'\n"
    found = sheet(tmp_path, SHEET + OTHER + limits)
    assert list(found) == ["net", "other"]
    of_net = {name: str(limit) for name, limit in found["net"].gate.set().items()}
    assert of_net == {"max_params": "5 M", "max_macs": "1 G", "max_latency": "20 ms"}
    assert {name: str(limit) for name, limit in found["other"].gate.set().items()} == {
        "max_params": "9 M",
        "max_macs": "1 G",
    }
    assert sheet(tmp_path, SHEET)["net"].gate == NO_LIMITS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[net.gate]\nmax_parameters = '5 M'\n",
            r"family.toml \[net.gate\]: unknown limits max_parameters; known: max_p",
        ),
        ("[net.gate]\nmax_params = '5 Q'\n", r"family.toml \[net.gate\]: max_params = '5 Q': unit 'Q' is unknown"),
        ("gate = '5 M'\n", r"\[net.gate\] is '5 M', expected a table of limits"),
        ("[gate]\nmax_latency = 20\n", r"family.toml \[gate\], the limits of all .*: max_latency = 20: it has no unit"),
        (SHEET.replace("[net]", "[gate]"), r"\[gate\], the limits of all networks of the sheet: unknown limits title"),
    ],
)
def test_wrong_limits_in_a_sheet_are_reported_with_their_place(tmp_path, text, complaint):
    with pytest.raises(SheetError, match=complaint):
        sheet(tmp_path, SHEET + text)


def test_limits_of_the_command_line_go_before_those_of_the_sheet():
    typed, sheets = Budget.of({"max_params": "1 M"}), Budget.of({"max_params": "5 M", "max_macs": "1 G"})
    both = typed.or_else(sheets)
    assert {name: limit.value for name, limit in both.set().items()} == {"max_params": 10**6, "max_macs": 10**9}
    assert NO_LIMITS.or_else(sheets) == sheets


def counted(**changes):
    counts = {
        "parameters.trainable": 5_000_000,
        "parameters.frozen": 480_000,
        "macs": 600_000_000,
        "state_dict_bytes": 21_920_000,
        "peak_activation_bytes": 8 * 2**20,
    }
    return Snapshot((3, 224, 224), 7, 1, "conv+matmul-v1", counts, {}, **changes)


@pytest.mark.parametrize(
    ("limits", "word", "said"),
    [
        ({"max_params": "5 M"}, Outcome.worse, "5.48 M parameters, 0.48 M over the budget of 5 M"),
        ({"max_params": "6 M"}, Outcome.same, "5.48 M parameters, 0.52 M under the budget of 6 M"),
        ({"max_params": 5_479_999}, Outcome.worse, "5,480,000 parameters, 1 over the budget of 5,479,999"),
        (
            {"max_params": "5.479999 M"},
            Outcome.worse,
            "5.480000 M parameters, 0.000001 M over the budget of 5.479999 M",
        ),
        ({"max_params": "5.48 M"}, Outcome.same, "5.48 M parameters, all of the budget"),
        ({"max_macs": "0.5 G"}, Outcome.worse, "0.600 G MACs, 0.100 G over the budget of 0.5 G"),
        ({"max_macs": "550 MMACs"}, Outcome.worse, "600 MMACs, 50 MMACs over the budget of 550 MMACs"),
        ({"max_activation": "10 MiB"}, Outcome.same, "8.00 MiB of activations, 2.00 MiB under the budget of 10 MiB"),
        ({"max_size": "20 MB"}, Outcome.worse, "21.9 MB of weights, 1.9 MB over the budget of 20 MB"),
    ],
)
def test_what_is_counted_is_held_against_a_limit(limits, word, said):
    (verdict,) = judge("net", Budget.of(limits), counted())
    assert (verdict.network, verdict.metric, verdict.outcome, verdict.reason) == ("net", "budget", word, said)


def test_each_limit_has_its_verdict_and_what_is_measured_has_none_here():
    limits = Budget.of({"max_params": "5 M", "max_macs": "1 G", "max_latency": "20 ms", "max_memory": "1 GiB"})
    assert [verdict.outcome for verdict in judge("net", limits, counted())] == [Outcome.worse, Outcome.same]
    assert judge("net", NO_LIMITS, counted()) == []


def test_macs_that_are_a_lower_bound_never_pass():
    bound = dataclasses.replace(counted(), uncounted={"aten::fft": 2})
    (below,) = judge("net", Budget.of({"max_macs": "1 G"}), bound)
    assert below.outcome is Outcome.error
    assert below.reason == (
        "at least 0.600 G MACs, without aten::fft, which have no formula, cannot be compared with the budget of 1 G"
    )
    (above,) = judge("net", Budget.of({"max_macs": "0.5 G"}), bound)
    assert above.outcome is Outcome.worse
    assert above.reason.startswith("at least 0.600 G MACs, 0.100 G over the budget of 0.5 G (without aten::fft")
    (parameters,) = judge("net", Budget.of({"max_params": "6 M"}), bound)
    assert parameters.outcome is Outcome.same


def test_what_was_not_counted_never_passes():
    short = {name: value for name, value in counted().counts.items() if name != "peak_activation_bytes"}
    (verdict,) = judge("net", Budget.of({"max_activation": "1 GiB"}), dataclasses.replace(counted(), counts=short))
    assert verdict.outcome is Outcome.error


@pytest.mark.parametrize(
    ("low", "high", "word", "said"),
    [
        (0.0182, 0.0189, Outcome.same, "latency [18.2, 18.9] ms, under the budget of 20 ms"),
        (0.0199, 0.0200, Outcome.same, "latency [19.90, 20.00] ms, under"),
        (0.0200, 0.0201, Outcome.inconclusive, "on both sides of the budget of 20 ms"),
        (0.0199, 0.0201, Outcome.inconclusive, "latency [19.90, 20.10] ms, on both sides of"),
        (0.0201, 0.0300, Outcome.worse, "over the budget of 20 ms"),
    ],
)
def test_a_latency_is_held_against_its_limit_with_its_interval(low, high, word, said):
    limit = Budget.of({"max_latency": "20 ms"}).max_latency
    verdict = judge_measured("net", "latency", limit, Interval(low, high, 0.95, 5))
    assert verdict.outcome is word
    assert said in verdict.reason


def test_without_an_interval_nothing_is_concluded():
    limit = Budget.of({"max_memory": "1 GiB"}).max_memory
    verdict = judge_measured("net", "memory", limit, None)
    assert verdict.outcome is Outcome.inconclusive
    assert verdict.reason.startswith("memory: no interval")
    measured = judge_measured("net", "memory", limit, Interval(2.0**29, 2.0**29, 0.95, 5))
    assert measured.reason == "memory [0.500, 0.500] GiB, under the budget of 1 GiB"


def test_a_limit_that_nothing_was_held_against_is_reported():
    findings = Findings(watcher=None)
    findings.note_unchecked("b", Budget.of({"max_latency": "20 ms"}), "see {metric}")
    findings.note_unchecked("a", Budget.of({"max_latency": "9 ms", "max_params": "1 M"}), "see {metric}")
    findings.note_unchecked(
        "c", Budget.of({"max_latency": "9 ms", "max_memory": "1 GiB"}), "ask {metric}", ("latency",)
    )
    assert findings.report("base", "candidate", Request()).notes == (
        "max_latency of a, b was not checked: see latency",
        "max_memory of c was not checked: ask memory",
    )
