"""Images per second of an evaluation against a bare DataLoader loop: the same images, contract, network and batches.

``pytest benchmarks/test_evaluation.py --studies -s`` prints both. Times alternate, and the fastest of each counts.
"""

import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fer_bench.accuracy.data.dataset import Dataset, Duplicates, Images, InArray, Manifest
from fer_bench.accuracy.evaluate import BATCH, Settings, evaluate
from fer_bench.accuracy.transforms import prepare
from fer_bench.networks.build import Build, create
from fer_bench.networks.contract import InputContract
from fer_bench.networks.registry import find

IMAGES, ROUNDS = 1024, 6
SLOWER = 1.10  # at most, of an evaluation over the bare loop


def made(side: int) -> Dataset:
    """Return random images of 48x48, as FER2013's are, of which only the time matters."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (IMAGES, side, side), dtype=np.uint8)
    manifest = Manifest("array", (), IMAGES, (), "all", "random", {}, {}, Duplicates({}, {}, 0, ()))
    classes = find("mini_xception").input.classes
    ids = tuple(map(str, range(IMAGES)))
    labels = chance.integers(0, 7, IMAGES)
    return Dataset("random", classes, Images(IMAGES, InArray(pixels)), labels, None, ids, {}, "all", manifest)


def bare(network: torch.nn.Module, data: Dataset, contract: InputContract) -> np.ndarray:
    """Return the outputs by the loop that everybody writes."""
    loader = DataLoader(data.images, BATCH, collate_fn=lambda images: prepare(images, contract))
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in loader]).numpy()


def test_an_evaluation_is_as_fast_as_a_bare_loop() -> None:
    spec = find("mini_xception")  # of the zoo's the one whose images take the largest share of the time
    assert spec.input is not None
    network, data = create(spec, Build()), made(48)
    evaluating: list[float] = []
    looping: list[float] = []
    for _ in range(ROUNDS):
        found = evaluate(network, data, spec.input, Settings())
        evaluating.append(found.seconds)
        start = time.perf_counter()
        outputs = bare(network, data, spec.input)
        looping.append(time.perf_counter() - start)
    assert found.predictions.outputs == pytest.approx(outputs, rel=1e-4, abs=1e-5)
    ours, theirs = IMAGES / min(evaluating), IMAGES / min(looping)
    print(
        f"\n{spec.name}: {ours:,.0f} images/s evaluated, {theirs:,.0f} by a bare DataLoader loop ({ours / theirs:.2f})"
    )
    assert theirs / ours < SLOWER
