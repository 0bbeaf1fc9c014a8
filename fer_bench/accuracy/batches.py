"""The batches of a training: which images each has, in which order, and which are held out of them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_bench.accuracy.running import leave_interrupts
from fer_bench.accuracy.training_types import Method, Settings
from fer_bench.accuracy.transforms import prepare
from fer_bench.networks.contract import InputContract
from fer_bench.records.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset


@dataclass(slots=True, eq=False)
class Batches(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The batches of an epoch by their number: images (N, C, H, W) and places of classes (N,), or shares (N, K).

    Each process of a launcher has its own share of a batch.
    """

    data: "Dataset"
    contract: InputContract
    method: Method
    settings: Settings
    process: int = 0
    processes: int = 1
    steps: int = 0
    epoch: int = 0
    _places: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _targets: Tensor = field(default_factory=lambda: torch.empty(0))
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        data, classes = self.data, self.contract.classes
        if set(data.classes) != set(classes):
            raise FerBenchError(
                f"the data have {len(data.classes)} classes ({', '.join(data.classes)}), and the network "
                f"{len(classes)} ({', '.join(classes)}); try: --data-classes {','.join(classes)}, or another --contract"
            )
        self._places = np.flatnonzero(data.labelled)
        columns = np.array([classes.index(name) for name in data.classes], dtype=np.int64)
        if data.targets is None:
            self._targets = torch.from_numpy(columns[data.labels[self._places]])
        else:
            back = np.array([data.classes.index(name) for name in classes])
            self._targets = torch.from_numpy(np.ascontiguousarray(data.targets[self._places][:, back]))
        count, batch = len(self._places), self.method.batch
        # A last batch of one image is left out: batch norm has no variance over one.
        self.steps = count // batch + (count % batch > self.processes)
        if not self.steps:
            raise FerBenchError(f"{count} labelled images of split {data.split} are too few for a step of training")

    def loader(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return what gives the batches of an epoch from the ``first`` on, from 0."""
        self.epoch = epoch
        drawn = torch.Generator().manual_seed(derived(self.settings.seed, epoch, -1))
        self._order = torch.randperm(len(self._places), generator=drawn).numpy()
        loader = torch.utils.data.DataLoader(
            self,
            batch_size=None,
            sampler=range(first, self.steps),
            num_workers=self.settings.workers,
            worker_init_fn=leave_interrupts,
            generator=torch.Generator(),  # or it would draw from the global one
            pin_memory=self.settings.device == "cuda",
        )
        return iter(loader)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        batch = self.method.batch
        at = self._order[number * batch : (number + 1) * batch][self.process :: self.processes]
        images = prepare([self.data.images[int(place)] for place in self._places[at]], self.contract)
        return self.method.augment(images, self.settings.seed, self.epoch, at.tolist()), self._targets[at]


def derived(seed: int, epoch: int, place: int) -> int:
    """Return a seed that follows from these three and from nothing else."""
    digest = hashlib.sha256(f"{seed} {epoch} {place}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # PyTorch takes 63 bits


def fingerprint(data: "Dataset") -> str:
    """Return what identifies images and labels: of files that were read their hashes, else the pixels' own."""
    digest = hashlib.sha256()
    known = [[file.sha256, file.bytes] for file in data.manifest.files]
    digest.update(json.dumps([data.split, list(data.classes), list(data.ids), known]).encode())
    digest.update(np.ascontiguousarray(data.labels).data)
    if data.targets is not None:
        digest.update(np.ascontiguousarray(data.targets).data)
    if not known:
        for image in data.images:
            digest.update(np.ascontiguousarray(image).data)
    return f"{data.name}, {data.split}, {len(data)} images, {digest.hexdigest()[:16]}"


def hold_out(data: "Dataset", share: float, seed: int = 0) -> "tuple[Dataset, Dataset]":
    """Divide training images into those that are trained on and those that select: whole persons where known.

    Args:
        data: labelled images.
        share: of the images of each class, or of the persons, that select.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed)
    names = np.array(data.persons) if data.persons is not None else data.labels
    if data.persons is not None:
        persons = np.unique(names)
        chosen = drawn.permutation(persons)[: max(1, round(share * len(persons)))]
        held = np.isin(names, chosen)
    else:
        held = np.zeros(len(data), bool)
        for label in np.unique(names):
            places = drawn.permutation(np.flatnonzero(names == label))
            held[places[: max(1, round(share * len(places)))]] = True
    if held.all():
        raise FerBenchError(f"nothing is left to train on of {len(data)} images beside {share:g} that select")
    return data.subset(~held), data.subset(held, split=f"{share:g} of {data.split}")
