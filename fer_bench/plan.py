"""The plan: everything that can change a number. A result carries the plan that it was measured by."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from fer_bench.errors import FerBenchError


@dataclass(frozen=True, slots=True)
class Plan:
    """How networks are measured.

    Attributes:
        protocol: the name of the preset that it started from.
        device: "cpu" or "cuda".
        batch_size: images a pass.
        input_size: height and width of the images; None takes each network's own.
        num_classes: outputs; None takes each network's own.
        threads: CPU threads of PyTorch's operators; None leaves PyTorch's choice, one a core. One thread, as
            torch.utils.benchmark has it, tells the algorithm; all threads tell the machine.
        warmup_runs: passes before the first timed one; the first is twice as slow as the fifth.
        runs: timed passes wanted.
        max_time_s: when the timed passes stop early; None never. The record says when they did.
        seed: of initial weights and images.
        time_limit_s: after which a process is given up as hung.
    """

    protocol: str
    device: str = "cpu"
    batch_size: int = 1
    input_size: int | None = None
    num_classes: int | None = None
    threads: int | None = None
    warmup_runs: int = 5
    runs: int = 300
    max_time_s: float | None = None
    seed: int = 0
    time_limit_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "runs", "num_classes", "input_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FerBenchError(f"{name} is {value}: it starts at 1")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


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


# `quick` measures the whole zoo on a small CPU in about six minutes: 300 runs or four seconds a network.
QUICK = Plan("quick", max_time_s=4.0)
# Paper 001, section III.D.3: 224x224, batch 48, dummy passes, 300 timed runs.
SAFAVI2023 = Plan("safavi2023", device="cuda", batch_size=48, input_size=224, warmup_runs=20)

PRESETS = {plan.protocol: plan for plan in (QUICK, SAFAVI2023)}
