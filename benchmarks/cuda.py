"""Measure all that a GPU can say, by one command from the source tree: `python benchmarks/cuda.py OUT`.

A card may be at hand for minutes. So the steps are ordered by value, each record is on the disk when it is measured,
and the whole stops by `--budget-s`. Nothing is installed and no network is needed. What is missing is listed first; of
that only PyTorch, psutil and the GPU stop it. OUT gets `results.jsonl`, which `fer-bench report OUT` reads,
`steps.json`, a file of each step that measures no network, and tables.

`--device cpu` tries the whole path on a machine without a GPU; what it writes says so.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

BEGAN = time.monotonic()
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NEEDED = ("torch", "psutil")
# What is lost where one is missing.
SPARED: Mapping[str, str] = {
    "torchvision": "the networks built on it fail, each with its reason",
    "timm": "the networks built on it fail, each with its reason",
    "pynvml": "no energy, clocks, temperature or throttle reasons (pip install nvidia-ml-py)",
    "triton": "the cold-cache column is not checked against do_bench",
    "pytest": "the tests marked cuda are not run",
    "msgspec": "records are validated when they are read, not here",
    "sqlalchemy": "records go to lines of JSON, as they always do here",
    "tabulate": "tables are text instead of Markdown",
    "fvcore": "nothing: it is asked for no counts here",
    "thop": "nothing: it is asked for no counts here",
    "pandas": "nothing: no frame is made here",
    "rich": "nothing: progress is plain lines",
    "typer": "nothing: the options are read without it",
}
BUDGET_S = 540.0
KEPT_S = 10.0  # of the budget, for the tables and for ending what is under way
MOST_BYTES = 50 * 2**20
WITHIN = 0.03  # of other instruments
COLUMN_S = 1.5  # of timed passes of a series, in the columns beside the protocol's own
OCCUPIED = ("mini_xception", "vgg13_ferplus", "resnet50", "simple_cnn")  # paper 004, tables 4 and 5
# The instrument is checked on a pass of which the device takes milliseconds and the host less, since some tools let
# passes wait in the queue, where launching them does not show.
CHECKED = {"cpu": ("mini_xception", 1), "gpu": ("resnet50", 48)}
GATED = "mobilenetv3_large"
# The most of the budget that a step may take, so that a slow card says something of each.
SHARES = {"instrument": 0.15, "table_ii": 0.35, "batch_1": 0.15, "columns": 0.25, "gate": 0.15, "tests": 0.2}
SHARE = 0.15
SMALL = {"warmup_runs": 2, "runs": 10, "sample_s": 0.5}  # on a CPU, which only tries the path
COULD_NOT = 3


class TimeIsUp(BaseException):
    """The time is up, in the middle of something; no `except Exception` on the way may stop it."""


class NoTimeForMore(TimeIsUp):
    """What comes next would take longer than what is left."""


def missing() -> dict[str, str]:
    return {name: lost for name, lost in SPARED.items() if importlib.util.find_spec(name) is None}


def put_on_path(gone: Mapping[str, str]) -> None:
    """Let this process and its children import fer_bench from this source tree, and what stands in for msgspec."""
    folders = [str(ROOT), *([str(HERE / "standins")] if "msgspec" in gone else [])]
    sys.path[:0] = folders
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (*folders, os.environ.get("PYTHONPATH"))))


def refusal(device: str) -> str:
    """Return in one line why nothing can be measured, or ""."""
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return f"{', '.join(lacking)} cannot be imported by {sys.executable}"
    if not (ROOT / "fer_bench" / "models" / "__init__.py").exists():
        return "fer_bench/models is no link to models/: ln -s ../models fer_bench/models"
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if device != "cpu" and (found is None or found.type != device):
        return f"PyTorch {torch.__version__} sees no {device} device: a GPU with its driver is missing"
    return ""


class Bench:
    """What the steps share: where they write, what time is left, and the results so far."""

    def __init__(self, out: Path, device: str, budget_s: float, names: Sequence[str]) -> None:
        from fer_bench.networks.registry import built_in

        self.out, self.device, self.names = out, device, names
        self.budget_s, self.began = budget_s, BEGAN
        self.end = self.until = self.began + budget_s - KEPT_S  # of all, and of the step under way
        self.registry = built_in()
        self.results: list = []
        self.steps: list[dict] = []
        self.places: dict[str, range] = {"table_ii": range(0)}  # of the results of each step
        self._starter = None
        self._shapes: dict = {}  # where networks run, which is counted to find out
        self._environments: dict = {}  # as processes described them, which loads CUDA

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()

    def write(self, name: str, content: object) -> None:
        from fer_bench.records import files

        text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
        files.write(self.out / name, text)

    def save(self) -> None:
        self.write("results.jsonl", "".join(f"{result.to_json()}\n" for result in self.results))

    def starter(self):
        from fer_bench.measuring.processes import Starter

        if self._starter is None:
            self._starter = Starter(list(map(self.registry.find, self.registry.names())))
        return self._starter

    def close(self) -> None:
        if self._starter is not None:
            self._starter.close()
        self._starter = None

    def of_paper(self, paper: str) -> list[str]:
        found = [n for n in self.registry.names() if any(f.paper == paper for f in self.registry.find(n).published)]
        return self.chosen(sorted(found, key=lambda name: name != "mit_fusion"))  # its own network first

    def chosen(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not self.names or name in self.names]

    def measure(self, name: str, plan):
        """Measure a network in processes of its own."""
        from fer_bench.measuring.runner import measure
        from fer_bench.measuring.task import Task

        # No series may take more than a sixth of what is left, so that four and the start fit in; a fast card makes all
        # of its passes long before, and a record says where one did not.
        cap_s = min(plan.max_time_s or self.budget_s, self.left_s / 6)
        plan = dataclasses.replace(plan, device=self.device, wait="active", max_time_s=cap_s, time_limit_s=90.0)
        if self.device == "cpu":
            plan = dataclasses.replace(plan, **SMALL, batch_size=min(2, plan.batch_size))
        size, setting = (name, plan.input_size, plan.channels), (plan.precision, plan.threads)
        task = Task(self.registry.find(name), plan, self._shapes.get(size))
        result = measure(task, self.starter(), environment=self._environments.get(setting))
        if result.environment is not None:
            self._environments[setting] = result.environment
            if not result.subject.exempt:
                self._shapes[size] = result.subject.input_shape
        failed = next((m.failure for m in result.measurements if m.failure), "")
        say(f"    {name} {plan.batch_size} {plan.precision} {plan.cudnn}: {result.wall_s:.1f} s {failed[:100]}")
        return result

    def sweep(self, names: Sequence[str], *plans) -> None:
        """Measure networks by plans, one plan after the other, while there is time for the shortest so far."""
        shortest = 0.0
        for plan in plans:
            for name in names:
                if self.left_s < shortest:
                    raise NoTimeForMore
                began = time.monotonic()
                self.results.append(self.measure(name, plan))
                self.save()
                took = time.monotonic() - began
                shortest = min(shortest or took, took)


def say(text: str) -> None:
    print(text, flush=True)


# The steps, by value. Each is a function of the bench; its first line is what `--help` and `steps.json` print.


def machine(bench: Bench) -> None:
    """The machine: versions, and what the driver says of the card."""
    import torch

    about = {"argv": sys.argv[1:], "platform": platform.platform(), "python": sys.version, "missing": missing()}
    about |= {"torch": torch.__version__, "build": torch.__config__.show()}
    if smi := shutil.which("nvidia-smi"):
        about["nvidia-smi"] = subprocess.run([smi, "-q"], capture_output=True, text=True, timeout=30).stdout
    bench.write("machine.json", about)


def instrument(bench: Bench) -> None:
    """The instrument: our warm and cold passes against a loop by hand, torch.utils.benchmark and triton's do_bench."""
    # In a process of its own: the runner's own must not have touched the device.
    command = [sys.executable, str(Path(__file__)), str(bench.out), "--device", bench.device, "--instrument"]
    subprocess.run(command, check=True, timeout=bench.left_s)
    checked = json.loads((bench.out / "instrument.json").read_text())
    for tool, ratio in checked["theirs over ours"].items():
        say(f"    {tool}: {ratio:.3f} of ours{'' if tool not in checked['outside'] else ', outside of 3 %'}")


def table_ii(bench: Bench) -> None:
    """Paper 001's Table II by its protocol: batch 48, 300 runs, eager and CUDA graph, warm and cold cache."""
    bench.sweep(bench.of_paper("001"), _safavi())


def batch_1(bench: Bench) -> None:
    """The same at batch 1."""
    bench.sweep(bench.of_paper("001"), _safavi(batch_size=1))


def columns(bench: Bench) -> None:
    """Beside it float32 without TF32, TF32 everywhere, and cudnn.benchmark."""
    beside = {"max_time_s": COLUMN_S, "metrics": ("latency",)}  # counts are the same
    plans = (_safavi(precision="fp32", **beside), _safavi(precision="tf32", **beside))
    bench.sweep(bench.of_paper("001"), _safavi(cudnn="benchmark", **beside), *plans)


def training(bench: Bench) -> None:
    """A training step in its parts."""
    from fer_bench.records.plan import TRAINING

    plan = dataclasses.replace(TRAINING, metrics=("static", "training", "training_memory"), max_time_s=COLUMN_S)
    bench.sweep(bench.of_paper("001"), plan)


def memory(bench: Bench) -> None:
    """Memory at batch 48: allocated, reserved, and of the process."""
    bench.sweep(bench.of_paper("001"), _safavi(metrics=("static", "memory")))


def gate(bench: Bench) -> None:
    """The gate: a network against itself, and against itself made 5 % slower."""
    from fer_bench.gating.pairs import Side
    from fer_bench.gating.timing import METRICS, Rule, judge
    from fer_bench.measuring.task import Task
    from fer_bench.records.plan import GATE

    task = Task(bench.registry.find(GATED), METRICS["latency"].of(dataclasses.replace(GATE, device=bench.device)))
    verdicts = []
    for slower in (0.0, 0.05):
        sides = Side(task, bench.starter()), Side(task, bench.starter(), slower)
        compared = judge(GATED, "latency", *sides, Rule(budget_s=max(1.0, min(30.0, bench.left_s / 2))))
        verdicts.append({"made slower by": slower, **compared.to_dict()})
        bench.write("gate.json", verdicts)
        say(f"    made slower by {slower:g}: {compared.verdict.outcome}, {compared.verdict.reason}")


def occupancy(bench: Bench) -> None:
    """Paper 004's tables 4 and 5: what training and testing on the GPU take of the host."""
    from fer_bench.records.plan import OCCUPANCY

    plan = dataclasses.replace(OCCUPANCY, metrics=("static", "occupancy"), sample_s=3.0)
    bench.sweep(bench.chosen(OCCUPIED), plan)


def energy(bench: Bench) -> None:
    """Energy by NVML's counter, with what the idle card takes subtracted."""
    bench.sweep(bench.of_paper("001"), _safavi(metrics=("energy",)))


def further(bench: Bench) -> None:
    """Four further processes of Table II, for an interval."""
    shortest = 0.0
    for place, first in enumerate(bench.results):
        if place not in bench.places["table_ii"] or not first.samples("latency_s"):
            continue
        if bench.left_s < shortest:
            raise NoTimeForMore
        began = time.monotonic()
        more = bench.measure(first.subject.name, _safavi(metrics=("latency",), processes=4))
        added = [dataclasses.replace(m, process=m.process + 1) for m in more.measurements]
        plan = dataclasses.replace(first.plan, processes=5)
        bench.results[place] = dataclasses.replace(
            first,
            plan=plan,
            measurements=(*first.measurements, *added),
            wall_s=first.wall_s + more.wall_s,
            passes_s=first.passes_s + more.passes_s,
        )
        bench.save()
        took = time.monotonic() - began
        shortest = min(shortest or took, took)


def rest(bench: Bench) -> None:
    """The rest of the zoo by the protocol."""
    done = bench.of_paper("001")
    bench.sweep([name for name in bench.chosen(bench.registry.names()) if name not in done], _safavi())


def tests(bench: Bench) -> None:
    """The tests marked cuda."""
    marked = [
        str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if "pytest.mark.cuda" in path.read_text()
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "--continue-on-collection-errors", *marked]
    limit_s = max(1.0, min(120.0, bench.left_s))
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        bench.write("tests.txt", f"not over after {limit_s:.0f} s\n{(error.stdout or b'').decode(errors='replace')}")
        raise
    bench.write("tests.txt", f"exit code {done.returncode}\n{done.stdout[-50_000:]}\n{done.stderr[-5_000:]}")
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    say(f"    {last}")
    if done.returncode:
        raise RuntimeError(f"pytest: {last}")


STEPS: tuple[Callable[[Bench], None], ...] = (
    *(machine, instrument, table_ii, batch_1, columns, training, memory, gate, occupancy, energy),
    *(tests, further, rest),
)
NEEDS = {"tests": "pytest", "energy": "pynvml"}  # a step that is nothing without it


def _safavi(**changes):
    from fer_bench.records.plan import SAFAVI2023

    return dataclasses.replace(SAFAVI2023, **{"metrics": ("static", "latency"), "processes": 1, **changes})


def check_instrument(out: Path, device: str) -> None:
    """Time one network by each tool in turn, and write the ratios of their medians to ours."""
    import torch
    from torch.utils.benchmark import Timer

    from fer_bench.measuring.profilers.passes import device_pass, timed_pass
    from fer_bench.networks.build import create, example_inputs
    from fer_bench.networks.registry import built_in

    name, batch = CHECKED["cpu" if device == "cpu" else "gpu"]
    if device == "cpu":
        torch.set_num_threads(1)
    rounds, runs, spec = 9, 30, built_in().find(name)
    model = create(spec, device=device)
    images = example_inputs(spec.input_shape, batch, device)
    flush = torch.empty(256 * 2**20, dtype=torch.int8, device=device) if device != "cpu" else None
    one = timed_pass(model, images)

    def by_hand() -> float:
        if device == "cpu":
            start = time.perf_counter()
            model(images)
            return time.perf_counter() - start
        its = torch.get_device_module(device)
        start, end = its.Event(enable_timing=True), its.Event(enable_timing=True)
        its.synchronize()
        start.record()
        model(images)
        end.record()
        its.synchronize()
        return start.elapsed_time(end) * 1e-3

    def of(pass_: Callable[[], float]) -> Callable[[], float]:
        return lambda: statistics.median(pass_() for _ in range(runs))

    timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
    tools = {"warm": of(one), "a loop by hand": of(by_hand), "torch.utils.benchmark": lambda: timer.timeit(runs).mean}
    if flush is not None:
        tools["cold"] = of(lambda: device_pass(lambda: model(images), device, flush))
        if importlib.util.find_spec("triton") is not None:
            from triton.testing import do_bench

            tools["triton do_bench"] = lambda: (
                1e-3 * do_bench(lambda: model(images), warmup=25, rep=200, return_mode="median")
            )
    seconds: dict[str, list[float]] = {tool: [] for tool in tools}
    with torch.inference_mode():
        for _ in range(20):
            one()
        for number in range(rounds):
            order = [*tools][number % len(tools) :] + [*tools][: number % len(tools)]
            for tool in order:
                seconds[tool].append(tools[tool]())
    ratios = {
        tool: statistics.median(
            theirs / ours
            for theirs, ours in zip(taken, seconds["cold" if tool == "triton do_bench" else "warm"], strict=True)
        )
        for tool, taken in seconds.items()
        if tool not in ("warm", "cold")
    }
    record = {
        "network": f"{name}, batch {batch}, {device}",
        "theirs over ours": ratios,
        "outside": [tool for tool, ratio in ratios.items() if abs(ratio - 1) > WITHIN],
        "seconds": seconds,
    }
    (out / "instrument.json").write_text(json.dumps(record, indent=1) + "\n")


def carry_out(bench: Bench, step: Callable[[Bench], None], gone: Mapping[str, str]) -> None:
    """Carry out a step, and write down how it ended."""
    name, began = step.__name__, time.monotonic()
    say(f"{began - bench.began:5.0f} s  {name}: {step.__doc__}")
    ended = "done"
    if NEEDS.get(name) in gone:
        ended = f"left out: {NEEDS[name]} is missing"
    elif bench.end <= began:
        ended = "left out: no time was left"
    else:
        last, before = step is STEPS[-1], len(bench.results)
        bench.until = min(bench.end, began + (1.0 if last else SHARES.get(name, SHARE)) * bench.budget_s)
        try:
            with alarm(bench.left_s):
                step(bench)
        except TimeIsUp as cut:
            ended = "cut short: its time was up"
            if not isinstance(cut, NoTimeForMore):
                bench.close()  # what starts processes was perhaps interrupted in the middle of a message
        except Exception as error:
            traceback.print_exc()
            bench.close()
            ended = f"failed: {type(error).__name__}: {error}"
        bench.places[name] = range(before, len(bench.results))
    if ended != "done":
        say(f"    {ended}")
    entry = {"step": name, "about": step.__doc__, "ended": ended, "seconds": round(time.monotonic() - began, 1)}
    bench.steps.append(entry)
    bench.write("steps.json", bench.steps)


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in whatever is under way when the time is up."""

    def ring(*_: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def draw(bench: Bench, gone: Mapping[str, str]) -> None:
    """Draw the tables, and a page that says what became of each step and what the card did meanwhile."""
    from fer_bench.reporting import tables
    from fer_bench.reporting.render import write_all

    lines = [f"# {bench.device}: {_device_name(bench)}", "", *(f"- missing {n}: {lost}" for n, lost in gone.items())]
    lines += ["", *(f"- {s['step']} ({s['seconds']:g} s): {s['ended']}. {s['about']}" for s in bench.steps), ""]
    lines += [f"- {key}: {seen}" for key, seen in _states(bench.results).items()]
    bench.write("README.md", "\n".join((*lines, "", *_beside(bench.results), "")))
    if bench.results:
        drawn = tables.report(bench.results, bench.registry)
        write_all(bench.out / "tables", drawn, ("table" if "tabulate" in gone else "markdown", "csv", "json"))


def _device_name(bench: Bench) -> str:
    return next((r.environment.device_name for r in bench.results if r.environment), "nothing was measured")


def _beside(results: Sequence) -> list[str]:
    """Draw paper 001's latency in each way that it may have been measured, in ms, a network a row, as Markdown."""
    from fer_bench.reporting.analysis.latency import summary

    ways: dict[str, dict[str, str]] = {}
    for result in results:
        plan, found = result.plan, summary(result)
        if plan.protocol != "safavi2023" or found is None:
            continue
        way = f"batch {plan.batch_size}, {plan.precision}{', cudnn.benchmark' if plan.cudnn == 'benchmark' else ''}"
        row = ways.setdefault(result.subject.name, {})
        row[f"{way}: mean"] = _ms(found.mean_s)
        between = f" ({_ms(found.interval.low)} to {_ms(found.interval.high)})" if found.interval else ""
        row[f"{way}: median"] = _ms(found.estimate_s) + between
        for metric, heading in (
            ("latency_cold", "cold L2"),
            ("graph_latency", "graph"),
            ("graph_latency_cold", "both"),
        ):
            if (other := summary(result, f"{metric}_s")) is not None:
                row[f"{way}: {heading}"] = _ms(other.estimate_s)
    headings = list(dict.fromkeys(heading for row in ways.values() for heading in row))
    if not headings:
        return []
    rows = [["ms", *headings], ["---"] * (1 + len(headings))]
    rows += [[name, *(row.get(heading, "") for heading in headings)] for name, row in ways.items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"


def _states(results: Sequence) -> dict[str, str]:
    """Return the range of clocks, temperature and power over all series, and what throttled the card."""
    states = [
        m.details[k] for r in results for m in r.measurements for k in ("gpu_before", "gpu_after") if k in m.details
    ]
    conditions = {}
    for key in ("sm_clock_hz", "memory_clock_hz", "temperature_c", "power_w"):
        if values := [state[key] for state in states if state.get(key) is not None]:
            conditions[key] = f"{min(values):g} to {max(values):g}"
    if states:
        reasons = {reason for state in states for reason in state.get("throttle_reasons") or ()}
        refused = {state["nvml"] for state in states if "nvml" in state}
        conditions["throttle reasons"] = ", ".join(sorted(reasons)) or "none"
        conditions |= {"NVML": "; ".join(sorted(refused))} if refused else {}
    return conditions


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {step.__name__:<11}{step.__doc__}" for step in STEPS)
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"steps, by value:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder for all that is written")
    parser.add_argument("--device", default="cuda", help="cuda (ROCm, too), xpu, mps; cpu tries the path")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, metavar="S", help=f"by default {BUDGET_S:g}")
    parser.add_argument("--steps", default="", metavar="LIST", help="these alone, as table_ii,gate")
    parser.add_argument("--networks", default="", metavar="LIST", help="these alone")
    parser.add_argument("--instrument", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.steps, given.networks = (
        list(filter(None, re.split(r"[,\s]+", text))) for text in (given.steps, given.networks)
    )
    if unknown := [name for name in given.steps if name not in {step.__name__ for step in STEPS}]:
        parser.error(f"--steps {', '.join(unknown)}: there is no such step; --help lists them")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given, gone = options(arguments), missing()
    if why := refusal(given.device):
        print(f"benchmarks/cuda.py: {why}; nothing was measured", file=sys.stderr)
        return COULD_NOT
    put_on_path(gone)
    if given.instrument:
        check_instrument(given.out, given.device)
        return 0
    for name, lost in gone.items():
        say(f"missing {name}: {lost}")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"benchmarks/cuda.py: cannot make the folder {given.out}: {error.strerror}", file=sys.stderr)
        return 2
    bench = Bench(given.out.resolve(), given.device, given.budget_s, given.networks)
    if unknown := [name for name in given.networks if name not in bench.registry.names()]:
        print(f"benchmarks/cuda.py: --networks {', '.join(unknown)}: there is no such network", file=sys.stderr)
        return 2
    try:
        for step in STEPS:
            if not given.steps or step.__name__ in given.steps:
                carry_out(bench, step, gone)
    finally:
        bench.close()
        try:
            draw(bench, gone)
        except Exception:  # the records are on the disk, and can be drawn elsewhere
            traceback.print_exc()
    size = sum(path.stat().st_size for path in bench.out.rglob("*") if path.is_file())
    say(f"{time.monotonic() - bench.began:5.0f} s  {bench.out}: {len(bench.results)} records, {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        say(f"    more than {MOST_BYTES / 2**20:.0f} MiB")
    return 0 if all(step["ended"] == "done" for step in bench.steps) else 1


if __name__ == "__main__":
    sys.exit(main())
