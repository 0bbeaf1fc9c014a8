"""What it costs to start the command line, and to have us installed where pytest runs.

Each start is timed in turn with one of an interpreter, or of a pytest, that does not load us; the ratio is the median
over the rounds. A command that loaded PyTorch would take a hundred times as long as an empty interpreter.
"""

import statistics
import subprocess
import sys
import time

import pytest

ROUNDS = 15
MOST_OF_A_COMMAND = 20  # times `python -c pass`, of about 0.02 s
MOST_OF_A_SESSION = 1.25
COLLECT = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
STARTS = {
    "--help": (["-m", "fer_bench.cli", "--help"], ["-c", "pass"], MOST_OF_A_COMMAND),
    "list": (["-m", "fer_bench.cli", "list"], ["-c", "pass"], MOST_OF_A_COMMAND),
    "show": (["-m", "fer_bench.cli", "show", "mini_xception"], ["-c", "pass"], MOST_OF_A_COMMAND),
    "report --help": (["-m", "fer_bench.cli", "report", "--help"], ["-c", "pass"], MOST_OF_A_COMMAND),
    "runs": (["-m", "fer_bench.cli", "runs"], ["-c", "pass"], MOST_OF_A_COMMAND),
    "pytest": (COLLECT, [*COLLECT, "-p", "no:fer_bench"], MOST_OF_A_SESSION),
}


def wall_s(arguments, folder):
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


@pytest.mark.parametrize("name", STARTS)
def test_it_starts_at_once(benchmark, startup_rows, name, tmp_path):
    (tmp_path / "test_theirs.py").write_text("def test_theirs():\n    pass\n")
    ours, bare, most = STARTS[name]
    wall_s(ours, tmp_path)  # compiles what is not compiled yet
    rounds = [(wall_s(ours, tmp_path), wall_s(bare, tmp_path)) for _ in range(ROUNDS)]
    benchmark.pedantic(lambda: wall_s(ours, tmp_path), rounds=1)
    row = {
        "median_s": statistics.median(ours_s for ours_s, _ in rounds),
        "ratio": statistics.median(ours_s / bare_s for ours_s, bare_s in rounds),
    }
    benchmark.extra_info |= row
    startup_rows[name] = row
    assert row["ratio"] < most, row
