"""What figures show, from round numbers; and that what is drawn is that, for any name and always the same."""

import dataclasses
import itertools
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.text import Annotation

from fer_bench.networks.registry import built_in
from fer_bench.networks.spec import Conditions, Figure, ModelSpec, Paper, Source
from fer_bench.records.errors import StoreError
from fer_bench.records.exchange import read_file
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement
from fer_bench.reporting import figures
from fer_bench.reporting.analysis.builds import counted_builds
from fer_bench.reporting.figures.accuracy import accuracy, pareto
from fer_bench.reporting.figures.common import labels, numbered, of_one_setting
from fer_bench.reporting.figures.modules import divisions
from fer_bench.reporting.figures.plots import (
    Axis,
    Confusion,
    Confusions,
    Line,
    Pace,
    Point,
    Scatter,
    Second,
    Seconds,
)
from fer_bench.reporting.figures.speed import roofs, spreads, sweep
from fer_bench.reporting.render.plots.figure import draw, write_figures
from fer_bench.reporting.render.plots.labels import Box, Scene, place

HOSTILE = r"$x^2$ --><script>alert(1)</script> \alpha _&"
PAPERS = {"1": Paper("1", "One", authors="Ann Lee, Bo Ray", year=2020), "2": Paper("2", "Two", authors="Cy Day")}
ATTAINABLE = {"macs_per_s": 1e9, "copy_bytes_per_s": [[1000, 4e9], [1_000_000, 1e8]], "operator_s": 1e-6, "how": "told"}
QUICK_CPU = Path(__file__).parent.parent / "reports" / "quick-cpu"


def latencies(*processes):
    return [
        Measurement("latency_s", "s", values * 5 if len(values) == 1 else values, process=number)
        for number, values in enumerate(processes)
    ]


def with_plan(result, **changes):
    return dataclasses.replace(result, plan=dataclasses.replace(QUICK, **changes))


AS_MEASURED = Conditions((1, 48, 48), 7, "test", "accuracy", 1, "validation", "single")  # as make_result has it


def spec(name, *printed, unit="%", conditions=AS_MEASURED):
    """A network of a sheet, with accuracies as (printed, paper, data set)."""
    published = tuple(
        Figure("accuracy", digits, unit, paper, "Table 1", dataset=on, conditions=conditions)
        for digits, paper, on in printed
    )
    return ModelSpec(name, Source("zoo", name, name), name, published=published)


def zoo(*specs):
    return {one.name: one for one in specs}


@pytest.fixture
def costing(make_result):
    """Make a result of so many MACs."""

    def make(name, macs, *more, **subject):
        return make_result(name, Measurement("macs", "count", (macs,)), *more, without=("macs",), **subject)

    return make


@pytest.fixture
def roofed(make_result):
    """Make a result that attains 2e8 MAC/s: 2 million MACs and 500 kB in 10 ms, on a machine whose roofs are known."""

    def make(name="a", *more, **subject):
        operators = (
            Measurement("operator_macs", "count", (1_500_000, 500_000)),
            Measurement("operator_bytes", "bytes", (100_000, 400_000)),
        )
        result = make_result(name, *operators, *more, **subject)
        return dataclasses.replace(result, environment=dataclasses.replace(result.environment, attainable=ATTAINABLE))

    return make


def modular(make_result, macs, *modules, name="a", **subject):
    """A result with modules as (path, MACs)."""
    described = [{"path": path, "type": "Conv2d", "parameters": 3, "output_shape": [1, 2, 2]} for path, _ in modules]
    measured = Measurement("module_macs", "count", tuple(n for _, n in modules), details={"modules": described})
    return make_result(name, measured, Measurement("macs", "count", (macs,)), without=("macs",), **subject)


def shares(plot):
    (network,) = plot.networks
    return {part.path: pytest.approx(part.share) for part in network.parts}


def test_a_network_that_another_beats_in_cost_and_accuracy_is_not_on_the_front():
    places = [(1, 50), (2, 60), (3, 60), (3, 55), (4, 70), (4, 70), (1, 40)]
    assert pareto(places) == [True, True, False, False, True, True, False]


def test_accuracies_stand_against_our_costs_with_a_front_for_each_paper(costing):
    results = [
        costing("a", 100),
        costing("b", 200),
        costing("c", 400, status="stand-in", note="A guess."),
        costing("d", 1),
    ]
    known = zoo(
        spec("a", ("60.0", "1", "FER")),
        spec("b", ("55.0", "1", "FER"), ("90.0", "2", "FER")),
        spec("c", ("70.0", "1", "FER"), ("80.0", "1", "other")),
        spec("d", ("99.0", "1", "FER, CK+")),
    )
    plot = accuracy(results, "macs", known, PAPERS)
    assert plot.groups == ("1 (Lee et al., 2020)", "2 (Day)")
    assert [(p.label, p.group[0], p.x, p.y, p.hollow, p.named) for p in plot.points] == [
        ("a", "1", 100, 60, False, True),
        ("b", "1", 200, 55, False, False),
        ("c", "1", 400, 70, True, True),
        ("b", "2", 200, 90, False, True),
    ]
    (front,) = plot.lines  # a front of one network is no line
    assert (front.group, front.points, front.steps) == ("1 (Lee et al., 2020)", ((100, 60), (400, 70)), True)
    assert "Accuracies on FER are as published; none was measured here." in plot.caption
    assert plot.notes == ("1 network without a published accuracy on FER: not drawn.", "c: Stand-in: A guess.")


def built_otherwise(result, macs, shape, classes):
    """The result, which also counted another build."""
    build = {"input_shape": list(shape), "num_classes": classes, "counts": {"macs": macs}, "warnings": []}
    more = Measurement("published_builds", "count", (macs,), details={"builds": [build]})
    return dataclasses.replace(result, measurements=(*result.measurements, more))


def test_an_accuracy_stands_at_the_cost_of_its_own_build(costing):
    large = dataclasses.replace(AS_MEASURED, input_shape=(3, 224, 224), num_classes=8)
    known = zoo(spec("a", ("60", "1", "F"), conditions=large), spec("b", ("50", "1", "F")))
    plot = accuracy([built_otherwise(costing("a", 100), 900, (3, 224, 224), 8), costing("b", 200)], "macs", known, {})
    assert [(p.label, p.x, p.y) for p in plot.points] == [("a", 900, 60), ("b", 200, 50)]
    assert plot.lines[0].points == ((200, 50), (900, 60))
    assert "on the build with the accuracy in every case." in plot.caption
    measured = costing("a", 800, input_shape=(3, 224, 224), num_classes=8)  # a result of that build goes as well
    plot = accuracy([costing("a", 100), measured, costing("b", 200)], "macs", known, {})
    assert [(p.label, p.x) for p in plot.points] == [("a", 800), ("b", 200)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_shape": (3, 224, 224)}, "3x224x224 and 7 classes"),
        ({"num_classes": 8}, "1x48x48 and 8 classes"),
        ({"input_shape": None}, "an unknown input and 7 classes"),
        ({"num_classes": None}, "1x48x48 and unknown classes"),
    ],
)
@pytest.mark.parametrize("cost", ["macs", "parameters", "latency"])
def test_an_accuracy_of_another_build_is_marked_and_on_no_front(make_result, cost, changes, said):
    other = dataclasses.replace(AS_MEASURED, **changes)
    known = zoo(spec("a", ("99", "1", "F"), conditions=other), *(spec(name, (name, "1", "F")) for name in ("50", "60")))
    plot = accuracy([make_result(name) for name in ("a", "50", "60")], cost, known, {})
    assert [p.label for p in plot.points if "\N{DAGGER}" in p.label and p.named] == ["a \N{DAGGER}"]
    assert not any((point.x, 99) in line.points for line in plot.lines for point in plot.points)
    notes = [note for note in plot.notes if note.startswith("a \N{DAGGER}: the accuracy is for")]
    assert notes == [f"a \N{DAGGER}: the accuracy is for {said}, the cost for 1x48x48 and 7 classes; on no front."]
    assert "except where \N{DAGGER} marks another build." in plot.caption


def test_a_network_with_arguments_of_the_users_is_another_build(costing):
    known = zoo(spec("a", ("60", "1", "F")), spec("b", ("50", "1", "F")))
    plot = accuracy([costing("a", 100, settings=("width=2",)), costing("b", 200)], "macs", known, {})
    assert [p.label for p in plot.points] == ["b", "a, width=2 \N{DAGGER}"]
    assert any("built with width=2" in note for note in plot.notes)


def test_a_network_that_ignored_the_classes_asked_for_is_another_build(make_result):
    known = zoo(spec("a", ("60", "1", "F")), spec("b", ("50", "1", "F")))
    counted = Measurement("macs", "count", (100,), details={"num_classes": 1000})  # of 7 that the subject was asked for
    plot = accuracy([make_result("a", counted, without=("macs",)), make_result("b")], "latency", known, {})
    assert [p.label for p in plot.points] == ["b", "a \N{DAGGER}"]
    assert any("the cost for 1x48x48 and 1000 classes" in note for note in plot.notes)


def test_an_accuracy_of_several_passes_costs_as_many(make_result):
    ten = dataclasses.replace(AS_MEASURED, passes=10)
    unknown = dataclasses.replace(AS_MEASURED, passes=None)
    known = zoo(
        spec("a", ("60", "1", "F"), conditions=ten),
        spec("b", ("50", "1", "F")),
        spec("c", ("40", "1", "F"), conditions=unknown),
    )
    results = [make_result(name) for name in "abc"]
    (macs,) = {result.value("macs") for result in results}
    plot = accuracy(results, "macs", known, {})
    assert [(p.label, p.x) for p in plot.points] == [("a", 10 * macs), ("b", macs), ("c", macs)]
    assert "a: cost of 10 passes per image." in plot.notes
    assert "c: passes per image are unknown, one is assumed." in plot.notes
    timed = accuracy(results, "latency", known, {})  # ten passes may run as one batch, whose time nobody measured
    assert [p.label for p in timed.points] == ["b", "c", "a \N{DAGGER}"]


def test_accuracies_of_different_splits_are_said_to_be(costing):
    validation = dataclasses.replace(AS_MEASURED, split="validation")
    known = zoo(spec("a", ("60", "1", "F"), conditions=validation), spec("b", ("50", "1", "F")))
    plot = accuracy([costing("a", 100), costing("b", 200)], "macs", known, {})
    assert "Paper 1 evaluated on validation split (accuracy): a; test split (accuracy): b." in plot.notes


@pytest.mark.parametrize("cost", ["macs", "parameters", "latency"])
@pytest.mark.parametrize("dataset", ["FER2013", "KDEF", "FER+"])
def test_no_published_accuracy_of_ours_is_drawn_at_another_build_unmarked(cost, dataset):
    zoo, folder = built_in().networks, QUICK_CPU.parent
    results = [*read_file(QUICK_CPU / "results.json"), *read_file(folder / "counts" / "results.json")]
    known = results if cost == "latency" else [*results, *counted_builds(results)]
    there = {(it.subject.name, it.subject.input_shape, it.subject.num_classes) for it in known}
    plot = accuracy(results, cost, zoo, built_in().papers, dataset)
    for point in plot.points if plot is not None else ():
        name, paper = point.label.removesuffix(" \N{DAGGER}"), point.group[:3]
        (figure,) = (f for f in zoo[name].figures("accuracy", paper) if f.dataset == dataset)
        of = figure.conditions
        exact = (name, of.input_shape, of.num_classes) in there and (cost != "latency" or of.passes in (None, 1))
        assert exact == (not point.label.endswith("\N{DAGGER}")), point.label
        assert exact or not any((point.x, point.y) in line.points for line in plot.lines), point.label


def test_the_data_set_is_the_one_asked_for(costing):
    results = [costing("a", 100), costing("b", 200), costing("c", 300)]
    known = zoo(
        *(spec(name, ("60", "1", "FER"), *others) for name, others in (("a", [("50", "1", "KDEF")]), ("b", [])))
    )
    known |= zoo(spec("c", ("40", "1", "KDEF"), ("65", "1", "FER")))
    drawn = [accuracy(results, "macs", known, PAPERS, dataset) for dataset in ("", "KDEF", "none such")]
    assert [p.y for p in drawn[0].points] == [60, 60, 65]
    assert [p.y for p in drawn[1].points] == [50, 40]
    assert drawn[2] is None


def test_an_accuracy_without_a_sign_is_a_share_and_one_that_is_no_number_is_reported(costing):
    results = [costing(name, 100) for name in "abc"]
    known = zoo(spec("a", ("0.61", "1", "F"), unit=""), spec("b", ("62", "1", "F")), spec("c", ("60-70", "1", "F")))
    plot = accuracy(results, "macs", known, PAPERS)
    assert [(p.label, p.y) for p in plot.points] == [("a", pytest.approx(61)), ("b", 62)]
    assert any(note.startswith("c is not drawn for paper 1: ") and "'60-70'" in note for note in plot.notes)


def test_accuracy_against_latency_has_its_interval(make_result):
    known = zoo(spec("a", ("60", "1", "F")), spec("b", ("50", "1", "F")))
    slow = make_result("a", *latencies((0.010,), (0.012,), (0.014,)), without=("latency_s",))
    point = accuracy([slow, make_result("b")], "latency", known, PAPERS).points[0]
    half = 4.302653 * 0.002 / 3**0.5  # Student's t of two degrees of freedom
    assert point.x == pytest.approx(0.012)
    assert point.x_interval == (pytest.approx(0.012 - half), pytest.approx(0.012 + half))


def test_a_latency_without_an_interval_is_reported_and_so_are_warnings_once_each(make_result):
    known = zoo(spec("a", ("60", "1", "F")), spec("b", ("50", "1", "F")))
    several = make_result("a", *latencies((0.010,), (0.012,), (0.014,)), without=("latency_s",))
    told = "Latencies without a bar have no interval"
    plot = accuracy([several, make_result("b")], "latency", known, PAPERS)
    assert told in plot.caption
    assert [note.split(": ")[:2] for note in plot.notes] == [["b", "too few processes"]]
    other = dataclasses.replace(several, subject=dataclasses.replace(several.subject, name="b"))
    assert told not in accuracy([several, other], "latency", known, PAPERS).caption
    plot = accuracy([several, make_result("b")], "macs", known, PAPERS)  # counts have neither
    assert told not in plot.caption
    assert plot.notes == ()


def test_a_warning_names_few_networks_and_counts_many(make_result):
    one, *rest = [note for note in spreads([make_result(f"n{n}") for n in range(3)]).notes if "process" in note]
    assert one.startswith("n0, n1, n2: too few processes")
    assert not rest
    (one,) = [note for note in spreads([make_result(f"n{n}") for n in range(7)]).notes if "process" in note]
    assert one.startswith("All 7 latencies: too few processes")
    several = make_result("b", *latencies((0.01,), (0.01,)), without=("latency_s",))
    (one,) = [note for note in spreads([several, *(make_result(f"n{n}") for n in range(7))]).notes if "process" in note]
    assert one.startswith("7 of the 8 latencies: too few processes")


def test_every_process_is_a_strip_of_quantiles(make_result):
    hundred = tuple(n / 1000 for n in range(101))
    first, second = (Measurement("latency_s", "s", values, process=n) for n, values in ((0, hundred), (2, (0.07,) * 3)))
    failed = Measurement("latency_s", "s", process=1, failure="boom")
    result = make_result("a", first, failed, second, without=("latency_s",), status="reconstruction")
    (network,) = spreads([result]).networks
    assert network.estimate_s == pytest.approx(0.06)
    assert network.hollow
    assert [(s.process, s.runs) for s in network.strips] == [(0, 101), (2, 3)]
    assert network.strips[0].quantiles == pytest.approx((0.005, 0.025, 0.05, 0.075, 0.095))
    assert network.interval_s[0] == 0  # no time is below 0, whatever Student says


def test_roofs_are_what_the_machine_attains_and_points_what_the_networks_do(roofed):
    fast = roofed("c", *latencies((0.0025,)), without=("latency_s",))
    plot = roofs([roofed("a"), roofed("b", status="stand-in"), fast])
    assert [(p.x, p.y, p.hollow) for p in plot.points] == [
        (4, pytest.approx(2e8), False),
        (4, pytest.approx(2e8), True),
        (4, pytest.approx(8e8), False),
    ]
    # By the model 1.5e6 / 1e9 = 1.5 ms of arithmetic, 400 kB at 6.2e8 B/s = 0.65 ms of traffic, and 2 us of overhead:
    # of 10 ms that leaves more than the arithmetic takes, of 2.5 ms it does not.
    none = "bound by none of arithmetic, memory, overhead"
    assert plot.groups == ("bound by arithmetic", none)
    assert [p.group for p in plot.points] == [none, none, "bound by arithmetic"]
    lines = {line.get_label(): line for line in draw(plot).axes[0].lines}
    red, green, blue = matplotlib.colors.to_rgb(lines[none].get_markeredgecolor())
    assert red == green == blue  # no colour for what says nothing
    assert len(set(matplotlib.colors.to_rgb(lines["bound by arithmetic"].get_markeredgecolor()))) > 1
    peak, fast, slow = plot.lines
    # The roofs of copies meet that of arithmetic at 1e9 / 4e9 and 1e9 / 1e8 MAC/B, and start left of all points.
    assert [peak.label, fast.label, slow.label] == ["1.00 GMAC/s", "4.00 GB/s", "100 MB/s"]
    assert peak.points == ((0.25, 1e9), (25, 1e9))
    assert fast.points == (pytest.approx((0.1, 4e8)), pytest.approx((0.25, 1e9)))
    assert slow.points == (pytest.approx((0.1, 1e7)), pytest.approx((10, 1e9)))
    assert plot.x.log
    assert plot.y.log


def test_no_roof_is_drawn_where_none_was_measured(make_result):
    assert roofs([make_result()]) is None


def test_a_sweep_needs_several_batch_sizes_of_one_network(make_result):
    def at(name, batch, seconds):
        return with_plan(make_result(name, *latencies((seconds,)), without=("latency_s",)), batch_size=batch)

    plot = sweep([at("a", 4, 0.020), at("a", 1, 0.010), at("b", 1, 0.5), at("a", 4, 0.9)])
    (series,) = plot.networks
    assert series.label == "a"
    assert [(s.batch, s.latency_s) for s in series.steps] == [(1, 0.010), (4, 0.020)]
    assert [s.per_image_s for s in series.steps] == pytest.approx([0.010, 0.005])
    assert [s.images_per_s for s in series.steps] == pytest.approx([100, 200])
    left_out, warning = plot.notes
    assert left_out == "2 results of one batch size only, repeated or failed: not drawn."
    assert warning.startswith("a, batch 4, a, batch 1: too few processes: ")
    assert sweep([at("a", 1, 0.01), at("b", 2, 0.01)]) is None


def test_modules_of_the_top_level_share_the_macs(make_result):
    result = modular(make_result, 100, ("stem", 30), ("stem.conv", 30), ("body", 50), ("body.0", 50), ("head", 20))
    assert shares(divisions([result])) == {"stem": 0.3, "body": 0.5, "head": 0.2}


def test_a_module_with_most_of_the_macs_is_drawn_by_what_lies_in_it(make_result):
    result = modular(make_result, 100, ("net", 95), ("net.a", 40), ("net.b", 50), ("head", 5))
    assert shares(divisions([result])) == {"net.a": 0.4, "net.b": 0.5, "(net, outside modules)": 0.05, "head": 0.05}


def test_a_module_with_most_of_the_macs_stays_whole_where_it_holds_many(make_result):
    inside = [(f"body.{n}", 4) for n in range(15)]
    assert shares(divisions([modular(make_result, 100, ("stem", 40), ("body", 60), *inside)])) == {
        "stem": 0.4,
        "body": 0.6,
    }


def test_a_list_of_modules_has_no_record_and_counts_as_their_sum(make_result):
    modules = [("stages.0", 20), ("stages.0.conv", 20), ("stages.1", 20), ("stem", 30), ("fc", 0)]
    plot = divisions([modular(make_result, 100, *modules)])
    assert shares(plot) == {"stages": 0.4, "stem": 0.3, "(network, outside modules)": 0.3}
    assert plot.networks[0].parts[0].parameters == 6  # the conv's are among those of the module around it


def test_small_neighbours_are_one_part_where_several_networks_are_drawn(make_result):
    modules = [("stem", 60), *((f"body.{n}", 2) for n in range(15)), ("mid", 5), ("small", 2), ("fc", 3)]
    result = modular(make_result, 100, *modules)
    assert shares(divisions([result])) == {"stem": 0.6, "body": 0.3, "mid": 0.05, "small": 0.02, "fc": 0.03}
    deep = modular(make_result, 100, ("stem", 40), *((f"b{n}", 2) for n in range(15)), ("fc", 28), ("z", 2), name="b")
    plot = divisions([result, deep])
    assert '"others"' in plot.caption
    first, second = plot.networks
    assert not any(part.merged for part in first.parts)
    assert [(part.path, pytest.approx(part.share)) for part in second.parts] == [
        ("stem", 0.4),
        ("others", 0.3),
        ("fc", 0.28),
        ("z", 0.02),  # alone
    ]
    assert second.parts[1].merged == tuple(f"b{n}" for n in range(15))
    assert "others (b0 to b14) 30 %" in [text.get_text() for text in draw(plot).axes[0].texts]


def test_no_part_has_a_bare_number_which_would_look_like_a_share(make_result):
    inside = [(f"features.{n}", share) for n, share in enumerate((5, 10, 45, 40))]
    other = modular(make_result, 100, ("0", 60), ("conv", 40), name="b")
    figure = draw(divisions([modular(make_result, 100, *inside), other]))
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["f.0", "f.1", "features.2 45 %", "features.3 40 %", "conv 40 %"]
    (legend,) = figure.legends
    assert legend.get_texts()[0].get_text().startswith("darker: the largest")


def test_records_without_modules_give_no_figure_of_them(make_result):
    assert divisions([make_result()]) is None


def test_labels_have_the_settings_in_which_results_differ(make_result):
    results = [with_plan(make_result("a", settings=("width=2",)), batch_size=n) for n in (1, 2)]
    results.append(with_plan(make_result("a", input_shape=(3, 8, 8)), batch_size=1))
    assert labels(results) == ["a, width=2, 1x48x48, batch 1", "a, width=2, 1x48x48, batch 2", "a, 3x8x8, batch 1"]
    assert labels(results[:1]) == ["a, width=2"]
    assert numbered(["a", "b", "a"]) == ["a", "b", "a (2)"]


def test_costs_are_compared_under_the_setting_that_most_networks_share(make_result):
    results = [
        with_plan(make_result(name), batch_size=batch) for name, batch in (("a", 1), ("a", 2), ("b", 2), ("a", 2))
    ]
    kept, notes = of_one_setting(results)
    assert kept == [results[1], results[2]]
    assert notes == ["2 more results under other settings or repeated: not drawn."]


def test_nothing_measured_gives_no_figure(make_result):
    failed = make_result("a", Measurement("macs", "count", failure="boom"), without=("macs", "latency_s"))
    assert figures.figures([], built_in()) == figures.figures([failed], built_in()) == {}


@pytest.mark.parametrize(
    ("quantity", "value", "tick"),
    [
        ("count", 2_000_000, "2 M"),
        ("count", 50, "50"),
        ("seconds", 0.0005, "0.5"),
        ("seconds", 0.1, "100"),
        ("share", -0.05, "\N{MINUS SIGN}5 %"),
        ("share", 0, "0 %"),
        ("percent", 62.5, "62.5"),
    ],
)
def test_a_tick_is_written_exactly_and_briefly(quantity, value, tick):
    assert Axis("", quantity).tick(value) == tick


@pytest.fixture(scope="module")
def committed():
    return figures.figures(read_file(QUICK_CPU), built_in())


def test_plots_are_plain_data_that_json_takes(committed):
    for plot in committed.values():
        data = dataclasses.asdict(plot)
        assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))
        assert data["kind"]


def test_figures_are_listed_with_captions_and_notes(committed):
    table = figures.listing(committed)
    assert [row["stem"] for row in table.rows] == list(committed)
    assert all(row["caption"] for row in table.rows)
    assert any("simple_cnn: Stand-in" in note for note in table.footnotes)


def test_plot_data_need_neither_matplotlib_nor_pytorch_and_drawing_no_pyplot():
    code = (
        "import sys, fer_bench.reporting.figures, fer_bench.reporting.render.plots.figure as figure\n"
        "print([n for n in ('matplotlib', 'numpy', 'pandas', 'torch') if n in sys.modules])\n"
        "from fer_bench.reporting.figures.plots import Axis, Point, Scatter\n"
        "axis = Axis('x', 'number')\n"
        "figure.draw(Scatter('t', 'c', axis, axis, ('g',), (Point('p', 'g', 1.0, 2.0),)))\n"
        "print([n for n in ('matplotlib.pyplot', 'pandas', 'torch') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n[]\n", done.stderr


def drawn_lines(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def names(axes):
    return [text.get_text() for text in axes.texts if isinstance(text, Annotation)]


def a_scatter(*points, lines=(), log=False):
    return Scatter("t", "c", Axis("x", "count", log=log), Axis("y", "percent"), ("g", "h"), points, lines)


def test_a_scatter_draws_points_in_base_units_and_hollow_ones_hollow():
    front = Line("front", ((10.0, 1.0), (1000.0, 3.0)), "g", steps=True)
    plot = a_scatter(
        Point("a", "g", 10.0, 1.0, named=True),
        Point("b", "g", 1000.0, 3.0, hollow=True, named=True),
        Point("c", "h", 500.0, 2.0, x_interval=(400.0, 700.0)),
        lines=(front,),
        log=True,
    )
    (axes,) = draw(plot).axes
    filled, hollow, other = (line for line in axes.lines if line.get_label() in ("g", "h"))
    assert [filled.get_xydata().tolist(), hollow.get_xydata().tolist()] == [[[10, 1]], [[1000, 3]]]
    assert other.get_xydata().tolist() == [[500, 2]]
    assert hollow.get_markerfacecolor() == "white" != filled.get_markerfacecolor()
    assert other.get_marker() != filled.get_marker()  # groups are told apart without colour too
    assert drawn_lines(axes)["front"].get_xydata().tolist() == [[10, 1], [1000, 3]]
    assert drawn_lines(axes)["front"].get_drawstyle() == "steps-post"
    assert [segment.tolist() for segment in axes.collections[0].get_segments()] == [[[400, 2], [700, 2]]]
    assert axes.get_xscale() == "log"
    assert sorted(names(axes)) == ["a", "b", "c"]


def test_strips_are_drawn_as_differences_from_the_estimate(make_result):
    measured = latencies(tuple(n / 1000 for n in range(101)), (0.05,))
    plot = spreads([make_result("a", *measured, without=("latency_s",), status="stand-in"), make_result("b")])
    axes, right = draw(plot).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a ○", "b"]
    # b's 9, 10, 11, 10, 20 ms in one process: the 90th percentile, 16.4 ms, is 64 % off, which leaves two digits.
    assert [label.get_text() for label in right.get_yticklabels()] == ["50.0 ms", "10 ms"]
    box, single = axes.patches[:2]
    assert (box.get_x(), box.get_width()) == (pytest.approx(-0.5), pytest.approx(1.0))  # 25 to 75 ms around 50
    assert (single.get_x(), single.get_width()) == (pytest.approx(0), pytest.approx(0))
    assert box.get_facecolor()[:3] == (1, 1, 1)
    left, beyond = axes.get_xlim()
    assert left < -0.5
    assert beyond > 0.5


def test_the_modules_of_one_network_are_bars_and_of_several_parts_of_a_bar(make_result):
    one, other = (modular(make_result, 100, ("stem", 30), ("body", 50), ("head", 20), name=name) for name in "ab")
    alone, together = draw(divisions([one])).axes[0], draw(divisions([one, other])).axes[0]
    assert [bar.get_width() for bar in alone.patches] == pytest.approx([0.3, 0.5, 0.2])
    assert [label.get_text() for label in alone.get_yticklabels()] == ["stem", "body", "head"]
    assert [(bar.get_x(), bar.get_width()) for bar in together.patches] == [
        (pytest.approx(start), pytest.approx(share)) for start, share in ((0, 0.3), (0.3, 0.5), (0.8, 0.2))
    ] * 2
    assert [text.get_text() for text in together.texts] == ["stem 30 %", "body 50 %", "head 20 %"] * 2


def test_a_sweep_draws_latency_and_rate(make_result):
    results = [
        with_plan(make_result("a", *latencies((seconds,)), without=("latency_s",)), batch_size=batch)
        for batch, seconds in ((1, 0.010), (4, 0.020))
    ]
    upper, lower = draw(sweep(results)).axes
    assert drawn_lines(upper)["a"].get_xydata().tolist() == [[1, 0.010], [4, 0.020]]
    assert drawn_lines(lower)["a"].get_xydata().tolist() == [[1, pytest.approx(100)], [4, pytest.approx(200)]]
    assert lower.get_xticks().tolist() == [1, 4]
    assert names(upper) == names(lower) == ["a"]


@pytest.fixture
def hostile(roofed, make_result):
    """Every kind of figure, of networks with a hostile name."""
    result = roofed(HOSTILE)
    modules = modular(make_result, 100, (HOSTILE, 40), ("b", 60), name=HOSTILE)
    swept = [with_plan(result, batch_size=batch) for batch in (1, 2)]
    known = zoo(spec(HOSTILE, ("60", HOSTILE, HOSTILE)), spec("b", ("50", HOSTILE, HOSTILE)))
    return {
        "accuracy": accuracy([result, make_result("b")], "macs", known, {}),
        "roofline": roofs([result]),
        "latency": spreads([result]),
        "modules": divisions([modules]),
        "modules_of_several": divisions([modules, dataclasses.replace(modules, subject=result.subject)]),
        "batch_sweep": sweep(swept),
        "realtime": a_pace(HOSTILE),
        "confusion": Confusions("", "", (Confusion(HOSTILE, (HOSTILE, "b"), ((1, 2), (0, 3))),)),
    }


def a_pace(label):
    """A run of the real-time system that becomes slower, and drops."""
    axis, ms = Axis("Frames/s", "number"), Axis("Latency (ms)", "seconds")
    seconds = tuple(Second(n, 0.02 + n / 1000, 0.03 + n / 500, 30 - n, n) for n in range(10))
    return Seconds("Over time", "A caption", Axis("Time (s)", "number"), ms, axis, (Pace(label, 0.04, seconds),))


def test_the_real_time_system_is_drawn_over_time():
    above, below = draw(a_pace("one")).axes
    assert list(above.lines[0].get_ydata()) == pytest.approx([0.02 + n / 1000 for n in range(10)])
    assert list(below.lines[1].get_ydata()) == list(range(10))  # drops
    assert above.lines[2].get_ydata()[0] == 0.04  # the budget


def test_hostile_names_are_drawn_literally(hostile, tmp_path):
    write_figures(tmp_path, hostile, ("svg",))
    for stem, plot in hostile.items():
        texts = draw(plot).findobj(matplotlib.text.Text)
        named = [text for text in texts if "$" in text.get_text()]
        assert any(text.get_text().startswith("$x^2$ --><scr") for text in named), stem
        assert not any(text.get_parse_math() for text in named)
        tree = ElementTree.parse(tmp_path / f"{stem}.svg")  # raises where a name breaks out of its place
        assert not [element for element in tree.iter() if element.tag.endswith("script")]


@pytest.mark.slow
def test_the_same_plots_give_the_same_bytes_whatever_the_users_style(hostile, committed, tmp_path):
    plots = {**hostile, "committed": committed["accuracy_macs"]}
    write_figures(tmp_path / "first", plots, ("svg", "png", "pdf"))
    with matplotlib.rc_context({"font.size": 20, "text.usetex": True, "svg.fonttype": "none", "savefig.dpi": 30}):
        write_figures(tmp_path / "second", plots, ("svg", "png", "pdf"))
        assert matplotlib.rcParams["font.size"] == 20
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("first", "second")
    )
    assert len(first) == 3 * len(plots)
    assert first == second
    assert not any(b"<dc:date>" in content or b"CreationDate" in content for content in first.values())


def test_names_of_the_committed_figures_lie_on_nothing(committed):
    for plot in (plot for plot in committed.values() if isinstance(plot, Scatter)):
        figure = draw(plot)
        (axes,) = figure.axes
        written = [text for text in axes.texts if isinstance(text, Annotation) and not text.get_rotation()]
        boxes = [Annotation.get_window_extent(text) for text in written if text.arrow_patch is None]
        assert len(boxes) > 10
        assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
        assert {point.label for point in plot.points if point.named} <= set(names(axes))  # fronts are named


def test_a_long_name_keeps_both_ends():
    (axes,) = draw(a_scatter(Point("path/to/file.py:" + "x" * 50 + "_end", "g", 1.0, 1.0))).axes
    (name,) = names(axes)
    assert name.startswith("path/to/file.py:")
    assert name.endswith("xxx_end")
    assert len(name) < 40


def test_points_without_room_for_a_name_are_counted():
    (axes,) = draw(a_scatter(*(Point(f"a rather long name {n}", "g", 1.0, 1.0) for n in range(70)))).axes
    told = [text.get_text() for text in axes.texts if not isinstance(text, Annotation)]
    assert told == [f"{70 - len(names(axes))} unnamed: no room"]


def test_names_take_the_nearest_free_place():
    frame, mark = Box(0, 0, 100, 100), Box(48, 48, 52, 52)
    (found,) = place([(50, 50)], [(20, 10)], Scene(frame, [mark]))
    assert found.box.left == pytest.approx(55.5)  # beside the point at the right, at the least distance
    wall = Box(53, 0, 100, 100)
    (found,) = place([(50, 50)], [(20, 10)], Scene(frame, [mark, wall]))
    assert found.box.right <= 53
    assert place([(50, 50)], [(101, 10)], Scene(frame, [mark])) == [None]


def test_a_name_that_must_be_seen_is_not_given_up_for_others():
    # The first name is so large that the two others have room only without it.
    frame, spots = Box(0, 0, 200, 60), [(10.0, 30.0), (190.0, 12.0), (190.0, 48.0)]
    sizes = [(125.0, 50.0), (40.0, 10.0), (40.0, 10.0)]
    marks = [Box(x - 2, y - 2, x + 2, y + 2) for x, y in spots]
    for must, seen in ((0, [False, True, True]), (1, [True, False, False])):
        assert [found is not None for found in place(spots, sizes, Scene(frame, marks), must)] == seen


def place_two(scene, spots=((50, 50), (80, 50)), size=(20, 10)):
    marks = [Box(x - 2, y - 2, x + 2, y + 2) for x, y in spots]
    return place(spots, [size] * len(spots), dataclasses.replace(scene, covered=[*marks, *scene.covered]))


def test_a_name_is_not_nearer_to_another_point_than_to_its_own_unless_a_line_joins_it():
    frame = Box(0, 0, 400, 400)
    for apart in (8, 14, 22, 30):
        spots = ((200, 200), (200 + apart, 200))
        for number, found in enumerate(place_two(Scene(frame, [], joined=9), spots)):
            own, other = (math.dist(spot, found.box.nearest(spot)) for spot in (spots[number], spots[1 - number]))
            assert found.joined or own < other
            assert found.joined == (own > 9)


def test_names_in_a_line_keep_a_gap():
    # Walls leave one line only, where the names are at the right of the one point and at the left of the other.
    walls = [Box(0, 0, 400, 43), Box(0, 57, 400, 100)]
    for apart, room in ((63, True), (60, False)):  # beside 11 at the points and 40 of names, 12 and 9 are left over
        found = place_two(Scene(Box(40, 0, 60 + apart, 100), walls), ((50, 50), (50 + apart, 50)))
        boxes = [its.box for its in found if its is not None]
        assert (len(boxes) == 2) is room, apart


def test_leader_lines_avoid_lines_and_end_at_the_name():
    frame, mark = Box(0, 0, 400, 100), Box(198, 48, 202, 52)
    walls = [Box(170, 0, 185, 100), Box(215, 0, 230, 100)]  # no room beside the point
    line = ((0, 60), (400, 60))
    (found,) = place([(200, 50)], [(25, 10)], Scene(frame, [mark, *walls], [line], joined=4))
    assert found.box.top < 60
    (x, y), box = found.leader[1], found.box
    assert box.left <= x <= box.right
    assert box.bottom <= y <= box.top


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_characters_that_the_font_lacks_are_drawn_as_numbers_without_a_warning(make_result, tmp_path, suffix):
    plot = spreads([make_result("\u8868\u60c5 caf\u00e9 \U0001f9ff")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figures(tmp_path, {"latency": plot}, (suffix,))
        (label,) = draw(plot).axes[0].get_yticklabels()
    assert label.get_text() == r"\u8868\u60c5 caf\u00e9 \U0001f9ff".replace(r"\u00e9", "\u00e9")


def test_the_list_of_figures_says_how_lacking_characters_are_drawn(committed):
    assert r"\u8868" in figures.listing(committed).caption


def test_an_unknown_suffix_and_a_folder_that_cannot_be_made_are_reported(committed, tmp_path):
    with pytest.raises(StoreError, match="no figure can be written as gif; known: svg, png, pdf"):
        write_figures(tmp_path, committed, ("svg", "gif"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make the folder"):
        write_figures(tmp_path / "file", committed)
