"""A published table that a user typed in."""

import pytest

from fer_bench.auditing import csv_table
from fer_bench.auditing.csv_table import read_table
from fer_bench.networks.registry import built_in
from fer_bench.records.errors import FerBenchError


def claims(tmp_path, text, classes=7, **given):
    path = tmp_path / "theirs.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, built_in(), classes, **given)


@pytest.mark.parametrize(
    ("heading", "quantity", "unit"),
    [
        ("Params (M)", "parameters", "M"),
        ("#Parameters", "parameters", ""),
        ("Parm [K]", "parameters", "K"),
        ("GFLOPs", "flops", "G"),
        ("FLOPs (B)", "flops", "B"),
        ("Flops", "flops", ""),
        ("MACs (G)", "macs", "G"),
        ("GMACs", "macs", "G"),
        ("MMAdds", "macs", "M"),
        ("Mult-Adds (M)", "macs", "M"),
        ("Latency (ms)", "latency", "ms"),
        ("Inference time [us]", "latency", "us"),
        ("Model size (MB)", "file_size", "MB"),
        ("Size [MB]", "file_size", "MB"),
        ("FLOPs (×10^9)", "flops", "B"),
    ],
)
def test_a_heading_says_what_is_below_it_and_in_which_unit(tmp_path, heading, quantity, unit):
    figures = [c.figure for c in claims(tmp_path, f"Model,Params,{heading}\nresnet50,25.5M,1.5\n")]
    found = figures[-1]
    assert (found.quantity, found.printed, found.unit) == (quantity, "1.5", unit)


@pytest.mark.parametrize(
    ("cell", "printed", "unit"),
    [("5.48M", "5.48", "M"), ("5,483,032", "5,483,032", "M"), ("~ 4.1 G", "4.1", "G"), ("5.48*", "5.48", "M")],
)
def test_a_unit_in_the_cell_goes_before_the_heading_s(tmp_path, cell, printed, unit):
    (found,) = claims(tmp_path, f'Model;Params (M)\nresnet50;"{cell}"\n')
    assert (found.figure.printed, found.figure.unit) == (printed, unit)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("resnet50", "resnet50"),
        ("ResNet-50", "resnet50"),
        ("MobileNetV3-Large", "mobilenetv3_large"),
        ("MobileNetV2", "torchvision:mobilenet_v2"),
        ("EfficientNet-B0", "torchvision:efficientnet_b0"),
        ("timm:ghostnet_100", "timm:ghostnet_100"),
        ("mobilenetv3_small_100", "timm:mobilenetv3_small_100"),
        ("ResNet-50 [12]", "resnet50"),
        ("MobileNetV2 (ours)", "torchvision:mobilenet_v2"),
        ("OurNet", ""),
        ("evil.py:network", ""),
        ("os:system", ""),
    ],
)
def test_a_name_finds_the_network_that_it_means(tmp_path, name, network):
    (found,) = claims(tmp_path, f"Method,Params\n{name},1M\n")
    assert (found.network, found.subject) == (network, name)


@pytest.mark.parametrize(
    ("size", "shape"),
    [("224", (3, 224, 224)), ("96x128", (3, 96, 128)), ("1x48x48", (1, 48, 48)), ("224×224×3", (3, 224, 224))],
)
def test_input_classes_and_batch_of_a_row_are_taken(tmp_path, size, shape):
    text = f"Model,Params,Input size,Classes,Time (ms),Batch,GPU\nresnet18,11.7M,{size},10,1.5,32,RTX 3090\n"
    found = claims(tmp_path, text.replace("resnet18", "torchvision:resnet18"), classes=1000)
    assert (found[0].spec.input_shape, found[0].spec.num_classes) == (shape, 10)
    assert found[-1].figure.convention == "batch 32, RTX 3090"


def test_what_the_user_says_goes_for_rows_that_say_nothing(tmp_path):
    (found,) = claims(tmp_path, "Model,Params\nresnet50,25.5M\n", classes=1000, shape=(3, 96, 96))
    assert (found.spec.num_classes, found.spec.input_shape) == (1000, (3, 96, 96))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the table"),
        ("Model,Params\n", "no rows"),
        ("a,b\nc,d\n", "names no column of networks"),
        ("Model,Accuracy\nresnet50,76.1\n", "names no column of networks"),
        ("Model,Params\nresnet50,many\n", "contains no figure"),
        ("Model;Params (M)\nresnet50;25,56\n", "line 2.*a comma groups thousands; write decimals with a point"),
        ("Model,Params\n\nresnet50,60.19.2\n", "line 3.*is not a number"),
        ("Model,Params (parsec)\nresnet50,3\n", "unknown unit 'parsec'"),
        ("Model,Params,Classes\nresnet50,3M,seven\n", "'seven' classes"),
        ("Model,Params,Input\nresnet50,3M,large\n", "is no size"),
        ('Model,Params\n"resnet50,3M\n', "as CSV"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_was_expected(tmp_path, text, message):
    with pytest.raises(FerBenchError, match=message):
        claims(tmp_path, text)


def test_a_table_of_more_rows_than_any_publication_has_is_refused(tmp_path):
    rows = "Net,25.5M\n" * 10_000
    assert len(claims(tmp_path, f"Model,Params\n{rows}")) == 10_000
    with pytest.raises(FerBenchError, match="has 100,000 rows below its headings, and an audit takes up to 10,000"):
        claims(tmp_path, f"Model,Params\n{rows * 10}")


def test_a_name_is_looked_up_once_however_many_rows_have_it(tmp_path, monkeypatch):
    looked_up = []
    network = csv_table._network
    monkeypatch.setattr(csv_table, "_network", lambda name, registry: looked_up.append(name) or network(name, registry))
    found = claims(tmp_path, "Model,Params\n" + "resnet50,25.5M\nOurNet,3M\n" * 30)
    assert looked_up == ["resnet50", "OurNet"]
    assert {claim.network for claim in found} == {"resnet50", ""}


def test_a_missing_file_and_one_of_bytes_are_reported(tmp_path):
    with pytest.raises(FerBenchError, match="cannot read the table"):
        read_table(tmp_path / "missing.csv", built_in())
    (tmp_path / "bytes.csv").write_bytes(b"Model,Params\n\xff\xfe,3\n")
    with pytest.raises(FerBenchError, match="cannot read the table"):
        read_table(tmp_path / "bytes.csv", built_in())


def test_a_count_needs_the_number_of_classes(tmp_path):
    with pytest.raises(FerBenchError, match=r"of how many classes is resnet50.*--classes 1000 for ImageNet"):
        claims(tmp_path, "Model,Params\nresnet50,25.56M\n", classes=None)
    assert claims(tmp_path, "Model,Params\nOurNet,25.56M\n", classes=None)[0].spec is None


def test_a_column_in_a_unit_of_something_else_is_left_alone(tmp_path):
    found = claims(tmp_path, "Model,Params,Latency (fps),Size (px)\nresnet50,25.56M,120,224\n")
    assert [claim.figure.quantity for claim in found] == ["parameters"]


def test_a_cell_that_is_no_number_is_kept_as_words(tmp_path):
    found = claims(tmp_path, "Model,Params,FLOPs\nresnet50,25.56M,<24\nresnet101,-3,NaN\nresnet152,-,n/a\n")
    assert [claim.figure.printed for claim in found] == ["25.56", "<24", "-3", "NaN"]
