"""The plan: everything that can change a number. A result carries the plan that it was measured by."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError
from fer_bench.records.schema import Integer, Name, PositiveSeconds, Seconds, Size, Whole

# What can be measured: metric groups, in the order in which they are. Each is a process of its own.
METRICS = (
    *("static", "recount", "anatomy", "deploy", "parity"),
    *("latency", "memory", "training", "training_memory", "occupancy", "energy", "coldstart", "accuracy"),
)
TORCH = "torch"  # the backend that is none: PyTorch itself
DEPLOYED = ("deploy", "parity")  # metrics that a backend always has before others, and that PyTorch has not
CONTROLLED, SHIPPED = "controlled", "shipped"
INT8 = ("int8", "int8-dynamic")  # static, by ranges of calibration images; activations by their ranges at run time
NOISE = "noise"  # in place of images that calibrate

TRAINED = ("train_cost", "train")  # what `fer-bench train` measures, and `fer-bench run` cannot
REALTIME = "realtime"  # what a record of `fer-bench realtime` measured, and nobody can ask `fer-bench run` for

SHARED = "shared"  # isolation: all networks of a pytest session, or somebody else's benchmarks, in one process

DEVICES = ("cpu", "cuda", "xpu", "mps")  # as PyTorch calls them; ROCm is "cuda"
_CHOICES = {
    "device": DEVICES,
    "backend": (TORCH, "onnxruntime", "openvino", "aoti", "executorch", "litert", "onnxruntime-tensorrt"),
    "runtime": (CONTROLLED, SHIPPED),
    "precision": ("fp32", "tf32", "default", "bf16", "fp16", *INT8),
    "layout": ("nchw", "nhwc"),
    "mode": ("eager", "compile"),
    "cudnn": ("heuristics", "benchmark"),
    "alloc": ("keep", "system"),
    "wait": ("active", "passive", "auto"),
    "optimizer": ("adam", "sgd"),
    "isolation": ("forked", "fresh"),
}
AUTO = "auto"  # wait: chosen by the machine's load when the run begins; a record has what was chosen
# What a record can say beside that, and nobody can ask for: "" is what pytest-benchmark does not record.
KEPT_ALLOCATOR = "glibc, memory kept"  # what an environment records where "keep" took effect
_RECORDED = {"device": ("",), "alloc": ("",), "isolation": (SHARED,)}
# What a record means that does not say. Before there was a choice of precision it was PyTorch's own.
_UNSAID = {"device": "", "alloc": "", "precision": "default"}
_OF_OTHERS = ("protocol", "metrics", "batch_size", "processes", "isolation")  # known of a benchmark without our plan


# Cores that other programs kept busy on average. A quiet machine's own housekeeping takes some hundredths; a tenth on
# the core of the passes is 10 % of the time.
OTHERS_CORES = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What other programs take of the cores that this process may use, just now."""

    busy_cores: float
    cores: int

    @property
    def quiet(self) -> bool:
        return self.busy_cores <= OTHERS_CORES

    @property
    def idle_cores(self) -> int:
        """Cores that are not busy, to the nearest; 1 at least."""
        return max(1, round(self.cores - self.busy_cores))


EXTRA = ("errors", "masked")  # what becomes of outputs for classes that the data lack


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the accuracy is measured; which data and which weights are the task's.

    Attributes:
        split: of the data; "" for the test set where the data have one, of FER2013 the private one.
        rule: how FER+ votes become labels; "" for the data's own labels.
        data_classes: those of the data that are kept, by name; none for all.
        group_by: a column, such as person, age, sex or pose, that has accuracies of its own; "" for none.
        tta: augmented passes for each image, whose probabilities are averaged; 1 for one plain pass.
        extra: what becomes of outputs for classes that the data lack: "errors" counts them, "masked" ignores them.
        probe: the split by which the order of the outputs is judged; "" for the validation split, "none" for no
            judgement.
        selected_on: the split that selected the weights, "last" where none did, or "unknown"; "" takes what the
            checkpoint itself says.
        batch: images in a pass, which the accuracy must not depend on.
        sensitivity: measure how decisions depend on the input contract.
        robustness: measure the accuracy on covered, tilted, blurred, dark, noisy and compressed faces.
    """

    split: str = ""
    rule: str = ""
    data_classes: tuple[Name, ...] = ()
    group_by: str = ""
    tta: Size = 1
    extra: str = "errors"
    probe: str = ""
    selected_on: str = ""
    batch: Size = 64
    sensitivity: bool = False
    robustness: bool = False

    def __post_init__(self) -> None:
        try:
            schema.fields(Evaluation, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        except ValueError as error:
            raise FerBenchError(f"evaluation.{error}") from None
        if self.extra not in EXTRA:
            raise FerBenchError(f"evaluation.extra is {self.extra!r}; known: {', '.join(EXTRA)}")

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read an evaluation as JSON and TOML have it; raise FerBenchError where it is none."""
        return cls(**_given(cls, "evaluation", data))


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained; which data and which initial weights are the task's. The seed is the plan's.

    Attributes:
        recipe: the name of a recipe, or the path of its file; with a colon and a variant, another reading of it.
        recipe_sha256: of the recipe as it was read.
        epochs: instead of the recipe's; None takes these.
        split: of the data that is trained on; "" for the training split.
        validation: the split that selects the weights, or a share such as "0.1" of the training images; "" for the
            validation split, or a tenth where the data have none.
        rule: how FER+ votes become labels; "" for the data's own labels.
        data_classes: those of the data that are kept, by name; none for all.
        workers: processes that prepare images beside the one that trains.
        keep_s: seconds after which the state is kept within an epoch.
    """

    recipe: Name
    recipe_sha256: str = ""
    epochs: Size | None = None
    split: str = ""
    validation: str = ""
    rule: str = ""
    data_classes: tuple[Name, ...] = ()
    workers: Whole = 0
    keep_s: PositiveSeconds = 30.0

    def __post_init__(self) -> None:
        try:
            schema.fields(Training, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        except ValueError as error:
            raise FerBenchError(f"training.{error}") from None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a training as JSON and TOML have it; raise FerBenchError where it is none."""
        return cls(**_given(cls, "training", data))


def _given(kind: type, name: str, data: Any) -> dict[str, Any]:
    """Return the fields of a part of a plan; raise FerBenchError for one that it does not have."""
    if not isinstance(data, Mapping):
        raise FerBenchError(str(schema.wrong(name, data, "an object")))
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [each for each in data if each not in known]:
        raise FerBenchError(f"{name} has unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return {each: tuple(value) if isinstance(value, list) else value for each, value in data.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """How networks are measured.

    Attributes:
        protocol: the name of the preset that it started from.
        metrics: what is measured, of ``METRICS``.
        device: "cpu", or the accelerator as PyTorch calls it: "cuda" (NVIDIA's, or AMD's by ROCm), "xpu" or "mps".
        batch_size: images a pass, and a training step.
        input_size: height and width of the images; None takes each network's own.
        channels: of the images; None takes each network's own.
        num_classes: outputs, 0 for features only; None takes each network's own.
        precision: "fp32"; "tf32" (float32, whose products a GPU may round to TF32); "default" (float32 as PyTorch has
            it unasked, with TF32 in convolutions only; of another backend what its runtime chooses); "bf16" or "fp16"
            (autocast); "int8", static quantization, or "int8-dynamic", of another backend than PyTorch only.
        layout: "nchw", or "nhwc", which PyTorch calls channels_last, of weights and images.
        cudnn: how cuDNN, or on ROCm MIOpen, chooses algorithms of convolutions: "heuristics", which is PyTorch's
            default, or "benchmark", by trying them in the first pass (``torch.backends.cudnn.benchmark``).
        mode: "eager", or "compile" to put the network through ``torch.compile`` first.
        backend: "torch"; "onnxruntime", "openvino", "aoti", "executorch" or "litert" to convert the network once and
            measure that.
        runtime: of a backend, "controlled": threads, spinning, pinning and precision are the plan's; "shipped": they
            are left as the runtime has them.
        threads: CPU threads of PyTorch's operators; None leaves PyTorch's choice, one a core. One thread, as
            torch.utils.benchmark has it, tells the algorithm; all threads tell the machine.
        pin: each process stays on as many cores as it has threads, the idlest ones when it starts.
        wait: what a thread does that waits for the others: "active", it spins for some milliseconds before it sleeps,
            as OpenMP libraries have it by default; "passive", it sleeps at once, which costs small networks a third on
            a quiet machine, and saves any network from passes a hundred times as long on a busy one; "auto", active
            where the machine is quiet when the run begins, else passive with a thread for each idle core
            (``settled``). One thread, as of "edge" and of `fer-bench gate`, waits for none.
        alloc: "keep": glibc is told to keep freed memory; "system": the allocator is left as deployed.
        isolation: "forked": processes are forked from one that has imported PyTorch and done nothing else, and shift
            their heaps by a random amount; "fresh": each starts and imports for itself. Records of a
            pytest session have "shared": all its networks ran in one process.
        processes: how many measure the latency, at most.
        pilot_processes: how many of them decide the number of the others; 0 where it is fixed.
        interval_share: the half-width of the 95 % interval that is wanted, as a share of the median; None asks none.
        budget_s: timed seconds of all processes of one network together, planned for; None for no limit.
        warmup_runs: passes before the first timed one, at least; more where the series shows a longer warm-up.
        runs: timed passes wanted of each process.
        min_time_s: timed passes go on for so long, beyond ``runs`` if need be.
        max_time_s: when the timed passes stop early; None never. The record says when they did.
        rate_hz: passes a second, on a clock, of latency, occupancy in testing, and energy; None makes them back to
            back. A pass that is not over when the next is due makes that one be left out.
        optimizer: of training steps.
        sample_s, sample_every_s: how long occupancy is sampled, and how often.
        agreement_share: of decisions, on images of the task, that a backend of reduced precision must share with
            PyTorch: the lower end of Wilson's interval.
        seed: of initial weights and images.
        time_limit_s: after which a process that says nothing is given up as hung.
        evaluation: how the accuracy is measured; None where it is not.
        training: how the network is trained; None where it is not.

    Examples:
        >>> import dataclasses
        >>> plan = fb.Plan("mine", metrics=("static", "latency"), threads=1, runs=50)
        >>> dataclasses.replace(plan, batch_size=8).batch_size
        8
        >>> fb.Plan("mine", layout="hwc")
        Traceback (most recent call last):
        fer_bench.records.errors.FerBenchError: layout is 'hwc'; known: nchw, nhwc
    """

    protocol: Name
    metrics: tuple[str, ...] = ("static", "latency", "memory", "energy")
    device: str = "cpu"
    batch_size: Size = 1
    input_size: Size | None = None
    channels: Size | None = None
    num_classes: Whole | None = None
    precision: str = "fp32"
    layout: str = "nchw"
    mode: str = "eager"
    backend: str = TORCH
    runtime: str = CONTROLLED
    cudnn: str = "heuristics"
    threads: Size | None = None
    pin: bool = False
    wait: str = "active"
    alloc: str = "keep"
    isolation: str = "forked"
    processes: Size = 1
    pilot_processes: Whole = 0
    interval_share: PositiveSeconds | None = None
    budget_s: Seconds | None = None
    warmup_runs: Whole = 5
    runs: Size = 300
    min_time_s: Seconds = 0.0
    max_time_s: Seconds | None = None
    rate_hz: PositiveSeconds | None = None
    optimizer: str = "adam"
    sample_s: PositiveSeconds = 10.0
    sample_every_s: PositiveSeconds = 0.5
    agreement_share: PositiveSeconds = 0.98
    seed: Integer = 0
    time_limit_s: PositiveSeconds = 600.0
    evaluation: Evaluation | None = None
    training: Training | None = None

    def __post_init__(self) -> None:
        try:
            schema.fields(Plan, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        except ValueError as error:
            raise FerBenchError(str(error)) from None
        self._check_choices(_RECORDED)
        if self.pilot_processes > self.processes:
            raise FerBenchError(f"pilot_processes is {self.pilot_processes}: there are {self.processes} in all")
        if self.pilot_processes and self.interval_share is None:
            raise FerBenchError("pilot_processes has nothing to decide without an interval_share")
        if not self.metrics:
            raise FerBenchError(f"metrics are none; known: {', '.join(METRICS)}")
        if unknown := [metric for metric in self.metrics if metric not in (*METRICS, REALTIME, *TRAINED)]:
            raise FerBenchError(f"metrics {', '.join(map(str, unknown))}: unknown; known: {', '.join(METRICS)}")

    def settled(self, load: "Load") -> "Plan":
        """Return the plan with the wait policy, and unless given the threads, that suit the load of the machine."""
        if self.wait != AUTO:
            return self
        threads = self.threads or (None if load.quiet else load.idle_cores)
        return dataclasses.replace(self, threads=threads, wait="active" if load.quiet or threads == 1 else "passive")

    def check_asked(self) -> None:
        """Raise FerBenchError where the plan says what only a record can, and no process can be asked to do."""
        self._check_choices({})
        if REALTIME in self.metrics:
            raise FerBenchError(f"metric {REALTIME} is measured by `fer-bench realtime`; known: {', '.join(METRICS)}")

        if self.training is None and set(TRAINED) & set(self.metrics):
            raise FerBenchError(f"metric {TRAINED[-1]} is measured by `fer-bench train`; known: {', '.join(METRICS)}")

    def _check_choices(self, recorded: Mapping[str, Sequence[str]]) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in (*known, *recorded.get(name, ())):
                raise FerBenchError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON has it; of a benchmark without our plan only what is known of it."""
        data = {**dataclasses.asdict(self), "metrics": list(self.metrics)}
        for part in ("evaluation", "training"):
            if data[part] is None:
                del data[part]
        return data if self.device else {name: data[name] for name in _OF_OTHERS}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote, and fill in what it does not say."""
        if not isinstance(data, Mapping):
            raise FerBenchError(str(schema.wrong("", data, "an object")))
        if "protocol" not in data:
            raise FerBenchError("protocol is missing")
        known = {field.name for field in dataclasses.fields(cls)}
        given = _UNSAID | {key: value for key, value in data.items() if key in known}
        if isinstance(given.get("metrics"), list):
            given["metrics"] = tuple(given["metrics"])
        for part, kind in (("evaluation", Evaluation), ("training", Training)):
            if given.get(part) is not None:
                given[part] = kind.of(given[part])
        return cls(**given)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` settings of a factory; a value is a Python literal or else a string.

    Raises:
        FerBenchError: a setting has no "=", or its key is no name of an argument.
    """
    arguments = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.isidentifier():
            raise FerBenchError(f"--set {setting!r} is not KEY=VALUE, such as width=0.5")
        try:
            arguments[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            arguments[key] = text
    return arguments


# The default on a CPU: the whole zoo on two cores in about six minutes, with one latency process a network.
QUICK = Plan("quick", wait=AUTO, max_time_s=12.0)
# What a small device at the edge does: one image, one thread, and an interval of +-1 % of the median over processes
# (a process differs from the next by 1.5 % here, so that takes about a dozen), within a minute and a half a network.
EDGE = Plan(
    "edge",
    threads=1,
    pin=True,
    processes=16,
    pilot_processes=4,
    interval_share=0.01,
    budget_s=90.0,
    min_time_s=3.0,
    max_time_s=6.0,
)
# Paper 001, section III.D.3: 224x224, batch 48, dummy passes, 300 runs, their mean. It names no precision: PyTorch 1.13
# as it comes rounds convolutions to TF32, matrix products not, and leaves cuDNN to its heuristics. Five processes
# instead of one show how far the mean of one can be trusted.
SAFAVI2023 = Plan(
    "safavi2023", device="cuda", batch_size=48, input_size=224, precision="default", processes=5, warmup_runs=20
)
# Paper 004, tables 4 and 5: what training and testing on FER2013's 48x48 grey images take of the machine.
OCCUPANCY = Plan(
    "occupancy", metrics=("static", "memory", "training_memory", "occupancy"), batch_size=32, input_size=48, channels=1
)
# A training step in its parts.
TRAINING = Plan(
    "training",
    metrics=("static", "training", "training_memory"),
    batch_size=16,
    wait=AUTO,
    warmup_runs=2,
    runs=30,
    max_time_s=8.0,
)

# What `fer-bench evaluate` measures: the accuracy, and the counts that stand beside it.
ACCURACY = Plan("accuracy", metrics=("static", "accuracy"), wait=AUTO, evaluation=Evaluation())

# What `fer-bench gate` measures pairs by: one thread on one core, which tells the network and not the machine.
GATE = Plan("gate", metrics=("latency",), threads=1, pin=True, time_limit_s=120.0)

# What `fer-bench audit` holds printed figures against.
RECOUNT = Plan("recount", metrics=("recount",))

CALIBRATION = "calibration"  # the protocol of what is measured on a node only to compare it with others and with itself
PRESETS = {plan.protocol: plan for plan in (QUICK, EDGE, SAFAVI2023, OCCUPANCY, TRAINING)}


def protocol(name: str) -> Plan:
    """Give a preset by its name, or the plan in a TOML file: its fields, and as ``base`` the preset it starts from.

    Raises:
        FerBenchError: there is no such preset or file, or the file says what a plan does not have.
    """
    if name in PRESETS:
        return PRESETS[name]
    if not name.endswith(".toml"):
        raise FerBenchError(
            f"--protocol {name!r} is unknown; known: {', '.join(PRESETS)}, or a file of your own such as my_lab.toml"
        )
    try:
        data = schema.parse_toml(Path(name).read_bytes())
    except OSError as error:
        raise FerBenchError(f"cannot read the protocol {name}: {error.strerror or error}") from error
    except ValueError as error:
        raise FerBenchError(f"{name} is no TOML: {error}") from error
    base = data.pop("base", "quick")
    if not isinstance(base, str) or base not in PRESETS:
        raise FerBenchError(f"{name}: base {base!r} is unknown; known: {', '.join(PRESETS)}")
    known = [field.name for field in dataclasses.fields(Plan)]
    if unknown := [key for key in data if key not in known]:
        raise FerBenchError(f"{name}: a plan has no {', '.join(unknown)}; it has base, {', '.join(known)}")
    data.setdefault("protocol", Path(name).stem)
    try:
        plan = Plan.of(PRESETS[base].to_dict() | data)
        plan.check_asked()
    except FerBenchError as error:
        raise FerBenchError(f"{name}: {error}") from error
    return plan
