"""The network of a job, built as the plan demands."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fer_bench.measuring import machine
from fer_bench.measuring.counting.count import Count, count
from fer_bench.measuring.messages import Job
from fer_bench.networks import build as building
from fer_bench.networks.build import Build
from fer_bench.networks.checkpoints import load_checkpoint
from fer_bench.networks.inputs import Input
from fer_bench.networks.spec import ModelSpec, Shape
from fer_bench.records.errors import BuildError, CountingError, DeviceError
from fer_bench.records.output import capped
from fer_bench.records.plan import Plan

_IMAGES = 4  # dimensions of a batch of images


class Network:
    """The network of a job, built when a profiler first asks for it, so that memory is measured from before.

    Its libraries are imported at once: their memory is not the network's.
    """

    def __init__(self, spec: ModelSpec, job: Job, alive: Callable[..., None] = lambda text="": None) -> None:
        self.spec, self.job = spec, job
        self.alive = alive  # to be called now and then by what takes long, so that it does not pass for hung
        self.build = Build.of(job.plan.num_classes, job.input_shape, job.settings)
        self.exempt = ""
        building.find_factory(spec)
        if job.fall_back:
            self._fall_back()
        self.input_shape = building.input_shape(spec, self.build)
        self.made_at = 0.0
        self._made: tuple[nn.Module, Tensor] | None = None

    def _fall_back(self) -> None:
        """Use the network's own size where it cannot run at the protocol's."""
        try:
            count(self.spec, self.build)
        except (BuildError, CountingError) as refusal:
            own = dataclasses.replace(self.build, input_shape=None)
            try:
                count(self.spec, own)
            except (BuildError, CountingError):
                return  # then the size is not to blame
            self.build, self.exempt = own, capped(" ".join(str(refusal).split()))

    @functools.cached_property
    def counted(self) -> Count:
        """The network's counts, of the plan's batch. A checkpoint that does not fit is refused, needed or not."""
        if self.job.checkpoint and self.job.plan.training is None:  # a training takes those of other classes, too
            load_checkpoint(building.create(self.spec, self.build, "cpu"), self.job.checkpoint, self.spec)
        return count(self.spec, self.build, batch=self.job.plan.batch_size)

    def plain(self) -> tuple[nn.Module, Tensor]:
        """Return the network in eval mode and a batch of images as a backend converts them: float32, on the CPU.

        Raises:
            BuildError: it takes several inputs, or other numbers.
        """
        torch.manual_seed(self.job.plan.seed)
        model = building.create(self.spec, self.build, "cpu")
        if self.job.checkpoint:
            load_checkpoint(model, self.job.checkpoint, self.spec)
        if self.build.inputs:
            raise BuildError("a backend runs networks of one input, and --inputs names others: leave --backend out")
        if (kind := building.number_type(model)) != torch.float32:
            raise BuildError(f"a backend runs networks of float32, and this one has {str(kind).partition('.')[2]}")
        torch.manual_seed(self.job.plan.seed)
        return model, building.example_inputs(self.input_shape, self.job.plan.batch_size, "cpu")

    def make(self, built: Callable[[], None] = lambda: None) -> tuple[nn.Module, Tensor]:
        """Return the network in eval mode and a batch of images, both on the plan's device.

        ``built`` is called when the network is there and has no weights of a file yet.
        """
        if self._made is None:
            plan = self.job.plan
            torch.manual_seed(plan.seed)
            model = building.create(self.spec, self.build, plan.device)
            built()
            if self.job.checkpoint:
                load_checkpoint(model, self.job.checkpoint, self.spec)
            self._made = as_planned(model, self.input_shape, plan, self.build.inputs)
            self.made_at = time.perf_counter()
        return self._made


def as_planned(
    model: nn.Module, input_shape: Shape, plan: Plan, inputs: Sequence[Input] = ()
) -> tuple[nn.Module, Tensor]:
    """Make a built network run as a plan has it, and give it with a batch of images, (N, C, H, W), or its first input.

    Of several ``inputs`` the network is given the others beside the first.
    """
    torch.manual_seed(plan.seed)  # so that the images are the same whatever the network drew
    fed = building.feed(model, input_shape, inputs, plan.batch_size, plan.device)
    images = fed.tensors[0]
    if len(fed.tensors) > 1 or fed.names:
        model = building.OfOneInput(model, fed).eval()
    layout = torch.channels_last if plan.layout == "nhwc" else torch.contiguous_format
    if plan.layout == "nhwc" and images.dim() != _IMAGES:
        raise BuildError(f"layout nhwc needs images, and the first input is {tuple(images.shape[1:])}: use nchw")
    model, images = model.to(memory_format=layout), images.contiguous(memory_format=layout)
    if plan.precision in building.AUTOCAST:
        model = building.Autocast(model, building.AUTOCAST[plan.precision]).eval()
    if plan.mode == "compile":
        model = torch.compile(model)  # type: ignore[assignment]  # a module gives a module
    return model, images


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        DeviceError: an accelerator is asked for, and PyTorch has none of that kind.
    """
    if device == "cpu":
        return
    there = torch.accelerator.current_accelerator(check_available=True)
    if there is None or there.type != device:
        other = f"use --device {there.type}" if there is not None else "check the driver, or use --device cpu"
        raise DeviceError(f"--device {device}: PyTorch {torch.__version__} sees no such device; {other}")


def apply_plan_settings(plan: Plan, *, pin: bool = True) -> str:
    """Bring this process into the state that a plan demands, and name the allocator's setting.

    Args:
        plan: says which.
        pin: choose the cores, too; without, somebody else will.

    Raises:
        DeviceError: the plan's device is not there.
    """
    check_device(plan.device)
    allocator = machine.keep_freed_memory() if plan.alloc == "keep" else machine.SYSTEM_ALLOCATOR
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    if plan.pin and pin:
        machine.pin(torch.get_num_threads())
    if plan.device != "cpu":  # which has no TF32: whoever shares this process keeps the switches
        building.round_products(plan.precision)
    torch.backends.cudnn.benchmark = plan.cudnn == "benchmark"
    return allocator
