"""The count of one network: its rows, its tables by module and operator, and where it was taken."""

import json

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from fer_bench import Build, count, find, list_models
from fer_bench.measuring.counting.count import measure_published_builds
from fer_bench.measuring.counting.recorder import Operator, Trace
from fer_bench.measuring.counting.totals import measure_macs
from fer_bench.records.errors import BuildError, CountingError


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Write a network file with the given body of ``forward``, and find it."""

    def write(forward, init="pass"):
        (tmp_path / "net.py").write_text(
            "import torch\nfrom torch import nn\n"
            "class Net(nn.Module):\n"
            "    def __init__(self, num_classes=7):\n"
            "        super().__init__()\n"
            f"        self.fc = nn.Linear(12, num_classes)\n        {init}\n"
            f"    def forward(self, x):\n        {forward}\n"
        )
        return find("net.py:Net")

    monkeypatch.chdir(tmp_path)
    return write


SMALL = Build(input_shape=(3, 2, 2))


@pytest.mark.parametrize("name", ["mini_xception", "mit_fusion", "resmaskingnet", "mtcnn_onet"])
def test_macs_a_sample_are_the_same_for_every_batch(name):
    one, five = count(find(name)), count(find(name), batch=5)
    assert one.row()["macs"] == five.row()["macs"]
    assert five.inference.macs == 5 * one.inference.macs
    assert five.row()["batch"] == 5


@pytest.mark.parametrize("name", list_models())
def test_the_parts_of_every_network_add_up(name):
    counted = count(find(name))
    modules, operators, row = counted.by_module(), counted.by_operator(), counted.row()
    assert sum(part["own_macs"] for part in modules) == sum(part["macs"] for part in operators) == row["macs"]
    assert modules[0] == {**modules[0], "module": "(network)", "macs": row["macs"], "share": 1.0}
    assert row["flops"] == 2 * row["macs"]
    assert row["uncounted"] == {}
    assert row["counted_on"] == "meta"
    assert row["convention"] == "conv+matmul-v1"
    assert json.loads(json.dumps(row)) == row


def test_modules_stand_in_the_order_in_which_they_ran_each_under_its_own():
    names = [part["module"] for part in count(find("densenet121")).by_module()]
    blocks = [name for name in names if name.startswith("features.denseblock3.") and name.count(".") == 2]
    assert blocks == [f"features.denseblock3.denselayer{number}" for number in range(1, 25)]
    assert (names[0], names[-1]) == ("(network)", "classifier")
    assert all(name.rpartition(".")[0] in ("", *names[:place]) for place, name in enumerate(names))


def test_operators_stand_by_cost_and_then_by_calls():
    parts = count(find("mini_xception")).by_operator()
    assert parts[0]["operator"] == "aten::convolution"
    assert parts[0]["calls"] == 23
    kinds = [part["kind"] for part in parts]
    assert kinds == sorted(kinds, key=["counted", "uncounted", "zero"].index)


def test_a_training_step_has_both_halves():
    counted = count(find("resnet50"), train=True)
    training = counted.row()["training"]
    assert training["forward_macs"] == counted.row()["macs"]
    # Each layer's two gradients, but none of the images: twice the forward pass less the first convolution.
    first = 64 * 112 * 112 * 3 * 49
    assert training["backward_macs"] == 2 * 4_087_150_592 - first
    assert training["macs"] == training["forward_macs"] + training["backward_macs"]
    assert training["batch"] == 2
    assert training["peak_activation_bytes"] > counted.row()["peak_activation_bytes"]
    assert training["uncounted"] == {}


def test_classes_and_inputs_can_be_chosen():
    seven, thousand = count(find("mobilenetv3_large")), count(find("mobilenetv3_large"), Build(num_classes=1000))
    assert thousand.inference.macs - seven.inference.macs == 1280 * 993
    assert (seven.num_classes, thousand.num_classes) == (7, 1000)
    small = count(find("resnet50"), Build(input_shape=(1, 48, 48)))
    assert small.inference.macs == 209_307_648  # specs: one channel at 48x48


def test_a_network_that_reads_values_is_counted_on_the_cpu_and_says_so(network):
    counted = count(network("return self.fc(x.flatten(1)) * (1 if x.sum().item() else 2)"), SMALL)
    assert (counted.inference.counted_on, counted.inference.macs) == ("cpu", 84)
    assert counted.row()["counted_on"] == "cpu"


def test_a_network_with_a_constant_on_the_cpu_is_counted_on_fake_tensors(network):
    forward = "return self.fc(x.flatten(1) + torch.ones(12, device='cpu'))"
    assert count(network(forward), SMALL).inference.counted_on == "fake"


def test_a_network_that_reads_values_while_it_is_made_is_built_on_the_cpu(network):
    spec = network("return self.fc(x.flatten(1))", init="self.n = int(self.fc.weight.sum().item() * 0)")
    assert count(spec, SMALL).inference.macs == 84


def test_an_operator_without_a_formula_makes_the_total_a_lower_bound(network):
    counted = count(network("return self.fc(torch.fft.rfft(x).real.flatten(1))"), SMALL)
    measured = measure_macs(counted.inference)
    assert measured.details["uncounted"] == counted.row()["uncounted"] == {"aten::_fft_r2c": 1}
    assert "lower bound" in measured.warnings[0]
    assert "aten::_fft_r2c (1)" in measured.warnings[0]


def test_a_network_that_cannot_run_names_the_shape(network):
    with pytest.raises(CountingError, match=r"Net cannot run on input \(1, 3, 2, 3\)"):
        count(network("return self.fc(x.flatten(1))"), Build(input_shape=(3, 2, 3)))


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_starts_at_one(batch):
    with pytest.raises(CountingError, match="starts at 1"):
        count(find("mini_xception"), batch=batch)


def test_a_factory_that_fails_is_named(network):
    with pytest.raises(BuildError, match="boom"):
        count(network("return x", init="raise ValueError('boom')"), SMALL)


def test_the_builds_of_published_results_are_counted_and_a_refused_one_says_why():
    counted = count(find("resnet50"))
    builds = (((3, 224, 224), 7), ((1, 48, 48), 7), ((3, 64, 96), 8))
    (measured,) = measure_published_builds(find("resnet50"), builds, counted)
    for build, (shape, classes) in zip(measured.details["builds"], builds[1:], strict=True):
        reference = torchvision.models.resnet50(num_classes=classes)
        if shape[0] != 3:
            reference.conv1 = torch.nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
        with FlopCounterMode(display=False) as flops:
            reference.eval()(torch.zeros(1, *shape))
        assert (build["input_shape"], build["num_classes"]) == (list(shape), classes)
        assert build["counts"]["macs"] == flops.get_total_flops() // 2
        assert build["counts"]["parameters.trainable"] == sum(p.numel() for p in reference.parameters())
    assert measured.values == tuple(build["counts"]["macs"] for build in measured.details["builds"])

    (measured,) = measure_published_builds(find("inception_v4"), (((3, 48, 48), 7),), count(find("inception_v4")))
    assert measured.values == ()
    assert "75x75" in measured.details["builds"][0]["failure"]
    assert list(measure_published_builds(find("resnet50"), builds[:1], counted)) == []


def test_a_published_build_whose_classes_the_factory_ignores_is_not_counted(tmp_path):
    """Its counts would stand beside an accuracy of eight classes, and are of seven."""
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\ndef seven():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))\n"
        "def refuses(**kwargs):\n    return seven(**kwargs)\n"
    )
    spec = find(f"{file}:refuses")
    (measured,) = measure_published_builds(spec, (((3, 8, 8), 8),), count(spec))
    assert measured.values == ()
    assert "8 classes were asked for and it has 7 outputs" in measured.details["builds"][0]["failure"]


def test_measurements_hold_every_count_once():
    measured = count(find("mini_xception")).measurements()
    by_name = {m.metric: m for m in measured}
    assert len(by_name) == len(measured)
    assert by_name["parameters.trainable"].values == (56_951,)
    assert by_name["layers.conv_separable_once"].values == (15,)
    assert by_name["macs"].values == (5_520_448,)
    assert by_name["macs"].details["convention"] == "conv+matmul-v1"
    assert {m.unit for m in measured} == {"count", "bytes"}
    calls = by_name.pop("operator_macs"), by_name.pop("operator_bytes")
    by_name.pop("module_macs")  # of which test_anatomy tells
    assert sum(calls[0].values) == 5_520_448
    assert len(calls[0].values) == len(calls[1].values)
    assert all(len(m.values) == 1 for m in by_name.values())


def test_a_total_that_the_batch_does_not_divide_stays_a_fraction():
    assert (Trace(5, "meta").per_sample(10), Trace(4, "meta").per_sample(10)) == (2, 2.5)
    assert isinstance(Trace(5, "meta").per_sample(10), int)


def test_macs_report_both_halves():
    seen = Trace(2, "meta", {"aten::mm": Operator("counted", 1, 30)}, forward_macs=10, backward_macs=20)
    measured = measure_macs(seen)
    assert measured.values == (15,)
    assert (measured.details["forward"], measured.details["backward"]) == (5, 10)
    assert measured.warnings == ()


def test_counting_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    count(find("mini_xception"), train=True)
    assert torch.equal(torch.random.get_rng_state(), before)
