"""The fixture that lends pytest-benchmark our plan, in a suite of somebody else's."""

import json
import subprocess
import sys

from fer_bench.records import Result

SUITE = """
import dataclasses
from fer_bench.plan import QUICK

PLAN = dataclasses.replace(QUICK, runs=3, warmup_runs=1)

def test_speed(fer_benchmark):
    result = fer_benchmark("mtcnn_pnet", PLAN)
    assert result.subject.name == "mtcnn_pnet"
"""


def suite(tmp_path, *options):
    (tmp_path / "test_suite.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_suite.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_result_is_in_the_files_of_pytest_benchmark(tmp_path):
    suite(tmp_path, "--benchmark-json=out.json")
    (bench,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    result = Result.from_json(json.dumps(bench["extra_info"]["fer_bench"]))
    assert result.measurement("latency_s").values == tuple(bench["stats"]["data"])
    assert len(bench["stats"]["data"]) == 3
    assert result.plan["warmup_runs"] == 1


def test_a_disabled_benchmark_still_runs(tmp_path):
    assert "1 passed" in suite(tmp_path, "--benchmark-disable")
