"""Measure a deployed network where there is no PyTorch and no fer_bench: Python 3.9, NumPy and the runtime suffice.

    python run.py                       # prints the latency and writes record.json
    fer-bench import record.json        # on the machine that has fer_bench

The latency is measured in several new processes, each with its warm-up found from the series itself, on as many cores
as there are threads. Before that the outputs on the example images are compared with those of PyTorch in float64.
"""

# A bundle has this file as run.py, with the lines that are imported here in place of the import.

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fer_bench.records.stats import WARMUP_RANGE, WARMUP_WINDOW, quantile, warmup_cut

_FOLDER = Path(__file__).resolve().parent
_MARK = "fer_bench answers "
_LEAST_WARMUP = 5
_MOST_S = 12.0  # of timed passes in a process


def main() -> int:
    """Measure in processes of their own, print the latency, and write the record."""
    parser = argparse.ArgumentParser(description="Measure the network of this folder.")
    parser.add_argument("--threads", type=int, default=1, help="of a pass; by default 1")
    parser.add_argument("--processes", type=int, default=5, help="that measure the latency; by default 5")
    parser.add_argument("--runs", type=int, default=300, help="timed passes of each; by default 300")
    parser.add_argument("--out", default="record.json", help="the record, for `fer-bench import`")
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if min(given.threads, given.processes, given.runs) < 1:
        parser.error("numbers start at 1")
    manifest = json.loads((_FOLDER / "manifest.json").read_text(encoding="utf-8"))
    if given.stage:
        print(_MARK + json.dumps(_STAGES[given.stage](manifest, given.threads, given.runs)))
        return 0
    for name, digest in manifest["sha256"].items():
        if hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest() != digest:
            print(f"{name} is not the file that was bundled: unpack the bundle again", file=sys.stderr)
            return 1
    started, began = _now(), time.perf_counter()
    measured = []
    for stage, number in [("parity", 0), ("memory", 0), *(("latency", n) for n in range(given.processes))]:
        answer = _in_a_process(stage, given)
        if answer is None:
            return 1
        measured += [{**each, "process": number} for each in answer]
    _write(manifest, given, measured, started, time.perf_counter() - began)
    latencies = sorted(quantile(m["values"], 0.5) for m in measured if m["metric"] == "latency_s")
    error = next(m for m in measured if m["metric"] == "parity_error")
    print(
        f"latency: {1e3 * quantile(latencies, 0.5):.3g} ms a pass of {manifest['input_shape'][0]} image(s), the median"
    )
    print(f"of {given.processes} processes from {1e3 * latencies[0]:.3g} to {1e3 * latencies[-1]:.3g} ms")
    print(f"error: {_ratio(error):.2g} times PyTorch's own (up to 4: the same arithmetic; up to 30: in another order)")
    print(f"record: {given.out}; add it to a store by `fer-bench import {given.out}`")
    return 0


def _in_a_process(stage: str, given: Any) -> list[dict[str, Any]] | None:
    """Run a stage in a new process, and return its measurements; None where it failed, which is printed."""
    command = [sys.executable, __file__, "--stage", stage, "--threads", str(given.threads), "--runs", str(given.runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    answers = [line[len(_MARK) :] for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not answers:
        last = (done.stderr.strip().splitlines() or ["it ended without an answer"])[-1]
        print(f"{stage} failed: {last}", file=sys.stderr)
        return None
    found: list[dict[str, Any]] = json.loads(answers[-1])
    return found


def _load(manifest: dict[str, Any], threads: int) -> tuple[Any, dict[str, Any]]:
    """Load the model; return what runs a batch, and what the runtime reports of itself."""
    path = str(_FOLDER / next(iter(manifest["files"])))
    call, reported = _LOADERS[manifest["backend"]](path, threads)
    own = {"fp16": "float16", "int8": "int8", "int8-dynamic": "int8"}.get(manifest["precision"], "float32")
    return call, {"name": manifest["backend"], "threads": threads, "precision": own, **reported}


def _load_onnxruntime(path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    reported = {
        "version": onnxruntime.__version__,
        "threads": session.get_session_options().intra_op_num_threads,
        "providers": session.get_providers(),
    }
    return (lambda images: session.run(None, {name: images})), reported


def _load_openvino(path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # which would report its use
    import openvino

    asked: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(path, "CPU", asked)
    request = compiled.create_infer_request()
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    reported = {
        "version": openvino.__version__.partition("-")[0],
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "providers": list(compiled.get_property("EXECUTION_DEVICES")),
    }
    if hint != "f32":
        reported["precision"] = hint
    return (lambda images: list(request.infer(images, share_inputs=True, share_outputs=True).values())), reported


def _load_executorch(path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    import executorch.runtime
    import torch
    from executorch.extension.pybindings import portable_lib

    if portable_lib._threadpool_get_thread_count() != threads:
        portable_lib._unsafe_reset_threadpool(threads)
    program = executorch.runtime.Runtime.get().load_program(path)
    method = program.load_method("forward")

    def call(images: Any, held: Any = program) -> list[Any]:  # a method does not keep its program
        return [output.numpy() for output in method.execute([torch.from_numpy(images)])]

    reported = {
        "version": importlib.metadata.version("executorch"),
        "threads": portable_lib._threadpool_get_thread_count(),
        "providers": ["XnnpackBackend"],
    }
    return call, reported


def _load_litert(path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    loaded = Interpreter(model_path=path, num_threads=threads)
    loaded.allocate_tensors()
    given = loaded.get_input_details()[0]["index"]
    results = [one["index"] for one in loaded.get_output_details()]

    def call(images: Any) -> list[Any]:
        loaded.set_tensor(given, images)
        loaded.invoke()
        return [loaded.get_tensor(index) for index in results]

    return call, {"version": importlib.metadata.version("ai-edge-litert"), "providers": ["XNNPACK"]}


_LOADERS = {
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
    "executorch": _load_executorch,
    "litert": _load_litert,
}
_RUNTIMES = {"executorch": "executorch.runtime", "litert": "ai_edge_litert.interpreter"}  # others as they are called


def _images(manifest: dict[str, Any]) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal(tuple(manifest["input_shape"]), dtype=np.float32)


def _latency(manifest: dict[str, Any], threads: int, runs: int) -> list[dict[str, Any]]:
    """Start, warm up and time passes, on as many cores as there are threads."""
    images = _images(manifest)
    _pin(threads)
    before = time.perf_counter()
    call, reported = _load(manifest, threads)
    loaded = time.perf_counter()
    call(images)
    first = time.perf_counter()
    _pin(threads)
    usage, temperature = resource.getrusage(resource.RUSAGE_SELF), _temperature()
    throttled, busy, cpu_s = _throttle_events(), _busy_s(), time.process_time()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < runs + max(_LEAST_WARMUP, warmup_cut(seconds, _LEAST_WARMUP)):
        start = time.perf_counter_ns()
        call(images)
        seconds.append((time.perf_counter_ns() - start) * 1e-9)
        if time.perf_counter() - began > _MOST_S and len(seconds) > 2 * _LEAST_WARMUP:
            break
    elapsed, cut = time.perf_counter() - began, warmup_cut(seconds, _LEAST_WARMUP)
    after, used = resource.getrusage(resource.RUSAGE_SELF), time.process_time() - cpu_s
    others = max(0.0, (_busy_s() - busy - used) / elapsed) if elapsed >= 0.5 else None
    details = {
        "clock": "perf_counter_ns",
        "warmup_s": seconds[:cut],
        "stopped_by": "runs" if len(seconds) - cut >= runs else "time cap",
        "cores_used": used / elapsed,
        "others_cores": others,
        "throttle_events": _throttle_events() - throttled,
        "temperature_c": [temperature, _temperature()],
        "switches": after.ru_nivcsw - usage.ru_nivcsw,
    }
    start_details = {"runtime": reported, "with_pytorch": "torch" in sys.modules}
    return [
        {"metric": "load_s", "unit": "s", "values": [loaded - before], "details": start_details},
        {"metric": "first_pass_s", "unit": "s", "values": [first - loaded], "details": {}},
        {"metric": "latency_s", "unit": "s", "values": seconds[cut:], "details": details},
    ]


def _memory(manifest: dict[str, Any], threads: int, runs: int) -> list[dict[str, Any]]:
    """Measure the peak above the process that has imported the runtime."""
    images = _images(manifest)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    importlib.import_module(_RUNTIMES.get(manifest["backend"], manifest["backend"]))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    baseline = _peak()
    call, _ = _load(manifest, threads)
    for _ in range(3):
        call(images)
    with_pytorch = "torch" in sys.modules
    details = {"baseline_bytes": baseline, "passes": 3, "with_pytorch": with_pytorch, "file_bytes": None}
    return [{"metric": "peak_rss_bytes", "unit": "bytes", "values": [max(0, _peak() - baseline)], "details": details}]


def _parity(manifest: dict[str, Any], threads: int, runs: int) -> list[dict[str, Any]]:
    """Compare the outputs on the example images with those in float64; PyTorch's own errors are in the manifest."""
    import numpy as np

    call, reported = _load(manifest, threads)
    with np.load(str(_FOLDER / "examples.npz")) as kept:
        images = kept["images"]
        exact = [kept[f"exact_{n}"] for n in range(sum(name.startswith("exact_") for name in kept.files))]
    batch = manifest["input_shape"][0]
    found: list[list[Any]] = []
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        full = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        found.append([np.array(output)[: len(part)] for output in call(np.ascontiguousarray(full))])
    values: list[float] = []
    for n, known in enumerate(exact):
        if not np.issubdtype(known.dtype, np.floating):
            continue
        output = np.concatenate([outputs[n] for outputs in found]).astype(np.float64)
        off = np.sqrt(np.mean(np.square((output - known).reshape(len(known), -1)), axis=1))
        values += [float(value) if math.isfinite(value) else 1e60 for value in off]
    details = {**manifest["parity"], "arithmetic": reported["precision"]}
    return [{"metric": "parity_error", "unit": "", "values": values, "details": details}]


_STAGES = {"latency": _latency, "memory": _memory, "parity": _parity}


def _ratio(error: dict[str, Any]) -> float:
    """Return the largest error of an output in units of PyTorch's own."""
    outputs = error["details"]["outputs"]
    images = len(error["values"]) // outputs

    def rms(values: list[float]) -> float:
        return math.sqrt(sum(value * value for value in values) / len(values))

    return max(
        rms(error["values"][n * images : (n + 1) * images])
        / max(rms(error["details"]["eager"][n]), 2.0**-24 * rms(error["details"]["size"][n]), 1e-300)
        for n in range(outputs)
    )


def _pin(threads: int) -> None:
    """Keep all threads of this process on as many cores, the last ones: the first has the system's interrupts."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[-threads:]
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread), cores)


def _line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _temperature() -> float | None:
    """Return the highest temperature that the system reports, in degrees Celsius."""
    zones = [_line(str(zone)) for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(zone) / 1000 for zone in zones if zone.lstrip("-").isdecimal()), default=None)


def _throttle_events() -> int:
    cores = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return sum(int(_line(str(path)) or 0) for path in cores)


def _busy_s() -> float:
    fields = (_line("/proc/stat").splitlines() or ["cpu"])[0].split()[1:]
    ticks = [int(field) for field in fields[:8]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # but for idle and waiting for disks


def _peak() -> int:
    lines = [line for line in _line("/proc/self/status").splitlines() if line.startswith("VmHWM:")]
    if lines:
        return int(lines[0].split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")  # noqa: UP017


def _cpu() -> str:
    lines = [line.partition(":")[2].strip() for line in _line("/proc/cpuinfo").splitlines() if "odel name" in line]
    return (lines or [_line("/proc/device-tree/model").strip("\0") or platform.processor() or platform.machine()])[0]


def _write(manifest: dict[str, Any], given: Any, measured: list[Any], started: str, wall_s: float) -> None:
    """Write a document that ``fer-bench import`` reads."""
    import numpy

    runtime = next(m for m in measured if m["metric"] == "load_s")["details"]["runtime"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    environment = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": memory,
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {"numpy": numpy.__version__, **manifest["versions"]},
        "device": "cpu",
        "device_name": _cpu(),
        "threads": given.threads,
        "allocator": "system",
        "load_1min": os.getloadavg()[0],
        "commit": "",
        "dirty": False,
        "frequency_policy": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "runtime": runtime,
    }
    plan = {**manifest["plan"], "threads": given.threads, "processes": given.processes, "runs": given.runs}
    filled = [{"warnings": [], "failure": "", **each} for each in measured]
    first = [m for m in filled if m["metric"] not in ("load_s", "first_pass_s") or m["process"] == 0]
    result = {
        "subject": manifest["subject"],
        "plan": plan,
        "environment": environment,
        "measurements": [*manifest["measurements"], *first],
        "started_at": started,
        "wall_s": wall_s,
        "passes_s": sum(sum(m["values"]) for m in measured if m["metric"] == "latency_s"),
        "schema_version": manifest["schema_version"],
    }
    mark = hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
    run = {
        "id": mark[:12],
        "title": "board: " + manifest["subject"]["name"],
        "started_at": started,
        "finished_at": _now(),
        "fingerprint": mark[12:28],
        "results": [{"key": mark[28:44], "result": result}],
    }
    Path(given.out).write_text(json.dumps({"fer_bench_export": 1, "runs": [run]}) + "\n", encoding="utf-8")


__all__ = ["WARMUP_RANGE", "WARMUP_WINDOW", "main"]


if __name__ == "__main__":
    sys.exit(main())
