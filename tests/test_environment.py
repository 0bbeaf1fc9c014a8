"""The environment is told in plain JSON, with what a reader needs to repeat a measurement."""

import dataclasses
import json
import platform

from fer_bench import environment


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
    assert environment.keep_freed_memory() == environment.SYSTEM_ALLOCATOR


def test_elsewhere_than_on_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert environment.keep_freed_memory() == environment.SYSTEM_ALLOCATOR
