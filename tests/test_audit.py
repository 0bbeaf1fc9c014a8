"""The audit's parts: what a printed number may stand for, what chance would do, arithmetic, shares, times."""

import dataclasses
import math
import random
from decimal import Decimal
from types import SimpleNamespace

import pytest

from fer_bench.auditing import claims_of, expressions, facts, hypotheses, judge_all
from fer_bench.auditing.chance import ALPHA, covered
from fer_bench.auditing.checks import arithmetic as derived
from fer_bench.auditing.checks import counts as recounted
from fer_bench.auditing.checks import facts_and_bounds, times
from fer_bench.auditing.evidence import Evidence, Recount, gather
from fer_bench.auditing.printed import Printed, read
from fer_bench.auditing.verdicts import Claim, Kind
from fer_bench.networks.registry import built_in, find
from fer_bench.networks.spec import Figure, ModelSpec, Paper, Source
from fer_bench.records import exchange
from fer_bench.records.errors import SheetError
from fer_bench.records.result import Measurement
from fer_bench.reporting.analysis import sweeps
from support.samples import RECOUNTS


@pytest.fixture(scope="module")
def evidence():
    return gather(exchange.read_file(RECOUNTS))


def number(printed, unit=""):
    found = read(printed, unit)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("printed", "unit", "value", "step"),
    [
        ("3.45", "M", 3_450_000, 10_000),
        ("58,423", "", 58423, 1),
        ("3.8 × 10^9", "", 3_800_000_000, 100_000_000),
        ("3.8", "× 10^9", 3_800_000_000, 100_000_000),
        ("seven", "", 7, 1),
        ("27th", "", 27, 1),
        ("0.425", "B", 425_000_000, 1_000_000),
        ("7.74", "ns", Decimal("7.74E-9"), Decimal("1E-11")),
        ("872.9", "kilobytes", 872_900, 100),
    ],
)
def test_a_printed_number_is_read_with_the_place_of_its_last_digit(printed, unit, value, step):
    found = number(printed, unit)
    assert (found.value, found.step) == (value, step)


@pytest.mark.parametrize("printed", ["tens of millions", "63% 5", "65±5", "32, 64, 128, 256", "nearly twice", ""])
def test_words_ranges_and_lists_are_no_number(printed):
    assert read(printed, "") is None


def test_an_unknown_unit_is_an_error_and_no_guess():
    with pytest.raises(SheetError, match="parsec"):
        read("1", "parsec")


@pytest.mark.parametrize(
    ("printed", "unit", "truth", "how"),
    [
        ("6.33", "B", 6_337_496_064, "cut"),  # paper 001: cut, as rounding gives 6.34
        ("58.16", "M", 58_158_151, "rounded"),  # the one cell of that table that is rounded
        ("3.45", "M", 3_452_519, "rounded"),
        ("58423", "", 58_423, "exact"),
        ("58423", "", 58_424, ""),
        ("6.33", "B", 6_340_000_000, ""),
        ("6.33", "B", 6_324_999_999, ""),
    ],
)
def test_a_number_is_printed_rounded_or_cut(printed, unit, truth, how):
    assert number(printed, unit).match(Decimal(truth)) == how


def test_zeros_at_the_end_of_a_whole_number_may_be_rounded_to():
    coarse = number("25500000").coarse
    assert coarse is not None
    assert coarse.match(Decimal(25_557_032)) == "cut"
    assert number("58423").coarse is None
    assert number("25.50", "M").coarse is None


def test_chance_is_the_share_of_all_figures_that_would_have_fitted():
    # 3,450,000 fits "3.45" alone, a hundredth of the 3.45; within a factor of two up and down lie log(4).
    one = covered(number("3.45", "M"), [Decimal(3_450_000)])
    assert one == pytest.approx(0.01 / 3.45 / math.log(4), rel=0.01)
    # 3,457,000 fits "3.45", cut, and "3.46", rounded: two hundredths.
    assert covered(number("3.45", "M"), [Decimal(3_457_000)]) == pytest.approx(2 * one, rel=0.01)
    # Numbers that lie apart add up, numbers on top of each other do not.
    apart = covered(number("3.45", "M"), [Decimal(3_450_000), Decimal(4_450_000)])
    assert apart == pytest.approx((1 + 3.45 / 4.45) * one, rel=0.01)
    assert covered(number("3.45", "M"), [Decimal(3_450_000), Decimal(3_450_001)]) == pytest.approx(one, rel=0.01)
    assert covered(number("3.45", "M"), [Decimal(345_000_000)]) == 0


@pytest.mark.parametrize("favoured", ["", "thop", "trainable"])
@pytest.mark.parametrize("spread", [2.0, math.sqrt(10)])
@pytest.mark.parametrize("digits", [2, 3, 4, 6])
@pytest.mark.parametrize(("quantity", "unit"), [("parameters", "M"), ("flops", "G"), ("file_size", "MB")])
def test_at_most_one_random_figure_in_twenty_gets_an_explanation(evidence, quantity, unit, digits, spread, favoured):
    rng = random.Random(f"{quantity} {digits} {spread}")
    explained = drawn = 0
    for network in evidence:
        spec = find(network.name)
        family = [o for o in evidence if o is not network and find(o.name).source.module == spec.source.module]
        tried = hypotheses.of(quantity, network, family)
        for _ in range(20):
            value = float(tried[0].value) * spread ** rng.uniform(-1, 1) / {"M": 1e6, "G": 1e9, "MB": 1e6}[unit]
            text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(value)))}f}"
            claim = Claim(Figure(quantity, text, unit, "random", "nowhere"), spec)
            verdict = recounted.judge(claim, number(text, unit), network, tried, favoured)
            told = (Kind.confirmed, Kind.convention, Kind.build, Kind.slip, Kind.unit)
            explained += verdict.kind in told
            drawn += 1
    # 540 figures: with a rate of exactly 5 % one run in a thousand draws more than 45.
    assert explained <= 0.05 * drawn + 3.1 * math.sqrt(0.05 * 0.95 * drawn)


@pytest.mark.parametrize(
    ("text", "value"),
    [("142.9 / 3.45", "41.4202898550"), ("100 * (1 - 3913318 / 24813574)", "84.2291239504"), ("-2 + 5", "3")],
)
def test_arithmetic_is_worked_out(text, value):
    assert float(expressions.evaluate(text).exact) == pytest.approx(float(value), rel=1e-9)


def test_only_an_order_is_compared():
    with pytest.raises(SheetError):
        expressions.holds("1 < 2 != 3")


def test_arithmetic_knows_what_rounding_leaves_open():
    found = expressions.evaluate("142.9 / 3.45")
    assert float(found.low) == pytest.approx(142.85 / 3.455)
    assert float(found.high) == pytest.approx(142.95 / 3.445)
    assert expressions.evaluate("3 * 5").low == 15


@pytest.mark.parametrize(("text", "truth"), [("1 <= 2 <= 3", True), ("3.5 * 200 <= 10 * 24", False), ("1 + 1", None)])
def test_comparisons_hold_or_do_not(text, truth):
    assert expressions.holds(text) is truth


@pytest.mark.parametrize("text", ["__import__('os')", "2 ** 9", "1 / 0", "x", "1 +", "'a'", "1 < 2", "(" * 300])
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(SheetError):
        expressions.evaluate(text)


def claim(quantity, printed, unit="", spec=None, **rest):
    return Claim(Figure(quantity, printed, unit, "p", rest.pop("where", "Table 1"), **rest), spec)


NET = ModelSpec("net", Source("zoo", "net", "family"), "Net", status="exact")


def recount(change="", classes=7, shape=(3, 224, 224), **given):
    parameters = {"trainable": 1_000_003, "frozen": 0, "buffers": 2_500, "tied": 0, "keras_total": 1_002_400}
    parameters |= {"parameter_bytes": 4_000_012, "state_dict_bytes": 4_010_012, "checkpoint_bytes": 12_010_036}
    extras = {"norm_elements": 9_000_000, "bias_elements": 7, "norm_parameters": 2_400, "bias_parameters": 7}
    about = {
        "macs": 300_000_000,
        "parameters": parameters | given.pop("parameters", {}),
        "extras": extras | {"weight_macs": 300_000_000},
        "operators": 150,
        "thop": {"macs": 317_777_000, "parameters": 1_000_003},
        "fvcore": 308_888_000,
        "layers": {"conv": 20, "conv_separable_once": 20, "conv_shortcut": 3, "pool": 2, "fc": 1},
        "head_parameters": 3_591,
    }
    return Recount(change, classes, shape, **{**about, **given})


def network(*others, **own):
    return Evidence("net", recount(**own), others)


def judged(quantity, printed, unit="", evidence=None, **rest):
    found = evidence or network()
    about = claim(quantity, printed, unit, NET, **rest)
    return recounted.judge(about, number(printed, unit), found, hypotheses.of(quantity, found))


@pytest.mark.parametrize(
    ("quantity", "printed", "unit", "kind", "said"),
    [
        ("parameters", "1,000,003", "", Kind.confirmed, "trainable parameters"),
        ("parameters", "1,002,400", "", Kind.convention, "Keras's total"),
        ("parameters", "1.0024", "M", Kind.convention, "Keras's total"),
        ("parameters", "10.00003", "M", Kind.slip, "a digit too many"),
        ("parameters", "2,000,006", "", Kind.slip, "twice"),
        ("parameters", "4.000012", "M", Kind.unit, "bytes, four a parameter"),
        ("parameters", "996,412", "", Kind.convention, "without the classifier"),
        ("parameters", "1,234,567", "", Kind.refuted, ""),
        ("parameters", "1", "M", Kind.undecidable, "trainable parameters"),
        ("flops", "600", "M", Kind.confirmed, "FLOPs"),
        ("flops", "300.0", "M", Kind.convention, "MACs"),
        ("flops", "317.8", "M", Kind.convention, "thop"),
        ("flops", "308.888", "M", Kind.convention, "fvcore"),
        ("flops", "1200.0", "M", Kind.slip, "four times"),
        ("flops", "0.3", "G", Kind.undecidable, "MACs"),
        ("macs", "300.0", "M", Kind.confirmed, "MACs"),
        ("macs", "600.0", "M", Kind.convention, "FLOPs"),
        ("file_size", "4.000", "MB", Kind.confirmed, "the weights"),
        ("file_size", "12.01", "MB", Kind.convention, "Adam"),
        ("file_size", "13.7", "MB", Kind.irreproducible, "container"),
        ("file_size", "0.4", "MB", Kind.refuted, "less than"),
        ("conv_layers", "20", "", Kind.confirmed, ""),
        ("fc_layers", "1", "", Kind.confirmed, ""),
        ("pooling_layers", "9", "", Kind.refuted, "2"),
    ],
)
def test_a_count_is_recognised_by_what_makes_it(quantity, printed, unit, kind, said):
    verdict = judged(quantity, printed, unit)
    assert verdict.kind is kind
    assert said in verdict.line


def test_a_keras_file_is_recognised_where_the_rest_of_a_public_one_was_measured():
    """233,692 bytes of weights and 455,612 of Adam, and 183,552 that the public file has beside them: 872,856."""
    counts = {"trainable": 56_951, "keras_total": 58_423, "parameter_bytes": 227_804}
    counts |= {"state_dict_bytes": 233_804, "checkpoint_bytes": 689_412}
    ours = Evidence("mini_xception", recount(parameters=counts), ())
    found = judged("file_size", "872.9", "kilobytes", ours)
    assert (found.kind, found.chance < ALPHA) == (Kind.confirmed, True)
    assert "weights and Adam's moments in a Keras file: 4 x 58,423 + 8 x 56,951 + 4 + 183,552" in found.line
    assert judged("file_size", "872.7", "kilobytes", ours).kind is Kind.irreproducible
    another = Evidence("net", recount(parameters=counts), ())
    assert judged("file_size", "872.9", "kilobytes", another).kind is Kind.irreproducible


def test_another_head_and_another_input_are_found():
    head = recount("1000 classes", 1000, parameters={"trainable": 2_281_003, "keras_total": 2_283_400})
    size = recount("96x96 input", 7, (3, 96, 96), macs=55_123_456, thop={"macs": 58_000_000, "parameters": 1_000_003})
    found = network(head, size)
    assert judged("parameters", "2.281", "M", found).line.startswith("1000 classes")
    assert judged("flops", "55.12", "M", found).line.startswith("96x96 input: MACs")
    assert {judged("parameters", "2.281", "M", found).kind, judged("flops", "55.12", "M", found).kind} == {Kind.build}


def test_a_role_under_two_names_is_counted_twice_and_by_thop_four_times():
    roles = {"downsample in Mask": {"modules": 20, "parameters": 51_470, "thop_macs": 9_000_000}}
    found = network(roles=roles)
    assert "20 modules `downsample in Mask` counted twice" in judged("parameters", "1,051,473", "", found).line
    assert "under two names" in judged("flops", "344.777", "M", found).line


def test_every_fit_is_listed_simplest_first_with_its_chance():
    near = recount("6 classes", 6, parameters={"trainable": 999_490, "keras_total": 1_001_900})
    verdict = judged("parameters", "1.00", "M", network(near))
    assert [fit.text for fit in verdict.fits][:2] == [
        "trainable parameters",
        "Keras's total, with the statistics of batch norms",
    ]
    assert [fit.chance for fit in verdict.fits] == sorted(fit.chance for fit in verdict.fits)


def test_a_long_table_is_judged_by_reading_each_figure_once(evidence, monkeypatch):
    calls = []
    of = recounted.Followed.of
    monkeypatch.setattr(recounted.Followed, "of", lambda *given: calls.append(given) or of(*given))
    spec = find("mini_xception")
    figures = [
        Figure(quantity, f"{number % 90 + 10}.{number}", "M", "mine", "table", row=f"row {number}", column=quantity)
        for number in range(60)
        for quantity in ("parameters", "flops")
    ]
    claims = [Claim(figure, spec, of_table=True) for figure in figures]
    watched = []
    verdicts = judge_all(
        claims, evidence, built_in().networks, claims[:70], lambda judged: watched.append(judged) or judged
    )
    assert [verdict.claim for verdict in verdicts] == claims[:70]
    assert watched == [claims[:70]]
    # Each figure once for its column and once for its row.
    assert len(calls) <= 2 * len(claims)


def test_a_build_that_may_not_be_the_papers_network_refutes_nothing():
    unsure = ModelSpec("net", Source("zoo", "net", "family"), "Net", status="stand-in")
    about = claim("parameters", "1,234,567", spec=unsure)
    found = network()
    verdict = recounted.judge(about, number("1,234,567"), found, hypotheses.of("parameters", found))
    assert verdict.kind is Kind.irreproducible


def test_a_column_that_follows_one_convention_decides_its_coarse_cells():
    sizes = (2_833_144_832, 6_268_803_072, 11_511_592_960, 4_093_539_446)
    column = []
    for macs in sizes:
        thop = macs * 102 // 100
        found = network(macs=macs, thop={"macs": thop, "parameters": 1})
        column.append((number(f"{thop / 1e9:.3f}", "G"), hypotheses.of("flops", found)))
    followed = [recounted.Followed.of(printed, tried) for printed, tried in column]
    assert recounted.Column(followed).convention() == "thop"
    assert recounted.Column(followed[:2]).convention() == ""
    # Each is judged by the others: the same as the column without it.
    for place in range(len(followed)):
        rest = followed[:place] + followed[place + 1 :]
        assert recounted.Column(followed).convention(place) == recounted.Column(rest).convention()
    # The number of ways to choose half of so many is beyond a float.
    assert recounted.Column(followed * 1000).convention() == "thop"
    coarse = network(macs=215_318_720, thop={"macs": 233_567_416, "parameters": 1}, fvcore=231_000_000)
    tried = hypotheses.of("flops", coarse)
    about = claim("flops", "0.23", "B", NET)
    alone = recounted.judge(about, number("0.23", "B"), coarse, tried)
    beside = recounted.judge(about, number("0.23", "B"), coarse, tried, "thop")
    assert alone.kind is Kind.undecidable
    assert (beside.kind, "column" in beside.line) == (Kind.convention, True)


@pytest.mark.parametrize(
    ("printed", "of", "kind", "said"),
    [
        ("91.04", 50, Kind.contradiction, "45 / 50 = 90.000 %, 46 / 50 = 92.000 %"),
        ("60.86", 69, Kind.possible, "42 / 69 = 60.870 %"),
        ("73.47", 3589, Kind.possible, "2637 / 3589"),
        ("67.00", 3589, Kind.contradiction, "2404 / 3589 = 66.982 %, 2405 / 3589 = 67.010 %"),
        ("67", 3589, Kind.undecidable, "so few digits"),
    ],
)
def test_a_percentage_is_a_share_of_whole_things_or_not(printed, of, kind, said):
    verdict = derived.by_share(claim("accuracy", printed, "%"), number(printed, "%"), {"these": of})
    assert verdict.kind is kind
    assert said in verdict.line


def test_an_impossible_share_names_what_it_could_be_a_share_of():
    verdict = derived.by_share(claim("share_of_models", "91.04", "%"), number("91.04", "%"), {"models": 50})
    assert "only a share of 67" in " ".join(verdict.remarks)  # 61 / 67: by hand, as in the audit of paper 000
    both = derived.by_share(claim("accuracy", "67.00", "%"), number("67.00", "%"), {"private": 3589, "both": 7178})
    assert both.kind is Kind.undecidable  # 4809 / 7178 is 66.996 %


def test_without_the_size_of_the_test_set_most_percentages_are_possible():
    few = derived.by_any_share(claim("accuracy", "87.71", "%"), number("87.71", "%"), 4900)
    assert few is not None
    possible = sum(
        any(Decimal("87.705") <= Decimal(100 * k) / n < Decimal("87.72") for k in range(n + 1)) for n in range(2, 301)
    )
    assert few.kind is Kind.undecidable
    assert few.chance is not None
    assert few.chance >= possible / 4899
    assert derived.by_any_share(claim("accuracy", "87.7", "%"), number("87.7", "%"), None) is not None
    assert derived.by_any_share(claim("accuracy", "87.71", "%"), number("87.71", "%"), None) is None


@pytest.mark.parametrize(
    ("quantity", "printed", "arithmetic", "kind"),
    [
        ("parameter_ratio", "41", "142.9 / 3.45", Kind.confirmed),
        ("parameter_ratio", "6.17", "24813574 / 3913318", Kind.contradiction),
        ("parameter_reduction", "84.22", "100 * (1 - 3913318 / 24813574)", Kind.confirmed),  # cut
        ("accuracy_gain", "0.54", "57.51 - 56.47", Kind.contradiction),
        ("accuracy_gain", "3", "70.91 - 67.00", Kind.undecidable),  # 3.91: cut, and too coarse to tell
        ("image_count", "33,572", "4953 + 547 + 5121 + 8989 + 6077 + 4002 + 6198", Kind.contradiction),
        ("parameter_ratio", "41.46", "142.9 / 3.45", Kind.possible),  # 142.94 / 3.447 would print so
    ],
)
def test_arithmetic_on_printed_figures_confirms_or_contradicts(quantity, printed, arithmetic, kind):
    about = claim(quantity, printed, arithmetic=arithmetic)
    assert derived.by_arithmetic(about, number(printed), [about]).kind is kind


def test_a_ratio_without_arithmetic_is_looked_for_among_the_papers_figures():
    paper = [claim("parameters", "142.9", "M", subject="big"), claim("parameters", "3.45", "M", subject="small")]
    right, wrong = (claim("parameter_ratio", printed, "times") for printed in ("41.4", "55.3"))
    assert derived.by_pairs(right, number("41.4"), [*paper, right]).kind is Kind.confirmed
    assert derived.by_pairs(wrong, number("55.3"), [*paper, wrong]).kind is Kind.irreproducible  # of others, perhaps
    assert derived.by_pairs(wrong, number("55.3"), [wrong]) is None


GPU = "one RTX 3090"


@pytest.mark.parametrize(
    ("printed", "unit", "convention", "kind", "said"),
    [
        # 2 x 300 M / 7.74 ns is 77.5 PFLOP/s; the card's most, in any precision, is 0.142.
        ("7.74", "ns", GPU, Kind.unit, "546 times the peak of RTX 3090"),
        ("7.74", "ms", GPU, Kind.possible, "below the peak"),
        # 48 x 600 M / 0.1 ms is 288 TFLOP/s.
        ("0.1", "ms", f"batch 48 on {GPU}", Kind.contradiction, "not the stated batch of 48"),
        ("7.74", "ns", "", Kind.unit, "any one device"),
    ],
)
def test_no_device_does_more_than_its_peak(printed, unit, convention, kind, said):
    about = claim("latency", printed, unit, NET, convention=convention)
    verdict = times.by_rate(about, number(printed, unit), network(), [])
    assert verdict.kind is kind
    assert said in verdict.line


def test_in_another_unit_the_stated_batch_is_asked_after_too():
    heavy = network(macs=21_903_232_512)
    about = claim("latency", "17.63", "ns", NET, convention=f"batch 48 on {GPU}")
    verdict = times.by_rate(about, number("17.63", "ns"), heavy, [])
    # By hand: 48 x 2 x 21.903 G / 17.63 ms = 119.3 TFLOP/s, above 2 x 10496 x 1.695 GHz = 35.6.
    assert "119 TFLOP/s" in verdict.remarks[0]
    assert "35.6 TFLOP/s" in verdict.remarks[0]


def test_times_that_rank_as_the_operators_do_are_reported():
    rows = [(0.010, 50, 9e9), (0.020, 100, 1e9), (0.030, 150, 5e9), (0.040, 200, 2e9), (0.050, 250, 3e9)]
    column = [(time, network(operators=operators, macs=int(macs))) for time, operators, macs in rows]
    assert "operators started (rank correlation 1.00)" in times.what_times_follow(column)
    assert times.what_times_follow([(time, network(operators=5, macs=int(time * 1e9))) for time, _, _ in rows]) == ""
    assert times.what_times_follow(column[:4]) == ""


MATRIX = (("0.62", "0.38"), ("0.30", "0.80"))


def test_rows_of_a_confusion_matrix_add_up_to_one_or_are_reported():
    about = Claim(Figure("confusion_matrix", MATRIX, "", "p", "Table 1", rows=("a", "b"), columns=("a", "b")))
    verdict = derived.matrix_rows(about)
    assert verdict.kind is Kind.contradiction
    assert "b 1.10" in verdict.line
    assert "a 1" not in verdict.line


def test_facts_of_data_sets_are_consistent():
    fer = facts.dataset("FER2013")
    assert fer is not None
    parts = fer["images"]
    assert parts["training"] + parts["public test"] + parts["private test"] == parts["all"] == 35887
    for split in ("all", "training"):
        assert sum(size for name, size in parts.items() if name.startswith(f"{split}, ")) == parts[split]
    for name, counts in fer["test_classes"].items():
        assert sum(counts.values()) == parts[name]
    both = {name: sum(fer["test_classes"][split][name] for split in fer["test_classes"]) for name in counts}
    assert all(parts[f"all, {name}"] == parts[f"training, {name}"] + size for name, size in both.items())


def test_a_card_is_found_by_its_name_and_the_longest_wins():
    assert facts.card("NVIDIA GeForce RTX 3090").float32_flops == pytest.approx(35.58e12, rel=1e-3)
    assert facts.card("mean of runs", "an RTX2080Ti").name == "RTX 2080 Ti"
    assert facts.card("some accelerator") is None


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        ((16.67, 18.97, 1.38), Kind.possible),
        ((50.0, 18.97, 1.38), Kind.contradiction),
        ((9.0, 90.0, 20.0), Kind.contradiction),
    ],
)
def test_a_process_takes_no_more_than_the_machine(shares, kind):
    quantities = ("cpu_percent", "user_percent", "system_percent")
    row = {q: claim(q, f"{share}", "%", row="net") for q, share in zip(quantities, shares, strict=True)}
    about = row["cpu_percent"]
    assert facts_and_bounds.by_occupancy(about, number(str(shares[0]), "%"), row, None, "").kind is kind


def test_memory_holds_at_least_the_weights():
    about = claim("memory_percent", "3.1", "%", NET)
    assert facts_and_bounds.by_occupancy(about, number("3.1", "%"), {}, 233_692, "16G").kind is Kind.possible
    assert facts_and_bounds.by_occupancy(about, number("3.1", "%"), {}, 600_000_000, "16G").kind is Kind.contradiction
    assert facts_and_bounds.by_occupancy(about, number("3.1", "%"), {}, 233_692, "").kind is Kind.out_of_scope


def test_a_loss_is_at_least_what_the_errors_cost():
    accuracy = claim("accuracy", "57.48", "%")
    assert facts_and_bounds.by_loss(claim("validation_loss", "2.10"), number("2.10"), accuracy).kind is Kind.possible
    # 42.52 % of errors at ln 2 each is 0.295.
    assert (
        facts_and_bounds.by_loss(claim("validation_loss", "0.20"), number("0.20"), accuracy).kind is Kind.contradiction
    )


def test_a_shape_is_looked_for_among_the_networks_maps():
    own = network(shapes=((32, 56, 56), (64, 28, 28), (160, 14, 14), (256, 7, 7)))
    other = Evidence("wide", recount(shapes=((32, 56, 56), (64, 28, 28), (128, 14, 14), (256, 7, 7))), ())

    def verdict(printed):
        return facts_and_bounds.by_shape(claim("output_size", printed, spec=NET), own, [other])

    assert verdict("32 × 56 × 56").kind is Kind.confirmed
    assert verdict("28 × 28").kind is Kind.confirmed
    wrong = verdict("128 × 14 × 14")
    assert (wrong.kind, wrong.ours) == (Kind.refuted, "160x14x14")
    assert "wide has one" in wrong.remarks[0]
    assert verdict("32, 64, 128, 256").kind is Kind.refuted
    assert verdict("32, 64, 160, 256").kind is Kind.confirmed
    assert verdict("56, 28, 14, 7").kind is Kind.confirmed
    assert verdict("large") is None


def test_a_build_made_to_fit_confirms_nothing(evidence):
    found = {v.claim.figure.quantity: v for v in verdicts_of(["rasn"], evidence)}
    assert found["parameters"].kind is Kind.possible
    assert "made to fit" in " ".join(found["parameters"].remarks)


def sheets(networks=(), papers=()):
    """A registry of a few of the sheets."""
    by_name = {spec.name: spec for spec in networks}
    return SimpleNamespace(networks=by_name, papers={paper.id: paper for paper in papers}, find=find)


def verdicts_of(names, evidence):
    return judge_all(claims_of(sheets(map(find, names))), evidence, built_in().networks)


def test_wrong_arithmetic_in_a_sheet_is_reported_with_its_place():
    about = Claim(Figure("parameter_ratio", "2", "", "p", "section 9", subject="net", arithmetic="import os"))
    with pytest.raises(SheetError, match=r"net, parameter_ratio '2' of section 9"):
        judge_all([about], [], {})


def test_a_user_s_paper_without_any_network_is_judged_as_far_as_it_goes():
    figures = (
        Figure("image_count", "33,572", "", "mine", "section 1", subject="FER2013", dataset="FER2013"),
        Figure("claim", "state of the art", "", "mine", "abstract", subject="ours"),
        Figure("recipe", "0.1", "", "mine", "Table 1", subject="learning rate"),
    )
    found = judge_all(claims_of(sheets(papers=[Paper("mine", "My paper", figures=figures)])), [], {})
    assert [verdict.kind for verdict in found] == [Kind.refuted, Kind.statement, Kind.out_of_scope]


def trend(make_result, printed, totals, network="resnet50_patch_attn", over="cut"):
    """Judge what is said of as many variants as have totals."""
    spec = find(network)
    results = [
        dataclasses.replace(
            make_result(network, settings=(f"cut={cut}",)),
            measurements=(Measurement("parameters.keras_total", "count", (total,)),),
        )
        for cut, total in zip(spec.variants["cut"], totals, strict=False)
    ]
    tried = sweeps.series(results[::-1], built_in().networks)  # in whatever order they were counted
    figure = Figure("claim", printed, "", "000", "section 4", networks=(network,), over=over)
    (found,) = judge_all([Claim(figure, spec, (spec,))], [], {}, tried=tried)
    return found


def test_a_trend_holds_at_every_step_or_is_refuted_by_those_that_go_otherwise(make_result):
    rises = list(range(1000, 1050))
    assert trend(make_result, "constant upward trend", rises).kind is Kind.confirmed
    falls = [*rises[:4], 5, *rises[5:]]
    found = trend(make_result, "Upward", falls)
    cut = find("resnet50_patch_attn").variants["cut"][4]
    assert (found.kind, found.line) == (Kind.refuted, f"48 of 49 steps go up, 1 goes down (to {cut})")
    assert trend(make_result, "downward", rises[::-1]).kind is Kind.confirmed
    level = trend(make_result, "downward", [7] * 50)
    assert level.line.startswith("0 of 49 steps go down, 49 are level (to pool1_pool, ")
    assert level.line.endswith(" and 41 more)")


def test_a_trend_of_variants_of_which_some_are_not_counted_is_not_judged(make_result):
    assert trend(make_result, "upward", range(49)).kind is Kind.out_of_scope
    with pytest.raises(SheetError, match="it does not say one of upward, downward"):
        trend(make_result, "a trend", range(50))


def test_a_printed_zero_divides_nothing():
    assert judged("fc_layers", "0", "", network(layers=dict.fromkeys(recount().layers, 0))).kind is Kind.confirmed
    assert covered(Printed(Decimal(0), Decimal(1)), [Decimal(1)]) == 1.0
