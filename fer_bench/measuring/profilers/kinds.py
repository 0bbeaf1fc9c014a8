"""What profilers are given: arguments with one meaning everywhere.

The ``plan`` says what is done, how often and how long. Where a profiler takes ``model`` and ``images`` instead of
``make``, these are what ``make`` returns. Tests pass a clock and a sleep of their own.
"""

from collections.abc import Callable

from torch import Tensor, nn

Clock = Callable[[], int]  # nanoseconds, monotonic
Sleep = Callable[[float], None]  # waits for so many seconds
Alive = Callable[[], None]  # called every few seconds, between passes: shows the runner that it is not hung
# Builds the network, in eval mode, and its batch, (N, C, H, W), both on the plan's device.
Make = Callable[[], tuple[nn.Module, Tensor]]
