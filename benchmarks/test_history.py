"""What a history of a large store costs: processor time of ``fer-bench history`` over 10,000 runs of one network.

Each run has an environment of its own, as a machine's load makes it, and 300 timed passes beside other measurements.
The time is compared with that of a store of 100 runs, measured in turn, so that a busy machine decides nothing: there
the start and the search for changes take 0.5 to 0.9 s.
"""

import dataclasses
import random
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from fer_bench.records.plan import QUICK
from fer_bench.records.result import Environment, Measurement, Result, Subject
from fer_bench.records.store import Contents, Store

RUNS = 10_000
PASSES = 300
FEW = 100
MOST = 5  # times the processor time of a small store
OPTIONS = {"default": [], "last 10000": ["--last", "10000"], "csv": ["--last", "10000", "--format", "csv"]}
WHERE = Environment(
    cpu="Some CPU",
    cores=2,
    memory_bytes=8 * 2**30,
    os="Linux",
    python="3.13.0",
    packages={"torch": "2.9.0"},
    device="cpu",
    device_name="Some CPU",
    threads=2,
    allocator="glibc",
    load_1min=0.5,
    commit="0" * 40,
    dirty=False,
)


def run_of(number, dice):
    """A run that is 10 % slower from the 7,000th on, in which a commit changed every 500 runs."""
    level = 0.010 * (1.1 if number >= 7_000 else 1.0)
    result = Result(
        subject=Subject("mini_xception", "mini-Xception", "exact", (1, 48, 48), 7),
        plan=QUICK,
        environment=dataclasses.replace(WHERE, load_1min=number / RUNS, commit=f"{number // 500:07x}".ljust(40, "0")),
        measurements=(
            Measurement("macs", "count", (2_000_000,)),
            Measurement("parameters.trainable", "count", (1000,)),
            Measurement("latency_s", "s", tuple(level * dice.gauss(1, 0.02) for _ in range(PASSES))),
            Measurement("minor_faults", "count", (0,) * PASSES),
            Measurement("involuntary_switches", "count", (0,) * PASSES),
        ),
        started_at=(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat(),
    )
    return Contents(f"{number:012x}", "a run", result.started_at, result.started_at, "", (("key", result),))


@pytest.fixture(scope="module")
def large_store(tmp_path_factory):
    return store_of(RUNS, tmp_path_factory.mktemp("history") / "results.sqlite")


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    return store_of(FEW, tmp_path_factory.mktemp("history") / "results.sqlite")


def store_of(count, file):
    dice = random.Random(0)
    with Store.open(str(file)) as store:
        store.add([run_of(number, dice) for number in range(count)])
    return str(file)


def cpu_s(arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "fer_bench.cli", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_history_of_ten_thousand_runs(benchmark, large_store, small_store, options):
    taken = []

    def look():
        stores = (large_store, small_store)
        taken.append([cpu_s(["history", "mini_xception", "--store", file, *OPTIONS[options]]) for file in stores])

    benchmark.pedantic(look, rounds=3)
    large, small = map(min, zip(*taken, strict=True))
    benchmark.extra_info |= {"cpu_s": large, "small_cpu_s": small}
    assert large < MOST * small, taken
