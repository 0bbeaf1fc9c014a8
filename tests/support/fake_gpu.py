"""A GPU that is none: the calls of ``torch.cuda`` that we make, as its documentation has them, on a clock of its own.

Tensors live on the CPU and say that they are on "cuda". What PyTorch forbids is refused: to read the time between
events that the device has not reached, and to wait within a capture. Leaving a capture that has failed raises, and
leaves the stream of the capture as the current one, as ``torch.cuda.graph`` does.
"""

import contextlib
import types

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fer_bench.networks.build import call_without_gpu

MIB = 2**20
CUDA = torch.device("cuda", 0)


class FakeGpu(TorchFunctionMode):
    """Use it as a context; ``log`` has the calls in order, and ``ms`` is the device's clock, which networks move."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.log: list[str] = []
        self.ms = 0.0
        self.waited_ms = 0.0  # up to where the host has waited
        self.capturing = self.spoilt = False
        self.streams = ["default"]
        self.largest = 512 * MIB  # of a tensor, else the memory is out
        patched = {
            "Event": lambda enable_timing: _Event(self, enable_timing),
            "synchronize": self.synchronize,
            "Stream": lambda: _Stream(self, "side"),
            "current_stream": lambda: _Stream(self, self.streams[-1]),
            "stream": self.stream,
            "CUDAGraph": lambda: _Graph(self),
            "graph": self.graph,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "current_device": lambda: 0,
            "get_device_properties": lambda device: types.SimpleNamespace(
                name="Fake GPU", uuid="0-1", total_memory=80 * 2**30
            ),
            "get_device_capability": lambda: (9, 0),
            "empty_cache": lambda: self.log.append("empty_cache"),
            "reset_peak_memory_stats": lambda: self.log.append("reset_peak"),
            "max_memory_allocated": lambda: 5 * MIB,
            "max_memory_reserved": lambda: 6 * MIB,
        }
        for name, value in patched.items():
            monkeypatch.setattr(torch.cuda, name, value)  # which raises where PyTorch has no such name
        # An optimiser asks the driver itself, by what it calls an accelerator, whether a graph is captured.
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return CUDA
        if func == Tensor.is_cuda.__get__:
            return True
        if func is Tensor.item:
            self.wait()
        if func is Tensor.zero_ and args[0].numel() >= MIB:
            self.log.append("flush")
        if func is torch.empty and isinstance(args[0], int) and args[0] > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 256.00 MiB.")
        return call_without_gpu(func, args, kwargs, "cpu")

    def wait(self):
        if self.capturing:
            self.spoilt = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.waited_ms = self.ms

    def synchronize(self):
        self.wait()
        self.log.append("synchronize")

    @contextlib.contextmanager
    def stream(self, stream):
        self.streams.append(stream.name)
        yield
        self.streams.pop()

    @contextlib.contextmanager
    def graph(self, graph):
        self.wait()
        self.streams.append("capture")
        self.capturing, self.spoilt = True, False
        self.log.append("capture")
        try:
            yield
        finally:
            self.capturing = False
            if self.spoilt:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.streams.pop()


class _Event:
    def __init__(self, gpu, enable_timing):
        assert enable_timing, "without it PyTorch gives no times"
        self.gpu, self.at_ms = gpu, None

    def record(self):
        self.at_ms = self.gpu.ms
        self.gpu.log.append("record")

    def synchronize(self):
        self.gpu.wait()
        self.gpu.log.append("wait")

    def elapsed_time(self, other):
        if self.at_ms is None or other.at_ms is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if self.gpu.waited_ms < other.at_ms:
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return other.at_ms - self.at_ms


class _Stream:
    def __init__(self, gpu, name):
        self.gpu, self.name = gpu, name

    def wait_stream(self, other):
        self.gpu.log.append(f"{self.name} waits for {other.name}")


class _Graph:
    def __init__(self, gpu):
        self.gpu = gpu

    def replay(self):
        self.gpu.ms += 0.5
        self.gpu.log.append("replay")
