"""The public names pass a strict type checker as users write them. Checked by mypy, never run."""

from pathlib import Path

import torch

import fer_bench
from fer_bench import Build, Count, ModelSpec, Trace

names: list[str] = fer_bench.list_models()
spec: ModelSpec = fer_bench.find("mini_xception")
model: torch.nn.Module = fer_bench.create_model("resnet50", num_classes=7, in_channels=1)
weighted: torch.nn.Module = fer_bench.create_model("resmaskingnet", checkpoint=Path("weights.pt"))
counted: Count = fer_bench.count(spec, Build(num_classes=8), batch=4, counters=["thop"])
macs: int = counted.inference.macs
trainable: int = counted.parameters.trainable
seen: Trace = fer_bench.trace(model, (torch.empty(1, 1, 224, 224),), train=True)
missing: tuple[str, ...] = fer_bench.load_checkpoint(model, "weights.pt", strict=False).missing
