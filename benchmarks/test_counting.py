"""Our counter beside the others, in one run on one machine: ratios, not absolute times.

For each network and tool the smallest of several calls after a first one, on networks that are already built, batch 1.
The table at the end (conftest.py draws it) tells each tool's time over ours, and how far its MACs are from ours, which
the tests hold to the originals'.
"""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_bench import find, list_models
from fer_bench.measuring.counting.count import count
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks.build import create, example_inputs

NETWORKS = ("resnet50", "resnet152", "densenet121", "mobilenetv3_large", "mit_fusion")
_CALLS = 5


def _ours(spec):
    model, images = create(spec, device="meta"), _meta_images(spec)
    return lambda: trace(model, (images,)).macs


def _flop_counter_meta(spec):
    model, images = create(spec, device="meta"), _meta_images(spec)

    def run():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images)
        return counter.get_total_flops() / 2

    return run


def _flop_counter_cpu(spec):
    model, images = create(spec), example_inputs(spec.input_shape, 1, "cpu")

    def run():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images)
        return counter.get_total_flops() / 2

    return run


def _fvcore(spec):
    from fvcore.nn import FlopCountAnalysis

    model, images = create(spec), example_inputs(spec.input_shape, 1, "cpu")

    def run():
        analysis = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return analysis.tracer_warnings("none").total()

    return run


def _thop(spec):
    import thop

    model, images = create(spec), example_inputs(spec.input_shape, 1, "cpu")

    def run():
        with torch.no_grad():
            return thop.profile(model, inputs=(images,), verbose=False)[0]

    return run


def _ptflops(spec):
    ptflops = pytest.importorskip("ptflops", reason="ptflops is not installed (pip install ptflops)")
    model = create(spec)

    def run():
        macs, _ = ptflops.get_model_complexity_info(
            model, spec.input_shape, as_strings=False, print_per_layer_stat=False, verbose=False, backend="aten"
        )
        return macs

    return run


TOOLS = {
    "ours": _ours,
    "FlopCounterMode (meta)": _flop_counter_meta,
    "FlopCounterMode (CPU)": _flop_counter_cpu,
    "fvcore": _fvcore,
    "thop": _thop,
    "ptflops (aten)": _ptflops,
}


def _meta_images(spec):
    return torch.empty(1, *spec.input_shape, device="meta")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.filterwarnings("ignore")  # of the other tools' deprecated parts
def test_counter(benchmark, counting_ratios, tool, name):
    run = TOOLS[tool](find(name))
    macs = run()
    benchmark.pedantic(run, rounds=_CALLS, iterations=1)
    benchmark.extra_info["macs"] = macs
    if benchmark.stats:
        counting_ratios[tool, name] = (min(benchmark.stats.stats.data), macs)
    assert macs > 0


def test_whole_zoo(benchmark):
    """Build every network on meta tensors and take all static metrics."""
    specs = [find(name) for name in list_models()]
    import timm  # noqa: F401  # imports are not what is measured here

    def run():
        return [count(spec) for spec in specs]

    start = time.perf_counter()
    counted = run()
    benchmark.extra_info["first_s"] = time.perf_counter() - start
    benchmark.pedantic(run, rounds=3, iterations=1)
    benchmark.extra_info["networks"] = len(counted)
    assert all(not one.inference.uncounted for one in counted)
