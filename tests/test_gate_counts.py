"""What a gate says of counts: exact, with the module named where a change arises."""

import dataclasses

import pytest

from fer_bench.gating import limits
from fer_bench.gating.counts import COUNTS, Snapshot, judge, judge_results
from fer_bench.gating.module_changes import MOST_LINES, differences
from fer_bench.gating.module_tree import Module
from fer_bench.gating.verdicts import Outcome
from fer_bench.measuring import runner
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.records import exit_codes
from fer_bench.records.errors import CountingError
from fer_bench.records.limits import Budget
from fer_bench.records.result import Measurement, Result

NORM = ("BatchNorm2d", 20, 0, 1)  # class, parameters, MACs, calls


def block(path, conv):
    return [(path, "Block", 0, 0, 1), (f"{path}.conv", *conv), (f"{path}.norm", *NORM)]


def network(*blocks):
    rows = [("", "Net", 0, 0, 1), ("features", "Sequential", 0, 0, 1), *(row for b in blocks for row in b)]
    return tuple(Module(*row) for row in (*rows, ("head", "Linear", 70, 63, 1)))


def told(modules, operators=None, **changes):
    """Make the snapshot that such modules have; no count in it but the sums."""
    given = {
        "macs": sum(m.macs for m in modules),
        "parameters.trainable": sum(m.parameters for m in modules),
        "parameters.frozen": 0,
        "state_dict_bytes": 4 * sum(m.parameters for m in modules),
        "peak_activation_bytes": 5000,
        "layers.conv": sum(m.kind == "Conv2d" for m in modules),
    }
    counts = given | changes.pop("counts", {})
    about = {"input_shape": (3, 8, 8), "num_classes": 7, "batch": 1, "convention": "conv+matmul-v1"}
    rest = about | {"uncounted": {}, "operators": operators or {"aten::convolution": 4}} | changes
    return Snapshot(counts={k: v for k, v in counts.items() if v is not None}, modules=modules, **rest)


def blocks(*sizes):
    return network(*(block(f"features.{n}", ("Conv2d", size, 10 * size, 1)) for n, size in enumerate(sizes)))


def test_the_same_counts_are_the_same_and_so_they_are_in_another_order_of_registration():
    before = told(blocks(1, 2, 3))
    after = dataclasses.replace(before, modules=before.modules[::-1])
    for other in (before, after):
        verdict = judge("net", before, other)
        assert (verdict.outcome, verdict.reason, verdict.details) == (Outcome.same, "all counts same", ())


def test_a_cost_that_grew_is_worse_and_its_module_is_named_with_numbers():
    before, after = told(blocks(100, 200, 300)), told(blocks(100, 250, 300))
    verdict = judge("net", before, after)
    assert verdict.outcome is Outcome.worse
    assert verdict.exit_code == exit_codes.FINDING
    # 100 + 200 + 300 and three norms of 20 and a head of 70; times ten and a head of 63 MACs
    assert verdict.reason == (
        "MACs 6,063 -> 6,563 (+8.25 %), parameters 730 -> 780 (+6.85 %), state-dict bytes 2,920 -> 3,120 (+6.85 %)"
    )
    assert verdict.details == ("features.1.conv: MACs +25.0 % (2,000 -> 2,500), parameters +25.0 % (200 -> 250)",)


def test_costs_that_only_fell_are_better_and_one_that_grew_beside_them_is_worse():
    before, after = told(blocks(100, 200)), told(blocks(100, 100))
    assert judge("net", before, after).outcome is Outcome.better
    dearer = told(blocks(100, 100), counts={"peak_activation_bytes": 5001})
    verdict = judge("net", before, dearer)
    assert verdict.outcome is Outcome.worse
    assert "peak activation bytes 5,000 -> 5,001 (+0.0200 %)" in verdict.reason


def test_a_cost_that_grew_by_less_than_any_share_is_reported_by_its_number():
    before = told(blocks(10**8))
    after = told(blocks(10**8), counts={"parameters.trainable": 10**8 + 20 + 70 + 1})
    assert judge("net", before, after).reason == "parameters 100,000,090 -> 100,000,091 (+1), MACs same"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"counts": {"layers.conv": 5}}, "convolutions 3 -> 5"),
        ({"operators": {"aten::convolution": 6, "aten::relu": 1}}, "operators: +2 aten::convolution, +1 aten::relu"),
        ({"operators": {"aten::relu_": 1}}, "operators: -4 aten::convolution, +1 aten::relu_"),
        (
            {"counts": {"parameters.trainable": 100, "parameters.frozen": 336}},  # 306 + 60 + 70 in all
            "trainable parameters 436 -> 100, frozen parameters 0 -> 336",
        ),
        ({"counts": {"parameters.tied": 3}}, None),  # which only one side tells
    ],
)
def test_the_same_costs_of_another_structure_have_changed(changes, said):
    before = told(blocks(101, 102, 103))
    verdict = judge("net", before, told(blocks(101, 102, 103), **changes))
    assert (verdict.outcome, verdict.details) == ((Outcome.changed, (said,)) if said else (Outcome.same, ()))


def test_many_operators_are_reported_by_their_number():
    operators = {f"aten::op{n}": 10 - n for n in range(9)}
    (line,) = judge("net", told(blocks(1), {"x": 1}), told(blocks(1), {"x": 1} | operators)).details
    assert line.startswith("operators: +10 aten::op0, +9 aten::op1, ")
    assert line.endswith(", +5 aten::op5, and 3 more")


@pytest.mark.parametrize("calls", [{"aten::fft": 1}, {"aten::fft": 3}])
def test_an_operator_without_a_formula_is_worse_since_macs_are_then_a_lower_bound(calls):
    before = told(blocks(1), uncounted={"aten::fft": 2} if calls["aten::fft"] == 3 else {})
    verdict = judge("net", before, told(blocks(1), uncounted=calls))
    assert verdict.outcome is Outcome.worse
    assert verdict.reason.startswith(f"operators without a formula: aten::fft ({calls['aten::fft']}); MACs are a lower")


def test_operators_without_a_formula_on_both_sides_are_reported_and_do_not_decide():
    uncounted = {"aten::fft": 2}
    verdict = judge("net", told(blocks(1), uncounted=uncounted), told(blocks(1), uncounted=uncounted))
    assert verdict.outcome is Outcome.same
    assert verdict.details == ("MACs are a lower bound: operators without a formula: aten::fft (2)",)
    fewer = judge("net", told(blocks(1), uncounted=uncounted), told(blocks(1)))
    assert fewer.outcome is Outcome.changed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_shape": (3, 16, 16)}, "the input is 3x8x8, and was 3x16x16"),
        ({"num_classes": 8}, "the number of classes is 7, and was 8"),
        ({"batch": 4}, "the batch counted is of 1, and was 4"),
        ({"convention": "other"}, "the MACs are by the convention conv+matmul-v1, and was other"),
    ],
)
def test_what_was_counted_otherwise_is_incomparable_whatever_the_counts(changes, said):
    verdict = judge("net", told(blocks(5), **changes), told(blocks(5)))
    assert verdict.outcome is Outcome.incomparable
    assert said.split(", and")[0] in verdict.reason


def test_a_cost_that_one_side_lacks_is_said_not_to_be_compared():
    verdict = judge("net", told(blocks(5), counts={"peak_activation_bytes": None}), told(blocks(5)))
    assert verdict.details == ("peak activation bytes not compared: only one side has them",)


def test_a_snapshot_goes_through_json():
    one = told(blocks(5, 6), uncounted={"b": 1, "a": 2})
    assert Snapshot.from_dict(one.to_dict()) == one
    bare = dataclasses.replace(one, operators=None, modules=None)
    assert Snapshot.from_dict(bare.to_dict()) == bare
    few = {name: value for name, value in one.counts.items() if name != "macs"}
    with pytest.raises(ValueError, match="its counts lack macs"):
        Snapshot.from_dict(one.to_dict() | {"counts": few})


# Modules


def test_a_module_more_is_new_and_one_less_is_gone():
    before = blocks(10, 20)
    after = (*before, Module("features.1.extra", "Conv2d", 36_864, 3_612_672, 1))
    assert differences(before, after) == ["features.1.extra: new Conv2d, 36,864 parameters, 3,612,672 MACs"]
    assert differences(after, before) == ["features.1.extra: gone (Conv2d, 36,864 parameters, 3,612,672 MACs)"]
    free = (*before, Module("features.1.act", "ReLU", 0, 0, 1))
    assert differences(before, free) == ["features.1.act: new ReLU"]


def test_a_new_part_is_reported_once_with_all_inside_it():
    after = blocks(10, 20)
    before = tuple(m for m in after if not m.path.startswith("features.1"))
    assert differences(before, after) == ["features.1: new Block of 3 modules, 40 parameters, 200 MACs"]


def test_one_inserted_into_a_sequence_moves_the_others_and_changes_none():
    before, after = blocks(10, 20, 30, 40), blocks(10, 15, 20, 30, 40)
    assert differences(before, after) == [
        "features.1: new Block of 3 modules, 35 parameters, 150 MACs",
        "features.1 to features.3: renamed features.2 to features.4",
    ]
    assert differences(after, before)[1] == "features.2 to features.4: renamed features.1 to features.3"


def test_one_inserted_and_one_changed_are_reported_apart():
    assert differences(blocks(10, 20, 30, 40), blocks(10, 15, 20, 30, 44)) == [
        "features.1: new Block of 3 modules, 35 parameters, 150 MACs",
        "features.4.conv: MACs +10.0 % (400 -> 440), parameters +10.0 % (40 -> 44)",
        "features.1 to features.3: renamed features.2 to features.4",
    ]


def test_a_part_with_another_name_is_renamed_though_something_in_it_changed_too():
    before = blocks(10, 20, 30)
    renamed = tuple(dataclasses.replace(m, path=m.path.replace("features", "body")) for m in before)
    assert differences(before, renamed) == ["features: renamed body"]
    changed = tuple(dataclasses.replace(m, macs=220) if m.path == "body.1.conv" else m for m in renamed)
    assert differences(before, changed) == [
        "body.1.conv: MACs +10.0 % (200 -> 220)",
        "features: renamed body",
    ]


def test_a_name_that_changed_in_every_block_is_one_line():
    before = blocks(10, 20, 30)
    after = tuple(dataclasses.replace(m, path=m.path.replace(".conv", ".conv1")) for m in before)
    assert differences(before, after) == [
        "conv: renamed conv1 in 3 modules, the first features.0.conv (now features.0.conv1)"
    ]


def test_a_network_that_was_wrapped_has_its_parts_renamed():
    before = blocks(10, 20)
    wrapped = tuple(dataclasses.replace(m, path=f"net.{m.path}" if m.path else "net") for m in before)
    after = (Module("", "Wrapper", 0, 0, 1), *wrapped)
    assert differences(before, after) == [
        "(network): Wrapper, was Net",
        "net: new Net",
        "features: renamed net.features",
        "head: renamed net.head",
    ]


def test_what_costs_nothing_is_not_taken_for_another_in_another_place():
    before = (*blocks(10, 20), Module("features.0.act", "ReLU", 0, 0, 1))
    after = (*blocks(10, 20), Module("act", "ReLU", 0, 0, 1))
    assert sorted(differences(before, after)) == ["act: new ReLU", "features.0.act: gone (ReLU)"]


def test_another_class_in_one_place_is_reported_with_its_numbers():
    before, after = blocks(10), (*blocks(10)[:-1], Module("head", "Conv2d", 70, 126, 2))
    assert differences(before, after) == ["head: Conv2d, was Linear, called 2 times, was once, MACs +100 % (63 -> 126)"]


def test_another_class_in_many_places_is_one_line():
    def activated(kind):
        return (*blocks(*range(10, 16)), *(Module(f"features.{n}.act", kind, 0, 0, 1) for n in range(6)))

    assert differences(activated("ReLU"), activated("SiLU")) == [
        "everywhere: SiLU, was ReLU (6 modules, the first features.0.act)"
    ]


def test_neighbours_that_all_changed_are_one_line_and_a_whole_part_is_reported_by_its_name():
    before = blocks(*[100] * 12)
    some = blocks(*[100] * 4, *[110] * 6, *[100] * 2)
    assert differences(before, some) == [
        # six blocks of 100 parameters and a norm of 20
        "features.4 to features.9: MACs +10.0 % (6,000 -> 6,600), parameters +8.33 % (720 -> 780) "
        "(6 modules, the first features.4.conv)"
    ]
    assert differences(before, blocks(*[110] * 12)) == [
        "features: MACs +10.0 % (12,000 -> 13,200), parameters +8.33 % (1,440 -> 1,560) "
        "(12 modules, the first features.0.conv)"
    ]


def test_a_sequence_that_grew_by_many_reports_them_together():
    assert differences(blocks(*range(10, 13)), blocks(*range(10, 18))) == [
        # 13 to 17 and five norms
        "features.3 to features.7: new, 175 parameters, 750 MACs (5 modules, the first features.3)"
    ]


def test_the_most_telling_come_first_and_the_rest_is_a_number():
    parts = [(f"part{n}", "Conv2d", 10, 100, 1) for n in range(20)]
    before = tuple(Module(*row) for row in [("", "Net", 0, 0, 1), *parts])
    after = tuple(dataclasses.replace(m, macs=m.macs + n) for n, m in enumerate(before))
    lines = differences(before, after)
    assert len(lines) == MOST_LINES + 1
    assert lines[0] == "part19: MACs +20.0 % (100 -> 120)"
    assert lines[-1] == "and 12 more"


# Records


@pytest.fixture(scope="module")
def starter():
    with Starter([registry.find("mobilenetv3_large")]) as starter:
        yield starter


VARIANTS = """
from torch import nn
from fer_bench import create_model

def base(num_classes=7):
    return create_model("mobilenetv3_large", num_classes=num_classes)

def wider(num_classes=7):
    network = base(num_classes)
    block = network.features[7].block
    old = block[1][0]
    block[1][0] = nn.Conv2d(old.in_channels, old.out_channels, 5, old.stride, 2, groups=old.groups, bias=False)
    return network

def inserted(num_classes=7):
    network = base(num_classes)
    parts = list(network.features)
    parts.insert(8, nn.Conv2d(80, 80, 3, padding=1, bias=False))
    network.features = nn.Sequential(*parts)
    return network

def raises(num_classes=7):
    raise RuntimeError("boom")
"""


@pytest.fixture
def counted(tmp_path, monkeypatch, starter):
    """Count one of the variants as a run does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "variants.py").write_text(VARIANTS)
    return lambda name, plan=COUNTS: runner.measure(Task(registry.find(name), plan), starter)


def test_the_module_of_a_real_network_is_named(counted):
    base = counted("mobilenetv3_large")
    assert judge_results("net", base, counted("variants.py:base")).outcome is Outcome.same
    wider = judge_results("net", base, counted("variants.py:wider"))
    (line,) = wider.details
    assert wider.outcome is Outcome.worse
    assert line.startswith("features.7.block.1.0: MACs +178 % (")  # a 5x5 kernel has 25 / 9 of a 3x3 one's
    inserted = judge_results("net", base, counted("variants.py:inserted"))
    assert inserted.details[:2] == (
        "features.8: new Conv2d, 57,600 parameters, 11,289,600 MACs",  # 80 * 80 * 9, at each of 14 * 14 places
        "features.8 to features.16: renamed features.9 to features.17",
    )
    assert "operators: +1 aten::convolution" in inserted.details


def test_all_that_a_record_counts_is_in_its_snapshot(counted):
    result = counted("mobilenetv3_large")
    found = Snapshot.of(result)
    assert sum(module.macs for module in found.modules) == found.macs == 215_318_720  # as measuring.md has it
    assert sum(module.parameters for module in found.modules) == found.parameters
    assert found.operators["aten::convolution"] == 62 == found.counts["layers.conv"]
    assert {m.path: m.kind for m in found.modules}["features.7.block.1.0"] == "Conv2d"
    assert Snapshot.of(Result.from_json(result.to_json())) == found


def test_a_record_of_the_upper_levels_alone_is_compared_by_these(counted):
    short = dataclasses.replace(COUNTS, metrics=("static",))
    old, new = counted("mobilenetv3_large", short), counted("variants.py:wider")
    verdict = judge_results("net", old, new)
    assert verdict.outcome is Outcome.worse
    assert [line.partition(":")[0] for line in verdict.details] == ["features.7"]
    assert judge_results("net", old, counted("variants.py:base")).outcome is Outcome.same
    assert judge_results("net", counted("variants.py:base", short), old).outcome is Outcome.same
    bare = dataclasses.replace(old, measurements=tuple(m for m in old.measurements if m.metric != "module_macs"))
    assert judge_results("net", bare, new).details == ()
    assert judge_results("net", bare, new).outcome is Outcome.worse


def test_what_cannot_be_counted_is_an_error_of_the_side_that_it_is_on(counted):
    good, bad = counted("variants.py:base"), counted("variants.py:raises")
    for pair, side in (((bad, good), "base"), ((good, bad), "candidate"), ((bad, bad), "base")):
        verdict = judge_results("net", *pair)
        assert verdict.outcome is Outcome.error
        assert verdict.reason.startswith(f"{side}: variants.py:raises cannot be counted: ")
        assert "boom" in verdict.reason


def test_a_record_without_counts_is_refused_with_the_cure(make_result):
    with pytest.raises(
        CountingError, match=r"does not contain macs, parameters\.frozen: measure it with --metrics static"
    ):
        Snapshot.of(make_result(without=("macs",)))


def test_a_failed_half_is_a_failure(make_result):
    frozen = Measurement("parameters.frozen", "count", (0,))
    assert Snapshot.of(make_result("n", frozen)).parameters == 1000
    with pytest.raises(CountingError, match="cannot be counted: killed"):
        Snapshot.of(make_result("n", frozen, Measurement("anatomy", "", failure="killed")))


def test_counts_that_depend_on_values_are_not_judged(make_result):
    def of(macs, stored=100, *, varies=True):
        details = {"convention": "conv+matmul-v1", "batch": 1, "decided_by": ["aten::nonzero"] if varies else []}
        more = (
            Measurement("macs", "count", (macs,), details=details),
            Measurement("parameters.trainable", "count", (stored,)),
            Measurement("parameters.frozen", "count", (0,)),
        )
        return make_result("a", *more, without=("macs", "parameters.trainable"))

    def judged(base, candidate):
        return judge_results("a", base, candidate)

    verdict = judged(of(100), of(900))
    assert (verdict.outcome, verdict.reason) == (Outcome.same, "what is stored same")
    assert "MACs, activations and layers not judged: they depend on values (aten::nonzero)" in verdict.details
    assert judged(of(100), of(900, varies=False)).outcome is Outcome.same  # one side is enough
    assert judged(of(100, varies=False), of(900, varies=False)).outcome is Outcome.worse
    assert judged(of(100), of(100, 101)).outcome is Outcome.worse  # what is stored depends on no image
    read = Snapshot.from_dict(Snapshot.of(of(100)).to_dict())
    assert read.decided_by == ("aten::nonzero",)


def test_a_budget_of_what_depends_on_values_is_an_error(make_result):
    details = {"convention": "conv+matmul-v1", "decided_by": ["aten::nonzero"]}
    more = [Measurement("macs", "count", (5,), details=details), Measurement("parameters.frozen", "count", (0,))]
    result = make_result("a", *more, without=("macs",))
    budget = Budget.of({"max_macs": "1 G", "max_params": "1 M"})
    verdicts = limits.judge("a", budget, Snapshot.of(result))
    by_limit = {verdict.reason.partition(":")[0]: verdict.outcome for verdict in verdicts}
    assert by_limit["max_macs"] is Outcome.error
    assert [verdict.outcome for verdict in verdicts].count(Outcome.same) == 1
