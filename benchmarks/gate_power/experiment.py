"""How often the timing gate is wrong, and what it finds: pairs and gates recorded on this machine.

    python benchmarks/gate_power/experiment.py calibrate
    python benchmarks/gate_power/experiment.py pairs quiet 0 60        # the same code on both sides
    python benchmarks/gate_power/experiment.py pairs quiet 5 60        # the candidate is really 5 % slower
    python benchmarks/gate_power/experiment.py pairs quiet 5 60 size   # likewise, to tell how much slower it is
    python benchmarks/gate_power/experiment.py gates 0 30              # `fer-bench gate`, as a user runs it
    python benchmarks/gate_power/experiment.py gates 3 20 3            # likewise, with --min-effect 3

Conditions are quiet; other-core: a program that is always busy on one core, which the pair keeps off; same-core: one on
each core, so on the pair's, too; huge-pages, which glibc asks for; and fresh: processes that start from nothing instead
of being forked. ``records/`` keeps what each wrote; ``error_rates.py`` draws its tables from it.
What is slower is so by work, not by a factor: ``network.py`` with convolutions that nothing needs.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import fer_bench
from fer_bench.gating import timing
from fer_bench.gating.count_sides import LIBRARIES
from fer_bench.gating.pairs import Side
from fer_bench.measuring.processes import Starter
from fer_bench.measuring.runner import measure
from fer_bench.measuring.task import Task
from fer_bench.networks import registry
from fer_bench.networks.place import Place
from fer_bench.records.plan import GATE

HERE = Path(__file__).parent
RECORDS = HERE / "records"
NETWORK = "network.py:net"
# Channels of the needless convolutions that make it about so many percent slower; see ``calibrate``.
EXTRA: dict[int, tuple[int, ...]] = {0: (), 3: (40,), 5: (32, 32)}
BURN = "while True: pass"


def code(effect: int) -> str:
    text = (HERE / "network.py").read_text()
    changed = text.replace("EXTRA = ()", f"EXTRA = {EXTRA[effect]}")
    assert changed != text or not effect
    return changed


def measured_by() -> dict:
    """Tell which fer_bench measures: its commit, and whether its code was changed since; records are no code."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(fer_bench.__file__).parent.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "fer_bench", "models", "benchmarks/gate_power/*.py")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}


@contextlib.contextmanager
def checkouts(effect: int) -> Iterator[tuple[Place, Place]]:
    """Lay the two states of the network's code side by side, as the gate does."""
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for name, state in (("base", 0), ("head", effect)):
            place = Path(folder, name)
            place.mkdir()
            (place / "network.py").write_text(code(state))
            places.append(Place(str(place), str(place)))
        yield places[0], places[1]


@contextlib.contextmanager
def neighbour(condition: str) -> Iterator[None]:
    """Keep cores busy beside the measurement."""
    cores = sorted(os.sched_getaffinity(0))
    busy = {"other-core": cores[:1], "same-core": cores}.get(condition, [])
    started = [subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", BURN]) for core in busy]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def record_pairs(condition: str, effect: int, count: int) -> dict:
    if condition == "huge-pages":
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    plan = timing.METRICS["latency"].of(GATE)
    with checkouts(effect) as places, neighbour(condition), Starter(LIBRARIES, fresh=condition == "fresh") as starter:
        sides = [Side(Task(registry.find(NETWORK), plan, place=place), starter) for place in places]
        described = measure(
            dataclasses.replace(sides[0].task, plan=dataclasses.replace(plan, metrics=("static",))), starter
        )
        comparison = timing.judge(NETWORK, "latency", *sides, timing.Rule(pairs=count, budget_s=3600.0))
    record = comparison.to_dict()
    record["environment"] = dataclasses.asdict(described.environment)
    record |= {"condition": condition, "effect_percent": effect, "measured_by": measured_by()}
    print(
        condition,
        effect,
        comparison.verdict.effect,
        comparison.verdict.details,
        f"{record['wall_s'] / count:.2f} s a pair",
    )
    return record


def calibrate() -> None:
    """Tell what needless convolutions of so many channels cost. It is no straight line: kernels differ."""
    for number, extra in enumerate(((32,), (40,), (48,), (32, 32), (40, 32)), start=100):
        EXTRA[number] = extra
        record_pairs("quiet", number, 50)


def record_gates(effect: int, count: int, least: int) -> None:
    """Run the command itself, on a repository with two commits, again and again."""
    gates = []
    with tempfile.TemporaryDirectory() as folder:
        for number, state in enumerate((0, effect)):
            Path(folder, "network.py").write_text(code(state) + f"\n# {number}\n")
            for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", str(number))):
                subprocess.run(["git", "-C", folder, *command], check=True)
        told = Path(folder, "..", f"gate-{os.getpid()}.json").resolve()
        for number in range(count):
            told.unlink(missing_ok=True)
            arguments = ["gate", "--against", "HEAD~1", "--models", NETWORK, "--min-effect", str(least)]
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-P", "-m", "fer_bench.cli", *arguments, "--json", str(told)],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            wall_s = time.perf_counter() - began
            report = json.loads(told.read_text())
            counted, latency = (
                next(each for each in report["verdicts"] if each["metric"] == metric)
                for metric in ("counts", "latency")
            )
            gates.append(
                {
                    "wall_s": wall_s,
                    "exit_code": done.returncode,
                    "verdict": latency,
                    "counted": counted,
                    "records": report["records"],
                    "measured_by": measured_by(),
                }
            )
            write(f"gates-{effect}-min-effect-{least}", gates)  # whatever becomes of the next
            print(number, f"{wall_s:.1f} s", latency["word"], latency["effect"], flush=True)
        told.unlink()


def write(name: str, record: object) -> None:
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


def main(arguments: list[str]) -> None:
    if arguments[0] == "calibrate":
        calibrate()
    elif arguments[0] == "pairs":
        condition, effect, count = arguments[1], int(arguments[2]), int(arguments[3])
        name = "size" if arguments[4:] == ["size"] else condition
        write(f"pairs-{name}-{effect}", record_pairs(condition, effect, count))
    elif arguments[0] == "gates":
        effect, count = int(arguments[1]), int(arguments[2])
        least = int(arguments[3]) if arguments[3:] else 5
        record_gates(effect, count, least)


if __name__ == "__main__":
    main(sys.argv[1:])
