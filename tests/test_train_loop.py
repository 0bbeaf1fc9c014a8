"""The loop of training: it goes on to the same bits, refuses what does not fit, and says what selected the weights."""

import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.accuracy.batches import Batches, derived, hold_out
from fer_bench.accuracy.evaluate import predict
from fer_bench.accuracy.train import MODEL, STATE, train
from fer_bench.accuracy.training_types import Epoch, Settings
from fer_bench.networks.contract import InputContract
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError, StoreError, TrainingError
from support import training
from support.training import CLASSES, CONTRACT, Method, dataset, network, trained

pytest.importorskip("accelerate")


def bits(folder: Path) -> dict[str, Tensor]:
    """Return every tensor of a state: weights, running statistics and the optimiser's moments."""
    state = torch.load(folder / STATE, weights_only=True)
    moments = {
        f"{place} {name}": value for place, of in state["optimizer"]["state"].items() for name, value in of.items()
    }
    return state["network"] | moments


def assert_same_bits(first: Path, second: Path) -> None:
    ours, theirs = bits(first), bits(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def losses(folder: Path) -> list[tuple[float, float]]:
    history = torch.load(folder / STATE, weights_only=True)["history"]
    return [(epoch["training_loss"], epoch["validation_loss"]) for epoch in history]


def selected(folder: Path) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Return the metadata and the weights of a checkpoint."""
    with safe_open(folder / MODEL, "pt") as opened:
        return opened.metadata(), {key: opened.get_tensor(key).tolist() for key in opened.keys()}  # noqa: SIM118


def program(folder: Path, end_after: int, number: int) -> int:
    command = [sys.executable, training.__file__, str(folder), str(end_after), str(number)]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    trained(folder)
    return folder


def test_a_training_killed_twice_ends_with_the_same_bits(whole: Path, tmp_path: Path) -> None:
    assert program(tmp_path, 4, signal.SIGKILL) == -signal.SIGKILL  # within the first epoch of five steps
    assert program(tmp_path, 8, signal.SIGKILL) == -signal.SIGKILL  # within a later one
    assert program(tmp_path, 0, 0) == 0
    assert_same_bits(whole, tmp_path)
    assert losses(whole) == losses(tmp_path)
    assert selected(whole) == selected(tmp_path)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert [(epoch, step) for epoch, step, _ in state["resumed"]] == [(1, 2), (2, 2)]
    assert [why for _, _, why in state["resumed"]] == ["", ""]  # to the bit


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_step_that_it_interrupts(whole: Path, tmp_path: Path, number: int) -> None:
    assert program(tmp_path, 3, number) not in (0, -number)
    assert torch.load(tmp_path / STATE, weights_only=True)["part"]["step"] == 3
    trained(tmp_path)
    assert_same_bits(whole, tmp_path)


def test_the_number_of_workers_changes_nothing(whole: Path, tmp_path: Path) -> None:
    trained(tmp_path, workers=2)
    assert_same_bits(whole, tmp_path)


def test_another_seed_is_another_training(whole: Path, tmp_path: Path) -> None:
    trained(tmp_path, seed=1)
    assert losses(whole) != losses(tmp_path)


def test_the_loop_computes_what_one_written_by_hand_does(whole: Path) -> None:
    """Whole epochs of the same batches, by PyTorch alone."""
    net, data = network(), dataset()
    method = Method(net)
    batches = Batches(data, CONTRACT, method, Settings())
    for epoch in (1, 2, 3):
        net.train()
        for step, (images, targets) in enumerate(batches.loader(epoch, 0)):
            torch.manual_seed(derived(0, epoch, step))
            method.optimizer.zero_grad()
            functional.cross_entropy(net(images), targets).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            method.optimizer.step()
        method.after_epoch(None, lambda: None)  # type: ignore[arg-type]  # which it does not look at
    kept = torch.load(whole / STATE, weights_only=True)["network"]
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())


def test_each_epoch_has_every_image_once_in_another_order() -> None:
    batches = Batches(dataset(), CONTRACT, Method(network()), Settings())
    orders = []
    for epoch in (1, 2):
        list(batches.loader(epoch, 0))
        orders.append(batches._order.tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert orders[0] != orders[1]


def test_the_selected_weights_are_those_of_the_best_epoch(whole: Path) -> None:
    history = torch.load(whole / STATE, weights_only=True)["history"]
    best = max(history, key=lambda epoch: epoch["validation_accuracy"])
    metadata, weights = selected(whole)
    by = json.loads(metadata["selected_on"])
    assert (by["on"], by["split"], by["epoch"]) == ("validation", "validation", best["epoch"])
    net = network()
    net.load_state_dict({key: torch.tensor(values) for key, values in weights.items()})
    seen = predict(net, dataset(30, "validation", seed=1), InputContract.of(json.loads(metadata["input_contract"])))
    assert sum(seen.hits) / 30 == best["validation_accuracy"]
    assert by["images_sha256"] == seen.images_sha256


@pytest.mark.parametrize(("split", "test"), [("test", ""), ("last-20", "last-20")])
def test_a_test_split_that_selects_is_warned_of(tmp_path: Path, split: str, test: str) -> None:
    settings = Settings(test=test)
    made = train(network(), dataset(), dataset(30, split, seed=1), CONTRACT, Method, tmp_path, settings)
    assert made.selection.on == "test"
    assert "selected on the test set" in made.warnings[0]


def test_nothing_selects_the_last_epoch(tmp_path: Path) -> None:
    made = train(network(), dataset(), None, CONTRACT, lambda net: Method(net, selects="last"), tmp_path)
    assert (made.selection.on, made.selection.epoch) == ("last", 3)
    with pytest.raises(FerBenchError, match="there are no validation images"):
        train(network(), dataset(), None, CONTRACT, Method, tmp_path / "other")


class _Worse(Method):
    """Spoils its classifier in its second epoch, its last, and asks for the selected weights then."""

    epochs, selects = 2, "validation_loss"

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__(net)
        self.classifier, self.evaluations = net[-1], 0

    def before_evaluation(self, batches: Callable[[], Iterator[Tensor]]) -> None:
        self.evaluations += 1
        if self.evaluations == self.epochs:
            nn.init.constant_(self.classifier.bias[0], 1000)

    def after_epoch(self, epoch: Epoch, restore: Callable[[], None]) -> str:
        if epoch.epoch == self.epochs:
            restore()
        return ""


def test_a_method_gets_the_selected_weights_back(tmp_path: Path) -> None:
    made = train(net := network(), dataset(), dataset(30, "validation", 1), CONTRACT, _Worse, tmp_path)
    assert made.selection.epoch == 1
    _, weights = selected(tmp_path)
    assert {name: value.tolist() for name, value in net.state_dict().items()} == weights
    assert all(bits(tmp_path)[name].tolist() == value for name, value in weights.items())


class _NaN(Method):
    """Its loss is no number from the second step of the second epoch on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.steps = 0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.steps += 1
        return super().loss(outputs, targets) * (float("nan") if self.steps > 6 else 1)


def test_a_loss_that_is_no_number_ends_it_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is nan at step 2 of 5 of epoch 2: the weights of epoch 1"):
        train(network(), dataset(), dataset(30, "validation", 1), CONTRACT, _NaN, tmp_path, Settings(keep_steps=1))
    assert all(bool(value.isfinite().all()) for value in bits(tmp_path).values())


def test_a_folder_of_another_training_is_refused_with_the_difference(whole: Path) -> None:
    before = (whole / STATE).read_bytes()
    with pytest.raises(FerBenchError, match=r"recipe\.rate was 0\.01, and is 0\.1; try: --fresh"):
        train(
            network(),
            dataset(),
            dataset(30, "validation", 1),
            CONTRACT,
            lambda net: Method(net, rate=0.1),
            whole,
            name="small",
        )
    with pytest.raises(FerBenchError, match="training data was noise, training, 40 images"):
        train(network(), dataset(41), dataset(30, "validation", 1), CONTRACT, Method, whole, name="small")
    assert (whole / STATE).read_bytes() == before


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    data = dataset(classes=(*CLASSES, "fear"))
    with pytest.raises(FerBenchError, match=r"the data have 4 classes .* and the network 3"):
        train(network(), data, data, CONTRACT, Method, tmp_path)
    with pytest.raises(FerBenchError, match="the network has 4 outputs, and the data 3 classes"):
        train(network(4), dataset(), dataset(30, "validation"), CONTRACT, Method, tmp_path)


def test_a_full_disk_ends_it_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="free some space"):
        trained(tmp_path)
    assert not (tmp_path / STATE).exists()


class _TooLarge(Method):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.empty(2**60).sum()


def test_too_little_memory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"too little memory for steps of 8 images .* smaller batch"):
        train(network(), dataset(), dataset(30, "validation"), CONTRACT, _TooLarge, tmp_path)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"no state")
    with pytest.raises(FerBenchError, match="cannot be read as a state of training"):
        trained(tmp_path)


def test_fp16_needs_a_gpu_and_bf16_trains_on_the_cpu(tmp_path: Path) -> None:
    validation = dataset(30, "validation", 1)
    with pytest.raises(FerBenchError, match="fp16 is trained on a GPU only"):
        train(network(), dataset(), validation, CONTRACT, Method, tmp_path, Settings(precision="fp16"))
    made = train(network(), dataset(), validation, CONTRACT, Method, tmp_path, Settings(precision="bf16", epochs=1))
    assert len(made.history) == 1


def test_images_that_select_are_held_out_by_class_or_by_person() -> None:
    left, held = hold_out(dataset(60), 0.1)
    assert (len(left), len(held), held.split) == (54, 6, "0.1 of training")
    assert not set(left.ids) & set(held.ids)
    assert list(held.counts().values()) == [2, 2, 2]
