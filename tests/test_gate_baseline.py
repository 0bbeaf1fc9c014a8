"""The baseline: a file that a diff can show, that tells when it is not what was written, and why it was changed."""

import dataclasses
import json

import pytest

from fer_bench.gating import baseline as files
from fer_bench.gating.baseline import Accepted, Baseline, judge, read, with_accepted, write
from fer_bench.gating.counts import Snapshot
from fer_bench.gating.request import Report
from fer_bench.gating.verdicts import Outcome
from fer_bench.records.errors import BaselineError, CountingError, StoreError
from fer_bench.records.exchange import read_file
from fer_bench.records.exit_codes import CANNOT_JUDGE, INCOMPARABLE
from fer_bench.records.result import Measurement


@pytest.fixture
def result(make_result):
    """Make a record of a network with one convolution."""

    def make(name="net", macs=1000, failure="", **packages):
        modules = {"paths": ["", "conv"], "types": ["Net", "Conv2d"], "parameters": [0, 1000], "calls": [1, 1]}
        more = [
            Measurement("macs", "count", (macs,), details={"convention": "conv+matmul-v1", "batch": 1}),
            Measurement("parameters.frozen", "count", (0,)),
            Measurement("peak_activation_bytes", "bytes", (4096,)),
            Measurement("module_own_macs", "count", (0, macs), details=modules),
            Measurement("operator_calls", "count", (1,), details={"operators": ["aten::convolution"]}),
        ]
        if failure:
            more = [Measurement("static", "", failure=failure)]
        made = make_result(name, *more, without=("macs",))
        packages = {"fer-bench": "0.1.0", "torch": "2.9.0", "numpy": "2.0"} | packages
        return dataclasses.replace(made, environment=dataclasses.replace(made.environment, packages=packages))

    return make


@pytest.fixture
def accept():
    def accepted(baseline, *results, verdicts=(), **changes):
        given = {"reason": "a first one", "when": "2026-11-21"} | changes
        return with_accepted(baseline, {r.subject.name: r for r in results}, verdicts, **given)

    return accepted


@pytest.fixture
def written(tmp_path, result, accept):
    """Write a baseline of two networks."""
    path = tmp_path / "fer-bench.json"
    write(path, accept(Baseline(command="fer-bench gate"), result("b"), result("a", 2000)))
    return path


def test_what_was_written_is_read_and_the_same_content_gives_the_same_bytes(written, tmp_path):
    found = read(written)
    assert list(found.networks) == ["a", "b"]
    assert found.networks["a"].snapshot.macs == 2000
    assert found.networks["a"].by == "fer-bench 0.1.0, torch 2.9.0"
    assert found.command == "fer-bench gate"
    assert found.accepted[1] == Accepted("b", "a first one", "2026-11-21", "new: 1,000 parameters, 1,000 MACs")
    again = tmp_path / "again.json"
    write(again, dataclasses.replace(found, networks=dict(reversed(found.networks.items()))))
    assert again.read_bytes() == written.read_bytes()


def test_a_module_is_a_line(written):
    lines = written.read_text().splitlines()
    assert lines.count('    ["conv", "Conv2d", 1000, 1000, 1]') == 1
    assert lines.count('    ["conv", "Conv2d", 1000, 2000, 1]') == 1
    assert '    "macs": 2000,' in lines
    assert json.loads(written.read_text())["fer_bench_baseline"] == 1


def test_an_edit_by_hand_is_noticed_and_one_of_the_layout_is_none(written):
    text = written.read_text()
    written.write_text(json.dumps(json.loads(text)))
    assert read(written).networks["a"].snapshot.macs == 2000
    for old, new in (("2000", "3000"), ("a first one", "another"), ('"checksum": "sha256:', '"checksum": "sha256:0')):
        written.write_text(text.replace(old, new))
        with pytest.raises(BaselineError, match=r"edited by hand, or merged: .* --baseline .*fer-bench.json --accept"):
            read(written)


def test_who_takes_a_baseline_for_results_is_reported_so(tmp_path):
    path = tmp_path / "file.json"
    write(path, Baseline())
    with pytest.raises(StoreError, match=r"has counts and no results: .* --baseline FILE"):
        read_file(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "there is no baseline .* --accept REASON"),
        ("", "cut short or damaged"),
        ('{"fer_bench_baseline": 1, "netw', "cut short or damaged .* take it from git again"),
        ("<<<<<<< HEAD\n{}\n", "cut short or damaged"),
        ("\udcff", "cut short or damaged"),
        ("[" * 100_000, "cut short or damaged"),
        ("[]", "is no baseline of fer_bench"),
        ('{"fer_bench_export": 1, "runs": []}', "is no baseline of fer_bench: .* --against"),
        ('{"fer_bench_baseline": 2}', "of version 2, written by a later fer_bench, .* upgrade"),
        ('{"fer_bench_baseline": 0}', "of version 0, written by another fer_bench, .* --accept"),
        ('{"fer_bench_baseline": "1"}', "of version '1', written by another"),
    ],
)
def test_what_is_no_baseline_is_refused_with_the_cure(tmp_path, text, complaint):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BaselineError, match=complaint):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"networks": {"a": {}}},
        {"networks": []},
        {"networks": {"a": {"counted_with": "", "counts": {}}}},
        {"accepted": [{"who": "me"}]},
        {"accepted": 3},
    ],
)
def test_a_sound_checksum_of_something_else_is_refused_too(written, change):
    data = json.loads(written.read_text()) | change
    del data["checksum"]
    written.write_text(json.dumps(data | {"checksum": files._checksum(data)}))
    with pytest.raises(BaselineError, match="is not valid: "):
        read(written)


def test_a_folder_is_no_baseline(tmp_path):
    with pytest.raises(BaselineError, match=r"cannot read the baseline .*: Is a directory"):
        read(tmp_path)


def test_what_did_not_change_is_the_same(written, result):
    verdicts, notes = judge(read(written), {"a": result("a", 2000), "b": result("b")}, ["a", "b"])
    assert [(v.network, v.outcome) for v in verdicts] == [("a", Outcome.same), ("b", Outcome.same)]
    assert notes == ()


def test_a_change_is_judged_and_its_module_named(written, result):
    (verdict,), _ = judge(read(written), {"a": result("a", 2200)}, ["a"])
    assert (verdict.outcome, verdict.details) == (Outcome.worse, ("conv: MACs +10.0 % (2,000 -> 2,200)",))


def test_one_that_cannot_be_counted_is_an_error(written, result):
    (verdict,), _ = judge(read(written), {"a": result("a", failure="boom")}, ["a"])
    assert (verdict.outcome, verdict.reason) == (Outcome.error, "a cannot be counted: boom")


def test_one_that_is_gone_is_incomparable_and_a_twin_is_named(written, result):
    verdicts, notes = judge(read(written), {"b": result("b"), "c": result("c", 2000)}, ["a", "b", "c"])
    assert [v.outcome for v in verdicts] == [Outcome.incomparable, Outcome.same]
    assert "no longer a network; c counts the same: renamed?; if that is intended, --accept" in verdicts[0].reason
    assert Report("", "", tuple(verdicts)).exit_code() == INCOMPARABLE
    assert notes == ("not in the baseline, so there is nothing to compare with: c; add it with --accept REASON",)


def test_one_that_was_not_asked_for_is_not_judged(written, result):
    verdicts, _ = judge(read(written), {"b": result("b")}, ["b"])
    assert [v.network for v in verdicts] == ["b"]


def test_networks_that_are_new_are_noted_and_alone_are_no_pass(written, result):
    new = {name: result(name) for name in "cdefghi"}
    verdicts, (note,) = judge(read(written), new, list(new))
    assert verdicts == []
    assert Report("", "", tuple(verdicts)).exit_code() == CANNOT_JUDGE
    assert "nothing to compare with: c, d, e, f, g and 2 more; add" in note


def test_other_versions_are_noted_once(written, result):
    newer = {name: result(name, macs, torch="2.10.0") for name, macs in (("a", 2000), ("b", 1000))}
    verdicts, (note,) = judge(read(written), newer, newer)
    assert {v.outcome for v in verdicts} == {Outcome.same}
    assert note.startswith(
        "a, b: counted with fer-bench 0.1.0, torch 2.9.0, and now with fer-bench 0.1.0, torch 2.10.0; "
    )


def test_a_change_is_accepted_with_its_reason_and_then_the_same(written, result, accept):
    before, after = read(written), result("a", 2200)
    verdicts, _ = judge(before, {"a": after, "b": result("b")}, ["a", "b"])
    given = {"reason": " wider\nstem ", "when": "2026-11-22", "commit": "1a2b3c4"}
    changed = accept(before, after, result("b"), verdicts=verdicts, **given)
    assert changed.accepted[2:] == (
        Accepted("a", "wider stem", "2026-11-22", "worse: MACs 2,000 -> 2,200 (+10.0 %), parameters same", "1a2b3c4"),
    )
    write(written, changed)
    verdicts, _ = judge(read(written), {"a": after}, ["a"])
    assert [v.outcome for v in verdicts] == [Outcome.same]


def test_accepting_leaves_alone_what_was_not_judged_and_takes_out_what_is_gone(written, result, accept):
    before = read(written)
    verdicts, _ = judge(before, {}, ["b"])
    after = accept(before, verdicts=verdicts)
    assert list(after.networks) == ["a"]
    assert after.networks["a"] == before.networks["a"]
    assert after.accepted[-1] == Accepted("b", "a first one", "2026-11-21", "gone")


def test_accepting_others_leaves_one_that_cannot_be_counted_as_it_was(written, result, accept):
    before, changed = read(written), result("b", 1100)
    verdicts, _ = judge(before, {"a": result("a", failure="boom"), "b": changed}, ["a", "b"])
    after = accept(before, changed, verdicts=verdicts)
    assert after.networks["a"] == before.networks["a"]
    assert [(each.network, each.what[:5]) for each in after.accepted[2:]] == [("b", "worse")]


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_nothing_is_accepted_without_a_reason(written, result, accept, reason):
    with pytest.raises(BaselineError, match="--accept needs a reason"):
        accept(read(written), result("a"), reason=reason)


def test_what_cannot_be_counted_cannot_be_accepted(written, result, accept):
    with pytest.raises(CountingError, match="a cannot be counted: boom"):
        accept(read(written), result("a", failure="boom"))


def test_a_snapshot_of_a_record_is_what_the_file_gives_back(written, result):
    assert read(written).networks["b"].snapshot == Snapshot.of(result("b"))
