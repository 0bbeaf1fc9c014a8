"""What the machine attains just now, with these threads and this precision: the roofs of ``analysis.roofline``.

Each is the best of several tries, since whatever disturbs a try makes it slower and nothing makes it faster.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_bench.measuring import machine
from fer_bench.measuring.profilers import devices
from fer_bench.measuring.profilers.kinds import Clock
from fer_bench.networks.build import AUTOCAST
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json

Work = Callable[[], object]

# A convolution as the middle of many networks has it.
_CHANNELS, _SIDE, _KERNEL = 256, 28, 3
_CONV_MACS = _CHANNELS * _CHANNELS * _KERNEL**2 * _SIDE**2  # of one image
_LAYOUTS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}  # the faster one as a rule first

_SMALLEST_COPY = 64 * 2**10
_COPY_STEP = 4
_FLOAT_BYTES = 4
_MANY_BELOW = 2**19  # bytes: larger copies take long enough to be timed one by one

_ROUNDS = 2  # apart in time, so that what goes on beside us for a moment spoils one of them only
_TRY_S = 0.04  # a round, for each product, convolution and size of copy: all together they take about two seconds
_TOO_LONG_S = 0.06  # what is foretold to take longer is left out: a large product on two cores, float16 on most CPUs
_IN_A_ROW = 50  # of what takes microseconds, so that reading the clock and waiting for a GPU do not count


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What is tried on a kind of device: sides of square matrices, images of a convolution, bytes of a copy."""

    products: tuple[int, ...]
    batches: tuple[int, ...]
    largest_copy: int


_SIZES: Mapping[str, _Sizes] = {
    "cpu": _Sizes((256, 512, 1024, 2048), (1, 4), 256 * 2**20),
    "gpu": _Sizes((2048, 4096, 8192), (16, 64), 2**30),  # beyond any L2 cache
}


@dataclass(slots=True)
class _Trial:
    """Something to be timed: ``pieces`` equal pieces of work of so many multiply-accumulates or bytes each."""

    name: str
    amount: int
    work: Work
    pieces: int = 1
    holds: object = None  # what a CUDA graph uses without holding it
    seconds: float = math.inf  # of a piece, the best so far

    @property
    def rate(self) -> float:
        return self.amount / self.seconds


def measure_attainable(device: str, precision: str, clock: Clock = time.perf_counter_ns) -> dict[str, Json]:
    """Measure what the machine attains, in about two seconds.

    Args:
        device: "cpu", or what PyTorch calls the accelerator.
        precision: of the plan; autocast's type is used directly, TF32 as it is switched.
        clock: nanoseconds; tests pass their own.

    Returns:
        ``macs_per_s``, of the fastest square matrix product or 3x3 convolution; ``copy_bytes_per_s``, a list of
        [bytes, bytes a second], bytes read and written, by ascending bytes, which is also the memory at work;
        ``operator_s``, of the cheapest operator; ``threads``; ``others_cores``, that others kept busy meanwhile;
        ``how`` it was measured.
    """
    sizes, dtype = _SIZES["cpu" if device == "cpu" else "gpu"], AUTOCAST.get(precision, torch.float32)
    meter, load = _Meter(device, clock), machine.LoadMonitor()
    with torch.inference_mode():
        products, convolutions = _products(device, sizes, dtype), _convolutions(device, sizes, dtype)
        copies = _copies(device, sizes)
        for _ in range(_ROUNDS):
            for trials in (products, convolutions):
                meter.improve(trials, within_s=_TOO_LONG_S)
            meter.improve(copies)  # every size: the curve has no holes
        operator_s = _operator(meter)
    products_of, batches = (", ".join(map(str, tried)) for tried in (sizes.products, sizes.batches))
    fastest = max((*products, *convolutions), key=lambda trial: trial.rate)
    return {
        "macs_per_s": fastest.rate,
        "copy_bytes_per_s": _curve(copies),
        "operator_s": operator_s,
        "threads": torch.get_num_threads(),
        "others_cores": load.report()["others_cores"],
        "how": (
            f"{str(dtype).removeprefix('torch.')}; best of square products ({products_of}) and "
            f"{_KERNEL}x{_KERNEL} convolutions ({_CHANNELS} channels, {_SIDE}x{_SIDE}, batch {batches}, "
            f"NCHW and NHWC): {fastest.name}; copies of float32, less what a copy of one number takes; operator: add_ "
            "on one number"
        ),
    }


@dataclass(frozen=True, slots=True)
class _Meter:
    device: str
    clock: Clock

    def improve(self, trials: Sequence[_Trial], within_s: float = math.inf) -> None:
        """Try each once more, but for those that the best rate so far foretells to take too long."""
        for trial in trials:
            rate = max(known.rate for known in trials)
            if rate == 0 or trial.amount / rate < within_s:
                trial.seconds = min(trial.seconds, *(seconds / trial.pieces for seconds in self.times(trial.work)))

    def times(self, work: Work) -> list[float]:
        """Return the seconds of a piece of work, again and again; the first of all is warm-up and left out."""
        self._seconds(work)
        tries = [self._seconds(work)]
        while sum(tries) < _TRY_S:
            tries.append(self._seconds(work))
        return tries

    def _seconds(self, work: Work) -> float:
        start = self.clock()
        work()
        devices.synchronize(self.device)
        return (self.clock() - start) * 1e-9


def _products(device: str, sizes: _Sizes, dtype: torch.dtype) -> list[_Trial]:
    factors = {n: [torch.randn(n, n, device=device).to(dtype) for _ in range(2)] for n in sizes.products}
    return [_Trial(f"product of {n}", n**3, partial(torch.mm, *pair)) for n, pair in factors.items()]


def _convolutions(device: str, sizes: _Sizes, dtype: torch.dtype) -> list[_Trial]:
    def trial(batch: int, layout: str) -> _Trial:
        images, weights = (
            torch.randn(shape, device=device).to(dtype, memory_format=_LAYOUTS[layout])
            for shape in ((batch, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _CHANNELS, _KERNEL, _KERNEL))
        )
        work = partial(F.conv2d, images, weights, padding=_KERNEL // 2)
        return _Trial(f"convolution of {batch}, {layout}", batch * _CONV_MACS, work)

    return [trial(batch, layout) for batch in sizes.batches for layout in _LAYOUTS]


def _copies(device: str, sizes: _Sizes) -> list[_Trial]:
    """Return the copies to be tried, by ascending size, the first of one number only."""
    count = sizes.largest_copy // (2 * _FLOAT_BYTES)
    source, target = (torch.ones(count, device=device) for _ in range(2))  # ones are written; zeros may not be
    moved = [2 * _FLOAT_BYTES, _SMALLEST_COPY]
    while moved[-1] < sizes.largest_copy:
        moved.append(moved[-1] * _COPY_STEP)
    return [_copy(target[:numbers], source[:numbers]) for numbers in (size // (2 * _FLOAT_BYTES) for size in moved)]


def _copy(target: Tensor, source: Tensor) -> _Trial:
    on_gpu = target.device.type != "cpu"
    pieces = _IN_A_ROW if target.nbytes < _MANY_BELOW or on_gpu else 1

    def work() -> None:
        for _ in range(pieces):
            target.copy_(source)

    # Launched one by one, small copies would be as slow as the host launches: a graph of them runs by itself.
    run: Work = work
    if on_gpu:
        with contextlib.suppress(FerBenchError):  # where PyTorch has no graphs, they are launched one by one
            run = devices.capture(work, target.device)
    return _Trial("copy", 2 * target.nbytes, run, pieces, holds=(target, source))


def _curve(copies: Sequence[_Trial]) -> list[list[float]]:
    """Return bytes and rates; what a copy of one number takes too is the operator's time, not the memory's."""
    nothing, *sized = copies
    # A tenth is left at least: nothing is copied in no time, however the two tries came out.
    return [[c.amount, c.amount / max(c.seconds - nothing.seconds, c.seconds / 10)] for c in sized]


def _operator(meter: _Meter) -> float:
    """Return the seconds of the cheapest operator: what starting one costs. On a GPU the rate of launches bounds it."""
    number = torch.zeros(1, device=meter.device)
    many = _IN_A_ROW if meter.device == "cpu" else 20 * _IN_A_ROW

    def work() -> None:
        for _ in range(many):
            number.add_(1)

    return statistics.median(meter.times(work)) / many
