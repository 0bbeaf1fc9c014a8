"""Latency of each network: ``pytest benchmarks/ --benchmark-only``, or some with ``-k`` or ``--fer-models``.

All networks share pytest's process; ``fer-bench run`` measures each in processes of its own.
"""


def test_latency(fer_benchmark, fer_network):
    result = fer_benchmark(fer_network)
    assert result.subject.name == fer_network
    assert result.value("macs") > 0
