"""What we ask of a GPU, on one that is none: the order of calls, and what is left when one fails."""

import dataclasses
import itertools
import subprocess
import sys
import types

import pynvml
import pytest
import torch
from torch import nn

from fer_bench.measuring import environment, messages
from fer_bench.measuring.network import check_device
from fer_bench.measuring.profilers import devices, energy, latency, memory
from fer_bench.measuring.profilers.energy import measure_energy
from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.measuring.profilers.memory import measure_memory
from fer_bench.measuring.profilers.occupancy import measure_occupancy
from fer_bench.measuring.profilers.passes import device_pass
from fer_bench.measuring.profilers.roofline import measure_attainable
from fer_bench.measuring.profilers.stepped import step
from fer_bench.measuring.profilers.training import measure_training
from fer_bench.records.errors import DeviceError, FerBenchError
from fer_bench.records.plan import QUICK, SAFAVI2023, TRAINING
from support import fake_gpu
from support.fake_gpu import CUDA, MIB, FakeGpu

PLAN = dataclasses.replace(QUICK, device="cuda", warmup_runs=2, runs=3, max_time_s=None)
EAGER = ["synchronize", "record", "pass", "record", "wait"]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(environment, "nvml_handle", refuses)
    monkeypatch.setattr(latency, "_RAISING_CLOCK_S", 0.0)
    monkeypatch.setattr(latency, "_FLUSH_BYTES", 2 * MIB)
    with FakeGpu(monkeypatch) as fake:
        yield fake


def refuses(*_):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


class Net(nn.Module):
    """Takes two milliseconds of the GPU's clock; may look at a value, as no graph allows."""

    def __init__(self, gpu, looks=False):
        super().__init__()
        self.fc, self.gpu, self.looks = nn.Linear(4, 3), gpu, looks

    def forward(self, x):
        self.gpu.log.append("pass")
        self.gpu.ms += 2.0
        return self.fc(x) * (x.sum().item() if self.looks else 1)


def measured(gpu, plan=PLAN, looks=False, **options):
    found = measure_latency(Net(gpu, looks), torch.zeros(2, 4), plan, **options)
    return {m.metric: m for m in found}


def test_a_pass_is_the_time_between_two_events_and_the_host_waits_outside(gpu):
    assert device_pass(lambda: Net(gpu)(torch.zeros(1, 4)), CUDA) == pytest.approx(0.002)
    assert gpu.log == EAGER
    gpu.log.clear()
    device_pass(lambda: Net(gpu)(torch.zeros(1, 4)), CUDA, torch.ones(MIB))
    assert gpu.log == ["flush", *EAGER]  # and the flush is over before the first event


def test_what_the_host_did_not_wait_for_has_no_time(gpu):
    start, end = devices.event(CUDA), devices.event(CUDA)
    start.record()
    gpu.ms += 1
    end.record()
    with pytest.raises(RuntimeError, match="must be completed"):
        start.elapsed_time(end)


def test_four_series_are_measured_in_order_and_the_graph_is_captured_on_the_side(gpu):
    found = measured(gpu)
    assert [name for name in found if name.endswith("_s")] == [
        *("latency_s", "latency_cold_s", "graph_latency_s", "graph_latency_cold_s")
    ]
    for name, seconds in (("latency_s", 0.002), ("latency_cold_s", 0.002), ("graph_latency_s", 0.0005)):
        assert found[name].values == pytest.approx((seconds,) * 3)
        assert found[name].details["warmup_s"] == pytest.approx([seconds] * 2)
        assert found[name].details["clock"] == "CUDA events"
    passes, flush = len(EAGER) * 5, ["flush"]
    assert gpu.log[:passes] == EAGER * 5
    assert gpu.log[passes : 2 * passes + 5] == (flush + EAGER) * 5
    captured = gpu.log[2 * passes + 5 :]
    assert captured[:7] == ["side waits for default", *["pass"] * 3, "default waits for side", "capture", "pass"]
    replayed = ["synchronize", "record", "replay", "record", "wait"]
    assert captured[7:] == replayed * 5 + (flush + replayed) * 5


def test_the_protocol_makes_exactly_300_passes_after_its_dummy_passes(gpu):
    found = measured(gpu, SAFAVI2023)
    assert {len(m.values) for m in found.values()} == {300}
    assert len(found["latency_s"].details["warmup_s"]) == 20


def test_a_gpu_that_may_still_raise_its_clock_is_warmed_up_for_longer(gpu, monkeypatch):
    monkeypatch.setattr(latency, "_RAISING_CLOCK_S", 0.05)  # 25 passes of 2 ms
    found = measured(gpu)
    assert len(found["latency_s"].details["warmup_s"]) == 25
    assert len(found["latency_cold_s"].details["warmup_s"]) == 2
    assert len(found["latency_s"].values) == 3


def test_a_network_that_no_graph_can_hold_keeps_its_other_times_and_says_why(gpu):
    found = measured(gpu, looks=True)
    assert len(found["latency_s"].values) == len(found["latency_cold_s"].values) == 3
    for name in ("graph_latency_s", "graph_latency_cold_s"):
        assert found[name].values == ()
        assert not found[name].failure
        # The network's own error, not the one of leaving the capture.
        assert "operation not permitted when stream is capturing" in found[name].details["not_captured"]
    assert gpu.streams[-1] == "capture"  # what a failed capture leaves behind, and why nothing may follow


def test_a_shared_process_is_not_put_at_risk(gpu):
    found = measured(gpu, capture=False)
    assert "capture" not in gpu.log
    assert "a process that does other work" in found["graph_latency_s"].details["not_captured"]
    assert len(found["latency_cold_s"].values) == 3


def test_memory_that_is_out_in_the_middle_costs_what_needs_it(gpu):
    gpu.largest = MIB  # no room for what overwrites the L2 cache
    found = measured(gpu)
    assert len(found["latency_s"].values) == len(found["graph_latency_s"].values) == 3
    for name in ("latency_cold_s", "graph_latency_cold_s"):
        assert found[name].failure.startswith("OutOfMemoryError: CUDA out of memory")


def test_a_device_that_fails_in_the_middle_leaves_what_was_measured(gpu, monkeypatch):
    def replay(self):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(fake_gpu._Graph, "replay", replay)
    found = measured(gpu)
    assert len(found["latency_s"].values) == len(found["latency_cold_s"].values) == 3
    assert "illegal memory access" in found["graph_latency_s"].failure


def test_a_network_that_raises_an_error_of_its_own_in_a_capture_keeps_its_other_times(gpu):
    class Own(Net):
        def forward(self, x):
            if gpu.capturing:
                raise KeyError("whatever")
            return super().forward(x)

    found = {m.metric: m for m in measure_latency(Own(gpu), torch.zeros(1, 4), PLAN)}
    assert len(found["latency_s"].values) == 3
    assert found["graph_latency_s"].details["not_captured"] == "KeyError: 'whatever'"


def test_a_training_step_is_timed_by_events_and_waited_for_once(gpu):
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            gpu.ms += 4
            return self.fc(x)

    plan = dataclasses.replace(TRAINING, device="cuda", warmup_runs=1, runs=2, max_time_s=None)
    found = {m.metric: m for m in measure_training(lambda: (Square(), torch.ones(2, 4)), plan)}
    assert found["training_step_s"].values == found["training_forward_s"].values == pytest.approx((0.004,) * 2)
    assert found["training_optimizer_s"].values == (0, 0)
    assert found["training_step_s"].details["clock"] == "CUDA events"
    assert gpu.log == (["record"] * 5 + ["wait"]) * 3


def test_memory_is_read_after_the_last_pass_is_over(gpu):
    found = {m.metric: m.values for m in measure_memory(lambda: (Net(gpu), torch.zeros(1, 4)), PLAN)}
    assert gpu.log == ["reset_peak", "pass", "pass", "pass", "synchronize"]
    assert found["peak_cuda_allocated_bytes"] == (5 * MIB,)
    assert found["peak_cuda_reserved_bytes"] == (6 * MIB,)
    assert "peak_cuda_process_bytes" not in found  # which NVML refuses


def test_each_pass_of_a_window_of_energy_is_waited_for(gpu, monkeypatch):
    monkeypatch.setattr(energy, "_WINDOW_S", 0.001)
    counter = energy.Counter("fake", iter([0.0, 1.0, 1.0, 9.0]).__next__)
    measure_energy(lambda: (Net(gpu), torch.zeros(1, 4)), PLAN, counter, sleep=lambda seconds: None)
    assert gpu.log == ["pass", "synchronize"] * (len(gpu.log) // 2)


@pytest.mark.parametrize("stage", ["testing", "training"])
def test_each_pass_of_occupancy_is_waited_for(gpu, stage):
    plan = dataclasses.replace(PLAN, sample_s=0.002, sample_every_s=0.001)
    made = lambda: (Net(gpu), torch.zeros(2, 4))  # noqa: E731
    found = measure_occupancy(made, plan, stage, sleep=lambda seconds: None)
    assert gpu.log == ["pass", "synchronize"] * (len(gpu.log) // 2)
    assert found[0].details["device"] == "cuda"


def test_passes_on_command_are_timed_on_the_device(gpu):
    sent = []
    commands = map(messages.dump, [messages.WarmUp(()), messages.MakePasses(2)])
    clock = iter(range(0, 10**12, 10**6)).__next__
    step(Net(gpu), torch.zeros(1, 4), PLAN, sent.append, commands, clock)
    assert sent[0].pass_s == pytest.approx(0.002)
    assert sent[1].seconds == pytest.approx((0.002, 0.002))


def test_what_a_gpu_attains_is_waited_for_and_small_copies_are_one_graph(gpu, monkeypatch):
    from fer_bench.measuring.profilers import roofline

    monkeypatch.setitem(roofline._SIZES, "gpu", roofline._Sizes((16,), (1,), 2 * MIB))
    monkeypatch.setattr(roofline, "_TRY_S", 0.0)
    found = measure_attainable("cuda", "tf32")
    assert found["macs_per_s"] > 0
    assert gpu.log.count("capture") == len(found["copy_bytes_per_s"]) + 1  # each size, and a copy of one number
    last = [entry for entry in gpu.log if entry in ("replay", "synchronize")]
    assert all(after == "synchronize" for one, after in itertools.pairwise(last) if one == "replay")


def test_a_network_too_large_for_the_gpu_is_a_failure_with_its_reason(gpu):
    def forward(x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    model = Net(gpu)
    model.forward = forward
    with pytest.raises(torch.OutOfMemoryError):  # which the worker records: nothing was measured
        measure_latency(model, torch.zeros(1, 4), PLAN)


def test_the_environment_names_the_gpu_where_nvml_refuses(gpu):
    where = environment.describe("cuda", "system")
    assert (where.device, where.device_name) == ("cuda", "Fake GPU")
    assert where.gpu["memory_bytes"] == 80 * 2**30
    assert where.gpu["nvml"].startswith("not available: ")


def test_a_card_that_refuses_its_power_gives_the_rest(gpu, monkeypatch):
    monkeypatch.setattr(environment, "nvml_handle", lambda: "handle")
    answers = {
        "nvmlDeviceGetClockInfo": lambda handle, kind: 1500,
        "nvmlDeviceGetTemperature": lambda handle, kind: 61,
        "nvmlDeviceGetPowerUsage": refuses,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: pynvml.nvmlClocksThrottleReasonSwPowerCap,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    state = environment.gpu_state()
    assert state["sm_clock_hz"] == 1_500_000_000
    assert state["throttle_reasons"] == ["power cap"]
    assert "power_w" not in state
    assert state["nvml"] == "not available: power_w: Not Supported"


def test_without_the_package_of_nvml_the_reason_is_recorded(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py" in environment.gpu_state()["nvml"]
    assert "nvidia-ml-py" in energy.find_counter("cuda")
    assert memory._process_bytes() is None


def test_a_device_that_pytorch_does_not_have_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("xpu"))
    check_device("xpu")
    check_device("cpu")
    with pytest.raises(DeviceError, match=r"--device cuda: PyTorch .* sees no such device; use --device xpu"):
        check_device("cuda")


def test_what_mps_lacks_is_blank_with_a_reason():
    with pytest.raises(FerBenchError, match="has no graphs on mps"):
        devices.capture(lambda: None, "mps")
    (peak,) = memory._gpu_peaks("mps", "")
    assert (peak.values, peak.failure) == ((), "")
    assert peak.details["reason"] == "PyTorch counts no peak of memory on mps"
    assert energy.find_counter("mps") == "no counter of the energy of mps is read"


def test_switches_that_were_set_by_their_newer_names_are_not_known():
    class Mixed:
        @property
        def allow_tf32(self):
            raise RuntimeError("a mix of the legacy and new APIs")

    assert environment.allows_tf32(Mixed()) is None
    assert environment.allows_tf32(torch.backends.cudnn) in (True, False)


@pytest.mark.slow
def test_what_is_imported_before_workers_are_forked_does_not_load_cuda():
    """PyTorch refuses CUDA to a fork of a process that has so much as counted its devices by the runtime."""
    code = (
        "import importlib, torch\n"
        "def fail(*_): raise SystemExit('CUDA was loaded')\n"
        "torch._C._cuda_getDeviceCount = torch._C._cuda_init = fail\n"
        "import fer_bench.measuring.worker\n"
        "from fer_bench.networks.registry import built_in\n"
        "found = built_in()\n"
        "for name in found.names(): importlib.import_module(found.find(name).source.library)\n"
        "print(torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("False False\n", 0), done.stderr


@pytest.mark.parametrize("device", ["cuda", "xpu", "mps"])
def test_pytorch_has_what_we_ask_of_each_device(device):
    its = devices.module(device)
    assert isinstance(its, types.ModuleType)
    assert callable(its.Event)
    assert callable(its.synchronize)
    assert callable(its.empty_cache)
