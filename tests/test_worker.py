"""The child: answers are lines of JSON on stdout, whatever the network prints there."""

import dataclasses
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from fer_bench.measuring import messages
from fer_bench.measuring.messages import Job
from fer_bench.measuring.network import Network, apply_plan_settings, as_planned, check_device
from fer_bench.networks import registry
from fer_bench.networks.build import round_products
from fer_bench.networks.place import Place
from fer_bench.records.errors import CheckpointError, DeviceError
from fer_bench.records.plan import QUICK
from fer_bench.records.result import Measurement

JOB = Job(
    dataclasses.replace(QUICK, runs=2, warmup_runs=0),
    registry.find("mini_xception"),
    ("latency",),
    process=3,
    describe=True,
)


def job_on(name, **changes):
    return dataclasses.replace(JOB, spec=registry.find(str(name)), **changes)


def network(job):
    return Network(job.spec, job)


def answers(job):
    done = subprocess.run(
        [sys.executable, "-m", "fer_bench.measuring.worker", str(os.getpid())],
        input=messages.dump(job),
        capture_output=True,
        text=True,
        check=False,
    )
    return [messages.load(line) for line in done.stdout.splitlines()], done


def test_a_network_that_prints_does_not_disturb_the_answers(users_file):
    lines, done = answers(job_on(f"{users_file}:talks"))
    assert [type(line).__name__ for line in lines] == ["Ready", "Started", *["Measured"] * 3, "AtWork", "Finished"]
    assert lines[0].input_shape == (3, 224, 224)
    measured = [line.measurement for line in lines[2:5]]
    assert [m.metric for m in measured] == ["latency_s", "minor_faults", "involuntary_switches"]
    assert all(len(m.values) == 2 and m.process == 3 for m in measured)
    assert "talk of the factory" in done.stderr
    assert "talk of the network" in done.stderr


@pytest.mark.parametrize(
    "message",
    [
        job_on(
            "torchvision:resnet18", settings=("width=2",), input_shape=(3, 8, 8), place=Place("/a", "/a/b", ("/a/c",))
        ),
        Job(QUICK, builds=(((1, 48, 48), 7), ((3, 224, 224), 8))),
        messages.WarmUp((0, 1)),
        messages.MakePasses(3, 0.05),
        messages.Ready(None, (1, 2, 3), "too small"),
        messages.Measured(Measurement("latency_s", "s", (0.1, 0.2), 3, {"a": [1]}, ("b",))),
        messages.Passes((0.1, 0.2), 0.3, 4, 5),
        messages.Refused("why", no_device=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_arrives_as_it_was_sent(message):
    assert messages.load(messages.dump(message)) == message


def test_a_job_leaves_out_what_no_build_depends_on():
    sent = messages.load(messages.dump(JOB))
    assert sent.spec.builds_like(dataclasses.replace(JOB.spec, expected={}))
    assert (sent.spec.published, sent.spec.expected) == ((), {})


@pytest.mark.parametrize(
    "line",
    [
        *("", "[]", "3", "{}", '{"kind": "Nothing"}', '{"kind": "Alive", "more": 1}', "no json"),
        *('{"kind": "AtWork", "passes_s": NaN}', '{"kind": "AtWork", "passes_s": 1e999}'),
        *('{"kind": "AtWork", "passes_s": "long"}', '{"kind": "Attainable", "values": {"macs_per_s": -Infinity}}'),
    ],
)
def test_a_line_that_is_no_message_is_refused(line):
    with pytest.raises(ValueError, match=r"no message|Expecting value|not JSON compliant|could not convert"):
        messages.load(line)


def test_the_network_of_a_job_is_built_as_the_job_has_it():
    made = network(dataclasses.replace(JOB, settings=("width=2",), input_shape=(3, 8, 8)))
    assert (made.build.input_shape, made.build.arguments) == ((3, 8, 8), {"width": 2})


def test_the_same_seed_builds_the_same_weights_and_images():
    first, second = (network(JOB).make() for _ in range(2))
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(a, b) for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True))


def test_counts_of_a_file_that_is_no_weights_are_refused(tmp_path):
    page = tmp_path / "weights.pt"
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(CheckpointError, match="is a web page"):
        _ = network(job_on("simple_cnn", checkpoint=str(page))).counted


def test_a_network_is_built_once():
    made = network(JOB)
    assert made.make() is made.make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_reported():
    with pytest.raises(DeviceError, match="sees no such device"):
        check_device("cuda")


def gone(pid, patience_s=120):
    """Wait for a process's end; one that nobody has buried yet has ended."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_worker_ends_with_its_parent(users_file):
    job = messages.dump(job_on(f"{users_file}:hangs"))
    code = (
        "import subprocess, sys\n"
        "import os; command = [sys.executable, '-m', 'fer_bench.measuring.worker', str(os.getpid())]\n"
        "p = subprocess.Popen(command, stdin=subprocess.PIPE, text=True,"
        " stdout=subprocess.PIPE)\n"
        "p.stdin.write(sys.argv[1]); p.stdin.close()\n"
        "[p.stdout.readline() for _ in range(2)]\n"  # it is at work
        "print(p.pid, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, job], capture_output=True, text=True, check=True)
    assert gone(int(done.stdout))


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_each_pass_casts_the_weights_as_a_program_s_does(precision, dtype):
    plan = dataclasses.replace(QUICK, precision=precision)
    model, images = network(job_on("mtcnn_pnet", plan=plan)).make()
    with torch.inference_mode():
        before = next(iter(model(images)))
        for parameter in model.parameters():
            parameter.zero_()
        after = next(iter(model(images)))  # were the weights kept that the first pass cast, nothing would change
    assert before.dtype == dtype
    assert not torch.equal(before, after)


def test_a_plan_s_layout_is_that_of_weights_and_images():
    plan = dataclasses.replace(QUICK, layout="nhwc", batch_size=2)
    model, images = network(job_on("mtcnn_pnet", plan=plan)).make()
    assert images.is_contiguous(memory_format=torch.channels_last)
    kernels = [p for p in model.parameters() if p.dim() == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_a_network_that_comes_in_channels_last_is_measured_as_the_plan_has_it():
    convolution = torch.nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)
    model, images = as_planned(convolution, (3, 8, 8), QUICK)
    assert model.weight.is_contiguous()
    assert images.is_contiguous()


def test_tf32_is_allowed_where_the_plan_allows_it_and_nowhere_else():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for precision, allowed in (("tf32", [True, True]), ("fp32", [False, False]), ("default", [False, False])):
            round_products(precision)  # the last leaves them as they are
            assert [switch.allow_tf32 for switch in switches] == allowed
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


@pytest.mark.parametrize("before", [False, True])
def test_cudnn_tries_algorithms_where_the_plan_says_so_and_nowhere_else(monkeypatch, before):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    for cudnn, tries in (("benchmark", True), ("heuristics", False)):
        apply_plan_settings(dataclasses.replace(QUICK, cudnn=cudnn, alloc="system"))
        assert torch.backends.cudnn.benchmark is tries
