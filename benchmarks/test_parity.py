"""What the bounds of parity rest on: how far fewer bits are off, on each network of the zoo.

TF32 is simulated as GPUs have it: the inputs and weights of convolutions and products are rounded to 10 bits of
mantissa. float16 weights are rounded, and computed with in float32: the least that a file of half the size does.
``fer-bench run --backend onnxruntime,openvino --metrics parity --threads 1`` measures the other side: float32 in other
orders. ``pytest benchmarks/test_parity.py -s`` prints a line for each network; docs/backends.md has the table.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

import fer_bench as fb
from fer_bench.measuring.messages import Job
from fer_bench.measuring.network import Network
from fer_bench.measuring.profilers.parity import ratio
from fer_bench.networks.backends import compare, prepare
from fer_bench.reporting.analysis.parity import OTHER_ORDER

IMAGES = 2  # TF32 is off by a thousand times: fewer images say so as well
MANTISSA = 10


def rounded(values):
    """Round float32 values to TF32, to the nearest, as its 13 lowest bits are dropped."""
    bits = values.detach().contiguous().view(torch.int32)
    kept = (bits + (1 << (22 - MANTISSA))) & ~((1 << (23 - MANTISSA)) - 1)
    return kept.view(torch.float32)


class Tf32(nn.Module):
    def forward(self, weight):
        return rounded(weight)


class Half(nn.Module):
    def forward(self, weight):
        return weight.half().float()


def in_tf32(model):
    changed = copy.deepcopy(model)
    for layer in list(changed.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            register_parametrization(layer, "weight", Tf32())
            layer.register_forward_pre_hook(lambda module, given: (rounded(given[0]), *given[1:]))
    return changed


def in_half(model):
    changed = copy.deepcopy(model)
    for layer in list(changed.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            register_parametrization(layer, "weight", Half())
    return changed


@pytest.mark.parametrize("name", fb.list_models())
def test_fewer_bits_are_far_above_the_bounds(name):
    network = Network(fb.find(name), Job(fb.Plan("parity"), fb.find(name)))
    model, _ = network.plain()
    prepare.ready_random(model, network.input_shape)
    images = prepare.judged_images(network.input_shape)[:IMAGES]
    eager, exact = prepare.run(model, images), prepare.run(prepare.doubled(model), images, prepare.DOUBLE)
    found = {
        kind: ratio(compare.errors(prepare.run(changed(model), images), eager, exact))
        for kind, changed in (("tf32", in_tf32), ("half", in_half))
    }
    own = np.sqrt(np.mean([np.square(a - b).mean() for a, b in zip(eager, exact, strict=True)]))
    print(f"\n{name} tf32 {found['tf32']:.0f} half {found['half']:.0f} eager {own:.2g}")
    assert min(found.values()) > 8 * OTHER_ORDER
