"""The networks by each backend: whether it converts, how much of it is delegated, and its error in PyTorch's units.

    pytest benchmarks/test_backends.py --studies -s -k "executorch or litert"

It is the evidence for the table in docs/backends.md. A network whose conversion fails is printed with the reason, and
fails here. It takes half a minute to two minutes for each network and backend.
"""

import time

import pytest

import fer_bench as fb
from fer_bench.measuring.messages import Job
from fer_bench.measuring.network import Network
from fer_bench.measuring.profilers.parity import ratio
from fer_bench.networks import backends
from fer_bench.networks.backends import compare, prepare
from fer_bench.networks.backends.interface import Settings
from fer_bench.records.plan import TORCH
from fer_bench.reporting.analysis.parity import OTHER_ORDER

IMAGES = 4


@pytest.mark.parametrize("name", fb.list_models())
@pytest.mark.parametrize("backend", ["aoti", "executorch", "litert"])
def test_a_network_is_the_same_by_a_backend(backend, name, tmp_path):
    plan = fb.Plan("parity", metrics=("parity",), backend=backend)
    assert plan.backend != TORCH
    backends.check(plan)
    network = Network(fb.find(name), Job(plan, fb.find(name)))
    model, images = network.plain()
    prepare.ready_random(model, network.input_shape)
    judged = prepare.judged_images(network.input_shape)[:IMAGES]
    eager, exact = prepare.run(model, judged), prepare.run(prepare.doubled(model), judged, prepare.DOUBLE)
    program, began = prepare.export(model, images), time.process_time()
    artefact = backends.find(backend).convert(program, tmp_path, "fp32")
    cpu_s = time.process_time() - began
    prepared = backends.find(backend).load(artefact.path, Settings(threads=1, spinning=False, precision="fp32"))
    off = ratio(compare.errors(compare.in_batches(prepared, judged, len(images)), eager, exact))
    lowered = artefact.details.get("delegation", {})
    print(
        f"\n{backend} {name} ratio {off:.2f} MB {artefact.size / 1e6:.2f} cpu_s {cpu_s:.0f} {lowered} {artefact.notes}"
    )
    assert off <= OTHER_ORDER
