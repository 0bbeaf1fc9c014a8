"""The roofline worked out by hand, and the roofs measured under a clock of our own."""

import pytest
import torch

from fer_bench.measuring.profilers import roofline as profiler
from fer_bench.measuring.profilers.roofline import measure_attainable
from fer_bench.reporting.analysis.roofline import classify, rate

KIB, MIB = 2**10, 2**20

# 1000 MAC/s; copies of 64 bytes at 400 B/s, of 256 at 200, of 1024 and more at 100.
ATTAINABLE = {"macs_per_s": 1000.0, "copy_bytes_per_s": [[64, 400.0], [256, 200.0], [1024, 100.0]], "operator_s": 0.01}


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 400.0), (1, 400.0), (64, 400.0), (128, 300.0), (256, 200.0), (512, 150.0), (1024, 100.0), (10**6, 100.0)],
)
def test_a_rate_lies_between_its_neighbours_on_the_logarithm_of_the_size(size, expected):
    assert rate(ATTAINABLE["copy_bytes_per_s"], size) == pytest.approx(expected)


def test_a_pass_is_split_into_arithmetic_memory_and_overhead():
    # The first: 5 s of arithmetic, 64/400 = 0.16 s of traffic. The second: 0.1 s and 1024/100 = 10.24 s. The third has
    # neither.
    found = classify(20.0, [5000, 100, 0], [64, 1024, 0], ATTAINABLE)
    assert found.arithmetic_s == pytest.approx(5.0)
    assert found.memory_s == pytest.approx(10.24)
    assert found.overhead_s == pytest.approx(0.03)
    assert found.rest_s == pytest.approx(20 - 5 - 10.24 - 0.03)
    assert found.bound == "memory"
    assert found.share_of_peak == pytest.approx(5100 / 20 / 1000)
    assert found.bytes_per_s == pytest.approx(1088 / 20)
    assert found.share_of_copy == pytest.approx(1088 / 20 / 100)


def test_an_operator_s_rate_is_that_of_its_own_size():
    # Four operators of 64 bytes live in the nearest cache: 0.16 s each. One of 256 bytes: 1.28 s.
    assert classify(9.0, [0] * 4, [64] * 4, ATTAINABLE).memory_s == pytest.approx(0.64)
    assert classify(9.0, [0], [256], ATTAINABLE).memory_s == pytest.approx(1.28)


@pytest.mark.parametrize(
    ("latency_s", "macs", "moved", "bound"),
    [(6.0, [5000], [64], "arithmetic"), (6.0, [1], [512], "memory"), (6.0, [0] * 99, [0] * 99, "overhead")],
)
def test_the_largest_part_is_what_holds_the_network_up(latency_s, macs, moved, bound):
    assert classify(latency_s, macs, moved, ATTAINABLE).bound == bound


def test_a_network_faster_than_the_model_keeps_its_shares_above_one():
    found = classify(4.0, [5000], [64], ATTAINABLE)
    assert found.rest_s == 0.0
    assert found.share_of_peak == pytest.approx(1.25)
    assert found.bound == "arithmetic"


@pytest.mark.parametrize(("latency_s", "bound_by"), [(10.0, "arithmetic"), (10.4, "none of these")])
def test_what_reaches_neither_rate_is_bound_by_nothing_that_is_modelled(latency_s, bound_by):
    # 5 s of arithmetic and an operator's start of 0.01 s leave 4.99 s or 5.39 s.
    found = classify(latency_s, [5000], [64], ATTAINABLE)
    assert (found.bound, found.bound_by) == ("arithmetic", bound_by)


def test_macs_and_bytes_are_of_the_same_operators():
    with pytest.raises(ValueError, match="shorter"):
        classify(1.0, [1, 2], [3], ATTAINABLE)


class Clock:
    """Moves on only for what takes time by our book."""

    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return round(self.s * 1e9)


@pytest.fixture
def clock(monkeypatch):
    """A machine of 10**9 MAC/s in products, 2 * 10**9 in NHWC and 10**9 in NCHW convolutions.

    It starts an operator in 1 µs and copies 10**10 bytes a second up to 256 KiB, a tenth of that above.
    """
    clock = Clock()

    def product(left, right):
        clock.s += left.shape[0] ** 3 / 1e9

    def convolve(images, weights, padding):
        fast = images.is_contiguous(memory_format=torch.channels_last)
        clock.s += len(images) * 256 * 256 * 9 * 28 * 28 / (2e9 if fast else 1e9)

    class Numbers:
        device = torch.device("cpu")

        def __init__(self, count):
            self.count, self.nbytes = count, 4 * count

        def __getitem__(self, part):
            return Numbers(min(self.count, part.stop))

        def copy_(self, source):
            assert source.nbytes == self.nbytes
            moved = 2 * self.nbytes
            clock.s += 1e-6 + moved / (1e10 if moved <= 256 * KIB else 1e9)

        def add_(self, one):
            clock.s += 1e-6

    monkeypatch.setattr(profiler.torch, "mm", product)
    monkeypatch.setattr(profiler.F, "conv2d", convolve)
    monkeypatch.setattr(profiler.torch, "ones", lambda count, device: Numbers(count))
    monkeypatch.setattr(profiler.torch, "zeros", lambda count, device: Numbers(count))
    monkeypatch.setitem(profiler._SIZES, "cpu", profiler._Sizes((16, 32), (1,), MIB))
    return clock


def test_the_fastest_arithmetic_the_curve_of_copies_and_the_cheapest_operator_are_reported(clock):
    found = measure_attainable("cpu", "fp32", clock)
    assert found["macs_per_s"] == pytest.approx(2e9, rel=1e-3)
    assert "convolution of 1, NHWC" in found["how"]
    assert found["how"].startswith("float32")
    assert found["operator_s"] == pytest.approx(1e-6, rel=1e-2)
    assert found["threads"] == torch.get_num_threads()
    assert [size for size, _ in found["copy_bytes_per_s"]] == [64 * KIB, 256 * KIB, MIB]
    # Starting the copy is taken off.
    assert [rate for _, rate in found["copy_bytes_per_s"]] == pytest.approx([1e10, 1e10, 1e9], rel=1e-2)


def test_what_the_tries_before_foretell_to_take_too_long_is_left_out(clock, monkeypatch):
    tried = []
    counted = torch.mm

    def product(left, right):
        tried.append(left.shape[0])
        counted(left, right)

    monkeypatch.setattr(profiler.torch, "mm", product)
    monkeypatch.setitem(profiler._SIZES, "cpu", profiler._Sizes((32, 256, 512), (), 256 * KIB))
    measure_attainable("cpu", "bf16", clock)  # 256**3 takes 17 ms and 512**3 134 ms
    assert set(tried) == {32, 256}


def test_a_copy_takes_some_time_however_the_tries_came_out():
    trials = [profiler._Trial("copy", n, print, seconds=s) for n, s in ((8, 2e-6), (64 * KIB, 1e-6), (MIB, 12e-6))]
    assert [rate for _, rate in profiler._curve(trials)] == pytest.approx([64 * KIB / 1e-7, MIB / 10e-6])


def test_this_machine_attains_something(monkeypatch):
    monkeypatch.setitem(profiler._SIZES, "cpu", profiler._Sizes((16, 32), (), MIB))
    monkeypatch.setattr(profiler, "_TRY_S", 0.0)
    found = measure_attainable("cpu", "bf16")
    assert found["macs_per_s"] > 0
    assert found["operator_s"] > 0
    assert all(rate > 0 for _, rate in found["copy_bytes_per_s"])
    assert found["how"].startswith("bfloat16")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_attains_something(precision):
    found = measure_attainable("cuda", precision)
    assert found["macs_per_s"] > 0
    assert found["operator_s"] > 0
    assert [size for size, _ in found["copy_bytes_per_s"]] == [64 * KIB * 4**step for step in range(8)]
    assert all(rate > 0 for _, rate in found["copy_bytes_per_s"])
