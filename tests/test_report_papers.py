"""The papers' tables: cell for cell as the papers print them, and ours beside, from results whose numbers are round."""

import dataclasses

import pytest

from fer_bench.networks.registry import Registry, built_in
from fer_bench.records.plan import OCCUPANCY, REALTIME, Plan
from fer_bench.records.result import Measurement
from fer_bench.reporting import tables
from fer_bench.reporting.tables.baselines import published_rows
from fer_bench.reporting.tables.printed import printed_tables
from fer_bench.reporting.tables.structure import match

# The tables, typed in from the papers' texts; a dash is a cell that the paper leaves open.
TABLES = {
    "paper001_table2": """
        ResAttNet56     | 6.33 B  | 29.77 M | 17.69 ns | 72.63 %
        Densenet121     | 2.89 B  | 6.96 M  | 19.57 ns | 73.16 %
        Resnet152       | 11.60 B | 58.16 M | 23.66 ns | 73.22 %
        Cbam_resnet50   | 4.14 B  | 26.05 M | 16.94 ns | 73.39 %
        ResMaskingNet   | 26.76 B | 142.9 M | 17.63 ns | 74.14 %
        MobileNetV3     | 0.23 B  | 5.48 M  | 7.48 ns  | 64.78 %
        MobiExpressNet  | 1.09 M  | 75.08 K | –        | 67.96 %
        Imp-MobileNetV3 | 0.19 B  | 1.29 M  | 8.93 ns  | 68.14 %
        RASN            | 1.83 B  | 14.4 M  | –        | 71.44 %
        Proposed Method | 0.425 B | 3.45 M  | 7.74 ns  | 73.47 %""",
    "paper001_table1": """
        Transformer Block 1 | 32 × 56 × 56  | K = 7, S = 4, P = 3
        Transformer Block 2 | 64 × 28 × 28  | K = 3, S = 2, P = 1
        Transformer Block 3 | 128 × 14 × 14 | K = 3, S = 2, P = 1
        Transformer Block 4 | 256 × 7 × 7   | K = 3, S = 2, P = 1
        Fusion Block        | 256 × 7 × 7   | MaxPool2, Concat
        Average pooling     | 256 × 1 × 1   | –
        FC, Softmax         | 7             | –""",
    "paper002_table1": """
        Horizontal Flip           | –
        Vertical Flip             | –
        Random Grayscale          | 0.2
        Height Shift Range        | 0.28
        Width Shift Range         | 0.75
        Rotation Range            | 90
        colour jitter, brightness | 0.2
        colour jitter, contrast   | 0.2
        colour jitter, hue        | 0.2
        Normalisation             | –""",
    "paper002_table2": """
        System | Ubuntu 22.04
        CPU    | AMD Ryzen 9 5900HS""",
    "paper002_table3": """
        RARN         | 57.51 %
        InceptionNet | 56.47 %
        MobielNet    | 36.34 %""",
    "paper003_table1": """
        RESNETV2-50                      | 89.21 %
        NON-LOCALRESNETV2-50 (STAGE 3-4) | 90.13 %
        NON-LOCALRESNETV2-50 (STAGE 1-2) | 89.82 %""",
    "paper003_table2": """
        RESNETV2-50                      | 76.02 %
        NON-LOCALRESNETV2-50 (STAGE 3-4) | 77.14 %
        NON-LOCALRESNETV2-50 (STAGE 1-2) | 76.68 %""",
    "paper004_table1": """
        Angry    | 0.62 | 0.01 | 0.10 | 0.03 | 0.12 | 0.13 | 0.10
        Disgust  | 0.26 | 0.55 | 0.05 | 0.04 | 0.06 | 0.02 | 0.03
        Fear     | 0.12 | 0.01 | 0.40 | 0.05 | 0.20 | 0.11 | 0.11
        Happy    | 0.02 | 0.00 | 0.02 | 0.88 | 0.02 | 0.02 | 0.05
        Sad      | 0.10 | 0.01 | 0.10 | 0.09 | 0.53 | 0.01 | 0.15
        Surprise | 0.03 | 0.00 | 0.10 | 0.04 | 0.02 | 0.75 | 0.03
        Neutral  | 0.04 | 0.00 | 0.05 | 0.08 | 0.11 | 0.02 | 0.65""",
    "paper004_table2": """
        VGG-Net                  | 98.98 % | 59.32 % | 2.39
        ResNet-50                | 98.87 % | 57.48 % | 2.10
        CNN                      | 99.70 % | 58.90 % | 2.11
        HOG+CNN [41]             | –       | 61.86 % | –
        Improved Inception [42]  | –       | 66.41 % | –
        Network from [43]        | –       | 66.40 % | –
        Network from [44]        | –       | 64.98 % | –
        CNN-based+Softmax [45]   | –       | 65.03 % | –
        Net EXP_DAL_MSE [46]     | –       | 61.59 % | –
        ShallowNet [47]          | –       | 63.49 % | –
        SN(D&BN) [47]            | –       | 64.78 % | –
        Network from [48]        | –       | 65.60 % | –
        ResNet (ReLU-Maxout) [49] | –      | 66.51 % | –
        Ryank [50]               | –       | 65.08 % | –
        DenseNet-1 [28]          | –       | 70.91 % | –
        Sub-network1 [50]        | –       | 67.00 % | –
        Our model                | 71.00 % | 67.00 % | 0.98""",
    "paper004_table3": """
        VGG-Net        | 10 | 4 | 3 | 87566680
        ResNet-50      | 49 | 2 | 1 | 25500000
        DenseNet-1[28] | 36 | 4 | 1 | 95263
        Our model      | 15 | 9 | 0 | 58423""",
    "paper004_table4": """
        VGG-Net   | 18.50 % | 22.05 % | 3.11 % | 4.6 %
        ResNet-50 | 25.00 % | 29.50 % | 5.92 % | 5.9 %
        CNN       | 8.67 %  | 16.00 % | 4.62 % | 12.5 %
        Our model | 16.67 % | 18.97 % | 1.38 % | 4.3 %""",
    "paper004_table5": """
        VGG-Net   | 21.50 % | 24.67 % | 5.90 %  | 3.2 %
        ResNet-50 | 49.78 % | 53.67 % | 15.73 % | 2.9 %
        CNN       | 10.83 % | 15.12 % | 3.95 %  | 12.0 %
        Our model | 17.5 %  | 21.12 % | 2.65 %  | 3.1 %""",
    "paper004_table6": """
        ExpNet [51]       | –       | 71.00 % | –
        Network from [52] | –       | 72.55 % | –
        Network from [53] | –       | 78.00 % | –
        Our model         | 96.93 % | 87.71 % | 0.6224""",
}
HEADINGS = {
    "paper001_table1": ["Layer name", "Output size", "Detail"],
    "paper001_table2": ["Light Models", "fer_bench: network", "Flops", "Parm", "Time", "Acc"],
    "paper002_table2": ["Row", "As published"],
    "paper004_table1": ["Our model", "Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"],
    "paper004_table4": ["Model", "fer_bench: network", "CPU", "Us", "Sy", "MEM"],
}
# Shapes in the order in which modules are registered, for a network that has the printed ones with one misprint.
SHAPES = [(32, 56, 56), (32, 56, 56), (64, 28, 28), (160, 14, 14), (256, 7, 7), (32, 7, 7), (64, 7, 7), (160, 7, 7)]
SHAPES += [(256, 7, 7), (256, 1, 1), (256,), (7,)]
PRINTED = [(32, 56, 56), (64, 28, 28), (128, 14, 14), (256, 7, 7), (256, 7, 7), (256, 1, 1), (7,)]


def grid(table, without=("name",)):
    """The written cells row by row, without our name of the network."""
    columns = [column for column in table.columns if column.key not in without]
    return [[column.text(row) for column in columns] for row in table.rows]


MIB = 2**20


def cells(table):
    """Each row's cells by heading, by the row's label."""
    return {row[0]: dict(zip([c.heading for c in table.columns], row, strict=True)) for row in table.written()}


def counts(**values):
    return [Measurement(metric.replace("__", "."), "count", (value,)) for metric, value in values.items()]


def modules(shapes):
    told = [
        {"path": f"part{place}", "type": "Conv2d", "parameters": 10 * place, "output_shape": list(shape)}
        for place, shape in enumerate(shapes)
    ]
    values = tuple(1000 * place for place in range(len(shapes)))
    return Measurement("module_macs", "count", values, details={"batch": 1, "modules": told})


def occupied(stage, share):
    """A second of two cores of which the process keeps a share of both busy."""
    details = {"cores": 2, "memory_bytes": 1024 * MIB, "images": 10}
    seconds = {"process_user_s": 2 * share, "process_system_s": 0.0, "machine_user_s": 2 * share}
    seconds |= {"machine_system_s": 0.0, "machine_idle_s": 0.0, "machine_steal_s": 0.0}
    return [
        Measurement(f"{stage}.interval_s", "s", (1.0,), details=details),
        *(Measurement(f"{stage}.{metric}", "s", (value,)) for metric, value in seconds.items()),
        Measurement(f"{stage}.rss_bytes", "bytes", (256 * MIB,)),
    ]


def papers(results=(), registry=None):
    return tables.papers(results, registry or built_in())


def baselines_of(registry):
    return [spec for spec in registry.networks.values() if not spec.can_be_built]


def report(results, registry):
    return tables.report(results, registry, baselines_of(registry))


@pytest.fixture
def users_sheets(tmp_path):
    """Write sheets of a user's own and read them beside ours."""

    def write(text):
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        return Registry([tmp_path])

    return write


@pytest.mark.parametrize("stem", TABLES)
def test_a_table_is_drawn_cell_for_cell_as_printed(stem):
    expected = [[cell.strip() for cell in line.split("|")] for line in TABLES[stem].strip().splitlines()]
    assert grid(papers()[stem]) == expected


def test_every_table_of_the_papers_is_drawn_in_their_order_and_named_by_its_stem():
    assert list(papers()) == sorted(["paper000_table1", *TABLES])
    assert all(table.name == stem for stem, table in papers().items())


def test_a_recipe_and_a_machine_in_one_table_are_a_list():
    table = papers()["paper000_table1"]
    rows = dict(grid(table))
    assert len(rows) == 14
    assert (rows["Epochs"], rows["Optimizer"], rows["GPU Memory"]) == ("200", "Adam", "128 GB")
    assert any("The card has 48 GB" in text for text in table.footnotes)


@pytest.mark.parametrize("stem", HEADINGS)
def test_columns_are_headed_as_printed_and_there_are_none_of_ours_without_results(stem):
    assert [column.heading for column in papers()[stem].columns] == HEADINGS[stem]


def test_a_caption_credits_the_paper_and_says_what_its_columns_mean():
    caption = papers()["paper001_table2"].caption
    assert caption.startswith(
        "As published in Towards Efficient Deep Learning Models for Facial Expression Recognition"
    )
    assert "Flops: floating-point operations per second, in the paper's words." in caption
    assert "Data: FER2013. No accuracy was measured here." in caption
    assert "fer_bench" not in caption


def test_a_cell_that_the_text_lost_says_so():
    table = papers()["paper002_table1"]
    numbers = table.note_numbers()[0]
    assert [table.note_texts[number - 1] for number in numbers] == ["Value: The cell is lost in the text."]


def test_ours_stand_beside_the_printed_quantity_with_macs_and_flops_apart(make_result):
    table = papers([make_result("resnet152", input_shape=(3, 224, 224))])["paper001_table2"]
    row = cells(table)["Resnet152"]
    row.pop("95 % interval (ms)", None)
    assert row == {
        "Light Models": "Resnet152",
        "fer_bench: network": "resnet152",
        "Input": "3x224x224",
        "Classes": "7",
        "Flops": "11.60 B",
        "fer_bench: MACs": "2.00 M",
        "fer_bench: FLOPs": "4.00 M",
        "Parm": "58.16 M",
        "fer_bench: trainable": "1,000",
        "fer_bench: by Keras": "1,200",
        "Time": "23.66 ns",
        "fer_bench: ms a batch": "10",  # the passes' spread leaves two digits
        "Acc": "73.22 %",
    }
    assert "batch 2, float32, cpu (Some CPU), 2 threads, allocator: system; Linux" in table.caption
    assert "conv+matmul-v1" in table.caption
    assert cells(table)["Densenet121"]["fer_bench: MACs"] == "–"


def test_each_rule_of_counting_layers_has_a_column(make_result):
    layers = counts(layers__conv=23, layers__conv_separable_once=15, layers__conv_shortcut=4)
    layers += counts(layers__pool=5, layers__fc=0)
    table = papers([make_result("mini_xception", *layers)])["paper004_table3"]
    row = cells(table)["Our model"]
    ours = [row[f"fer_bench: {h}"] for h in ("conv", "separable once", "no shortcuts", "pooling", "FC")]
    assert ours == ["23", "15", "19", "5", "0"]
    assert (row["Conv"], row["fer_bench: by Keras"]) == ("15", "1,200")
    assert "as built with torch 2.9.0" in table.caption
    assert "cpu (" not in table.caption  # counts do not depend on it


def test_a_row_has_the_result_of_the_build_that_its_paper_had(make_result):
    grey = make_result("resnet50", *counts(layers__conv=1), input_shape=(1, 48, 48))
    own = make_result("resnet50", *counts(layers__conv=53), input_shape=(3, 224, 224))
    assert cells(papers([grey, own])["paper004_table3"])["ResNet-50"]["fer_bench: conv"] == "53"
    assert cells(papers([grey])["paper004_table3"])["ResNet-50"]["fer_bench: conv"] == "1"
    first, second = (make_result("resnet152", input_shape=shape) for shape in ((3, 48, 48), (3, 224, 224)))
    assert cells(papers([first, second])["paper001_table2"])["Resnet152"]["Input"] == "3x224x224"
    table = papers([first])["paper001_table2"]
    assert cells(table)["Resnet152"]["Input"] == "3x48x48"
    said = "Different builds: the accuracy is for 3x224x224 and 7 classes, the cost for 3x48x48 and 7 classes."
    assert any(said in note for note in table.footnotes)


def test_training_and_testing_have_their_own_occupation(make_result):
    result = make_result("mini_xception", *occupied("training", 0.75), *occupied("testing", 0.5))
    result = dataclasses.replace(result, plan=OCCUPANCY)
    drawn = papers([result])
    rows = [cells(drawn[f"paper004_table{number}"])["Our model"] for number in (4, 5)]
    assert [row["fer_bench: CPU (%)"] for row in rows] == ["75.00", "50.00"]
    assert [row["fer_bench: RSS (MiB)"] for row in rows] == ["256", "256"]
    assert "RSS: 25.00 % of this machine's 1020 MiB." in drawn["paper004_table5"].note_texts
    assert "Protocol occupancy: batch 32" in drawn["paper004_table4"].caption


def system(make_result, fps, share, **more):
    """A run of the whole system: ten frames in a second of two cores, half a joule each."""
    about = {"source": "clip.mp4", "detector": "mtcnn, min face 20", "policy": "latest" if fps else "block", "fps": fps}
    joules = {"images": 10, "idle_joules": 1.0, "idle_w": 1.0, "window_s": 1.0, "source": "RAPL"}
    measured = [
        Measurement("live.offered", "count", (24,), details={**about, **more}),
        *occupied("live", share),
        Measurement("energy_j", "J", (5.0,), details=joules),
    ]
    result = make_result("mini_xception", *measured, without=("latency_s", "macs"))
    return dataclasses.replace(result, plan=Plan(REALTIME, metrics=(REALTIME,)))


def test_the_whole_system_stands_beside_testing_at_each_load(make_result):
    alone = make_result("mini_xception", *occupied("training", 0.75), *occupied("testing", 0.5))
    alone = dataclasses.replace(alone, plan=OCCUPANCY)
    drawn = papers([alone, system(make_result, 24.0, 0.25), system(make_result, None, 0.5, others_cores=0.5)])
    table = drawn["paper004_table5"]
    headings = [column.heading for column in table.columns]
    paced, saturated = (dict(zip(headings, row, strict=True)) for row in table.written() if row[0] == "Our model")
    assert paced == {
        "Model": "Our model",
        "fer_bench: network": "mini_xception",
        "Input": "1x48x48",
        "Classes": "7",
        "Load": "24 frames/s, latest",
        "CPU": "17.5 %",
        "fer_bench: CPU (%)": "25.00",
        "us": "21.12 %",
        "fer_bench: us (%)": "25.00",
        "sy": "2.65 %",
        "fer_bench: sy (%)": "0.00",
        "MEM": "3.1 %",
        "fer_bench: RSS (MiB)": "256",
        "Frames/s": "10.0",
        "CPU ms per frame": "50.0",  # half a core for a tenth of a second
        "J/frame": "0.500",
    }
    ours = ("Load", "CPU", "fer_bench: CPU (%)", "CPU ms per frame")
    assert [saturated[heading] for heading in ours] == ["saturated", "17.5 %", "50.00", "100"]
    assert "Its machine: Intel (R) Core (TM) i5-8400 CPU @ 2.80GHz, 16G, NVIDIA GeForce GTX 1060" in table.caption
    assert "System: clip.mp4, mtcnn, min face 20. Load: " in table.caption
    assert "Other programs kept 0.50 cores busy." in table.note_texts  # us and sy are theirs, too
    assert "Protocol realtime" in table.caption
    assert "Protocol occupancy" not in table.caption
    assert {source.stage for source in table.sources if source.results} == {"live"}
    assert drawn["paper004_table4"] == papers([alone])["paper004_table4"]


def test_sources_that_differ_have_a_column(make_result):
    runs = [system(make_result, 24.0, 0.25, source=source) for source in ("a.mp4", "b.mp4")]
    table = papers(runs)["paper004_table5"]
    assert [row.get("source") for row in table.rows if row["row"] == "Our model"] == ["a.mp4", "b.mp4"]
    assert "Source" in [column.heading for column in table.columns]
    assert "System: mtcnn, min face 20." in table.caption


def test_a_reconstruction_and_a_doubtful_time_are_footnotes_of_their_rows(make_result):
    doubtful = make_result("rasn", status="reconstruction", note="low confidence")
    table = papers([doubtful, make_result("resnet152")])["paper001_table2"]
    by_row = {row["row"]: numbers for row, numbers in zip(table.rows, table.note_numbers(), strict=True)}
    texts = {label: [table.note_texts[number - 1] for number in numbers] for label, numbers in by_row.items()}
    assert "Reconstruction: low confidence" in texts["RASN"]
    assert any(text.startswith("Time: Must be milliseconds") for text in texts["Resnet152"])
    assert any(text.startswith("too few processes") for text in texts["Resnet152"])


def test_results_of_other_networks_add_no_column(make_result):
    assert papers([make_result("my_net")])["paper001_table2"] == papers()["paper001_table2"]


def test_our_machine_stands_beside_the_printed_one_and_reports_what_that_leaves_out(make_result):
    table = papers([make_result()])["paper002_table2"]
    assert grid(table)[:3] == [
        ["System", "Ubuntu 22.04", "Linux"],
        ["CPU", "AMD Ryzen 9 5900HS", "Some CPU, 2 cores"],
        ["Memory", "–", "8190 MiB"],
    ]
    assert ["Packages", "–", "torch 2.9.0"] in grid(table)
    assert not any(row[0].startswith("GPU") for row in grid(table))  # there is none
    # A recipe is followed by nobody here.
    assert [column.heading for column in papers([make_result()])["paper002_table1"].columns][1:] == ["As published"]


def test_parts_are_found_by_size_and_order_and_a_misprint_by_its_neighbours():
    # The stage and not the encoder around it; the misprinted third; the fusion's map and not the fourth stage's again.
    assert match(PRINTED, SHAPES) == {0: 1, 1: 2, 2: 3, 3: 4, 4: 8, 5: 9, 6: 11}
    assert match([(1,), (2,), (3,)], [(1,), (3,)]) == {0: 0, 2: 1}
    assert match([(1,), (2,), (3,)], [(1,), (9,), (8,), (3,)]) == {0: 0, 2: 3}


def test_the_built_network_s_parts_stand_beside_the_printed_ones(make_result):
    result = make_result("mit_fusion", modules(SHAPES), *counts(macs=20_000), without=("macs",))
    rows = cells(papers([result])["paper001_table1"])
    third = rows["Transformer Block 3"]
    assert (third["Output size"], third["Output"], third["Module"]) == ("128 × 14 × 14", "160x14x14", "part3")
    assert (third["Parameters"], third["MACs"], third["of all MACs"]) == ("30", "3,000", "15.0 %")
    assert rows["Transformer Block 1"]["Module"] == "part1"  # the stage, not what is around it
    assert rows["FC, Softmax"]["Module"] == "part11"


def test_a_network_that_gives_other_sizes_or_is_not_of_the_paper_is_not_beside_it(make_result):
    other = make_result("resnet152", modules([(64, 112, 112), (256, 56, 56), (7,)]))
    stranger = make_result("mini_xception", modules(SHAPES))
    assert papers([other, stranger])["paper001_table1"] == papers()["paper001_table1"]


def test_the_architecture_of_any_network_is_drawn_once_for_all_settings(make_result):
    result = make_result("my_net", modules([(8, 4, 4), (7,)]), *counts(macs=4_000), without=("macs",))
    again = dataclasses.replace(result, plan=dataclasses.replace(result.plan, batch_size=8))
    table = tables.details([result, again, make_result("other")], built_in())["architecture"]
    assert grid(table, without=()) == [
        ["my_net", "1x48x48", "part0", "Conv2d", "8x4x4", "0", "0", "0 %"],
        ["my_net", "1x48x48", "part1", "Conv2d", "7", "10", "1,000", "25.0 %"],
    ]
    assert "architecture" not in tables.details([make_result()], built_in())


BASELINES = """
[smith]
title = "Smith's"
published = [
  { quantity = "parameters", printed = "1.2", unit = "M", paper = "smith2024", where = "Table 3" },
  { convention = "SAID", quantity = "flops", printed = "0.3", unit = "G", paper = "smith2024", where = "Table 3" },
  { quantity = "latency", printed = "4.25", unit = "ms", paper = "smith2024", where = "section 5" },
  { quantity = "accuracy", printed = "71.5", unit = "%", dataset = "FER2013", paper = "smith2024", where = "Table 3" },
]
"""


@pytest.mark.parametrize(
    ("convention", "heading"),
    [
        ("FLOPs", "FLOPs"),
        ("FLOPs = 2 x MACs", "FLOPs"),
        ("MACs, by thop", "MACs"),
        ("", "printed FLOPs, as the paper has them"),
        ("floating-point operations per second", "printed FLOPs, as the paper has them"),
        ("FLOPs are not defined", "printed FLOPs, as the paper has them"),
    ],
)
def test_printed_operations_stand_under_what_the_sheet_says_that_they_are(
    convention, heading, users_sheets, make_result
):
    table = report([make_result()], users_sheets(BASELINES.replace("SAID", convention)))["efficiency"]
    ours, theirs = cells(table).values()
    assert theirs[heading] == "300 M"
    printed = ("MACs", "FLOPs", "printed FLOPs, as the paper has them")
    assert [theirs.get(other, "–") for other in printed if other != heading] == ["–", "–"]
    assert (ours["MACs"], ours["FLOPs"]) == ("2.00 M", "4.00 M")


def test_a_baseline_is_a_row_of_printed_values_that_says_so(users_sheets, make_result):
    table = report([make_result()], users_sheets(BASELINES))["efficiency"]
    row = table.rows[1]
    assert (row["parameters"], row["latency_s"]) == (1_200_000, 0.00425)
    written = cells(table)["smith"]
    assert (written["Parameters"], written["Latency (ms)"]) == ("1.2 M", "4.25")  # no digit more than printed
    assert (written["Input"], written["Classes"], written["Memory (MiB)"]) == ("–", "–", "–")
    assert written["Accuracy, as published"] == "71.5 % FER2013 (smith2024, Table 3)"
    (number,) = table.note_numbers()[1]
    assert table.note_texts[number - 1] == (
        "As published: smith2024. parameters 1.2 M (Table 3), latency 4.25 ms (section 5), flops 0.3 G (Table 3); "
        "not measured by us."
    )
    assert report([make_result()], users_sheets(BASELINES))["published"].rows[-1]["name"] == "smith"


def test_what_is_no_number_is_reported_and_not_guessed(users_sheets):
    registry = users_sheets(BASELINES.replace('"1.2"', '"nearly 5"').replace('"4.25"', '"nan"'))
    (entry,) = published_rows(baselines_of(registry), registry.papers)
    assert "parameters" not in entry.cells
    assert "latency_s" not in entry.cells
    assert entry.notes[1:] == ["No number: nearly 5 M.", "No number: nan ms."]


def test_a_user_s_paper_has_its_tables_too_and_its_name_cannot_leave_the_folder(users_sheets):
    registry = users_sheets(BASELINES.replace("smith2024", "../../Smith <b>"))
    table = papers((), registry)["papersmith_b_table3"]
    assert grid(table) == [["smith", "1.2 M", "0.3 G", "71.5 %"]]
    assert table.title == "Paper ../../Smith <b>, Table 3"  # escaping is the formats' business


def test_papers_whose_names_look_alike_as_files_keep_their_tables_apart(users_sheets):
    other = BASELINES.replace("[smith]", "[jones]").replace("smith2024", "smith-2024").replace("1.2", "9.9")
    registry = users_sheets(BASELINES.replace("smith2024", "smith_2024") + other)
    stems = [stem for stem in printed_tables(registry) if stem.startswith("papersmith")]
    assert stems == ["papersmith_2024_table3", "papersmith_2024_table3_2"]
