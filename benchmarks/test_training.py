"""What the loop of training costs over one written by hand, and what it learns on rendered faces.

``pytest benchmarks/test_training.py --studies -s`` prints all. The second is a training of nine epochs by paper 004's
recipe with a one-cycle schedule, killed twice, against one that nothing interrupts: minutes on an idle machine.
"""

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from fer_bench.accuracy.data.dataset import Dataset, Duplicates, Images, InArray, Manifest
from fer_bench.accuracy.data.loading import load_data
from fer_bench.accuracy.data.make_faces import make_faces
from fer_bench.accuracy.evaluate import predict
from fer_bench.accuracy.methods import RecipeMethod
from fer_bench.accuracy.recipes import Recipe, read_recipe
from fer_bench.accuracy.running import deterministic
from fer_bench.accuracy.statistics import wilson
from fer_bench.accuracy.train import MODEL, STATE, _Loop, train
from fer_bench.accuracy.training_types import Settings, Trained
from fer_bench.accuracy.transforms import prepare
from fer_bench.networks.build import Build, create
from fer_bench.networks.checkpoints import load_checkpoint
from fer_bench.networks.registry import find

IMAGES, BATCH, PAIRS = 640, 32, 60
SLOWER = 1.03  # at most, of a step over that of the loop by hand
DRAWN, PERSONS, REACHED = 4400, 300, 0.85  # 3,520 of them are trained on
NOISE = 0.3


def noise() -> Dataset:
    """Return random images of 48x48, of which only the time matters."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (IMAGES, 48, 48), dtype=np.uint8)
    manifest = Manifest("array", (), IMAGES, (), "all", "random", {}, {}, Duplicates({}, {}, 0, ()))
    classes = find("mini_xception").input.classes
    ids = tuple(map(str, range(IMAGES)))
    labels = chance.integers(0, 7, IMAGES)
    return Dataset("random", classes, Images(IMAGES, InArray(pixels)), labels, None, ids, {}, "training", manifest)


def network() -> nn.Module:
    torch.manual_seed(0)
    return create(find("mini_xception"), Build(), "cpu")


def plain() -> Recipe:
    """Return paper 004's recipe without augmentation and L2, which a loop by hand would have, too."""
    return (
        read_recipe("rao2023")
        .with_(augmentation={"flip": 0.0}, loss={"l2": 0.0, "l2_on": []})
        .with_(augmentation=dict.fromkeys(("rotation", "shift_x", "shift_y", "zoom"), 0.0))
    )


def test_a_step_costs_what_one_written_by_hand_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data, contract = noise(), find("mini_xception").input
    ours = _Loop.begun(
        network(), data, None, contract, lambda net: _Last(plain(), net, data, contract), tmp_path, Settings(), "", ""
    )
    by_hand = network().train()
    optimizer = torch.optim.Adam(by_hand.parameters(), 1e-3)
    labels = torch.from_numpy(data.labels)

    def together(numbers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return prepare([data.images[number] for number in numbers], contract), labels[numbers]

    def hand() -> Iterator[None]:
        while True:
            for images, targets in DataLoader(range(IMAGES), BATCH, shuffle=True, collate_fn=together):  # type: ignore[arg-type, var-annotated]
                optimizer.zero_grad(set_to_none=True)
                loss = functional.cross_entropy(by_hand(images), targets)
                loss.backward()
                optimizer.step()
                loss.item()
                yield

    def loop() -> Iterator[None]:
        for epoch in range(1, 100):
            ours.model.train()
            ours.method.begin_epoch()
            for step, (images, targets) in enumerate(ours.data.loader(epoch, 0)):
                ours._step(epoch, step, images, targets)
                yield

    steps = {"loop": loop(), "by hand": hand()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with deterministic([]):
        for pair in range(PAIRS + 5):
            for name in sorted(steps, reverse=bool(pair % 2)):
                began = time.process_time()
                next(steps[name])
                seconds[name].append(time.process_time() - began)
    ratios = [a / b for a, b in zip(seconds["loop"][5:], seconds["by hand"][5:], strict=True)]
    middle = statistics.median(ratios)
    print(f"\na step in the loop takes {middle:.3f} of one by hand (median of {PAIRS} pairs, processor time)")
    print({name: f"{1e3 * statistics.median(of):.1f} ms" for name, of in seconds.items()})
    assert middle < SLOWER


class _Last(RecipeMethod):
    """A recipe's method that keeps the last epoch's weights."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.selects = "last"


def nine_epochs() -> Recipe:
    """Return paper 004's recipe with nine epochs and a one-cycle schedule up to 3e-3."""
    return read_recipe("rao2023").with_(
        "nine epochs suffice",
        epochs=9,
        optimizer={"lr": 3e-3},
        schedule={"kind": "one_cycle"},
        loss={"l2": 0.0, "l2_on": []},
    )


def learn(folder: Path, faces: Path, recipe: Recipe) -> Trained:
    """Train mini_xception, or go on, with one thread."""
    torch.set_num_threads(1)
    training, validation = (load_data(faces, split=split) for split in ("training", "public"))
    contract = recipe.contract(find("mini_xception").input)
    return train(
        network(),
        training,
        validation,
        contract,
        lambda net: RecipeMethod(recipe, net, training, contract),
        folder,
        Settings(keep_steps=20),
        name="mini_xception",
        say=lambda text: print(text, flush=True),
    )


def killed(folder: Path, faces: Path, times: int) -> None:
    """Train in processes of which some are killed at a moment that nobody chose; the last one ends by itself."""
    for number in range(times + 1):
        command = [sys.executable, __file__, str(folder), str(faces)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            last = random.SystemRandom().randrange(20, 120) if number < times else 0
            for place, line in enumerate(program.stdout):
                if place % 20 == 0 or (last and place >= last):
                    print(f"process {number}: {line.strip()}", flush=True)
                if last and place >= last:
                    os.kill(program.pid, signal.SIGKILL)
                    break
    assert program.returncode == 0


def share_right(folder: Path, faces: Path) -> tuple[int, int]:
    """Return hits and images of the last test split, by the kept weights."""
    net, contract = network(), nine_epochs().contract(find("mini_xception").input)
    load_checkpoint(net, str(folder / MODEL), find("mini_xception"))
    seen = predict(net, load_data(faces, split="private"), contract)
    return sum(seen.hits), len(seen)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("faces") / "clean", images=DRAWN, persons=PERSONS)


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    learn(folder, faces, nine_epochs())
    return folder


def test_nine_epochs_killed_twice_learn_rendered_faces_to_the_same_bits(
    whole: Path, faces: Path, tmp_path: Path
) -> None:
    killed(tmp_path, faces, times=2)
    first, second = (torch.load(folder / STATE, weights_only=True) for folder in (whole, tmp_path))
    assert all(torch.equal(value, second["network"][name]) for name, value in first["network"].items())
    hits, images = share_right(tmp_path, faces)
    low, high = wilson(hits, images)
    print(f"\nnine epochs, killed twice: {hits / images:.3f} of {images}, Wilson {low:.3f} to {high:.3f}")
    assert hits / images >= REACHED


def test_label_noise_lowers_accuracy_to_what_it_must(whole: Path, faces: Path, tmp_path: Path) -> None:
    """With noise e the best accuracy is 1 - 6/7 e; a network that errs has less, in proportion."""
    noisy = make_faces(tmp_path / "noisy", images=DRAWN, persons=PERSONS, label_noise=NOISE)
    learn(tmp_path / "out", noisy, nine_epochs())
    clean, images = share_right(tmp_path / "out", faces)
    hits, _ = share_right(tmp_path / "out", noisy)
    right = clean / images
    expected = right * (1 - NOISE * 6 / 7) + (1 - right) * NOISE / 7
    low, high = wilson(hits, images)
    print(
        f"\nnoise {NOISE}: {hits / images:.3f}, {low:.3f} to {high:.3f}; expected {expected:.3f}, ceiling "
        f"{1 - NOISE * 6 / 7:.3f}; {right:.3f} against the clean labels"
    )
    assert low <= expected <= high
    assert low <= 1 - NOISE * 6 / 7


if __name__ == "__main__":
    learn(Path(sys.argv[1]), Path(sys.argv[2]), nine_epochs())
