"""The page: its bytes and its policy, and what it does in a real browser."""

import base64
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_bench.auditing.verdicts import TONES
from fer_bench.networks.registry import built_in
from fer_bench.networks.spec import Conditions, Figure, ModelSpec, Source
from fer_bench.records import units
from fer_bench.records.exchange import read_file
from fer_bench.records.plan import Plan, Training
from fer_bench.records.result import Measurement
from fer_bench.reporting.page import page
from fer_bench.reporting.page.payload import charts, explorer
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables import report
from fer_bench.reporting.tables.common import head
from support import browser
from support.samples import GOOD, LABELS, POOR

EDGE = Path(__file__).parents[1] / "reports" / "edge-cpu"
DRAW = """import sys
from pathlib import Path
from fer_bench.records.exchange import read_file
from fer_bench.networks.registry import built_in
from fer_bench.networks.spec import Conditions, Figure, ModelSpec, Source
from fer_bench.reporting.page import page
from fer_bench.reporting.tables import report
results = read_file(Path(sys.argv[1])); text = page('Edge', results, report(results, built_in()), built_in())"""
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "{{7*7}}",
    "javascript:alert(1)",
    "\"><svg onload=alert(1)>'&amp;",
]
AUDIT = {
    "audit": Table(
        "Audit of published figures",
        (
            Column("paper", "Paper", align="left"),
            Column("printed", "Printed"),
            Column("verdict", "Verdict", align="left"),
        ),
        (
            {"paper": "001", "printed": "142.9 M", "verdict": "confirmed"},
            {"paper": "001", "printed": "3.45 M", "verdict": "confirmed"},
            {"paper": "001", "printed": "7.74 ns", "verdict": "unit error"},
            {"paper": "004", "printed": "4.14 B", "verdict": "another convention"},
            {"paper": "004", "printed": "nearly 5", "verdict": "out of scope"},
        ),
    )
}


class Reader(HTMLParser):
    """Collects the elements of a document, and what stands in its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.bodies, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.bodies.append([tag, dict(attrs).get("type"), ""])
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.bodies[-1][2] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(results, audit=None, title="Some networks"):
    return page(title, results, report(results, built_in()), built_in(), audit or {}, TONES)


def data_of(text):
    return json.loads(next(body for _, kind, body in Reader(text).bodies if kind == "application/json"))


@pytest.fixture
def results(make_result):
    """Three networks whose raw order is not that of their texts: 9, 10 and 100 ms; 950, 1 k and 2 M parameters."""

    def one(name, seconds, parameters, macs, **more):
        return make_result(
            name,
            *(Measurement("latency_s", "s", (seconds * 0.99, seconds, seconds * 1.01), process=p) for p in range(3)),
            Measurement("parameters.trainable", "count", (parameters,)),
            *([Measurement("macs", "count", (macs,))] if macs else []),
            without=("latency_s", "parameters.trainable", "macs"),
            **more,
        )

    return [
        one("slow", 0.100, 1000, 3_000_000),
        one("quick", 0.009, 2_000_000, 2_000_000, status="stand-in", note="Stands in for another."),
        one("middling", 0.010, 950, None),
    ]


def of_modules(make_result, name="layered", batch=1, seconds=0.010, part="stem", kind="Conv2d", **more):
    """Make a result of 2 M MACs: 25 % in the stem, 70 % in the body's two, and the rest in small ones at the end."""
    shares = {part: 500_000, "body": 1_400_000, "body.0": 800_000, "body.1": 600_000, "neck": 40_000, "head": 40_000}
    told = [{"path": path, "type": kind, "parameters": 10, "output_shape": None} for path in shares]
    factors = (0.99, 1, 1.01)
    result = make_result(
        name,
        Measurement("module_macs", "count", tuple(shares.values()), details={"batch": 1, "modules": told}),
        *(Measurement("latency_s", "s", (seconds * factor,) * 3, process=p) for p, factor in enumerate(factors)),
        without=("latency_s",),
        **more,
    )
    return dataclasses.replace(result, plan=dataclasses.replace(result.plan, batch_size=batch))


@pytest.fixture
def layered(make_result):
    """Two networks, one at two batch sizes: 10 ms for one image, 20 ms for four."""
    return [
        of_modules(make_result),
        of_modules(make_result, batch=4, seconds=0.020),
        of_modules(make_result, name="doubtful", status="stand-in"),
    ]


@pytest.fixture
def trained(make_result):
    """Two seeds of two epochs: losses 1.0 and 0.5, 3.0 and 1.5; validation accuracies 0.25 and 0.75, 0.35 and 0.65."""

    def one(seed, losses, shares):
        values = {
            "train.loss": losses,
            "train.accuracy": shares,
            "train.validation_loss": losses,
            "train.validation_accuracy": shares,
        }
        result = make_result("net", *(Measurement(metric, "1", of) for metric, of in values.items()))
        plan = Plan("train", metrics=("train",), seed=seed, training=Training("rao2023"))
        return dataclasses.replace(result, plan=plan)

    return [one(0, (1.0, 0.5), (0.25, 0.75)), one(1, (3.0, 1.5), (0.35, 0.65))]


# The document


def test_the_same_records_give_the_same_bytes_in_another_process():
    code = f"{DRAW}; sys.stdout.buffer.write(text.encode())"
    written = {
        subprocess.run(
            [sys.executable, "-c", code, str(EDGE)],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(written) == 1
    assert str(EDGE.parents[1]).encode() not in written.pop()


def test_it_is_drawn_without_loading_pytorch_or_pandas():
    code = f"{DRAW}; print([name for name in ('torch', 'pandas', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(EDGE)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_policy_lets_only_what_stands_in_the_page_run(results):
    read = Reader(drawn(results))
    policy = next(each["content"] for each in read.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}

    def hashed(body):
        return f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"

    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert rules["script-src"] == [hashed(body) for tag, kind, body in read.bodies if tag == "script" and kind is None]
    assert rules["style-src"] == [hashed(body) for tag, _, body in read.bodies if tag == "style"]
    assert "unsafe" not in policy


def test_it_refers_to_nothing_outside_but_the_papers_links(results):
    read = Reader(drawn(results))
    assert [each["href"] for each in read.all("link")] == ["data:,"]
    assert not any("src" in attributes for _, attributes in read.tags)
    links = [each["href"] for each in read.all("a")]
    assert all(link.startswith(("#", "https://")) for link in links)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_or_note_becomes_no_element_and_no_attribute(name, make_result):
    harmless, hostile = (
        drawn([make_result(text, status="stand-in", note=text, settings=(text,))], title=text)
        for text in ("harmless", name)
    )
    kept = ("script", "img", "svg", "style", "link")
    assert [t for t, _ in Reader(hostile).tags if t in kept] == [t for t, _ in Reader(harmless).tags if t in kept]
    assert not any(key.startswith("on") for _, attributes in Reader(hostile).tags for key in attributes)
    assert data_of(hostile)["charts"]["latency"]["networks"][0]["label"] == f"{name}, {name}"


def test_data_of_the_figures_cannot_end_its_script_or_a_line_of_it(make_result):
    text = drawn([make_result("a\u2028b</script>&c")])
    body = next(body for _, kind, body in Reader(text).bodies if kind == "application/json")
    assert not set(body) & set("<>&\u2028\u2029")


def test_notes_captions_and_machines_stand_on_it(results):
    text = drawn(results)
    assert "Stand-in: Stands in for another." in text
    assert "conv+matmul-v1" in text
    assert "2.9.0" in text
    assert "Some CPU, 2 cores" in text


def test_figures_without_their_table_have_sections_of_their_own(results):
    tables = {stem: table for stem, table in report(results, built_in()).items() if stem == "memory"}
    sections = [each["id"] for each in Reader(page("x", results, tables, built_in())).all("section")]
    assert sections == ["section-table-memory", "figure-explorer", "figure-latency", "machines", "again"]


def test_results_without_any_number_give_a_page_too(make_result):
    failed = dataclasses.replace(make_result(), measurements=(Measurement("macs", "count", failure="no memory"),))
    text = drawn([dataclasses.replace(failed, environment=None)])
    assert "no memory" in text
    assert data_of(text)["charts"] == {}


# What the figures are drawn from


def test_every_numeric_column_is_an_axis_and_one_that_repeats_another_is_not(results):
    chart = explorer(results, report(results, built_in()), built_in().networks)
    ids = [axis["id"] for axis in chart["axes"]]
    assert {"efficiency.parameters", "efficiency.macs", "efficiency.latency_s", "latency.p90_s"} <= set(ids)
    assert "memory.parameters" not in ids
    assert "efficiency.name" not in ids
    by_label = {point["label"]: point["values"] for point in chart["points"]}
    assert by_label["quick"]["efficiency.parameters"] == {"raw": 2_000_000, "text": "2.000 M"}
    assert "efficiency.macs" not in by_label["middling"]


def test_rows_of_a_table_that_leaves_a_result_out_find_their_results(results):
    columns = (Column("peak", "Peak"), Column("other", "Other"))
    rows = tuple(head(result) | {"peak": place, "other": 7 - place} for place, result in enumerate(results[1:]))
    chart = explorer(results, {"memory": Table("Memory", columns, rows)}, built_in().networks)
    found = {point["label"]: point["values"]["memory.peak"]["raw"] for point in chart["points"]}
    assert found == {"quick": 0, "middling": 1}


def test_equal_results_are_reported_apart(make_result):
    twice = [make_result("a"), make_result("a")]
    assert [network["label"] for network in charts(twice, {}, {})["latency"]["networks"]] == ["a", "a (2)"]
    assert len(explorer(twice, report(twice, built_in()), built_in().networks)["points"]) == 2


def test_an_axis_has_the_accuracies_of_one_paper_on_one_data_set(make_result):
    results = [make_result("resmaskingnet"), make_result("cbam_resnet50")]
    chart = explorer(results, report(results, built_in()), built_in().networks)
    axis = next(each for each in chart["axes"] if each["id"] == "accuracy.001.FER2013")
    assert (axis["title"], axis["better"]) == ("Accuracy on FER2013, paper 001 (%)", "higher")
    values = [point["values"]["accuracy.001.FER2013"] for point in chart["points"]]
    assert [value["raw"] for value in values] == [74.14, 73.39]  # paper 001, Table II
    assert values[0]["text"] == "74.14 % (Table II)"


OWN_BUILD = Conditions((1, 48, 48), 7, passes=1)  # as make_result has it
LARGE = Conditions((3, 224, 224), 8, passes=1)


def printing(**conditions):
    """Networks of a sheet by name, each with an accuracy of its name's value under these conditions."""
    figures = {
        name: Figure("accuracy", name[1:], "%", "1", "T", dataset="F", conditions=c) for name, c in conditions.items()
    }
    return {name: ModelSpec(name, Source("zoo", name, name), name, published=(f,)) for name, f in figures.items()}


def of_another_build(result, shape, classes, **counts):
    build = {"input_shape": list(shape), "num_classes": classes, "counts": counts, "warnings": []}
    more = Measurement("published_builds", "count", (counts["macs"],), details={"builds": [build]})
    return dataclasses.replace(result, measurements=(*result.measurements, more))


def test_an_accuracy_of_a_counted_build_has_a_point_with_the_costs_of_that_build(make_result):
    results = [of_another_build(make_result("n60"), (3, 224, 224), 8, macs=9_000_000), make_result("n50")]
    chart = explorer(results, report(results, built_in()), printing(n60=LARGE, n50=OWN_BUILD))
    by_label = {point["label"]: point["values"] for point in chart["points"]}
    assert "accuracy.1.F" not in by_label["n60"]
    assert by_label["n60"]["efficiency.macs"]["raw"] == 2_000_000
    other = by_label["n60, 3x224x224, 8 classes"]
    assert (other["accuracy.1.F"]["raw"], other["efficiency.macs"]["raw"]) == (60, 9_000_000)
    assert "efficiency.latency_s" not in other  # nobody measured that
    assert all("apart" not in values["accuracy.1.F"] for values in (other, by_label["n50"]))


def test_an_accuracy_of_another_build_says_so(make_result):
    results = [make_result("n60"), make_result("n50"), make_result("n40")]
    known = printing(n60=LARGE, n50=OWN_BUILD, n40=dataclasses.replace(OWN_BUILD, passes=10))
    chart = explorer(results, report(results, built_in()), known)
    apart = {point["label"]: point["values"]["accuracy.1.F"].get("apart") for point in chart["points"]}
    assert apart == {
        "n60": "the accuracy is for 3x224x224 and 8 classes, the cost for 1x48x48 and 7 classes",
        "n50": None,
        "n40": "the accuracy is for 10 passes per image, the cost for one",
    }


def test_what_a_paper_published_is_a_point_of_its_own():
    columns = (Column("name", "Network"), Column("macs", "MACs", units.scaled), Column("parameters", "Parameters"))
    row = {"name": "theirs", "paper": "mine", "macs": 5_000_000, "parameters": 7}
    table = Table("Efficiency", columns, (row, {**row, "name": "others"}))
    chart = explorer([], {"efficiency": table}, {})
    assert [(point["label"], point["kind"]) for point in chart["points"]] == [
        ("theirs (paper mine)", "published"),
        ("others (paper mine)", "published"),
    ]


def test_latencies_are_the_runs_quantiles_process_by_process_fastest_first(make_result):
    runs = tuple(0.001 * (10 + number) for number in range(21))  # 10 to 30 ms
    slow = make_result("slow", Measurement("latency_s", "s", runs, process=1), without=("latency_s",))
    networks = charts([slow, make_result("quick")], {}, {})["latency"]["networks"]
    assert [network["label"] for network in networks] == ["quick", "slow"]
    (strip,) = networks[1]["strips"]
    assert [value["raw"] for value in strip["quantiles"]] == pytest.approx([0.011, 0.015, 0.020, 0.025, 0.029])
    assert (strip["process"], strip["runs"], strip["quantiles"][2]["text"]) == (2, 21, "20.00 ms")


def test_a_roof_has_the_rate_of_the_machine_and_a_point_its_intensity(make_result):
    result = make_result(
        "net",
        Measurement("operator_macs", "count", (3_000_000, 1_000_000)),
        Measurement("operator_bytes", "bytes", (1_000_000, 1_000_000)),
    )
    attainable = {"macs_per_s": 1e11, "copy_bytes_per_s": [[1e5, 5e10], [1e8, 1e10]], "operator_s": 1e-6}
    result = dataclasses.replace(result, environment=dataclasses.replace(result.environment, attainable=attainable))
    chart = charts([result, make_result("no roof")], {}, {})["roofline"]
    (point,), (machine,) = chart["points"], chart["machines"]
    assert point["intensity"] == {"raw": 2, "text": "2.00 MAC/B"}
    assert point["rate"] == {"raw": 4e8, "text": "400 MMAC/s"}  # in 10 ms
    assert point["share_text"] == "0.400 %"
    assert machine["peak"] == {"raw": 1e11, "text": "100 GMAC/s"}
    assert machine["slopes"] == [["memory", 1e10], ["cache", 5e10]]
    assert "roofline" not in charts([make_result()], {}, {})


def test_every_machine_has_its_roof_and_every_result_its_place_below_one(make_result):
    """What a picture leaves out, a page shows: results under other settings and of other machines."""
    operators = [
        Measurement(f"operator_{what}", unit, (1_000_000,)) for what, unit in (("macs", "count"), ("bytes", "B"))
    ]

    def at(threads, peak):
        result = make_result("net", *operators)
        attainable = {"macs_per_s": peak, "copy_bytes_per_s": [[1e8, 1e10]], "operator_s": 1e-6}
        where = dataclasses.replace(result.environment, threads=threads, attainable=attainable)
        return dataclasses.replace(result, environment=where)

    chart = charts([at(1, 1e11), at(2, 2e11), at(2, 2e11)], {}, {})["roofline"]
    assert [point["label"] for point in chart["points"]] == ["net, threads 1", "net, threads 2", "net, threads 2 (2)"]
    assert [point["share_text"] for point in chart["points"]] == ["0.100 %", "0.0500 %", "0.0500 %"]  # of 1e8 MAC/s
    assert [machine["label"] for machine in chart["machines"]] == [
        "cpu, 1 thread: 100 GMAC/s, 10.0 GB/s from memory",
        "cpu, 2 threads: 200 GMAC/s, 10.0 GB/s from memory",
    ]


def test_small_neighbours_are_one_among_networks_and_reported_one_by_one_of_a_network(layered):
    first, second = charts(layered, {}, {})["modules"]["networks"]
    assert (first["label"], first["macs"]) == ("layered", "2.00 M")
    assert (first["kind"], second["kind"]) == ("measured", "doubted")
    assert [part["path"] for part in first["whole"]] == ["stem", "body.0", "body.1", "others"]
    others = first["whole"][3]
    assert (others["share_text"], others["merged"]) == ("5.00 %", "neck, head, (network, outside modules)")
    assert [(part["path"], part["macs"], part["share_text"]) for part in first["parts"]] == [
        ("stem", "500 k", "25.0 %"),
        ("body.0", "800 k", "40.0 %"),
        ("body.1", "600 k", "30.0 %"),
        ("neck", "40.0 k", "2.00 %"),
        ("head", "40.0 k", "2.00 %"),
        ("(network, outside modules)", "20.0 k", "1.00 %"),
    ]
    assert (
        charts(layered, {}, {})["modules"]["left_out"] == "1 more result under other settings or repeated: not drawn."
    )


def test_a_sweep_has_the_networks_of_several_batch_sizes_with_latency_and_rate(layered):
    chart = charts(layered, {}, {})["sweep"]
    (network,) = chart["networks"]
    assert network["label"] == "layered"
    assert [(s["batch"], s["latency"]["text"], s["rate"]["text"]) for s in network["steps"]] == [
        (1, "10.00 ms", "100"),
        (4, "20.00 ms", "200"),
    ]
    low, high = network["steps"][1]["latency"]["interval"]
    assert network["steps"][1]["rate"]["interval"] == [4 / high, 4 / low]
    assert chart["axes"]["latency"]["title"] == "Latency of a batch (ms)"


def test_without_modules_or_other_batch_sizes_there_is_no_such_figure(results):
    assert not {"modules", "sweep"} & set(charts(results, {}, {}))
    assert not {"modules", "sweep"} & set(data_of(drawn(results))["charts"])


def test_learning_curves_are_means_over_seeds_with_the_lowest_and_the_highest(trained):
    chart = charts(trained, {}, {})["curves"]
    assert [axis["title"] for axis in chart["axes"]] == ["Loss", "Accuracy (%)"]
    (training,) = chart["trainings"]
    assert training["label"] == "net, rao2023"
    losses, shares = training["panels"]
    assert [(curve["images"], curve["seeds"]) for curve in losses] == [("training", 2), ("validation", 2)]
    assert [epoch["raw"] for epoch in losses[0]["epochs"]] == [2.0, 1.0]
    last = shares[1]["epochs"][1]
    assert (last["text"], last["interval"], last["interval_text"]) == ("70.0 %", [0.65, 0.75], "65.0 % to 75.0 %")


# In the browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def visit(driver, tmp_path):
    """Open a page in a clean browser of a desk's width."""

    def visit(text, width=1280, **features):
        browser.resize(driver, width)
        browser.prefer(driver, **{"prefers_color_scheme": "light", **features})
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        driver.get(path.as_uri())
        driver.execute_script("localStorage.clear()")  # files share one storage: a theme that another test chose
        browser.complaints(driver), browser.requests(driver)
        driver.refresh()
        driver.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
        return driver

    return visit


def one(driver, selector):
    return driver.find_element("css selector", selector)


def all_of(driver, selector):
    return driver.find_elements("css selector", selector)


def wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 20).until(condition)


def names(driver, table="table-efficiency"):
    """Read the first cells of the rows that are shown, without the numbers of notes."""
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].filter((row) => !row.hidden)"
        ".map((row) => row.cells[0].firstChild.textContent.trim())"
    )
    return driver.execute_script(script, table)


def heading(driver, key, table="table-efficiency"):
    return one(driver, f"#{table} th[data-key={key}]")


def select(element, text):
    from selenium.webdriver.support.ui import Select

    Select(element).select_by_visible_text(text)


def tip(driver):
    box = one(driver, ".tip")
    return box.text if box.is_displayed() else ""


def point_at(driver, element, dx=0, dy=0):
    from selenium.webdriver.common.action_chains import ActionChains

    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(driver).move_to_element_with_offset(element, dx, dy).perform()


def press(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def marks(driver, chart):
    return wait(driver, lambda d: all_of(d, f"figure[data-chart={chart}] .point"))


def test_measured_accuracies_have_figures_by_class_of_confusion_and_of_reliability(visit, evaluated):
    from selenium.webdriver.common.keys import Keys

    said = evaluated("good", LABELS, GOOD), evaluated("poor", LABELS, POOR), evaluated("d", LABELS, POOR, rendered=True)
    driver = visit(drawn(said))
    cells = marks(driver, "confusion")
    assert [cell.text for cell in cells] == ["90", "10", "0", "25", "75", "0", "50", "0", "50"]
    assert cells[3].get_attribute("aria-label") == "sad taken for happy; Images: 10 of 40; Share: 25.0 %"
    assert cells[4].get_attribute("aria-label").startswith("sad recognised; Images: 30 of 40")
    driver.execute_script("arguments[0].focus()", cells[0])
    press(driver, Keys.ARROW_DOWN)
    assert tip(driver).startswith("sad taken for happy")
    select(one(driver, "figure[data-chart=confusion] select"), "poor: FER2013, private")
    assert [cell.text for cell in marks(driver, "confusion")][-3:] == ["0", "100", "0"]
    by_class = [mark.get_attribute("aria-label") for mark in marks(driver, "classes")]
    assert "good: FER2013, private, happy; Images: 50; Recall: 90.0 % (95 % interval 79–96 %)" in by_class[0]
    assert len(by_class) == 6
    assert len(marks(driver, "classes_rendered")) == 3
    select(one(driver, "figure[data-chart=classes] select"), "Precision (%)")
    assert len(marks(driver, "classes")) == 6
    (bin_,) = {mark.get_attribute("aria-label").partition("; ")[2] for mark in marks(driver, "reliability")}
    assert bin_.startswith("Confidence, mean: 80.0 %; Accuracy: 80.0 % (95 % interval 71–87 %)")
    assert browser.complaints(driver) == []


def test_learning_curves_show_loss_and_accuracy_by_epoch(visit, trained):
    from selenium.webdriver.common.keys import Keys

    driver = visit(drawn(trained))
    found = marks(driver, "curves")
    assert [mark.get_attribute("aria-label") for mark in found][2:] == [
        "net, rao2023; Epoch: 1; Loss of validation images: 2.00 (2 seeds, 1.00 to 3.00)",
        "net, rao2023; Epoch: 2; Loss of validation images: 1.00 (2 seeds, 0.500 to 1.50)",
    ]
    figure = one(driver, "figure[data-chart=curves]")
    lines = [line.get_attribute("stroke-dasharray") for line in figure.find_elements("css selector", ".line")]
    assert lines == ["5 4", None]
    assert len(figure.find_elements("css selector", ".band")) == 2
    select(figure.find_element("css selector", "select"), "Accuracy (%)")
    driver.execute_script("arguments[0].focus()", marks(driver, "curves")[0])
    press(driver, Keys.END)
    assert tip(driver).splitlines()[1:] == [
        "Epoch 2",
        "Accuracy of validation images 70.0 % (2 seeds, 65.0 % to 75.0 %)",
    ]
    assert browser.complaints(driver) == []


@pytest.mark.parametrize("how", ["click", "keyboard"])
def test_a_heading_sorts_by_raw_values_up_down_and_back(how, visit, results):
    from selenium.webdriver.common.keys import Keys

    driver = visit(drawn(results))
    button = heading(driver, "parameters").find_element("css selector", "button")

    def act():
        if how == "click":
            button.click()
        else:
            button.send_keys(Keys.ENTER)
        return names(driver), heading(driver, "parameters").get_attribute("aria-sort")

    assert act() == (["middling", "slow", "quick"], "ascending")
    assert act() == (["quick", "slow", "middling"], "descending")
    assert act() == (["slow", "quick", "middling"], "none")


def test_times_sort_by_their_values_and_not_by_their_texts(visit, results):
    driver = visit(drawn(results))
    heading(driver, "latency_s").find_element("css selector", "button").click()
    assert names(driver) == ["quick", "middling", "slow"]
    heading(driver, "name").find_element("css selector", "button").click()
    assert names(driver) == ["middling", "quick", "slow"]
    assert heading(driver, "latency_s").get_attribute("aria-sort") == "none"


def test_a_missing_value_comes_last_in_either_direction(visit, results):
    driver = visit(drawn(results))
    button = heading(driver, "macs").find_element("css selector", "button")
    button.click()
    assert names(driver) == ["quick", "slow", "middling"]
    button.click()
    assert names(driver) == ["slow", "quick", "middling"]


def test_rows_are_filtered_by_words_in_any_column_or_in_one(visit, results):
    driver = visit(drawn(results))
    tools = one(driver, "#section-table-efficiency .tools")
    search = tools.find_element("css selector", "input[type=search]")
    search.send_keys("QUI")
    assert names(driver) == ["quick"]
    assert tools.find_element("css selector", ".status").text == "1 of 3 rows"
    search.clear()
    search.send_keys("950")
    assert names(driver) == ["middling"]
    select(tools.find_element("css selector", "select"), "Network")
    search.send_keys(" ")
    assert names(driver) == []


def test_columns_are_chosen(visit, results):
    driver = visit(drawn(results))
    one(driver, "#section-table-efficiency .columns summary").click()
    box = one(driver, "#section-table-efficiency .boxes").find_element("xpath", ".//label[span='MACs']/input")
    box.click()
    assert not heading(driver, "macs").is_displayed()
    assert heading(driver, "flops").is_displayed()
    box.click()
    assert heading(driver, "macs").is_displayed()


def test_verdicts_are_filtered_and_shown_by_a_sign_beside_the_colour(visit, results):
    driver = visit(drawn(results, AUDIT))
    printed = (
        "return [...document.querySelectorAll('#audit tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => row.cells[1].textContent)"
    )
    select(one(driver, "#audit select[data-column=verdict]"), "unit error")
    assert driver.execute_script(printed) == ["7.74 ns"]
    select(one(driver, "#audit select[data-column=verdict]"), "all")
    select(one(driver, "#audit select[data-column=paper]"), "004")
    assert driver.execute_script(printed) == ["4.14 B", "nearly 5"]
    signs = driver.execute_script(
        "return [...document.querySelectorAll('#audit td .tone')].map((shown) => "
        "[shown.textContent, getComputedStyle(shown, '::before').content, getComputedStyle(shown).color])"
    )
    verdicts = ["confirmed", "confirmed", "unit error", "another convention", "out of scope"]
    assert [text for text, _, _ in signs] == verdicts
    assert len({sign for _, sign, _ in signs}) == len({colour for _, _, colour in signs}) == len(set(verdicts))


def test_a_pointer_on_a_mark_shows_the_numbers_and_the_interval(visit, results):
    driver = visit(drawn(results))
    mark = next(m for m in marks(driver, "explorer") if m.get_attribute("aria-label").startswith("slow"))
    assert tip(driver) == ""
    point_at(driver, mark)
    told = tip(driver).splitlines()
    assert told[0] == "slow"
    assert "MACs 3.00 M" in told
    assert any(line.startswith("Latency (ms) 100") and "95 % interval" in line for line in told)
    press(driver, "\ue00c")
    assert tip(driver) == ""


def test_the_keyboard_reaches_every_mark_with_one_stop_of_the_tab_key(visit, results):
    from selenium.webdriver.common.keys import Keys

    driver = visit(drawn(results))
    found = marks(driver, "explorer")
    assert [mark.get_attribute("tabindex") for mark in found] == ["0", "-1"]
    driver.execute_script("document.querySelector('figure[data-chart=explorer] button').focus()")
    press(driver, Keys.TAB)
    assert tip(driver).startswith("quick")
    press(driver, Keys.ARROW_RIGHT)
    assert tip(driver).startswith("slow")
    told = driver.switch_to.active_element.get_attribute("aria-label")
    assert told.startswith("slow; MACs: 3.00 M; Latency (ms): 100")
    press(driver, Keys.HOME)
    assert tip(driver).startswith("quick")
    press(driver, Keys.TAB)
    assert tip(driver) == ""


def test_other_axes_draw_other_points_and_another_front(visit, results):
    driver = visit(drawn(results))
    figure = one(driver, "figure[data-chart=explorer]")
    marks(driver, "explorer")
    across, up = figure.find_elements("css selector", "select")

    def shown():
        front = figure.find_elements("css selector", ".point.front")
        names = [mark.get_attribute("aria-label").partition(";")[0] for mark in front]
        return figure.find_element("css selector", ".status").text, names

    assert shown() == ("2 of 3 have both quantities. 1 on the Pareto front.", ["quick"])  # less of both
    select(across, "Parameters")
    assert shown() == ("3 of 3 have both quantities. 2 on the Pareto front.", ["middling", "quick"])
    select(up, "Images/s")  # of which more is better: the same networks, since it follows from the latency
    assert shown() == ("3 of 3 have both quantities. 2 on the Pareto front.", ["middling", "quick"])
    select(up, "Classes")
    assert "No front" in shown()[0]
    assert shown()[1] == []


def test_an_accuracy_of_another_build_is_marked_and_on_no_front(visit, make_result):
    results = [make_result("n60"), make_result("n50")]
    known = printing(n60=LARGE, n50=OWN_BUILD)
    registry = SimpleNamespace(networks=known, papers={})
    driver = visit(page("Page", results, report(results, built_in()), registry))
    figure = one(driver, "figure[data-chart=explorer]")
    marks(driver, "explorer")
    _, up = figure.find_elements("css selector", "select")
    select(up, "Accuracy on F, paper 1 (%)")
    found = {mark.get_attribute("aria-label"): mark.get_attribute("class") for mark in marks(driver, "explorer")}
    (marked,) = (label for label in found if label.startswith("n60 \N{DAGGER};"))
    assert "the accuracy is for 3x224x224 and 8 classes, the cost for 1x48x48 and 7 classes" in marked
    assert [label.partition(";")[0] for label, look in found.items() if "front" in look] == ["n50"]
    said = figure.find_element("css selector", ".status").text
    assert (
        "1 marked \N{DAGGER}: the accuracy is for another build than the cost, or of several passes; on no front."
        in said
    )


def test_an_axis_is_logarithmic_or_linear_as_the_reader_wants(visit, results):
    driver = visit(drawn(results))
    figure = one(driver, "figure[data-chart=explorer]")
    across = figure.find_elements("css selector", "select")[0]
    select(across, "Parameters")
    marks(driver, "explorer")
    box = figure.find_elements("css selector", "input[type=checkbox]")[0]

    def shares():
        """Tell where the middle one of 950, 1000 and 2 million parameters stands between the others."""
        places = [float(mark.get_attribute("cx")) for mark in figure.find_elements("css selector", ".mark")]
        return (places[1] - places[0]) / (places[2] - places[0])

    assert box.is_selected()
    assert shares() == pytest.approx(math.log(1000 / 950) / math.log(2_000_000 / 950), rel=1e-6)
    box.click()
    assert shares() == pytest.approx(50 / 1_999_050, rel=1e-6)


def test_the_latency_figure_shows_each_process_on_either_scale(visit, results):
    driver = visit(drawn(results))
    strips = marks(driver, "latency")
    assert len(strips) == 9
    point_at(driver, strips[0])
    told = tip(driver).splitlines()
    assert told[:3] == ["quick", "Process 1, 3 runs", "Median 9.000 ms"]
    assert "Reconstruction or stand-in" in told
    select(one(driver, "figure[data-chart=latency] select"), "in milliseconds")
    assert len(marks(driver, "latency")) == 9


def test_rows_of_one_network_at_several_settings_are_reported_apart(visit, make_result):
    results = [of_modules(make_result, name="a_network_of_a_long_name", batch=batch) for batch in (1, 4)]
    driver = visit(drawn(results))
    marks(driver, "latency")
    rows = [row.text for row in all_of(driver, "figure[data-chart=latency] .row")]
    assert rows == ["a_network_o\u2026me, batch 1", "a_network_o\u2026me, batch 4"]


def test_the_roofline_figure_shows_the_rate(visit):
    results = read_file(EDGE)
    driver = visit(drawn(results))
    mark = next(m for m in marks(driver, "roofline") if m.get_attribute("aria-label").startswith("resnet50"))
    point_at(driver, mark)
    assert tip(driver).splitlines()[0] == "resnet50"
    assert "of attainable" in tip(driver)


def test_the_figure_of_modules_shows_each_of_all_networks_or_of_one(visit, layered):
    from selenium.webdriver.common.keys import Keys

    driver = visit(drawn(layered))
    figure = one(driver, "figure[data-chart=modules]")
    found = marks(driver, "modules")
    assert len(found) == 8
    point_at(driver, found[0])
    assert tip(driver).splitlines() == [
        "layered: stem",
        "Type Conv2d",
        "MACs 500 k, 25.0 % of the network's 2.00 M",
        "Parameters 10",
    ]
    point_at(driver, found[7])
    told = tip(driver).splitlines()
    assert told[0] == "doubtful: others"
    assert {"Modules neck, head, (network, outside modules)", "Reconstruction or stand-in"} <= set(told)
    select(figure.find_element("css selector", "select"), "layered")
    assert len(marks(driver, "modules")) == 6
    names = [text.text for text in figure.find_elements("css selector", ".row")]
    assert names == ["stem", "body.0", "body.1", "neck", "head", f"{'(network, outside modules)'[:23]}\u2026"]
    driver.execute_script("arguments[0].focus()", figure.find_element("css selector", "select"))
    press(driver, Keys.TAB)
    assert tip(driver).startswith("layered: stem")
    press(driver, Keys.ARROW_DOWN)
    assert tip(driver).startswith("layered: body.0")
    told = driver.switch_to.active_element.get_attribute("aria-label")
    assert told.startswith("layered: body.0; Type: Conv2d; MACs: 800 k, 40.0 %")


def test_the_batch_sweep_shows_latency_and_rate_on_either_axis(visit, layered):
    from selenium.webdriver.common.keys import Keys

    driver = visit(drawn(layered))
    figure = one(driver, "figure[data-chart=sweep]")

    def titles():
        return [title.text for title in figure.find_elements("css selector", ".title")]

    found = marks(driver, "sweep")
    assert len(found) == 2
    assert titles() == ["Batch size", "Latency of a batch (ms)"]
    point_at(driver, found[1])
    told = tip(driver).splitlines()
    assert told[0] == "layered, batch 4"
    assert told[1].startswith("Latency of a batch 20.00 ms (95 % interval")
    assert told[2].startswith("Images/s 200 (95 % interval")
    shown = figure.find_element("css selector", "select")
    select(shown, "Images/s")
    assert titles() == ["Batch size", "Images/s"]
    driver.execute_script("arguments[0].focus()", shown)
    press(driver, Keys.TAB, Keys.END)
    assert tip(driver).startswith("layered, batch 4")
    assert driver.switch_to.active_element.get_attribute("aria-label") == "; ".join(
        ["layered, batch 4", told[1].replace("batch 20", "batch: 20"), told[2].replace("s 200", "s: 200")]
    )


def test_the_figure_of_backends_shows_the_latency_by_each(visit, make_result):
    eager = make_result("layered")
    half = make_result("layered", Measurement("latency_s", "s", (0.005,) * 5), without=("latency_s",))
    deployed = dataclasses.replace(half, plan=dataclasses.replace(half.plan, backend="onnxruntime"))
    driver = visit(drawn([eager, deployed]))
    found = marks(driver, "backends")
    assert len(found) == 2
    point_at(driver, found[1])
    assert tip(driver).splitlines() == ["layered, onnxruntime", "Latency 5.00 ms"]
    assert "PyTorch" in one(driver, "figure[data-chart=backends]").text


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_modules_are_shown_as_they_are_on_any_screen(width, visit, make_result):
    results = [
        of_modules(make_result, name=name, part=name, kind=name, batch=batch, settings=("n" * 300,))
        for name in HOSTILE
        for batch in (1, 2)
    ]
    driver = visit(drawn(results), width=width)
    for chart in ("modules", "sweep"):
        found = marks(driver, chart)
        assert {mark.get_attribute("aria-label")[:7] for mark in found} == {name[:7] for name in HOSTILE}
        point_at(driver, found[0])
        assert tip(driver).startswith(HOSTILE[0])
        assert driver.execute_script("return document.documentElement.scrollWidth") == width
    assert all_of(driver, "img, iframe, object, embed, [onerror], [onload]") == []
    assert browser.requests(driver) == [driver.current_url]
    assert browser.complaints(driver) == []


def test_a_finger_on_a_mark_shows_the_numbers_and_they_stay(visit, results):
    driver = visit(drawn(results), width=360)
    mark = marks(driver, "explorer")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    box = driver.execute_script("const { x, y } = arguments[0].getBoundingClientRect(); return { x, y }", mark)
    for kind, points in (("touchStart", [box]), ("touchEnd", [])):
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait(driver, lambda d: tip(d).startswith("quick"))


def test_a_note_is_shown_where_its_number_stands(visit, results):
    driver = visit(drawn(results))
    point_at(driver, one(driver, "#table-efficiency sup a"))
    assert tip(driver) == "Note 1\nStand-in: Stands in for another."


def colours(driver):
    return driver.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_remembered(visit, results):
    driver = visit(drawn(results))
    light = colours(driver)
    browser.prefer(driver, prefers_color_scheme="dark")
    dark = colours(driver)
    assert light != dark
    button = one(driver, "#theme")
    button.click()
    assert (button.text, colours(driver)) == ("Theme: light", light)
    driver.refresh()
    assert colours(driver) == light
    one(driver, "#theme").click()
    browser.prefer(driver, prefers_color_scheme="light")
    assert (one(driver, "#theme").text, colours(driver)) == ("Theme: dark", dark)


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    parts = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(scheme, visit, results, layered, evaluated):
    driver = visit(drawn([*results, *layered, evaluated("good", LABELS, GOOD)], AUDIT), prefers_color_scheme=scheme)
    marks(driver, "latency")
    marks(driver, "modules"), marks(driver, "sweep"), marks(driver, "confusion"), marks(driver, "classes")
    script = """
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    };
    const behind = (element) => {
      for (; element; element = element.parentElement) {
        const colour = rgba(getComputedStyle(element).backgroundColor);
        if (colour[3] === 1) return colour;
      }
    };
    const told = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
      const style = getComputedStyle(element);
      const colour = element instanceof SVGElement ? style.fill : style.color;
      told.push([element.tagName, element.className.baseVal ?? element.className, rgba(colour), behind(element)]);
    }
    return told;
    """
    told = driver.execute_script(script)
    assert len(told) > 100
    low = []
    for tag, name, front, back in told:
        bright, dim = sorted((luminance(front), luminance(back)), reverse=True)
        if (bright + 0.05) / (dim + 0.05) < 4.5:
            low.append((tag, name, front, back))
    assert low == []


def test_on_a_phone_a_table_scrolls_in_its_box_and_its_names_stay(visit):
    results = read_file(EDGE)
    driver = visit(drawn(results, AUDIT), width=360)
    marks(driver, "explorer")
    assert driver.execute_script("return document.documentElement.scrollWidth") == 360
    for axis in all_of(driver, "figure .axis"):
        assert len(axis.find_elements("css selector", "text:not(.title)")) > 1
    box = one(driver, "#section-table-efficiency .scroll")
    assert driver.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    left = "return document.querySelector('#table-efficiency tbody th').getBoundingClientRect().left"
    before = driver.execute_script(left)
    driver.execute_script("arguments[0].scrollLeft = 300", box)
    assert driver.execute_script("return arguments[0].scrollLeft", box) == 300
    assert driver.execute_script(left) == before


def test_long_names_do_not_make_a_phone_scroll_either(visit, make_result):
    driver = visit(drawn([make_result("n" * 300, status="stand-in", note="m" * 500)], title="t" * 200), width=360)
    marks(driver, "latency")
    assert driver.execute_script("return document.documentElement.scrollWidth") == 360


def test_motion_is_left_out_where_the_reader_wants_none(visit, results):
    driver = visit(drawn(results), prefers_reduced_motion="reduce")
    driver.execute_script("document.documentElement.style.scrollBehavior = ''")
    assert driver.execute_script("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_a_page_in_use_asks_for_nothing_and_complains_of_nothing(visit):
    driver = visit(drawn(read_file(EDGE), AUDIT))
    for chart in ("explorer", "latency", "roofline"):
        point_at(driver, marks(driver, chart)[0])
    heading(driver, "latency_s").find_element("css selector", "button").click()
    one(driver, "#theme").click()
    assert browser.requests(driver) == [driver.current_url]
    assert browser.complaints(driver) == []


def test_the_browser_refuses_what_the_policy_does_not_name(visit, results):
    driver = visit(drawn(results))
    ran = driver.execute_script(
        "const image = document.createElement('img'); image.src = 'https://example.invalid/x.png';"
        "const script = document.createElement('script');"
        "try { script.textContent = 'window.ran = true'; } catch (error) { window.refused = error.name; }"
        "document.body.append(image, script); return [window.ran, window.refused]"
    )
    assert ran == [None, "TypeError"]
    wait(driver, lambda d: any("img-src" in text for text in browser.complaints(d)))


def test_hostile_names_and_notes_are_shown_as_they_are_and_nothing_runs(visit, make_result):
    def one_of(name, macs):
        return make_result(name, Measurement("macs", "count", (macs,)), without=("macs",), status="stand-in", note=name)

    columns = tuple(Column(key, key, align="left") for key in ("paper", "verdict"))
    audit = Table(HOSTILE[0], columns, tuple({"paper": name, "verdict": name} for name in HOSTILE), HOSTILE[1])
    results = [one_of(name, 10**place) for place, name in enumerate(HOSTILE, start=3)]
    driver = visit(drawn(results, {"audit": audit}, title=HOSTILE[0]))
    assert names(driver) == names(driver, all_of(driver, "#audit table")[0].get_attribute("id")) == HOSTILE
    notes = [note.text for note in all_of(driver, "#section-table-efficiency .fer-notes li")]
    assert [note for note in notes if note.startswith("Stand-in")] == [f"Stand-in: {name}" for name in HOSTILE]
    assert one(driver, "h1").text == HOSTILE[0]
    for mark in marks(driver, "explorer"):
        point_at(driver, mark)
        assert tip(driver).splitlines()[0] in HOSTILE
    heading(driver, "name").find_element("css selector", "button").click()
    assert all_of(driver, "img, iframe, object, embed, [onerror], [onload]") == []
    assert len(all_of(driver, "script")) == 3
    assert browser.requests(driver) == [driver.current_url]
    assert browser.complaints(driver) == []


def test_without_scripts_and_in_print_the_tables_are_all_there(visit, results):
    driver = visit(drawn(results))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not one(driver, "#section-table-efficiency .tools").is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.refresh()
        assert "middling" in one(driver, "#table-efficiency").text
        assert one(driver, "noscript p").is_displayed()
        assert not one(driver, "#theme").is_displayed()
        assert all_of(driver, ".tools") == []
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
