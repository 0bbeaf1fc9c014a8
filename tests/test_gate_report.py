"""What a gate's report looks like to a reader, to a pull request, to readers of JUnit XML and to a program."""

import dataclasses
import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from fer_bench.gating.pairs import Pair
from fer_bench.gating.report import as_json, as_junit, as_markdown, as_text
from fer_bench.gating.request import Report
from fer_bench.gating.timing import Comparison
from fer_bench.gating.verdicts import INCONCLUSIVE, Effect, Outcome, Verdict
from fer_bench.records.plan import GATE
from support.samples import ENVIRONMENT

SLOWER = Effect(estimate=0.0512, low=0.0301, high=0.0722, level=0.9985, pairs=12, check=0.048)
HOSTILE = "a|b`c`\n# <script>alert(1)</script> **x** [y](http://z) @root \x1b[31m\x00\udc80"


def verdict(network="resnet50", metric="counts", outcome=Outcome.same, reason="", **more):
    return Verdict(network, metric, outcome, reason, **more)


def report(*verdicts, **more):
    return Report("main (1a2b3c4)", "the working tree", verdicts, **more)


def zoo(number):
    return [verdict(f"net{place:02}") for place in range(number)]


def drawn(markdown):
    """Draw Markdown as GitHub does, and give it as HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


def rows(markdown):
    """Give the cells of the drawn table, the heading aside."""
    body = drawn(markdown).partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        ["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(f"<body>{body}</body>").iter("tr")
    ]


# A terminal


def test_a_measured_verdict_is_one_line_with_effect_interval_pairs_and_check():
    text = as_text(report(verdict("mobilenetv3_large", "latency", Outcome.worse, "above half of 5 %", effect=SLOWER)))
    assert (
        "mobilenetv3_large  latency  worse  +5.1 % [+3.0, +7.2]  12 pairs  (mean +4.8 %)\n    above half of 5 %\n"
    ) in text


@pytest.mark.parametrize(
    ("effect", "written"),
    [
        (Effect(-0.0004, -0.021, 0.019, 0.99, 6, 0.0), "+0.0 % [-2.1, +1.9]  6 pairs  (mean +0.0 %)"),
        (Effect(-0.1, -0.12, -0.08, 0.99, 6, -0.1), "-10.0 % [-12.0, -8.0]"),
        (Effect(0.00211, 0.00191, 0.00231, 0.99, 60, 0.002), "+0.21 % [+0.19, +0.23]"),  # a tenth would hide it
        (Effect(1.5, 1.5, 1.5, 0.99, 6, 1.5), "+150.0 % [+150.0, +150.0]"),
    ],
)
def test_a_change_has_its_sign_and_the_digits_of_its_interval(effect, written):
    assert written in as_text(report(verdict(effect=effect)))


def test_lines_are_aligned_and_reasons_stand_beneath():
    text = as_text(
        report(
            verdict("a", "counts", Outcome.worse, "MACs grew", details=("features.7: MACs +12 %",)),
            verdict("much_longer", "latency", Outcome.changed, "layers", accepted="more accurate"),
        )
    )
    first, detail, second, accepted = text.splitlines()[3:7]
    assert first.index("counts") == second.index("latency")
    assert first.index("MACs grew") == second.index("layers")
    assert detail == "    features.7: MACs +12 %"
    assert "changed (accepted)" in second
    assert accepted == "    accepted: more accurate"


def test_many_networks_of_equal_counts_are_one_line_so_that_a_change_stands_out():
    text = as_text(report(*zoo(34), verdict("odd", outcome=Outcome.worse, reason="MACs grew")))
    assert "34 networks  counts  same\n" in text
    assert "net00" not in text
    assert "35 verdicts: 1 worse, 34 same" in text


def test_few_equal_networks_and_those_with_something_to_say_are_reported_one_by_one():
    assert all(name in as_text(report(*zoo(3))) for name in ("net00", "net01", "net02"))
    text = as_text(report(*zoo(5), verdict("noted", details=("MACs are a lower bound",))))
    assert "noted" in text
    assert "5 networks" in text


def test_many_that_were_not_measured_are_one_line_for_each_reason():
    equal = [verdict(f"net{place}", "latency", reason="not measured: equal code") for place in range(4)]
    foreign = [verdict(f"lib{place}", "latency", reason="not measured: a library's") for place in range(2)]
    lines = as_text(report(*equal, *foreign)).splitlines()
    assert "4 networks  latency  same  not measured: equal code" in lines
    assert sum(line.startswith("lib") for line in lines) == 2


def test_several_budgets_of_one_network_are_one_network():
    text = as_text(report(*(verdict(f"net{place % 4}", "budget") for place in range(8))))
    assert "4 networks  budget  same" in text


@pytest.mark.parametrize(
    ("words", "passes", "last"),
    [
        ([Outcome.same, Outcome.better], False, "passed: no network is worse (exit code 0)"),
        (
            [Outcome.worse, Outcome.error],
            False,
            "worse: a network is worse, or its counts changed: n0 (counts) (exit",
        ),
        (
            [Outcome.changed],
            False,
            "changed: a network is worse, or its counts changed: n0 (counts) (exit code 1)",
        ),
        ([Outcome.error], False, "error: something could not be judged: n0 (counts) (exit code 3)"),
        (
            [Outcome.inconclusive],
            False,
            "inconclusive: the measurements show neither a change nor its absence: n0 (counts) (exit co",
        ),
        ([Outcome.inconclusive], True, "passed: no network is worse (exit code 0)"),
        ([Outcome.incomparable], True, "incomparable: the two sides cannot be compared: n0 (counts) (exit code 5)"),
        ([], True, "error: nothing was judged (exit code 3)"),
    ],
)
def test_the_last_line_says_the_outcome_and_where_it_comes_from(words, passes, last):
    given = report(*(verdict(f"n{place}", outcome=word) for place, word in enumerate(words)))
    assert as_text(given, inconclusive_passes=passes).splitlines()[-1].startswith(last)
    word = last.partition(":")[0]
    assert as_markdown(given, inconclusive_passes=passes).startswith(f"## fer-bench gate: {word}\n")


def test_an_accepted_verdict_decides_nothing():
    text = as_text(report(verdict(outcome=Outcome.worse, accepted="meant")))
    assert text.splitlines()[-1] == "passed: no network is worse (exit code 0)"
    assert "1 worse (accepted)" in text


def test_where_it_was_measured_and_notes_are_reported():
    text = as_text(report(verdict(), notes=("the sources are equal",), environment=ENVIRONMENT, wall_s=44.25))
    assert "environment  cpu (Some CPU), 2 threads, PyTorch 2.9.0, Python 3.13.0, Linux, system\n" in text
    assert "note: the sources are equal\n1 verdict in 44.2 s: 1 same\n" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "their own input, their own classes, batch 1"),
        ({"input_size": 96, "num_classes": 8}, "96x96 images of their own channels, 8 classes, batch 1"),
        ({"input_size": 48, "channels": 1}, "48x48 images of 1 channel, their own classes, batch 1"),
    ],
)
def test_what_networks_were_judged_at_is_said(changes, told):
    plan = dataclasses.replace(GATE, **changes).to_dict()
    given = dataclasses.replace(report(verdict()), settings={"plan": plan})
    assert f"\njudged at    {told}\n" in as_text(given)
    assert f"Judged at {told}." in as_markdown(given)
    stored = dataclasses.replace(report(verdict()), settings={"plan": "those of the stored results"})
    assert "judged at" not in as_text(stored)


def test_nothing_of_a_users_reaches_the_terminal_as_a_command():
    hostile = verdict(HOSTILE, reason=HOSTILE, details=(HOSTILE,), accepted=HOSTILE)
    text = as_text(dataclasses.replace(report(hostile), base=HOSTILE, notes=(HOSTILE,)))
    assert all(character.isprintable() for character in text.replace("\n", ""))


# A pull request


def test_the_table_has_what_weighs_most_first():
    given = report(
        verdict("fine", "latency", effect=SLOWER),
        verdict("meant", outcome=Outcome.worse, accepted="yes"),
        verdict("vague", "latency", Outcome.inconclusive),
        verdict("slow", "latency", Outcome.worse, "above half of 5 %", effect=SLOWER),
        *zoo(4),
    )
    assert rows(as_markdown(given)) == [
        ["slow", "latency", "worse", "+5.1 % [+3.0, +7.2], 12 pairs", "above half of 5 %"],
        ["vague", "latency", "inconclusive", "", ""],
        ["meant", "counts", "worse (accepted)", "", ""],
        ["fine", "latency", "same", "+5.1 % [+3.0, +7.2], 12 pairs", ""],
        ["4 networks", "counts", "same", "", ""],
    ]


def test_what_users_write_is_text_in_a_pull_request():
    hostile = verdict(HOSTILE, "counts", Outcome.worse, HOSTILE, details=(HOSTILE, "```", "</details>"), accepted="")
    given = Report(HOSTILE, HOSTILE, (hostile,), {"command": HOSTILE, "name": HOSTILE}, (HOSTILE, "# big", "1. one"))
    markdown = as_markdown(given)
    html = drawn(markdown)
    shown = (
        "a|b`c` # <script>alert(1)</script> **x** [y](http://z) @\N{WORD JOINER}root \N{REPLACEMENT CHARACTER}[31m"
        + 2 * "\N{REPLACEMENT CHARACTER}"
    )
    (cells,) = rows(markdown)
    assert cells[0].rstrip() == cells[4].rstrip() == shown
    assert "<script" not in html
    assert "<strong>x" not in html
    assert "<a " not in html
    assert html.count("<h2>") == 1
    assert "<h1>" not in html
    assert "<ol" not in html
    assert html.count("<details") == html.count("\n</details>") == 2  # the verdict's, and the settings
    assert all(character.isprintable() for character in markdown.replace("\n", "").replace("\N{WORD JOINER}", ""))


def test_what_decides_is_open_and_the_rest_is_a_click_away():
    markdown = as_markdown(
        report(
            verdict("slow", outcome=Outcome.worse, details=("features.7: MACs +12 %",)),
            verdict("vague", outcome=Outcome.same, details=("a guard spoke",)),
            *zoo(4),
        )
    )
    assert "<details open><summary><code>slow, counts: worse</code></summary>\n\n```text\nfeatures.7" in markdown
    assert "<details><summary><code>vague, counts: same</code></summary>" in markdown
    assert "```text\nnet00, net01, net02, net03\n```" in markdown


def test_it_says_where_how_to_repeat_it_and_how_to_accept_it():
    settings = {"command": "fer-bench gate --against main", "min_effect": 0.05}
    worse = verdict("slow", "latency", Outcome.worse, effect=SLOWER)
    markdown = as_markdown(report(worse, settings=settings, environment=ENVIRONMENT, notes=("equal sources",)))
    assert "```sh\nfer-bench gate --against main\n```" in markdown
    assert "```text\nFer-Bench-Accept: slow: reason\n```" in markdown
    assert "--accept REASON" in markdown
    assert "min_effect: 0.05" in markdown
    assert "PyTorch 2.9.0" in markdown
    assert "interval at 99.85 %" in markdown
    assert "- equal sources\n" in markdown


def test_nothing_is_to_be_accepted_where_nothing_is_worse():
    assert "--accept" not in as_markdown(report(verdict(outcome=Outcome.inconclusive)))


def test_a_budget_is_nothing_to_accept_but_a_change_beside_it_is():
    over = verdict("large", "budget", Outcome.worse)
    assert "--accept" not in as_markdown(report(over))
    assert "Fer-Bench-Accept: slow: reason" in as_markdown(report(over, verdict("slow", "latency", Outcome.worse)))


def test_nothing_judged_has_no_table():
    markdown = as_markdown(report())
    assert "Nothing was judged" in markdown
    assert "| Network" not in markdown


@pytest.mark.parametrize("number", [1, 500, 5000])
def test_a_pull_request_takes_it_and_what_was_left_out_is_reported(number):
    long = "\N{GRINNING FACE}&" * 2000
    many = [
        verdict(f"{place}{long}", "latency", Outcome.worse, long, details=(long,) * 100, accepted="", effect=SLOWER)
        for place in range(number)
    ]
    settings = {"command": "x" * 3000, **{f"s{place}": long for place in range(100)}}
    markdown = as_markdown(Report(long, long, tuple(many), settings, (long,) * 300, ENVIRONMENT))
    assert len(markdown.encode()) < 60_000
    if number > 1:
        shown = markdown.count("| latency |")
        assert f"| … and {number - shown} more rows |" in markdown
        assert f"… and the details of {number - markdown.count('<details open')} more verdicts" in markdown
    assert f"- … and {300 - markdown.count('- ' + chr(0x1F600))} more notes" in markdown
    assert "… and 60 more lines" in markdown
    assert "```sh" not in markdown  # half a command is none
    assert drawn(markdown).count("<details") == drawn(markdown).count("</details>")


# Readers of JUnit XML

# Of Jenkins' schema, the strictest in use: what an element may have, and in which order.
ATTRIBUTES = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "skipped"}, {"testsuite"}),
    "testsuite": ({"name", "time", "tests", "failures", "errors", "skipped"}, {"properties", "testcase"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}


def parsed(given, **options):
    """Read JUnit XML, and hold it against what its readers need."""
    root = ElementTree.fromstring(as_junit(given, **options))
    for element in root.iter():
        attributes, children = ATTRIBUTES[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    for element in (root, *root.iter("testsuite")):
        cases = list(element.iter("testcase"))
        counted = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
        assert int(element.attrib["tests"]) == len(cases)
        assert [int(element.attrib[name]) for name in ("failures", "errors", "skipped")] == list(counted.values())
        assert float(element.attrib["time"]) >= 0
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(set(cases)) == len(cases)  # GitLab drops equal ones
    return root


def ending(root, network):
    (case,) = [case for case in root.iter("testcase") if case.attrib["name"] == network]
    (child,) = case
    return child


@pytest.mark.parametrize(
    ("word", "tag"),
    [
        (Outcome.same, "system-out"),
        (Outcome.better, "system-out"),
        (Outcome.worse, "failure"),
        (Outcome.changed, "failure"),
        (Outcome.inconclusive, "failure"),
        (Outcome.error, "error"),
        (Outcome.incomparable, "error"),
    ],
)
def test_each_word_ends_a_case_as_its_exit_code_ends_the_gate(word, tag):
    given = report(verdict("net", "latency", word, "why", details=("features.7",)))
    child = ending(parsed(given), "net")
    assert child.tag == tag
    assert child.text == f"{word}: why\nfeatures.7"
    assert (given.exit_code() == 0) == (tag == "system-out")


def test_inconclusive_is_skipped_where_it_passes_and_an_accepted_verdict_passes():
    given = report(
        verdict("vague", outcome=Outcome.inconclusive, reason="no interval"),
        verdict("meant", outcome=Outcome.worse, accepted="fast"),
    )
    root = parsed(given, inconclusive_passes=True)
    assert ending(root, "vague").tag == "skipped"
    assert ending(root, "vague").attrib["message"] == "inconclusive: no interval"
    assert ending(root, "meant").tag == "system-out"
    assert "accepted: fast" in ending(root, "meant").text


def test_a_metric_is_a_suite_with_settings_and_times():
    given = report(
        verdict("a", "counts"),
        verdict("a", "latency", effect=SLOWER),
        verdict("b", "latency", Outcome.worse, effect=SLOWER),
        settings={"min_effect": 0.05, "command": "fer-bench gate"},
        records=(Comparison(verdict("a", "latency"), wall_s=20.5), Comparison(verdict("b", "latency"))),
        wall_s=21.0,
    )
    root = parsed(given)
    assert [suite.attrib["name"] for suite in root] == ["counts", "latency"]
    assert [suite.attrib["time"] for suite in (root, *root)] == ["21.000", "0.000", "20.500"]
    properties = {each.attrib["name"]: each.attrib["value"] for each in root[1].iter("property")}
    assert properties == {
        "base": "main (1a2b3c4)",
        "candidate": "the working tree",
        "min_effect": "0.05",
        "command": "fer-bench gate",
    }
    assert {case.attrib["classname"] for case in root[1].iter("testcase")} == {"fer_bench.gate.latency"}
    assert ending(root[1], "b").attrib["message"] == "worse: +5.1 % [+3.0, +7.2]  12 pairs  (mean +4.8 %)"


def test_several_budgets_of_a_network_are_one_case_of_the_worst():
    root = parsed(
        report(
            verdict("net", "budget", reason="4.9 M parameters"),
            verdict("net", "budget", Outcome.worse, "0.6 GMACs"),
            verdict("net", "budget", Outcome.inconclusive, "20 ms"),
        )
    )
    child = ending(root, "net")
    assert (child.tag, child.attrib["type"]) == ("failure", "worse")
    assert child.text == "same: 4.9 M parameters\nworse: 0.6 GMACs\ninconclusive: 20 ms"


def test_nothing_judged_is_a_case_that_fails():
    root = parsed(report(notes=("no network matches",)))
    assert ending(root, "gate").tag == "error"
    assert ending(root, "gate").text == "no network matches"


def test_an_accepted_verdict_does_not_hide_an_inconclusive_one_of_the_same_case():
    given = report(
        verdict("net", outcome=Outcome.worse, accepted="fast"),
        verdict("net", outcome=Outcome.inconclusive, reason="no interval"),
    )
    child = ending(parsed(given), "net")
    assert (child.tag, child.attrib["type"]) == ("failure", "inconclusive")
    assert given.exit_code() == INCONCLUSIVE


def test_processes_that_are_no_pairs_are_reported_as_such_and_what_has_no_level_as_no_interval():
    stored = Effect(0.2, -0.1, 0.6, None, 1, 0.21, "process a side")
    given = report(verdict("net", "latency", Outcome.inconclusive, effect=stored))
    assert "+20.0 % [-10.0, +60.0]  1 process a side  (mean +21.0 %)" in as_text(given)
    assert "interval at" not in as_markdown(given)


def test_what_xml_cannot_hold_is_left_out():
    hostile = verdict(HOSTILE, HOSTILE, Outcome.worse, HOSTILE + "\ufffe", details=("]]>", HOSTILE))
    given = Report(HOSTILE, HOSTILE, (hostile,), {HOSTILE: HOSTILE})
    as_junit(given).encode()  # a lone surrogate cannot be
    (case,) = parsed(given).iter("testcase")
    assert case.attrib["name"].startswith("a|b`c` # <script>alert(1)</script>")
    assert case.attrib["name"].endswith("\N{REPLACEMENT CHARACTER}[31m" + 2 * "\N{REPLACEMENT CHARACTER}")
    assert "]]>" in case[0].text


# A program


def test_json_holds_the_whole_report_with_its_version():
    slower = verdict("net", "latency", Outcome.worse, "why", details=("d",), effect=SLOWER)
    pair = Pair(4, 0.05, (0.010, 0.0105), (0.011, 0.0115))
    given = report(
        slower,
        settings={"min_effect": 0.05},
        notes=("n",),
        environment=ENVIRONMENT,
        wall_s=3.5,
        records=(Comparison(slower, [pair], wall_s=2.5, failures=["base: killed"]),),
    )
    document = json.loads(as_json(given))
    assert document["fer_bench_gate"] == 1
    assert (document["outcome"], document["exit_code"]) == ("worse", 1)
    (said,) = document["verdicts"]
    effect = said.pop("effect")
    assert Effect(**effect) == SLOWER
    assert said == {
        "network": "net",
        "metric": "latency",
        "word": "worse",
        "said": "why",
        "details": ["d"],
        "accepted": "",
    }
    assert {name: document[name] for name in ("base", "candidate", "settings", "notes", "wall_s", "records")} == {
        "base": "main (1a2b3c4)",
        "candidate": "the working tree",
        "settings": {"min_effect": 0.05},
        "notes": ["n"],
        "wall_s": 3.5,
        "records": [
            {
                "network": "net",
                "metric": "latency",
                "verdict": "worse",
                "effect": effect,
                "wall_s": 2.5,
                "pairs": [
                    {"number": 4, "log_ratio": 0.05, "values": [0.010, 0.0105], "checks": [0.011, 0.0115]},
                ],
                "measured_anew": [],
                "failures": ["base: killed"],
            }
        ],
    }
    assert document["environment"]["packages"] == {"torch": "2.9.0"}


def test_json_takes_names_that_no_encoding_can_write():
    assert json.loads(as_json(report(verdict(HOSTILE))).encode("ascii"))["verdicts"][0]["network"] == HOSTILE


def test_json_reports_the_exit_code_that_was_asked_for():
    given = report(verdict(outcome=Outcome.inconclusive))
    assert json.loads(as_json(given))["exit_code"] == 4
    assert json.loads(as_json(given, inconclusive_passes=True))["exit_code"] == 0


def test_telling_loads_no_library_of_numbers():
    code = (
        "import sys; from fer_bench.gating.report import as_markdown; from fer_bench.gating.request import Report\n"
        "as_markdown(Report('a', 'b', ()))\n"
        "print([n for n in ('torch', 'pandas', 'numpy', 'matplotlib', 'rich', 'tabulate') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
