"""What several test modules need; tests and benchmarks import it as ``support``, and never each other."""
