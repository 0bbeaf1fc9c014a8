"""The child: answers are lines of JSON on stdout, whatever the network prints there."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from fer_bench.measuring.network import Job, Network, as_planned, check_device
from fer_bench.networks.build import round_products
from fer_bench.records.errors import DeviceError
from fer_bench.records.plan import QUICK

JOB = {
    "name": "mini_xception",
    "num_classes": None,
    "input_shape": None,
    "settings": [],
    "plan": dataclasses.replace(QUICK, runs=2, warmup_runs=0).to_dict(),
    "groups": ["latency"],
    "checkpoint": "",
    "fall_back": False,
    "process": 3,
    "describe": True,
    "place": None,
    "paced": False,
}


def answers(**changes):
    done = subprocess.run(
        [sys.executable, "-m", "fer_bench.measuring.worker", str(os.getpid())],
        input=json.dumps(JOB | changes),
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_a_network_that_prints_does_not_disturb_the_answers(users_file):
    lines, done = answers(name=f"{users_file}:talks")
    kinds = ["environment", "started", "measurement", "measurement", "measurement", "passes_s", "finished"]
    assert [next(iter(line)) for line in lines] == kinds
    assert lines[0]["input_shape"] == [3, 224, 224]
    told = [line["measurement"] for line in lines[2:5]]
    assert [m["metric"] for m in told] == ["latency_s", "minor_faults", "involuntary_switches"]
    assert all(len(m["values"]) == 2 and m["process"] == 3 for m in told)
    assert "talk of the factory" in done.stderr
    assert "talk of the network" in done.stderr


def test_a_job_is_read_as_the_runner_sends_it():
    job = Job.from_json(json.dumps(JOB | {"settings": ["width=2"], "input_shape": [3, 8, 8], "num_classes": 4}))
    assert (job.name, job.build.input_shape, job.build.num_classes) == ("mini_xception", (3, 8, 8), 4)
    assert job.build.arguments == {"width": 2}
    assert job.plan.runs == 2


def test_the_same_seed_builds_the_same_weights_and_images():
    first, second = (Network(Job.from_json(json.dumps(JOB))).make() for _ in range(2))
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(a, b) for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True))


def test_a_network_is_built_once():
    network = Network(Job.from_json(json.dumps(JOB)))
    assert network.make() is network.make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told():
    with pytest.raises(DeviceError, match="PyTorch sees no CUDA device"):
        check_device("cuda")


def gone(pid, patience_s=20):
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
    job = json.dumps(JOB | {"name": f"{users_file}:hangs"})
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
    plan = dataclasses.replace(QUICK, precision=precision).to_dict()
    model, images = Network(Job.from_json(json.dumps(JOB | {"name": "mtcnn_pnet", "plan": plan}))).make()
    with torch.inference_mode():
        before = next(iter(model(images)))
        for parameter in model.parameters():
            parameter.zero_()
        after = next(iter(model(images)))  # were the weights kept that the first pass cast, nothing would change
    assert before.dtype == dtype
    assert not torch.equal(before, after)


def test_a_plan_s_layout_is_that_of_weights_and_images():
    plan = dataclasses.replace(QUICK, layout="nhwc", batch_size=2).to_dict()
    model, images = Network(Job.from_json(json.dumps(JOB | {"name": "mtcnn_pnet", "plan": plan}))).make()
    assert images.is_contiguous(memory_format=torch.channels_last)
    kernels = [p for p in model.parameters() if p.dim() == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_a_network_that_comes_in_channels_last_is_measured_as_the_plan_has_it():
    network = torch.nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)
    model, images = as_planned(network, (3, 8, 8), QUICK)
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
