"""Train a network on a data set by a method, such as a recipe makes: a loop of our own on Accelerate.

Nothing is drawn from a state that goes on: the order of the images, their augmentation and dropout follow from the
seed, the epoch and the place in it. So a training that was killed goes on from its last kept state to the same bits,
and the number of a loader's workers changes nothing.
"""

import contextlib
import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.accuracy.batches import Batches, derived, fingerprint
from fer_bench.accuracy.evaluate import logits, predict
from fer_bench.accuracy.running import deterministic, interrupts
from fer_bench.accuracy.training_types import DEFAULTS, LAST, Epoch, Method, Selection, Settings, Trained
from fer_bench.networks.contract import METADATA, SELECTED_ON, InputContract
from fer_bench.records import extras, files
from fer_bench.records.errors import FerBenchError, TrainingError
from fer_bench.records.result import Json

if TYPE_CHECKING:
    from fer_bench.accuracy.data.dataset import Dataset

STATE, MODEL = "state.pt", "model.safetensors"  # files of a folder of training
_FORMAT = 1  # of the state
_SAID_EVERY_S = 0.5
_TEST = ("private", "test")  # splits that should select nothing
_PRECISIONS = {"fp32": "no", "tf32": "no", "default": "no", "bf16": "bf16", "fp16": "fp16"}
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

Meter = Callable[[], Mapping[str, float]]


def train(
    network: nn.Module,
    training: "Dataset",
    validation: "Dataset | None",
    contract: InputContract,
    method: Callable[[nn.Module], Method],
    folder: str | Path,
    settings: Settings = DEFAULTS,
    *,
    name: str = "",
    begins: str = "",
    fresh: bool = False,
    meter: Meter = dict,
    say: Callable[[str], None] = lambda text: None,
    alive: Callable[[], None] = lambda: None,
) -> Trained:
    """Train a network, or go on where a killed training of the same folder stopped.

    Under ``accelerate launch`` each process takes its share of every batch.

    Args:
        network: its initial weights are those of the seed or of a file; trained in place.
        training: images with labels, or distributions of labels.
        validation: images that select the weights; None where nothing does.
        contract: what is done to an image, and the classes of the outputs.
        method: makes the optimiser and what goes with it for the network, which is on its device then.
        folder: where the state and the selected weights are kept.
        settings: what is not the method's.
        name: of the network.
        begins: what the initial weights are, for the refusal of another training's folder.
        fresh: begin anew, whatever the folder has.
        meter: counters that go up, whose differences are of an epoch's steps.
        say: called with a line on how it goes on, about twice a second.
        alive: called after each step.

    Raises:
        TrainingError: the loss is no number, or memory does not suffice.
        FerBenchError: classes or outputs do not fit, or the folder is of another training.
        StoreError: the state cannot be kept.
    """
    loop = _Loop.begun(network, training, validation, contract, method, Path(folder), settings, name, begins)
    with loop.at_work():
        if fresh:
            (loop.folder / STATE).unlink(missing_ok=True)
        loop.resume()
        return loop.run(meter, say, alive)


def kept(folder: str | Path) -> tuple[tuple[Epoch, ...], int]:
    """Return the epochs that a folder's training has finished, and its steps of the next; none without a state."""
    try:
        state = torch.load(Path(folder) / STATE, map_location="cpu", weights_only=True, mmap=True)
        return tuple(Epoch(**entry) for entry in state["history"]), int(state["part"]["step"])
    except Exception:  # whatever is wrong with it was said when it was to go on
        return (), 0


@dataclass(slots=True)
class _Part:
    """The epoch under way: steps made, sums over their images, and seconds."""

    step: int = 0
    images: int = 0
    loss: float = 0.0
    hits: int = 0
    data_s: float = 0.0
    step_s: float = 0.0
    used: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Loop:
    """One training under way."""

    network: nn.Module
    data: Batches
    validation: "Dataset | None"
    contract: InputContract
    method: Method
    folder: Path
    settings: Settings
    identity: dict[str, Json]
    accelerator: Any
    model: nn.Module  # the network as Accelerate runs it
    optimizer: Any
    history: list[Epoch] = field(default_factory=list)
    part: _Part = field(default_factory=_Part)
    selection: Selection = field(default_factory=lambda: Selection(LAST))
    stopped: str = ""
    finished: bool = False
    resumed: list[tuple[int, int, str]] = field(default_factory=list)
    inexact: list[str] = field(default_factory=list)

    @classmethod
    def begun(
        cls,
        network: nn.Module,
        training: "Dataset",
        validation: "Dataset | None",
        contract: InputContract,
        method: Callable[[nn.Module], Method],
        folder: Path,
        settings: Settings,
        name: str,
        begins: str,
    ) -> "_Loop":
        """Check what can be checked, and bring network and method to the device."""
        if settings.precision not in _PRECISIONS:
            raise FerBenchError(f"no training in {settings.precision}; known: {', '.join(_PRECISIONS)}")
        if settings.precision == "fp16" and settings.device == "cpu":
            raise FerBenchError("fp16 is trained on a GPU only, whose loss is scaled; try: --precision bf16")
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise FerBenchError("the network has no parameter that requires a gradient: there is nothing to train")
        accelerate = extras.load("accelerate", "training")
        accelerator = accelerate.Accelerator(
            cpu=settings.device == "cpu", mixed_precision=_PRECISIONS[settings.precision]
        )
        network.to(accelerator.device)
        made = method(network)
        if made.selects != LAST and validation is None:
            raise FerBenchError(
                f"the weights are selected by {made.selects}, and there are no validation images; try: --validation "
                "with a split or a share"
            )
        batches = Batches(training, contract, made, settings, accelerator.process_index, accelerator.num_processes)
        model, optimizer = accelerator.prepare(network, made.optimizer)
        identity: dict[str, Json] = {
            "network": name or type(network).__name__,
            "initial weights": begins,
            "recipe": json.loads(json.dumps(made.description)),
            "epochs": settings.epochs or made.epochs,
            "training data": fingerprint(training),
            "validation data": "" if validation is None else fingerprint(validation),
            "input contract": contract.to_dict() | {"sources": {}},
            "seed": settings.seed,
            "precision": settings.precision,
            "processes": accelerator.num_processes,
        }
        identity = json.loads(json.dumps(identity))
        return cls(
            network, batches, validation, contract, made, folder, settings, identity, accelerator, model, optimizer
        )

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Have PyTorch choose deterministic algorithms meanwhile, and say what is short where memory is."""
        files.make_folder(self.folder)
        try:
            with deterministic(self.inexact):
                yield
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not any(said in str(error) for said in _NO_MEMORY):
                raise
            raise TrainingError(
                f"too little memory for steps of {self.method.batch} images of {'x'.join(map(str, self.contract.size))}"
                f" on {self.settings.device}: {_shortly(error)}; try: a recipe with a smaller batch, or --precision "
                "bf16"
            ) from error
        finally:
            if self.accelerator.num_processes == 1:  # or a training of another precision could not follow
                self.accelerator.state._reset_state(True)

    # ------------------------------------------------------------------ state

    @property
    def epochs(self) -> int:
        return self.settings.epochs or self.method.epochs

    def resume(self) -> None:
        """Load the folder's state, if it has one.

        Raises:
            FerBenchError: it is of another training, or damaged.
        """
        path = self.folder / STATE
        if not path.exists():
            self.save()  # which shows before any step whether the folder can be written to
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            known = state["identity"]
        except Exception as error:
            raise FerBenchError(
                f"{path} cannot be read as a state of training: {_shortly(error)}; try: --fresh, or another --out"
            ) from error
        if differences := list(_differences(known, self.identity)):
            raise FerBenchError(
                f"{self.folder} has another training: {'; '.join(differences[:3])}; try: --fresh to train anew, or "
                "another --out"
            )
        self.network.load_state_dict(state["network"])
        self.method.load_state_dict(state["method"])
        self._prepare_optimizer()
        self.method.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.history = [Epoch(**entry) for entry in state["history"]]
        self.part, self.selection = _Part(**state["part"]), Selection(**state["selection"])
        self.stopped, self.finished = state["stopped"], state["finished"]
        self.resumed = [tuple(each) for each in state["resumed"]]
        self.inexact += [name for name in state["inexact"] if name not in self.inexact]
        if not self.finished:
            why = "; ".join(_differences(state["where"], self._where())) or ", ".join(self.inexact)
            self.resumed.append((len(self.history) + 1, self.part.step, why))

    def _prepare_optimizer(self) -> None:
        """Have Accelerate know the method's optimiser, which another phase may have replaced."""
        if self.optimizer.optimizer is not self.method.optimizer:
            self.optimizer = self.accelerator.prepare(self.method.optimizer)

    def _where(self) -> dict[str, Json]:
        """Return what the bits depend on beside the identity."""
        device = self.accelerator.device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        return {
            "device": device.type,
            "gpu": gpu,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }

    def save(self) -> None:
        """Keep the state: whole, or as it was before.

        Raises:
            TrainingError: a weight is no number, so that the state kept before is the last good one.
        """
        if not self.accelerator.is_main_process:
            return
        if bad := [name for name, value in self.network.named_parameters() if not bool(value.isfinite().all())]:
            raise self._no_number(f"the weights {bad[0]} are no numbers")
        state = {
            "format": _FORMAT,
            "identity": self.identity,
            "where": self._where(),
            "network": self.network.state_dict(),
            "optimizer": self.method.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "part": dataclasses.asdict(self.part),
            "selection": dataclasses.asdict(self.selection),
            "stopped": self.stopped,
            "finished": self.finished,
            "resumed": [list(each) for each in self.resumed],
            "inexact": list(self.inexact),
        }
        content = io.BytesIO()
        torch.save(state, content)
        files.write(self.folder / STATE, content.getvalue())

    def _keep_model(self) -> None:
        """Write the network's weights as the selected ones."""
        if not self.accelerator.is_main_process:
            return
        from safetensors.torch import save

        weights = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.state_dict().items()}
        metadata = {
            "format": "pt",
            METADATA: self.contract.to_json(),
            SELECTED_ON: json.dumps(dataclasses.asdict(self.selection)),
            "network": str(self.identity["network"]),
            "recipe": json.dumps(self.method.description),
        }
        files.write(self.folder / MODEL, save(weights, metadata))

    def _restore(self) -> None:
        """Put the selected weights back into the network."""
        from safetensors.torch import load

        self.accelerator.wait_for_everyone()  # for the first process, which has written the file
        self.network.load_state_dict(load((self.folder / MODEL).read_bytes()))

    # ------------------------------------------------------------------ epochs

    def run(self, meter: Meter, say: Callable[[str], None], alive: Callable[[], None]) -> Trained:
        """Train until the last epoch is over, or the method ends it."""
        said = _Said(say, self.epochs, self.data.steps)
        with interrupts() as interrupted:
            while not self.finished:
                self._steps(meter, said, alive, interrupted)
                self._conclude(alive)
                self.save()
                if interrupted:
                    raise KeyboardInterrupt
        return Trained(
            tuple(self.history),
            self.selection,
            self.folder / MODEL,
            self.stopped,
            tuple(self.resumed),
            tuple(self.inexact),
            tuple(self._warnings()),
        )

    def _warnings(self) -> Iterator[str]:
        if self.selection.on == "test":
            yield (
                f"selected on the test set: the weights are those of the best epoch on split {self.selection.split}; "
                "an accuracy on these images is too high"
            )
        if any(why for _, _, why in self.resumed):
            yield "the training went on to the step and not to the bit: " + next(w for _, _, w in self.resumed if w)

    def _steps(self, meter: Meter, said: "_Said", alive: Callable[[], None], interrupted: Sequence[int]) -> None:
        """Make the steps of an epoch that are left, and keep the state now and then; Ctrl-C comes between two steps."""
        epoch, part, settings = len(self.history) + 1, self.part, self.settings
        kept_at, kept_step = time.monotonic(), part.step
        before, used = meter(), dict(part.used)
        self.model.train()
        self.method.begin_epoch()
        clock = time.perf_counter
        asked = clock()
        for images, targets in self.data.loader(epoch, part.step):
            ready = clock()
            loss, hits = self._step(epoch, part.step, images, targets)
            done = clock()
            if not math.isfinite(loss):
                raise self._no_number(f"the loss is {loss}")
            part.step += 1
            part.images += len(images)
            part.loss += loss * len(images)
            part.hits += hits
            part.data_s += ready - asked
            part.step_s += done - ready
            alive()
            said.step(epoch, part, self.history)
            due = settings.keep_steps is not None and part.step - kept_step >= settings.keep_steps
            due = due or time.monotonic() - kept_at >= settings.keep_s or bool(interrupted)
            if due and part.step < self.data.steps:
                part.used = _added(used, before, meter())
                self.save()
                if interrupted:
                    raise KeyboardInterrupt
                kept_at, kept_step = time.monotonic(), part.step
            asked = clock()
        part.used = _added(used, before, meter())

    def _step(self, epoch: int, step: int, images: Tensor, targets: Tensor) -> tuple[float, int]:
        """Make a step, and return its loss and how many images were classified rightly."""
        device = self.accelerator.device
        images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        torch.manual_seed(derived(self.settings.seed, epoch, step))  # for dropout
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.model(images)
        if step == 0 or not self.history:
            logits(outputs, images, self.contract.classes, "the data", "build it for so many, or --data-classes")
        loss = self.method.loss(outputs.float(), targets)
        self.accelerator.backward(loss)
        self.method.before_update(lambda norm: self.accelerator.clip_grad_norm_(self.model.parameters(), norm))
        self.optimizer.step()
        self.method.after_step()
        right = targets if targets.ndim == 1 else targets.argmax(1)
        return loss.item(), int((outputs.detach().argmax(1) == right).sum())

    def _conclude(self, alive: Callable[[], None]) -> None:
        """Evaluate after an epoch's steps, keep the weights if they are the best, and ask whether that was the last."""
        part, number = self.part, len(self.history) + 1
        began = time.perf_counter()
        if self.accelerator.num_processes > 1:
            self._gather(part)
        self.method.before_evaluation(lambda: self._plain_batches(number))
        loss, accuracy, digest = None, None, ""
        if self.validation is not None:
            try:
                seen = predict(
                    self.model, self.validation, self.contract, device=str(self.accelerator.device), alive=alive
                )
            except FerBenchError as error:
                raise TrainingError(f"{error}, after epoch {number}: {self._last_good()}") from error
            loss, digest = _loss(seen.outputs, seen.labels), seen.images_sha256
            accuracy = sum(seen.hits) / len(seen)
        epoch = Epoch(
            number,
            part.step,
            part.images,
            float(self.method.optimizer.param_groups[0]["lr"]),
            part.loss / part.images,
            part.hits / part.images,
            loss,
            accuracy,
            part.data_s,
            part.step_s,
            time.perf_counter() - began,
            part.used,
        )
        best = self._is_best(epoch)
        self.history.append(epoch)
        self.part = _Part()
        if best:
            on = LAST if self.method.selects == LAST else self._kind_of_validation()
            split = "" if self.validation is None or on == LAST else self.validation.split
            by = "" if on == LAST else self.method.selects
            self.selection = Selection(on, split, digest if on != LAST else "", by, number)
            self._keep_model()
        self.stopped = self.method.after_epoch(epoch, self._restore)
        self._prepare_optimizer()
        self.finished = bool(self.stopped) or number >= self.epochs

    def _kind_of_validation(self) -> str:
        of = self.validation.split.rpartition(" of ")[2] if self.validation is not None else ""
        return "test" if of and of in (*_TEST, self.settings.test) else "validation"

    def _is_best(self, epoch: Epoch) -> bool:
        """Report whether an epoch is the one to keep so far; of equal ones the first is."""
        name = self.method.selects
        if name == LAST or not self.history:
            return True
        values = [getattr(each, name) for each in self.history]
        value = getattr(epoch, name)
        return bool(value < min(values) if name.endswith("loss") else value > max(values))

    def _gather(self, part: _Part) -> None:
        """Add up what the processes of a launcher have each of their share."""
        sums = torch.tensor([part.images, part.loss, part.hits], dtype=torch.float64, device=self.accelerator.device)
        images, loss, hits = self.accelerator.reduce(sums).tolist()
        part.images, part.loss, part.hits = int(images), loss, int(hits)

    def _plain_batches(self, epoch: int) -> Iterator[Tensor]:
        for images, _ in self.data.loader(epoch, 0):
            yield images.to(self.accelerator.device)

    def _no_number(self, what: str) -> TrainingError:
        epoch, step = len(self.history) + 1, self.part.step
        return TrainingError(f"{what} at step {step + 1} of {self.data.steps} of epoch {epoch}: {self._last_good()}")

    def _last_good(self) -> str:
        """Say what is left of a training that cannot go on, and what to do."""
        kept = (
            f"the weights of epoch {self.selection.epoch} are kept in {self.folder / MODEL}"
            if (self.folder / MODEL).exists() and self.selection.epoch
            else "no epoch was finished before"
        )
        return f"{kept}; try: a lower learning rate, clipped gradients, or --precision fp32"


@dataclass(slots=True)
class _Said:
    """Says how a training goes on, about twice a second."""

    say: Callable[[str], None]
    epochs: int
    steps: int
    at: float = -math.inf

    def step(self, epoch: int, part: _Part, history: Sequence[Epoch]) -> None:
        now = time.monotonic()
        if now - self.at < _SAID_EVERY_S:
            return
        self.at = now
        text = f"epoch {epoch}/{self.epochs}, step {part.step}/{self.steps}, loss {part.loss / part.images:.3f}"
        last = history[-1].validation_accuracy if history else None
        self.say(text + (f", validation {100 * last:.1f} %" if last is not None else ""))


def _loss(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float(functional.cross_entropy(torch.from_numpy(outputs), torch.from_numpy(labels)))


def _added(so_far: Mapping[str, float], before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: so_far.get(name, 0.0) + value - before.get(name, value) for name, value in now.items()}


def _differences(known: Any, now: Any, place: str = "") -> Iterator[str]:
    """Name what differs between two trainings, by the path of the field."""
    if isinstance(known, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*known, *now]):
            yield from _differences(known.get(name), now.get(name), f"{place}.{name}" if place else str(name))
    elif known != now:
        yield f"{place} was {_shortly(known)}, and is {_shortly(now)}"


def _shortly(value: object) -> str:
    text = " ".join((json.dumps(value) if isinstance(value, list | dict) else str(value)).split())
    return (text if len(text) <= 90 else f"{text[:89]}\N{HORIZONTAL ELLIPSIS}") or "none"
