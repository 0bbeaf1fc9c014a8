"""The environment is told in plain JSON, with what a reader needs to repeat a measurement."""

import dataclasses
import json
import math
import os
import platform

import psutil
import pynvml
import pytest
import torch

from fer_bench.measuring import environment, machine


def test_a_description_is_json_and_names_machine_and_versions():
    found = environment.describe("cpu", "system")
    assert json.loads(json.dumps(dataclasses.asdict(found)))["python"] == platform.python_version()
    assert {"fer-bench", "torch", "timm", "torchvision"} <= found.packages.keys()
    assert found.cpu
    assert found.device_name == found.cpu
    assert found.cores >= 1
    assert found.memory_bytes > 2**28


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    assert machine.keep_freed_memory() == machine.SYSTEM_ALLOCATOR


def test_elsewhere_than_on_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert machine.keep_freed_memory() == machine.SYSTEM_ALLOCATOR


def test_libraries_instruction_set_and_settings_of_the_allocator_are_reported(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOCULE", "2")
    found = environment.describe("cpu", "system")
    assert found.malloc_settings == {"MALLOC_ARENA_MAX": "1"}
    assert found.blas
    assert set(found.affinity) == os.sched_getaffinity(0)
    assert found.threads == torch.get_num_threads()


def test_a_process_is_pinned_to_the_idlest_cores_it_may_use(monkeypatch):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 4})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: chosen.append((pid, cores)))
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds, percpu: [0.0, 90.0, 0.0, 5.0, 50.0])
    monkeypatch.setattr(os, "listdir", lambda folder: ["7", "8"])  # the process's threads
    machine.pin(2)
    machine.pin(3)  # nothing to choose
    assert chosen == [(7, (3, 4)), (8, (3, 4))]
    assert machine.idlest(1, math.inf, 2, 3) == [(3,), (), (3, 4), ()]


def test_what_others_take_of_the_machine_is_reported(monkeypatch):
    busy = iter([100.0, 103.0])  # seconds of all cores
    own = iter([(10.0, 1.0, 0, 0, 0), (10.5, 1.5, 0, 0, 0)])
    clock = iter([50.0, 54.0])
    monkeypatch.setattr(machine, "_busy_s", lambda: next(busy))
    monkeypatch.setattr(os, "times", lambda: next(own))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    events = iter([7, 9])
    monkeypatch.setattr(machine, "_throttle_events", lambda: next(events))
    told = machine.LoadMonitor().report()
    assert told["others_cores"] == pytest.approx((3.0 - 1.0) / 4.0)
    assert told["throttle_events"] == 2
    assert "gpu_before" not in told


def test_a_gpu_in_use_reports_clock_temperature_and_what_holds_it_down(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(environment, "nvml_handle", lambda: "handle")
    reasons = pynvml.nvmlClocksThrottleReasonHwSlowdown | pynvml.nvmlClocksEventReasonGpuIdle
    answers = {
        "nvmlDeviceGetCurrentClocksEventReasons": reasons,
        "nvmlDeviceGetClockInfo": 1980,
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetPowerUsage": 123_456,
    }
    for name, value in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, value=value: value)
    assert environment.gpu_state() == {
        "sm_clock_hz": 1_980_000_000,
        "memory_clock_hz": 1_980_000_000,
        "temperature_c": 61,
        "power_w": 123.456,
        "throttle_reasons": ["hardware slowdown"],
    }


def test_without_a_gpu_in_use_nothing_is_reported_of_one():
    if not torch.cuda.is_initialized():
        assert environment.gpu_state() == {}


MOUNTED = {
    "v2": "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "v1": "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    # A container that sees its own group as the top, as Docker mounts it without a namespace.
    "v1 of a container": "32 24 0:28 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
}
OWN = {
    "v2": "0::/user.slice/job.scope\n",
    "v1": "4:cpu,cpuacct:/jobs/1\n5:memory:/jobs/1\n",
    "v1 of a container": "4:cpu,cpuacct:/docker/1\n",
}


def system(folder, kind, **files):
    """A root folder with control groups; a file's name is its path, with / as __."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(OWN[kind])
    (folder / "proc" / "self" / "mountinfo").write_text("1 1 0:1 / / rw - ext4 /dev/vda rw\n" + MOUNTED[kind])
    for name, text in files.items():
        path = folder / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("kind", "files", "expected"),
    [
        ("v2", {}, (None, None)),
        ("v2", {"user.slice/job.scope/cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None)),
        # Two of the job's processors, of the slice's one and a half; the memory of the slice around it.
        (
            "v2",
            {
                "user.slice/job.scope/cpu.max": "200000 100000\n",
                "user.slice/cpu.max": "150000 100000\n",
                "user.slice/memory.max": "1073741824\n",
                "user.slice/job.scope/memory.max": "max\n",
            },
            (1.5, 2**30),
        ),
        (
            "v1",
            {
                "cpu,cpuacct/jobs/1/cpu.cfs_quota_us": "50000\n",
                "cpu,cpuacct/jobs/1/cpu.cfs_period_us": "100000\n",
                "memory/jobs/1/memory.limit_in_bytes": "536870912\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            (0.5, 2**29),
        ),
        (
            "v1",
            {
                "cpu,cpuacct/jobs/1/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/jobs/1/cpu.cfs_period_us": "100000\n",
                "memory/jobs/1/memory.limit_in_bytes": "9223372036854771712\n",
            },
            (None, None),
        ),
        (
            "v1 of a container",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            (3.0, None),
        ),
    ],
)
def test_the_limits_of_a_container_are_the_tightest_around_the_process(tmp_path, kind, files, expected):
    assert environment.container_limits(system(tmp_path, kind, **files)) == expected


def test_a_system_without_control_groups_has_no_limits(tmp_path):
    assert environment.container_limits(tmp_path) == (None, None)
