"""Verdicts on a change: what a network counts, exactly; how long it takes, by pairs of processes measured now."""
