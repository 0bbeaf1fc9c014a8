"""What profilers are given: types with one meaning everywhere."""

from collections.abc import Callable

from torch import Tensor, nn

Clock = Callable[[], int]  # nanoseconds, monotonic
Sleep = Callable[[float], None]  # waits for so many seconds
Alive = Callable[[], None]  # tells the runner that this process is not hung
Make = Callable[[], tuple[nn.Module, Tensor]]  # builds the network and its batch, (N, C, H, W), on the plan's device
