"""The plan: everything that can change a number. A result carries the plan that it was measured by."""

import dataclasses
from collections.abc import Mapping
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
        for name in ("batch_size", "runs"):
            if getattr(self, name) < 1:
                raise FerBenchError(f"{name.replace('_', ' ')} is {getattr(self, name)}; it starts at 1")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


# `quick` measures the whole zoo on a small CPU in about six minutes: 300 runs or four seconds a network.
QUICK = Plan("quick", max_time_s=4.0)
# Paper 001, section III.D.3: 224x224, batch 48, dummy passes, 300 timed runs.
SAFAVI2023 = Plan("safavi2023", device="cuda", batch_size=48, input_size=224, warmup_runs=20)

PRESETS = {plan.protocol: plan for plan in (QUICK, SAFAVI2023)}
