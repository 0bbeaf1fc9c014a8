"""Latency of every network of the zoo: ``pytest benchmarks/ --benchmark-only``, or ``-k resnet50`` for some."""

import pytest

from fer_bench import list_models


@pytest.mark.parametrize("name", list_models())
def test_latency(fer_benchmark, name):
    result = fer_benchmark(name)
    assert result.measurement("latency_s") is not None
