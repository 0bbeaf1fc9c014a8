"""Check the latency of backends beside the runtime's own loop: the same session and input, blocks that alternate.

A ratio is theirs over ours, of blocks that follow each other. Its 95 % interval is Student's, of the logarithms. Inside
±3 % the two agree, wholly outside they do not, and else nothing was shown: the test is then skipped as inconclusive.
Loops whose input is bound once are printed beside it and not judged: what they save is the call from Python.
Processor time stands beside wall time: on a busy machine it says more. ``pytest benchmarks/test_runtimes.py -s`` prints
a line for each; docs/backends.md has what came out.
"""

import dataclasses
import re
import shutil
import statistics
import subprocess
import time

import pytest
import torch

import fer_bench as fb
from fer_bench.measuring.machine import pin
from fer_bench.measuring.profilers.latency import measure_latency
from fer_bench.networks import backends
from fer_bench.networks.backends import prepare
from fer_bench.networks.backends.interface import Settings
from fer_bench.networks.build import example_inputs
from fer_bench.records.plan import QUICK
from support.ratios import interval, judge

ROUNDS = 30
BLOCK_S = 0.1
CALLED_S = 1e-3  # benchmark_app's clock is in the runtime, ours is around the call from Python: 10 us of a pass
ONE_THREAD = Settings(threads=1, spinning=False, precision="fp32")
NETWORKS = ["mini_xception", "mobilenetv3_large", "resnet50"]


def bare_session(prepared, images):
    """ONNX Runtime's calls as a user writes them."""
    session, name = prepared._session, prepared._name
    return lambda: session.run(None, {name: images})


def bound_session(prepared, images):
    """ONNX Runtime with input and outputs bound once, as onnxruntime_perf_test has it."""
    session, binding = prepared._session, prepared._session.io_binding()
    binding.bind_cpu_input(prepared._name, images)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def bare_request(prepared, images):
    """OpenVINO's inference request as a user writes it."""
    request = prepared._request
    return lambda: request.infer(images, share_inputs=True, share_outputs=True)


def bound_request(prepared, images):
    """OpenVINO with its input tensor set once, as benchmark_app has it."""
    import openvino

    request = prepared._compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
    return request.infer


LOOPS = {
    "onnxruntime": {"run": bare_session, "io binding": bound_session},
    "openvino": {"infer": bare_request, "input tensor": bound_request},
}
SAME_BINDING = (bare_session, bare_request)


@pytest.fixture(autouse=True)
def one_pinned_thread():
    import os

    cores = os.sched_getaffinity(0)
    pin(1)
    yield
    os.sched_setaffinity(0, cores)


def converted(backend, name, folder):
    pytest.importorskip(backend)
    found, spec = backends.find(backend), fb.find(name)
    images = example_inputs(spec.input_shape, 1, "cpu")
    artefact = found.convert(prepare.export(fb.create_model(name).eval(), images), folder, "fp32")
    return artefact, found.load(artefact.path, ONE_THREAD), images.numpy()


def ours(prepared, images, runs):
    plan = dataclasses.replace(QUICK, threads=1, warmup_runs=1, runs=runs, max_time_s=None, wait="passive")
    began = time.process_time()
    measured = measure_latency(prepared, images, plan, capture=False)[0]
    passes = len(measured.values) + len(measured.details["warmup_s"])
    return statistics.mean(measured.values), (time.process_time() - began) / passes


def theirs(call, runs):
    call()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs):
        call()
    return (time.perf_counter() - began) / runs, (time.process_time() - cpu) / runs


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("backend", "loop"), [(backend, loop) for backend, loops in LOOPS.items() for loop in loops])
def test_the_latency_is_that_of_the_runtimes_own_loop(backend, loop, name, tmp_path):
    torch.set_num_threads(1)
    _, prepared, images = converted(backend, name, tmp_path)
    make = LOOPS[backend][loop]
    call = make(prepared, images)
    runs = max(3, round(BLOCK_S / theirs(call, 10)[0]))
    wall, cpu = [], []
    for number in range(ROUNDS):
        pair = {}
        for who in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            pair[who] = ours(prepared, images, runs) if who == "ours" else theirs(call, runs)
        wall.append((pair["ours"][0], pair["theirs"][0]))
        cpu.append((pair["ours"][1], pair["theirs"][1]))
    what = f"{backend}, {loop}, {name}"
    ratio, low, high = interval(cpu)
    print(f"\n{what}, processor time: {ratio:.4f} [{low:.4f}, {high:.4f}]")
    if make in SAME_BINDING:
        judge(f"{what}, wall time", wall)
    else:
        print("{}, wall time: {:.4f} [{:.4f}, {:.4f}]".format(what, *interval(wall)))


@pytest.mark.skipif(shutil.which("benchmark_app") is None, reason="OpenVINO's benchmark_app is not installed")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_latency_is_that_of_benchmark_app(name, tmp_path):
    artefact, prepared, images = converted("openvino", name, tmp_path)
    call = bound_request(prepared, images)  # as benchmark_app has its input
    command = [
        "benchmark_app",
        "-m",
        str(artefact.path),
        "-d",
        "CPU",
        "-api",
        "sync",
        "-hint",
        "none",
        "-nstreams",
        "1",
    ]
    command += ["-nthreads", "1", "-infer_precision", "f32", "-t", "2"]
    pairs = []
    for _ in range(15):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        number, unit = re.search(r"Median:\s+([\d.]+) (ms|us)", done.stdout).groups()
        median_s = float(number) * {"ms": 1e-3, "us": 1e-6}[unit]
        plan = dataclasses.replace(QUICK, threads=1, runs=100, wait="passive")
        measured = measure_latency(lambda _: call(), images, plan)[0]
        pairs.append((statistics.median(measured.values), median_s))
    if statistics.median(ours_s for ours_s, _ in pairs) < CALLED_S:
        print("\nbenchmark_app, {}, not judged: {:.4f} [{:.4f}, {:.4f}]".format(name, *interval(pairs)))
    else:
        judge(f"benchmark_app, {name}", pairs)
