"""Tables and figures of measured accuracies, from counts by hand."""

import dataclasses

import pytest

from fer_bench.accuracy.effects import Disturbed, Effect, Robustness, Sensitivity
from fer_bench.networks.registry import Registry
from fer_bench.reporting import figures, tables
from fer_bench.reporting.analysis.series import points_of
from fer_bench.reporting.figures.measured import against
from fer_bench.reporting.page.payload import charts
from fer_bench.reporting.render.plots.figure import draw
from support.samples import GOOD, LABELS, POOR, THREE


def rows(table):
    return [table.rows[place] for place in range(len(table.rows))]


def text(table, row, key):
    (column,) = (column for column in table.columns if column.key == key)
    return column.text(table.rows[row])


def test_the_table_has_the_accuracy_with_its_interval_and_conditions(evaluated):
    drawn = tables.report(
        [evaluated("good", LABELS, GOOD, weights="w.pt"), evaluated("mixing", LABELS, POOR)], Registry()
    )
    table = drawn["accuracy"]
    assert text(table, 0, "top1_share") == "80.00"
    assert text(table, 0, "interval_share") == "71.1–86.7"  # Wilson's of 80 of 100
    assert text(table, 0, "balanced_share") == "71.67"  # (0.9 + 0.75 + 0.5) / 3
    assert text(table, 0, "weights") == "w.pt"
    assert text(table, 1, "weights") == "none given"
    assert text(table, 1, "macro_f1") == f"{100 * (100 / 110 + 60 / 80 + 0) / 3:.2f}"
    assert table.rows[0]["data"] == "FER2013, private"
    assert "Of the input contract is assumed: crop." in table.notes[0]
    assert any("batch-dependent" in note for note in table.notes[1])
    classes = drawn["accuracy_classes"]
    assert [row["support"] for row in classes.rows] == [50, 40, 10, 50, 40, 10]
    assert text(classes, 5, "precision") == "0.00"
    confusion = drawn["confusion"]
    assert text(confusion, 0, "said_happy") == "90.00"
    assert text(confusion, 0, "said_sad") == "10.00"


def test_two_networks_on_the_same_images_are_compared(evaluated):
    drawn = tables.report([evaluated("good", LABELS, GOOD), evaluated("poor", LABELS, POOR)], Registry())
    (row,) = rows(drawn["accuracy_pairs"])
    # 5 happy and 0 to 10 sad are right with the second alone; 5 fear and 10 sad with the first alone.
    first = [said == label for said, label in zip(GOOD, LABELS, strict=True)]
    second = [said == label for said, label in zip(POOR, LABELS, strict=True)]
    assert row["first_alone"] == sum(a and not b for a, b in zip(first, second, strict=True))
    assert row["second_alone"] == sum(b and not a for a, b in zip(first, second, strict=True))
    assert row["difference"] == 0
    others = [evaluated("good", LABELS, GOOD), evaluated("poor", LABELS, POOR, images="others")]
    apart = tables.report(others, Registry())
    assert "accuracy_pairs" not in apart
    assert not apart["accuracy"].comparable


def test_groups_have_accuracies_of_their_own_and_persons_widen_the_interval(evaluated):
    groups = {"sex": ["f"] * 50 + ["m"] * 50, "person": [str(number // 10) for number in range(100)]}
    groups = {name: tuple(values) for name, values in groups.items()}
    drawn = tables.report([evaluated("good", LABELS, GOOD, groups=groups, group_by="sex")], Registry())
    table = drawn["accuracy_groups"]
    assert [row["value"] for row in table.rows] == ["sex: f", "sex: m"]
    assert [row["top1_share"] for row in table.rows] == [0.9, 0.7]
    assert table.rows[1]["gap_share"] == pytest.approx(0.2)
    (row,) = rows(drawn["accuracy"])
    person, image = row["interval_person_share"], row["interval_share"]
    assert person[0] < 0.8 < person[1]
    assert person[1] - person[0] > image[1] - image[0]  # ten persons, who are mostly all right or half wrong


def test_rendered_faces_share_no_table_column_or_figure_with_faces(evaluated):
    faces = evaluated("good", LABELS, GOOD)
    drawing = evaluated("drawn", LABELS, POOR, rendered=True)
    drawn = tables.report([faces, drawing], Registry())
    assert [row["name"] for row in drawn["accuracy"].rows] == ["good"]
    assert [row["name"] for row in drawn["accuracy_rendered"].rows] == ["drawn"]
    assert drawn["accuracy_rendered"].title == "Accuracy on rendered faces"
    assert "accuracy_pairs" not in drawn
    efficiency = drawn["efficiency"]
    headings = [column.heading for column in efficiency.columns]
    assert "Accuracy, measured (%)" in headings
    assert "Accuracy on rendered faces (%)" in headings
    measured = [(row.get("top1_share"), row.get("top1_share_rendered")) for row in efficiency.rows]
    assert measured == [(0.8, None), (None, 0.8)]
    stems = figures.figures([faces, drawing], Registry())
    assert {"reliability", "reliability_rendered", "confusion", "confusion_rendered"} <= stems.keys()
    assert "measured_accuracy_macs" not in stems  # of one network each


def test_a_measured_accuracy_stands_beside_the_published_one_with_its_conditions(evaluated):
    result = evaluated("mini_xception", LABELS, GOOD, weights="w.pt")
    table = tables.report([result], Registry())["efficiency"]
    assert "67.00 % FER2013" in table.rows[0]["accuracy"]
    assert table.rows[0]["top1_share"] == 0.8
    assert "Measured on 100 images of FER2013, private, weights: w.pt: 80.00 % (71.1–86.7)." in table.notes[0]
    assert "measured ones are of the data in the notes" in table.caption
    assert "none was measured here" not in table.caption


def test_measured_accuracies_have_a_front_of_their_own(evaluated):
    cheap = evaluated("cheap", LABELS, [0] * 100, 10)
    good = evaluated("good", LABELS, GOOD, 1000)
    beaten = evaluated("beaten", LABELS, POOR, 2000)
    plot = against([cheap, good, beaten], "macs")
    assert [(point.label.partition(" ")[0], point.x, point.y, point.named) for point in plot.points] == [
        ("cheap", 10, 50, True),
        ("good", 1000, 80, True),
        ("beaten", 2000, 80, False),
    ]
    assert plot.points[1].y_interval == pytest.approx((71.11, 86.66), abs=0.01)
    assert [line.points for line in plot.lines] == [((10, 50), (1000, 80))]
    assert "as published" not in plot.caption + plot.y.title


def test_the_heat_map_has_the_shares_of_each_row(evaluated):
    plot = figures.figures([evaluated("good", LABELS, GOOD)], Registry())["confusion"]
    (axes,) = draw(plot).axes
    assert [one.get_text() for one in axes.texts] == ["90", "10", "0", "25", "75", "0", "50", "0", "50"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(THREE)


def test_the_reliability_plot_has_a_point_for_each_bin(evaluated):
    plot = figures.figures([evaluated("good", LABELS, GOOD)], Registry())["reliability"]
    (point,) = plot.points  # all outputs have a largest probability of 0.8
    assert (point.x, point.y) == pytest.approx((0.8, 0.8), abs=1e-6)


def test_the_scores_of_each_class_have_a_panel_each(evaluated):
    """By hand: happy 45 of 50, and of the 60 said to be happy; F1 is twice 45 of 110."""
    plot = figures.figures([evaluated("good", LABELS, GOOD)], Registry())["class_scores"]
    happy = plot.networks[0].classes[0]
    assert (happy.images, happy.recall, happy.precision, happy.f1) == (50, 0.9, 0.75, 90 / 110)
    assert happy.interval == pytest.approx((0.7864, 0.9565), abs=1e-4)  # Wilson's, by statsmodels
    panels = draw(plot).axes
    assert [axes.get_xlabel() for axes in panels] == ["Recall (%)", "Precision (%)", "F1 (%)"]
    drawn = [[float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1] for axes in panels]
    assert drawn == [[0.9, 0.75, 0.5], [0.75, 30 / 35, 1.0], [90 / 110, 60 / 75, 10 / 15]]


def test_the_page_has_the_same_figures_as_data(evaluated):
    drawn = charts([evaluated("good", LABELS, GOOD), evaluated("drawn", LABELS, POOR, rendered=True)], {}, {})
    assert {"classes", "confusion", "reliability", "classes_rendered", "reliability_rendered"} <= drawn.keys()
    (good,) = drawn["confusion"]["networks"]  # rendered faces are not among faces
    assert [cell["count"] for cell in good["rows"][1]["cells"]] == [10, 30, 0]
    assert [cell["text"] for cell in good["rows"][1]["cells"]] == ["25.0 %", "75.0 %", "0 %"]
    (bin_,) = drawn["reliability"]["networks"][0]["bins"]
    assert (bin_["confidence"]["text"], bin_["accuracy"]["text"]) == ("80.0 %", "80.0 %")
    (other,) = drawn["classes_rendered"]["networks"]
    assert [one["recall"]["raw"] for one in other["classes"]] == [1.0, 0.75, 0.0]


def test_an_axis_of_the_page_has_the_accuracies_on_the_same_images_alone(evaluated):
    networks = [evaluated(name, LABELS, said, macs) for name, said, macs in (("good", GOOD, 9), ("poor", POOR, 8))]
    others = [evaluated(name, LABELS, GOOD, 7, images="other") for name in ("x", "y")]
    drawing = evaluated("drawn", LABELS, POOR, rendered=True)
    results = [*networks, *others, drawing]
    chart = charts(results, tables.report(results, Registry()), {})["explorer"]
    titles = {axis["id"]: axis["title"] for axis in chart["axes"] if axis["key"] == "accuracy"}
    assert list(titles.values()) == [
        "Accuracy on FER2013, private, measured (%)",
        "Accuracy on FER2013, private (2), measured (%)",
    ]  # of rendered faces there is one alone
    first, second = titles
    shown = {point["label"]: point["values"] for point in chart["points"]}
    assert [name for name, values in shown.items() if first in values] == ["good", "poor"]
    assert [name for name, values in shown.items() if second in values] == ["x", "y"]
    assert shown["good"][first]["raw"] == 80
    assert chart["y"] == first
    assert not [axis for axis in chart["axes"] if "top1" in axis["id"]]


def test_a_result_without_an_evaluation_has_no_such_table(make_result):
    assert not [name for name in tables.report([make_result("a")], Registry()) if name.startswith("accuracy")]


def test_effects_of_changed_inputs_have_tables_of_their_own(evaluated):
    tried = Sensitivity(100, 100, 80, 0.8, (Effect("values", "[0, 1]", same=90, total_variation=0.1, hits=70),))
    disturbed = Disturbed("blur", 1, "sigma 1%", {"happy": 40, "sad": 30})
    robust = Robustness({"sad": 50, "happy": 50}, {"happy": 45, "sad": 35}, (disturbed,))  # sorted otherwise
    result = evaluated("good", LABELS, GOOD)
    more = (*result.measurements, tried.measurement(), robust.measurement())
    drawn = tables.report([dataclasses.replace(result, measurements=more)], Registry())
    table = drawn["sensitivity"]
    assert table.title == "Sensitivity to the input: good on FER2013, private"
    assert [text(table, row, "accuracy") for row in (0, 1)] == ["80.00", "70.00"]
    assert text(drawn["robustness"], 0, "drop") == "10.00"
    assert [column.heading for column in drawn["robustness"].columns][-2:] == ["happy (pp)", "sad (pp)"]
    rendered = evaluated("good", LABELS, GOOD, rendered=True)
    of_them = tables.report(
        [dataclasses.replace(rendered, measurements=(*rendered.measurements, more[-2]))], Registry()
    )
    assert of_them["sensitivity_rendered"].title == "Sensitivity to the input: good on rendered faces, private"


def test_a_history_of_accuracy_is_of_one_split(evaluated):
    results = [evaluated("net", LABELS, said) for said in (GOOD, POOR[::-1])]
    drawing = evaluated("net", LABELS, GOOD, rendered=True)
    times = [f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
    stored = [
        (str(day), dataclasses.replace(one, started_at=at))
        for day, (one, at) in enumerate(zip([*results, drawing], times, strict=True))
    ]
    metric, points, _, conditions = points_of(stored, "net", "accuracy", {})
    assert conditions["data"] == "FER2013, private"
    right = sum(said == label for said, label in zip(POOR[::-1], LABELS, strict=True)) / 100
    assert [point.estimate.value for point in points] == [0.8, right]
    assert metric.write(0.8) == "80.00 %"
    _, rendered, *_ = points_of(stored, "net", "accuracy", {"data": "rendered faces, private"})
    assert len(rendered) == 1
