"""What profilers are given: arguments with one meaning everywhere.

The ``plan`` says what is done, how often and how long. Where a profiler takes ``model`` and ``images`` instead of
``make``, these are what ``make`` returns. Tests pass a clock and a sleep of their own.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Clock = Callable[[], int]  # nanoseconds, monotonic
Sleep = Callable[[float], None]  # waits for so many seconds
Alive = Callable[[], None]  # called every few seconds, between passes: shows the runner that it is not hung
# Builds the network, in eval mode, and its batch, (N, C, H, W), both on the plan's device.
Make = Callable[[], "tuple[nn.Module, Tensor]"]


def inference_mode() -> contextlib.AbstractContextManager[Any]:
    """Return PyTorch's inference mode; what a backend runs in a process without PyTorch needs none."""
    torch = sys.modules.get("torch")
    return torch.inference_mode() if torch is not None else contextlib.nullcontext()


def on_gpu(images: Any) -> bool:
    """Report whether a batch lies on an accelerator; one of a backend is an array and does not."""
    return getattr(getattr(images, "device", None), "type", "cpu") != "cpu"  # an array's device is a string


def synchronize(images: Any) -> None:
    """Wait for all that was launched on the device of a batch; on the CPU nothing is left to wait for."""
    if on_gpu(images):
        from fer_bench.measuring.profilers import devices

        devices.synchronize(images.device)
